//! Administration: one script of calls is made by Python on one copy of the sample, and by our client on
//! others. All copies hold the same then, and a call that MLflow refuses is refused by us for the same reason.

use std::collections::BTreeMap;
use std::time::UNIX_EPOCH;

use mlflow::entities::{NewExperiment, NewModelVersion, NewRegisteredModel, RunUpdate};
use mlflow::{ClientError, RunStatus, blocking};
use serde_json::{Value, json};

use super::paging;
use super::python::Python;
use super::{client_of, copy_of, is_of_kind, list, sample, server_on, text, uri_of};

const UNKNOWN_RUN: &str = "0123456789abcdef0123456789abcdef";

/// Calls that succeed.
pub(super) fn script() -> Vec<Value> {
    let call = |call: &str, arguments: Value| {
        let mut operation = arguments;
        operation["call"] = json!(call);
        operation
    };
    vec![
        call(
            "create_experiment",
            json!({"name": "new", "artifact_location": null, "tags": {"team": "new", "ü /-.": "'\"\\"}}),
        ),
        call(
            "create_experiment",
            json!({"name": "näw /: '\"%_", "artifact_location": "s3://bucket/here", "tags": {}}),
        ),
        call(
            "create_experiment",
            json!({"name": "x".repeat(500), "artifact_location": null, "tags": {"long": "y".repeat(5000)}}),
        ),
        call(
            "rename_experiment",
            json!({"experiment": "new", "name": "newer"}),
        ),
        call(
            "rename_experiment",
            json!({"experiment": "mixed", "name": "mixed"}),
        ),
        call(
            "set_experiment_tag",
            json!({"experiment": "new", "key": "team", "value": "other"}),
        ),
        call(
            "set_experiment_tag",
            json!({"experiment": "wine", "key": "new key", "value": ""}),
        ),
        call(
            "delete_experiment_tag",
            json!({"experiment": "wine", "key": "team"}),
        ),
        call("delete_experiment", json!({"experiment": "mixed"})),
        call("restore_experiment", json!({"experiment": "mixed"})),
        call("delete_experiment", json!({"experiment": "empty"})),
        call("restore_experiment", json!({"experiment": "trash"})),
        call(
            "update_run",
            json!({"run": "run-01", "name": "renamed run", "status": null, "end_time_ms": null}),
        ),
        call(
            "update_run",
            json!({"run": "run-03", "name": null, "status": "FAILED", "end_time_ms": 1_800_000_000_000_i64}),
        ),
        call(
            "update_run",
            json!({"run": "run-04", "name": "two 'changes'", "status": "KILLED", "end_time_ms": 5}),
        ),
        call(
            "update_run",
            json!({"run": "run-08", "name": null, "status": "FINISHED", "end_time_ms": null}),
        ),
        call(
            "update_run",
            json!({"run": "run-09", "name": "", "status": null, "end_time_ms": null}),
        ),
        call("delete_run", json!({"run": "run-05"})),
        call("delete_run", json!({"run": "run-05"})),
        call("restore_run", json!({"run": "deleted-0"})),
        call("restore_run", json!({"run": "run-06"})),
        call("delete_run", json!({"run": "run-07"})),
        call("restore_run", json!({"run": "run-07"})),
        call(
            "set_tag",
            json!({"run": "run-10", "key": "note", "value": "changed ü '\""}),
        ),
        call(
            "set_tag",
            json!({"run": "run-10", "key": "brand/new key-.", "value": "v".repeat(8000)}),
        ),
        call(
            "set_tag",
            json!({"run": "run-11", "key": "mlflow.runName", "value": "renamed by a tag"}),
        ),
        call(
            "set_tag",
            json!({"run": "run-12", "key": "empty", "value": ""}),
        ),
        call("delete_tag", json!({"run": "run-12", "key": "note"})),
        call(
            "delete_tag",
            json!({"run": "run-13", "key": "mlflow.runName"}),
        ),
        call(
            "create_registered_model",
            json!({"name": "fresh ü", "description": "text", "tags": {"a": "1"}}),
        ),
        call(
            "create_registered_model",
            json!({"name": "bare", "description": null, "tags": {}}),
        ),
        call(
            "create_model_version",
            json!({"name": "fresh ü", "source": "s3://bucket/f", "run": "run-00", "run_link": null, "description": "first", "tags": {"b": "2"}}),
        ),
        call(
            "create_model_version",
            json!({"name": "fresh ü", "source": "s3://bucket/g", "run": null, "run_link": "http://x", "description": null, "tags": {}}),
        ),
        call(
            "create_model_version",
            json!({"name": "model-a", "source": "s3://bucket/h", "run": null, "run_link": null, "description": null, "tags": {}}),
        ),
        call(
            "rename_registered_model",
            json!({"name": "model-a", "new_name": "model-b"}),
        ),
        call(
            "rename_registered_model",
            json!({"name": "bare", "new_name": "bare"}),
        ),
        call(
            "describe_registered_model",
            json!({"name": "model-b", "description": "*new* ü"}),
        ),
        call(
            "describe_registered_model",
            json!({"name": "Model B", "description": ""}),
        ),
        call(
            "set_registered_model_tag",
            json!({"name": "model-b", "key": "stage", "value": "changed"}),
        ),
        call(
            "set_registered_model_tag",
            json!({"name": "model-b", "key": "new", "value": ""}),
        ),
        call(
            "delete_registered_model_tag",
            json!({"name": "model-b", "key": "odd key/a-b.c"}),
        ),
        call(
            "delete_registered_model_tag",
            json!({"name": "model-b", "key": "no such tag"}),
        ),
        call(
            "set_registered_model_alias",
            json!({"name": "model-b", "alias": "champion", "version": 1}),
        ),
        call(
            "set_registered_model_alias",
            json!({"name": "model-b", "alias": "Fresh-1_x", "version": 5}),
        ),
        call(
            "delete_registered_model_alias",
            json!({"name": "model-b", "alias": "old"}),
        ),
        call(
            "delete_registered_model_alias",
            json!({"name": "model-b", "alias": "no-such"}),
        ),
        call(
            "describe_model_version",
            json!({"name": "model-b", "version": 2, "description": "d"}),
        ),
        call(
            "set_model_version_tag",
            json!({"name": "model-b", "version": 2, "key": "stage", "value": "x"}),
        ),
        call(
            "delete_model_version_tag",
            json!({"name": "model-b", "version": 2, "key": "odd key/a-b.c"}),
        ),
        call(
            "delete_model_version_tag",
            json!({"name": "model-b", "version": 2, "key": "no such tag"}),
        ),
        call(
            "delete_model_version",
            json!({"name": "model-b", "version": 1}),
        ),
        call(
            "create_model_version",
            json!({"name": "model-b", "source": "s3://bucket/i", "run": null, "run_link": null, "description": null, "tags": {}}),
        ),
        call("delete_registered_model", json!({"name": "it's"})),
        call(
            "create_registered_model",
            json!({"name": "it's", "description": null, "tags": {}}),
        ),
        call(
            "create_model_version",
            json!({"name": "it's", "source": "s3://bucket/j", "run": null, "run_link": null, "description": null, "tags": {}}),
        ),
    ]
}

/// Calls that MLflow refuses, made after the script.
pub(super) fn bad_calls() -> Vec<Value> {
    let call = |call: &str, arguments: Value| {
        let mut operation = arguments;
        operation["call"] = json!(call);
        operation
    };
    let experiment = |name: &str| json!({"call": "create_experiment", "name": name, "artifact_location": null, "tags": {}});
    let version = |name: &str| json!({"call": "create_model_version", "name": name, "source": "s3://b/c", "run": null, "run_link": null, "description": null, "tags": {}});
    let model = |name: &str| json!({"call": "create_registered_model", "name": name, "description": null, "tags": {}});
    let alias = |name: &str, alias: &str, version: u64| json!({"call": "set_registered_model_alias", "name": name, "alias": alias, "version": version});
    vec![
        experiment("wine"),
        experiment("empty"),
        experiment(""),
        experiment(&"x".repeat(501)),
        json!({"call": "create_experiment", "name": "bad tag", "artifact_location": null, "tags": {"bad\nkey": "x"}}),
        call(
            "rename_experiment",
            json!({"experiment": "wine", "name": "WINE"}),
        ),
        call(
            "rename_experiment",
            json!({"experiment": "wine", "name": "empty"}),
        ),
        call(
            "rename_experiment",
            json!({"experiment": "empty", "name": "of a deleted one"}),
        ),
        call(
            "rename_experiment",
            json!({"experiment": "987654", "name": "y"}),
        ),
        call(
            "rename_experiment",
            json!({"experiment": "wine", "name": ""}),
        ),
        call("delete_experiment", json!({"experiment": "empty"})),
        call("delete_experiment", json!({"experiment": "987654"})),
        call("restore_experiment", json!({"experiment": "wine"})),
        call("restore_experiment", json!({"experiment": "987654"})),
        call("get_experiment", json!({"experiment": "987654"})),
        call(
            "set_experiment_tag",
            json!({"experiment": "empty", "key": "a", "value": "b"}),
        ),
        call(
            "set_experiment_tag",
            json!({"experiment": "987654", "key": "a", "value": "b"}),
        ),
        call(
            "set_experiment_tag",
            json!({"experiment": "wine", "key": "bad\nkey", "value": "b"}),
        ),
        call(
            "set_experiment_tag",
            json!({"experiment": "wine", "key": "", "value": "b"}),
        ),
        call(
            "set_experiment_tag",
            json!({"experiment": "wine", "key": "long", "value": "v".repeat(20_001)}),
        ),
        call(
            "delete_experiment_tag",
            json!({"experiment": "wine", "key": "no such tag"}),
        ),
        call(
            "delete_experiment_tag",
            json!({"experiment": "987654", "key": "a"}),
        ),
        call(
            "delete_experiment_tag",
            json!({"experiment": "empty", "key": "a"}),
        ),
        call(
            "update_run",
            json!({"run": UNKNOWN_RUN, "name": "x", "status": null, "end_time_ms": null}),
        ),
        call(
            "update_run",
            json!({"run": "run-05", "name": "x", "status": null, "end_time_ms": null}),
        ),
        call(
            "update_run",
            json!({"run": "run-05", "name": null, "status": "FAILED", "end_time_ms": null}),
        ),
        call("delete_run", json!({"run": UNKNOWN_RUN})),
        call("restore_run", json!({"run": UNKNOWN_RUN})),
        call("get_run", json!({"run": UNKNOWN_RUN})),
        call(
            "set_tag",
            json!({"run": UNKNOWN_RUN, "key": "a", "value": "b"}),
        ),
        call(
            "set_tag",
            json!({"run": "run-05", "key": "a", "value": "b"}),
        ),
        call(
            "set_tag",
            json!({"run": "run-10", "key": "bad\nkey", "value": "b"}),
        ),
        call("set_tag", json!({"run": "run-10", "key": "", "value": "b"})),
        call(
            "set_tag",
            json!({"run": "run-10", "key": "../up", "value": "b"}),
        ),
        call(
            "set_tag",
            json!({"run": "run-10", "key": "k".repeat(251), "value": "b"}),
        ),
        call("delete_tag", json!({"run": "run-10", "key": "no such tag"})),
        call("delete_tag", json!({"run": UNKNOWN_RUN, "key": "note"})),
        call("delete_tag", json!({"run": "run-05", "key": "note"})),
        model("model-b"),
        model(""),
        model("a/b"),
        model("a:b"),
        call("get_registered_model", json!({"name": "no such model"})),
        call("get_registered_model", json!({"name": "greeting"})),
        call(
            "rename_registered_model",
            json!({"name": "no such model", "new_name": "x"}),
        ),
        call(
            "rename_registered_model",
            json!({"name": "model-b", "new_name": "Model B"}),
        ),
        call(
            "rename_registered_model",
            json!({"name": "model-b", "new_name": "a/b"}),
        ),
        call(
            "rename_registered_model",
            json!({"name": "model-b", "new_name": ""}),
        ),
        call(
            "describe_registered_model",
            json!({"name": "no such model", "description": "x"}),
        ),
        call("delete_registered_model", json!({"name": "no such model"})),
        call(
            "set_registered_model_tag",
            json!({"name": "no such model", "key": "a", "value": "b"}),
        ),
        call(
            "set_registered_model_tag",
            json!({"name": "model-b", "key": "bad\nkey", "value": "b"}),
        ),
        call(
            "delete_registered_model_tag",
            json!({"name": "no such model", "key": "a"}),
        ),
        alias("no such model", "a", 1),
        alias("model-b", "a", 99),
        alias("model-b", "a", 1),
        alias("model-b", "latest", 2),
        alias("model-b", "Latest", 2),
        alias("model-b", "v1", 2),
        alias("model-b", "V12", 2),
        alias("model-b", "", 2),
        alias("model-b", "a b", 2),
        alias("model-b", "a.b", 2),
        call(
            "delete_registered_model_alias",
            json!({"name": "no such model", "alias": "a"}),
        ),
        call(
            "model_version_by_alias",
            json!({"name": "model-b", "alias": "no-such"}),
        ),
        call(
            "model_version_by_alias",
            json!({"name": "no such model", "alias": "a"}),
        ),
        version("no such model"),
        version(""),
        call("model_version", json!({"name": "model-b", "version": 99})),
        call("model_version", json!({"name": "model-b", "version": 1})),
        call(
            "model_version",
            json!({"name": "no such model", "version": 1}),
        ),
        call("model_version", json!({"name": "greeting", "version": 1})),
        call(
            "describe_model_version",
            json!({"name": "model-b", "version": 99, "description": "x"}),
        ),
        call(
            "delete_model_version",
            json!({"name": "model-b", "version": 1}),
        ),
        call(
            "delete_model_version",
            json!({"name": "model-b", "version": 99}),
        ),
        call(
            "set_model_version_tag",
            json!({"name": "model-b", "version": 99, "key": "a", "value": "b"}),
        ),
        call(
            "set_model_version_tag",
            json!({"name": "model-b", "version": 2, "key": "bad\nkey", "value": "b"}),
        ),
        call(
            "delete_model_version_tag",
            json!({"name": "model-b", "version": 99, "key": "a"}),
        ),
    ]
}

/// Our client, and the ids of experiments and runs by name.
pub(super) struct Caller {
    client: blocking::Client,
    ids: BTreeMap<String, String>,
}

impl Caller {
    fn new(client: blocking::Client) -> Self {
        let ids =
            Python::shared().ask(&json!({"request": "ids", "uri": uri_of(&copy_of(sample()))}));
        Self::with_ids(client, serde_json::from_value(ids).expect("ids"))
    }

    /// Creates a caller that knows the experiments and runs of a store by these names.
    pub(super) fn with_ids(client: blocking::Client, ids: BTreeMap<String, String>) -> Self {
        Self { client, ids }
    }

    fn id(&self, name: &Value) -> String {
        let name = text(name);
        self.ids.get(name).map_or(name, String::as_str).to_owned()
    }

    /// Makes a call.
    pub(super) fn make(&mut self, operation: &Value) -> Result<(), ClientError> {
        let given = |key: &str| operation[key].as_str().map(str::to_owned);
        let arg = |key: &str| text(&operation[key]).to_owned();
        let number = || operation["version"].as_u64().expect("a version");
        let tags = || {
            let tags = operation["tags"].as_object().expect("tags").clone();
            tags.into_iter()
                .map(|(key, value)| (key, text(&value).to_owned()))
        };
        let client = &self.client;
        match text(&operation["call"]) {
            "create_experiment" => {
                let mut new = NewExperiment::new(arg("name"));
                for (key, value) in tags() {
                    new = new.tag(key, value);
                }
                if let Some(location) = given("artifact_location") {
                    new = new.artifact_location(location);
                }
                let id = client.create_experiment(new)?;
                self.ids.insert(arg("name"), id);
                Ok(())
            }
            "rename_experiment" => {
                client.rename_experiment(self.id(&operation["experiment"]), arg("name"))
            }
            "delete_experiment" => client.delete_experiment(self.id(&operation["experiment"])),
            "restore_experiment" => client.restore_experiment(self.id(&operation["experiment"])),
            "get_experiment" => client
                .experiment_by_id(self.id(&operation["experiment"]))
                .map(drop),
            "set_experiment_tag" => client.set_experiment_tag(
                self.id(&operation["experiment"]),
                arg("key"),
                arg("value"),
            ),
            "delete_experiment_tag" => {
                client.delete_experiment_tag(self.id(&operation["experiment"]), arg("key"))
            }
            "update_run" => {
                let mut update = RunUpdate::new();
                if let Some(name) = given("name") {
                    update = update.name(name);
                }
                if let Some(status) = given("status") {
                    update = update.status(status.parse::<RunStatus>().expect("a status"));
                }
                if let Some(end) = operation["end_time_ms"].as_i64() {
                    update = update.end_time_ms(end);
                }
                client.update_run(self.id(&operation["run"]), update)
            }
            "delete_run" => client.delete_run(self.id(&operation["run"])),
            "restore_run" => client.restore_run(self.id(&operation["run"])),
            "get_run" => client.run(self.id(&operation["run"])).map(drop),
            "set_tag" => client.set_tag(self.id(&operation["run"]), arg("key"), arg("value")),
            "delete_tag" => client.delete_tag(self.id(&operation["run"]), arg("key")),
            "create_registered_model" => {
                let mut new = NewRegisteredModel::new(arg("name"));
                for (key, value) in tags() {
                    new = new.tag(key, value);
                }
                if let Some(description) = given("description") {
                    new = new.description(description);
                }
                client.create_registered_model(new).map(drop)
            }
            "get_registered_model" => client.registered_model(arg("name")).map(drop),
            "rename_registered_model" => {
                client.rename_registered_model(arg("name"), arg("new_name"))
            }
            "describe_registered_model" => {
                client.describe_registered_model(arg("name"), arg("description"))
            }
            "delete_registered_model" => client.delete_registered_model(arg("name")),
            "set_registered_model_tag" => {
                client.set_registered_model_tag(arg("name"), arg("key"), arg("value"))
            }
            "delete_registered_model_tag" => {
                client.delete_registered_model_tag(arg("name"), arg("key"))
            }
            "set_registered_model_alias" => {
                client.set_registered_model_alias(arg("name"), arg("alias"), number())
            }
            "delete_registered_model_alias" => {
                client.delete_registered_model_alias(arg("name"), arg("alias"))
            }
            "model_version_by_alias" => client
                .model_version_by_alias(arg("name"), arg("alias"))
                .map(drop),
            "create_model_version" => {
                let mut new = NewModelVersion::new(arg("name"), arg("source"));
                for (key, value) in tags() {
                    new = new.tag(key, value);
                }
                if !operation["run"].is_null() {
                    new = new.run_id(self.id(&operation["run"]));
                }
                if let Some(link) = given("run_link") {
                    new = new.run_link(link);
                }
                if let Some(description) = given("description") {
                    new = new.description(description);
                }
                client.create_model_version(new).map(drop)
            }
            "model_version" => client.model_version(arg("name"), number()).map(drop),
            "describe_model_version" => {
                client.describe_model_version(arg("name"), number(), arg("description"))
            }
            "delete_model_version" => client.delete_model_version(arg("name"), number()),
            "set_model_version_tag" => {
                client.set_model_version_tag(arg("name"), number(), arg("key"), arg("value"))
            }
            "delete_model_version_tag" => {
                client.delete_model_version_tag(arg("name"), number(), arg("key"))
            }
            other => panic!("no call {other}"),
        }
    }
}

/// Returns the script for a database. PostgreSQL has no place for a longer name, so MLflow fails at it.
fn script_for(uri: &str) -> Vec<Value> {
    const MAX_NAME: usize = 256;
    let mut script = script();
    if uri.starts_with("postgresql") {
        for operation in &mut script {
            if let Some(name) = operation["name"].as_str() {
                operation["name"] = name.chars().take(MAX_NAME).collect::<String>().into();
            }
        }
    }
    script
}

fn now_ms() -> i64 {
    let now = UNIX_EPOCH
        .elapsed()
        .expect("a clock after 1970")
        .as_millis();
    i64::try_from(now).expect("a time")
}

/// Returns all that a database holds, without the ids of new experiments and with `now` for each time between
/// `begun` and now.
fn dump(uri: &str, begun: i64) -> Value {
    let ended = now_ms();
    let mut dump = Python::shared().ask(&json!({"request": "read", "uri": uri}));
    // The runs of the dump belong to experiments of the sample, whose ids are the same in all copies.
    for experiment in dump["experiments"].as_array_mut().expect("experiments") {
        let is_new = experiment["creation_time_ms"]
            .as_i64()
            .is_some_and(|time| time >= begun);
        if is_new {
            experiment["experiment_id"] = json!("new");
            // A place that was given stays. The others are where the store puts them.
            if !text(&experiment["artifact_location"]).starts_with("s3:") {
                experiment["artifact_location"] = json!("default");
            }
        }
    }
    for (kind, key) in [
        ("experiments", "name"),
        ("runs", "run_id"),
        ("models", "name"),
        ("versions", "version"),
    ] {
        let records = dump[kind].as_array_mut().expect("records");
        for record in records.iter_mut() {
            for (name, value) in record.as_object_mut().expect("a record") {
                let is_now = value
                    .as_i64()
                    .is_some_and(|time| (begun..=ended).contains(&time));
                if name.ends_with("_time_ms") && is_now {
                    *value = json!("now");
                }
            }
        }
        records.sort_by_key(|record| (record["name"].to_string(), record[key].to_string()));
    }
    dump
}

/// Panics with the first differences of two dumps.
pub(super) fn compare_dumps(store: &str, ours: &Value, mlflows: &Value) {
    let mut differences = Vec::new();
    collect_differences("", ours, mlflows, &mut differences);
    differences.truncate(30);
    assert!(
        differences.is_empty(),
        "{store}, ours and MLflow's:\n{}",
        differences.join("\n")
    );
}

fn collect_differences(path: &str, ours: &Value, mlflows: &Value, differences: &mut Vec<String>) {
    match (ours, mlflows) {
        (Value::Object(one), Value::Object(other)) => {
            let keys: std::collections::BTreeSet<&String> =
                one.keys().chain(other.keys()).collect();
            for key in keys {
                collect_differences(
                    &format!("{path}.{key}"),
                    &ours[key],
                    &mlflows[key],
                    differences,
                );
            }
        }
        (Value::Array(one), Value::Array(other)) if one.len() == other.len() => {
            for (index, (one, other)) in one.iter().zip(other).enumerate() {
                let name = one["name"]
                    .as_str()
                    .map_or_else(|| index.to_string(), str::to_owned);
                collect_differences(&format!("{path}[{name}]"), one, other, differences);
            }
        }
        _ if ours == mlflows => {}
        _ => differences.push(format!("{path}: {ours:.300} {mlflows:.300}")),
    }
}

/// Python's outcomes of the script and of the bad calls, and what its file holds then.
pub(super) struct Expected {
    pub(super) refusals: Vec<String>,
    pub(super) dump: Value,
}

pub(super) fn expected() -> &'static Expected {
    static EXPECTED: std::sync::OnceLock<Expected> = std::sync::OnceLock::new();
    EXPECTED.get_or_init(|| expect(&uri_of(&copy_of(sample()))))
}

/// Lets Python make all calls on a database that holds a sample.
pub(super) fn expect(uri: &str) -> Expected {
    let begun = now_ms();
    let perform = |operations: &[Value]| {
        let request = json!({"request": "perform", "uri": uri, "operations": operations});
        list(&Python::shared().ask(&request)).to_vec()
    };
    let script = script_for(uri);
    for (operation, outcome) in script.iter().zip(perform(&script)) {
        assert_eq!(outcome, Value::Null, "MLflow: {operation:.200}");
    }
    let before = dump(uri, begun);
    let refusals = perform(&bad_calls());
    let refused = |(operation, outcome): (&Value, Value)| {
        let outcome = outcome
            .as_str()
            .unwrap_or_else(|| panic!("MLflow accepts {operation:.200}"));
        outcome.to_owned()
    };
    let refusals = bad_calls().iter().zip(refusals).map(refused).collect();
    let dump = dump(uri, begun);
    compare_dumps("MLflow itself", &dump, &before);
    Expected { refusals, dump }
}

/// Returns true if our error is of the kind of MLflow's, or says more than an error code that MLflow uses for
/// several reasons.
pub(super) fn is_refused_for_the_same_reason(
    operation: &Value,
    error: &ClientError,
    refusal: &str,
) -> bool {
    let (code, message) = refusal.split_once(": ").expect("a code");
    match (text(&operation["call"]), error) {
        // MLflow's own code is that of any bad request.
        ("rename_experiment", ClientError::AlreadyExists { .. }) => {
            code == "BAD_REQUEST" || is_of_kind(error, code)
        }
        ("model_version_by_alias", ClientError::NotFound { .. }) => {
            message.contains("not found") && code == "INVALID_PARAMETER_VALUE"
                || is_of_kind(error, code)
        }
        // MLflow's client fails at it without a code.
        ("rename_registered_model", ClientError::Invalid { .. }) => {
            message == "The name must not be an empty string." || is_of_kind(error, code)
        }
        _ => is_of_kind(error, code),
    }
}

/// Makes all calls on a store, and compares outcomes and data. `uri` is that of the store's database.
pub(super) fn compare_administration(
    store: &str,
    client: blocking::Client,
    uri: &str,
    expected: &Expected,
) {
    let begun = now_ms();
    let ids = Python::shared().ask(&json!({"request": "ids", "uri": uri}));
    let mut caller = Caller::with_ids(client, serde_json::from_value(ids).expect("ids"));
    for operation in script_for(uri) {
        let done = caller.make(&operation);
        assert!(
            done.is_ok(),
            "{store}: {operation:.200}: {}",
            done.unwrap_err()
        );
    }
    let mut differences = Vec::new();
    for (operation, refusal) in bad_calls().iter().zip(&expected.refusals) {
        match caller.make(operation) {
            Err(error) if is_refused_for_the_same_reason(operation, &error, refusal) => {}
            done => differences.push(format!(
                "{operation:.200}\n    ours: {done:?}\n    MLflow: {refusal:.300}"
            )),
        }
    }
    assert!(
        differences.is_empty(),
        "{store}:\n{}",
        differences.join("\n")
    );
    compare_dumps(store, &dump(uri, begun), &expected.dump);
}

#[test]
fn a_sqlite_file_is_administrated_as_by_mlflow() {
    let database = copy_of(sample());
    let uri = uri_of(&database);
    compare_administration("sqlite", client_of(&uri), &uri, expected());
}

#[test]
fn a_server_is_administrated_as_by_mlflow_and_returns_all_pages() {
    let database = copy_of(sample());
    let server = server_on(&database);
    let uri = uri_of(&database);
    compare_administration("server", client_of(server.url()), &uri, expected());
    paging::compare_pages(&client_of(server.url()), &database);
    paging::check_search_while_runs_start(server.url(), &database);
}

#[test]
fn a_run_that_is_running_again_has_no_end() {
    let database = copy_of(sample());
    let mut caller = Caller::new(client_of(&uri_of(&database)));
    let run = caller.id(&json!("run-00"));
    assert!(
        caller
            .client
            .run(&*run)
            .expect("the run")
            .end_time_ms
            .is_some()
    );
    let operation = json!({"call": "update_run", "run": "run-00", "name": null, "status": "RUNNING", "end_time_ms": null});
    caller.make(&operation).expect("an update");
    let found = caller.client.run(&*run).expect("the run");
    assert_eq!(
        (found.status, found.end_time_ms),
        (RunStatus::Running, None)
    );
}
