//! `journal resend`: sends again what the store has refused for good.

use std::ops::ControlFlow;
use std::time::Duration;

use mlflow::journals::{self, JournalState};
use mlflow::{Config, TrackingState};
use serde::Serialize;

use super::cannot_read;
use crate::commands::sync::progress::Progress;
use crate::commands::{check_uri, sync};
use crate::failure::Failure;
use crate::output::{Output, format};

/// Result, as it is written for programs.
#[derive(Serialize)]
struct Resent {
    destination: String,
    journals: u64,
    complete: bool,
    delivered: u64,
    /// Values that the store has refused again; they are kept.
    rejected: u64,
    blocked: u64,
    reason: Option<String>,
}

impl Resent {
    /// Creates the result for a destination that has refused nothing.
    fn nothing(destination: String) -> Self {
        Self {
            destination,
            journals: 0,
            complete: true,
            delivered: 0,
            rejected: 0,
            blocked: 0,
            reason: None,
        }
    }
}

/// Sends what the configured destination has refused.
pub(super) fn run(
    config: &Config,
    output: Output,
    timeout: Option<Duration>,
) -> Result<(), Failure> {
    check_uri(config)?;
    let recovery = sync::start(config.clone().enabled(true).quiet(true))?;
    let destination = recovery.destination().to_owned();
    let (mut values, mut elsewhere) = (0, 0);
    for journal in journals::find(config).map_err(cannot_read)? {
        if journal.state() == JournalState::Rejected {
            let journal = journal.summary_or_error();
            if journal.destination.as_ref() == Some(&destination) {
                values += journal.waiting_values();
            } else {
                elsewhere += 1;
            }
        }
    }
    let journals = recovery.put_back_rejected() as u64;
    if journals == 0 {
        if output.json {
            return output.json(&Resent::nothing(destination));
        }
        output.remark(format_args!(
            "{destination} has refused nothing that is kept"
        ));
        if elsewhere > 0 {
            output.remark(format_args!(
                "{} of other destinations: choose one by --tracking-uri or MLFLOW_TRACKING_URI; `cargo mlflow \
                 journal ls` shows them",
                format::counted(elsewhere, "journal")
            ));
        }
        return Ok(());
    }
    let before = recovery.progress();
    let mut progress = Progress::begin(output, values, &before);
    let report = recovery.run(timeout.unwrap_or(Duration::MAX), |now| {
        progress.show(now);
        ControlFlow::Continue(())
    });
    drop(progress);
    let now = recovery.progress();
    let resent = Resent {
        journals,
        complete: report.complete,
        delivered: report.delivered,
        rejected: now.rejected - before.rejected,
        blocked: report.blocked,
        reason: now.reason.filter(|_| !report.complete),
        destination,
    };
    if output.json {
        output.json(&resent)?;
    } else {
        output.line(format_args!(
            "{}: {} delivered, {} refused again",
            resent.destination,
            format::counted(resent.delivered, "value"),
            format::count(resent.rejected)
        ))?;
    }
    if resent.complete {
        return Ok(());
    }
    let reason = resent.reason.as_deref();
    let reason = reason.unwrap_or("the time was too short (--timeout)");
    let text = format!(
        "{}: not everything was sent: {reason}. Nothing is lost; `cargo mlflow sync` goes on",
        resent.destination
    );
    Err(match now.state {
        TrackingState::Waiting | TrackingState::Degraded => Failure::Unavailable(text),
        _ => Failure::Other(text),
    })
}
