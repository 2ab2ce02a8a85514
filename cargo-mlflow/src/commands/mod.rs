//! The commands, a file for each.

mod artifacts;
mod cleanup;
mod compare;
mod completions;
mod demo;
mod doctor;
mod experiments;
mod export;
mod journal;
mod plot;
mod question;
mod runs;
mod show;
mod sync;

use mlflow::Config;
use mlflow::blocking::Client;
use mlflow::search::{SearchRuns, ViewType};

use crate::arguments::{Arguments, Choice, Command, Global};
use crate::failure::Failure;
use crate::output::Output;
use crate::selection;

/// Runs the command that the arguments name.
pub(crate) fn run(arguments: &Arguments) -> Result<(), Failure> {
    let output = Output::new(&arguments.global);
    let client = || Client::with_config(config(&arguments.global));
    match &arguments.command {
        Command::Runs(options) => runs::run(&client(), output, options),
        Command::Show(options) => show::run(&client(), output, options),
        Command::Compare(options) => compare::run(&client(), output, options),
        Command::Plot(options) => plot::run(&client(), output, options),
        Command::Experiments(options) => experiments::run(&client(), output, options),
        Command::Artifacts(options) => artifacts::run(&client(), output, options),
        Command::Export(options) => export::run(&client(), output, options),
        Command::Cleanup(options) => cleanup::run(&client(), output, options),
        Command::Sync(options) => sync::run(config(&arguments.global), output, options),
        Command::Journal(options) => journal::run(&config(&arguments.global), output, options),
        Command::Doctor => doctor::run(config(&arguments.global), output),
        Command::Demo => demo::run(config(&arguments.global), output),
        Command::Completions { shell } => completions::run(*shell),
    }
}

fn config(global: &Global) -> Config {
    match &global.tracking_uri {
        Some(uri) => Config::new().tracking_uri(uri),
        None => Config::new(),
    }
}

/// Returns the search for the chosen runs.
fn search(choice: &Choice) -> SearchRuns {
    let mut search = selection::runs_of(&choice.experiment);
    if let Some(filter) = &choice.filter {
        search = search.filter(filter.as_str());
    }
    for order in &choice.order_by {
        search = search.order_by(order.as_str());
    }
    if choice.deleted {
        search = search.view(ViewType::DeletedOnly);
    }
    search
}
