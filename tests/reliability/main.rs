//! Programs that try to make the library lose a value, and print the result.
//!
//! ```sh
//! cargo test -p mlflow-tests --test reliability                                  # short, as in CI
//! cargo test -p mlflow-tests --release --test reliability -- --long              # for the record
//! cargo test -p mlflow-tests --release --test reliability -- --long kills        # one of them
//! ```
//!
//! A program whose name ends in `-postgres` logs straight into MLflow's database on a PostgreSQL server. Where PostgreSQL is
//! not installed, it says so and ends.
//!
//! Each program prints its figures, and panics if a promise is broken. `RELIABILITY.md` lists the promises
//! and the figures of the long runs.
// A test states its expectations with `unwrap`. Clippy treats these helpers as code outside of tests.
#![allow(clippy::unwrap_used)]

#[allow(
    dead_code,
    reason = "written for the integration tests, of which these need a part"
)]
#[path = "../integration/support/mod.rs"]
mod support;

mod backlog;
mod connection_cuts;
mod fault_schedule;
mod faults;
mod kills;
mod ledger;
mod mutation_check;
#[path = "../programs/support/plan.rs"]
mod plan;
mod postgres_copy;
mod ranks;
#[path = "../programs/support/report.rs"]
mod report;
mod restarts;
mod traffic;

use std::env;
use std::time::Instant;

/// Length of a program.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Form {
    /// A short form for CI, which takes seconds.
    Short,
    /// A long form, started by hand, which tests the promise at full size.
    Long,
}

/// Name of a program, and its function.
type Program = (&'static str, fn(Form));

/// Programs in the order in which they run.
const PROGRAMS: [Program; 9] = [
    ("kills", kills::run),
    ("kills-postgres", kills::run_on_postgres),
    ("backlog", backlog::run),
    ("threads", backlog::threads),
    ("faults", faults::run),
    ("restarts", restarts::run),
    ("restarts-postgres", restarts::run_on_postgres),
    ("ranks", ranks::run),
    ("ranks-postgres", ranks::run_on_postgres),
];

fn main() {
    let (flags, names): (Vec<String>, Vec<String>) = env::args()
        .skip(1)
        .partition(|argument| argument.starts_with('-'));
    let form = if flags.iter().any(|flag| flag == "--long") {
        Form::Long
    } else {
        Form::Short
    };
    for name in &names {
        let known = PROGRAMS.iter().any(|(program, _)| program == name);
        assert!(
            known,
            "no program {name:?}; there are {:?}",
            PROGRAMS.map(|(name, _)| name)
        );
    }
    for (name, program) in PROGRAMS {
        if names.is_empty() || names.iter().any(|wanted| wanted == name) {
            println!("== {name} ({form:?})");
            let started = Instant::now();
            program(form);
            println!(
                "== {name}: done in {:.1} s",
                started.elapsed().as_secs_f64()
            );
        }
    }
}
