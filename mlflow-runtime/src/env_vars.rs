//! Environment variables and the meaning of their values.
//!
//! Invariant: a value that cannot be used causes one warning, which names the variable, the value and the
//! expected form. The default is used in its place.

use std::env;
use std::str::FromStr;
use std::time::Duration;

use crate::warnings::warn_user;

/// Returns the value of a setting; `None` if the variable is unset or empty or, with a warning, not valid
/// UTF-8.
pub(crate) fn read_setting(variable: &'static str) -> Option<String> {
    match env::var_os(variable)?.into_string() {
        Ok(value) => non_empty(value),
        Err(_) => {
            warn_user(format_args!("{variable} is not valid UTF-8 and is ignored"));
            None
        }
    }
}

/// Returns the value of a variable that describes the process (shell, launcher, scheduler, build service); `None`
/// if the variable is unset or empty. Bytes that are not valid UTF-8 become U+FFFD.
pub(crate) fn read_description(variable: &str) -> Option<String> {
    let value = env::var_os(variable)?;
    non_empty(value.to_string_lossy().into_owned())
}

/// Returns the value, unless it is empty: a variable that is set to nothing counts as unset.
fn non_empty(value: String) -> Option<String> {
    Some(value).filter(|value| !value.trim().is_empty())
}

pub(crate) fn parse_flag(variable: &str, value: &str) -> Option<bool> {
    match value.trim().to_ascii_lowercase().as_str() {
        "true" | "1" => Some(true),
        "false" | "0" => Some(false),
        _ => warn_unusable(variable, value, "true, false, 1 or 0"),
    }
}

pub(crate) fn read_number<T: FromStr>(
    text: &dyn Fn(&'static str) -> Option<String>,
    variable: &'static str,
    expected: &str,
) -> Option<T> {
    let value = text(variable)?;
    value
        .trim()
        .parse()
        .ok()
        .or_else(|| warn_unusable(variable, &value, expected))
}

pub(crate) fn parse_seconds(variable: &str, value: &str, expected: &str) -> Option<Duration> {
    let parsed = value
        .trim()
        .parse()
        .ok()
        .and_then(|seconds| Duration::try_from_secs_f64(seconds).ok());
    parsed.or_else(|| warn_unusable(variable, value, expected))
}

pub(crate) fn warn_unusable<T>(variable: &str, value: &str, expected: &str) -> Option<T> {
    warn_user(format_args!(
        "{variable}={value:?} cannot be used and is ignored; expected {expected}"
    ));
    None
}
