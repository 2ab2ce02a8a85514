//! Checks of metrics, params and tags.

use std::collections::HashMap;

use mlflow::store::{Batch, Metric, Param, Tag};

use super::{Expected, Subject, expect_point, is_rejected, log_metrics, metric, param, start, tag};
use crate::support::seen::Latest;

pub(super) async fn repeating_is_harmless(subject: &dyn Subject, expected: &mut Expected) {
    let (run, mut seen) = start(subject, "repeated").await;
    let metrics = [
        metric("m", 0, 10, 0.5),
        metric("m", 0, 10, 0.25),
        metric("nan", 0, 10, f64::NAN),
        metric("m", 1, 11, 0.5),
    ];
    let params = [param("p", "1")];
    let tags = [tag("t", "v")];
    let batch = Batch {
        metrics: &metrics,
        params: &params,
        tags: &tags,
    };
    for _ in 0..3 {
        subject
            .store()
            .log_batch(&run, &batch)
            .await
            .expect("the same again");
    }
    // New points in a batch are kept, even if others in the batch are repeated.
    let more = [
        metric("nan", 0, 10, f64::NAN),
        metric("nan", 1, 10, f64::NAN),
        metric("m", 1, 11, 0.5),
    ];
    log_metrics(subject, &run, &more).await;
    for one in metrics.iter().chain(&more) {
        expect_point(&mut seen, one);
    }
    seen.params.insert("p".to_owned(), "1".to_owned());
    seen.tags.insert("t".to_owned(), "v".to_owned());
    subject
        .store()
        .log_batch(&run, &Batch::default())
        .await
        .expect("an empty batch");
    expected.push((run.run_id, seen));
}

pub(super) async fn last_steps(subject: &dyn Subject, expected: &mut Expected) {
    let (run, mut seen) = start(subject, "last steps").await;
    let none = subject.store().last_steps(&run).await;
    assert_eq!(none, Ok(HashMap::new()));
    let metrics = [
        metric("a", 7, 10, 0.5),
        metric("a", 3, 20, 0.25),
        metric("b", -2, 10, f64::NAN),
        metric("c", 0, 10, 1.0),
    ];
    log_metrics(subject, &run, &metrics).await;
    for one in &metrics {
        expect_point(&mut seen, one);
    }
    let steps = [("a", 7), ("b", -2), ("c", 0)];
    let steps = steps.map(|(key, step)| (key.to_owned(), step));
    let last = subject.store().last_steps(&run).await;
    assert_eq!(last, Ok(HashMap::from(steps)));
    expected.push((run.run_id, seen));
}

pub(super) async fn values_at_the_edges(subject: &dyn Subject, expected: &mut Expected) {
    let (run, mut seen) = start(subject, "edges").await;
    let values = [
        f64::NAN,
        f64::INFINITY,
        f64::NEG_INFINITY,
        0.0,
        f64::MIN_POSITIVE,
        5e-324,
        -1.5,
        0.1 + 0.2,
        1e300,
        1e-300,
        123_456_789.123_456_78,
    ];
    let steps = [i64::MIN, -1, 0, 1, i64::MAX];
    let mut metrics = Vec::new();
    for (index, value) in (1..).zip(values) {
        metrics.push(metric("value", index, 1, value));
    }
    for step in steps {
        metrics.push(metric("step", step, 2, 1.0));
    }
    metrics.push(metric("time", 0, 0, 1.0));
    metrics.push(metric("time", 0, 253_402_300_799_000, 1.0));
    for key in [
        "日本/キー",
        "with space",
        "a:b",
        "a.b-c_d/e",
        &"ü".repeat(250),
    ] {
        metrics.push(metric(key, 3, 3, 3.0));
    }
    log_metrics(subject, &run, &metrics).await;
    for one in &metrics {
        expect_point(&mut seen, one);
    }
    expected.push((run.run_id, seen));
}

pub(super) async fn the_latest_value(subject: &dyn Subject, expected: &mut Expected) {
    let (run, mut seen) = start(subject, "latest").await;
    // The latest value is the greatest (step, timestamp, value), not the last one logged, within a batch and
    // across batches.
    let first = [
        metric("a", 5, 1, 1.0),
        metric("a", 3, 9, 2.0),
        metric("b", 1, 1, 5.0),
        metric("b", 1, 1, 4.0),
    ];
    let second = [
        metric("a", 4, 9, 3.0),
        metric("b", 1, 2, -1.0),
        metric("c", 1, 1, f64::NAN),
    ];
    let third = [
        metric("c", 1, 1, -1.0),
        metric("c", 0, 9, 7.0),
        metric("a", 5, 1, 0.5),
    ];
    for batch in [&first[..], &second, &third] {
        log_metrics(subject, &run, batch).await;
        for one in batch {
            expect_point(&mut seen, one);
        }
    }
    assert_eq!(seen.latest["a"], Latest(1.0));
    assert_eq!(seen.latest["b"], Latest(-1.0));
    assert_eq!(seen.latest["c"], Latest(f64::NAN));
    expected.push((run.run_id, seen));
}

pub(super) async fn params_are_written_once(subject: &dyn Subject, expected: &mut Expected) {
    let (run, mut seen) = start(subject, "params").await;
    let store = subject.store();
    let params = [
        param("lr", "0.1"),
        param("empty", ""),
        param("日本", "\"quoted\"\n✓ \\ \u{1}"),
        param("n", "1"),
    ];
    store
        .log_batch(
            &run,
            &Batch {
                params: &params,
                ..Batch::default()
            },
        )
        .await
        .expect("params");
    let changed = [param("n", "1"), param("lr", "0.2")];
    is_rejected(
        store
            .log_batch(
                &run,
                &Batch {
                    params: &changed,
                    ..Batch::default()
                },
            )
            .await,
        "lr",
    );
    for one in params {
        seen.params.insert(one.key, one.value);
    }
    expected.push((run.run_id, seen));
}

pub(super) async fn tags_change(subject: &dyn Subject, expected: &mut Expected) {
    let (run, mut seen) = start(subject, "tags").await;
    let store = subject.store();
    for tags in [
        vec![
            tag("stage", "1"),
            tag("stage", "2"),
            tag("mlflow.note.content", "# é\n\n- ✓"),
        ],
        vec![
            tag("stage", "3"),
            tag("mlflow.runName", "renamed"),
            tag("given", "anew"),
        ],
    ] {
        store
            .log_batch(
                &run,
                &Batch {
                    tags: &tags,
                    ..Batch::default()
                },
            )
            .await
            .expect("tags");
        for one in tags {
            seen.tags.insert(one.key, one.value);
        }
    }
    seen.name = "renamed".to_owned();
    let stage = store.tag(&run, "stage").await.expect("it is there");
    assert_eq!(stage.as_deref(), Some("3"));
    let none = store.tag(&run, "none").await.expect("the run is there");
    assert_eq!(none, None);
    expected.push((run.run_id, seen));
}

pub(super) async fn bad_names_are_rejected(subject: &dyn Subject, expected: &mut Expected) {
    let (run, seen) = start(subject, "bad names").await;
    let store = subject.store();
    for key in [
        "",
        "a;b",
        "a=b",
        "/a",
        "a//b",
        "../a",
        ".",
        "a/",
        &"x".repeat(251),
    ] {
        let metrics = [metric("good", 0, 0, 1.0), metric(key, 0, 0, 1.0)];
        is_rejected(
            store
                .log_batch(
                    &run,
                    &Batch {
                        metrics: &metrics,
                        ..Batch::default()
                    },
                )
                .await,
            "",
        );
        is_rejected(
            store
                .log_batch(
                    &run,
                    &Batch {
                        params: &[param(key, "v")],
                        ..Batch::default()
                    },
                )
                .await,
            "",
        );
        is_rejected(
            store
                .log_batch(
                    &run,
                    &Batch {
                        tags: &[tag(key, "v")],
                        ..Batch::default()
                    },
                )
                .await,
            "",
        );
    }
    let early = [metric("m", 0, -1, 1.0)];
    is_rejected(
        store
            .log_batch(
                &run,
                &Batch {
                    metrics: &early,
                    ..Batch::default()
                },
            )
            .await,
        "",
    );
    expected.push((run.run_id, seen));
}

pub(super) async fn a_full_batch(subject: &dyn Subject, expected: &mut Expected) {
    let (run, mut seen) = start(subject, "full").await;
    let limits = subject.store().limits();
    assert!(
        limits.metrics >= 1000
            && limits.params >= 100
            && limits.tags >= 100
            && limits.total >= 1000
    );
    let metrics: Vec<Metric> = (0_i64..800)
        .zip(["a", "b", "c"].into_iter().cycle())
        .map(|(step, key)| metric(key, step, 7, step as f64))
        .collect();
    let params: Vec<Param> = (0..100)
        .map(|i| param(&format!("p{i}"), &"日".repeat(6000)))
        .collect();
    let tags: Vec<Tag> = (0..100)
        .map(|i| tag(&format!("t{i}"), &i.to_string()))
        .collect();
    let batch = Batch {
        metrics: &metrics,
        params: &params,
        tags: &tags,
    };
    subject
        .store()
        .log_batch(&run, &batch)
        .await
        .expect("a full batch");
    let thousand: Vec<Metric> = (0..1000).map(|step| metric("d", step, 7, 0.5)).collect();
    log_metrics(subject, &run, &thousand).await;
    for one in metrics.iter().chain(&thousand) {
        expect_point(&mut seen, one);
    }
    seen.params
        .extend(params.into_iter().map(|one| (one.key, one.value)));
    seen.tags
        .extend(tags.into_iter().map(|one| (one.key, one.value)));
    expected.push((run.run_id, seen));
}
