//! [`DownloadArtifacts`]: artifacts of a run, or the files of a model, copied to a directory of this machine.
//!
//! Invariants: nothing is written outside the directory, whatever the server lists and whatever symbolic links are in it. A
//! file appears under its name when all its bytes are there. A download that fails or is cancelled leaves whole files only.

use std::fmt;
use std::fs;
use std::io::{self, Write};
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex};

use futures_util::stream::{self, TryStreamExt as _};

use super::model_uri::{ArtifactPlace, ModelUri};
use super::worker::Connection;
use crate::entities::FileInfo;
use crate::os::new_file::NewFile;
use crate::store::{ClientError, check_path_inside};
use crate::sync::lock;

/// Longest path of an artifact, in bytes. A server that lists a folder in each folder for ever ends there.
const MAX_PATH_BYTES: usize = 4096;

/// Number of files that are downloaded at the same time.
const MAX_PARALLEL_FILES: usize = 8;

/// Download of one artifact, of a folder, or of all artifacts of a run or a model, made by
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
    source: Source,
    directory: PathBuf,
    path: String,
    on_progress: Option<ProgressCallback>,
}

/// Source of a download, as the caller names it.
#[derive(Clone, Debug)]
enum Source {
    Run(String),
    Model(String),
}

type ProgressCallback = Arc<dyn Fn(DownloadProgress) + Send + Sync>;

/// Progress of a download. See [`DownloadArtifacts`] for an example.
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
            .field("source", &self.source)
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
        Self::of_source(Source::Run(run_id.into()), directory.into())
    }

    /// Creates the download of a model's files into `directory`: of the version of a registered model with an alias
    /// (`models:/name@alias`) or a number (`models:/name/3`, `models:/name/latest`), or of a logged model
    /// (`models:/m-…`). The files are those that Python's `mlflow.artifacts.download_artifacts` fetches.
    ///
    /// ```
    /// use mlflow::{DownloadArtifacts, Model};
    ///
    /// # let fake = mlflow::testing::fake();
    /// # let run = mlflow::start_run().start();
    /// # mlflow::log_model(&Model::new("net").bytes("net.bin", [7]).register_as("digits").alias("champion"));
    /// # drop(run);
    /// # fake.assert_model_logged("net");
    /// # let directory = std::env::temp_dir().join(format!("mlflow-doc-model-download-{}", std::process::id()));
    /// let client = mlflow::blocking::Client::new();
    /// let download = DownloadArtifacts::of_model("models:/digits@champion", &directory);
    /// let model = client.download_artifacts(download)?;
    /// assert_eq!(std::fs::read(model.join("net.bin")).unwrap(), [7]);
    /// # std::fs::remove_dir_all(&directory).unwrap();
    /// # Ok::<(), mlflow::ClientError>(())
    /// ```
    #[must_use]
    pub fn of_model(uri: impl Into<String>, directory: impl Into<PathBuf>) -> Self {
        Self::of_source(Source::Model(uri.into()), directory.into())
    }

    fn of_source(source: Source, directory: PathBuf) -> Self {
        Self {
            source,
            directory,
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
        let (place, path) = match &self.source {
            Source::Run(run_id) => {
                let (run_id, folder) = (run_id.clone(), String::new());
                (ArtifactPlace::Run { run_id, folder }, self.path)
            }
            Source::Model(uri) => {
                let uri = ModelUri::parse(uri)?;
                let place = uri.locate(&connection).await?;
                (place, join(&uri.path, &self.path))
            }
        };
        if !path.is_empty() {
            check_path_inside(&path)?;
        }
        let mut files = list_files(&connection, &place, &path).await?;
        // A path without entries is a file.
        if files.is_empty() && !path.is_empty() {
            files.push(FileInfo::file(&*path, 0));
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
            let (connection, place, progress) = (&connection, &place, &progress);
            let directory = &self.directory;
            async move { download_file(connection, place, &path, directory, progress).await }
        };
        stream::iter(files.into_iter().map(Ok))
            .try_for_each_concurrent(MAX_PARALLEL_FILES, download)
            .await?;
        Ok(self.directory.join(path))
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

/// Returns all files below a folder of a place, and refuses paths that would lead out of the target directory.
async fn list_files(
    connection: &Connection,
    place: &ArtifactPlace,
    folder: &str,
) -> Result<Vec<FileInfo>, ClientError> {
    let mut folders = vec![folder.to_owned()];
    let mut files = Vec::new();
    while let Some(folder) = folders.pop() {
        for entry in list_folder(connection, place, &folder).await? {
            check_path_inside(&entry.path)?;
            // Some servers list a file as its own entry.
            if entry.path == folder && !entry.is_dir {
                continue;
            }
            check_is_entry(&entry.path, &folder)?;
            if entry.is_dir {
                folders.push(entry.path);
            } else {
                files.push(entry);
            }
        }
    }
    Ok(files)
}

/// Checks that a path names an entry of the folder. A server that lists other paths could have files written beside what was
/// asked for, or have its listing never end.
fn check_is_entry(path: &str, folder: &str) -> Result<(), ClientError> {
    let inside = match folder {
        "" => Some(path),
        folder => path
            .strip_prefix(folder)
            .and_then(|rest| rest.strip_prefix('/')),
    };
    if inside.is_some_and(|name| !name.is_empty()) && path.len() <= MAX_PATH_BYTES {
        return Ok(());
    }
    Err(ClientError::unsupported(format!(
        "the server lists `{path}` in the folder `{folder}` of the artifacts, where it is not"
    )))
}

/// Returns the files and folders in a folder of a place, by their paths inside of the place.
pub(super) async fn list_folder(
    connection: &Connection,
    place: &ArtifactPlace,
    folder: &str,
) -> Result<Vec<FileInfo>, ClientError> {
    match place {
        ArtifactPlace::LoggedModel { model_id } => {
            connection
                .repeat(|store| store.list_logged_model_files(model_id, folder))
                .await
        }
        ArtifactPlace::Run {
            run_id,
            folder: root,
        } => {
            let listed = join(root, folder);
            let mut entries = connection
                .repeat(|store| store.list_artifacts(run_id, &listed))
                .await?;
            for entry in &mut entries {
                // Without a folder, an absolute path stays as it is, so that it is refused.
                if !root.is_empty()
                    && let Some(inside) = entry.path.strip_prefix(&format!("{root}/"))
                {
                    entry.path = inside.to_owned();
                }
            }
            Ok(entries)
        }
    }
}

/// Returns the path `path` below a folder, each of which may be empty.
fn join(folder: &str, path: &str) -> String {
    match (folder, path) {
        ("", path) => path.to_owned(),
        (folder, "") => folder.to_owned(),
        (folder, path) => format!("{folder}/{path}"),
    }
}

async fn download_file(
    connection: &Connection,
    place: &ArtifactPlace,
    path: &str,
    directory: &Path,
    progress: &Progress,
) -> Result<(), ClientError> {
    let failed = |error| write_error(&directory.join(path), error);
    let mut target = NewFile::create(directory, path).map_err(failed)?;
    let mut written = 0;
    let mut sink = |bytes: &[u8]| {
        target.file().write_all(bytes)?;
        written += bytes.len() as u64;
        progress.change(|state| state.bytes += bytes.len() as u64);
        Ok(())
    };
    let store = connection.store();
    let read = match place {
        ArtifactPlace::Run { run_id, folder } => {
            let path = join(folder, path);
            store.read_artifact(run_id, &path, &mut sink).await
        }
        ArtifactPlace::LoggedModel { model_id } => {
            store
                .read_logged_model_file(model_id, path, &mut sink)
                .await
        }
    };
    if read.is_err() {
        progress.change(|state| state.bytes -= written);
    }
    read?;
    target.publish().map_err(failed)?;
    progress.change(|state| state.files += 1);
    Ok(())
}

fn write_error(path: &Path, error: io::Error) -> ClientError {
    ClientError::local_file(format!("cannot write {}: {error}", path.display()), error)
}
