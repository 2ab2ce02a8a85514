//! Settings from a file `.env`, and what takes precedence over them.
//!
//! ```sh
//! cargo run --example dotenv
//! ```
//!
//! The library reads the environment, and no file of this kind: the crate `dotenvy`, or another one, puts the file into the
//! environment. That has to happen first in `main`. The library reads a setting when it first needs it, and the environment
//! must not change while other threads read it, so a program with `#[tokio::main]` loads the file in a plain `main` and starts
//! its runtime afterwards.
//!
//! The example starts itself in four ways, and shows where the run of each has gone. The strongest comes first:
//!
//! 1. what an attribute or a builder says about one run,
//! 2. what is given to `mlflow::configure`,
//! 3. the environment of the process,
//! 4. the file `.env`, as `dotenvy` leaves variables alone that are set already,
//! 5. the defaults of the library.

use std::env;
use std::error::Error;
use std::process::Command;
use std::time::Duration;

use mlflow::blocking::Client;
use mlflow::{Config, Run, start_run};

/// File `.env` of a folder that has none. Keep files with passwords out of version control.
const SAMPLE: &str = "\
# Read by the program itself, not by a shell.
MLFLOW_TRACKING_URI=sqlite:///mlflow.db
MLFLOW_EXPERIMENT_NAME=dotenv-file
MLFLOW_RUN_CONTEXT='{\"team\": \"cellar\"}'
# For a server:
# MLFLOW_TRACKING_URI=https://mlflow.example.com
# MLFLOW_TRACKING_TOKEN_FILE=/run/secrets/mlflow-token
";

fn main() -> Result<(), Box<dyn Error>> {
    // First of all, before any other thread and any use of the library.
    match dotenvy::dotenv() {
        Ok(_) => {}
        Err(error) if error.not_found() => dotenvy::from_read(SAMPLE.as_bytes())?,
        // This error contains the line, which may be that of a password.
        Err(dotenvy::Error::LineParse(..)) => return Err("a line of .env is no NAME=value".into()),
        Err(error) => return Err(format!("the file .env cannot be read: {error}").into()),
    }

    let Some(way) = env::args().nth(1) else {
        return start_in_each_way();
    };
    let mut run = start_run().name(&way);
    if way == "configure" || way == "builder" {
        mlflow::configure(Config::new().experiment("dotenv-configure"));
    }
    if way == "builder" {
        run = run.experiment("dotenv-builder");
    }
    show(&run.start())
}

/// Prints where a run is in the store.
fn show(run: &Run) -> Result<(), Box<dyn Error>> {
    mlflow::flush(Duration::from_secs(30));
    let client = Client::new();
    let run_id = run.run_id().ok_or("the run has not arrived")?;
    let run = client.run(run_id)?;
    let experiment = client.experiment_by_id(&run.experiment_id)?;
    let team = run.tag("team").unwrap_or("none");
    println!("{}: experiment {}, team {team}", run.name, experiment.name);
    Ok(())
}

/// Starts this program once in each way.
fn start_in_each_way() -> Result<(), Box<dyn Error>> {
    let this_program = env::current_exe()?;
    for way in ["file", "environment", "configure", "builder"] {
        let mut command = Command::new(&this_program);
        command.arg(way);
        // This process has the file's variables in its environment, and hands them on.
        if way != "file" {
            command.env("MLFLOW_EXPERIMENT_NAME", "dotenv-environment");
        }
        let status = command.status()?;
        if !status.success() {
            return Err(format!("`{way}` ended with {status}").into());
        }
    }
    Ok(())
}
