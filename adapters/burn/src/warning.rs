//! Lines about what cannot be logged or resumed: a warning for `tracing` subscribers, and a line on stderr, because most programs
//! have no subscriber.

use std::fmt;
use std::io::Write as _;

/// Writes a line.
pub(crate) fn warn(line: fmt::Arguments<'_>) {
    tracing::warn!(target: "mlflow", "{line}");
    // A closed stderr must not end the program, as `eprintln!` would.
    let _ = writeln!(std::io::stderr(), "mlflow: {line}");
}
