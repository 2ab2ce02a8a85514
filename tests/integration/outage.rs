//! Unavailable stores and killed processes: nothing is lost, and no process is delayed.

use std::fs::{self, Permissions};
use std::net::TcpListener;
use std::os::unix::fs::PermissionsExt as _;
use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread;
use std::time::Duration;

use serde_json::json;

use crate::support::fake_mlflow::FakeMlflow;
use crate::support::fake_server::{FakeServer, Reply};
use crate::support::fault::Fault;
use crate::support::mlflow::{Server, free_port};
use crate::support::program::{Folder, one};
use crate::support::proxy::Proxy;

const SWEEP: &str = env!("CARGO_BIN_EXE_sweep");
const NUMBERS: &str = env!("CARGO_BIN_EXE_numbers");

#[test]
fn what_a_refused_server_missed_arrives_when_it_is_started() {
    let folder = Folder::new();
    let port = free_port();
    let url = format!("http://127.0.0.1:{port}");
    let environment = [("MLFLOW_TRACKING_URI", url.as_str())];
    for _ in 0..2 {
        let ended = folder.run(SWEEP, &[], &environment);
        assert!(ended.success);
        assert_eq!(ended.stdout, "1\n", "the function's result");
        assert_eq!(ended.warnings().len(), 1, "{}", ended.stderr);
        assert!(ended.stderr.contains("values wait in"), "{}", ended.stderr);
    }
    assert_eq!(folder.journals_left(), 2);

    let server = Server::start_on(port);
    let patient = [environment[0], ("MLFLOW_EXIT_TIMEOUT", "60")];
    let ended = folder.run(NUMBERS, &["later", "10", "1"], &patient);
    assert_eq!(ended.warnings(), [""; 0], "{}", ended.stderr);
    assert_eq!(folder.journals_left(), 0, "all was delivered");
    let api = server.api();
    let sweeps: Vec<_> = ["1", "2"]
        .iter()
        .flat_map(|experiment| api.runs(experiment))
        .map(|(id, _)| api.run(&id))
        .filter(|run| run.name != "later")
        .collect();
    assert_eq!(sweeps.len(), 6);
    for run in sweeps {
        let status = if run.name == "fit-2.0" {
            "FAILED"
        } else {
            "FINISHED"
        };
        assert_eq!(run.status, status, "{}", run.name);
        if run.name != "parent" {
            assert_eq!(run.points["loss"].len(), 5);
            assert!(run.artifacts.contains_key("tables/coefficients.csv"));
        }
    }
}

#[test]
fn an_aborted_process_loses_nothing_and_its_run_is_closed_by_the_next() {
    let folder = Folder::new();
    let aborted = folder.run(NUMBERS, &["aborted", "20000", "3", "abort"], &[]);
    assert!(!aborted.success);
    assert_eq!(aborted.stdout, "logged\n");
    let next = folder.run(NUMBERS, &["next", "1", "1"], &[]);
    assert!(next.success);

    let database = folder.database();
    let steps =
        "select count(*) from metrics m join runs r using (run_uuid) where r.name = 'aborted'";
    assert_eq!(
        one::<i64>(&database, steps),
        60_000,
        "every value that was logged"
    );
    let distinct = "select count(*) from (select distinct m.key, m.step from metrics m join runs r using (run_uuid) \
                    where r.name = 'aborted' and m.value = m.step)";
    assert_eq!(
        one::<i64>(&database, distinct),
        60_000,
        "each of them once, and right"
    );
    assert_eq!(
        one::<i64>(&database, "select count(*) from runs"),
        2,
        "no run twice"
    );
    let status =
        "select status || ' ' || (end_time >= start_time) from runs where name = 'aborted'";
    assert_eq!(one::<String>(&database, status), "KILLED 1");
    assert_eq!(
        one::<String>(&database, "select status from runs where name = 'next'"),
        "FINISHED"
    );
    assert_eq!(folder.journals_left(), 0);
}

#[test]
fn a_run_that_ended_is_not_closed_again_by_the_next_process() {
    const POOL: &str = env!("CARGO_BIN_EXE_pool");
    for how in [&["exit"][..], &["abort"]] {
        let folder = Folder::new();
        folder.run(POOL, how, &[]);
        let next = folder.run(NUMBERS, &["next", "1", "1"], &[]);
        assert_eq!(next.warnings(), [""; 0], "{}", next.stderr);
        let finished = "select count(*) from runs where status = 'FINISHED'";
        assert_eq!(one::<i64>(&folder.database(), finished), 3, "{how:?}");
        assert_eq!(
            one::<i64>(&folder.database(), "select count(*) from metrics"),
            3
        );
        assert_eq!(folder.journals_left(), 0);
    }
}

#[test]
fn processes_that_share_a_file_wait_for_each_other_and_lose_nothing() {
    let folder = Folder::new();
    thread::scope(|scope| {
        for process in 0..6 {
            let folder = &folder;
            scope.spawn(move || {
                let ended = folder.run(NUMBERS, &[&format!("p{process}"), "5000", "2"], &[]);
                assert!(ended.success, "{}", ended.stderr);
            });
        }
    });
    let database = folder.database();
    assert_eq!(
        one::<i64>(
            &database,
            "select count(*) from runs where status = 'FINISHED'"
        ),
        6
    );
    assert_eq!(
        one::<i64>(&database, "select count(*) from metrics"),
        60_000
    );
    assert_eq!(
        one::<i64>(
            &database,
            "select count(*) from experiments where name = 'numbers'"
        ),
        1
    );
    assert_eq!(folder.journals_left(), 0);
}

#[test]
fn a_silent_server_does_not_keep_the_process_from_ending() {
    // The server accepts connections and never answers.
    let silent = TcpListener::bind("127.0.0.1:0").unwrap();
    let url = format!("http://{}", silent.local_addr().unwrap());
    let folder = Folder::new();
    let ended = folder.run(
        SWEEP,
        &[],
        &[
            ("MLFLOW_TRACKING_URI", url.as_str()),
            ("MLFLOW_EXIT_TIMEOUT", "0.5"),
        ],
    );
    assert_eq!(ended.stdout, "1\n");
    assert!(
        ended.took < Duration::from_secs(30),
        "a request may take 120 s, the exit may not: {:?}",
        ended.took
    );
    assert!(ended.stderr.contains("values wait in"), "{}", ended.stderr);
}

/// Regression: at the end of the process, one failed attempt was enough to leave everything in the journal,
/// with all of the exit timeout left.
#[test]
fn a_server_that_is_busy_for_a_moment_does_not_make_the_end_give_up() {
    let server = Server::start_with(&[]);
    let folder = Folder::new();
    let (mut batches, mut turned_away) = (0, 0);
    let proxy = Proxy::start(server.url(), move |request| {
        batches += usize::from(request.line.contains("log-batch"));
        let busy = batches > 3 && turned_away < 2;
        turned_away += usize::from(busy);
        busy.then_some(Fault::Status(503))
    });
    let url = proxy.url();
    let environment = [("MLFLOW_TRACKING_URI", url.as_str())];
    let ended = folder.run(NUMBERS, &["busy", "5000", "2"], &environment);
    assert_eq!(proxy.counts().faults["503"], 2);
    assert_eq!(folder.journals_left(), 0, "{}", ended.stderr);
    assert!(!ended.stderr.contains("values wait in"), "{}", ended.stderr);
}

#[test]
fn the_values_of_a_deleted_experiment_wait_until_it_is_restored() {
    let server = Server::start_with(&[]);
    let api = server.api();
    let folder = Folder::new();
    let environment = [("MLFLOW_TRACKING_URI", server.url())];
    let created = api.post("experiments/create", &json!({"name": "sweep"}));
    let id = created["experiment_id"].as_str().unwrap();
    api.post("experiments/delete", &json!({"experiment_id": id}));

    let ended = folder.run(SWEEP, &[], &environment);
    assert_eq!(ended.stdout, "1\n");
    let warnings = ended.warnings();
    assert!(
        warnings
            .iter()
            .all(|line| line.contains("delete") && line.contains("sweep")),
        "{warnings:?}"
    );
    assert_eq!(warnings.len(), 1, "{warnings:?}");
    assert_eq!(folder.journals_left(), 1);

    // Other experiments are not affected.
    folder.run(NUMBERS, &["other", "10", "1"], &environment);
    assert_eq!(folder.journals_left(), 1);

    api.post("experiments/restore", &json!({"experiment_id": id}));
    folder.run(NUMBERS, &["later", "10", "1"], &environment);
    assert_eq!(folder.journals_left(), 0);
    let runs: Vec<_> = api
        .runs(id)
        .into_iter()
        .map(|(id, _)| api.run(&id))
        .collect();
    assert_eq!(runs.len(), 3);
    assert!(runs.iter().all(|run| run.status != "RUNNING"));
}

/// Regression: a process killed between creating a segment and writing to it leaves a segment of zeros. The
/// process that shipped the journal noted its progress in that segment. If this process was killed, too, it
/// left a file that no process could read.
#[test]
fn a_segment_of_zeros_is_still_one_for_the_second_that_ships_its_journal() {
    let folder = Folder::new();
    folder.run(NUMBERS, &["first", "1", "0"], &[]);
    let set_stage = |stage: &str| {
        let update = "update experiments set lifecycle_stage = ?1 where name = 'numbers'";
        folder.database().execute(update, [stage]).unwrap();
    };
    set_stage("deleted");
    folder.run(NUMBERS, &["held", "10", "1"], &[]);
    let journal = fs::read_dir(folder.journal()).unwrap().next().unwrap();
    let blank = journal.unwrap().path().join("0000000009.segment");
    fs::write(&blank, [0; 4096]).unwrap();
    fs::set_permissions(&blank, Permissions::from_mode(0o600)).unwrap();

    folder.run(SWEEP, &[], &[]);
    assert_eq!(folder.journals_left(), 1, "the experiment is deleted");
    set_stage("active");
    let next = folder.run(SWEEP, &[], &[]);
    assert_eq!(next.warnings(), [""; 0], "{}", next.stderr);
    assert_eq!(folder.journals_left(), 0);
    let points = "select count(*) from metrics where key = 'thread/0'";
    assert_eq!(one::<i64>(&folder.database(), points), 10);
}

/// A process was killed right after it created the directory, or right before it removed the directory.
#[test]
fn a_directory_without_a_lock_does_not_stay_for_good() {
    let folder = Folder::new();
    let ours = uuid::Uuid::new_v4().simple().to_string();
    for name in [&ours, "somebody else's"] {
        fs::create_dir_all(folder.journal().join(name)).unwrap();
    }
    folder.run(NUMBERS, &["next", "1", "0"], &[]);
    assert!(!folder.journal().join(ours).exists());
    assert_eq!(folder.journals_left(), 1, "what is not ours stays");
}

/// Entries of a blocked run keep their segment, and with it entries of other runs, which are read and sent
/// again. The files of these entries must still exist then.
#[test]
fn a_file_delivered_beside_a_held_run_is_not_missed_later() {
    const NEIGHBOURS: &str = env!("CARGO_BIN_EXE_neighbours");
    let folder = Folder::new();
    folder.run(NEIGHBOURS, &[], &[]);
    let set_stage = |stage: &str| {
        let update = "update experiments set lifecycle_stage = ?1 where name = 'left'";
        folder.database().execute(update, [stage]).unwrap();
    };
    set_stage("deleted");
    folder.run(NEIGHBOURS, &[], &[]);
    let next = folder.run(NUMBERS, &["next", "0", "0"], &[]);
    let deleted = |line: &&str| line.contains("the experiment `left` is deleted");
    assert!(next.warnings().iter().all(deleted), "{}", next.stderr);
    assert_eq!(folder.journals_left(), 1);

    set_stage("active");
    let last = folder.run(NUMBERS, &["last", "0", "0"], &[]);
    assert_eq!(last.warnings(), [""; 0], "{}", last.stderr);
    assert_eq!(folder.journals_left(), 0);
    let database = folder.database();
    let mut query = database
        .prepare("select name, artifact_uri from runs where name in ('left', 'right')")
        .unwrap();
    let runs = query.query_map([], |row| Ok((row.get(0)?, row.get(1)?)));
    let runs: Vec<(String, String)> = runs.unwrap().collect::<Result<_, _>>().unwrap();
    assert_eq!(runs.len(), 4);
    for (name, artifacts) in runs {
        let notes = fs::read_to_string(Path::new(&artifacts).join("notes.txt")).unwrap();
        assert_eq!(notes, name.repeat(10_000));
    }
}

/// The newer value is in the older segment. A shipper delivered both values, and was killed after it had
/// noted that in the older segment only. The next shipper finds only the older value undelivered.
#[test]
fn a_tag_is_not_set_back_by_the_second_that_ships_its_journal() {
    const HANDOVER: &str = env!("CARGO_BIN_EXE_handover");
    let folder = Folder::new();
    let database = folder.database();
    database.execute_batch("begin exclusive").unwrap();
    folder.run(HANDOVER, &[], &[("MLFLOW_EXIT_TIMEOUT", "0.1")]);
    database.execute_batch("rollback").unwrap();
    let journal = fs::read_dir(folder.journal()).unwrap().next().unwrap();
    let journal = journal.unwrap().path();
    let files = ["lock", "0000000000.segment", "0000000001.segment"];
    let mut files = files.map(|name| (journal.join(name), fs::read(journal.join(name)).unwrap()));
    let state = || one::<String>(&database, "select value from tags where key = 'state'");

    folder.run(NUMBERS, &["next", "0", "0"], &[]);
    assert_eq!(state(), "new");
    assert_eq!(folder.journals_left(), 0);

    let segment = &mut files[1].1;
    let word = |bytes: &[u8], at: usize| {
        let word = bytes[at..].first_chunk().copied().unwrap_or_default();
        u32::from_le_bytes(word) as usize
    };
    let mut end = 64;
    while word(segment, end) > 0 {
        end += 8 + word(segment, end).next_multiple_of(8);
    }
    segment[16..24].copy_from_slice(&(end as u64).to_le_bytes());
    let private = |path: &Path, mode| fs::set_permissions(path, Permissions::from_mode(mode));
    fs::create_dir(&journal).unwrap();
    private(&journal, 0o700).unwrap();
    for (file, bytes) in &files {
        fs::write(file, bytes).unwrap();
        private(file, 0o600).unwrap();
    }
    folder.run(NUMBERS, &["last", "0", "0"], &[]);
    assert_eq!(folder.journals_left(), 0);
    assert_eq!(state(), "new");
}

/// Regression: a user without a `tracing` subscriber heard of an outage only at the end of the process.
#[test]
fn an_outage_that_lasts_and_its_end_are_told_on_stderr() {
    let mlflow = Arc::new(FakeMlflow::default());
    let is_away = Arc::new(AtomicBool::new(true));
    let away = is_away.clone();
    let server = FakeServer::start(move |request, _| match away.load(Ordering::Relaxed) {
        true => Reply::status(503, ""),
        false => mlflow.answer(request),
    });
    let folder = Folder::new();
    let url = server.url();
    let environment = [
        ("MLFLOW_TRACKING_URI", &*url),
        ("MLFLOW_HTTP_REQUEST_MAX_RETRIES", "1"),
    ];
    let script = ["start r", "param a 1", "wait away", "flush 120", "end r"];
    let mut program = folder.start(env!("CARGO_BIN_EXE_scripted"), &script, &environment);
    let told = format!("they wait in the journal and are delivered when it does: {url}: ");
    program.wait_for_stderr(&told);
    program.wait_for_stdout("away");
    is_away.store(false, Ordering::Relaxed);
    program.tell();
    program.wait_for_stdout("flushed true");
    let ended = program.end();
    let back = format!("mlflow: {url} is available again; waiting values are being delivered");
    for line in [&told, &back] {
        assert_eq!(ended.stderr.matches(line).count(), 1, "{}", ended.stderr);
    }
}
