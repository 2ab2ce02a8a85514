//! [`LegalValues`]: names and texts from elsewhere, made such that MLflow accepts them.
//!
//! Invariants: every result is one that MLflow accepts, and no two metrics of a run come to one name, unless the
//! name of the second is legal by itself. Each change is described once. The rules are those for the values
//! that a program logs.

use std::borrow::Cow;
use std::collections::HashSet;

use mlflow_rules::{Edge, REDACTED};

use crate::model::key_names::KeyNames;
use crate::model::limits::{
    EXPERIMENT_NAME_CHARS, PARAM_VALUE_CHARS, RUN_NAME_CHARS, TAG_VALUE_CHARS, replace_nul,
    sanitize_artifact_path, truncate_chars,
};

/// Names and texts of one run from elsewhere, made such that MLflow accepts them: for values that
/// [`Client::log_batch`](crate::Client::log_batch) would refuse as they are. In a key, each character that MLflow
/// refuses becomes `_`; a text that is too long is cut; what looks like a credential is replaced.
///
/// ```
/// let mut legal = mlflow::LegalValues::new();
/// assert_eq!(legal.metric_key("loss"), "loss");
/// assert_eq!(legal.param("lr", "0.1"), ("lr".to_owned(), "0.1".to_owned()));
/// assert_eq!(legal.tag("url", "https://me:pass@host/").1, "https://[redacted]@host/");
/// assert_eq!(legal.run_name("fit"), "fit");
/// assert_eq!(legal.experiment_name(""), None);
/// assert_eq!(legal.artifact_path("plots//loss.png"), "plots/loss.png");
/// assert_eq!(legal.take_changes().len(), 2); // of the tag and of the path
///
/// assert_eq!(legal.metric_key("val/AR@100"), "val/AR_100");
/// for change in legal.take_changes() {
///     eprintln!("{change}"); // metric "val/AR@100" is stored as "val/AR_100", because MLflow refuses the key: …
///     # assert!(change.starts_with(r#"metric "val/AR@100" is stored as "val/AR_100""#));
/// }
/// ```
#[derive(Debug, Default)]
pub struct LegalValues {
    metrics: Keys,
    params: Keys,
    tags: Keys,
    changes: Vec<String>,
    /// Kinds and keys of the texts whose change was described.
    changed_texts: HashSet<(&'static str, String)>,
}

/// Names of one kind of values.
#[derive(Default)]
struct Keys(KeyNames);

impl std::fmt::Debug for Keys {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Keys").finish_non_exhaustive()
    }
}

impl Keys {
    fn resolve<'k>(&self, kind: &str, key: &'k str, changes: &mut Vec<String>) -> Cow<'k, str> {
        let resolved = self.0.resolve(key);
        if let Some(warning) = resolved.warning {
            changes.push(warning.message(kind, key, &resolved.name));
        }
        resolved.name
    }
}

impl LegalValues {
    /// Creates a converter that has seen no name yet.
    #[must_use]
    pub fn new() -> Self {
        Self::default()
    }

    /// Returns the name under which a metric is stored.
    pub fn metric_key<'k>(&mut self, key: &'k str) -> Cow<'k, str> {
        self.metrics.resolve("metric", key, &mut self.changes)
    }

    /// Returns key and value under which a param is stored.
    pub fn param(&mut self, key: &str, value: &str) -> (String, String) {
        let key = self
            .params
            .resolve("param", key, &mut self.changes)
            .into_owned();
        let value = self.text("param", &key, value, PARAM_VALUE_CHARS);
        (key, value)
    }

    /// Returns key and value under which a tag is stored.
    pub fn tag(&mut self, key: &str, value: &str) -> (String, String) {
        let key = self
            .tags
            .resolve("tag", key, &mut self.changes)
            .into_owned();
        let value = self.text("tag", &key, value, TAG_VALUE_CHARS);
        (key, value)
    }

    /// Returns the name under which a run is stored.
    pub fn run_name(&mut self, name: &str) -> String {
        self.text("name of the run", name, name, RUN_NAME_CHARS)
    }

    /// Returns the name under which an experiment is stored; `None` for an empty name, which MLflow has not.
    pub fn experiment_name(&mut self, name: &str) -> Option<String> {
        let kept = self.text("name of the experiment", name, name, EXPERIMENT_NAME_CHARS);
        Some(kept).filter(|name| !name.is_empty())
    }

    /// Returns the path under which an artifact is stored.
    pub fn artifact_path(&mut self, path: &str) -> String {
        let parts = path.split('/').filter(|part| !matches!(*part, "" | "."));
        let parts: Vec<String> = parts
            .map(|part| match part {
                ".." => "__".to_owned(),
                part => part.replace(|c: char| c.is_control() || c == '\\', "_"),
            })
            .collect();
        let plain = if parts.is_empty() {
            "_".to_owned()
        } else {
            parts.join("/")
        };
        let kept = sanitize_artifact_path(&plain).unwrap_or(plain);
        if kept != path {
            self.describe("artifact", path, &format!("it is stored as {kept:?}"));
        }
        kept
    }

    /// Returns the descriptions of all changes since the last call, a line for each.
    pub fn take_changes(&mut self) -> Vec<String> {
        std::mem::take(&mut self.changes)
    }

    fn text(&mut self, kind: &'static str, key: &str, text: &str, max: usize) -> String {
        let masked = mlflow_rules::mask(text, Edge::End);
        if let Some(masked) = &masked {
            let what = masked.kind;
            self.describe(
                kind,
                key,
                &format!("text that looks like {what} is stored as {REDACTED}"),
            );
        }
        let text = masked.as_ref().map_or(text, |masked| &*masked.text);
        let (cut, is_cut) = truncate_chars(text.into(), max);
        if is_cut {
            self.describe(
                kind,
                key,
                &format!("it is cut to the {max} characters that MLflow stores"),
            );
        }
        let without_nul = replace_nul(&cut);
        if without_nul.is_some() {
            self.describe(kind, key, "its NUL characters are replaced by U+FFFD");
        }
        without_nul.unwrap_or_else(|| cut.into_owned())
    }

    /// Notes a change of a text, the first time for its kind and key.
    fn describe(&mut self, kind: &'static str, key: &str, change: &str) {
        if self
            .changed_texts
            .insert((kind, format!("{key}\0{change}")))
        {
            let (key, _) = truncate_chars(key.into(), 80);
            self.changes.push(format!("{kind} {key:?}: {change}"));
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn texts_that_mlflow_refuses_are_changed_and_that_is_said_once() {
        let mut legal = LegalValues::new();
        let long = "x".repeat(PARAM_VALUE_CHARS + 1);
        for _ in 0..2 {
            let (key, value) = legal.param("a\0b", &long);
            assert_eq!((&*key, value.len()), ("a_b", PARAM_VALUE_CHARS));
            let (_, value) = legal.tag("url", "https://me:pass@host/");
            assert_eq!(value, "https://[redacted]@host/");
            assert_eq!(legal.run_name("a\0"), "a\u{fffd}");
        }
        let changes = legal.take_changes();
        assert_eq!(changes.len(), 4, "{changes:#?}");
        assert_eq!(legal.take_changes(), Vec::<String>::new());
        assert_eq!(legal.artifact_path("a/b c.txt"), "a/b c.txt");
        assert_eq!(legal.artifact_path("/a//../b\\\n.txt"), "a/__/b__.txt");
        assert_eq!(legal.artifact_path(""), "_");
        assert_eq!(legal.experiment_name(""), None);
        assert_eq!(legal.experiment_name("wine").as_deref(), Some("wine"));
    }
}
