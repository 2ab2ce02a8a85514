//! `doctor`: what programs here would do with their values, and what is wrong with that.
//!
//! Invariants: nothing is created or changed, and nothing but a question for the version and one experiment is
//! sent. Every section is shown, whatever fails in another one. The wait for a server is bounded. No secret is
//! shown.
//!
//! Each section is a file: it finds its facts, and judges them by findings.

mod configuration;
mod git;
mod journal;
mod report;
mod store;

use mlflow::Config;

use crate::failure::Failure;
use crate::output::Output;
use crate::output::format::counted;
pub(crate) use report::Report;

/// Examines everything.
pub(crate) fn examine(config: Config) -> Report {
    let settings = config.explain();
    let journal = journal::examine(&config);
    Report::new(
        configuration::examine(&settings),
        store::examine(config, &settings),
        journal,
        git::examine(),
    )
}

/// Shows what is found. Fails if a finding is an error.
pub(crate) fn run(config: Config, output: Output) -> Result<(), Failure> {
    let report = examine(config);
    if output.json {
        output.json(&report)?;
    } else {
        report.write(output)?;
    }
    match report.errors {
        0 => Ok(()),
        errors => Err(Failure::Other(format!(
            "{} found",
            counted(errors, "error")
        ))),
    }
}
