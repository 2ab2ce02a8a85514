//! Checks of experiments, runs and artifacts.

use std::borrow::Cow;
use std::collections::BTreeMap;
use std::fs;
use std::path::Path;

use mlflow::RunStatus;
use mlflow::store::{ArtifactContent, Batch, ExperimentRef, NewRun, RUN_KEY_TAG, StoredRun};

use super::inputs::dataset;
use super::{
    Expected, Subject, expect_point, is_blocked, is_missing, is_rejected, log_metrics, metric,
    start,
};
use crate::support::unique;

pub(super) async fn creating_finding_ending(subject: &dyn Subject, expected: &mut Expected) {
    let store = subject.store();
    let (run, mut seen) = start(subject, "naïve ünïcode 名前").await;
    let key = seen.tags[RUN_KEY_TAG].clone();
    assert_eq!(
        store.find_run(&run.experiment_id, &key).await,
        Ok(Some(run.clone()))
    );
    assert_eq!(
        store.find_run(&run.experiment_id, &unique()).await,
        Ok(None)
    );
    assert_eq!(store.get_run(&run.run_id).await, Ok(run.clone()));
    let by_id = ExperimentRef::Id(run.experiment_id.clone());
    assert_eq!(
        store.experiment(&by_id).await.as_ref(),
        Ok(&run.experiment_id)
    );

    store
        .update_run(&run, RunStatus::Failed, Some(1_700_000_009_000))
        .await
        .expect("an end");
    // A resumed run has no end time any more.
    store
        .update_run(&run, RunStatus::Running, None)
        .await
        .expect("a resumption");
    let (ended, mut ended_seen) = start(subject, "ended").await;
    for status in [RunStatus::Finished, RunStatus::Failed, RunStatus::Killed] {
        store
            .update_run(&ended, status, Some(1_700_000_009_999))
            .await
            .expect("an end");
    }
    seen.end_time_ms = 0;
    ended_seen.status = "KILLED".to_owned();
    ended_seen.end_time_ms = 1_700_000_009_999;
    // A run that has ended still takes values.
    log_metrics(subject, &ended, &[metric("late", 0, 5, 1.0)]).await;
    expect_point(&mut ended_seen, &metric("late", 0, 5, 1.0));
    expected.push((run.run_id, seen));
    expected.push((ended.run_id, ended_seen));
}

pub(super) async fn artifacts(subject: &dyn Subject, expected: &mut Expected) {
    let (run, mut seen) = start(subject, "artifacts").await;
    let store = subject.store();
    let home = tempfile::tempdir().expect("a directory");
    let write = |name: &str, bytes: &[u8]| {
        let path = home.path().join(name);
        fs::write(&path, bytes).expect("a file");
        path
    };
    let large: Vec<u8> = (0..3_000_000_u32)
        .map(|i| (i.wrapping_mul(2_654_435_761) >> 24) as u8)
        .collect();
    let (small_file, large_file, empty_file) = (
        write("s", b"from a file"),
        write("l", &large),
        write("e", b""),
    );
    let mut put: BTreeMap<&str, Vec<u8>> = BTreeMap::new();
    for (path, bytes) in [
        ("a.txt", &b"first"[..]),
        ("a.txt", b"second"),
        ("dir/sub dir/ü+名:前.txt", b"nested"),
        ("empty", b""),
        ("memory.bin", &large),
    ] {
        store
            .put_artifact(&run, path, ArtifactContent::Bytes(Cow::Borrowed(bytes)))
            .await
            .expect(path);
        put.insert(path, bytes.to_owned());
    }
    for (path, file, bytes) in [
        ("files/small", &small_file, &b"from a file"[..]),
        ("files/large", &large_file, &large),
        ("files/empty", &empty_file, b""),
    ] {
        store
            .put_artifact(&run, path, ArtifactContent::File(file))
            .await
            .expect(path);
        put.insert(path, bytes.to_owned());
    }
    for path in [
        "../out",
        "dir/../../out",
        "/tmp/out",
        "",
        "a//b",
        "dir/",
        "..\\out",
        ".",
    ] {
        is_rejected(
            store
                .put_artifact(&run, path, ArtifactContent::Bytes(Cow::Borrowed(b"x")))
                .await,
            "path",
        );
    }
    let missing = Path::new("/nonexistent/file");
    is_rejected(
        store
            .put_artifact(&run, "missing", ArtifactContent::File(missing))
            .await,
        "/nonexistent/file",
    );
    is_rejected(
        store
            .put_artifact(&run, "directory", ArtifactContent::File(home.path()))
            .await,
        "file",
    );
    listed_and_deleted(store, &run, put.clone()).await;
    for path in ["dir/sub dir/ü+名:前.txt", "files/large"] {
        put.remove(path);
    }
    seen.artifacts = put
        .into_iter()
        .map(|(path, bytes)| (path.to_owned(), bytes))
        .collect();
    expected.push((run.run_id, seen));
}

/// Lists the artifacts of a run, and deletes a file and a folder.
async fn listed_and_deleted(
    store: &dyn mlflow::store::Store,
    run: &StoredRun,
    put: BTreeMap<&str, Vec<u8>>,
) {
    let list = async |folder: &str| -> Vec<(String, bool, Option<u64>)> {
        let listed = store.list_folder(run, folder).await.expect("entries");
        { listed.into_iter() }
            .map(|entry| (entry.path, entry.is_dir, entry.file_size))
            .collect()
    };
    let file = |path: &str| (path.to_owned(), false, Some(put[path].len() as u64));
    let folder = |path: &str| (path.to_owned(), true, None);
    let root = [
        file("a.txt"),
        folder("dir"),
        file("empty"),
        folder("files"),
        file("memory.bin"),
    ];
    assert_eq!(list("").await, root);
    assert_eq!(list("dir").await, [folder("dir/sub dir")]);
    let files = [
        file("files/empty"),
        file("files/large"),
        file("files/small"),
    ];
    assert_eq!(list("files").await, files);
    assert_eq!(list("nothing").await, []);
    // A repeat changes nothing.
    for path in [
        "files/large",
        "files/large",
        "nothing",
        "dir/sub dir/ü+名:前.txt",
        "dir",
        "dir",
    ] {
        store.delete_artifact(run, path).await.expect(path);
    }
    assert_eq!(list("files").await, [files[0].clone(), files[2].clone()]);
    assert_eq!(list("dir").await, []);
    for path in ["../out", "/tmp/out", "", "files/"] {
        is_rejected(store.delete_artifact(run, path).await, "path");
    }
}

pub(super) async fn what_is_not_there_blocks(subject: &dyn Subject) {
    let store = subject.store();
    let (run, _) = start(subject, "beside").await;
    let nobody = StoredRun {
        run_id: unique(),
        ..run
    };
    is_missing(store.get_run(&nobody.run_id).await, &nobody.run_id);
    is_missing(
        store
            .update_run(&nobody, RunStatus::Finished, Some(1))
            .await,
        &nobody.run_id,
    );
    let metrics = [metric("m", 0, 0, 1.0)];
    is_missing(
        store
            .log_batch(
                &nobody,
                &Batch {
                    metrics: &metrics,
                    ..Batch::default()
                },
            )
            .await,
        &nobody.run_id,
    );
    let input = dataset("beside", "d", "a");
    is_missing(store.log_inputs(&nobody, &[input]).await, &nobody.run_id);
    is_blocked(
        store
            .experiment(&ExperimentRef::Id("123456789".to_owned()))
            .await,
        "123456789",
    );
    is_blocked(
        store
            .experiment(&ExperimentRef::Id("no number".to_owned()))
            .await,
        "",
    );
    is_blocked(
        store.experiment(&ExperimentRef::Name(String::new())).await,
        "empty",
    );
}

pub(super) async fn a_deleted_experiment_blocks(subject: &dyn Subject) {
    let store = subject.store();
    let name = format!("deleted {}", unique());
    let id = store
        .experiment(&ExperimentRef::Name(name.clone()))
        .await
        .expect("an experiment");
    let key = unique();
    let new = NewRun {
        key: &key,
        experiment_id: &id,
        name: "r",
        user_id: "",
        start_time_ms: 1,
        tags: &[],
    };
    let run = store.create_run(&new).await.expect("a run");
    subject.delete_experiment(&id);
    let key = unique();
    is_blocked(store.create_run(&NewRun { key: &key, ..new }).await, "");
    is_blocked(
        store.experiment(&ExperimentRef::Name(name.clone())).await,
        &name,
    );
    is_blocked(store.experiment(&ExperimentRef::Id(id)).await, "deleted");
    is_blocked(store.get_run(&run.run_id).await, "deleted");
    let input = dataset("deleted", "d", "a");
    is_blocked(store.log_inputs(&run, &[input]).await, "deleted");
    let metrics = [metric("m", 0, 0, 1.0)];
    is_blocked(
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
}
