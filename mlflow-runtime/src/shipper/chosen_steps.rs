//! Notes of the steps that were chosen for points logged at the last step of their key. Such a point (e.g. a
//! number that a tracked function returned) has no step of its own until it is sent.
//!
//! Invariant: a chosen step is in the file before the point is sent. A process that ships the journal after a
//! kill therefore sends the point again at the same step, and the store has it once, even if more was logged
//! under the key meanwhile. A note is removed when its point is settled.
//!
//! The file has one line per note: the point's sequence number in the order of all events, its step, and a
//! checksum of the two; an incomplete line is ignored. The file is not synced: after a power loss a point
//! that was sent may be sent again at a later step.

use std::fs;
use std::io::{self, Write as _};
use std::path::Path;

use rustc_hash::FxHashMap;

use crate::journal::segment::mapped::checksum;
use crate::journal::user_files;

/// Name of the file in the journal's directory.
const FILE_NAME: &str = "last.steps";
/// Name of the file that replaces it.
const TEMPORARY_FILE_NAME: &str = "last.steps.new";
/// Number of stale lines that the file may hold, in addition to one for each current note, before it is
/// rewritten.
const MAX_STALE_LINES: usize = 4096;

/// Notes of one journal.
#[derive(Default)]
pub(in crate::shipper) struct ChosenSteps {
    steps: FxHashMap<u64, i64>,
    /// Number of lines in the file.
    lines: usize,
}

impl ChosenSteps {
    /// Reads the notes of an orphaned journal.
    pub(in crate::shipper) fn read(directory: &Path) -> Self {
        let bytes = user_files::read_file(&directory.join(FILE_NAME)).unwrap_or_default();
        let text = String::from_utf8_lossy(&bytes);
        Self {
            steps: text.lines().filter_map(parse_line).collect(),
            lines: text.lines().count(),
        }
    }

    /// Returns the step that was chosen for the point with this sequence number.
    pub(in crate::shipper) fn get(&self, sequence: u64) -> Option<i64> {
        self.steps.get(&sequence).copied()
    }

    /// Notes steps. `directory` is `None` for a journal in memory, which ends with its process.
    ///
    /// # Errors
    ///
    /// If the file cannot be written: after a kill the points may be sent again at later steps.
    pub(in crate::shipper) fn add(
        &mut self,
        directory: Option<&Path>,
        found: &[(u64, i64)],
    ) -> io::Result<()> {
        self.steps.extend(found.iter().copied());
        match directory {
            Some(directory) => self.append(directory, found.iter().copied()),
            None => Ok(()),
        }
    }

    /// Removes the note of a point that is settled.
    pub(in crate::shipper) fn remove(&mut self, sequence: u64) {
        self.steps.remove(&sequence);
    }

    /// Removes all notes.
    pub(in crate::shipper) fn clear(&mut self) {
        self.steps.clear();
    }

    /// Rewrites the file if most of its lines are stale, or deletes it if no note is left. If writing fails,
    /// the file stays as it is.
    pub(in crate::shipper) fn compact(&mut self, directory: Option<&Path>) {
        let is_of_use = match self.steps.len() {
            0 => self.lines == 0,
            notes => self.lines <= 2 * notes + MAX_STALE_LINES,
        };
        let Some(directory) = directory.filter(|_| !is_of_use) else {
            return;
        };
        let (file, new) = (
            directory.join(FILE_NAME),
            directory.join(TEMPORARY_FILE_NAME),
        );
        #[cfg(test)]
        crate::determinism::before_change();
        let written = if self.steps.is_empty() {
            fs::remove_file(file)
        } else {
            let notes = self
                .steps
                .iter()
                .map(|(place, step)| format_line(*place, *step));
            let notes: String = notes.collect();
            // A temporary file that a dead process has left is replaced.
            let _ = fs::remove_file(&new);
            let written =
                user_files::create_file(&new).and_then(|mut new| new.write_all(notes.as_bytes()));
            written.and_then(|()| fs::rename(new, file))
        };
        if written.is_ok() || self.steps.is_empty() {
            self.lines = self.steps.len();
        }
    }

    fn append(
        &mut self,
        directory: &Path,
        notes: impl Iterator<Item = (u64, i64)>,
    ) -> io::Result<()> {
        let mut lines = String::new();
        for (sequence, step) in notes {
            lines += &format_line(sequence, step);
            self.lines += 1;
        }
        if lines.is_empty() {
            return Ok(());
        }
        #[cfg(test)]
        crate::determinism::before_change();
        user_files::open_to_append(&directory.join(FILE_NAME))?.write_all(lines.as_bytes())
    }
}

fn format_line(sequence: u64, step: i64) -> String {
    let note = format!("{sequence} {step}");
    let sum = checksum(note.as_bytes());
    // The line begins with a line feed, because the previous line may be incomplete if the disk was full.
    format!("\n{note} {sum:08x}")
}

fn parse_line(line: &str) -> Option<(u64, i64)> {
    let (note, sum) = line.rsplit_once(' ')?;
    let sum = u32::from_str_radix(sum, 16).ok()?;
    let (sequence, step) = note.split_once(' ')?;
    (sum == checksum(note.as_bytes())).then_some(())?;
    Some((sequence.parse().ok()?, step.parse().ok()?))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_was_noted_is_found_again_and_half_a_line_is_not() {
        let folder =
            std::env::temp_dir().join(format!("mlflow-runtime-test-{}", uuid::Uuid::new_v4()));
        user_files::create_directory(&folder).expect("the temporary folder can be written");
        let mut noted = ChosenSteps::default();
        let written = noted.add(Some(&folder), &[(7, 99), (8, -3), (9, i64::MAX)]);
        written.expect("it can be written");
        let file = folder.join(FILE_NAME);
        let text = fs::read_to_string(&file).expect("readable");
        fs::write(&file, &text[..text.len() - 1]).expect("writable");
        let read = ChosenSteps::read(&folder);
        assert_eq!(
            (read.get(7), read.get(8), read.get(9)),
            (Some(99), Some(-3), None)
        );
        for sequence in 7..10 {
            noted.remove(sequence);
        }
        noted.compact(Some(&folder));
        assert!(!file.exists());
        fs::remove_dir_all(folder).expect("it is ours");
    }

    #[test]
    fn the_file_does_not_grow_with_what_is_settled() {
        let folder =
            std::env::temp_dir().join(format!("mlflow-runtime-test-{}", uuid::Uuid::new_v4()));
        user_files::create_directory(&folder).expect("the temporary folder can be written");
        let mut noted = ChosenSteps::default();
        for sequence in 0..3 * MAX_STALE_LINES as u64 {
            let added = noted.add(Some(&folder), &[(sequence, 1)]);
            added.expect("it can be written");
            if sequence > 0 {
                noted.remove(sequence);
            }
            noted.compact(Some(&folder));
        }
        let read = ChosenSteps::read(&folder);
        assert_eq!(read.get(0), Some(1));
        assert!(read.lines <= MAX_STALE_LINES + 2, "{}", read.lines);
        fs::remove_dir_all(folder).expect("it is ours");
    }
}
