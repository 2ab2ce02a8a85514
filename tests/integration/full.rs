//! Journals that have reached `MLFLOW_JOURNAL_MAX_BYTES`.

use std::fs;
use std::path::Path;

use crate::support::mlflow::{Server, free_port};
use crate::support::program::{Folder, one};

const CHECKPOINT: &str = env!("CARGO_BIN_EXE_checkpoint");
const FULL: &str = env!("CARGO_BIN_EXE_full");
const NUMBERS: &str = env!("CARGO_BIN_EXE_numbers");
const PLAIN: &str = env!("CARGO_BIN_EXE_plain");

#[test]
fn the_newest_metrics_are_dropped_and_counted_and_nothing_else_is() {
    let folder = Folder::new();
    let port = free_port();
    let url = format!("http://127.0.0.1:{port}");
    let max_bytes = 500_000;
    let environment = [
        ("MLFLOW_TRACKING_URI", url.as_str()),
        ("MLFLOW_JOURNAL_MAX_BYTES", "500000"),
    ];
    let ended = folder.run(FULL, &[], &environment);
    let printed: Vec<u64> = ended
        .stdout
        .lines()
        .map(|line| line.parse().unwrap())
        .collect();
    let [dropped, total, journal_bytes] = printed[..] else {
        panic!("{}", ended.stdout)
    };
    assert!(dropped > 1, "metrics");
    assert_eq!(total, dropped);
    // Essential entries may exceed the limit, by one segment.
    assert!(journal_bytes < max_bytes + (2 << 20), "{journal_bytes}");
    let warnings = ended.warnings();
    let full = warnings
        .iter()
        .filter(|line| line.contains("MLFLOW_JOURNAL_MAX_BYTES"));
    assert_eq!(full.count(), 1, "{warnings:?}");

    let server = Server::start_on(port);
    let patient = [environment[0], ("MLFLOW_EXIT_TIMEOUT", "300")];
    folder.run(NUMBERS, &["next", "1", "1"], &patient);
    let api = server.api();
    let runs = ["1", "2"]
        .iter()
        .flat_map(|experiment| api.runs(experiment));
    let run = runs
        .map(|(id, _)| api.run(&id))
        .find(|run| run.name == "full")
        .unwrap();
    assert_eq!(run.status, "FINISHED");
    assert_eq!(run.params["kept"], "a param");
    assert_eq!(run.tags["kept"], "a tag");
    assert_eq!(run.artifacts.len(), 1, "it lies beside the journal");
    let steps: Vec<_> = run.points["loss"].iter().map(|point| point.step).collect();
    let kept = 20_000 - i64::try_from(dropped).unwrap();
    assert_eq!(steps, (0..kept).collect::<Vec<_>>(), "the oldest are kept");
}

/// A checkpoint of a few gigabytes is an ordinary artifact, so artifacts do not count against the limit.
#[test]
fn an_artifact_larger_than_the_journals_bound_is_taken_and_leaves_metrics_their_room() {
    const BYTES: usize = 4 << 20;
    let folder = Folder::new();
    fs::write(folder.path().join("weights.bin"), vec![7; BYTES]).unwrap();
    let lock = folder.database();
    lock.execute_batch("begin exclusive").unwrap();
    let environment = [
        ("MLFLOW_JOURNAL_MAX_BYTES", "500000"),
        ("MLFLOW_EXIT_TIMEOUT", "0.2"),
    ];
    let ended = folder.run(CHECKPOINT, &["weights.bin", "3000"], &environment);
    drop(lock);
    let expected = format!("dropped 0\nrejected 0\nartifacts {}\n", BYTES + 60_000);
    assert_eq!(ended.stdout, expected, "{}", ended.stderr);
    let next = folder.run(NUMBERS, &["next", "1", "1"], &[]);
    assert_eq!(next.warnings(), [""; 0], "{}", next.stderr);
    let database = folder.database();
    let points = "select count(*) from metrics where key = 'loss'";
    assert_eq!(one::<i64>(&database, points), 3000);
    let artifacts = "select artifact_uri from runs where name = 'checkpoint'";
    let artifacts: String = one(&database, artifacts);
    let weights = fs::read(Path::new(&artifacts).join("weights.bin")).unwrap();
    assert!(weights == vec![7; BYTES]);
    assert_eq!(folder.journals_left(), 0);
}

/// Regression: a program without a `tracing` subscriber lost metrics for days, and said so only at its end.
#[test]
fn the_loss_is_a_line_on_stderr_also_without_a_subscriber() {
    let folder = Folder::new();
    let url = format!("http://127.0.0.1:{}", free_port());
    let environment = [
        ("MLFLOW_TRACKING_URI", url.as_str()),
        ("MLFLOW_JOURNAL_MAX_BYTES", "300000"),
        ("MLFLOW_EXIT_TIMEOUT", "1"),
    ];
    let ended = folder.run(PLAIN, &["20000"], &environment);
    assert!(ended.success);
    let lines = |words: &str| {
        ended
            .stderr
            .lines()
            .filter(|line| line.contains(words))
            .count()
    };
    assert_eq!(lines("mlflow: the journal is full"), 1, "{}", ended.stderr);
    assert_eq!(
        lines("Raise MLFLOW_JOURNAL_MAX_BYTES (300000)"),
        1,
        "{}",
        ended.stderr
    );
    let quiet = [
        &environment[..],
        &[("MLFLOW_SUPPRESS_PRINTING_URL_TO_STDOUT", "true")],
    ]
    .concat();
    let ended = folder.run(PLAIN, &["20000"], &quiet);
    assert_eq!(ended.stderr, "", "quiet means quiet");
}
