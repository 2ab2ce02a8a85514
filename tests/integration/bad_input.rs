//! Bad input costs one clear warning and nothing else.

use mlflow::testing::fake;

use crate::support::program::{Folder, one};
use crate::support::warnings;

const SWEEP: &str = env!("CARGO_BIN_EXE_sweep");

#[test]
fn a_param_keeps_its_first_value() {
    let fake = fake();
    let (runs, warnings) = warnings::capture(|| {
        let run = mlflow::start_run().param("alpha", 1).start();
        run.log_param("alpha", 1);
        run.log_param("beta", 2);
        run.log_param("alpha", 3);
        run.log_param("gamma", 4);
        drop(run);
        fake.runs()
    });
    let params: Vec<_> = runs[0]
        .params
        .iter()
        .map(|(key, value)| format!("{key}={value}"))
        .collect();
    assert_eq!(params, ["alpha=1", "beta=2", "gamma=4"]);
    assert_eq!(warnings.len(), 1, "{warnings:?}");
    assert!(
        warnings[0].contains("\"alpha\"") && warnings[0].contains('3'),
        "{warnings:?}"
    );
    assert_eq!(mlflow::health().rejected, 1);
}

#[test]
fn a_param_changed_later_costs_only_itself() {
    let fake = fake();
    let run = mlflow::start_run().param("alpha", 1).start();
    assert_eq!(fake.runs().len(), 1);
    let (runs, warnings) = warnings::capture(|| {
        run.log_param("alpha", 2);
        for step in 0..100 {
            run.log_metric_at("loss", 0.5, step);
        }
        run.set_tag("seen", "yes");
        run.log_param("beta", 2);
        fake.runs()
    });
    assert_eq!(runs[0].params["alpha"], "1");
    assert_eq!(runs[0].params["beta"], "2");
    assert_eq!(runs[0].metrics["loss"].len(), 100);
    assert_eq!(runs[0].tags["seen"], "yes");
    assert_eq!(warnings.len(), 1, "{warnings:?}");
    assert!(warnings[0].contains("alpha"), "{warnings:?}");
}

#[test]
fn keys_that_mlflow_refuses_are_set_aside_with_one_warning_each() {
    let fake = fake();
    let long = "k".repeat(251);
    let (runs, warnings) = warnings::capture(|| {
        let run = mlflow::start_run().start();
        for step in 0..10 {
            run.log_metric_at("a=b", 1.0, step);
            run.log_metric_at("good", 1.0, step);
        }
        run.log_param(&long, 1);
        run.set_tag("../x", 1);
        drop(run);
        fake.runs()
    });
    assert_eq!(runs[0].metrics.keys().collect::<Vec<_>>(), ["good"]);
    assert_eq!(runs[0].metrics["good"].len(), 10);
    assert_eq!(warnings.len(), 3, "{warnings:?}");
    for (part, reason) in [("a=b", "'='"), (&long, "251"), ("../x", "path")] {
        let about = warnings
            .iter()
            .find(|line| line.contains(part))
            .expect(part);
        assert!(about.contains(reason), "{about}");
    }
    assert_eq!(mlflow::health().rejected, 12);
}

#[test]
fn long_values_are_cut_with_one_warning() {
    let fake = fake();
    let (runs, warnings) = warnings::capture(|| {
        let run = mlflow::start_run().name("n".repeat(300)).start();
        for _ in 0..3 {
            run.log_param("text", "é".repeat(7000));
        }
        run.set_tag("text", "é".repeat(9000));
        drop(run);
        fake.runs()
    });
    assert_eq!(runs[0].params["text"].chars().count(), 6000);
    assert_eq!(runs[0].tags["text"].chars().count(), 8000);
    assert_eq!(runs[0].name.chars().count(), 250);
    assert_eq!(warnings.len(), 2, "{warnings:?}");
    assert!(
        warnings.iter().any(|line| line.contains("6000")),
        "{warnings:?}"
    );
}

#[test]
fn values_that_are_no_numbers_arrive() {
    let fake = fake();
    let run = mlflow::start_run().start();
    mlflow::metric!("nan", f64::NAN);
    mlflow::log_metric("inf", f64::INFINITY);
    mlflow::log_metric_at("inf", f64::NEG_INFINITY, i64::MIN);
    mlflow::metric!("huge step", 1, step = u64::MAX);
    drop(run);
    fake.assert_metric("nan", &[(0, f64::NAN)]);
    fake.assert_metric("inf", &[(0, f64::INFINITY), (i64::MIN, f64::NEG_INFINITY)]);
    fake.assert_metric("huge step", &[(i64::MAX, 1.0)]);
}

#[test]
fn an_artifact_that_is_not_there_or_leads_out_is_left_out() {
    let fake = fake();
    let (runs, warnings) = warnings::capture(|| {
        let run = mlflow::start_run().start();
        run.log_artifact("no/such/file");
        run.log_text("x", "../outside.txt");
        run.log_text("x", "inside.txt");
        drop(run);
        fake.runs()
    });
    assert_eq!(runs[0].artifacts.keys().collect::<Vec<_>>(), ["inside.txt"]);
    assert_eq!(warnings.len(), 2, "{warnings:?}");
    assert!(warnings[0].contains("no/such/file"), "{warnings:?}");
    assert!(warnings[1].contains("../outside.txt"), "{warnings:?}");
}

#[test]
fn an_unknown_scheme_is_one_warning_and_the_default_store() {
    let folder = Folder::new();
    let ended = folder.run(
        SWEEP,
        &[],
        &[("MLFLOW_TRACKING_URI", "redis://user:hunter2@host")],
    );
    assert!(ended.success);
    assert_eq!(ended.stdout, "1\n", "the function's result");
    assert_eq!(ended.warnings().len(), 1, "{}", ended.stderr);
    assert!(
        ended.stderr.contains("MLFLOW_TRACKING_URI") && ended.stderr.contains("redis"),
        "{}",
        ended.stderr
    );
    assert!(!ended.stderr.contains("hunter2"), "{}", ended.stderr);
    assert_eq!(
        one::<i64>(&folder.database(), "select count(*) from runs"),
        3
    );
}

#[test]
fn a_journal_directory_that_cannot_be_written_falls_back() {
    let folder = Folder::new();
    let file = folder.path().join("file");
    std::fs::write(&file, "").unwrap();
    let inside = file.join("journal");
    let ended = folder.run(
        SWEEP,
        &[],
        &[("MLFLOW_JOURNAL_DIR", inside.to_str().unwrap())],
    );
    assert_eq!(ended.stdout, "1\n");
    assert_eq!(ended.warnings().len(), 1, "{}", ended.stderr);
    assert!(
        ended.stderr.contains("MLFLOW_JOURNAL_DIR"),
        "{}",
        ended.stderr
    );
    assert_eq!(
        one::<i64>(&folder.database(), "select count(*) from runs"),
        3
    );
}

#[test]
fn a_database_that_cannot_be_written_costs_nothing_and_is_caught_up_on() {
    let folder = Folder::new();
    std::fs::write(folder.path().join("blocked"), "").unwrap();
    let uri = [("MLFLOW_TRACKING_URI", "sqlite:///blocked/mlflow.db")];
    let ended = folder.run(SWEEP, &[], &uri);
    assert!(ended.success);
    assert_eq!(ended.stdout, "1\n");
    assert_eq!(ended.warnings().len(), 1, "{}", ended.stderr);
    assert!(ended.stderr.contains("values wait in"), "{}", ended.stderr);

    std::fs::remove_file(folder.path().join("blocked")).unwrap();
    assert_eq!(folder.run(SWEEP, &[], &uri).warnings().len(), 0);
    let database = rusqlite::Connection::open(folder.path().join("blocked/mlflow.db")).unwrap();
    assert_eq!(
        one::<i64>(
            &database,
            "select count(*) from runs where status != 'RUNNING'"
        ),
        6
    );
    assert_eq!(folder.journals_left(), 0);
}

#[test]
fn tracking_that_is_disabled_leaves_nothing() {
    let folder = Folder::new();
    let ended = folder.run(SWEEP, &[], &[("MLFLOW_TRACKING_ENABLED", "false")]);
    assert_eq!(ended.stdout, "1\n");
    assert_eq!(ended.stderr, "");
    assert_eq!(std::fs::read_dir(folder.path()).unwrap().count(), 0);
}
