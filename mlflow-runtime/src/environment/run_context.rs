//! `MLFLOW_RUN_CONTEXT`: tags for all runs of the process, given as a JSON object by whoever starts the
//! process. MLflow's own client reads the variable in the same way.

use mlflow_rules::{Edge, REDACTED, is_secret_name, mask};
use serde_json::{Map, Value};

use super::VariableLookup;
use crate::model::Tag;
use crate::model::key_names::{KeyNames, ResolvedName};
use crate::model::limits;
use crate::warnings::UserWarning;

pub(crate) const VARIABLE: &str = "MLFLOW_RUN_CONTEXT";

pub(super) fn read_tags(variable: VariableLookup<'_>) -> Result<Vec<Tag>, UserWarning> {
    variable(VARIABLE).map_or_else(|| Ok(Vec::new()), |text| parse_tags(&text))
}

/// Returns the tags, without secrets. The warning does not contain the text, which may contain a secret.
pub(crate) fn parse_tags(text: &str) -> Result<Vec<Tag>, UserWarning> {
    let Ok(object) = serde_json::from_str::<Map<String, Value>>(text) else {
        return Err(UserWarning::new(format_args!(
            "{VARIABLE} cannot be used and is ignored; expected a JSON object such as {{\"team\": \"vision\"}}"
        )));
    };
    let tags = object
        .into_iter()
        .map(|(key, value)| Tag {
            value: match redact_secrets(&key, value) {
                Value::String(text) => text,
                other => other.to_string(),
            },
            key: mask(&key, Edge::End).map_or(key, |masked| masked.text),
        })
        .collect();
    Ok(tags)
}

/// Redacts every value with a secret's name, as is done with the fields of a captured value.
fn redact_secrets(name: &str, value: Value) -> Value {
    match value {
        _ if is_secret_name(name) => REDACTED.into(),
        Value::Object(fields) => fields
            .into_iter()
            .map(|(name, value)| {
                let value = redact_secrets(&name, value);
                (name, value)
            })
            .collect(),
        Value::Array(items) => items
            .into_iter()
            .map(|item| redact_secrets("", item))
            .collect(),
        other => other,
    }
}

/// Renames the tags whose keys MLflow refuses. Returns the warnings about them.
pub(super) fn fix_keys(tags: &mut [Tag]) -> Vec<String> {
    let names = KeyNames::default();
    let mut lines = Vec::new();
    // Accepted keys come first, so that no refused key gets the name of an accepted one.
    tags.sort_by_key(|tag| limits::find_key_fault(&tag.key).is_some());
    for tag in tags {
        let ResolvedName {
            name,
            warning: news,
        } = names.resolve(&tag.key);
        lines.extend(news.map(|news| news.message("tag", &tag.key, &name)));
        tag.key = name.into_owned();
    }
    lines
}

#[cfg(test)]
mod tests {
    use super::*;

    fn told(text: &str) -> Option<Vec<(String, String)>> {
        let tags = read_tags(&|name| (name == VARIABLE).then(|| text.to_owned())).ok()?;
        Some(tags.into_iter().map(|tag| (tag.key, tag.value)).collect())
    }

    #[test]
    fn an_object_becomes_tags() {
        let tags = told(r#"{"team": "vision", "attempt": 2, "nested": {"a": true}}"#).unwrap();
        let expected = [
            ("attempt", "2"),
            ("nested", r#"{"a":true}"#),
            ("team", "vision"),
        ];
        assert_eq!(
            tags,
            expected.map(|(key, value)| (key.to_owned(), value.to_owned()))
        );
    }

    #[test]
    fn what_has_a_secrets_name_is_redacted() {
        let tags = told(r#"{"api_token": "x", "of": [{"password": 1, "max_tokens": 2}]}"#).unwrap();
        let expected = [
            ("api_token", "[redacted]"),
            ("of", r#"[{"max_tokens":2,"password":"[redacted]"}]"#),
        ];
        assert_eq!(
            tags,
            expected.map(|(key, value)| (key.to_owned(), value.to_owned()))
        );
    }

    #[test]
    fn what_is_no_object_is_ignored() {
        for text in ["[1]", "{", "team=vision"] {
            assert_eq!(told(text), None, "{text}");
        }
    }
}
