//! Checks of logged models as outputs of runs.

use std::borrow::Cow;
use std::collections::BTreeMap;
use std::fs;

use mlflow::store::{
    ArtifactContent, Batch, DatasetId, ModelMetric, ModelStatus, NewModel, Registration,
    StoredModel, StoredModelData,
};

use super::{
    Expected, Subject, expect_point, is_blocked, is_missing, is_rejected, metric, param, start, tag,
};
use crate::support::seen::{SeenModel, SeenModelMetric};
use crate::support::unique;

pub(super) fn seen(model: &StoredModelData) -> SeenModel {
    let mut tags = model.tags.clone();
    tags.retain(|key, _| !key.starts_with("mlflow."));
    let mut metrics: Vec<_> = model.metrics.iter().map(seen_metric).collect();
    metrics.sort();
    SeenModel {
        metrics,
        name: model.name.clone(),
        status: model.status.as_str().to_owned(),
        model_type: model.model_type.clone().unwrap_or_default(),
        params: model.params.clone(),
        tags,
        step: model.step.unwrap_or(0),
        files: { model.files.iter() }
            .map(|(path, bytes)| (path.clone(), bytes.len() as u64))
            .collect(),
    }
}

fn seen_metric(metric: &ModelMetric) -> SeenModelMetric {
    let ModelMetric { point, dataset } = metric;
    let dataset = dataset.as_ref();
    SeenModelMetric {
        dataset: dataset.map(|DatasetId { name, digest }| (name.clone(), digest.clone())),
        ..SeenModelMetric::new(&point.key, point.timestamp_ms, point.step, point.value)
    }
}

fn map(pairs: &[(&str, &str)]) -> BTreeMap<String, String> {
    let pairs = pairs.iter();
    pairs
        .map(|(key, value)| ((*key).to_owned(), (*value).to_owned()))
        .collect()
}

fn bytes(content: &[u8]) -> ArtifactContent<'_> {
    ArtifactContent::Bytes(Cow::Borrowed(content))
}

pub(super) async fn logged_models(subject: &dyn Subject, expected: &mut Expected) {
    let (run, mut run_seen) = start(subject, "logger of models").await;
    let store = subject.store();
    let key = unique();
    let new = NewModel {
        key: &key,
        name: "näme 名前",
        model_type: Some("kind/of.it"),
    };
    let created = store.create_model(&run, &new).await;
    if !subject.has_logged_models() {
        return is_blocked(created, "MLflow 3 adds to");
    }
    let model = created.expect("a model");
    assert_eq!(
        store.create_model(&run, &new).await,
        Ok(model.clone()),
        "found again"
    );
    assert_eq!(store.model_status(&model).await, Ok(ModelStatus::Pending));
    assert_eq!(store.list_model_files(&model).await, Ok(BTreeMap::new()));

    let home = tempfile::tempdir().expect("a directory");
    let file = home.path().join("file");
    fs::write(&file, vec![7; 70_000]).expect("a file");
    for (path, content) in [
        ("weights.bin", bytes(b"replaced")),
        ("weights.bin", ArtifactContent::File(&file)),
        ("empty", bytes(b"")),
        ("a folder/of/ü.txt", bytes(b"12345")),
    ] {
        let put = store.put_model_file(&model, path, content).await;
        put.expect("a file of the model");
    }
    is_rejected(
        store.put_model_file(&model, "../out", bytes(b"")).await,
        "../out",
    );
    let sizes = [
        ("a folder/of/ü.txt", 5),
        ("empty", 0),
        ("weights.bin", 70_000),
    ];
    let listed = store.list_model_files(&model).await.expect("files");
    let expected_sizes = sizes.map(|(path, size)| (path.to_owned(), Some(size)));
    assert_eq!(listed, BTreeMap::from(expected_sizes));

    // A repeat changes no param and no step, and replaces a tag.
    let many: Vec<_> = (0..150).map(|i| param(&format!("p{i}"), "1")).collect();
    for (params, tags, step) in [
        (
            vec![param("ü", "1"), param("b", "")],
            vec![tag("t", "1"), tag("u", "x")],
            5,
        ),
        (
            vec![param("ü", "2"), param("b", ""), param("c", "3")],
            vec![tag("t", "2")],
            6,
        ),
        (many.clone(), vec![], 5),
        (vec![], vec![], 5),
    ] {
        let described = store.describe_model(&model, &params, &tags).await;
        described.expect("params and tags");
        store
            .log_output(&run, &model.model_id, step)
            .await
            .expect("an output");
    }
    // One point was logged to the run before, and each request is repeated.
    let on = |name: &str| {
        let (name, digest) = (name.to_owned(), "d1".to_owned());
        Some(DatasetId { name, digest })
    };
    let metrics: Vec<_> = [
        (metric("auc/ü", -3, 1_700_000_000_000, 0.5), None),
        (metric("auc/ü", -3, 1_700_000_000_001, 0.5), on("dätä")),
        (metric("nan", 5, 1_700_000_000_000, f64::NAN), on("dätä")),
        (metric("inf", 5, 1_700_000_000_000, f64::NEG_INFINITY), None),
    ]
    .map(|(point, dataset)| ModelMetric { point, dataset })
    .into();
    let first = [metrics[0].point.clone()];
    let batch = Batch {
        metrics: &first,
        ..Batch::default()
    };
    store.log_batch(&run, &batch).await.expect("a point");
    for part in [&metrics[..2], &metrics, &metrics] {
        let logged = store.log_model_metrics(&run, &model, part).await;
        logged.expect("metrics of the model");
    }
    for metric in &metrics {
        expect_point(&mut run_seen, &metric.point);
    }
    let bad = [ModelMetric {
        point: metric("a=b", 1, 1, 1.0),
        dataset: None,
    }];
    is_rejected(store.log_model_metrics(&run, &model, &bad).await, "a=b");
    let mut metrics: Vec<_> = metrics.iter().map(seen_metric).collect();
    metrics.sort();
    for status in [ModelStatus::Ready, ModelStatus::Ready] {
        store
            .set_model_status(&model, status)
            .await
            .expect("a status");
        assert_eq!(store.model_status(&model).await, Ok(status));
    }
    let mut params = map(&[("ü", "1"), ("b", ""), ("c", "3")]);
    params.extend(many.into_iter().map(|param| (param.key, param.value)));
    let complete = SeenModel {
        name: "näme 名前".to_owned(),
        status: "LOGGED_MODEL_READY".to_owned(),
        model_type: "kind/of.it".to_owned(),
        metrics,
        params,
        tags: map(&[("t", "2"), ("u", "x")]),
        step: 5,
        files: sizes.map(|(path, size)| (path.to_owned(), size)).into(),
    };

    let registered = format!("conformance {}", unique());
    let aliases = ["champion".to_owned()];
    let tags = [tag("stage", "dev")];
    let registration = Registration {
        key: &key,
        name: &registered,
        aliases: &aliases,
        tags: &tags,
    };
    for _ in 0..2 {
        let done = store.register_model(&run, &model, &registration).await;
        done.expect("a version");
    }
    assert_eq!(subject.count_versions(&registered), 1);
    let bad = Registration {
        name: "a/b",
        ..registration
    };
    is_rejected(store.register_model(&run, &model, &bad).await, "a/b");

    let other_key = unique();
    let same_name = NewModel {
        key: &other_key,
        model_type: None,
        ..new
    };
    let failed = store.create_model(&run, &same_name).await.expect("a model");
    assert_ne!(failed, model);
    let status = ModelStatus::UploadFailed;
    store
        .set_model_status(&failed, status)
        .await
        .expect("a status");
    assert_eq!(store.model_status(&failed).await, Ok(status));
    store
        .log_output(&run, &failed.model_id, 0)
        .await
        .expect("an output");
    for _ in 0..2 {
        let logged = store.log_model_input(&run, &failed.model_id).await;
        logged.expect("an input");
    }
    run_seen.models = vec![
        complete,
        SeenModel {
            name: "näme 名前".to_owned(),
            status: status.as_str().to_owned(),
            ..SeenModel::default()
        },
    ];
    expected.push((run.run_id.clone(), run_seen));

    let bad_key = unique();
    for name in ["", "a/b", "a:b", "a.b", "a%b", "a\"b", "a'b"] {
        let bad = NewModel {
            key: &bad_key,
            name,
            model_type: None,
        };
        is_rejected(store.create_model(&run, &bad).await.map(drop), "name");
    }
    let nothing = StoredModel {
        model_id: format!("m-{}", unique()),
        ..model
    };
    is_missing(store.model_status(&nothing).await, &nothing.model_id);
    is_missing(
        store.set_model_status(&nothing, status).await,
        &nothing.model_id,
    );
    let params = [param("a", "1")];
    is_missing(
        store.describe_model(&nothing, &params, &[]).await,
        &nothing.model_id,
    );
}
