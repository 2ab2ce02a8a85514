//! Layers of the runtime: a folder imports only what lies below it.

use std::collections::BTreeMap;
use std::fs;
use std::path::{Path, PathBuf};

/// Modules and folders of the runtime, from the bottom up: each imports only those that stand before it.
/// CONTRIBUTING shows the same list.
const ORDER: [&str; 26] = [
    "stderr",
    "determinism",
    "time",
    "sync",
    "os",
    "warnings",
    "model",
    "capture",
    "variables",
    "environment",
    "journal",
    "secret",
    "config",
    "distributed",
    "store",
    "shipper",
    "system_metrics",
    "stdio_capture",
    "tracker",
    "run",
    "tracked",
    "testing",
    "thread",
    "tracing_layer",
    "client",
    "signals",
];

/// Modules above all others: the public surface, and code that only tests, benchmarks and fuzz targets use.
const ABOVE: [&str; 5] = [
    "__private",
    "bench_support",
    "diagnostics",
    "fuzz_support",
    "lib",
];

/// Files that only tests and fuzz targets use.
const HARNESSES: [&str; 2] = ["store/rest/fuzz_support.rs", "shipper/fuzz_support.rs"];

fn sources(folder: &Path, found: &mut Vec<PathBuf>) {
    for entry in fs::read_dir(folder).unwrap() {
        let path = entry.unwrap().path();
        if path.is_dir() {
            sources(&path, found);
        } else if path.extension().is_some_and(|extension| extension == "rs") {
            found.push(path);
        }
    }
}

/// Returns true if only tests and fuzz targets use the file.
fn is_of_tests(file: &str) -> bool {
    let is_test = |part: &str| {
        let name = part.trim_end_matches(".rs");
        name == "tests" || name.ends_with("_tests") || name == "simulation"
    };
    file.split('/').any(is_test) || HARNESSES.contains(&file)
}

/// Returns the modules at the crate's root that the code names. Comments and the unit tests at the end of the
/// file are left out.
// Input:  `use crate::store::{Store, StoreError};`
// Output: `store`
fn imported(source: &str) -> Vec<String> {
    let source = source.split("#[cfg(test)]\nmod tests {").next().unwrap();
    let code = source
        .lines()
        .filter(|line| !line.trim_start().starts_with("//"));
    let mut found = Vec::new();
    for line in code {
        for (at, _) in line.match_indices("crate::") {
            let is_macros = line[..at].ends_with('$');
            let is_ours =
                line[..at].ends_with(|before: char| before.is_alphanumeric() || before == '_');
            let rest = &line[at + "crate::".len()..];
            let name = rest
                .split(|char: char| !char.is_alphanumeric() && char != '_')
                .next();
            found.extend(name.filter(|_| !is_macros && !is_ours).map(str::to_owned));
        }
    }
    found
}

#[test]
fn a_folder_imports_only_what_lies_below_it() {
    let root = Path::new(env!("CARGO_MANIFEST_DIR")).join("../mlflow-runtime/src");
    let mut files = Vec::new();
    sources(&root, &mut files);
    let place = |name: &str| ORDER.iter().position(|known| *known == name);
    let mut seen = BTreeMap::new();
    let mut upward = Vec::new();
    for path in files {
        let file = path.strip_prefix(&root).unwrap().to_str().unwrap();
        let unit = file.split('/').next().unwrap().trim_end_matches(".rs");
        if is_of_tests(file) || ABOVE.contains(&unit) {
            continue;
        }
        let own = place(unit);
        let own = own.unwrap_or_else(|| {
            panic!("`{unit}` has no place in the order: give it one, above all it imports")
        });
        *seen.entry(unit.to_owned()).or_insert(0) += 1;
        for name in imported(&fs::read_to_string(&path).unwrap()) {
            // A name that is no module is one that `lib.rs` re-exports.
            if place(&name).is_some_and(|imported| imported > own) || ABOVE.contains(&name.as_str())
            {
                upward.push(format!("{file} imports {name}"));
            }
        }
    }
    assert!(upward.is_empty(), "imports of what lies above: {upward:#?}");
    assert_eq!(
        seen.len(),
        ORDER.len(),
        "one of the order is not there any more: {seen:?}"
    );
}

#[test]
fn the_guide_shows_the_order() {
    let guide = Path::new(env!("CARGO_MANIFEST_DIR")).join("../CONTRIBUTING.md");
    let guide = fs::read_to_string(guide).unwrap();
    let list = ORDER.map(|name| format!("`{name}`")).join(" → ");
    assert!(guide.contains(&list), "CONTRIBUTING.md lacks: {list}");
}
