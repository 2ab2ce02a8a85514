//! Attribute `#[timed]`.

use std::pin::Pin;

use mlflow::{timed, tracked};

use super::recorder::{block_on, fake, only_run};

#[timed]
fn step(n: u8) -> Option<u8> {
    n.checked_sub(1)?;
    Some(n)
}

#[timed(name = "load/data")]
async fn load(text: &str) -> usize {
    std::future::ready(()).await;
    text.len()
}

#[timed]
fn later(n: u8) -> impl Future<Output = u8> {
    let n = n + 1;
    async move { n }
}

#[timed]
fn boxed(n: u8) -> Pin<Box<dyn Future<Output = u8> + Send>> {
    Box::pin(async move { n })
}

type Job<T> = Pin<Box<dyn Future<Output = T> + Send>>;

#[timed]
fn job(n: u8) -> Job<u8> {
    Box::pin(async move { n })
}

struct Counter(u8);
type Slot<'a> = &'a mut u8;

impl Counter {
    #[timed]
    fn slot(&mut self) -> Slot<'_> {
        &mut self.0
    }

    #[tracked]
    fn tracked_slot(&mut self) -> Slot<'_> {
        &mut self.0
    }
}

#[timed]
#[track_caller]
fn caller() -> u32 {
    std::panic::Location::caller().line()
}

#[test]
fn durations_are_metrics_of_the_current_run() {
    #[tracked]
    async fn train() {
        for n in 0..3 {
            step(n);
        }
        assert_eq!(load("abc").await, 3);
        assert_eq!(later(1).await, 2);
        assert_eq!(boxed(1).await, 1);
        assert_eq!(job(1).await, 1);
        let mut counter = Counter(0);
        *counter.slot() += 1;
        assert_eq!(counter.0, 1);
        assert_eq!(caller(), line!());
    }
    let fake = fake();
    block_on(train());
    let run = only_run(&fake);
    let steps: Vec<_> = run.metrics["time/step"]
        .iter()
        .map(|point| point.step)
        .collect();
    assert_eq!(steps, [1, 2, 3]);
    for key in [
        "time/load/data",
        "time/later",
        "time/boxed",
        "time/job",
        "time/slot",
        "time/caller",
    ] {
        assert_eq!(run.metrics[key].len(), 1, "{key}");
        assert!((0.0..60.0).contains(&run.metrics[key][0].value), "{key}");
    }
}

#[test]
fn without_a_run_nothing_is_timed() {
    let fake = fake();
    assert_eq!(caller(), line!());
    assert!(fake.runs().is_empty());
}

#[test]
fn an_alias_of_a_reference_is_returned_as_one() {
    let fake = fake();
    let mut counter = Counter(1);
    *counter.tracked_slot() += 1;
    assert_eq!(counter.0, 2);
    assert_eq!(only_run(&fake).name.split('-').next(), Some("tracked_slot"));
}

#[test]
fn the_order_of_the_attributes_says_whose_run() {
    #[timed(name = "own")]
    #[tracked]
    fn above() {}
    #[tracked]
    #[timed(name = "callers")]
    fn below() {}
    let fake = fake();
    {
        let _run = mlflow::start_run().start();
        above();
        below();
    }
    let runs = fake.runs();
    assert!(runs[0].metrics.contains_key("time/callers"), "{runs:#?}");
    assert!(runs[1].metrics.contains_key("time/own"), "{runs:#?}");
}

/// Regression: the macro returned the future of an `async fn`, which is never `Unpin`.
#[test]
fn an_unpin_future_stays_one() {
    #[timed]
    fn f() -> impl Future<Output = u8> + Unpin {
        std::future::ready(1)
    }
    let fake = fake();
    let _run = mlflow::start_run().start();
    assert_eq!(block_on(f()), 1);
    assert!(fake.runs()[0].metrics.contains_key("time/f"));
}
