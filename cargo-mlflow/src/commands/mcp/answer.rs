//! [`Answer`] of a tool: a text for the assistant, and the same as JSON for programs.
//!
//! Invariants: both are complete by themselves, as clients show an assistant the one or the other. Both are bounded.
//! Neither holds a credential or a control character.

use std::mem;

use mlflow_rules::{Edge, mask};
use rmcp::model::{CallToolResult, ContentBlock};
use serde::Serialize;
use serde_json::{Value, json};

use crate::failure::Failure;

/// Greatest length of the text, in bytes.
const MAX_TEXT_BYTES: usize = 48 * 1024;
/// Greatest length of the JSON, in bytes.
const MAX_JSON_BYTES: usize = 128 * 1024;

/// Answer of a tool.
#[derive(Debug)]
pub(super) struct Answer {
    text: String,
    json: Value,
}

impl Answer {
    /// Creates an answer. The lines of the text and the fields of the JSON say the same.
    pub(super) fn new(lines: &[String], json: &impl Serialize) -> Result<Self, Failure> {
        Ok(Self {
            text: lines.join("\n"),
            json: serde_json::to_value(json)?,
        })
    }

    /// Returns the answer as the protocol has it.
    pub(super) fn into_result(self) -> CallToolResult {
        let Self { text, mut json } = self;
        clean_json(&mut json);
        if json.to_string().len() > MAX_JSON_BYTES {
            json = json!({
                "left_out": "the JSON is too long; ask for fewer runs, metrics or keys",
            });
        }
        let mut result = CallToolResult::success(vec![ContentBlock::text(cut(clean(&text)))]);
        result.structured_content = Some(json);
        result
    }
}

/// Returns the answer that a call has failed.
pub(super) fn failed(reason: &str) -> CallToolResult {
    CallToolResult::error(vec![ContentBlock::text(cut(clean(reason)))])
}

/// Returns a text without credentials, and without control characters other than line feeds and tabs.
pub(super) fn clean(text: &str) -> String {
    let masked = mask(text, Edge::End).map_or_else(|| text.to_owned(), |masked| masked.text);
    // A progress bar returns to the beginning of its line.
    let lines = masked.replace("\r\n", "\n").replace('\r', "\n");
    let is_unwanted = |c: char| c.is_control() && !matches!(c, '\n' | '\t');
    lines.replace(is_unwanted, "\u{fffd}")
}

/// Cleans all texts, the names of fields as well.
fn clean_json(value: &mut Value) {
    match value {
        Value::String(text) => *text = clean(text),
        Value::Array(values) => values.iter_mut().for_each(clean_json),
        Value::Object(fields) => {
            *fields = { mem::take(fields).into_iter() }
                .map(|(key, mut value)| {
                    clean_json(&mut value);
                    (clean(&key), value)
                })
                .collect();
        }
        Value::Null | Value::Bool(_) | Value::Number(_) => {}
    }
}

/// Cuts the text at the end of a line, and says so.
fn cut(mut text: String) -> String {
    if text.len() <= MAX_TEXT_BYTES {
        return text;
    }
    let end = char_boundary_before(&text, MAX_TEXT_BYTES);
    text.truncate(end);
    if let Some(line) = text.rfind('\n') {
        text.truncate(line);
    }
    text.push_str("\n… (the rest is left out: ask for fewer runs, metrics or keys)");
    text
}

/// Returns the last place that is not behind `index` and not in the middle of a character.
pub(super) fn char_boundary_before(text: &str, index: usize) -> usize {
    let index = index.min(text.len());
    { (0..=index).rev() }
        .find(|&place| text.is_char_boundary(place))
        .unwrap_or_default()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_of_fields_are_cleaned_as_values_are() {
        let token = format!("ghp_{}", "0aA".repeat(12));
        let fields = json!({
            "params": [{ format!("of {token}"): 1, "a\u{1b}[2J": { "b\u{7}": token } }],
            "metric": 0.5,
        });
        let answer = Answer::new(&[], &fields).unwrap().into_result();
        assert_eq!(
            answer.structured_content,
            Some(json!({
                "params": [{ "of [redacted]": 1, "a\u{fffd}[2J": { "b\u{fffd}": "[redacted]" } }],
                "metric": 0.5,
            }))
        );
    }
}
