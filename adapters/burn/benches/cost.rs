//! Time of a training with Burn's own file logger, and with ours, in one process and in turn, on real data.
//!
//! ```sh
//! cargo bench -p mlflow-burn --bench cost > /dev/null     # the figures are on stderr; Burn prints its progress on stdout
//! ```
//!
//! With `--test`, each is trained once for an epoch, so that the program is known to work.

#[path = "../examples/wine_network/mod.rs"]
mod wine_network;

use std::path::Path;
use std::time::Instant;

use burn::optim::AdamConfig;
use burn::optim::lr_scheduler::constant::ConstantLr;
use burn::tensor::Device;
use burn::train::logger::InMemoryMetricLogger;
use burn::train::metric::{LearningRateMetric, LossMetric};
use burn::train::{Learner, SupervisedTraining};
use mlflow_burn::TrackWithMlflow as _;

use wine_network::{Network, Wine, loader, wines};

/// Sizes of the hidden layer: a network whose step costs next to nothing, and one whose step is a small one of real life.
const SIZES: [usize; 2] = [16, 1024];

const ROUNDS: usize = 11;
const EPOCHS: usize = 10;
const BATCH_SIZE: usize = 16;

#[derive(Clone, Copy)]
enum Logger {
    /// Burn's own one, which a training without a call has.
    File,
    /// Burn's own one for tests, which writes nothing.
    Memory,
    Mlflow,
}

/// Trains, and returns the seconds.
fn train(logger: Logger, hidden: usize, epochs: usize, wines: &[Wine], folder: &Path) -> f64 {
    let device = Device::flex().autodiff();
    device.seed(7);
    let (training, validation) = wines.split_at(wines.len() * 3 / 4);
    let learner = Learner::new(
        Network::new(hidden, &device),
        AdamConfig::new().init(),
        ConstantLr::new(0.001),
    );
    let folder = folder.join("burn");
    let training = SupervisedTraining::new(
        &folder,
        loader(training, BATCH_SIZE),
        loader(validation, BATCH_SIZE),
    )
    .metric_train_numeric(LossMetric::new())
    .metric_train_numeric(LearningRateMetric::new())
    .metric_valid_numeric(LossMetric::new())
    .num_epochs(epochs)
    .with_application_logger(None);
    // The start of the run is a part of what tracking costs.
    let begin = Instant::now();
    let result = match logger {
        Logger::File => training.launch(learner),
        Logger::Memory => training
            .with_metric_logger(InMemoryMetricLogger::new())
            .launch(learner),
        Logger::Mlflow => {
            let _run = mlflow::start_run().experiment("burn-cost").start();
            training.track_with_mlflow().launch(learner)
        }
    };
    assert!(result.error.is_none(), "{:?}", result.error);
    begin.elapsed().as_secs_f64()
}

fn median(mut seconds: Vec<f64>) -> f64 {
    seconds.sort_by(f64::total_cmp);
    seconds[seconds.len() / 2]
}

fn main() {
    let is_test = std::env::args().any(|argument| argument == "--test");
    let (rounds, epochs) = if is_test { (1, 1) } else { (ROUNDS, EPOCHS) };
    let folder = tempfile::tempdir().expect("a folder");
    mlflow::configure(
        mlflow::Config::new()
            .tracking_uri(format!("sqlite:///{}/mlflow.db", folder.path().display()))
            .journal_dir(folder.path().join("journal")),
    );
    let wines = wines();
    for hidden in SIZES {
        let loggers = [Logger::File, Logger::Memory, Logger::Mlflow];
        // The first round fills caches, and is not counted.
        for logger in loggers {
            train(logger, hidden, 1, &wines, folder.path());
        }
        let mut seconds = [Vec::new(), Vec::new(), Vec::new()];
        for round in 0..rounds {
            for turn in 0..loggers.len() {
                let at = (round + turn) % loggers.len();
                let took = train(loggers[at], hidden, epochs, &wines, folder.path());
                seconds[at].push(took);
            }
        }
        let [file, memory, mlflow] = seconds.map(median);
        let batches = epochs * wines.len() / BATCH_SIZE;
        let percent = |other: f64| (mlflow / other - 1.0) * 100.0;
        eprintln!(
            "hidden {hidden}: {batches} batches, median of {rounds} rounds: Burn's file logger {file:.3} s, in memory {memory:.3} s, \
             MLflow {mlflow:.3} s: {:+.1} % over the file, {:+.1} % over memory",
            percent(file),
            percent(memory),
        );
    }
    let report = mlflow::flush(std::time::Duration::from_secs(60));
    eprintln!("delivered: {report:?}");
}
