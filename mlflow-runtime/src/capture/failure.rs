//! Why a run failed, as text.
//!
//! Invariant: a chain of causes ends, after [`MAX_CAUSES`] at the latest.

use std::any::Any;
use std::error::Error;

use super::text::{Text, render_text, truncate_to_text};
use crate::model::limits::TAG_VALUE_CHARS;

const MAX_CAUSES: usize = 16;

/// An error, or a panic.
#[derive(Clone, Debug, PartialEq)]
pub struct Failure {
    /// The error's type; `panic` for a panic.
    pub(crate) kind: &'static str,
    /// What it says.
    pub(crate) message: Text,
    /// Its causes, one a line, numbered.
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

/// What a panic said, where it is text.
pub(crate) fn payload_text(payload: &(dyn Any + Send)) -> Option<Text> {
    let text = payload
        .downcast_ref::<&str>()
        .copied()
        .or_else(|| payload.downcast_ref::<String>().map(String::as_str));
    text.map(|text| truncate_to_text(TAG_VALUE_CHARS, text))
}
