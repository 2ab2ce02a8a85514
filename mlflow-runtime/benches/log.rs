//! Cost of a logging call to the calling code.
//!
//! ```sh
//! cargo bench
//! ```
//!
//! Values go to a journal on disk. The server does not answer, so nothing competes for the processor, and
//! every value stays in the journal. The `reference` rows put the figures in relation: run them together with
//! the others.

use std::hint::black_box;
use std::path::{Path, PathBuf};
use std::sync::LazyLock;
use std::time::{Duration, Instant};

use divan::Bencher;
use divan::counter::ItemsCount;
use mlflow::{ActiveRun, Config, tracked};

mod reference;

/// Number of calls in one measured batch: enough to make the cost of the clock negligible.
const CALLS: i64 = 1000;
/// Number of batches; bounds the size of the journal, at 40 bytes a call.
const BATCHES: u32 = 500;

fn main() {
    LazyLock::force(&FOLDER);
    divan::main();
    let _ = std::fs::remove_dir_all(&*FOLDER);
}

static FOLDER: LazyLock<PathBuf> = LazyLock::new(|| {
    let folder = std::env::temp_dir().join(format!("mlflow-runtime-bench-{}", std::process::id()));
    mlflow::configure(config(&folder));
    folder
});

fn config(folder: &Path) -> Config {
    Config::new()
        .tracking_uri("http://127.0.0.1:9")
        .journal_dir(folder)
        .exit_timeout(Duration::ZERO)
        .quiet(true)
}

/// Runs a benchmark with a changed configuration, and restores the configuration.
fn configured(change: impl FnOnce(Config) -> Config, bench: impl FnOnce()) {
    mlflow::configure(change(config(&FOLDER)));
    bench();
    mlflow::configure(config(&FOLDER));
}

/// Starts a run that is the current one of the calling thread, with its segment in place.
fn run() -> ActiveRun {
    let run = mlflow::start_run().name("bench").start();
    mlflow::metric!("warm", 0.0);
    mlflow::log_metric("dynamic", 0.0);
    run
}

fn calls(bencher: Bencher, call: impl Fn(i64) + Sync) {
    bencher.counter(ItemsCount::new(1000_usize)).bench(|| {
        for step in 0..CALLS {
            call(black_box(step));
        }
    });
}

/// Cost of 1000 calls on the active run of a thread.
#[divan::bench_group(sample_count = BATCHES, sample_size = 1)]
mod thousand_calls {
    use super::*;

    #[divan::bench]
    fn reference_instant_now(bencher: Bencher) {
        calls(bencher, |_| {
            black_box(Instant::now());
        });
    }

    #[divan::bench]
    fn reference_mapped_append(bencher: Bencher) {
        let mut mapped = reference::MappedAppend::below(&FOLDER);
        bencher
            .counter(ItemsCount::new(1000_usize))
            .bench_local(|| (0..CALLS).for_each(|step| mapped.append(black_box(step))));
    }

    #[divan::bench]
    fn metric_macro(bencher: Bencher) {
        let _run = run();
        calls(bencher, |step| mlflow::metric!("loss", 0.5, step = step));
    }

    /// Makes a hundred calls with ten metrics each.
    #[divan::bench]
    fn metrics_macro_of_ten(bencher: Bencher) {
        let _run = run();
        bencher
            .counter(ItemsCount::new(1000_usize))
            .bench_local(|| {
                for step in 0..CALLS / 10 {
                    mlflow::metrics!(
                        step = black_box(step),
                        "m0" => 0.0, "m1" => 0.1, "m2" => 0.2, "m3" => 0.3, "m4" => 0.4,
                        "m5" => 0.5, "m6" => 0.6, "m7" => 0.7, "m8" => 0.8, "m9" => 0.9,
                    );
                }
            });
    }

    #[divan::bench]
    fn log_metric_at(bencher: Bencher) {
        let _run = run();
        calls(bencher, |step| {
            mlflow::log_metric_at(black_box("dynamic"), 0.5, step);
        });
    }

    #[divan::bench]
    fn bound_handle(bencher: Bencher) {
        let run = run();
        let loss = run.metric("loss");
        calls(bencher, |step| loss.log(0.5, step));
    }

    #[divan::bench]
    fn metric_macro_without_a_run(bencher: Bencher) {
        calls(bencher, |step| mlflow::metric!("loss", 0.5, step = step));
    }
}

/// Runs on several threads at once, each with its own run. If there are more threads than cores, each waits
/// for its turn between two measurements.
#[divan::bench(sample_count = BATCHES, sample_size = 1, threads = [1, 2, 4, 16])]
fn thousand_metric_macros_on_each_thread(bencher: Bencher) {
    bencher
        .counter(ItemsCount::new(1000_usize))
        .with_inputs(run)
        .bench_values(|run| {
            for step in 0..CALLS {
                mlflow::metric!("loss", 0.5, step = black_box(step));
            }
            run
        });
}

#[tracked]
fn empty() {}

#[tracked]
fn two_arguments(alpha: f64, beta: f64) -> f64 {
    alpha + beta
}

#[tracked]
fn slice(data: &[f64]) {
    black_box(data);
}

#[tracked(skip_return)]
fn vector(data: Vec<f64>) -> Vec<f64> {
    data
}

/// Returns ten million entries.
fn data() -> Vec<f64> {
    vec![0.5; 10_000_000]
}

#[tracked]
fn shared(data: std::sync::Arc<Vec<f64>>) {
    black_box(data);
}

/// Type with only a `Debug`: the one kind of argument whose contents are visited in full.
#[derive(Debug)]
struct Opaque(#[expect(dead_code, reason = "shown")] Vec<f64>);

#[tracked]
fn opaque(data: &Opaque) {
    black_box(data);
}

#[tracked]
async fn asynchronous() {}

#[inline(never)]
fn plain() {
    black_box(());
}

/// Cost of one call of an annotated function: start, arguments, outcome, end.
#[divan::bench_group(sample_count = 2000, sample_size = 1)]
mod tracked_call {
    use super::*;

    #[divan::bench]
    fn empty() {
        super::empty();
    }

    #[divan::bench]
    fn two_arguments() -> f64 {
        super::two_arguments(black_box(0.5), black_box(0.1))
    }

    /// Measures a child run.
    #[divan::bench]
    fn nested(bencher: Bencher) {
        let _run = run();
        bencher.bench_local(super::empty);
    }

    #[divan::bench]
    fn asynchronous(bencher: Bencher) {
        let runtime = tokio::runtime::Builder::new_current_thread()
            .build()
            .expect("a runtime");
        bencher.bench_local(|| runtime.block_on(super::asynchronous()));
    }

    /// Measures the cost of the argument, in comparison with `empty`.
    #[divan::bench]
    fn slice_of_ten_million(bencher: Bencher) {
        let data = data();
        bencher.bench_local(|| super::slice(black_box(&data)));
    }

    #[divan::bench]
    fn vector_of_ten_million(bencher: Bencher) {
        let mut data = data();
        bencher.bench_local(|| data = super::vector(std::mem::take(&mut data)));
    }

    #[divan::bench]
    fn shared_vector_of_ten_million(bencher: Bencher) {
        let data = std::sync::Arc::new(data());
        bencher.bench_local(|| super::shared(std::sync::Arc::clone(&data)));
    }

    #[divan::bench(sample_count = 5)]
    fn opaque_debug_of_ten_million(bencher: Bencher) {
        let data = Opaque(data());
        bencher.bench_local(|| super::opaque(black_box(&data)));
    }

    #[divan::bench]
    fn log_param(bencher: Bencher) {
        let run = run();
        bencher.bench_local(|| run.log_param("alpha", black_box(0.5)));
    }

    /// Measures a text param, which is searched for credentials.
    #[divan::bench]
    fn log_param_text(bencher: Bencher) {
        let run = run();
        bencher.bench_local(|| run.log_param("optimizer", black_box("adam, weight decay 0.01")));
    }
}

/// Cost with tracking disabled. Runs last, because it changes the configuration of the process.
#[divan::bench_group(sample_count = 100, sample_size = 10_000)]
mod z_disabled {
    use super::*;

    #[divan::bench]
    fn reference_plain_call() {
        plain();
    }

    #[divan::bench]
    fn empty(bencher: Bencher) {
        configured(
            |config| config.enabled(false),
            || bencher.bench(super::empty),
        );
    }

    #[divan::bench]
    fn metric_macro(bencher: Bencher) {
        configured(
            |config| config.enabled(false),
            || bencher.bench(|| mlflow::metric!("loss", black_box(0.5))),
        );
    }
}

/// Measures calls with a full journal: the values are counted and dropped.
#[divan::bench(sample_count = BATCHES, sample_size = 1)]
fn z_full_thousand_metric_macros(bencher: Bencher) {
    configured(
        |config| config.journal_max_bytes(1 << 20),
        || {
            let _run = run();
            for step in 0..100 * CALLS {
                mlflow::metric!("loss", 0.5, step = step);
            }
            calls(bencher, |step| mlflow::metric!("loss", 0.5, step = step));
        },
    );
}
