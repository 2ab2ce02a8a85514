//! Several requests in flight at once: as many as bring something, each value arrives once, and a failure costs only the
//! requests that it concerns.

use std::collections::BTreeSet;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};
use std::thread::{self, ThreadId};
use std::time::Duration;

use serde_json::Value;

use crate::support::fake_mlflow::{Change, FakeMlflow, FakeRun, points};
use crate::support::fake_server::{FakeServer, Reply, Request};
use crate::support::program::Folder;
use crate::support::scaled::Scaled;

const NUMBERS: &str = env!("CARGO_BIN_EXE_numbers");
const SCRIPTED: &str = env!("CARGO_BIN_EXE_scripted");

/// Greatest number of requests in flight.
const MOST: usize = 8;

/// Requests that a server has seen at once, and the connections on which they came.
#[derive(Default)]
struct Load {
    most: AtomicUsize,
    connections: Mutex<BTreeSet<String>>,
}

impl Load {
    fn note(&self, in_flight: usize) {
        self.most.fetch_max(in_flight, Ordering::Relaxed);
        // Each connection has a thread of its own.
        let id: ThreadId = thread::current().id();
        let mut connections = self.connections.lock().expect("no panic here");
        connections.insert(format!("{id:?}"));
    }

    fn most(&self) -> usize {
        self.most.load(Ordering::Relaxed)
    }

    fn connections(&self) -> usize {
        self.connections.lock().expect("no panic here").len()
    }
}

fn is_batch(request: &Request) -> bool {
    request.line.ends_with("runs/log-batch")
}

/// Starts a server that answers each request with the result of `reply`, which gets the number of requests in flight.
fn serve(
    reply: impl Fn(&FakeMlflow, &Request, usize) -> Reply + Send + Sync + 'static,
) -> (Arc<FakeMlflow>, Arc<Load>, FakeServer) {
    let (mlflow, load): (Arc<FakeMlflow>, Arc<Load>) = Default::default();
    let (own_mlflow, own_load) = (Arc::clone(&mlflow), Arc::clone(&load));
    let server = FakeServer::start(move |request, _| {
        let entered = own_mlflow.enter();
        own_load.note(entered.count);
        reply(&own_mlflow, request, entered.count)
    });
    (mlflow, load, server)
}

/// Logs `count` points under one key, and returns the program's folder.
fn log_points(server: &FakeServer, count: usize) -> Folder {
    let folder = Folder::new();
    let environment = [("MLFLOW_TRACKING_URI", &*server.url())];
    let points = format!("points loss 0 {count}");
    let script = ["start backlog", &points, "end backlog"];
    let ended = folder.run(SCRIPTED, &script, &environment);
    assert!(ended.success, "{}", ended.stderr);
    assert_eq!(folder.journals_left(), 0, "{}", ended.stderr);
    folder
}

/// Returns the only run, after a check that its end came last.
fn the_run(mlflow: &FakeMlflow) -> FakeRun {
    let runs = mlflow.runs();
    assert_eq!(runs.len(), 1, "{:?}", runs.keys());
    let (id, run) = runs.into_iter().next().expect("a run");
    let changes = mlflow.changes(&id);
    assert_eq!(changes.first(), Some(&Change::Created));
    let ends = changes.iter().filter(|change| **change == Change::Ended);
    assert_eq!(ends.count(), 1);
    assert_eq!(changes.last(), Some(&Change::Ended));
    assert_eq!(run.status, "FINISHED");
    run
}

/// Checks that each step from 0 on is there once.
fn assert_points(run: &FakeRun, count: usize, without: &[i64]) {
    let steps: Vec<i64> = run.points.iter().map(|(_, _, step)| *step).collect();
    assert_eq!(steps.len(), count - without.len(), "each point once");
    let steps: BTreeSet<i64> = steps.into_iter().collect();
    let count = i64::try_from(count).expect("a small number");
    let expected = (0..count).filter(|step| !without.contains(step));
    assert!(steps.into_iter().eq(expected), "no point is missing");
}

#[test]
fn a_backlog_goes_out_over_several_connections_if_the_server_is_far_away() {
    let (mlflow, load, server) = serve(|mlflow, request, _| {
        if is_batch(request) {
            thread::sleep(Duration::from_millis(50));
        }
        mlflow.answer(request)
    });
    log_points(&server, 100_000);
    assert_points(&the_run(&mlflow), 100_000, &[]);
    let (most, connections) = (load.most(), load.connections());
    assert!((3..=MOST).contains(&most), "{most} at once");
    assert!((3..=MOST).contains(&connections), "{connections}");
}

#[test]
fn a_server_that_does_one_thing_at_a_time_gets_few_requests_at_once() {
    let turn = Mutex::new(());
    let waiting: Arc<Mutex<Vec<usize>>> = Arc::default();
    let own = Arc::clone(&waiting);
    let (mlflow, load, server) = serve(move |mlflow, request, in_flight| {
        let turn = turn.lock().expect("no panic here");
        if is_batch(request) {
            own.lock().expect("no panic here").push(in_flight);
            thread::sleep(Duration::from_millis(30));
        }
        let reply = mlflow.answer(request);
        drop(turn);
        reply
    });
    log_points(&server, 100_000);
    assert_points(&the_run(&mlflow), 100_000, &[]);
    assert!((2..=MOST / 2).contains(&load.most()), "{}", load.most());
    let waiting = waiting.lock().expect("no panic here");
    let mean = waiting.iter().sum::<usize>() as f64 / waiting.len() as f64;
    assert!(mean < 3.0, "{mean} requests at once: {waiting:?}");
}

#[test]
fn a_small_amount_goes_out_over_one_connection() {
    let (mlflow, load, server) = serve(|mlflow, request, _| mlflow.answer(request));
    log_points(&server, 900);
    assert_points(&the_run(&mlflow), 900, &[]);
    assert_eq!((load.most(), load.connections()), (1, 1));
}

#[test]
fn three_tiny_runs_go_out_over_one_connection() {
    let (mlflow, load, server) = serve(|mlflow, request, _| {
        thread::sleep(Duration::from_millis(20));
        mlflow.answer(request)
    });
    let folder = Folder::new();
    let environment = [("MLFLOW_TRACKING_URI", &*server.url())];
    let ended = folder.run(SCRIPTED, &["trials 3"], &environment);
    assert!(ended.success, "{}", ended.stderr);
    assert_eq!(mlflow.runs().len(), 3);
    assert_eq!((load.most(), load.connections()), (1, 1));
}

/// Before, a run that the server had counted as progress each time its end was tried, so the outage was not noticed: the
/// program tried again four times a second, and left only when its time was over.
#[test]
fn ends_that_reach_no_server_are_no_progress() {
    let is_dead: Arc<AtomicBool> = Arc::default();
    let (dead, refused) = (Arc::clone(&is_dead), Arc::new(AtomicUsize::new(0)));
    let own_refused = Arc::clone(&refused);
    let (mlflow, _, server) = serve(move |mlflow, request, _| {
        if dead.load(Ordering::SeqCst) {
            own_refused.fetch_add(1, Ordering::SeqCst);
            return Reply::Close;
        }
        mlflow.answer(request)
    });
    let folder = Folder::new();
    let url = server.url();
    let environment = [
        ("MLFLOW_TRACKING_URI", &*url),
        ("MLFLOW_EXIT_TIMEOUT", "30"),
    ];
    let script = [
        "start a",
        "start b",
        "flush 60",
        "wait dead",
        "end b",
        "end a",
    ];
    let mut program = folder.start(SCRIPTED, &script, &environment);
    program.wait_for_stdout("dead");
    assert_eq!(mlflow.runs().len(), 2);
    is_dead.store(true, Ordering::SeqCst);
    program.tell();
    let ended = program.end();
    assert!(ended.success, "{}", ended.stderr);
    let refused = refused.load(Ordering::SeqCst);
    assert!((1..40).contains(&refused), "{refused} requests");
    assert!(folder.journals_left() > 0);
}

#[test]
fn a_rejected_value_among_several_requests_costs_only_itself() {
    const BAD: i64 = 45_678;
    let (mlflow, load, server) = serve(|mlflow, request, _| {
        let body: Value = serde_json::from_slice(&request.body).unwrap_or_default();
        let is_bad = { points(&body) }.any(|(_, _, step)| step == BAD);
        if is_batch(request) {
            thread::sleep(Duration::from_millis(20));
        }
        if is_bad {
            let error =
                r#"{"error_code": "INVALID_PARAMETER_VALUE", "message": "it is told to fail"}"#;
            return Reply::status(400, error);
        }
        mlflow.answer(request)
    });
    let folder = log_points(&server, 60_000);
    assert_points(&the_run(&mlflow), 60_000, &[BAD]);
    assert!((2..=MOST).contains(&load.most()), "{}", load.most());
    assert_eq!(folder.rejected_left(), 1);
}

#[test]
fn a_server_that_dies_with_several_requests_in_flight_loses_and_doubles_nothing() {
    let (has_died, is_dead): (Arc<AtomicBool>, Arc<AtomicBool>) = Default::default();
    let refused = AtomicUsize::new(0);
    let (died, dead) = (Arc::clone(&has_died), Arc::clone(&is_dead));
    let (mlflow, _, server) = serve(move |mlflow, request, in_flight| {
        if is_batch(request) {
            thread::sleep(Duration::from_millis(20));
            // One of the requests that are in flight is carried out, the others are not; none is answered.
            if in_flight >= 3 && !died.swap(true, Ordering::SeqCst) {
                dead.store(true, Ordering::SeqCst);
                mlflow.answer(request);
            }
        }
        if dead.load(Ordering::SeqCst) {
            if refused.fetch_add(1, Ordering::SeqCst) > 12 {
                dead.store(false, Ordering::SeqCst);
            }
            return Reply::Close;
        }
        mlflow.answer(request)
    });
    log_points(&server, 80_000);
    let died = [&has_died, &is_dead].map(|flag| flag.load(Ordering::SeqCst));
    assert_eq!(died, [true, false], "it died, and lives again");
    let runs = mlflow.runs();
    let run = runs.values().next().expect("a run");
    assert_points(run, 80_000, &[]);
    assert_eq!((runs.len(), &*run.status), (1, "FINISHED"));
}

#[test]
fn small_runs_go_out_side_by_side_each_in_its_order() {
    const RUNS: usize = 150;
    let (mlflow, load, server) = serve(|mlflow, request, _| {
        thread::sleep(Duration::from_millis(10));
        mlflow.answer(request)
    });
    let folder = Folder::new();
    let trials = format!("trials {RUNS}");
    let script = [
        "start sweep",
        &trials,
        "end sweep",
        "flush 60",
        "concurrency",
    ];
    let environment = [("MLFLOW_TRACKING_URI", &*server.url())];
    let ended = folder.run(SCRIPTED, &script, &environment);
    assert!(ended.success, "{}", ended.stderr);
    let shown = ended.stdout.trim_end().rsplit("at once ").next();
    let shown: usize = shown
        .and_then(|shown| shown.parse().ok())
        .expect("a number");
    assert!((2..=MOST).contains(&shown), "{}", ended.stdout);
    assert_eq!(folder.journals_left(), 0, "{}", ended.stderr);
    assert!((3..=MOST).contains(&load.most()), "{}", load.most());
    let runs = mlflow.runs();
    assert_eq!(runs.len(), RUNS + 1);
    let is_sweep = |run: &&FakeRun| run.name == "sweep";
    let (parent, _) = { runs.iter() }
        .find(|(_, run)| is_sweep(run))
        .expect("the parent");
    let mut numbers = BTreeSet::new();
    for (id, run) in runs.iter().filter(|(_, run)| !is_sweep(run)) {
        assert_eq!(run.status, "FINISHED");
        assert_eq!(run.points.len(), 4, "{run:?}");
        assert_eq!(run.tags.get("mlflow.parentRunId"), Some(parent));
        numbers.insert(&run.params["number"]);
        // The values that the program logs while the journal is read come with the next reading.
        let mut changes = mlflow.changes(id);
        changes.dedup_by(|next, one| *next == Change::Logged && next == one);
        assert_eq!(changes, [Change::Created, Change::Logged, Change::Ended]);
    }
    assert_eq!(numbers.len(), RUNS);
}

#[test]
fn a_program_killed_with_several_requests_in_flight_loses_and_doubles_nothing() {
    let (is_held, has_fallen) = (
        Arc::new(AtomicBool::new(true)),
        Arc::new(AtomicBool::new(false)),
    );
    let (held, fallen) = (Arc::clone(&is_held), Arc::clone(&has_fallen));
    let (mlflow, _, server) = serve(move |mlflow, request, in_flight| {
        if is_batch(request) {
            thread::sleep(Duration::from_millis(20));
        }
        let reply = mlflow.answer(request);
        // Requests are carried out, and their answers withheld.
        if held.load(Ordering::SeqCst) && (in_flight >= 3 || fallen.load(Ordering::SeqCst)) {
            fallen.store(true, Ordering::SeqCst);
            return Reply::Hang;
        }
        reply
    });
    let folder = Folder::new();
    let url = server.url();
    let environment = [("MLFLOW_TRACKING_URI", &*url)];
    let script = ["start backlog", "points loss 0 80000", "wait logged"];
    let mut live = folder.start(SCRIPTED, &script, &environment);
    live.wait_for_stdout("logged");
    mlflow.wait_for_in_flight(3);
    while !has_fallen.load(Ordering::SeqCst) {
        thread::yield_now();
    }
    live.kill();
    is_held.store(false, Ordering::SeqCst);
    let next = folder.run(NUMBERS, &["next", "0", "1"], &environment);
    assert!(next.success, "{}", next.stderr);
    assert_eq!(folder.journals_left(), 0, "{}", next.stderr);
    let runs = mlflow.runs();
    let killed = runs.values().find(|run| run.name == "backlog");
    let killed = killed.expect("the run of the killed program");
    assert_points(killed, 80_000, &[]);
    assert_eq!((runs.len(), &*killed.status), (2, "KILLED"));
}

#[test]
fn four_workers_and_postgresql_have_everything_once() {
    let Some(scaled) = Scaled::start_with(4) else {
        return;
    };
    let server = scaled.server();
    let folder = Folder::new();
    let environment = [("MLFLOW_TRACKING_URI", server.url())];
    let ended = folder.run(NUMBERS, &["backlog", "20000", "2"], &environment);
    assert!(ended.success, "{}", ended.stderr);
    let script = ["start sweep", "trials 100", "end sweep"];
    let ended = folder.run(SCRIPTED, &script, &environment);
    assert!(ended.success, "{}", ended.stderr);
    assert_eq!(folder.journals_left(), 0, "{}", ended.stderr);
    let count = |query: &str| scaled.postgres().ask(query);
    let points =
        "SELECT COUNT(*), COUNT(DISTINCT (key, step)) FROM metrics WHERE key LIKE 'thread/%'";
    assert_eq!(count(points), "40000|40000");
    let ended = "SELECT COUNT(*) FROM runs WHERE status = 'FINISHED' AND end_time IS NOT NULL";
    assert_eq!(count(ended), "102");
    assert_eq!(count("SELECT COUNT(*) FROM runs"), "102");
    let numbers = "SELECT COUNT(*), COUNT(DISTINCT value) FROM params WHERE key = 'number'";
    assert_eq!(count(numbers), "100|100");
    let losses = "SELECT COUNT(*) FROM metrics WHERE key = 'loss'";
    assert_eq!(count(losses), "300");
    let latest = "SELECT COUNT(*) FROM latest_metrics WHERE key LIKE 'thread/%' AND step = 19999";
    assert_eq!(count(latest), "2");
    let children = "SELECT COUNT(*) FROM tags AS t JOIN runs AS r ON r.run_uuid = t.value
                    WHERE t.key = 'mlflow.parentRunId' AND r.name = 'sweep'";
    assert_eq!(count(children), "100");
}
