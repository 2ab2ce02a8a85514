//! Trainings for the tests: small ones, whose values are known or depend on all of their state.

use std::env;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use burn::data::dataloader::batcher::Batcher;
use burn::data::dataloader::{DataLoader, DataLoaderBuilder};
use burn::data::dataset::InMemDataset;
use burn::module::{Module, Param};
use burn::tensor::{Device, Tensor};
use burn::train::metric::LossMetric;
use burn::train::{InferenceStep, RegressionOutput, SupervisedTraining, TrainOutput, TrainStep};

/// Number of batches of an epoch.
pub const BATCHES: usize = 4;

/// Model whose loss is the mean square of its weights. All weights are 1 at first.
#[derive(Module, Debug)]
pub struct Constant {
    weight: Param<Tensor<2>>,
}

impl Constant {
    pub fn new(device: &Device) -> Self {
        Self {
            weight: Param::from_tensor(Tensor::ones([1, 2], device)),
        }
    }

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

/// Batches of zeros, which a function may count.
struct Zeros<F>(F);

impl<F: Fn(usize) + Send + Sync> Batcher<usize, Tensor<2>> for Zeros<F> {
    fn batch(&self, items: Vec<usize>, device: &Device) -> Tensor<2> {
        for item in items {
            (self.0)(item);
        }
        Tensor::zeros([1, 2], device)
    }
}

/// Returns the batches of an epoch.
pub fn loader() -> Arc<dyn DataLoader<Tensor<2>>> {
    loader_with(|_| ())
}

/// Returns the batches of an epoch, and calls a function before each, with its number since the start of the process, from 1.
pub fn counting_loader(
    on_batch: impl Fn(usize) + Send + Sync + 'static,
) -> Arc<dyn DataLoader<Tensor<2>>> {
    let count = AtomicUsize::new(0);
    loader_with(move |_| on_batch(count.fetch_add(1, Ordering::Relaxed) + 1))
}

fn loader_with(on_item: impl Fn(usize) + Send + Sync + 'static) -> Arc<dyn DataLoader<Tensor<2>>> {
    DataLoaderBuilder::new(Zeros(on_item))
        .batch_size(1)
        .build(InMemDataset::new((0..BATCHES).collect()))
}

/// Returns a training with the metric `Loss`.
pub fn training(
    folder: &Path,
    batches: Arc<dyn DataLoader<Tensor<2>>>,
) -> SupervisedTraining<Constant> {
    SupervisedTraining::new(folder, batches, loader())
        .metric_train_numeric(LossMetric::new())
        .metric_valid_numeric(LossMetric::new())
        .with_application_logger(None)
}

/// Returns the command that starts an ignored test as a process, with a store in `folder`, and Burn's files in `burn`.
pub fn process(test: &str, folder: &Path, burn: &Path) -> Command {
    let mut command = Command::new(env::current_exe().expect("a program"));
    command
        .args(["--ignored", "--exact", test])
        .env("MLFLOW_TRACKING_URI", uri(folder))
        .env("MLFLOW_JOURNAL_DIR", folder.join("journal"))
        .env(PROCESS_FOLDER, burn)
        .current_dir(folder)
        .stdout(Stdio::null());
    command
}

/// Returns the folder for Burn's files, in a process that a test has started; `None` if all ignored tests are run.
pub fn process_folder() -> Option<PathBuf> {
    env::var_os(PROCESS_FOLDER).map(PathBuf::from)
}

/// Returns the URI of the store in a folder.
pub fn uri(folder: &Path) -> String {
    format!("sqlite:///{}", folder.join("mlflow.db").display())
}

const PROCESS_FOLDER: &str = "MLFLOW_BURN_TEST_FOLDER";
