//! Training of Burn that is killed, and goes on from its last checkpoint, in one run of MLflow.
//!
//! ```sh
//! cargo run --example resume
//! ```
//!
//! The first call trains in a process of its own, which dies without a word behind epoch 4, as if it had been killed. The second
//! one finds the unfinished run, fetches the newest checkpoint into a folder of its own, and trains the other epochs.

mod wine_network;

use std::error::Error;
use std::{env, fs, process};

use burn::optim::AdamConfig;
use burn::optim::lr_scheduler::constant::ConstantLr;
use burn::tensor::Device;
use burn::train::metric::LossMetric;
use burn::train::{Learner, SupervisedTraining};
use mlflow::RunStatus;
use mlflow::blocking::Client;
use mlflow::search::SearchRuns;
use mlflow_burn::CheckpointWithMlflow as _;

use wine_network::{Network, loader, wines};

const EXPERIMENT: &str = "burn-resume";
const EPOCHS: usize = 10;

fn main() -> Result<(), Box<dyn Error>> {
    if let Some(last_epoch) = env::args().nth(1) {
        return train(last_epoch.parse()?);
    }
    for last_epoch in [4, EPOCHS] {
        let ended = process::Command::new(env::current_exe()?)
            .arg(last_epoch.to_string())
            .status()?;
        eprintln!("the process with the epochs until {last_epoch} ended with {ended}");
    }

    let client = Client::new();
    let runs = client.search_runs(SearchRuns::new().experiment(EXPERIMENT));
    let runs: Vec<_> = runs.collect::<Result<_, _>>()?;
    let [run] = &runs[..] else {
        return Err(format!("there are {} runs instead of one", runs.len()).into());
    };
    let history = client.metric_history(&run.run_id, "valid/Loss")?;
    eprintln!("{} has the epochs {:?}", run.name, history.steps());
    if history.len() != EPOCHS {
        return Err(format!("there are {} epochs instead of {EPOCHS}", history.len()).into());
    }
    Ok(())
}

/// Trains up to an epoch, from the last checkpoint if there is one.
fn train(last_epoch: usize) -> Result<(), Box<dyn Error>> {
    let device = Device::flex().autodiff();
    device.seed(7);
    let wines = wines();
    let (training, validation) = wines.split_at(wines.len() * 3 / 4);
    let folder = env::temp_dir().join(format!("mlflow-burn-resume-{}", process::id()));
    let (training, run) =
        SupervisedTraining::new(&folder, loader(training, 64), loader(validation, 64))
            .metric_train_numeric(LossMetric::new())
            .metric_valid_numeric(LossMetric::new())
            .num_epochs(last_epoch)
            .with_application_logger(None)
            .resume_with_mlflow(
                &folder,
                mlflow::start_run().experiment(EXPERIMENT).name("fit"),
            )?;
    mlflow::keep_checkpoints(2);
    let result = training.launch(Learner::new(
        Network::new(16, &device),
        AdamConfig::new().init(),
        ConstantLr::new(0.01),
    ));
    fs::remove_dir_all(&folder)?;
    if last_epoch < EPOCHS {
        process::abort(); // as if by the scheduler
    }
    if let Some(error) = result.error {
        run.finish(RunStatus::Failed);
        return Err(error.to_string().into());
    }
    Ok(())
}
