//! Environment variables and the meaning of their values.
//!
//! Invariant: a value that cannot be used becomes a warning, which names the variable, the value and the
//! expected form. The caller issues the warning, and uses the default in place of the value.

use std::env;
use std::ffi::OsString;
use std::str::FromStr;
use std::time::Duration;

use crate::warnings::UserWarning;

/// Lookup of a setting's variable; `None` if the variable is unset.
pub(crate) type SettingLookup<'a> = &'a dyn Fn(&str) -> Option<OsString>;

/// Returns the value of a setting; `None` if the variable is unset or empty.
pub(crate) fn read_setting(
    lookup: SettingLookup<'_>,
    variable: &'static str,
) -> Result<Option<String>, UserWarning> {
    let Some(value) = lookup(variable) else {
        return Ok(None);
    };
    match value.into_string() {
        Ok(value) => Ok(non_empty(value)),
        Err(_) => Err(UserWarning::new(format_args!(
            "{variable} is not valid UTF-8 and is ignored"
        ))),
    }
}

/// Returns the value of a variable that describes the process (shell, launcher, scheduler, build service); `None`
/// if the variable is unset or empty. Bytes that are not valid UTF-8 become U+FFFD.
pub(crate) fn read_description(variable: &str) -> Option<String> {
    env::var_os(variable).and_then(to_description)
}

/// Returns the value of a variable that describes the process, unless the value is empty.
pub(crate) fn to_description(value: OsString) -> Option<String> {
    let value = value.into_string();
    non_empty(value.unwrap_or_else(|value| value.to_string_lossy().into_owned()))
}

/// Returns the value, unless it is empty: a variable that is set to nothing counts as unset.
fn non_empty(value: String) -> Option<String> {
    Some(value).filter(|value| !value.trim().is_empty())
}

pub(crate) fn parse_flag(variable: &str, value: &str) -> Result<bool, UserWarning> {
    match value.trim().to_ascii_lowercase().as_str() {
        "true" | "1" => Ok(true),
        "false" | "0" => Ok(false),
        _ => Err(unusable(variable, value, "true, false, 1 or 0")),
    }
}

pub(crate) fn parse_number<T: FromStr>(
    variable: &str,
    value: &str,
    expected: &str,
) -> Result<T, UserWarning> {
    let parsed = value.trim().parse();
    parsed.map_err(|_| unusable(variable, value, expected))
}

pub(crate) fn parse_seconds(
    variable: &str,
    value: &str,
    expected: &str,
) -> Result<Duration, UserWarning> {
    let parsed = value
        .trim()
        .parse()
        .ok()
        .and_then(|seconds| Duration::try_from_secs_f64(seconds).ok());
    parsed.ok_or_else(|| unusable(variable, value, expected))
}

/// Returns the warning about a value that cannot be used.
pub(crate) fn unusable(variable: &str, value: &str, expected: &str) -> UserWarning {
    UserWarning::new(format_args!(
        "{variable}={value:?} cannot be used and is ignored; expected {expected}"
    ))
}
