//! Ways to take the current run along to threads and tasks.
//!
//! The current run belongs to a thread, or to the future that is being polled. A tracked function's run
//! follows the function's future across every `await`, on whatever thread the future continues. Two futures
//! that take turns on one thread never log to each other's runs. A thread or task that is *started* has no
//! current run, unless it is given one:
//!
//! | started with | the run comes along by |
//! |---|---|
//! | `std::thread::spawn` | [`thread::spawn`](spawn) |
//! | `std::thread::scope`, rayon, `spawn_blocking`, any callback | [`thread::carry`](carry), or [`Run::scope`] |
//! | `tokio::spawn`, `JoinSet`, any executor | [`Run::instrument`](crate::Run::instrument), or [`thread::carry_future`](carry_future) where there may be no run |
//! | a `#[tracked]` function's future, spawned | nothing needed: its run is a child of the run in which the future was made |
//!
//! # A thread
//!
//! ```
//! # let fake = mlflow::testing::fake();
//! #[mlflow::tracked]
//! fn train() {
//!     let loader = mlflow::thread::spawn(|| mlflow::log_metric("rows", 1000.0));
//!     loader.join().unwrap();
//! }
//! train();
//! # fake.assert_metric_logged("rows");
//! ```
//!
//! # Scoped threads
//!
//! ```
//! # let fake = mlflow::testing::fake();
//! #[mlflow::tracked]
//! fn train(folds: &[u32]) {
//!     std::thread::scope(|scope| {
//!         for fold in folds {
//!             scope.spawn(mlflow::thread::carry(|| mlflow::metric!("fold", *fold)));
//!         }
//!     });
//! }
//! train(&[1, 2]);
//! # assert_eq!(fake.runs()[0].metrics["fold"].len(), 2);
//! ```
//!
//! # Rayon
//!
//! [`carry`] takes a closure that is called once, as by `rayon::join` and `rayon::spawn`. A closure that is
//! called many times takes the [`Run`] along:
//!
//! ```
//! use rayon::prelude::*;
//!
//! # let fake = mlflow::testing::fake();
//! #[mlflow::tracked]
//! fn train(folds: &[u32]) {
//!     let run = mlflow::Run::current().unwrap();
//!     folds.par_iter().for_each(|fold| run.scope(|| mlflow::metric!("fold", *fold, step = *fold)));
//! }
//! train(&[1, 2]);
//! # assert_eq!(fake.runs()[0].metrics["fold"].len(), 2);
//! ```
//!
//! # Tasks
//!
//! ```
//! # let fake = mlflow::testing::fake();
//! #[mlflow::tracked]
//! async fn train() {
//!     let run = mlflow::Run::current().unwrap();
//!     let task = tokio::spawn(run.instrument(async { mlflow::log_metric("loss", 0.5) }));
//!     task.await.unwrap();
//! }
//! # tokio::runtime::Builder::new_current_thread().build().unwrap().block_on(train());
//! # fake.assert_metric("loss", &[(0, 0.5)]);
//! ```
//!
//! # Blocking calls of an async runtime
//!
//! ```
//! # let fake = mlflow::testing::fake();
//! #[mlflow::tracked]
//! async fn train() {
//!     let load = mlflow::thread::carry(|| mlflow::log_metric("rows", 7.0));
//!     tokio::task::spawn_blocking(load).await.unwrap();
//! }
//! # tokio::runtime::Builder::new_current_thread().build().unwrap().block_on(train());
//! # fake.assert_metric("rows", &[(0, 7.0)]);
//! ```

use std::future::Future;
use std::thread::JoinHandle;

#[cfg(doc)]
use crate::run::Run;
use crate::run::current_run::Context;
use crate::run::instrumented::Instrumented;

/// Spawns a thread whose current run is that of the calling thread.
///
/// If the run ends meanwhile, it still accepts the thread's values.
///
/// # Panics
/// If the operating system cannot start a thread, as with [`std::thread::spawn`].
///
/// ```
/// # let fake = mlflow::testing::fake();
/// let run = mlflow::start_run().start();
/// mlflow::thread::spawn(|| mlflow::log_metric("loss", 0.5)).join().unwrap();
/// drop(run);
/// # fake.assert_metric_logged("loss");
/// ```
pub fn spawn<F, T>(f: F) -> JoinHandle<T>
where
    F: FnOnce() -> T + Send + 'static,
    T: Send + 'static,
{
    std::thread::spawn(carry(f))
}

/// Returns `f` as a closure that runs, on whatever thread, with the run that is current now. In a test with
/// the [`fake`](crate::testing::fake), the closure takes the fake along, too, even if no run is current.
///
/// ```
/// # let fake = mlflow::testing::fake();
/// let run = mlflow::start_run().start();
/// let job = mlflow::thread::carry(|| mlflow::log_metric("loss", 0.5));
/// std::thread::spawn(job).join().unwrap();
/// drop(run);
/// # fake.assert_metric_logged("loss");
/// ```
pub fn carry<F, R>(f: F) -> impl FnOnce() -> R + use<F, R>
where
    F: FnOnce() -> R,
{
    let context = Context::current();
    move || {
        let _current = context.enter();
        f()
    }
}

/// Returns `future` as one that is polled, on whatever thread, with the run that is current now. If no run is
/// current now, it has none when it is polled either. In a test with the [`fake`](crate::testing::fake), the
/// future takes the fake along, too, even if no run is current.
///
/// Does the same as [`Run::instrument`], for a library that spawns on behalf of its caller.
///
/// ```
/// # let fake = mlflow::testing::fake();
/// # tokio::runtime::Builder::new_current_thread().build().unwrap().block_on(async {
/// let run = mlflow::start_run().start();
/// let task = mlflow::thread::carry_future(async { mlflow::log_metric("loss", 0.5) });
/// drop(run);
/// tokio::spawn(task).await.unwrap();
/// # });
/// # fake.assert_metric_logged("loss");
/// ```
pub fn carry_future<F: Future>(future: F) -> Instrumented<F> {
    Instrumented::new(future, Context::current())
}
