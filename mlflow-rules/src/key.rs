//! Keys that MLflow accepts: the rules for the names of metrics, params and tags.
//!
//! Source: `_validate_metric_name`, `_validate_param_name` and `_validate_tag_name` of MLflow 3.17
//! (`mlflow/utils/validation.py`). Lengths count characters, not bytes.

/// Maximum length of a key, in characters.
pub const KEY_CHARS: usize = 250;

/// Reason for which MLflow refuses a key.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum KeyFault {
    /// Empty key.
    Empty,
    /// Key with this number of characters, which is more than [`KEY_CHARS`].
    TooLong(usize),
    /// Key with a character that is not allowed; the first such character is given.
    Character(char),
    /// Key that is not a plain path: it begins with `..`, or one of its segments (the parts between
    /// slashes) is empty, `.` or `..`.
    NoPlainPath,
}

/// Returns the reason for which MLflow would refuse the key, or `None` if MLflow accepts the key.
///
/// If several reasons hold, the first in the order of [`KeyFault`]'s variants is returned.
#[must_use]
#[inline]
pub fn key_fault(key: &str) -> Option<KeyFault> {
    // Fast path: almost every key is ASCII, short and without a fault.
    let is_plain = |byte: u8| byte.is_ascii() && is_key_char(byte.into());
    let is_short = (1..=KEY_CHARS).contains(&key.len());
    if is_short && key.bytes().all(is_plain) && is_plain_path(key.as_bytes()) {
        return None;
    }
    if key.is_empty() {
        return Some(KeyFault::Empty);
    }
    let length = key.chars().count();
    if length > KEY_CHARS {
        return Some(KeyFault::TooLong(length));
    }
    if let Some(bad) = key.chars().find(|char| !is_key_char(*char)) {
        return Some(KeyFault::Character(bad));
    }
    (!is_plain_path(key.as_bytes())).then_some(KeyFault::NoPlainPath)
}

/// Returns true if MLflow accepts this character in a key.
#[must_use]
#[inline]
pub fn is_key_char(char: char) -> bool {
    char.is_alphanumeric() || matches!(char, '_' | '-' | '.' | '/' | ':' | ' ')
}

/// Returns true if POSIX path normalisation leaves the key unchanged and the key does not begin
/// with `..`.
const fn is_plain_path(key: &[u8]) -> bool {
    if key.len() >= 2 && key[0] == b'.' && key[1] == b'.' {
        return false;
    }
    let mut start = 0;
    let mut at = 0;
    while at <= key.len() {
        if at == key.len() || key[at] == b'/' {
            let empty = at == start;
            let dot = at == start + 1 && key[start] == b'.';
            let dots = at == start + 2 && key[start] == b'.' && key[start + 1] == b'.';
            if empty || dot || dots {
                return false;
            }
            start = at + 1;
        }
        at += 1;
    }
    true
}

/// Returns the key unchanged. In a constant, a key that MLflow would refuse is a compile error.
///
/// Every character outside ASCII counts as a letter here. [`key_fault`] checks such characters when
/// the key is logged.
///
/// # Panics
/// Panics if the key is empty, has more than [`KEY_CHARS`] characters or an ASCII character that
/// MLflow refuses, or is not a plain path (see [`KeyFault::NoPlainPath`]).
#[must_use]
pub const fn checked_key(key: &'static str) -> &'static str {
    let bytes = key.as_bytes();
    assert!(!bytes.is_empty(), "an MLflow key must not be empty");
    let mut characters = 0;
    let mut at = 0;
    while at < bytes.len() {
        let byte = bytes[at];
        assert!(
            !byte.is_ascii()
                || byte.is_ascii_alphanumeric()
                || matches!(byte, b'_' | b'-' | b'.' | b'/' | b':' | b' '),
            "an MLflow key may contain only letters, digits, `_`, `-`, `.`, `/`, `:` and space"
        );
        // Continuation bytes of UTF-8 do not start a character.
        if byte & 0b1100_0000 != 0b1000_0000 {
            characters += 1;
        }
        at += 1;
    }
    assert!(
        characters <= KEY_CHARS,
        "an MLflow key may have at most 250 characters"
    );
    assert!(
        is_plain_path(bytes),
        "an MLflow key must be a plain path: no leading, trailing or double `/`, no `.` or `..`"
    );
    key
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn keys_that_mlflow_takes_have_no_fault() {
        let long = "é".repeat(250);
        for key in [
            "loss", "a/b", "val.loss", "x:y", "a b", "naïve", "日本", "a-b_c", "a..b", &long,
        ] {
            assert_eq!(key_fault(key), None, "{key}");
        }
    }

    #[test]
    fn keys_that_mlflow_refuses_have_one() {
        let long = "é".repeat(251);
        let refused = [
            "", "a;b", "a=b", "a@b", "a%b", "a,b", "/a", "a/", "a//b", "./a", "a/../b", ".", "..",
            "..a", &long,
        ];
        for key in refused {
            assert!(key_fault(key).is_some(), "{key}");
        }
    }

    #[test]
    fn a_fault_says_what_it_is() {
        assert_eq!(key_fault(""), Some(KeyFault::Empty));
        assert_eq!(key_fault(&"a".repeat(251)), Some(KeyFault::TooLong(251)));
        assert_eq!(key_fault("a@b"), Some(KeyFault::Character('@')));
        assert_eq!(key_fault("..x"), Some(KeyFault::NoPlainPath));
    }
}
