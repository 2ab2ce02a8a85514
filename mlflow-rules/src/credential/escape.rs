//! Text inside of text: what JSON, `Debug` of Rust and `repr` of Python write with backslashes.
//!
//! Invariants:
//!
//! - A text without an escape allocates nothing, and any other one is looked at in [`pieces`], so that the memory that is needed
//!   is bounded.
//! - Each place in the plain text has a place in the escaped one, so that what is found in the first is masked in the second.
//! - A backslash that begins no known escape, such as one of a path, stays.

use std::ops::Range;

/// Greatest length of a piece in bytes.
const MAX_PIECE_BYTES: usize = 1 << 20;

/// Number of bytes that a piece of a line has in common with the next one, so that a credential is whole in one of them.
const OVERLAP_BYTES: usize = 16 << 10;

/// Returns the ranges of the pieces in which a text is looked at. A piece ends behind a line break; a line that is longer than a
/// piece may be is looked at in pieces that overlap.
pub(super) fn pieces(text: &str) -> impl Iterator<Item = Range<usize>> {
    let mut from = 0;
    std::iter::from_fn(move || {
        let rest = text.get(from..).filter(|rest| !rest.is_empty())?;
        let mut most = rest.len().min(MAX_PIECE_BYTES);
        while !rest.is_char_boundary(most) {
            most -= 1;
        }
        let is_last = most == rest.len();
        let line_end = rest.get(..most)?.rfind('\n').filter(|_| !is_last);
        let start = from;
        let end = start + line_end.map_or(most, |at| at + 1);
        from = end;
        if line_end.is_none() && !is_last {
            from = end - OVERLAP_BYTES;
            while !text.is_char_boundary(from) {
                from += 1;
            }
        }
        Some(start..end)
    })
}

/// Text without its escapes, and where its parts stand in the escaped text.
pub(super) struct Unescaped {
    pub(super) text: String,
    /// Beginnings of the parts: in the plain text, and in the escaped one. A part is an escape, or what stands between two.
    parts: Vec<(usize, usize)>,
    escaped_len: usize,
}

impl Unescaped {
    /// Replaces the escapes of a text, one level of them. Returns `None` if there is none.
    // Input:  `{\"note\": \"a\u00fcb\"}`
    // Output: `{"note": "aüb"}`
    pub(super) fn new(escaped: &str) -> Option<Self> {
        let first = escaped.find('\\')?;
        let mut unescaped = Self {
            text: String::new(),
            parts: Vec::new(),
            escaped_len: escaped.len(),
        };
        let (mut kept, mut from) = (0, first);
        while let Some(at) = escaped.get(from..)?.find('\\').map(|at| from + at) {
            let Some((char, length)) = read_escape(escaped.get(at..)?) else {
                from = at + 1;
                continue;
            };
            unescaped.push(kept, escaped.get(kept..at)?);
            unescaped.push(at, char.encode_utf8(&mut [0; 4]));
            (kept, from) = (at + length, at + length);
        }
        if unescaped.parts.is_empty() {
            return None;
        }
        unescaped.push(kept, escaped.get(kept..)?);
        Some(unescaped)
    }

    fn push(&mut self, at: usize, part: &str) {
        if !part.is_empty() {
            self.parts.push((self.text.len(), at));
            self.text.push_str(part);
        }
    }

    /// Returns the range of the escaped text for one of the plain text.
    pub(super) fn escaped_range(&self, plain: &Range<usize>) -> Range<usize> {
        self.escaped_place(plain.start)..self.escaped_place(plain.end)
    }

    fn escaped_place(&self, plain: usize) -> usize {
        if plain >= self.text.len() {
            return self.escaped_len;
        }
        let part = self.parts.partition_point(|(start, _)| *start <= plain);
        let (start, escaped) = { part.checked_sub(1) }
            .and_then(|part| self.parts.get(part))
            .copied()
            .unwrap_or_default();
        escaped + (plain - start)
    }
}

/// Returns the character of the escape at the beginning of a text, and the length of the escape in bytes.
fn read_escape(text: &str) -> Option<(char, usize)> {
    let simple = |char| Some((char, 2));
    match text.as_bytes().get(1)? {
        b'n' => simple('\n'),
        b'r' => simple('\r'),
        b't' => simple('\t'),
        b'"' => simple('"'),
        b'\'' => simple('\''),
        b'/' => simple('/'),
        b'\\' => simple('\\'),
        b'x' => Some((read_char(text.get(2..4)?)?, 4)),
        b'u' if text.as_bytes().get(2) == Some(&b'{') => {
            let end = text
                .as_bytes()
                .iter()
                .take(10)
                .position(|byte| *byte == b'}')?;
            Some((read_char(text.get(3..end)?)?, end + 1))
        }
        b'u' => Some((read_char(text.get(2..6)?)?, 6)),
        _ => None,
    }
}

/// Returns the character with this number, in hexadecimal digits. Half of a surrogate pair is U+FFFD.
fn read_char(digits: &str) -> Option<char> {
    if !digits.bytes().all(|byte| byte.is_ascii_hexdigit()) {
        return None;
    }
    let number = u32::from_str_radix(digits, 16).ok()?;
    Some(char::from_u32(number).unwrap_or('\u{fffd}'))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_long_text_is_looked_at_in_pieces_of_whole_lines() {
        let ends = |text: &str| {
            let mut before = 0;
            let ends = pieces(text).map(|piece| {
                assert!(piece.start <= before && before - piece.start <= OVERLAP_BYTES);
                before = piece.end;
                assert!(piece.len() <= MAX_PIECE_BYTES && !piece.is_empty());
                piece.end
            });
            ends.collect::<Vec<_>>()
        };
        let line = format!("{}\n", "é".repeat(300_000));
        let two = [&*line, &line].concat();
        assert_eq!(ends(&two), [line.len(), two.len()]);
        let long = "x€".repeat(400_000);
        assert_eq!(ends(&long), [MAX_PIECE_BYTES, long.len()]);
        assert_eq!(ends("a\nb"), [3]);
        assert!(ends("").is_empty());
    }

    #[test]
    fn each_place_of_the_plain_text_has_one_of_the_escaped_text() {
        let escaped = r#"a\"b\u65e5c\\d\u{1F600}\x41\q C:\dir é\n"#;
        let unescaped = Unescaped::new(escaped).expect("escapes");
        assert_eq!(unescaped.text, "a\"b日c\\d😀A\\q C:\\dir é\n");
        for (plain, shown) in [
            ("b", "b"),
            ("日", r"\u65e5"),
            ("\"b日c", r#"\"b\u65e5c"#),
            ("😀A", r"\u{1F600}\x41"),
            ("é\n", "é\\n"),
        ] {
            let at = unescaped.text.find(plain).expect("a part");
            let range = unescaped.escaped_range(&(at..at + plain.len()));
            assert_eq!(&escaped[range], shown);
        }
        for text in ["", "plain", r"C:\dir", "\\", r"\u12", r"\u{", r"\x4"] {
            assert!(Unescaped::new(text).is_none(), "{text}");
        }
    }
}
