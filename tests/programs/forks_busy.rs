//! Program that forks again and again while other threads use the library: `forks_busy FORKS|first`.
//! Each child calls every public function. With `first` there is one fork, in the middle of the first
//! calls that the process makes.
//!
//! If a function does not return, the program prints the name of the function and kills the child.

use std::collections::BTreeMap;
use std::env;
use std::fs::{self, File};
use std::io::Write as _;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::process::{self, Command};
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::thread;
use std::time::{Duration, Instant};

use fork::{Fork, fork, waitpid_nohang};
use mlflow::{Config, Metric, Run, RunStatus, tracked};
use serde::Serialize;

/// Longest time that a child may take.
const PATIENCE: Duration = Duration::from_secs(60);
/// Timeout of a flush or a shutdown: short, because no store takes the values.
const MOMENT: Duration = Duration::from_millis(10);

#[derive(Serialize)]
struct Params {
    lr: f64,
}

fn panicking() -> &'static str {
    panic!("in an expression of the attribute")
}

#[tracked(tags(bad = panicking()))]
fn badly_tagged() -> f64 {
    0.5
}

#[tracked]
fn only_in_the_child(value: f64) -> Result<f64, String> {
    Err(format!("{value}"))
}

#[tracked]
fn panics() {
    panic!("on purpose")
}

#[tracked]
async fn later() -> f64 {
    mlflow::metric!("inside", 1);
    0.5
}

#[mlflow::timed]
fn timed() {}

#[cfg(feature = "tracing")]
fn say(number: usize) {
    let _span = tracing::info_span!("spoken").entered();
    tracing::info!(metric.said = number, "a metric");
    tracing::warn!(number, "a line");
}

#[cfg(not(feature = "tracing"))]
fn say(_: usize) {}

/// Work of the parent's threads. Each thread calls one of these functions as often as it can, and each
/// function takes different locks.
const LOADS: [fn(&Run, usize); 9] = [
    |run, number| run.metric(&format!("key/{}", number % 1000)).log(1.0, 0),
    |run, number| run.scope(|| mlflow::log_metric(&format!("key/{number}"), 1.0)),
    |run, number| run.set_tag("number", number),
    |run, number| run.log_param(&format!("=bad/{number}"), number),
    |_, _| drop(mlflow::start_run().experiment("noise").start()),
    |_, _| {
        let _ = (mlflow::health(), mlflow::distributed::rank());
        mlflow::set_experiment("noise");
    },
    |_, _| {
        let _ = mlflow::flush(Duration::ZERO);
    },
    |_, _| {
        let _ = badly_tagged();
    },
    |run, number| run.scope(|| say(number)),
];

/// Load of the parent around a fork: threads that work until the fork has happened, with a count of calls
/// for each.
#[derive(Default)]
struct Load {
    wanted: AtomicBool,
    over: AtomicBool,
    done: [AtomicUsize; LOADS.len()],
}

impl Load {
    fn work(&self, which: usize, run: &Run) {
        for number in 0.. {
            while !self.wanted.load(Ordering::Relaxed) {
                if self.over.load(Ordering::Relaxed) {
                    return;
                }
                thread::yield_now();
            }
            LOADS[which](run, number);
            self.done[which].fetch_add(1, Ordering::Relaxed);
        }
    }

    /// Starts the load, and waits until every thread has completed a call since then.
    fn begin(&self) {
        let before = self
            .done
            .each_ref()
            .map(|done| done.load(Ordering::Relaxed));
        self.wanted.store(true, Ordering::Relaxed);
        let stands = |(done, before): (&AtomicUsize, usize)| done.load(Ordering::Relaxed) == before;
        while self.done.iter().zip(before).any(stands) {
            thread::yield_now();
        }
    }
}

/// File into which a child writes the name of each function before it calls the function.
struct Steps(File);

impl Steps {
    fn call<R>(&mut self, what: &str, function: impl FnOnce() -> R) -> R {
        writeln!(self.0, "{what}").expect("a file");
        function()
    }
}

fn call_everything(steps: &mut Steps, run: &Run, handle: &Metric) {
    let file = "step.txt";
    steps.call("Metric::log", || handle.log(0.5, 1));
    steps.call("Run::metric", || run.metric("x").log(0.5, 1));
    steps.call("Run::metric, known", || run.metric("key/1").log(0.5, 1));
    steps.call("metric!", || mlflow::metric!("child", 1));
    steps.call(
        "metrics!",
        || mlflow::metrics!("child/a" => 1, "child/b" => 2),
    );
    steps.call("log_metric", || mlflow::log_metric("child/c", 1.0));
    steps.call("log_metric_at", || mlflow::log_metric_at("child/c", 1.0, 2));
    steps.call("log_metrics", || mlflow::log_metrics([("child/d", 1.0)], 2));
    steps.call("log_param", || mlflow::log_param("child", 1));
    steps.call("log_param, refused", || mlflow::log_param("=child", 1));
    steps.call("log_params", || mlflow::log_params(&Params { lr: 0.5 }));
    steps.call("log_params, refused", || mlflow::log_params(&1));
    steps.call("set_tag", || mlflow::set_tag("child", "yes"));
    steps.call("set_tags", || mlflow::set_tags([("child/2", "yes")]));
    steps.call("log_text", || mlflow::log_text("text", "small.txt"));
    let large = "text".repeat(8 << 10);
    steps.call("log_text, large", || mlflow::log_text(&large, "large.txt"));
    fs::write(file, "text").expect("a file");
    steps.call("log_artifact", || mlflow::log_artifact(file));
    steps.call("log_artifact_in", || run.log_artifact_in(file, "folder"));
    steps.call("log_artifact, refused", || mlflow::log_artifact("no/file"));
    steps.call("a log line", || say(1));
    steps.call("Run's names", || {
        let current = Run::current().expect("the parent's");
        let _ = (
            current.key(),
            current.run_id(),
            current.url(),
            current.name(),
        );
        let _ = format!("{current:?}");
    });
    steps.call("Run::scope", || {
        run.scope(|| mlflow::log_metric("scoped", 1.0));
    });
    let job = steps.call("thread::carry", || {
        mlflow::thread::carry(|| mlflow::log_metric("carried", 1.0))
    });
    steps.call("thread::spawn", || {
        let spawned = mlflow::thread::spawn(|| mlflow::log_metric("spawned", 1.0));
        spawned.join().expect("no panic");
        thread::spawn(job).join().expect("no panic");
    });
    steps.call("RunBuilder", || {
        let builder = mlflow::start_run().name("of the child").tag("a", 1);
        let builder = builder.param("b", 2).nested(true).experiment("child");
        let started = builder.system_metrics(true).start();
        mlflow::metric!("own", 1);
        started.finish(RunStatus::Finished);
        drop(mlflow::start_run().run_id("0123456789abcdef").start());
    });
    steps.call("Run::end", || run.end(RunStatus::Failed));
    steps.call("tracked", || drop(only_in_the_child(0.5)));
    steps.call("tracked, with a bad expression", || {
        let _ = badly_tagged();
    });
    steps.call("tracked, with a panic", || drop(catch_unwind(panics)));
    steps.call("timed", timed);
    let runtime = tokio::runtime::Builder::new_current_thread();
    let runtime = { runtime }.build().expect("a runtime");
    steps.call("tracked async", || {
        let _ = runtime.block_on(later());
    });
    steps.call("Run::instrument", || {
        runtime.block_on(run.instrument(async { mlflow::log_metric("instrumented", 1.0) }));
        runtime.block_on(mlflow::thread::carry_future(async {
            mlflow::log_metric("carried", 1.0);
        }));
    });
    steps.call("rank", || {
        let _ = (
            mlflow::distributed::rank(),
            mlflow::distributed::world_size(),
        );
        let _ = mlflow::distributed::local_rank();
    });
    steps.call("health", || drop(mlflow::health()));
    steps.call("flush", || {
        let _ = mlflow::flush(MOMENT);
    });
    steps.call("testing::fake", || {
        let fake = mlflow::testing::fake();
        drop(mlflow::start_run().name("faked").start());
        fake.assert_run_finished("faked");
    });
    steps.call("install_signal_handlers", mlflow::install_signal_handlers);
    steps.call("blocking::Client", || {
        let _ = mlflow::blocking::Client::new().server_info();
    });
    steps.call("Client", || {
        let _ = runtime.block_on(mlflow::Client::new().server_info());
    });
    steps.call("set_experiment", || mlflow::set_experiment("child"));
    steps.call("set_tracking_uri", || {
        mlflow::set_tracking_uri("http://127.0.0.1:9");
        drop(mlflow::start_run().name("elsewhere").start());
    });
    steps.call("configure", || {
        mlflow::configure(Config::new().tracking_uri("http://127.0.0.1:9/prefix"));
        drop(mlflow::start_run().name("configured").start());
    });
    steps.call("shutdown", || {
        let _ = mlflow::shutdown(MOMENT);
    });
}

/// Waits for the child. After [`PATIENCE`], kills the child, prints the name of the function that hangs, and
/// ends the process.
fn await_child(child: i32, steps: &str) {
    let begun = Instant::now();
    loop {
        if let Some(status) = waitpid_nohang(child).expect("a child") {
            let done = fs::read_to_string(steps).unwrap_or_default();
            let last = done.lines().last().unwrap_or_default();
            assert!(status == 0, "the child ended with {status:#x} in: {last}");
            return;
        }
        if begun.elapsed() > PATIENCE {
            break;
        }
        thread::sleep(Duration::from_millis(1));
    }
    let done = fs::read_to_string(steps).unwrap_or_default();
    let _ = Command::new("kill")
        .args(["-9", &child.to_string()])
        .status();
    eprintln!(
        "hung: {}",
        done.lines().last().unwrap_or("at the beginning")
    );
    // A return would hang, because the other threads wait for more work.
    process::exit(1);
}

fn fork_once(run: &Run, handle: &Metric, number: usize, load: &Load) {
    let path = format!("steps-{number}");
    let mut steps = Steps(File::create(&path).expect("a file"));
    load.begin();
    let child = match fork().expect("a child") {
        Fork::Child => {
            let ended = catch_unwind(AssertUnwindSafe(|| {
                call_everything(&mut steps, run, handle);
            }));
            let code = i32::from(ended.is_err());
            steps.call("exit", || process::exit(code))
        }
        Fork::Parent(child) => child,
    };
    load.wanted.store(false, Ordering::Relaxed);
    await_child(child, &path);
}

/// Forks once while every thread makes its first call of the library. The child does so, too.
fn fork_first() {
    let begun = AtomicUsize::new(0);
    let load = |which: usize| {
        begun.fetch_add(1, Ordering::Relaxed);
        let run = mlflow::start_run().experiment("first").start();
        LOADS[which](&run, which);
    };
    let child = thread::scope(|scope| {
        for which in 0..LOADS.len() {
            scope.spawn(move || load(which));
        }
        let after = usize::try_from(process::id()).expect("a number") % LOADS.len();
        while begun.load(Ordering::Relaxed) <= after {
            thread::yield_now();
        }
        let mut steps = Steps(File::create("steps").expect("a file"));
        match fork().expect("a child") {
            Fork::Child => {
                let run = steps.call("start_run", || mlflow::start_run().start());
                let handle = steps.call("Run::metric", || run.metric("key/1"));
                call_everything(&mut steps, &run, &handle);
                steps.call("ActiveRun::drop", || drop(run));
                steps.call("exit", || process::exit(0))
            }
            Fork::Parent(child) => child,
        }
    });
    await_child(child, "steps");
}

fn main() {
    // Neither a panic nor a warning is printed: printing takes locks of the standard library, which are not
    // under test.
    std::panic::set_hook(Box::new(|_| {}));
    let how = env::args().nth(1).expect("forks_busy FORKS|first");
    #[cfg(feature = "tracing")]
    {
        use tracing_subscriber::prelude::*;
        let layer = mlflow::layer().span_durations(true);
        tracing_subscriber::registry().with(layer).init();
    }
    if how == "first" {
        return fork_first();
    }
    let forks: usize = how.parse().expect("how many forks");
    let load = Load::default();
    let run = mlflow::start_run()
        .experiment("busy")
        .name("parent")
        .start();
    let handle = run.metric("handle");
    thread::scope(|scope| {
        for which in 0..LOADS.len() {
            let (load, run) = (&load, Run::clone(&run));
            scope.spawn(move || load.work(which, &run));
        }
        for number in 0..forks {
            fork_once(&run, &handle, number, &load);
        }
        load.over.store(true, Ordering::Relaxed);
    });
    let known = BTreeMap::from([("forks", forks)]);
    mlflow::log_params(&known);
}
