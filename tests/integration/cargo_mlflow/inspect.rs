//! `cargo mlflow inspect`: what a run logs, and its state, for programs.

use std::collections::HashMap;
use std::thread;

use rusqlite::Connection;
use serde_json::{Value, json};

use super::runs::Demo;
use super::{NOWHERE, SCRIPTED, json as inspect, leave_killed, run, start_offline};
use crate::support::command_line::cargo_mlflow;
use crate::support::program::Folder;

/// Returns the records in lines of JSON.
fn records(stdout: &str) -> Vec<Value> {
    let lines = stdout.lines();
    lines
        .map(|line| serde_json::from_str(line).expect("JSON"))
        .collect()
}

/// Returns how often each step of a metric was printed.
fn steps(records: &[Value], key: &str) -> HashMap<i64, u32> {
    let mut steps = HashMap::new();
    for record in records {
        if record["type"] == "metric" && record["key"] == key {
            *steps.entry(record["step"].as_i64().unwrap()).or_default() += 1;
        }
    }
    steps
}

/// The points are read from the journal first and from the file later, while the process delivers them.
#[test]
fn each_point_is_printed_once_while_it_is_delivered() {
    let folder = Folder::new();
    let script = [
        "start growing",
        "param lr 0.1",
        "points loss 0 1000",
        "values rate 0.1 0 1000",
        "values infinite inf 0 10",
        "values none NaN 0 10",
        "flush 60",
        "wait ready",
        "points loss 1000 2000",
        "values rate 0.1 1000 2000",
        "values infinite inf 10 20",
        "values none NaN 10 20",
        "flush 60",
        "wait ready",
        "points loss 2000 3000",
        "values rate 0.1 2000 3000",
        "end growing",
        "flush 60",
    ];
    let mut training = folder.start(SCRIPTED, &script, &[]);
    training.wait_for_stdout("ready");
    let follower = { folder.command(cargo_mlflow()) }
        .args(["inspect", "growing", "--follow", "--json"])
        .spawn()
        .unwrap();
    let follower = thread::spawn(move || follower.wait_with_output().unwrap());
    training.tell();
    training.wait_for_stdout("ready");
    training.tell();
    assert!(training.end().success);
    let output = follower.join().unwrap();
    let stderr = String::from_utf8_lossy(&output.stderr).into_owned();
    assert_eq!((output.status.code(), &*stderr), (Some(0), ""));
    let records = records(&String::from_utf8(output.stdout).unwrap());
    // Many points of `rate` have the same time and value.
    for (key, count) in [
        ("loss", 3000),
        ("rate", 3000),
        ("infinite", 20),
        ("none", 20),
    ] {
        let steps = steps(&records, key);
        assert_eq!(steps.len(), count, "{key}");
        assert!(steps.values().all(|count| *count == 1), "{key}: {steps:?}");
    }
    assert_eq!(records[0]["type"], "start");
    assert_eq!(records[0]["name"], "growing");
    assert!(records.contains(&json!({ "type": "param", "key": "lr", "value": "0.1" })));
    let last = records.last().unwrap();
    assert_eq!(
        (&last["type"], &last["state"]),
        (&json!("state"), &json!("FINISHED"))
    );
}

#[test]
fn a_run_whose_process_was_killed_is_told_from_its_journal() {
    let folder = Folder::new();
    leave_killed(&folder, "dead", NOWHERE);
    let summary = inspect(&folder, &["inspect", "dead", "--summary"]);
    for (field, value) in [
        ("name", json!("dead")),
        ("state", json!("ABANDONED")),
        ("process_alive", json!(false)),
        ("run_id", json!(null)),
        ("points", json!(100)),
        ("waiting_points", json!(100)),
        ("params", json!({ "lr": "0.1" })),
    ] {
        assert_eq!(summary[field], value, "{summary:#}");
    }
    let loss = &summary["metrics"]["loss"];
    assert_eq!((&loss["last"], &loss["step"]), (&json!(99.0), &json!(99)));
    assert_eq!((&loss["min"], &loss["max"]), (&json!(0.0), &json!(99.0)));
    // A gate that waits for the run ends at once, with its own exit code.
    let gate = run(&folder, &["inspect", "dead", "-F", "-s", "--exit-status"]);
    assert_eq!(gate.code, Some(7), "{}", gate.stderr);
    assert!(
        gate.stderr.contains("the run dead is ABANDONED"),
        "{}",
        gate.stderr
    );
    assert!(
        gate.stdout
            .contains("`cargo mlflow sync` ships what it left"),
        "{}",
        gate.stdout
    );
    // The path of the journal names its run, too.
    let journals = inspect(&folder, &["journal", "ls"]);
    let journal = journals[0]["path"].as_str().unwrap();
    let by_path = inspect(&folder, &["inspect", journal, "--summary"]);
    assert_eq!(by_path["key"], summary["key"]);
    // The path means the journal, whichever store is named.
    let named = ["--tracking-uri", "sqlite:///other.db"];
    let elsewhere = inspect(
        &folder,
        &[&["inspect", journal, "--summary"][..], &named].concat(),
    );
    assert_eq!(elsewhere["key"], summary["key"]);
    let by_name = run(&folder, &[&["inspect", "dead"][..], &named].concat());
    assert_eq!(by_name.code, Some(3), "{}", by_name.stderr);
}

#[test]
fn a_run_that_stalls_ends_the_following_with_an_exit_code() {
    let folder = Folder::new();
    let script = ["start stalled", "points loss 0 10"];
    let training = start_offline(&folder, NOWHERE, &script);
    let ended = run(&folder, &["inspect", "-F", "--idle-timeout", "0.5"]);
    assert_eq!(ended.code, Some(8), "{}", ended.stderr);
    assert!(
        ended.stderr.contains("nothing new has come for"),
        "{}",
        ended.stderr
    );
    assert!(
        ended.stdout.contains("loss = 9 at step 9"),
        "{}",
        ended.stdout
    );
    training.kill();
}

/// The store is read again and again, which is nothing new.
#[test]
fn a_run_that_stalls_is_noticed_although_its_store_answers() {
    let folder = Folder::new();
    let script = [
        "start stalled",
        "points loss 0 10",
        "flush 60",
        "wait ready",
    ];
    let mut training = folder.start(SCRIPTED, &script, &[]);
    training.wait_for_stdout("ready");
    for options in [&["--json"][..], &["--json", "--summary"]] {
        let arguments = [
            &["inspect", "stalled", "-F", "--idle-timeout", "7"],
            options,
        ]
        .concat();
        let ended = run(&folder, &arguments);
        assert_eq!(ended.code, Some(8), "{}", ended.stderr);
        let count = records(&ended.stdout).len();
        assert!(
            options.len() == 1 || count <= 2,
            "{count} summaries of the same state"
        );
    }
    training.tell();
    training.end();
}

#[test]
fn a_store_that_cannot_be_read_is_an_error_where_no_journal_holds_the_run() {
    let folder = Folder::new();
    let created = folder.run(SCRIPTED, &["start one", "end one"], &[]);
    assert!(created.success, "{}", created.stderr);
    // No run can be read.
    let database = Connection::open(folder.path().join("mlflow.db")).unwrap();
    database.execute_batch("drop table latest_metrics").unwrap();
    for options in [&["-s"][..], &["-F"], &[]] {
        let ended = run(&folder, &[&["inspect", "one"], options].concat());
        assert!(
            matches!(ended.code, Some(1..=6)),
            "{:?} {}",
            ended.code,
            ended.stderr
        );
        assert_eq!(ended.stdout, "");
    }
}

#[test]
fn the_state_is_the_same_from_a_file_and_from_a_server() {
    let demo = Demo::shared();
    let server = ["--tracking-uri", demo.server.url()];
    let arguments = ["inspect", "lr-0.1", "-e", "demo", "--summary"];
    let [file, server] = [&[][..], &server].map(|uri| {
        let mut summary = inspect(&demo.folder, &[&arguments, uri].concat());
        for key in [
            "run_id",
            "key",
            "start_time_ms",
            "end_time_ms",
            "duration_seconds",
            "last_point_ms",
            "user",
        ] {
            assert_ne!(summary[key].take(), Value::Null, "{key}");
        }
        for metric in summary["metrics"].as_object_mut().unwrap().values_mut() {
            metric["timestamp_ms"].take();
        }
        let tags = summary["tags"].as_object_mut().unwrap();
        tags.retain(|key, _| key == "model");
        summary
    });
    assert_eq!(file, server);
    insta::assert_snapshot!(serde_json::to_string_pretty(&file).unwrap());
}

#[test]
fn values_that_are_no_numbers_are_counted_and_printed() {
    let demo = Demo::shared();
    let arguments = ["inspect", "lr-300", "-e", "demo"];
    let summary = inspect(&demo.folder, &[&arguments[..], &["--summary"]].concat());
    let loss = &summary["metrics"]["train/loss"];
    assert_eq!(
        (&loss["last"], &loss["non_finite"]),
        (&json!("NaN"), &json!(1))
    );
    let ended = run(
        &demo.folder,
        &[&arguments[..], &["--json", "-m", "train/loss"]].concat(),
    );
    let records = records(&ended.stdout);
    let is_nan = |record: &Value| record["type"] == "metric" && record["value"] == "NaN";
    assert_eq!(records.iter().filter(|record| is_nan(record)).count(), 1);
    let gate = run(
        &demo.folder,
        &[&arguments[..], &["-s", "--exit-status"]].concat(),
    );
    assert_eq!(gate.code, Some(7), "{}", gate.stderr);
}

/// The store is locked, so only the journal holds the run.
#[test]
fn a_store_that_does_not_answer_is_told_once() {
    let folder = Folder::new();
    let script = ["start waiting", "points loss 0 10"];
    let training = start_offline(&folder, NOWHERE, &script);
    let environment = [("MLFLOW_TRACKING_URI", NOWHERE)];
    let ended = folder.run(cargo_mlflow(), &["inspect", "waiting", "-s"], &environment);
    assert_eq!(ended.code, Some(0), "{}", ended.stderr);
    let told = ended
        .stderr
        .matches("only what the journal holds is shown")
        .count();
    assert_eq!(told, 1, "{}", ended.stderr);
    assert!(
        ended.stdout.contains("10, 10 wait in the journal"),
        "{}",
        ended.stdout
    );
    training.kill();
}

#[test]
fn a_run_that_cannot_be_found_is_one_line_and_an_exit_code() {
    let folder = Folder::new();
    let created = folder.run(SCRIPTED, &["start one", "end one"], &[]);
    assert!(created.success, "{}", created.stderr);
    for _ in 0..2 {
        leave_killed(&folder, "twice", NOWHERE);
    }
    for (arguments, code, text) in [
        (
            &["inspect", "nope"][..],
            3,
            "there is no run with the id or name `nope`",
        ),
        (
            &["inspect", "twice"],
            4,
            "more than one run is meant by `twice`",
        ),
        (
            &["inspect", "best:accuracy"],
            3,
            "no run has a finite number for the metric `accuracy`",
        ),
        (
            &["inspect", "./nowhere/journal"],
            3,
            "there is no run with the id or name",
        ),
        (
            &["inspect", "./journal"],
            1,
            "cannot read the journal ./journal",
        ),
        (&["inspect", "one", "--idle-timeout", "1"], 2, "--follow"),
    ] {
        let ended = run(&folder, arguments);
        assert_eq!(ended.code, Some(code), "{arguments:?}: {}", ended.stderr);
        assert!(
            ended.stderr.contains(text),
            "{arguments:?}: {}",
            ended.stderr
        );
        assert_eq!(ended.stdout, "");
    }
    let database = Connection::open(folder.path().join("mlflow.db")).unwrap();
    database.execute_batch("drop table metrics").unwrap();
    let ended = run(&folder, &["inspect", "one"]);
    assert_ne!(ended.code, Some(0));
}
