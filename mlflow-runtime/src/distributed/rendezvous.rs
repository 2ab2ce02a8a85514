//! Keys of runs on which processes agree that share nothing but a text.
//!
//! Invariants: a key depends on nothing but the rendezvous id, the experiment, the function, and the number
//! of the function's earlier runs. A process uses no key twice.

use std::sync::Mutex;

use mlflow_rules::to_hex;
use ring::digest::{Context, SHA256};
use rustc_hash::FxHashMap;

use crate::model::ExperimentRef;
use crate::os::fork::PerProcess;
use crate::sync::lock;

/// Number of runs so far, by rendezvous id, experiment and function.
static RUN_COUNTS: PerProcess<Mutex<FxHashMap<String, u64>>> = PerProcess::new();

/// Returns the key of the next run of `function` in `experiment`. Each function is counted separately, so a
/// run that only one rank starts does not shift the keys of another function's runs.
pub(crate) fn next_run_key(id: &str, experiment: &ExperimentRef, function: &str) -> String {
    let (kind, name) = match experiment {
        ExperimentRef::Name(name) => ("name", name),
        ExperimentRef::Id(id) => ("id", id),
    };
    let series = hash_parts(&[id, kind, name, function]);
    let mut counts = lock(RUN_COUNTS.get());
    let count = counts.entry(series.clone()).or_default();
    let key = hash_parts(&[&series, &count.to_string()]);
    *count += 1;
    key
}

/// Returns a hash of the parts, as 32 hexadecimal characters.
fn hash_parts(parts: &[&str]) -> String {
    let mut sha = Context::new(&SHA256);
    for part in parts {
        sha.update(&(part.len() as u64).to_le_bytes());
        sha.update(part.as_bytes());
    }
    let mut hash = to_hex(sha.finish().as_ref());
    hash.truncate(32);
    hash
}

#[cfg(test)]
mod tests {
    use super::*;

    fn name(name: &str) -> ExperimentRef {
        ExperimentRef::Name(name.to_owned())
    }

    #[test]
    fn a_key_stays_the_same_from_release_to_release() {
        let key = next_run_key("job 7", &name("stable"), "train");
        assert_eq!(key, "6bbd931680119ad2fb8a974f31379673");
        let next = next_run_key("job 7", &name("stable"), "train");
        assert_eq!(next, "efe06bdad252e851241d5eee96cc9b94");
    }

    #[test]
    fn whatever_differs_leads_to_another_run() {
        let keys = [
            next_run_key("a", &name("e"), "f"),
            next_run_key("a", &name("e"), "f"),
            next_run_key("b", &name("e"), "f"),
            next_run_key("a", &name("ef"), ""),
            next_run_key("a", &name("e"), "g"),
            next_run_key("a", &ExperimentRef::Id("e".to_owned()), "f"),
        ];
        for (at, key) in keys.iter().enumerate() {
            assert_eq!(key.len(), 32);
            assert!(!keys[..at].contains(key), "{at}");
        }
    }
}
