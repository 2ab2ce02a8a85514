//! What only a real server can show of [`RestStore`].

use std::borrow::Cow;
use std::fs;
use std::thread;

use mlflow::store::{
    ArtifactContent, ExperimentRef, NewRun, RestOptions, RestStore, Store, StoreError, StoredRun,
};

use crate::support::mlflow::Server;
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
        let key = unique();
        // The answer to the first was lost, and the request was sent again.
        let mut twins = [
            store.create_run(&new_run(&key, &id)).await.expect("a run"),
            store
                .create_run(&new_run(&key, &id))
                .await
                .expect("its twin"),
        ];
        twins.sort_by(|a, b| a.run_id.cmp(&b.run_id));
        for _ in 0..2 {
            assert_eq!(store.find_run(&id, &key).await, Ok(Some(twins[0].clone())));
        }
        let mut seen = server.api().runs(&id);
        seen.sort();
        let [first, second] = twins;
        assert_eq!(
            seen,
            [
                (first.run_id, "active".to_owned()),
                (second.run_id, "deleted".to_owned())
            ]
        );
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
        // A run from a time when the server did serve them.
        let older = StoredRun {
            artifact_uri: "mlflow-artifacts:/1/r/artifacts".to_owned(),
            ..run.clone()
        };
        match store.put_artifact(&older, "a.txt", bytes()).await {
            Err(StoreError::Rejected { reason }) => {
                assert!(reason.contains("serve-artifacts"), "{reason}");
            }
            other => panic!("{other:?}"),
        }
        let cloud = StoredRun {
            artifact_uri: "s3://bucket/1/r/artifacts".to_owned(),
            ..run
        };
        match store.put_artifact(&cloud, "a.txt", bytes()).await {
            Err(StoreError::Rejected { reason }) => assert!(reason.contains("s3:"), "{reason}"),
            other => panic!("{other:?}"),
        }
    });
}
