//! Many values, keys or threads: `growth URI VALUES KEYS THREADS`. Says what a call costs its caller.
//!
//! The clock is asked around the loops only. The reference is the same loop, of `Instant::now`.

use std::hint::black_box;
use std::sync::Barrier;
use std::time::{Duration, Instant};

use rustix::time::{ClockId, clock_gettime};

/// What a loop on all threads took: by the wall from the first start to the last end, and as the
/// sum of the threads' own processor time.
struct Took {
    wall: Duration,
    processor: Duration,
}

fn processor_time() -> Duration {
    let time = clock_gettime(ClockId::ThreadCPUTime);
    Duration::new(
        time.tv_sec.unsigned_abs(),
        time.tv_nsec.unsigned_abs() as u32,
    )
}

/// Calls what `call` makes for each thread with every number below `values`, a share of them each.
fn on_threads<C: FnMut(usize)>(threads: usize, values: usize, call: impl Fn() -> C + Sync) -> Took {
    let share = values / threads;
    let barrier = Barrier::new(threads);
    let thread = &|number: usize| {
        let call = call();
        barrier.wait();
        let (begun, used) = (Instant::now(), processor_time());
        (number * share..(number + 1) * share).for_each(call);
        (begun, Instant::now(), processor_time() - used)
    };
    let ends: Vec<_> = std::thread::scope(|scope| {
        let started: Vec<_> = (0..threads)
            .map(|number| scope.spawn(move || thread(number)))
            .collect();
        started
            .into_iter()
            .map(|thread| thread.join().expect("a thread that ends"))
            .collect()
    });
    let first = ends.iter().map(|end| end.0).min().expect("a thread");
    let last = ends.iter().map(|end| end.1).max().expect("a thread");
    Took {
        wall: last - first,
        processor: ends.iter().map(|end| end.2).sum(),
    }
}

fn main() {
    let (uri, values) = contenders::arguments();
    let mut numbers = std::env::args().skip(3).map(|number| number.parse());
    let mut number = || numbers.next().and_then(Result::ok);
    let (keys, threads): (usize, usize) =
        number().zip(number()).expect("numbers of keys and threads");
    let keys: Vec<String> = (0..keys).map(|key| format!("metric_{key}")).collect();

    mlflow::configure(mlflow::Config::new().tracking_uri(uri).quiet(true));
    let run = mlflow::start_run().name("growth").start();
    let (handle, keys) = (mlflow::Run::clone(&run), &keys);
    let reference = on_threads(threads, values, || {
        |_| {
            black_box(Instant::now());
        }
    });
    let took = on_threads(threads, values, || {
        let run = handle.clone();
        move |number| {
            let (key, step) = (&keys[number % keys.len()], number / keys.len());
            run.log_metric_at(key, number as f64, step as i64);
        }
    });
    let report = serde_json::json!({
        "wall_ns": took.wall.as_nanos() as f64 / values as f64,
        "cpu_ns": took.processor.as_nanos() as f64 / values as f64,
        "reference_ns": reference.processor.as_nanos() as f64 / values as f64,
    });
    println!("{report}");
    drop(run);
}
