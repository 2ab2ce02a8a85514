//! `compare`: what differs between runs.

use comfy_table::{Attribute, Cell, Color};
use mlflow::blocking::Client;
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
        let key = match row.key.as_str() {
            DURATION_KEY if row.kind == "run" => "duration",
            key => key,
        };
        let mut cells = vec![Cell::new(format!("  {key}"))];
        for (index, value) in row.values.iter().enumerate() {
            let value = value
                .as_ref()
                .map_or_else(|| "–".to_owned(), Value::to_text);
            let value = shorten(&value, MAX_VALUE_CHARS);
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
    output.line(to_text(&text))?;
    match hidden_columns(&text) as u64 {
        0 => {}
        hidden => output.remark(format_args!(
            "there is no room for {}: widen the terminal, or name fewer",
            format::counted(hidden, "run")
        )),
    }
    if rows.iter().any(|row| row.best.is_some()) {
        output.remark("* best value");
    }
    Ok(())
}

fn heading_of(kind: &str) -> &'static str {
    match kind {
        "param" => "Params",
        "metric" => "Metrics",
        "tag" => "Tags",
        _ => "Run",
    }
}
