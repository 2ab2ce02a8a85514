//! Neptune: the Parquet files of `neptune-exporter`, `PROJECT/RUN_part_N.parquet`. All parts of a run are one run.
//!
//! Each row is a value of an attribute. Attributes below `sys/` become tags, other single values params, and
//! series of floats metrics. Series of texts and files become artifacts. The files lie in a folder of their own,
//! which is looked for as `files` beside the folders above the Parquet files, as the exporter makes it.

use std::collections::BTreeMap;
use std::fs::File;
use std::io;
use std::path::{Component, Path, PathBuf};

use jiff::Timestamp;
use mlflow::RunStatus;
use parquet::data_type::Decimal;
use parquet::errors::ParquetError;
use parquet::file::reader::{FileReader as _, SerializedFileReader};
use parquet::record::{Field, Row};
use parquet::schema::types::Type;

use super::discovery::changed_ms;
use super::writer::{Artifact, Importer, RunWriter, SourceRun};
use crate::failure::Failure;
use crate::output::format;

/// Part of the name of each file.
const PART: &str = "_part_";
/// Columns that are read.
const COLUMNS: [&str; 13] = [
    "project_id",
    "run_id",
    "attribute_path",
    "attribute_type",
    "step",
    "timestamp",
    "int_value",
    "float_value",
    "string_value",
    "bool_value",
    "datetime_value",
    "string_set_value",
    "file_value",
];
/// Columns without which a file is none of the exporter's.
const REQUIRED_COLUMNS: [&str; 4] = ["project_id", "run_id", "attribute_path", "attribute_type"];
/// Number of folders above a Parquet file beside which the files are looked for.
const MAX_FILES_DISTANCE: usize = 4;
/// Memory for the series of texts of a run. Texts beyond it are left out.
const MAX_TEXT_BYTES: usize = 64 << 20;

/// Parts of one run, in their order.
#[derive(Debug)]
pub(super) struct RunParts(Vec<PathBuf>);

impl RunParts {
    /// Returns the runs to which the files belong.
    pub(super) fn group(files: Vec<PathBuf>) -> Vec<Self> {
        let mut runs: BTreeMap<PathBuf, Vec<(u64, PathBuf)>> = BTreeMap::new();
        for file in files {
            let stem = file
                .file_stem()
                .unwrap_or_default()
                .to_string_lossy()
                .into_owned();
            let (run, part) = match stem.rsplit_once(PART) {
                Some((run, part)) => (run.to_owned(), part.parse().unwrap_or_default()),
                None => (stem, 0),
            };
            runs.entry(file.with_file_name(run))
                .or_default()
                .push((part, file));
        }
        let sorted = |mut parts: Vec<(u64, PathBuf)>| {
            parts.sort();
            Self(parts.into_iter().map(|(_, file)| file).collect())
        };
        runs.into_values().map(sorted).collect()
    }

    /// Returns the files.
    pub(super) fn files(&self) -> &[PathBuf] {
        &self.0
    }
}

/// Returns true if the file is Parquet, but none of the exporter's: it lacks a column that theirs have.
pub(super) fn is_other_table(path: &Path) -> bool {
    let Ok(file) = File::open(path) else {
        return false;
    };
    SerializedFileReader::new(file).is_ok_and(|reader| missing_column(&reader).is_some())
}

/// Returns the first of the required columns that the file lacks.
fn missing_column(reader: &SerializedFileReader<File>) -> Option<&'static str> {
    let fields = reader.metadata().file_metadata().schema().get_fields();
    let is_missing = |name: &&str| !fields.iter().any(|field| field.name() == *name);
    REQUIRED_COLUMNS.into_iter().find(is_missing)
}

/// Imports a run.
pub(super) fn import(parts: &RunParts, importer: &Importer<'_>) -> Result<(), Failure> {
    let mut run: Option<RunReader<'_>> = None;
    for path in parts.files() {
        let no_parquet = |error| no_parquet(path, error);
        let (reader, columns) = match open(path) {
            // What the other parts hold is kept.
            Err(failure @ (Failure::Io(..) | Failure::Usage(_))) if run.is_some() => {
                importer.skip(path, &failure);
                continue;
            }
            opened => opened?,
        };
        let bytes = std::fs::metadata(path).map_or(0, |metadata| metadata.len());
        for row in reader.get_row_iter(Some(columns)).map_err(no_parquet)? {
            let row = match row {
                Ok(row) => Attribute::of_row(&row),
                Err(error) => {
                    let what = format!("the file cannot be read to its end: {error}");
                    importer.damage(path, &what);
                    break;
                }
            };
            let run = run.get_or_insert_with(|| RunReader::new(&row, path, importer));
            run.take(&row)?;
        }
        importer.progress.add_bytes(bytes);
    }
    run.map_or(Ok(()), RunReader::finish)
}

/// Opens a file, and returns the columns that are read.
fn open(path: &Path) -> Result<(SerializedFileReader<File>, Type), Failure> {
    let cannot_read = |error| Failure::Io(format!("cannot read {}", path.display()), error);
    let file = File::open(path).map_err(cannot_read)?;
    let reader = SerializedFileReader::new(file).map_err(|error| no_parquet(path, error))?;
    let columns = projection(&reader, path)?;
    Ok((reader, columns))
}

fn no_parquet(path: &Path, error: ParquetError) -> Failure {
    Failure::Io(
        format!("cannot read {} as Parquet", path.display()),
        io::Error::other(error),
    )
}

/// Returns the columns that are read. The others are left out, as their decoding takes time.
fn projection(reader: &SerializedFileReader<File>, path: &Path) -> Result<Type, Failure> {
    let schema = reader.metadata().file_metadata().schema();
    if let Some(missing) = missing_column(reader) {
        return Err(Failure::Usage(format!(
            "{} is no file of neptune-exporter: the column `{missing}` is missing",
            path.display()
        )));
    }
    let fields = schema.get_fields().iter();
    let fields = fields.filter(|field| COLUMNS.contains(&field.name()));
    let columns = Type::group_type_builder(schema.name())
        .with_fields(fields.cloned().collect())
        .build();
    columns.map_err(|error| Failure::Other(format!("{}: {error}", path.display())))
}

/// Value of an attribute.
#[derive(Default)]
struct Attribute {
    project: String,
    run: String,
    path: String,
    kind: String,
    step: Option<f64>,
    time_ms: Option<i64>,
    number: Option<f64>,
    /// Value as a param holds it.
    text: Option<String>,
    flag: Option<bool>,
    /// Time that is the value.
    moment_ms: Option<i64>,
    /// Path of a file, relative to the folder of files.
    file: Option<String>,
}

impl Attribute {
    fn of_row(row: &Row) -> Self {
        let mut attribute = Self::default();
        for (name, field) in row.get_column_iter() {
            attribute.set(name, field);
        }
        attribute
    }

    fn set(&mut self, column: &str, field: &Field) {
        match (column, field) {
            ("project_id", Field::Str(text)) => self.project.clone_from(text),
            ("run_id", Field::Str(text)) => self.run.clone_from(text),
            ("attribute_path", Field::Str(text)) => self.path.clone_from(text),
            ("attribute_type", Field::Str(text)) => self.kind.clone_from(text),
            ("step", Field::Decimal(decimal)) => self.step = Some(to_float(decimal)),
            ("timestamp", field) => self.time_ms = to_ms(field),
            ("int_value", Field::Long(number)) => self.text = Some(number.to_string()),
            ("float_value", Field::Double(number)) => {
                self.number = Some(*number);
                self.text = Some(number.to_string());
            }
            ("string_value", Field::Str(text)) => self.text = Some(text.clone()),
            ("bool_value", Field::Bool(flag)) => {
                self.flag = Some(*flag);
                self.text = Some(flag.to_string());
            }
            ("datetime_value", field) => {
                if let Some(ms) = to_ms(field) {
                    self.moment_ms = Some(ms);
                    let time = Timestamp::from_millisecond(ms);
                    self.text = Some(time.map_or_else(|_| ms.to_string(), |time| time.to_string()));
                }
            }
            ("string_set_value", Field::ListInternal(list)) => {
                let texts = list.elements().iter().filter_map(|element| match element {
                    Field::Str(text) => Some(text.as_str()),
                    _ => None,
                });
                self.text = Some(texts.collect::<Vec<_>>().join(","));
            }
            ("file_value", Field::Group(group)) => {
                self.file = group
                    .get_column_iter()
                    .find_map(|(name, field)| match field {
                        Field::Str(text) if name == "path" => Some(text.clone()),
                        _ => None,
                    });
            }
            _ => {}
        }
    }
}

fn to_ms(field: &Field) -> Option<i64> {
    match field {
        Field::TimestampMillis(ms) => Some(*ms),
        Field::TimestampMicros(us) => Some(us.div_euclid(1000)),
        _ => None,
    }
}

/// Returns a decimal number, whose digits are big-endian.
#[expect(
    clippy::cast_precision_loss,
    reason = "steps have 18 digits, of which 6 are decimals"
)]
fn to_float(decimal: &Decimal) -> f64 {
    let digits = decimal.data();
    let sign = if digits.first().is_some_and(|byte| byte & 0x80 != 0) {
        -1
    } else {
        0
    };
    let number = digits.iter().fold(i128::from(sign), |number, byte| {
        (number << 8) | i128::from(*byte)
    });
    number as f64 / 10_f64.powi(decimal.scale())
}

/// Reader of one run.
struct RunReader<'i> {
    importer: &'i Importer<'i>,
    writer: RunWriter<'i>,
    /// Path of the first part.
    path: &'i Path,
    /// Artifacts of the series of texts, by attribute.
    texts: BTreeMap<String, String>,
    text_bytes: usize,
    has_failed: bool,
    missing_files: u64,
}

impl<'i> RunReader<'i> {
    fn new(first: &Attribute, path: &'i Path, importer: &'i Importer<'i>) -> Self {
        let mut writer = importer.begin(SourceRun {
            format: "neptune",
            id: format!("{}/{}", first.project, first.run),
            source: path.display().to_string(),
            name: first.run.clone(),
            experiment: first.project.clone(),
            changed_ms: changed_ms(path),
        });
        writer.tag("neptune.project", &first.project);
        writer.tag("neptune.run_id", &first.run);
        Self {
            importer,
            writer,
            path,
            texts: BTreeMap::new(),
            text_bytes: 0,
            has_failed: false,
            missing_files: 0,
        }
    }

    fn take(&mut self, attribute: &Attribute) -> Result<(), Failure> {
        match &*attribute.kind {
            "float_series" => return self.point(attribute),
            "string_series" => self.text(attribute),
            "file" | "file_series" | "file_set" | "artifact" => return self.file(attribute),
            "float" | "int" | "string" | "bool" | "datetime" | "string_set" => {
                self.value(attribute);
            }
            kind => {
                self.importer.remark(format!(
                    "{}: values of the type `{kind}` are left out: MLflow's runs do not hold them",
                    self.path.display()
                ));
            }
        }
        Ok(())
    }

    fn point(&mut self, attribute: &Attribute) -> Result<(), Failure> {
        let Some(number) = attribute.number else {
            return Ok(());
        };
        let step = self.step_of(attribute);
        self.writer
            .point(&attribute.path, step, number, attribute.time_ms)
    }

    /// Returns the step as a whole number.
    #[expect(
        clippy::cast_possible_truncation,
        reason = "a cast of a float saturates"
    )]
    fn step_of(&self, attribute: &Attribute) -> i64 {
        let step = attribute.step.unwrap_or_default();
        if step.fract() != 0.0 {
            self.importer.remark(format!(
                "{}: the decimals of steps are cut, e.g. {step} of `{}`: MLflow's steps are whole numbers",
                self.path.display(),
                attribute.path
            ));
        }
        step as i64
    }

    fn text(&mut self, attribute: &Attribute) {
        let Some(text) = &attribute.text else { return };
        self.text_bytes += text.len();
        if self.text_bytes > MAX_TEXT_BYTES {
            self.importer.remark(format!(
                "{}: series of texts beyond 64 MiB are left out",
                self.path.display()
            ));
            return;
        }
        let content = self.texts.entry(attribute.path.clone()).or_default();
        content.push_str(text);
        if !text.ends_with('\n') {
            content.push('\n');
        }
        if let Some(time) = attribute.time_ms {
            self.writer.saw_time(time);
        }
    }

    fn value(&mut self, attribute: &Attribute) {
        let Some(text) = &attribute.text else { return };
        match &*attribute.path {
            "sys/creation_time" => {
                if let Some(ms) = attribute.moment_ms {
                    self.writer.start(ms);
                }
            }
            "sys/failed" => self.has_failed = attribute.flag == Some(true),
            "sys/owner" => {
                self.writer.user(text);
                self.writer.tag("mlflow.user", text);
            }
            "sys/description" => self.writer.tag("mlflow.note.content", text),
            path => match path.strip_prefix("sys/") {
                Some(name) => self.writer.tag(&format!("neptune.{name}"), text),
                None => self.writer.param(path, text),
            },
        }
    }

    fn file(&mut self, attribute: &Attribute) -> Result<(), Failure> {
        let Some(relative) = &attribute.file else {
            return Ok(());
        };
        let Some(file) = self.find_file(Path::new(relative)) else {
            self.missing_files += 1;
            return Ok(());
        };
        let extension = file
            .extension()
            .map(|extension| extension.to_string_lossy());
        let named = match (&extension, Path::new(&attribute.path).extension()) {
            (Some(extension), None) => format!("{}.{extension}", attribute.path),
            _ => attribute.path.clone(),
        };
        let path = if attribute.kind == "file_series" {
            let step = self.step_of(attribute);
            let suffix = extension.map_or(String::new(), |extension| format!(".{extension}"));
            format!("{}/{step:08}{suffix}", attribute.path)
        } else {
            named
        };
        self.writer.artifact(&path, Artifact::File(&file))
    }

    /// Returns the file at a relative path, if there is one in a folder of files.
    fn find_file(&self, relative: &Path) -> Option<PathBuf> {
        // A path from a file must not lead out of the folder.
        if !relative
            .components()
            .all(|part| matches!(part, Component::Normal(_)))
        {
            return None;
        }
        let path = std::path::absolute(self.path).ok()?;
        { path.ancestors().skip(1).take(MAX_FILES_DISTANCE) }
            .map(|folder| folder.join("files").join(relative))
            .find(|file| file.is_file())
    }

    fn finish(mut self) -> Result<(), Failure> {
        if self.missing_files > 0 {
            self.importer.remark(format!(
                "{}: not found: {} of the run, in a folder `files` beside the folder of the project or above",
                self.path.display(),
                format::counted(self.missing_files, "file")
            ));
        }
        for (path, text) in std::mem::take(&mut self.texts) {
            let path = format!("{path}.txt");
            self.writer
                .artifact(&path, Artifact::Bytes(text.into_bytes()))?;
        }
        let status = if self.has_failed {
            RunStatus::Failed
        } else {
            RunStatus::Finished
        };
        self.writer.end(status, None);
        self.writer.finish()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn decimals_are_read_with_their_sign() {
        let decimal =
            |digits: i64| Decimal::from_bytes(digits.to_be_bytes().to_vec().into(), 18, 6);
        assert_eq!(to_float(&decimal(12_500_000)), 12.5);
        assert_eq!(to_float(&decimal(-1_000_000)), -1.0);
        assert_eq!(to_float(&decimal(0)), 0.0);
    }

    #[test]
    fn the_parts_of_a_run_are_in_order() {
        let files = [
            "d/b_part_10.parquet",
            "d/a_part_0.parquet",
            "d/b_part_9.parquet",
        ];
        let runs = RunParts::group(files.iter().map(PathBuf::from).collect());
        let files: Vec<_> = runs.iter().map(|run| run.files().len()).collect();
        assert_eq!(files, [1, 2]);
        assert_eq!(runs[1].files()[0], Path::new("d/b_part_9.parquet"));
    }
}
