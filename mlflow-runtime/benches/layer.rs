//! Cost that the layer adds to an event: one that carries a metric, one that becomes a line, and one that the
//! layer ignores.
//!
//! ```sh
//! cargo bench --features tracing --bench layer
//! ```
//!
//! For comparison, the same events go to a layer that does nothing: the difference is the cost of our layer.
//! Lines are also compared with the time that `tracing_subscriber::fmt` takes to write them to a file. Values
//! go to a journal on disk; the server does not answer.

use std::path::PathBuf;
use std::sync::LazyLock;
use std::time::Duration;

use divan::Bencher;
use divan::counter::ItemsCount;
use mlflow::Config;
use tracing_subscriber::prelude::*;
use tracing_subscriber::registry;

const CALLS: i64 = 1000;
const BATCHES: u32 = 500;

static FOLDER: LazyLock<PathBuf> = LazyLock::new(|| {
    let folder = std::env::temp_dir().join(format!("mlflow-runtime-bench-{}", std::process::id()));
    mlflow::configure(
        Config::new()
            .tracking_uri("http://127.0.0.1:9")
            .journal_dir(&folder)
            .exit_timeout(Duration::ZERO)
            .quiet(true),
    );
    folder
});

fn main() {
    LazyLock::force(&FOLDER);
    divan::main();
    let _ = std::fs::remove_dir_all(&*FOLDER);
}

/// Layer that does nothing.
struct Nothing;

impl<S: tracing::Subscriber> tracing_subscriber::Layer<S> for Nothing {}

fn thousand(bencher: Bencher, event: impl Fn(i64) + Sync) {
    let _run = mlflow::start_run().name("bench").start();
    bencher
        .counter(ItemsCount::new(1000_usize))
        .bench_local(|| {
            for step in 0..CALLS {
                event(step);
            }
        });
}

fn with_a_metric(step: i64) {
    tracing::info!(metric.loss = 0.5, step, "epoch done");
}

fn line(step: i64) {
    tracing::info!(loss = 0.5, epoch = step, "epoch done");
}

fn ignored_event(step: i64) {
    tracing::debug!(loss = 0.5, epoch = step, "epoch done");
}

/// Cost of 1000 events, with our layer and with one that does nothing.
#[divan::bench_group(sample_count = BATCHES, sample_size = 1)]
mod thousand_events {
    use super::*;

    #[divan::bench]
    fn metric(bencher: Bencher) {
        let _default = tracing::subscriber::set_default(registry().with(mlflow::layer()));
        thousand(bencher, with_a_metric);
    }

    #[divan::bench]
    fn metric_reference_nothing(bencher: Bencher) {
        let _default = tracing::subscriber::set_default(registry().with(Nothing));
        thousand(bencher, with_a_metric);
    }

    /// Logs to the run in which the span was made: no run is current.
    #[divan::bench]
    fn metric_of_a_spans_run(bencher: Bencher) {
        let _default = tracing::subscriber::set_default(registry().with(mlflow::layer()));
        let span = {
            let _run = mlflow::start_run().name("bench").start();
            tracing::info_span!("work")
        };
        let _entered = span.entered();
        bencher
            .counter(ItemsCount::new(1000_usize))
            .bench_local(|| (0..CALLS).for_each(with_a_metric));
    }

    #[divan::bench]
    fn line(bencher: Bencher) {
        let _default = tracing::subscriber::set_default(registry().with(mlflow::layer()));
        thousand(bencher, super::line);
    }

    #[divan::bench]
    fn line_reference_fmt_to_a_file(bencher: Bencher) {
        let file = std::fs::File::create(FOLDER.join("reference.log")).expect("a file");
        let fmt = tracing_subscriber::fmt::layer()
            .with_ansi(false)
            .with_writer(file);
        let _default = tracing::subscriber::set_default(registry().with(fmt));
        thousand(bencher, super::line);
    }

    #[divan::bench]
    fn ignored(bencher: Bencher) {
        let _default = tracing::subscriber::set_default(registry().with(mlflow::layer()));
        thousand(bencher, ignored_event);
    }

    #[divan::bench]
    fn ignored_reference_nothing(bencher: Bencher) {
        let _default = tracing::subscriber::set_default(registry().with(Nothing));
        thousand(bencher, ignored_event);
    }
}
