//! Copies of artifacts that a dead process left, checked before they are sent: a loss of power may
//! have cost a copy some of its bytes, and what is torn must not be delivered as whole.
//!
//! Invariant: a copy that is not whole is refused by itself, and its bytes are kept.

use crate::journal::spool;
use crate::shipper::read::batch::{Artifact, ArtifactBytes, Rejection};

/// Takes the copies that are not whole out of `artifacts`.
pub(in crate::shipper) fn refuse_torn(artifacts: &mut Vec<Artifact>) -> Vec<Rejection> {
    let fault = |artifact: &Artifact| match &artifact.bytes {
        ArtifactBytes::File(file) => spool::find_copy_fault(file, artifact.fingerprint),
        ArtifactBytes::Memory(_) => None,
    };
    let mut refused = Vec::new();
    for artifact in std::mem::take(artifacts) {
        match fault(&artifact) {
            None => artifacts.push(artifact),
            Some(fault) => refused.push(Rejection::artifact(artifact, fault)),
        }
    }
    refused
}
