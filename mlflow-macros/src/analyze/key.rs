//! Check that MLflow accepts the names of metrics, params and tags.

use mlflow_rules::{KEY_CHARS, KeyFault, key_fault};
use proc_macro2::Span;

use crate::errors::Errors;

/// Adds an error for a `key` that MLflow would refuse; `what` is `metric`, `param` or `tag`.
pub(crate) fn report_invalid_key(errors: &mut Errors, what: &str, key: &str, span: Span) {
    let Some(fault) = key_fault(key) else {
        return;
    };
    let message = match fault {
        KeyFault::Empty => format!("the name of a {what} must not be empty"),
        KeyFault::TooLong(length) => {
            format!(
                "the name of a {what} may have at most {KEY_CHARS} characters, but this one has {length}"
            )
        }
        KeyFault::Character(bad) => format!(
            "the name of a {what} must not contain {bad:?}: allowed are letters, digits, spaces, `_`, `-`, `.`, `:` and `/`"
        ),
        KeyFault::NoPlainPath => format!(
            "the name of a {what} must be a plain path: no leading, trailing or double `/`, no `.` or `..` as a segment, no `..` at the \
             beginning"
        ),
    };
    errors.push_at(span, message);
}
