//! Ranks: many processes, one run.
//!
//! `torchrun`, `mpirun` and `srun` start a program many times and tell each process its rank and how
//! many there are. This library reads what they say, tags every run with it (`distributed.rank`,
//! `distributed.world_size`, `distributed.local_rank`), and gives it to the program:
//!
//! ```
//! # let fake = mlflow::testing::fake();
//! # fn save() {}
//! #[mlflow::tracked(skip(rank))]
//! fn train(rank: u32, lr: f64) {
//!     mlflow::metric!("loss", 1.0 / lr);
//!     if rank == 0 {
//!         mlflow::log_text("weights", "model.txt");
//!     }
//! }
//! train(mlflow::distributed::rank().unwrap_or(0), 0.5);
//! # fake.assert_metric("loss", &[(0, 2.0)]);
//! # assert!(!fake.runs()[0].params.contains_key("rank"));
//! ```
//!
//! | launcher | rank | world size | local rank |
//! |---|---|---|---|
//! | `torchrun` | `RANK` | `WORLD_SIZE` | `LOCAL_RANK` |
//! | Open MPI | `OMPI_COMM_WORLD_RANK` | `OMPI_COMM_WORLD_SIZE` | `OMPI_COMM_WORLD_LOCAL_RANK` |
//! | MPICH, Intel MPI, and others that speak PMI | `PMI_RANK` | `PMI_SIZE` | `MPI_LOCALRANKID` |
//! | `srun` (where `SLURM_STEP_ID` is set) | `SLURM_PROCID` | `SLURM_STEP_NUM_TASKS`, else `SLURM_NTASKS` | `SLURM_LOCALID` |
//!
//! The first that names both a rank and a world size counts. A batch script of Slurm is one process:
//! it has no rank.
//!
//! Without more, every process has runs of its own. There are two ways to one run.
//!
//! # A run given by its id
//!
//! Somebody creates the run before the launch, and ends it afterwards. In each process of a launch
//! of more than one, `MLFLOW_RUN_ID` is *joined* by the first run without a parent: the process logs
//! to it, and neither sets it to RUNNING nor ends it. So is an id given to
//! [`RunBuilder::run_id`](crate::RunBuilder::run_id) or `#[tracked(run_id = …)]`. Set the experiment,
//! too: child runs go there.
//!
//! ```sh
//! export MLFLOW_EXPERIMENT_NAME=llm
//! export MLFLOW_RUN_ID=$(python -c "import mlflow
//! print(mlflow.MlflowClient().create_run(mlflow.set_experiment('llm').experiment_id).info.run_id)")
//! torchrun --no-python --nproc-per-node 8 ./train
//! python -c "import mlflow; mlflow.MlflowClient().set_terminated('$MLFLOW_RUN_ID')"
//! ```
//!
//! # A rendezvous
//!
//! `MLFLOW_RENDEZVOUS_ID`, or [`Config::rendezvous_id`](crate::Config::rendezvous_id), is a text that
//! all processes of one launch have in common, and that no other launch has. Rank 0 creates the run
//! and ends it; the others log at once, to journals of their own, and find it when it is there. They
//! need no way to each other, only to the store.
//!
//! ```sh
//! # One host. (`TORCHELASTIC_RUN_ID` is `none` unless --rdzv-id is given: no text of a launch.)
//! MLFLOW_RENDEZVOUS_ID=$(uuidgen) torchrun --no-python --nproc-per-node 8 ./train
//!
//! # Several hosts: mpirun hands the variable on.
//! mpirun -x MLFLOW_RENDEZVOUS_ID=$(uuidgen) -x MLFLOW_TRACKING_URI -n 64 ./train
//!
//! # A batch script. A job that is queued again has the same id, and goes on with its run. Of several
//! # steps of one job, each is a launch of its own.
//! MLFLOW_RENDEZVOUS_ID=$SLURM_CLUSTER_NAME/$SLURM_JOB_ID/train srun ./train
//! ```
//!
//! - Which runs are the same: the first call of a tracked function in each process, the second, and
//!   so on, counted for each function and experiment; runs of [`start_run()`](crate::start_run())
//!   outside of tracked functions are counted together, those of [`start_run!()`](macro@crate::start_run) by the
//!   function in which they start. The k-th is the k-th in time: a function that
//!   several threads call at once has to be told apart by its experiment, or be a child run. What one
//!   rank alone calls disturbs nobody: of a rank above 0 its values wait, all others arrive.
//!   Child runs are those of the rank that starts them. A run that is given by its id takes no part.
//! - A later launch with the same text goes on with the runs of the earlier one, as rank 0 sets them
//!   to RUNNING again.
//! - A rank that ends before rank 0 has created the run waits for at most `MLFLOW_EXIT_TIMEOUT`; its
//!   values stay in its journal, for the next tracked process on its host.
//! - Without a rank the text is ignored, with a warning.
//! - A program that a rank starts inherits its variables, and would be a second rank of that number:
//!   unset `MLFLOW_RENDEZVOUS_ID` for it.
//!
//! # What goes wrong in a rank
//!
//! The run ends as its creator ends it. What other ranks have to tell is in tags of their own:
//! `error.rank-3.message`, `error.rank-3.type` and the like, and `error.rank-3.status`, `FAILED` or
//! `KILLED`, the latter also for a process that was killed, once the next one has shipped what it
//! left. A rank that comes to a good end later, as in a job that is queued again, sets its status to
//! `FINISHED`; the other tags, rank 0's `error.message` among them, tell of the last failure.
//! When rank 0 is killed, so is the run: the next tracked process on its host says so, unless
//! it takes rank 0's place. Processes that are still in the run leave that to others.
//!
//! # Metrics, params, tags
//!
//! Points of all ranks under one key are points of one metric. `MLFLOW_METRIC_PREFIX=rank-{rank}/`
//! tells them apart ([`Config::metric_prefix`](crate::Config::metric_prefix)), and
//! `MLFLOW_SYSTEM_METRICS_NODE_ID` those of the machines. A param that another rank has logged with
//! another value is set aside, with a warning: `skip` arguments that differ, such as the rank. Of a
//! tag the last value counts. A run that was joined keeps its creator's name and automatic tags.
//!
//! # Hosts
//!
//! Several hosts share a tracking server; the SQLite file is for the processes of one. A journal
//! belongs to one process. Its lock keeps others from it, also on a network file system, unless that
//! is mounted with locks that only its host sees (NFS: `nolock`, `local_lock`; Lustre: `localflock`): then give each host a
//! `MLFLOW_JOURNAL_DIR` of its own.

mod rendezvous;

use crate::environment::launcher::rank_info;
pub(crate) use rendezvous::next_run_key;

/// Which of the launch's processes this is, from 0; `None` where no launcher says so.
///
/// ```
/// // Of many processes that train together, one writes the model down.
/// if mlflow::distributed::rank().unwrap_or(0) == 0 {
///     // save the model
/// }
/// ```
#[must_use]
pub fn rank() -> Option<u32> {
    rank_info().map(|place| place.rank)
}

/// How many processes the launch has; `None` where no launcher says so.
///
/// ```
/// let share = 1.0 / f64::from(mlflow::distributed::world_size().unwrap_or(1));
/// # assert_eq!(share, 1.0);
/// ```
#[must_use]
pub fn world_size() -> Option<u32> {
    rank_info().map(|place| place.world_size.get())
}

/// Which of the launch's processes on this host this is, from 0; `None` where no launcher says so.
///
/// ```
/// let device = mlflow::distributed::local_rank().unwrap_or(0);
/// # assert_eq!(device, 0);
/// ```
#[must_use]
pub fn local_rank() -> Option<u32> {
    rank_info().and_then(|place| place.local_rank)
}
