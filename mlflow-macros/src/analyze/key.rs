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
        KeyFault::Empty => format!("a {what} needs a name"),
        KeyFault::TooLong(length) => {
            format!("a {what}'s name has at most {KEY_CHARS} characters, this one has {length}")
        }
        KeyFault::Character(bad) => format!(
            "a {what}'s name cannot hold {bad:?}: letters, digits, `_`, `-`, `.`, ` `, `:` and `/` are allowed"
        ),
        KeyFault::NoPlainPath => format!(
            "a {what}'s name is like a path: no `//`, no `.` or `..` between slashes, none at the ends, no `..` at its \
             beginning"
        ),
    };
    errors.push_at(span, message);
}
