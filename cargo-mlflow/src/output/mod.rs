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
            Color::Always => anstream::ColorChoice::Always.write_global(),
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
            anstream::eprintln!("{}", style::dim(printable(&text.to_string())));
        }
    }
}

/// Returns the text without control characters other than line feeds and the colours of this program. The name
/// of a run could otherwise move the cursor, or change the title of the terminal.
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
        if length.is_some() || c == '\n' || !c.is_control() {
            printable.push_str(part);
        } else {
            printable.push(char::REPLACEMENT_CHARACTER);
        }
        rest = behind;
    }
    printable
}

/// Returns the length of the control sequence for a colour at the beginning of the text, if there is one.
// Input:  `ESC[1;31mtext`, `ESC[2Jtext`
// Output: 7,                none
fn color_length(text: &str) -> Option<usize> {
    let parameters = text.strip_prefix("\x1b[")?;
    let end = parameters.find(|c: char| !(c.is_ascii_digit() || c == ';'))?;
    parameters
        .get(end..)?
        .starts_with('m')
        .then_some("\x1b[".len() + end + 1)
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
        ] {
            assert_eq!(printable(text), printed);
        }
    }
}
