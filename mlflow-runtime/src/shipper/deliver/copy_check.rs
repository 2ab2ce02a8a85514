//! The check of artifact copies in an orphaned journal before they are uploaded. A power loss may have cost a
//! copy some of its bytes, and a damaged copy must not be delivered as if it were complete.
//!
//! Invariant: only the damaged copy itself is rejected, and its bytes are kept.

use crate::journal::spool;
use crate::shipper::batch::{Artifact, ArtifactBytes, Rejection};

/// Removes the artifacts with damaged copies from `artifacts`, and returns them as rejections.
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
