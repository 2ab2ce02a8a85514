//! The credentials of the HTTP header `Authorization`: RFC 9110, 11.6.2.
//!
//! Invariant: the name of the header and of the scheme stay, the credentials go. `Bearer` without the
//! header's name counts only before a word that is long and has a digit, as "bearer" is a word of
//! prose, too.

use std::ops::Range;

use super::text::{MAX_LOOKAHEAD, Text, is_b64token};
use crate::REDACTED;

/// Minimum length in bytes of credentials after `Authorization: Bearer`.
const MIN_NAMED_VALUE_LEN: usize = 8;
/// Minimum length in bytes of credentials after `Bearer` alone.
const MIN_BARE_VALUE_LEN: usize = 16;
/// Maximum number of bytes between the header's name and the scheme, and behind the scheme.
const MAX_SEPARATORS: usize = 8;

/// Schemes whose credentials are one word.
const WORD_SCHEMES: [&str; 7] = [
    "bearer",
    "basic",
    "token",
    "apikey",
    "negotiate",
    "ntlm",
    "key",
];
/// Schemes whose credentials are parameters, up to the end of the line.
const PARAMETER_SCHEMES: [&str; 6] = [
    "AWS4-HMAC-SHA256",
    "digest",
    "signature",
    "oauth",
    "hawk",
    "sharedkey",
];

/// Finds the value in `Authorization: Bearer value` and in `Bearer value`, whose first word begins at
/// `at`.
pub(super) fn find_http_credentials(text: &Text<'_>, at: usize) -> Option<Range<usize>> {
    let (value, least, needs_digit) = if text.starts_with(at, "Bearer ") {
        (at + "Bearer ".len(), MIN_BARE_VALUE_LEN, true)
    } else if text.starts_with_any_case(at, "authorization") {
        let scheme = scheme_start(text, at + "authorization".len())?;
        if let Some(value) = value_of_scheme(text, scheme, &PARAMETER_SCHEMES) {
            if text.starts_with(value, REDACTED) {
                return None;
            }
            let mut end = text.run_end(value, |byte| {
                !is_line_end(byte) && !matches!(byte, b'"' | b'\'')
            });
            // Digest quotes its parameters.
            if text.byte_before(end) == Some(b'=') {
                end = text.run_end(end, |byte| !is_line_end(byte));
            }
            return (end > value).then_some(value..end);
        }
        let value = value_of_scheme(text, scheme, &WORD_SCHEMES)?;
        (value, MIN_NAMED_VALUE_LEN, false)
    } else {
        return None;
    };
    if text.is_cut_off(value) {
        return Some(value..text.len());
    }
    let seen = text.slice(value..text.class_end(value, MAX_LOOKAHEAD, is_b64token));
    if seen.len() < least || (needs_digit && !seen.iter().any(u8::is_ascii_digit)) {
        return None;
    }
    Some(value..text.run_end(value, is_b64token))
}

/// Returns the start of the scheme that follows the header's name and `: `, `": "` or something
/// similar.
fn scheme_start(text: &Text<'_>, from: usize) -> Option<usize> {
    let scheme = text.class_end(from, MAX_SEPARATORS, |byte| {
        matches!(
            byte,
            b' ' | b'"' | b'\'' | b'\\' | b':' | b'=' | b'>' | b','
        )
    });
    let separators = text.slice(from..scheme);
    separators
        .iter()
        .any(|byte| matches!(byte, b':' | b'=' | b','))
        .then_some(scheme)
}

/// Returns the start of the credentials in `Bearer value`, the value of any header or member.
pub(super) fn behind_scheme(text: &Text<'_>, at: usize) -> Option<usize> {
    value_of_scheme(text, at, &WORD_SCHEMES)
}

/// Returns the start of the credentials behind one of the schemes.
fn value_of_scheme(text: &Text<'_>, scheme: usize, schemes: &[&str]) -> Option<usize> {
    let name = schemes
        .iter()
        .find(|name| text.starts_with_any_case(scheme, name))?;
    let blank = scheme + name.len();
    let value = text.class_end(blank, MAX_SEPARATORS, |byte| byte == b' ');
    (value > blank).then_some(value)
}

fn is_line_end(byte: u8) -> bool {
    matches!(byte, b'\n' | b'\r')
}
