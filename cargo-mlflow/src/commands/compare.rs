//! `compare`: what differs between runs.

use comfy_table::{Attribute, Cell, Color};
use mlflow::blocking::Client;
use mlflow::entities::Run;
use serde::Serialize;

use super::runs::ID_CHARS;
use crate::arguments::Compare;
use crate::comparison::{DURATION_KEY, Row, Value, rows_of};
use crate::failure::Failure;
use crate::output::table::{hidden_columns, number_cell, shorten, table, to_text};
use crate::output::{Output, format};
use crate::selection::select_or_newest;

/// Number of runs that are compared if none is named.
const DEFAULT_RUNS: usize = 5;
const MAX_VALUE_CHARS: usize = 30;
const MAX_KEY_CHARS: usize = 60;

#[derive(Serialize)]
struct Comparison<'r> {
    runs: Vec<&'r str>,
    rows: &'r [Row],
}

/// Compares runs.
pub(crate) fn run(client: &Client, output: Output, options: &Compare) -> Result<(), Failure> {
    let runs = select_or_newest(client, &options.experiment, &options.runs, DEFAULT_RUNS)?;
    if runs.len() < 2 {
        return Err(Failure::NotFound(
            "there are fewer than two runs to compare".to_owned(),
        ));
    }
    let mut rows = rows_of(&runs);
    rows.retain(|row| options.all || row.differs());
    if output.json {
        return output.json(&Comparison {
            runs: runs.iter().map(|run| run.run_id.as_str()).collect(),
            rows: &rows,
        });
    }
    let mut header = vec![String::new()];
    header.extend(runs.iter().map(|run| {
        let id: String = run.run_id.chars().take(ID_CHARS).collect();
        format!("{}\n{id}", shorten(&run.name, MAX_VALUE_CHARS))
    }));
    let header: Vec<&str> = header.iter().map(String::as_str).collect();
    let mut text = table(output, &header);
    let mut kind = "";
    for row in &rows {
        if row.kind != kind {
            kind = row.kind;
            text.add_row(vec![
                Cell::new(heading_of(kind)).add_attribute(Attribute::Bold),
            ]);
        }
        let mut cells = vec![Cell::new(format!("  {}", name_of(row)))];
        for (index, value) in row.values.iter().enumerate() {
            let value = text_of(value.as_ref());
            cells.push(if row.best == Some(index) {
                number_cell(format!("{value} *"))
                    .fg(Color::Green)
                    .add_attribute(Attribute::Bold)
            } else if kind == "metric" {
                number_cell(format!("{value}  "))
            } else {
                Cell::new(value)
            });
        }
        text.add_row(cells);
    }
    if rows.is_empty() {
        output.remark("the runs do not differ: --all shows what they have in common");
        return Ok(());
    }
    let hidden = hidden_columns(&text);
    if hidden == runs.len() {
        write_lines(output, &runs, &rows)?;
    } else {
        output.line(to_text(&text))?;
        if hidden > 0 {
            output.remark(format_args!(
                "there is no room for {}: widen the terminal, or name fewer",
                format::counted(hidden as u64, "run")
            ));
        }
    }
    if rows.iter().any(|row| row.best.is_some()) {
        output.remark("* best value");
    }
    Ok(())
}

/// Writes a line for each value, for a terminal without room for a column beside the keys.
fn write_lines(output: Output, runs: &[Run], rows: &[Row]) -> Result<(), Failure> {
    for row in rows {
        output.line(name_of(row))?;
        for (index, (run, value)) in runs.iter().zip(&row.values).enumerate() {
            let mark = if row.best == Some(index) { " *" } else { "" };
            output.line(format_args!(
                " {}: {}{mark}",
                shorten(&run.name, MAX_VALUE_CHARS),
                text_of(value.as_ref())
            ))?;
        }
    }
    Ok(())
}

/// Returns the key of a row as people read it.
fn name_of(row: &Row) -> String {
    match row.key.as_str() {
        DURATION_KEY if row.kind == "run" => "duration".to_owned(),
        key => shorten(key, MAX_KEY_CHARS),
    }
}

/// Returns a value as people read it.
fn text_of(value: Option<&Value>) -> String {
    let text = value.map_or_else(|| "–".to_owned(), Value::to_text);
    shorten(&text, MAX_VALUE_CHARS)
}

fn heading_of(kind: &str) -> &'static str {
    match kind {
        "param" => "Params",
        "metric" => "Metrics",
        "tag" => "Tags",
        _ => "Run",
    }
}
