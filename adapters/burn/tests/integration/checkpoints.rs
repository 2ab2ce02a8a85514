//! Checkpoints of Burn as artifacts of a run, and trainings that are resumed from them.

use std::collections::BTreeMap;
use std::path::Path;
use std::process::Child;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::{Duration, Instant};
use std::{env, fs, thread};

use burn::optim::AdamConfig;
use burn::optim::lr_scheduler::exponential::ExponentialLrSchedulerConfig;
use burn::tensor::Device;
use burn::train::checkpoint::KeepLastNCheckpoints;
use burn::train::metric::LossMetric;
use burn::train::metric::store::{Aggregate, Direction, Split};
use burn::train::{
    EarlyStoppingStrategy, Learner, MetricEarlyStoppingStrategy, StoppingCondition,
    SupervisedTraining,
};
use mlflow::blocking::Client;
use mlflow::search::SearchRuns;
use mlflow::testing::fake;
use mlflow::{Config, RunStatus};
use mlflow_burn::{CheckpointWithMlflow as _, ResumableEarlyStopping};

use crate::support::{
    BATCHES, Constant, counting_loader, loader, process, process_folder, training, uri,
};

const EPOCHS: usize = 8;

/// Epoch in which the process is killed.
const KILLED_IN: usize = 6;

/// Returns a learner whose losses depend on the weights, the state of the optimizer and that of the scheduler.
fn learner() -> Learner<Constant> {
    let scheduler = ExponentialLrSchedulerConfig::new(0.1, 0.97);
    Learner::new(
        Constant::new(&Device::flex().autodiff()),
        AdamConfig::new().init(),
        scheduler.init().expect("the rates are valid"),
    )
}

#[test]
fn a_training_that_was_killed_is_resumed_as_if_nothing_had_happened() {
    let folder = tempfile::tempdir().expect("a folder");
    let (interrupted, undisturbed) = (folder.path().join("i"), folder.path().join("u"));
    let mut killed = start_process(&interrupted, "first", true);
    wait_until_killable(&mut killed, &store(&interrupted));
    killed.kill().expect("the process runs");
    killed.wait().expect("the process ends");
    let first = only_run(&store(&interrupted));
    assert_eq!(first.status, RunStatus::Running);

    // The second process has a folder of its own, as on another machine.
    for (folder, name) in [(&interrupted, "second"), (&undisturbed, "only")] {
        let ended = start_process(folder, name, false).wait();
        assert!(ended.expect("the process ends").success(), "{name}");
    }
    let resumed = only_run(&store(&interrupted));
    assert_eq!(resumed.run_id, first.run_id);
    assert_eq!(resumed.status, RunStatus::Finished);
    let batches = (EPOCHS - (KILLED_IN - 1)) * BATCHES;
    assert_eq!(resumed.tag("batches"), Some(&*batches.to_string()));
    let expected = only_run(&store(&undisturbed));
    assert_eq!(
        points(&store(&interrupted), &resumed),
        points(&store(&undisturbed), &expected)
    );
}

/// Trains in a process of its own, which the test above starts. Without its variables, it does nothing.
#[test]
#[ignore = "a process that another test starts"]
fn training_process() {
    let Some(folder) = process_folder() else {
        return;
    };
    let waits = env::var("MLFLOW_BURN_TEST_WAITS").is_ok();
    let count = Arc::new(AtomicUsize::new(0));
    let counted = Arc::clone(&count);
    let batches = counting_loader(move |batch| {
        if waits && batch > (KILLED_IN - 1) * BATCHES + 2 {
            loop {
                thread::park();
            }
        }
        counted.store(batch, Ordering::Relaxed);
    });
    let run = mlflow::start_run().experiment("burn").name("fit");
    let (training, run) = training(&folder, batches)
        .num_epochs(EPOCHS)
        .resume_with_mlflow(&folder, run)
        .expect("the store answers");
    let result = training.launch(learner());
    assert!(result.error.is_none(), "{:?}", result.error);
    run.set_tag("batches", count.load(Ordering::Relaxed));
}

fn start_process(folder: &Path, name: &str, waits: bool) -> Child {
    fs::create_dir_all(folder).expect("a folder");
    let mut command = process("checkpoints::training_process", folder, &folder.join(name));
    if waits {
        command.env("MLFLOW_BURN_TEST_WAITS", "1");
    }
    command.spawn().expect("the program starts")
}

fn store(folder: &Path) -> Client {
    Client::with_config(Config::new().tracking_uri(uri(folder)))
}

/// Waits until the process hangs in the middle of an epoch, and the run has what the process has logged until there.
fn wait_until_killable(process: &mut Child, client: &Client) {
    let deadline = Instant::now() + Duration::from_secs(120);
    let has_arrived = || {
        let runs = client.search_runs(SearchRuns::new().experiment("burn"));
        let run = runs.into_iter().next()?.ok()?;
        let batch = run.metrics.get("train/iteration/Loss")?.step;
        let manifest = format!("checkpoints/step-{}/mlflow_checkpoint.json", KILLED_IN - 1);
        let manifest = client.read_artifact(&*run.run_id, manifest).ok()?;
        let is_whole = String::from_utf8_lossy(&manifest).contains("\"complete\": true");
        (is_whole && batch == ((KILLED_IN - 1) * BATCHES + 1) as i64).then_some(())
    };
    while has_arrived().is_none() {
        let ended = process.try_wait().expect("the process is a child");
        assert!(ended.is_none(), "the process has ended: {ended:?}");
        assert!(Instant::now() < deadline, "the values do not arrive");
        thread::sleep(Duration::from_millis(20));
    }
}

fn only_run(client: &Client) -> mlflow::entities::Run {
    let runs = client.search_runs(SearchRuns::new().experiment("burn"));
    let mut runs: Vec<_> = runs.collect::<Result<_, _>>().expect("the store answers");
    assert_eq!(runs.len(), 1);
    runs.remove(0)
}

/// Returns steps and values of all metrics of a run.
fn points(client: &Client, run: &mlflow::entities::Run) -> BTreeMap<String, Vec<(i64, f64)>> {
    let history = |key: &String| {
        let history = client.metric_history(&*run.run_id, key);
        let history = history.expect("the store answers");
        let steps = history.steps().iter().copied();
        let mut points: Vec<_> = steps.zip(history.values().iter().copied()).collect();
        points.sort_by_key(|(step, _)| *step);
        (key.clone(), points)
    };
    run.metrics.keys().map(history).collect()
}

#[test]
fn burns_strategy_deletes_its_files_and_the_run_keeps_its_own() {
    for (kept, first) in [(None, 1), (Some(2), 3)] {
        let folder = tempfile::tempdir().expect("a folder");
        let fake = fake();
        let run = mlflow::start_run().start();
        if let Some(kept) = kept {
            run.keep_checkpoints(kept);
        }
        let result = training(folder.path(), loader())
            .num_epochs(4)
            .with_checkpointing_strategy(KeepLastNCheckpoints::new(1))
            .checkpoint_with_mlflow(folder.path())
            .launch(learner());
        assert!(result.error.is_none(), "{:?}", result.error);
        drop(run);
        let mut files: Vec<_> = fs::read_dir(folder.path().join("checkpoint"))
            .expect("Burn has made it")
            .map(|entry| entry.expect("it can be read").file_name())
            .collect();
        files.sort();
        assert_eq!(files, ["model-4.bpk", "optim-4.bpk", "scheduler-4.bpk"]);
        let artifacts = &fake.runs()[0].artifacts;
        let models: Vec<_> = { artifacts.keys() }
            .filter(|path| path.contains("/model-"))
            .cloned()
            .collect();
        let expected: Vec<_> = (first..=4)
            .map(|epoch| format!("checkpoints/step-{epoch}/model-{epoch}.bpk"))
            .collect();
        assert_eq!(models, expected);
        let batches = &artifacts["checkpoints/step-4/batches.txt"];
        assert_eq!(String::from_utf8_lossy(batches), "train 16\nvalid 16\n");
    }
}

#[test]
fn without_a_run_burn_saves_its_checkpoints() {
    let folder = tempfile::tempdir().expect("a folder");
    let fake = fake();
    let _ = training(folder.path(), loader())
        .num_epochs(2)
        .checkpoint_with_mlflow(folder.path())
        .launch(learner());
    assert!(fake.runs().is_empty());
    assert!(folder.path().join("checkpoint/scheduler-2.bpk").is_file());
}

/// Trains up to an epoch in a folder of its own, and ends the run with a status.
fn resume(
    epochs: usize,
    status: RunStatus,
    wire: impl FnOnce(SupervisedTraining<Constant>) -> SupervisedTraining<Constant>,
) {
    let folder = tempfile::tempdir().expect("a folder");
    let run = mlflow::start_run().name("fit");
    let (training, run) = training(folder.path(), loader())
        .num_epochs(epochs)
        .resume_with_mlflow(folder.path(), run)
        .expect("the store answers");
    let result = wire(training).launch(learner());
    assert!(result.error.is_none(), "{:?}", result.error);
    run.finish(status);
}

/// Stops a training whose loss has not become greater for three epochs. It never does.
fn early_stopping() -> impl EarlyStoppingStrategy + Clone + Sync + 'static {
    ResumableEarlyStopping::new(MetricEarlyStoppingStrategy::new(
        &LossMetric::new(),
        Aggregate::Mean,
        Direction::Highest,
        Split::Valid,
        StoppingCondition::NoImprovementSince { n_epochs: 3 },
    ))
}

#[test]
fn a_resumed_training_stops_early_where_an_undisturbed_one_does() {
    for epochs_before in [0, 1, 2] {
        let fake = fake();
        if epochs_before > 0 {
            resume(epochs_before, RunStatus::Killed, |training| training);
        }
        resume(20, RunStatus::Finished, |training| {
            training.early_stopping(early_stopping())
        });
        let runs = fake.runs();
        assert_eq!(runs.len(), 1);
        let steps: Vec<_> = { runs[0].metrics["valid/Loss"].iter() }
            .map(|point| point.step)
            .collect();
        assert_eq!(steps, [1, 2, 3, 4], "after {epochs_before} epochs");
    }
}

/// Burn keeps the last two checkpoints and that of the best epoch, here the first one of the killed process.
#[test]
fn the_best_epoch_is_still_the_best_after_a_resumption() {
    let saved_epochs = |resumed: bool| {
        let fake = fake();
        let best_only = |training: SupervisedTraining<Constant>| {
            training.with_checkpointing_strategy(
                burn::train::checkpoint::MetricCheckpointingStrategy::new(
                    &LossMetric::new(),
                    Aggregate::Mean,
                    Direction::Highest,
                    Split::Valid,
                ),
            )
        };
        if resumed {
            resume(1, RunStatus::Killed, best_only);
        }
        resume(3, RunStatus::Finished, best_only);
        let runs = fake.runs();
        let models = runs[0].artifacts.keys();
        let models = models.filter(|path| path.contains("/model-"));
        models.cloned().collect::<Vec<_>>()
    };
    assert_eq!(saved_epochs(false), ["checkpoints/step-1/model-1.bpk"]);
    assert_eq!(saved_epochs(true), saved_epochs(false));
}

#[test]
fn a_checkpoint_of_something_else_is_left_alone() {
    let folder = tempfile::tempdir().expect("a folder");
    let fake = fake();
    let run = mlflow::start_run().name("fit").start();
    let file = folder.path().join("weights.bin");
    fs::write(&file, "weights").expect("it can be written");
    run.log_checkpoint(&file, 3);
    run.finish(RunStatus::Killed);
    resume(2, RunStatus::Finished, |training| training);
    let runs = fake.runs();
    assert_eq!(runs.len(), 1);
    assert_eq!(runs[0].metrics["valid/Loss"].len(), 2);
    assert!(runs[0].artifacts.contains_key("checkpoints/step-3.bin"));
}

#[test]
fn a_folder_that_cannot_be_written_is_an_error_and_starts_no_run() {
    let folder = tempfile::tempdir().expect("a folder");
    let fake = fake();
    resume(1, RunStatus::Killed, |training| training);
    let file = folder.path().join("file");
    fs::write(&file, "no folder").expect("it can be written");
    let run = mlflow::start_run().name("fit");
    let resumed = training(&file, loader()).resume_with_mlflow(&file, run);
    let error = resumed.err().expect("a file is no folder");
    assert!(
        matches!(error, mlflow::ClientError::LocalFile { .. }),
        "{error}"
    );
    assert_eq!(fake.runs()[0].status, RunStatus::Killed);
}
