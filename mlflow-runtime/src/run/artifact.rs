//! Artifacts on their way into the journal: a file or a large text is copied to a file beside the journal, a
//! text of up to 16 KiB is written into the journal.
//!
//! Invariants: when a call returns, the bytes no longer depend on the user's file. A copy that could not be
//! completed, or that no event names, is removed.

use std::borrow::Cow;
use std::fs::{self, File, Metadata};
use std::io;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::path::Path;

use serde::Serialize;

use super::handle::LiveRun;
use crate::journal::Journal;
use crate::journal::record::{ArtifactLocation, Event};
use crate::journal::spool::{CopyError, SpooledArtifact};
use crate::model;
use crate::model::{ArtifactKind, limits};
use crate::warnings::warn_user;

/// Largest size of a text artifact that is written into the journal. A larger one is written to a file beside
/// the journal.
const INLINE_BYTES: usize = 16 << 10;
/// Largest size of an artifact that is kept in the journal if no copy beside the journal is possible. A
/// larger one could take the memory that a training needs.
const MEMORY_ARTIFACT_BYTES: u64 = 8 << 20;

/// Content of an artifact that no longer depends on the user's file, and is not named by an event yet.
pub(super) enum Prepared<'b> {
    Spooled(SpooledArtifact),
    Attached(Cow<'b, [u8]>),
}

impl<'b> Prepared<'b> {
    /// Prepares bytes for an event that is written later, or returns the reason why they find no room.
    pub(super) fn from_bytes(
        journal: &Journal,
        bytes: &'b [u8],
    ) -> Result<Self, Cow<'static, str>> {
        let size = bytes.len() as u64;
        let copy = if bytes.len() > INLINE_BYTES {
            journal.write_artifact(bytes)
        } else {
            None
        };
        prepare(copy, size, || Ok(Cow::Borrowed(bytes)))
    }

    /// Prepares a file for an event that is written later, and returns its size, or the reason why that fails.
    pub(super) fn from_file(
        journal: &Journal,
        local_path: &Path,
    ) -> Result<(Self, u64), Cow<'static, str>> {
        let unreadable = |error: io::Error| Cow::Owned(format!("it cannot be read: {error}"));
        let file = File::open(local_path).map_err(unreadable)?;
        let size = file.metadata().map_or(0, |metadata| metadata.len());
        let copy = journal.copy_artifact(&file);
        let prepared = prepare(copy, size, || fs::read(local_path).map(Cow::Owned))?;
        let size = match &prepared {
            Self::Spooled(copy) => copy.fingerprint.length,
            Self::Attached(bytes) => bytes.len() as u64,
        };
        Ok((prepared, size))
    }

    /// Returns the content with bytes of its own.
    #[cfg(feature = "image")]
    pub(super) fn into_owned(self) -> Prepared<'static> {
        match self {
            Self::Spooled(copy) => Prepared::Spooled(copy),
            Self::Attached(bytes) => Prepared::Attached(Cow::Owned(bytes.into_owned())),
        }
    }

    /// Removes the copy of an artifact that is not logged.
    pub(super) fn discard(self, journal: &Journal) {
        if let Self::Spooled(SpooledArtifact { name, fingerprint }) = self {
            journal.discard_artifact(&name, fingerprint);
        }
    }
}

impl LiveRun<'_> {
    /// Logs bytes as an artifact of the given kind, under the path `artifact_file`.
    pub(super) fn log_artifact_bytes(&self, kind: ArtifactKind, bytes: &[u8], artifact_file: &str) {
        let Some(path) = self.path_for(kind, artifact_file) else {
            return;
        };
        let size = bytes.len() as u64;
        let copy = if bytes.len() > INLINE_BYTES {
            self.tracker.journal().write_artifact(bytes)
        } else {
            None
        };
        self.log_copy(kind, &path, copy, size, || Ok(Cow::Borrowed(bytes)));
    }

    /// Logs a file, or all files of a folder, below `artifact_path`.
    pub(super) fn log_artifact_path(&self, local_path: &Path, artifact_path: &str) {
        // What is left out was warned of.
        let _ = self.visit_path(local_path, artifact_path, &mut |file, path| {
            self.log_file(ArtifactKind::File, file, path);
        });
    }

    /// Calls `visit` with a file, or with all files of a folder, and the paths of their artifacts below
    /// `artifact_path`. Returns the number of entries that had to be left out, each with a warning.
    fn visit_path(
        &self,
        local_path: &Path,
        artifact_path: &str,
        visit: &mut dyn FnMut(&Path, &str),
    ) -> usize {
        let Some(name) = local_path.file_name() else {
            self.reject(
                local_path,
                "it has no name of its own; give the path of a file or folder",
            );
            return 1;
        };
        let Some(name) = name.to_str() else {
            self.reject(
                local_path,
                "its name is not valid UTF-8, which MLflow's paths are; rename it",
            );
            return 1;
        };
        let path = match artifact_path.trim_matches('/') {
            "" => name.to_owned(),
            folder => format!("{folder}/{name}"),
        };
        match fs::metadata(local_path) {
            Ok(metadata) if metadata.is_dir() => self.visit_folder(local_path, &path, visit),
            Ok(metadata) if metadata.is_file() => {
                visit(local_path, &path);
                0
            }
            found => {
                self.reject_path(local_path, found);
                1
            }
        }
    }

    /// Rejects a path at which neither a file nor a folder was found.
    pub(super) fn reject_path(&self, local_path: &Path, found: io::Result<Metadata>) {
        match found {
            Ok(_) => self.reject(local_path, "it is neither a file nor a folder"),
            Err(error) if error.kind() == io::ErrorKind::NotFound => {
                self.reject(local_path, "there is no such file or folder");
            }
            Err(error) => self.reject(local_path, &format!("it cannot be read: {error}")),
        }
    }

    /// Logs a value as JSON or YAML, by the extension of `artifact_file`.
    pub(super) fn log_dict<T: Serialize + ?Sized>(&self, value: &T, artifact_file: &str) {
        let name = artifact_file.to_ascii_lowercase();
        let is_yaml = name.ends_with(".yaml") || name.ends_with(".yml");
        let write = || -> serde_json::Result<Vec<u8>> {
            if is_yaml {
                serde_json::to_value(value).map(|value| model::to_yaml(&value).into_bytes())
            } else {
                serde_json::to_vec_pretty(value)
            }
        };
        // The `Serialize` of a type may panic, which must not reach the caller.
        match catch_unwind(AssertUnwindSafe(write)) {
            Ok(Ok(bytes)) => self.log_artifact_bytes(ArtifactKind::File, &bytes, artifact_file),
            Ok(Err(error)) => self.tracker.warn_rejected(
                "artifact",
                artifact_file,
                format_args!("the value cannot be written as JSON: {error}"),
            ),
            Err(_) => self.tracker.warn_rejected(
                "artifact",
                artifact_file,
                format_args!("the `Serialize` of the value panicked"),
            ),
        }
    }

    /// Logs the text of an SVG image or an HTML page, under a name by which the page shows it as such.
    pub(super) fn log_figure(&self, figure: &str, artifact_file: &str) {
        let endings: &[&str] = if is_svg(figure) {
            &[".svg", ".html", ".htm"]
        } else {
            &[".html", ".htm"]
        };
        let mut path = Cow::Borrowed(artifact_file);
        let lower = artifact_file.to_ascii_lowercase();
        if !endings.iter().any(|end| lower.ends_with(end)) {
            let ending = endings.first().copied().unwrap_or_default();
            path = format!("{artifact_file}{ending}").into();
        }
        let Some(stored) = self.stored_path("figure", &path) else {
            return;
        };
        if path != artifact_file {
            warn_user(format_args!(
                "figure {artifact_file:?} is stored as {path:?}, because MLflow shows a figure by the ending of its name"
            ));
        }
        self.log_artifact_bytes(ArtifactKind::File, figure.as_bytes(), &stored);
    }

    /// Logs all files of a folder below `artifact_path`, without the folder's own name.
    pub(super) fn log_artifacts(&self, local_dir: &Path, artifact_path: &str) {
        match fs::metadata(local_dir) {
            Ok(metadata) if metadata.is_dir() => {
                let folder = artifact_path.trim_matches('/');
                // What is left out was warned of.
                let _ = self.visit_folder(local_dir, folder, &mut |file, path| {
                    self.log_file(ArtifactKind::File, file, path);
                });
            }
            Ok(_) => self.reject(
                local_dir,
                "it is not a folder; log a file with log_artifact",
            ),
            Err(error) if error.kind() == io::ErrorKind::NotFound => {
                self.reject(local_dir, "there is no such folder");
            }
            Err(error) => self.reject(local_dir, &format!("it cannot be read: {error}")),
        }
    }

    /// Calls `visit` with the files of a folder in the order of their names. A link to a folder is not followed,
    /// because it may lead back into itself. Returns the number of entries that had to be left out, each with a
    /// warning.
    pub(super) fn visit_folder(
        &self,
        folder: &Path,
        path: &str,
        visit: &mut dyn FnMut(&Path, &str),
    ) -> usize {
        let entries = fs::read_dir(folder).and_then(Iterator::collect::<io::Result<Vec<_>>>);
        let mut entries = match entries {
            Ok(entries) => entries,
            Err(error) => {
                self.reject(folder, &format!("it cannot be read: {error}"));
                return 1;
            }
        };
        let mut left_out = 0;
        entries.sort_by_key(fs::DirEntry::file_name);
        for entry in entries {
            let inside = entry.path();
            let is_link = entry.file_type().is_ok_and(|kind| kind.is_symlink());
            if is_link && inside.is_dir() {
                self.reject(
                    &inside,
                    "it is a link to a folder, and not followed; log that folder",
                );
                left_out += 1;
            } else {
                left_out += self.visit_path(&inside, path, visit);
            }
        }
        left_out
    }

    /// Logs a file as an artifact of the given kind.
    pub(super) fn log_file(&self, kind: ArtifactKind, local_path: &Path, path: &str) {
        let Some(path) = self.path_for(kind, path) else {
            return;
        };
        let file = match File::open(local_path) {
            Ok(file) => file,
            Err(error) => return self.reject_unreadable(&path, &error),
        };
        let size = file.metadata().map_or(0, |metadata| metadata.len());
        let copy = self.tracker.journal().copy_artifact(&file);
        self.log_copy(kind, &path, copy, size, || {
            fs::read(local_path).map(Cow::Owned)
        });
    }

    /// Writes the event of a prepared artifact.
    pub(super) fn log_prepared(&self, kind: ArtifactKind, path: &str, prepared: Prepared<'_>) {
        match prepared {
            Prepared::Spooled(copy) => self.log_spooled(kind, path, copy),
            Prepared::Attached(bytes) => self.log_attached(kind, path, &bytes),
        }
    }

    fn log_attached(&self, kind: ArtifactKind, path: &str, bytes: &[u8]) {
        let event = Event::Artifact {
            path: path.into(),
            kind,
            content: ArtifactLocation::Attached,
            fingerprint: None,
        };
        self.write_event(event, bytes);
    }

    pub(super) fn reject(&self, local_path: &Path, what: &str) {
        let path = local_path.display().to_string();
        self.tracker
            .warn_rejected("artifact", &path, format_args!("{what}"));
    }

    /// Writes the artifact's event to the journal. Without a copy beside the journal, the bytes are attached
    /// to the event.
    fn log_copy<'b>(
        &self,
        kind: ArtifactKind,
        path: &str,
        copy: Option<Result<SpooledArtifact, CopyError>>,
        size: u64,
        bytes: impl FnOnce() -> io::Result<Cow<'b, [u8]>>,
    ) {
        let shown = kind.shown_name(path);
        let is_small = size <= MEMORY_ARTIFACT_BYTES;
        match copy {
            Some(Ok(copy)) => return self.log_spooled(kind, path, copy),
            Some(Err(uncopied)) if is_small => self.tracker.warn_once(
                kind.noun(),
                shown,
                format_args!(
                    "it could not be copied beside the journal ({}) and is kept in the journal itself instead",
                    describe_copy_error(&uncopied)
                ),
            ),
            None if is_small => {}
            copy => {
                let fault = oversize_fault(copy.and_then(Result::err), size);
                return self
                    .tracker
                    .warn_rejected(kind.noun(), shown, format_args!("{fault}"));
            }
        }
        match bytes() {
            Ok(bytes) => self.log_attached(kind, path, &bytes),
            Err(error) => self.reject_unreadable(path, &error),
        }
    }

    /// Returns the path that an artifact of the given kind is stored under; `None` if the artifact was rejected.
    pub(super) fn path_for<'p>(&self, kind: ArtifactKind, path: &'p str) -> Option<Cow<'p, str>> {
        match kind {
            ArtifactKind::File
            | ArtifactKind::TableRows(_)
            | ArtifactKind::Image(_)
            | ArtifactKind::ImageFile { .. }
            | ArtifactKind::CheckpointFile(_) => self.stored_path(kind.noun(), path),
            ArtifactKind::Dataset
            | ArtifactKind::ModelFile
            | ArtifactKind::Model
            | ArtifactKind::Checkpoint(_)
            | ArtifactKind::ModelOutput
            | ArtifactKind::ModelInput => Some(Cow::Borrowed(path)),
        }
    }

    /// Returns the path that an artifact is stored under, and logs a warning if the path was changed.
    /// MLflow's servers do not find a path with `%` or `#` again. Returns `None` for an artifact that is rejected,
    /// because no store can keep its path.
    pub(super) fn stored_path<'p>(
        &self,
        noun: &'static str,
        path: &'p str,
    ) -> Option<Cow<'p, str>> {
        let sanitized = limits::sanitize_artifact_path(path);
        let stored = sanitized.map_or(Cow::Borrowed(path), Cow::Owned);
        if let Some(fault) = limits::find_artifact_path_fault(&stored) {
            self.tracker.warn_rejected(
                noun,
                path,
                format_args!(
                    "its path {fault}; give a path below the run, such as `plots/loss.png`"
                ),
            );
            return None;
        }
        if path != stored {
            warn_user(format_args!(
                "artifact {path:?} is stored as {stored:?}, because its path holds a credential, or because MLflow's servers do not keep `%` and `#` in names, or a space before them"
            ));
        }
        Some(stored)
    }

    /// Writes the event of a copy to the journal. Removes the copy if the journal has no space for the event.
    fn log_spooled(&self, kind: ArtifactKind, path: &str, copy: SpooledArtifact) {
        let SpooledArtifact { name, fingerprint } = copy;
        let event = Event::Artifact {
            path: path.into(),
            kind,
            content: ArtifactLocation::Spooled(Cow::Borrowed(&name)),
            fingerprint: Some(fingerprint),
        };
        if !self.write_event(event, &[]) {
            self.tracker.journal().discard_artifact(&name, fingerprint);
        }
    }

    fn reject_unreadable(&self, path: &str, error: &io::Error) {
        self.tracker
            .warn_rejected("artifact", path, format_args!("it cannot be read: {error}"));
    }
}

/// Returns true if the first element of a document is that of an SVG image. The prolog and comments come before it.
fn is_svg(figure: &str) -> bool {
    let mut rest = figure.trim_start_matches('\u{feff}').trim_start();
    loop {
        let end = if rest.starts_with("<!--") {
            rest.find("-->").map(|at| at + 3)
        } else if rest.starts_with("<?") || rest.starts_with("<!") {
            rest.find('>').map(|at| at + 1)
        } else {
            return rest.starts_with("<svg");
        };
        rest = match end.and_then(|end| rest.get(end..)) {
            Some(rest) => rest.trim_start(),
            None => return false,
        };
    }
}

/// Returns the copy if there is one, else the bytes if they are few enough for the journal itself, else the reason
/// why they find no room.
fn prepare<'b>(
    copy: Option<Result<SpooledArtifact, CopyError>>,
    size: u64,
    bytes: impl FnOnce() -> io::Result<Cow<'b, [u8]>>,
) -> Result<Prepared<'b>, Cow<'static, str>> {
    match copy {
        Some(Ok(copy)) => Ok(Prepared::Spooled(copy)),
        _ if size <= MEMORY_ARTIFACT_BYTES => match bytes() {
            Ok(bytes) => Ok(Prepared::Attached(bytes)),
            Err(error) => Err(format!("it cannot be read: {error}").into()),
        },
        copy => Err(oversize_fault(copy.and_then(Result::err), size).into()),
    }
}

/// Returns the reason why an artifact that is too large for the journal itself finds no room.
fn oversize_fault(uncopied: Option<CopyError>, size: u64) -> String {
    match uncopied {
        Some(CopyError::LowDiskSpace(shortage)) => format!(
            "its {size} bytes find no room beside the journal: {shortage}; free space there, or set MLFLOW_JOURNAL_DIR to a larger disk"
        ),
        Some(CopyError::Io(error)) => format!(
            "its {size} bytes cannot be copied beside the journal ({error}); set MLFLOW_JOURNAL_DIR to a directory that can take them"
        ),
        None => format!(
            "its {size} bytes are too many for a journal in memory; set MLFLOW_JOURNAL_DIR to a directory that can be written"
        ),
    }
}

fn describe_copy_error(uncopied: &CopyError) -> String {
    match uncopied {
        CopyError::LowDiskSpace(shortage) => shortage.to_string(),
        CopyError::Io(error) => error.to_string(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_page_with_an_icon_is_no_svg_image() {
        for svg in [
            "<svg/>",
            "\u{feff}<?xml version='1.0'?>\n<!-- drawn --><!DOCTYPE svg>\n<svg xmlns='…'/>",
        ] {
            assert!(is_svg(svg), "{svg}");
        }
        for other in [
            "",
            "<!doctype html><html><svg/></html>",
            "<!-- <svg/>",
            "text <svg/>",
        ] {
            assert!(!is_svg(other), "{other}");
        }
    }
}
