//! The text that is searched for credentials, with the questions that its parts ask.
//!
//! Invariants:
//!
//! - Every byte is read through this type, so that a test can count the reads.
//! - No question moves a position: a part that finds nothing leaves no trace.

use std::ops::Range;

/// Number of bytes after which a position is given up where no credential begins.
pub(super) const MAX_LOOKAHEAD: usize = 128;

pub(super) struct Text<'t> {
    bytes: &'t [u8],
    /// Start of the last word of a text that was cut off; `usize::MAX` for a complete text.
    cut_word_start: usize,
    #[cfg(test)]
    steps: std::cell::Cell<usize>,
}

impl<'t> Text<'t> {
    pub(super) fn new(bytes: &'t [u8], is_cut: bool) -> Self {
        let last_word_start = || {
            let before = bytes.iter().rposition(|byte| !is_b64token(*byte));
            before.map_or(0, |before| before + 1)
        };
        let cut_word_start = if is_cut {
            last_word_start()
        } else {
            usize::MAX
        };
        Self {
            bytes,
            cut_word_start,
            #[cfg(test)]
            steps: std::cell::Cell::default(),
        }
    }

    #[cfg(test)]
    pub(super) fn steps(&self) -> usize {
        self.steps.get()
    }

    /// Counts bytes that were read without [`Self::byte`].
    #[inline]
    pub(super) fn count(&self, read: usize) {
        #[cfg(test)]
        self.steps.set(self.steps.get() + read);
        #[cfg(not(test))]
        let _ = read;
    }

    pub(super) fn len(&self) -> usize {
        self.bytes.len()
    }

    pub(super) fn is_cut(&self) -> bool {
        self.cut_word_start != usize::MAX
    }

    /// Returns true if the text from `from` on is not empty and is a part of the last word of a
    /// text that was cut off.
    pub(super) fn is_cut_off(&self, from: usize) -> bool {
        from >= self.cut_word_start && from < self.bytes.len()
    }

    #[inline]
    pub(super) fn byte(&self, at: usize) -> Option<u8> {
        self.count(1);
        self.bytes.get(at).copied()
    }

    /// Returns the byte before `at`.
    #[inline]
    pub(super) fn byte_before(&self, at: usize) -> Option<u8> {
        self.byte(at.checked_sub(1)?)
    }

    /// Returns the bytes of the range, or none if the range lies outside.
    pub(super) fn slice(&self, range: Range<usize>) -> &'t [u8] {
        self.count(range.len());
        self.bytes.get(range).unwrap_or_default()
    }

    /// Returns all bytes from `from` on, without counting them.
    pub(super) fn rest(&self, from: usize) -> &'t [u8] {
        self.bytes.get(from..).unwrap_or_default()
    }

    /// Returns the end of the run of `class` bytes that begins at `from`; at most `most` bytes are
    /// examined.
    pub(super) fn class_end(&self, from: usize, most: usize, class: fn(u8) -> bool) -> usize {
        let mut end = from;
        while end - from < most && self.byte(end).is_some_and(class) {
            end += 1;
        }
        end
    }

    pub(super) fn run_end(&self, from: usize, class: fn(u8) -> bool) -> usize {
        self.class_end(from, usize::MAX, class)
    }

    /// Returns the start of the run of `class` bytes that ends before `to`; at most `most` bytes are
    /// examined.
    pub(super) fn class_start(&self, to: usize, most: usize, class: fn(u8) -> bool) -> usize {
        let mut start = to;
        while to - start < most && self.byte_before(start).is_some_and(class) {
            start -= 1;
        }
        start
    }

    fn matches_at(&self, at: usize, expected: &[u8], same: fn(&u8, &u8) -> bool) -> bool {
        expected
            .iter()
            .zip(at..)
            .all(|(expected, at)| self.byte(at).is_some_and(|byte| same(&byte, expected)))
    }

    pub(super) fn starts_with(&self, at: usize, expected: &str) -> bool {
        self.matches_at(at, expected.as_bytes(), u8::eq)
    }

    pub(super) fn starts_with_any_case(&self, at: usize, expected: &str) -> bool {
        self.matches_at(at, expected.as_bytes(), u8::eq_ignore_ascii_case)
    }

    /// Returns true if the text before `at` ends with `expected`, in any case.
    pub(super) fn ends_with_any_case(&self, at: usize, expected: &str) -> bool {
        at.checked_sub(expected.len())
            .is_some_and(|start| self.starts_with_any_case(start, expected))
    }
}

pub(super) fn is_alphanumeric(byte: u8) -> bool {
    byte.is_ascii_alphanumeric()
}

pub(super) fn is_blank(byte: u8) -> bool {
    matches!(byte, b' ' | b'\t')
}

pub(super) fn is_quote(byte: u8) -> bool {
    matches!(byte, b'"' | b'\'' | b'`')
}

/// Returns true for the characters of base64 in its variant for URLs.
pub(super) fn is_url_safe(byte: u8) -> bool {
    byte.is_ascii_alphanumeric() || matches!(byte, b'-' | b'_')
}

/// Returns true for the characters that RFC 6750 allows in a token, among them those of all
/// variants of base64.
pub(super) fn is_b64token(byte: u8) -> bool {
    is_url_safe(byte) || matches!(byte, b'.' | b'~' | b'+' | b'/' | b'=')
}
