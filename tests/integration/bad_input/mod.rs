//! Bad input from the user's program or environment: it costs one clear warning and nothing else.

mod any_text;

use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::fmt::{self, Display};
use std::fs;
use std::panic::catch_unwind;
use std::path::{Path, PathBuf};

use mlflow::testing::fake;
use mlflow::tracked;
use serde::Serialize;

use crate::support::fake_server::{FakeServer, Reply};
use crate::support::mlflow::Server;
use crate::support::program::{Folder, one};
use crate::support::warnings;

const SCRIPTED: &str = env!("CARGO_BIN_EXE_scripted");
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

/// Regression: such keys were thrown away, with their values.
#[test]
fn keys_that_mlflow_refuses_are_mended_with_one_warning_each() {
    let fake = fake();
    let long = "k".repeat(251);
    let (runs, warnings) = warnings::capture(|| {
        let run = mlflow::start_run().start();
        let handle = run.metric("ndcg@10");
        for step in 0..10 {
            run.log_metric_at("val/AR@100", 1.0, step);
            run.log_metric_at("val/AR#100", 2.0, step);
            run.log_metric_at("good", 1.0, step);
            handle.log(3.0, step);
            run.scope(|| mlflow::log_metrics([("ndcg@10", 4.0)], step));
        }
        run.log_param(&long, 1);
        run.log_params(&BTreeMap::from([
            ("cat (tabby)", 0.5),
            ("cat _tabby_", 0.25),
        ]));
        run.set_tag("../x", 1);
        run.set_tag("../x", 2);
        drop(run);
        fake.runs()
    });
    let run = &runs[0];
    let points = |key: &str| -> Vec<f64> {
        let points = run.metrics.get(key).into_iter().flatten();
        points.map(|point| point.value).collect()
    };
    let keys: Vec<_> = run.metrics.keys().collect();
    assert_eq!(keys[..3], ["good", "ndcg_10", "val/AR_100"]);
    let second = keys[3];
    assert_eq!(second.len(), "val/AR_100_0123abcd".len(), "{keys:?}");
    assert_eq!(points("val/AR_100"), [1.0; 10]);
    assert_eq!(points(second), [2.0; 10]);
    assert_eq!(points("ndcg_10").len(), 20);
    let cut = format!("{}_", "k".repeat(249));
    assert_eq!(run.params[&cut], "1");
    assert_eq!(run.params["cat _tabby_"], "0.25");
    let tabby = run.params.iter().find(|(_, value)| *value == "0.5");
    let (tabby, _) = tabby.expect("the other one");
    assert!(tabby.starts_with("cat _tabby__"), "{tabby}");
    assert_eq!(run.params.len(), 3, "{:?}", run.params);
    assert_eq!(run.tags["__/x"], "2");
    assert_eq!(warnings.len(), 6, "{warnings:#?}");
    for (key, name, reason) in [
        ("val/AR@100", "val/AR_100", "'@'"),
        ("val/AR#100", second, "'#'"),
        ("ndcg@10", "ndcg_10", "'@'"),
        (&long, &cut, "251"),
        ("cat (tabby)", tabby, "'('"),
        ("../x", "__/x", "path"),
    ] {
        let about = format!("{key:?} is stored as {name:?}, because MLflow refuses the key");
        let about = warnings.iter().find(|line| line.contains(&about));
        let about = about.unwrap_or_else(|| panic!("{key:?}: {warnings:#?}"));
        assert!(about.contains(reason), "{about}");
    }
    assert_eq!(mlflow::health().rejected, 0);
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
    assert_eq!(warnings.len(), 3, "{warnings:?}");
    for (what, limit) in [
        ("param \"text\"", "6000"),
        ("tag \"text\"", "8000"),
        ("run \"name\"", "250"),
    ] {
        assert_eq!(about(&warnings, what, limit), 1, "{what}: {warnings:?}");
    }
}

/// A server on PostgreSQL answers every request that contains a NUL with status 500.
#[test]
fn nul_is_replaced_with_one_warning_for_each_key() {
    let fake = fake();
    let (runs, warnings) = warnings::capture(|| {
        let run = mlflow::start_run().name("n\0").tag("t", "\0").start();
        for _ in 0..3 {
            run.log_param("text", "a\0b\0");
        }
        run.log_param("long", "\0".repeat(6001));
        drop(run);
        fake.runs()
    });
    assert_eq!(runs[0].name, "n\u{fffd}");
    assert_eq!(runs[0].tags["t"], "\u{fffd}");
    assert_eq!(runs[0].params["text"], "a\u{fffd}b\u{fffd}");
    assert!(runs[0].params["long"].starts_with(&"\u{fffd}".repeat(5999)));
    for what in ["run \"name\"", "tag \"t\"", "param \"text\""] {
        assert_eq!(about(&warnings, what, "NUL"), 1, "{what}: {warnings:?}");
    }
}

#[test]
fn what_the_attribute_cuts_is_warned_of_once_for_each_key() {
    #[derive(Serialize)]
    struct Config {
        text: String,
        list: Vec<String>,
        short: u8,
    }
    #[tracked(run_name = "n-{argument}", description = argument, tags(long = argument))]
    fn train(argument: &str, config: &Config) -> Result<(), Chain> {
        let _ = config;
        Err(Chain(argument.to_owned()))
    }
    #[tracked(skip_all)]
    fn panics(argument: &str) {
        panic!("{argument}")
    }
    let fake = fake();
    let long = "é".repeat(9000);
    let config = Config {
        text: long.clone(),
        list: vec![long.clone(), "b".to_owned()],
        short: 1,
    };
    let (runs, warnings) = warnings::capture(|| {
        for _ in 0..2 {
            assert!(train(&long, &config).is_err());
        }
        let panicked = catch_unwind(|| panics(&long));
        assert!(panicked.is_err());
        fake.runs()
    });
    let cut = [
        ("run \"name\"", "250"),
        ("param \"argument\"", "6000"),
        ("param \"config.text\"", "6000"),
        ("param \"config.list\"", "6000"),
        ("tag \"mlflow.note.content\"", "8000"),
        ("tag \"long\"", "8000"),
        ("tag \"error.message\"", "8000"),
        ("tag \"error.chain\"", "8000"),
    ];
    for (what, limit) in cut {
        assert_eq!(about(&warnings, what, limit), 1, "{what}: {warnings:?}");
    }
    assert_eq!(warnings.len(), cut.len(), "{warnings:?}");
    for run in &runs[..2] {
        assert_eq!(run.params["argument"].chars().count(), 6000);
        assert!(run.params["config.list"].ends_with('…'));
        assert_eq!(run.tags["error.chain"].chars().count(), 8000);
    }
    assert_eq!(runs[2].tags["error.message"].chars().count(), 8000);
}

#[test]
fn a_value_that_cannot_be_shown_is_warned_of_and_harms_nobody() {
    #[tracked(run_name = "n-{failing}", tags(tag = panicking))]
    fn train(failing: Unshowable, panicking: Unshowable) -> Result<(), Unshowable> {
        let _ = (failing, panicking);
        mlflow::log_param("logged", Unshowable::Fails);
        mlflow::set_tag("set", Unshowable::Panics);
        mlflow::log_param("good", 1);
        Err(Unshowable::Fails)
    }
    let fake = fake();
    let (runs, warnings) = warnings::capture(|| {
        assert!(train(Unshowable::Fails, Unshowable::Panics).is_err());
        drop(
            mlflow::start_run()
                .param("given", Unshowable::Panics)
                .start(),
        );
        fake.runs()
    });
    let shown = [
        ("run \"name\"", "returned an error"),
        ("param \"failing\"", "returned an error"),
        ("param \"panicking\"", "panicked"),
        ("tag \"tag\"", "panicked"),
        ("param \"logged\"", "returned an error"),
        ("tag \"set\"", "panicked"),
        ("tag \"error.message\"", "returned an error"),
        ("param \"given\"", "panicked"),
    ];
    for (what, why) in shown {
        assert_eq!(about(&warnings, what, why), 1, "{what}: {warnings:?}");
    }
    assert_eq!(warnings.len(), shown.len(), "{warnings:?}");
    assert_eq!(runs[0].params["failing"], "so far…");
    assert_eq!(runs[0].params["logged"], "so far…");
    assert_eq!(runs[0].params["good"], "1");
    assert_eq!(runs[0].tags["error.message"], "so far…");
    assert_eq!(runs[1].params["given"], "so far…");
}

#[test]
fn what_is_left_out_of_a_returned_value_is_warned_of_once() {
    #[tracked]
    fn predict() -> (f64, Vec<f64>) {
        (0.5, vec![0.5; 1001])
    }
    let fake = fake();
    let (runs, warnings) = warnings::capture(|| {
        let _ = (predict(), predict());
        fake.runs()
    });
    assert_eq!(runs[0].metrics.len(), 1);
    let said = about(&warnings, "metric \"predict.1\"", "left out");
    assert_eq!((said, warnings.len()), (1, 1), "{warnings:?}");
}

/// Returns the number of warnings that name this key and contain `what`.
fn about(warnings: &[String], key: &str, what: &str) -> usize {
    warnings
        .iter()
        .filter(|line| line.contains(key) && line.contains(what))
        .count()
}

#[derive(Debug)]
struct Chain(String);

impl Display for Chain {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

impl std::error::Error for Chain {
    fn source(&self) -> Option<&(dyn std::error::Error + 'static)> {
        // The error is its own cause, so that the chain of causes has no end.
        Some(self)
    }
}

enum Unshowable {
    Fails,
    Panics,
}

impl Display for Unshowable {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("so far")?;
        match self {
            Self::Fails => Err(fmt::Error),
            Self::Panics => panic!("in Display"),
        }
    }
}

/// Regression: the placeholder for the masked credential in a key looked like a credential, and was masked
/// again without end.
#[test]
fn a_tag_named_by_a_request_header_overflowed_the_stack() {
    let token = "abcdefghijklmnopqrstuvwxyz0123456789";
    let fake = fake();
    let run = mlflow::start_run().tag(format!("Authorization: Bearer {token}"), 0);
    let run = run.param("https://me:hunter2@host/started", 0).start();
    mlflow::set_tag(&format!("Authorization: Basic {token}"), 1);
    mlflow::set_tags([("https://me:hunter2@host/x", 2)]);
    mlflow::log_param(&format!("authorization=token {token}"), 3);
    mlflow::log_params(&HashMap::from([(
        format!("Authorization: Bearer {token}"),
        4,
    )]));
    mlflow::set_tag("after", 5);
    drop(run);
    let run = &fake.runs()[0];
    assert_eq!(run.tags["after"], "5");
    let recorded = format!("{run:?}");
    assert!(!recorded.contains("hunter2"), "{recorded}");
    assert!(!recorded.contains(token), "{recorded}");
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

/// Regression: a server refused such a name, and the SQLite store kept the artifact under a name that the
/// MLflow UI did not find.
#[test]
fn an_artifact_whose_name_servers_do_not_keep_has_another_everywhere() {
    let fake = fake();
    let (runs, warnings) = warnings::capture(|| {
        let run = mlflow::start_run().start();
        run.log_text("1", "lit%41.txt");
        run.log_text("2", "lit#41.txt");
        run.log_text("3", "lit_41.txt");
        run.log_text("4", "lit%41.txt");
        drop(run);
        fake.runs()
    });
    let artifacts: Vec<_> = runs[0].artifacts.iter().collect();
    let [(plain, third), (first, _), (second, _)] = &artifacts[..] else {
        panic!("three names: {artifacts:?}");
    };
    assert_eq!(
        (plain.as_str(), third.as_slice()),
        ("lit_41.txt", &b"3"[..])
    );
    for mended in [first, second] {
        assert!(
            mended.starts_with("lit_41_") && mended.ends_with(".txt"),
            "{mended}"
        );
    }
    let contents: BTreeSet<_> = artifacts
        .iter()
        .map(|(_, bytes)| bytes.as_slice())
        .collect();
    assert_eq!(
        contents,
        BTreeSet::from([&b"2"[..], b"3", b"4"]),
        "the last of each name"
    );
    assert_eq!(warnings.len(), 2, "{warnings:?}");
    assert!(
        warnings[0].contains("lit%41.txt") && warnings[0].contains("is stored as"),
        "{warnings:?}"
    );
}

/// Regression: each of these URIs sent the run to a new `./mlflow.db`, and a program without a `tracing`
/// subscriber printed nothing about it.
#[test]
fn a_tracking_uri_that_cannot_be_used_is_one_line_and_no_other_store() {
    for (uri, expected) in [
        (
            "mlflow.example.com:5000",
            "expected http://mlflow.example.com:5000",
        ),
        ("127.0.0.1:5000", "expected http://127.0.0.1:5000"),
        ("databricks", "expected `databricks` with DATABRICKS_HOST"),
        ("./mlruns", "expected sqlite:///mlflow.db"),
        ("file:./mlruns", "expected sqlite:///mlflow.db"),
        (
            "mysql+pymysql://user:hunter2@host/mlflow",
            "mlflow server --backend-store-uri",
        ),
        (
            "redis://user:hunter2@host",
            "the scheme `redis` is not known",
        ),
        ("sqlite://x.db", "expected sqlite:///x.db"),
        ("sqlite:///:memory:", "mlflow::testing::fake()"),
        ("/tmp/runs.db", "expected sqlite:////tmp/runs.db"),
        ("sqlite:///runs/", "expected sqlite:///runs/mlflow.db"),
    ] {
        let folder = Folder::new();
        let ended = folder.run(SWEEP, &[], &[("MLFLOW_TRACKING_URI", uri)]);
        assert!(ended.success);
        assert_eq!(ended.stdout, "1\n", "the function's result");
        assert_eq!(ended.warnings().len(), 1, "{}", ended.stderr);
        let lines = ended.stderr.lines();
        let lines: Vec<_> = lines.filter(|line| line.starts_with("mlflow: ")).collect();
        let [setting, end] = lines[..] else {
            panic!("{uri}: {}", ended.stderr);
        };
        assert!(
            setting.starts_with("mlflow: MLFLOW_TRACKING_URI="),
            "{setting}"
        );
        assert!(setting.contains(expected), "{setting}");
        assert!(
            end.contains("values wait in") && end.contains(expected),
            "{end}"
        );
        assert!(
            end.contains("with the corrected URI")
                && end.contains("`cargo mlflow sync --from \"")
                && end.contains("mlflow::recover_from"),
            "{end}"
        );
        assert!(!ended.stderr.contains("hunter2"), "{}", ended.stderr);
        let files = std::fs::read_dir(folder.path()).unwrap();
        let files: Vec<_> = files.map(|file| file.unwrap().file_name()).collect();
        assert_eq!(files, ["journal"], "{uri}");
        assert_eq!(folder.journals_left(), 1);
    }
}

#[test]
fn a_file_that_is_not_there_is_one_line_at_the_end_that_names_it() {
    const CHECKPOINT: &str = env!("CARGO_BIN_EXE_checkpoint");
    let folder = Folder::new();
    let ended = folder.run(CHECKPOINT, &["missing.bin", "1"], &[]);
    let line = "mlflow: 1 value could not be logged (first: artifact \"missing.bin\" is not logged: there is no such file";
    assert!(ended.stderr.contains(line), "{}", ended.stderr);
    assert!(!ended.stderr.contains("has refused"), "{}", ended.stderr);
}

/// Regression: a file in `/proc` has the length 0, and was logged as an empty file.
#[test]
fn a_file_of_the_system_is_logged_with_its_bytes() {
    let fake = fake();
    let run = mlflow::start_run().start();
    run.log_artifact("/proc/self/status");
    drop(run);
    let artifacts = &fake.runs()[0].artifacts;
    let status = String::from_utf8_lossy(&artifacts["status"]);
    assert!(status.contains("Pid:"), "{status}");
}

/// Regression: nothing reported the loss of these values. MLflow's Python client starts a run for such
/// values.
#[test]
fn what_is_logged_without_a_run_and_a_run_that_is_not_started_are_one_line_each() {
    let script = [
        "outside loss",
        "outside other",
        "unstarted",
        "unstarted",
        "start own",
        "end own",
    ];
    for (enabled, count) in [("true", 4), ("false", 0)] {
        let folder = Folder::new();
        let ended = folder.run(SCRIPTED, &script, &[("MLFLOW_TRACKING_ENABLED", enabled)]);
        assert!(ended.success, "{}", ended.stderr);
        let lines = ended.stderr.lines();
        let lines: Vec<_> = lines.filter(|line| line.starts_with("mlflow: ")).collect();
        assert_eq!(lines.len(), count, "{lines:?}");
        if let [outside, other, unstarted, file] = lines[..] {
            let source = include_str!("../../programs/scripted.rs");
            let call = source
                .lines()
                .position(|line| line.contains("log_metric(key, 1.0)"));
            let expected = format!(
                "mlflow: metric \"loss\" at tests/programs/scripted.rs:{} was logged outside of any run and is not \
                 recorded, nor are later values of this key",
                call.unwrap() + 1
            );
            assert!(
                outside.starts_with(&format!(
                    "{expected}. Call it inside a #[mlflow::tracked] function"
                )),
                "{outside}"
            );
            assert_eq!(other, expected.replace("loss", "other"));
            let expected = "mlflow: a run was built and not started";
            assert!(unstarted.starts_with(expected), "{unstarted}");
            assert!(
                file.starts_with("mlflow: created the MLflow database"),
                "{file}"
            );
        }
    }
}

/// Regression: stderr showed nothing of these values, and a flush counted as complete although values were
/// blocked.
#[test]
fn what_a_store_holds_or_refuses_is_one_line_at_the_end_with_its_reason() {
    let points = ["start a", "points loss 0 3", "flush 60", "health", "end a"];
    let param = [
        "start a",
        "param x 1",
        "param x 2",
        "flush 60",
        "health",
        "end a",
    ];
    let unknown = "0123456789abcdef0123456789abcdef";
    let deleted = "update experiments set lifecycle_stage = 'deleted'";
    let blocked = "health queued 0 blocked 4 rejected 0 dropped 0\n";
    let rejected = "health queued 0 blocked 0 rejected 1 dropped 0\n";
    for (script, (variable, value), statement, counted, said) in [
        (
            &points[..],
            ("MLFLOW_EXPERIMENT_ID", "4242"),
            "",
            blocked,
            "no experiment with the id `4242`",
        ),
        (
            &points,
            ("MLFLOW_RUN_ID", unknown),
            "",
            blocked,
            "there is no run 0123456789abcdef",
        ),
        (
            &points,
            ("MLFLOW_EXPERIMENT_ID", "0"),
            deleted,
            blocked,
            "the experiment `Default` is deleted: restore it",
        ),
        (
            &param,
            ("MLFLOW_EXPERIMENT_ID", "0"),
            "",
            rejected,
            "its value is \"1\" already, and a param cannot be changed to \"2\"",
        ),
    ] {
        let folder = Folder::new();
        // The first program creates the file.
        assert!(
            folder
                .run(SCRIPTED, &["start first", "end first"], &[])
                .success
        );
        folder.database().execute_batch(statement).unwrap();
        let ended = folder.run(SCRIPTED, script, &[(variable, value)]);
        assert!(ended.success, "{}", ended.stderr);
        assert!(ended.stdout.ends_with(counted), "{}", ended.stdout);
        let lines = ended.stderr.lines();
        let lines: Vec<_> = lines.filter(|line| line.starts_with("mlflow: ")).collect();
        let [end] = lines[..] else {
            panic!("one line: {}", ended.stderr);
        };
        assert!(end.contains(said), "{end}");
    }
}

#[test]
fn an_experiment_whose_name_mlflow_refuses_keeps_nothing_back() {
    let folder = Folder::new();
    let long = "e".repeat(600);
    for name in [long.as_str(), "\t"] {
        let ended = folder.run(SWEEP, &[], &[("MLFLOW_EXPERIMENT_NAME", name)]);
        assert!(
            ended.success && !ended.stderr.contains("values wait"),
            "{}",
            ended.stderr
        );
    }
    let script = ["start long", "end long", "flush 60"];
    let ended = folder.run(SCRIPTED, &script, &[("MLFLOW_EXPERIMENT_NAME", &long)]);
    let line = "it is cut: at most 500 are allowed";
    let said = ended
        .stderr
        .lines()
        .filter(|said| said.starts_with("mlflow: ") && said.contains(line));
    assert_eq!(said.count(), 1, "{}", ended.stderr);
    let experiment =
        "select e.name from experiments e join runs r using (experiment_id) where r.name = 'long'";
    assert_eq!(
        one::<String>(&folder.database(), experiment),
        "e".repeat(500)
    );
    assert_eq!(folder.journals_left(), 0);
}

#[test]
fn a_setting_that_cannot_be_used_is_one_line_on_stderr_which_can_be_switched_off() {
    let folder = Folder::new();
    let unusable = ("MLFLOW_HTTP_REQUEST_TIMEOUT", "soon");
    let line = "mlflow: MLFLOW_HTTP_REQUEST_TIMEOUT=\"soon\" cannot be used and is ignored; expected a number of seconds";
    for (quiet, lines) in [("false", 1), ("true", 0), ("TRUE", 0)] {
        let environment = [unusable, ("MLFLOW_SUPPRESS_PRINTING_URL_TO_STDOUT", quiet)];
        let ended = folder.run(SWEEP, &[], &environment);
        let said = ended.stderr.lines().filter(|said| said.starts_with(line));
        assert_eq!(said.count(), lines, "{}", ended.stderr);
        assert_eq!(ended.warnings().len(), 1, "{}", ended.stderr);
    }
}

#[test]
fn what_was_logged_to_a_tracking_uri_without_a_scheme_arrives_when_it_has_one() {
    let server = Server::start_with(&[]);
    let folder = Folder::new();
    let address = server.url().trim_start_matches("http://");
    folder.run(SWEEP, &[], &[("MLFLOW_TRACKING_URI", address)]);
    assert_eq!(folder.journals_left(), 1);
    folder.run(SWEEP, &[], &[("MLFLOW_TRACKING_URI", server.url())]);
    assert_eq!(folder.journals_left(), 0);
    let runs = "select count(*) from runs where status != 'RUNNING'";
    assert_eq!(one::<i64>(&server.database(), runs), 6);
}

/// Regression: the journal named the file by a relative path, but a URI that is spelt correctly has an
/// absolute path. The journal belonged to another destination then, and stayed.
#[test]
fn what_was_logged_to_a_file_with_two_slashes_arrives_when_it_has_three() {
    let folder = Folder::new();
    folder.run(SWEEP, &[], &[("MLFLOW_TRACKING_URI", "sqlite://x.db")]);
    assert_eq!(folder.journals_left(), 1);
    folder.run(SWEEP, &[], &[("MLFLOW_TRACKING_URI", "sqlite:///x.db")]);
    assert_eq!(folder.journals_left(), 0);
}

#[test]
fn a_run_context_that_is_no_object_is_one_warning() {
    let folder = Folder::new();
    let text = "team=vision, https://me:hunter2@host";
    let ended = folder.run(SWEEP, &[], &[("MLFLOW_RUN_CONTEXT", text)]);
    assert_eq!(ended.stdout, "1\n", "the function's result");
    assert_eq!(ended.warnings().len(), 1, "{}", ended.stderr);
    let said = "MLFLOW_RUN_CONTEXT cannot be used and is ignored; expected a JSON object";
    assert!(ended.stderr.contains(said), "{}", ended.stderr);
    assert!(!ended.stderr.contains("hunter2"), "{}", ended.stderr);
}

#[test]
fn a_tag_of_the_run_context_whose_key_mlflow_refuses_was_left_out() {
    let folder = Folder::new();
    let text = r#"{"owner@team": "x", "team": "vision"}"#;
    let ended = folder.run(SWEEP, &[], &[("MLFLOW_RUN_CONTEXT", text)]);
    assert_eq!(ended.stdout, "1\n");
    assert_eq!(ended.warnings().len(), 1, "{}", ended.stderr);
    let said = "mlflow: tag \"owner@team\" is stored as \"owner_team\"";
    assert!(ended.stderr.contains(said), "{}", ended.stderr);
    let tags = "select count(*) from tags where key in ('team', 'owner_team')";
    assert_eq!(one::<i64>(&folder.database(), tags), 2 * 3);
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

#[test]
fn a_token_that_no_header_can_hold_is_named_and_one_with_a_line_break_at_its_end_is_sent() {
    let server = FakeServer::start(|_, _| Reply::status(503, ""));
    let folder = Folder::new();
    let url = server.url();
    let run = |token: &str| {
        let environment = [
            ("MLFLOW_TRACKING_URI", &*url),
            ("MLFLOW_TRACKING_TOKEN", token),
            ("MLFLOW_EXIT_TIMEOUT", "1"),
        ];
        folder.run(SWEEP, &[], &environment).stderr
    };
    let stderr = run("s3c\nret");
    let said = "mlflow: values stay in the journal until the next tracked program: the token \
                (MLFLOW_TRACKING_TOKEN, or Config::token) cannot be sent: it contains the character '\\n', which no HTTP header can hold; remove it";
    assert!(stderr.contains(said), "{stderr}");
    assert!(!stderr.contains("s3c"), "{stderr}");
    assert_eq!(server.requests().len(), 0);
    run("s3cret\r\n");
    let requests = server.requests();
    assert!(!requests.is_empty());
    for request in requests {
        assert_eq!(request.headers["authorization"], "Bearer s3cret");
    }
}

/// Regression: three runs that began within the same second had the same name.
#[test]
fn runs_that_start_in_the_same_second_have_names_that_differ() {
    #[tracked]
    fn train() {}
    let fake = fake();
    for _ in 0..50 {
        train();
        drop(mlflow::start_run().start());
    }
    let names: BTreeSet<String> = fake.runs().into_iter().map(|run| run.name).collect();
    assert_eq!(names.len(), 100, "{names:?}");
    let (functions, others): (Vec<_>, Vec<_>) =
        names.iter().partition(|name| name.starts_with("train-"));
    assert!(others.iter().all(|name| name.starts_with("run-")));
    assert_eq!(functions[0].len(), "train-20261128-065209-1f0c3b".len());
}

/// Regression: the clock of metrics was up to 5 ms behind the clock of the run.
#[test]
fn no_metric_is_before_the_start_of_its_run() {
    let folder = Folder::new();
    let steps: Vec<String> = (0..100)
        .flat_map(|run| {
            [
                format!("start {run}"),
                "points loss 0 1".to_owned(),
                format!("end {run}"),
            ]
        })
        .collect();
    let steps: Vec<&str> = steps.iter().map(String::as_str).collect();
    folder.run(SCRIPTED, &steps, &[]);
    let outside = "select count(*), coalesce(sum(timestamp < start_time or timestamp > end_time), 0) \
                   from metrics join runs using (run_uuid)";
    let database = folder.database();
    let counted: (i64, i64) = database
        .query_row(outside, [], |row| Ok((row.get(0)?, row.get(1)?)))
        .unwrap();
    assert_eq!(counted, (100, 0));
}

/// Regression: a folder was rejected because it is no file, and all kinds of failure had the same text.
#[test]
fn a_folder_is_logged_with_all_its_files_and_each_failure_has_its_own_words() {
    use std::os::unix::ffi::OsStrExt as _;
    let folder = tempfile::tempdir().unwrap();
    let model = folder.path().join("model");
    std::fs::create_dir_all(model.join("weights/empty")).unwrap();
    for (name, bytes) in [("b.txt", "b"), ("a.txt", "a"), ("weights/w.bin", "w")] {
        std::fs::write(model.join(name), bytes).unwrap();
    }
    std::os::unix::fs::symlink("a.txt", model.join("link.txt")).unwrap();
    std::os::unix::fs::symlink("..", model.join("round")).unwrap();
    let odd = folder.path().join(std::ffi::OsStr::from_bytes(b"odd\xff"));
    std::fs::write(&odd, "").unwrap();
    let fake = fake();
    let (runs, warnings) = warnings::capture(|| {
        let run = mlflow::start_run().start();
        run.log_artifact(&model);
        run.log_artifact_in(&model, "copies/");
        run.log_artifact(&odd);
        run.log_artifact("/dev/null");
        run.log_artifact("/");
        run.log_artifact(folder.path().join("nothing"));
        drop(run);
        fake.runs()
    });
    let found: Vec<_> = runs[0].artifacts.iter().collect();
    let inside = [
        ("a.txt", "a"),
        ("b.txt", "b"),
        ("link.txt", "a"),
        ("weights/w.bin", "w"),
    ];
    let expected: Vec<_> = ["copies/model", "model"]
        .iter()
        .flat_map(|at| {
            inside.map(|(name, bytes)| (format!("{at}/{name}"), bytes.as_bytes().to_vec()))
        })
        .collect();
    assert_eq!(
        found,
        expected
            .iter()
            .map(|(name, bytes)| (name, bytes))
            .collect::<Vec<_>>()
    );
    let words = [
        "round\": it is a link to a folder, and not followed",
        "its name is not valid UTF-8",
        "\"/dev/null\": it is neither a file nor a folder",
        "\"/\": it has no name of its own",
        "nothing\": there is no such file or folder",
    ];
    assert_eq!(warnings.len(), words.len(), "{warnings:#?}");
    for (warning, words) in warnings.iter().zip(words) {
        assert!(warning.contains(words), "{words}: {warnings:#?}");
    }
    // The six are four artifacts, and the link `round` twice, because its folder is logged twice.
    assert_eq!(mlflow::health().rejected, 6);
}

/// Regression: credentials in this file, which MLflow's own client reads, were ignored.
#[test]
fn credentials_stand_in_the_file_in_the_home_directory_and_other_ways_are_said_to_be_none() {
    let folder = Folder::new();
    std::fs::create_dir(folder.path().join(".mlflow")).unwrap();
    let file = folder.path().join(".mlflow/credentials");
    let run = |more: &[(&str, &str)]| {
        // Each process has a server of its own, because the last request of one may arrive after its end.
        let server = FakeServer::start(|_, _| Reply::status(503, ""));
        let url = server.url();
        let environment = [
            ("MLFLOW_TRACKING_URI", &*url),
            ("HOME", folder.path().to_str().unwrap()),
            ("MLFLOW_EXIT_TIMEOUT", "1"),
        ];
        let stderr = folder
            .run(SWEEP, &[], &[&environment, more].concat())
            .stderr;
        let sent = &server.requests()[0];
        let sent = sent.headers.get("authorization").cloned();
        (sent.unwrap_or_default(), stderr)
    };
    assert_eq!(run(&[]).0, "");
    std::fs::write(
        &file,
        "[mlflow]\nmlflow_tracking_username = alice\nmlflow_tracking_password = s3cret\n",
    )
    .unwrap();
    assert_eq!(run(&[]).0, "Basic YWxpY2U6czNjcmV0", "alice:s3cret");
    let bob = ("MLFLOW_TRACKING_USERNAME", "bob");
    assert_eq!(run(&[bob]).0, "Basic Ym9iOnMzY3JldA==", "bob:s3cret");
    std::fs::write(&file, "[mlflow\ns3cret").unwrap();
    let (sent, stderr) = run(&[("MLFLOW_TRACKING_AUTH", "arn")]);
    assert_eq!(sent, "");
    assert!(!stderr.contains("s3cret"), "{stderr}");
    for said in [
        ".mlflow/credentials cannot be used and is ignored; expected a section `[mlflow]`",
        "mlflow: MLFLOW_TRACKING_AUTH=\"arn\" cannot be used and is ignored; expected kubernetes",
    ] {
        assert!(stderr.contains(said), "{stderr}");
    }
}

/// Regression: a run's start counts as one value, but each rejected param in it was counted as a value of its
/// own.
#[test]
fn params_of_a_start_that_are_refused_leave_the_numbers_right() {
    let fake = fake();
    let run = mlflow::start_run()
        .param("a", 1)
        .param("a", 2)
        .param("a", 3)
        .param("a", 4)
        .start();
    run.log_metric("loss", 0.5);
    drop(run);
    // `runs` panics if the numbers of `health()` do not add up.
    assert_eq!(fake.runs()[0].params["a"], "1");
    let health = mlflow::health();
    assert_eq!(
        (health.queued, health.delivered, health.rejected),
        (0, 3, 3)
    );
}

/// Regression: the name was ignored without a warning.
#[test]
fn a_name_for_another_kind_of_returned_value_is_one_line() {
    let folder = Folder::new();
    let ended = folder.run(SCRIPTED, &["returned"], &[]);
    assert!(ended.success, "{}", ended.stderr);
    let lines = ended.stderr.lines();
    let lines: Vec<&str> = lines
        .filter(|line| line.starts_with("mlflow: `metric"))
        .collect();
    let [map, fields, text, no_tuple] = lines[..] else {
        panic!("one line each: {}", ended.stderr);
    };
    assert!(
        map.contains("but the function returned fields such as `k0`"),
        "{map}"
    );
    assert!(
        fields.starts_with("mlflow: `metric` at `fields` ("),
        "{fields}"
    );
    let rest = "names one number, but the function returned fields such as `rmse`, which have their own names; so its \
                returned value is not logged as `loss`. Return one number or `bool`, also inside of `Ok` or `Some`, or \
                remove `metric` from the attribute";
    assert!(fields.ends_with(rest), "{fields}");
    assert!(
        text.contains("returned no number; so its returned value is not logged as `loss`. Return"),
        "{text}"
    );
    assert!(
        no_tuple.contains(
            "names the elements of a tuple, but the function returned fields such as `rmse`"
        ) && no_tuple.contains("not logged as `precision`, `recall`. Return a tuple"),
        "{no_tuple}"
    );
}

/// Regression: a training that runs for days reported blocked values only at its end.
#[test]
fn values_that_are_held_are_said_while_the_process_goes_on() {
    let folder = Folder::new();
    let environment = [("MLFLOW_EXPERIMENT_ID", "4242")];
    let script = ["start a", "points loss 0 3", "wait here"];
    let program = folder.start(SCRIPTED, &script, &environment);
    program.wait_for_stderr(
        "mlflow: so far 4 values are blocked and 0 were rejected (first reason: there is no experiment with the id `4242`); all other values are delivered. \
         mlflow::health() counts them, and a line at the end of the process names the directories that hold them",
    );
    program.kill();
}

/// Regression: each later program reported the reason of an earlier one as its own, and nothing told the user
/// how to discard the values.
#[test]
fn what_an_earlier_program_has_left_is_a_line_of_its_own() {
    let folder = Folder::new();
    let script = ["start a", "points loss 0 3", "end a"];
    let first = folder.run(SCRIPTED, &script, &[("MLFLOW_EXPERIMENT_ID", "4242")]);
    let root = folder.journal();
    let uri = format!("sqlite:///{}", folder.path().join("mlflow.db").display());
    let [own] = &journals(&root)[..] else {
        panic!("{}", first.stderr);
    };
    let line = format!(
        "mlflow: 5 values wait in {} for {}, which does not take them now (first: there is no experiment with the id \
         `4242`); later tracked programs try again. To discard what waits, remove that folder",
        own.display(),
        uri,
    );
    assert_eq!(lines_of(&first.stderr), [line]);
    // A short program may end before it has read the orphaned journals, so this one waits for their recovery.
    let script = ["start b", "recover 60", "end b"];
    let second = folder.run(SCRIPTED, &script, &[]);
    let line = format!(
        "mlflow: 5 values wait in {}, left by earlier programs for {}, which does not take them now (first: there \
         is no experiment with the id `4242`). To discard what waits, remove these folders",
        own.display(),
        uri,
    );
    assert_eq!(lines_of(&second.stderr), [line], "{}", second.stderr);
    fs::remove_dir_all(own).unwrap();
    let third = folder.run(SCRIPTED, &script, &[]);
    assert_eq!(lines_of(&third.stderr), [""; 0], "{}", third.stderr);
}

fn lines_of(stderr: &str) -> Vec<String> {
    let lines = stderr.lines().filter(|line| line.starts_with("mlflow: "));
    lines.map(str::to_owned).collect()
}

/// Returns the folders of the journals in `root`.
fn journals(root: &Path) -> Vec<PathBuf> {
    let entries = fs::read_dir(root)
        .unwrap()
        .map(|entry| entry.unwrap().path());
    entries.filter(|path| path.is_dir()).collect()
}

/// Regression: one line reported the first value logged outside of a run, and none reported the values lost
/// after it.
#[test]
fn each_key_that_is_logged_outside_of_a_run_is_named() {
    let folder = Folder::new();
    let script = [
        "outside a",
        "outside a",
        "outside b",
        "outside c",
        "outside d",
        "outside e",
        "outside f",
        "outside g",
    ];
    let ended = folder.run(SCRIPTED, &script, &[]);
    assert!(ended.success, "{}", ended.stderr);
    let lines = lines_of(&ended.stderr);
    assert!(lines.len() <= 5, "{lines:?}");
    for (line, key) in lines.iter().zip(["a", "b"]) {
        let start = format!("mlflow: metric {key:?} at ");
        let is_named = line.contains("was logged outside of any run and is not recorded");
        assert!(line.starts_with(&start) && is_named, "{line}");
    }
}

/// Regression: such a path was refused in the background only, and a table or image was said to be stored under it.
#[test]
fn a_path_out_of_the_run_is_refused_at_the_call() {
    let fake = fake();
    let run = mlflow::start_run().start();
    let (folder, long) = (Folder::new(), "n".repeat(256));
    let file = folder.path().join("a\\b.txt");
    fs::write(&file, "1").unwrap();
    let ((), warnings) = warnings::capture(|| {
        run.log_text("1", "../text.txt");
        run.log_text("1", "");
        run.log_text("1", &long);
        run.log_dict(&1, "/dict.json");
        run.log_table([1], "../table");
        run.log_table([1], "a\nb.json");
        run.log_figure("<svg/>", "a//figure");
        run.log_artifact(&file);
        run.log_artifacts_in(folder.path(), "..");
        run.log_checkpoint(folder.path(), 1);
        #[cfg(feature = "image")]
        run.log_image(mlflow::Image::gray(1, 1, &[0][..]), "../image");
    });
    run.log_text("1", "good.txt");
    let reasons = [
        (r#"artifact "../text.txt""#, "`..` part"),
        (r#"artifact """#, "is empty"),
        (&format!("artifact {long:?}"), "255 bytes"),
        (r#"artifact "/dict.json""#, "is absolute"),
        (r#"table "../table.json""#, "`..` part"),
        (r#"table "a\nb.json""#, "control character"),
        (r#"figure "a//figure.svg""#, "is empty or has an empty"),
        (r#"artifact "a\\b.txt""#, "backslash"),
        (r#"artifact "../a\\b.txt""#, "`..` part"),
        (r#"file of a checkpoint ""#, "backslash"),
        ("the checkpoint is left out", "1 file of it"),
        #[cfg(feature = "image")]
        (r#"image "../image.png""#, "`..` part"),
    ];
    assert_eq!(warnings.len(), reasons.len(), "{warnings:#?}");
    drop(run);
    let runs = fake.runs();
    let stored: Vec<_> = runs[0].artifacts.keys().collect();
    assert_eq!(stored, ["good.txt"]);
    assert_eq!(mlflow::health().rejected, reasons.len() as u64);
    for ((path, reason), warning) in reasons.iter().zip(&warnings) {
        assert!(
            warning.contains(path) && warning.contains(reason),
            "{path}: {warning}"
        );
        assert!(!warning.contains("is stored as"), "{warning}");
    }
}
