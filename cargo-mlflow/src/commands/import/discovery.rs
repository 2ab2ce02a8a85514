//! Discovery of what lies at a path: the runs of other trackers, by the names and first bytes of files.
//!
//! Invariants: links to folders are not followed, since they may lead back. The results are in the order of
//! their paths, so that every import makes the same names.

use std::collections::BTreeMap;
use std::fs::{self, File};
use std::io::{self, Read as _};
use std::path::{Path, PathBuf};
use std::time::UNIX_EPOCH;

#[cfg(feature = "parquet")]
use super::neptune;
use super::table::{TableFile, TableFormat};
use super::tensorboard::{self, EventFolder};
use super::writer::SourceRun;
use super::{trackio, wandb};
use crate::arguments::ImportFormat;
use crate::failure::Failure;

/// Deepest folder that is searched.
const MAX_DEPTH: usize = 32;
/// First bytes of a SQLite file.
const SQLITE_MAGIC: &[u8] = b"SQLite format 3\0";
/// Folders that W&B makes beside the file of a run.
const WANDB_FOLDERS: [&str; 3] = ["files", "logs", "tmp"];
/// Extension of the files of Neptune's exporter.
const PARQUET: &str = "parquet";
/// Description of the formats, for people.
const EXPECTED: &str = "expected event files of TensorBoard (`*tfevents*`), of W&B (`*.wandb`), Trackio (`*.db`) \
                        or Neptune's exporter (`*.parquet`), or a table (`.csv`, `.tsv`, `.json`, `.jsonl`, \
                        `.parquet`)";

/// File or folder that is imported as one.
#[derive(Debug)]
pub(super) enum Source {
    TensorBoard(EventFolder),
    /// Files of Neptune's exporter.
    #[cfg(feature = "parquet")]
    Neptune(neptune::RunParts),
    /// Database of Trackio.
    Trackio(PathBuf),
    /// `.wandb` file.
    Wandb(PathBuf),
    Table(TableFile),
}

impl Source {
    /// Returns the path of the file, or of the first of several.
    pub(super) fn path(&self) -> &Path {
        match self {
            Self::TensorBoard(folder) => first_of(&folder.files),
            #[cfg(feature = "parquet")]
            Self::Neptune(parts) => first_of(parts.files()),
            Self::Table(table) => &table.path,
            Self::Trackio(file) | Self::Wandb(file) => file,
        }
    }

    /// Returns the size of the files.
    pub(super) fn bytes(&self) -> u64 {
        let size = |path: &PathBuf| fs::metadata(path).map_or(0, |metadata| metadata.len());
        match self {
            Self::TensorBoard(folder) => folder.files.iter().map(size).sum(),
            #[cfg(feature = "parquet")]
            Self::Neptune(parts) => parts.files().iter().map(size).sum(),
            Self::Table(table) => size(&table.path),
            Self::Trackio(file) | Self::Wandb(file) => size(file),
        }
    }
}

fn first_of(files: &[PathBuf]) -> &Path {
    files.first().map_or(Path::new(""), PathBuf::as_path)
}

/// Result of a search.
#[derive(Debug, Default)]
pub(super) struct Found {
    pub(super) sources: Vec<Source>,
    /// Tables that are left out, as the files of a tracker lie beside them.
    pub(super) left_out_tables: Vec<PathBuf>,
}

/// Returns what lies at the paths, in the formats that are wanted.
pub(super) fn find(paths: &[PathBuf], format: Option<ImportFormat>) -> Result<Found, Failure> {
    let mut all = Found::default();
    for path in paths {
        let cannot_read = |error| Failure::Io(format!("cannot read {}", path.display()), error);
        let metadata = fs::metadata(path).map_err(|error| match error.kind() {
            io::ErrorKind::NotFound => {
                Failure::NotFound(format!("there is no file or folder {}", path.display()))
            }
            _ => cannot_read(error),
        })?;
        if !metadata.is_dir() && !metadata.is_file() {
            return Err(Failure::Usage(format!(
                "{} is a device, a pipe or a socket: expected a file or a folder",
                path.display()
            )));
        }
        let mut search = Search {
            root: path,
            absolute: fs::canonicalize(path).map_err(cannot_read)?,
            format,
            folders: BTreeMap::new(),
            wandb_files: Vec::new(),
            trackio_files: Vec::new(),
            #[cfg(feature = "parquet")]
            parquet_files: Vec::new(),
            tables: Vec::new(),
        };
        if metadata.is_dir() {
            search.folder(path, 0)?;
            let found = search.into_found();
            if found.sources.is_empty() {
                return Err(Failure::NotFound(format!(
                    "there is nothing to import in {}: {}",
                    path.display(),
                    expected(format)
                )));
            }
            all.add(found);
        } else {
            if !search.file(path)? {
                return Err(Failure::Usage(format!(
                    "{} is in no format that can be imported: {}",
                    path.display(),
                    expected(format)
                )));
            }
            all.add(search.into_found());
        }
    }
    Ok(all)
}

impl Found {
    fn add(&mut self, other: Self) {
        let Self {
            sources,
            left_out_tables,
        } = other;
        self.sources.extend(sources);
        self.left_out_tables.extend(left_out_tables);
    }
}

fn expected(format: Option<ImportFormat>) -> &'static str {
    match format {
        None => EXPECTED,
        Some(ImportFormat::Tensorboard) => "expected event files of TensorBoard (`*tfevents*`)",
        Some(ImportFormat::Neptune) => "expected files of neptune-exporter (`*.parquet`)",
        Some(ImportFormat::Trackio) => "expected databases of Trackio (`*.db`)",
        Some(ImportFormat::Wandb) => "expected files of W&B (`*.wandb`)",
        Some(ImportFormat::Csv) => {
            "expected a table (`.csv`, `.tsv`, `.json`, `.jsonl`, `.parquet`)"
        }
    }
}

/// Search below one path.
struct Search<'p> {
    root: &'p Path,
    /// Root without links, which the ids of runs begin with.
    absolute: PathBuf,
    format: Option<ImportFormat>,
    /// Event files of each folder.
    folders: BTreeMap<PathBuf, Vec<PathBuf>>,
    wandb_files: Vec<PathBuf>,
    trackio_files: Vec<PathBuf>,
    #[cfg(feature = "parquet")]
    parquet_files: Vec<PathBuf>,
    tables: Vec<(PathBuf, TableFormat)>,
}

impl Search<'_> {
    fn folder(&mut self, path: &Path, depth: usize) -> Result<(), Failure> {
        let cannot_read = |error| Failure::Io(format!("cannot read {}", path.display()), error);
        if depth > MAX_DEPTH {
            return Err(Failure::Usage(format!(
                "{} is more than {MAX_DEPTH} folders deep: import a folder further down",
                path.display()
            )));
        }
        let entries = fs::read_dir(path).and_then(Iterator::collect::<io::Result<Vec<_>>>);
        let mut entries = entries.map_err(cannot_read)?;
        entries.sort_by_key(fs::DirEntry::file_name);
        let is_wandb_run = |entry: &fs::DirEntry| {
            Path::new(&entry.file_name()).extension() == Some(wandb::EXTENSION.as_ref())
        };
        // These folders beside a file of W&B belong to its run.
        let has_wandb_run = entries.iter().any(is_wandb_run);
        for entry in entries {
            let kind = entry.file_type().map_err(cannot_read)?;
            let inside = entry.path();
            let is_of_run =
                has_wandb_run && WANDB_FOLDERS.iter().any(|name| inside.ends_with(name));
            if kind.is_dir() && is_of_run {
                continue;
            } else if kind.is_dir() {
                self.folder(&inside, depth + 1)?;
            } else if inside.is_file() {
                self.file(&inside)?;
            }
        }
        Ok(())
    }

    /// Adds a file, and returns true if it can be imported.
    fn file(&mut self, path: &Path) -> Result<bool, Failure> {
        let name = path.file_name().unwrap_or_default().to_string_lossy();
        let lower = name.to_lowercase();
        let extension = lower
            .rsplit_once('.')
            .map_or("", |(_, extension)| extension);
        let wants = |format| self.format.is_none_or(|wanted| wanted == format);
        if name.contains(tensorboard::NAME_PART) && wants(ImportFormat::Tensorboard) {
            let folder = path.parent().unwrap_or(Path::new("")).to_owned();
            self.folders
                .entry(folder)
                .or_default()
                .push(path.to_owned());
            return Ok(true);
        }
        if extension == wandb::EXTENSION && wants(ImportFormat::Wandb) {
            self.wandb_files.push(path.to_owned());
            return Ok(true);
        }
        let is_database = extension == trackio::EXTENSION && wants(ImportFormat::Trackio);
        if is_database && is_sqlite(path) && trackio::is_project(path) {
            self.trackio_files.push(path.to_owned());
            return Ok(true);
        }
        if extension == PARQUET && (wants(ImportFormat::Neptune) || wants(ImportFormat::Csv)) {
            #[cfg(not(feature = "parquet"))]
            return Err(Failure::Usage(format!(
                "{} cannot be read: this program was built without the feature `parquet`",
                path.display()
            )));
            #[cfg(feature = "parquet")]
            if !wants(ImportFormat::Csv)
                || (wants(ImportFormat::Neptune) && !neptune::is_other_table(path))
            {
                self.parquet_files.push(path.to_owned());
                return Ok(true);
            }
        }
        let is_csv_forced = self.format == Some(ImportFormat::Csv);
        let table = match extension {
            #[cfg(feature = "parquet")]
            PARQUET => Some(TableFormat::Parquet),
            "csv" | "tsv" => Some(TableFormat::Csv),
            "json" | "jsonl" | "ndjson" => Some(TableFormat::Json),
            // A file that is named and declared to be a table is one, whatever its name.
            _ if is_csv_forced && path == self.root => Some(TableFormat::Csv),
            _ => None,
        };
        if let Some(table) = table
            && wants(ImportFormat::Csv)
        {
            self.tables.push((path.to_owned(), table));
            return Ok(true);
        }
        Ok(false)
    }

    fn into_found(self) -> Found {
        let mut sources = Vec::new();
        let experiment = self.experiment();
        for (folder, files) in &self.folders {
            let id = absolute(folder);
            sources.push(Source::TensorBoard(EventFolder {
                files: files.clone(),
                run: SourceRun {
                    format: "tensorboard",
                    id,
                    source: folder.display().to_string(),
                    name: self.name_of(folder),
                    experiment: experiment.clone(),
                    changed_ms: files.first().and_then(|file| changed_ms(file)),
                },
            }));
        }
        sources.extend(self.wandb_files.iter().cloned().map(Source::Wandb));
        sources.extend(self.trackio_files.iter().cloned().map(Source::Trackio));
        #[cfg(feature = "parquet")]
        sources.extend(
            neptune::RunParts::group(self.parquet_files.clone())
                .into_iter()
                .map(Source::Neptune),
        );
        // A table beside the files of a tracker is mostly a result of the same run, and no run of its own.
        if !sources.is_empty() && self.format != Some(ImportFormat::Csv) {
            return Found {
                sources,
                left_out_tables: self.tables.into_iter().map(|(path, _)| path).collect(),
            };
        }
        for (path, format) in &self.tables {
            sources.push(Source::Table(TableFile {
                id: absolute(path),
                path: path.clone(),
                format: *format,
                experiment: experiment.clone(),
            }));
        }
        Found {
            sources,
            left_out_tables: Vec::new(),
        }
    }

    /// Returns the name of the folder that is imported, or in which the imported file lies.
    fn experiment(&self) -> String {
        let folder = if self.root.is_dir() {
            Some(&*self.absolute)
        } else {
            self.absolute.parent()
        };
        folder.and_then(Path::file_name).map_or_else(
            || "imported".to_owned(),
            |name| name.to_string_lossy().into_owned(),
        )
    }

    /// Returns the path of a folder relative to the root; the name of the root for the root itself.
    fn name_of(&self, folder: &Path) -> String {
        let relative = folder.strip_prefix(self.root).unwrap_or(Path::new(""));
        let folder = if relative.as_os_str().is_empty() {
            Path::new(self.absolute.file_name().unwrap_or_default())
        } else {
            relative
        };
        // A file that was given by itself belongs to the run of its folder.
        match self.root.is_file() {
            true => self.experiment(),
            false => folder.to_string_lossy().into_owned(),
        }
    }
}

/// Returns true if the file begins like a SQLite file.
fn is_sqlite(path: &Path) -> bool {
    let mut magic = [0; SQLITE_MAGIC.len()];
    let read = File::open(path).and_then(|mut file| file.read_exact(&mut magic));
    read.is_ok() && magic == SQLITE_MAGIC
}

/// Returns the absolute path without links, which is the same from every working directory.
pub(super) fn absolute(path: &Path) -> String {
    let absolute = fs::canonicalize(path).unwrap_or_else(|_| path.to_owned());
    absolute.to_string_lossy().into_owned()
}

/// Returns the time of the last change of a file, in ms since the Unix epoch.
pub(super) fn changed_ms(path: &Path) -> Option<i64> {
    let changed = fs::metadata(path).ok()?.modified().ok()?;
    let since = changed.duration_since(UNIX_EPOCH).ok()?;
    i64::try_from(since.as_millis()).ok()
}

/// Returns the name of a file without its extension.
pub(super) fn file_stem(path: &Path) -> String {
    let stem = path.file_stem().unwrap_or_default();
    stem.to_string_lossy().into_owned()
}
