//! Trainings of Burn that are tracked: what the run holds, and that early stopping is undisturbed.

use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

use burn::optim::SgdConfig;
use burn::optim::lr_scheduler::constant::ConstantLr;
use burn::tensor::Device;
use burn::train::logger::{InMemoryMetricLogger, MetricLogger};
use burn::train::metric::store::{Aggregate, Direction, EpochSummary, MetricsUpdate, Split};
use burn::train::metric::{LearningRateMetric, LossMetric, MetricDefinition, NumericEntry};
use burn::train::{Learner, MetricEarlyStoppingStrategy, StoppingCondition, SupervisedTraining};
use mlflow::RunStatus;
use mlflow::blocking::Client;
use mlflow::entities::RunUpdate;
use mlflow::testing::fake;
use mlflow_burn::{MlflowMetricLogger, StopOnRequest, TrackWithMlflow as _};

use crate::support::{
    BATCHES, Constant, counting_loader, loader, process, process_folder, training,
};

/// Trains until the loss of unseen data has not become less for two epochs, at most 20 epochs. With the rate 0 it never does.
fn launch(
    rate: f64,
    wire: impl FnOnce(SupervisedTraining<Constant>) -> SupervisedTraining<Constant>,
) {
    let folder = tempfile::tempdir().expect("a folder");
    let device = Device::flex().autodiff();
    let training = training(folder.path(), loader())
        .metric_train_numeric(LearningRateMetric::new())
        .early_stopping(MetricEarlyStoppingStrategy::new(
            &LossMetric::new(),
            Aggregate::Mean,
            Direction::Lowest,
            Split::Valid,
            StoppingCondition::NoImprovementSince { n_epochs: 2 },
        ))
        .num_epochs(20);
    let learner = Learner::new(
        Constant::new(&device),
        SgdConfig::new().init(),
        ConstantLr::new(rate),
    );
    let result = wire(training).launch(learner);
    assert!(result.error.is_none(), "{:?}", result.error);
}

/// Logger of Burn that counts the epochs.
struct Counting(InMemoryMetricLogger, Arc<Mutex<usize>>);

impl MetricLogger for Counting {
    fn log(&mut self, update: MetricsUpdate, epoch: usize, split: &Split) {
        self.0.log(update, epoch, split);
    }

    fn read_numeric(
        &mut self,
        name: &str,
        epoch: usize,
        split: &Split,
    ) -> Result<Vec<NumericEntry>, String> {
        self.0.read_numeric(name, epoch, split)
    }

    fn log_metric_definition(&mut self, definition: MetricDefinition) {
        self.0.log_metric_definition(definition);
    }

    fn log_epoch_summary(&mut self, summary: EpochSummary) {
        let mut last = self.1.lock().expect("no panic");
        *last = summary.epoch_number.max(*last);
    }
}

#[test]
fn early_stopping_stops_where_it_does_with_burns_own_logger() {
    for rate in [0.0, 0.05] {
        let own = Arc::new(Mutex::new(0));
        let counting = Counting(InMemoryMetricLogger::new(), Arc::clone(&own));
        launch(rate, |training| training.with_metric_logger(counting));
        let fake = fake();
        let run = mlflow::start_run().start();
        launch(rate, SupervisedTraining::track_with_mlflow);
        drop(run);
        let epochs = fake.runs()[0].metrics["valid/Loss"].len();
        assert_eq!(epochs, *own.lock().expect("no panic"), "rate {rate}");
    }
}

#[test]
fn a_run_has_the_metrics_of_batches_and_epochs() {
    let fake = fake();
    let run = mlflow::start_run().start();
    launch(0.0, SupervisedTraining::track_with_mlflow);
    drop(run);
    let metrics = &fake.runs()[0].metrics;
    let keys: Vec<_> = metrics.keys().map(String::as_str).collect();
    let expected = [
        "train/Learning Rate",
        "train/Loss",
        "train/iteration/Learning Rate",
        "train/iteration/Loss",
        "valid/Loss",
        "valid/iteration/Loss",
    ];
    assert_eq!(keys, expected);
    let epochs = metrics["train/Loss"].len();
    for part in ["train", "valid"] {
        let points = |key: &str| {
            let points = metrics[&format!("{part}/{key}")].iter();
            points
                .map(|point| (point.step, point.value))
                .collect::<Vec<_>>()
        };
        // All weights are 1 away from 0, and stay there.
        let by_epoch: Vec<_> = (1..=epochs as i64).map(|epoch| (epoch, 1.0)).collect();
        assert_eq!(points("Loss"), by_epoch);
        let batches = (epochs * BATCHES) as i64;
        let by_batch: Vec<_> = (0..batches).map(|batch| (batch, 1.0)).collect();
        assert_eq!(points("iteration/Loss"), by_batch);
    }
}

#[test]
fn without_a_run_the_training_goes_on() {
    let fake = fake();
    launch(0.05, SupervisedTraining::track_with_mlflow);
    assert!(fake.runs().is_empty());
}

#[test]
fn an_epoch_that_was_not_logged_has_no_entries_and_is_no_error() {
    let mut logger = MlflowMetricLogger::current();
    assert!(
        logger
            .read_numeric("Loss", 3, &Split::Valid)
            .is_ok_and(|entries| entries.is_empty())
    );
}

/// Settings as Burn's users write them.
#[derive(burn::config::Config, Debug)]
struct Settings {
    optimizer: SgdConfig,
    #[config(default = 3)]
    epochs: usize,
    label: Option<String>,
}

#[test]
fn each_field_of_a_config_of_burn_is_a_param() {
    #[mlflow::tracked(skip(config))]
    fn train(config: &Settings) {
        mlflow::log_params(config);
    }
    let fake = fake();
    train(&Settings::new(SgdConfig::new()));
    let params = &fake.runs()[0].params;
    assert_eq!(
        params.get("epochs").map(String::as_str),
        Some("3"),
        "{params:?}"
    );
    let of_optimizer = |key: &String| key.starts_with("optimizer.");
    assert!(params.keys().any(of_optimizer), "{params:?}");
}

#[test]
fn a_training_that_is_stopped_has_the_reason_and_no_value_of_the_unfinished_epoch() {
    let folder = tempfile::tempdir().expect("a folder");
    let fake = fake();
    let run = mlflow::start_run().start();
    let interrupter = burn::train::Interrupter::new();
    let stop = interrupter.clone();
    let batches = counting_loader(move |batch| {
        if batch == 2 * BATCHES + 2 {
            stop.stop(Some("budget spent"));
        }
    });
    let device = Device::flex().autodiff();
    let result = training(folder.path(), batches)
        .num_epochs(5)
        .with_interrupter(interrupter)
        .track_with_mlflow()
        .launch(Learner::new(
            Constant::new(&device),
            SgdConfig::new().init(),
            ConstantLr::new(0.1),
        ));
    assert!(result.interrupted.is_some());
    drop(run);
    fake.assert_tag("burn.stop_reason", "budget spent");
    let metrics = &fake.runs()[0].metrics;
    let steps = |key: &str| -> Vec<_> { metrics[key].iter().map(|point| point.step).collect() };
    assert_eq!(steps("train/Loss"), [1, 2]);
    assert_eq!(steps("valid/Loss"), [1, 2]);
    assert_eq!(steps("train/iteration/Loss").len(), 2 * BATCHES + 2);
}

#[test]
fn a_training_that_is_not_stopped_has_no_reason() {
    let fake = fake();
    let run = mlflow::start_run().start();
    launch(0.05, SupervisedTraining::track_with_mlflow);
    drop(run);
    assert!(!fake.runs()[0].tags.contains_key("burn.stop_reason"));
}

#[test]
fn a_request_in_the_store_stops_the_training() {
    let folder = tempfile::tempdir().expect("a folder");
    let ended = process("training::stopped_process", folder.path(), folder.path()).status();
    assert!(ended.expect("the program starts").success());
}

/// Trains in a process of its own, which the test above starts, without an end, until the training is stopped.
#[test]
#[ignore = "a process that another test starts"]
fn stopped_process() {
    let Some(folder) = process_folder() else {
        return;
    };
    type Request = fn(&Client, &str);
    let requests: [(Request, &str); 3] = [
        (
            |client, id| {
                let set = client.set_tag(id, "burn.stop", "enough seen");
                set.expect("the store answers");
            },
            "enough seen",
        ),
        (
            |client, id| {
                let update = RunUpdate::new().status(RunStatus::Killed);
                client.update_run(id, update).expect("the store answers");
            },
            "the run was ended as KILLED",
        ),
        (
            |client, id| client.delete_run(id).expect("the store answers"),
            "the run was deleted",
        ),
    ];
    let client = Client::new();
    for (request, reason) in requests {
        let run = mlflow::start_run().start();
        let training = training(&folder, loader()).num_epochs(usize::MAX);
        let interval = Duration::from_millis(20);
        let stop = StopOnRequest::of_current_run(training.interrupter(), interval);
        let learner = Learner::new(
            Constant::new(&Device::flex().autodiff()),
            SgdConfig::new().init(),
            ConstantLr::new(0.0),
        );
        let run_id = wait_for_id(&run);
        request(&client, &run_id);
        let result = training.track_with_mlflow().launch(learner);
        let stopped = result.interrupted.expect("it was stopped");
        assert_eq!(stopped.reason.as_deref(), Some(reason));
        drop((stop, run));
        // What was asked is answered, so that the training can be resumed.
        let stored = client.run(&*run_id).expect("the store answers");
        assert_eq!(stored.tag("burn.stop"), None);
    }
}

fn wait_for_id(run: &mlflow::Run) -> String {
    let deadline = Instant::now() + Duration::from_secs(60);
    loop {
        match run.run_id() {
            Some(id) => return id,
            None => assert!(Instant::now() < deadline, "the run is not created"),
        }
        std::thread::sleep(Duration::from_millis(5));
    }
}
