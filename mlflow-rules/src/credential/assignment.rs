//! Values that a text assigns to a secret's name: `DB_PASSWORD=…`, `"api_key": "…"`, `--token …`,
//! `X-Api-Key: …`, `?access_token=…`, `password: Some("…")`, `<password>…</password>`.
//!
//! Invariants:
//!
//! - Only the value goes. The name, the quotes around the value and the rest of the text stay.
//! - A name is looked for where a sign (`=`, `:`, `>`, the blank behind an option) stands, at most
//!   [`MAX_NAME_LEN`] bytes before the sign. So the work grows with the text and no faster.
//! - How much a name has to prove depends on where the name stands. A name such as `password` is enough
//!   by itself. `token` and `session` are words of prose and of machine learning, too: in a query, in an
//!   option or as a variable of the environment they are enough, elsewhere the value has to look
//!   random. [`mod@judgement`](super::judgement) judges values.

use std::ops::Range;

use super::judgement::{Proof, is_secret};
use super::text::{Text, is_alphanumeric, is_blank};
use super::value;
use crate::secret_name::{Certainty, certainty, may_be_secret};
use crate::url::is_signature;

/// Maximum length of a name in bytes. Of a longer name, the last bytes count.
const MAX_NAME_LEN: usize = 80;
/// Maximum number of blanks between a name and its sign, and between a sign and its value.
const MAX_BLANKS: usize = 8;
/// Maximum number of backslashes before a quote.
const MAX_ESCAPES: usize = 7;

/// Name before a sign, and its surroundings.
#[derive(Clone)]
struct Name {
    range: Range<usize>,
    /// True if blanks stand between the name and the sign.
    has_blank: bool,
    /// True if the name stands in quotes or brackets.
    is_quoted: bool,
}

/// Finds the value behind the sign (`=`, `:`, `>` or an encoded `%3D`) at `at`.
pub(super) fn find_assigned(text: &Text<'_>, at: usize) -> Option<Range<usize>> {
    let sign = text.byte(at)?;
    let mut behind = at + 1;
    match sign {
        b'>' => return xml_element(text, at),
        b'%' => behind = at + 3,
        b':' | b'=' => {
            match text.byte(behind) {
                // `::`, `==`
                Some(next) if next == sign => return None,
                // `://`
                Some(b'/') if text.byte(behind + 1) == Some(b'/') => return None,
                // `:=`, `=>`, `:>`
                Some(b'=' | b'>') => behind += 1,
                _ => {}
            }
        }
        _ => return None,
    }
    let name = name_before(text, at)?;
    let written = text.slice(name.range.clone());
    if written.eq_ignore_ascii_case(b"value") {
        return find_entry_value(text, &name, behind);
    }
    // Nearly every name ends here.
    if !may_be_secret(written) && !written.ends_with(b"sig") && !written.ends_with(b"ignature") {
        return None;
    }
    let proof = proof_of(text, &name, sign)?;
    let value = text.class_end(behind, MAX_BLANKS, is_blank);
    // `password= user=me`
    if sign == b'=' && !name.has_blank && value > behind && value::is_member(text, value) {
        return None;
    }
    let has_blank = name.has_blank || value > behind;
    // A line of a file: `password.rs:12`.
    let is_line = sign == b':'
        && !has_blank
        && !name.is_quoted
        && text.byte(value).is_some_and(|byte| byte.is_ascii_digit())
        && text.slice(name.range.clone()).contains(&b'.');
    if is_line {
        return None;
    }
    value::find_value(text, value, &proof.with_blank(has_blank && sign != b'%'))
}

/// Finds the value of an entry whose name stands before: `{"name": "DB_PASSWORD", "value": "…"}`,
/// `<add key="Password" value="…"/>`, and the same in two lines of YAML.
fn find_entry_value(text: &Text<'_>, name: &Name, behind: usize) -> Option<Range<usize>> {
    const MAX_GAP: usize = 40;
    let is_gap =
        |byte: u8| byte.is_ascii_whitespace() || matches!(byte, b',' | b'"' | b'\'' | b'\\');
    let end = text.class_start(name.range.start, MAX_GAP, is_gap);
    let start = text.class_start(end, MAX_NAME_LEN, is_name_byte);
    let certainty = certainty(text.slice(start..end))?;
    let key_end = text.class_start(start, MAX_BLANKS, |byte| {
        matches!(byte, b' ' | b'"' | b'\'' | b'\\' | b':' | b'=')
    });
    let is_entry = key_end < start
        && ["name", "key"]
            .iter()
            .any(|key| text.ends_with_any_case(key_end, key));
    let value = text.class_end(behind, MAX_BLANKS, is_blank);
    let proof = Proof::of_option(certainty, start..end);
    is_entry.then(|| value::find_value(text, value, &proof))?
}

/// Finds the value of the option (`--token value`, `"--token", "value"`) whose dashes begin at `at`.
pub(super) fn find_option_value(text: &Text<'_>, at: usize) -> Option<Range<usize>> {
    if text
        .byte_before(at)
        .is_some_and(|byte| is_alphanumeric(byte) || matches!(byte, b'-' | b'_'))
    {
        return None;
    }
    let is_short = text.byte(at + 1) == Some(b'u');
    let start = if is_short { at + 1 } else { at + 2 };
    let end = text.class_end(start, MAX_NAME_LEN, is_name_byte);
    let name = text.slice(start..end);
    let is_user = matches!(name, b"u" | b"user" | b"proxy-user");
    let certainty = certainty(name);
    if !is_user && certainty.is_none() {
        return None;
    }
    let value = match text.byte(end)? {
        b' ' | b'\t' => text.class_end(end, MAX_BLANKS, is_blank),
        // The next member of a list of arguments.
        quote @ (b'"' | b'\'') => {
            let comma = end + 1;
            if text.byte(comma) != Some(b',') {
                return None;
            }
            let next = text.class_end(comma + 1, MAX_BLANKS, |byte| byte.is_ascii_whitespace());
            (text.byte(next) == Some(quote)).then_some(next)?
        }
        _ => return None,
    };
    if is_user {
        return value::find_user_password(text, value);
    }
    // Behind an option, another option or a description may follow.
    if matches!(
        text.byte(value),
        Some(b'-' | b'<' | b'[' | b'(' | b'{' | b'|')
    ) {
        return None;
    }
    value::find_value(text, value, &Proof::of_option(certainty?, start..end))
}

/// Finds the second part of a pair `("name", "value")` whose parenthesis stands at `at`.
pub(super) fn find_pair_value(text: &Text<'_>, at: usize) -> Option<Range<usize>> {
    let quote = text.byte(at + 1)?;
    let end = text.class_end(at + 2, MAX_NAME_LEN, is_name_byte);
    if text.byte(end) != Some(quote) || text.byte(end + 1) != Some(b',') {
        return None;
    }
    let value = text.class_end(end + 2, MAX_BLANKS, is_blank);
    if text.byte(value) != Some(quote) {
        return None;
    }
    let name = at + 2..end;
    let certainty = certainty(text.slice(name.clone()))?;
    value::find_value(text, value, &Proof::of_member(certainty, name))
}

/// Finds the content of an element whose opening tag ends at `at`.
fn xml_element(text: &Text<'_>, at: usize) -> Option<Range<usize>> {
    const MAX_CONTENT_LEN: usize = 4096;
    let start = text.class_start(at, MAX_NAME_LEN, is_name_byte);
    if start == at || text.byte_before(start) != Some(b'<') {
        return None;
    }
    let certainty = certainty(text.slice(start..at))?;
    let value = at + 1;
    let end = text.class_end(value, MAX_CONTENT_LEN, |byte| byte != b'<');
    let is_closed = text.starts_with(end, "</") || (text.is_cut() && end == text.len());
    let proof = Proof::of_member(certainty, start..at);
    (is_closed && is_secret(text, value..end, &proof)).then_some(value..end)
}

/// Returns the name that stands before the sign at `at`.
// Input:  `"api_key" :`, `environ["api_key"] =`, `\"api_key\":`, `api key:`
fn name_before(text: &Text<'_>, at: usize) -> Option<Name> {
    let mut end = text.class_start(at, MAX_BLANKS, is_blank);
    let has_blank = end < at;
    let mut is_quoted = false;
    if text.byte_before(end) == Some(b']') {
        end -= 1;
        is_quoted = true;
    }
    if matches!(text.byte_before(end), Some(b'"' | b'\'' | b'`' | b'*')) {
        end = text.class_start(end - 1, MAX_ESCAPES, |byte| matches!(byte, b'\\' | b'*'));
        is_quoted = true;
    }
    let mut start = text.class_start(end, MAX_NAME_LEN, is_name_byte);
    // A key of two words, as in `API key: …`.
    if ends_with_key(text, start..end) && text.byte_before(start) == Some(b' ') {
        start = text.class_start(start - 1, MAX_NAME_LEN, is_name_byte);
    }
    (start < end).then_some(Name {
        range: start..end,
        has_blank,
        is_quoted,
    })
}

fn ends_with_key(text: &Text<'_>, name: Range<usize>) -> bool {
    name.len() == 3 && text.slice(name).eq_ignore_ascii_case(b"key")
}

/// Returns how much the name proves about its value, or `None` if the name is not a secret's.
fn proof_of(text: &Text<'_>, name: &Name, sign: u8) -> Option<Proof> {
    let Range { mut start, end } = name.range;
    // `-Dpassword=…` of Java, and the escapes of `&` in JSON and in URLs.
    for (mark, escape) in [("-D", 0), ("u0026", 1), ("26", 1), ("3F", 1)] {
        let escaped = escape == 0 || matches!(text.byte_before(start), Some(b'%' | b'\\'));
        if escaped && text.starts_with(start, mark) && end - start > mark.len() {
            start += mark.len();
        }
    }
    let written = text.slice(start..end);
    let before = text.byte_before(start);
    let is_parameter = sign != b':'
        && !name.has_blank
        && !name.is_quoted
        && (matches!(before, Some(b'?' | b'&' | b'#'))
            || start > name.range.start && before != Some(b'D'));
    let Some(certainty) = certainty(written) else {
        return (is_parameter && is_signature(written))
            .then(|| Proof::of_parameter(Certainty::Certain, start..end));
    };
    if is_parameter {
        return Some(Proof::of_parameter(certainty, start..end));
    }
    let is_option = written.starts_with(b"--");
    let is_variable = sign == b'='
        && !name.has_blank
        && !name.is_quoted
        && written.iter().all(|byte| !byte.is_ascii_lowercase());
    let mut proof = if is_option || is_variable {
        Proof::of_option(certainty, start..end)
    } else {
        Proof::of_member(certainty, start..end)
    };
    let semicolon = match before {
        Some(b';') => start.checked_sub(1),
        Some(b' ') if text.byte_before(start - 1) == Some(b';') => start.checked_sub(2),
        _ => None,
    };
    if semicolon.is_some_and(|at| follows_pair(text, at)) {
        proof = proof.in_connection_string();
    }
    if !name.is_quoted && begins_line(text, start) {
        proof = proof.at_line_start();
    }
    Some(proof)
}

/// Returns true if a name with a value stands before the `;` at `at`, as in a connection string. Between two commands of a
/// shell stands a `;`, too.
fn follows_pair(text: &Text<'_>, at: usize) -> bool {
    let start = text.class_start(at, 64, |byte| {
        !matches!(byte, b';' | b'\n' | b'\r' | b'"' | b'\'')
    });
    text.slice(start..at).contains(&b'=')
}

/// Returns true if nothing but an indentation and the mark of a list stands before `at` on its line.
fn begins_line(text: &Text<'_>, at: usize) -> bool {
    let start = text.class_start(at, 64, |byte| is_blank(byte) || matches!(byte, b'-' | b'+'));
    matches!(text.byte_before(start), None | Some(b'\n' | b'\r'))
}

fn is_name_byte(byte: u8) -> bool {
    byte.is_ascii_alphanumeric() || matches!(byte, b'_' | b'-' | b'.')
}
