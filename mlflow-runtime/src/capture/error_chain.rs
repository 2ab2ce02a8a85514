//! The reason for a run's failure, as text.
//!
//! Invariant: at most [`MAX_CAUSES`] causes are recorded, so a chain of causes without an end does no harm.

use std::any::Any;
use std::error::Error;

use super::bounded_text::{Text, render_text, truncate_to_text};
use crate::model::limits::TAG_VALUE_CHARS;

const MAX_CAUSES: usize = 16;

/// An error, or a panic.
#[derive(Clone, Debug, PartialEq)]
pub struct Failure {
    /// Type of the error; `panic` for a panic.
    pub(crate) kind: &'static str,
    /// Message of the error or panic.
    pub(crate) message: Text,
    /// Causes of the error, one per line, numbered.
    pub(crate) chain: Option<Text>,
}

impl Failure {
    pub(super) fn of_error(
        kind: &'static str,
        message: Text,
        source: Option<&(dyn Error + 'static)>,
    ) -> Self {
        Self {
            kind,
            message,
            chain: source.map(render_cause_chain),
        }
    }
}

// Input:  "cannot read" caused by "no such file"
// Output: "1: cannot read\n2: no such file"
fn render_cause_chain(first: &(dyn Error + 'static)) -> Text {
    render_text(TAG_VALUE_CHARS, |out| {
        let mut cause = Some(first);
        for number in 1..=MAX_CAUSES {
            let Some(error) = cause else { break };
            let separator = if number == 1 { "" } else { "\n" };
            write!(out, "{separator}{number}: {error}")?;
            cause = error.source();
        }
        Ok(())
    })
}

/// Returns the message of a panic; `None` if the payload is no text.
pub(crate) fn payload_text(payload: &(dyn Any + Send)) -> Option<Text> {
    let text = payload
        .downcast_ref::<&str>()
        .copied()
        .or_else(|| payload.downcast_ref::<String>().map(String::as_str));
    text.map(|text| truncate_to_text(TAG_VALUE_CHARS, text))
}
