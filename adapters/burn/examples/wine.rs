//! Network of Burn that learns to judge red wines, as a run of MLflow.
//!
//! ```sh
//! cargo run --example wine
//! mlflow ui        # in the same folder, then open http://127.0.0.1:5000
//! ```
//!
//! Each field of the config is a param of the run. Burn stops by itself when the wines that it has not seen are judged no better for five
//! epochs. The error over the wines that are kept for the end is the metric `test/unseen/Loss`.

mod wine_network;

use std::error::Error;

use burn::config::Config;
use burn::optim::AdamConfig;
use burn::optim::lr_scheduler::constant::ConstantLr;
use burn::tensor::Device;
use burn::train::metric::LossMetric;
use burn::train::metric::store::{Aggregate, Direction, Split};
use burn::train::{
    EvaluatorBuilder, Learner, MetricEarlyStoppingStrategy, StoppingCondition, SupervisedTraining,
};
use mlflow_burn::TrackWithMlflow as _;

use wine_network::{Network, Wine, loader, wines};

/// Settings of the training.
#[derive(Config, Debug)]
struct TrainingConfig {
    optimizer: AdamConfig,
    #[config(default = 16)]
    hidden: usize,
    #[config(default = 0.01)]
    learning_rate: f64,
    #[config(default = 64)]
    batch_size: usize,
    #[config(default = 60)]
    max_epochs: usize,
    #[config(default = 7)]
    seed: u64,
}

/// Learns to predict the score that tasters gave to a red wine from eleven measurements.
#[mlflow::tracked(
    experiment = "burn-wine",
    run_name = "hidden={config.hidden}",
    skip(config, wines)
)]
fn train(config: &TrainingConfig, wines: &[Wine]) -> Result<(), Box<dyn Error>> {
    mlflow::log_params(config);
    let device = Device::flex().autodiff();
    device.seed(config.seed);
    let (training, rest) = wines.split_at(wines.len() * 3 / 5);
    let (validation, unseen) = rest.split_at(rest.len() / 2);
    let batches = |wines| loader(wines, config.batch_size);
    let learner = Learner::new(
        Network::new(config.hidden, &device),
        config.optimizer.init(),
        ConstantLr::new(config.learning_rate),
    );
    let folder = std::env::temp_dir().join("mlflow-burn-wine");
    let trained = SupervisedTraining::new(&folder, batches(training), batches(validation))
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
    if let Some(error) = trained.error {
        return Err(error.to_string().into());
    }
    let tested = EvaluatorBuilder::new(&folder)
        .metric_numeric(LossMetric::new())
        .with_application_logger(None)
        .track_with_mlflow()
        .build(trained.model)
        .eval("unseen", batches(unseen));
    match tested.error {
        Some(error) => Err(error.to_string().into()),
        None => Ok(()),
    }
}

fn main() -> Result<(), Box<dyn Error>> {
    train(&TrainingConfig::new(AdamConfig::new()), &wines())
}
