//! Lines about scores that are left out.
//!
//! Invariant: each line is written once in a process, as a warning for `tracing` subscribers and as a line on stderr, because
//! most programs have no subscriber. `MLFLOW_SUPPRESS_PRINTING_URL_TO_STDOUT` leaves out the line on stderr.

use std::collections::BTreeSet;
use std::fmt;
use std::io::Write as _;
use std::sync::{Mutex, PoisonError};

/// Greatest number of lines that a process writes and remembers.
const MAX_LINES: usize = 100;

static WRITTEN: Mutex<BTreeSet<String>> = Mutex::new(BTreeSet::new());

/// Writes a line, unless the same line was written before.
pub(crate) fn warn_once(line: fmt::Arguments<'_>) {
    let line = line.to_string();
    let mut written = WRITTEN.lock().unwrap_or_else(PoisonError::into_inner);
    if written.len() >= MAX_LINES || !written.insert(line.clone()) {
        return;
    }
    drop(written);
    tracing::warn!(target: "mlflow", "{line}");
    let is_quiet = std::env::var("MLFLOW_SUPPRESS_PRINTING_URL_TO_STDOUT")
        .is_ok_and(|value| value == "1" || value.eq_ignore_ascii_case("true"));
    if !is_quiet {
        // A closed stderr must not end the program, as `eprintln!` would.
        let _ = writeln!(std::io::stderr(), "mlflow: {line}");
    }
}
