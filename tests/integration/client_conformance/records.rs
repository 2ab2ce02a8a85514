//! Records, field by field, and the histories of metrics.

use std::collections::BTreeMap;

use mlflow::entities::{MetricHistory, MetricPoint, Run};
use mlflow::search::{
    SearchExperiments, SearchModelVersions, SearchRegisteredModels, SearchRuns, ViewType,
};
use mlflow::{ClientError, blocking};
use serde_json::{Value, json};

use super::python::Python;
use super::{bits, client_of, copy_of, list, sample, sample_server, text, uri_of};

fn point(point: MetricPoint) -> Value {
    json!({"step": point.step, "value": bits(point.value), "timestamp_ms": point.timestamp_ms})
}

/// Returns a run in the form of `answers.py`.
pub(super) fn run_record(run: &Run) -> Value {
    let mut record = serde_json::to_value(run).expect("JSON");
    let metrics = run
        .metrics
        .iter()
        .map(|(key, value)| (key.clone(), point(*value)));
    record["metrics"] = metrics.collect();
    record
}

/// Returns the points of a history in the form of `answers.py`.
pub(super) fn points(history: &MetricHistory) -> Value {
    history.iter().map(point).collect()
}

fn plain(record: impl serde::Serialize) -> Value {
    serde_json::to_value(record).expect("JSON")
}

fn all<T>(found: impl Iterator<Item = Result<T, ClientError>>) -> Vec<T> {
    found.collect::<Result<_, _>>().expect("records")
}

/// Returns records by the text that identifies them.
fn by_key(records: &Value, key: impl Fn(&Value) -> String) -> BTreeMap<String, &Value> {
    list(records)
        .iter()
        .map(|record| (key(record), record))
        .collect()
}

/// Compares all records of a store with those that Python reads.
pub(super) fn compare_all(client: &blocking::Client, expected: &Value) {
    // Experiments.
    let experiments = by_key(&expected["experiments"], |record| {
        text(&record["experiment_id"]).to_owned()
    });
    let found = all(client.search_experiments(SearchExperiments::new().view(ViewType::All)));
    assert_eq!(found.len(), experiments.len());
    for experiment in &found {
        let wanted = experiments[&experiment.experiment_id];
        assert_eq!(&plain(experiment), wanted);
        assert_eq!(
            &plain(
                client
                    .experiment_by_id(&experiment.experiment_id)
                    .expect("by id")
            ),
            wanted
        );
        assert_eq!(
            &plain(client.experiment(&experiment.name).expect("by name")),
            wanted
        );
    }

    // Runs, with their histories.
    let runs = by_key(&expected["runs"], |record| {
        text(&record["run_id"]).to_owned()
    });
    let mut seen = 0;
    for experiment in &found {
        let search = SearchRuns::new()
            .experiment_id(&experiment.experiment_id)
            .view(ViewType::All);
        for run in all(client.search_runs(search)) {
            seen += 1;
            let wanted = runs[&run.run_id];
            assert_eq!(&run_record(&run), wanted, "found by a search");
            assert_eq!(
                &run_record(&client.run(&run.run_id).expect("by id")),
                wanted
            );
            let histories = &expected["histories"][&run.run_id];
            let keys: Vec<&String> = run.metrics.keys().rev().collect();
            let found = client.metric_histories(&run.run_id, keys.iter().map(|key| key.as_str()));
            for (key, history) in keys.iter().zip(found.expect("histories")) {
                assert_eq!(history.key(), *key);
                assert_eq!(points(&history), histories[key], "{key} of {}", run.name);
            }
        }
    }
    assert_eq!(seen, runs.len());

    // The registry.
    let models = by_key(&expected["models"], |record| {
        text(&record["name"]).to_owned()
    });
    let found = all(client.search_registered_models(SearchRegisteredModels::new()));
    assert_eq!(found.len(), models.len());
    for model in found {
        let wanted = models[&model.name];
        assert_eq!(&plain(&model), wanted);
        assert_eq!(
            &plain(client.registered_model(&model.name).expect("by name")),
            wanted
        );
        for (alias, number) in &model.aliases {
            let named = client
                .model_version_by_alias(&model.name, alias)
                .expect("by alias");
            assert_eq!(
                named,
                client
                    .model_version(&model.name, *number)
                    .expect("by number")
            );
        }
        // The newest version has an alias that nobody sets.
        let versions = list(&expected["versions"])
            .iter()
            .filter(|version| version["name"] == model.name);
        let newest = versions.max_by_key(|version| version["version"].as_u64());
        match (client.model_version_by_alias(&model.name, "latest"), newest) {
            (Ok(found), Some(newest)) => assert_eq!(&plain(found), newest),
            (Err(ClientError::NotFound { .. }), None) => {}
            other => panic!("{}: {other:?}", model.name),
        }
    }
    let identity = |name: &str, version: &Value| format!("{name}/{version}");
    let versions = by_key(&expected["versions"], |record| {
        identity(text(&record["name"]), &record["version"])
    });
    let found = all(client.search_model_versions(SearchModelVersions::new()));
    assert_eq!(found.len(), versions.len());
    for version in found {
        let wanted = versions[&identity(&version.name, &json!(version.version))];
        let mut found = plain(&version);
        // MLflow's servers leave the aliases out of a search.
        if client.uri().starts_with("http") {
            assert_eq!(found["aliases"], json!([]));
            found["aliases"] = wanted["aliases"].clone();
        }
        assert_eq!(&found, wanted);
        assert_eq!(
            &plain(
                client
                    .model_version(&version.name, version.version)
                    .expect("by number")
            ),
            wanted
        );
    }
}

/// Returns all records of the sample, as Python reads them.
pub(super) fn expected() -> &'static Value {
    static EXPECTED: std::sync::OnceLock<Value> = std::sync::OnceLock::new();
    EXPECTED.get_or_init(|| {
        Python::shared().ask(&json!({"request": "read", "uri": uri_of(&copy_of(sample()))}))
    })
}

#[test]
fn all_records_of_a_sqlite_file_are_those_of_mlflow() {
    compare_all(&client_of(&uri_of(&copy_of(sample()))), expected());
}

#[test]
fn all_records_of_a_server_are_those_of_mlflow() {
    compare_all(&client_of(sample_server().url()), expected());
}

fn run_named(name: &str) -> &'static Value {
    let found = list(&expected()["runs"])
        .iter()
        .find(|run| run["name"] == name);
    found.expect("the run")
}

#[test]
fn the_sample_has_numbers_at_the_edges() {
    // Guards the comparisons above against data that has lost what they are about.
    let histories = &expected()["histories"][text(&run_named("run-00")["run_id"])];
    let values: Vec<&str> = list(&histories["extremes"])
        .iter()
        .map(|point| text(&point["value"]))
        .collect();
    let largest = bits(f64::MAX);
    assert!(
        values.contains(&text(&largest)) && values.contains(&text(&bits(f64::NAN))),
        "{values:?}"
    );
    assert_eq!(list(&histories["many"]).len(), 200);
    let steps: Vec<_> = list(&histories["steps"])
        .iter()
        .map(|point| point["step"].as_i64())
        .collect();
    assert!(
        steps.contains(&Some(i64::MAX)) && steps.contains(&Some(-1)),
        "{steps:?}"
    );
}

#[test]
fn what_is_not_there_is_not_found() {
    let unknown = "0123456789abcdef0123456789abcdef";
    for client in [
        client_of(&uri_of(&copy_of(sample()))),
        client_of(sample_server().url()),
    ] {
        let not_found = |result: Result<(), ClientError>, what: &str| {
            assert!(
                matches!(result, Err(ClientError::NotFound { .. })),
                "{what}: {result:?}"
            );
        };
        not_found(client.run(unknown).map(drop), "run");
        not_found(client.parent_run(unknown).map(drop), "parent");
        not_found(client.metric_history(unknown, "loss").map(drop), "history");
        not_found(client.list_artifacts(unknown, "").map(drop), "artifacts");
        not_found(client.experiment("no such name").map(drop), "experiment");
        not_found(
            client.experiment_by_id("987654").map(drop),
            "experiment by id",
        );
        not_found(client.registered_model("no such model").map(drop), "model");
        not_found(client.model_version("model-a", 99).map(drop), "version");
        not_found(
            client.model_version("model-a", 3).map(drop),
            "deleted version",
        );
        not_found(
            client
                .model_version_by_alias("model-a", "no-such-alias")
                .map(drop),
            "alias",
        );
        not_found(
            client.registered_model("deleted").map(drop),
            "deleted model",
        );
        let search = SearchRuns::new().experiment("no such name");
        not_found(
            client
                .search_runs(search)
                .collect::<Result<Vec<_>, _>>()
                .map(drop),
            "search",
        );
        // MLflow's Python client says so of prompts, too, which have searches of their own.
        not_found(client.registered_model("greeting").map(drop), "prompt");
        not_found(
            client.model_version("greeting", 1).map(drop),
            "prompt's version",
        );
        let empty = client.metric_history(text(&run_named("run-00")["run_id"]), "no such key");
        assert!(empty.expect("an empty history").is_empty());
    }
}

#[test]
fn parents_and_children_are_found() {
    let (parent, child) = (
        text(&run_named("run-00")["run_id"]),
        text(&run_named("child-3")["run_id"]),
    );
    let grandchild = text(&run_named("grandchild")["run_id"]);
    for client in [
        client_of(&uri_of(&copy_of(sample()))),
        client_of(sample_server().url()),
    ] {
        let names: Vec<String> = all(client.child_runs(parent))
            .into_iter()
            .map(|run| run.name)
            .collect();
        assert_eq!(names, ["child-3", "child-2", "child-1", "child-0"]);
        let found = client
            .parent_run(grandchild)
            .expect("a run")
            .expect("a parent");
        assert_eq!(found.run_id, child);
        assert_eq!(client.parent_run(parent).expect("a run"), None);
        // The child is in another experiment.
        let names: Vec<String> = all(client.child_runs(child))
            .into_iter()
            .map(|run| run.name)
            .collect();
        assert_eq!(names, ["grandchild"]);
    }
}

#[test]
fn a_search_can_leave_metrics_params_and_tags_out() {
    for client in [
        client_of(&uri_of(&copy_of(sample()))),
        client_of(sample_server().url()),
    ] {
        let search = SearchRuns::new()
            .experiment("wine")
            .metrics(["loss", "no such key"])
            .params(["lr"])
            .tags(Vec::<String>::new());
        for run in all(client.search_runs(search)) {
            let record = run_record(&run);
            let wanted = list(&expected()["runs"])
                .iter()
                .find(|wanted| wanted["run_id"] == record["run_id"]);
            let mut wanted = wanted.expect("the run").clone();
            for (kind, kept) in [("metrics", "loss"), ("params", "lr"), ("tags", "")] {
                wanted[kind]
                    .as_object_mut()
                    .expect("an object")
                    .retain(|key, _| key == kept);
            }
            assert_eq!(record, wanted);
        }
    }
}
