//! Build script that passes facts about the build to the library: the compiler's version, the target, and the
//! profile. Cargo gives these facts to build scripts only.
//!
//! Invariant: a fact that cannot be determined is left out, and the build does not fail.

use std::env;
use std::path::{Component, Path};
use std::process::Command;

fn main() {
    println!("cargo::rerun-if-changed=build.rs");
    for (name, value) in [
        ("MLFLOW_BUILT_WITH", compiler()),
        ("MLFLOW_BUILT_FOR", env::var("TARGET").ok()),
        ("MLFLOW_BUILT_AS", profile()),
    ] {
        if let Some(value) = value {
            println!("cargo::rustc-env={name}={value}");
        }
    }
}

/// Returns the version of the compiler.
// Output: `1.95.0 (59807616e 2026-04-14)`
fn compiler() -> Option<String> {
    let output = Command::new(env::var_os("RUSTC")?)
        .arg("--version")
        .output()
        .ok()?;
    let version = String::from_utf8(output.stdout).ok()?;
    Some(version.trim().strip_prefix("rustc ")?.to_owned())
}

/// Returns the name of the build's profile. Only the path of the output directory contains that name: the
/// variable `PROFILE` is always `debug` or `release`.
// Input:  `/project/target/x86_64-unknown-linux-gnu/bench-lto/build/mlflow-runtime-0123/out`
// Output: `bench-lto`
fn profile() -> Option<String> {
    let out = env::var_os("OUT_DIR")?;
    let components: Vec<_> = Path::new(&out)
        .components()
        .filter_map(|component| match component {
            Component::Normal(name) => name.to_str(),
            _ => None,
        })
        .collect();
    let build = components.iter().rposition(|name| *name == "build");
    let name = build
        .and_then(|build| components.get(build.checked_sub(1)?))
        .map(|name| (*name).to_owned())
        .or_else(|| env::var("PROFILE").ok())?;
    // Cargo builds the profile `dev` in the directory `debug`.
    Some(if name == "debug" {
        "dev".to_owned()
    } else {
        name
    })
}
