//! Extent of an assigned value.
//!
//! Invariants:
//!
//! - A quoted value ends at its closing quote, with the same number of backslashes before it, or at the
//!   end of the line. Other values end at a blank, a quote, or at a character that ends a member (`,`,
//!   `;`, `&`, a bracket) and is followed by another member or by the end. So `,` may be a part of a
//!   password.
//! - A value is judged by its first [`MAX_JUDGED_LEN`] bytes. What is examined beyond is masked, so that no
//!   byte is examined again.

use std::ops::Range;

use super::http_header;
use super::judgement::{Place, Proof, is_expression, is_secret, names};
use super::text::{Text, is_alphanumeric, is_blank, is_quote};
use crate::REDACTED;
use crate::secret_name::{Certainty, is_one_of};

/// Maximum length of a list or an object that is masked as a whole.
const MAX_CONTAINER_LEN: usize = 4096;
/// Maximum number of types around a value: `Some(Secret("…"))`.
const MAX_WRAPPERS: usize = 4;
/// Maximum length of a wrapper's name.
const MAX_WRAPPER_LEN: usize = 48;
/// Maximum number of backslashes before a quote.
const MAX_ESCAPES: usize = 7;
/// Maximum number of bytes by which a value is judged.
const MAX_JUDGED_LEN: usize = 96;

/// Finds the secret part of the value that begins at `at`.
pub(super) fn find_value(text: &Text<'_>, at: usize, proof: &Proof) -> Option<Range<usize>> {
    let mut at = behind_type(text, at);
    let mut is_wrapped = false;
    for _ in 0..MAX_WRAPPERS {
        if let Some(quote) = Quote::read(text, at) {
            return quoted(text, &quote, proof, is_wrapped);
        }
        let Some(inside) = wrapper_end(text, at) else {
            break;
        };
        at = inside;
        is_wrapped = true;
    }
    at = http_header::behind_scheme(text, at).unwrap_or(at);
    match text.byte(at)? {
        b'|' | b'>' if proof.is_enough() => block(text, at, proof),
        b'{' | b'<' if !proof.is_in_connection_string && is_placeholder(text, at) => None,
        b'(' if proof.certainty == Certainty::Possible => user_and_password(text, at, proof),
        b'{' | b'[' | b'(' => container(text, at, proof),
        b'\n' | b'\r' | b',' | b';' | b'&' | b')' | b']' | b'}' => None,
        _ => bare(text, at, proof),
    }
}

/// Finds the password in `user:password` behind an option such as `-u` of curl.
pub(super) fn find_user_password(text: &Text<'_>, at: usize) -> Option<Range<usize>> {
    let quote = Quote::read(text, at);
    let start = quote.as_ref().map_or(at, |quote| quote.start);
    let end_within = |most: usize| match &quote {
        Some(quote) => quote.end(text, most),
        None => text.class_end(at, most, |byte| {
            !byte.is_ascii_whitespace() && !is_quote(byte)
        }),
    };
    let user_end = text.class_end(start, 64, |byte| {
        is_alphanumeric(byte) || matches!(byte, b'_' | b'-' | b'.' | b'@' | b'+')
    });
    let (password, seen) = (user_end + 1, end_within(MAX_JUDGED_LEN));
    if text.byte(user_end) != Some(b':') || password >= seen {
        return None;
    }
    let proof = Proof::of_option(Certainty::Certain, start..user_end);
    // Numbers are those of a user and a group, as `docker run` takes them.
    let is_number = text.slice(password..seen).iter().all(u8::is_ascii_digit);
    (!is_number && is_secret(text, password..seen, &proof))
        .then(|| password..end_within(usize::MAX))
}

/// Finds the password in `auth=("user", "password")` of Python.
fn user_and_password(text: &Text<'_>, at: usize, proof: &Proof) -> Option<Range<usize>> {
    let name = text.slice(proof.name.clone());
    let user = Quote::read(text, at + 1)?;
    let comma = user.end(text, MAX_JUDGED_LEN) + 1;
    if !name.ends_with(b"auth") || text.byte(comma) != Some(b',') {
        return None;
    }
    let password = Quote::read(text, text.class_end(comma + 1, 2, is_blank))?;
    let proof = Proof::of_member(Certainty::Certain, proof.name.clone());
    quoted(text, &password, &proof, false)
}

/// Returns the start of the value behind the type of a declaration, `: &str = "…"`.
fn behind_type(text: &Text<'_>, at: usize) -> usize {
    const MAX_TYPE_LEN: usize = 40;
    let end = text.class_end(at, MAX_TYPE_LEN, |byte| {
        is_alphanumeric(byte) || b"_&<>[]:|' ".contains(&byte)
    });
    let is_assigned = text.byte(end) == Some(b'=')
        && text.byte_before(end) == Some(b' ')
        && text.byte(end + 1) == Some(b' ')
        && end > at + 1;
    if is_assigned { end + 2 } else { at }
}

/// Opening quote of a value.
struct Quote {
    /// Start of the text behind the quote.
    start: usize,
    quote: u8,
    /// Number of backslashes before the quote.
    escapes: usize,
}

impl Quote {
    /// Reads the quote that stands at `at`, perhaps behind a letter, as in `b"…"` and `f'…'`.
    fn read(text: &Text<'_>, at: usize) -> Option<Self> {
        let has_letter = matches!(text.byte(at)?, b'b' | b'r' | b'f' | b'u' | b'@' | b'$')
            && text.byte(at + 1).is_some_and(is_quote);
        let from = at + usize::from(has_letter);
        let open = text.class_end(from, MAX_ESCAPES, |byte| byte == b'\\');
        let quote = text.byte(open).filter(|byte| is_quote(*byte))?;
        let mut start = open + 1;
        // Three quotes, as Python and TOML have them.
        if open == from && text.byte(start) == Some(quote) && text.byte(start + 1) == Some(quote) {
            start += 2;
        }
        Some(Self {
            start,
            quote,
            escapes: open - from,
        })
    }

    /// Returns the end of the text in the quotes; at most `most` bytes of the text are examined.
    fn end(&self, text: &Text<'_>, most: usize) -> usize {
        let (mut end, mut backslashes) = (self.start, 0);
        while end - self.start < most {
            match text.byte(end) {
                None | Some(b'\n' | b'\r') => break,
                Some(b'\\') => backslashes += 1,
                Some(byte) if byte == self.quote => {
                    let closes = match self.escapes {
                        0 => backslashes % 2 == 0,
                        escapes => backslashes <= escapes,
                    };
                    if closes {
                        return end - if self.escapes == 0 { 0 } else { backslashes };
                    }
                    backslashes = 0;
                }
                Some(_) => backslashes = 0,
            }
            end += 1;
        }
        end
    }
}

/// Returns the start of the value inside of `Some(`, `Secret(` or `String::from(`.
fn wrapper_end(text: &Text<'_>, at: usize) -> Option<usize> {
    let name = text.class_end(at, MAX_WRAPPER_LEN, |byte| {
        is_alphanumeric(byte) || matches!(byte, b'_' | b':')
    });
    if name == at || text.byte(name) != Some(b'(') {
        return None;
    }
    let inside = text.class_end(name + 1, 2, |byte| matches!(byte, b' ' | b'&'));
    let function = text.slice(at..name).rsplit(|byte| *byte == b':').next()?;
    // The name of a variable is the argument of such a function, and no secret.
    if is_one_of(
        function,
        &["env", "get", "getenv", "require", "var", "var_os"],
    ) {
        return None;
    }
    let is_type = function.first()?.is_ascii_uppercase();
    let is_text = text.byte(inside).is_some_and(is_quote);
    (is_type || is_text).then_some(inside)
}

/// Finds the secret in a quoted value.
fn quoted(text: &Text<'_>, quote: &Quote, proof: &Proof, is_wrapped: bool) -> Option<Range<usize>> {
    let seen = quote.end(text, MAX_JUDGED_LEN);
    let scheme = http_header::behind_scheme(text, quote.start).filter(|start| *start < seen);
    let start = scheme.unwrap_or(quote.start);
    let value = text.slice(start..seen);
    let is_variable = is_wrapped
        && value.contains(&b'_')
        && value
            .iter()
            .all(|byte| byte.is_ascii_uppercase() || byte.is_ascii_digit() || *byte == b'_');
    if is_variable || !is_secret(text, start..seen, proof) {
        return None;
    }
    Some(start..quote.end(text, usize::MAX))
}

/// Finds a value without quotes.
fn bare(text: &Text<'_>, at: usize, proof: &Proof) -> Option<Range<usize>> {
    let seen = bare_end(text, at, proof, MAX_JUDGED_LEN);
    if seen == at {
        return None;
    }
    // A type with fields, as `Debug` writes it.
    if text.byte(seen) == Some(b' ')
        && text.byte(seen + 1) == Some(b'{')
        && text.byte(at).is_some_and(|byte| byte.is_ascii_uppercase())
        && text.slice(at..seen).iter().all(u8::is_ascii_alphanumeric)
    {
        return container(text, seen + 1, proof);
    }
    if names(text, proof, b"cookie") {
        if text.starts_with(at, REDACTED) || !text.slice(at..seen).contains(&b'=') {
            return None;
        }
        let whole = text.run_end(at, |byte| !matches!(byte, b'\n' | b'\r') && !is_quote(byte));
        return Some(at..whole);
    }
    if !is_secret(text, at..seen, proof) || is_expression(text, at, proof) {
        return None;
    }
    let mut end = bare_end(text, at, proof, usize::MAX);
    if proof.is_in_connection_string && text.byte(end).is_some_and(is_blank) {
        // The value of a connection string goes on to the next `;`.
        end = text.run_end(end, |byte| {
            !matches!(byte, b';' | b'\n' | b'\r') && !is_quote(byte)
        });
        return Some(at..end);
    }
    if proof.place == Place::Member && proof.has_blank && text.byte(end).is_some_and(is_blank) {
        return phrase(text, at..end, proof);
    }
    Some(at..end)
}

/// Returns the end of the value without quotes that begins at `at`; at most `most` bytes of the value are
/// examined.
fn bare_end(text: &Text<'_>, at: usize, proof: &Proof, most: usize) -> usize {
    let is_parameter = proof.place == Place::Parameter;
    let mut end = at;
    while end - at < most
        && let Some(byte) = text.byte(end)
    {
        let ends = match byte {
            b' ' | b'\t' | b'\n' | b'\r' | 0x0b | 0x0c => true,
            b'<' => end > at,
            b'[' if text.starts_with(end, REDACTED) => {
                end += REDACTED.len();
                continue;
            }
            b'&' | b'#' if is_parameter => true,
            b'\\' => match text.byte(end + 1) {
                Some(b' ') => {
                    end += 1;
                    false
                }
                next => matches!(next, Some(b'n' | b'r' | b't' | b'"' | b'\'')),
            },
            b'"' | b'\'' | b'`' => is_parameter || !text.byte(end + 1).is_some_and(is_alphanumeric),
            b'&' => is_member(text, end + 1),
            b',' | b';' | b')' | b']' | b'}' | b'|' | b'>' => {
                end > at && ends_member(text, end + 1, is_parameter)
            }
            _ => false,
        };
        if ends {
            break;
        }
        end += 1;
    }
    end
}

/// Returns true if nothing of a value stands at `at`: the end, a blank, a quote, a bracket or another
/// member.
fn ends_member(text: &Text<'_>, at: usize, is_parameter: bool) -> bool {
    match text.byte(at) {
        None => true,
        Some(byte) if byte.is_ascii_whitespace() || is_quote(byte) => true,
        Some(b',' | b';' | b')' | b']' | b'}' | b'<' | b'\\') => true,
        Some(b'.' | b':') => {
            is_parameter
                || text
                    .byte(at + 1)
                    .is_none_or(|byte| byte.is_ascii_whitespace())
        }
        Some(_) => is_member(text, at),
    }
}

/// Returns true if another name and its sign stand at `at`.
pub(super) fn is_member(text: &Text<'_>, at: usize) -> bool {
    let start = text.class_end(at, 1, is_blank);
    let end = text.class_end(start, 40, |byte| {
        is_alphanumeric(byte) || matches!(byte, b'_' | b'-' | b'.')
    });
    end > start && matches!(text.byte(end), Some(b'=' | b':'))
}

/// Finds a value of several words, `password = my own words`, which is written in files of settings. In
/// prose, only one word is the value.
fn phrase(text: &Text<'_>, first: Range<usize>, proof: &Proof) -> Option<Range<usize>> {
    let next = text.class_end(first.end, 2, is_blank);
    let next_end = text.class_end(next, 32, |byte| byte.is_ascii_alphabetic());
    let is_word =
        next_end > next && !matches!(text.byte(next_end), Some(b'=' | b':' | b'_' | b'-'));
    let word = text.slice(first.clone());
    let is_first_word = word
        .iter()
        .all(|byte| byte.is_ascii_alphabetic() || matches!(byte, b',' | b'.' | b'\''));
    if !(is_word && is_first_word) {
        return Some(first);
    }
    if proof.certainty != Certainty::Certain || !proof.is_at_line_start {
        return None;
    }
    let mut end = first.end;
    loop {
        let start = text.class_end(end, 2, is_blank);
        if is_member(text, start) || matches!(text.byte(start), Some(b'#' | b';')) {
            return Some(first.start..end);
        }
        let stop = text.run_end(start, |byte| !byte.is_ascii_whitespace());
        if stop == start {
            return Some(first.start..end);
        }
        end = stop;
    }
}

/// Finds a list or an object of secrets. The members of an object of a weak name are judged by their own
/// names. A bracket that is not closed reaches to the end of the line, or to the end of the lines that
/// follow on one which ends in the middle of a list.
fn container(text: &Text<'_>, at: usize, proof: &Proof) -> Option<Range<usize>> {
    if proof.certainty != Certainty::Certain || text.starts_with(at, REDACTED) {
        return None;
    }
    let (mut depth, mut quote, mut end) = (0_usize, None, at);
    while end - at < MAX_CONTAINER_LEN
        && let Some(byte) = text.byte(end)
    {
        match (quote, byte) {
            (None, b'\n') if !goes_on_behind(text, end) => break,
            (Some(_), b'\n') => break,
            (Some(_), b'\\') if text.byte(end + 1).is_some_and(|byte| byte.is_ascii()) => end += 1,
            (Some(open), _) if byte == open => quote = None,
            (Some(_), _) => {}
            (None, b'"' | b'\'') => quote = Some(byte),
            (None, b'{' | b'[' | b'(') => depth += 1,
            (None, b'}' | b']' | b')') => depth = depth.saturating_sub(1),
            _ => {}
        }
        end += 1;
        if depth == 0 {
            break;
        }
    }
    let end = char_end(text, end.min(text.len()));
    let inside = text.slice(at + 1..end.max(at + 1));
    let has_content = inside.iter().any(u8::is_ascii_alphanumeric);
    has_content.then_some(at..end)
}

/// Returns true if the line that ends at `end` ends in the middle of a list or an object.
fn goes_on_behind(text: &Text<'_>, end: usize) -> bool {
    let end = end - usize::from(text.byte_before(end) == Some(b'\r'));
    matches!(text.byte_before(end), Some(b',' | b'{' | b'[' | b'('))
        || text.byte_before(end).is_some_and(|byte| {
            is_quote(byte) || is_alphanumeric(byte) || byte == b'}' || byte == b']'
        }) && matches!(
            text.byte(text.class_end(end, 64, |byte| byte.is_ascii_whitespace())),
            Some(b'}' | b']' | b')')
        )
}

/// Returns the end of the character in which `end` lies.
fn char_end(text: &Text<'_>, end: usize) -> usize {
    text.class_end(end, 3, |byte| byte & 0b1100_0000 == 0b1000_0000)
}

/// Finds the indented lines behind `|` or `>` of YAML.
fn block(text: &Text<'_>, at: usize, proof: &Proof) -> Option<Range<usize>> {
    let mut start = text.class_end(at + 1, 2, |byte| {
        matches!(byte, b'-' | b'+') || byte.is_ascii_digit()
    });
    start = text.class_end(start, 2, |byte| matches!(byte, b' ' | b'\r'));
    if text.byte(start) != Some(b'\n') {
        return None;
    }
    let value = text.class_end(start + 1, 32, |byte| byte == b' ');
    let indent = value - start - 1;
    if indent == 0 {
        return None;
    }
    let seen = text.class_end(value, MAX_JUDGED_LEN, |byte| !matches!(byte, b'\n' | b'\r'));
    if !is_secret(text, value..seen, proof) {
        return None;
    }
    let mut end = value;
    loop {
        end = text.run_end(end, |byte| !matches!(byte, b'\n' | b'\r'));
        let next = text.class_end(end, 2, |byte| matches!(byte, b'\n' | b'\r'));
        if next == end || text.class_end(next, indent, |byte| byte == b' ') - next < indent {
            break;
        }
        end = next + indent;
    }
    Some(value..end)
}

/// Returns true if a placeholder such as `{password}`, `{{ password }}`, `{:?}` or `<password>` begins at
/// `at`.
fn is_placeholder(text: &Text<'_>, at: usize) -> bool {
    let close = match text.byte(at) {
        Some(b'{') => b'}',
        _ => b'>',
    };
    let end = text.class_end(at + 1, 40, |byte| {
        is_alphanumeric(byte) || b"_-.:?#!{ ".contains(&byte)
    });
    let is_member = text.slice(at..end).windows(2).any(|pair| pair == b": ");
    text.byte(end) == Some(close) && !is_member
}
