//! The current run on threads and in tasks: nothing is lost on the way, and nothing goes to another.

use std::collections::HashSet;
use std::future::Future;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::pin::Pin;
use std::thread;
use std::time::{Duration, Instant};

use mlflow::testing::{Fake, RecordedRun, fake};
use mlflow::{Run, tracked};
use rayon::prelude::*;
use tokio::runtime::{Builder, Runtime};
use tokio::task::{JoinSet, yield_now};

fn one_thread() -> Runtime {
    Builder::new_current_thread().build().unwrap()
}

fn workers() -> Runtime {
    Builder::new_multi_thread()
        .worker_threads(3)
        .build()
        .unwrap()
}

fn run(fake: &Fake, name: &str) -> RecordedRun {
    let found = fake.runs().into_iter().find(|run| run.name == name);
    found.unwrap_or_else(|| panic!("no run {name}: {:#?}", fake.runs()))
}

fn steps(run: &RecordedRun, key: &str) -> Vec<i64> {
    let mut steps: Vec<i64> = run.metrics[key].iter().map(|point| point.step).collect();
    steps.sort_unstable();
    steps
}

fn log(step: i64) {
    mlflow::log_metric_at("value", 0.5, step);
}

#[test]
fn spawned_and_scoped_threads_have_the_run_they_are_given() {
    let fake = fake();
    let active = mlflow::start_run().name("run").start();
    mlflow::thread::spawn(|| {
        log(0);
        mlflow::thread::spawn(|| log(1)).join().unwrap();
    })
    .join()
    .unwrap();
    thread::scope(|scope| {
        scope.spawn(mlflow::thread::carry(|| log(2)));
        scope.spawn(|| log(3));
    });
    drop(active);
    assert_eq!(
        steps(&run(&fake, "run"), "value"),
        [0, 1, 2],
        "3 was given none"
    );
}

#[test]
fn a_thread_spawned_without_a_run_has_the_fake() {
    let fake = fake();
    let child = mlflow::thread::spawn(|| drop(mlflow::start_run().name("there").start()));
    child.join().unwrap();
    fake.assert_run_finished("there");
}

#[test]
fn the_workers_of_rayon() {
    let fake = fake();
    let active = mlflow::start_run().name("run").start();
    let pool = rayon::ThreadPoolBuilder::new()
        .num_threads(3)
        .build()
        .unwrap();
    let run_of_all = active.clone();
    pool.install(|| {
        (0..100_i64)
            .into_par_iter()
            .for_each(|step| run_of_all.scope(|| log(step)));
        rayon::join(mlflow::thread::carry(|| log(100)), || ());
    });
    drop(active);
    let expected: Vec<i64> = (0..100).collect();
    assert_eq!(
        steps(&run(&fake, "run"), "value"),
        expected,
        "the pool's own had no run to carry"
    );
}

#[test]
fn a_scope_ends_with_a_panic_and_the_run_before_is_back() {
    let fake = fake();
    let outer = mlflow::start_run().name("outer").start();
    let inner = mlflow::start_run().name("inner").start();
    let inner_run = inner.clone();
    drop(inner);
    let panicked = catch_unwind(AssertUnwindSafe(|| {
        inner_run.scope(|| {
            log(1);
            panic!("on the way");
        });
    }));
    assert!(panicked.is_err());
    log(2);
    drop(outer);
    assert_eq!(steps(&run(&fake, "inner"), "value"), [1]);
    assert_eq!(steps(&run(&fake, "outer"), "value"), [2]);
}

#[test]
fn a_guard_put_in_place_of_another_is_the_current_run() {
    let fake = fake();
    let mut active = mlflow::start_run().name("first").start();
    log(1);
    assert_eq!(active.name(), "first");
    active = mlflow::start_run().name("second").start();
    log(2);
    drop(active);
    log(3);
    assert!(Run::current().is_none());
    assert_eq!(steps(&run(&fake, "first"), "value"), [1]);
    assert_eq!(steps(&run(&fake, "second"), "value"), [2]);
}

#[test]
fn a_guard_that_outlives_its_scope_leaves_nothing_behind() {
    let fake = fake();
    let outer = mlflow::start_run().name("outer").start();
    let inner = outer.scope(|| mlflow::start_run().name("inner").start());
    std::mem::forget(outer.scope(|| mlflow::start_run().name("forgotten").start()));
    log(1);
    drop(inner);
    log(2);
    let outer_guard = outer;
    outer_guard.clone().scope(|| drop(outer_guard));
    log(3);
    assert_eq!(steps(&run(&fake, "outer"), "value"), [1, 2]);
    assert!(run(&fake, "inner").metrics.is_empty());
    assert!(run(&fake, "forgotten").metrics.is_empty());
}

#[tracked(run_name = "{name}", skip_all)]
async fn holding_a_guard(name: &str) {
    let part = mlflow::start_run()
        .name(format!("{name}-part"))
        .nested(true)
        .start();
    for step in 0..3 {
        yield_now().await;
        log(step);
    }
    drop(part);
    log(10);
}

#[test]
fn a_guard_held_across_awaits_is_current_in_its_own_future_only() {
    let fake = fake();
    let outer = mlflow::start_run().name("outer").start();
    let (a, b) = (outer.clone(), outer.clone());
    one_thread().block_on(async {
        let by_hand = a.instrument(holding_a_guard("c"));
        tokio::join!(
            holding_a_guard("a"),
            b.instrument(holding_a_guard("b")),
            by_hand,
            async {
                for step in 0..5 {
                    log(step);
                    yield_now().await;
                }
            }
        );
    });
    drop(outer);
    assert_eq!(steps(&run(&fake, "outer"), "value"), [0, 1, 2, 3, 4]);
    for name in ["a", "b", "c"] {
        let part = run(&fake, &format!("{name}-part"));
        assert_eq!(steps(&part, "value"), [0, 1, 2], "{name}");
        assert_eq!(part.parent, Some(run(&fake, name).id));
        assert_eq!(steps(&run(&fake, name), "value"), [10], "{name}");
    }
}

#[test]
fn the_fake_comes_along_with_its_run() {
    let fake = fake();
    let active = mlflow::start_run().name("run").start();
    let carried = active.clone();
    thread::spawn(move || {
        carried.scope(|| {
            mlflow::set_experiment("of the fake");
            drop(mlflow::start_run().name("by hand").start());
        });
    })
    .join()
    .unwrap();
    drop(active);
    assert_eq!(run(&fake, "by hand").experiment, "of the fake");
}

#[tracked(run_name = "{name}", skip_all)]
async fn taking_turns(name: &str, steps: std::ops::Range<i64>) {
    for step in steps {
        log(step);
        yield_now().await;
    }
}

#[test]
fn futures_that_take_turns_on_a_thread_do_not_log_to_each_other() {
    let fake = fake();
    one_thread().block_on(async {
        tokio::join!(taking_turns("a", 0..10), taking_turns("b", 10..20), async {
            for step in 0..10 {
                log(step);
                yield_now().await;
            }
        });
    });
    assert_eq!(
        steps(&run(&fake, "a"), "value"),
        (0..10).collect::<Vec<_>>()
    );
    assert_eq!(
        steps(&run(&fake, "b"), "value"),
        (10..20).collect::<Vec<_>>()
    );
    assert_eq!(fake.runs().len(), 2);
}

/// Logs from every worker that it is moved to, until there were two.
#[tracked(run_name = "moved", skip_all)]
async fn moved() -> usize {
    let (mut threads, mut step) = (HashSet::new(), 0);
    let begun = Instant::now();
    while threads.len() < 2 {
        threads.insert(thread::current().id());
        log(step);
        step += 1;
        yield_now().await;
        assert!(
            begun.elapsed() < Duration::from_secs(60),
            "no worker steals it"
        );
    }
    usize::try_from(step).unwrap()
}

#[test]
fn a_tracked_future_takes_its_run_along_when_another_worker_goes_on() {
    let fake = fake();
    let context = mlflow::start_run().name("parent").start();
    let future = moved();
    drop(context);
    let workers = workers();
    // Others that keep the workers busy, so that they steal from each other.
    let noise: Vec<_> = (0..8)
        .map(|_| {
            workers.spawn(async {
                loop {
                    yield_now().await;
                    mlflow::log_metric("nobody's", 1.0);
                }
            })
        })
        .collect();
    let logged = workers.block_on(workers.spawn(future)).unwrap();
    noise.iter().for_each(tokio::task::JoinHandle::abort);
    let moved = run(&fake, "moved");
    assert_eq!(steps(&moved, "value").len(), logged);
    assert!(!moved.metrics.contains_key("nobody's"));
    assert_eq!(moved.parent, Some(run(&fake, "parent").id));
}

#[test]
fn tasks_and_blocking_calls() {
    for runtime in [one_thread(), workers()] {
        let fake = fake();
        let active = mlflow::start_run().name("run").start();
        let run_of_all = active.clone();
        runtime.block_on(async {
            tokio::spawn(run_of_all.instrument(async {
                log(0);
                yield_now().await;
                log(1);
            }))
            .await
            .unwrap();
            tokio::task::spawn_blocking(mlflow::thread::carry(|| log(2)))
                .await
                .unwrap();
            let mut set = JoinSet::new();
            for step in 3..6 {
                set.spawn(run_of_all.instrument(async move { log(step) }));
            }
            set.spawn(async { log(100) });
            while let Some(done) = set.join_next().await {
                done.unwrap();
            }
        });
        drop(active);
        let run = run(&fake, "run");
        // On one thread the task that was given no run has that of the thread.
        let expected: Vec<i64> = (0..6).collect();
        assert_eq!(steps(&run, "value")[..6], expected);
    }
}

#[test]
fn smol_is_an_executor_like_any_other() {
    let fake = fake();
    let active = mlflow::start_run().name("run").start();
    let task = smol::spawn(active.instrument(async {
        log(0);
        smol::future::yield_now().await;
        log(1);
    }));
    let blocking = smol::unblock(mlflow::thread::carry(|| log(2)));
    smol::block_on(async {
        task.await;
        blocking.await;
    });
    drop(active);
    assert_eq!(steps(&run(&fake, "run"), "value"), [0, 1, 2]);
}

/// Logs when it goes.
struct Parting;

impl Drop for Parting {
    fn drop(&mut self) {
        log(1);
    }
}

#[test]
fn what_a_future_logs_when_it_is_dropped_goes_to_its_run() {
    let fake = fake();
    let outer = mlflow::start_run().name("outer").start();
    let inner = mlflow::start_run().name("inner").start();
    let run_inside = inner.clone();
    drop(inner);
    one_thread().block_on(async {
        let future = run_inside.instrument(async {
            let _parting = Parting;
            std::future::pending::<()>().await;
        });
        tokio::select! {
            biased;
            () = future => unreachable!("it never ends"),
            () = yield_now() => {}
        }
    });
    drop(outer);
    assert_eq!(steps(&run(&fake, "inner"), "value"), [1]);
    assert!(run(&fake, "outer").metrics.is_empty());
}

#[tracked(run_name = "depth-{depth}")]
fn deeper(depth: u32) -> Pin<Box<dyn Future<Output = ()> + Send>> {
    Box::pin(async move {
        log(i64::from(depth));
        yield_now().await;
        if depth > 0 {
            deeper(depth - 1).await;
        }
        log(100 + i64::from(depth));
    })
}

#[test]
fn recursion_nests_the_runs_and_comes_back_to_each() {
    let fake = fake();
    let future = deeper(3);
    workers().block_on(future);
    for depth in 0..=3 {
        let this = run(&fake, &format!("depth-{depth}"));
        let step = i64::from(depth);
        assert_eq!(steps(&this, "value"), [step, 100 + step]);
        let parent = (depth < 3).then(|| run(&fake, &format!("depth-{}", depth + 1)).id);
        assert_eq!(this.parent, parent);
    }
}

#[tracked(run_name = "reader", skip_all)]
async fn reads(stream: impl futures_lite::Stream<Item = i64>) {
    use futures_lite::StreamExt as _;
    let mut stream = std::pin::pin!(stream);
    while let Some(step) = stream.next().await {
        mlflow::log_metric_at("read", 1.0, step);
    }
}

#[test]
fn what_a_stream_logs_goes_to_whoever_reads_it() {
    let fake = fake();
    let stream = futures_lite::stream::unfold(0, |step| async move {
        log(step);
        yield_now().await;
        (step < 5).then_some((step, step + 1))
    });
    one_thread().block_on(reads(stream));
    let reader = run(&fake, "reader");
    assert_eq!(steps(&reader, "value"), [0, 1, 2, 3, 4, 5]);
    assert_eq!(steps(&reader, "read"), [0, 1, 2, 3, 4]);
    assert!(Run::current().is_none());
}
