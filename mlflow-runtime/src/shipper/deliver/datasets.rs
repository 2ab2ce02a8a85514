//! Delivery of a dataset. The digest of a large file is computed here, and that of a large frame is waited for.
//!
//! Invariant: a digest is computed once in a process, however often its dataset is delivered, and stays the
//! same. A dataset whose delivery is in doubt is therefore sent again unchanged.

use std::cell::RefCell;
use std::path::Path;

use rustc_hash::FxHashMap;

#[cfg(feature = "polars")]
use crate::capture::background_digest;
use crate::capture::file_digest::{
    DigestSource, FileStamp, fallback_warning, rows_fallback_warning,
};
use crate::model::dataset::{DatasetRecord, FileVersion, LateDigest, RowsTicket};
use crate::shipper::Delivery;
use crate::shipper::batch::Artifact;
use crate::store::{StoreError, StoredRun};
use crate::warnings::{WarningLog, warn_without_dedup};

/// Number of digests that are kept at most.
const MAX_KEPT_DIGESTS: usize = 1024;

/// Digests that were not known when their datasets were logged.
#[derive(Default)]
pub(in crate::shipper) struct LateDigests {
    digests: RefCell<FxHashMap<LateDigest, String>>,
    warning_log: RefCell<WarningLog>,
}

impl Delivery {
    /// Logs a dataset as an input of the run.
    ///
    /// # Errors
    /// [`StoreError::Rejected`] if the record cannot be read.
    pub(in crate::shipper) async fn log_dataset(
        &self,
        run: &StoredRun,
        artifact: &Artifact,
    ) -> Result<(), StoreError> {
        let bytes = artifact.read().map_err(|error| unreadable_error(&error))?;
        let record: DatasetRecord =
            serde_json::from_slice(&bytes).map_err(|error| unreadable_error(&error))?;
        let input = record
            .into_input(|dataset, late, fallback| self.late_digests.find(dataset, late, fallback));
        self.store.log_inputs(run, &[input]).await
    }
}

impl LateDigests {
    /// Returns the digest, or the fallback if the file is no longer as it was, or the rows are gone.
    pub(in crate::shipper) fn find(
        &self,
        dataset: &str,
        late: LateDigest,
        fallback: String,
    ) -> String {
        if let Some(known) = self.digests.borrow().get(&late) {
            return known.clone();
        }
        let found = match &late {
            LateDigest::File(file) => compute_digest(file)
                .map_err(|error| fallback_warning(dataset, Path::new(&file.path), &error)),
            LateDigest::Rows(rows) => {
                wait_for_rows(*rows).map_err(|reason| rows_fallback_warning(dataset, &reason))
            }
        };
        let digest = found.unwrap_or_else(|warning| {
            let admitted = self
                .warning_log
                .borrow_mut()
                .admit("dataset digest", dataset);
            if let Some(end) = admitted {
                warn_without_dedup(format!("{warning}{end}"));
            }
            fallback
        });
        let mut kept = self.digests.borrow_mut();
        if kept.len() >= MAX_KEPT_DIGESTS {
            kept.clear();
        }
        kept.insert(late, digest.clone());
        digest
    }
}

/// Returns the digest of rows that this process has logged, once it is computed; else the reason why there is none.
#[cfg(feature = "polars")]
fn wait_for_rows(rows: RowsTicket) -> Result<String, String> {
    background_digest::wait(rows)
}

/// Returns the reason why there is no digest: a program that logs no frames has none.
#[cfg(not(feature = "polars"))]
fn wait_for_rows(_rows: RowsTicket) -> Result<String, String> {
    Err("another process logged it".to_owned())
}

fn compute_digest(version: &FileVersion) -> std::io::Result<String> {
    let file = DigestSource::open(Path::new(&version.path))?;
    let logged = FileStamp {
        length: version.length,
        modified_ns: version.modified_ns,
    };
    if file.stamp() != logged {
        return Err(std::io::Error::other(
            "it has changed since the dataset was logged",
        ));
    }
    file.digest()
}

fn unreadable_error(error: &dyn std::fmt::Display) -> StoreError {
    StoreError::Rejected {
        reason: format!("its record in the journal's directory cannot be read: {error}").into(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn rows_of_a_process_that_was_killed_have_the_digest_of_their_description() {
        let rows = RowsTicket {
            process: 1,
            number: 0,
        };
        let digests = LateDigests::default();
        let found = digests.find("wine", LateDigest::Rows(rows), "0b8295ee".to_owned());
        assert_eq!(found, "0b8295ee");
    }
}
