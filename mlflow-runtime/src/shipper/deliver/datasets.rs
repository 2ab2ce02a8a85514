//! Delivery of a dataset, whose digest is computed here if its file is large.
//!
//! Invariant: a file is read once in a process, however often its dataset is delivered, and the digest stays the
//! same. A dataset whose delivery is in doubt is therefore sent again unchanged.

use std::cell::RefCell;
use std::path::Path;

use rustc_hash::FxHashMap;

use crate::capture::file_digest::{DigestSource, FileStamp, fallback_warning};
use crate::model::dataset::{DatasetRecord, FileVersion};
use crate::shipper::Delivery;
use crate::shipper::batch::Artifact;
use crate::store::{StoreError, StoredRun};
use crate::warnings::{WarningLog, warn_without_dedup};

/// Number of digests that are kept at most.
const MAX_KEPT_DIGESTS: usize = 1024;

/// Digests of the files that were read.
#[derive(Default)]
pub(in crate::shipper) struct FileDigests {
    digests: RefCell<FxHashMap<FileVersion, String>>,
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
            .into_input(|dataset, file, fallback| self.file_digests.find(dataset, file, fallback));
        self.store.log_inputs(run, &[input]).await
    }
}

impl FileDigests {
    /// Returns the digest of a file, or the fallback if the file is no longer as it was.
    pub(in crate::shipper) fn find(
        &self,
        dataset: &str,
        file: FileVersion,
        fallback: String,
    ) -> String {
        if let Some(known) = self.digests.borrow().get(&file) {
            return known.clone();
        }
        let digest = match compute_digest(&file) {
            Ok(digest) => digest,
            Err(error) => {
                let admitted = self
                    .warning_log
                    .borrow_mut()
                    .admit("dataset digest", dataset);
                if let Some(end) = admitted {
                    let warning = fallback_warning(dataset, Path::new(&file.path), &error);
                    warn_without_dedup(format!("{warning}{end}"));
                }
                fallback
            }
        };
        let mut kept = self.digests.borrow_mut();
        if kept.len() >= MAX_KEPT_DIGESTS {
            kept.clear();
        }
        kept.insert(file, digest.clone());
        digest
    }
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
