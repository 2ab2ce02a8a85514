//! Checks of names and values by MLflow's rules.
//!
//! The server refuses a bad key with a 400. The stores that write without a server use these checks, so that
//! a value accepted offline is not one that MLflow itself would have refused.

use super::{Batch, InputDataset, StoreError};
use crate::model::limits::{self, EXPERIMENT_NAME_CHARS};

fn rejected_error(reason: String) -> StoreError {
    StoreError::Rejected {
        reason: reason.into(),
    }
}

/// Rejects a batch that the server would refuse before writing anything: one with a bad key, or with a
/// timestamp before 1970.
pub(crate) fn check_batch(batch: &Batch<'_>) -> Result<(), StoreError> {
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

/// Rejects datasets of which MLflow would refuse a text.
pub(super) fn check_inputs(inputs: &[InputDataset]) -> Result<(), StoreError> {
    for input in inputs {
        let InputDataset {
            name,
            digest,
            source_type,
            source,
            schema,
            profile,
            tags,
        } = input;
        let texts = [
            ("name", Some(name), limits::DATASET_NAME_CHARS),
            ("digest", Some(digest), limits::DATASET_DIGEST_CHARS),
            (
                "source type",
                Some(source_type),
                limits::DATASET_SOURCE_TYPE_CHARS,
            ),
            ("source", Some(source), limits::DATASET_SOURCE_CHARS),
            ("schema", schema.as_ref(), limits::DATASET_SCHEMA_CHARS),
            ("profile", profile.as_ref(), limits::DATASET_PROFILE_CHARS),
        ];
        for (field, text, max) in texts {
            check_dataset_text(name, field, text.map_or("", String::as_str), max)?;
        }
        for tag in tags {
            check_dataset_text(name, "tag key", &tag.key, limits::INPUT_TAG_KEY_CHARS)?;
            check_dataset_text(name, "tag value", &tag.value, limits::INPUT_TAG_VALUE_CHARS)?;
        }
    }
    Ok(())
}

fn check_dataset_text(
    dataset: &str,
    field: &str,
    text: &str,
    max: usize,
) -> Result<(), StoreError> {
    // A text has at most as many characters as bytes.
    if text.len() <= max {
        return Ok(());
    }
    match text.chars().count() {
        length if length > max => Err(rejected_error(format!(
            "the {field} of the dataset `{}` has {length} characters; at most {max} are allowed",
            shorten_value(dataset)
        ))),
        _ => Ok(()),
    }
}

/// Rejects a key that MLflow refuses.
pub(super) fn check_key(kind: &str, key: &str) -> Result<(), StoreError> {
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

/// Refuses an experiment name that MLflow's stores cannot hold, until a person has configured another.
pub(super) fn check_experiment(name: &str) -> Result<(), StoreError> {
    match experiment_name_fault(name) {
        None => Ok(()),
        Some(fault) => Err(StoreError::Blocked {
            reason: fault.into(),
            everything: false,
        }),
    }
}

/// Rejects an experiment name that MLflow's stores cannot hold.
pub(super) fn check_new_experiment(name: &str) -> Result<(), StoreError> {
    experiment_name_fault(name).map_or(Ok(()), |fault| Err(rejected_error(fault)))
}

fn experiment_name_fault(name: &str) -> Option<String> {
    let fault = if name.is_empty() {
        "is empty"
    } else if name.chars().count() > EXPERIMENT_NAME_CHARS {
        "is longer than 500 characters"
    } else if name.contains('\0') {
        "contains a NUL character, which not every database holds"
    } else {
        return None;
    };
    Some(format!(
        "the experiment name `{name}` {fault}: choose another"
    ))
}

/// Rejects a tag that MLflow refuses: one with a bad key, or with a value of more than `max_chars` characters.
pub(super) fn check_tag(key: &str, value: &str, max_chars: usize) -> Result<(), StoreError> {
    check_key("tag", key)?;
    match value.chars().count() {
        length if length > max_chars => Err(rejected_error(format!(
            "the value of the tag `{key}` has {length} characters; at most {max_chars} are allowed"
        ))),
        _ => Ok(()),
    }
}

/// Rejects a name of a logged model that MLflow refuses.
pub(super) fn check_logged_model(name: &str) -> Result<(), StoreError> {
    match limits::find_model_name_fault(name) {
        None => Ok(()),
        Some(fault) => Err(rejected_error(format!(
            "the name `{name}` of a logged model {fault}"
        ))),
    }
}

/// Rejects a name of a registered model that MLflow refuses.
pub(super) fn check_model_name(name: &str) -> Result<(), StoreError> {
    match limits::find_registered_name_fault(name) {
        None => Ok(()),
        Some(fault) => Err(rejected_error(format!(
            "the model name `{name}` {fault}: choose another"
        ))),
    }
}

/// Rejects an alias that MLflow refuses in every call.
pub(super) fn check_alias(alias: &str) -> Result<(), StoreError> {
    reject_alias(alias, limits::find_alias_fault(alias))
}

/// Rejects an alias that cannot be set: one that MLflow refuses, or one that it reserves for the newest
/// version or for the number of a version.
pub(super) fn check_new_alias(alias: &str) -> Result<(), StoreError> {
    reject_alias(alias, limits::find_new_alias_fault(alias))
}

fn reject_alias(alias: &str, fault: Option<&'static str>) -> Result<(), StoreError> {
    match fault {
        None => Ok(()),
        Some(fault) => Err(rejected_error(format!(
            "the alias `{alias}` {fault}: choose another"
        ))),
    }
}

/// Rejects an artifact path that could leave the run's directory, that another system would read differently,
/// or that a server or file system cannot keep.
pub(super) fn check_artifact_path(path: &str) -> Result<(), StoreError> {
    reject_path_fault(path, limits::find_artifact_path_fault(path))
}

/// Rejects an artifact path that could leave the directory it is meant for, as a server could list one. Other
/// programs may have written the artifact, so its name may be one that [`check_artifact_path`] rejects.
pub(crate) fn check_path_inside(path: &str) -> Result<(), StoreError> {
    reject_path_fault(path, limits::find_outside_path_fault(path))
}

fn reject_path_fault(path: &str, fault: Option<&str>) -> Result<(), StoreError> {
    match fault {
        None => Ok(()),
        Some(fault) => Err(rejected_error(format!(
            "artifact path `{path}`: it {fault}"
        ))),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn files_with_names_that_servers_do_not_keep_can_still_be_read() {
        for name in ["100%", "a#b", "images/loss%step%0#.png"] {
            assert_eq!(check_path_inside(name), Ok(()), "{name}");
        }
        for bad in ["", "/a", "../a", "a/..", "a//b", "a\0b"] {
            assert!(check_path_inside(bad).is_err(), "{bad}");
        }
    }

    #[test]
    fn names_in_the_registry_follow_mlflows_rules() {
        for good in ["wine", "wine quality", "ü", ".hidden", "a%b"] {
            assert_eq!(check_model_name(good), Ok(()), "{good}");
        }
        for bad in ["", "  ", "a/b", "a:b", ".", "..", "..a"] {
            assert!(check_model_name(bad).is_err(), "{bad}");
        }
        for good in ["champion", "a-b_c", "v1a", "v", "1", "newest"] {
            assert_eq!(check_new_alias(good), Ok(()), "{good}");
        }
        for bad in ["", "a b", "a.b", "latest", "LATEST", "v1", "V20"] {
            assert!(check_new_alias(bad).is_err(), "{bad}");
        }
        assert_eq!(
            check_alias("latest"),
            Ok(()),
            "reserved names can be looked up"
        );
        assert!(check_alias(&"a".repeat(256)).is_err());
    }

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
