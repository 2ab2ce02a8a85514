//! Lost connections and servers that stop: nothing is lost, and nothing is there twice.

use std::thread;
use std::time::{Duration, Instant};

use mlflow::store::Store;

use super::{Database, FORKS, NUMBERS, SCRIPTED, TEXTS, start_run, sweep};
use crate::support::block_on;
use crate::support::postgres::Postgres;
use crate::support::program::Folder;

/// Longest time that a test waits for the programs that it has started.
const PATIENCE: Duration = Duration::from_secs(300);

/// Waits until something is the case.
fn wait_until(mut is_so: impl FnMut() -> bool) {
    let begun = Instant::now();
    while !is_so() {
        assert!(begun.elapsed() < PATIENCE, "waited for {PATIENCE:?}");
        thread::sleep(Duration::from_millis(5));
    }
}

/// Returns the number of points in a database, which may have no tables yet.
fn points(database: &Database<'_>) -> i64 {
    let exists = database.ask("select to_regclass('metrics') is not null");
    if exists != "t" {
        return 0;
    }
    let count = database.ask("select count(*) from metrics");
    count.parse().expect("a number")
}

#[test]
fn a_database_that_cuts_its_connections_loses_nothing() {
    let Some(database) = Database::create() else {
        return;
    };
    let uri = database.uri();
    let folders: Vec<Folder> = (0..3).map(|_| Folder::new()).collect();
    let living: Vec<_> = (0..)
        .zip(&folders)
        .map(|(process, folder)| {
            let arguments = [&format!("p{process}"), "60000", "2"];
            folder.start(NUMBERS, &arguments, &[("MLFLOW_TRACKING_URI", &uri)])
        })
        .collect();
    // Connections are cut while they write, again after the programs have recovered from the cut before.
    let cut = format!(
        "select count(pg_terminate_backend(pid)) from pg_stat_activity \
         where datname = '{}' and application_name = 'mlflow-runtime' and state <> 'idle'",
        database.name
    );
    for wanted in [1, 50_000, 100_000, 150_000, 200_000] {
        wait_until(|| points(&database) >= wanted);
        wait_until(|| database.ask(&cut) != "0" || points(&database) == 360_000);
    }
    for process in living {
        let ended = process.end();
        assert!(ended.success, "{}", ended.stderr);
    }
    for folder in &folders {
        sweep(folder, &uri);
    }
    database.is_whole(3, 60_000);
}

#[test]
fn a_server_that_stops_and_starts_again_loses_nothing() {
    let Some(mut server) = Postgres::start() else {
        return;
    };
    let name = server.create_database();
    let uri = server.uri_of(&name);
    let folder = Folder::new();
    let database = Database {
        server: &server,
        name: name.clone(),
    };
    let store = database.store();
    let run = block_on(start_run(&store));
    let living = folder.start(
        NUMBERS,
        &["run", "100000", "2"],
        &[("MLFLOW_TRACKING_URI", &uri)],
    );
    wait_until(|| points(&database) > 0);
    server.stop();
    thread::sleep(Duration::from_millis(500));
    server.restart();
    let ended = living.end();
    assert!(ended.success, "{}", ended.stderr);
    sweep(&folder, &uri);
    let database = Database {
        server: &server,
        name,
    };
    // A store whose connection was idle meanwhile works at once.
    assert_eq!(block_on(store.get_run(&run.run_id)).expect("the run"), run);
    database.is_whole(1, 100_000);
}

#[test]
fn the_next_program_ships_what_a_killed_one_has_left() {
    let Some(database) = Database::create() else {
        return;
    };
    let uri = database.uri();
    let folder = Folder::new();
    // The program waits for a line that never comes, so it cannot end its run before it is killed.
    let mut living = folder.start(
        SCRIPTED,
        &["start run", "points loss 0 40000", "wait logged"],
        &[("MLFLOW_TRACKING_URI", &uri)],
    );
    living.wait_for_stdout("logged");
    living.kill();
    assert_eq!(folder.journals_left(), 1);
    sweep(&folder, &uri);
    let status = "select status from runs where name = 'run'";
    assert_eq!(database.ask(status), "KILLED");
    assert_eq!(
        database.ask("select count(*), count(distinct (key, step)) from metrics"),
        "40000|40000"
    );
}

/// A child has the socket of its parent, and must not send anything on it.
#[test]
fn a_forked_child_ships_on_a_connection_of_its_own() {
    let Some(database) = Database::create() else {
        return;
    };
    let folder = Folder::new();
    let ended = folder.run(
        FORKS,
        &["exit"],
        &[("MLFLOW_TRACKING_URI", &database.uri())],
    );
    assert!(ended.success, "{}", ended.stderr);
    assert_eq!(ended.warnings(), [""; 0], "{}", ended.stderr);
    assert_eq!(folder.journals_left(), 0, "{}", ended.stderr);
    assert_eq!(
        database.ask(
            "select key, count(*), count(distinct step) from metrics where key in ('parent', 'child') \
             group by key order by key"
        ),
        "child|1000|1000\nparent|1000|1000"
    );
    assert_eq!(
        database.ask("select count(*) from runs where status <> 'FINISHED'"),
        "0"
    );
}

#[test]
fn texts_and_numbers_at_the_edges_arrive_as_they_are() {
    let Some(database) = Database::create() else {
        return;
    };
    let folder = Folder::new();
    let ended = folder.run(TEXTS, &[], &[("MLFLOW_TRACKING_URI", &database.uri())]);
    assert!(ended.success, "{}", ended.stderr);
    assert_eq!(folder.journals_left(), 0, "{}", ended.stderr);
    let run = database.ask("select run_uuid from runs where status = 'FINISHED'");
    let seen = crate::support::mlflow::read_database(&database.uri(), &[run]);
    let run = &seen[0];
    assert_eq!(run.name, "na\u{fffd}me");
    assert_eq!(
        run.params["odd"],
        "\u{ffff}\u{10ffff}\u{301}\u{202e}\u{85}\\x00 %s 'q' \"q\""
    );
    assert_eq!(run.params["long"], "🦀".repeat(6000));
    assert_eq!(run.tags["long"], "🦀".repeat(8000));
    let edge: Vec<f64> = run.points["edge"].iter().map(|point| point.value).collect();
    assert!(edge[0].is_nan());
    assert_eq!(edge[1..], [f64::MAX, f64::MIN]);
    assert_eq!(run.artifacts["nul.txt"], b"a\0b");
}
