//! Lines about what a user has asked for and does not get: a setting, a run that was never started.
//!
//! Invariant: each comes once in a process, as a warning for subscribers and as a line on stderr, as most
//! programs have no subscriber; neither shows a credential. `MLFLOW_SUPPRESS_PRINTING_URL_TO_STDOUT` leaves the line out.

use std::fmt;
use std::sync::Mutex;
use std::sync::atomic::{AtomicBool, Ordering};

use mlflow_redact::{Edge, mask};

use crate::diagnostics::Said;
use crate::exit::say;
use crate::fork::PerProcess;
use crate::tracker::lock;

static SAID: PerProcess<Mutex<Said>> = PerProcess::new();
static IS_QUIET: AtomicBool = AtomicBool::new(false);

/// Leaves the lines on stderr out from now on, or does not.
pub(crate) fn set_quiet(is_quiet: bool) {
    IS_QUIET.store(is_quiet, Ordering::Relaxed);
}

/// Says what is not as it was asked for.
pub(crate) fn warn_user(line: fmt::Arguments<'_>) {
    let line = line.to_string();
    let line = mask(&line, Edge::End).map_or(line, |masked| masked.text);
    let Some(end) = lock(SAID.get()).admit("asked for", &line) else {
        return;
    };
    tracing::warn!(target: "mlflow", "{line}{end}");
    if !IS_QUIET.load(Ordering::Relaxed) {
        say(&format!("mlflow: {line}{end}"));
    }
}
