//! Searches that find more records than a page holds.

use std::collections::BTreeSet;
use std::path::Path;

use mlflow::search::{
    SearchExperiments, SearchModelVersions, SearchRegisteredModels, SearchRuns, ViewType, attribute,
};
use mlflow::{ClientError, blocking};
use serde_json::json;

use super::python::Python;
use super::{client_of, copy_of, list, sample, text, uri_of};
use crate::support::block_on;

/// Number of records of each kind. The largest page has 1000.
const COUNT: usize = 1100;

fn all<T>(found: impl Iterator<Item = Result<T, ClientError>>) -> Vec<T> {
    found.collect::<Result<_, _>>().expect("records")
}

/// Returns Python's answer to a search without a filter.
fn ask(database: &Path, subject: &str, experiments: &[&str], order: &[&str]) -> Vec<String> {
    let query = json!({
        "subject": subject, "filter": null, "order_by": order, "view": "ACTIVE_ONLY",
        "experiments": experiments, "limit": null,
    });
    let answers = Python::shared()
        .ask(&json!({"request": "answer", "uri": uri_of(database), "queries": [query]}));
    list(&answers[0]["found"])
        .iter()
        .map(|id| text(id).to_owned())
        .collect()
}

/// Adds many records to a file, and compares all pages of searches with those of Python.
pub(super) fn compare_pages(client: &blocking::Client, database: &Path) {
    Python::shared().ask(&json!({"request": "add_many", "database": database, "count": COUNT}));

    let wanted = ask(database, "runs", &["many"], &[]);
    assert!(wanted.len() > COUNT);
    let found = all(client.search_runs(SearchRuns::new().experiment("many")));
    assert!(found.iter().map(|run| &run.run_id).eq(&wanted));
    for limit in [250, 251] {
        let search = SearchRuns::new().experiment("many").limit(limit);
        assert!(
            all(client.search_runs(search))
                .iter()
                .map(|run| &run.run_id)
                .eq(&wanted[..limit]),
            "{limit}"
        );
    }
    let wanted = ask(
        database,
        "runs",
        &["many", "wine"],
        &["run_name ASC", "run_id DESC"],
    );
    let search = SearchRuns::new()
        .experiment("many")
        .experiment("wine")
        .order_by(attribute::run_name().asc())
        .order_by("run_id DESC");
    assert!(
        all(client.search_runs(search))
            .iter()
            .map(|run| &run.run_id)
            .eq(&wanted)
    );

    let wanted = ask(database, "experiments", &[], &[]);
    assert!(wanted.len() > COUNT);
    let found = all(client.search_experiments(SearchExperiments::new()));
    assert!(
        found
            .iter()
            .map(|experiment| &experiment.experiment_id)
            .eq(&wanted)
    );
    // Many experiments at once.
    let everywhere = all(client.search_runs(SearchRuns::new().limit(700).view(ViewType::All)));
    let distinct: BTreeSet<&String> = everywhere.iter().map(|run| &run.run_id).collect();
    assert_eq!(distinct.len(), 700);

    let wanted = ask(database, "registered_models", &[], &[]);
    assert!(wanted.len() > COUNT);
    let found = all(client.search_registered_models(SearchRegisteredModels::new()));
    assert!(found.iter().map(|model| &model.name).eq(&wanted));
    let wanted = ask(database, "model_versions", &[], &["version_number ASC"]);
    assert!(wanted.len() > COUNT);
    let search = SearchModelVersions::new().order_by(attribute::version_number().asc());
    let found = all(client.search_model_versions(search));
    let found: Vec<String> = found
        .iter()
        .map(|version| format!("{}/{}", version.name, version.version))
        .collect();
    assert_eq!(found, wanted);
}

#[test]
fn pages_of_a_sqlite_file_are_complete() {
    let database = copy_of(sample());
    compare_pages(&client_of(&uri_of(&database)), &database);
}

/// Starts runs in the file, beside a search.
fn start_runs(database: &Path, count: u32) {
    let file = rusqlite::Connection::open(database).expect("the file");
    let insert = "INSERT INTO runs (run_uuid, name, status, start_time, lifecycle_stage, artifact_uri, experiment_id,
            source_type, source_name, entry_point_name, user_id, source_version)
        SELECT lower(hex(randomblob(16))), 'late', 'RUNNING', 1800000000000 + ?1, 'active', '/x', experiment_id,
            'LOCAL', '', '', 'x', ''
        FROM experiments WHERE name = 'many'";
    for number in 0..count {
        file.execute(insert, [number]).expect("a run");
    }
}

/// Reads a search page by page, and lets others start runs after the first record of each page.
fn read_while_runs_start(uri: &str, database: &Path) -> Vec<String> {
    let client = client_of(uri);
    let mut found = Vec::new();
    for run in client.search_runs(SearchRuns::new().experiment("many")) {
        found.push(run.expect("a run").run_id);
        if found.len() % 250 == 1 {
            start_runs(database, 20);
        }
    }
    found
}

/// Checks a search beside which others start runs. The file has many records.
pub(super) fn check_search_while_runs_start(uri: &str, database: &Path) {
    let before: BTreeSet<String> = ask(database, "runs", &["many"], &[]).into_iter().collect();
    let found = read_while_runs_start(uri, database);
    let distinct: BTreeSet<String> = found.iter().cloned().collect();
    assert_eq!(distinct.len(), found.len(), "{uri}");
    let missing: Vec<&String> = before.difference(&distinct).collect();
    assert!(missing.is_empty(), "{uri}: {missing:?}");
}

#[test]
fn no_run_is_found_twice_while_others_start_runs() {
    let database = copy_of(sample());
    Python::shared().ask(&json!({"request": "add_many", "database": database, "count": COUNT}));
    check_search_while_runs_start(&uri_of(&database), &database);
}

#[test]
fn a_search_that_is_dropped_midway_leaves_the_client_usable() {
    let database = copy_of(sample());
    Python::shared().ask(&json!({"request": "add_many", "database": database, "count": COUNT}));
    let client = mlflow::Client::with_config(mlflow::Config::new().tracking_uri(uri_of(&database)));
    block_on(async {
        for taken in [0, 1, 250, 251] {
            let mut found = client.search_runs(SearchRuns::new().experiment("many"));
            for _ in 0..taken {
                found.try_next().await.expect("an answer").expect("a run");
            }
        }
        // A request that was made and is not waited for.
        {
            let mut found = client.search_runs(SearchRuns::new().experiment("many"));
            let next = std::pin::pin!(found.try_next());
            assert!(futures_lite::future::poll_once(next).await.is_none());
        }
        let search = SearchRuns::new().experiment("many").limit(3);
        assert_eq!(
            client
                .search_runs(search)
                .try_collect()
                .await
                .expect("runs")
                .len(),
            3
        );
    });
}
