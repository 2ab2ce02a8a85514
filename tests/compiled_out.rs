//! Tests of the feature `disabled`, which compiles tracking out: only the annotated functions are left.

use std::mem::size_of_val;

use mlflow::testing::fake;
use mlflow::{timed, tracked};

/// Type that the attribute could not capture, and does not have to.
struct Opaque;

#[tracked(experiment = "none", run_name = "{alpha}", tags(a = 1), skip(opaque), system_metrics = alpha > 0.0)]
fn train(alpha: f64, opaque: Opaque) -> Result<f64, Opaque> {
    mlflow::metric!("loss", alpha, step = 1);
    mlflow::metrics!("a" => 1, "b" => 2);
    mlflow::log_metric("c", 1.0);
    mlflow::log_param("d", 1);
    mlflow::log_text("text", "e.txt");
    timed_step();
    if alpha > 1.0 { Err(opaque) } else { Ok(alpha) }
}

#[timed]
fn timed_step() {}

#[tracked]
async fn task(bytes: [u8; 24]) -> u8 {
    bytes[0]
}

async fn plain_task(bytes: [u8; 24]) -> u8 {
    bytes[0]
}

#[test]
fn a_function_is_left_as_it_stands() {
    let fake = fake();
    assert!(matches!(train(0.5, Opaque), Ok(0.5)));
    assert!(train(2.0, Opaque).is_err());
    fake.assert_nothing_logged();
}

#[test]
fn a_future_is_the_plain_future() {
    assert_eq!(
        size_of_val(&task([0; 24])),
        size_of_val(&plain_task([0; 24]))
    );
}

#[test]
fn runs_by_hand_take_everything_and_keep_nothing() {
    let run = mlflow::start_run()
        .name("by hand")
        .param("a", 1)
        .system_metrics(true)
        .start();
    run.log_metric("loss", 0.5);
    assert_eq!(run.key(), "");
    assert!(mlflow::Run::current().is_none());
    drop(run);
    let health = mlflow::health();
    assert_eq!(
        (health.state, health.queued),
        (mlflow::TrackingState::Disabled, 0)
    );
    assert!(mlflow::flush(std::time::Duration::from_secs(60)).complete);
}

#[test]
fn what_is_carried_is_called_and_nothing_else() {
    struct Parting<'a>(&'a std::cell::Cell<bool>);
    impl Drop for Parting<'_> {
        fn drop(&mut self) {
            mlflow::log_metric("parting", 1.0);
            self.0.set(true);
        }
    }

    let fake = fake();
    let run = mlflow::start_run().start();
    assert_eq!(mlflow::thread::spawn(|| 1).join().unwrap(), 1);
    assert_eq!(run.scope(mlflow::thread::carry(|| 2)), 2);
    let runtime = tokio::runtime::Builder::new_current_thread()
        .build()
        .unwrap();
    let waits = run.instrument(async {
        tokio::task::yield_now().await;
        mlflow::log_metric("loss", 0.5);
        3
    });
    assert_eq!(runtime.block_on(waits), 3);
    assert_eq!(
        runtime.block_on(mlflow::thread::carry_future(async { 4 })),
        4
    );
    let is_dropped = std::cell::Cell::new(false);
    let parting = Parting(&is_dropped);
    drop(run.instrument(async move {
        let _parting = parting;
    }));
    assert!(is_dropped.get());
    assert!(mlflow::Run::current().is_none());
    fake.assert_nothing_logged();
}
