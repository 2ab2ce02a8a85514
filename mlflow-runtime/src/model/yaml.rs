//! YAML of a JSON value, as MLflow's `log_dict` writes it: one entry a line, keys in alphabetical order.
//!
//! Invariant: readers of YAML 1.1 (`PyYAML`) and 1.2 read back the value that was written. Texts that could be
//! taken for something else, such as `no`, `1e3` or `a: b`, are therefore quoted, and numbers with an exponent have
//! a dot and a sign.

use serde_json::Value;

/// Returns `value` as a YAML document.
pub(crate) fn to_yaml(value: &Value) -> String {
    let mut out = String::new();
    match value {
        Value::Object(fields) if !fields.is_empty() => write_block(value, 0, &mut out),
        Value::Array(items) if !items.is_empty() => write_block(value, 0, &mut out),
        other => {
            write_scalar(other, &mut out);
            out.push('\n');
        }
    }
    out
}

/// Writes the entries of an object or array that is not empty, each on lines of its own.
fn write_block(value: &Value, indent: usize, out: &mut String) {
    match value {
        Value::Object(fields) => {
            for (key, value) in fields {
                push_indent(indent, out);
                write_text(key, out);
                out.push(':');
                write_nested(value, indent, out);
            }
        }
        Value::Array(items) => {
            for item in items {
                push_indent(indent, out);
                out.push('-');
                write_nested(item, indent, out);
            }
        }
        Value::Null | Value::Bool(_) | Value::Number(_) | Value::String(_) => {}
    }
}

/// Writes the value of an entry, behind its key or dash.
fn write_nested(value: &Value, indent: usize, out: &mut String) {
    let is_block = match value {
        Value::Object(fields) => !fields.is_empty(),
        Value::Array(items) => !items.is_empty(),
        Value::Null | Value::Bool(_) | Value::Number(_) | Value::String(_) => false,
    };
    if is_block {
        out.push('\n');
        write_block(value, indent + 2, out);
    } else {
        out.push(' ');
        write_scalar(value, out);
        out.push('\n');
    }
}

fn write_scalar(value: &Value, out: &mut String) {
    match value {
        Value::String(text) => write_text(text, out),
        Value::Number(number) => out.push_str(&number_text(&number.to_string())),
        // `null`, `true`, `{}` and `[]` are YAML as well as JSON.
        other => out.push_str(&other.to_string()),
    }
}

/// Returns a number in the form that both versions of YAML take for a number.
// Input:  `1e-7`, `1.5e20`, `3`
// Output: `1.0e-7`, `1.5e+20`, `3`
fn number_text(json: &str) -> String {
    let Some((digits, exponent)) = json.split_once(['e', 'E']) else {
        return json.to_owned();
    };
    let fraction = if digits.contains('.') { "" } else { ".0" };
    let sign = if exponent.starts_with(['-', '+']) {
        ""
    } else {
        "+"
    };
    format!("{digits}{fraction}e{sign}{exponent}")
}

fn write_text(text: &str, out: &mut String) {
    if is_plain(text) {
        out.push_str(text);
    } else {
        // A JSON string is a double-quoted text of YAML, except for a character that YAML does not print.
        let quoted = Value::String(text.to_owned()).to_string();
        for c in quoted.chars() {
            match c {
                '\u{7f}'..='\u{9f}' | '\u{2028}' | '\u{2029}' | '\u{feff}' => {
                    out.push_str(&format!("\\u{:04x}", u32::from(c)));
                }
                c => out.push(c),
            }
        }
    }
}

/// Returns true if the text needs no quotes: it is a word that neither version of YAML takes for something else.
fn is_plain(text: &str) -> bool {
    const RESERVED: [&str; 11] = [
        "y", "n", "yes", "no", "on", "off", "true", "false", "null", "nan", "inf",
    ];
    text.starts_with(|c: char| c.is_ascii_alphabetic() || c == '_')
        && text
            .chars()
            .all(|c| c.is_ascii_alphanumeric() || matches!(c, '_' | '-' | '.' | '/'))
        && !RESERVED.contains(&text.to_ascii_lowercase().as_str())
}

fn push_indent(indent: usize, out: &mut String) {
    out.extend(std::iter::repeat_n(' ', indent));
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn a_document_has_one_entry_a_line() {
        let value = json!({
            "model": {"layers": [64, {"units": 1, "act": "relu"}], "empty": {}, "none": []},
            "lr": 1e-7, "big": 1.5e20, "no": "no", "text": "a: b # c\nd", "v": null, "path": "a/b.txt", "8": true,
        });
        assert_eq!(
            to_yaml(&value),
            "\"8\": true\nbig: 1.5e+20\nlr: 1.0e-7\nmodel:\n  empty: {}\n  layers:\n    - 64\n    -\n      act: relu\n      \
             units: 1\n  none: []\n\"no\": \"no\"\npath: a/b.txt\ntext: \"a: b # c\\nd\"\nv: null\n"
        );
    }

    #[test]
    fn a_plain_value_is_a_document() {
        assert_eq!(to_yaml(&json!([])), "[]\n");
        assert_eq!(to_yaml(&json!("a b")), "\"a b\"\n");
    }
}
