//! Warnings about anything that a user has requested and does not get: a setting, a run that was never
//! started.
//!
//! Invariant: each warning is issued once in a process, as a warning for `tracing` subscribers and as a line
//! on stderr, because most programs have no subscriber. Neither contains a credential.
//! `MLFLOW_SUPPRESS_PRINTING_URL_TO_STDOUT` leaves out the line on stderr.

mod limit;

use std::fmt;
use std::sync::Mutex;
use std::sync::atomic::{AtomicBool, Ordering};

pub(crate) use limit::{WarningLimit, WarningLog};
use mlflow_rules::{Edge, mask};

use crate::os::fork::PerProcess;
use crate::stderr::write_stderr_line;
use crate::sync::lock;

static WARNING_LOG: PerProcess<Mutex<WarningLog>> = PerProcess::new();
static IS_QUIET: AtomicBool = AtomicBool::new(false);

/// Turns the lines on stderr off or on, from now on.
pub(crate) fn set_quiet(is_quiet: bool) {
    IS_QUIET.store(is_quiet, Ordering::Relaxed);
}

/// Warning that is not issued yet. Code that reads a value leaves the choice to its caller: to issue the
/// warning, or to show its text.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct UserWarning(String);

impl UserWarning {
    pub(crate) fn new(line: fmt::Arguments<'_>) -> Self {
        Self(line.to_string())
    }

    /// Issues the warning, unless the same warning was issued before.
    pub(crate) fn issue(&self) {
        warn_user(format_args!("{}", self.0));
    }

    /// Returns the text, without credentials.
    pub(crate) fn into_text(self) -> String {
        mask_credentials(self.0)
    }
}

/// Issues a warning, unless the same warning was issued before.
pub(crate) fn warn_user(line: fmt::Arguments<'_>) {
    let line = mask_credentials(line.to_string());
    let admitted = lock(WARNING_LOG.get()).admit("asked for", &line);
    if let Some(end) = admitted {
        emit_warning(&format!("{line}{end}"));
    }
}

/// Issues a warning of which the caller knows that it was not issued before.
pub(crate) fn warn_without_dedup(line: String) {
    emit_warning(&mask_credentials(line));
}

/// Returns the line without credentials: the name of a value may hold one.
pub(crate) fn mask_credentials(line: String) -> String {
    mask(&line, Edge::End).map_or(line, |masked| masked.text)
}

/// Writes a line for the user to stderr alone: `tracing` subscribers are told in another way.
pub(crate) fn tell_user(line: fmt::Arguments<'_>) {
    write_unless_quiet(&mask_credentials(line.to_string()));
}

fn emit_warning(line: &str) {
    tracing::warn!(target: "mlflow", "{line}");
    write_unless_quiet(line);
}

fn write_unless_quiet(line: &str) {
    if !IS_QUIET.load(Ordering::Relaxed) {
        write_stderr_line(&format!("mlflow: {line}"));
    }
}
