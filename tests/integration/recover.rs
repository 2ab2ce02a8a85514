//! Orphaned journals: they are shipped on request, moved on request, and delay no other program.

use std::fs;
use std::thread;
use std::time::Duration;

use serde_json::json;

use crate::support::mlflow::{Server, free_port};
use crate::support::program::{Ended, Folder, one};
use crate::support::proxy::Proxy;

const SCRIPTED: &str = env!("CARGO_BIN_EXE_scripted");

/// Leaves the journal of a run with 100 points for a destination at which nothing listens. Returns the number
/// of its values.
fn leave_behind(folder: &Folder, run: &str, url: &str) -> u64 {
    let start = format!("start {run}");
    let ended = folder.run(
        SCRIPTED,
        &[&start, "points loss 0 100", "health", "abort"],
        &[("MLFLOW_TRACKING_URI", url)],
    );
    let queued = ended
        .stdout
        .split(' ')
        .nth(2)
        .and_then(|number| number.parse().ok());
    queued.unwrap_or_else(|| panic!("{}{}", ended.stdout, ended.stderr))
}

fn assert_reports(ended: &Ended, report: &str) {
    assert_eq!(ended.stdout.trim_end(), report, "{}", ended.stderr);
}

#[test]
fn what_was_left_behind_is_shipped_on_request_by_a_program_without_a_run() {
    let folder = Folder::new();
    let port = free_port();
    let url = format!("http://127.0.0.1:{port}");
    let values: u64 = ["a", "b", "c"]
        .map(|run| leave_behind(&folder, run, &url))
        .iter()
        .sum();
    assert_eq!(folder.journals_left(), 3);
    let environment = [("MLFLOW_TRACKING_URI", url.as_str())];
    let away = folder.run(SCRIPTED, &["recover 600"], &environment);
    assert_reports(
        &away,
        "recovered complete false found 3 delivered 0 rejected 0 blocked 0 left 3",
    );

    let server = Server::start_on(port);
    let there = folder.run(SCRIPTED, &["recover 600", "recover 600"], &environment);
    let report =
        format!("recovered complete true found 3 delivered {values} rejected 0 blocked 0 left 0\n");
    let nothing = "recovered complete true found 0 delivered 0 rejected 0 blocked 0 left 0";
    assert_reports(&there, &(report + nothing));
    assert_eq!(folder.journals_left(), 0);
    let api = server.api();
    let runs: Vec<_> = api
        .runs("0")
        .into_iter()
        .map(|(id, _)| api.run(&id))
        .collect();
    assert_eq!(runs.len(), 3);
    for run in runs {
        assert_eq!(
            (run.status.as_str(), run.points["loss"].len()),
            ("KILLED", 100)
        );
    }
}

/// Regression: a call whose time ended while a large journal was surveyed reported that nothing was left.
#[test]
fn a_call_that_is_cut_short_is_not_complete() {
    let folder = Folder::new();
    let file = format!("sqlite:///{}", folder.path().join("mlflow.db").display());
    let environment = [("MLFLOW_TRACKING_URI", file.as_str())];
    let left = ["start run", "points loss 0 100", "abort"];
    let lock = {
        folder.run(SCRIPTED, &["start first", "end first"], &environment);
        let database = folder.database();
        database.execute_batch("begin exclusive").unwrap();
        database
    };
    folder.run(SCRIPTED, &left, &environment);
    lock.execute_batch("rollback").unwrap();
    let ended = folder.run(SCRIPTED, &["recover 0", "recover 60"], &environment);
    let reports: Vec<_> = ended.stdout.lines().collect();
    assert!(
        reports[0].starts_with("recovered complete false found 1 "),
        "{reports:?}"
    );
    assert!(
        reports[1].starts_with("recovered complete true "),
        "{reports:?}"
    );
}

#[test]
fn what_cannot_be_shipped_on_request_is_told_apart() {
    let server = Server::start_with(&[]);
    let api = server.api();
    let folder = Folder::new();
    let environment = [
        ("MLFLOW_TRACKING_URI", server.url()),
        ("MLFLOW_EXPERIMENT_NAME", "gone"),
    ];
    let created = api.post("experiments/create", &json!({"name": "gone"}));
    let id = json!({"experiment_id": created["experiment_id"]});
    api.post("experiments/delete", &id);
    let script = [
        "start held",
        "points loss 0 10",
        "flush 60",
        "health",
        "abort",
    ];
    let ended = folder.run(SCRIPTED, &script, &environment);
    assert!(
        ended.stdout.contains("queued 0 blocked 11"),
        "{}",
        ended.stdout
    );

    let blocked = folder.run(SCRIPTED, &["recover 60"], &environment);
    assert_reports(
        &blocked,
        "recovered complete false found 1 delivered 0 rejected 0 blocked 11 left 1",
    );
    api.post("experiments/restore", &id);
    let restored = folder.run(SCRIPTED, &["recover 60"], &environment);
    assert_reports(
        &restored,
        "recovered complete true found 1 delivered 11 rejected 0 blocked 0 left 0",
    );
}

/// Regression: 309 values logged to `http://host/`, without the server's path, were out of reach once the URI
/// was corrected.
#[test]
fn what_was_logged_to_a_wrong_uri_is_moved_by_a_call_that_names_both() {
    let server = Server::start_with(&[]);
    let folder = Folder::new();
    let wrong = format!("http://127.0.0.1:{}/wrong", free_port());
    let values = leave_behind(&folder, "lost", &wrong);
    let environment = [("MLFLOW_TRACKING_URI", server.url())];
    let others = folder.run(SCRIPTED, &["recover 60"], &environment);
    assert_reports(
        &others,
        "recovered complete true found 0 delivered 0 rejected 0 blocked 0 left 0",
    );
    assert_eq!(folder.journals_left(), 1, "it is for another destination");

    let elsewhere = format!("move {wrong} http://127.0.0.1:1/right");
    let script = [&elsewhere, "move http://127.0.0.1:1 127.0.0.1:2"];
    let refused = folder.run(SCRIPTED, &script, &environment);
    let present = server.url();
    let said = format!(
        "moved nothing: this process ships to {present}, not to http://127.0.0.1:1/right; set MLFLOW_TRACKING_URI, \
         or call set_tracking_uri, first\n\
         moved nothing: `to` is not a usable tracking URI: it has no scheme; expected http://127.0.0.1:2"
    );
    assert_reports(&refused, &said);
    assert_eq!(folder.journals_left(), 1);

    let moved = format!("move {wrong}/ {present}");
    let moved = folder.run(SCRIPTED, &[&moved], &environment);
    let report =
        format!("recovered complete true found 1 delivered {values} rejected 0 blocked 0 left 0");
    assert_reports(&moved, &report);
    assert_eq!(folder.journals_left(), 0);
    let api = server.api();
    let runs = api.runs("0");
    assert_eq!(runs.len(), 1);
    assert_eq!(api.run(&runs[0].0).points["loss"].len(), 100);
}

/// A value that is rejected when it is moved is kept for the new destination, and can be sent to that again.
#[test]
fn what_is_refused_when_it_is_moved_is_kept_for_where_it_was_moved_to() {
    let server = Server::start_with(&[]);
    let folder = Folder::new();
    let wrong = format!("http://127.0.0.1:{}/wrong", free_port());
    let script = ["start run", "param lr 0.1", "param lr 0.2", "abort"];
    folder.run(SCRIPTED, &script, &[("MLFLOW_TRACKING_URI", &wrong)]);
    let environment = [("MLFLOW_TRACKING_URI", server.url())];
    let moves = format!("move {wrong} {}", server.url());
    let moved = folder.run(SCRIPTED, &[&moves], &environment);
    let report = "recovered complete true found 1 delivered 2 rejected 1 blocked 0 left 0";
    assert_reports(&moved, report);
    assert_eq!((folder.journals_left(), folder.rejected_left()), (0, 1));

    let deleted = server
        .database()
        .execute("delete from params where key = 'lr'", []);
    assert_eq!(deleted, Ok(1));
    folder.run(SCRIPTED, &["resend 60"], &environment);
    assert_eq!((folder.journals_left(), folder.rejected_left()), (0, 0));
    let api = server.api();
    let run = api.run(&api.runs("0")[0].0);
    assert_eq!(
        (run.status.as_str(), run.params["lr"].as_str()),
        ("KILLED", "0.2")
    );
}

/// Regression: the line at the end of the process promised that the next program ships the values, but no
/// program read the fallback directory again.
#[test]
fn what_was_left_in_the_fallback_directory_is_found_when_the_configured_one_is_back() {
    let folder = Folder::new();
    let (temporary, configured) = (folder.path().join("tmp"), folder.path().join("configured"));
    fs::create_dir(&temporary).unwrap();
    fs::write(&configured, "no directory").unwrap();
    let environment = [
        ("TMPDIR", temporary.to_str().unwrap()),
        ("MLFLOW_JOURNAL_DIR", configured.to_str().unwrap()),
    ];
    let url = format!("http://127.0.0.1:{}", free_port());
    let away = [&environment[..], &[("MLFLOW_TRACKING_URI", &url)]].concat();
    let left = folder.run(SCRIPTED, &["start run", "points loss 0 10", "abort"], &away);
    assert!(left.stderr.contains("using"), "{}", left.stderr);
    fs::remove_file(&configured).unwrap();
    let back = folder.run(SCRIPTED, &["recover 60"], &away);
    assert_reports(
        &back,
        "recovered complete false found 1 delivered 0 rejected 0 blocked 0 left 1",
    );
}

/// Regression: with a thousand orphaned runs, every short program used all of its exit timeout, and one left
/// its own run RUNNING.
#[test]
fn a_short_program_does_not_wait_for_all_that_others_have_left() {
    const LEFT: usize = 20;
    let server = Server::start_with(&[]);
    let folder = Folder::new();
    let proxy = Proxy::start(server.url(), |_| {
        // A run takes about five requests. The requests of all runs take longer than the end of a program
        // may.
        thread::sleep(Duration::from_millis(300));
        None
    });
    let url = proxy.url();
    for number in 0..LEFT {
        let run = format!("start left-{number}");
        let environment = [("MLFLOW_TRACKING_URI", url.as_str())];
        folder.run(SCRIPTED, &[&run, "points loss 0 10", "abort"], &environment);
    }
    let environment = [
        ("MLFLOW_TRACKING_URI", url.as_str()),
        ("MLFLOW_EXIT_TIMEOUT", "20"),
    ];
    let script = ["start own", "points loss 0 10", "end own"];
    let ended = folder.run(SCRIPTED, &script, &environment);
    assert!(ended.took < Duration::from_secs(15), "{:?}", ended.took);
    assert!(folder.journals_left() > 0, "that takes longer than it has");
    let cut_short = "is shipped yet; later tracked programs continue, and mlflow::recover, or `cargo mlflow sync`, ships the rest";
    assert!(ended.stderr.contains(cut_short), "{}", ended.stderr);
    let status = "select status from runs where name = 'own'";
    assert_eq!(one::<String>(&server.database(), status), "FINISHED");
}
