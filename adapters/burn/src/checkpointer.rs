//! Checkpoints of Burn, as checkpoints of a run.
//!
//! Invariants:
//!
//! 1. Burn's files are where Burn's own checkpointers put them, and are deleted as Burn's strategy says.
//! 2. A checkpoint of an epoch is logged when all of its parts are saved. Burn saves each part in a thread of its own.
//! 3. A checkpoint that cannot be logged is one line on stderr, and no error of the training.
//!
//! Each part that is saved gets a second name, in a folder of the epoch, so that Burn may delete the first one at any time. The folder
//! is logged when it is complete, and deleted then.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, PoisonError};
use std::{fs, io};

use burn_train::checkpoint::{Checkpoint, Checkpointer, CheckpointerError, FileCheckpointer};
use mlflow::Run;

use crate::progress::{Batches, Progress};
use mlflow::diagnostics::warn;

/// Names that Burn gives to the parts of a checkpoint.
const PARTS: [&str; 3] = ["model", "optim", "scheduler"];

/// Folder for checkpoints inside the folder of a training, as Burn names it.
const CHECKPOINTS: &str = "checkpoint";

/// Folder inside of [`CHECKPOINTS`] for checkpoints on their way to the run or from it.
const STAGING: &str = "mlflow";

/// File of a logged checkpoint with the numbers of batches until then.
const BATCHES_FILE: &str = "batches.txt";

/// Creates the checkpointers for model, optimizer and learning rate scheduler of a training.
pub(crate) fn checkpointers(
    training_folder: &Path,
    run: Option<Run>,
    progress: &Arc<Progress>,
) -> [RunCheckpointer; 3] {
    let folder = training_folder.join(CHECKPOINTS);
    let outbox = Arc::new(Outbox {
        run,
        staging: folder.join(STAGING),
        folder: folder.clone(),
        progress: Arc::clone(progress),
        staged: Mutex::default(),
    });
    // Parts that a killed process has left are of no use.
    outbox.clear();
    PARTS.map(|part| RunCheckpointer {
        files: FileCheckpointer::new(&folder, part),
        part,
        outbox: Arc::clone(&outbox),
    })
}

/// Checkpointer for one part of the state of a training: Burn's own one, whose files are logged, too.
pub(crate) struct RunCheckpointer {
    files: FileCheckpointer,
    part: &'static str,
    outbox: Arc<Outbox>,
}

impl<R: Checkpoint> Checkpointer<R> for RunCheckpointer {
    fn save(&self, epoch: usize, record: R) -> Result<(), CheckpointerError> {
        self.files.save(epoch, record)?;
        self.outbox.add(epoch, self.part);
        Ok(())
    }

    fn delete(&self, epoch: usize) -> Result<(), CheckpointerError> {
        Checkpointer::<R>::delete(&self.files, epoch)
    }

    fn restore(&self, epoch: usize) -> Result<R, CheckpointerError> {
        self.files.restore(epoch)
    }
}

/// Parts of checkpoints that are saved, until the checkpoint is complete and logged.
struct Outbox {
    /// Run to log to; `None` logs nothing.
    run: Option<Run>,
    /// Folder with Burn's files.
    folder: PathBuf,
    /// Folder with a folder for each epoch whose checkpoint is not logged yet.
    staging: PathBuf,
    progress: Arc<Progress>,
    /// Number of parts by epoch.
    staged: Mutex<BTreeMap<usize, usize>>,
}

impl Outbox {
    /// Adds a part, and logs the checkpoint if all parts of it are there.
    fn add(&self, epoch: usize, part: &str) {
        let Some(run) = &self.run else { return };
        let folder = self.staging.join(format!("epoch-{epoch}"));
        let saved = part_path(&self.folder, part, epoch);
        if let Err(error) = second_name(&saved, &folder, &part_path(&folder, part, epoch)) {
            return warn_not_logged(epoch, &saved, &error);
        }
        let is_complete = {
            let mut staged = self.staged.lock().unwrap_or_else(PoisonError::into_inner);
            let count = staged.entry(epoch).or_default();
            *count += 1;
            let is_complete = *count == PARTS.len();
            if is_complete {
                staged.remove(&epoch);
            }
            is_complete
        };
        if is_complete {
            self.log(run, &folder, epoch);
        }
    }

    fn log(&self, run: &Run, folder: &Path, epoch: usize) {
        if let Some(batches) = self.progress.at_end_of(epoch) {
            let file = folder.join(BATCHES_FILE);
            if let Err(error) = fs::write(&file, batches.to_text()) {
                return warn_not_logged(epoch, &file, &error);
            }
        }
        run.log_checkpoint(folder, epoch);
        // If the folder stays, the next training deletes it.
        let _ = fs::remove_dir_all(folder);
    }

    fn clear(&self) {
        // Most often, there is no such folder.
        let _ = fs::remove_dir_all(&self.staging);
    }
}

impl Drop for Outbox {
    fn drop(&mut self) {
        self.clear();
    }
}

/// Gives a file a second name in a folder: without a copy if the file system can, else with one.
fn second_name(file: &Path, folder: &Path, name: &Path) -> io::Result<()> {
    fs::create_dir_all(folder)?;
    match fs::remove_file(name) {
        Err(error) if error.kind() != io::ErrorKind::NotFound => return Err(error),
        _ => {}
    }
    fs::hard_link(file, name).or_else(|_| fs::copy(file, name).map(drop))
}

fn warn_not_logged(epoch: usize, file: &Path, error: &io::Error) {
    warn(format_args!(
        "the checkpoint of epoch {epoch} is not logged, because {} cannot be prepared: {error}. Burn's own files are not affected",
        file.display()
    ));
}

/// Checkpoint that was fetched from a run into the folder of a training.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(crate) struct Fetched {
    pub(crate) epoch: usize,
    /// Numbers of batches until the end of the epoch; `None` if the checkpoint does not say.
    pub(crate) batches: Option<Batches>,
}

/// Returns the folder into which a checkpoint is downloaded.
pub(crate) fn download_folder(training_folder: &Path) -> PathBuf {
    let folder = training_folder.join(CHECKPOINTS);
    folder.join(STAGING).join("fetched")
}

/// Moves the files of a checkpoint to where Burn looks for them. Returns `None` for a folder that is no checkpoint of Burn.
pub(crate) fn install(downloaded: &Path, training_folder: &Path) -> io::Result<Option<Fetched>> {
    let Some(epoch) = epoch_of(downloaded) else {
        return Ok(None);
    };
    let batches = fs::read_to_string(downloaded.join(BATCHES_FILE));
    let batches = batches.ok().and_then(|text| Batches::from_text(&text));
    let folder = training_folder.join(CHECKPOINTS);
    for part in PARTS {
        let fetched = part_path(downloaded, part, epoch);
        fs::rename(fetched, part_path(&folder, part, epoch))?;
    }
    Ok(Some(Fetched { epoch, batches }))
}

/// Returns the epoch of a folder that has all parts of a checkpoint.
fn epoch_of(folder: &Path) -> Option<usize> {
    let epoch = |entry: io::Result<fs::DirEntry>| {
        let name = entry.ok()?.file_name().into_string().ok()?;
        let epoch = name.strip_prefix(PARTS[0])?.strip_prefix('-')?;
        epoch.strip_suffix(".bpk")?.parse().ok()
    };
    let epoch = fs::read_dir(folder).ok()?.find_map(epoch)?;
    let has = |part| part_path(folder, part, epoch).is_file();
    PARTS.into_iter().all(has).then_some(epoch)
}

/// Returns the path of a part of the checkpoint of an epoch, as Burn names it.
fn part_path(folder: &Path, part: &str, epoch: usize) -> PathBuf {
    folder.join(format!("{part}-{epoch}.bpk"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_folder_without_all_parts_of_burn_is_no_checkpoint() {
        let folder = tempfile::tempdir().expect("a folder");
        let (downloaded, training) = (folder.path().join("d"), folder.path().join("t"));
        fs::create_dir_all(&downloaded).expect("a folder");
        fs::create_dir_all(training.join(CHECKPOINTS)).expect("a folder");
        for part in PARTS {
            let installed = install(&downloaded, &training).expect("it can be read");
            assert_eq!(installed, None, "before {part}");
            fs::write(part_path(&downloaded, part, 12), part).expect("it can be written");
        }
        let installed = install(&downloaded, &training).expect("it can be moved");
        let expected = Fetched {
            epoch: 12,
            batches: None,
        };
        assert_eq!(installed, Some(expected));
        let model = fs::read_to_string(training.join("checkpoint/model-12.bpk"));
        assert_eq!(model.expect("it is there"), "model");
    }
}
