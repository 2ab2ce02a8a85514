//! Tables that fit the terminal.

use comfy_table::presets::NOTHING;
use comfy_table::{Attribute, Cell, CellAlignment, ContentArrangement, Table};

use super::Output;

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

/// Returns the table as text, without blanks at the ends of lines.
pub(crate) fn to_text(table: &Table) -> String {
    let lines: Vec<String> = table
        .lines()
        .map(|line| line.trim_end().to_owned())
        .collect();
    lines.join("\n")
}

/// Cuts a text to a number of characters, and marks the cut.
pub(crate) fn shorten(text: &str, max: usize) -> String {
    let line = text.replace(['\n', '\r', '\t'], " ");
    if line.chars().count() <= max {
        return line;
    }
    let mut short: String = line.chars().take(max.saturating_sub(1)).collect();
    short.push('…');
    short
}
