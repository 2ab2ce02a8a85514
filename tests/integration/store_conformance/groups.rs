//! Checks of groups of runs, for the stores that take them.

use mlflow::RunStatus;
use mlflow::store::{Batch, ExperimentRef, GroupedRun, NewRun, RUN_KEY_TAG};

use super::{Expected, Subject, expect_point, is_rejected, metric, param, start, tag};
use crate::support::seen::Seen;
use crate::support::unique;

pub(super) async fn runs_together(subject: &dyn Subject, expected: &mut Expected) {
    let store = subject.store();
    if store.max_group_entries() == 0 {
        return;
    }
    // A run that is there already, with a value.
    let (known, mut known_seen) = start(subject, "known").await;
    let known_key = known_seen.tags[RUN_KEY_TAG].clone();
    let experiment = ExperimentRef::Id(known.experiment_id.clone());
    let experiment_id = store.experiment(&experiment).await.expect("it exists");
    let keys = [known_key, unique(), unique()];
    let metrics = [
        metric("loss", 2, 20, 0.5),
        metric("acc", 0, 10, f64::NAN),
        metric("loss", 1, 10, 1.0),
        metric("loss", 2, 20, 0.5),
    ];
    let (params, tags) = (
        [param("lr", "0.1")],
        [tag("late", "tag"), tag("given", "anew")],
    );
    let given = [tag("given", "at the start")];
    let new = |key| NewRun {
        key,
        experiment_id: &experiment_id,
        name: "grouped",
        user_id: "ada",
        start_time_ms: 1_700_000_000_001,
        tags: &given,
    };
    let batch = Batch {
        metrics: &metrics,
        params: &params,
        tags: &tags,
    };
    let end = Some((RunStatus::Failed, 1_700_000_009_000));
    let runs = [
        GroupedRun {
            new: new(&keys[0]),
            batch,
            end,
        },
        GroupedRun {
            new: new(&keys[1]),
            batch,
            end: None,
        },
        GroupedRun {
            new: new(&keys[2]),
            batch: Batch::default(),
            end,
        },
    ];
    // One run of a group that the store refuses keeps out all of them.
    let taken = [param("lr", "0.2")];
    let other = unique();
    let conflict = [
        GroupedRun {
            new: new(&other),
            batch,
            end,
        },
        GroupedRun {
            new: new(&keys[0]),
            batch: Batch {
                params: &taken,
                ..Batch::default()
            },
            end: None,
        },
    ];
    let stored = store.log_runs(&runs).await.expect("a group");
    let refused = store.log_runs(&conflict).await.map(drop);
    is_rejected(refused, "lr");
    assert_eq!(store.find_run(&experiment_id, &other).await, Ok(None));
    // The same group again changes nothing.
    assert_eq!(store.log_runs(&runs).await.as_ref(), Ok(&stored));
    assert_eq!(stored[0], known);

    let fresh = |key: &str| {
        let tags = [
            ("given", "at the start"),
            ("mlflow.runName", "grouped"),
            (RUN_KEY_TAG, key),
        ];
        Seen {
            name: "grouped".to_owned(),
            tags: tags
                .map(|(key, value)| (key.to_owned(), value.to_owned()))
                .into(),
            ..known_seen.clone()
        }
    };
    let (mut open, mut empty) = (fresh(&keys[1]), fresh(&keys[2]));
    for seen in [&mut known_seen, &mut open] {
        for metric in &metrics {
            expect_point(seen, metric);
        }
        seen.params.insert("lr".to_owned(), "0.1".to_owned());
        seen.tags.insert("late".to_owned(), "tag".to_owned());
        seen.tags.insert("given".to_owned(), "anew".to_owned());
    }
    for seen in [&mut known_seen, &mut empty] {
        seen.status = "FAILED".to_owned();
        seen.end_time_ms = 1_700_000_009_000;
    }
    for (run, seen) in stored.into_iter().zip([known_seen, open, empty]) {
        expected.push((run.run_id, seen));
    }
}
