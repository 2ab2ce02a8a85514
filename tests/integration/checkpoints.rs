//! Checkpoints: the newest ones are kept, whole ones are continued from, and nothing else is touched.

use std::collections::BTreeSet;
use std::fs;
use std::path::{Path, PathBuf};
use std::sync::mpsc;
use std::time::Duration;

use mlflow::testing::fake;
use mlflow::{RunStatus, start_run};

use crate::support::fault::Fault;
use crate::support::mlflow::{Server, python};
use crate::support::program::Folder;
use crate::support::proxy::Proxy;
use crate::support::unique;

const SCRIPTED: &str = env!("CARGO_BIN_EXE_scripted");

const MANIFEST: &str = "mlflow_checkpoint.json";

/// Writes a folder of two files, which is a checkpoint.
fn weights(folder: &Path, name: &str, content: &str) -> PathBuf {
    let path = folder.join(name);
    fs::create_dir_all(path.join("inner")).unwrap();
    fs::write(path.join("weights.bin"), content).unwrap();
    fs::write(path.join("inner/state.json"), content).unwrap();
    path
}

/// Returns the entries of the folder `checkpoints` of the only run of an experiment, as MLflow's Python client lists
/// them, after it has read the manifest of each folder. The manifests say that the checkpoints are complete, except
/// that of the one that is `being_deleted`.
fn entries_in_python(uri: &str, experiment: &str, being_deleted: Option<&str>) -> BTreeSet<String> {
    const SCRIPT: &str = r#"
import json, sys, mlflow
mlflow.set_tracking_uri(sys.argv[1])
client = mlflow.MlflowClient()
run, = client.search_runs([client.get_experiment_by_name(sys.argv[2]).experiment_id])
entries = client.list_artifacts(run.info.run_id, "checkpoints")
def has_files(folder):
    inside = client.list_artifacts(run.info.run_id, folder)
    return any(has_files(entry.path) if entry.is_dir else True for entry in inside)
# On a server, the folder of a deleted checkpoint may stay, without files.
entries = [entry for entry in entries if not entry.is_dir or has_files(entry.path)]
for entry in entries:
    if entry.is_dir:
        uri = f"{run.info.artifact_uri}/{entry.path}"
        manifest = mlflow.artifacts.load_dict(f"{uri}/mlflow_checkpoint.json")
        assert manifest["complete"] is (entry.path != f"checkpoints/{sys.argv[3]}"), manifest
        assert manifest["files"] == {"inner/state.json": 7, "weights.bin": 7}, manifest
        assert mlflow.artifacts.load_text(f"{uri}/weights.bin") == "weights"
print(json.dumps([entry.path for entry in entries]))
"#;
    let printed = python(
        SCRIPT,
        &[uri, experiment, being_deleted.unwrap_or_default()],
    );
    let entries: Vec<String> = serde_json::from_str(&printed).expect("JSON");
    let name = |path: String| path.strip_prefix("checkpoints/").unwrap().to_owned();
    entries.into_iter().map(name).collect()
}

fn names<const N: usize>(names: [&str; N]) -> BTreeSet<String> {
    names.map(str::to_owned).into()
}

/// Returns the paths of the artifacts of a run in a fake.
fn paths(fake: &mlflow::testing::Fake, run: usize) -> Vec<String> {
    fake.runs()[run].artifacts.keys().cloned().collect()
}

#[test]
fn the_newest_checkpoints_are_kept_in_a_file_and_on_a_server() {
    for server in [None, Some(Server::shared())] {
        let folder = Folder::new();
        let experiment = unique();
        let directory = weights(folder.path(), "weights", "weights");
        let file = directory.join("weights.bin");
        let (directory, file) = (directory.display(), file.display());
        let uri = server.map_or_else(
            || format!("sqlite:///{}", folder.path().join("mlflow.db").display()),
            |server| server.url().to_owned(),
        );
        let environment = [
            ("MLFLOW_TRACKING_URI", uri.as_str()),
            ("MLFLOW_EXPERIMENT_NAME", experiment.as_str()),
        ];
        let mut steps = vec!["start one".to_owned(), "keep 2".to_owned()];
        for step in [-5, 3, 9, 10] {
            steps.push(format!("checkpoint {step} {directory}"));
            steps.push(format!("checkpoint {step} {file}"));
            steps.push("flush 60".to_owned());
        }
        steps.push("end one".to_owned());
        let steps: Vec<&str> = steps.iter().map(String::as_str).collect();
        let ended = folder.run(SCRIPTED, &steps, &environment);
        assert!(ended.success, "{}", ended.stderr);
        assert_eq!(ended.warnings(), [""; 0], "{}", ended.stderr);
        assert_eq!(folder.journals_left(), 0, "{}", ended.stderr);
        assert_eq!(
            entries_in_python(&uri, &experiment, None),
            names(["step-9", "step-9.bin", "step-10", "step-10.bin"]),
            "{uri}"
        );
    }
}

/// A process that is killed while it deletes a checkpoint leaves that to the one that continues the run.
#[test]
fn a_continued_run_goes_on_deleting() {
    let server = Server::shared();
    let (sender, deletion) = mpsc::channel();
    let proxy = Proxy::start(server.url(), move |request| {
        request.line.starts_with("DELETE").then(|| {
            let _ = sender.send(());
            Fault::Hang
        })
    });
    let folder = Folder::new();
    let experiment = unique();
    let directory = weights(folder.path(), "weights", "weights");
    let environment = [
        ("MLFLOW_TRACKING_URI", proxy.url()),
        ("MLFLOW_EXPERIMENT_NAME", experiment.clone()),
        ("MLFLOW_EXIT_TIMEOUT", "20".to_owned()),
    ];
    let environment: Vec<(&str, &str)> = { environment.iter() }
        .map(|(name, value)| (*name, value.as_str()))
        .collect();
    let checkpoint = |step: i64| format!("checkpoint {step} {}", directory.display());
    let first = [checkpoint(1), checkpoint(2), checkpoint(3)];
    let [one, two, three] = first.each_ref().map(String::as_str);
    let script = [
        "start one",
        "keep 2",
        one,
        "flush 60",
        two,
        "flush 60",
        three,
        "wait all",
    ];
    let mut program = folder.start(SCRIPTED, &script, &environment);
    program.wait_for_stdout("all");
    deletion
        .recv_timeout(Duration::from_secs(60))
        .expect("a deletion");
    program.kill();
    assert_eq!(
        entries_in_python(server.url(), &experiment, Some("step-1")),
        names(["step-1", "step-2", "step-3"])
    );

    proxy.heal();
    let api = server.api();
    let [(run, _)] = &api.runs(&api.experiment(&experiment))[..] else {
        panic!("one run");
    };
    let (resume, four) = (format!("resume one {run}"), checkpoint(4));
    let steps = [resume.as_str(), "keep 2", &four, "recover 60", "end one"];
    let went_on = folder.run(SCRIPTED, &steps, &environment);
    assert!(went_on.success, "{}", went_on.stderr);
    assert_eq!(folder.journals_left(), 0, "{}", went_on.stderr);
    assert_eq!(
        entries_in_python(server.url(), &experiment, None),
        names(["step-3", "step-4"])
    );
}

#[test]
fn where_nothing_can_be_deleted_all_checkpoints_are_kept_and_one_line_says_so() {
    let server = Server::shared();
    let proxy = Proxy::start(server.url(), |request| {
        request
            .line
            .starts_with("DELETE")
            .then_some(Fault::Status(403))
    });
    let folder = Folder::new();
    let experiment = unique();
    let directory = weights(folder.path(), "weights", "weights");
    let url = proxy.url();
    let environment = [
        ("MLFLOW_TRACKING_URI", url.as_str()),
        ("MLFLOW_EXPERIMENT_NAME", experiment.as_str()),
    ];
    let checkpoint = |step: i64| format!("checkpoint {step} {}", directory.display());
    let steps = [checkpoint(1), checkpoint(2), checkpoint(3)];
    let [one, two, three] = steps.each_ref().map(String::as_str);
    let flush = "flush 60";
    let steps = [
        "start one",
        "keep 1",
        one,
        flush,
        two,
        flush,
        three,
        flush,
        "end one",
    ];
    let ended = folder.run(SCRIPTED, &steps, &environment);
    assert!(ended.success, "{}", ended.stderr);
    let warnings = ended.warnings();
    assert_eq!(warnings.len(), 1, "{}", ended.stderr);
    assert!(
        warnings[0].contains("cannot be deleted, so all of them are kept"),
        "{}",
        ended.stderr
    );
    assert_eq!(
        entries_in_python(server.url(), &experiment, None),
        names(["step-1", "step-2", "step-3"])
    );
}

#[test]
fn nothing_but_checkpoints_of_this_library_is_deleted() {
    let folder = tempfile::tempdir().unwrap();
    let directory = weights(folder.path(), "weights", "weights");
    let file = directory.join("weights.bin");
    let fake = fake();
    let run = start_run().start();
    let others = [
        "checkpoints/best/weights.bin",
        "checkpoints/epoch-1/weights.bin",
        "checkpoints/step-1/weights.bin",
        "checkpoints/step-2-notes.txt",
        "checkpoints/step-2-notes/notes.txt",
        "models/step-1.bin",
        "step-1.bin",
    ];
    for path in others {
        run.log_text("by hand", path);
    }
    run.keep_checkpoints(1);
    for step in [1, 2, 3] {
        run.log_checkpoint(&directory, step);
        run.log_checkpoint(&file, step);
        mlflow::flush(std::time::Duration::from_secs(60));
    }
    drop(run);
    let mut expected: Vec<String> = others.map(str::to_owned).into();
    expected.extend(
        [
            "checkpoints/step-3.bin",
            "checkpoints/step-3/inner/state.json",
            "checkpoints/step-3/mlflow_checkpoint.json",
            "checkpoints/step-3/weights.bin",
        ]
        .map(str::to_owned),
    );
    expected.sort();
    assert_eq!(paths(&fake, 0), expected);
}

/// Regression: a step that was logged again, with fewer files, had files of both.
#[test]
fn a_step_that_is_logged_again_does_not_mix_old_and_new_files() {
    let folder = tempfile::tempdir().unwrap();
    let old = weights(folder.path(), "old", "old");
    let new = folder.path().join("new");
    fs::create_dir(&new).unwrap();
    fs::write(new.join("weights.bin"), "new").unwrap();
    let fake = fake();
    let run = start_run().name("fit").start();
    run.log_checkpoint(&old, 7);
    mlflow::flush(std::time::Duration::from_secs(60));
    run.log_checkpoint(&new, 7);
    run.finish(RunStatus::Failed);
    assert_eq!(
        paths(&fake, 0),
        [
            "checkpoints/step-7-v1/mlflow_checkpoint.json",
            "checkpoints/step-7-v1/weights.bin",
            "checkpoints/step-7/inner/state.json",
            "checkpoints/step-7/mlflow_checkpoint.json",
            "checkpoints/step-7/weights.bin",
        ]
    );
    let resume = start_run().name("fit").resume_last();
    let path = resume.download_checkpoint(folder.path()).unwrap().unwrap();
    let content = |path: &Path| fs::read_to_string(path).unwrap();
    assert_eq!(content(&path.join("weights.bin")), "new");
    let files: Vec<_> = fs::read_dir(&path).unwrap().collect();
    assert_eq!(files.len(), 1, "{files:?}");

    // The one that was replaced is deleted once the new one is whole, if the newest are to be kept.
    let run = resume.start();
    run.keep_checkpoints(3);
    for _ in 0..2 {
        run.log_checkpoint(&new, 8);
        mlflow::flush(std::time::Duration::from_secs(60));
    }
    drop(run);
    let kept = paths(&fake, 0);
    let folders: BTreeSet<&str> = { kept.iter() }
        .map(|path| path.split('/').nth(1).unwrap())
        .collect();
    assert_eq!(
        folders,
        BTreeSet::from(["step-7", "step-7-v1", "step-8-v1"])
    );
}

/// Regression: a process that was killed during the upload left a part of a checkpoint, from which the next one went on.
#[test]
fn a_part_of_a_checkpoint_is_not_continued_from() {
    let folder = tempfile::tempdir().unwrap();
    let directory = weights(folder.path(), "weights", "weights");
    let fake = fake();
    let run = start_run().name("fit").start();
    run.log_checkpoint(&directory, -10);
    run.log_checkpoint(&directory, -5);
    run.log_text(
        r#"{"complete": false, "step": 3, "call": "00", "files": {}}"#,
        &format!("checkpoints/step-3/{MANIFEST}"),
    );
    run.log_text("weights", "checkpoints/step-3/weights.bin");
    run.finish(RunStatus::Failed);
    let resume = start_run().name("fit").resume_last();
    let restored = folder.path().join("restored");
    let path = resume.download_checkpoint(&restored).unwrap().unwrap();
    assert_eq!(path, restored.join("checkpoints/step--5"));
    drop(resume);
    // A folder whose files are not those of its manifest is not whole either.
    let resume = start_run().name("fit").resume_last();
    let run = resume.start();
    run.log_text(
        r#"{"complete": true, "step": 4, "call": "00", "files": {"weights.bin": 7, "other.bin": 1}}"#,
        &format!("checkpoints/step-4/{MANIFEST}"),
    );
    run.log_text("weights", "checkpoints/step-4/weights.bin");
    run.finish(RunStatus::Failed);
    let resume = start_run().name("fit").resume_last();
    let path = resume.download_checkpoint(&restored).unwrap().unwrap();
    assert_eq!(path, restored.join("checkpoints/step--5"));
    drop(fake);
}

/// A training that was set back to an earlier step keeps what it logs there.
#[test]
fn a_checkpoint_of_an_earlier_step_is_not_deleted_by_itself() {
    let folder = tempfile::tempdir().unwrap();
    let directory = weights(folder.path(), "weights", "weights");
    let fake = fake();
    let run = start_run().start();
    run.keep_checkpoints(1);
    for step in [60, 50, 55] {
        run.log_checkpoint(&directory, step);
        mlflow::flush(std::time::Duration::from_secs(60));
    }
    drop(run);
    let kept = paths(&fake, 0);
    let folders: BTreeSet<&str> = { kept.iter() }
        .map(|path| path.split('/').nth(1).unwrap())
        .collect();
    assert_eq!(folders, BTreeSet::from(["step-60", "step-55"]));
}

/// Regression: a checkpoint whose file could not be copied counted as a whole one, and the older one was not sent.
#[test]
fn a_checkpoint_that_cannot_be_copied_costs_no_other() {
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("weights.tar.gz");
    fs::write(&file, "weights").unwrap();
    let fake = fake();
    let run = start_run().start();
    run.keep_checkpoints(1);
    run.log_checkpoint(&file, 1);
    run.log_checkpoint(folder.path().join("missing.bin"), 2);
    let locked = folder.path().join("fifo");
    rustix::fs::mkfifoat(rustix::fs::CWD, &locked, rustix::fs::Mode::RUSR).unwrap();
    run.log_checkpoint(&locked, 3);
    drop(run);
    assert_eq!(paths(&fake, 0), ["checkpoints/step-1.tar.gz"]);
}

/// A journal may be delivered long after the run went on, with another number of checkpoints to be kept.
#[test]
fn a_late_checkpoint_deletes_none_that_was_logged_after_it() {
    let server = Server::shared();
    let folder = Folder::new();
    let experiment = unique();
    let directory = weights(folder.path(), "weights", "weights");
    let checkpoint = |step: i64| format!("checkpoint {step} {}", directory.display());
    let environment = |uri| {
        [
            ("MLFLOW_TRACKING_URI", uri),
            ("MLFLOW_EXPERIMENT_NAME", experiment.as_str()),
        ]
    };
    let begun = folder.run(
        SCRIPTED,
        &["start one", "flush 60", "end one"],
        &environment(server.url()),
    );
    assert!(begun.success, "{}", begun.stderr);
    let api = server.api();
    let [(run, _)] = &api.runs(&api.experiment(&experiment))[..] else {
        panic!("one run");
    };
    let resume = format!("resume one {run}");
    // Nothing listens there: the first checkpoint waits for the last process.
    let nowhere = format!("http://127.0.0.1:{}", crate::support::mlflow::free_port());
    let steps = [&*resume, "keep 1", &checkpoint(3), "abort"];
    assert!(!folder.run(SCRIPTED, &steps, &environment(&nowhere)).success);
    let (one, two) = (checkpoint(1), checkpoint(2));
    let went_on = folder.run(
        SCRIPTED,
        &[&resume, "keep 5", &one, &two, "flush 60", "end one"],
        &environment(server.url()),
    );
    assert!(went_on.success, "{}", went_on.stderr);
    let moved = format!("move {nowhere} {}", server.url());
    let ended = folder.run(SCRIPTED, &[&moved], &environment(server.url()));
    assert!(ended.stdout.contains("complete true"), "{}", ended.stderr);
    assert_eq!(
        entries_in_python(server.url(), &experiment, None),
        names(["step-1", "step-2", "step-3"])
    );
}

/// Regression: a file that was named like a checkpoint counted as a whole one, and the real ones were deleted.
#[test]
fn what_others_have_logged_is_no_checkpoint_and_stays() {
    let folder = tempfile::tempdir().unwrap();
    let directory = weights(folder.path(), "weights", "weights");
    let fake = fake();
    let run = start_run().start();
    run.keep_checkpoints(1);
    run.log_text("{}", "checkpoints/step-100.json");
    run.log_checkpoint(&directory, 1);
    mlflow::flush(std::time::Duration::from_secs(60));
    run.log_text("{}", "checkpoints/step-1/eval.json");
    run.log_checkpoint(&directory, 2);
    drop(run);
    assert_eq!(
        paths(&fake, 0),
        [
            "checkpoints/step-1/eval.json",
            "checkpoints/step-100.json",
            "checkpoints/step-2/inner/state.json",
            "checkpoints/step-2/mlflow_checkpoint.json",
            "checkpoints/step-2/weights.bin",
        ]
    );
}

/// Regression: the largest file of a checkpoint stayed for ever, because the name of another file began with its name.
#[test]
fn a_file_whose_name_begins_another_name_is_deleted_too() {
    let folder = tempfile::tempdir().unwrap();
    let directory = folder.path().join("model");
    fs::create_dir(&directory).unwrap();
    for name in ["model.safetensors", "model.safetensors.index.json", "m"] {
        fs::write(directory.join(name), "weights").unwrap();
    }
    let fake = fake();
    let run = start_run().start();
    run.keep_checkpoints(1);
    run.log_checkpoint(&directory, 1);
    mlflow::flush(std::time::Duration::from_secs(60));
    fs::remove_file(directory.join("m")).unwrap();
    run.log_checkpoint(&directory, 2);
    drop(run);
    // To delete `m`, a server might delete the manifest, too.
    assert_eq!(
        paths(&fake, 0),
        [
            "checkpoints/step-1/m",
            "checkpoints/step-1/mlflow_checkpoint.json",
            "checkpoints/step-2/mlflow_checkpoint.json",
            "checkpoints/step-2/model.safetensors",
            "checkpoints/step-2/model.safetensors.index.json",
        ]
    );
}

#[test]
fn to_keep_no_checkpoint_is_refused_with_one_line() {
    let folder = Folder::new();
    let directory = weights(folder.path(), "weights", "weights");
    let empty = folder.path().join("empty");
    fs::create_dir(&empty).unwrap();
    let (directory, empty) = (directory.display(), empty.display());
    let ended = folder.run(
        SCRIPTED,
        &[
            "start one",
            "keep 0",
            &format!("checkpoint 1 {directory}"),
            &format!("checkpoint 2 {directory}"),
            &format!("checkpoint 3 {empty}"),
            "end one",
        ],
        &[("MLFLOW_EXPERIMENT_NAME", "fit")],
    );
    assert!(ended.success, "{}", ended.stderr);
    let warnings = ended.warnings();
    assert_eq!(warnings.len(), 2, "{}", ended.stderr);
    assert!(warnings[0].contains("keep_checkpoints(0)"), "{warnings:?}");
    assert!(
        warnings[1].contains("the folder has no files"),
        "{warnings:?}"
    );
    let uri = format!("sqlite:///{}", folder.path().join("mlflow.db").display());
    assert_eq!(
        entries_in_python(&uri, "fit", None),
        names(["step-1", "step-2"])
    );
}
