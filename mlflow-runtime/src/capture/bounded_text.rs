//! Formatting that stops at a limit.
//!
//! Invariants:
//!
//! - A text never holds more characters than requested.
//! - The formatter gets an error as soon as it exceeds the limit.
//! - A panic inside a user's `Display` ends the text and does no other harm.
//! - An incomplete text is marked as incomplete, by its [`TextEnd`] and by `…`, and does not end in a part of
//!   a credential.

use std::any::type_name;
use std::fmt::{self, Display, Write};
use std::panic::{AssertUnwindSafe, catch_unwind};

use mlflow_rules::Edge;

use crate::model::limits;

/// Mark at the end of an incomplete text.
const ELLIPSIS: char = '…';

/// A value as text.
#[derive(Clone, Debug, PartialEq)]
pub struct Text {
    pub(crate) text: String,
    pub(crate) end: TextEnd,
}

/// Reason why a text ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum TextEnd {
    /// The text is complete.
    Complete,
    /// The text was longer than the limit, and was cut.
    Truncated,
    /// The value's formatting returned an error.
    Failed,
    /// The value's formatting panicked.
    Panicked,
    /// The value has more fields or numbers than are taken from one value.
    TooMany,
    /// The value is nested more deeply than is read.
    TooDeep,
    /// The value is behind a lock that is held, or that cannot be tried.
    Locked,
}

impl TextEnd {
    /// Returns the end of a text that is made of two: if either of them is incomplete, so is the result.
    pub(crate) fn and(self, other: Self) -> Self {
        if self == Self::Complete { other } else { self }
    }
}

impl Text {
    /// Returns a text that stands for a missing value.
    pub(crate) fn placeholder(end: TextEnd) -> Self {
        let text = ELLIPSIS.to_string();
        Self { text, end }
    }

    /// Returns a text that stands for a value behind a lock that is held.
    pub(crate) fn locked_placeholder() -> Self {
        Self::lock_placeholder("locked")
    }

    /// Returns a text that stands for a value behind a lock of this name, which cannot be tried.
    pub(crate) fn lock_placeholder(name: &str) -> Self {
        Self {
            text: format!("<{name}>"),
            end: TextEnd::Locked,
        }
    }

    /// Returns at most `limit` characters of the `Display` output of `value`.
    pub(crate) fn from_display(limit: usize, value: &dyn Display) -> Self {
        render_text(limit, |out| write!(out, "{value}"))
    }

    /// Returns at most `limit` characters of a value whose type is known. A float is written as `{:?}` and
    /// Python write it, `1.0` and `1e-10`, where its `Display` has `1` and `0.0000000001`.
    pub(crate) fn from_value<T: Display + ?Sized>(limit: usize, value: &T) -> Self {
        let text = Self::from_display(limit, &value);
        match format_float::<T>(&text.text) {
            Some(float) => float.into(),
            None => text,
        }
    }

    /// Returns the first line, with `…` at its end if there are more lines.
    pub(super) fn first_line(self) -> Self {
        match self.text.trim_end().split_once('\n') {
            None => self,
            Some((first, _)) => Self {
                text: format!("{}{ELLIPSIS}", first.trim_end()),
                // The later lines are left out on purpose, so a truncated text counts as complete. A failure
                // stays one.
                end: match self.end {
                    TextEnd::Truncated => TextEnd::Complete,
                    end => end,
                },
            },
        }
    }
}

/// Returns a type's name without the pointers that are transparent to its `Display`: references, `Box`, `Rc`
/// and `Arc`.
// Input:  `&alloc::sync::Arc<f64>`
// Output: `f64`
pub(super) fn name_behind_pointers<T: ?Sized>() -> &'static str {
    const POINTERS: [&str; 3] = ["alloc::boxed::Box<", "alloc::rc::Rc<", "alloc::sync::Arc<"];
    let mut name = type_name::<T>();
    loop {
        name = name.trim_start_matches('&').trim_start_matches("mut ");
        let mut pointers = POINTERS.iter();
        let Some(behind) = pointers.find_map(|pointer| name.strip_prefix(pointer)) else {
            return name;
        };
        name = behind.strip_suffix('>').unwrap_or(behind);
    }
}

/// Returns the `Display` text of a float in the form that `{:?}` has; `None` if a `T` is no float. The text
/// parses back to the same float, so nothing is lost.
fn format_float<T: ?Sized>(text: &str) -> Option<String> {
    match name_behind_pointers::<T>() {
        "f64" => text.parse().ok().map(|value: f64| format!("{value:?}")),
        "f32" => text.parse().ok().map(|value: f32| format!("{value:?}")),
        _ => None,
    }
}

impl From<String> for Text {
    fn from(text: String) -> Self {
        let end = TextEnd::Complete;
        Self { text, end }
    }
}

/// A writer that takes characters up to a limit.
pub(super) struct BoundedWriter {
    text: String,
    chars_left: usize,
    is_full: bool,
}

impl BoundedWriter {
    /// Returns the number of bytes written.
    pub(super) fn len(&self) -> usize {
        self.text.len()
    }

    /// Returns the text between two byte offsets.
    pub(super) fn slice(&self, start: usize, end: usize) -> Option<&str> {
        self.text.get(start..end)
    }

    /// Marks the writer as full, so that it refuses all further text.
    pub(super) fn mark_full(&mut self) -> fmt::Result {
        self.chars_left = 0;
        self.is_full = true;
        Err(fmt::Error)
    }
}

impl Write for BoundedWriter {
    fn write_str(&mut self, part: &str) -> fmt::Result {
        // A text has at most as many characters as bytes, so a part that fits by its bytes fits as a whole.
        if part.len() <= self.chars_left {
            self.text.push_str(part);
            self.chars_left -= part.chars().count();
            return Ok(());
        }
        for char in part.chars() {
            if self.chars_left == 0 {
                return self.mark_full();
            }
            self.text.push(char);
            self.chars_left -= 1;
        }
        Ok(())
    }
}

/// Returns the text that `write` writes, at most `limit` characters of it.
pub(crate) fn render_text(limit: usize, write: impl FnOnce(&mut dyn Write) -> fmt::Result) -> Text {
    render_bounded(limit, |out| write(out))
}

pub(super) fn render_bounded(
    limit: usize,
    write: impl FnOnce(&mut BoundedWriter) -> fmt::Result,
) -> Text {
    let mut out = BoundedWriter {
        text: String::new(),
        chars_left: limit,
        is_full: false,
    };
    let written = catch_unwind(AssertUnwindSafe(|| write(&mut out)));
    let end = match written {
        // After the writer has refused text, a formatter may also panic, or ignore the error and return `Ok`.
        _ if out.is_full => TextEnd::Truncated,
        Ok(Ok(())) => TextEnd::Complete,
        Ok(Err(fmt::Error)) => TextEnd::Failed,
        Err(_) => TextEnd::Panicked,
    };
    let text = match end {
        TextEnd::Complete => out.text,
        _ => truncate_incomplete(limit, out.text),
    };
    Text { text, end }
}

/// Finishes an incomplete text, within `limit` characters: masks its credentials, also one that was cut in
/// two, and adds `…`.
#[cold]
fn truncate_incomplete(limit: usize, text: String) -> String {
    let text = mlflow_rules::mask(&text, Edge::Cut).map_or(text, |masked| masked.text);
    let (text, _) = limits::truncate_chars(text.into(), limit.saturating_sub(1));
    let mut text = text.into_owned();
    text.push(ELLIPSIS);
    text
}

/// Returns the first `limit` characters of `text`.
pub(crate) fn truncate_to_text(limit: usize, text: &str) -> Text {
    render_text(limit, |out| out.write_str(text))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn text(text: &str, end: TextEnd) -> Text {
        let text = text.to_owned();
        Text { text, end }
    }

    #[test]
    fn a_text_of_several_parts_is_cut_by_its_characters_and_not_by_its_bytes() {
        let written = render_text(10, |out| {
            out.write_str("äöü")?;
            out.write_str("abcdefg")
        });
        assert_eq!(written, text("äöüabcdefg", TextEnd::Complete));
    }

    #[test]
    fn stops_at_the_limit() {
        let shown = |limit, value: &str| render_text(limit, |out| out.write_str(value));
        assert_eq!(shown(5, "abcde"), text("abcde", TextEnd::Complete));
        assert_eq!(shown(5, "abcdef"), text("abcd…", TextEnd::Truncated));
        assert_eq!(truncate_to_text(3, "äöü"), text("äöü", TextEnd::Complete));
        assert_eq!(truncate_to_text(2, "äöü"), text("ä…", TextEnd::Truncated));
    }

    #[test]
    fn a_panic_or_an_error_while_formatting_stays_inside() {
        struct Bad(bool);
        impl fmt::Display for Bad {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("so far")?;
                assert!(!self.0, "in Display");
                Err(fmt::Error)
            }
        }
        assert_eq!(
            Text::from_display(100, &Bad(true)),
            text("so far…", TextEnd::Panicked)
        );
        assert_eq!(
            Text::from_display(100, &Bad(false)),
            text("so far…", TextEnd::Failed)
        );
        assert_eq!(
            Text::from_display(6, &Bad(false)),
            text("so fa…", TextEnd::Failed)
        );
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
        let ended = Text::from_display(10, &Endless);
        assert_eq!(
            (ended.text.chars().count(), ended.end),
            (10, TextEnd::Truncated)
        );
    }

    #[test]
    fn a_formatter_that_does_not_listen_is_cut_all_the_same() {
        struct Deaf;
        impl fmt::Display for Deaf {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                let _ = f.write_str("too long");
                Ok(())
            }
        }
        assert_eq!(
            Text::from_display(4, &Deaf),
            text("too…", TextEnd::Truncated)
        );
    }

    #[test]
    fn a_cut_goes_through_no_credential() {
        let token = ["gh", "p_", &"Fake1".repeat(8)].concat();
        for limit in 20..60 {
            let cut = truncate_to_text(limit, &format!("the token is {token}, and more of that"));
            let piece = ["gh", "p_F"].concat();
            assert!(!cut.text.contains(&piece), "{}", cut.text);
            assert!(cut.text.chars().count() <= limit, "{}", cut.text);
        }
    }
}
