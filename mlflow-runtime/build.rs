//! Tells the library which compiler builds it, for what, and how: only a build script is told.
//!
//! Invariant: what cannot be found out is absent and nothing fails.

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

// Output: `1.95.0 (59807616e 2026-04-14)`
fn compiler() -> Option<String> {
    let output = Command::new(env::var_os("RUSTC")?)
        .arg("--version")
        .output()
        .ok()?;
    let version = String::from_utf8(output.stdout).ok()?;
    Some(version.trim().strip_prefix("rustc ")?.to_owned())
}

/// The profile's own name stands in the path only; `PROFILE` knows no others than debug and release.
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
    // The directory of the profile `dev` has another name.
    Some(if name == "debug" {
        "dev".to_owned()
    } else {
        name
    })
}
