//! The commands, a file for each.

mod artifacts;
mod cleanup;
mod compare;
mod completions;
mod demo;
mod doctor;
mod experiments;
mod export;
mod inspect;
mod interrupt;
mod journal;
mod plot;
mod question;
mod runs;
mod show;
mod sync;
mod watch;

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
    let with_client = |run: &dyn Fn(&Client) -> Result<(), Failure>| {
        let client = Client::with_config(config(&arguments.global));
        run(&client).map_err(|failure| match failure {
            // The URI may come from a variable, which nobody sees here.
            Failure::Unavailable(_) => {
                failure.with_remark(&format!("The store is {}", client.uri()))
            }
            other => other,
        })
    };
    match &arguments.command {
        Command::Runs(options) => with_client(&|client| runs::run(client, output, options)),
        Command::Show(options) => with_client(&|client| show::run(client, output, options)),
        Command::Compare(options) => with_client(&|client| compare::run(client, output, options)),
        Command::Plot(options) => with_client(&|client| plot::run(client, output, options)),
        Command::Watch(options) => watch::run(&config(&arguments.global), output, options),
        Command::Inspect(options) => inspect::run(&config(&arguments.global), output, options),
        Command::Experiments(options) => {
            with_client(&|client| experiments::run(client, output, options))
        }
        Command::Artifacts(options) => {
            with_client(&|client| artifacts::run(client, output, options))
        }
        Command::Export(options) => with_client(&|client| export::run(client, output, options)),
        Command::Cleanup(options) => with_client(&|client| cleanup::run(client, output, options)),
        Command::Sync(options) => sync::run(config(&arguments.global), output, options),
        Command::Journal(options) => journal::run(&config(&arguments.global), output, options),
        Command::Doctor => doctor::run(config(&arguments.global), output),
        Command::Demo(options) => {
            let uri = arguments.global.tracking_uri.as_deref();
            demo::run(config(&arguments.global), output, options, uri)
        }
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
