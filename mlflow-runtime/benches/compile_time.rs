//! Compile-time cost of 1,000 annotated functions: the compiler's time and the bytes of machine code,
//! compared with the same functions with `#[tracing::instrument]` and without an attribute.
//!
//! ```sh
//! cargo bench --bench compile_time
//! ```
//!
//! The crates are generated, and their dependencies are built before. Each crate is compiled several times in
//! turn, in the debug profile and not incrementally. The output is the medians, their ratio to the plain
//! crate, and the number of bytes by which the code of a function grows in the release profile (as `size` of
//! the binutils counts it).

use std::env;
use std::fmt::Write as _;
use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::{Duration, Instant};

/// Crate to be compiled: its name, its dependency and the attribute of each function.
struct Subject {
    name: &'static str,
    dependency: String,
    attribute: &'static str,
}

fn main() {
    // `--test` only checks that the benchmark works.
    let quick = env::args().any(|argument| argument == "--test");
    let (functions, rounds) = if quick { (10, 1) } else { (1000, 5) };
    let runtime = Path::new(env!("CARGO_MANIFEST_DIR"));
    let folder = Path::new(env!("CARGO_TARGET_TMPDIR")).join("compile_time");
    let subjects = [
        Subject {
            name: "plain",
            dependency: String::new(),
            attribute: "",
        },
        Subject {
            name: "instrumented",
            dependency: "tracing = { version = \"0.1\" }".to_owned(),
            attribute: "#[tracing::instrument]",
        },
        Subject {
            name: "tracked",
            dependency: format!("mlflow = {{ package = \"mlflow-runtime\", path = {runtime:?} }}"),
            attribute: "#[mlflow::tracked]",
        },
        Subject {
            name: "disabled",
            dependency: format!(
                "mlflow = {{ package = \"mlflow-runtime\", path = {runtime:?}, features = [\"disabled\"] }}"
            ),
            attribute: "#[mlflow::tracked]",
        },
    ];
    let crates: Vec<PathBuf> = subjects
        .iter()
        .map(|subject| generate(&folder, subject, functions))
        .collect();
    for path in &crates {
        compile(path, &folder);
    }
    let mut times = vec![Vec::new(); crates.len()];
    for _ in 0..rounds {
        for (path, times) in crates.iter().zip(&mut times) {
            times.push(compile(path, &folder));
        }
    }
    let medians: Vec<Duration> = times.into_iter().map(median).collect();
    // The quick check uses the debug profile: building the optimised dependencies as well takes minutes.
    let profile = if quick { "dev" } else { "release" };
    let sizes: Vec<usize> = crates
        .iter()
        .map(|path| code_bytes(path, &folder, profile))
        .collect();
    println!("{functions} functions, median of {rounds}:");
    for ((subject, median), bytes) in subjects.iter().zip(&medians).zip(&sizes) {
        let ratio = median.as_secs_f64() / medians[0].as_secs_f64();
        let grown = bytes.saturating_sub(sizes[0]) / functions;
        println!(
            "{:<13} {:>8.2} s  {ratio:>6.2} x plain  {grown:>6} bytes of code more a function",
            subject.name,
            median.as_secs_f64()
        );
    }
}

/// Returns the size of the machine code of the crate alone, in bytes.
fn code_bytes(path: &Path, folder: &Path, profile: &str) -> usize {
    let object = folder.join("object.o");
    let status = Command::new(env!("CARGO"))
        .args(["rustc", "--quiet", "--profile", profile])
        .args(["--", "-C", "codegen-units=1"])
        .arg(format!("--emit=obj={}", object.display()))
        .current_dir(path)
        .env("CARGO_TARGET_DIR", folder.join("target"))
        .status()
        .expect("cargo");
    assert!(status.success(), "{} does not compile", path.display());
    let output = Command::new("size")
        .arg(&object)
        .output()
        .expect("binutils");
    // The output is a line of titles, then `text data bss …`.
    let sizes = String::from_utf8_lossy(&output.stdout);
    let text = sizes
        .lines()
        .nth(1)
        .and_then(|line| line.split_whitespace().next());
    text.and_then(|text| text.parse().ok()).expect("a number")
}

fn generate(folder: &Path, subject: &Subject, functions: usize) -> PathBuf {
    let Subject {
        name,
        dependency,
        attribute,
    } = subject;
    let path = folder.join(name);
    fs::create_dir_all(path.join("src")).expect("a folder under target/");
    let manifest = format!(
        "[package]\nname = \"{name}\"\nversion = \"0.0.0\"\nedition = \"2024\"\n\n[dependencies]\n{dependency}\n\n[workspace]\n"
    );
    fs::write(path.join("Cargo.toml"), manifest).expect("a file under target/");
    let mut source = String::new();
    for number in 0..functions {
        // Two of three functions are synchronous, as in typical code.
        let asynchronous = if number % 3 == 2 { "async " } else { "" };
        let _ = writeln!(
            source,
            "{attribute}\npub {asynchronous}fn f{number}(alpha: f64, name: &str, layers: &[usize]) -> Result<f64, std::io::Error> {{\n    \
             let sum = layers.iter().sum::<usize>() as f64;\n    \
             if name.is_empty() {{ return Err(std::io::ErrorKind::InvalidInput.into()); }}\n    \
             Ok(alpha * sum + {number} as f64)\n}}"
        );
    }
    fs::write(path.join("src/lib.rs"), source).expect("a file under target/");
    path
}

/// Compiles the crate, whose dependencies are built already, and returns the time taken.
fn compile(path: &Path, folder: &Path) -> Duration {
    let source = path.join("src/lib.rs");
    let text = fs::read(&source).expect("the generated source");
    fs::write(&source, text).expect("the generated source");
    let started = Instant::now();
    let status = Command::new(env!("CARGO"))
        .args(["build", "--quiet"])
        .current_dir(path)
        .env("CARGO_TARGET_DIR", folder.join("target"))
        .env("CARGO_INCREMENTAL", "0")
        .status()
        .expect("cargo");
    assert!(status.success(), "{} does not compile", path.display());
    started.elapsed()
}

fn median(mut times: Vec<Duration>) -> Duration {
    times.sort_unstable();
    times[times.len() / 2]
}
