//! [`Damage`]: parts of a journal that cannot be read.

use std::path::{Path, PathBuf};

use serde::Serialize;

/// Parts of a journal that cannot be read. Everything else in the journal can be delivered. See
/// [`StoredJournal`](super::StoredJournal) for an example.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize)]
#[non_exhaustive]
pub struct Damage {
    /// Damaged files, in the order in which they were read.
    pub files: Vec<FileDamage>,
}

/// Damage of one file. See [`StoredJournal`](super::StoredJournal) for an example.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
#[non_exhaustive]
pub struct FileDamage {
    /// Path of the file.
    pub path: PathBuf,
    /// Offset, in bytes, at which the damage begins; `None` if the whole file cannot be read.
    pub first_offset: Option<u64>,
    /// Number of stretches of the file that hold no whole record. Usually each is one record.
    pub stretches: u64,
    /// Number of bytes in these stretches.
    pub skipped_bytes: u64,
    /// Number of values that can be read, but not the name of their metric or run.
    pub nameless_values: u64,
    /// Reason why the file, or the copy of an artifact, cannot be used as a whole; `None` if it can.
    pub reason: Option<String>,
}

impl Damage {
    /// Returns true if everything can be read. See [`StoredJournal`](super::StoredJournal) for an example.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.files.is_empty()
    }

    /// Returns the number of bytes that hold no whole record, in all files together. See
    /// [`StoredJournal`](super::StoredJournal) for an example.
    #[must_use]
    pub fn skipped_bytes(&self) -> u64 {
        self.files.iter().map(|file| file.skipped_bytes).sum()
    }

    /// Records that the bytes from `offset` to `next` hold no whole record.
    pub(super) fn record_skipped(&mut self, path: &Path, offset: usize, next: usize) {
        self.change(path, |file| {
            file.first_offset.get_or_insert(offset as u64);
            file.stretches += 1;
            file.skipped_bytes += next.saturating_sub(offset) as u64;
        });
    }

    /// Records that the value at `offset` belongs to a metric or run whose name is lost.
    pub(super) fn record_nameless(&mut self, path: &Path, offset: usize) {
        self.change(path, |file| {
            file.first_offset.get_or_insert(offset as u64);
            file.nameless_values += 1;
        });
    }

    /// Records that a file cannot be used as a whole.
    pub(super) fn record_unusable(&mut self, path: &Path, reason: String) {
        self.change(path, |file| file.reason = Some(reason));
    }

    /// Changes the record of a file, which the first change creates.
    fn change(&mut self, path: &Path, change: impl FnOnce(&mut FileDamage)) {
        if let Some(known) = self.files.iter_mut().find(|file| file.path == path) {
            change(known);
            return;
        }
        let mut file = FileDamage {
            path: path.to_owned(),
            first_offset: None,
            stretches: 0,
            skipped_bytes: 0,
            nameless_values: 0,
            reason: None,
        };
        change(&mut file);
        self.files.push(file);
    }
}
