//! Private keys in PEM: RFC 7468.
//!
//! Invariant: a key goes from its `-----BEGIN … PRIVATE KEY-----` to its `-----END …-----`. A key
//! without an end reaches to the end of the text.

use std::ops::Range;

use super::text::{MAX_LOOKAHEAD, Text};

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
    let end = (begun..text.len())
        .find(|at| text.starts_with(*at, "-----END"))
        .and_then(|end| self::label(text, end + "-----END".len()))
        .map_or(text.len(), |(_, ended)| ended);
    Some(at..end)
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
