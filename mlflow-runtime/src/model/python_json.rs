//! JSON as Python's `json.dumps` writes it: with a space after each `,` and `:`, and in ASCII.
//!
//! MLflow's Python client hashes and compares such texts, so a text that describes the same has to be the same.

use std::io;

use serde::ser::{Serialize, SerializeMap as _, Serializer};
use serde_json::ser::{CharEscape, Formatter};

/// Object whose fields keep their order.
pub(crate) struct JsonObject<V>(pub(crate) Vec<(String, V)>);

impl<V: Serialize> Serialize for JsonObject<V> {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        let mut map = serializer.serialize_map(Some(self.0.len()))?;
        for (key, value) in &self.0 {
            map.serialize_entry(key, value)?;
        }
        map.end()
    }
}

/// Returns the value as JSON. Writing texts and numbers into memory does not fail.
pub(crate) fn to_python_json(value: &impl Serialize) -> String {
    let mut json = Vec::new();
    let mut serializer = serde_json::Serializer::with_formatter(&mut json, PythonFormatter);
    let written = value.serialize(&mut serializer);
    debug_assert!(written.is_ok());
    String::from_utf8(json).unwrap_or_default()
}

struct PythonFormatter;

impl Formatter for PythonFormatter {
    fn begin_array_value<W: io::Write + ?Sized>(
        &mut self,
        writer: &mut W,
        first: bool,
    ) -> io::Result<()> {
        write_separator(writer, first)
    }

    fn begin_object_key<W: io::Write + ?Sized>(
        &mut self,
        writer: &mut W,
        first: bool,
    ) -> io::Result<()> {
        write_separator(writer, first)
    }

    fn begin_object_value<W: io::Write + ?Sized>(&mut self, writer: &mut W) -> io::Result<()> {
        writer.write_all(b": ")
    }

    fn write_string_fragment<W: io::Write + ?Sized>(
        &mut self,
        writer: &mut W,
        fragment: &str,
    ) -> io::Result<()> {
        let is_plain = |char: char| char.is_ascii() && char != '\u{7f}';
        let mut rest = fragment;
        while let Some(at) = rest.find(|char| !is_plain(char)) {
            let (plain, escaped) = rest.split_at(at);
            writer.write_all(plain.as_bytes())?;
            let mut chars = escaped.chars();
            for unit in chars.next().unwrap_or_default().encode_utf16(&mut [0; 2]) {
                write!(writer, "\\u{unit:04x}")?;
            }
            rest = chars.as_str();
        }
        writer.write_all(rest.as_bytes())
    }

    fn write_char_escape<W: io::Write + ?Sized>(
        &mut self,
        writer: &mut W,
        escape: CharEscape,
    ) -> io::Result<()> {
        match escape {
            CharEscape::AsciiControl(byte) => write!(writer, "\\u{byte:04x}"),
            CharEscape::Quote => writer.write_all(b"\\\""),
            CharEscape::ReverseSolidus => writer.write_all(b"\\\\"),
            CharEscape::Solidus => writer.write_all(b"/"),
            CharEscape::Backspace => writer.write_all(b"\\b"),
            CharEscape::FormFeed => writer.write_all(b"\\f"),
            CharEscape::LineFeed => writer.write_all(b"\\n"),
            CharEscape::CarriageReturn => writer.write_all(b"\\r"),
            CharEscape::Tab => writer.write_all(b"\\t"),
        }
    }
}

fn write_separator<W: io::Write + ?Sized>(writer: &mut W, first: bool) -> io::Result<()> {
    if first {
        return Ok(());
    }
    writer.write_all(b", ")
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    /// The expected text is what Python prints.
    #[test]
    fn the_text_is_that_of_python() {
        let value = JsonObject(vec![
            ("b".to_owned(), json!([1, -2, 0.5, true, null])),
            (
                "a".to_owned(),
                json!("\"\\/\u{7f}\u{1}\u{8}\u{c}\n\r\tü日😀"),
            ),
            (String::new(), json!({})),
        ]);
        assert_eq!(
            to_python_json(&value),
            r#"{"b": [1, -2, 0.5, true, null], "a": "\"\\/\u007f\u0001\b\f\n\r\t\u00fc\u65e5\ud83d\ude00", "": {}}"#
        );
    }
}
