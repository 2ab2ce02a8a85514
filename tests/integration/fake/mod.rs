//! Fake for tests: it records only what is logged in its scope, and a failed assertion shows what was logged.

mod failures;
mod strict;

use std::io::{BufRead as _, BufReader};
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::process::Stdio;
use std::sync::mpsc;
use std::thread;
use std::time::{Duration, Instant};

use mlflow::RunStatus;
use mlflow::testing::fake;

use crate::support::program::Folder;

#[test]
fn fakes_on_different_threads_do_not_meet() {
    let threads: Vec<_> = (0..8)
        .map(|thread| {
            thread::spawn(move || {
                let fake = fake();
                for run in 0..20 {
                    let active = mlflow::start_run().name(format!("{thread}-{run}")).start();
                    mlflow::log_metric_at("step", f64::from(run), i64::from(run));
                    drop(active);
                }
                fake.runs()
                    .into_iter()
                    .map(|run| run.name)
                    .collect::<Vec<_>>()
            })
        })
        .collect();
    for (thread, handle) in threads.into_iter().enumerate() {
        let expected: Vec<_> = (0..20).map(|run| format!("{thread}-{run}")).collect();
        assert_eq!(handle.join().unwrap(), expected);
    }
}

#[test]
fn a_scope_carries_the_run_to_another_thread() {
    let fake = fake();
    let active = mlflow::start_run().name("parent").start();
    let run = active.clone();
    thread::spawn(move || {
        mlflow::log_metric("lost", 1.0);
        run.scope(|| {
            mlflow::log_metric("kept", 1.0);
            drop(mlflow::start_run().name("child").nested(true).start());
        });
        mlflow::log_metric("lost", 2.0);
    })
    .join()
    .unwrap();
    drop(active);
    let runs = fake.runs();
    assert_eq!(runs.len(), 2);
    assert_eq!(runs[0].metrics.keys().collect::<Vec<_>>(), ["kept"]);
    assert_eq!(runs[1].parent.as_ref(), Some(&runs[0].id));
}

#[test]
fn threads_of_a_scope_borrow_the_guard() {
    let fake = fake();
    let run = mlflow::start_run().name("shared").start();
    thread::scope(|scope| {
        for worker in 0..2 {
            let run = &run;
            scope.spawn(move || run.scope(|| mlflow::log_param(&format!("worker.{worker}"), 1)));
        }
    });
    run.finish(RunStatus::Finished);
    assert_eq!(fake.runs()[0].params.len(), 2);
    fake.assert_run_finished("shared");
}

/// Regression: each metric of one call had a time of its own.
#[test]
fn the_metrics_of_one_call_have_one_time() {
    fn slowly(key: &'static str) -> (&'static str, f32) {
        let start = Instant::now();
        while start.elapsed() < Duration::from_millis(20) {
            thread::yield_now();
        }
        (key, 0.5)
    }
    let fake = fake();
    let run = mlflow::start_run().start();
    mlflow::log_metrics(["a", "b", "c"].into_iter().map(slowly), 3_usize);
    drop(run);
    let metrics = &fake.runs()[0].metrics;
    let times: Vec<_> = metrics
        .values()
        .map(|points| points[0].timestamp_ms)
        .collect();
    assert_eq!(times, [times[0]; 3]);
}

#[test]
fn without_a_current_run_nothing_is_logged() {
    let fake = fake();
    mlflow::metric!("loss", 1.0);
    mlflow::log_param("a", 1);
    mlflow::log_text("a", "b");
    assert!(mlflow::Run::current().is_none());
    fake.assert_nothing_logged();
}

#[test]
fn a_guard_ends_its_run_once_and_puts_the_former_run_back() {
    let fake = fake();
    let outer = mlflow::start_run().name("outer").start();
    let inner = mlflow::start_run().name("inner").nested(true).start();
    inner.finish(RunStatus::Killed);
    assert_eq!(mlflow::Run::current().unwrap().key(), outer.key());
    // The first end of a run counts.
    outer.end(RunStatus::Finished);
    mlflow::Run::current().unwrap().end(RunStatus::Failed);
    drop(outer);
    assert!(mlflow::Run::current().is_none());
    fake.assert_run_killed("inner");
    fake.assert_run_finished("outer");
}

#[test]
fn a_guard_dropped_by_a_panic_fails_its_run() {
    let fake = fake();
    let outcome = catch_unwind(AssertUnwindSafe(|| {
        let _run = mlflow::start_run().name("panics").start();
        panic!("on purpose");
    }));
    assert!(outcome.is_err());
    fake.assert_run_failed("panics");
}

#[test]
fn a_snapshot_is_the_same_everywhere() {
    #[mlflow::tracked(experiment = "wine")]
    fn train(alpha: f64, data: &[f64]) -> Result<f64, std::io::Error> {
        mlflow::metric!("loss", alpha, step = data.len());
        mlflow::log_text("short", "notes.txt");
        mlflow::log_text(&"long".repeat(100), "log.txt");
        drop(mlflow::start_run().name("child").nested(true).start());
        Err(std::io::Error::other("no more data"))
    }
    let fake = fake();
    train(0.5, &[1.0, 2.0]).unwrap_err();
    insta::assert_debug_snapshot!(fake);
    let run = &fake.runs()[0];
    assert!(run.own_tags().all(|(key, _)| key.starts_with("error.")));
    assert!(
        run.tags.contains_key("host.arch"),
        "in the fields is everything"
    );
}

#[test]
fn runs_come_in_the_order_of_their_start_whatever_their_thread() {
    let fake = fake();
    let active = mlflow::start_run().name("0").start();
    for number in 1..20 {
        let parent = active.clone();
        let start = move || {
            drop(
                mlflow::start_run()
                    .nested(true)
                    .name(number.to_string())
                    .start(),
            );
        };
        if number % 2 == 0 {
            start();
        } else {
            thread::spawn(move || parent.scope(start)).join().unwrap();
        }
    }
    drop(active);
    let names: Vec<_> = fake.runs().into_iter().map(|run| run.name).collect();
    assert_eq!(
        names,
        (0..20).map(|number| number.to_string()).collect::<Vec<_>>()
    );
}

#[test]
fn the_last_tag_and_the_first_param_win_whatever_their_thread() {
    let fake = fake();
    let run = mlflow::start_run().name("ordered").start();
    let handle = (*run).clone();
    thread::spawn(move || {
        handle.set_tag("state", "from the thread");
        handle.log_param("lr", 0.1);
        handle.log_text("from the thread", "note.txt");
    })
    .join()
    .unwrap();
    run.set_tag("state", "afterwards");
    run.log_param("lr", 0.2);
    run.log_text("afterwards", "note.txt");
    drop(run);
    let run = &fake.runs()[0];
    assert_eq!(run.tags["state"], "afterwards");
    assert_eq!(run.params["lr"], "0.1");
    assert_eq!(run.artifacts["note.txt"], b"afterwards");
}

#[test]
fn what_is_tracked_while_values_are_made_goes_to_its_own_run() {
    #[mlflow::tracked(run_name = "fold", skip_return)]
    fn evaluate(fold: u32) -> f64 {
        mlflow::log_metric("inner", f64::from(fold));
        f64::from(fold) / 2.0
    }
    let fake = fake();
    let outer = mlflow::start_run().name("outer").start();
    mlflow::log_metrics(
        (1..3).map(|fold| (format!("fold/{fold}"), evaluate(fold))),
        0,
    );
    drop(outer);
    let runs = fake.runs();
    assert_eq!(
        runs[0].metrics.keys().collect::<Vec<_>>(),
        ["fold/1", "fold/2"]
    );
    assert_eq!(runs.len(), 3);
    for run in &runs[1..] {
        assert_eq!(run.metrics.keys().collect::<Vec<_>>(), ["inner"]);
        assert_eq!(run.parent.as_ref(), Some(&runs[0].id));
    }
}

const ESCAPE: &str = env!("CARGO_BIN_EXE_escape");

/// Runs the program with no configuration, so that anything that escapes the fake would be in `mlflow.db`.
/// Asserts that there is no such file and no journal. Returns true if the program succeeded, and its stderr.
fn escape(how: &str) -> (bool, String) {
    let folder = Folder::new();
    let output = folder.command(ESCAPE).arg(how).output().unwrap();
    let stderr = String::from_utf8(output.stderr).unwrap();
    assert!(!folder.path().join("mlflow.db").exists(), "{how}: {stderr}");
    assert_eq!(folder.journals_left(), 0, "{how}: {stderr}");
    (output.status.success(), stderr)
}

/// Regression: in a test on several threads, a spawned task logged to the real store, without a warning.
#[test]
fn what_is_tracked_outside_of_a_fake_gets_to_no_store_and_fails_the_test() {
    let (is_success, stderr) = escape("task");
    assert!(!is_success);
    assert!(
        stderr.contains("run \"predict 7\" in \"production\""),
        "{stderr}"
    );
    assert!(stderr.contains("mlflow::thread::carry_future"), "{stderr}");
    assert!(stderr.contains("mlflow::testing::global_fake"), "{stderr}");
}

#[test]
fn carrying_takes_a_fake_along_also_without_a_run() {
    let (is_success, stderr) = escape("carried");
    assert!(is_success, "{stderr}");
}

/// Regression: the failed assertion showed that nothing was logged, but not where the values went.
#[test]
fn an_assertion_that_fails_names_what_was_logged_on_threads_that_do_not_know_the_fake() {
    let (is_success, stderr) = escape("missed");
    assert!(!is_success);
    let said = "tracked meanwhile on a thread or in a task that does not know the fake: metric \"loss\" without a run";
    assert!(stderr.contains(said), "{stderr}");
}

/// Regression: a function whose name resembles the test harness's own was taken for a test without a fake.
#[test]
fn a_function_that_is_called_as_the_harness_own_escapes_as_any_other() {
    let (is_success, stderr) = escape("named");
    assert!(!is_success);
    assert!(
        stderr.contains("run \"predict 7\" in \"production\""),
        "{stderr}"
    );
}

/// A server's handler gets its request over a socket, and its thread or task has no connection to the test.
#[test]
fn a_fake_of_the_process_records_what_a_server_tracks() {
    for how in ["server", "both"] {
        let (is_success, stderr) = escape(how);
        assert!(is_success, "{how}: {stderr}");
    }
    let (is_success, stderr) = escape("outside");
    assert!(!is_success);
    assert!(
        stderr.contains("logged without a current run: metric \"loss\""),
        "{stderr}"
    );
}

/// Regression: a test hung, and nothing named the cause.
#[test]
fn a_wait_for_the_fake_of_the_process_is_said() {
    let folder = Folder::new();
    let mut command = folder.command(ESCAPE);
    command
        .arg("waits")
        .stdin(Stdio::piped())
        .stderr(Stdio::piped());
    let mut program = command.spawn().unwrap();
    let mut said = String::new();
    let mut stderr = BufReader::new(program.stderr.take().unwrap());
    stderr.read_line(&mut said).unwrap();
    assert!(said.contains("global_fake() has waited 10 s"), "{said}");
    drop(program.stdin.take());
    assert!(program.wait().unwrap().success());
}

/// Regression: a test with a fake failed now and then, because a test without a fake tracked at the same
/// time.
#[test]
fn a_fake_does_not_fail_for_a_test_beside_it_that_has_none() {
    let (begun, wait_for_fake) = mpsc::channel();
    let (end, wait_for_end) = mpsc::channel::<()>();
    let other = thread::spawn(move || {
        let fake = fake().strict();
        begun.send(()).unwrap();
        wait_for_end.recv().unwrap();
        fake.assert_nothing_logged();
    });
    wait_for_fake.recv().unwrap();
    // The main thread of this test is outside the scope of all fakes.
    drop(mlflow::start_run().name("of a test without a fake").start());
    mlflow::log_metric("loss", 0.5);
    end.send(()).unwrap();
    other.join().unwrap();
}
