//! `journal`: what waits for delivery on this machine.
//!
//! Invariant: no command changes the journal of a running process, and only `resend` and `drop` change any.

mod choice;
mod entry;
mod export;
mod list;
mod remove;
mod resend;
mod show;
mod verify;

use std::time::Duration;

use mlflow::Config;

use crate::arguments::Journal;
use crate::failure::Failure;
use crate::output::Output;

/// Runs the command.
pub(crate) fn run(
    config: &Config,
    output: Output,
    options: &Journal,
    timeout: Option<Duration>,
) -> Result<(), Failure> {
    match options {
        Journal::Ls => list::run(config, output),
        Journal::Show { journal, entries } => show::run(config, output, journal, *entries),
        Journal::Verify { journal } => verify::run(config, output, journal.as_deref()),
        Journal::Export {
            journal,
            output: file,
        } => export::run(config, output, journal, file.as_deref()),
        Journal::Resend => resend::run(config, output, timeout),
        Journal::Drop { journal, yes } => remove::run(config, output, journal, *yes),
    }
}

/// Returns the failure of a journal that cannot be read.
fn cannot_read(error: std::io::Error) -> Failure {
    Failure::Io("cannot read the journals".to_owned(), error)
}
