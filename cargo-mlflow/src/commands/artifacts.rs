//! `artifacts ls` and `artifacts get`: the files of a run.

use std::io::{self, IsTerminal as _, Write as _};
use std::path::Path;
use std::sync::Mutex;
use std::time::{Duration, Instant};

use mlflow::blocking::Client;
use mlflow::entities::{FileInfo, Run};
use mlflow::{DownloadArtifacts, DownloadProgress};

use crate::arguments::Artifacts;
use crate::failure::Failure;
use crate::output::table::{number_cell, table, to_text};
use crate::output::{Output, format};
use crate::selection::select;

/// Shortest time between two reports of progress.
const REPORT_INTERVAL: Duration = Duration::from_millis(100);

/// Lists or fetches artifacts.
pub(crate) fn run(client: &Client, output: Output, command: &Artifacts) -> Result<(), Failure> {
    match command {
        Artifacts::Ls {
            run,
            path,
            experiment,
        } => list(client, output, &select(client, experiment, run)?, path),
        Artifacts::Get {
            run,
            path,
            to,
            experiment,
        } => fetch(client, output, &select(client, experiment, run)?, path, to),
    }
}

fn list(client: &Client, output: Output, run: &Run, path: &str) -> Result<(), Failure> {
    let files = files_below(client, run, path)?;
    if files.is_empty() && !path.is_empty() {
        return Err(Failure::NotFound(format!(
            "the run {} has no folder `{path}`: `cargo mlflow artifacts ls {}` lists all artifacts",
            run.run_id, run.run_id
        )));
    }
    if output.json {
        return output.json(&files);
    }
    if files.is_empty() {
        output.remark(format_args!("the run {} has no artifacts", run.run_id));
        return Ok(());
    }
    let mut rows = table(output, &["SIZE", "PATH"]);
    for file in &files {
        let size = file.file_size.map(format::size).unwrap_or_default();
        rows.add_row(vec![number_cell(size), file.path.clone().into()]);
    }
    output.line(to_text(&rows))
}

/// Returns all files in a folder and its folders, sorted by path.
fn files_below(client: &Client, run: &Run, path: &str) -> Result<Vec<FileInfo>, Failure> {
    let mut folders = vec![path.to_owned()];
    let mut files = Vec::new();
    while let Some(folder) = folders.pop() {
        for entry in client.list_artifacts(&*run.run_id, folder)? {
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
    run: &Run,
    path: &str,
    directory: &Path,
) -> Result<(), Failure> {
    let mut download = DownloadArtifacts::new(&*run.run_id, directory).path(path);
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
    output.line(fetched.display())
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
