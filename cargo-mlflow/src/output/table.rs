//! Tables that fit the terminal.

use std::iter::repeat;

use comfy_table::presets::NOTHING;
use comfy_table::{
    Attribute, Cell, CellAlignment, ColumnConstraint, ContentArrangement, Table, Width,
};

use super::{Output, without_escapes};

/// Blanks around the content of a column.
const PADDING: u16 = 2;
/// Characters to which a text can be cut where there is little room.
const MIN_TEXT_CHARS: u16 = 10;

/// Creates an empty table with a header. Columns are separated by blanks, so that other programs can read
/// the table, too.
pub(crate) fn table(output: Output, header: &[&str]) -> Table {
    let mut table = Table::new();
    table.load_style(NOTHING);
    if output.is_styled {
        table.enforce_styling();
    } else {
        table.force_no_tty();
    }
    // A pipe gets whole lines, however long.
    if output.is_terminal {
        table.set_content_arrangement(ContentArrangement::Dynamic);
        table.set_width(output.width);
    } else {
        table.set_content_arrangement(ContentArrangement::Disabled);
    }
    table.set_header(
        header
            .iter()
            .map(|name| Cell::new(name).add_attribute(Attribute::Bold)),
    );
    table
}

/// Returns a cell with a number, aligned to the right.
pub(crate) fn number_cell(text: impl ToString) -> Cell {
    Cell::new(text).set_alignment(CellAlignment::Right)
}

/// Returns the table as text, without blanks at the ends of lines. On a terminal, long texts are cut and marked so
/// that the table fits, but no numbers. Columns for which there is no room are left out, the last ones first.
pub(crate) fn to_text(table: &Table) -> String {
    let mut table = table.clone();
    let widths = fitting_widths(&table);
    let shown = widths.as_ref().map_or(usize::MAX, Vec::len);
    // Blanks at the end of a line are cut off below only where no control sequence for a colour follows them.
    if let Some(last) = table.column_iter_mut().take(shown).last() {
        last.set_padding((PADDING / 2, 0));
    }
    if let Some(widths) = widths {
        let widths = widths.into_iter().map(Some).chain(repeat(None));
        for (column, width) in table.column_iter_mut().zip(widths) {
            // Blanks at the beginning of a text are kept only if no blank separates words.
            column.set_delimiter('\0');
            column.set_constraint(match width {
                Some(width) => {
                    ColumnConstraint::Absolute(Width::Fixed(width + column.padding_width()))
                }
                None => ColumnConstraint::Hidden,
            });
        }
        table.set_truncation_indicator("…");
        for row in table.row_iter_mut() {
            row.max_height(1);
        }
    }
    // The widths are decided: the table must not be arranged once more.
    table.set_content_arrangement(ContentArrangement::Disabled);
    let lines: Vec<String> = table
        .lines()
        .map(|line| line.trim_end().to_owned())
        .collect();
    lines.join("\n")
}

/// Returns true if the table fits as it is.
pub(crate) fn fits(table: &Table) -> bool {
    fitting_widths(table).is_none()
}

/// Returns the number of columns for which there is no room.
pub(crate) fn hidden_columns(table: &Table) -> usize {
    let shown = fitting_widths(table).map(|widths| widths.len());
    shown.map_or(0, |shown| table.column_iter().count() - shown)
}

/// Returns the widths of the first columns, with which the table fits; `None` if it fits as it is, or nobody sees
/// it on a terminal.
fn fitting_widths(table: &Table) -> Option<Vec<u16>> {
    if matches!(table.content_arrangement(), ContentArrangement::Disabled) {
        return None;
    }
    // There is no padding behind the last column.
    let room = table.width()? + PADDING / 2;
    let mut widths = table.column_max_content_widths();
    let taken = |widths: &[u16]| widths.iter().map(|width| width + PADDING).sum::<u16>();
    if taken(&widths) <= room {
        return None;
    }
    let mut least: Vec<u16> = { widths.iter().enumerate() }
        .map(|(column, width)| least_width(table, column, *width))
        .collect();
    while least.len() > 1 && taken(&least) > room {
        least.pop();
    }
    widths.truncate(least.len());
    while taken(&widths) > room {
        let widest = { widths.iter_mut().zip(&least) }
            .filter(|(width, least)| **width > **least)
            .max_by_key(|(width, _)| **width);
        match widest {
            Some((width, _)) => *width -= 1,
            None => break,
        }
    }
    Some(widths)
}

/// Returns the number of characters to which a column can be cut: a column of numbers to none, and any other to as
/// many as its header and [`MIN_TEXT_CHARS`] need.
fn least_width(table: &Table, column: usize, natural: u16) -> u16 {
    let is_number = |cell: Option<&Cell>| {
        let text = cell.map(Cell::content).unwrap_or_default();
        let text = text.trim();
        text.is_empty()
            || matches!(text, "NaN" | "inf" | "-inf" | "–")
            || text
                .trim_start_matches('-')
                .starts_with(|c: char| c.is_ascii_digit())
    };
    if table.column_cells_iter(column).all(is_number) {
        return natural;
    }
    let header = table
        .header()
        .and_then(|header| header.cell_iter().nth(column));
    let header = header.map(Cell::content).unwrap_or_default();
    let header = header.lines().map(|line| line.chars().count()).max();
    let header = u16::try_from(header.unwrap_or_default()).unwrap_or(u16::MAX);
    natural.min(MIN_TEXT_CHARS.max(header))
}

/// Breaks a text between words into lines of at most `width` characters, with `indent` blanks before each. A word
/// that is longer has a line of its own.
pub(crate) fn wrap(text: &str, width: usize, indent: usize) -> String {
    let mut lines: Vec<String> = Vec::new();
    for word in text.split_whitespace() {
        match lines.last_mut() {
            Some(line) if line.chars().count() + 1 + word.chars().count() <= width => {
                line.push(' ');
                line.push_str(word);
            }
            _ => lines.push(format!("{}{word}", " ".repeat(indent))),
        }
    }
    lines.join("\n")
}

/// Cuts a text from a store to one line with a number of characters, and marks the cut.
pub(crate) fn shorten(text: &str, max: usize) -> String {
    let line = without_escapes(text).replace(['\n', '\r', '\t'], " ");
    if line.chars().count() <= max {
        return line;
    }
    let mut short: String = line.chars().take(max.saturating_sub(1)).collect();
    short.push('…');
    short
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Returns a table as a terminal of this width shows it.
    fn shown(width: u16) -> (String, usize) {
        let output = Output {
            json: false,
            is_terminal: true,
            is_styled: false,
            width,
            height: 24,
        };
        let mut rows = table(output, &["NAME", "loss", "LAST"]);
        rows.add_row(vec![
            Cell::new("a rather long name"),
            number_cell("0.123456"),
            Cell::new("1 min ago"),
        ]);
        (to_text(&rows), hidden_columns(&rows))
    }

    #[test]
    fn texts_are_cut_and_columns_left_out() {
        for (width, text, hidden) in [
            (
                80,
                " NAME                loss      LAST\n a rather long name  0.123456  1 min ago",
                0,
            ),
            (
                40,
                " NAME                loss      LAST\n a rather long name  0.123456  1 min ago",
                0,
            ),
            (
                35,
                " NAME           loss      LAST\n a rather lon…  0.123456  1 min ago",
                0,
            ),
            (
                30,
                " NAME                loss\n a rather long name  0.123456",
                1,
            ),
            (12, " NAME\n a rather l…", 2),
        ] {
            let (found, found_hidden) = shown(width);
            let words = |text: &str| {
                text.split_whitespace()
                    .map(str::to_owned)
                    .collect::<Vec<_>>()
            };
            assert_eq!(words(&found), words(text), "{width}:\n{found}");
            assert_eq!(found_hidden, hidden);
            let longest = found.lines().map(|line| line.chars().count()).max();
            assert!(longest <= Some(width.into()), "{width}:\n{found}");
        }
    }

    #[test]
    fn words_stay_whole() {
        assert_eq!(wrap("one two  three", 9, 2), "  one two\n  three");
        assert_eq!(
            wrap("extraordinarily long", 5, 1),
            " extraordinarily\n long"
        );
        assert_eq!(wrap("", 5, 1), "");
    }
}
