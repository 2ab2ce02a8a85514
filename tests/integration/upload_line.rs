//! The progress of an upload on a terminal: shown while somebody waits for it, and gone afterwards.

use std::fs;

use rustix::process::Signal;

use crate::support::command_line::cargo_mlflow;
use crate::support::fault::Fault;
use crate::support::mlflow::Server;
use crate::support::program::Folder;
use crate::support::proxy::Proxy;
use crate::support::terminal::Terminal;
use crate::support::unique;

const SCRIPTED: &str = env!("CARGO_BIN_EXE_scripted");

const FILE_BYTES: usize = 20 << 20;

/// Starts a program that waits for some seconds for an upload which the server does not answer, and one second more
/// at its end.
fn start(
    folder: &Folder,
    proxy: &Proxy,
    environment: &[(&str, &str)],
    columns: u16,
    seconds: u8,
) -> Terminal {
    let file = folder.path().join("model.bin");
    fs::write(&file, vec![1; FILE_BYTES]).unwrap();
    let log = format!("file {}", file.display());
    let (uri, experiment) = (proxy.url(), unique());
    let mut variables = vec![
        ("MLFLOW_TRACKING_URI", uri.as_str()),
        ("MLFLOW_EXPERIMENT_NAME", &experiment),
        ("MLFLOW_EXIT_TIMEOUT", "1"),
        ("CI", ""),
    ];
    variables.extend(environment);
    let flush = format!("flush {seconds}");
    let steps = ["start one", &log, &flush];
    Terminal::start(folder, SCRIPTED, &steps, &variables, (columns, 24))
}

fn without_an_answer_to_uploads() -> Proxy {
    Proxy::start(Server::shared().url(), |request| {
        request.line.starts_with("PUT").then_some(Fault::Hang)
    })
}

#[test]
fn a_line_shows_an_upload_that_is_waited_for_and_is_erased() {
    let proxy = without_an_answer_to_uploads();
    let folder = Folder::new();
    for columns in [120, 40] {
        let terminal = start(&folder, &proxy, &[], columns, 6);
        let screen = terminal.wait_for(": 20.0 of 20.0 MiB");
        let line = { screen.lines() }
            .find(|line| line.contains("uploading"))
            .unwrap_or_else(|| panic!("{screen}"));
        assert_eq!(line.contains("model.bin"), columns == 120, "{screen}");
        let screen = terminal.wait_for("flushed false");
        assert!(!screen.contains("uploading"), "{screen}");
        let (_, screen) = terminal.end();
        assert!(!screen.contains("uploading"), "{screen}");
    }
}

#[test]
fn no_line_is_shown_in_a_build_service_or_where_no_line_can_be_erased() {
    let proxy = without_an_answer_to_uploads();
    let folder = Folder::new();
    for variable in [("CI", "true"), ("TERM", "dumb")] {
        let terminal = start(&folder, &proxy, &[variable], 120, 6);
        terminal.wait_until(|screen| {
            assert!(!screen.contains("uploading"), "{screen}");
            screen.contains("flushed false")
        });
        let (_, screen) = terminal.end();
        assert!(!screen.contains("uploading"), "{screen}");
    }
}

#[test]
fn sync_shows_the_upload_that_takes_long() {
    let proxy = without_an_answer_to_uploads();
    let folder = Folder::new();
    let terminal = start(&folder, &proxy, &[], 120, 0);
    let (_, screen) = terminal.end();
    assert!(screen.contains("cargo mlflow sync"), "{screen}");
    let uri = proxy.url();
    let arguments = ["sync"];
    let environment = [("MLFLOW_TRACKING_URI", uri.as_str()), ("CI", "")];
    let terminal = Terminal::start(&folder, cargo_mlflow(), &arguments, &environment, (160, 24));
    terminal.wait_for("uploading model.bin: 20.0 of 20.0 MiB");
    // Ctrl-C ends the wait for an answer that never comes.
    terminal.signal(Signal::INT);
    let (_, screen) = terminal.end();
    assert!(!screen.contains("uploading"), "{screen}");
}
