//! MLflow's limits on lengths and names.
//!
//! The numbers are those of the open-source tracking server (MLflow 3.17, `mlflow/utils/validation.py`),
//! except for the limits on how much of one value is taken, which are this crate's. Lengths count characters,
//! not bytes.
//!
//! Invariant: before a text enters the journal, it is cut if it is too long, and its NUL characters are
//! replaced. A key that MLflow refuses gets [another name](crate::model::key_names) in the journal.

use std::borrow::Cow;

use mlflow_rules::{Edge, KeyFault, REDACTED};
pub(crate) use mlflow_rules::{KEY_CHARS, checked_key, is_key_char};

/// Maximum length of a param's value, in characters.
pub(crate) const PARAM_VALUE_CHARS: usize = 6000;
/// Maximum length of a tag's value, in characters.
pub(crate) const TAG_VALUE_CHARS: usize = 8000;
/// Maximum length of the value of an experiment's tag, in characters.
pub(crate) const EXPERIMENT_TAG_VALUE_CHARS: usize = 20_000;
/// Maximum length of the value of a tag in the model registry, in characters.
pub(crate) const REGISTRY_TAG_VALUE_CHARS: usize = 100_000;
/// Maximum length of the id of a logged model, in characters, as MLflow's tables hold it.
const MODEL_ID_CHARS: usize = 36;
/// Maximum length of an alias of a model version, in characters.
pub(crate) const ALIAS_CHARS: usize = 255;
/// Maximum length of the URI below which an experiment's artifacts go, in characters.
pub(crate) const ARTIFACT_LOCATION_CHARS: usize = 2048;
/// Maximum length of an experiment's name, in characters.
pub(crate) const EXPERIMENT_NAME_CHARS: usize = 500;
/// Maximum length of a run's name, in characters: the width of the column in MLflow's SQL stores.
pub(crate) const RUN_NAME_CHARS: usize = 250;

/// Maximum length of a dataset's name, in characters.
pub(crate) const DATASET_NAME_CHARS: usize = 500;
/// Maximum length of a dataset's digest, in characters.
pub(crate) const DATASET_DIGEST_CHARS: usize = 36;
/// Maximum length of the kind of a dataset's source, in characters: the width of the column in MLflow's SQL
/// stores.
pub(crate) const DATASET_SOURCE_TYPE_CHARS: usize = 36;
/// Maximum length of the description of a dataset's source, in characters.
pub(crate) const DATASET_SOURCE_CHARS: usize = 65_535;
/// Maximum length of a dataset's schema, in characters.
pub(crate) const DATASET_SCHEMA_CHARS: usize = 1_048_575;
/// Maximum length of a dataset's profile, in characters.
pub(crate) const DATASET_PROFILE_CHARS: usize = 16_777_215;
/// Maximum length of the key of a tag of a dataset, in characters.
pub(crate) const INPUT_TAG_KEY_CHARS: usize = 255;
/// Maximum length of the value of a tag of a dataset, in characters.
pub(crate) const INPUT_TAG_VALUE_CHARS: usize = 500;

/// Maximum length of the name and of the kind of a logged model, in characters: the width of the columns in
/// MLflow's SQL stores.
pub(crate) const MODEL_NAME_CHARS: usize = 500;

/// Maximum number of an argument's fields that become params.
pub(crate) const MAX_FIELDS: usize = 200;
/// Maximum number of fields, of a value given to `log_params`, that become params.
pub(crate) const MAX_CONFIG_FIELDS: usize = 10_000;
/// Maximum number of a returned value's numbers that become metrics: as many as MLflow accepts in one
/// request.
pub(crate) const MAX_METRICS: usize = 1000;
/// Longest name of a file or folder, in bytes, on nearly all file systems. A server answers a longer name as
/// if the server itself had failed, however often the request is repeated.
pub(crate) const FILE_NAME_BYTES: usize = 255;

/// Cuts `text` to `max` characters. The second value is true if anything was cut.
pub(crate) fn truncate_chars(text: Cow<'_, str>, max: usize) -> (Cow<'_, str>, bool) {
    // A text has at most as many characters as bytes.
    if text.len() <= max {
        return (text, false);
    }
    match text.char_indices().nth(max) {
        None => (text, false),
        Some((end, _)) => (
            match text {
                Cow::Borrowed(text) => Cow::Borrowed(&text[..end]),
                Cow::Owned(mut text) => {
                    text.truncate(end);
                    Cow::Owned(text)
                }
            },
            true,
        ),
    }
}

/// Returns `text` with each NUL replaced by U+FFFD, because PostgreSQL cannot store NUL; `None` if there is
/// no NUL.
pub(crate) fn replace_nul(text: &str) -> Option<String> {
    text.contains('\0').then(|| text.replace('\0', "\u{fffd}"))
}

/// Replacement for [`REDACTED`] in keys, where MLflow takes no brackets.
const REDACTED_IN_KEY: &str = "redacted";

/// Returns the key without the credentials in it, such as that of a map whose keys are tokens; `None` if it has none. A key
/// must be masked only once: a masked key may still look like a credential, because the replacement has no brackets.
pub(crate) fn mask_key(key: &str) -> Option<String> {
    let masked = mlflow_rules::mask(key, Edge::End)?;
    Some(masked.text.replace(REDACTED, REDACTED_IN_KEY))
}

/// Returns the path under which an artifact is stored if its own path holds a credential, contains `%`, which MLflow's servers
/// decode, or `#`, which they refuse, or begins with a space, which they drop; else `None`. A hash of the own path keeps
/// two such artifacts from getting one path.
// Input:  `plots/lit%41.txt`
// Output: `plots/lit_41_5d0f1a2b.txt`
pub(crate) fn sanitize_artifact_path(path: &str) -> Option<String> {
    let masked = mask_key(path).or_else(|| {
        // An extension may look like the rest of a credential, which then has the wrong length.
        let (stem, extension) = path.split_at(extension_start(path));
        mask_key(stem).map(|stem| stem + extension)
    });
    let shown = masked.as_deref().unwrap_or(path);
    let rest = shown.trim_start_matches(' ');
    if masked.is_none() && !path.contains(['%', '#']) && rest.len() == path.len() {
        return None;
    }
    let spaces = "_".repeat(shown.len() - rest.len());
    let mended = spaces + &rest.replace(['%', '#'], "_");
    let hash = crc32c::crc32c(path.as_bytes());
    let (stem, extension) = mended.split_at(extension_start(&mended));
    Some(format!("{stem}_{hash:08x}{extension}"))
}

/// Returns the place of the dot before the extension of a path, or the length of a path without one. A name that begins with
/// its only dot has no extension.
fn extension_start(path: &str) -> usize {
    let name = path.rfind('/').map_or(0, |slash| slash + 1);
    let shown = path.get(name..).unwrap_or_default();
    let dot = shown.rfind('.').filter(|dot| *dot > 0);
    dot.map_or(path.len(), |dot| name + dot)
}

/// Returns the reason why an artifact cannot be stored under this path, as a clause; `None` if it can. Such a path
/// could leave the run's directory, another system would read it differently, or a server or file system cannot keep
/// it.
pub(crate) fn find_artifact_path_fault(path: &str) -> Option<&'static str> {
    if let Some(fault) = find_outside_path_fault(path) {
        return Some(fault);
    }
    if path.contains('\\') {
        Some("holds a backslash; folders are separated by `/`")
    } else if path.chars().any(char::is_control) {
        Some("holds a control character")
    } else if path.contains(['%', '#']) {
        Some("holds `%` or `#`, which MLflow's servers do not keep in names")
    } else if path.starts_with(' ') {
        Some("begins with a space, which MLflow's servers drop")
    } else if path.split('/').any(|part| part.len() > FILE_NAME_BYTES) {
        Some("has a name longer than the 255 bytes that file systems hold")
    } else {
        None
    }
}

/// Returns the reason why a path could leave the directory that it is meant for, as a clause; `None` if it cannot.
pub(crate) fn find_outside_path_fault(path: &str) -> Option<&'static str> {
    if path.starts_with('/') {
        Some("is absolute")
    } else if path.contains('\0') {
        Some("holds a NUL character")
    } else if path.split('/').any(|part| matches!(part, "" | "." | "..")) {
        Some("is empty or has an empty, `.` or `..` part")
    } else {
        None
    }
}

/// Returns true if a logged model may have this id: MLflow's ids are `m-` and hexadecimal digits.
pub(crate) fn is_model_id(id: &str) -> bool {
    let is_id_char = |c: char| c.is_ascii_alphanumeric() || matches!(c, '-' | '_');
    id.starts_with("m-") && id.len() <= MODEL_ID_CHARS && id.chars().all(is_id_char)
}

/// Returns the reason why MLflow would refuse this name of a logged model, as a clause; `None` if MLflow accepts
/// the name.
pub(crate) fn find_model_name_fault(name: &str) -> Option<Cow<'static, str>> {
    const FORBIDDEN: [char; 6] = ['/', ':', '.', '%', '"', '\''];
    if name.is_empty() {
        return Some("is empty".into());
    }
    if let Some(bad) = name
        .chars()
        .find(|c| FORBIDDEN.contains(c) || c.is_control())
    {
        return Some(
            format!("contains {bad:?}: it may contain none of the characters / : . % \" '").into(),
        );
    }
    let length = name.chars().count();
    (length > MODEL_NAME_CHARS)
        .then(|| format!("has {length} characters: at most {MODEL_NAME_CHARS} are allowed").into())
}

/// Returns the reason why MLflow would refuse this name of a registered model, as a clause; `None` if MLflow
/// accepts the name.
pub(crate) fn find_registered_name_fault(name: &str) -> Option<&'static str> {
    if name.trim().is_empty() {
        Some("is empty")
    } else if name.contains(['/', ':']) {
        Some("holds `/` or `:`")
    } else if name == "." || name.starts_with("..") {
        Some("would be another name as a path")
    } else {
        None
    }
}

/// Returns the reason why MLflow would refuse this alias in every call, as a clause; `None` if MLflow accepts it.
pub(crate) fn find_alias_fault(alias: &str) -> Option<&'static str> {
    let is_alias_char = |c: char| c.is_alphanumeric() || matches!(c, '_' | '-');
    if alias.is_empty() {
        Some("is empty")
    } else if !alias.chars().all(is_alias_char) {
        Some("holds another character than letters, digits, `_` and `-`")
    } else if alias.chars().count() > ALIAS_CHARS {
        Some("is longer than 255 characters")
    } else {
        None
    }
}

/// Returns the reason why this alias cannot be set, as a clause: MLflow refuses it, or reserves it for the newest
/// version or for the number of a version.
pub(crate) fn find_new_alias_fault(alias: &str) -> Option<&'static str> {
    let digits = alias.strip_prefix(['v', 'V']).unwrap_or_default();
    let is_version = !digits.is_empty() && digits.chars().all(char::is_numeric);
    let is_reserved = is_version || is_latest_alias(alias);
    find_alias_fault(alias).or_else(|| is_reserved.then_some("is reserved by MLflow"))
}

/// Returns true if the alias names the newest version of a model, without ever being set.
pub(crate) fn is_latest_alias(alias: &str) -> bool {
    alias.eq_ignore_ascii_case("latest")
}

/// Returns the reason why MLflow would refuse this metric, param or tag key; `None` if MLflow accepts the
/// key.
pub(crate) fn find_key_fault(key: &str) -> Option<Cow<'static, str>> {
    let fault = mlflow_rules::key_fault(key)?;
    Some(match fault {
        KeyFault::Empty => "it is empty; give it a name".into(),
        KeyFault::TooLong(length) => {
            format!("it has {length} characters; at most {KEY_CHARS} are allowed").into()
        }
        KeyFault::Character(bad) => format!(
            "it contains {bad:?}; allowed are letters, digits, `_`, `-`, `.`, `/`, `:` and space"
        )
        .into(),
        KeyFault::NoPlainPath => {
            "it is not a plain path; remove leading, trailing and double `/`, and the parts `.` and `..`"
                .into()
        }
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn artifact_paths_that_servers_do_not_keep_are_mended_and_do_not_meet() {
        for plain in ["a.txt", "dir/ü b/+c:d.txt", ""] {
            assert_eq!(sanitize_artifact_path(plain), None, "{plain}");
        }
        let kept = |path: &str| sanitize_artifact_path(path).unwrap_or_default();
        let spaced = kept(" lead.txt");
        assert!(
            spaced.starts_with("_lead_") && spaced.ends_with(".txt"),
            "{spaced}"
        );
        for (path, start, end) in [
            ("a%b.txt", "a_b_", ".txt"),
            ("50%/x#1.tar.gz", "50_/x_1.tar_", ".gz"),
            ("v1.0/100%", "v1.0/100__", ""),
            (".#lock", "._lock_", ""),
        ] {
            let kept = kept(path);
            assert!(kept.starts_with(start) && kept.ends_with(end), "{kept}");
            assert_eq!(kept.len(), start.len() + 8 + end.len(), "{kept}");
        }
        assert_ne!(kept("a%b.txt"), kept("a#b.txt"));
        // A client secret of Azure may hold dots, and has 40 characters.
        let secret = ["q7Z8Q~", "q7Z2xbEFECZ-6Q4w19cPI5lmBp0Omfsr3k"].concat();
        assert!(kept(&format!("a/{secret}.json")).starts_with("a/redacted_"));
    }

    #[test]
    fn text_is_cut_at_characters_not_bytes() {
        assert_eq!(truncate_chars("日本語".into(), 2), ("日本".into(), true));
        assert_eq!(truncate_chars("日本語".into(), 3), ("日本語".into(), false));
        assert_eq!(
            truncate_chars(Cow::Owned("ab".to_owned()), 1),
            ("a".into(), true)
        );
    }
}
