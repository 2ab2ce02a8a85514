//! Network of Burn that learns to judge red wines, as a run of MLflow.
//!
//! ```sh
//! cargo run --example wine
//! mlflow ui        # in the same folder, then open http://127.0.0.1:5000
//! ```
//!
//! The config is the params of the run. Burn stops by itself when the wines that it has not seen are judged no better for five
//! epochs.

use std::error::Error;
use std::sync::Arc;

use burn::data::dataloader::batcher::Batcher;
use burn::data::dataloader::{DataLoader, DataLoaderBuilder};
use burn::data::dataset::InMemDataset;
use burn::module::Module;
use burn::nn::loss::{MseLoss, Reduction};
use burn::nn::{Linear, LinearConfig};
use burn::optim::AdamConfig;
use burn::optim::lr_scheduler::constant::ConstantLr;
use burn::tensor::activation::relu;
use burn::tensor::{Device, Tensor, TensorData};
use burn::train::metric::LossMetric;
use burn::train::metric::store::{Aggregate, Direction, Split};
use burn::train::{
    InferenceStep, Learner, MetricEarlyStoppingStrategy, RegressionOutput, StoppingCondition,
    SupervisedTraining, TrainOutput, TrainStep,
};
use mlflow_burn::TrackWithMlflow as _;

const MEASUREMENTS: usize = 11;

#[derive(serde::Serialize)]
struct Config {
    hidden: usize,
    learning_rate: f64,
    batch_size: usize,
    max_epochs: usize,
    seed: u64,
}

/// Wine with its measurements, scaled to mean 0 and deviation 1, and the score that tasters gave.
#[derive(Clone, Debug)]
struct Wine {
    measurements: [f32; MEASUREMENTS],
    score: f32,
}

#[derive(Clone, Debug)]
struct WineBatch {
    measurements: Tensor<2>,
    scores: Tensor<2>,
}

struct WineBatcher;

impl Batcher<Wine, WineBatch> for WineBatcher {
    fn batch(&self, wines: Vec<Wine>, device: &Device) -> WineBatch {
        let measurements: Vec<f32> = wines.iter().flat_map(|wine| wine.measurements).collect();
        let scores: Vec<f32> = wines.iter().map(|wine| wine.score).collect();
        WineBatch {
            measurements: Tensor::from_data(
                TensorData::new(measurements, [wines.len(), MEASUREMENTS]),
                device,
            ),
            scores: Tensor::from_data(TensorData::new(scores, [wines.len(), 1]), device),
        }
    }
}

#[derive(Module, Debug)]
struct Network {
    hidden: Linear,
    output: Linear,
}

impl Network {
    fn new(hidden: usize, device: &Device) -> Self {
        Self {
            hidden: LinearConfig::new(MEASUREMENTS, hidden).init(device),
            output: LinearConfig::new(hidden, 1).init(device),
        }
    }

    fn judge(&self, batch: WineBatch) -> RegressionOutput {
        let output = self
            .output
            .forward(relu(self.hidden.forward(batch.measurements)));
        let loss = MseLoss::new().forward(output.clone(), batch.scores.clone(), Reduction::Mean);
        RegressionOutput::new(loss, output, batch.scores)
    }
}

impl TrainStep for Network {
    type Input = WineBatch;
    type Output = RegressionOutput;

    fn step(&self, batch: WineBatch) -> TrainOutput<RegressionOutput> {
        let judged = self.judge(batch);
        TrainOutput::new(self, judged.loss.backward(), judged)
    }
}

impl InferenceStep for Network {
    type Input = WineBatch;
    type Output = RegressionOutput;

    fn step(&self, batch: WineBatch) -> RegressionOutput {
        self.judge(batch)
    }
}

fn loader(wines: &[Wine], config: &Config) -> Arc<dyn DataLoader<WineBatch>> {
    DataLoaderBuilder::new(WineBatcher)
        .batch_size(config.batch_size)
        .shuffle(config.seed)
        .build(InMemDataset::new(wines.to_vec()))
}

/// Learns to predict the score that tasters gave to a red wine from eleven measurements.
#[mlflow::tracked(
    experiment = "burn-wine",
    run_name = "hidden={config.hidden}",
    skip(wines)
)]
fn train(config: &Config, wines: &[Wine]) -> Result<(), Box<dyn Error>> {
    let device = Device::flex().autodiff();
    device.seed(config.seed);
    let (training, test) = wines.split_at(wines.len() * 3 / 4);
    let learner = Learner::new(
        Network::new(config.hidden, &device),
        AdamConfig::new().init(),
        ConstantLr::new(config.learning_rate),
    );
    let folder = std::env::temp_dir().join("mlflow-burn-wine");
    let result = SupervisedTraining::new(folder, loader(training, config), loader(test, config))
        .metric_train_numeric(LossMetric::new())
        .metric_valid_numeric(LossMetric::new())
        .early_stopping(MetricEarlyStoppingStrategy::new(
            &LossMetric::new(),
            Aggregate::Mean,
            Direction::Lowest,
            Split::Valid,
            StoppingCondition::NoImprovementSince { n_epochs: 5 },
        ))
        .num_epochs(config.max_epochs)
        .with_application_logger(None)
        .track_with_mlflow()
        .launch(learner);
    match result.error {
        Some(error) => Err(error.to_string().into()),
        None => Ok(()),
    }
}

/// Returns the red wines of the wine-quality data.
fn wines() -> Vec<Wine> {
    let data = linfa_datasets::winequality();
    let records = data.records();
    let mean = records
        .mean_axis(ndarray::Axis(0))
        .expect("there are wines");
    let deviation = records.std_axis(ndarray::Axis(0), 0.0);
    let wine = |(row, score): (ndarray::ArrayView1<'_, f64>, &usize)| Wine {
        measurements: std::array::from_fn(|at| ((row[at] - mean[at]) / deviation[at]) as f32),
        score: *score as f32,
    };
    records
        .rows()
        .into_iter()
        .zip(data.targets())
        .map(wine)
        .collect()
}

fn main() -> Result<(), Box<dyn Error>> {
    let config = Config {
        hidden: 16,
        learning_rate: 0.01,
        batch_size: 64,
        max_epochs: 60,
        seed: 7,
    };
    train(&config, &wines())
}
