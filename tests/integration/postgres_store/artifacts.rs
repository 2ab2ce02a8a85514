//! Artifacts that a database without a server has no way to.

use mlflow::store::{ArtifactContent, Batch, ExperimentRef, Metric, NewRun, Store, StoreError};

use super::Database;
use crate::support::{block_on, unique};

#[test]
fn artifacts_that_only_a_server_reaches_wait_and_values_do_not() {
    let Some(database) = Database::create() else {
        return;
    };
    block_on(async {
        let store = database.store();
        let experiment = ExperimentRef::Name("remote".to_owned());
        let experiment_id = store.experiment(&experiment).await.expect("an experiment");
        for location in ["mlflow-artifacts:/1", "s3://bucket/1"] {
            database.ask(&format!(
                "update experiments set artifact_location = '{location}' where name = 'remote'"
            ));
            let key = unique();
            let new = NewRun {
                key: &key,
                experiment_id: &experiment_id,
                name: "run",
                user_id: "",
                start_time_ms: 1,
                tags: &[],
            };
            let run = store.create_run(&new).await.expect("a run");
            let content = ArtifactContent::Bytes(b"text".as_slice().into());
            match store.put_artifact(&run, "a.txt", content).await {
                Err(StoreError::Blocked {
                    reason,
                    everything: false,
                }) => {
                    assert!(reason.contains(location), "{reason}");
                    assert!(reason.contains("Log through a tracking server"), "{reason}");
                }
                other => panic!("{other:?}"),
            }
            let metrics = [Metric {
                key: "loss".into(),
                value: 1.0,
                timestamp_ms: 1,
                step: 1,
            }];
            let batch = Batch {
                metrics: &metrics,
                ..Batch::default()
            };
            store.log_batch(&run, &batch).await.expect("values");
        }
    });
}
