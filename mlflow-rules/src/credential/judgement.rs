//! Judgement if an assigned value is a secret.
//!
//! Invariants:
//!
//! - A value that is nothing, a placeholder, a type, an expression of code or a word such as `required`
//!   stays, whatever its name. So does a text that is masked already.
//! - In case of doubt a value of a name such as `password` goes, and one of a name such as `token` stays.

use std::ops::Range;

use super::text::{Text, is_alphanumeric, is_quote};
use crate::REDACTED;
use crate::secret_name::{Certainty, is_one_of};

/// Maximum length of the name of a function or a variable.
const MAX_IDENTIFIER_LEN: usize = 48;
/// Minimum length of a word that is random if letters and digits alternate in it.
const MIN_MIXED_LEN: usize = 8;
/// Minimum length of a word that is random in any case.
const MIN_RANDOM_LEN: usize = 24;

/// Place of a name, with the characters that end a value there.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(super) enum Place {
    /// Parameter of a URL's query.
    Parameter,
    /// Option of a command, or variable of an environment.
    Option,
    /// Member of a structure, or anything else.
    Member,
}

/// Proof that a name gives for its value.
#[derive(Clone)]
pub(super) struct Proof {
    pub(super) certainty: Certainty,
    /// Range of the name in the text.
    pub(super) name: Range<usize>,
    pub(super) place: Place,
    /// True behind a `;`, where the value goes on to the next one.
    pub(super) is_in_connection_string: bool,
    pub(super) is_at_line_start: bool,
    /// True if blanks stand beside the sign.
    pub(super) has_blank: bool,
}

impl Proof {
    const fn new(certainty: Certainty, name: Range<usize>, place: Place) -> Self {
        Self {
            certainty,
            name,
            place,
            is_in_connection_string: false,
            is_at_line_start: false,
            has_blank: false,
        }
    }

    pub(super) const fn of_parameter(certainty: Certainty, name: Range<usize>) -> Self {
        Self::new(certainty, name, Place::Parameter)
    }

    pub(super) const fn of_option(certainty: Certainty, name: Range<usize>) -> Self {
        Self::new(certainty, name, Place::Option)
    }

    pub(super) const fn of_member(certainty: Certainty, name: Range<usize>) -> Self {
        Self::new(certainty, name, Place::Member)
    }

    pub(super) const fn in_connection_string(mut self) -> Self {
        self.is_in_connection_string = true;
        self
    }

    pub(super) const fn at_line_start(mut self) -> Self {
        self.is_at_line_start = true;
        self
    }

    /// Notes that blanks stand beside the sign.
    pub(super) const fn with_blank(mut self, has_blank: bool) -> Self {
        self.has_blank = has_blank;
        self
    }

    /// Returns true if the name is enough, whatever the value looks like.
    pub(super) fn is_enough(&self) -> bool {
        self.certainty == Certainty::Certain || self.certainty == Certainty::Likely
    }
}

/// Returns true if the value is a secret, as far as its name and its form tell.
pub(super) fn is_secret(text: &Text<'_>, range: Range<usize>, proof: &Proof) -> bool {
    let is_cut = text.is_cut() && range.end == text.len();
    let value = text.slice(range.start..range.end);
    if is_nothing(value) || is_word_of_prose(value) || is_own_name(text, value, proof) {
        return false;
    }
    // The secrets of a URL are known.
    if proof.certainty != Certainty::Certain && value.windows(3).any(|part| part == b"://") {
        return false;
    }
    match (proof.certainty, proof.place) {
        (Certainty::Certain, _) | (Certainty::Likely, Place::Parameter | Place::Option) => {
            let is_folder = value.starts_with(b"/") && names(text, proof, b"pwd");
            !(is_path(value) || is_folder) || looks_random(value)
        }
        (Certainty::Possible, Place::Parameter) => true,
        (Certainty::Likely, Place::Member) => {
            !is_number(value) && (looks_random(value) || is_cut || !is_path_or_marker(value))
        }
        (Certainty::Possible, Place::Option) => {
            !is_number(value)
                && (looks_random(value) || is_cut || names_token(text, proof) && !is_path(value))
        }
        (Certainty::Possible, Place::Member) => {
            looks_random(value) || (is_cut && !is_number(value))
        }
    }
}

/// Returns true for values that say that there is no value, and for placeholders.
fn is_nothing(value: &[u8]) -> bool {
    if value
        .windows(REDACTED.len())
        .any(|part| part == REDACTED.as_bytes())
    {
        return true;
    }
    let has_content = value
        .iter()
        .any(|byte| byte.is_ascii_alphanumeric() || !byte.is_ascii());
    let is_ellipsis = "…".as_bytes() == value;
    !has_content
        || is_ellipsis
        || is_variable(value)
        || is_enclosed(value, b"<", b">")
        || is_enclosed(value, b"{", b"}")
        || value.starts_with(b"${")
        || value.starts_with(b"$(")
        || value.starts_with(b"%(")
        || is_enclosed(value, b"%", b"%")
}

/// Returns true for `$NAME` of a shell.
fn is_variable(value: &[u8]) -> bool {
    value.strip_prefix(b"$").is_some_and(|name| {
        name.first().is_some_and(u8::is_ascii_uppercase)
            && name
                .iter()
                .all(|byte| byte.is_ascii_uppercase() || byte.is_ascii_digit() || *byte == b'_')
    })
}

/// Returns true for a name between these two marks.
fn is_enclosed(value: &[u8], open: &[u8], close: &[u8]) -> bool {
    value
        .strip_prefix(open)
        .and_then(|value| value.strip_suffix(close))
        .is_some_and(|name| {
            name.len() < 40
                && name
                    .iter()
                    .all(|byte| byte.is_ascii_alphabetic() || b"_-. {}:?!".contains(byte))
        })
}

/// Words that stand behind a secret's name without being its value.
#[rustfmt::skip]
const PROSE: &[&str] = &[
    "a", "accepted", "all", "already", "an", "and", "any", "are", "argument", "as", "authentication",
    "be", "been", "bool", "bytes", "can", "cannot", "changed", "column", "could", "denied", "disabled",
    "does", "empty", "enabled", "environment", "error", "expired", "failed", "false", "field", "flag",
    "for", "found", "from", "given", "has", "have", "header", "hidden", "if", "in", "incorrect",
    "input", "int", "invalid", "is", "it", "length", "may", "masked", "mismatch", "missing", "must",
    "never", "nil", "no", "none", "not", "null", "of", "ok", "on", "option", "optional", "or",
    "parameter", "please", "redacted", "refused", "rejected", "required", "secretstr", "should", "str",
    "string", "that", "the", "this", "to", "too", "true", "undefined", "unset", "unknown", "use",
    "using", "value", "variable", "was", "were", "will", "with", "without", "wrong", "yes", "you",
    "your",
];

fn is_word_of_prose(value: &[u8]) -> bool {
    let word = value.strip_prefix(b"&").unwrap_or(value);
    let word = word.strip_prefix(b"'static").unwrap_or(word).trim_ascii();
    let end = word
        .iter()
        .rposition(u8::is_ascii_alphanumeric)
        .map_or(0, |last| last + 1);
    let trimmed = word.get(..end).unwrap_or(word);
    let is_type = [
        "Option<",
        "Optional[",
        "Secret<",
        "Vec<",
        "SecretBox<",
        "Arc<",
        "Cow<",
        "Box<",
    ]
    .iter()
    .any(|name| word.starts_with(name.as_bytes()));
    is_type
        || PROSE
            .iter()
            .any(|prose| trimmed.eq_ignore_ascii_case(prose.as_bytes()))
}

/// Returns true for `password=password`, as code passes an argument on, and for `password: {password}`.
fn is_own_name(text: &Text<'_>, value: &[u8], proof: &Proof) -> bool {
    let name = text.slice(proof.name.clone());
    let value = value.strip_prefix(b"&").unwrap_or(value);
    let value = value.strip_suffix(b".clone()").unwrap_or(value);
    let name = name.rsplit(|byte| *byte == b'.').next().unwrap_or(name);
    value.eq_ignore_ascii_case(name.strip_prefix(b"--").unwrap_or(name))
}

/// Returns true for an expression of code that reads a secret: `self.token`, `os.environ["TOKEN"]`.
pub(super) fn is_expression(text: &Text<'_>, at: usize, proof: &Proof) -> bool {
    #[rustfmt::skip]
    const OWNERS: &[&str] = &[
        "args", "cfg", "conf", "config", "ctx", "env", "environ", "flags", "getenv", "getpass",
        "hparams", "json", "keyring", "kwargs", "load", "options", "opts", "os", "params", "process",
        "prompt", "read", "request", "rpassword", "secrets", "self", "settings", "std", "this",
        "userdata",
    ];
    if proof.place == Place::Parameter {
        return false;
    }
    let start = text.class_end(at, 1, |byte| byte == b'&');
    let end = text.class_end(start, MAX_IDENTIFIER_LEN, |byte| {
        is_alphanumeric(byte) || byte == b'_'
    });
    let owner = text.slice(start..end);
    let goes_on = match text.byte(end) {
        Some(b'.' | b'[') => true,
        Some(b':') => text.byte(end + 1) == Some(b':'),
        _ => false,
    };
    (goes_on && is_one_of(owner, OWNERS)) || (proof.place == Place::Member && is_call(text, start))
}

/// Returns true if a call of a function or an index begins at `at`: `get_token(`, `answer.json()["token"]`.
/// A word with digits may be a password.
fn is_call(text: &Text<'_>, at: usize) -> bool {
    let end = text.class_end(at, MAX_IDENTIFIER_LEN, |byte| {
        byte.is_ascii_alphabetic() || matches!(byte, b'_' | b'.')
    });
    let is_name = text
        .byte(at)
        .is_some_and(|byte| byte.is_ascii_alphabetic() || byte == b'_');
    let next = text.byte(end + 1);
    is_name
        && match text.byte(end) {
            Some(b'(') => {
                next.is_none_or(|byte| {
                    is_quote(byte) || is_alphanumeric(byte) || matches!(byte, b')' | b'_')
                }) && !text.byte(at).is_some_and(|byte| byte.is_ascii_uppercase())
            }
            Some(b'[') => next.is_some_and(is_quote),
            _ => false,
        }
}

fn names_token(text: &Text<'_>, proof: &Proof) -> bool {
    let name = text.slice(proof.name.clone());
    name.windows(5)
        .any(|part| part.eq_ignore_ascii_case(b"token"))
        || [&b"pat"[..], b"sas", b"bearer"]
            .iter()
            .any(|word| names(text, proof, word))
}

/// Returns true if the name ends with the word.
pub(super) fn names(text: &Text<'_>, proof: &Proof, word: &[u8]) -> bool {
    let name = text.slice(proof.name.clone());
    let tail = name.get(name.len().saturating_sub(word.len())..);
    tail.is_some_and(|tail| tail.eq_ignore_ascii_case(word))
}

fn is_number(value: &[u8]) -> bool {
    value.iter().all(|byte| {
        byte.is_ascii_digit()
            || matches!(
                byte,
                b'.' | b',' | b'-' | b'+' | b'e' | b'E' | b'%' | b'_' | b'/' | b':'
            )
    })
}

/// Returns true for the absolute or relative path of a file.
fn is_path(value: &[u8]) -> bool {
    let is_drive = matches!(value, [drive, b':', b'\\' | b'/', ..] if drive.is_ascii_alphabetic());
    let begins = [
        &b"/"[..],
        b"./",
        b"../",
        b"~/",
        b"file://",
        b"vault:",
        b"s3://",
        b"gs://",
    ];
    (is_drive || begins.iter().any(|begin| value.starts_with(begin)))
        && value
            .iter()
            .filter(|byte| matches!(byte, b'/' | b'\\'))
            .count()
            > 1
        && !value
            .iter()
            .any(|byte| matches!(byte, b'+' | b'=' | b'!' | b'$' | b'&'))
}

/// Returns true for a path, and for a marker of a language model: `<|user|>`, `[USER]`.
fn is_path_or_marker(value: &[u8]) -> bool {
    is_path(value) || matches!(value, [b'<', .., b'>'] | [b'[', .., b']'])
}

/// Returns true if one of the value's words is no word of a language, a number, a version or a date:
/// letters and digits alternate in it, or it is very long.
fn looks_random(value: &[u8]) -> bool {
    value
        .split(|byte| matches!(byte, b'-' | b'_' | b'.' | b'/' | b':' | b' ' | b',' | b'='))
        .any(is_random_word)
        || is_uuid(value)
}

fn is_random_word(word: &[u8]) -> bool {
    let letters = word
        .iter()
        .filter(|byte| byte.is_ascii_alphabetic())
        .count();
    let changes = word
        .windows(2)
        .filter(|pair| pair[0].is_ascii_digit() != pair[1].is_ascii_digit())
        .count();
    let is_ascii = word.iter().all(u8::is_ascii);
    let is_mixed = word.len() >= MIN_MIXED_LEN && changes >= 2 && letters >= 3;
    is_ascii && (is_mixed || word.len() >= MIN_RANDOM_LEN)
}

fn is_uuid(value: &[u8]) -> bool {
    value.len() == 36
        && value.iter().enumerate().all(|(at, byte)| match at {
            8 | 13 | 18 | 23 => *byte == b'-',
            _ => byte.is_ascii_hexdigit(),
        })
}
