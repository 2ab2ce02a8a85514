//! Files of other users, and entries that are no regular files: a journal is read only if both its directory
//! and its file belong to this user, and nothing in it makes a process wait.

use std::fs::{self, Permissions};
use std::io::{self, Write as _};
use std::os::unix::fs::{PermissionsExt as _, chown, symlink};
use std::os::unix::process::CommandExt as _;
use std::path::{Path, PathBuf};
use std::process::Command;

use rusqlite::Connection;

use crate::support::program::{Folder, one};

const CHECKPOINT: &str = env!("CARGO_BIN_EXE_checkpoint");
const NUMBERS: &str = env!("CARGO_BIN_EXE_numbers");
const SCRIPTED: &str = env!("CARGO_BIN_EXE_scripted");
#[cfg(feature = "tracing")]
const PRINTED: &str = env!("CARGO_BIN_EXE_printed");

const VICTIM: u32 = 65_534;
const ATTACKER: u32 = 65_533;

fn set_mode(path: &Path, mode: u32) {
    fs::set_permissions(path, Permissions::from_mode(mode)).unwrap();
}

fn mode(path: &Path) -> u32 {
    fs::symlink_metadata(path).unwrap().permissions().mode() & 0o777
}

/// Returns all files and directories below `path`.
fn below(path: &Path) -> Vec<PathBuf> {
    let mut found = Vec::new();
    for entry in fs::read_dir(path).into_iter().flatten().flatten() {
        let path = entry.path();
        if entry.file_type().unwrap().is_dir() {
            found.extend(below(&path));
        }
        found.push(path);
    }
    found
}

fn with_extension(path: &Path, extension: &str) -> Vec<PathBuf> {
    let mut files = below(path);
    files.retain(|file| file.extension().is_some_and(|end| end == extension));
    files
}

/// Locks the store of the programs in `folder`, so that what they log stays in their journals.
fn locked(folder: &Folder) -> Connection {
    let lock = folder.database();
    lock.execute_batch("begin exclusive").unwrap();
    lock
}

/// Leaves a journal with points and an artifact that a process could not deliver.
fn leave_a_journal(folder: &Folder) -> PathBuf {
    let file = folder.path().join("weights.bin");
    fs::write(&file, "weights ".repeat(1000)).unwrap();
    let lock = locked(folder);
    let environment = [("MLFLOW_EXIT_TIMEOUT", "0.2")];
    let left = folder.run(CHECKPOINT, &["weights.bin", "10"], &environment);
    assert!(left.success, "{}", left.stderr);
    drop(lock);
    let journal = fs::read_dir(folder.journal()).unwrap().next().unwrap();
    journal.unwrap().path()
}

/// Runs a program that logs and delivers values of its own, whatever lies in the journal's directory. Returns
/// its stderr.
fn next_delivers(folder: &Folder) -> String {
    let environment = [("MLFLOW_EXIT_TIMEOUT", "100")];
    let next = folder.run(NUMBERS, &["next", "10", "1"], &environment);
    assert!(next.success, "{}", next.stderr);
    for silence in ["did not answer", "values wait"] {
        assert!(!next.stderr.contains(silence), "{}", next.stderr);
    }
    let points = "select count(*) from metrics where key = 'thread/0'";
    assert_eq!(one::<i64>(&folder.database(), points), 10);
    next.stderr
}

fn points_of_the_other(folder: &Folder) -> i64 {
    let points = "select count(*) from metrics where key = 'loss'";
    one(&folder.database(), points)
}

fn make_fifo(path: &Path) {
    fs::remove_file(path).unwrap();
    let made = Command::new("mkfifo").arg(path).status();
    assert!(made.unwrap().success());
}

fn is_root() -> bool {
    let is_root = rustix::process::geteuid().is_root();
    if !is_root {
        let _ = writeln!(io::stderr(), "not tested: only root can be two users");
    }
    is_root
}

/// Regression: without HOME, journals lie below the temporary directory, where any user can create a
/// directory first. An attacker could make a victim's process upload a file that only the victim may read, as
/// an artifact of the attacker's run.
#[test]
fn a_file_that_another_users_journal_points_to_is_not_uploaded() {
    if !is_root() {
        return;
    }
    let folder = Folder::new();
    let (temporary, work) = (folder.path().join("tmp"), folder.path().join("work"));
    for directory in [&temporary, &work] {
        fs::create_dir(directory).unwrap();
        set_mode(directory, 0o1777);
    }
    let database = work.join("mlflow.db");
    let uri = format!("sqlite:///{}", database.display());
    let run = |user: u32, program: &str, arguments: &[&str]| {
        let mut command = folder.command(program);
        command.uid(user).gid(user).current_dir(&work);
        command.env_remove("MLFLOW_JOURNAL_DIR");
        command.env_remove("HOME").env_remove("XDG_STATE_HOME");
        command.env("TMPDIR", &temporary).args(arguments);
        command.env("MLFLOW_TRACKING_URI", &uri);
        command.env("MLFLOW_EXIT_TIMEOUT", "100");
        let output = command.output().unwrap();
        let stderr = String::from_utf8(output.stderr).unwrap();
        assert!(output.status.success(), "{stderr}");
        stderr
    };
    // Every user may write to the database, as every user may send to a server.
    run(ATTACKER, NUMBERS, &["first", "1", "1"]);
    for file in below(&work) {
        set_mode(&file, if file.is_dir() { 0o777 } else { 0o666 });
    }
    let weights = work.join("weights.bin");
    fs::write(&weights, "weights ".repeat(10_000)).unwrap();
    let lock = Connection::open(&database).unwrap();
    lock.execute_batch("begin exclusive").unwrap();
    run(ATTACKER, CHECKPOINT, &["weights.bin", "10"]);
    drop(lock);
    let secret = folder.path().join("secret");
    fs::write(&secret, "the victim's secret").unwrap();
    chown(&secret, Some(VICTIM), Some(VICTIM)).unwrap();
    set_mode(&secret, 0o600);
    let artifacts = with_extension(&temporary, "artifact");
    assert_eq!(artifacts.len(), 2, "{artifacts:?}");
    for artifact in artifacts {
        fs::remove_file(&artifact).unwrap();
        symlink(&secret, &artifact).unwrap();
    }
    // The attacker puts the journal at every place that the victim may read.
    let journal = fs::read_dir(&temporary).unwrap().next().unwrap().unwrap();
    let places = [
        "mlflow-runtime".to_owned(),
        format!("mlflow-runtime-{VICTIM}"),
        format!("mlflow-rs-{VICTIM}"),
    ];
    for place in places.map(|place| temporary.join(place)) {
        if place != journal.path() {
            let mut copy = Command::new("cp");
            copy.arg("-a").arg(journal.path()).arg(&place);
            assert!(copy.status().unwrap().success());
        }
        for file in below(&place) {
            if !file.is_symlink() {
                set_mode(&file, if file.is_dir() { 0o777 } else { 0o666 });
            }
        }
        set_mode(&place, 0o777);
    }
    let told = run(VICTIM, NUMBERS, &["next", "10", "1"]);
    for file in below(&work) {
        let content = fs::read(&file).unwrap_or_default();
        let secret = b"the victim's secret";
        let is_there = content.windows(secret.len()).any(|part| part == secret);
        assert!(!is_there, "{}", file.display());
    }
    let refused = told.lines().filter(|line| line.contains("another user"));
    assert_eq!(refused.count(), 1, "{told}");
    // The victim's own values have arrived all the same.
    let database = Connection::open(&database).unwrap();
    let points = "select count(*) from metrics where key = 'thread/0'";
    assert_eq!(one::<i64>(&database, points), 11);
    let points = "select count(*) from metrics where key = 'loss'";
    assert_eq!(one::<i64>(&database, points), 0);
}

/// A group of users shares a directory for journals. Each process has a directory of its own in it.
#[test]
fn in_a_directory_that_users_share_each_ships_its_own() {
    if !is_root() {
        return;
    }
    let folder = Folder::new();
    set_mode(folder.path(), 0o777);
    let journal = leave_a_journal(&folder);
    set_mode(&folder.journal(), 0o1777);
    for file in below(folder.path()) {
        if !file.starts_with(folder.journal()) {
            set_mode(&file, if file.is_dir() { 0o777 } else { 0o666 });
        }
    }
    // Root's journal is now open to all users, as after a careless copy.
    set_mode(&journal, 0o777);
    for file in below(&journal) {
        set_mode(&file, 0o666);
    }
    let run = |user: u32| {
        let mut command = folder.command(NUMBERS);
        command.uid(user).gid(user).args(["next", "10", "1"]);
        let output = command.output().unwrap();
        let stderr = String::from_utf8(output.stderr).unwrap();
        assert!(!stderr.contains("WARN") || user == 0, "{stderr}");
        stderr
    };
    run(VICTIM);
    assert_eq!(points_of_the_other(&folder), 0, "it is not the user's");
    let told = run(0);
    assert_eq!(points_of_the_other(&folder), 0, "others can write to it");
    assert!(told.contains("writable by others"), "{told}");
    set_mode(&journal, 0o700);
    for file in below(&journal) {
        set_mode(&file, 0o600);
    }
    run(0);
    assert_eq!(points_of_the_other(&folder), 10);
    assert_eq!(folder.journals_left(), 0);
}

#[test]
fn a_fifo_in_the_place_of_a_lock_keeps_no_process_waiting() {
    let folder = Folder::new();
    let journal = leave_a_journal(&folder);
    make_fifo(&journal.join("lock"));
    next_delivers(&folder);
    assert_eq!(points_of_the_other(&folder), 0);
}

#[test]
fn a_fifo_in_the_place_of_a_segment_keeps_no_process_waiting() {
    let folder = Folder::new();
    let journal = leave_a_journal(&folder);
    let segments = with_extension(&journal, "segment");
    make_fifo(&segments[0]);
    next_delivers(&folder);
    assert_eq!(points_of_the_other(&folder), 0);
}

#[test]
fn a_fifo_in_the_place_of_an_artifact_keeps_no_process_waiting() {
    let folder = Folder::new();
    let journal = leave_a_journal(&folder);
    for artifact in with_extension(&journal, "artifact") {
        make_fifo(&artifact);
    }
    let told = next_delivers(&folder);
    assert!(told.contains("not a regular file"), "{told}");
    assert_eq!(points_of_the_other(&folder), 10, "the rest is shipped");
}

#[test]
fn a_link_to_a_directory_is_no_journal() {
    let folder = Folder::new();
    let journal = leave_a_journal(&folder);
    let elsewhere = folder.path().join("elsewhere");
    fs::rename(&journal, &elsewhere).unwrap();
    symlink(&elsewhere, &journal).unwrap();
    next_delivers(&folder);
    assert_eq!(points_of_the_other(&folder), 0);
    assert!(!below(&elsewhere).is_empty());
}

#[test]
fn files_of_a_journal_are_for_their_user_alone() {
    let folder = Folder::new();
    let journal = leave_a_journal(&folder);
    assert_eq!(mode(&folder.journal()), 0o700);
    assert_eq!(mode(&journal), 0o700);
    let files = below(&journal);
    assert_eq!(with_extension(&journal, "artifact").len(), 2, "{files:?}");
    for file in files {
        assert_eq!(mode(&file), 0o600, "{}", file.display());
    }
}

#[cfg(feature = "tracing")]
#[test]
fn a_console_of_a_journal_is_for_its_user_alone() {
    let folder = Folder::new();
    let lock = locked(&folder);
    let environment = [
        ("MLFLOW_EXIT_TIMEOUT", "0.2"),
        ("MLFLOW_CAPTURE_CONSOLE", "true"),
    ];
    folder.run(PRINTED, &["aborts"], &environment);
    drop(lock);
    let consoles = with_extension(&folder.journal(), "console");
    assert!(!consoles.is_empty());
    for file in consoles {
        assert_eq!(mode(&file), 0o600, "{}", file.display());
    }
}

/// Runs the program under `umask 000`, by which others may write to each file that has no mode of its own.
fn run_without_umask(folder: &Folder, script: &[&str], environment: &[(&str, &str)]) -> String {
    let mut command = folder.command("/bin/sh");
    command
        .args(["-c", "umask 000; exec \"$0\" \"$@\"", SCRIPTED])
        .args(script);
    let output = command.envs(environment.iter().copied()).output().unwrap();
    let stderr = String::from_utf8(output.stderr).unwrap();
    assert!(output.status.success(), "{stderr}");
    stderr
}

/// Regression: a user's `umask 000` made files of artifacts writable for everybody.
#[test]
fn without_a_umask_others_can_write_to_nothing() {
    let folder = Folder::new();
    fs::write(folder.path().join("weights.bin"), "w".repeat(100_000)).unwrap();
    let script = [
        "start r",
        "points loss 0 10",
        "text a/b/notes.txt hello",
        "file weights.bin",
        "end r",
    ];
    // A first run makes the file of the store, whose mode is SQLite's.
    run_without_umask(&folder, &script, &[]);
    let lock = locked(&folder);
    run_without_umask(&folder, &script, &[("MLFLOW_EXIT_TIMEOUT", "0.2")]);
    drop(lock);
    let journal: Vec<_> = { below(&folder.journal()) }
        .into_iter()
        .map(|path| (mode(&path), path))
        .collect();
    assert!(journal.len() > 3, "{journal:?}");
    for (mode, path) in journal {
        assert_eq!(mode & 0o077, 0, "{mode:o} of {}", path.display());
    }
    let artifacts = below(&folder.path().join("mlruns"))
        .into_iter()
        .chain(below(&folder.path().join("mlartifacts")));
    let artifacts: Vec<_> = artifacts.map(|path| (mode(&path), path)).collect();
    let is_notes = |(_, path): &(u32, PathBuf)| path.ends_with("a/b/notes.txt");
    assert!(artifacts.iter().any(is_notes), "{artifacts:?}");
    for (mode, path) in artifacts {
        assert_eq!(mode & 0o002, 0, "{mode:o} of {}", path.display());
    }
}

/// Regression: a draft had a name that could be guessed, and was opened through a link.
#[test]
fn a_link_below_the_artifacts_of_a_run_is_not_written_through() {
    let folder = Folder::new();
    let outside = folder.path().join("outside");
    fs::create_dir(&outside).unwrap();
    let script = [
        "start r",
        "text first.txt hello",
        "flush 60",
        "wait ready",
        "text planted/notes.txt secret",
        "end r",
    ];
    let mut live = folder.start(SCRIPTED, &script, &[("MLFLOW_EXIT_TIMEOUT", "2")]);
    live.wait_for_stdout("ready");
    let artifacts = ["mlruns", "mlartifacts"].map(|name| below(&folder.path().join(name)));
    let first = artifacts
        .iter()
        .flatten()
        .find(|path| path.ends_with("first.txt"));
    let artifacts = first.expect("the artifact").parent().unwrap();
    symlink(&outside, artifacts.join("planted")).unwrap();
    live.tell();
    let ended = live.end();
    assert!(below(&outside).is_empty(), "{:?}", below(&outside));
    assert!(
        ended
            .stderr
            .contains("is a symbolic link, through which nothing is written"),
        "{}",
        ended.stderr
    );
    let statuses: String = one(&folder.database(), "select status from runs");
    assert_eq!(statuses, "FINISHED", "{}", ended.stderr);
}

/// Regression: a server chose where a download was written through a link in its directory.
#[test]
fn a_link_in_the_directory_of_a_download_is_not_written_through() {
    let folder = Folder::new();
    let script = ["start r", "text models/net.txt weights", "end r"];
    assert!(folder.run(SCRIPTED, &script, &[]).success);
    let [target, outside] = ["target", "outside"].map(|name| folder.path().join(name));
    fs::create_dir(&target).unwrap();
    fs::create_dir(&outside).unwrap();
    symlink(&outside, target.join("models")).unwrap();
    let uri = format!("sqlite:///{}/mlflow.db", folder.path().display());
    let run_id: String = one(&folder.database(), "select run_uuid from runs");
    let client = mlflow::blocking::Client::with_config(mlflow::Config::new().tracking_uri(uri));
    let download = mlflow::DownloadArtifacts::new(&run_id, &target);
    let error = client.download_artifacts(download).expect_err("a link");
    assert!(error.to_string().contains("symbolic link"), "{error}");
    assert!(below(&outside).is_empty());
}

/// A file that has a second name elsewhere is replaced, and not written to.
#[test]
fn a_hard_link_in_the_place_of_an_artifact_or_download_leaves_the_other_file_as_it_is() {
    let folder = Folder::new();
    let keys = folder.path().join("keys");
    fs::write(&keys, "k3ys").unwrap();
    let script = [
        "start r",
        "text first.txt hello",
        "flush 60",
        "wait ready",
        "text notes.txt weights",
        "end r",
    ];
    let mut live = folder.start(SCRIPTED, &script, &[]);
    live.wait_for_stdout("ready");
    let artifacts = ["mlruns", "mlartifacts"].map(|name| below(&folder.path().join(name)));
    let first = { artifacts.iter().flatten() }.find(|path| path.ends_with("first.txt"));
    let artifacts = first.expect("the artifact").parent().unwrap();
    fs::hard_link(&keys, artifacts.join("notes.txt")).unwrap();
    live.tell();
    let ended = live.end();
    let written = fs::read_to_string(artifacts.join("notes.txt")).unwrap();
    assert_eq!(written, "weights", "{}", ended.stderr);
    assert_eq!(fs::read_to_string(&keys).unwrap(), "k3ys");

    let target = folder.path().join("target");
    fs::create_dir(&target).unwrap();
    fs::hard_link(&keys, target.join("notes.txt")).unwrap();
    let uri = format!("sqlite:///{}/mlflow.db", folder.path().display());
    let run_id: String = one(&folder.database(), "select run_uuid from runs");
    let client = mlflow::blocking::Client::with_config(mlflow::Config::new().tracking_uri(uri));
    let download = mlflow::DownloadArtifacts::new(&run_id, &target);
    client.download_artifacts(download).expect("a download");
    let downloaded = fs::read_to_string(target.join("notes.txt")).unwrap();
    assert_eq!(downloaded, "weights");
    assert_eq!(fs::read_to_string(&keys).unwrap(), "k3ys");
}
