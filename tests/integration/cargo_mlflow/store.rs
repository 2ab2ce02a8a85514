//! Stores that cannot be used: they do not answer, are none of MLflow's, or have a URI of another kind.

use std::fs;

use super::terminal::run_on_terminal;
use super::{NOWHERE, file_uri, leave_killed, run};
use crate::support::fake_server::{FakeServer, Reply};
use crate::support::program::Folder;

#[test]
fn a_store_that_does_not_answer_is_given_up() {
    let folder = Folder::new();
    let silent = FakeServer::start(|_, _| Reply::Hang);
    let url = silent.url();
    for arguments in [
        &["runs"][..],
        &["show", "last"],
        &["experiments"],
        &["export"],
        &["cleanup", "--days", "1"],
    ] {
        let ended = run(
            &folder,
            &[arguments, &["--tracking-uri", &url, "--timeout", "0.2"]].concat(),
        );
        assert_eq!(
            (ended.code, ended.stdout.as_str()),
            (Some(5), ""),
            "{}",
            ended.stderr
        );
        assert!(
            ended.stderr.contains("no answer in time"),
            "{}",
            ended.stderr
        );
        assert_eq!(ended.stderr.lines().count(), 1, "{}", ended.stderr);
    }
    // A person is told after two seconds whom the command waits for.
    let arguments = ["runs", "--tracking-uri", &url, "--timeout", "4"];
    let shown = run_on_terminal(&folder, 120, &arguments, &[("NO_COLOR", "1")]);
    assert_eq!(shown.code, Some(5), "{}", shown.stdout);
    let first = format!("waiting for {url} (--timeout sets how long)");
    assert_eq!(shown.stdout.lines().next(), Some(first.as_str()));
    assert_eq!(shown.stdout.matches("waiting for").count(), 1);
}

/// Each call waits once for its answer.
#[test]
fn a_call_that_was_not_answered_in_time_is_not_repeated() {
    let folder = Folder::new();
    let silent = FakeServer::start(|_, _| Reply::Hang);
    let url = silent.url();
    for command in ["runs", "experiments", "doctor"] {
        let asked = silent.requests().len();
        let ended = run(
            &folder,
            &[command, "--tracking-uri", &url, "--timeout", "1"],
        );
        assert_ne!(ended.code, Some(0), "{command}: {}", ended.stdout);
        let shown = ended.stdout + &ended.stderr;
        assert!(shown.contains("no answer in time"), "{command}: {shown}");
        assert_eq!(silent.requests().len(), asked + 1, "{command}");
    }
}

#[test]
fn a_demo_tells_at_once_that_the_file_is_damaged() {
    let folder = Folder::new();
    fs::write(
        folder.path().join("mlflow.db"),
        "no database at all, but a text",
    )
    .unwrap();
    for arguments in [&["demo"][..], &["demo", "--live"]] {
        let ended = run(&folder, arguments);
        assert_ne!(ended.code, Some(0));
        assert!(ended.stderr.contains("mlflow.db"), "{}", ended.stderr);
        assert!(!ended.stderr.contains("within"), "{}", ended.stderr);
        assert_eq!(ended.stderr.lines().count(), 1, "{}", ended.stderr);
    }
    assert_eq!(folder.journals_left(), 0);
    // How long a demo waits for a server is said in its error.
    let ended = run(
        &folder,
        &["demo", "--tracking-uri", NOWHERE, "--timeout", "0.5"],
    );
    assert_eq!(ended.code, Some(5), "{}", ended.stderr);
    assert!(ended.stderr.contains("within 0.5 s"), "{}", ended.stderr);
}

#[test]
fn a_server_with_other_json_is_no_empty_store() {
    let folder = Folder::new();
    let other = FakeServer::start(|_, _| Reply::json(r#"{"status": "ok", "items": []}"#));
    for command in ["runs", "experiments", "export", "compare"] {
        let ended = run(&folder, &[command, "--tracking-uri", &other.url()]);
        assert_ne!(ended.code, Some(0), "{}{}", ended.stdout, ended.stderr);
        assert_eq!(ended.stdout, "", "{command}");
        assert_eq!(ended.stderr.lines().count(), 1, "{}", ended.stderr);
        assert!(
            ended
                .stderr
                .contains("the answer does not come from MLflow"),
            "{}",
            ended.stderr
        );
    }
    // MLflow leaves out an empty list.
    let empty = FakeServer::start(|_, _| Reply::json("{}"));
    let ended = run(&folder, &["experiments", "--tracking-uri", &empty.url()]);
    assert_eq!(
        (ended.code, ended.stderr.as_str()),
        (Some(0), "no experiments\n")
    );
}

#[test]
fn a_uri_that_cannot_be_used_is_told_once() {
    let folder = Folder::new();
    let fault = "error: the tracking URI \"ftp://x\" cannot be used: the scheme `ftp` is not known; expected http://…, \
                 https://… or sqlite:///…\n";
    for arguments in [
        &["runs"][..],
        &["show"],
        &["compare"],
        &["plot", "loss"],
        &["experiments"],
        &["artifacts", "ls", "last"],
        &["export"],
        &["cleanup", "--days", "1", "--permanent"],
        &["restore", "last"],
        &["sync"],
        &["sync", "--watch"],
        &["journal", "resend"],
        &["demo"],
    ] {
        let ended = run(
            &folder,
            &[arguments, &["--tracking-uri", "ftp://x"]].concat(),
        );
        assert_eq!(
            (ended.code, ended.stdout.as_str()),
            (Some(2), ""),
            "{arguments:?}"
        );
        assert_eq!(ended.stderr, fault, "{arguments:?}");
    }
    let to = run(&folder, &["sync", "--to", "ftp://x"]);
    assert_eq!((to.code, to.stderr.as_str()), (Some(2), fault));
}

#[test]
fn a_folder_of_files_is_named_with_what_to_do() {
    let folder = Folder::new();
    let experiment = folder.path().join("mlruns/0");
    fs::create_dir_all(&experiment).unwrap();
    fs::write(experiment.join("meta.yaml"), "name: Default\n").unwrap();
    for (arguments, code) in [
        (&["runs"][..], 3),
        (&["show"], 3),
        (&["runs", "--tracking-uri", "./mlruns"], 2),
    ] {
        let ended = run(&folder, arguments);
        assert_eq!(ended.code, Some(code), "{}", ended.stderr);
        assert_eq!(ended.stderr.lines().count(), 1, "{}", ended.stderr);
        assert!(
            ended
                .stderr
                .contains("mlflow migrate-filestore --source FOLDER --target sqlite:///mlflow.db")
                && ended
                    .stderr
                    .contains("mlflow server --backend-store-uri FOLDER"),
            "{}",
            ended.stderr
        );
    }
    // Artifacts of a database are in a folder of the same name.
    let folder = Folder::new();
    fs::create_dir_all(folder.path().join("mlruns/0/abc/artifacts")).unwrap();
    let missing = run(&folder, &["runs"]);
    assert!(!missing.stderr.contains("migrate"), "{}", missing.stderr);
}

#[test]
fn a_source_without_journals_is_an_error() {
    let folder = Folder::new();
    leave_killed(&folder, "killed", NOWHERE);
    let to = file_uri(&folder, "mlflow.db");
    let wrong = ["sync", "--from", "http://127.0.0.1:10", "--to", &to];
    for arguments in [&wrong[..], &[&wrong[..], &["--dry-run"]].concat()] {
        let ended = run(&folder, arguments);
        assert_eq!(
            (ended.code, ended.stdout.as_str()),
            (Some(3), ""),
            "{}",
            ended.stderr
        );
        assert_eq!(
            ended.stderr,
            format!(
                "error: --from: there is no journal of `http://127.0.0.1:10`. There are journals of {NOWHERE}\n"
            )
        );
    }
    let right = run(&folder, &["sync", "--from", NOWHERE, "--to", &to]);
    assert_eq!(right.code, Some(0), "{}", right.stderr);
}
