//! Cost of the single parts of a value's path: appending to the journal, reading the journal again, encoding
//! a request, and searching for credentials.
//!
//! ```sh
//! cargo bench --features __bench --bench parts
//! ```

use std::hint::black_box;
use std::path::PathBuf;
use std::sync::LazyLock;

use divan::Bencher;
use mlflow::bench_support::{Appending, encode};
use mlflow::journals::StoredJournal;
use mlflow::store::Metric;
use mlflow_rules::Edge;
use serde::Serialize;

mod reference;

const CALLS: i64 = 1000;

static FOLDER: LazyLock<PathBuf> = LazyLock::new(|| {
    let folder = std::env::temp_dir().join(format!("mlflow-runtime-bench-{}", std::process::id()));
    std::fs::create_dir_all(&folder).expect("the temporary folder can be written");
    folder
});

fn main() {
    LazyLock::force(&FOLDER);
    divan::main();
    let _ = std::fs::remove_dir_all(&*FOLDER);
}

/// Appending of a thousand points.
#[divan::bench_group(sample_count = 500, sample_size = 1)]
mod append {
    use super::*;

    #[divan::bench]
    fn reference_mapped_append(bencher: Bencher) {
        let mut mapped = reference::MappedAppend::below(&FOLDER);
        bencher.bench_local(|| (0..CALLS).for_each(|step| mapped.append(black_box(step))));
    }

    /// Appends with a time that is known already.
    #[divan::bench]
    fn journal_append(bencher: Bencher) {
        let journal = Appending::below(&FOLDER);
        bencher.bench_local(|| (0..CALLS).for_each(|step| journal.append(7, black_box(step))));
    }
}

/// Reads a journal of a hundred thousand points from the page cache.
#[divan::bench(sample_count = 20, sample_size = 1)]
fn recovery_scan(bencher: Bencher) {
    let journal = Appending::below(&FOLDER);
    for step in 0..100_000 {
        journal.append(7, step);
    }
    bencher.bench_local(|| assert_eq!(journal.scan(), 100_000));
}

/// Reads the typed entries of a journal of a million points from the page cache.
#[divan::bench(sample_count = 20, sample_size = 1)]
fn journal_entries(bencher: Bencher) {
    let journal = Appending::below(&FOLDER);
    for step in 0..1_000_000 {
        journal.append(7, step);
    }
    let stored = StoredJournal::open(journal.path()).expect("a journal");
    bencher.bench_local(|| assert_eq!(stored.entries().expect("readable").count(), 1_000_000));
}

/// Encoding of a thousand points as the body of a request.
#[divan::bench_group(sample_count = 200, sample_size = 1)]
mod body {
    use super::*;

    fn metrics() -> Vec<Metric> {
        let metric = |step: i64| Metric {
            key: format!("metric_{}", step % 10).into(),
            value: 0.1 + step as f64,
            timestamp_ms: 1_700_000_000_000 + step,
            step,
        };
        (0..1000).map(metric).collect()
    }

    #[derive(Serialize)]
    struct Point<'a> {
        key: &'a str,
        value: f64,
        timestamp: i64,
        step: i64,
    }

    #[divan::bench]
    fn reference_serde_json(bencher: Bencher) {
        let metrics = metrics();
        let points: Vec<_> = metrics
            .iter()
            .map(|metric| Point {
                key: &metric.key,
                value: metric.value,
                timestamp: metric.timestamp_ms,
                step: metric.step,
            })
            .collect();
        bencher.bench_local(|| serde_json::to_vec(black_box(&points)).map(|body| body.len()));
    }

    #[divan::bench]
    fn batch_encoding(bencher: Bencher) {
        let metrics = metrics();
        bencher.bench_local(|| encode(black_box(&metrics)));
    }
}

/// Search for credentials in a text without any, as almost every text is.
#[divan::bench_group(sample_count = 200, sample_size = 1000)]
mod redaction {
    use super::*;

    fn long() -> String {
        "the learning rate falls by half where the loss did not for ten epochs; ".repeat(14)
    }

    #[divan::bench]
    fn of_a_name() -> bool {
        mlflow_rules::is_secret_name(black_box("learning_rate"))
    }

    #[divan::bench]
    fn of_a_short_text() -> bool {
        mlflow_rules::mask(black_box("adam, weight decay 0.01"), Edge::End).is_some()
    }

    #[divan::bench]
    fn of_a_thousand_characters(bencher: Bencher) {
        let text = long();
        bencher.bench_local(|| mlflow_rules::mask(black_box(&text), Edge::End).is_some());
    }

    #[divan::bench]
    fn reference_lower_case_of_a_thousand_characters(bencher: Bencher) {
        let text = long();
        bencher.bench_local(|| black_box(&text).to_ascii_lowercase());
    }
}
