//! `artifacts ls` and `artifacts get`: the files of a run or a model.

use std::fmt;
use std::fs;
use std::io::{self, IsTerminal as _, Write as _};
use std::path::{Path, PathBuf};
use std::sync::Mutex;
use std::time::{Duration, Instant};

use mlflow::blocking::Client;
use mlflow::entities::{FileInfo, Run};
use mlflow::{DownloadArtifacts, DownloadProgress};

use crate::arguments::Artifacts;
use crate::failure::Failure;
use crate::output::table::{number_cell, shorten, table, to_text};
use crate::output::{Output, format};
use crate::selection::select;

/// Shortest time between two reports of progress.
const REPORT_INTERVAL: Duration = Duration::from_millis(100);

/// Greatest number of characters of a path.
const MAX_PATH_CHARS: usize = 250;

/// Lists or fetches artifacts.
pub(crate) fn run(client: &Client, output: Output, command: &Artifacts) -> Result<(), Failure> {
    match command {
        Artifacts::Ls {
            run,
            path,
            experiment,
        } => list(client, output, &Place::find(client, experiment, run)?, path),
        Artifacts::Get {
            run,
            path,
            to,
            force,
            experiment,
        } => {
            let place = Place::find(client, experiment, run)?;
            fetch(client, output, &place, path, to, *force)
        }
    }
}

/// Place that has files.
enum Place {
    Run(Box<Run>),
    /// Model, by its URI.
    Model(String),
}

impl Place {
    /// Finds the run that a person means, or takes the URI of a model as it is.
    fn find(client: &Client, experiments: &[String], given: &str) -> Result<Self, Failure> {
        if given.starts_with("models:/") {
            return Ok(Self::Model(given.to_owned()));
        }
        Ok(Self::Run(Box::new(select(client, experiments, given)?)))
    }

    /// Returns the files and folders of a folder.
    fn list_folder(&self, client: &Client, folder: String) -> Result<Vec<FileInfo>, Failure> {
        Ok(match self {
            Self::Run(run) => client.list_artifacts(&*run.run_id, folder)?,
            Self::Model(uri) => client.list_model_files(uri, folder)?,
        })
    }

    /// Returns the download of all files.
    fn download(&self, directory: &Path) -> DownloadArtifacts {
        match self {
            Self::Run(run) => DownloadArtifacts::new(&*run.run_id, directory),
            Self::Model(uri) => DownloadArtifacts::of_model(uri, directory),
        }
    }

    /// Returns the name by which `artifacts ls` knows the place.
    fn id(&self) -> &str {
        match self {
            Self::Run(run) => &run.run_id,
            Self::Model(uri) => uri,
        }
    }
}

impl fmt::Display for Place {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Run(run) => write!(f, "the run {}", run.run_id),
            Self::Model(uri) => write!(f, "the model {uri}"),
        }
    }
}

fn list(client: &Client, output: Output, place: &Place, path: &str) -> Result<(), Failure> {
    let files = files_below(client, place, path)?;
    if files.is_empty() && !path.is_empty() {
        return Err(Failure::NotFound(format!(
            "{place} has no folder `{path}`: `cargo mlflow artifacts ls {}` lists all artifacts",
            place.id()
        )));
    }
    if output.json {
        return output.json(&files);
    }
    if files.is_empty() {
        output.remark(format_args!("{place} has no artifacts"));
        return Ok(());
    }
    let mut rows = table(output, &["SIZE", "PATH"]);
    for file in &files {
        let size = file.file_size.map(format::size).unwrap_or_default();
        let path = shorten(&file.path, MAX_PATH_CHARS);
        rows.add_row(vec![number_cell(size), path.into()]);
    }
    output.line(to_text(&rows))
}

/// Returns all files in a folder and its folders, sorted by path.
fn files_below(client: &Client, place: &Place, path: &str) -> Result<Vec<FileInfo>, Failure> {
    let mut folders = vec![path.to_owned()];
    let mut files = Vec::new();
    while let Some(folder) = folders.pop() {
        for entry in place.list_folder(client, folder)? {
            if entry.is_dir {
                folders.push(entry.path);
            } else {
                files.push(entry);
            }
        }
    }
    files.sort_by(|left, right| left.path.cmp(&right.path));
    Ok(files)
}

fn fetch(
    client: &Client,
    output: Output,
    place: &Place,
    path: &str,
    directory: &Path,
    may_overwrite: bool,
) -> Result<(), Failure> {
    let targets = targets(client, place, path, directory)?;
    if !may_overwrite {
        check_free(&targets)?;
    }
    let mut download = place.download(directory).path(path);
    let shows_progress = !output.json && io::stderr().is_terminal();
    if shows_progress {
        let last = Mutex::new(Instant::now());
        download = download.on_progress(move |progress| {
            let Ok(mut last) = last.lock() else {
                return;
            };
            if last.elapsed() >= REPORT_INTERVAL {
                *last = Instant::now();
                show_progress(progress);
            }
        });
    }
    let fetched = client.download_artifacts(download);
    if shows_progress {
        // Clears the line of the progress.
        let _ = write!(io::stderr(), "\r\x1b[K");
    }
    let fetched = fetched?;
    if output.json {
        return output.json(&fetched);
    }
    let bytes = targets.iter().filter_map(|target| file_size(target)).sum();
    output.remark(format_args!(
        "{} with {} written to {}",
        format::counted(targets.len() as u64, "file"),
        format::size(bytes),
        directory.display()
    ));
    // A path that ends with a slash names the directory itself.
    let fetched: PathBuf = fetched.components().collect();
    output.line(fetched.display())
}

/// Returns the paths of the files that a download writes.
fn targets(
    client: &Client,
    place: &Place,
    path: &str,
    directory: &Path,
) -> Result<Vec<PathBuf>, Failure> {
    let path = path.trim_matches('/');
    let files = files_below(client, place, path)?;
    let mut targets: Vec<PathBuf> = { files.iter() }
        .map(|file| directory.join(&file.path))
        .collect();
    // A path without entries is a file.
    if targets.is_empty() && !path.is_empty() {
        targets.push(directory.join(path));
    }
    Ok(targets)
}

/// Fails if one of the files is there already.
fn check_free(targets: &[PathBuf]) -> Result<(), Failure> {
    let is_taken = |target: &&PathBuf| fs::symlink_metadata(target).is_ok();
    let taken: Vec<&PathBuf> = targets.iter().filter(is_taken).collect();
    let first = match taken.as_slice() {
        [] => return Ok(()),
        [only] => format!("the file {} exists already", only.display()),
        [first, ..] => format!(
            "{} exist already, the first is {}",
            format::counted(taken.len() as u64, "file"),
            first.display()
        ),
    };
    Err(Failure::Other(format!(
        "{first}: nothing was written. --force overwrites, and --to names another directory"
    )))
}

fn file_size(path: &Path) -> Option<u64> {
    Some(fs::metadata(path).ok()?.len())
}

fn show_progress(progress: DownloadProgress) {
    let DownloadProgress {
        files,
        total_files,
        bytes,
        total_bytes,
        ..
    } = progress;
    // Nobody misses a report that cannot be written.
    let _ = write!(
        io::stderr(),
        "\r\x1b[K{files}/{total_files} files, {} of {}",
        format::size(bytes),
        format::size(total_bytes.max(bytes))
    );
}
