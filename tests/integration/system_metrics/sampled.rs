//! Runs with system metrics. The program is `programs/watched.rs`.

use std::io::{BufRead, BufReader, Read, Write};
use std::process::{Child, ChildStdin, ChildStdout, Stdio};
use std::thread;
use std::time::Duration;

use rusqlite::Connection;

use super::ON;
use crate::support::program::{Folder, one};

const WATCHED: &str = env!("CARGO_BIN_EXE_watched");

/// Setting with the shortest interval that is allowed.
const OFTEN: (&str, &str) = ("MLFLOW_SYSTEM_METRICS_SAMPLING_INTERVAL", "0.2");

/// MLflow's names of the metrics, except those of devices that a machine may lack.
const NAMES: [&str; 8] = [
    "cpu_utilization_percentage",
    "disk_available_megabytes",
    "disk_usage_megabytes",
    "disk_usage_percentage",
    "network_receive_megabytes",
    "network_transmit_megabytes",
    "system_memory_usage_megabytes",
    "system_memory_usage_percentage",
];

/// Running program.
struct Watched {
    folder: Folder,
    process: Child,
    stdin: ChildStdin,
    stdout: BufReader<ChildStdout>,
}

impl Watched {
    fn start(arguments: &[&str], environment: &[(&str, &str)]) -> Self {
        let folder = Folder::new();
        let mut process = folder
            .command(WATCHED)
            .args(arguments)
            .envs(environment.iter().copied())
            .stdin(Stdio::piped())
            .spawn()
            .unwrap();
        Self {
            stdin: process.stdin.take().unwrap(),
            stdout: BufReader::new(process.stdout.take().unwrap()),
            folder,
            process,
        }
    }

    /// Waits until a run has this many points of each metric.
    fn wait_for(&mut self, run: &str, points: i64) {
        let file = self.folder.path().join("mlflow.db");
        let query = "select count(distinct step) from metrics join runs using (run_uuid) \
                     where key like 'system/%' and name = ?1";
        loop {
            let found = Connection::open(&file)
                .and_then(|database| database.query_row(query, [run], |row| row.get(0)));
            if found.is_ok_and(|found: i64| found >= points) {
                return;
            }
            let ended = self.process.try_wait().unwrap();
            assert!(ended.is_none(), "{ended:?} before {run} had its points");
            thread::sleep(Duration::from_millis(20));
        }
    }

    fn line(&mut self) {
        writeln!(self.stdin).unwrap();
    }

    fn wait_for_gone(&mut self) {
        let mut line = String::new();
        self.stdout.read_line(&mut line).unwrap();
        assert_eq!(line, "gone\n");
    }

    /// Waits until the program ends. Returns its folder and its stderr.
    fn end(mut self) -> (Folder, String) {
        drop(self.stdin);
        let mut stderr = self.process.stderr.take().unwrap();
        let mut said = String::new();
        stderr.read_to_string(&mut said).unwrap();
        let status = self.process.wait().unwrap();
        assert!(status.success(), "{said}");
        (self.folder, said)
    }
}

fn keys(database: &Connection, run: &str) -> Vec<String> {
    let query = "select distinct key from metrics join runs using (run_uuid) where name = ?1 \
                 and key not like '%/gpu_%' order by key";
    let mut statement = database.prepare(query).unwrap();
    let keys = statement.query_map([run], |row| row.get(0)).unwrap();
    keys.map(Result::unwrap).collect()
}

fn named(prefix: &str) -> Vec<String> {
    NAMES.iter().map(|name| format!("{prefix}{name}")).collect()
}

#[test]
fn a_run_that_asks_has_mlflows_metrics_and_one_that_does_not_has_none() {
    let mut program = Watched::start(&["builder", "true", "default"], &[OFTEN]);
    program.wait_for("outer", 3);
    program.line();
    program.wait_for_gone();
    let (folder, said) = program.end();
    assert!(!said.contains("WARN"), "{said}");
    let database = folder.database();
    assert_eq!(keys(&database, "outer"), named("system/"));
    assert_eq!(keys(&database, "inner"), [""; 0]);
    // Each sample has a step of its own. The points of a sample have one time, and none is later than the end
    // of the run.
    let groups = "from (select count(distinct timestamp) as times, count(*) as points, step \
                  from metrics group by step)";
    assert_eq!(
        one::<i64>(&database, &format!("select max(times) {groups}")),
        1
    );
    assert_eq!(
        one::<i64>(&database, &format!("select min(step) {groups}")),
        0
    );
    assert_eq!(
        one::<i64>(
            &database,
            &format!("select max(step) + 1 - count(*) {groups}")
        ),
        0
    );
    let late = "select count(*) from metrics join runs using (run_uuid) where timestamp > end_time";
    assert_eq!(one::<i64>(&database, late), 0);
    let no_percentage = "select count(*) from metrics where key like '%_percentage' \
                         and not (value between 0 and 100)";
    assert_eq!(one::<i64>(&database, no_percentage), 0);
    let used =
        "select min(value) from metrics where key like '%memory_usage%' or key like '%disk_usage%'";
    assert!(one::<f64>(&database, used) > 0.0);
    assert_eq!(folder.journals_left(), 0);
}

#[test]
fn the_attribute_and_the_builder_win_over_the_environment() {
    for (how, outer, inner, environment, watched, other) in [
        ("attribute", "true", "false", &[OFTEN][..], "outer", "inner"),
        ("attribute", "false", "true", &[OFTEN, ON], "inner", "outer"),
        (
            "builder",
            "false",
            "default",
            &[OFTEN, ON],
            "inner",
            "outer",
        ),
    ] {
        let mut program = Watched::start(&[how, outer, inner], environment);
        program.wait_for(watched, 2);
        program.line();
        program.wait_for_gone();
        let (folder, said) = program.end();
        assert!(!said.contains("WARN"), "{said}");
        let database = folder.database();
        assert_eq!(keys(&database, watched), named("system/"), "{how}");
        assert_eq!(keys(&database, other), [""; 0], "{how}");
    }
}

#[test]
fn a_point_takes_all_its_samples_and_carries_the_nodes_id() {
    let environment = [
        ON,
        OFTEN,
        ("MLFLOW_SYSTEM_METRICS_SAMPLES_BEFORE_LOGGING", "2"),
        ("MLFLOW_SYSTEM_METRICS_NODE_ID", "worker-3"),
    ];
    let mut program = Watched::start(&["builder", "default", "default"], &environment);
    for run in ["outer", "inner"] {
        program.wait_for(run, 2);
    }
    program.line();
    program.wait_for_gone();
    let (folder, _) = program.end();
    let database = folder.database();
    for run in ["outer", "inner"] {
        assert_eq!(keys(&database, run), named("system/worker-3/"));
    }
    // Two intervals, less one tick of the clock.
    let soon = "select count(*) from metrics join runs using (run_uuid) \
                where timestamp < start_time + (step + 1) * 400 - 10";
    assert_eq!(one::<i64>(&database, soon), 0);
}

#[test]
fn a_shutdown_ends_the_sampling_of_open_runs_only() {
    let mut program = Watched::start(&["shutdown", "true", "true"], &[OFTEN]);
    program.wait_for("outer", 1);
    program.line();
    program.wait_for_gone();
    let count = "select count(*) from metrics join runs using (run_uuid) where name = 'outer'";
    let then: i64 = one(&program.folder.database(), count);
    program.wait_for("inner", 2);
    program.line();
    let (folder, _) = program.end();
    assert_eq!(one::<i64>(&folder.database(), count), then);
}

#[test]
fn a_process_that_ends_while_sampling_leaves_no_journal() {
    let mut program = Watched::start(&["exit", "true", "default"], &[OFTEN]);
    program.wait_for("outer", 2);
    program.line();
    let (folder, said) = program.end();
    assert!(
        !said.contains("WARN") && !said.contains("wait in"),
        "{said}"
    );
    assert_eq!(keys(&folder.database(), "outer"), named("system/"));
}
