//! Guide on testing: a project outside the workspace that tests itself on all three levels.

use std::fs;
use std::path::Path;
use std::process::Command;

use crate::support::mlflow::Server;

#[test]
fn a_project_outside_tests_itself() {
    let root = Path::new(env!("CARGO_MANIFEST_DIR")).join("..");
    let project = root.join("docs/testing");
    // The versions locked by the workspace are on this machine, so that no download is needed.
    fs::copy(root.join("Cargo.lock"), project.join("Cargo.lock")).unwrap();
    let mut cargo = Command::new(env!("CARGO"));
    let output = cargo
        .args(["test", "--offline", "--features", "server-tests"])
        .current_dir(&project)
        .env("CARGO_TARGET_DIR", root.join("target/outside"))
        .env("MLFLOW_TRACKING_URI", Server::shared().url())
        .env("INSTA_UPDATE", "no")
        .output()
        .unwrap();
    let said = String::from_utf8_lossy(&output.stdout);
    assert!(
        output.status.success(),
        "{said}\n{}",
        String::from_utf8_lossy(&output.stderr)
    );
    let passed = |count: &str| {
        said.matches(&format!("test result: ok. {count} passed"))
            .count()
    };
    // The counts are those of the tests with the fake (9), then the file, the server, the threads and the
    // guide's example with a process of its own (1 each), then the other examples of the guide (2).
    assert_eq!([passed("9"), passed("1"), passed("2")], [1, 4, 1], "{said}");
}
