//! Numbers, steps, times and nested values, as other programs write them.

use std::collections::BTreeMap;
use std::fmt;

use jiff::Timestamp;
use jiff::civil::DateTime;
use serde_json::value::RawValue;

/// Deepest nesting of objects whose values are read one by one.
const MAX_DEPTH: usize = 32;

/// Floats from this on are too coarse for steps.
const MAX_FLOAT_STEP: f64 = 9_007_199_254_740_992.0;

/// Reads a number; also NaN and the infinities, as Python, JavaScript and others write them.
pub(super) fn parse_number(text: &str) -> Option<f64> {
    text.parse().ok()
}

/// Reads a step. Some programs write it as a float: `12.0`, but not `12.5` or `1e30`.
#[expect(
    clippy::cast_possible_truncation,
    reason = "a cast of a float saturates"
)]
pub(super) fn parse_step(text: &str) -> Option<i64> {
    let is_step = |step: &f64| step.fract() == 0.0 && step.abs() < MAX_FLOAT_STEP;
    let float = || { text.parse::<f64>().ok() }.filter(is_step);
    text.parse()
        .ok()
        .or_else(|| float().map(|step| step as i64))
}

/// Reads a time in ms since the Unix epoch: a number of seconds, ms, us or ns by its size, or a date. A small
/// number is no time since the epoch.
// Input:  `1700000000.5`,  `1700000000500`, `2023-11-14T22:13:20.5Z`, `12.5`
// Output: 1700000000500,   1700000000500,   1700000000500,            none
#[expect(
    clippy::cast_possible_truncation,
    reason = "a cast of a float saturates"
)]
pub(super) fn parse_time(text: &str, is_in_ms: bool) -> Option<i64> {
    if text.is_empty() {
        return None;
    }
    if is_in_ms && let Ok(ms) = text.parse() {
        return Some(ms);
    }
    if let Ok(number) = text.parse::<f64>() {
        let ms = match number.abs() {
            _ if is_in_ms => number,
            ..1e8 => return None,
            1e8..1e11 => number * 1e3,
            1e11..1e14 => number,
            1e14..1e17 => number / 1e3,
            1e17.. => number / 1e6,
            _ => return None,
        };
        return Some(ms.round() as i64);
    }
    let in_utc = || {
        let date: DateTime = text.parse().ok()?;
        jiff::tz::TimeZone::UTC.to_timestamp(date).ok()
    };
    let time: Option<Timestamp> = text.parse().ok().or_else(in_utc);
    time.map(Timestamp::as_millisecond)
}

/// Value of JSON, whose numbers keep their digits: the standard library reads them exactly.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Json {
    Null,
    Flag(bool),
    /// Digits, or one of `NaN`, `Infinity` and `-Infinity`.
    Number(String),
    Text(String),
    /// Text of a list.
    List(String),
    Object(BTreeMap<String, Json>),
}

impl Json {
    /// Reads JSON, in which Python also writes NaN and infinities. Returns `None` for any other text.
    pub(super) fn parse(text: &str) -> Option<Self> {
        let text = text.trim();
        Self::parse_strict(text, 0).or_else(|| Self::parse_strict(&with_quoted_numbers(text)?, 0))
    }

    fn parse_strict(text: &str, depth: usize) -> Option<Self> {
        Some(match text.as_bytes().first()? {
            b'{' if depth < MAX_DEPTH => {
                let fields: BTreeMap<String, Box<RawValue>> = serde_json::from_str(text).ok()?;
                let read = |(key, value): (String, Box<RawValue>)| {
                    Some((key, Self::parse_strict(value.get(), depth + 1)?))
                };
                Self::Object(fields.into_iter().map(read).collect::<Option<_>>()?)
            }
            b'{' | b'[' => {
                let whole: Box<RawValue> = serde_json::from_str(text).ok()?;
                Self::List(whole.get().to_owned())
            }
            b'"' => {
                let text: String = serde_json::from_str(text).ok()?;
                match &*text {
                    "NaN" | "Infinity" | "-Infinity" => Self::Number(text),
                    _ => Self::Text(text),
                }
            }
            b't' | b'f' => Self::Flag(serde_json::from_str(text).ok()?),
            b'n' => serde_json::from_str(text).map(|()| Self::Null).ok()?,
            _ => {
                let whole: Box<RawValue> = serde_json::from_str(text).ok()?;
                Self::Number(whole.get().to_owned())
            }
        })
    }

    /// Returns the number that a metric may have as its value.
    pub(super) fn number(&self) -> Option<f64> {
        match self {
            Self::Number(digits) => parse_number(digits),
            Self::Flag(flag) => Some(f64::from(u8::from(*flag))),
            _ => None,
        }
    }

    /// Returns the whole number.
    pub(super) fn integer(&self) -> Option<i64> {
        match self {
            Self::Number(digits) => digits.parse().ok(),
            _ => None,
        }
    }

    /// Returns the text; `None` for a number and all others.
    pub(super) fn text(&self) -> Option<&str> {
        match self {
            Self::Text(text) => Some(text),
            _ => None,
        }
    }

    /// Returns a field of an object.
    pub(super) fn field(&self, key: &str) -> Option<&Self> {
        match self {
            Self::Object(fields) => fields.get(key),
            _ => None,
        }
    }
}

impl fmt::Display for Json {
    /// Writes the value as a param or tag holds it.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Null => f.write_str("null"),
            Self::Flag(flag) => flag.fmt(f),
            Self::Number(text) | Self::Text(text) | Self::List(text) => f.write_str(text),
            // An object with fields is read field by field.
            Self::Object(_) => f.write_str("{}"),
        }
    }
}

/// Returns the text with quotes around the numbers that Python writes and JSON does not have; `None` if there are
/// none.
// Input:  `{"a": NaN, "b": [-Infinity, "NaN"]}`
// Output: `{"a": "NaN", "b": ["-Infinity", "NaN"]}`
fn with_quoted_numbers(text: &str) -> Option<String> {
    let mut quoted = String::with_capacity(text.len() + 16);
    let mut rest = text;
    let mut is_changed = false;
    let mut is_in_text = false;
    while let Some(c) = rest.chars().next() {
        let word = { ["NaN", "Infinity", "-Infinity"].into_iter() }
            .find(|word| !is_in_text && rest.starts_with(word));
        let length = match (word, c) {
            (Some(word), _) => {
                is_changed = true;
                quoted.push_str(&format!("\"{word}\""));
                word.len()
            }
            (None, '\\') if is_in_text => {
                let length = 1 + rest.chars().nth(1).map_or(0, char::len_utf8);
                quoted.push_str(rest.get(..length).unwrap_or_default());
                length
            }
            (None, c) => {
                is_in_text ^= c == '"';
                quoted.push(c);
                c.len_utf8()
            }
        };
        rest = rest.get(length..).unwrap_or_default();
    }
    is_changed.then_some(quoted)
}

/// Calls `visit` with each value of an object, whatever its depth, and with its key. Media are left out: their
/// files are artifacts.
pub(super) fn flatten(key: String, value: Json, visit: &mut impl FnMut(String, Json)) {
    match value {
        Json::Object(fields) if fields.contains_key("_type") => {}
        Json::Object(fields) if !fields.is_empty() => {
            for (inner, value) in fields {
                flatten(format!("{key}.{inner}"), value, visit);
            }
        }
        value => visit(key, value),
    }
}

/// Returns the nearest integer.
#[expect(
    clippy::cast_possible_truncation,
    reason = "a cast of a float saturates"
)]
pub(super) fn to_integer(number: f64) -> i64 {
    number.round() as i64
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn times_are_read_as_programs_write_them() {
        let expected = Some(1_700_000_000_500);
        for text in [
            "1700000000.5",
            "1700000000500",
            "1700000000500000",
            "1700000000500000000",
            "2023-11-14T22:13:20.5Z",
            "2023-11-14T23:13:20.5+01:00",
            "2023-11-14T22:13:20.5",
            "2023-11-14 22:13:20.5",
        ] {
            assert_eq!(parse_time(text, false), expected, "{text}");
        }
        assert_eq!(parse_time("7", true), Some(7));
        for text in ["", "12.5", "soon", "NaN"] {
            assert_eq!(parse_time(text, false), None, "{text}");
        }
    }

    #[test]
    fn json_keeps_every_digit_and_pythons_numbers() {
        let number = |text: &str| Json::parse(text).and_then(|json| json.number());
        assert_eq!(number("0.09090909090909091"), Some(1.0 / 11.0));
        assert_eq!(number("-Infinity"), Some(f64::NEG_INFINITY));
        assert_eq!(number("true"), Some(1.0));
        assert!(number("NaN").is_some_and(f64::is_nan));
        let object =
            Json::parse(r#"{"a": NaN, "b": {"c": -Infinity, "d": "NaN, \\\"NaN"}, "e": [NaN]}"#);
        let object = object.expect("JSON of Python");
        let field = |path: &[&str]| -> String {
            let mut value = &object;
            for key in path {
                value = value.field(key).expect("a field");
            }
            value.to_string()
        };
        assert_eq!(field(&["a"]), "NaN");
        assert_eq!(field(&["b", "c"]), "-Infinity");
        assert_eq!(field(&["b", "d"]), r#"NaN, \"NaN"#);
        assert_eq!(field(&["e"]), r#"["NaN"]"#);
        for bad in ["", "{", "hello", "{\"a\": nan}", "1 2", "[1"] {
            assert_eq!(Json::parse(bad), None, "{bad}");
        }
        let deep = format!("{}1{}", "{\"a\":".repeat(100), "}".repeat(100));
        assert!(Json::parse(&deep).is_some());
    }

    #[test]
    fn media_are_no_values_of_a_nested_object() {
        let text = r#"{"a": {"b": 1, "c": [1]}, "m": {"_type": "image", "size": 3}, "e": {}}"#;
        let mut seen = Vec::new();
        let value = Json::parse(text).expect("JSON");
        flatten("x".to_owned(), value, &mut |key, value| {
            seen.push(format!("{key}={value}"));
        });
        assert_eq!(seen, ["x.a.b=1", "x.a.c=[1]", "x.e={}"]);
    }
}
