//! The command line, `cargo mlflow`, built once for the tests that start it.

use std::env;
use std::path::Path;
use std::process::Command;
use std::sync::LazyLock;

/// Returns the path of the program. Cargo gives tests the programs of their own package only, so the first
/// call builds this one: in the same target directory and profile as the tests.
pub(crate) fn cargo_mlflow() -> &'static str {
    static PROGRAM: LazyLock<String> = LazyLock::new(build);
    &PROGRAM
}

fn build() -> String {
    // The tests are `TARGET/PROFILE/deps/integration-…`.
    let tests = env::current_exe().expect("a path");
    let folder = tests.ancestors().nth(2).expect("the folder of the profile");
    let profile = match folder.file_name().and_then(|name| name.to_str()) {
        Some("debug") | None => "dev",
        Some(profile) => profile,
    };
    let output = Command::new(env!("CARGO"))
        .args([
            "build",
            "--quiet",
            "--package",
            "cargo-mlflow",
            "--profile",
            profile,
        ])
        .arg("--target-dir")
        .arg(folder.parent().expect("the target directory"))
        .current_dir(Path::new(env!("CARGO_MANIFEST_DIR")))
        .output()
        .expect("cargo");
    assert!(
        output.status.success(),
        "{}",
        String::from_utf8_lossy(&output.stderr)
    );
    let program = folder.join("cargo-mlflow");
    program.to_str().expect("UTF-8").to_owned()
}
