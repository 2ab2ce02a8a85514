//! Trainings of Burn that are tracked: what the run holds, and that early stopping is undisturbed.

use std::sync::{Arc, Mutex};

use burn::data::dataloader::batcher::Batcher;
use burn::data::dataloader::{DataLoader, DataLoaderBuilder};
use burn::data::dataset::InMemDataset;
use burn::module::{Module, Param};
use burn::optim::SgdConfig;
use burn::optim::lr_scheduler::constant::ConstantLr;
use burn::tensor::{Device, Tensor};
use burn::train::logger::{InMemoryMetricLogger, MetricLogger};
use burn::train::metric::store::{Aggregate, Direction, EpochSummary, MetricsUpdate, Split};
use burn::train::metric::{LearningRateMetric, LossMetric};
use burn::train::metric::{MetricDefinition, NumericEntry};
use burn::train::{
    InferenceStep, Learner, MetricEarlyStoppingStrategy, RegressionOutput, StoppingCondition,
    SupervisedTraining, TrainOutput, TrainStep,
};
use mlflow::testing::fake;
use mlflow_burn::{MlflowMetricLogger, TrackWithMlflow as _};

/// Number of batches of an epoch.
const BATCHES: usize = 4;

#[derive(Module, Debug)]
struct Constant {
    weight: Param<Tensor<2>>,
}

impl Constant {
    fn distance(&self, target: Tensor<2>) -> RegressionOutput {
        let output = self.weight.val();
        let loss = output.clone().sub(target.clone()).powi_scalar(2).mean();
        RegressionOutput::new(loss, output, target)
    }
}

impl TrainStep for Constant {
    type Input = Tensor<2>;
    type Output = RegressionOutput;

    fn step(&self, target: Tensor<2>) -> TrainOutput<RegressionOutput> {
        let output = self.distance(target);
        TrainOutput::new(self, output.loss.backward(), output)
    }
}

impl InferenceStep for Constant {
    type Input = Tensor<2>;
    type Output = RegressionOutput;

    fn step(&self, target: Tensor<2>) -> RegressionOutput {
        self.distance(target)
    }
}

struct Zeros;

impl Batcher<(), Tensor<2>> for Zeros {
    fn batch(&self, _items: Vec<()>, device: &Device) -> Tensor<2> {
        Tensor::zeros([1, 2], device)
    }
}

fn loader() -> Arc<dyn DataLoader<Tensor<2>>> {
    DataLoaderBuilder::new(Zeros)
        .batch_size(1)
        .build(InMemDataset::new(vec![(); BATCHES]))
}

/// Trains until the loss of unseen data has not become less for two epochs, at most 20 epochs. With the rate 0 it never does.
fn launch(
    rate: f64,
    wire: impl FnOnce(SupervisedTraining<Constant>) -> SupervisedTraining<Constant>,
) {
    let folder = tempfile::tempdir().expect("a folder");
    let device = Device::flex().autodiff();
    let model = Constant {
        weight: Param::from_tensor(Tensor::ones([1, 2], &device)),
    };
    let training = SupervisedTraining::new(folder.path(), loader(), loader())
        .metric_train_numeric(LearningRateMetric::new())
        .metric_train_numeric(LossMetric::new())
        .metric_valid_numeric(LossMetric::new())
        .early_stopping(MetricEarlyStoppingStrategy::new(
            &LossMetric::new(),
            Aggregate::Mean,
            Direction::Lowest,
            Split::Valid,
            StoppingCondition::NoImprovementSince { n_epochs: 2 },
        ))
        .num_epochs(20)
        .with_application_logger(None);
    let learner = Learner::new(model, SgdConfig::new().init(), ConstantLr::new(rate));
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
