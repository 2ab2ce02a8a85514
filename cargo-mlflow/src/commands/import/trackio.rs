//! Trackio: the SQLite file `PROJECT.db` of a project, with any number of runs.
//!
//! Before Trackio 0.24 a run was known by its name alone, and the tables had no column `run_id`. Both layouts are
//! read. The file is opened for reading only, and need not be closed by Trackio.

use std::io;
use std::path::Path;

use rusqlite::types::ValueRef;
use rusqlite::{Connection, OpenFlags, Row};

use super::discovery::{absolute, changed_ms, file_stem};
use super::values::{Json, flatten, parse_time};
use super::writer::{Importer, RunWriter, SourceRun};
use crate::failure::Failure;
use crate::output::format;

/// Extension of the files.
pub(super) const EXTENSION: &str = "db";

/// Returns true if a SQLite file is a project of Trackio: it has the table of points, with a column of JSON.
pub(super) fn is_project(path: &Path) -> bool {
    let has_points = |database: &Connection| has_column(database, "metrics", "metrics");
    open(path).is_ok_and(|database| has_points(&database).unwrap_or(false))
}

fn open(path: &Path) -> rusqlite::Result<Connection> {
    let flags = OpenFlags::SQLITE_OPEN_READ_ONLY | OpenFlags::SQLITE_OPEN_NO_MUTEX;
    Connection::open_with_flags(path, flags)
}

fn has_column(database: &Connection, table: &str, column: &str) -> rusqlite::Result<bool> {
    let query = "SELECT COUNT(*) FROM pragma_table_info(?1) WHERE name = ?2";
    database.query_row(query, (table, column), |row| row.get(0))
}

/// Imports all runs of a project.
pub(super) fn import(path: &Path, importer: &Importer<'_>) -> Result<(), Failure> {
    let failed = |error: ReadError| match error {
        ReadError::Database(error) => Failure::Io(
            format!("cannot read {} as a project of Trackio", path.display()),
            io::Error::other(error),
        ),
        ReadError::Import(failure) => failure,
    };
    let database = open(path).map_err(|error| failed(error.into()))?;
    let project = Project::new(&database, path, importer).map_err(|error| failed(error.into()))?;
    for run in project.runs().map_err(|error| failed(error.into()))? {
        project.import_run(&run).map_err(failed)?;
    }
    importer
        .progress
        .add_bytes(std::fs::metadata(path).map_or(0, |metadata| metadata.len()));
    Ok(())
}

/// Failure of the file, or of the import of what was read.
enum ReadError {
    Database(rusqlite::Error),
    Import(Failure),
}

impl From<rusqlite::Error> for ReadError {
    fn from(error: rusqlite::Error) -> Self {
        Self::Database(error)
    }
}

impl From<Failure> for ReadError {
    fn from(failure: Failure) -> Self {
        Self::Import(failure)
    }
}

struct Project<'i> {
    database: &'i Connection,
    path: &'i Path,
    importer: &'i Importer<'i>,
    /// Tables of the file that hold runs.
    tables: Vec<&'static str>,
    /// Expression by which runs are told apart. A file from before 0.24 has no ids, or none in its older rows.
    id: &'static str,
    /// Expression that is true where the name of a run is its id.
    is_named: &'static str,
}

/// Id and name of a run.
struct RunName {
    id: String,
    /// True if the id is the name of the run.
    is_named: bool,
    name: String,
}

impl<'i> Project<'i> {
    fn new(
        database: &'i Connection,
        path: &'i Path,
        importer: &'i Importer<'i>,
    ) -> rusqlite::Result<Self> {
        let mut tables = Vec::new();
        for table in ["configs", "metrics", "system_metrics"] {
            if has_column(database, table, "run_name")? {
                tables.push(table);
            }
        }
        let (id, is_named) = if has_column(database, "metrics", "run_id")? {
            ("COALESCE(run_id, run_name)", "run_id IS NULL")
        } else {
            ("run_name", "1")
        };
        Ok(Self {
            database,
            path,
            importer,
            tables,
            id,
            is_named,
        })
    }

    /// Returns the runs, in the order of their creation.
    fn runs(&self) -> rusqlite::Result<Vec<RunName>> {
        let of_table = |table: &&str| {
            let time = if *table == "configs" {
                "created_at"
            } else {
                "timestamp"
            };
            let Self { id, is_named, .. } = self;
            format!(
                "SELECT {id} AS id, {is_named} AS is_named, run_name AS name, {time} AS time FROM {table}"
            )
        };
        let tables: Vec<String> = self.tables.iter().map(of_table).collect();
        let mut query = self.database.prepare(&format!(
            "SELECT id, MAX(name), is_named FROM ({}) WHERE id IS NOT NULL GROUP BY id, is_named \
             ORDER BY MIN(time), id",
            tables.join(" UNION ALL ")
        ))?;
        let runs = query.query_map([], |row| {
            let id: String = row.get(0)?;
            let name: Option<String> = row.get(1)?;
            Ok(RunName {
                name: name.unwrap_or_else(|| id.clone()),
                is_named: row.get(2)?,
                id,
            })
        })?;
        runs.collect()
    }

    fn import_run(&self, run: &RunName) -> Result<(), ReadError> {
        // A name is unique in its file only.
        let id = if run.is_named {
            format!("{}#{}", absolute(self.path), run.id)
        } else {
            run.id.clone()
        };
        let mut writer = self.importer.begin(SourceRun {
            format: "trackio",
            id,
            source: self.path.display().to_string(),
            name: run.name.clone(),
            experiment: file_stem(self.path),
            changed_ms: changed_ms(self.path),
        });
        if self.tables.contains(&"configs") {
            self.for_each_row(
                "configs",
                "config, created_at, 0",
                run,
                |content, time_ms, _| {
                    add_config(&mut writer, content, time_ms);
                    Ok(())
                },
            )?;
        }
        let mut has_text = false;
        self.for_each_row(
            "metrics",
            "metrics, timestamp, step",
            run,
            |content, time_ms, step| {
                add_points(&mut writer, "", content, step, time_ms, &mut has_text)
            },
        )?;
        if self.tables.contains(&"system_metrics") {
            let mut sample = 0;
            self.for_each_row(
                "system_metrics",
                "metrics, timestamp, 0",
                run,
                |content, time_ms, _| {
                    sample += 1;
                    add_points(
                        &mut writer,
                        "system/",
                        content,
                        sample - 1,
                        time_ms,
                        &mut has_text,
                    )
                },
            )?;
        }
        if has_text {
            self.importer.remark(format!(
                "{}: texts, tables and media in the history are left out: metrics are numbers",
                self.path.display()
            ));
        }
        Ok(writer.finish()?)
    }

    /// Calls `visit` with the JSON, the time and the step of each row of a run, in the order of the rows.
    fn for_each_row(
        &self,
        table: &str,
        columns: &str,
        run: &RunName,
        mut visit: impl FnMut(Json, Option<i64>, i64) -> Result<(), Failure>,
    ) -> Result<(), ReadError> {
        let mut query = self.database.prepare(&format!(
            "SELECT {columns}, id FROM {table} WHERE {} = ?1 AND ({}) = ?2 ORDER BY id",
            self.id, self.is_named
        ))?;
        let mut rows = query.query((&run.id, run.is_named))?;
        let (mut damaged, mut without_step) = (0_u64, 0_u64);
        loop {
            let row = match rows.next() {
                Ok(Some(row)) => row,
                Ok(None) => break,
                Err(error) => {
                    let what = format!("the table `{table}` cannot be read to its end: {error}");
                    self.importer.damage(self.path, &what);
                    break;
                }
            };
            let content = text_of(row, 0)?.and_then(|text| Json::parse(&text));
            let time = text_of(row, 1)?.unwrap_or_default();
            let step = match row.get_ref(2)? {
                ValueRef::Integer(step) => Some(step),
                ValueRef::Null => Some(0),
                _ => None,
            };
            match (content, step) {
                (Some(content @ Json::Object(_)), Some(step)) => {
                    visit(content, parse_time(&time, false), step)?;
                }
                (Some(Json::Object(_)), None) => without_step += 1,
                _ => damaged += 1,
            }
        }
        if damaged > 0 {
            let rows = format::counted(damaged, "row");
            let what = format!("no object of JSON is in {rows} of the table `{table}`");
            self.importer.damage(self.path, &what);
        }
        if without_step > 0 {
            let rows = format::counted(without_step, "row");
            let have = if without_step == 1 { "has" } else { "have" };
            let what = format!("{rows} of the table `{table}` {have} a step that is no integer");
            self.importer.damage(self.path, &what);
        }
        Ok(())
    }
}

/// Returns a text, which newer versions store as bytes.
fn text_of(row: &Row<'_>, column: usize) -> rusqlite::Result<Option<String>> {
    Ok(match row.get_ref(column)? {
        ValueRef::Text(bytes) | ValueRef::Blob(bytes) => {
            Some(String::from_utf8_lossy(bytes).into_owned())
        }
        _ => None,
    })
}

fn add_config(writer: &mut RunWriter<'_>, config: Json, created_ms: Option<i64>) {
    if let Some(created) = created_ms {
        writer.start(created);
    }
    let Json::Object(config) = config else {
        return;
    };
    for (key, value) in config {
        let text = value.text().map(str::to_owned);
        match (&*key, text.as_deref()) {
            ("_Created", Some(time)) => {
                if let Some(created) = parse_time(time, false) {
                    writer.start(created);
                }
            }
            ("_Username", Some(user)) => {
                writer.user(user);
                writer.tag("mlflow.user", user);
            }
            ("_Group", Some(group)) => writer.tag("trackio.group", group),
            (key, _) if key.starts_with('_') => {}
            _ => {
                let mut params = Vec::new();
                flatten(key, value, &mut |key, value| params.push((key, value)));
                for (key, value) in params {
                    writer.param(&key, &value.to_string());
                }
            }
        }
    }
}

fn add_points(
    writer: &mut RunWriter<'_>,
    prefix: &str,
    content: Json,
    step: i64,
    time_ms: Option<i64>,
    has_text: &mut bool,
) -> Result<(), Failure> {
    let Json::Object(content) = content else {
        return Ok(());
    };
    let mut values = Vec::new();
    for (key, value) in content {
        *has_text |= value.field("_type").is_some();
        let key = format!("{prefix}{key}");
        flatten(key, value, &mut |key, value| values.push((key, value)));
    }
    for (key, value) in values {
        match value.number() {
            Some(number) => writer.point(&key, step, number, time_ms)?,
            None => *has_text |= value != Json::Null,
        }
    }
    Ok(())
}
