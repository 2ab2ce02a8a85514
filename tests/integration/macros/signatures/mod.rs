//! Signatures that must work: one test each, no warning in any.
//!
//! This file is compiled in two editions; `Expect` counts the runs.

#![deny(warnings)]
// The signatures are meant to be odd.
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

use mlflow::testing::{Fake, fake};

/// Fails the test unless this many runs have ended when it is dropped.
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
        assert!(
            runs.iter()
                .all(|run| run.status != mlflow::store::RunStatus::Running),
            "{runs:#?}"
        );
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
