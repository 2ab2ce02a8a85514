//! Checks of names and values by MLflow's rules.
//!
//! The server refuses a bad key with a 400. The stores that write without a server use these checks, so that
//! a value accepted offline is not one that MLflow itself would have refused.

use super::{Batch, StoreError};
use crate::model::limits::{self, EXPERIMENT_NAME_CHARS};

/// Longest name of a file or folder, in bytes, on nearly all file systems. A server answers a longer name as
/// if the server itself had failed, however often the request is repeated.
const MAX_NAME_BYTES: usize = 255;

fn rejected_error(reason: String) -> StoreError {
    StoreError::Rejected {
        reason: reason.into(),
    }
}

/// Rejects a batch that the server would refuse before writing anything: one with a bad key, or with a
/// timestamp before 1970.
pub(super) fn check_batch(batch: &Batch<'_>) -> Result<(), StoreError> {
    let mut last: Option<&str> = None;
    for metric in batch.metrics {
        if last != Some(&*metric.key) {
            check_key("metric", &metric.key)?;
            last = Some(&metric.key);
        }
        if metric.timestamp_ms < 0 {
            return Err(rejected_error(format!(
                "metric `{}`: timestamp {} is before 1970",
                metric.key, metric.timestamp_ms
            )));
        }
    }
    for param in batch.params {
        check_key("param", &param.key)?;
    }
    for tag in batch.tags {
        check_key("tag", &tag.key)?;
    }
    Ok(())
}

fn check_key(kind: &str, key: &str) -> Result<(), StoreError> {
    match limits::find_key_fault(key) {
        None => Ok(()),
        Some(fault) => Err(rejected_error(format!("{kind} key `{key}`: {fault}"))),
    }
}

/// Returns the error for a param that already has another value.
pub(super) fn param_conflict_error(key: &str, old: &str, new: &str) -> StoreError {
    rejected_error(format!(
        "param `{key}` is already `{}` and cannot be changed to `{}`",
        shorten_value(old),
        shorten_value(new)
    ))
}

/// Shortens a value for an error message: params may be 6,000 characters long.
fn shorten_value(value: &str) -> std::borrow::Cow<'_, str> {
    match limits::truncate_chars(value.into(), 80) {
        (cut, true) => format!("{cut}…").into(),
        (value, false) => value,
    }
}

/// Refuses an experiment name that MLflow's stores cannot hold.
pub(super) fn check_experiment(name: &str) -> Result<(), StoreError> {
    let fault = if name.is_empty() {
        "is empty"
    } else if name.chars().count() > EXPERIMENT_NAME_CHARS {
        "is longer than 500 characters"
    } else if name.contains('\0') {
        "contains a NUL character, which not every database holds"
    } else {
        return Ok(());
    };
    Err(StoreError::Blocked {
        reason: format!("the experiment name `{name}` {fault}: choose another").into(),
        everything: false,
    })
}

/// Rejects an artifact path that could leave the run's directory, that another system would read differently,
/// or that a server or file system cannot keep.
pub(super) fn check_artifact_path(path: &str) -> Result<(), StoreError> {
    let fault = if path.starts_with('/') {
        "it is absolute"
    } else if path.contains('\\') {
        "it holds a backslash; folders are separated by `/`"
    } else if path.chars().any(char::is_control) {
        "it holds a control character"
    } else if path.split('/').any(|part| matches!(part, "" | "." | "..")) {
        "it is empty or has an empty, `.` or `..` part"
    } else if path.contains(['%', '#']) {
        "it holds `%` or `#`, which MLflow's servers do not keep in names"
    } else if path.split('/').any(|part| part.len() > MAX_NAME_BYTES) {
        "one of its names is longer than the 255 bytes that file systems hold"
    } else {
        return Ok(());
    };
    Err(rejected_error(format!("artifact path `{path}`: {fault}")))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn artifact_paths_stay_inside() {
        for good in ["a.txt", "dir/ü b/+c:d.txt", "..a/b.."] {
            assert_eq!(check_artifact_path(good), Ok(()), "{good}");
        }
        for bad in [
            "",
            "/etc/passwd",
            "../a",
            "a/../../b",
            "a//b",
            "a/",
            "a\\b",
            "a\nb",
            "100%",
            "a#b",
            ".",
        ] {
            assert!(check_artifact_path(bad).is_err(), "{bad}");
        }
    }
}
