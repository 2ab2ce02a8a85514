//! Ranks: many processes that log to one run.
//!
//! `torchrun`, `mpirun` and `srun` start a program many times. In the environment of each process they set
//! its rank and the number of processes (the world size). This library reads these variables, tags every run
//! with them (`distributed.rank`, `distributed.world_size`, `distributed.local_rank`), and gives them to the
//! program:
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
//! | MPICH, Intel MPI, and others that use PMI | `PMI_RANK` | `PMI_SIZE` | `MPI_LOCALRANKID` |
//! | `srun` (where `SLURM_STEP_ID` is set) | `SLURM_PROCID` | `SLURM_STEP_NUM_TASKS`, else `SLURM_NTASKS` | `SLURM_LOCALID` |
//!
//! The first launcher in the table that sets both a rank and a world size counts. A batch script of Slurm is
//! a single process, and has no rank.
//!
//! By default every process has runs of its own. There are two ways to share one run.
//!
//! # A run given by its id
//!
//! Create the run before the launch, and end it afterwards. In each process of a launch of more than one, the
//! first run without a parent *joins* the run `MLFLOW_RUN_ID`: the process logs to the run, and neither sets
//! it to RUNNING nor ends it. An id given to [`RunBuilder::run_id`](crate::RunBuilder::run_id) or
//! `#[tracked(run_id = …)]` is joined in the same way. Set the experiment, too, because child runs go there.
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
//! `MLFLOW_RENDEZVOUS_ID`, or [`Config::rendezvous_id`](crate::Config::rendezvous_id), is a text that all
//! processes of one launch have in common, and no other launch has. Rank 0 creates the run and ends it. The
//! other ranks log at once, each to a journal of its own, and find the run as soon as it exists. Ranks need
//! no connection to each other, only to the store.
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
//! - The first call of a tracked function is the same run in all processes, the second call is the next run,
//!   and so on, counted for each function and experiment. Runs of [`start_run()`](crate::start_run()) outside
//!   of tracked functions are counted together; runs of [`start_run!()`](macro@crate::start_run) are counted
//!   by the function in which they start. Calls are counted in the order of time, so the runs of a function
//!   that several threads call at once must differ by their experiment, or be child runs. A call that only
//!   one rank makes does not disturb the other ranks: if it is a rank above 0, the values of that call wait,
//!   and all other values arrive. Child runs belong to the rank that starts them. A run that is given by its
//!   id takes no part.
//! - A later launch with the same text continues the runs of the earlier one: rank 0 sets them to RUNNING
//!   again.
//! - A rank that ends before rank 0 has created the run waits for at most `MLFLOW_EXIT_TIMEOUT`. Its values
//!   then stay in its journal, for the next tracked process on its host.
//! - Without a rank the text is ignored, with a warning.
//! - A program that a rank starts inherits the rank's environment variables, and would be a second process
//!   with that rank: unset `MLFLOW_RENDEZVOUS_ID` for the program.
//!
//! # Failures in a rank
//!
//! The run ends with the status that its creator gives it. Failures of other ranks are recorded in separate
//! tags: `error.rank-3.message`, `error.rank-3.type` and the like, and `error.rank-3.status`, which is
//! `FAILED` or `KILLED`. A process that was killed gets `KILLED`, too, once the next process has shipped its
//! journal. A rank that ends well later, as in a job that is queued again, sets its status to `FINISHED`; the
//! other tags, rank 0's `error.message` among them, describe the last failure. If rank 0 is killed, the run
//! ends as `KILLED`: the next tracked process on that host closes the run, unless it takes rank 0's place.
//! Processes that are still in the run leave that to others.
//!
//! # Metrics, params, tags
//!
//! Points that several ranks log under one key are points of one metric. `MLFLOW_METRIC_PREFIX=rank-{rank}/`
//! tells the ranks apart ([`Config::metric_prefix`](crate::Config::metric_prefix)), and
//! `MLFLOW_SYSTEM_METRICS_NODE_ID` tells apart the system metrics of the machines. A param that another rank
//! has logged with another value is rejected, with a warning: `skip` arguments that differ between ranks,
//! such as the rank. If several ranks set a tag, the last value counts. A run that was joined keeps its
//! creator's name and automatic tags. A model that a tracked function returns is logged by rank 0 alone.
//!
//! # Hosts
//!
//! Several hosts can share a tracking server; a SQLite file is for the processes of one host. A journal
//! belongs to one process, and its lock keeps other processes from it. The lock works on a network file
//! system, too, unless that is mounted with locks that only its own host sees (NFS: `nolock`, `local_lock`;
//! Lustre: `localflock`): then give each host a `MLFLOW_JOURNAL_DIR` of its own.

mod rendezvous;

use crate::environment::launcher::rank_info;
pub(crate) use rendezvous::next_run_key;

/// Returns the rank of this process in its launch, counted from 0; `None` if no launcher sets it.
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

/// Returns the number of processes in the launch; `None` if no launcher sets it.
///
/// ```
/// let share = 1.0 / f64::from(mlflow::distributed::world_size().unwrap_or(1));
/// # assert_eq!(share, 1.0);
/// ```
#[must_use]
pub fn world_size() -> Option<u32> {
    rank_info().map(|place| place.world_size.get())
}

/// Returns the rank of this process among those of the launch on the same host, counted from 0; `None` if no
/// launcher sets it.
///
/// ```
/// let device = mlflow::distributed::local_rank().unwrap_or(0);
/// # assert_eq!(device, 0);
/// ```
#[must_use]
pub fn local_rank() -> Option<u32> {
    rank_info().and_then(|place| place.local_rank)
}
