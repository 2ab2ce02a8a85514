//! Panics that end the process: the run is FAILED, and has the message of the panic.

use std::fmt;
use std::panic::{RefUnwindSafe, UnwindSafe, catch_unwind};
use std::path::Path;
use std::process::Command;

use mlflow::testing::fake;
use mlflow::{ActiveRun, Metric, Run};

use crate::support::program::{Folder, one};

const FATAL: &str = env!("CARGO_BIN_EXE_fatal");
const NUMBERS: &str = env!("CARGO_BIN_EXE_numbers");

/// Runs the program, which panics, and then a program that ships its journal. Returns the run's status, its
/// error tags, and its number of points.
fn what_is_left_of(program: &str, place: &str) -> (String, String, i64) {
    let folder = Folder::new();
    let ended = folder.run(program, &[place], &[]);
    assert!(!ended.success, "{}", ended.stderr);
    let next = folder.run(NUMBERS, &["next", "1", "1"], &[]);
    assert_eq!(next.warnings(), [""; 0], "{}", next.stderr);
    assert_eq!(folder.journals_left(), 0);
    let database = folder.database();
    let run = "(select run_uuid from runs where name like 'train-%')";
    let message = format!(
        "select group_concat(value, ' at ') from (select value from tags where run_uuid = {run} \
         and key in ('error.message', 'error.location') order by key desc)"
    );
    (
        one(
            &database,
            "select status from runs where name like 'train-%'",
        ),
        one(&database, &message),
        one(
            &database,
            &format!("select count(*) from metrics where run_uuid = {run}"),
        ),
    )
}

/// Returns the message of a panic of the program, with its location, as the run's tags have them.
fn at_its_line(message: &str) -> String {
    let source = include_str!("../programs/fatal.rs");
    let line = source
        .lines()
        .position(|line| line.contains(message))
        .unwrap()
        + 1;
    format!("{message} at tests/programs/fatal.rs:{line}")
}

#[test]
fn a_panic_that_cannot_unwind_fails_its_run() {
    for place in ["callback", "destructor"] {
        let (status, message, points) = what_is_left_of(FATAL, place);
        let said = match place {
            "callback" => "no memory left in the callback",
            _ => "and the destructor has none either",
        };
        assert_eq!(status, "FAILED", "{place}");
        assert_eq!(message, at_its_line(said));
        assert_eq!(points, 1);
    }
}

#[test]
fn a_build_that_aborts_on_panic_fails_its_run() {
    let root = Path::new(env!("CARGO_MANIFEST_DIR")).join("..");
    let status = Command::new(env!("CARGO"))
        .args(["build", "--quiet", "-p", "mlflow-tests", "--bin", "fatal"])
        .args(["--profile", "panic-abort"])
        .env("CARGO_TARGET_DIR", root.join("target"))
        .current_dir(&root)
        .status()
        .unwrap();
    assert!(status.success());
    let program = root.join("target/panic-abort/fatal");
    let (status, message, points) = what_is_left_of(program.to_str().unwrap(), "body");
    assert_eq!(status, "FAILED");
    assert_eq!(message, at_its_line("no memory left in the body"));
    assert_eq!(points, 1);
}

const fn is_unwind_safe<T: UnwindSafe + RefUnwindSafe>() {}
const _: () = {
    is_unwind_safe::<Run>();
    is_unwind_safe::<ActiveRun>();
    is_unwind_safe::<Metric>();
};

/// Value whose text panics in the middle.
struct Broken;

impl fmt::Display for Broken {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("half")?;
        panic!("no text")
    }
}

/// Compiles without `AssertUnwindSafe`, and what is logged before and after the panics is all there.
#[test]
fn a_run_is_used_on_after_a_caught_panic() {
    let fake = fake();
    let run = mlflow::start_run().start();
    let loss = run.metric("loss");
    let handle: Run = (*run).clone();
    let panicking_points = || {
        (0..3).map(|step| {
            assert!(step < 2, "no third point");
            ("point", step)
        })
    };
    for round in 0..2 {
        let caught = catch_unwind(|| {
            run.log_metric_at("metric", 0.5, round);
            run.log_metrics(panicking_points(), round);
        });
        assert!(caught.is_err());
        let caught = catch_unwind(|| {
            loss.log(0.25, round);
            handle.scope(|| {
                mlflow::metric!("scoped", 1, step = round);
                panic!("inside the scope");
            })
        });
        assert!(caught.is_err());
        let caught = catch_unwind(|| handle.log_table(panicking_points(), "table.json"));
        assert!(caught.is_err());
        assert!(catch_unwind(|| handle.set_tag("broken", Broken)).is_ok());
        assert_eq!(Run::current().as_ref(), Some(&handle));
    }
    handle.log_table([("point", 9)], "table.json");
    drop(run);
    fake.assert_metric("metric", &[(0, 0.5), (1, 0.5)]);
    fake.assert_metric("point", &[(0, 0.0), (0, 1.0), (1, 0.0), (1, 1.0)]);
    fake.assert_metric("loss", &[(0, 0.25), (1, 0.25)]);
    fake.assert_metric("scoped", &[(0, 1.0), (1, 1.0)]);
    fake.assert_tag("broken", "half…");
    let runs = fake.runs();
    assert_eq!(runs[0].status, mlflow::RunStatus::Finished);
    let table = String::from_utf8_lossy(&runs[0].artifacts["table.json"]);
    assert!(table.ends_with(r#""data":[["point",9]]}"#), "{table}");
}
