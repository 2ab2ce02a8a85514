//! Layer for `tracing`: events become metrics of the run that they belong to, and of no other.

use std::sync::{Arc, Barrier};
use std::thread;

use mlflow::testing::{Fake, fake};
use tracing::dispatcher::with_default;
use tracing::subscriber::{DefaultGuard, set_default};
use tracing::{Dispatch, Instrument, info, info_span, trace, warn};
use tracing_subscriber::filter::{LevelFilter, filter_fn};
use tracing_subscriber::prelude::*;
use tracing_subscriber::registry;

/// Sets the layer as this thread's subscriber, and starts a strict fake.
fn begin() -> (DefaultGuard, Fake) {
    (
        set_default(registry().with(mlflow::layer())),
        fake().strict(),
    )
}

fn keys(fake: &Fake) -> Vec<Vec<String>> {
    let keys = |run: mlflow::testing::RecordedRun| run.metrics.into_keys().collect();
    fake.runs().into_iter().map(keys).collect()
}

#[test]
fn numbers_of_every_kind() {
    let (_layer, fake) = begin();
    let run = mlflow::start_run().start();
    info!(
        metric.float = 0.5_f32,
        metric.signed = -3,
        metric.unsigned = 7_u8,
        metric.wide = 1_u128 << 70,
        metric.flag = true,
        step = 5_u64,
        "all"
    );
    info!(metric.nan = f64::NAN, metric.infinite = f64::INFINITY);
    info!("metric.train/loss" = 0.25, step = -1, other = "text");
    trace!(
        metric.absent = Option::<f64>::None,
        metric.present = Some(1.5)
    );
    drop(run);
    fake.assert_metric("float", &[(5, 0.5)]);
    fake.assert_metric("signed", &[(5, -3.0)]);
    fake.assert_metric("unsigned", &[(5, 7.0)]);
    fake.assert_metric("wide", &[(5, 2.0_f64.powi(70))]);
    fake.assert_metric("flag", &[(5, 1.0)]);
    fake.assert_metric("nan", &[(0, f64::NAN)]);
    fake.assert_metric("infinite", &[(0, f64::INFINITY)]);
    fake.assert_metric("train/loss", &[(-1, 0.25)]);
    fake.assert_metric("present", &[(0, 1.5)]);
    assert!(!fake.runs()[0].metrics.contains_key("absent"));
}

#[test]
fn more_metrics_in_an_event_than_are_kept_beside_each_other() {
    let (_layer, fake) = begin();
    let run = mlflow::start_run().start();
    info!(
        metric.a = 1,
        metric.b = 2,
        metric.c = 3,
        metric.d = 4,
        metric.e = 5,
        metric.f = 6,
        metric.g = 7,
        metric.h = 8,
        metric.i = 9,
        metric.j = 10,
        step = 3
    );
    drop(run);
    assert_eq!(fake.runs()[0].metrics.len(), 10);
    fake.assert_metric("j", &[(3, 10.0)]);
}

#[test]
fn what_is_no_number_is_counted_and_loses_nothing_else() {
    let _layer = set_default(registry().with(mlflow::layer()));
    let fake = fake();
    let run = mlflow::start_run().start();
    info!(metric.shown = %0.5, metric.text = "high", metric.debug = ?[1], metric.loss = 0.5, step = "three");
    assert_eq!(mlflow::health().rejected, 3);
    drop(run);
    fake.assert_metric("loss", &[(0, 0.5)]);
    assert_eq!(keys(&fake), [["loss"]]);
}

#[test]
fn an_event_belongs_to_the_innermost_run() {
    #[mlflow::tracked(skip_return)]
    fn inner(value: f64) {
        info!(metric.inner = value);
    }
    #[mlflow::tracked(skip_return)]
    fn outer() {
        info!(metric.outer = 1.0);
        inner(0.5);
        info!(metric.outer = 2.0);
    }
    let (_layer, fake) = begin();
    outer();
    assert_eq!(keys(&fake), [["outer"], ["inner"]]);
    fake.assert_metric("outer", &[(0, 1.0), (0, 2.0)]);
}

#[test]
fn a_span_takes_its_run_to_other_threads() {
    let (_layer, fake) = begin();
    let run = mlflow::start_run().name("mine").start();
    let span = info_span!("work");
    let outside = mlflow::start_run().name("other").start();
    let dispatch = tracing::dispatcher::get_default(Dispatch::clone);
    let inside = span.clone();
    let work = move || {
        with_default(&dispatch, || {
            info!(metric.explicit = 1.0, "no span, no run");
            info!(parent: &inside, metric.explicit = 2.0);
            let _entered = inside.enter();
            info_span!("nested").in_scope(|| info!(metric.entered = 3.0));
        });
    };
    thread::spawn(work).join().unwrap();
    // A current run takes precedence over the run of the span.
    span.in_scope(|| info!(metric.current = 4.0));
    drop(outside);
    drop(run);
    let runs = fake.runs();
    let of = |name: &str| runs.iter().find(|run| run.name == name).unwrap();
    assert_eq!(
        of("mine").metrics.keys().collect::<Vec<_>>(),
        ["entered", "explicit"]
    );
    assert_eq!(of("mine").metrics["explicit"][0].value, 2.0);
    assert_eq!(of("other").metrics.keys().collect::<Vec<_>>(), ["current"]);
}

#[test]
fn tasks_with_spans_never_log_into_each_other() {
    let (_layer, fake) = begin();
    let dispatch = tracing::dispatcher::get_default(Dispatch::clone);
    let runtime = tokio::runtime::Builder::new_multi_thread()
        .worker_threads(2)
        .on_thread_start(move || std::mem::forget(tracing::dispatcher::set_default(&dispatch)))
        .build()
        .unwrap();
    let mut tasks = Vec::new();
    let mut runs = Vec::new();
    for number in 0..8 {
        let run = mlflow::start_run().name(number.to_string()).start();
        // The span is created in the run. The task has only the span.
        let span = info_span!("task", number);
        let task = async move {
            for step in 0..50 {
                info!(metric.number = number, step);
                tokio::task::yield_now().await;
            }
        };
        tasks.push(runtime.spawn(task.instrument(span)));
        runs.push(run);
    }
    runtime.block_on(async {
        for task in tasks {
            task.await.unwrap();
        }
    });
    drop(runs);
    for run in fake.runs() {
        let number: f64 = run.name.parse().unwrap();
        let points = &run.metrics["number"];
        assert_eq!(points.len(), 50);
        assert!(points.iter().all(|point| point.value == number), "{run:?}");
    }
}

#[test]
fn many_threads_at_once() {
    let (_layer, fake) = begin();
    let run = mlflow::start_run().start();
    let dispatch = tracing::dispatcher::get_default(Dispatch::clone);
    let together = Arc::new(Barrier::new(4));
    let threads: Vec<_> = (0..4)
        .map(|thread| {
            let (dispatch, together, run) = (dispatch.clone(), together.clone(), (*run).clone());
            thread::spawn(move || {
                together.wait();
                with_default(&dispatch, || {
                    run.scope(|| (0..500).for_each(|step| info!(metric.thread = thread, step)));
                });
            })
        })
        .collect();
    threads
        .into_iter()
        .for_each(|thread| thread.join().unwrap());
    drop(run);
    assert_eq!(fake.runs()[0].metrics["thread"].len(), 2000);
}

#[test]
fn without_a_run_nothing_is_logged() {
    let _layer = set_default(registry().with(mlflow::layer()));
    let fake = fake();
    info!(metric.loss = 0.5);
    info_span!("alone").in_scope(|| info!(metric.loss = 0.5));
    fake.assert_nothing_logged();
}

#[test]
#[should_panic(expected = "logged without a current run: metric \"loss\" (2 times)")]
fn a_strict_fake_hears_of_it() {
    let (_layer, _fake) = begin();
    info!(metric.loss = 0.5);
    info!(metric.loss = 0.5);
}

#[test]
fn filters_of_the_layer_and_of_others_do_not_touch_each_other() {
    let seen = Arc::new(std::sync::Mutex::new(Vec::new()));
    let mine = mlflow::layer().with_filter(LevelFilter::INFO);
    let theirs = Seen(Arc::clone(&seen)).with_filter(LevelFilter::WARN);
    let _layers = set_default(registry().with(theirs).with(mine));
    let fake = fake().strict();
    let run = mlflow::start_run().start();
    trace!(metric.trace = 1.0);
    info!(metric.info = 1.0);
    warn!("no metric");
    warn!(metric.warn = 1.0);
    drop(run);
    assert_eq!(keys(&fake), [["info", "warn"]]);
    assert_eq!(seen.lock().unwrap().len(), 2, "the two warnings");
}

/// `Seen` stands below the layer, without a filter, and must see every event.
#[test]
fn nothing_is_switched_off_for_others() {
    let seen = Arc::new(std::sync::Mutex::new(Vec::new()));
    let _layers = set_default(
        registry()
            .with(Seen(Arc::clone(&seen)))
            .with(mlflow::layer()),
    );
    trace!("one");
    info!(target: "mlflow", "two");
    info!(metric.loss = 0.5, "three");
    assert_eq!(seen.lock().unwrap().len(), 3);
}

struct Seen(Arc<std::sync::Mutex<Vec<&'static str>>>);

impl<S: tracing::Subscriber> tracing_subscriber::Layer<S> for Seen {
    fn on_event(&self, event: &tracing::Event<'_>, _: tracing_subscriber::layer::Context<'_, S>) {
        self.0.lock().unwrap().push(event.metadata().target());
    }
}

#[test]
fn what_the_library_says_is_no_metric() {
    let (_layer, fake) = begin();
    let run = mlflow::start_run().start();
    warn!(target: "mlflow", { metric.loss = 0.5 }, "an event");
    warn!(target: "mlflow::shipper", { metric.loss = 0.5 }, "an event");
    warn!(target: "mlflower", { metric.theirs = 0.5 }, "an event");
    drop(run);
    assert_eq!(keys(&fake), [["theirs"]]);
}

/// Another layer emits an event while an event is handled, as the library itself does when it warns about a
/// bad key.
#[test]
fn an_event_while_an_event_is_handled() {
    struct Echo;
    impl<S: tracing::Subscriber> tracing_subscriber::Layer<S> for Echo {
        fn on_event(
            &self,
            event: &tracing::Event<'_>,
            _: tracing_subscriber::layer::Context<'_, S>,
        ) {
            if event.metadata().target() == "echo" {
                info!(metric.echo = 1.0);
            }
        }
    }
    let _layers = set_default(registry().with(Echo).with(mlflow::layer()));
    let fake = fake();
    let run = mlflow::start_run().start();
    info!(target: "echo", { metric.loss = 0.5 }, "an event");
    drop(run);
    // `tracing` itself does not pass an event to the thread's subscriber if the event was emitted by that
    // subscriber.
    fake.assert_metric("loss", &[(0, 0.5)]);
}

#[test]
fn spans_become_durations_only_on_request() {
    let layer = mlflow::layer().span_durations(true);
    let chosen = filter_fn(|metadata| metadata.is_event() || metadata.name() != "noise");
    let _layers = set_default(registry().with(layer.with_filter(chosen)));
    let fake = fake().strict();
    let run = mlflow::start_run().name("first").start();
    for _ in 0..3 {
        info_span!("epoch").in_scope(|| info_span!("noise").in_scope(|| {}));
    }
    let open = info_span!("open");
    drop(run);
    // A span that ends after its run is logged like any other.
    drop(open);
    let runs = fake.runs();
    let epochs = &runs[0].metrics["time/epoch"];
    assert_eq!(
        epochs.iter().map(|point| point.step).collect::<Vec<_>>(),
        [1, 2, 3]
    );
    assert!(
        epochs
            .iter()
            .all(|point| point.value >= 0.0 && point.value < 60.0)
    );
    assert_eq!(
        runs[0].metrics.keys().collect::<Vec<_>>(),
        ["time/epoch", "time/open"]
    );

    let (_layer, fake) = begin();
    let run = mlflow::start_run().start();
    info_span!("epoch").in_scope(|| {});
    drop(run);
    assert!(fake.runs()[0].metrics.is_empty(), "not asked for");
}
