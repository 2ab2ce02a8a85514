//! [`Verification`]: a check of every record and every copy of an artifact in a journal.

use std::io;

use serde::Serialize;

use super::damage::Damage;
use super::stored_journal::StoredJournal;

/// Result of [`StoredJournal::verify`]. See [`StoredJournal`] for an example.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize)]
#[non_exhaustive]
pub struct Verification {
    /// Number of values that can be read and wait for delivery.
    pub waiting_values: u64,
    /// Number of values that can be read and are in the store already.
    pub settled_values: u64,
    /// Records that only a newer version of this library can deliver.
    pub unknown_records: u64,
    /// Parts that cannot be read, and copies of artifacts that are not what was logged.
    pub damage: Damage,
}

impl StoredJournal {
    /// Checks the checksum of every record, and compares every copy of an artifact with what was logged.
    ///
    /// # Errors
    /// Returns an error if the journal's directory cannot be listed. Files that cannot be read are reported in
    /// [`Verification::damage`].
    pub fn verify(&self) -> io::Result<Verification> {
        let mut entries = self.entries()?.checking_artifacts();
        let (mut waiting_values, mut settled_values) = (0, 0);
        for entry in entries.by_ref() {
            if entry.is_settled {
                settled_values += 1;
            } else {
                waiting_values += 1;
            }
        }
        Ok(Verification {
            waiting_values,
            settled_values,
            unknown_records: entries.unknown_records(),
            damage: entries.into_damage(),
        })
    }
}
