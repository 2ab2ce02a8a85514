//! Formatting that stops at a limit.
//!
//! Invariants: a text never holds more characters than asked for; the formatter is told to stop
//! as soon as the limit is reached; a panic inside a user's `Display` ends the text, no more.

use std::fmt::{self, Write};
use std::panic::{AssertUnwindSafe, catch_unwind};

/// Stands at the end of a text that was cut.
const ELLIPSIS: char = '…';

struct Bounded {
    text: String,
    chars_left: usize,
}

impl Write for Bounded {
    fn write_str(&mut self, part: &str) -> fmt::Result {
        // Bytes bound characters from above, so the common case needs no counting.
        if part.len() <= self.chars_left {
            self.text.push_str(part);
            self.chars_left -= part.len();
            return Ok(());
        }
        for char in part.chars() {
            if self.chars_left == 0 {
                return Err(fmt::Error);
            }
            self.text.push(char);
            self.chars_left -= 1;
        }
        Ok(())
    }
}

/// What `write` writes, at most `limit` characters of it.
pub(crate) fn render(limit: usize, write: impl FnOnce(&mut dyn Write) -> fmt::Result) -> String {
    let mut out = Bounded {
        text: String::new(),
        chars_left: limit,
    };
    let written = catch_unwind(AssertUnwindSafe(|| write(&mut out)));
    if !matches!(written, Ok(Ok(()))) {
        if out.chars_left == 0 {
            out.text.pop();
        }
        out.text.push(ELLIPSIS);
    }
    out.text
}

/// The first `limit` characters of `text`.
pub(crate) fn cut(limit: usize, text: &str) -> String {
    render(limit, |out| out.write_str(text))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn stops_at_the_limit() {
        assert_eq!(render(5, |out| out.write_str("abcde")), "abcde");
        assert_eq!(render(5, |out| out.write_str("abcdef")), "abcd…");
        assert_eq!(cut(3, "äöü"), "äöü");
        assert_eq!(cut(2, "äöü"), "ä…");
    }

    #[test]
    fn a_panic_while_formatting_stays_inside() {
        struct Bad;
        impl fmt::Display for Bad {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("so far")?;
                panic!("in Display")
            }
        }
        assert_eq!(render(100, |out| write!(out, "{Bad}")), "so far…");
    }

    #[test]
    fn an_endless_value_ends() {
        struct Endless;
        impl fmt::Display for Endless {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                loop {
                    f.write_str("again ")?;
                }
            }
        }
        assert_eq!(
            render(10, |out| write!(out, "{Endless}")).chars().count(),
            10
        );
    }
}
