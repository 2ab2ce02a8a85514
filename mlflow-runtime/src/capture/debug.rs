//! `Debug` output without its secrets.
//!
//! Invariants: after a name, of a field (`password: `) or of a map's entry (`"password": `), that
//! is a secret's, stands `[redacted]` in place of the whole value; every other character stays.
//! Each character is looked at once and none is kept, and a hidden value that does not end ends
//! the text. Only the form of derived `Debug` is known: what a hand-written one says in prose is
//! text like any other, and a secret that it writes without quotes ends at its first comma.

use std::fmt::{self, Write};

use mlflow_redact::{REDACTED, is_secret_name};

use super::text::{Bounded, Text, bounded};

/// The longest value that is waited for to end.
const HIDDEN_CHARS: usize = 1 << 16;

/// At most `limit` characters of what `shown` writes, which may be `Debug` output.
pub(crate) fn render_debug(limit: usize, shown: fmt::Arguments<'_>) -> Text {
    bounded(limit, |out| {
        let mut veil = Veil {
            out,
            quotes: Quotes::None,
            name: Name::None,
            hidden: None,
        };
        veil.write_fmt(shown)
    })
}

struct Veil<'o> {
    out: &'o mut Bounded,
    quotes: Quotes,
    name: Name,
    hidden: Option<Hidden>,
}

/// How far a name has come; the numbers are places in what was written.
#[derive(Clone, Copy)]
enum Name {
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

/// A value that is not written.
struct Hidden {
    /// How many brackets of it are open.
    depth: usize,
    chars_left: usize,
    /// Whether a space stands between the value and the bracket that ends it.
    space: bool,
}

impl Hidden {
    /// Whether `char` is no longer part of the value.
    fn ends_at(&mut self, char: char, is_open: bool) -> bool {
        match char {
            _ if !is_open => {}
            ',' | '}' | ']' | ')' if self.depth == 0 => return true,
            '{' | '[' | '(' => self.depth += 1,
            '}' | ']' | ')' => self.depth -= 1,
            _ => {}
        }
        self.space = char == ' ';
        false
    }
}

impl Write for Veil<'_> {
    fn write_str(&mut self, part: &str) -> fmt::Result {
        // From here on nothing of the part is written yet.
        let mut from = 0;
        for (at, char) in part.char_indices() {
            let quotes = self.quotes;
            let is_open = self.quotes.step(char);
            if let Some(hidden) = &mut self.hidden {
                if !hidden.ends_at(char, is_open) {
                    hidden.chars_left = hidden.chars_left.saturating_sub(1);
                    if hidden.chars_left == 0 {
                        return self.out.fill();
                    }
                    continue;
                }
                if hidden.space {
                    self.out.write_char(' ')?;
                }
                self.hidden = None;
                from = at;
            }
            let place = self.out.len() + (at - from);
            if let Name::Colon(start, end) = self.name
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
                if self.out.written(start, end).is_some_and(is_secret_name) {
                    self.out.write_str(REDACTED)?;
                    self.name = Name::None;
                    let mut hidden = Hidden {
                        depth: 0,
                        chars_left: HIDDEN_CHARS,
                        space: false,
                    };
                    hidden.ends_at(char, is_open);
                    hidden.space = false;
                    self.hidden = Some(hidden);
                    continue;
                }
            }
            self.name = self.name.next(char, quotes, is_open, place);
        }
        if self.hidden.is_some() {
            return Ok(());
        }
        self.write_out(part, from, part.len())
    }
}

impl Veil<'_> {
    fn write_out(&mut self, part: &str, from: usize, to: usize) -> fmt::Result {
        self.out.write_str(part.get(from..to).unwrap_or_default())
    }
}

impl Name {
    fn next(self, char: char, before: Quotes, is_open: bool, place: usize) -> Self {
        if !is_open {
            return match self {
                Self::Expected if char == '"' => Self::Quoted(place + 1),
                Self::Quoted(start) if before == Quotes::Text && char == '"' => {
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

/// Where in quoted text the output is.
#[derive(Clone, Copy, PartialEq)]
enum Quotes {
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

impl Quotes {
    /// Whether `char` stands outside of quotes and is none.
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
            // What looked like a quoted character was prose, in which a text began.
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
#[path = "debug_tests.rs"]
mod tests;
