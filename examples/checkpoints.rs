//! Trains with checkpoints, is killed in the middle, and goes on from the last checkpoint, in one run.
//!
//! ```sh
//! cargo run --example checkpoints
//! ```
//!
//! The first call trains in a process of its own, which dies without a word at epoch 3, as if it had been killed. The second
//! one finds the unfinished run and fetches the newest checkpoint. In the MLflow UI there is one run with all epochs.

use std::error::Error;
use std::{env, fs, process};

use mlflow::blocking::Client;
use mlflow::search::SearchRuns;
use mlflow::start_run;

const EXPERIMENT: &str = "checkpoints";
const EPOCHS: usize = 6;

/// State of the training, which a checkpoint holds.
#[derive(serde::Serialize, serde::Deserialize)]
struct State {
    epoch: usize,
    weight: f64,
}

fn main() -> Result<(), Box<dyn Error>> {
    if let Some(last_epoch) = env::args().nth(1) {
        return train(last_epoch.parse()?);
    }
    let this_program = env::current_exe()?;
    let killed = process::Command::new(&this_program).arg("3").status()?;
    println!("the first process ended with {killed}");
    let resumed = process::Command::new(&this_program)
        .arg(EPOCHS.to_string())
        .status()?;
    println!("the second process ended with {resumed}");

    let client = Client::new();
    let runs = client.search_runs(SearchRuns::new().experiment(EXPERIMENT));
    let runs: Vec<_> = runs.collect::<Result<_, _>>()?;
    let [run] = &runs[..] else {
        return Err(format!("there are {} runs instead of one", runs.len()).into());
    };
    let history = client.metric_history(&run.run_id, "loss")?;
    println!("{} has the epochs {:?}", run.name, history.steps());
    if history.len() != EPOCHS {
        return Err(format!("there are {} epochs instead of {EPOCHS}", history.len()).into());
    }
    Ok(())
}

/// Trains up to an epoch, from the last checkpoint if there is one.
fn train(last_epoch: usize) -> Result<(), Box<dyn Error>> {
    let resume = start_run().experiment(EXPERIMENT).name("fit").resume_last();
    let mut state = match resume.download_checkpoint("restored")? {
        Some(file) => serde_json::from_slice(&fs::read(file)?)?,
        None => State {
            epoch: 0,
            weight: 1.0,
        },
    };
    println!("training from epoch {}", state.epoch);
    let _run = resume.start();
    while state.epoch < last_epoch {
        state.weight *= 0.5; // one epoch of work
        mlflow::metric!("loss", state.weight, step = state.epoch);
        state.epoch += 1;
        fs::write("state.json", serde_json::to_vec(&state)?)?;
        mlflow::log_checkpoint("state.json", state.epoch);
    }
    if last_epoch < EPOCHS {
        process::abort(); // as if by the scheduler
    }
    Ok(())
}
