//! System calls of the journal that fail: in a short run of a program, each call fails once with each error
//! it can give. The program ends as it would without tracking, and each value arrives or is counted as lost.
//!
//! `MLFLOW_TEST_EVERY=1` tries all failures. Without it a sample is tried, and `MLFLOW_TEST_SEED=…` chooses
//! another sample. A tracer written in C makes the calls fail. If there is no C compiler, or nothing can be
//! traced, the test prints "not tested" and passes.

use std::collections::BTreeSet;
use std::fs;
use std::io::{self, Write as _};
use std::path::{Path, PathBuf};
use std::process::{self, Command};
use std::sync::OnceLock;

use crate::support::program::{Ended, Folder, one};
use crate::support::rng::Rng;

const LIFE: &str = env!("CARGO_BIN_EXE_life");
const SOURCE: &str = concat!(
    env!("CARGO_MANIFEST_DIR"),
    "/integration/every_failure/failing.c"
);

/// Number of points: more than the first segment holds.
const POINTS: i64 = 2000;
/// Number of failures in a sample. Not every call gives every error, so that up to `MOST_TRIED` runs of the
/// program may be needed for them.
const SAMPLE: usize = 16;
const MOST_TRIED: usize = 40;
/// Default seed, with which CI always tries the same sample. [`EVERY`] tries all failures.
const SEED: u64 = 7;
const EVERY: &str = "MLFLOW_TEST_EVERY";
const EINTR: i32 = 4;
const EIO: i32 = 5;
const EACCES: i32 = 13;
const EMFILE: i32 = 24;
const ENOSPC: i32 = 28;
const EROFS: i32 = 30;
const ERRORS: [i32; 6] = [EINTR, EIO, EACCES, EMFILE, ENOSPC, EROFS];

/// Outcome of one failure.
struct Tried {
    ended: Ended,
    /// Call that failed; `None` if the program made fewer calls.
    call: Option<String>,
}

/// Returns the path of the compiled tracer; `None` if there is no C compiler.
fn failing() -> Option<&'static Path> {
    static FAILING: OnceLock<Option<PathBuf>> = OnceLock::new();
    let made = FAILING.get_or_init(|| {
        let path = std::env::temp_dir().join(format!("mlflow-runtime-failing-{}", process::id()));
        let made = Command::new("cc")
            .args(["-O1", "-o"])
            .arg(&path)
            .arg(SOURCE)
            .output();
        match made {
            Ok(made) if made.status.success() => Some(path),
            made => {
                let _ = writeln!(io::stderr(), "not tested: no C compiler: {made:?}");
                None
            }
        }
    });
    made.as_deref()
}

/// Runs the program `life` so that its `number`-th system call on a path below `below` fails with `error`.
/// Returns `None` if nothing can be traced here.
fn live(folder: &Folder, failing: &Path, below: &Path, number: u64, error: i32) -> Option<Tried> {
    let report = folder.path().join("report");
    let arguments = [
        below.display().to_string(),
        number.to_string(),
        error.to_string(),
        report.display().to_string(),
        LIFE.to_owned(),
        "first".to_owned(),
        POINTS.to_string(),
    ];
    let arguments = arguments.each_ref().map(String::as_str);
    let temporary = folder.path().join("tmp");
    fs::create_dir(&temporary).unwrap();
    let temporary = temporary.display().to_string();
    let ended = folder.run(
        failing.to_str().unwrap(),
        &arguments,
        &[("TMPDIR", &temporary), ("MLFLOW_EXIT_TIMEOUT", "20")],
    );
    if !ended.success && ended.stdout.is_empty() && ended.stderr.is_empty() {
        let _ = writeln!(io::stderr(), "not tested: nothing can be traced here");
        return None;
    }
    let call = fs::read_to_string(report).ok();
    Some(Tried { ended, call })
}

/// Compares the values that have arrived with those that were logged and those that were counted as lost.
fn check(folder: &Folder, tried: &Tried, what: &str) {
    let Tried { ended, .. } = tried;
    let said = &ended.stderr;
    assert!(ended.success, "{what}: {said}");
    assert!(!said.contains("panicked"), "{what}: {said}");
    let lost = |stdout: &str| -> i64 {
        let last = stdout.trim().rsplit(' ').next();
        last.and_then(|last| last.parse().ok())
            .unwrap_or_else(|| panic!("{what}: {stdout:?}: {said}"))
    };
    // The next program ships the orphaned journal.
    let temporary = folder.path().join("tmp").display().to_string();
    let next = folder.run(LIFE, &["next", "1"], &[("TMPDIR", &temporary)]);
    assert!(next.success, "{what}: {}", next.stderr);
    let counted = lost(&ended.stdout) + lost(&next.stdout);
    let database = folder.database();
    let count = |query: &str| one::<i64>(&database, query);
    let run = "(select run_uuid from runs where name = 'first')";
    let runs = count("select count(*) from runs where name = 'first'");
    assert!(runs <= 1, "{what}: {runs} runs: {said}");
    let finished = count("select count(*) from runs where name = 'first' and status = 'FINISHED'");
    let params = count(&format!(
        "select count(*) from params where run_uuid in {run} and key = 'p' || value"
    ));
    let tags = count(&format!(
        "select count(*) from tags where run_uuid in {run} and key = 't' || value"
    ));
    let points = count(&format!(
        "select count(distinct step) from metrics where run_uuid in {run} and key = 'loss' and value * 2 = step"
    ));
    let all = count(&format!(
        "select count(*) from metrics where run_uuid in {run} and key = 'loss'"
    ));
    assert_eq!(points, all, "{what}: each once, and right");
    let mut artifacts = 0;
    if runs == 1 {
        let root: String = one(
            &database,
            "select artifact_uri from runs where name = 'first'",
        );
        for (name, content) in [
            ("small.txt", "small\n".to_owned()),
            ("large.txt", "0123456789abcdef".repeat(4096)),
        ] {
            if let Ok(found) = fs::read_to_string(Path::new(&root).join("notes").join(name)) {
                assert!(found == content, "{what}: {name} is damaged: {said}");
                artifacts += 1;
            }
        }
    }
    let missing = (1 - finished) + (5 - params) + (5 - tags) + (POINTS - points) + (2 - artifacts);
    assert!(
        missing <= counted,
        "{what}: {missing} are missing (runs {runs}, finished {finished}, params {params}, tags {tags}, points {points}, \
         artifacts {artifacts}), {counted} were counted: {}{said}{}",
        ended.stdout,
        next.stderr
    );
}

/// Returns true if some system gives this error for this call.
fn can_give(call: &str, error: i32) -> bool {
    let name = call.split(' ').next().unwrap_or_default();
    match error {
        EINTR => matches!(
            name,
            "open" | "openat" | "write" | "pwrite64" | "read" | "flock" | "fallocate"
        ),
        EMFILE => matches!(name, "open" | "openat"),
        EROFS => matches!(
            name,
            "open" | "openat" | "mkdir" | "rename" | "unlink" | "rmdir" | "unlinkat"
        ),
        EACCES => !matches!(
            name,
            "write" | "pwrite64" | "read" | "fsync" | "fdatasync" | "msync" | "fallocate"
        ),
        ENOSPC => !matches!(
            name,
            "read" | "getdents64" | "flock" | "unlink" | "rmdir" | "unlinkat"
        ),
        _ => true,
    }
}

fn fail_below(part: &str) {
    let Some(failing) = failing() else { return };
    let every = std::env::var_os(EVERY).is_some();
    let mut rng = Rng::seeded_or(SEED);
    // The number of calls is found by bisection: a call that is never made does not fail.
    let comes = |number| {
        let folder = Folder::new();
        let below = folder.path().join(part);
        let tried = live(&folder, failing, &below, number, EINTR)?;
        Some(tried.call.is_some())
    };
    let mut calls = 1;
    loop {
        match comes(calls * 2) {
            Some(true) => calls *= 2,
            Some(false) => break,
            None => return,
        }
    }
    // Threads interleave differently each time, so that another run of the program may make a few more calls.
    let mut end = calls * 2;
    while !every && end - calls > 1 {
        let middle = calls.midpoint(end);
        match comes(middle) {
            Some(true) => calls = middle,
            Some(false) => end = middle,
            None => return,
        }
    }
    let mut pairs: Vec<(u64, i32)> = (1..end)
        .flat_map(|number| ERRORS.map(|error| (number, error)))
        .collect();
    let (most_made, most_tried) = if every {
        (pairs.len(), pairs.len())
    } else {
        for at in (1..pairs.len()).rev() {
            let other = rng.below(at as u64 + 1);
            pairs.swap(at, usize::try_from(other).unwrap());
        }
        (SAMPLE, MOST_TRIED)
    };
    let (mut made, mut names) = (0, BTreeSet::new());
    for (number, error) in pairs.into_iter().take(most_tried) {
        if made == most_made {
            break;
        }
        let folder = Folder::new();
        let below = folder.path().join(part);
        let Some(tried) = live(&folder, failing, &below, number, error) else {
            return;
        };
        let Some(call) = &tried.call else { continue };
        if can_give(call, error) {
            let what = format!(
                "seed {}: call {number}, {}, fails with {error}",
                rng.seed(),
                call.trim()
            );
            check(&folder, &tried, &what);
            made += 1;
            names.extend(call.split(' ').next().map(str::to_owned));
        }
    }
    println!("{made} failures below {part}, of {names:?}; {calls} calls");
    assert!(made > 0, "no call was made to fail");
}

#[test]
fn a_call_of_the_journal_that_fails_once_loses_nothing() {
    fail_below("journal");
}

#[test]
fn a_call_for_an_artifact_that_fails_once_loses_nothing() {
    fail_below("mlruns");
}
