//! `cargo mlflow`: MLflow's runs in the terminal.
//!
//! Invariants: results go to stdout and everything else to stderr; with `--json`, stdout holds JSON alone. The
//! exit code tells programs what happened: see [`failure::Failure`]. A command that reads changes nothing.
//!
//! Each command is a file in [`commands`]. It asks a [`mlflow::blocking::Client`], which reads a server or a
//! SQLite file alike, and writes through [`output::Output`].

mod analysis;
mod arguments;
mod commands;
mod comparison;
mod console_log;
mod failure;
mod goal;
mod live;
mod output;
mod run_diagnosis;
mod selection;

use std::process::ExitCode;

use clap::error::ErrorKind;

use arguments::Arguments;
use failure::Failure;

fn main() -> ExitCode {
    let arguments = Arguments::read(without_subcommand_name(std::env::args_os()));
    let arguments = match arguments {
        Ok(arguments) => arguments,
        // Whoever types the name alone wants to see what there is, also in a pager.
        Err(error) if error.kind() == ErrorKind::DisplayHelpOnMissingArgumentOrSubcommand => {
            anstream::print!("{}", error.render().ansi());
            return u8::try_from(error.exit_code()).map_or(ExitCode::FAILURE, ExitCode::from);
        }
        Err(error) => error.exit(),
    };
    let ended = commands::run(&arguments);
    match ended {
        Ok(()) => ExitCode::SUCCESS,
        // The reader of the output has left, e.g. `head`: nobody needs the rest.
        Err(failure) if failure.is_broken_pipe() => ExitCode::SUCCESS,
        Err(failure) => report(&failure),
    }
}

fn report(failure: &Failure) -> ExitCode {
    let text = output::printable(&output::without_escapes(&failure.to_string()));
    anstream::eprintln!("{} {text}", output::style::error("error:"));
    ExitCode::from(failure.exit_code())
}

/// Removes the name under which Cargo calls the program: `cargo mlflow runs` starts `cargo-mlflow mlflow runs`.
fn without_subcommand_name(
    arguments: impl Iterator<Item = std::ffi::OsString>,
) -> impl Iterator<Item = std::ffi::OsString> {
    let mut arguments = arguments.peekable();
    let program = arguments.next();
    if arguments.peek().is_some_and(|first| first == "mlflow") {
        arguments.next();
    }
    program.into_iter().chain(arguments)
}
