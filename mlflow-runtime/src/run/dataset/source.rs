//! Source of a dataset: where its data came from, as MLflow describes it.

use mlflow_rules::{Edge, mask};
use serde::Serialize;

use crate::model::Tag;
use crate::model::limits;
use crate::model::python_json::{JsonObject, to_python_json};

/// Number of characters to which a URI is cut whose description is longer than MLflow stores it: in JSON, a
/// character takes up to twelve.
const CUT_URI_CHARS: usize = 5000;

/// Source of a dataset.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum DatasetSource {
    /// Program that has made the data.
    Code,
    /// Path, URL or other URI.
    Uri(String),
}

/// Source in MLflow's terms.
pub(super) struct SourceDescription {
    /// Kind of the source, e.g. `local`.
    pub(super) source_type: String,
    /// Description as JSON.
    pub(super) json: String,
    /// True if the URI was cut.
    pub(super) was_cut: bool,
}

#[derive(Serialize)]
#[serde(rename_all = "lowercase")]
enum SourceFields<'a> {
    Url(&'a str),
    Uri(&'a str),
    Tags(JsonObject<String>),
}

impl DatasetSource {
    /// Describes the source as MLflow's Python client does, without the secrets of a URL. `program` returns the tags
    /// of the program, which is the source of data that has no other one.
    pub(super) fn describe(&self, program: impl FnOnce() -> Vec<Tag>) -> SourceDescription {
        let uri = match self {
            Self::Code => {
                let tags = program().into_iter().map(|tag| (tag.key, tag.value));
                let tags = SourceFields::Tags(JsonObject(tags.collect()));
                return SourceDescription {
                    source_type: "code".to_owned(),
                    json: to_python_json(&tags),
                    was_cut: false,
                };
            }
            Self::Uri(uri) => mlflow_rules::url_without_secrets(uri),
        };
        let describe = |uri: &str| match uri_scheme(uri) {
            Some(scheme) if matches!(&*scheme, "http" | "https") => {
                ("http".to_owned(), to_python_json(&SourceFields::Url(uri)))
            }
            Some(scheme) if scheme != "file" => (scheme, to_python_json(&SourceFields::Uri(uri))),
            _ => ("local".to_owned(), to_python_json(&SourceFields::Uri(uri))),
        };
        let (mut source_type, mut json) = describe(&uri);
        // The text is ASCII, so its characters are its bytes.
        let was_cut = json.len() > limits::DATASET_SOURCE_CHARS;
        if was_cut {
            let (cut, _) = limits::truncate_chars(uri.into(), CUT_URI_CHARS);
            (source_type, json) = describe(&cut);
        }
        SourceDescription {
            source_type,
            json,
            was_cut,
        }
    }

    /// Returns the last part of the source's path, by which people know the dataset.
    pub(super) fn file_name(&self) -> Option<String> {
        let Self::Uri(uri) = self else {
            return None;
        };
        let uri = mlflow_rules::url_without_secrets(uri);
        // The whole is looked at: the last part of a webhook is not known as a secret without its host.
        let uri = mask(&uri, Edge::End).map_or(uri, |masked| masked.text);
        let path = match uri.split_once("://") {
            Some((_, rest)) => {
                let end = rest.find(['?', '#']).unwrap_or(rest.len());
                rest.get(..end)?.split_once('/')?.1
            }
            None => &*uri,
        };
        let name = path.trim_end_matches('/').rsplit('/').next()?;
        (!matches!(name, "" | "." | "..")).then(|| name.to_owned())
    }
}

/// Returns the scheme of a URI in lower case; `None` for a path.
fn uri_scheme(uri: &str) -> Option<String> {
    let (scheme, _) = uri.split_once("://")?;
    let is_scheme = scheme.starts_with(|first: char| first.is_ascii_alphabetic())
        && scheme.len() <= limits::DATASET_SOURCE_TYPE_CHARS
        && scheme
            .chars()
            .all(|char| char.is_ascii_alphanumeric() || matches!(char, '+' | '-' | '.'));
    is_scheme.then(|| scheme.to_ascii_lowercase())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn described(uri: &str) -> (String, String) {
        let description = DatasetSource::Uri(uri.to_owned()).describe(Vec::new);
        assert!(!description.was_cut);
        (description.source_type, description.json)
    }

    #[test]
    fn the_kind_of_a_source_follows_from_its_uri() {
        for (uri, source_type, json) in [
            ("data/train.csv", "local", r#"{"uri": "data/train.csv"}"#),
            ("file:///d/t.csv", "local", r#"{"uri": "file:///d/t.csv"}"#),
            ("https://h/t.csv", "http", r#"{"url": "https://h/t.csv"}"#),
            ("HTTP://h/t.csv", "http", r#"{"url": "HTTP://h/t.csv"}"#),
            ("s3://b/t.csv", "s3", r#"{"uri": "s3://b/t.csv"}"#),
            ("", "local", r#"{"uri": ""}"#),
        ] {
            assert_eq!(described(uri), (source_type.to_owned(), json.to_owned()));
        }
    }

    #[test]
    fn a_source_has_no_secrets() {
        assert_eq!(
            described("https://me:pass@h/t.csv?api_key=x&v=2").1,
            r#"{"url": "https://h/t.csv?api_key=[redacted]&v=2"}"#
        );
    }

    #[test]
    fn a_source_that_is_too_long_is_cut_and_stays_json() {
        let source = DatasetSource::Uri(format!("s3://{}", "😀".repeat(70_000)));
        let description = source.describe(Vec::new);
        assert!(description.was_cut && description.json.len() <= limits::DATASET_SOURCE_CHARS);
        assert!(serde_json::from_str::<serde_json::Value>(&description.json).is_ok());
    }

    #[test]
    fn a_dataset_is_named_after_its_file() {
        for (uri, name) in [
            ("data/train.csv", Some("train.csv")),
            ("/data/wine/", Some("wine")),
            ("https://h/d/t.csv?x=/y", Some("t.csv")),
            ("https://h", None),
            ("https://h/?t.csv", None),
            ("s3://bucket/a/b", Some("b")),
            ("https://me:pa/ssword@h/d/t.csv", Some("t.csv")),
            ("..", None),
            ("", None),
        ] {
            assert_eq!(
                DatasetSource::Uri(uri.to_owned()).file_name().as_deref(),
                name,
                "{uri}"
            );
        }
    }
}
