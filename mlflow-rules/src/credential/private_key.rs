//! Private keys in PEM: RFC 7468.
//!
//! Invariant: a key goes from its `-----BEGIN … PRIVATE KEY-----` to its `-----END …-----`. A key without an end goes to its
//! first line that is neither base64 nor a header such as `Proc-Type: 4,ENCRYPTED`, so that a text about keys is kept.

use std::ops::Range;

use super::text::{MAX_LOOKAHEAD, Text};

/// Minimum length of a line of base64 that no word has. Lines have 64 characters (RFC 7468, section 2), or 70 in OpenSSH's keys.
const MIN_LINE_LEN: usize = 60;

/// Finds the key whose `-----BEGIN` begins at `at`.
pub(super) fn find_private_key(text: &Text<'_>, at: usize) -> Option<Range<usize>> {
    if !text.starts_with(at, "-----BEGIN ") {
        return None;
    }
    let (label, begun) = label(text, at + "-----BEGIN".len())?;
    if !label
        .windows("PRIVATE KEY".len())
        .any(|window| window == b"PRIVATE KEY")
    {
        return None;
    }
    Some(at..key_end(text, begun))
}

/// Returns the end of the key whose first line ends at `begun`.
fn key_end(text: &Text<'_>, begun: usize) -> usize {
    let mut end = begun;
    loop {
        // A line break may be written as `\n` or `\r\n`, as `Debug` and JSON write it.
        let line = text.run_end(end, |byte| {
            matches!(
                byte,
                b'\n' | b'\r' | b'\\' | b' ' | b'\t' | b'"' | b'\'' | b',' | b'+'
            )
        });
        let line = match text.byte(line) {
            Some(b'n' | b'r') if text.byte_before(line) == Some(b'\\') => {
                end = line + 1;
                continue;
            }
            _ => line,
        };
        if line == text.len() {
            return line;
        }
        if text.starts_with(line, "-----END") {
            let cut_end = || text.run_end(line, |byte| !matches!(byte, b'\n' | b'\r'));
            let ended = self::label(text, line + "-----END".len());
            return ended.map_or_else(cut_end, |(_, ended)| ended);
        }
        let content = text.run_end(line, |byte| {
            byte.is_ascii_alphanumeric() || matches!(byte, b'+' | b'/' | b'=')
        });
        let is_header =
            text.starts_with(content, "-Type: ") || text.starts_with(content, "-Info: ");
        let content = if is_header {
            text.run_end(content, |byte| !matches!(byte, b'\n' | b'\r' | b'\\'))
        } else {
            content
        };
        // A shell that prints a variable without quotes puts blanks in place of the line breaks.
        let is_whole_line = content - line >= MIN_LINE_LEN && text.byte(content) == Some(b' ');
        if content == line || !(is_header || is_whole_line || is_line_end(text, content)) {
            return end;
        }
        end = content;
    }
}

/// Returns true if a line of a key may end at `at`: the text, or a piece of it in quotes, ends, or the line breaks.
fn is_line_end(text: &Text<'_>, at: usize) -> bool {
    match text.byte(at) {
        None | Some(b'\n' | b'\r' | b'\\' | b'"' | b'\'' | b'-' | b'<') => true,
        Some(b' ') => {
            text.class_end(at, MAX_LOOKAHEAD, |byte| byte == b' ') == text.len()
                || text.starts_with(at, " -----END")
        }
        Some(_) => false,
    }
}

/// Returns the label of a PEM line that begins at `from`, and the end of the dashes behind the
/// label.
fn label<'t>(text: &Text<'t>, from: usize) -> Option<(&'t [u8], usize)> {
    let end = text.class_end(from, MAX_LOOKAHEAD, |byte| {
        byte.is_ascii_uppercase() || byte.is_ascii_digit() || byte == b' '
    });
    text.starts_with(end, "-----")
        .then(|| (text.slice(from..end), end + "-----".len()))
}
