//! User's package outside this workspace: written by the test, built by cargo, and run in a folder that holds
//! none of its sources.
//!
//! Invariants: all such packages share a directory of built dependencies; one is built at a time; each has a
//! version of its own, because cargo tells them apart by name and version only.

use std::collections::BTreeMap;
use std::ffi::OsStr;
use std::fs;
use std::io;
use std::path::{Path, PathBuf};
use std::process::{Command, Output};
use std::sync::atomic::{AtomicU32, Ordering};
use std::sync::{Mutex, Once};
use std::thread;
use std::time::{Duration, Instant};

use super::program::{Folder, one};

/// Prefixes of the variables by which a build service, a git hook or cargo describes a repository or package
/// other than the tested one.
const OF_THE_MACHINE: [&str; 7] = [
    "GIT_",
    "GITHUB_",
    "CI_",
    "BUILDKITE",
    "CIRCLE",
    "JENKINS",
    "CARGO_PKG",
];

/// Runs a program that was written a moment ago, and retries while the file is busy. Another test may have
/// forked while the file was open for writing. Until the forked child has called `exec`, it holds the file
/// open, and the program cannot be started.
fn output_of(command: &mut Command) -> Output {
    let begun = Instant::now();
    loop {
        match command.output() {
            Err(error) if error.kind() == io::ErrorKind::ExecutableFileBusy => {
                assert!(begun.elapsed() < Duration::from_secs(60), "{error}");
                thread::yield_now();
            }
            output => return output.unwrap(),
        }
    }
}

/// Lock held during a build, because all packages share one directory of build results.
static ONE_AT_A_TIME: Mutex<()> = Mutex::new(());

/// Error reported by the compiler.
#[derive(Clone)]
pub(crate) struct CompileError {
    /// Message as a terminal shows it.
    pub(crate) text: String,
    /// Line and column that the error points to.
    pub(crate) place: [u32; 2],
}

/// Package of a user outside this workspace, in a folder of its own.
pub(crate) struct Outsider {
    /// Folder that holds the package and all else that the test writes.
    folder: Folder,
    package: PathBuf,
}

impl Outsider {
    /// Writes a package into a directory of that name, in a new folder.
    pub(crate) fn at(directory: &str) -> Self {
        let folder = Folder::new();
        let package = folder.path().join(directory);
        write(&package);
        Self { folder, package }
    }

    /// Takes over a package that already exists in `folder`, e.g. in a clone of a repository.
    pub(crate) fn found_at(folder: Folder, directory: &str) -> Self {
        let package = folder.path().join(directory);
        Self { folder, package }
    }

    /// Returns the folder alone, for another package in it.
    pub(crate) fn into_folder(self) -> Folder {
        self.folder
    }

    pub(crate) fn folder(&self) -> &Path {
        self.folder.path()
    }

    pub(crate) fn package(&self) -> &Path {
        &self.package
    }

    /// Builds the package; returns a copy of the program which later builds do not replace.
    pub(crate) fn build(&self, environment: &[(&str, &OsStr)]) -> PathBuf {
        self.build_and_tell(environment).0
    }

    /// Checks the package's examples; returns the compiler's errors by the name of the example.
    pub(crate) fn errors_in_examples(&self) -> BTreeMap<String, Vec<CompileError>> {
        let _alone = ONE_AT_A_TIME.lock();
        let arguments = "check --examples --keep-going --offline --message-format=json";
        let output = Command::new(env!("CARGO"))
            .args(arguments.split(' '))
            .current_dir(&self.package)
            .env("CARGO_TARGET_DIR", target())
            .output()
            .unwrap();
        let mut found: BTreeMap<_, Vec<_>> = BTreeMap::new();
        let said = String::from_utf8(output.stdout).unwrap();
        for line in said.lines() {
            let line: serde_json::Value = serde_json::from_str(line).unwrap();
            let message = &line["message"];
            if message["level"] != "error" || message["spans"] == serde_json::json!([]) {
                continue;
            }
            let text = message["rendered"].as_str().unwrap().to_owned();
            // Input: ` --> examples/semicolon.rs:2:17`
            let arrow = text
                .lines()
                .find(|line| line.trim_start().starts_with("--> "));
            let mut numbers = arrow
                .unwrap()
                .rsplit(':')
                .map(|number| number.parse().unwrap());
            let column = numbers.next().unwrap();
            let place = [numbers.next().unwrap(), column];
            let example = line["target"]["name"].as_str().unwrap().to_owned();
            found
                .entry(example)
                .or_default()
                .push(CompileError { text, place });
        }
        found
    }

    /// Builds the package; returns a copy of the program, and true if cargo had anything to compile.
    pub(crate) fn build_and_tell(&self, environment: &[(&str, &OsStr)]) -> (PathBuf, bool) {
        let _alone = ONE_AT_A_TIME.lock();
        let target = target();
        let mut cargo = Command::new(env!("CARGO"));
        cargo
            .args(["build", "--offline", "--verbose"])
            .current_dir(&self.package)
            .envs(environment.iter().copied());
        for name in foreign_variables() {
            if environment.iter().all(|(given, _)| *given != name) {
                cargo.env_remove(name);
            }
        }
        let output = cargo.env("CARGO_TARGET_DIR", &target).output().unwrap();
        let said = String::from_utf8_lossy(&output.stderr);
        assert!(output.status.success(), "{said}");
        let program = self
            .folder
            .path()
            .join(format!("program-{}", uuid::Uuid::new_v4()));
        fs::copy(target.join("debug/outsider"), &program).unwrap();
        (program, !said.contains("Fresh outsider"))
    }

    /// Runs the program in a folder of its own, with no repository around it; returns the tags and the git
    /// diff of its run.
    pub(crate) fn run(program: &Path, environment: &[(&str, &str)]) -> Told {
        let folder = Folder::new();
        let mut command = folder.command(program.to_str().unwrap());
        for name in foreign_variables() {
            command.env_remove(name);
        }
        command.envs(environment.iter().copied());
        let output = output_of(&mut command);
        assert!(output.status.success(), "{output:?}");
        let database = folder.database();
        let mut query = database.prepare("select key, value from tags").unwrap();
        let tags = query
            .query_map([], |row| Ok((row.get(0)?, row.get(1)?)))
            .unwrap()
            .map(Result::unwrap)
            .collect();
        let artifacts: String = one(&database, "select artifact_uri from runs");
        let diff = fs::read_to_string(Path::new(&artifacts).join("git/diff.patch")).ok();
        Told { tags, diff }
    }
}

/// Tags and git diff of a run.
pub(crate) struct Told {
    tags: BTreeMap<String, String>,
    pub(crate) diff: Option<String>,
}

impl Told {
    pub(crate) fn tag(&self, key: &str) -> Option<&str> {
        self.tags.get(key).map(String::as_str)
    }

    /// Returns the value of the tag `mlflow.source.git.<key>`.
    pub(crate) fn git(&self, key: &str) -> Option<&str> {
        self.tag(&format!("mlflow.source.git.{key}"))
    }
}

/// Returns the directory in which the packages are built. The first call removes packages that an earlier
/// test process has built.
fn target() -> PathBuf {
    static SWEPT: Once = Once::new();
    let target = root().join("target/outside");
    SWEPT.call_once(|| {
        for directory in ["deps", ".fingerprint"] {
            let found = fs::read_dir(target.join("debug").join(directory));
            for entry in found.into_iter().flatten().map(Result::unwrap) {
                if entry.file_name().to_string_lossy().starts_with("outsider-") {
                    let path = entry.path();
                    let removed = if path.is_dir() {
                        fs::remove_dir_all(&path)
                    } else {
                        fs::remove_file(&path)
                    };
                    removed.unwrap();
                }
            }
        }
    });
    target
}

/// Returns the root of the workspace.
fn root() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR"))
        .join("..")
        .canonicalize()
        .unwrap()
}

/// Returns the names of the environment variables that match `OF_THE_MACHINE`, and of `CI`.
fn foreign_variables() -> Vec<String> {
    let names = std::env::vars_os().filter_map(|(name, _)| name.into_string().ok());
    let foreign =
        |name: &String| OF_THE_MACHINE.iter().any(|start| name.starts_with(start)) || name == "CI";
    names.filter(foreign).collect()
}

/// Writes the package, with a lock file made from that of the workspace.
fn write(package: &Path) {
    static SERIAL: AtomicU32 = AtomicU32::new(0);
    fs::create_dir_all(package.join("src")).unwrap();
    let runtime = root().join("mlflow-runtime");
    let number = SERIAL.fetch_add(1, Ordering::Relaxed);
    let manifest = format!(
        "[package]\nname = \"outsider\"\nversion = \"0.1.{number}\"\nedition = \"2024\"\n\n[workspace]\n\n\
         [features]\ndefault = [\"fast\"]\nfast = []\nslow = []\n\n\
         [dependencies]\nmlflow = {{ package = \"mlflow-runtime\", path = {runtime:?} }}\n\n\
         [profile.dev]\ndebug = false\nincremental = false\n"
    );
    let main = "#[mlflow::tracked]\nfn train() {}\n\n\
                fn main() {\n    mlflow::configure(mlflow::Config::new().git_diff(mlflow::git_diff!()));\n    train();\n}\n";
    fs::write(package.join("Cargo.toml"), manifest).unwrap();
    fs::write(package.join("src/main.rs"), main).unwrap();
    // The versions locked by the workspace are on this machine, so that no download is needed.
    fs::copy(root().join("Cargo.lock"), package.join("Cargo.lock")).unwrap();
    // Removes from the lock file what the package does not need.
    let mut tree = Command::new(env!("CARGO"));
    let output = tree
        .args(["tree", "--offline"])
        .current_dir(package)
        .output();
    assert!(
        output.as_ref().is_ok_and(|output| output.status.success()),
        "{output:?}"
    );
}
