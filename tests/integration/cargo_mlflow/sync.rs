//! `cargo mlflow sync`: everything reaches its store once, and nothing reaches another one.

use std::fs;
use std::process::Command;

use rusqlite::Connection;
use rustix::process::{Pid, Signal, kill_process};
use serde_json::json;

use super::{
    NOWHERE, SCRIPTED, contents, damage, file_uri, journals, json, leave_killed, run,
    start_offline, waiting,
};
use crate::support::command_line::cargo_mlflow;
use crate::support::fake_server::{FakeServer, Reply};
use crate::support::mlflow::{Server, free_port};
use crate::support::program::{Folder, one};

/// Asserts that a SQLite file holds one run, KILLED, with 100 different points.
fn assert_holds_once(database: &Connection, run: &str) {
    let status = format!("select group_concat(status) from runs where name = '{run}'");
    assert_eq!(one::<String>(database, &status), "KILLED");
    let points = format!(
        "select count(*) || ' ' || count(distinct step) from metrics join runs using (run_uuid) where name = '{run}'"
    );
    assert_eq!(one::<String>(database, &points), "100 100");
}

#[test]
fn what_killed_processes_left_reaches_a_file_once() {
    let folder = Folder::new();
    for run in ["a", "b"] {
        leave_killed(&folder, run, NOWHERE);
    }
    let to = file_uri(&folder, "mlflow.db");
    let shipped = json(&folder, &["sync", "--to", &to]);
    let report = &shipped["shipped"][0];
    assert_eq!(report["destination"], to.as_str());
    assert_eq!(report["from"], NOWHERE);
    for (field, value) in [
        ("complete", json!(true)),
        ("journals_found", json!(2)),
        ("journals_left", json!(0)),
        ("delivered", json!(204)),
        ("rejected", json!(0)),
    ] {
        assert_eq!(report[field], value, "{report:#}");
    }
    assert_eq!(folder.journals_left(), 0);
    for run in ["a", "b"] {
        assert_holds_once(&folder.database(), run);
    }
    let again = json(&folder, &["sync", "--to", &to]);
    assert_eq!(again["shipped"], json!([]));
    assert_eq!(folder.journals_left(), 0, "it leaves nothing itself");
}

/// A file needs no credentials, so its journals are shipped from any working directory.
#[test]
fn journals_of_other_files_are_shipped_without_being_named() {
    let folder = Folder::new();
    // The database is locked, so that everything waits.
    let database = folder.path().join("mlflow.db");
    let created = folder.run(SCRIPTED, &["start first", "end first"], &[]);
    assert!(created.success, "{}", created.stderr);
    let lock = Connection::open(&database).unwrap();
    lock.execute_batch("begin exclusive").unwrap();
    let script = ["start locked", "points loss 0 100", "abort"];
    folder.run(SCRIPTED, &script, &[]);
    lock.execute_batch("rollback").unwrap();
    assert_eq!(waiting(&folder), 101);

    let elsewhere = folder.path().join("elsewhere");
    fs::create_dir(&elsewhere).unwrap();
    let output = { folder.command(cargo_mlflow()) }
        .arg("sync")
        .current_dir(&elsewhere)
        .output()
        .unwrap();
    let stderr = String::from_utf8_lossy(&output.stderr);
    assert_eq!(output.status.code(), Some(0), "{stderr}");
    assert_eq!(folder.journals_left(), 0);
    assert_holds_once(&folder.database(), "locked");
    assert!(!elsewhere.join("mlflow.db").exists(), "nothing went there");
}

#[test]
fn what_killed_processes_left_reaches_a_server_once() {
    let folder = Folder::new();
    let port = free_port();
    let url = format!("http://127.0.0.1:{port}");
    for run in ["a", "b"] {
        leave_killed(&folder, run, &url);
    }
    let before = contents(&folder);
    let away = run(&folder, &["sync", "--tracking-uri", &url]);
    assert_eq!(away.code, Some(5), "{}", away.stderr);
    assert!(away.stderr.contains("2 journals left"), "{}", away.stderr);
    assert!(
        away.stderr.contains("Connection refused"),
        "{}",
        away.stderr
    );
    assert_eq!(contents(&folder), before, "nothing is lost");

    let server = Server::start_on(port);
    let dry = json(&folder, &["sync", "--dry-run", "--tracking-uri", &url]);
    assert_eq!(dry["shipments"][0]["values"], 204);
    assert_eq!(contents(&folder), before);
    let api = server.api();
    assert!(api.runs("0").is_empty(), "nothing was sent");

    let shipped = run(&folder, &["sync", "--tracking-uri", &url]);
    assert_eq!(shipped.code, Some(0), "{}", shipped.stderr);
    let line = format!("{url}: 204 values of 2 journals delivered");
    assert_eq!(shipped.stdout.trim_end(), line);
    assert_eq!(folder.journals_left(), 0);
    let second = run(&folder, &["sync", "--tracking-uri", &url]);
    assert_eq!((second.code, second.stdout.as_str()), (Some(0), ""));
    let runs = api.runs("0");
    assert_eq!(runs.len(), 2);
    for (id, _) in runs {
        let run = api.run(&id);
        assert_eq!(run.status, "KILLED");
        assert_eq!(run.params["lr"], "0.1");
        let steps: Vec<_> = run.points["loss"].iter().map(|point| point.step).collect();
        assert_eq!(steps, (0..100).collect::<Vec<i64>>());
        // The run keeps its own times.
        let times: Vec<_> = run.points["loss"]
            .iter()
            .map(|point| point.timestamp_ms)
            .collect();
        assert!(times.is_sorted() && times.first() >= Some(&run.start_time_ms));
        assert_eq!(times.last(), Some(&run.end_time_ms));
    }
}

/// The credentials of the environment would go to that server.
#[test]
fn another_server_is_not_contacted_without_being_named() {
    let folder = Folder::new();
    let other = FakeServer::start(|_, _| Reply::status(500, "no"));
    let url = other.url();
    let environment = [("MLFLOW_TRACKING_URI", url.as_str())];
    let script = ["start a", "points loss 0 100", "abort"];
    folder.run(SCRIPTED, &script, &environment);
    assert_eq!(waiting(&folder), 101);
    let before = other.requests().len();
    let token = [("MLFLOW_TRACKING_TOKEN", "secret")];
    let ended = folder.run(cargo_mlflow(), &["sync"], &token);
    assert_eq!(ended.code, Some(0), "{}", ended.stderr);
    let command = format!("MLFLOW_TRACKING_URI={url} cargo mlflow sync");
    assert!(ended.stdout.contains(&command), "{}", ended.stdout);
    assert_eq!(other.requests().len(), before);
    assert_eq!(folder.journals_left(), 1);
}

#[test]
fn the_journal_of_a_running_process_is_left_alone() {
    let folder = Folder::new();
    let mut live = start_offline(&folder, NOWHERE, &["start a", "points loss 0 100"]);
    leave_killed(&folder, "killed", NOWHERE);
    let to = file_uri(&folder, "mlflow.db");
    let shipped = json(&folder, &["sync", "--to", &to]);
    assert_eq!(shipped["live_journals"], 1);
    assert_eq!(shipped["shipped"][0]["journals_found"], 1);
    assert_holds_once(&folder.database(), "killed");
    assert_eq!(
        one::<i64>(&folder.database(), "select count(*) from runs"),
        1
    );
    assert_eq!(waiting(&folder), 101);
    live.tell();
    assert!(live.end().success);
    // Its process has ended, and the guard has ended the run.
    let rest = json(&folder, &["sync", "--to", &to]);
    assert_eq!(rest["shipped"][0]["delivered"], 102);
    assert_eq!(folder.journals_left(), 0);
}

#[test]
fn only_the_named_destination_is_moved() {
    let folder = Folder::new();
    leave_killed(&folder, "a", NOWHERE);
    leave_killed(&folder, "b", "http://127.0.0.1:10");
    let to = file_uri(&folder, "mlflow.db");
    // As it was configured, before it was made the name of a destination.
    let from = format!("{NOWHERE}/");
    let shipped = json(&folder, &["sync", "--to", &to, "--from", &from]);
    assert_eq!(shipped["shipped"][0]["journals_found"], 1);
    assert_holds_once(&folder.database(), "a");
    let left = journals(&folder);
    assert_eq!(left.len(), 1);
    assert_eq!(left[0]["destination"], "http://127.0.0.1:10");
}

#[test]
fn what_can_be_read_of_a_damaged_journal_is_shipped_and_its_file_is_kept() {
    let folder = Folder::new();
    leave_killed(&folder, "a", NOWHERE);
    damage(&folder);
    let readable = waiting(&folder);
    let to = file_uri(&folder, "mlflow.db");
    let shipped = json(&folder, &["sync", "--to", &to]);
    assert_eq!(shipped["shipped"][0]["delivered"], readable);
    assert!(
        shipped["shipped"][0]["damaged"].as_u64() > Some(0),
        "{shipped:#}"
    );
    let points = "select count(*) from metrics";
    let delivered = u64::try_from(one::<i64>(&folder.database(), points)).unwrap();
    // Beside the points, the start of the run and a param are delivered.
    assert_eq!(delivered, readable - 2);
    assert_eq!(folder.journals_left(), 0);
    let kept = journals(&folder);
    assert_eq!(kept.len(), 1, "{kept:#?}");
    assert_eq!(kept[0]["state"], "damaged");
    let name = kept[0]["name"].as_str().unwrap();
    let named = format!("damaged/{name}");
    assert_eq!(
        run(&folder, &["journal", "verify"]).code,
        Some(0),
        "it is known"
    );
    assert_eq!(run(&folder, &["journal", "verify", &named]).code, Some(1));
    assert_eq!(
        run(&folder, &["journal", "drop", &named, "--yes"]).code,
        Some(0)
    );
    assert_eq!(journals(&folder).len(), 0);
}

#[test]
fn a_watch_ships_what_comes_and_ends_well_at_ctrl_c() {
    let folder = Folder::new();
    let to = file_uri(&folder, "mlflow.db");
    let mut watch = folder.start(cargo_mlflow(), &["sync", "--watch", "--to", &to], &[]);
    watch.wait_for_stderr("watching");
    for (values, run) in [(102, "a"), (103, "b")] {
        let start = format!("start {run}");
        let script = [
            start.as_str(),
            "param lr 0.1",
            "points loss 0 100",
            "tag stage dev",
        ];
        let kept = values - 99;
        start_offline(&folder, NOWHERE, &script[..kept]).kill();
        watch.wait_for_stdout(&format!(
            "{to} (logged for {NOWHERE}): {values} values of 1 journal delivered"
        ));
        assert_holds_once(&folder.database(), run);
    }
    let id = Pid::from_raw(i32::try_from(watch.id()).unwrap()).unwrap();
    kill_process(id, Signal::INT).unwrap();
    let ended = watch.end();
    assert_eq!(ended.code, Some(0), "{}", ended.stderr);
    assert_eq!(folder.journals_left(), 0);
}

#[test]
fn arguments_that_make_no_sense_are_one_line() {
    let folder = Folder::new();
    leave_killed(&folder, "a", NOWHERE);
    for (arguments, text) in [
        (
            &["sync", "--to", "host:5000"][..],
            "expected http://host:5000",
        ),
        (&["sync", "--from", "http://h"], "--to"),
        (&["sync", "--timeout", "soon"], "number of seconds"),
        (&["sync", "--watch", "--dry-run"], "cannot be used with"),
    ] {
        let ended = run(&folder, arguments);
        assert_eq!(ended.code, Some(2), "{arguments:?}: {}", ended.stderr);
        assert!(ended.stderr.contains(text), "{}", ended.stderr);
    }
    assert_eq!(folder.journals_left(), 1);
}

/// Compute nodes without internet train; the login node ships what they recorded.
#[test]
fn what_was_trained_without_a_network_is_shipped_from_where_there_is_one() {
    let unshare = |command: &mut Command| {
        let output = command.args(["--net", "true"]).output();
        output.is_ok_and(|output| output.status.success())
    };
    if !unshare(&mut Command::new("unshare")) {
        println!("not tested: this user may not make a network namespace");
        return;
    }
    let server = Server::start_with(&[]);
    let folder = Folder::new();
    let script = [
        "start train",
        "param lr 0.1",
        "points loss 0 100",
        "text notes.txt hello",
        "end train",
    ];
    let environment = [
        ("MLFLOW_TRACKING_URI", server.url()),
        ("MLFLOW_EXIT_TIMEOUT", "0.1"),
    ];
    let trained = folder.run(
        "unshare",
        &[&["--net", SCRIPTED][..], &script].concat(),
        &environment,
    );
    assert!(trained.success, "{}", trained.stderr);
    assert!(
        trained.stderr.contains("values wait in"),
        "{}",
        trained.stderr
    );
    let api = server.api();
    assert!(api.runs("0").is_empty(), "the node has no network");

    let shipped = run(&folder, &["sync", "--tracking-uri", server.url()]);
    assert_eq!(shipped.code, Some(0), "{}", shipped.stderr);
    assert_eq!(folder.journals_left(), 0);
    let runs = api.runs("0");
    assert_eq!(runs.len(), 1);
    let run = api.run(&runs[0].0);
    assert_eq!(
        (run.name.as_str(), run.status.as_str()),
        ("train", "FINISHED")
    );
    assert_eq!(run.params["lr"], "0.1");
    assert_eq!(run.points["loss"].len(), 100);
    assert_eq!(run.artifacts["notes.txt"], b"hello");
}
