//! Guards and scopes that end in another order, or on another thread or task, than they began.

use std::panic::{AssertUnwindSafe, catch_unwind};
use std::thread;

use mlflow::testing::fake;
use mlflow::{Run, tracked};
use tokio::task::yield_now;

use super::{log, one_thread, run, steps};

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
