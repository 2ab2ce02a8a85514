//! The fake: its client answers as Python does on a SQLite file with the same data, which was logged through
//! the same public interface. Runs are matched by their names, which are unique.

use std::collections::BTreeMap;

use mlflow::entities::{NewExperiment, NewModelVersion, NewRegisteredModel};
use mlflow::search::{
    Filter, OrderBy, SearchModelVersions, SearchRegisteredModels, SearchRuns, ViewType, attribute,
    metric, param, tag,
};
use mlflow::testing::fake;
use mlflow::{ClientError, DownloadArtifacts, blocking, start_run};
use serde_json::{Value, json};

use super::administration::{Caller, bad_calls, is_refused_for_the_same_reason, script};
use super::python::Python;
use super::{administration, copy_of, list, own_file, records, text, uri_of};
use crate::support::program::Folder;

#[path = "../../programs/support/sample.rs"]
mod sample;

/// Experiment that exists in every store of MLflow. A fake has it once a run goes there.
const DEFAULT: &str = "Default";

fn all<T>(found: impl Iterator<Item = Result<T, ClientError>>) -> Vec<T> {
    found.collect::<Result<_, _>>().expect("records")
}

/// Filters, as a text and typed.
fn filters() -> Vec<(&'static str, Filter)> {
    let times = 1_700_000_000_000;
    vec![
        ("metrics.loss > 0.5", metric("loss").gt(0.5)),
        ("metrics.loss >= 0.5", metric("loss").ge(0.5)),
        ("metrics.loss < 0.5", metric("loss").lt(0.5)),
        ("metrics.loss <= 0.5", metric("loss").le(0.5)),
        ("metrics.loss = 0.5", metric("loss").eq(0.5)),
        ("metrics.loss != 0.5", metric("loss").ne(0.5)),
        ("metrics.`val/loss` > 0", metric("val/loss").gt(0)),
        ("metrics.`val/loss` != 1", metric("val/loss").ne(1)),
        (
            "metrics.`val/loss` = 0.30000000000000004",
            metric("val/loss").eq(0.1 + 0.2),
        ),
        ("metrics.missing != 1", metric("missing").ne(1)),
        ("metrics.late = 1", metric("late").eq(1)),
        ("params.lr = '0.1'", param("lr").eq("0.1")),
        ("params.lr != '0.1'", param("lr").ne("0.1")),
        ("params.lr LIKE '%1%'", param("lr").like("%1%")),
        ("params.lr IS NULL", param("lr").is_null()),
        ("params.lr IS NOT NULL", param("lr").is_not_null()),
        (
            "params.`odd key/a-b.c` ILIKE 'PLAIN'",
            param("odd key/a-b.c").ilike("PLAIN"),
        ),
        (
            "params.`odd key/a-b.c` = \"it's\"",
            param("odd key/a-b.c").eq("it's"),
        ),
        ("tags.note = 'say \"hi\"'", tag("note").eq("say \"hi\"")),
        ("tags.note != 'plain'", tag("note").ne("plain")),
        ("tags.note LIKE '%\\%'", tag("note").like("%\\%")),
        (
            "tags.note LIKE 'under_score'",
            tag("note").like("under_score"),
        ),
        ("tags.note ILIKE 'PLAIN'", tag("note").ilike("PLAIN")),
        ("tags.note ILIKE 'ÜNÏ%'", tag("note").ilike("ÜNÏ%")),
        ("tags.note LIKE '%🦀'", tag("note").like("%🦀")),
        ("tags.note IS NULL", tag("note").is_null()),
        ("status = 'FAILED'", attribute::status().eq("FAILED")),
        ("status != 'FAILED'", attribute::status().ne("FAILED")),
        ("status LIKE 'F%'", attribute::status().like("F%")),
        (
            "run_name = 'sample-03'",
            attribute::run_name().eq("sample-03"),
        ),
        (
            "run_name ILIKE 'SAMPLE-0_'",
            attribute::run_name().ilike("SAMPLE-0_"),
        ),
        (
            "run_name LIKE 'SAMPLE%'",
            attribute::run_name().like("SAMPLE%"),
        ),
        (
            "start_time > 1700000000000",
            attribute::start_time().gt(times),
        ),
        ("end_time <= 1700000000000", attribute::end_time().le(times)),
        ("run_id IN ('x')", attribute::run_id().one_of(["x"])),
        ("run_id NOT IN ('x')", attribute::run_id().none_of(["x"])),
        (
            "metrics.loss > 0 AND tags.note != 'plain' AND status = 'FINISHED'",
            metric("loss").gt(0) & tag("note").ne("plain") & attribute::status().eq("FINISHED"),
        ),
        ("", Filter::default()),
    ]
}

fn orders() -> Vec<(Vec<&'static str>, Vec<OrderBy>)> {
    vec![
        (vec![], vec![]),
        (vec!["metrics.loss ASC"], vec![metric("loss").asc()]),
        (vec!["metrics.loss DESC"], vec![metric("loss").desc()]),
        (
            vec!["metrics.`val/loss` ASC"],
            vec![metric("val/loss").asc()],
        ),
        (
            vec!["metrics.`val/loss` DESC"],
            vec![metric("val/loss").desc()],
        ),
        (vec!["params.lr ASC"], vec![param("lr").asc()]),
        (vec!["params.lr DESC"], vec![param("lr").desc()]),
        (
            vec!["tags.note ASC", "run_name DESC"],
            vec![tag("note").asc(), attribute::run_name().desc()],
        ),
        (
            vec!["tags.note DESC", "metrics.loss"],
            vec![tag("note").desc(), metric("loss").asc()],
        ),
        (
            vec!["status", "start_time ASC"],
            vec![attribute::status().asc(), attribute::start_time().asc()],
        ),
        (vec!["end_time DESC"], vec![attribute::end_time().desc()]),
        (vec!["run_name"], vec![attribute::run_name().asc()]),
    ]
}

/// Returns a record without what differs from one process to the next: ids, times and the tags of the
/// process.
fn stable(record: &Value) -> Value {
    let mut record = record.clone();
    let fields = record.as_object_mut().expect("a record");
    for key in [
        "run_id",
        "experiment_id",
        "user_id",
        "start_time_ms",
        "end_time_ms",
        "artifact_uri",
    ] {
        fields.remove(key);
    }
    fields["tags"]
        .as_object_mut()
        .expect("tags")
        .retain(|key, _| key == "note");
    for metric in fields["metrics"]
        .as_object_mut()
        .expect("metrics")
        .values_mut()
    {
        metric
            .as_object_mut()
            .expect("a point")
            .remove("timestamp_ms");
    }
    record
}

#[test]
fn the_fake_answers_as_mlflow_does_on_a_file_with_the_same_runs() {
    let folder = Folder::new();
    let uri = uri_of(&copy_of(&own_file::write_sample(&folder)));
    let python = |request: &str| Python::shared().ask(&json!({"request": request, "uri": uri}));
    let ids: BTreeMap<String, String> = serde_json::from_value(python("ids")).expect("ids");
    let names: BTreeMap<&String, &String> = ids.iter().map(|(name, id)| (id, name)).collect();

    let _fake = fake();
    sample::log();
    let client = blocking::Client::new();

    // Searches.
    let (mut queries, mut searches) = (Vec::new(), Vec::new());
    let mut add = |text: &str,
                   filter: &Filter,
                   order: &[&str],
                   typed: &[OrderBy],
                   experiments: &[&str],
                   limit: Option<usize>| {
        queries.push(json!({
            "subject": "runs", "filter": (!text.is_empty()).then_some(text), "order_by": order,
            "view": "ACTIVE_ONLY", "experiments": experiments, "limit": limit,
        }));
        for (filter, order) in [
            (filter.clone(), typed.to_vec()),
            (
                Filter::from(text),
                order.iter().map(|order| OrderBy::from(*order)).collect(),
            ),
        ] {
            let mut search = SearchRuns::new().filter(filter);
            for order in order {
                search = search.order_by(order);
            }
            for name in experiments {
                search = search.experiment(*name);
            }
            searches.push(match limit {
                Some(limit) => search.limit(limit),
                None => search,
            });
        }
    };
    for (text, filter) in filters() {
        for (order, typed) in &orders()[..3] {
            add(text, &filter, order, typed, &[], None);
        }
    }
    for (order, typed) in orders() {
        for experiments in [&["first"][..], &["second / ü", "first"], &[]] {
            for limit in [None, Some(0), Some(3)] {
                add("", &Filter::default(), &order, &typed, experiments, limit);
            }
        }
    }
    let answers =
        Python::shared().ask(&json!({"request": "answer", "uri": uri, "queries": queries}));
    let answers = list(&answers).iter().flat_map(|answer| [answer, answer]);
    let mut compared = 0;
    for (search, answer) in searches.into_iter().zip(answers) {
        let found = all(client.search_runs(search.clone()));
        let found: Vec<&String> = found.iter().map(|run| &run.name).collect();
        let wanted: Vec<&String> = list(&answer["found"])
            .iter()
            .map(|id| names[&text(id).to_owned()])
            .collect();
        assert!(answer["error"].is_null(), "{answer}");
        assert_eq!(found, wanted, "{search:?}");
        compared += 1;
    }
    eprintln!("fake: {compared} searches compared");

    // Records, histories and artifacts.
    let wanted = python("read");
    let by_name: BTreeMap<String, Value> = list(&wanted["runs"])
        .iter()
        .map(|run| (text(&run["name"]).to_owned(), run.clone()))
        .collect();
    let runs = all(client.search_runs(SearchRuns::new().view(ViewType::All)));
    assert_eq!(runs.len(), by_name.len());
    for run in runs {
        let wanted_run = &by_name[&run.name];
        assert_eq!(stable(&records::run_record(&run)), stable(wanted_run));
        let by_id = client.run(&*run.run_id).expect("the run");
        assert_eq!(records::run_record(&run), records::run_record(&by_id));
        let wanted_id = text(&wanted_run["run_id"]);
        for key in run.metrics.keys() {
            let history = client
                .metric_history(&*run.run_id, &**key)
                .expect("a history");
            let numbers = |points: &Value| -> Vec<(Value, Value)> {
                list(points)
                    .iter()
                    .map(|point| (point["step"].clone(), point["value"].clone()))
                    .collect()
            };
            let wanted = &wanted["histories"][wanted_id][key];
            assert_eq!(
                numbers(&records::points(&history)),
                numbers(wanted),
                "{key} of {}",
                run.name
            );
        }
        let parent = client
            .parent_run(&*run.run_id)
            .expect("the run")
            .map(|parent| parent.name);
        let wanted_parent = wanted_run["tags"]["mlflow.parentRunId"]
            .as_str()
            .map(|id| names[&id.to_owned()].clone());
        assert_eq!(parent, wanted_parent);
        let contents = &wanted["contents"][wanted_id];
        let target = tempfile::tempdir().expect("a directory");
        let download = DownloadArtifacts::new(&run.run_id, target.path());
        client.download_artifacts(download).expect("a download");
        let mut files = serde_json::Map::new();
        for path in contents.as_object().expect("contents").keys() {
            let bytes = std::fs::read(target.path().join(path)).expect("the file");
            assert_eq!(
                client.read_artifact(&*run.run_id, &**path).expect("bytes"),
                bytes
            );
            let hex: String = bytes.iter().map(|byte| format!("{byte:02x}")).collect();
            files.insert(path.clone(), json!(hex));
        }
        assert_eq!(Value::Object(files), *contents);
        let top: Vec<Value> = list(&wanted["artifacts"][wanted_id])
            .iter()
            .filter(|entry| !text(&entry["path"]).contains('/'))
            .cloned()
            .collect();
        let listed = client.list_artifacts(&*run.run_id, "").expect("a list");
        assert_eq!(serde_json::to_value(listed).expect("JSON"), json!(top));
    }
    let mut experiments: Vec<String> = all(client.search_experiments(Default::default()))
        .into_iter()
        .map(|e| e.name)
        .collect();
    let wanted = list(&wanted["experiments"])
        .iter()
        .map(|experiment| text(&experiment["name"]));
    let mut wanted: Vec<&str> = wanted.filter(|name| *name != DEFAULT).collect();
    experiments.sort_unstable();
    wanted.sort_unstable();
    assert_eq!(experiments, wanted);
}

/// Writes experiments, runs and models with the names of the sample, which the script changes.
fn write_sample(client: &blocking::Client) -> BTreeMap<String, String> {
    let mut ids = BTreeMap::new();
    for (name, tags) in [
        ("wine", vec![("team", "cellar"), ("note", "it's")]),
        (
            "Odd / näme: 50%_'q\" \\",
            vec![("team", "Cellar"), ("odd key/a-b.c", "ü"), ("empty", "")],
        ),
        ("empty", vec![]),
        ("WINE", vec![("note", "say \"hi\"")]),
        ("trash", vec![("team", "cellar")]),
        ("mixed", vec![("team", "attic")]),
    ] {
        let new = tags
            .into_iter()
            .fold(NewExperiment::new(name), |new, (key, value)| {
                new.tag(key, value)
            });
        ids.insert(
            name.to_owned(),
            client.create_experiment(new).expect("an experiment"),
        );
    }
    let names = (0..14).map(|index| format!("run-{index:02}"));
    for name in names.chain(["deleted-0".to_owned()]) {
        let run = start_run()
            .experiment("wine")
            .name(&name)
            .tag("note", "x")
            .start();
        ids.insert(name, run.key().to_owned());
    }
    client.delete_run(&*ids["deleted-0"]).expect("a deletion");
    client
        .delete_experiment(&*ids["trash"])
        .expect("a deletion");
    for (name, description, tags) in [
        (
            "model-a",
            "the *first*",
            vec![("stage", "prod"), ("odd key/a-b.c", "ü")],
        ),
        ("Model B", "", vec![("stage", "Prod")]),
        ("modell ü%_", "", vec![("note", "it's")]),
        ("modellXü", "", vec![]),
        ("it's", "", vec![("note", "say \"hi\""), ("stage", "dev")]),
    ] {
        let new = NewRegisteredModel::new(name).description(description);
        let new = tags
            .into_iter()
            .fold(new, |new, (key, value)| new.tag(key, value));
        client.create_registered_model(new).expect("a model");
    }
    let sources = [
        "model-a",
        "model-a",
        "Model B",
        "model-a",
        "modell ü%_",
        "it's",
        "model-a",
    ];
    for (index, name) in sources.into_iter().enumerate() {
        let source = format!(
            "s3://bucket/{index}/ü%_{}",
            if index % 2 == 1 { 'A' } else { 'a' }
        );
        let new = NewModelVersion::new(name, source);
        let new = if index == 1 {
            new.run_link("http://elsewhere/run")
        } else {
            new
        };
        client.create_model_version(new).expect("a version");
    }
    client
        .set_registered_model_alias("model-a", "champion", 2)
        .expect("an alias");
    client
        .set_registered_model_alias("model-a", "Neu-1", 2)
        .expect("an alias");
    client
        .set_registered_model_alias("model-a", "old", 1)
        .expect("an alias");
    client
        .delete_model_version("model-a", 3)
        .expect("a deletion");
    ids
}

/// Returns chosen fields of records by a name.
fn fields(
    records: impl Iterator<Item = Value>,
    name: &[&str],
    chosen: &[&str],
) -> BTreeMap<String, Value> {
    let choose = |record: Value| {
        let name: Vec<String> = name.iter().map(|key| record[key].to_string()).collect();
        let chosen: Vec<Value> = chosen.iter().map(|key| record[key].clone()).collect();
        (name.join("/"), json!(chosen))
    };
    records.map(choose).collect()
}

fn to_json<T: serde::Serialize>(records: Vec<T>) -> impl Iterator<Item = Value> {
    records
        .into_iter()
        .map(|record| serde_json::to_value(record).expect("JSON"))
}

#[test]
fn prompts_are_no_models_of_the_fake() {
    let _fake = fake();
    let client = blocking::Client::new();
    for (name, tag) in [
        ("a model", "other"),
        ("a prompt", "mlflow.prompt.is_prompt"),
    ] {
        client
            .create_registered_model(NewRegisteredModel::new(name).tag(tag, "true"))
            .expect("a model");
        let version = NewModelVersion::new(name, "s3://bucket/a").tag(tag, "true");
        client.create_model_version(version).expect("a version");
    }
    let models = |filter: &str| {
        let found =
            all(client.search_registered_models(SearchRegisteredModels::new().filter(filter)));
        found
            .into_iter()
            .map(|model| model.name)
            .collect::<Vec<_>>()
    };
    let versions = |filter: &str| {
        let found = all(client.search_model_versions(SearchModelVersions::new().filter(filter)));
        found
            .into_iter()
            .map(|version| version.name)
            .collect::<Vec<_>>()
    };
    // As in the sample, whose prompt the filters of the test `queries` are about.
    for (filter, found) in [
        ("", "a model"),
        ("tags.`mlflow.prompt.is_prompt` != 'true'", "a model"),
        ("tags.`mlflow.prompt.is_prompt` = 'true'", "a prompt"),
    ] {
        assert_eq!(
            (models(filter), versions(filter)),
            (vec![found.to_owned()], vec![found.to_owned()]),
            "{filter}"
        );
    }
    assert!(matches!(
        client.registered_model("a prompt"),
        Err(ClientError::NotFound { .. })
    ));
    assert!(matches!(
        client.model_version("a prompt", 1),
        Err(ClientError::NotFound { .. })
    ));
    assert!(matches!(
        client.model_version_by_alias("a prompt", "latest"),
        Err(ClientError::NotFound { .. })
    ));
}

#[test]
fn the_fake_is_administrated_as_by_mlflow() {
    let expected = administration::expected();
    let _fake = fake();
    let client = blocking::Client::new();
    let ids = write_sample(&client);
    let mut caller = Caller::with_ids(client.clone(), ids);
    for operation in script() {
        let done = caller.make(&operation);
        assert!(done.is_ok(), "{operation:.200}: {}", done.unwrap_err());
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
    assert!(differences.is_empty(), "{}", differences.join("\n"));

    let wanted = |kind: &str| list(&expected.dump[kind]).to_vec().into_iter();
    let view = mlflow::search::SearchExperiments::new().view(ViewType::All);
    let chosen = ["lifecycle_stage", "tags"];
    assert_eq!(
        fields(
            to_json(all(client.search_experiments(view))),
            &["name"],
            &chosen
        ),
        fields(
            wanted("experiments").filter(|record| record["name"] != DEFAULT),
            &["name"],
            &chosen
        )
    );
    let chosen = ["description", "tags", "aliases"];
    assert_eq!(
        fields(
            to_json(all(
                client.search_registered_models(SearchRegisteredModels::new())
            )),
            &["name"],
            &chosen
        ),
        fields(wanted("models"), &["name"], &chosen)
    );
    let chosen = ["source", "aliases", "run_link", "status"];
    assert_eq!(
        fields(
            to_json(all(client.search_model_versions(SearchModelVersions::new()))),
            &["name", "version"],
            &chosen
        ),
        fields(wanted("versions"), &["name", "version"], &chosen)
    );
    // The runs that the script changes.
    let runs = all(client.search_runs(SearchRuns::new().view(ViewType::All)));
    let mut ours: BTreeMap<String, Value> = BTreeMap::new();
    for run in &runs {
        ours.insert(
            run.name.clone(),
            json!([
                run.lifecycle_stage.as_str(),
                run.tags.get("brand/new key-."),
                run.tags.get("mlflow.runName")
            ]),
        );
    }
    let mut mlflows = BTreeMap::new();
    for run in wanted("runs").filter(|run| ours.contains_key(text(&run["name"]))) {
        let tags = &run["tags"];
        mlflows.insert(
            text(&run["name"]).to_owned(),
            json!([
                run["lifecycle_stage"],
                tags["brand/new key-."],
                tags["mlflow.runName"]
            ]),
        );
    }
    assert_eq!(ours, mlflows);
}
