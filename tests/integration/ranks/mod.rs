//! Ranks: processes that log to one run. The program is `programs/ranks.rs`.

use std::collections::BTreeMap;
use std::thread;
use std::time::{Duration, Instant};

use rusqlite::Connection;
use serde_json::json;

use crate::support::mlflow::{Api, Server};
use crate::support::program::{Ended, Folder, one};
use crate::support::seen::Seen;
use crate::support::unique;

mod input;
mod rendezvous;

const RANKS: &str = env!("CARGO_BIN_EXE_ranks");
const NUMBERS: &str = env!("CARGO_BIN_EXE_numbers");
/// Number of points that each rank logs under its own key.
const STEPS: usize = 100;
const PATIENCE: Duration = Duration::from_secs(120);

/// Launch of several processes, independent of the launcher.
struct Launch {
    folder: Folder,
    size: u32,
    environment: Vec<(&'static str, String)>,
}

impl Launch {
    fn of(size: u32, environment: &[(&'static str, &str)]) -> Self {
        let owned = environment
            .iter()
            .map(|(key, value)| (*key, (*value).to_owned()));
        Self {
            folder: Folder::new(),
            size,
            environment: owned.collect(),
        }
    }

    /// Returns the environment variables of a rank, for tests that start the rank themselves.
    fn environment<'a>(&'a self, place: &'a [String; 2]) -> Vec<(&'a str, &'a str)> {
        let shared = self
            .environment
            .iter()
            .map(|(key, value)| (*key, value.as_str()));
        shared
            .chain([("RANK", &*place[0]), ("WORLD_SIZE", &*place[1])])
            .collect()
    }

    fn place(&self, rank: u32) -> [String; 2] {
        [rank.to_string(), self.size.to_string()]
    }

    fn run(&self, rank: u32, how: &[&str]) -> Ended {
        let ended = self
            .folder
            .run(RANKS, how, &self.environment(&self.place(rank)));
        assert!(ended.success, "{}", ended.stderr);
        ended
    }

    /// Runs all ranks at the same time, each with the arguments that `how` returns for it.
    fn run_all(&self, how: impl Fn(u32) -> Vec<&'static str> + Sync) -> Vec<Ended> {
        let how = &how;
        thread::scope(|scope| {
            let ranks = (0..self.size).map(|rank| scope.spawn(move || self.run(rank, &how(rank))));
            let started: Vec<_> = ranks.collect();
            started
                .into_iter()
                .map(|rank| rank.join().unwrap())
                .collect()
        })
    }
}

fn expect_no_warnings(ended: &[Ended]) {
    for ended in ended {
        assert_eq!(ended.warnings(), [""; 0], "{}", ended.stderr);
    }
}

/// Creates an experiment for one test; returns its name and its id.
fn experiment(api: &Api) -> (String, String) {
    let name = unique();
    let created = api.post("experiments/create", &json!({ "name": name }));
    let id = created["experiment_id"].as_str().unwrap().to_owned();
    (name, id)
}

/// Returns the runs of an experiment by name.
fn runs(api: &Api, experiment: &str) -> BTreeMap<String, Vec<Seen>> {
    let mut runs: BTreeMap<String, Vec<Seen>> = BTreeMap::new();
    for (id, stage) in api.runs(experiment) {
        assert_eq!(stage, "active");
        let run = api.run(&id);
        runs.entry(run.name.clone()).or_default().push(run);
    }
    runs
}

/// Asserts that each rank has logged all of its points, once.
fn check(run: &Seen, ranks: u32) {
    for rank in 0..ranks {
        let steps = run.points[&format!("by/{rank}")]
            .iter()
            .map(|point| point.step);
        assert_eq!(steps.collect::<Vec<_>>(), (0..100).collect::<Vec<i64>>());
    }
    assert_eq!(run.params["steps"], "100");
}

/// Returns the status of the run `shared` in a store's file.
fn status(database: &Connection) -> String {
    one(database, "select status from runs where name = 'shared'")
}

fn tag(database: &Connection, key: &str) -> Option<String> {
    let query = format!(
        "select max(value) from tags join runs using (run_uuid) where name = 'shared' and key = '{key}'"
    );
    one(database, &query)
}

fn count(database: &Connection, key: &str) -> usize {
    let query = format!("select count(*) from metrics where key = '{key}'");
    usize::try_from(one::<i64>(database, &query)).unwrap()
}

/// Waits until the run `shared` is in the store's file.
fn wait_for_run(database: &Connection) {
    let begun = Instant::now();
    let query = "select count(*) > 0 from runs where name = 'shared'";
    while !database
        .query_row(query, [], |row| row.get(0))
        .unwrap_or(false)
    {
        assert!(begun.elapsed() < PATIENCE, "there is no run");
        thread::sleep(Duration::from_millis(10));
    }
}

#[test]
fn ranks_log_to_the_run_given_by_its_id_and_its_creator_ends_it() {
    let server = Server::shared();
    let api = server.api();
    let (name, experiment) = experiment(&api);
    let new = json!({"experiment_id": experiment, "run_name": "theirs", "start_time": 7, "tags": [
        {"key": "host.name", "value": "the creator's"}
    ]});
    let created = api.post("runs/create", &new);
    let id = created["run"]["info"]["run_id"].as_str().unwrap();
    let environment = [
        ("MLFLOW_TRACKING_URI", server.url()),
        ("MLFLOW_EXPERIMENT_NAME", &name),
        ("MLFLOW_RUN_ID", id),
    ];
    let launch = Launch::of(3, &environment);

    let ended = launch.run_all(|rank| {
        if rank == 2 {
            vec!["fail"]
        } else {
            vec!["nest"]
        }
    });
    expect_no_warnings(&ended);
    let pages = ended
        .iter()
        .filter(|ended| ended.stderr.contains("View run"));
    assert_eq!(pages.count(), 1, "of all ranks one says where");

    let run = api.run(id);
    check(&run, 3);
    assert_eq!(run.status, "RUNNING", "whatever became of the ranks");
    assert_eq!(run.name, "theirs");
    assert_eq!(run.tags["host.name"], "the creator's");
    assert!(!run.tags.contains_key("distributed.rank"));
    assert_eq!(run.tags["error.rank-2.message"], "rank 2 has no data");
    assert_eq!(run.tags["error.rank-2.status"], "FAILED");
    let runs = runs(&api, &experiment);
    for fold in ["fold-0", "fold-1"] {
        let [fold] = &runs[fold][..] else {
            panic!("one {fold}")
        };
        assert_eq!(fold.status, "FINISHED", "its rank ends it");
        assert_eq!(fold.tags["mlflow.parentRunId"], id);
    }
    assert_eq!(runs.values().map(Vec::len).sum::<usize>(), 3);

    let end = json!({"run_id": id, "status": "FINISHED", "end_time": 9});
    api.post("runs/update", &end);
    assert_eq!(api.run(id).status, "FINISHED");
    assert_eq!(launch.folder.journals_left(), 0);
}

#[test]
fn ranks_that_join_a_run_that_has_ended_do_not_start_it_again() {
    let mut launch = Launch::of(2, &[]);
    let folder = &launch.folder;
    folder.run(NUMBERS, &["shared", "0", "0"], &[]);
    let database = folder.database();
    let query = "select run_uuid, end_time from runs";
    let read = |row: &rusqlite::Row<'_>| Ok((row.get(0)?, row.get(1)?));
    let before: (String, i64) = database.query_row(query, [], read).unwrap();
    let id = ("MLFLOW_RUN_ID", before.0.clone());
    launch.environment.push(id);

    let ended = launch.run_all(|_| vec!["log"]);
    expect_no_warnings(&ended);
    assert_eq!(status(&database), "FINISHED");
    let after: (String, i64) = database.query_row(query, [], read).unwrap();
    assert_eq!(before, after);
    assert_eq!(count(&database, "by/0"), STEPS);
    assert_eq!(count(&database, "by/1"), STEPS);
}

#[test]
fn the_only_process_of_a_launch_resumes_the_run_and_ends_it() {
    let mut launch = Launch::of(1, &[]);
    launch.folder.run(NUMBERS, &["shared", "0", "0"], &[]);
    let database = launch.folder.database();
    let id = one(&database, "select run_uuid from runs");
    launch.environment.push(("MLFLOW_RUN_ID", id));
    expect_no_warnings(&[launch.run(0, &["fail"])]);
    assert_eq!(status(&database), "FAILED");
    let message = tag(&database, "error.message");
    assert_eq!(message.as_deref(), Some("rank 0 has no data"));
}

#[test]
fn a_run_that_is_not_there_costs_no_value() {
    let launch = Launch::of(2, &[("MLFLOW_RUN_ID", "0123456789abcdef0123456789abcdef")]);
    let ended = launch.run(1, &["log"]);
    let [warning] = ended.warnings()[..] else {
        panic!("one warning: {}", ended.stderr)
    };
    assert!(warning.contains("there is no run"), "{warning}");
    assert_eq!(launch.folder.journals_left(), 1);
}

#[test]
fn a_param_that_another_rank_has_logged_with_another_value_is_set_aside() {
    let launch = Launch::of(2, &[("MLFLOW_RENDEZVOUS_ID", "job")]);
    launch.run(0, &["differ"]);
    let ended = launch.run(1, &["differ"]);
    let [warning] = ended.warnings()[..] else {
        panic!("one warning: {}", ended.stderr)
    };
    assert!(
        warning.contains("\"seed\"") && warning.contains("rejected for good"),
        "{warning}"
    );
    let database = launch.folder.database();
    let seed = "select value from params where key = 'seed'";
    assert_eq!(one::<String>(&database, seed), "0");
    assert_eq!(count(&database, "by/1"), STEPS, "everything else arrives");
}
