//! What the tests stand on.

pub(crate) mod mlflow;
pub(crate) mod program;
pub(crate) mod seen;
pub(crate) mod warnings;

use std::future::Future;

/// Runs a future as the shipper does: on a current-thread runtime.
pub(crate) fn block_on<F: Future>(future: F) -> F::Output {
    tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()
        .expect("a runtime")
        .block_on(future)
}
