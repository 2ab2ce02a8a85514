//! Signatures that must work: one test each, none with a warning.
//!
//! These modules are compiled in two editions. `Expect` checks the number of runs.

#![deny(warnings)]
// The signatures are odd on purpose.
#![allow(clippy::multiple_bound_locations, clippy::needless_arbitrary_self_type)]

mod attributes;
mod futures;
mod generated;
mod generics;
#[rustfmt::skip] // Some lints look at bodies of one line only.
mod lints;
mod patterns;
mod receivers;
mod returns;
mod tails;

use mlflow::store::RunStatus;
use mlflow::testing::{Fake, RecordedRun, fake};

/// Guard that fails the test when it is dropped, unless exactly this many runs have ended as the attribute
/// ends them.
pub(crate) struct Expect {
    fake: Fake,
    runs: usize,
}

pub(crate) fn expect_runs(runs: usize) -> Expect {
    Expect { fake: fake(), runs }
}

impl Drop for Expect {
    fn drop(&mut self) {
        if std::thread::panicking() {
            return;
        }
        let runs = self.fake.runs();
        assert_eq!(runs.len(), self.runs, "{runs:#?}");
        assert!(runs.iter().all(has_ended), "{runs:#?}");
    }
}

/// Returns true if the run has ended, with the tags that the attribute logs at an end.
fn has_ended(run: &RecordedRun) -> bool {
    let is_failed = run.tags.contains_key("error.message");
    match run.status {
        RunStatus::Finished => !is_failed && run.tags.contains_key("code.function"),
        RunStatus::Failed => is_failed,
        _ => false,
    }
}

impl Expect {
    pub(crate) fn params(&self) -> Vec<(String, String)> {
        self.fake
            .runs()
            .into_iter()
            .flat_map(|run| run.params)
            .collect()
    }
}

pub(crate) fn block_on<F: std::future::Future>(future: F) -> F::Output {
    tokio::runtime::Builder::new_current_thread()
        .build()
        .expect("a runtime")
        .block_on(future)
}

pub(crate) fn assert_send<T: Send>(value: T) -> T {
    value
}
