//! Names of metrics, params and tags that MLflow accepts.

use proc_macro2::Span;

use crate::errors::Errors;

const MAX_CHARS: usize = 250;

/// Reports a `key` that no MLflow server would accept; `what` is `metric`, `param` or `tag`.
pub(crate) fn check(errors: &mut Errors, what: &str, key: &str, span: Span) {
    if key.is_empty() {
        errors.at(span, format!("a {what} needs a name"));
    } else if key.chars().count() > MAX_CHARS {
        errors.at(
            span,
            format!(
                "a {what}'s name has at most {MAX_CHARS} characters, this one has {}",
                key.chars().count()
            ),
        );
    } else if let Some(bad) = key
        .chars()
        .find(|char| !(char.is_alphanumeric() || "_-. :/".contains(*char)))
    {
        errors.at(
            span,
            format!("a {what}'s name cannot hold {bad:?}: letters, digits, `_`, `-`, `.`, ` `, `:` and `/` are allowed"),
        );
    } else if key.split('/').any(|part| matches!(part, "" | "." | "..")) {
        errors.at(span, format!("a {what}'s name is like a path: no `//`, no `.` or `..` between slashes, none at the ends"));
    }
}
