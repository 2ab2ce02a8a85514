//! Continuing the last run that did not finish: after a process that died, beside one that lives, without an answer.

use std::time::{Duration, Instant};

use mlflow::testing::fake;
use mlflow::{RunStatus, start_run};

use crate::support::fake_server::{FakeServer, Reply};
use crate::support::mlflow::Server;
use crate::support::program::Folder;
use crate::support::warnings;

const RESUMES: &str = env!("CARGO_BIN_EXE_resumes");

/// The first process dies before anything is delivered: the second one delivers it first, and finds it then.
#[test]
fn a_training_goes_on_where_the_process_died() {
    let folder = Folder::new();
    died_and_went_on(&folder, &[]);
}

#[test]
fn a_training_goes_on_where_the_process_died_on_a_server() {
    let server = Server::shared();
    let folder = Folder::new();
    died_and_went_on(&folder, &[("MLFLOW_TRACKING_URI", server.url())]);
}

fn died_and_went_on(folder: &Folder, environment: &[(&str, &str)]) {
    let died = folder.run(RESUMES, &["3", "abort"], environment);
    assert!(!died.success);
    let went_on = folder.run(RESUMES, &["2"], environment);
    assert!(went_on.success, "{}", went_on.stderr);
    assert_eq!(went_on.stdout, "resumed at 3 with weights of 2\n");
    // Everything finished: there is nothing to continue.
    let new = folder.run(RESUMES, &["1"], environment);
    assert_eq!(new.stdout, "new\n", "{}", new.stderr);
}

#[test]
fn the_newest_unfinished_run_of_the_same_name_is_continued() {
    let fake = fake();
    for (name, status) in [
        ("fit", RunStatus::Failed),
        ("fit", RunStatus::Killed),
        ("other", RunStatus::Failed),
        ("fit", RunStatus::Finished),
    ] {
        start_run()
            .experiment("e")
            .name(name)
            .start()
            .finish(status);
        wait_for_the_clock();
    }
    start_run()
        .experiment("f")
        .name("fit")
        .start()
        .finish(RunStatus::Failed);
    let ids: Vec<String> = fake.runs().into_iter().map(|run| run.id).collect();

    let resume = start_run().experiment("e").name("fit").resume_last();
    assert_eq!(resume.last().map(|last| &last.run_id), Some(&ids[1]));
    assert!(resume.download_checkpoint("never-made").unwrap().is_none());
    let run = resume.start();
    mlflow::flush(Duration::from_secs(60));
    assert_eq!(run.run_id().as_ref(), Some(&ids[1]));
    drop(run);
    assert_eq!(fake.runs().len(), 5, "no run was added");
    assert_eq!(fake.runs()[1].status, RunStatus::Finished);

    let nothing_left = start_run().experiment("e").name("none").resume_last();
    assert!(nothing_left.last().is_none());
    drop(nothing_left.start());
    assert_eq!(fake.runs().len(), 6);
}

/// The run keeps the tags of its first process, by which a third one would take it for dead.
#[test]
fn a_continued_run_is_that_of_the_process_that_continues_it() {
    let folder = Folder::new();
    let died = folder.run(RESUMES, &["1", "abort"], &[]);
    assert!(!died.success);
    let mut alive = folder.start(RESUMES, &["1", "wait"], &[]);
    alive.wait_for_stdout("logged");
    let third = folder.run(RESUMES, &["1"], &[]);
    assert_eq!(third.stdout, "new\n", "{}", third.stderr);
    alive.kill();
}

#[test]
fn a_run_of_a_living_process_is_not_continued() {
    let fake = fake();
    let live = start_run().name("fit").start();
    let resume = start_run().name("fit").resume_last();
    assert!(resume.last().is_none());
    drop((resume.start(), live));
    assert_eq!(fake.runs().len(), 2);
}

#[test]
fn without_an_answer_a_new_run_is_started_and_a_line_says_so() {
    let server = FakeServer::start(|_, _| Reply::status(403, "Permission denied"));
    let folder = Folder::new();
    let environment = [
        ("MLFLOW_TRACKING_URI", server.url()),
        ("MLFLOW_EXIT_TIMEOUT", "1".to_owned()),
    ];
    let environment: Vec<(&str, &str)> = environment
        .iter()
        .map(|(variable, value)| (*variable, value.as_str()))
        .collect();
    let ended = folder.run(RESUMES, &["1"], &environment);
    assert!(ended.success);
    assert_eq!(ended.stdout, "new\n");
    assert!(
        ended
            .stderr
            .contains("the last run that did not finish cannot be looked up"),
        "{}",
        ended.stderr
    );
}

#[test]
fn a_run_that_is_given_by_its_id_is_not_looked_for() {
    let server = FakeServer::start(|_, _| Reply::Hang);
    let folder = Folder::new();
    let url = server.url();
    let environment = [
        ("MLFLOW_TRACKING_URI", url.as_str()),
        ("MLFLOW_RUN_ID", "0f1a6c3be2d94f5d8f3c1f7a1c2b3d4e"),
        ("MLFLOW_EXIT_TIMEOUT", "0.1"),
    ];
    let ended = folder.run(RESUMES, &["1"], &environment);
    assert_eq!(ended.stdout, "new\n", "{}", ended.stderr);
    assert!(
        !ended.stderr.contains("cannot be looked up"),
        "{}",
        ended.stderr
    );
}

/// Waits until the clock of the library, which advances every few milliseconds, shows another time, so that runs
/// are ordered by their start.
fn wait_for_the_clock() {
    let start = Instant::now();
    while start.elapsed() < Duration::from_millis(20) {
        std::hint::spin_loop();
    }
}

#[test]
fn a_checkpoint_has_all_its_files_or_is_left_out() {
    let folder = tempfile::tempdir().unwrap();
    let whole = folder.path().join("whole");
    std::fs::create_dir_all(whole.join("inner")).unwrap();
    std::fs::write(whole.join("weights.bin"), "weights").unwrap();
    std::fs::write(whole.join("inner/state.json"), "{}").unwrap();
    let broken = folder.path().join("broken");
    std::fs::create_dir(&broken).unwrap();
    std::fs::write(broken.join("a.bin"), "a").unwrap();
    std::os::unix::fs::symlink(&whole, broken.join("elsewhere")).unwrap();
    let fake = fake();
    let (runs, warnings) = warnings::capture(|| {
        let run = start_run().start();
        run.log_checkpoint(&whole, 10);
        run.log_checkpoint(&broken, 20);
        run.log_checkpoint(whole.join("weights.bin"), 30);
        run.log_checkpoint(folder.path().join("missing"), 40);
        drop(run);
        fake.runs()
    });
    let paths: Vec<_> = runs[0].artifacts.keys().map(String::as_str).collect();
    assert_eq!(
        paths,
        [
            "checkpoints/step-10/inner/state.json",
            "checkpoints/step-10/mlflow_checkpoint.json",
            "checkpoints/step-10/weights.bin",
            "checkpoints/step-30.bin",
        ]
    );
    let warnings = warnings.join("\n");
    assert!(
        warnings.contains("the checkpoint is left out, because 1 file"),
        "{warnings}"
    );
    assert!(
        warnings.contains("there is no such file or folder"),
        "{warnings}"
    );
}
