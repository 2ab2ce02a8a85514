//! Program that logs from many processes to one server with PostgreSQL (`docs/scale-out.md`), or, as a program of its
//! own, straight into that server's database. The store must have every point of every rank once, first with one run
//! for all ranks, then with a run each.
//!
//! The duration is printed beside a reference, which writes the same number of points to runs of a fresh experiment:
//! to the server, as many connections send ready-made bodies of 1,000 points; to the database, as many processes of
//! `psql` copy ready-made files into a temporary table, and from there into `metrics`.

use std::fmt::Write as _;
use std::fs;
use std::thread;
use std::time::{Duration, Instant};

use serde_json::{Value, json};

use crate::Form;
use crate::support::mlflow::Server;
use crate::support::program::Folder;
use crate::support::scaled::Scaled;
use crate::support::unique;

const RANK: &str = env!("CARGO_BIN_EXE_rank");

/// Number of points of a ready-made body: as many as MLflow takes in one request.
const BODY: i64 = 1_000;
/// Time of all ready-made points.
const TIMESTAMP: i64 = 1_700_000_000_000;

/// Number of processes, and of points that each process logs.
#[derive(Clone, Copy)]
struct Load {
    ranks: i64,
    points: i64,
}

/// Distribution of the points over runs.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Runs {
    One,
    EachItsOwn,
}

/// Way of the points to the database.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Way {
    /// Through the MLflow server.
    Server,
    /// Straight into the database.
    Database,
}

/// Logs through the server.
pub(crate) fn run(form: Form) {
    log_from_ranks(form, Way::Server);
}

/// Logs straight into the database.
pub(crate) fn run_on_postgres(form: Form) {
    log_from_ranks(form, Way::Database);
}

fn log_from_ranks(form: Form, way: Way) {
    let load = match form {
        Form::Short => Load {
            ranks: 4,
            points: 1_000,
        },
        Form::Long => Load {
            ranks: 64,
            points: 10_000,
        },
    };
    let Some(scaled) = Scaled::start() else {
        return;
    };
    // The tables are larger for the second of the two: each is the first once.
    for (runs, ready_made_first) in [(Runs::One, true), (Runs::EachItsOwn, false)] {
        let mut reference = None;
        if ready_made_first {
            reference = Some(load.ready_made(&scaled, way, runs));
        }
        let ours = load.processes(&scaled, way, runs);
        let reference = reference.unwrap_or_else(|| load.ready_made(&scaled, way, runs));
        println!(
            "{runs:?}: {} processes x {} points: {:.2} s; ready-made: {:.2} s; ratio {:.3}",
            load.ranks,
            load.points,
            ours.as_secs_f64(),
            reference.as_secs_f64(),
            ours.as_secs_f64() / reference.as_secs_f64()
        );
    }
}

impl Load {
    /// Logs the points by the library, one process for each rank. Returns the time from the start of the
    /// first process to the end of the last.
    fn processes(self, scaled: &Scaled, way: Way, runs: Runs) -> Duration {
        let server = scaled.server();
        let uri = match way {
            Way::Server => server.url().to_owned(),
            Way::Database => scaled.postgres().uri(),
        };
        let name = format!("processes, {runs:?}");
        let experiment = create_experiment(server, &name);
        let run_id = (runs == Runs::One).then(|| create_run(server, &experiment));
        let (ranks, points) = (self.ranks.to_string(), self.points.to_string());
        let folders: Vec<Folder> = (0..self.ranks).map(|_| Folder::for_hours()).collect();
        let started = Instant::now();
        let living: Vec<_> = (0..self.ranks)
            .zip(&folders)
            .map(|(rank, folder)| {
                let rank = rank.to_string();
                let mut environment = vec![
                    ("MLFLOW_TRACKING_URI", uri.as_str()),
                    ("MLFLOW_EXPERIMENT_NAME", name.as_str()),
                    ("MLFLOW_EXIT_TIMEOUT", "7200"),
                    ("RANK", rank.as_str()),
                    ("WORLD_SIZE", ranks.as_str()),
                ];
                environment.extend(run_id.as_deref().map(|id| ("MLFLOW_RUN_ID", id)));
                folder.start(RANK, &[&points], &environment)
            })
            .collect();
        let all_started = started.elapsed();
        let mut memory_kib = 0;
        let mut ends = Vec::new();
        for (process, folder) in living.into_iter().zip(&folders) {
            memory_kib = memory_kib.max(resident_kib(process.id()));
            let ended = process.end();
            assert!(ended.success, "{}", ended.stderr);
            assert_eq!(folder.journals_left(), 0, "{}", ended.stderr);
            let warnings = ended.warnings();
            assert_eq!(warnings, [""; 0], "{}", ended.stderr);
            ends.push(started.elapsed());
        }
        let took = started.elapsed();
        println!(
            "{runs:?}: all started after {:.2} s, the first waited for ended after {:.2} s, the last after {:.2} s; \
             at most {:.1} MiB resident in one of them",
            all_started.as_secs_f64(),
            ends.first().map_or(0.0, Duration::as_secs_f64),
            took.as_secs_f64(),
            memory_kib as f64 / 1024.0
        );
        self.must_be_in(scaled, &experiment, runs);
        took
    }

    /// Writes as many points from what was made beforehand. Returns the time that writing takes.
    fn ready_made(self, scaled: &Scaled, way: Way, runs: Runs) -> Duration {
        let server = scaled.server();
        let experiment = create_experiment(server, &format!("ready-made, {runs:?}"));
        let shared = create_run(server, &experiment);
        let run_ids: Vec<String> = (0..self.ranks)
            .map(|rank| match runs {
                Runs::EachItsOwn if rank > 0 => create_run(server, &experiment),
                Runs::EachItsOwn | Runs::One => shared.clone(),
            })
            .collect();
        let took = match way {
            Way::Server => self.send_bodies(server, &run_ids),
            Way::Database => self.copy_files(scaled, &run_ids),
        };
        self.must_be_in(scaled, &experiment, runs);
        took
    }

    /// Sends points over connections that stay open, in bodies made beforehand.
    fn send_bodies(self, server: &Server, run_ids: &[String]) -> Duration {
        let bodies: Vec<Vec<Vec<u8>>> = (0..self.ranks)
            .zip(run_ids)
            .map(|(rank, run_id)| {
                (0..self.points / BODY)
                    .map(|part| body(run_id, rank, part))
                    .collect()
            })
            .collect();
        let url = format!("{}/api/2.0/mlflow/runs/log-batch", server.url());
        let started = Instant::now();
        thread::scope(|scope| {
            let url = &url;
            for bodies in &bodies {
                scope.spawn(move || {
                    let agent = ureq::Agent::new_with_defaults();
                    for body in bodies {
                        let sent = agent.post(url).content_type("application/json").send(body);
                        sent.unwrap().body_mut().read_to_vec().unwrap();
                    }
                });
            }
        });
        started.elapsed()
    }

    /// Copies points into the database from files made beforehand, by a process of `psql` for each rank.
    fn copy_files(self, scaled: &Scaled, run_ids: &[String]) -> Duration {
        let copies: Vec<String> = (0..self.ranks)
            .zip(run_ids)
            .map(|(rank, run_id)| {
                let rows = rows(run_id, rank, self.points);
                let name = format!("points-{}", unique());
                let file = scaled.postgres().write_file(&name, &rows);
                format!("copy points from '{}'", file.display())
            })
            .collect();
        let started = Instant::now();
        let running: Vec<_> = { copies.iter() }
            .map(|copy| {
                scaled.postgres().start_psql(&[
                    "create temporary table points (run_uuid text, key text, value double precision, \
                     timestamp bigint, step bigint, is_nan boolean)",
                    copy,
                    "insert into metrics (run_uuid, key, value, timestamp, step, is_nan) \
                     select run_uuid, key, value, timestamp, step, is_nan from points on conflict do nothing",
                ])
            })
            .collect();
        for mut psql in running {
            assert!(psql.wait().unwrap().success());
        }
        started.elapsed()
    }

    /// Checks that the experiment has every point once, and nothing else.
    fn must_be_in(self, scaled: &Scaled, experiment: &str, runs: Runs) {
        let ask = |query: &str| -> Vec<i64> {
            let query = format!(
                "with here as (select * from metrics join runs using (run_uuid) where experiment_id = {experiment}) {query}"
            );
            let row = scaled.postgres().ask(&query);
            row.split('|')
                .map(|number| number.parse().unwrap())
                .collect()
        };
        let expected = self.ranks * self.points;
        let [rows, distinct, wrong, run_count] = ask(
            "select count(*), count(distinct value), count(*) filter (where is_nan \
             or step <> value::bigint % 1000000 \
             or key <> case when step % 2 = 0 then 'loss' else 'rank/' || value::bigint / 1000000 end), \
             count(distinct run_uuid) from here",
        )[..] else {
            panic!("four numbers")
        };
        let in_range = ask(&format!(
            "select count(distinct value) from here where step between 0 and {} \
             and value between 0 and {}",
            self.points - 1,
            (self.ranks - 1) * 1_000_000 + self.points - 1
        ))[0];
        let (lost, doubled) = (expected - in_range, rows - distinct);
        println!(
            "{runs:?}: in the store {rows} of {expected}: lost {lost}, doubled {doubled}, wrong {wrong}; runs {run_count}"
        );
        assert_eq!((lost, doubled, wrong), (0, 0, 0));
        let wanted = match runs {
            Runs::One => 1,
            Runs::EachItsOwn => self.ranks,
        };
        assert_eq!(run_count, wanted);
    }
}

fn create_experiment(server: &Server, name: &str) -> String {
    let created = server
        .api()
        .post("experiments/create", &json!({"name": name}));
    text(&created["experiment_id"])
}

fn create_run(server: &Server, experiment: &str) -> String {
    let body = json!({"experiment_id": experiment, "start_time": 1});
    let created = server.api().post("runs/create", &body);
    text(&created["run"]["info"]["run_id"])
}

fn text(value: &Value) -> String {
    value.as_str().unwrap().to_owned()
}

fn body(run_id: &str, rank: i64, part: i64) -> Vec<u8> {
    let points: Vec<Value> = (part * BODY..(part + 1) * BODY)
        .map(|number| {
            let (key, value) = point(rank, number);
            json!({"key": key, "value": value, "timestamp": TIMESTAMP, "step": number})
        })
        .collect();
    serde_json::to_vec(&json!({"run_id": run_id, "metrics": points})).unwrap()
}

/// Returns the points of a rank in the text format of COPY.
fn rows(run_id: &str, rank: i64, points: i64) -> String {
    let mut rows = String::new();
    for number in 0..points {
        let (key, value) = point(rank, number);
        writeln!(rows, "{run_id}\t{key}\t{value}\t{TIMESTAMP}\t{number}\tf").unwrap();
    }
    rows
}

/// Returns key and value of a point, as the program `rank` logs them.
fn point(rank: i64, number: i64) -> (String, f64) {
    let key = if number % 2 == 0 {
        "loss".to_owned()
    } else {
        format!("rank/{rank}")
    };
    (key, (rank * 1_000_000 + number) as f64)
}

/// Returns the peak resident memory of a process, in KiB; 0 if the process has ended.
fn resident_kib(process: u32) -> u64 {
    let status = fs::read_to_string(format!("/proc/{process}/status")).unwrap_or_default();
    let line = status.lines().find_map(|line| line.strip_prefix("VmHWM:"));
    line.and_then(|line| line.trim().strip_suffix(" kB")?.trim().parse().ok())
        .unwrap_or(0)
}
