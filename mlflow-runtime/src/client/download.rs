//! [`DownloadArtifacts`]: artifacts of a run, copied to a directory of this machine.
//!
//! Invariants: nothing is written outside the directory, whatever the server lists. A file appears under its
//! name when all its bytes are there. A download that fails or is cancelled leaves whole files only.

use std::fmt;
use std::fs::{self, File};
use std::io::{self, Write};
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex};

use futures_util::stream::{self, TryStreamExt as _};
use uuid::Uuid;

use super::worker::Connection;
use crate::entities::FileInfo;
use crate::store::{ClientError, check_path_inside};
use crate::sync::lock;

/// Number of files that are downloaded at the same time.
const MAX_PARALLEL_FILES: usize = 8;

/// Download of one artifact, of a folder, or of all artifacts of a run, made by
/// [`Client::download_artifacts`](super::Client::download_artifacts).
///
/// ```
/// use mlflow::DownloadArtifacts;
///
/// # let fake = mlflow::testing::fake();
/// # let run = mlflow::start_run().start();
/// # run.log_text("0.5", "model/weights.txt");
/// # let run_id = run.key().to_owned();
/// # drop(run);
/// # let directory = std::env::temp_dir().join(format!("mlflow-doc-download-{}", std::process::id()));
/// let client = mlflow::blocking::Client::new();
/// let download = DownloadArtifacts::new(&run_id, &directory)
///     .path("model")
///     .on_progress(|progress| println!("{} of {} bytes", progress.bytes, progress.total_bytes));
/// let model = client.download_artifacts(download)?;
/// assert_eq!(std::fs::read_to_string(model.join("weights.txt")).unwrap(), "0.5");
/// # std::fs::remove_dir_all(&directory).unwrap();
/// # Ok::<(), mlflow::ClientError>(())
/// ```
#[derive(Clone)]
pub struct DownloadArtifacts {
    run_id: String,
    directory: PathBuf,
    path: String,
    on_progress: Option<ProgressCallback>,
}

type ProgressCallback = Arc<dyn Fn(DownloadProgress) + Send + Sync>;

/// Progress of a download.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct DownloadProgress {
    /// Number of files that are complete.
    pub files: usize,
    /// Number of files in all.
    pub total_files: usize,
    /// Number of bytes that have arrived.
    pub bytes: u64,
    /// Number of bytes in all, as far as the store knows the sizes of its files.
    pub total_bytes: u64,
}

impl fmt::Debug for DownloadArtifacts {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("DownloadArtifacts")
            .field("run_id", &self.run_id)
            .field("directory", &self.directory)
            .field("path", &self.path)
            .finish_non_exhaustive()
    }
}

impl DownloadArtifacts {
    /// Creates the download of all artifacts of a run into `directory`, which is created if it is missing.
    /// Files of the same name are replaced.
    #[must_use]
    pub fn new(run_id: impl Into<String>, directory: impl Into<PathBuf>) -> Self {
        Self {
            run_id: run_id.into(),
            directory: directory.into(),
            path: String::new(),
            on_progress: None,
        }
    }

    /// Downloads only the file or folder with this path, `/`-separated. The path is kept below the directory.
    #[must_use]
    pub fn path(mut self, path: impl Into<String>) -> Self {
        self.path = path.into().trim_matches('/').to_owned();
        self
    }

    /// Calls `report` whenever bytes have arrived, on the thread of the client. The download waits for `report`,
    /// which therefore must not wait for a call of the same client.
    #[must_use]
    pub fn on_progress(
        mut self,
        report: impl Fn(DownloadProgress) + Send + Sync + 'static,
    ) -> Self {
        self.on_progress = Some(Arc::new(report));
        self
    }

    /// Downloads the files. Returns the path of the file or folder on this machine.
    pub(super) async fn run(self, connection: Connection) -> Result<PathBuf, ClientError> {
        if !self.path.is_empty() {
            check_path_inside(&self.path)?;
        }
        let mut files = list_files(&connection, &self.run_id, &self.path).await?;
        // A path without entries is a file.
        if files.is_empty() && !self.path.is_empty() {
            files.push(FileInfo::file(&*self.path, 0));
        }
        fs::create_dir_all(&self.directory).map_err(|error| write_error(&self.directory, error))?;
        let progress = Progress {
            state: Mutex::new(DownloadProgress {
                files: 0,
                total_files: files.len(),
                bytes: 0,
                total_bytes: files.iter().filter_map(|file| file.file_size).sum(),
            }),
            report: self.on_progress,
        };
        let download = |FileInfo { path, .. }| {
            let target = self.directory.join(&path);
            let (connection, run_id, progress) = (&connection, &self.run_id, &progress);
            async move { download_file(connection, run_id, &path, &target, progress).await }
        };
        stream::iter(files.into_iter().map(Ok))
            .try_for_each_concurrent(MAX_PARALLEL_FILES, download)
            .await?;
        Ok(self.directory.join(self.path))
    }
}

struct Progress {
    state: Mutex<DownloadProgress>,
    report: Option<ProgressCallback>,
}

impl Progress {
    fn change(&self, change: impl FnOnce(&mut DownloadProgress)) {
        let now = {
            let mut state = lock(&self.state);
            change(&mut state);
            *state
        };
        if let Some(report) = &self.report {
            report(now);
        }
    }
}

/// Returns all files below a folder, and refuses paths that would lead out of the target directory.
async fn list_files(
    connection: &Connection,
    run_id: &str,
    folder: &str,
) -> Result<Vec<FileInfo>, ClientError> {
    let mut folders = vec![folder.to_owned()];
    let mut files = Vec::new();
    while let Some(folder) = folders.pop() {
        let entries = connection
            .repeat(|store| store.list_artifacts(run_id, &folder))
            .await?;
        for entry in entries {
            check_path_inside(&entry.path)?;
            if entry.is_dir {
                folders.push(entry.path);
            } else {
                files.push(entry);
            }
        }
    }
    Ok(files)
}

async fn download_file(
    connection: &Connection,
    run_id: &str,
    path: &str,
    target: &Path,
    progress: &Progress,
) -> Result<(), ClientError> {
    let parent = target.parent().unwrap_or(target);
    fs::create_dir_all(parent).map_err(|error| write_error(parent, error))?;
    // Another host may write to the same directory, so the name has to be unique everywhere.
    let draft = Draft(parent.join(format!(".mlflow-runtime-{}.part", Uuid::new_v4().simple())));
    let mut file = File::create_new(&draft.0).map_err(|error| write_error(&draft.0, error))?;
    let mut written = 0;
    let read = connection
        .store()
        .read_artifact(run_id, path, &mut |bytes| {
            file.write_all(bytes)?;
            written += bytes.len() as u64;
            progress.change(|state| state.bytes += bytes.len() as u64);
            Ok(())
        })
        .await;
    if read.is_err() {
        progress.change(|state| state.bytes -= written);
    }
    read?;
    fs::rename(&draft.0, target).map_err(|error| write_error(target, error))?;
    progress.change(|state| state.files += 1);
    Ok(())
}

/// File that is being written. Removed when it is dropped, unless it was renamed.
struct Draft(PathBuf);

impl Drop for Draft {
    fn drop(&mut self) {
        // After the rename, there is nothing to remove.
        let _ = fs::remove_file(&self.0);
    }
}

fn write_error(path: &Path, error: io::Error) -> ClientError {
    ClientError::local_file(format!("cannot write {}: {error}", path.display()), error)
}
