//! The commands, a file for each.

mod artifacts;
mod cleanup;
mod compare;
mod completions;
mod demo;
mod doctor;
mod experiments;
mod export;
mod import;
mod inspect;
mod interrupt;
mod journal;
#[cfg(feature = "mcp")]
mod mcp;
mod plot;
mod question;
mod restore;
mod runs;
mod show;
mod sync;
mod watch;

use std::fs;
use std::path::Path;
use std::time::Duration;

use mlflow::blocking::Client;
use mlflow::search::{SearchRuns, ViewType};
use mlflow::{Config, SettingSource};

use crate::arguments::{Arguments, Choice, Command, Global};
use crate::failure::Failure;
use crate::output::Output;
use crate::output::waiting::Waiting;
use crate::selection;

/// Longest time to wait for an answer, unless it is set.
const DEFAULT_TIMEOUT: Duration = Duration::from_secs(30);
/// Shortest time that can be set.
const MIN_TIMEOUT: Duration = Duration::from_millis(1);
/// Remark on a folder of files in the place of a database.
const FILE_STORE_REMARK: &str = "A folder of files, `mlruns`, cannot be read. Let MLflow move it to a database: `mlflow \
    migrate-filestore --source FOLDER --target sqlite:///mlflow.db`; or serve it, `mlflow server --backend-store-uri \
    FOLDER`, and give --tracking-uri the server's address";

/// Runs the command that the arguments name.
pub(crate) fn run(arguments: &Arguments) -> Result<(), Failure> {
    let output = Output::new(&arguments.global);
    let global = &arguments.global;
    let with_client = |run: &dyn Fn(&Client) -> Result<(), Failure>| {
        let config = answering_config(global)?;
        let client = Client::with_config(config);
        let waiting = Waiting::watch(output, client.uri());
        let ended = run(&client).map_err(|failure| name_store(failure, &client));
        drop(waiting);
        ended
    };
    match &arguments.command {
        Command::Runs(options) => with_client(&|client| runs::run(client, output, options)),
        Command::Show(options) => with_client(&|client| show::run(client, output, options)),
        Command::Compare(options) => with_client(&|client| compare::run(client, output, options)),
        Command::Plot(options) => with_client(&|client| plot::run(client, output, options)),
        Command::Watch(options) => {
            let config = answering_config(global)?;
            watch::run(&config, is_store_named(global), output, options)
        }
        Command::Inspect(options) => {
            let config = answering_config(global)?;
            inspect::run(&config, is_store_named(global), output, options)
        }
        Command::Experiments(options) => {
            with_client(&|client| experiments::run(client, output, options))
        }
        Command::Artifacts(options) => {
            with_client(&|client| artifacts::run(client, output, options))
        }
        Command::Export(options) => with_client(&|client| export::run(client, output, options)),
        Command::Import(options) => with_client(&|client| import::run(client, output, options)),
        Command::Cleanup(options) => with_client(&|client| cleanup::run(client, output, options)),
        Command::Restore(options) => with_client(&|client| restore::run(client, output, options)),
        Command::Sync(options) => sync::run(config(global), output, options, global.timeout),
        Command::Journal(options) => journal::run(&config(global), output, options, global.timeout),
        Command::Doctor => doctor::run(bounded_config(global), output),
        Command::Demo(options) => {
            let config = bounded_config(global);
            check_uri(&config)?;
            demo::run(config, output, options, global)
        }
        #[cfg(feature = "mcp")]
        Command::Mcp(options) => {
            let config = config(global);
            check_uri(&config)?;
            let is_store_named = is_store_named(global);
            mcp::run(config, is_store_named, output, options, global.timeout)
        }
        Command::Completions { shell } => completions::run(*shell),
    }
}

/// Names the store that is not available: its URI may come from a variable, which nobody sees.
fn name_store(failure: Failure, client: &Client) -> Failure {
    match failure {
        Failure::Unavailable(_) => failure.with_remark(&format!("The store is {}", client.uri())),
        Failure::NotFound(_) if is_file_store_instead(&client.uri()) => {
            failure.with_remark(FILE_STORE_REMARK)
        }
        other => other,
    }
}

fn config(global: &Global) -> Config {
    match &global.tracking_uri {
        Some(uri) => Config::new().tracking_uri(uri),
        None => Config::new(),
    }
}

/// Returns the configuration for a command that waits for answers, and therefore not for long. Its tracking URI can be
/// used.
fn answering_config(global: &Global) -> Result<Config, Failure> {
    let config = bounded_config(global);
    let config = if is_named(&config, "MLFLOW_HTTP_REQUEST_TIMEOUT") {
        config
    } else {
        config.request_timeout(DEFAULT_TIMEOUT)
    };
    check_uri(&config)?;
    Ok(config)
}

/// Returns the configuration with the longest wait that the arguments name, if they do.
fn bounded_config(global: &Global) -> Config {
    match global.timeout {
        Some(timeout) => config(global).request_timeout(timeout.max(MIN_TIMEOUT)),
        None => config(global),
    }
}

/// Returns true if somebody has named a store, so that no other one is meant.
fn is_store_named(global: &Global) -> bool {
    is_named(&config(global), "MLFLOW_TRACKING_URI")
}

/// Returns true if somebody has set a setting: by an argument, a variable or the configuration file.
fn is_named(config: &Config, name: &str) -> bool {
    let settings = config.explain();
    let mut settings = settings.iter().filter(|setting| setting.name == name);
    settings.any(|setting| setting.source != SettingSource::Default)
}

/// Checks that the tracking URI can be used.
fn check_uri(config: &Config) -> Result<(), Failure> {
    let Some(fault) = config.tracking_uri_fault() else {
        return Ok(());
    };
    let failure = Failure::Usage(fault);
    Err(if failure.to_string().contains("`mlruns`") {
        failure.with_remark(FILE_STORE_REMARK)
    } else {
        failure
    })
}

/// Returns true if there is no such SQLite file, but a folder `mlruns` beside it in which MLflow kept runs before it
/// had databases.
fn is_file_store_instead(uri: &str) -> bool {
    let Some(file) = uri.strip_prefix("sqlite:///").map(Path::new) else {
        return false;
    };
    let has_experiment = |folder: &Path| {
        let entries = fs::read_dir(folder).into_iter().flatten().flatten();
        entries
            .into_iter()
            .any(|entry| entry.path().join("meta.yaml").exists())
    };
    !file.exists() && has_experiment(&file.with_file_name("mlruns"))
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
