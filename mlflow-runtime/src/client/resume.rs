//! [`Resume`]: continuing the last run that did not finish.
//!
//! Invariants: a run of a process that still runs on this host is never continued. Whatever fails, a run can
//! be started: without an answer of the store, it is a new one.

use std::fs;
use std::path::{Path, PathBuf};
use std::time::Duration;

use rustix::process::{Pid, test_kill_process};

use super::{Client, DownloadArtifacts, blocking};
use crate::entities::Run;
use crate::environment;
use crate::model::checkpoint::{CHECKPOINTS, CheckpointFiles, CheckpointManifest, MANIFEST_FILE};
use crate::model::{ExperimentRef, RunStatus, tag_keys};
use crate::run::current_run::Context;
use crate::run::{ActiveRun, RunBuilder, is_open_here};
use crate::search::{SearchRuns, attribute};
use crate::store::ClientError;
use crate::tracker::global;
use crate::tracker::recover::recover;
use crate::warnings::warn_user;

/// Number of unfinished runs that are looked at, the newest first.
const MAX_CANDIDATES: usize = 20;

/// Longest wait for the delivery of what the process that died has left.
const RECOVERY_TIMEOUT: Duration = Duration::from_secs(30);

/// Longest wait for an answer of a server. Without one, a new run is started.
const SEARCH_TIMEOUT: Duration = Duration::from_secs(10);

impl RunBuilder {
    /// Looks for the last run that did not finish, to continue it: the run that started last among those of
    /// the same experiment and, if [`name`](Self::name) was called, of the same name, whose status is
    /// `RUNNING`, `FAILED` or `KILLED`. A run whose process still runs on this host is left alone. A run that
    /// is `RUNNING` on another host cannot be told from one that died there, so trainings that run at the
    /// same time need different names.
    ///
    /// The call first delivers what ended processes have left, as [`recover`] does, since the
    /// run may be among it; for that it waits at most 30 seconds. Then it asks the store. If the store does
    /// not answer within 10 seconds (20 for a locked SQLite file), a line on stderr says so, and a new run is started.
    ///
    /// ```
    /// # let fake = mlflow::testing::fake();
    /// let resume = mlflow::start_run().experiment("wine").name("fit").resume_last();
    /// let first_epoch = match resume.last() {
    ///     Some(last) => last.metrics.get("loss").map_or(0, |point| point.step + 1),
    ///     None => 0,
    /// };
    /// if let Some(checkpoint) = resume.download_checkpoint("restored")? {
    ///     // model.load(checkpoint);
    /// }
    /// let run = resume.start();
    /// for epoch in first_epoch..3 {
    ///     run.log_metric_at("loss", 0.5, epoch);
    /// }
    /// # drop(run);
    /// # fake.assert_metric("loss", &[(0, 0.5), (1, 0.5), (2, 0.5)]);
    /// # Ok::<(), mlflow::ClientError>(())
    /// ```
    pub fn resume_last(self) -> Resume {
        let client = Client::new();
        let experiment = self.future_experiment();
        let searched = experiment.filter(|_| global::is_enabled() && !self.has_run_id());
        let found = searched.map(|experiment| {
            // The process that died may have left its last values undelivered, or even the whole run.
            let report = recover(RECOVERY_TIMEOUT);
            if report.journals_found > 0 && !report.complete {
                warn_user(format_args!(
                    "not everything that ended processes have left could be delivered in {} seconds: the newest \
                     checkpoint may not be whole yet, and an older one is used then. Call mlflow::recover with more time before",
                    RECOVERY_TIMEOUT.as_secs()
                ));
            }
            let client = client.with_request_timeout(SEARCH_TIMEOUT).into();
            find_last(&client, experiment, self.given_name())
        });
        let last = found.transpose().unwrap_or_else(|error| {
            warn_user(format_args!(
                "the last run that did not finish cannot be looked up, so a new run is started: {error}"
            ));
            None
        });
        Resume {
            builder: self,
            client: client.into(),
            last: last.flatten(),
        }
    }
}

/// Run to be started, and the unfinished run that it continues, if there is one. See
/// [`RunBuilder::resume_last`] for an example.
#[derive(Debug)]
#[must_use = "a run starts with `start()`"]
pub struct Resume {
    builder: RunBuilder,
    client: blocking::Client,
    last: Option<Run>,
}

impl Resume {
    /// Returns the unfinished run, with its latest metrics, params and tags; `None` if a new run is started. See
    /// [`RunBuilder::resume_last`] for an example.
    #[must_use]
    pub fn last(&self) -> Option<&Run> {
        self.last.as_ref()
    }

    /// Downloads the newest whole checkpoint of the unfinished run into `directory`. Returns the path of the file or
    /// folder there; `None` if a new run is started, or if the run has no whole checkpoint.
    ///
    /// The checkpoints are the entries of the artifact folder `checkpoints`. The newest is the last one in
    /// natural order, in which `epoch-10` comes behind `epoch-9`, and `step-3` behind `step--5`; names without a number
    /// come first. A folder that [`log_checkpoint`](crate::Run::log_checkpoint) has stored is left out if it lacks
    /// files, e.g. because the process was killed while they were uploaded. A folder that others have stored is taken
    /// as it is. See [`RunBuilder::resume_last`] for an example.
    ///
    /// # Errors
    /// The [errors](super::Client#errors) of every call, and [`ClientError::LocalFile`] if the directory cannot
    /// be written.
    pub fn download_checkpoint(
        &self,
        directory: impl AsRef<Path>,
    ) -> Result<Option<PathBuf>, ClientError> {
        let Some(last) = &self.last else {
            return Ok(None);
        };
        let mut entries = self.client.list_artifacts(&*last.run_id, CHECKPOINTS)?;
        entries.sort_by(|left, right| natural_order(&right.path).cmp(&natural_order(&left.path)));
        for entry in entries {
            let path = entry.path.trim_end_matches('/');
            let manifest = match entry.is_dir {
                true => self.read_manifest(&last.run_id, path)?,
                false => None,
            };
            if manifest.as_ref().is_some_and(|manifest| !manifest.complete) {
                warn_incomplete(&last.run_id, path);
                continue;
            }
            let download = DownloadArtifacts::new(&*last.run_id, directory.as_ref()).path(path);
            let downloaded = match self.client.download_artifacts(download) {
                // Another process has deleted it since.
                Err(ClientError::NotFound { .. }) => continue,
                downloaded => downloaded?,
            };
            match manifest {
                Some(manifest) if !has_files(&downloaded, &manifest.files) => {
                    warn_incomplete(&last.run_id, path);
                }
                Some(_) => {
                    // The folder is to have the files that were logged. If this one stays, nothing is wrong.
                    let _ = fs::remove_file(downloaded.join(MANIFEST_FILE));
                    return Ok(Some(downloaded));
                }
                None => return Ok(Some(downloaded)),
            }
        }
        Ok(None)
    }

    /// Reads the manifest of a checkpoint; `None` if the folder has none.
    fn read_manifest(
        &self,
        run_id: &str,
        folder: &str,
    ) -> Result<Option<CheckpointManifest>, ClientError> {
        let path = format!("{folder}/{MANIFEST_FILE}");
        match self.client.read_artifact(run_id, path) {
            // A manifest that cannot be read is no manifest of a whole checkpoint.
            Ok(bytes) => Ok(Some(serde_json::from_slice(&bytes).unwrap_or_default())),
            Err(ClientError::NotFound { .. }) => Ok(None),
            Err(error) => Err(error),
        }
    }

    /// Starts the run: the unfinished one again, or a new one. See [`RunBuilder::start`], and
    /// [`RunBuilder::resume_last`] for an example.
    pub fn start(self) -> ActiveRun {
        match self.last {
            // A continued run keeps the tags of its first process, by which others would take it for dead.
            Some(last) => self
                .builder
                .tag(tag_keys::HOST_NAME, &environment::for_process().host)
                .tag(tag_keys::PROCESS_ID, std::process::id())
                .run_id(last.run_id)
                .start(),
            None => self.builder.start(),
        }
    }
}

/// Returns the last run that did not finish, and that no process of this host still logs to.
fn find_last(
    client: &blocking::Client,
    experiment: ExperimentRef,
    name: Option<&str>,
) -> Result<Option<Run>, ClientError> {
    let mut search = SearchRuns::new()
        .in_experiment(experiment)
        .filter(attribute::status().ne(RunStatus::Finished.as_str()))
        .limit(MAX_CANDIDATES);
    if let Some(name) = name {
        search = search.filter(attribute::run_name().eq(name));
    }
    for run in client.search_runs(search) {
        match run {
            Ok(run) if run.status == RunStatus::Scheduled || is_of_live_process(&run) => {}
            Ok(run) => return Ok(Some(run)),
            // The experiment is created with the first run, and a file with the first value.
            Err(ClientError::NotFound { .. }) => return Ok(None),
            Err(error) => return Err(error),
        }
    }
    Ok(None)
}

/// Returns true if the process that logs to the run is alive, as far as this host can know.
fn is_of_live_process(run: &Run) -> bool {
    let is_here = run.tag(tag_keys::HOST_NAME) == Some(&environment::for_process().host);
    let process = run
        .tag(tag_keys::PROCESS_ID)
        .and_then(|id| id.parse().ok())
        .and_then(Pid::from_raw);
    let is_alive = |process: Pid| {
        // The first process of a container has the same id each time the container starts.
        if process == rustix::process::getpid() {
            let is_faked = Context::current().fake().is_some();
            return is_faked || is_open_here(&run.run_id, run.tag(tag_keys::RUN_KEY));
        }
        matches!(
            test_kill_process(process),
            Ok(()) | Err(rustix::io::Errno::PERM)
        )
    };
    run.status == RunStatus::Running && is_here && process.is_some_and(is_alive)
}

/// Warns that a checkpoint lacks files, so that it is skipped.
fn warn_incomplete(run_id: &str, path: &str) {
    warn_user(format_args!(
        "the checkpoint {path:?} of the run {run_id} is not whole, e.g. because its process was killed, so it is skipped, \
         and the newest whole one is used if there is one"
    ));
}

/// Returns true if a folder of this machine has all files of a checkpoint.
fn has_files(folder: &Path, files: &CheckpointFiles) -> bool {
    let has = |(file, size): (&String, &u64)| {
        let found = fs::metadata(folder.join(file));
        found.is_ok_and(|found| found.len() == *size)
    };
    files.iter().all(has)
}

/// Part of a name in [`natural_order`]: numbers come behind texts.
#[derive(Debug, PartialEq, Eq, PartialOrd, Ord)]
enum NamePart<'n> {
    Text(&'n str),
    Number(i128),
}

/// Returns the key by which names are sorted as people do: numbers by their value, and names without a number
/// first. A number is negative if two dashes stand before it, as `log_checkpoint` writes a negative step.
// Input:  `checkpoints/epoch=9-loss=0.12.bin`, `checkpoints/step--5`
// Output: true, [`epoch=`, 9, `-loss=`, 0, `.`, 12, `.bin`]; true, [`step-`, -5]
fn natural_order(path: &str) -> (bool, Vec<NamePart<'_>>) {
    let mut rest = path.rsplit('/').next().unwrap_or(path);
    let mut parts: Vec<NamePart<'_>> = Vec::new();
    while !rest.is_empty() {
        let is_number = rest.starts_with(|c: char| c.is_ascii_digit());
        let end = rest.find(|c: char| c.is_ascii_digit() != is_number);
        let (part, behind) = rest.split_at(end.unwrap_or(rest.len()));
        match (part.parse::<i128>(), parts.last_mut()) {
            (Ok(number), Some(NamePart::Text(before))) if is_number && before.ends_with("--") => {
                *before = before.strip_suffix('-').unwrap_or(before);
                parts.push(NamePart::Number(-number));
            }
            (Ok(number), _) if is_number => parts.push(NamePart::Number(number)),
            _ => parts.push(NamePart::Text(part)),
        }
        rest = behind;
    }
    let has_number = parts.iter().any(|part| matches!(part, NamePart::Number(_)));
    (has_number, parts)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn checkpoints_are_in_natural_order() {
        for names in [
            ["c/step-000099.bin", "c/step-000300.bin"],
            ["c/9", "c/10"],
            [
                "c/epoch=9-val_loss=0.12.ckpt",
                "c/epoch=10-val_loss=0.30.ckpt",
            ],
            ["c/last.ckpt", "c/epoch=1.ckpt"],
            ["c/epoch=7-step=900", "c/epoch=7-step=1200"],
            ["c/step--5.bin", "c/step-3.bin"],
            ["c/step--10", "c/step--5"],
            ["c/step--1", "c/step-0"],
            ["c/step-7", "c/step-7-v1"],
            ["c/step-7-v9", "c/step-7-v10"],
            ["c/step-7-v1", "c/step-8"],
        ] {
            assert!(
                natural_order(names[0]) < natural_order(names[1]),
                "{names:?}"
            );
        }
    }
}
