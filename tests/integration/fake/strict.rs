//! Strict fakes and scripted failures: a strict fake fails the test for mistakes that would go unnoticed
//! otherwise, and a scripted failure shows how the code behaves while the store is unavailable.

use std::panic::{AssertUnwindSafe, catch_unwind};
use std::time::Duration;

use mlflow::TrackingState;
use mlflow::store::StoreError;
use mlflow::testing::fake;

/// Runs `test` with a strict fake. Returns the message of the panic when the fake is dropped; `None` if there
/// is none.
fn said(test: impl FnOnce()) -> Option<String> {
    let outcome = catch_unwind(AssertUnwindSafe(|| {
        let _fake = fake().strict();
        test();
    }));
    outcome
        .err()
        .map(|failure| failure.downcast_ref::<String>().unwrap().clone())
}

fn unavailable() -> StoreError {
    StoreError::Unavailable {
        reason: "maintenance".into(),
        retry_after: None,
    }
}

#[test]
fn what_is_right_passes() {
    #[mlflow::tracked]
    fn train(alpha: f64) -> f64 {
        mlflow::metric!("loss", alpha);
        mlflow::set_tag("stage", "dev");
        alpha
    }
    let quiet = || {
        train(0.5);
    };
    assert_eq!(said(quiet), None);
    assert_eq!(said(|| {}), None);
}

#[test]
fn values_without_a_run() {
    let text = said(|| {
        mlflow::metric!("loss", 0.5);
        mlflow::metric!("loss", 0.25);
        mlflow::log_metric("accuracy", 1.0);
        mlflow::log_metrics([("a", 1.0)], 0);
        mlflow::log_param("alpha", 0.5);
        mlflow::log_params(&("a", 1));
        mlflow::set_tag("stage", "dev");
        mlflow::set_tags([("stage", "dev")]);
        mlflow::log_text("text", "notes.txt");
        mlflow::log_artifact("/nowhere");
    });
    insta::assert_snapshot!(text.unwrap());
}

#[test]
fn a_run_that_is_still_open() {
    let text = said(|| {
        let run = mlflow::start_run().experiment("wine").name("fit").start();
        std::mem::forget(run);
    });
    insta::assert_snapshot!(text.unwrap());
}

#[test]
fn values_that_the_store_does_not_take() {
    let text = said(|| {
        let run = mlflow::start_run().name("fit").start();
        run.log_param("alpha", 0.5);
        run.log_param("alpha", 0.6);
        run.log_artifact("/nowhere");
    });
    insta::assert_snapshot!(text.unwrap());
}

#[test]
fn values_that_still_wait() {
    let outcome = catch_unwind(AssertUnwindSafe(|| {
        let fake = fake().strict();
        drop(mlflow::start_run().name("fit").start());
        fake.offline();
    }));
    let failure = outcome.unwrap_err();
    insta::assert_snapshot!(failure.downcast_ref::<String>().unwrap());
}

/// A test that fails by itself must show its own failure.
#[test]
fn a_test_that_fails_is_not_failed_again() {
    let outcome = catch_unwind(AssertUnwindSafe(|| {
        let _fake = fake().strict();
        mlflow::log_param("alpha", 0.5);
        panic!("the test's own");
    }));
    assert_eq!(
        outcome.unwrap_err().downcast_ref::<&str>(),
        Some(&"the test's own")
    );
}

#[test]
fn values_outlast_a_store_that_is_offline() {
    let fake = fake().strict();
    let run = mlflow::start_run().name("fit").start();
    run.log_metric("loss", 0.5);
    fake.offline();
    assert_eq!(
        mlflow::health().state,
        TrackingState::Connected,
        "nobody has asked"
    );
    let report = mlflow::flush(Duration::from_secs(60));
    assert!(!report.complete);
    assert_eq!(report.queued, 2);
    assert_eq!(mlflow::health().state, TrackingState::Waiting);
    run.log_metric("loss", 0.25);
    fake.online();
    assert!(mlflow::flush(Duration::from_secs(60)).complete);
    assert_eq!(mlflow::health().state, TrackingState::Connected);
    drop(run);
    fake.assert_metric("loss", &[(0, 0.5), (0, 0.25)]);
}

#[test]
fn every_request_may_fail_once() {
    // The run is delivered by five kinds of request: an experiment, a run, a batch, an artifact, an end.
    for place in 0..8 {
        let fake = fake().strict();
        for _ in 0..place {
            // Each error waits for its turn, and fails one request.
            fake.fail_next(unavailable());
        }
        let run = mlflow::start_run().experiment("wine").name("fit").start();
        run.log_metric("loss", 0.5);
        run.log_param("alpha", 0.5);
        run.log_text("text", "notes.txt");
        drop(run);
        for _ in 0..place {
            assert!(!mlflow::flush(Duration::ZERO).complete, "{place}");
        }
        assert!(mlflow::flush(Duration::ZERO).complete, "{place}");
        fake.assert_run_finished("fit");
        fake.assert_metric("loss", &[(0, 0.5)]);
        let runs = fake.runs();
        assert_eq!(runs.len(), 1, "{place}");
        assert_eq!(runs[0].artifacts["notes.txt"], b"text");
    }
}

#[test]
fn a_value_that_is_refused_is_counted() {
    let fake = fake();
    let run = mlflow::start_run().name("fit").start();
    assert!(mlflow::flush(Duration::ZERO).complete);
    run.log_metric("loss", 0.5);
    fake.fail_next(StoreError::Rejected {
        reason: "not today".into(),
    });
    assert!(mlflow::flush(Duration::ZERO).complete);
    assert_eq!(mlflow::health().rejected, 1);
    drop(run);
    assert!(fake.runs()[0].metrics.is_empty());
}
