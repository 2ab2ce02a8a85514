//! Infrastructure of the integration tests: MLflow servers, PostgreSQL and S3 services, servers and proxies
//! that misbehave, and programs in folders of their own.

pub(crate) mod bucket;
pub(crate) mod certificates;
pub(crate) mod command_line;
pub(crate) mod fake_mlflow;
pub(crate) mod fake_server;
pub(crate) mod fault;
pub(crate) mod installed;
pub(crate) mod mlflow;
pub(crate) mod outsider;
pub(crate) mod postgres;
pub(crate) mod program;
pub(crate) mod proxy;
pub(crate) mod rng;
pub(crate) mod scaled;
pub(crate) mod seen;
pub(crate) mod terminal;
pub(crate) mod warnings;

use std::future::Future;
use std::sync::atomic::{AtomicU64, Ordering};

/// Runs a future to its end as the shipper does: on a current-thread runtime.
pub(crate) fn block_on<F: Future>(future: F) -> F::Output {
    tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()
        .expect("a runtime")
        .block_on(future)
}

/// Returns a key or name that no other test and no other process has used.
pub(crate) fn unique() -> String {
    static SERIAL: AtomicU64 = AtomicU64::new(0);
    let now = std::time::UNIX_EPOCH
        .elapsed()
        .expect("a clock after 1970")
        .as_nanos();
    let serial = SERIAL.fetch_add(1, Ordering::Relaxed);
    format!(
        "{:032x}",
        (now << 32) | u128::from(std::process::id() & 0xffff) << 16 | u128::from(serial & 0xffff)
    )
}
