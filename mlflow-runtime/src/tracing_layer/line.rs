//! A `tracing` event as one line of text.
//!
//! Invariants: a line has at most [`LINE_CHARS`] characters. It contains no secret, be it recognised by the
//! name of a field or by the form of a value. A value whose `Debug` panics is cut there, and does no other
//! harm.

use std::fmt::{self, Write};

use mlflow_rules::{Edge, REDACTED, is_secret_name, mask};
use tracing::field::{Field, Visit};
use tracing::{Event, Metadata};

use crate::capture::{render_debug, render_text};
use crate::time::{self, Rfc3339};

/// Maximum length of a line, in characters; a longer line is cut.
const LINE_CHARS: usize = 8000;

/// Prefix of the fields in which `tracing-log` passes on the metadata of a record of the crate `log`.
const LOG_FIELD_PREFIX: &str = "log.";
const LOG_CRATE_TARGET: &str = "log";
const LOG_TARGET_FIELD: &str = "log.target";

/// Formats an event as `TIME LEVEL target: span: span: message key=value` and a line feed.
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

/// Returns the target of the event, or that of the `log` record from which the event was made.
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

/// A visitor that writes fields until the line is full.
struct FieldWriter<'w> {
    out: &'w mut dyn Write,
    /// True if the event was made from a record of the crate `log`.
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
        // Fields inside of the value may have a secret's name, too.
        let shown = render_debug(LINE_CHARS, format_args!("{value:?}"));
        self.field(field, format_args!("{}", shown.text));
    }
}

/// An error and its causes.
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
