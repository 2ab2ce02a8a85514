//! The command line, `cargo mlflow`, started as a user would.

mod cleanup;
mod completions;
mod doctor;
mod export;
mod import;
mod inspect;
mod journal;
mod mcp;
mod runs;
mod store;
mod sync;
mod terminal;
mod watch;

use std::collections::BTreeMap;
use std::fs;
use std::path::{Path, PathBuf};

use serde_json::Value;

use crate::support::command_line::cargo_mlflow;
use crate::support::program::{Ended, Folder, Live};

const SCRIPTED: &str = env!("CARGO_BIN_EXE_scripted");

/// Address at which nothing listens.
const NOWHERE: &str = "http://127.0.0.1:9";

/// Runs a command of `cargo mlflow` in the folder, with its journals.
fn run(folder: &Folder, arguments: &[&str]) -> Ended {
    folder.run(cargo_mlflow(), arguments, &[])
}

/// Runs a command that is to succeed, and returns its JSON.
fn json(folder: &Folder, arguments: &[&str]) -> Value {
    let ended = run(folder, &[arguments, &["--json"]].concat());
    assert_eq!(ended.code, Some(0), "{}{}", ended.stdout, ended.stderr);
    serde_json::from_str(&ended.stdout).expect("JSON")
}

/// Runs a script of the program `scripted`, for a server at which nothing listens.
fn run_offline(folder: &Folder, url: &str, script: &[&str]) -> Ended {
    let environment = [("MLFLOW_TRACKING_URI", url), ("MLFLOW_EXIT_TIMEOUT", "0.1")];
    folder.run(SCRIPTED, script, &environment)
}

/// Starts a script for a server at which nothing listens, which ends with `wait ready`.
fn start_offline(folder: &Folder, url: &str, script: &[&str]) -> Live {
    let script = [script, &["wait ready"]].concat();
    let environment = [("MLFLOW_TRACKING_URI", url), ("MLFLOW_EXIT_TIMEOUT", "0.1")];
    let mut live = folder.start(SCRIPTED, &script, &environment);
    live.wait_for_stdout("ready");
    live
}

/// Leaves the journal of a process that SIGKILL has ended in a run with 100 points.
fn leave_killed(folder: &Folder, run: &str, url: &str) {
    let start = format!("start {run}");
    start_offline(folder, url, &[&start, "param lr 0.1", "points loss 0 100"]).kill();
}

/// Returns the journals that `journal ls` lists.
fn journals(folder: &Folder) -> Vec<Value> {
    json(folder, &["journal", "ls"])
        .as_array()
        .expect("an array")
        .clone()
}

/// Returns the number of values that wait in the only journal.
fn waiting(folder: &Folder) -> u64 {
    let journals = journals(folder);
    assert_eq!(journals.len(), 1, "{journals:#?}");
    journals[0]["waiting_values"].as_u64().expect("a number")
}

/// Returns the name of the only journal.
fn only_name(folder: &Folder) -> String {
    let journals = journals(folder);
    assert_eq!(journals.len(), 1, "{journals:#?}");
    journals[0]["name"].as_str().expect("a name").to_owned()
}

/// Returns all files below the folder's journals, with their contents.
fn contents(folder: &Folder) -> BTreeMap<PathBuf, Vec<u8>> {
    fn collect(directory: &Path, found: &mut BTreeMap<PathBuf, Vec<u8>>) {
        for entry in fs::read_dir(directory).unwrap() {
            let path = entry.unwrap().path();
            if path.is_dir() {
                collect(&path, found);
            } else {
                found.insert(path.clone(), fs::read(&path).unwrap());
            }
        }
    }
    let mut found = BTreeMap::new();
    collect(&folder.journal(), &mut found);
    found
}

/// Overwrites bytes in the middle of what the only segment of the journals holds.
fn damage(folder: &Folder) {
    let segments: Vec<PathBuf> = { contents(folder).into_keys() }
        .filter(|path| {
            path.extension()
                .is_some_and(|extension| extension == "segment")
        })
        .collect();
    assert_eq!(segments.len(), 1, "{segments:?}");
    let mut bytes = fs::read(&segments[0]).unwrap();
    let written = bytes.iter().rposition(|byte| *byte != 0).unwrap();
    // The last records are points of 40 bytes. The middle of a few of them is hit.
    let middle = written - 40 * 50;
    for byte in &mut bytes[middle..middle + 100] {
        *byte ^= 0x55;
    }
    fs::write(&segments[0], bytes).unwrap();
}

/// Returns the URI of a SQLite file in the folder.
fn file_uri(folder: &Folder, name: &str) -> String {
    format!("sqlite:///{}", folder.path().join(name).display())
}
