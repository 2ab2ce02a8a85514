//! Names composed of constants, arguments and the present time: `lr-{lr}-{timestamp}`.
//!
//! Invariant: a part that is too long for a name makes the whole text too long for a name, so that the code
//! which receives the text notices.

use std::fmt::{self, Display};

use crate::capture::{Text, TextEnd, Values, render_debug, truncate_to_text};
use crate::environment;
use crate::model::limits::EXPERIMENT_NAME_CHARS;
use crate::time;

/// Largest number of characters of a part: one more than any name may have.
const PART_CHARS: usize = EXPERIMENT_NAME_CHARS + 1;

/// Name of a run or an experiment while it is composed.
#[derive(Debug)]
pub struct Template(Text);

impl Default for Template {
    fn default() -> Self {
        Self(String::new().into())
    }
}

impl Template {
    /// Returns an empty template.
    #[must_use]
    pub fn new() -> Self {
        Self::default()
    }

    /// Appends constant text.
    pub fn text(&mut self, text: &str) {
        self.0.text.push_str(text);
    }

    fn push_part(&mut self, part: &Text) {
        self.0.text.push_str(&part.text);
        self.0.end = self.0.end.and(part.end);
    }

    /// Appends the value of `{argument}`.
    // Taken by value: the value is made for this call, and the macro's expansion needs no borrow.
    pub fn value(&mut self, value: Values) {
        let value = value.into_text();
        self.0.end = self.0.end.and(value.end);
        self.push_part(&truncate_to_text(PART_CHARS, &value.text));
    }

    /// Appends a formatted argument, such as `{argument:.3}` or `{argument:?}`.
    pub fn formatted(&mut self, text: fmt::Arguments<'_>) {
        self.push_part(&render_debug(PART_CHARS, text));
    }

    /// Appends `{timestamp}`, the present time in UTC.
    pub fn timestamp(&mut self) {
        self.text(&time::format_compact_utc(time::now_ms()));
    }

    /// Appends `{env}`: the value of `MLFLOW_ENV`, else `default`.
    pub fn env(&mut self) {
        let deployment = environment::deployment_environment();
        self.text(deployment.as_deref().unwrap_or("default"));
    }
}

impl Display for Template {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0.text)?;
        match self.0.end {
            // A part that was cut is still too long for the name, which is noticed later.
            TextEnd::Complete
            | TextEnd::Truncated
            | TextEnd::TooMany
            | TextEnd::TooDeep
            | TextEnd::Locked => Ok(()),
            TextEnd::Failed | TextEnd::Panicked => Err(fmt::Error),
        }
    }
}
