//! Answers of an MLflow server to the requests for values, for tests that decide when and how a request is answered.
//!
//! - A point that is sent twice is kept once, as MLflow keeps it.
//! - Every request that changes a run is listed, in the order in which it was carried out.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::{Condvar, Mutex};

use serde_json::{Value, json};

use super::fake_server::{Reply, Request};

/// Runs as a server has them.
#[derive(Default)]
pub(crate) struct FakeMlflow {
    runs: Mutex<Runs>,
    in_flight: Mutex<usize>,
    changed: Condvar,
}

#[derive(Default)]
struct Runs {
    runs: BTreeMap<String, FakeRun>,
    log: Vec<(String, Change)>,
}

/// Run of a [`FakeMlflow`].
#[derive(Clone, Debug, Default)]
pub(crate) struct FakeRun {
    pub(crate) name: String,
    pub(crate) status: String,
    pub(crate) params: BTreeMap<String, String>,
    pub(crate) tags: BTreeMap<String, String>,
    /// Key, timestamp and step of each point.
    pub(crate) points: BTreeSet<(String, i64, i64)>,
}

/// Change of a run.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Change {
    Created,
    Logged,
    Ended,
}

/// Requests that are in flight now, including the one that is being answered.
pub(crate) struct InFlight<'a> {
    server: &'a FakeMlflow,
    /// Number when the request came.
    pub(crate) count: usize,
}

impl Drop for InFlight<'_> {
    fn drop(&mut self) {
        *self.server.in_flight.lock().expect("no panic here") -= 1;
    }
}

impl FakeMlflow {
    /// Counts a request as in flight until the result is dropped.
    pub(crate) fn enter(&self) -> InFlight<'_> {
        let mut in_flight = self.in_flight.lock().expect("no panic here");
        *in_flight += 1;
        self.changed.notify_all();
        InFlight {
            server: self,
            count: *in_flight,
        }
    }

    /// Waits until so many requests are in flight.
    pub(crate) fn wait_for_in_flight(&self, count: usize) {
        let in_flight = self.in_flight.lock().expect("no panic here");
        let waited = self.changed.wait_while(in_flight, |now| *now < count);
        drop(waited.expect("no panic here"));
    }

    /// Returns all runs by their ids.
    pub(crate) fn runs(&self) -> BTreeMap<String, FakeRun> {
        self.runs.lock().expect("no panic here").runs.clone()
    }

    /// Returns the changes of a run, in their order.
    pub(crate) fn changes(&self, run_id: &str) -> Vec<Change> {
        let runs = self.runs.lock().expect("no panic here");
        let of_run = runs.log.iter().filter(|(run, _)| run == run_id);
        of_run.map(|(_, change)| *change).collect()
    }

    /// Carries out a request.
    pub(crate) fn answer(&self, request: &Request) -> Reply {
        let body: Value = serde_json::from_slice(&request.body).unwrap_or_default();
        let (_, path) = request.line.split_once("/mlflow/").unwrap_or_default();
        let text = |key: &str| body[key].as_str().unwrap_or_default().to_owned();
        let run_id = text("run_id");
        let mut runs = self.runs.lock().expect("no panic here");
        let answer = match path.split('?').next().unwrap_or_default() {
            "experiments/get-by-name" | "experiments/get" => {
                json!({ "experiment": { "experiment_id": "1", "name": "e", "lifecycle_stage": "active" } })
            }
            "runs/create" => {
                let run_id = format!("{:032x}", runs.runs.len() + 1);
                let tags = pairs(&body["tags"]);
                let run = FakeRun {
                    name: text("run_name"),
                    status: "RUNNING".to_owned(),
                    tags,
                    ..FakeRun::default()
                };
                let answer = describe(&run_id, &run);
                runs.runs.insert(run_id.clone(), run);
                runs.log.push((run_id, Change::Created));
                answer
            }
            "runs/search" => {
                let filter = text("filter");
                let found = runs.runs.iter().find(|(_, run)| {
                    { run.tags.values() }.any(|tag| filter.contains(&format!("'{tag}'")))
                });
                let found: Vec<Value> = found
                    .map(|(id, run)| describe(id, run)["run"].clone())
                    .into_iter()
                    .collect();
                json!({ "runs": found })
            }
            "runs/get" => {
                let id = path.split("run_id=").nth(1).unwrap_or_default();
                match runs.runs.get(id) {
                    Some(run) => describe(id, run),
                    None => {
                        return Reply::status(404, r#"{"error_code": "RESOURCE_DOES_NOT_EXIST"}"#);
                    }
                }
            }
            "runs/log-batch" => {
                runs.log.push((run_id.clone(), Change::Logged));
                let run = runs.runs.get_mut(&run_id).expect("a run that exists");
                run.params.extend(pairs(&body["params"]));
                run.tags.extend(pairs(&body["tags"]));
                run.points.extend(
                    { points(&body) }
                        .map(|(key, timestamp, step)| (key.to_owned(), timestamp, step)),
                );
                json!({})
            }
            "runs/update" => {
                runs.log.push((run_id.clone(), Change::Ended));
                let run = runs.runs.get_mut(&run_id).expect("a run that exists");
                run.status = text("status");
                describe(&run_id, run)
            }
            "logged-models" => json!({ "model": { "info": {
                "model_id": format!("m-{:032x}", runs.log.len()), "experiment_id": "1", "name": text("name"),
                "artifact_uri": "mlflow-artifacts:/models", "creation_timestamp_ms": 1,
                "last_updated_timestamp_ms": 1, "status": "LOGGED_MODEL_PENDING", "source_run_id": text("source_run_id"),
            } } }),
            _ => json!({ "experiments": [] }),
        };
        Reply::json(&answer.to_string())
    }
}

/// Returns key, timestamp and step of each point in the body of a request.
pub(crate) fn points(body: &Value) -> impl Iterator<Item = (&str, i64, i64)> {
    let points = body["metrics"].as_array().into_iter().flatten();
    points.map(|point| {
        let number = |key: &str| {
            let value = &point[key];
            let text = value.as_str().and_then(|text| text.parse().ok());
            value.as_i64().or(text).expect("a number")
        };
        let key = point["key"].as_str().expect("a key");
        (key, number("timestamp"), number("step"))
    })
}

fn pairs(list: &Value) -> BTreeMap<String, String> {
    let text = |value: &Value| value.as_str().unwrap_or_default().to_owned();
    let list = list.as_array().into_iter().flatten();
    list.map(|pair| (text(&pair["key"]), text(&pair["value"])))
        .collect()
}

fn describe(run_id: &str, run: &FakeRun) -> Value {
    let tags = run.tags.iter();
    let tags: Vec<Value> = tags
        .map(|(key, value)| json!({ "key": key, "value": value }))
        .collect();
    json!({ "run": {
        "info": {
            "run_id": run_id, "run_uuid": run_id, "run_name": run.name, "experiment_id": "1", "status": run.status,
            "artifact_uri": "mlflow-artifacts:/1", "lifecycle_stage": "active", "start_time": 1, "user_id": "u",
        },
        "data": { "tags": tags },
    } })
}
