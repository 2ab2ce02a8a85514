//! Lines of a console log: the events that become lines, and their format.

use std::fmt;

use mlflow::testing::{Fake, fake};
use tracing::subscriber::{DefaultGuard, set_default};
use tracing::{debug, error, info, info_span, trace, warn};
use tracing_subscriber::filter::LevelFilter;
use tracing_subscriber::prelude::*;
use tracing_subscriber::registry;

/// Sets the layer as this thread's subscriber, and starts a fake.
fn begin() -> (DefaultGuard, Fake) {
    with(mlflow::layer())
}

fn with(layer: mlflow::tracing_layer::Layer) -> (DefaultGuard, Fake) {
    (set_default(registry().with(layer)), fake().strict())
}

/// Returns each run's console log, without the times at the start of its lines.
fn consoles(fake: &Fake) -> Vec<String> {
    let console = |run: &mlflow::testing::RecordedRun| {
        let text = run.artifacts.get("logs/console.log").cloned();
        let text = String::from_utf8(text.unwrap_or_default()).unwrap();
        let lines = text.split_inclusive('\n');
        let without_time = |line: &str| {
            let (time, rest) = line.split_once(' ').unwrap();
            assert!(time.len() == 24 && time.ends_with('Z'), "{line}");
            rest.to_owned()
        };
        lines.map(without_time).collect()
    };
    fake.runs().iter().map(console).collect()
}

#[test]
fn level_target_spans_message_and_fields() {
    let (_layer, fake) = begin();
    let run = mlflow::start_run().start();
    let error = std::io::Error::other("inner");
    info!(rows = 1599, name = "wine", ratio = 0.5, kind = ?Some(1), shown = %"as is", "loaded");
    info_span!("epoch", number = 3).in_scope(|| {
        info_span!("batch").in_scope(|| warn!(target: "data", "slow"));
    });
    error!(
        error = &error as &dyn std::error::Error,
        "no message field is first"
    );
    info!("no fields");
    info!(only = "fields");
    drop(run);
    insta::assert_snapshot!(consoles(&fake)[0]);
}

#[test]
fn only_those_of_the_level_and_above() {
    let said = |layer| {
        let (_layer, fake) = with(layer);
        let run = mlflow::start_run().start();
        trace!("trace");
        debug!("debug");
        info!("info");
        error!("error");
        drop(run);
        let console = consoles(&fake).remove(0);
        console
            .lines()
            .map(|line| line.rsplit(' ').next().unwrap().to_owned())
            .collect::<Vec<_>>()
    };
    assert_eq!(said(mlflow::layer()), ["info", "error"]);
    let all = said(mlflow::layer().console(LevelFilter::TRACE));
    assert_eq!(all, ["trace", "debug", "info", "error"]);
    assert_eq!(said(mlflow::layer().console(LevelFilter::ERROR)), ["error"]);
    assert_eq!(said(mlflow::layer().console(LevelFilter::OFF)), [""; 0]);
}

#[test]
fn what_is_a_metric_is_a_line_only_if_it_is_a_warning() {
    let (_layer, fake) = begin();
    let run = mlflow::start_run().start();
    info!(metric.loss = 0.5, step = 1, "epoch done");
    warn!(metric.loss = f64::NAN, step = 2, "diverged");
    drop(run);
    assert_eq!(
        consoles(&fake)[0],
        " WARN integration::console::lines: diverged metric.loss=NaN step=2\n"
    );
    fake.assert_metric("loss", &[(1, 0.5), (2, f64::NAN)]);
}

#[test]
fn a_run_has_its_own_lines_and_those_that_no_run_is_current_for_go_nowhere() {
    #[mlflow::tracked(skip_return)]
    fn inner() {
        info!("inner");
    }
    #[mlflow::tracked(skip_return)]
    fn outer() {
        info!("before");
        inner();
        info!("after");
    }
    let (_layer, fake) = begin();
    info!("nobody's");
    outer();
    let run = mlflow::start_run().start();
    drop(run);
    let target = "integration::console::lines";
    assert_eq!(
        consoles(&fake),
        [
            format!(" INFO {target}: before\n INFO {target}: after\n"),
            format!(" INFO {target}: inner\n"),
            String::new()
        ]
    );
}

#[test]
fn a_span_takes_its_run_to_other_threads() {
    let (_layer, fake) = begin();
    let run = mlflow::start_run().start();
    let span = info_span!("work");
    let dispatch = tracing::dispatcher::get_default(tracing::Dispatch::clone);
    let work = move || {
        tracing::dispatcher::with_default(&dispatch, || {
            info!("nobody's");
            span.in_scope(|| info!("the run's"));
        });
    };
    std::thread::spawn(work).join().unwrap();
    drop(run);
    assert_eq!(
        consoles(&fake),
        [" INFO integration::console::lines: work: the run's\n"]
    );
}

#[test]
fn what_the_library_says_is_no_line() {
    let (_layer, fake) = begin();
    let run = mlflow::start_run().start();
    warn!(target: "mlflow", "ours");
    warn!(target: "mlflow::anything", "ours");
    warn!(target: "mlflower", "theirs");
    drop(run);
    assert_eq!(consoles(&fake), [" WARN mlflower: theirs\n"]);
}

#[test]
fn no_secrets() {
    let (_layer, fake) = begin();
    let run = mlflow::start_run().start();
    let token = ["gh", "p_", &"Fake1".repeat(8)].concat();
    info!(password = "hunter2", max_tokens = 5, "login with {token}");
    info!("see https://me:hunter2@host/repo");
    #[derive(Debug)]
    #[expect(dead_code, reason = "shown by its Debug")]
    struct Login {
        user: &'static str,
        password: &'static str,
    }
    let login = Login {
        user: "me",
        password: "hunter2",
    };
    info!(?login, "with {login:?}");
    drop(run);
    let console = &consoles(&fake)[0];
    assert!(
        !console.contains("hunter2") && !console.contains(&token),
        "{console}"
    );
    assert!(
        console.contains("password=[redacted] max_tokens=5"),
        "{console}"
    );
    assert_eq!(console.matches("[redacted]").count(), 5, "{console}");
}

#[test]
fn a_long_line_is_cut() {
    let (_layer, fake) = begin();
    let run = mlflow::start_run().start();
    info!("{}", "ü".repeat(10_000));
    info!("next");
    drop(run);
    let console = &consoles(&fake)[0];
    let (long, next) = console.split_once('\n').unwrap();
    // The limit includes the time and the space after it.
    assert_eq!(long.chars().count() + 25, 8000);
    assert!(long.ends_with("ü…"));
    assert!(next.ends_with(": next\n"));
}

#[test]
fn a_value_that_panics_or_fails_ends_and_nothing_else_does() {
    struct Bad(bool);
    impl fmt::Debug for Bad {
        fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
            f.write_str("so far")?;
            assert!(!self.0, "in Debug");
            Err(fmt::Error)
        }
    }
    let (_layer, fake) = begin();
    let run = mlflow::start_run().start();
    info!(bad = ?Bad(true), after = 1, "panics");
    info!(bad = ?Bad(false), after = 1, "fails");
    info!("goes on");
    drop(run);
    let target = "integration::console::lines";
    assert_eq!(
        consoles(&fake)[0],
        format!(
            " INFO {target}: panics bad=so far… after=1\n INFO {target}: fails bad=so far… after=1\n \
             INFO {target}: goes on\n"
        )
    );
}

#[test]
fn lines_while_the_store_is_away_come_when_it_is_back() {
    let (_layer, fake) = begin();
    let run = mlflow::start_run().start();
    info!("before");
    fake.offline();
    info!("meanwhile");
    assert!(!mlflow::flush(std::time::Duration::ZERO).complete);
    fake.online();
    drop(run);
    assert_eq!(consoles(&fake)[0].lines().count(), 2);
}
