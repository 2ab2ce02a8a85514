//! Copies of artifacts that a dead process left, checked before they are sent: a loss of power may
//! have cost a copy some of its bytes, and what is torn must not be delivered as whole.
//!
//! Invariant: a copy that is not whole is refused by itself, and its bytes are kept.

use std::path::{Path, PathBuf};

use rustc_hash::FxHashMap;

use super::work::{ArtifactBytes, Refused};
use crate::journal::record::Fingerprint;
use crate::journal::spool;

/// The copies of one run's work that are still to be checked, with what their events say of them.
pub(super) type Unchecked = FxHashMap<PathBuf, Option<Fingerprint>>;

/// Takes the copies that are not whole out of `artifacts`.
pub(super) fn refuse_torn(
    artifacts: &mut Vec<(String, ArtifactBytes)>,
    unchecked: &Unchecked,
) -> Vec<Refused> {
    let mut refused = Vec::new();
    artifacts.retain(|(path, bytes)| {
        let fault = match bytes {
            ArtifactBytes::File(file) => unchecked
                .get(file)
                .and_then(|fingerprint| Some((file, spool::fault(file, *fingerprint)?))),
            ArtifactBytes::Memory(_) => None,
        };
        let Some((file, fault)) = fault else {
            return true;
        };
        refused.push(Refused {
            kind: "artifact",
            key: path.clone(),
            reason: with_place(file, fault),
        });
        false
    });
    refused
}

fn with_place(file: &Path, fault: String) -> String {
    match spool::keep(file) {
        Ok(kept) => format!("{fault}. What is left of it is kept as {}", kept.display()),
        Err(_) => fault,
    }
}
