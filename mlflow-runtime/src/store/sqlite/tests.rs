//! Behaviour of the SQLite file as catalog and registry, as far as a file alone shows it.

use std::fs;
use std::path::PathBuf;
use std::process;
use std::sync::atomic::{AtomicU32, Ordering};

use rusqlite::Connection;

use super::SqliteStore;
use crate::entities::{
    FileInfo, MetricHistory, NewExperiment, NewModelVersion, NewRegisteredModel, Run, RunUpdate,
};
use crate::model::{ExperimentRef, Metric, Param, RunStatus, Tag};
use crate::search::{
    Filter, OrderBy, SearchExperiments, SearchModelVersions, SearchRegisteredModels, SearchRuns,
    Subject, ViewType, attribute, compare_records, dataset, matches_all, metric, param, tag,
};
use crate::store::{
    Batch, Catalog as _, ClientError, Continuation, NewRun, Page, Registry as _, Store as _,
    StoredRun,
};

fn block_on<T>(future: impl Future<Output = T>) -> T {
    let mut runtime = tokio::runtime::Builder::new_current_thread();
    runtime.build().unwrap().block_on(future)
}

/// Store in a folder that is removed at the end of the test.
struct Fixture {
    folder: PathBuf,
    store: SqliteStore,
}

impl Fixture {
    fn new() -> Self {
        static NUMBER: AtomicU32 = AtomicU32::new(0);
        let number = NUMBER.fetch_add(1, Ordering::Relaxed);
        let folder =
            std::env::temp_dir().join(format!("mlflow-catalog-{}-{number}", process::id()));
        let _ = fs::remove_dir_all(&folder);
        let store = SqliteStore::new(folder.join("mlflow.db"), folder.join("artifacts"));
        Self { folder, store }
    }

    fn with_experiment(name: &str) -> (Self, String) {
        let fixture = Self::new();
        let id = block_on(fixture.store.create_experiment(&name.into())).unwrap();
        (fixture, id)
    }

    fn run(&self, experiment: &str, key: &str, start_time_ms: i64) -> StoredRun {
        block_on(self.store.create_run(&NewRun {
            key,
            experiment_id: experiment,
            name: key,
            user_id: "me",
            start_time_ms,
            tags: &[],
        }))
        .unwrap()
    }

    fn log(&self, run: &StoredRun, metrics: &[(&str, f64, i64)], texts: &[(&str, &str)]) {
        let point = |&(key, value, step): &(&str, f64, i64)| Metric {
            key: key.into(),
            value,
            timestamp_ms: 1000 + step,
            step,
        };
        let param = |&(key, value): &(&str, &str)| Param {
            key: key.to_owned(),
            value: value.to_owned(),
        };
        let tag = |&(key, value): &(&str, &str)| Tag {
            key: key.to_owned(),
            value: value.to_owned(),
        };
        block_on(self.store.log_batch(
            run,
            &Batch {
                metrics: &metrics.iter().map(point).collect::<Vec<_>>(),
                params: &texts.iter().map(param).collect::<Vec<_>>(),
                tags: &texts.iter().map(tag).collect::<Vec<_>>(),
            },
        ))
        .unwrap();
    }

    fn sql(&self, statements: &str) {
        let db = Connection::open(self.folder.join("mlflow.db")).unwrap();
        db.execute_batch(statements).unwrap();
    }

    fn search(&self, search: &SearchRuns) -> Vec<Run> {
        let mut found = Vec::new();
        let mut from = None;
        loop {
            let page = block_on(self.store.search_runs(search, from, 2)).unwrap();
            assert!(page.items.len() <= 2);
            found.extend(page.items);
            from = page.next;
            if from.is_none() {
                return found;
            }
        }
    }

    fn names(&self, search: &SearchRuns) -> Vec<String> {
        self.search(search)
            .into_iter()
            .map(|run| run.run_id)
            .collect()
    }
}

impl Drop for Fixture {
    fn drop(&mut self) {
        let _ = fs::remove_dir_all(&self.folder);
    }
}

macro_rules! assert_error {
    ($variant:ident, $result:expr) => {
        match block_on($result) {
            Err(ClientError::$variant { reason }) => assert!(reason.len() > 10, "{reason}"),
            other => panic!("expected {}, found {other:?}", stringify!($variant)),
        }
    };
}

#[test]
fn reading_creates_nothing_and_the_error_says_which_file_is_missing() {
    let fixture = Fixture::new();
    let store = &fixture.store;
    let error = block_on(store.search_runs(&SearchRuns::new(), None, 10)).unwrap_err();
    let text = error.to_string();
    assert!(matches!(error, ClientError::NotFound { .. }), "{text}");
    assert!(
        text.contains("mlflow.db") && text.contains("MLFLOW_TRACKING_URI"),
        "{text}"
    );
    assert_error!(NotFound, store.delete_run("x"));
    assert_error!(NotFound, store.get_registered_model("x"));
    assert!(!fixture.folder.exists());

    fs::create_dir_all(&fixture.folder).unwrap();
    fs::write(fixture.folder.join("mlflow.db"), "").unwrap();
    assert_error!(NotFound, store.get_run_record("x"));
    let file = fs::metadata(fixture.folder.join("mlflow.db")).unwrap();
    assert_eq!(file.len(), 0, "an empty file stays empty");
}

#[test]
fn a_file_is_found_again_after_it_was_missing() {
    let fixture = Fixture::new();
    assert_error!(NotFound, fixture.store.get_run_record("x"));
    let id = block_on(fixture.store.create_experiment(&"wine".into())).unwrap();
    assert_eq!(id, "1", "the experiment `Default` is 0");
    let found = block_on(
        fixture
            .store
            .get_experiment(&ExperimentRef::Name("wine".to_owned())),
    )
    .unwrap();
    assert_eq!(found.experiment_id, id);
    let root = fixture.folder.join("artifacts").join("1");
    assert_eq!(found.artifact_location, root.to_string_lossy());
}

/// Filters and orders that are applied to the file and in memory.
fn searches() -> Vec<(Filter, Vec<OrderBy>)> {
    let nothing = Filter::default;
    vec![
        (nothing(), vec![]),
        (metric("loss").lt(0.5), vec![]),
        (metric("loss").ne(0.0), vec![]),
        (metric("loss").eq(0.0), vec![]),
        (metric("loss").ge(f64::NAN), vec![]),
        (metric("loss").ne(f64::NAN), vec![]),
        (metric("loss").le(f64::INFINITY), vec![]),
        (param("lr").gt(0.05), vec![]),
        (
            param("lr").le(0.1) & metric("loss").lt(2),
            vec![metric("loss").asc()],
        ),
        ("params.lr >= 1".into(), vec![]),
        (param("lr").gt(f64::NAN), vec![]),
        (param("lr").eq("0.1"), vec![]),
        (param("lr").ne("0.1"), vec![]),
        (param("lr").like("0._"), vec![]),
        (param("lr").like("INF"), vec![]),
        (param("lr").ilike("INF"), vec![]),
        (param("lr").is_null(), vec![]),
        (tag("lr").is_not_null(), vec![]),
        (tag("lr").eq("it's \"so\"' OR 1=1 --"), vec![]),
        (tag("it's; DROP TABLE runs").is_null(), vec![]),
        (attribute::run_name().like("_"), vec![]),
        (attribute::run_id().one_of(["a", "c", "zz"]), vec![]),
        (attribute::run_id().none_of(["a", "c"]), vec![]),
        (attribute::status().eq("FINISHED"), vec![]),
        (attribute::start_time().ge(20), vec![]),
        ("start_time > 19.5".into(), vec![]),
        (attribute::end_time().ne(77), vec![]),
        (dataset::name().eq("wine"), vec![]),
        (dataset::name().ne("wine"), vec![]),
        (dataset::context().one_of(["train", "test"]), vec![]),
        (dataset::digest().none_of(["d1"]), vec![]),
        (nothing(), vec![metric("loss").asc()]),
        (nothing(), vec![metric("loss").desc()]),
        (nothing(), vec![param("lr").asc(), metric("loss").desc()]),
        (nothing(), vec![tag("lr").desc()]),
        (nothing(), vec![attribute::start_time().asc()]),
        (nothing(), vec![attribute::end_time().asc()]),
        (
            nothing(),
            vec![attribute::end_time().desc(), attribute::end_time().asc()],
        ),
        (nothing(), vec![attribute::run_id().desc()]),
        (nothing(), vec![metric("it's; DROP TABLE runs").asc()]),
    ]
}

#[test]
fn the_file_answers_as_the_comparison_in_memory() {
    let (fixture, experiment) = Fixture::with_experiment("wine");
    let values: [(&str, i64, Option<f64>, Option<&str>); 9] = [
        ("a", 10, Some(0.1), Some("0.1")),
        ("b", 20, Some(f64::NAN), Some(" 5 ")),
        ("c", 20, None, Some("inf")),
        ("d", 20, Some(0.0), Some("nan")),
        ("e", 30, Some(-3.5), Some("0.1x")),
        ("f", 30, Some(f64::INFINITY), None),
        ("g", 5, Some(f64::NAN), Some("1e-3")),
        ("h", 5, Some(0.1), Some("it's \"so\"' OR 1=1 --")),
        ("i", 30, None, None),
    ];
    for (key, start, loss, text) in values {
        let run = fixture.run(&experiment, key, start);
        let loss: Vec<_> = loss.map(|loss| ("loss", loss, 0)).into_iter().collect();
        let text: Vec<_> = text.map(|text| ("lr", text)).into_iter().collect();
        fixture.log(&run, &loss, &text);
    }
    block_on(fixture.store.change_run(
        "c",
        &RunUpdate::new().status(RunStatus::Finished).end_time_ms(77),
    ))
    .unwrap();
    block_on(
        fixture
            .store
            .change_run("d", &RunUpdate::new().end_time_ms(78)),
    )
    .unwrap();
    fixture.sql(
        "INSERT INTO datasets (dataset_uuid, experiment_id, name, digest, dataset_source_type, dataset_source)
             VALUES ('u1', 1, 'wine', 'd1', 'local', '/x'), ('u2', 1, 'iris', 'd2', 'local', '/y');
         INSERT INTO inputs (input_uuid, source_type, source_id, destination_type, destination_id)
             VALUES ('i1', 'DATASET', 'u1', 'RUN', 'a'), ('i2', 'DATASET', 'u2', 'RUN', 'a'), ('i3', 'DATASET', 'u2', 'RUN', 'b');
         INSERT INTO input_tags (input_uuid, name, value)
             VALUES ('i1', 'mlflow.data.context', 'train'), ('i2', 'other', 'train'), ('i3', 'mlflow.data.context', 'Train');",
    );
    let everything = fixture.search(&SearchRuns::new());
    assert_eq!(everything.len(), values.len());
    let of_a = everything.iter().find(|run| run.run_id == "a").unwrap();
    let datasets: Vec<_> = of_a
        .datasets
        .iter()
        .map(|d| (d.name.as_str(), d.context.as_deref()))
        .collect();
    assert_eq!(datasets, [("iris", None), ("wine", Some("train"))]);

    for (filter, order) in searches() {
        let mut search = SearchRuns::new().filter(filter.clone());
        for key in &order {
            search = search.order_by(key.clone());
        }
        let comparisons = filter.comparisons(Subject::Runs).unwrap();
        let keys: Vec<_> = order
            .iter()
            .map(|key| key.sort_key(Subject::Runs).unwrap())
            .collect();
        let has_start = keys.iter().any(|key| key.field.key == "start_time");
        let mut expected: Vec<&Run> = everything
            .iter()
            .filter(|run| matches_all(*run, &comparisons))
            .collect();
        expected.sort_by(|a, b| {
            let by_start = b.start_time_ms.cmp(&a.start_time_ms);
            compare_records(*a, *b, &keys)
                .then(if has_start {
                    std::cmp::Ordering::Equal
                } else {
                    by_start
                })
                .then(a.run_id.cmp(&b.run_id))
        });
        let expected: Vec<&str> = expected.iter().map(|run| run.run_id.as_str()).collect();
        assert_eq!(fixture.names(&search), expected, "{filter} by {order:?}");
    }
    assert_error!(Unsupported, async {
        fixture.sql("UPDATE runs SET artifact_uri = 's3://bucket/a' WHERE run_uuid = 'a'");
        fixture.store.list_artifacts("a", "").await
    });
}

#[test]
fn a_search_is_a_snapshot_although_others_write() {
    let (fixture, experiment) = Fixture::with_experiment("wine");
    for (number, key) in ["a", "b", "c", "d", "e"].into_iter().enumerate() {
        fixture.run(&experiment, key, i64::try_from(number).unwrap());
    }
    let search = SearchRuns::new();
    let first = block_on(fixture.store.search_runs(&search, None, 2)).unwrap();
    let ids = |page: &Page<Run>| -> Vec<String> {
        page.items.iter().map(|run| run.run_id.clone()).collect()
    };
    assert_eq!(ids(&first), ["e", "d"]);
    fixture.run(&experiment, "new", 1000);
    fixture.sql("DELETE FROM tags WHERE run_uuid = 'c'; DELETE FROM runs WHERE run_uuid = 'c';");
    let second = block_on(fixture.store.search_runs(&search, first.next, 2)).unwrap();
    assert_eq!(ids(&second), ["b"], "the deleted run is left out");
    let third = block_on(fixture.store.search_runs(&search, second.next, 2)).unwrap();
    assert_eq!(ids(&third), ["a"]);
    assert_eq!(third.next, None);
    assert_eq!(
        fixture.names(&SearchRuns::new().limit(3)),
        ["new", "e", "d"]
    );
    let foreign = Continuation::Token {
        token: "x".to_owned(),
        experiment_ids: Vec::new(),
    };
    assert_error!(
        Invalid,
        fixture.store.search_runs(&search, Some(foreign), 2)
    );
}

#[test]
fn runs_are_searched_in_active_experiments_or_in_those_that_are_named() {
    let (fixture, wine) = Fixture::with_experiment("wine");
    let iris = block_on(fixture.store.create_experiment(&"iris".into())).unwrap();
    fixture.run(&wine, "w", 1);
    fixture.run(&iris, "i", 2);
    fixture.run(&iris, "j", 3);
    block_on(fixture.store.delete_run("j")).unwrap();
    assert_eq!(fixture.names(&SearchRuns::new()), ["i", "w"]);
    assert_eq!(
        fixture.names(&SearchRuns::new().view(ViewType::All)),
        ["j", "i", "w"]
    );
    assert_eq!(
        fixture.names(&SearchRuns::new().view(ViewType::DeletedOnly)),
        ["j"]
    );
    assert_eq!(fixture.names(&SearchRuns::new().experiment("iris")), ["i"]);
    assert_eq!(
        fixture.names(&SearchRuns::new().experiment_id(&wine)),
        ["w"]
    );
    block_on(fixture.store.delete_experiment(&iris)).unwrap();
    assert_eq!(
        fixture.names(&SearchRuns::new().view(ViewType::All)),
        ["w"],
        "a deleted experiment has to be named"
    );
    let deleted = SearchRuns::new().experiment("iris").view(ViewType::All);
    assert_eq!(fixture.names(&deleted), ["j", "i"]);
    for (search, missing) in [
        (SearchRuns::new().experiment("nothing"), "nothing"),
        (SearchRuns::new().experiment_id("4711"), "4711"),
    ] {
        let error = block_on(fixture.store.search_runs(&search, None, 2)).unwrap_err();
        assert!(matches!(error, ClientError::NotFound { .. }), "{error}");
        assert!(error.to_string().contains(missing), "{error}");
    }
    let bad = SearchRuns::new().filter("params.lr == 1");
    let error = block_on(fixture.store.search_runs(&bad, None, 2)).unwrap_err();
    assert!(matches!(error, ClientError::Search(_)), "{error}");
}

#[test]
fn only_the_chosen_columns_are_read() {
    let (fixture, experiment) = Fixture::with_experiment("wine");
    let run = fixture.run(&experiment, "a", 1);
    fixture.log(
        &run,
        &[("loss", 0.5, 1), ("acc", 0.9, 1)],
        &[("lr", "1"), ("model", "x")],
    );
    let search = SearchRuns::new()
        .metrics(["loss", "other"])
        .params(Vec::<String>::new())
        .tags(["model"]);
    let run = fixture.search(&search).pop().unwrap();
    assert_eq!(run.metric("loss"), Some(0.5));
    assert_eq!((run.metrics.len(), run.params.len()), (1, 0));
    assert_eq!(run.tags.keys().collect::<Vec<_>>(), ["model"]);
    assert_eq!(run.name, "a");
}

#[test]
fn histories_are_in_order_by_each_way_of_reading() {
    let (fixture, experiment) = Fixture::with_experiment("wine");
    let keys = ["loss", "acc", "loss", "nothing"].map(str::to_owned);
    for key in ["a", "b"] {
        let run = fixture.run(&experiment, key, 1);
        // Only run `b` has many metrics, and only run `a` has one of its own.
        let own = format!("own-{key}");
        let metrics = [
            ("loss", f64::NAN, 3),
            ("acc", 7.0, 1),
            ("loss", 2.0, -1),
            ("loss", f64::NEG_INFINITY, 2),
            (own.as_str(), 1.0, 1),
        ];
        fixture.log(&run, &metrics, &[]);
    }
    let check = || {
        let histories = block_on(fixture.store.metric_histories("b", &keys)).unwrap();
        let of_key: Vec<_> = histories.iter().map(MetricHistory::key).collect();
        assert_eq!(of_key, ["loss", "acc", "loss", "nothing"]);
        for loss in [&histories[0], &histories[2]] {
            assert_eq!(loss.steps(), [-1, 2, 3]);
            assert_eq!(loss.timestamps_ms(), [999, 1002, 1003]);
            assert_eq!(loss.values()[..2], [2.0, f64::MIN]);
            assert!(loss.values()[2].is_nan());
        }
        assert_eq!((histories[1].len(), histories[3].len()), (1, 0));
    };
    check();
    // More runs with the metric than the run has metrics: by the index of the runs.
    fixture.sql(
        "WITH RECURSIVE n(i) AS (SELECT 1 UNION ALL SELECT i + 1 FROM n WHERE i < 50)
         INSERT INTO runs (run_uuid, lifecycle_stage, experiment_id) SELECT 'x' || i, 'active', 1 FROM n;
         INSERT INTO latest_metrics (key, value, timestamp, step, is_nan, run_uuid)
             SELECT 'loss', 1, 1, 1, 0, run_uuid FROM runs WHERE run_uuid LIKE 'x%';",
    );
    check();
    // Newer files have an index that leads to the points directly.
    fixture.sql("CREATE INDEX index_metrics_run_uuid_key_step ON metrics (run_uuid, key, step);");
    check();
    assert_error!(NotFound, fixture.store.metric_histories("zz", &keys));
}

#[test]
fn a_run_is_changed_deleted_and_restored_as_in_mlflow() {
    let (fixture, experiment) = Fixture::with_experiment("wine");
    fixture.run(&experiment, "a", 1);
    let store = &fixture.store;
    let run = || block_on(store.get_run_record("a")).unwrap();
    let change = |update: RunUpdate| block_on(store.change_run("a", &update)).unwrap();

    change(RunUpdate::new().name("best").status(RunStatus::Failed));
    assert_eq!(
        (run().name.as_str(), run().tag("mlflow.runName")),
        ("best", Some("best"))
    );
    assert!(run().end_time_ms.is_some_and(|end| end > 1_700_000_000_000));
    change(RunUpdate::new().status(RunStatus::Running));
    assert_eq!(
        (run().status, run().end_time_ms),
        (RunStatus::Running, None)
    );
    change(RunUpdate::new().status(RunStatus::Killed).end_time_ms(5));
    change(RunUpdate::new().name(""));
    assert_eq!((run().name.as_str(), run().end_time_ms), ("best", Some(5)));

    block_on(store.set_run_tag("a", "mlflow.runName", "again")).unwrap();
    block_on(store.set_run_tag("a", "k", &"x".repeat(9000))).unwrap();
    assert_eq!(
        (run().name.as_str(), run().tags["k"].len()),
        ("again", 8000)
    );
    block_on(store.delete_run_tag("a", "k")).unwrap();
    assert_error!(NotFound, store.delete_run_tag("a", "k"));
    assert_error!(Invalid, store.set_run_tag("a", "a#b", "v"));
    assert_error!(Invalid, store.set_run_tag("a", "", "v"));

    for _ in 0..2 {
        block_on(store.delete_run("a")).unwrap();
        assert!(run().is_deleted());
    }
    assert_error!(Invalid, store.set_run_tag("a", "k", "v"));
    assert_error!(Invalid, store.delete_run_tag("a", "k"));
    assert_error!(Invalid, store.change_run("a", &RunUpdate::new().name("b")));
    for _ in 0..2 {
        block_on(store.restore_run("a")).unwrap();
        assert!(!run().is_deleted());
    }
    fixture.sql("UPDATE runs SET status = 'SCHEDULED'");
    assert_eq!(run().status, RunStatus::Scheduled);
    for missing in ["", "zz"] {
        assert_error!(NotFound, store.get_run_record(missing));
        assert_error!(NotFound, store.delete_run(missing));
        assert_error!(NotFound, store.restore_run(missing));
        assert_error!(NotFound, store.set_run_tag(missing, "k", "v"));
        assert_error!(NotFound, store.list_artifacts(missing, ""));
    }
}

#[test]
fn experiments_are_created_changed_deleted_and_restored_as_in_mlflow() {
    let (fixture, id) = Fixture::with_experiment("wine");
    let store = &fixture.store;
    let get = |id: &str| block_on(store.get_experiment(&ExperimentRef::Id(id.to_owned()))).unwrap();
    fixture.run(&id, "a", 1);
    fixture.run(&id, "b", 1);
    block_on(store.delete_run("b")).unwrap();

    let place = NewExperiment::new("placed")
        .artifact_location("s3://bucket/x")
        .tag("team", "a");
    let placed = block_on(store.create_experiment(&place)).unwrap();
    assert_eq!(get(&placed).artifact_location, "s3://bucket/x");
    assert_eq!(get(&placed).tags["team"], "a");
    let relative = NewExperiment::new("relative").artifact_location("some/dir");
    let relative = block_on(store.create_experiment(&relative)).unwrap();
    assert!(get(&relative).artifact_location.starts_with('/'));
    assert_error!(AlreadyExists, store.create_experiment(&"wine".into()));
    for invalid in [
        NewExperiment::new(""),
        NewExperiment::new("x".repeat(501)),
        NewExperiment::new("x").tag("a#b", 1),
        NewExperiment::new("x").tag("k", "x".repeat(20_001)),
        NewExperiment::new("x").artifact_location("runs:/1/x"),
        NewExperiment::new("x").artifact_location(format!("/{}", "x".repeat(2048))),
    ] {
        assert_error!(Invalid, store.create_experiment(&invalid));
    }

    block_on(store.rename_experiment(&id, "red wine")).unwrap();
    block_on(store.rename_experiment(&id, "red wine")).unwrap();
    assert_eq!(get(&id).name, "red wine");
    assert_error!(AlreadyExists, store.rename_experiment(&id, "placed"));
    assert_error!(Invalid, store.rename_experiment(&id, ""));
    assert_error!(NotFound, store.rename_experiment("4711", "x"));
    assert_error!(Invalid, store.rename_experiment("abc", "x"));
    block_on(store.set_experiment_tag(&id, "k", "v")).unwrap();
    block_on(store.set_experiment_tag(&id, "k", "w")).unwrap();
    assert_eq!(get(&id).tags["k"], "w");
    block_on(store.delete_experiment_tag(&id, "k")).unwrap();
    assert_error!(NotFound, store.delete_experiment_tag(&id, "k"));

    assert_error!(NotFound, store.restore_experiment(&id));
    block_on(store.delete_experiment(&id)).unwrap();
    assert_error!(NotFound, store.delete_experiment(&id));
    assert!(get(&id).is_deleted());
    assert!(block_on(store.get_run_record("a")).unwrap().is_deleted());
    assert_error!(Invalid, store.rename_experiment(&id, "x"));
    assert_error!(Invalid, store.set_experiment_tag(&id, "k", "v"));
    assert_error!(AlreadyExists, store.create_experiment(&"red wine".into()));
    block_on(store.restore_experiment(&id)).unwrap();
    for run in ["a", "b"] {
        assert!(
            !block_on(store.get_run_record(run)).unwrap().is_deleted(),
            "as in MLflow"
        );
    }
}

#[test]
fn experiments_are_searched() {
    let (fixture, _) = Fixture::with_experiment("wine");
    let store = &fixture.store;
    let tagged = NewExperiment::new("Wine 2").tag("team", "it's");
    block_on(store.create_experiment(&tagged)).unwrap();
    fixture.sql("UPDATE experiments SET creation_time = experiment_id, last_update_time = 9");
    block_on(store.delete_experiment("1")).unwrap();
    let names = |search: SearchExperiments| -> Vec<String> {
        let mut found = Vec::new();
        let mut from = None;
        loop {
            let page = block_on(store.search_experiments(&search, from, 1)).unwrap();
            found.extend(page.items.into_iter().map(|experiment| experiment.name));
            from = page.next;
            if from.is_none() {
                return found;
            }
        }
    };
    let all = || SearchExperiments::new().view(ViewType::All);
    assert_eq!(names(SearchExperiments::new()), ["Wine 2", "Default"]);
    assert_eq!(names(all()), ["Wine 2", "wine", "Default"]);
    assert_eq!(names(all().view(ViewType::DeletedOnly)), ["wine"]);
    assert_eq!(names(all().filter("name LIKE 'wine%'")), ["wine"]);
    assert_eq!(
        names(all().filter("name ILIKE 'wine%'")),
        ["Wine 2", "wine"]
    );
    assert_eq!(
        names(all().filter("experiment_id IN ('0', '1')")),
        ["wine", "Default"]
    );
    assert_eq!(
        names(all().filter("experiment_id != '0'")),
        ["Wine 2", "wine"]
    );
    assert_eq!(names(all().filter(tag("team").eq("it's"))), ["Wine 2"]);
    assert_eq!(
        names(all().filter(tag("team").is_null())),
        ["wine", "Default"]
    );
    assert_eq!(
        names(
            all()
                .filter(attribute::creation_time().lt(2))
                .order_by("name")
        ),
        ["Default", "wine"]
    );
    let by_update = all().order_by("last_update_time ASC");
    assert_eq!(names(by_update), ["Wine 2", "Default", "wine"]);
    let bad = all().filter("experiment_id = 'abc'");
    assert_error!(Invalid, store.search_experiments(&bad, None, 1));
}

#[test]
fn models_versions_and_aliases_follow_mlflow() {
    let (fixture, _) = Fixture::with_experiment("wine");
    let store = &fixture.store;
    let new = NewRegisteredModel::new("wine")
        .description("red")
        .tag("team", "a");
    let model = block_on(store.create_registered_model(&new)).unwrap();
    assert_eq!(
        (model.description.as_str(), model.tags["team"].as_str()),
        ("red", "a")
    );
    assert_error!(AlreadyExists, store.create_registered_model(&new));
    assert_error!(Invalid, store.create_registered_model(&"a/b".into()));
    assert_error!(
        NotFound,
        store.create_model_version(&NewModelVersion::new("no", "s3://x"))
    );
    block_on(store.describe_registered_model("wine", "dark")).unwrap();
    block_on(store.set_registered_model_tag("wine", "team", "b")).unwrap();
    let model = block_on(store.get_registered_model("wine")).unwrap();
    assert_eq!(
        (model.description.as_str(), model.tags["team"].as_str()),
        ("dark", "b")
    );
    assert_error!(NotFound, store.describe_registered_model("no", "x"));
    assert_error!(Invalid, store.set_registered_model_tag("wine", "a#", "x"));

    let version = |source: &str| {
        let new = NewModelVersion::new("wine", source)
            .run_id("r1")
            .tag("q", 1);
        block_on(store.create_model_version(&new)).unwrap()
    };
    assert_eq!(
        (version("s3://1").version, version("s3://2").version),
        (1, 2)
    );
    let copy = NewModelVersion::new("wine", "models:/wine/1");
    assert_eq!(
        block_on(store.create_model_version(&copy)).unwrap().version,
        3
    );
    for bad in ["models:/wine/99", "models:/m-1", "models:/wine@x"] {
        assert_error!(
            Invalid,
            store.create_model_version(&NewModelVersion::new("wine", bad))
        );
    }

    for alias in ["z", "champion"] {
        block_on(store.set_alias("wine", alias, 1)).unwrap();
    }
    let get = |version| block_on(store.get_model_version("wine", version)).unwrap();
    assert_eq!(get(1).aliases, ["champion", "z"]);
    block_on(store.set_alias("wine", "champion", 2)).unwrap();
    let by_alias = |alias: &str| block_on(store.get_model_version_by_alias("wine", alias));
    assert_eq!(by_alias("champion").unwrap().version, 2);
    assert_eq!(by_alias("Latest").unwrap().version, 3);
    assert_error!(NotFound, store.get_model_version_by_alias("wine", "no"));
    assert_error!(NotFound, store.get_model_version_by_alias("no", "champion"));
    assert_error!(Invalid, store.set_alias("wine", "v3", 1));
    assert_error!(Invalid, store.set_alias("wine", "latest", 1));
    assert_error!(NotFound, store.set_alias("wine", "a", 9));
    assert_error!(NotFound, store.set_alias("wine", "a", u64::MAX));
    for _ in 0..2 {
        block_on(store.delete_alias("wine", "z")).unwrap();
    }

    block_on(store.delete_model_version("wine", 3)).unwrap();
    assert_error!(NotFound, store.delete_model_version("wine", 3));
    assert_error!(NotFound, store.get_model_version("wine", 3));
    assert_eq!(version("s3://4").version, 4, "a number is not used again");

    block_on(store.describe_model_version("wine", 1, "old")).unwrap();
    block_on(store.set_model_version_tag("wine", 1, "k", "v")).unwrap();
    assert_eq!(
        (get(1).description.as_str(), get(1).tags["k"].as_str()),
        ("old", "v")
    );
    for _ in 0..2 {
        block_on(store.delete_model_version_tag("wine", 1, "k")).unwrap();
        block_on(store.delete_registered_model_tag("wine", "team")).unwrap();
    }

    block_on(store.rename_registered_model("wine", "red")).unwrap();
    assert_error!(NotFound, store.get_registered_model("wine"));
    let renamed = block_on(store.get_registered_model("red")).unwrap();
    assert_eq!(renamed.aliases["champion"], 2);
    assert_eq!(
        block_on(store.get_model_version("red", 1)).unwrap().tags["q"],
        "1"
    );
    block_on(store.create_registered_model(&"white".into())).unwrap();
    assert_error!(AlreadyExists, store.rename_registered_model("red", "white"));
    block_on(store.delete_registered_model("red")).unwrap();
    assert_error!(NotFound, store.delete_registered_model("red"));
    assert_error!(NotFound, store.get_model_version("red", 1));
}

#[test]
fn models_and_versions_are_searched_without_prompts() {
    let (fixture, _) = Fixture::with_experiment("wine");
    let store = &fixture.store;
    for (name, is_prompt) in [("wine", false), ("Iris", false), ("greeting", true)] {
        let mut new = NewRegisteredModel::new(name).tag("team", name);
        let mut first = NewModelVersion::new(name, "s3://a");
        if is_prompt {
            new = new.tag("mlflow.prompt.is_prompt", true);
            first = first.tag("mlflow.prompt.is_prompt", true);
        }
        block_on(store.create_registered_model(&new)).unwrap();
        block_on(store.create_model_version(&first)).unwrap();
        let second = NewModelVersion::new(name, "s3://b").run_id("r");
        block_on(store.create_model_version(&second)).unwrap();
    }
    fixture.sql(
        "UPDATE model_versions SET last_updated_time = version;
         UPDATE registered_models SET last_updated_time = length(name)",
    );
    let models = |search: SearchRegisteredModels| -> Vec<String> {
        let page = block_on(store.search_registered_models(&search, None, 10)).unwrap();
        page.items.into_iter().map(|model| model.name).collect()
    };
    let all = SearchRegisteredModels::new;
    assert_eq!(models(all()), ["Iris", "wine"]);
    assert_eq!(models(all().order_by("name DESC")), ["wine", "Iris"]);
    assert_eq!(models(all().filter("name ILIKE 'i%'")), ["Iris"]);
    assert_eq!(models(all().filter("tags.team = 'wine'")), ["wine"]);
    let prompts = "tags.`mlflow.prompt.is_prompt` = 'true'";
    assert_eq!(models(all().filter(prompts)), ["greeting"]);
    let no_prompts = "tags.`mlflow.prompt.is_prompt` = 'false'";
    assert_eq!(models(all().filter(no_prompts)), ["Iris", "wine"]);

    let versions = |search: SearchModelVersions| -> Vec<(String, u64)> {
        let mut found = Vec::new();
        let mut from = None;
        loop {
            let page = block_on(store.search_model_versions(&search, from, 1)).unwrap();
            found.extend(page.items.into_iter().map(|one| (one.name, one.version)));
            from = page.next;
            if from.is_none() {
                return found;
            }
        }
    };
    let of = |names: [(&str, u64); 2]| names.map(|(name, version)| (name.to_owned(), version));
    let all = SearchModelVersions::new;
    assert_eq!(
        versions(all())[..2],
        of([("Iris", 2), ("wine", 2)]),
        "the last change first"
    );
    assert_eq!(
        versions(all().filter("run_id = 'r'")),
        of([("Iris", 2), ("wine", 2)])
    );
    assert_eq!(
        versions(all().filter("name = 'wine'").order_by("version_number ASC")),
        of([("wine", 1), ("wine", 2)])
    );
    assert_eq!(
        versions(all().filter("version_number < 2 AND source_path LIKE 's3%'")),
        of([("Iris", 1), ("wine", 1)])
    );
    block_on(store.delete_model_version("wine", 1)).unwrap();
    assert_eq!(
        versions(all().filter("name = 'wine'")),
        [("wine".to_owned(), 2)]
    );
}

#[test]
fn other_workspaces_are_not_seen() {
    let (fixture, _) = Fixture::with_experiment("wine");
    fixture.sql(
        "ALTER TABLE experiments ADD COLUMN workspace VARCHAR(63) NOT NULL DEFAULT 'default';
         ALTER TABLE registered_models ADD COLUMN workspace VARCHAR(63) NOT NULL DEFAULT 'default';
         ALTER TABLE registered_model_tags ADD COLUMN workspace VARCHAR(63) NOT NULL DEFAULT 'default';
         ALTER TABLE registered_model_aliases ADD COLUMN workspace VARCHAR(63) NOT NULL DEFAULT 'default';
         INSERT INTO experiments (experiment_id, name, lifecycle_stage, workspace) VALUES (7, 'other', 'active', 'team');
         INSERT INTO runs (run_uuid, experiment_id, lifecycle_stage) VALUES ('r', 7, 'active');
         INSERT INTO registered_models (name, workspace) VALUES ('theirs', 'team');",
    );
    let store = &fixture.store;
    assert_error!(
        NotFound,
        store.get_experiment(&ExperimentRef::Name("other".to_owned()))
    );
    assert_error!(
        NotFound,
        store.get_experiment(&ExperimentRef::Id("7".to_owned()))
    );
    assert_error!(NotFound, store.get_registered_model("theirs"));
    assert_eq!(fixture.names(&SearchRuns::new()), Vec::<String>::new());
    let models = block_on(store.search_registered_models(&SearchRegisteredModels::new(), None, 9));
    assert_eq!(models.unwrap().items, []);
    let experiments = block_on(store.search_experiments(&SearchExperiments::new(), None, 9));
    assert_eq!(experiments.unwrap().items.len(), 2);
}

#[test]
fn artifacts_of_a_run_are_listed_and_read() {
    let (fixture, experiment) = Fixture::with_experiment("wine");
    let run = fixture.run(&experiment, "a", 1);
    assert_eq!(block_on(fixture.store.list_artifacts("a", "")).unwrap(), []);
    let folder = PathBuf::from(&run.artifact_uri).join("plots");
    fs::create_dir_all(&folder).unwrap();
    fs::write(folder.join("a.txt"), "hello").unwrap();
    let listed = block_on(fixture.store.list_artifacts("a", "plots")).unwrap();
    assert_eq!(listed, [FileInfo::file("plots/a.txt", 5)]);
    let mut content = Vec::new();
    block_on(
        fixture
            .store
            .read_artifact("a", "plots/a.txt", &mut |part| {
                content.extend_from_slice(part);
                Ok(())
            }),
    )
    .unwrap();
    assert_eq!(content, b"hello");
    assert_error!(
        NotFound,
        fixture.store.read_artifact("a", "no.txt", &mut |_| Ok(()))
    );
}
