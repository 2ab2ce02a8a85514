//! Text put together from constants, arguments and the moment: `lr-{lr}-{timestamp}`.

use std::fmt::{self, Display};

use crate::capture::{Values, cut};
use crate::clock;
use crate::limits::KEY_CHARS;

/// A run's or experiment's name in the making.
#[derive(Debug, Default)]
pub struct Template(String);

impl Template {
    /// Empty.
    #[must_use]
    pub fn new() -> Self {
        Self::default()
    }

    /// Constant text.
    pub fn text(&mut self, text: &str) {
        self.0.push_str(text);
    }

    /// `{argument}`.
    // By value: it is made for this call, and the macro's expansion stays free of a borrow.
    pub fn value(&mut self, value: Values) {
        self.0.push_str(&cut(KEY_CHARS, &value.into_text()));
    }

    /// `{argument:.3}`.
    pub fn formatted(&mut self, text: fmt::Arguments<'_>) {
        self.0.push_str(&crate::capture::render(KEY_CHARS, |out| {
            out.write_fmt(text)
        }));
    }

    /// `{timestamp}`.
    pub fn timestamp(&mut self) {
        self.0.push_str(&clock::compact(clock::now_ms()));
    }

    /// `{env}`: `MLFLOW_ENV`, else `default`.
    pub fn env(&mut self) {
        let env = std::env::var("MLFLOW_ENV")
            .ok()
            .filter(|env| !env.is_empty());
        self.0.push_str(env.as_deref().unwrap_or("default"));
    }
}

impl Display for Template {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}
