//! `Debug` output with its secrets redacted.
//!
//! Invariants:
//!
//! - After a secret's name, be it of a field (`password: `) or of a map's entry (`"password": `),
//!   `[redacted]` replaces the whole value. Every other character is kept.
//! - Each character is looked at once, and none is buffered. A redacted value without an end ends the text
//!   after [`MAX_REDACTED_CHARS`] characters.
//! - Only the format of derived `Debug` is understood. Prose written by a hand-written `Debug` is text like
//!   any other, and a secret that such a `Debug` writes without quotes ends at its first comma.

use std::fmt::{self, Write};

use mlflow_rules::{REDACTED, is_secret_name};

use super::bounded_text::{BoundedWriter, Text, render_bounded};

/// Maximum length of a redacted value, in characters. A longer value ends the text.
const MAX_REDACTED_CHARS: usize = 1 << 16;

/// Returns at most `limit` characters of `shown`, which may be `Debug` output, with secrets redacted.
pub(crate) fn render_debug(limit: usize, shown: fmt::Arguments<'_>) -> Text {
    render_bounded(limit, |out| {
        let mut veil = RedactingWriter {
            out,
            quotes: QuoteState::None,
            name: NameScan::None,
            redacted: None,
        };
        veil.write_fmt(shown)
    })
}

struct RedactingWriter<'o> {
    out: &'o mut BoundedWriter,
    quotes: QuoteState,
    name: NameScan,
    redacted: Option<RedactedValue>,
}

/// Progress in recognising a name. The numbers are byte offsets in the written text.
#[derive(Clone, Copy)]
enum NameScan {
    None,
    /// After `{` or `,`.
    Expected,
    /// `passw`
    Word(usize),
    /// `"passw`
    Quoted(usize),
    /// `"password"`
    Ended(usize, usize),
    /// `password:`
    Colon(usize, usize),
}

/// A value that is redacted.
struct RedactedValue {
    /// Number of the value's brackets that are open.
    depth: usize,
    chars_left: usize,
    /// True if the last character was a space, as between a value and the bracket that ends it.
    has_trailing_space: bool,
}

impl RedactedValue {
    /// Returns true if `char` is no longer part of the value.
    fn ends_at(&mut self, char: char, is_open: bool) -> bool {
        match char {
            _ if !is_open => {}
            ',' | '}' | ']' | ')' if self.depth == 0 => return true,
            '{' | '[' | '(' => self.depth += 1,
            '}' | ']' | ')' => self.depth -= 1,
            _ => {}
        }
        self.has_trailing_space = char == ' ';
        false
    }
}

impl Write for RedactingWriter<'_> {
    fn write_str(&mut self, part: &str) -> fmt::Result {
        // Offset in `part` from which on nothing is written yet.
        let mut from = 0;
        for (at, char) in part.char_indices() {
            let quotes = self.quotes;
            let is_open = self.quotes.step(char);
            if let Some(hidden) = &mut self.redacted {
                if !hidden.ends_at(char, is_open) {
                    hidden.chars_left = hidden.chars_left.saturating_sub(1);
                    if hidden.chars_left == 0 {
                        return self.out.mark_full();
                    }
                    continue;
                }
                if hidden.has_trailing_space {
                    self.out.write_char(' ')?;
                }
                self.redacted = None;
                from = at;
            }
            let place = self.out.len() + (at - from);
            if let NameScan::Colon(start, end) = self.name
                && char != ':'
            {
                // The value begins here, or after this space.
                let value = if char.is_whitespace() {
                    at + char.len_utf8()
                } else {
                    at
                };
                self.write_out(part, from, value)?;
                from = value;
                if self.out.slice(start, end).is_some_and(is_secret_name) {
                    self.out.write_str(REDACTED)?;
                    self.name = NameScan::None;
                    let mut hidden = RedactedValue {
                        depth: 0,
                        chars_left: MAX_REDACTED_CHARS,
                        has_trailing_space: false,
                    };
                    hidden.ends_at(char, is_open);
                    hidden.has_trailing_space = false;
                    self.redacted = Some(hidden);
                    continue;
                }
            }
            self.name = self.name.next(char, quotes, is_open, place);
        }
        if self.redacted.is_some() {
            return Ok(());
        }
        self.write_out(part, from, part.len())
    }
}

impl RedactingWriter<'_> {
    fn write_out(&mut self, part: &str, from: usize, to: usize) -> fmt::Result {
        self.out.write_str(part.get(from..to).unwrap_or_default())
    }
}

impl NameScan {
    fn next(self, char: char, before: QuoteState, is_open: bool, place: usize) -> Self {
        if !is_open {
            return match self {
                Self::Expected if char == '"' => Self::Quoted(place + 1),
                Self::Quoted(start) if before == QuoteState::Text && char == '"' => {
                    Self::Ended(start, place)
                }
                Self::Quoted(_) => self,
                _ => Self::None,
            };
        }
        match (self, char) {
            (_, '{' | ',') => Self::Expected,
            (Self::Expected, _) if char.is_whitespace() => Self::Expected,
            (Self::Expected, _) if is_part_of_name(char) => Self::Word(place),
            (Self::Word(_), _) if is_part_of_name(char) => self,
            (Self::Word(start), ':') => Self::Colon(start, place),
            (Self::Ended(start, end), ':') => Self::Colon(start, end),
            _ => Self::None,
        }
    }
}

fn is_part_of_name(char: char) -> bool {
    char.is_alphanumeric() || matches!(char, '_' | '-' | '.' | '#')
}

/// Position of the output relative to quotes.
#[derive(Clone, Copy, PartialEq)]
enum QuoteState {
    None,
    /// `"…`
    Text,
    /// `"…\`
    TextEscape,
    /// `'`
    Char,
    /// `'c`; an apostrophe in prose, unless a `'` follows.
    CharOf(char),
    /// `'\`
    CharEscape,
    /// `'\u{…`
    CharEscaped,
}

impl QuoteState {
    /// Advances by one character. Returns true if `char` is outside of quotes and is no quote itself.
    fn step(&mut self, char: char) -> bool {
        let was = *self;
        *self = match (was, char) {
            (Self::Text, '"') | (Self::CharOf(_) | Self::CharEscaped, '\'') => Self::None,
            (Self::Text, '\\') => Self::TextEscape,
            (Self::Text | Self::TextEscape, _) => Self::Text,
            (Self::Char, '\\') => Self::CharEscape,
            (Self::Char, _) => Self::CharOf(char),
            (Self::CharEscape, _) => Self::CharEscaped,
            (Self::CharEscaped, '{' | '}') => Self::CharEscaped,
            (Self::CharEscaped, _) if char.is_ascii_hexdigit() => Self::CharEscaped,
            // The assumed quoted character was an apostrophe in prose, after which a quoted text began.
            (Self::CharOf('"'), _) => {
                *self = Self::Text;
                return self.step(char);
            }
            (_, '"') => Self::Text,
            (_, '\'') => Self::Char,
            (Self::None | Self::CharOf(_) | Self::CharEscaped, _) => {
                *self = Self::None;
                return true;
            }
        };
        false
    }
}

#[cfg(test)]
#[path = "redacted_debug_tests.rs"]
mod tests;
