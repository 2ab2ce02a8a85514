//! An event as a line of text.
//!
//! Invariants: at most [`LINE_CHARS`] characters; no secret in it, neither by the name of a field nor
//! by its look; a value whose `Debug` panics ends there, no more.

use std::fmt::{self, Write};

use mlflow_rules::{Edge, REDACTED, is_secret_name, mask};
use tracing::field::{Field, Visit};
use tracing::{Event, Metadata};

use crate::capture::{render_debug, render_text};
use crate::time::{self, Rfc3339};

/// Characters of one line; what is longer is cut.
const LINE_CHARS: usize = 8000;

/// What `tracing-log` calls the fields in which it brings what a record of the crate `log` says of
/// itself.
const LOG_FIELD_PREFIX: &str = "log.";
const LOG_CRATE_TARGET: &str = "log";
const LOG_TARGET_FIELD: &str = "log.target";

/// `TIME LEVEL target: span:span: message key=value`, and a line feed.
pub(super) fn format_line<'s>(event: &Event<'_>, spans: impl Iterator<Item = &'s str>) -> String {
    let metadata = event.metadata();
    let rendered = render_text(LINE_CHARS, |out| {
        let now = Rfc3339(time::now_ms());
        write!(
            out,
            "{now} {:>5} {}:",
            metadata.level(),
            event_target(event, metadata)
        )?;
        for span in spans {
            write!(out, " {span}:")?;
        }
        let mut fields = FieldWriter {
            out,
            is_log_record: metadata.target() == LOG_CRATE_TARGET,
            result: Ok(()),
        };
        event.record(&mut fields);
        fields.result
    });
    let mut line = match mask(&rendered.text, Edge::End) {
        Some(masked) => masked.text,
        None => rendered.text,
    };
    line.push('\n');
    line
}

/// That of the event, or of the record that it was.
fn event_target<'m>(event: &Event<'_>, metadata: &'m Metadata<'_>) -> std::borrow::Cow<'m, str> {
    let mut found = LogTarget(None);
    if metadata.target() == LOG_CRATE_TARGET {
        event.record(&mut found);
    }
    found.0.map_or(metadata.target().into(), Into::into)
}

struct LogTarget(Option<String>);

impl Visit for LogTarget {
    fn record_str(&mut self, field: &Field, value: &str) {
        if field.name() == LOG_TARGET_FIELD {
            self.0 = Some(value.to_owned());
        }
    }

    fn record_debug(&mut self, _: &Field, _: &dyn fmt::Debug) {}
}

/// Writes fields until there is no more room.
struct FieldWriter<'w> {
    out: &'w mut dyn Write,
    /// Whether it was a record of the crate `log`.
    is_log_record: bool,
    result: fmt::Result,
}

impl FieldWriter<'_> {
    fn field(&mut self, field: &Field, value: fmt::Arguments<'_>) {
        let name = field.name();
        if self.result.is_err() || (self.is_log_record && name.starts_with(LOG_FIELD_PREFIX)) {
            return;
        }
        self.result = if name == "message" {
            write!(self.out, " {value}")
        } else if is_secret_name(name) {
            write!(self.out, " {name}={REDACTED}")
        } else {
            write!(self.out, " {name}={value}")
        };
    }
}

impl Visit for FieldWriter<'_> {
    fn record_str(&mut self, field: &Field, value: &str) {
        if field.name() == "message" {
            self.field(field, format_args!("{value}"));
        } else {
            self.field(field, format_args!("{value:?}"));
        }
    }

    fn record_error(&mut self, field: &Field, value: &(dyn std::error::Error + 'static)) {
        self.field(field, format_args!("{}", ErrorChain(value)));
    }

    fn record_debug(&mut self, field: &Field, value: &dyn fmt::Debug) {
        // What stands inside may have a secret's name, too.
        let shown = render_debug(LINE_CHARS, format_args!("{value:?}"));
        self.field(field, format_args!("{}", shown.text));
    }
}

/// An error and what caused it.
struct ErrorChain<'e>(&'e (dyn std::error::Error + 'static));

impl fmt::Display for ErrorChain<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}", self.0)?;
        let mut cause = self.0.source();
        while let Some(error) = cause {
            write!(f, ": {error}")?;
            cause = error.source();
        }
        Ok(())
    }
}
