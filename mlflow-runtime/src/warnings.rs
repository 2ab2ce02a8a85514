//! Lines about settings: what a user has asked for and does not get.
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

/// Says that a setting is not used as it is.
pub(crate) fn warn_of_setting(line: fmt::Arguments<'_>) {
    let line = line.to_string();
    let line = mask(&line, Edge::End).map_or(line, |masked| masked.text);
    let Some(end) = lock(SAID.get()).admit("setting", &line) else {
        return;
    };
    tracing::warn!(target: "mlflow", "{line}{end}");
    if !IS_QUIET.load(Ordering::Relaxed) {
        say(&format!("mlflow: {line}{end}"));
    }
}
