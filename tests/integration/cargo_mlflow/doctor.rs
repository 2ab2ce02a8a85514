//! `cargo mlflow doctor`: every section is shown whatever fails, the exit code says if something is wrong, and no
//! secret is shown.

use std::fs::{self, Permissions};
use std::os::unix::fs::PermissionsExt as _;
use std::process::{Command, Output};
use std::time::{Duration, SystemTime};

use serde_json::Value;

use crate::support::command_line::cargo_mlflow;
use crate::support::fake_server::{FakeServer, Reply};
use crate::support::mlflow::{Server, free_port};
use crate::support::program::{Ended, Folder};

const SCRIPTED: &str = env!("CARGO_BIN_EXE_scripted");

/// Runs the command with these arguments and variables.
fn run(folder: &Folder, arguments: &[&str], environment: &[(&str, &str)]) -> Ended {
    let home = folder.path().to_str().unwrap();
    let environment = [&[("HOME", home)], environment].concat();
    folder.run(
        cargo_mlflow(),
        &[&["doctor"], arguments].concat(),
        &environment,
    )
}

/// Runs the command, and returns its JSON after a check of the exit code.
fn json(folder: &Folder, environment: &[(&str, &str)]) -> Value {
    let ended = run(folder, &["--json"], environment);
    let report: Value = serde_json::from_str(&ended.stdout).expect("JSON");
    let has_errors = report["errors"] != 0;
    assert_eq!(ended.code, Some(i32::from(has_errors)), "{report:#}");
    // A warning on stderr would repeat a finding.
    let expected = if has_errors { 1 } else { 0 };
    assert_eq!(ended.stderr.lines().count(), expected, "{}", ended.stderr);
    report
}

/// Returns level and text of a section's findings. Each one that is not `ok` says what to do.
fn findings(report: &Value, section: &str) -> Vec<(String, String)> {
    let findings = report[section]["findings"].as_array().unwrap();
    let text = |value: &Value| value.as_str().unwrap().to_owned();
    { findings.iter() }
        .map(|finding| {
            let level = text(&finding["level"]);
            assert_eq!(finding["advice"].is_null(), level == "ok", "{finding}");
            (level, text(&finding["text"]))
        })
        .collect()
}

/// Asserts that a section has a finding of this level whose text contains `part`.
fn assert_finding(report: &Value, section: &str, level: &str, part: &str) {
    let found = findings(report, section);
    let is_it = |(its, text): &(String, String)| its == level && text.contains(part);
    assert!(found.iter().any(is_it), "no {level} {part:?}: {found:#?}");
}

/// Returns value and source of a setting.
fn setting(report: &Value, name: &str) -> (Value, Value) {
    let settings = report["configuration"]["settings"].as_array().unwrap();
    let mut found = settings.iter().filter(|setting| setting["name"] == name);
    let setting = found.next().expect(name);
    (setting["value"].clone(), setting["source"].clone())
}

/// Starts a server that accepts `Bearer right`, and whose clock is ahead by this number of seconds.
fn server(ahead: i64) -> FakeServer {
    FakeServer::start(move |request, _| {
        let since = SystemTime::UNIX_EPOCH.elapsed().unwrap().as_secs();
        let seconds = since.checked_add_signed(ahead).unwrap();
        let date = httpdate::fmt_http_date(SystemTime::UNIX_EPOCH + Duration::from_secs(seconds));
        let (status, body) = match request.headers.get("authorization").map(String::as_str) {
            Some("Bearer right") if request.line == "GET /version" => (200, "3.17.2"),
            Some("Bearer right") => (200, r#"{"experiments": []}"#),
            Some(_) => (403, "Permission denied"),
            None => (401, "You are not authenticated"),
        };
        Reply::Answer(status, format!("Date: {date}\r\n"), body.to_owned())
    })
}

#[test]
fn a_server() {
    let folder = Folder::new();
    let url = Server::shared().url();
    let report = json(&folder, &[("MLFLOW_TRACKING_URI", url)]);
    assert_eq!(report["errors"], 0, "{report:#}");
    let store = &report["store"];
    assert_eq!(store["uri"], url);
    assert_eq!(store["kind"], "server");
    assert_eq!(store["reachable"], true);
    assert_eq!(store["authenticated"], true);
    assert!(store["latency_ms"].as_f64().unwrap() > 0.0);
    let version = store["version"].as_str().unwrap();
    assert_finding(&report, "store", "ok", &format!("MLflow {version}"));
    assert_finding(&report, "store", "ok", "needs no login");
    assert_finding(&report, "store", "ok", "clock agrees");
    let difference = store["clock_difference_ms"].as_i64().expect("its time");
    assert!(difference.abs() < 30_000, "{difference}");
    let (uri, source) = setting(&report, "MLFLOW_TRACKING_URI");
    assert_eq!((uri, source), (url.into(), "variable".into()));

    let other = [("MLFLOW_TRACKING_URI", "http://127.0.0.1:9")];
    let ended = run(&folder, &["--json", "--tracking-uri", url], &other);
    assert_eq!(ended.code, Some(0), "{}", ended.stderr);
    let report: Value = serde_json::from_str(&ended.stdout).expect("JSON");
    assert_eq!(report["store"]["uri"], url);
    let (uri, source) = setting(&report, "MLFLOW_TRACKING_URI");
    assert_eq!((uri, source), (url.into(), "command_line".into()));
}

#[test]
fn without_a_server_everything_else_is_shown() {
    let folder = Folder::new();
    let url = format!("http://me:hunter2@127.0.0.1:{}", free_port());
    let report = json(&folder, &[("MLFLOW_TRACKING_URI", &url)]);
    assert_eq!(report["errors"], 1, "{report:#}");
    assert_eq!(report["store"]["reachable"], false);
    assert_finding(&report, "store", "error", "Connection refused");
    assert_finding(&report, "configuration", "ok", "can be used");
    assert_finding(&report, "journal", "ok", "does not exist yet");
    assert_eq!(findings(&report, "git").len(), 1);
    let redacted = ("[redacted]".into(), "tracking_uri".into());
    assert_eq!(setting(&report, "MLFLOW_TRACKING_USERNAME"), redacted);
    assert_eq!(setting(&report, "MLFLOW_TRACKING_PASSWORD"), redacted);
    assert!(!report.to_string().contains("hunter2"));
    assert!(!folder.journal().exists(), "nothing is created");
}

#[test]
fn the_wait_for_a_silent_server_is_bounded() {
    let folder = Folder::new();
    let deaf = FakeServer::start_deaf();
    let environment = [
        ("MLFLOW_TRACKING_URI", &*deaf.url()),
        ("MLFLOW_HTTP_REQUEST_TIMEOUT", "0.3"),
    ];
    let report = json(&folder, &environment);
    assert_finding(&report, "store", "error", "no answer in time");
}

#[test]
fn credentials_that_are_refused() {
    let folder = Folder::new();
    let server = server(0);
    let url = ("MLFLOW_TRACKING_URI", &*server.url());
    let none = json(&folder, &[url]);
    assert_finding(&none, "store", "error", "refuses requests without a login");
    let wrong = json(&folder, &[url, ("MLFLOW_TRACKING_TOKEN", "wr0ng")]);
    assert_finding(
        &wrong,
        "store",
        "error",
        "refuses the token (MLFLOW_TRACKING_TOKEN)",
    );
    assert_eq!(wrong["store"]["authenticated"], false);
    let half = [
        url,
        ("MLFLOW_TRACKING_TOKEN", "right"),
        ("MLFLOW_TRACKING_USERNAME", "alice"),
    ];
    let half = json(&folder, &half);
    assert_finding(&half, "store", "ok", "accepts the token");
    assert_finding(&half, "store", "ok", "MLflow 3.17.2");
    let unused = "MLFLOW_TRACKING_USERNAME (MLFLOW_TRACKING_USERNAME) is not used";
    assert_finding(&half, "store", "warning", unused);

    let credentials = folder.path().join(".mlflow/credentials");
    fs::create_dir(credentials.parent().unwrap()).unwrap();
    let text = "[mlflow]\nmlflow_tracking_username = bob\nmlflow_tracking_password = s3cr3t\n";
    fs::write(&credentials, text).unwrap();
    let file = json(&folder, &[url]);
    let login = format!("the user name bob ({})", credentials.display());
    assert_finding(&file, "store", "error", &login);
    let redacted = ("[redacted]".into(), "credentials_file".into());
    assert_eq!(setting(&file, "MLFLOW_TRACKING_PASSWORD"), redacted);
    for report in [none, wrong, half, file] {
        let shown = report.to_string();
        assert!(!shown.contains("wr0ng") && !shown.contains("s3cr3t"));
    }
}

#[test]
fn a_wrong_clock() {
    let folder = Folder::new();
    for (ahead, level, text) in [
        (0, "ok", "clock agrees"),
        (30, "ok", "clock agrees"),
        (2 * 3600 + 30, "warning", "is 2 h 0 min behind the server's"),
        (-120, "warning", "ahead of the server's"),
    ] {
        let server = server(ahead);
        let environment = [
            ("MLFLOW_TRACKING_URI", &*server.url()),
            ("MLFLOW_TRACKING_TOKEN", "right"),
        ];
        let report = json(&folder, &environment);
        assert_eq!(report["errors"], 0, "{report:#}");
        assert_finding(&report, "store", level, text);
        let difference = report["store"]["clock_difference_ms"].as_i64().unwrap();
        let error = difference - 1000 * ahead;
        assert!(error.abs() < 20_000, "{difference} of {ahead} s");
    }
}

#[test]
fn a_sqlite_file() {
    let folder = Folder::new();
    let missing = json(&folder, &[]);
    assert_eq!(missing["errors"], 0);
    assert_finding(&missing, "store", "ok", "does not exist yet");
    let file = folder.path().join("mlflow.db");
    assert!(!file.exists(), "nothing is created");

    let script = ["start a", "points loss 0 10", "end a"];
    assert!(folder.run(SCRIPTED, &script, &[]).success);
    let report = json(&folder, &[]);
    assert_eq!(report["errors"], 0, "{report:#}");
    let store = &report["store"];
    assert_eq!(store["kind"], "sqlite");
    assert_eq!(store["file"]["path"], file.to_str().unwrap());
    assert_eq!(store["file"]["exists"], true);
    assert_eq!(store["file"]["writable"], true);
    let bytes = fs::metadata(&file).unwrap().len();
    assert_eq!(store["file"]["bytes"], bytes);
    assert_finding(&report, "store", "ok", "schema revision 7f2a7d5fae7d");

    fs::write(&file, "no database, whatever its name says").unwrap();
    let foreign = json(&folder, &[]);
    assert_eq!(foreign["errors"], 1);
    assert_finding(&foreign, "store", "error", "cannot be used");
}

#[test]
fn variables_that_cannot_be_used_are_warnings_with_what_to_do() {
    let folder = Folder::new();
    let environment = [
        ("MLFLOW_EXIT_TIMEOUT", "soon"),
        ("MLFLOW_TRACKING_ENABLED", "false"),
        ("RANK", "many"),
        ("WORLD_SIZE", "2"),
        ("MLFLOW_TRACKING_AUTH", "arn"),
    ];
    let report = json(&folder, &environment);
    assert_eq!(report["errors"], 0, "{report:#}");
    for text in [
        "MLFLOW_EXIT_TIMEOUT=\"soon\" cannot be used",
        "tracking is turned off",
        "RANK=\"many\" cannot be used",
        "MLFLOW_TRACKING_AUTH=\"arn\" cannot be used",
    ] {
        assert_finding(&report, "configuration", "warning", text);
    }
    let default = ("5".into(), "default".into());
    assert_eq!(setting(&report, "MLFLOW_EXIT_TIMEOUT"), default);
    let off = ("false".into(), "variable".into());
    assert_eq!(setting(&report, "MLFLOW_TRACKING_ENABLED"), off);
}

#[test]
fn a_tracking_uri_that_cannot_be_used_is_one_error() {
    let folder = Folder::new();
    for (arguments, environment, text) in [
        (
            &[][..],
            &[("MLFLOW_TRACKING_URI", "mlruns")][..],
            "a folder",
        ),
        (
            &["--tracking-uri", "me:hunter2@host:5000"],
            &[],
            "expected http://host:5000",
        ),
    ] {
        let ended = run(&folder, &[&["--json"], arguments].concat(), environment);
        assert_eq!(ended.code, Some(1));
        let report: Value = serde_json::from_str(&ended.stdout).expect("JSON");
        assert_eq!(report["errors"], 1, "{report:#}");
        assert_finding(&report, "configuration", "error", text);
        assert_eq!(report["store"]["kind"], "unusable");
        assert_finding(&report, "journal", "ok", "");
        assert!(!ended.stdout.contains("hunter2"), "{}", ended.stdout);
        assert!(!ended.stderr.contains("hunter2"), "{}", ended.stderr);
    }
}

#[test]
fn the_journal_and_what_waits_there() {
    let folder = Folder::new();
    let environment = [
        ("MLFLOW_TRACKING_URI", "http://127.0.0.1:9"),
        ("MLFLOW_EXIT_TIMEOUT", "0.1"),
    ];
    let script = ["start a", "points loss 0 100", "wait ready"];
    let mut live = folder.start(SCRIPTED, &script, &environment);
    live.wait_for_stdout("ready");
    let report = json(&folder, &[]);
    let journal = &report["journal"];
    assert_eq!(journal["path"], folder.journal().to_str().unwrap());
    assert_eq!(journal["exists"], true);
    assert_eq!(journal["usable"], true);
    assert!(journal["free_bytes"].as_u64().unwrap() > 0);
    assert_eq!(journal["waiting"]["live"], 1);
    assert_eq!(journal["waiting"]["orphaned"], 0);
    assert!(journal["waiting"]["bytes"].as_u64().unwrap() > 0);
    assert_finding(&report, "journal", "ok", "1 journal of running programs");
    live.kill();
    let report = json(&folder, &[]);
    assert_eq!(report["journal"]["waiting"]["orphaned"], 1);
    assert_finding(
        &report,
        "journal",
        "warning",
        "1 journal of programs that have ended",
    );
    assert_eq!(report["errors"], 0, "{report:#}");
    assert_eq!(folder.journals_left(), 1, "it is left as it was");
}

#[test]
fn a_journal_directory_that_cannot_be_used() {
    let folder = Folder::new();
    let file = folder.path().join("file");
    fs::write(&file, "").unwrap();
    let inside = file.join("journal");
    let report = json(&folder, &[("MLFLOW_JOURNAL_DIR", inside.to_str().unwrap())]);
    assert_eq!(report["errors"], 1, "{report:#}");
    assert_eq!(report["journal"]["usable"], false);
    assert_finding(&report, "journal", "error", "cannot be used");

    // A default directory has to be this user's alone.
    let state = folder.path().join(".local/state/mlflow-runtime");
    fs::create_dir_all(&state).unwrap();
    fs::set_permissions(&state, Permissions::from_mode(0o777)).unwrap();
    let report = json(&folder, &[("MLFLOW_JOURNAL_DIR", "")]);
    assert_finding(&report, "journal", "error", "is writable by others");
}

/// Runs the command with nothing in its environment.
fn run_bare(folder: &Folder, program: &str, arguments: &[&str]) -> Output {
    Command::new(program)
        .args(arguments)
        .current_dir(folder.path())
        .env_clear()
        .output()
        .unwrap()
}

#[test]
fn a_machine_without_git_and_home() {
    let folder = Folder::new();
    let output = run_bare(&folder, cargo_mlflow(), &["doctor", "--json"]);
    let report: Value = serde_json::from_slice(&output.stdout).expect("JSON");
    assert_eq!(output.status.code(), Some(0), "{report:#}");
    assert_finding(&report, "git", "warning", "records no commit");

    let commit = "0123456789012345678901234567890123456789";
    fs::create_dir(folder.path().join(".git")).unwrap();
    fs::write(folder.path().join(".git/HEAD"), commit).unwrap();
    let output = run_bare(&folder, cargo_mlflow(), &["doctor", "--json"]);
    let report: Value = serde_json::from_slice(&output.stdout).expect("JSON");
    assert_eq!(report["git"]["commit"], commit);
    assert_finding(&report, "git", "ok", "records the commit 012345678901");
    let report = json(&folder, &[("GIT_COMMIT", "abcdef")]);
    assert_eq!(report["git"]["commit"], "abcdef");
}

#[test]
fn people_see_every_section_without_colours_in_a_pipe() {
    let folder = Folder::new();
    let environment = [
        ("MLFLOW_TRACKING_URI", "http://127.0.0.1:9"),
        ("MLFLOW_TRACKING_PASSWORD", "hunter2"),
        ("MLFLOW_CAPTURE_CONSOLE", "maybe"),
    ];
    let ended = run(&folder, &[], &environment);
    assert_eq!(ended.code, Some(1), "{}", ended.stderr);
    for line in [
        "Configuration",
        "Store",
        "Journal",
        "Git",
        "  warning  MLFLOW_CAPTURE_CONSOLE=\"maybe\" cannot be used and is ignored; expected true, false, 1 or 0",
        "           fix or unset MLFLOW_CAPTURE_CONSOLE",
        "1 error, 3 warnings",
    ] {
        assert!(
            ended.stdout.lines().any(|found| found == line),
            "{line}: {}",
            ended.stdout
        );
    }
    assert!(!ended.stdout.contains('\u{1b}'), "{}", ended.stdout);
    assert!(!ended.stdout.contains("hunter2"), "{}", ended.stdout);
    assert_eq!(ended.stderr.trim_end(), "error: 1 error found");
}
