//! Text put together from constants, arguments and the moment: `lr-{lr}-{timestamp}`.
//!
//! Invariant: a part that is too long for a name makes a text that is, so that whoever takes it
//! sees it.

use std::fmt::{self, Display};

use crate::capture::{Text, TextEnd, Values, render_debug, truncate_to_text};
use crate::environment;
use crate::model::limits::EXPERIMENT_NAME_CHARS;
use crate::time;

/// More than any name may have.
const PART_CHARS: usize = EXPERIMENT_NAME_CHARS + 1;

/// A run's or experiment's name in the making.
#[derive(Debug)]
pub struct Template(Text);

impl Default for Template {
    fn default() -> Self {
        Self(String::new().into())
    }
}

impl Template {
    /// Empty.
    #[must_use]
    pub fn new() -> Self {
        Self::default()
    }

    /// Constant text.
    pub fn text(&mut self, text: &str) {
        self.0.text.push_str(text);
    }

    fn push_part(&mut self, part: &Text) {
        self.0.text.push_str(&part.text);
        self.0.end = self.0.end.and(part.end);
    }

    /// `{argument}`.
    // By value: it is made for this call, and the macro's expansion stays free of a borrow.
    pub fn value(&mut self, value: Values) {
        let value = value.into_text();
        self.0.end = self.0.end.and(value.end);
        self.push_part(&truncate_to_text(PART_CHARS, &value.text));
    }

    /// `{argument:.3}`, `{argument:?}`.
    pub fn formatted(&mut self, text: fmt::Arguments<'_>) {
        self.push_part(&render_debug(PART_CHARS, text));
    }

    /// `{timestamp}`.
    pub fn timestamp(&mut self) {
        self.text(&time::format_compact_utc(time::now_ms()));
    }

    /// `{env}`: `MLFLOW_ENV`, else `default`.
    pub fn env(&mut self) {
        let deployment = environment::deployment_environment();
        self.text(deployment.as_deref().unwrap_or("default"));
    }
}

impl Display for Template {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0.text)?;
        match self.0.end {
            // A part that was cut is too long for the name, too.
            TextEnd::Complete
            | TextEnd::Truncated
            | TextEnd::TooMany
            | TextEnd::TooDeep
            | TextEnd::Locked => Ok(()),
            TextEnd::Failed | TextEnd::Panicked => Err(fmt::Error),
        }
    }
}
