//! Network of Burn that learns to judge red wines, and its data: what the examples and the benchmark share.

use std::sync::Arc;

use burn::data::dataloader::batcher::Batcher;
use burn::data::dataloader::{DataLoader, DataLoaderBuilder};
use burn::data::dataset::InMemDataset;
use burn::module::Module;
use burn::nn::loss::{MseLoss, Reduction};
use burn::nn::{Linear, LinearConfig};
use burn::tensor::activation::relu;
use burn::tensor::{Device, Tensor, TensorData};
use burn::train::{InferenceStep, RegressionOutput, TrainOutput, TrainStep};

const MEASUREMENTS: usize = 11;

/// Wine with its measurements, scaled to mean 0 and deviation 1, and the score that tasters gave.
#[derive(Clone, Debug)]
pub struct Wine {
    measurements: [f32; MEASUREMENTS],
    score: f32,
}

#[derive(Clone, Debug)]
pub struct WineBatch {
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
pub struct Network {
    hidden: Linear,
    output: Linear,
}

impl Network {
    pub fn new(hidden: usize, device: &Device) -> Self {
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

/// Returns the wines in batches of a size, in another order each time.
pub fn loader(wines: &[Wine], batch_size: usize) -> Arc<dyn DataLoader<WineBatch>> {
    DataLoaderBuilder::new(WineBatcher)
        .batch_size(batch_size)
        .shuffle(7)
        .build(InMemDataset::new(wines.to_vec()))
}

/// Returns the 1,599 red wines of the wine-quality data.
pub fn wines() -> Vec<Wine> {
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
