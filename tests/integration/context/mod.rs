//! Current run on threads and in tasks: no value is lost, and none goes to another run.

mod guards;

use std::collections::HashSet;
use std::future::Future;
use std::pin::Pin;
use std::thread;

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

#[test]
fn futures_that_are_selected_do_not_log_to_each_other() {
    let fake = fake();
    one_thread().block_on(async {
        let mut a = std::pin::pin!(taking_turns("a", 0..10));
        let mut b = std::pin::pin!(taking_turns("b", 10..20));
        let (mut a_is_done, mut b_is_done) = (false, false);
        while !(a_is_done && b_is_done) {
            tokio::select! {
                () = &mut a, if !a_is_done => a_is_done = true,
                () = &mut b, if !b_is_done => b_is_done = true,
                () = yield_now() => log(100),
            }
        }
    });
    for (name, expected) in [("a", 0..10), ("b", 10..20)] {
        assert_eq!(
            steps(&run(&fake, name), "value"),
            expected.collect::<Vec<_>>()
        );
    }
}

#[tracked(run_name = "moved")]
async fn moved() -> usize {
    between_workers().await
}

/// Logs a value in every step, until the task has run on three workers. Returns the number of values.
async fn between_workers() -> usize {
    let mut threads = HashSet::new();
    for step in 0..10_000 {
        threads.insert(thread::current().id());
        log(step);
        if threads.len() == 3 {
            return usize::try_from(step + 1).unwrap();
        }
        // A task woken from outside the runtime continues on the first worker that has time. A task that only
        // yields stays on its worker.
        tokio::task::spawn_blocking(|| ()).await.unwrap();
    }
    panic!("no other worker took it: {threads:?}");
}

#[test]
fn a_future_takes_its_run_along_when_another_worker_goes_on() {
    let fake = fake();
    let parent = mlflow::start_run().name("parent").start();
    let tracked = moved();
    let instrumented = parent.instrument(between_workers());
    drop(parent);
    let workers = workers();
    // Other tasks keep the workers busy, so that workers steal tasks from each other.
    let noise: Vec<_> = (0..8)
        .map(|_| {
            workers.spawn(async {
                loop {
                    yield_now().await;
                    assert!(Run::current().is_none(), "a worker kept a run");
                    mlflow::log_metric("nobody's", 1.0);
                }
            })
        })
        .collect();
    let tracked = workers.block_on(workers.spawn(tracked)).unwrap();
    let instrumented = workers.block_on(workers.spawn(instrumented)).unwrap();
    for task in noise {
        task.abort();
        assert!(workers.block_on(task).unwrap_err().is_cancelled());
    }
    let (parent, moved) = (run(&fake, "parent"), run(&fake, "moved"));
    assert_eq!(steps(&moved, "value").len(), tracked);
    assert_eq!(steps(&parent, "value").len(), instrumented);
    assert!(!moved.metrics.contains_key("nobody's") && !parent.metrics.contains_key("nobody's"));
    assert_eq!(moved.parent, Some(parent.id));
}

#[test]
fn tasks_and_blocking_calls() {
    for runtime in [one_thread(), workers()] {
        let fake = fake();
        let given = (*mlflow::start_run().name("given").start()).clone();
        // The outer run is current on this thread. A task that loses the run it was given logs to the outer
        // run, which shows the mistake.
        let outer = mlflow::start_run().name("outer").start();
        runtime.block_on(async {
            tokio::spawn(given.instrument(async {
                log(0);
                yield_now().await;
                log(1);
            }))
            .await
            .unwrap();
            let blocking = given.scope(|| mlflow::thread::carry(|| log(2)));
            tokio::task::spawn_blocking(blocking).await.unwrap();
            let mut set = JoinSet::new();
            for step in 3..6 {
                set.spawn(given.instrument(async move {
                    yield_now().await;
                    log(step);
                }));
            }
            set.spawn(given.scope(|| mlflow::thread::carry_future(async { log(6) })));
            set.spawn_blocking(given.scope(|| mlflow::thread::carry(|| log(7))));
            set.spawn(async { log(100) });
            while let Some(done) = set.join_next().await {
                done.unwrap();
            }
            log(101);
        });
        drop(outer);
        let expected: Vec<i64> = (0..8).collect();
        assert_eq!(steps(&run(&fake, "given"), "value"), expected);
        let outer = steps(&run(&fake, "outer"), "value");
        assert_eq!(outer.last(), Some(&101));
        assert_eq!(outer[0], if outer.len() == 2 { 100 } else { 101 });
    }
}

#[test]
fn a_future_that_is_carried_without_a_run_has_none_and_the_fake() {
    let fake = fake();
    let task = mlflow::thread::carry_future(async {
        log(1);
        drop(mlflow::start_run().name("there").start());
    });
    let outer = mlflow::start_run().name("outer").start();
    workers().block_on(async { tokio::spawn(task).await.unwrap() });
    drop(outer);
    assert!(run(&fake, "outer").metrics.is_empty());
    fake.assert_run_finished("there");
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

/// Value that logs when it is dropped.
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
