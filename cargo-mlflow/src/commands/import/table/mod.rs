//! Tables: CSV, TSV and JSON. A table is one of these:
//!
//! - the runs that `cargo mlflow export` writes: a run a row, with `params.KEY`, `metrics.KEY` and `tags.KEY`;
//! - points: a row each, with the columns `metric` and `value`, and mostly `run`, `step` and a time. The points
//!   that `cargo mlflow export --metrics` writes are such a table;
//! - steps: a row each, with a column for each metric. The file is one run, unless there is a column `run`.
//!
//! In JSON, each row is an object in a line of its own, or an element of an array. Objects in objects become columns
//! with `.` in their names. In CSV, the header tells the separator.

mod array;
#[cfg(feature = "parquet")]
mod columnar;
mod quotes;

use std::collections::{HashMap, HashSet};
use std::fs::File;
use std::io::{self, BufRead, BufReader, Read};
use std::path::PathBuf;

use mlflow::RunStatus;
use mlflow::store::RUN_KEY_TAG;

use self::array::{Array, Element};
use self::quotes::{Header, unclosed_quote};
use super::discovery::{changed_ms, file_stem};
use super::values::{Json, flatten, parse_number, parse_step, parse_time};
use super::writer::{EXPORT_FORMAT, Importer, RunWriter, SourceRun};
use crate::failure::Failure;
use crate::output::format;

/// Longest line or element of JSON that is read.
const MAX_LINE_BYTES: usize = 64 << 20;
const BYTE_ORDER_MARK: &[u8] = b"\xef\xbb\xbf";
/// Description of the JSON that is read.
const EXPECTED_JSON: &str = "expected an object of JSON in each line, or an array of objects";
const TABLE_FORMAT: &str = "csv";
/// What is wrong with a text, and what to do.
const NO_UTF8: &str = "the text is not UTF-8; convert the file to UTF-8";

/// Names of the columns that tell what a row belongs to. The first one that a table has counts.
const RUN_ID_COLUMNS: [&str; 2] = ["run_id", "run"];
const RUN_NAME_COLUMNS: [&str; 2] = ["run_name", "run"];
const METRIC_COLUMNS: [&str; 4] = ["metric", "key", "tag", "name"];
const STEP_COLUMNS: [&str; 7] = [
    "step",
    "_step",
    "global_step",
    "trainer/global_step",
    "iteration",
    "iter",
    "epoch",
];
const TIME_COLUMNS: [&str; 8] = [
    "timestamp_ms",
    "timestamp",
    "_timestamp",
    "wall_time",
    "wall time",
    "time_ms",
    "time",
    "date",
];

/// Form of a file's text.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum TableFormat {
    Csv,
    Json,
    #[cfg(feature = "parquet")]
    Parquet,
}

/// File with a table.
#[derive(Debug)]
pub(super) struct TableFile {
    pub(super) path: PathBuf,
    pub(super) format: TableFormat,
    /// Name of the experiment, unless the arguments give another.
    pub(super) experiment: String,
    /// Absolute path, which is the id of a run without an own one.
    pub(super) id: String,
}

/// Part of a table that one pass imports. The end of a run is not known before all of its points are, and its
/// start is not known from its points, so the tables that `export` writes are read in three passes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Pass {
    /// Exported runs, without their metrics.
    Runs,
    /// Points, and all other tables.
    Points,
    /// The latest value of each metric of exported runs, if no other point of the metric is known.
    LatestValues,
}

/// Imports a part of a table.
pub(super) fn import(
    table: &TableFile,
    pass: Pass,
    importer: &Importer<'_>,
) -> Result<(), Failure> {
    let mut reader = TableReader {
        importer,
        table,
        pass,
        columns: Vec::new(),
        indices: HashMap::new(),
        layout: None,
        row: 0,
        runs: TableRuns {
            importer,
            table,
            writers: HashMap::new(),
            order: Vec::new(),
        },
        skipped_texts: HashSet::new(),
        has_decimal_commas: false,
        has_exported_runs: false,
        emptiness: "it holds no values",
        is_damaged: false,
        has_bad_times: false,
        line: 0,
        bad_rows: 0,
        first_bad_row: None,
    };
    let read = match table.format {
        TableFormat::Csv => reader.read_csv(),
        TableFormat::Json => reader.read_json(),
        #[cfg(feature = "parquet")]
        TableFormat::Parquet => reader.read_parquet(),
    };
    match read {
        Err(Failure::Io(_, error)) if reader.row > 0 => {
            importer.damage_by_read_error(&table.path, &error);
            reader.is_damaged = true;
        }
        read => read?,
    }
    reader.finish()
}

/// Meaning of the columns of a table: each holds the place of a column.
#[derive(Clone, Debug, Default)]
struct Layout {
    kind: Kind,
    run_id: Option<usize>,
    run_name: Option<usize>,
    metric: Option<usize>,
    value: Option<usize>,
    step: Option<usize>,
    time: Option<usize>,
    /// True if the time is in ms, whatever its size.
    is_time_in_ms: bool,
    /// True for the points that `export` writes.
    is_export: bool,
}

#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
enum Kind {
    /// Runs as `export` writes them.
    Runs,
    /// A point a row.
    Points,
    /// A step a row.
    #[default]
    Steps,
}

impl Layout {
    fn of(columns: &[String]) -> Self {
        let lower: Vec<String> = columns
            .iter()
            .map(|column| column.trim().to_lowercase())
            .collect();
        let first_of = |names: &[&str]| {
            names
                .iter()
                .find_map(|name| lower.iter().position(|column| column == name))
        };
        let time = first_of(&TIME_COLUMNS);
        let layout = Self {
            kind: Kind::Steps,
            run_id: first_of(&RUN_ID_COLUMNS),
            run_name: first_of(&RUN_NAME_COLUMNS),
            metric: first_of(&METRIC_COLUMNS),
            value: first_of(&["value"]),
            step: first_of(&STEP_COLUMNS),
            time,
            is_time_in_ms: time
                .and_then(|at| lower.get(at))
                .is_some_and(|name| name.ends_with("_ms")),
            is_export: false,
        };
        let has_all = |names: &[&str]| {
            names
                .iter()
                .all(|name| lower.iter().any(|column| column == name))
        };
        let kind = if has_all(&["run_id", "experiment_id", "status", "start_time_ms"]) {
            Kind::Runs
        } else if layout.metric.is_some() && layout.value.is_some() {
            Kind::Points
        } else {
            Kind::Steps
        };
        let is_export = has_all(&["run_id", "run_name", "metric", "value", "timestamp_ms"]);
        Self {
            kind,
            is_export,
            ..layout
        }
    }

    /// Returns true if the column tells what the row belongs to, and is no metric.
    fn is_of_row(&self, column: usize) -> bool {
        [self.run_id, self.run_name, self.step, self.time].contains(&Some(column))
    }
}

struct TableReader<'i> {
    importer: &'i Importer<'i>,
    table: &'i TableFile,
    pass: Pass,
    columns: Vec<String>,
    /// Places of the columns of JSON objects.
    indices: HashMap<String, usize>,
    layout: Option<Layout>,
    /// Number of the row, from 1.
    row: u64,
    runs: TableRuns<'i>,
    /// Columns with texts, which are left out.
    skipped_texts: HashSet<usize>,
    /// True if a comma in a number stands for a point, as in a table that is separated by semicolons.
    has_decimal_commas: bool,
    /// True if a row is an exported run.
    has_exported_runs: bool,
    /// Reason why there are no values, if there are none.
    emptiness: &'static str,
    /// True if a line has told of a fault because of which values may be missing.
    is_damaged: bool,
    /// True if a time that cannot be read was told of.
    has_bad_times: bool,
    /// Line of the file in which the row begins, from 1.
    line: u64,
    /// Number of rows that are left out.
    bad_rows: u64,
    /// Line of the first row that is left out, and why.
    first_bad_row: Option<(u64, String)>,
}

/// Runs to which the rows of a table belong.
struct TableRuns<'i> {
    importer: &'i Importer<'i>,
    table: &'i TableFile,
    writers: HashMap<String, RunWriter<'i>>,
    /// Ids of the runs, in the order of the table.
    order: Vec<String>,
}

impl<'i> TableRuns<'i> {
    /// Returns the run to which a row belongs.
    fn of_row(&mut self, layout: &Layout, cells: &[&str]) -> &mut RunWriter<'i> {
        let id = cell(cells, layout.run_id);
        let id = if layout.run_id.is_none() {
            cell(cells, layout.run_name)
        } else {
            id
        };
        let Self {
            importer,
            table,
            writers,
            order,
        } = self;
        writers.entry(id.to_owned()).or_insert_with(|| {
            let name = match cell(cells, layout.run_name) {
                "" if id.is_empty() => file_stem(&table.path),
                "" => id.to_owned(),
                name => name.to_owned(),
            };
            let source = match id {
                id if layout.is_export => table.source_run(EXPORT_FORMAT, id.to_owned(), name),
                "" => table.source_run(TABLE_FORMAT, table.id.clone(), name),
                id => table.source_run(TABLE_FORMAT, format!("{}#{id}", table.id), name),
            };
            order.push(id.to_owned());
            importer.begin(source)
        })
    }
}

impl TableFile {
    fn source_run(&self, format: &'static str, id: String, name: String) -> SourceRun {
        SourceRun {
            format,
            id,
            source: self.path.display().to_string(),
            name,
            experiment: self.experiment.clone(),
            changed_ms: changed_ms(&self.path),
        }
    }
}

/// Returns a cell without spaces around it; an empty text if there is no such column.
fn cell<'c>(cells: &[&'c str], at: Option<usize>) -> &'c str {
    at.and_then(|at| cells.get(at))
        .map_or("", |cell| cell.trim())
}

impl TableReader<'_> {
    fn open(&self) -> Result<impl Read + use<>, Failure> {
        let file = File::open(&self.table.path).map_err(|error| self.cannot_read(error))?;
        Ok(self.importer.progress.reader(file))
    }

    fn cannot_read(&self, error: std::io::Error) -> Failure {
        Failure::Io(format!("cannot read {}", self.table.path.display()), error)
    }

    fn read_csv(&mut self) -> Result<(), Failure> {
        let Header {
            delimiter,
            ends_with_crlf,
            open_quote,
        } = Header::read(&self.table.path).map_err(|error| self.cannot_read(error))?;
        self.has_decimal_commas = delimiter == b';';
        let mut reader = csv::ReaderBuilder::new()
            .delimiter(delimiter)
            .flexible(true)
            .from_reader(self.open()?);
        let path = self.table.path.display();
        let failed = |error: csv::Error| match error.into_kind() {
            csv::ErrorKind::Io(error) => Failure::Io(format!("cannot read {path}"), error),
            kind => Failure::Usage(format!("{path}: {}", csv_fault(&kind))),
        };
        let header = reader.headers().map_err(failed)?;
        let columns = header.iter();
        let columns = columns.map(|name| name.trim_start_matches('\u{feff}').to_owned());
        self.columns = columns.collect();
        if self.columns.is_empty() {
            self.emptiness = "the file is empty";
            return Ok(());
        }
        if let Some(line) = open_quote {
            return Err(Failure::Usage(format!("{path}: {}", quote_fault(line))));
        }
        self.take_header()?;
        let mut record = csv::StringRecord::new();
        // Of two characters that end a line, the reader counts the second one as the beginning of the next row.
        let line_of = |position: &csv::Position| position.line() + u64::from(ends_with_crlf);
        // Byte at which the last row begins, and the line there.
        let mut last_row = (0, 1);
        // Line of a row, and how many columns it has.
        let mut uneven: Option<(u64, usize)> = None;
        loop {
            let has_record = match reader.read_record(&mut record) {
                Err(error) if matches!(error.kind(), csv::ErrorKind::Utf8 { .. }) => {
                    let line = error.position().map_or(0, line_of);
                    self.leave_out(line, || NO_UTF8.to_owned());
                    continue;
                }
                read => read.map_err(failed)?,
            };
            if !has_record {
                break;
            }
            if let Some((line, count)) = uneven.take() {
                let expected = self.columns.len();
                self.leave_out(line, || {
                    let has = format::counted(count as u64, "column");
                    format!("it has {has} instead of {expected}")
                });
            }
            self.row += 1;
            if let Some(position) = record.position() {
                self.line = line_of(position);
                last_row = (position.byte(), position.line());
            }
            // A process that was killed leaves a part of its last line.
            if record.len() != self.columns.len() {
                uneven = Some((self.line, record.len()));
                continue;
            }
            let cells: Vec<&str> = record.iter().collect();
            self.take_row(&cells)?;
        }
        let (start, line) = last_row;
        let open_quote = unclosed_quote(&self.table.path, start, line, delimiter);
        if let Some(line) = open_quote.map_err(|error| self.cannot_read(error))? {
            self.importer.damage(&self.table.path, &quote_fault(line));
            self.is_damaged = true;
        } else if let Some((line, count)) = uneven {
            let (has, expected) = (format::counted(count as u64, "column"), self.columns.len());
            self.remark_cut(&format!("line {line} has {has} instead of {expected}"));
        }
        Ok(())
    }

    /// Takes the names of the columns, which are known before the first row.
    fn take_header(&mut self) -> Result<(), Failure> {
        let path = self.table.path.display();
        if self.columns.len() < 2 {
            return Err(Failure::Usage(format!(
                "{path} is no table that can be imported: expected a first line with the names of at least two columns, \
                 e.g. `step,loss` or `run,metric,step,value`"
            )));
        }
        let mut names = HashSet::new();
        for name in self.columns.iter().map(|name| name.trim()) {
            if !is_unnamed(name) && !names.insert(name) {
                return Err(Failure::Usage(format!(
                    "{path}: line 1: there are two columns `{name}`: give each column a name of its own"
                )));
            }
        }
        self.layout = Some(Layout::of(&self.columns));
        Ok(())
    }

    /// Decides about columns without a name by the first row: the first column is the step if there is no other one
    /// and it holds whole numbers, as the index that pandas writes. All others are left out.
    fn take_unnamed_columns(&mut self, layout: &mut Layout, cells: &[&str]) {
        let count = { self.columns.iter().zip(cells) }
            .filter(|(column, text)| is_unnamed(column) && !text.trim().is_empty())
            .count();
        let is_first = self.columns.first().is_some_and(|name| is_unnamed(name));
        let what = match count {
            0 => return,
            1 => "the column without a name is".to_owned(),
            count => format!(
                "{} without a name are",
                format::counted(count as u64, "column")
            ),
        };
        let has_index =
            { is_first && count == 1 && layout.kind == Kind::Steps && layout.step.is_none() }
                && parse_step(cell(cells, Some(0))).is_some();
        let use_of_it = if has_index {
            layout.step = Some(0);
            "taken for the step"
        } else {
            "left out"
        };
        self.importer
            .remark(format!("{}: {what} {use_of_it}", self.table.path.display()));
    }

    fn read_json(&mut self) -> Result<(), Failure> {
        let mut reader = BufReader::new(self.open()?);
        let begin = skip_blanks(&mut reader).map_err(|error| self.cannot_read(error))?;
        self.line = begin.line - 1;
        match begin.first {
            None => {
                self.emptiness = "the file is empty";
                Ok(())
            }
            Some(b'[') => {
                reader.consume(1);
                self.read_array(Array::new(reader, begin.line, MAX_LINE_BYTES))
            }
            Some(_) => self.read_lines(reader),
        }
    }

    fn read_array(&mut self, mut array: Array<impl BufRead>) -> Result<(), Failure> {
        while let Some(element) =
            { array.next_element() }.map_err(|error| self.cannot_read(error))?
        {
            let Element {
                text,
                line,
                is_ended,
            } = element;
            self.row += 1;
            self.line = line;
            match Json::parse(&String::from_utf8_lossy(text)) {
                Some(object @ Json::Object(_)) => self.take_object(object)?,
                _ if !is_ended => {
                    let what = format!("row {} is not complete", self.row);
                    self.remark_cut(&what);
                }
                _ if self.row == 1 => return Err(self.no_table_of_json()),
                _ => self.leave_out(line, || "it is no object of JSON".to_owned()),
            }
        }
        Ok(())
    }

    fn no_table_of_json(&self) -> Failure {
        Failure::Usage(format!(
            "{} is no table that can be imported: {EXPECTED_JSON}",
            self.table.path.display()
        ))
    }

    fn read_lines(&mut self, mut reader: impl BufRead) -> Result<(), Failure> {
        let mut line = b"\n".to_vec();
        loop {
            // A longer line than can be read comes in several parts.
            self.line += u64::from(line.ends_with(b"\n"));
            line.clear();
            let read = (&mut reader)
                .take(MAX_LINE_BYTES as u64)
                .read_until(b'\n', &mut line);
            if read.map_err(|error| self.cannot_read(error))? == 0 {
                return Ok(());
            }
            let text = String::from_utf8_lossy(&line);
            let text = text.trim();
            if text.is_empty() {
                continue;
            }
            self.row += 1;
            match Json::parse(text) {
                Some(object @ Json::Object(_)) => self.take_object(object)?,
                _ if self.row == 1 => return Err(self.no_table_of_json()),
                _ if !line.ends_with(b"\n") => {
                    let what = format!("row {} is not complete", self.row);
                    self.remark_cut(&what);
                }
                _ => {
                    self.leave_out(self.line, || "it is no object of JSON".to_owned());
                }
            }
        }
    }

    /// Counts a row that is left out.
    fn leave_out(&mut self, line: u64, why: impl FnOnce() -> String) {
        self.bad_rows += 1;
        if self.first_bad_row.is_none() {
            self.first_bad_row = Some((line, why()));
        }
    }

    /// Writes a line about the rows that are left out. Only one pass writes it, as each meets the same rows.
    fn tell_bad_rows(&self) {
        let Some((line, why)) = &self.first_bad_row else {
            return;
        };
        if self.pass != Pass::Points {
            return;
        }
        let count = match self.bad_rows {
            1 => "1 row is left out,".to_owned(),
            count => format!("{} rows are left out, the first", format::count(count)),
        };
        self.importer
            .damage(&self.table.path, &format!("{count} in line {line}: {why}"));
    }

    /// Writes a line about the end of a file that was cut.
    fn remark_cut(&self, what: &str) {
        self.importer.remark(format!(
            "{}: the last row is not complete ({what}), as after the end of a process by force; all rows before it are \
             imported",
            self.table.path.display()
        ));
    }

    fn take_object(&mut self, object: Json) -> Result<(), Failure> {
        self.has_exported_runs |= object.field("experiment_id").is_some();
        let is_exported_run = object.field("experiment_id").is_some()
            && matches!(object.field("metrics"), Some(Json::Object(_)));
        if is_exported_run {
            return self.take_exported_run(&object);
        }
        let Json::Object(fields) = object else {
            return Ok(());
        };
        let mut cells = vec![String::new(); self.columns.len()];
        for (key, value) in fields {
            flatten(key, value, &mut |name, value| {
                self.fill_cell(name, &value, &mut cells);
            });
        }
        let layout = self.layout.take();
        self.layout = Some(layout.unwrap_or_else(|| Layout::of(&self.columns)));
        let cells: Vec<&str> = cells.iter().map(String::as_str).collect();
        self.take_row(&cells)
    }

    /// Writes a value to the cell of its column, and adds the column if it is new.
    fn fill_cell(&mut self, name: String, value: &Json, cells: &mut Vec<String>) {
        if *value == Json::Null {
            return;
        }
        let next = self.columns.len();
        let index = *self.indices.entry(name.clone()).or_insert(next);
        if index == next {
            self.columns.push(name);
            self.layout = None;
        }
        cells.resize(self.columns.len(), String::new());
        if let Some(cell) = cells.get_mut(index) {
            *cell = value.to_string();
        }
    }

    fn take_row(&mut self, cells: &[&str]) -> Result<(), Failure> {
        let Some(mut layout) = self.layout.take() else {
            return Ok(());
        };
        if self.row == 1 {
            self.take_unnamed_columns(&mut layout, cells);
        }
        let taken = match layout.kind {
            Kind::Runs => {
                self.has_exported_runs = true;
                self.take_run(cells)
            }
            Kind::Points | Kind::Steps if self.pass != Pass::Points => Ok(()),
            Kind::Points => self.take_point(&layout, cells),
            Kind::Steps => self.take_step(&layout, cells),
        };
        self.layout = Some(layout);
        taken?;
        if self.importer.is_full() {
            self.runs
                .writers
                .values_mut()
                .try_for_each(RunWriter::flush)?;
        }
        Ok(())
    }

    fn take_point(&mut self, layout: &Layout, cells: &[&str]) -> Result<(), Failure> {
        let metric = cell(cells, layout.metric);
        let text = cell(cells, layout.value);
        let value = number(text, self.has_decimal_commas);
        let Some(value) = value.filter(|_| !metric.is_empty()) else {
            self.leave_out(self.line, || format!("{text:?} is no value of a metric"));
            return Ok(());
        };
        let Some(step) = (match cell(cells, layout.step) {
            "" => Some(0),
            text => parse_step(text),
        }) else {
            let text = cell(cells, layout.step);
            self.leave_out(self.line, || format!("{text:?} is no step"));
            return Ok(());
        };
        let time_ms = self.time_of(layout, cells);
        let run = self.runs.of_row(layout, cells);
        run.point(metric, step, value, time_ms)
    }

    fn take_step(&mut self, layout: &Layout, cells: &[&str]) -> Result<(), Failure> {
        let step = match layout.step {
            Some(_) => parse_step(cell(cells, layout.step)),
            None => i64::try_from(self.row - 1).ok(),
        };
        let Some(step) = step else {
            let text = cell(cells, layout.step);
            self.leave_out(self.line, || format!("{text:?} is no step"));
            return Ok(());
        };
        let time_ms = self.time_of(layout, cells);
        let has_decimal_commas = self.has_decimal_commas;
        let run = self.runs.of_row(layout, cells);
        for (at, (column, text)) in self.columns.iter().zip(cells).enumerate() {
            let text = text.trim();
            if layout.is_of_row(at) || text.is_empty() || is_unnamed(column) {
                continue;
            }
            if let Some(value) = number(text, has_decimal_commas) {
                run.point(column, step, value, time_ms)?;
            } else if self.skipped_texts.insert(at) {
                self.importer.remark(format!(
                    "{}: the texts in the column `{column}` are left out: metrics are numbers",
                    self.table.path.display()
                ));
            }
        }
        Ok(())
    }

    /// Returns the time of a row; `None` if the row has none that can be read, of which a line tells.
    fn time_of(&mut self, layout: &Layout, cells: &[&str]) -> Option<i64> {
        let text = cell(cells, layout.time);
        let time = parse_time(text, layout.is_time_in_ms).filter(|ms| *ms >= 0);
        if time.is_none() && !text.is_empty() && !std::mem::replace(&mut self.has_bad_times, true) {
            self.importer.remark(format!(
                "{}: line {}: {text:?} is no time since 1970; points without one get the time of their run's start",
                self.table.path.display(),
                self.line
            ));
        }
        time
    }

    /// Imports a row of exported runs.
    fn take_run(&mut self, cells: &[&str]) -> Result<(), Failure> {
        let by_name = |name: &str| {
            let at = self.columns.iter().position(|column| column == name);
            cell(cells, at)
        };
        if self.pass == Pass::Points {
            return Ok(());
        }
        let (id, name) = (by_name("run_id").to_owned(), by_name("name").to_owned());
        let mut run = { self.importer }.begin(self.table.source_run(EXPORT_FORMAT, id, name));
        let start = by_name("start_time_ms").parse().ok();
        let end = by_name("end_time_ms").parse().ok();
        let status = by_name("status").parse().unwrap_or(RunStatus::Finished);
        describe_run(&mut run, by_name("user_id"), start, status, end);
        for (column, text) in self
            .columns
            .iter()
            .zip(cells)
            .filter(|(_, text)| !text.is_empty())
        {
            match (column.split_once('.'), self.pass) {
                (Some(("params", key)), Pass::Runs) => run.param(key, text),
                (Some(("tags", key)), Pass::Runs) => add_tag(&mut run, key, text),
                (Some(("metrics", key)), Pass::LatestValues) => {
                    // The table has no step and no time of the value.
                    if let Some(value) = number(text, self.has_decimal_commas)
                        && !run.was_imported(key)
                    {
                        run.latest_value(key, value, end.or(start))?;
                    }
                }
                _ => {}
            }
        }
        run.finish()
    }

    /// Imports an exported run in JSON, which has step and time of each value. The last pass adds the points that no
    /// other table holds, and sets status and end again, as points may have changed them.
    fn take_exported_run(&mut self, object: &Json) -> Result<(), Failure> {
        if self.pass == Pass::Points {
            return Ok(());
        }
        let text = |key: &str| object.field(key).and_then(Json::text).unwrap_or_default();
        let time = |key: &str| object.field(key).and_then(Json::integer);
        let fields = |key: &str| match object.field(key) {
            Some(Json::Object(fields)) => fields.iter().collect(),
            _ => Vec::new(),
        };
        let (id, name) = (text("run_id").to_owned(), text("name").to_owned());
        let source = self.table.source_run(EXPORT_FORMAT, id, name);
        let mut run = self.importer.begin(source);
        let status = text("status").parse().unwrap_or(RunStatus::Finished);
        let (start, end) = (time("start_time_ms"), time("end_time_ms"));
        describe_run(&mut run, text("user_id"), start, status, end);
        if self.pass == Pass::Runs {
            for (key, value) in fields("params") {
                run.param(key, &value.to_string());
            }
            for (key, value) in fields("tags") {
                add_tag(&mut run, key, &value.to_string());
            }
            return run.finish();
        }
        for (key, point) in fields("metrics") {
            if let Some(value) = point.field("value").and_then(Json::number)
                && !run.was_imported(key)
            {
                let step = point.field("step").and_then(Json::integer);
                let time_ms = point.field("timestamp_ms").and_then(Json::integer);
                run.point(key, step.unwrap_or(0), value, time_ms)?;
            }
        }
        run.finish()
    }

    fn finish(self) -> Result<(), Failure> {
        self.tell_bad_rows();
        let Self {
            importer,
            table,
            runs: TableRuns {
                mut writers, order, ..
            },
            ..
        } = self;
        let runs = order.iter().filter_map(|id| writers.remove(id));
        let (empty, runs): (Vec<_>, Vec<_>) = runs.partition(RunWriter::is_empty);
        let has_values = !runs.is_empty() || self.has_exported_runs;
        let is_told = self.is_damaged || self.first_bad_row.is_some();
        if !has_values && self.pass == Pass::Points && !is_told {
            return importer.skip_empty(&table.path, self.emptiness);
        }
        if let Some(first) = empty.first() {
            let count = match empty.len() as u64 {
                1 => "1 run without values is left out:".to_owned(),
                count => format!(
                    "{} runs without values are left out, the first is",
                    format::count(count)
                ),
            };
            let path = table.path.display();
            importer.remark(format!("{path}: {count} `{}`", first.name()));
        }
        runs.into_iter().try_for_each(RunWriter::finish)
    }
}

/// Sets what an exported run says about itself.
fn describe_run(
    run: &mut RunWriter<'_>,
    user: &str,
    start: Option<i64>,
    status: RunStatus,
    end: Option<i64>,
) {
    if !user.is_empty() {
        run.user(user);
    }
    if let Some(start) = start {
        run.start(start);
    }
    run.end(status, end);
}

/// Returns true if a column has no name of its own. pandas writes its index in such a column, and names it when it reads
/// the file again.
fn is_unnamed(column: &str) -> bool {
    let column = column.trim();
    column.is_empty() || column.starts_with("Unnamed: ") || column.starts_with("__index_level_")
}

/// Reads a number, whose point may be a comma.
fn number(text: &str, has_decimal_comma: bool) -> Option<f64> {
    if has_decimal_comma && text.contains(',') {
        return parse_number(&text.replace(',', "."));
    }
    parse_number(text)
}

/// Returns the fault of a quote that is not closed.
fn quote_fault(line: u64) -> String {
    format!("line {line}: a quote is not closed, so the lines behind it cannot be read")
}

/// Beginning of a text.
struct Beginning {
    /// First byte that is no blank; `None` at the end of the text.
    first: Option<u8>,
    /// Line of that byte, from 1.
    line: u64,
}

/// Reads up to the first byte that is no blank.
fn skip_blanks(reader: &mut impl BufRead) -> io::Result<Beginning> {
    if reader.fill_buf()?.starts_with(BYTE_ORDER_MARK) {
        reader.consume(BYTE_ORDER_MARK.len());
    }
    let mut line = 1;
    loop {
        let first = reader.fill_buf()?.first().copied();
        match first {
            Some(b' ' | b'\t' | b'\r' | b'\n') => {
                line += u64::from(first == Some(b'\n'));
                reader.consume(1);
            }
            _ => return Ok(Beginning { first, line }),
        }
    }
}

/// Adds a tag, unless the store sets it itself.
fn add_tag(run: &mut RunWriter<'_>, key: &str, value: &str) {
    if !matches!(key, "mlflow.runName" | RUN_KEY_TAG) {
        run.tag(key, value);
    }
}

/// Returns the fault of a CSV file, with its line.
fn csv_fault(kind: &csv::ErrorKind) -> String {
    match kind {
        csv::ErrorKind::Utf8 { pos, .. } => format!(
            "line {}: {NO_UTF8}",
            pos.as_ref().map_or(1, csv::Position::line)
        ),
        other => format!("the table cannot be read: {other:?}"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_columns_tell_what_a_table_is() {
        let layout = |columns: &str| {
            let columns: Vec<String> = columns.split(',').map(str::to_owned).collect();
            Layout::of(&columns)
        };
        for (columns, kind) in [
            ("step,loss,acc", Kind::Steps),
            ("epoch,train_loss,value", Kind::Steps),
            ("run,metric,step,value", Kind::Points),
            ("Wall time,Step,Value", Kind::Steps),
            (
                "run_id,run_name,metric,step,value,timestamp_ms",
                Kind::Points,
            ),
            (
                "run_id,name,experiment_id,status,start_time_ms,params.a",
                Kind::Runs,
            ),
        ] {
            assert_eq!(layout(columns).kind, kind, "{columns}");
        }
        assert!(layout("run_id,run_name,metric,step,value,timestamp_ms").is_export);
        assert!(!layout("run,metric,step,value").is_export);
    }
}
