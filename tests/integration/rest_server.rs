//! Behaviour of [`RestStore`] that only a real server can show.

use std::borrow::Cow;
use std::fs;
use std::thread;

use mlflow::RunStatus;
use mlflow::store::{
    ArtifactContent, Batch, ExperimentRef, Metric, NewRun, Param, RestOptions, RestStore, Store,
    StoreError, StoredRun, Tag,
};
use serde_json::json;

use crate::support::fault::Fault;
use crate::support::mlflow::Server;
use crate::support::proxy::Proxy;
use crate::support::{block_on, unique};

fn store(url: &str) -> RestStore {
    RestStore::new(RestOptions::new(url)).expect("a store")
}

fn new_run<'a>(key: &'a str, experiment_id: &'a str) -> NewRun<'a> {
    NewRun {
        key,
        experiment_id,
        name: "r",
        user_id: "ada",
        start_time_ms: 5,
        tags: &[],
    }
}

#[test]
fn of_two_runs_with_one_key_the_same_is_always_adopted() {
    let server = Server::shared();
    block_on(async {
        let store = store(server.url());
        let experiment = ExperimentRef::Name(unique());
        let id = store.experiment(&experiment).await.expect("an experiment");
        // Two runs with one key arise if the answer to the first creation is lost, and the request is sent
        // again.
        let (key, [first, second]) = twins(&store, &id).await;
        for _ in 0..2 {
            assert_eq!(store.find_run(&id, &key).await, Ok(Some(first.clone())));
        }
        let mut seen = server.api().runs(&id);
        seen.sort();
        assert_eq!(
            seen,
            [
                (first.run_id, "active".to_owned()),
                (second.run_id, "deleted".to_owned())
            ]
        );
    });
}

/// Content that keeps a run from being deleted as an empty duplicate.
#[derive(Clone, Copy, Debug)]
enum Logged {
    Metric,
    Param,
    Tag,
    Artifact,
    End,
}

async fn log(store: &RestStore, run: &StoredRun, logged: Logged) {
    let metrics = [Metric {
        key: "m".into(),
        value: 1.0,
        timestamp_ms: 6,
        step: 0,
    }];
    let params = [Param {
        key: "p".to_owned(),
        value: "v".to_owned(),
    }];
    let tags = [Tag {
        key: "t".to_owned(),
        value: "v".to_owned(),
    }];
    let mut batch = Batch::default();
    match logged {
        Logged::Metric => batch.metrics = &metrics,
        Logged::Param => batch.params = &params,
        Logged::Tag => batch.tags = &tags,
        Logged::Artifact => {
            let bytes = ArtifactContent::Bytes(Cow::Borrowed(b"bytes"));
            let put = store.put_artifact(run, "a/b.txt", bytes).await;
            return put.expect("an artifact");
        }
        Logged::End => {
            let end = store.update_run(run, RunStatus::Killed, Some(7)).await;
            return end.expect("an end");
        }
    }
    store.log_batch(run, &batch).await.expect("a batch");
}

/// Creates two runs with the same key. The first one returned is the one that is adopted if their content
/// gives no preference.
async fn twins(store: &RestStore, experiment_id: &str) -> (String, [StoredRun; 2]) {
    let key = unique();
    let new = new_run(&key, experiment_id);
    let mut twins = [
        store.create_run(&new).await.expect("a run"),
        store.create_run(&new).await.expect("its twin"),
    ];
    twins.sort_by(|a, b| a.run_id.cmp(&b.run_id));
    (key, twins)
}

/// Runs that were created before 0.1.0 carry their key under another tag.
#[test]
fn a_run_with_the_former_key_tag_is_found() {
    let server = Server::shared();
    let (key, experiment) = (unique(), unique());
    let id = block_on(store(server.url()).experiment(&ExperimentRef::Name(experiment))).unwrap();
    let created = server.api().post(
        "runs/create",
        &json!({"experiment_id": id, "start_time": 1, "tags": [{"key": "mlflow_rs.run_key", "value": key}]}),
    );
    let run_id = created["run"]["info"]["run_id"].as_str().unwrap();
    let found = block_on(store(server.url()).find_run(&id, &key)).unwrap();
    assert_eq!(found.map(|run| run.run_id).as_deref(), Some(run_id));
}

/// Regression: the run of the late creation came first by chance, and the run with the values was deleted.
#[test]
fn of_two_runs_with_one_key_that_with_something_is_adopted() {
    let server = Server::shared();
    block_on(async {
        let store = store(server.url());
        for logged in [
            Logged::Metric,
            Logged::Param,
            Logged::Tag,
            Logged::Artifact,
            Logged::End,
        ] {
            let experiment = ExperimentRef::Name(unique());
            let id = store.experiment(&experiment).await.expect("an experiment");
            let (key, [empty, whole]) = twins(&store, &id).await;
            log(&store, &whole, logged).await;
            for _ in 0..2 {
                let found = store.find_run(&id, &key).await;
                assert_eq!(found, Ok(Some(whole.clone())), "{logged:?}");
            }
            let mut seen = server.api().runs(&id);
            seen.sort();
            let expected = [(empty.run_id, "deleted"), (whole.run_id, "active")];
            assert_eq!(seen, expected.map(|(id, stage)| (id, stage.to_owned())));
        }
    });
}

/// Regression: a search that could not read one of the runs adopted it and deleted the other. The next search
/// did the reverse, and values were logged to a deleted run.
#[test]
fn of_two_runs_with_one_key_none_is_deleted_while_one_cannot_be_told_of() {
    let server = Server::shared();
    block_on(async {
        for unheard in 0..2 {
            let experiment = ExperimentRef::Name(unique());
            let direct = store(server.url());
            let id = direct.experiment(&experiment).await.expect("an experiment");
            let (key, twins) = twins(&direct, &id).await;
            let query = format!("run_id={}", twins[unheard].run_id);
            let proxy = Proxy::start(server.url(), move |request| {
                let is_list = request.line.contains("artifacts/list?");
                (is_list && request.line.contains(&query)).then_some(Fault::Status(504))
            });
            let store = store(&proxy.url());
            let first = Ok(Some(twins[0].clone()));
            assert_eq!(store.find_run(&id, &key).await, first, "{unheard}");
            let seen = server.api().runs(&id);
            assert!(seen.iter().all(|(_, stage)| stage == "active"), "{seen:?}");
            assert!(proxy.counts().faults["another status"] > 0);
            proxy.heal();
            assert_eq!(store.find_run(&id, &key).await, first, "{unheard}");
            let seen = server.api().runs(&id);
            let deleted = (twins[1].run_id.clone(), "deleted".to_owned());
            assert!(seen.contains(&deleted), "{seen:?}");
        }
    });
}

/// A rank that searches for rank 0's run neither deletes duplicates nor chooses among equal ones. Only the
/// process that created the run does.
#[test]
fn who_has_not_created_a_run_leaves_the_choice_of_two_to_who_has() {
    let server = Server::shared();
    block_on(async {
        let store = store(server.url());
        let experiment = ExperimentRef::Name(unique());
        let id = store.experiment(&experiment).await.expect("an experiment");
        let nothing = store.find_run_of_another(&id, &unique()).await;
        assert_eq!(nothing, Ok(None));

        let (key, [first, second]) = twins(&store, &id).await;
        let found = store.find_run_of_another(&id, &key).await;
        assert_eq!(found, Ok(None), "either may be the one");
        log(&store, &second, Logged::Metric).await;
        let found = store.find_run_of_another(&id, &key).await;
        assert_eq!(found, Ok(Some(second.clone())));
        let all = server.api().runs(&id);
        assert!(all.iter().all(|(_, stage)| stage == "active"), "{all:?}");

        let (key, [first_of_others, _]) = twins(&store, &id).await;
        let chosen = store.find_run(&id, &key).await;
        assert_eq!(chosen, Ok(Some(first_of_others)));
        let found = store.find_run_of_another(&id, &key).await;
        assert_eq!(found, chosen, "the other one is deleted");
        let kept = server.api().run(&first.run_id);
        assert_eq!(kept.status, "RUNNING");
    });
}

#[test]
fn of_two_runs_with_one_key_none_with_something_is_deleted() {
    let server = Server::shared();
    block_on(async {
        let store = store(server.url());
        for logged in [Logged::Metric, Logged::Tag, Logged::Artifact] {
            let experiment = ExperimentRef::Name(unique());
            let id = store.experiment(&experiment).await.expect("an experiment");
            let (key, [first, second]) = twins(&store, &id).await;
            log(&store, &first, logged).await;
            log(&store, &second, Logged::Metric).await;
            let adopted = match logged {
                // A metric takes precedence over a tag, because the creation may have set the tag.
                Logged::Tag => second,
                _ => first,
            };
            assert_eq!(store.find_run(&id, &key).await, Ok(Some(adopted)));
            let seen = server.api().runs(&id);
            assert!(seen.iter().all(|(_, stage)| stage == "active"), "{seen:?}");
        }
    });
}

#[test]
fn an_experiment_created_by_many_at_once_is_one() {
    let server = Server::shared();
    let experiment = ExperimentRef::Name(unique());
    let ids: Vec<String> = thread::scope(|scope| {
        let create = || {
            block_on(async {
                store(server.url())
                    .experiment(&experiment)
                    .await
                    .expect("an experiment")
            })
        };
        let threads: Vec<_> = (0..8).map(|_| scope.spawn(create)).collect();
        threads
            .into_iter()
            .map(|thread| thread.join().expect("an id"))
            .collect()
    });
    assert!(ids.iter().all(|id| *id == ids[0]), "{ids:?}");
}

#[test]
fn a_url_behind_which_there_is_no_mlflow_blocks() {
    let server = Server::shared();
    let store = store(&format!("{}/wrong/prefix", server.url()));
    match block_on(store.experiment(&ExperimentRef::Name(unique()))) {
        Err(StoreError::Blocked {
            reason,
            everything: true,
        }) => assert!(reason.contains("prefix"), "{reason}"),
        other => panic!("{other:?}"),
    }
}

#[test]
fn a_server_that_does_not_serve_artifacts() {
    let server = Server::start_with(&["--no-serve-artifacts"]);
    block_on(async {
        let store = store(server.url());
        let experiment = ExperimentRef::Name(unique());
        let id = store.experiment(&experiment).await.expect("an experiment");
        let run = store
            .create_run(&new_run(&unique(), &id))
            .await
            .expect("a run");
        let bytes = || ArtifactContent::Bytes(Cow::Borrowed(b"direct"));
        store
            .put_artifact(&run, "a/b.txt", bytes())
            .await
            .expect("an artifact");
        let path = run.artifact_uri.trim_start_matches("file://");
        assert_eq!(
            fs::read(format!("{path}/a/b.txt")).expect("the file"),
            b"direct"
        );
        // The run was created when the server still served artifacts.
        let older = StoredRun {
            artifact_uri: "mlflow-artifacts:/1/r/artifacts".to_owned(),
            ..run.clone()
        };
        match store.put_artifact(&older, "a.txt", bytes()).await {
            // The artifact is blocked until the server is started with other options; its bytes are kept.
            Err(StoreError::Blocked {
                reason,
                everything: false,
            }) => assert!(reason.contains("serve-artifacts"), "{reason}"),
            other => panic!("{other:?}"),
        }
        let cloud = StoredRun {
            artifact_uri: "hdfs://host/1/r/artifacts".to_owned(),
            ..run
        };
        match store.put_artifact(&cloud, "a.txt", bytes()).await {
            Err(StoreError::Blocked {
                reason,
                everything: false,
            }) => assert!(reason.contains("hdfs:"), "{reason}"),
            other => panic!("{other:?}"),
        }
    });
}
