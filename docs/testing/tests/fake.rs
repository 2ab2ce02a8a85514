//! Level 1: the fake.

use mlflow::RunStatus;
use mlflow::StoreError;
use mlflow::testing::fake;
use rayon::prelude::*;
use testing_guide::{sweep, train};

#[test]
fn a_training_is_tracked() {
    let fake = fake().strict();
    let scores = train(0.25, 2).unwrap();
    assert_eq!(scores.rmse, 0.25);
    fake.assert_experiment_created("descent");
    fake.assert_param("rate", "0.25");
    fake.assert_tag("model", "parabola");
    fake.assert_metric("loss", &[(0, 0.25), (1, 0.0625)]);
    fake.assert_metric("rmse", &[(0, 0.25)]);
    assert_eq!(fake.runs()[0].artifacts["model.txt"], b"0.25\n");
}

#[test]
fn a_training_that_diverges_fails_its_run() {
    let fake = fake().strict();
    train(3.0, 10).unwrap_err();
    assert_eq!(fake.runs()[0].status, RunStatus::Failed);
    fake.assert_tag("error.message", "the loss grows; choose a smaller rate");
}

#[test]
fn a_sweep_has_a_child_for_each_rate() {
    let fake = fake().strict();
    assert_eq!(sweep(&[0.25, 0.5, 3.0]), 2);
    insta::assert_debug_snapshot!(fake.runs());
}

#[tokio::test]
async fn on_a_runtime_with_one_thread() {
    let fake = fake().strict();
    tokio::spawn(mlflow::thread::carry_future(async { train(0.25, 1) })).await.unwrap().unwrap();
    assert_eq!(fake.runs().len(), 1);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn on_a_runtime_with_several_threads() {
    let fake = fake().strict();
    let tasks: Vec<_> = (0..8)
        .map(|_| tokio::spawn(mlflow::thread::carry_future(async { train(0.25, 1) })))
        .collect();
    for task in tasks {
        task.await.unwrap().unwrap();
    }
    assert_eq!(fake.runs().len(), 8);
}

#[test]
fn on_the_threads_of_a_pool() {
    let fake = fake().strict();
    let parent = mlflow::start_run().name("pool").start();
    // The guard `parent` must stay on this thread; its clone `run` may be used on any thread.
    let run = parent.clone();
    (0..8).into_par_iter().for_each(|_| {
        run.scope(|| train(0.25, 1)).unwrap();
    });
    drop(parent);
    let runs = fake.runs();
    let children = runs.iter().filter(|run| run.parent.as_ref() == Some(&runs[0].id));
    assert_eq!(children.count(), 8);
}

#[test]
fn a_panic_that_is_caught() {
    let fake = fake().strict();
    let outcome = std::panic::catch_unwind(|| {
        let _run = mlflow::start_run().name("panics").start();
        panic!("on purpose");
    });
    assert!(outcome.is_err());
    fake.assert_run_failed("panics");
}

#[test]
fn the_training_does_not_notice_that_the_server_is_away() {
    let fake = fake();
    fake.offline();
    assert!(train(0.25, 2).is_ok());
    assert!(!mlflow::flush(std::time::Duration::from_secs(1)).complete);
    fake.online();
    fake.fail_next(StoreError::Busy { reason: "somebody else writes".into() });
    assert!(fake.runs().is_empty(), "the request that failed");
    fake.assert_metric_logged("loss");
}

#[test]
#[should_panic(expected = "logged without a current run: metric \"loss\"")]
fn a_strict_fake_finds_what_goes_nowhere() {
    let _fake = fake().strict();
    mlflow::metric!("loss", 0.5);
}
