//! [`Output`]: destination of results, for people as tables and for programs as JSON.

pub(crate) mod chart;
pub(crate) mod format;
pub(crate) mod json_number;
pub(crate) mod plane;
pub(crate) mod record;
pub(crate) mod style;
pub(crate) mod table;
pub(crate) mod ticks;
pub(crate) mod waiting;

use std::io::{self, IsTerminal as _, Write};

use serde::Serialize;

use crate::arguments::{Color, Global};
use crate::failure::Failure;

/// Width of a table where no terminal tells its own.
const DEFAULT_WIDTH: u16 = 160;
/// Lines of a chart where no terminal tells its height.
const DEFAULT_HEIGHT: u16 = 24;

/// Destination of a command's results.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Output {
    /// True if results are written as JSON.
    pub(crate) json: bool,
    /// True if a person sees stdout.
    pub(crate) is_terminal: bool,
    /// True if tables hold colours, which are removed where nobody sees them.
    pub(crate) is_styled: bool,
    /// Number of characters that fit in a line.
    pub(crate) width: u16,
    /// Number of lines that fit on the screen.
    pub(crate) height: u16,
}

impl Output {
    /// Creates the output that the arguments ask for, and decides whether colours are written.
    pub(crate) fn new(global: &Global) -> Self {
        match global.color {
            Color::Auto => {}
            Color::Always => {
                anstream::ColorChoice::Always.write_global();
                // Tables ask this library, which would follow NO_COLOR.
                ratatui::crossterm::style::force_color_output(true);
            }
            Color::Never => anstream::ColorChoice::Never.write_global(),
        }
        let size = terminal_size::terminal_size();
        let is_terminal = io::stdout().is_terminal();
        Self {
            json: global.json,
            is_terminal,
            is_styled: is_terminal || global.color == Color::Always,
            width: size.map_or(DEFAULT_WIDTH, |(width, _)| width.0),
            height: size.map_or(DEFAULT_HEIGHT, |(_, height)| height.0),
        }
    }

    /// Writes a line of text.
    pub(crate) fn line(self, text: impl std::fmt::Display) -> Result<(), Failure> {
        waiting::note_words();
        writeln!(anstream::stdout(), "{}", printable(&text.to_string()))?;
        Ok(())
    }

    /// Writes one value as JSON.
    pub(crate) fn json(self, value: &impl Serialize) -> Result<(), Failure> {
        let mut stdout = io::stdout().lock();
        serde_json::to_writer_pretty(&mut stdout, value)?;
        writeln!(stdout)?;
        Ok(())
    }

    /// Writes one value as a line of JSON.
    pub(crate) fn json_line(self, value: &impl Serialize) -> Result<(), Failure> {
        let mut stdout = io::stdout().lock();
        serde_json::to_writer(&mut stdout, value)?;
        writeln!(stdout)?;
        Ok(())
    }

    /// Writes records as a JSON array, each as it comes, and returns their number.
    pub(crate) fn json_array<T: Serialize>(
        self,
        records: impl Iterator<Item = Result<T, mlflow::ClientError>>,
    ) -> Result<usize, Failure> {
        let mut stdout = io::BufWriter::new(io::stdout().lock());
        write_json_array(&mut stdout, records)
    }

    /// Writes a remark for people, which is no result.
    pub(crate) fn remark(self, text: impl std::fmt::Display) {
        if !self.json {
            anstream::eprintln!(
                "{}",
                style::dim(printable(&without_escapes(&text.to_string())))
            );
        }
    }
}

/// Returns the text without control characters other than line feeds and the colours of this program, and without
/// characters that nobody sees. The name of a run could otherwise move the cursor, change the title of the terminal, or
/// look like another name.
pub(crate) fn printable(text: &str) -> String {
    let mut printable = String::with_capacity(text.len());
    let mut rest = text;
    while let Some(c) = rest.chars().next() {
        let length = match c {
            '\x1b' => color_length(rest),
            _ => None,
        };
        let end = length.unwrap_or(c.len_utf8());
        let (part, behind) = rest.split_at(end);
        if length.is_some() || c == '\n' || is_visible(c) {
            printable.push_str(part);
        } else {
            printable.push(char::REPLACEMENT_CHARACTER);
        }
        rest = behind;
    }
    printable
}

/// Returns a text from a store without the beginnings of control sequences, none of which is this program's.
pub(crate) fn without_escapes(text: &str) -> String {
    text.replace('\x1b', "\u{fffd}")
}

/// Returns false for control characters, and for those of Unicode that have no width or change the direction of a text.
fn is_visible(c: char) -> bool {
    let is_hidden = matches!(
        c,
        '\u{ad}'
            | '\u{61c}'
            | '\u{115f}'..='\u{1160}'
            | '\u{180e}'
            | '\u{200b}'..='\u{200f}'
            | '\u{2028}'..='\u{202e}'
            | '\u{2060}'..='\u{206f}'
            | '\u{3164}'
            | '\u{feff}'
            | '\u{fff9}'..='\u{fffb}'
            | '\u{e0000}'..='\u{e007f}'
    );
    !c.is_control() && !is_hidden
}

/// Returns the length of the control sequence for a colour at the beginning of the text, if there is one that this
/// program writes. Others could hide the text behind them.
// Input:  `ESC[1;31mtext`, `ESC[8mtext`, `ESC[2Jtext`
// Output: 7,               none,         none
fn color_length(text: &str) -> Option<usize> {
    let rest = text.strip_prefix("\x1b[")?;
    let parameters = rest.get(..rest.find(|c: char| !(c.is_ascii_digit() || c == ';'))?)?;
    let is_ours = |parameters: &str| match parameters {
        "" | "0" | "1" | "2" | "22" | "39" => true,
        color => matches!(color.parse(), Ok(31..=37 | 91..=97)),
    };
    let is_indexed = parameters
        .strip_prefix("38;5;")
        .is_some_and(|index| index.parse::<u8>().is_ok_and(|index| index != 0));
    let is_color = is_indexed || parameters.split(';').all(is_ours);
    (rest.get(parameters.len()..)?.starts_with('m') && is_color)
        .then_some("\x1b[m".len() + parameters.len())
}

/// Writes records as a JSON array with a line for each, and returns their number. If a record cannot be read,
/// the array stays open, so that no program takes it for complete.
pub(crate) fn write_json_array<T: Serialize>(
    mut output: impl Write,
    records: impl Iterator<Item = Result<T, mlflow::ClientError>>,
) -> Result<usize, Failure> {
    let mut count = 0;
    for record in records {
        // Nothing is written before the first record is there, so that a search that fails writes nothing.
        let record = record?;
        let separator = if count == 0 { "[\n" } else { ",\n" };
        write!(output, "{separator}")?;
        serde_json::to_writer(&mut output, &record)?;
        count += 1;
    }
    writeln!(output, "{}", if count == 0 { "[]" } else { "\n]" })?;
    output.flush()?;
    Ok(count)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_colours_and_line_feeds_control_the_terminal() {
        for (text, printed) in [
            ("plain ü\nnext", "plain ü\nnext"),
            ("\x1b[1;31mred\x1b[0m", "\x1b[1;31mred\x1b[0m"),
            ("a\x1b[2Jb", "a\u{fffd}[2Jb"),
            ("\x1b]0;title\x07", "\u{fffd}]0;title\u{fffd}"),
            ("\r\u{9b}2J\x1b", "\u{fffd}\u{fffd}2J\u{fffd}"),
            ("\x1b[38;5;10mgreen\x1b[m", "\x1b[38;5;10mgreen\x1b[m"),
            (
                "\x1b[8mhidden\x1b[1;30mblack",
                "\u{fffd}[8mhidden\u{fffd}[1;30mblack",
            ),
            (
                "a\u{202e}b\u{200b}c\u{feff}\u{2066}",
                "a\u{fffd}b\u{fffd}c\u{fffd}\u{fffd}",
            ),
        ] {
            assert_eq!(printable(text), printed);
        }
    }
}
