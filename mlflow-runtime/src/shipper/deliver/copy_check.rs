//! Copies of artifacts that a dead process left, checked before they are sent: a loss of power may
//! have cost a copy some of its bytes, and what is torn must not be delivered as whole.
//!
//! Invariant: a copy that is not whole is refused by itself, and its bytes are kept.

use crate::journal::spool;
use crate::shipper::read::batch::{Artifact, ArtifactBytes, Refused};

/// Takes the copies that are not whole out of `artifacts`.
pub(in crate::shipper) fn refuse_torn(artifacts: &mut Vec<Artifact>) -> Vec<Refused> {
    let fault = |artifact: &Artifact| match &artifact.bytes {
        ArtifactBytes::File(file) => spool::fault(file, artifact.fingerprint),
        ArtifactBytes::Memory(_) => None,
    };
    let mut refused = Vec::new();
    for artifact in std::mem::take(artifacts) {
        match fault(&artifact) {
            None => artifacts.push(artifact),
            Some(fault) => refused.push(Refused::artifact(artifact, fault)),
        }
    }
    refused
}
