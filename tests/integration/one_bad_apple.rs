//! Entries that the store keeps refusing with a misleading answer: one such entry delays nothing else,
//! neither in its process nor in later ones.

use std::collections::BTreeMap;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};
use std::thread;
use std::time::{Duration, Instant};

use serde_json::json;

use crate::support::fake_server::Request;
use crate::support::fault::{Fault, To};
use crate::support::mlflow::{Api, Server};
use crate::support::program::{Ended, Folder, one};
use crate::support::proxy::Proxy;
use crate::support::seen::Seen;
use crate::support::unique;

const SCRIPTED: &str = env!("CARGO_BIN_EXE_scripted");

/// Longest wait for what must come sooner or later. A run that is kept back for ever exceeds it, and a busy machine does
/// not.
const PATIENCE: Duration = Duration::from_secs(120);
/// Pause between two looks at the store.
const PAUSE: Duration = Duration::from_millis(100);

/// Folder and experiment of one test on a server.
struct Scene {
    folder: Folder,
    experiment: String,
    url: String,
}

impl Scene {
    fn at(url: &str) -> Self {
        Self {
            folder: Folder::new(),
            experiment: unique(),
            url: url.to_owned(),
        }
    }

    fn environment(&self) -> [(&str, &str); 2] {
        [
            ("MLFLOW_TRACKING_URI", &self.url),
            ("MLFLOW_EXPERIMENT_NAME", &self.experiment),
        ]
    }

    fn run(&self, script: &[&str]) -> Ended {
        self.folder.run(SCRIPTED, script, &self.environment())
    }

    /// Runs a script, and lets the program end only when the run `name` is in the store as wanted.
    #[track_caller]
    fn run_until(
        &self,
        api: &Api,
        script: &[&str],
        name: &str,
        is_wanted: impl Fn(&Seen) -> bool,
    ) -> Ended {
        let script = [script, &["wait delivered"]].concat();
        let mut program = self.folder.start(SCRIPTED, &script, &self.environment());
        program.wait_for_stdout("delivered");
        self.wait_for(api, name, is_wanted);
        program.tell();
        program.end()
    }

    /// Waits until the run of this name is in the store as wanted, and returns the run.
    #[track_caller]
    fn wait_for(&self, api: &Api, name: &str, is_wanted: impl Fn(&Seen) -> bool) -> Seen {
        let deadline = Instant::now() + PATIENCE;
        loop {
            let found = self.created(api).into_iter().find(|run| run.name == name);
            if let Some(run) = found.as_ref().filter(|run| is_wanted(run)) {
                return run.clone();
            }
            assert!(
                Instant::now() < deadline,
                "after {PATIENCE:?}, the run {name} is {found:#?}"
            );
            thread::sleep(PAUSE);
        }
    }

    /// Returns the runs that the store has by now, before the experiment is created as well.
    fn created(&self, api: &Api) -> Vec<Seen> {
        let filter = format!("name = '{}'", self.experiment);
        let search = json!({ "filter": filter, "max_results": 1 });
        let found = api.post("experiments/search", &search);
        let Some(id) = found["experiments"][0]["experiment_id"].as_str() else {
            return Vec::new();
        };
        let runs = api.runs(id).into_iter();
        runs.map(|(id, _)| api.run(&id)).collect()
    }

    /// Returns the only run of this name.
    fn seen(&self, api: &Api, name: &str) -> Seen {
        let runs = api.runs(&api.experiment(&self.experiment));
        let seen = runs.iter().map(|(id, _)| api.run(id));
        let mut named = seen.filter(|run| run.name == name);
        let run = named.next().unwrap_or_else(|| panic!("no run {name}"));
        assert!(named.next().is_none(), "{name} is there twice");
        run
    }
}

/// Returns true if the request's line contains `route`, and its line or body contains `words`.
fn is(request: &Request, route: &str, words: &str) -> bool {
    let holds = |bytes: &[u8]| {
        bytes
            .windows(words.len())
            .any(|part| part == words.as_bytes())
    };
    request.line.contains(route) && (holds(&request.body) || holds(request.line.as_bytes()))
}

/// Returns the number of requests that have failed.
fn failures(proxy: &Proxy) -> usize {
    proxy.counts().faults.values().sum()
}

/// Waits until more than `known` requests have failed.
#[track_caller]
fn wait_for_failure(proxy: &Proxy, known: usize) {
    let deadline = Instant::now() + PATIENCE;
    while failures(proxy) <= known {
        assert!(Instant::now() < deadline, "nothing is tried any more");
        thread::sleep(PAUSE);
    }
}

fn steps(run: &Seen, key: &str) -> usize {
    run.points.get(key).map_or(0, Vec::len)
}

/// Regression: a server whose storage fails for one file always answers 500 to that file. Every later artifact waited for it,
/// and in the end all delivery did.
#[test]
fn an_artifact_that_the_server_cannot_store_keeps_nothing_else_back() {
    let server = Server::shared();
    let proxy = Proxy::start(server.url(), |request: &Request| {
        let is_bad = request.line.starts_with("PUT ") && request.line.contains("/weights.txt");
        is_bad.then_some(Fault::Status(500))
    });
    let scene = Scene::at(&proxy.url());
    let mut program = scene.folder.start(
        SCRIPTED,
        &[
            "start first",
            "text model/weights.txt never_stored",
            "text later.txt there",
            "start second",
            "points loss 0 10",
            "text notes.txt there",
            "end second",
            "end first",
            "wait here",
            "health",
        ],
        &scene.environment(),
    );
    program.wait_for_stdout("here");
    program.wait_for_stderr("is retried separately");
    let api = server.api();
    scene.wait_for(&api, "second", |run| run.status == "FINISHED");
    scene.wait_for(&api, "first", |run| {
        run.status == "FINISHED" && run.artifacts.contains_key("later.txt")
    });
    program.tell();
    let ended = program.end();
    assert!(ended.success, "{}", ended.stderr);
    assert!(
        ended
            .stdout
            .contains("health queued 1 blocked 0 rejected 0 dropped 0"),
        "{}{}",
        ended.stdout,
        ended.stderr
    );
    let told = |words: &str| {
        ended
            .warnings()
            .iter()
            .filter(|line| line.contains(words))
            .count()
    };
    assert_eq!(told("is retried separately"), 1, "{}", ended.stderr);
    let first = scene.seen(&api, "first");
    assert_eq!(first.status, "FINISHED");
    let second = scene.seen(&api, "second");
    assert_eq!(
        (second.status.as_str(), steps(&second, "loss")),
        ("FINISHED", 10)
    );
    assert_eq!(first.artifacts["later.txt"], b"there");
    assert_eq!(second.artifacts["notes.txt"], b"there");
    assert_eq!(
        scene.folder.journals_left(),
        1,
        "the one that fails is kept"
    );

    // The orphaned journal of another process and the values of the next process arrive, although one journal
    // can never be finished. No process waits for that one.
    scene.run(&["start killed", "points loss 0 10", "abort"]);
    let next = scene.run(&["start next", "points loss 0 10", "end next"]);
    assert!(
        next.took < Duration::from_secs(60),
        "it waits for the dead: {:?}",
        next.took
    );
    let killed = scene.seen(&api, "killed");
    assert_eq!(
        (killed.status.as_str(), steps(&killed, "loss")),
        ("KILLED", 10)
    );
    assert_eq!(steps(&scene.seen(&api, "next"), "loss"), 10);
    assert_eq!(scene.folder.journals_left(), 1);
}

#[test]
fn a_run_whose_batches_fail_for_ever_keeps_no_other_run_back() {
    let server = Server::shared();
    let proxy = Proxy::start(server.url(), |request| {
        is(request, "log-batch", "poison").then_some(Fault::Status(500))
    });
    let scene = Scene::at(&proxy.url());
    let mut program = scene.folder.start(
        SCRIPTED,
        &[
            "start bad",
            "points poison 0 5",
            "start good",
            "points loss 0 5",
            "wait half",
            "points loss 5 10",
            "on bad",
            "points poison 5 10",
            "end good",
            "end bad",
            "wait here",
            "health",
            "flush 100",
            "health",
        ],
        &scene.environment(),
    );
    let api = server.api();
    program.wait_for_stdout("half");
    wait_for_failure(&proxy, 0);
    scene.wait_for(&api, "good", |run| steps(run, "loss") == 5);
    program.tell();
    program.wait_for_stdout("here");
    scene.wait_for(&api, "good", |run| {
        run.status == "FINISHED" && steps(run, "loss") == 10
    });
    // The next request comes after the last answer was taken into account.
    wait_for_failure(&proxy, failures(&proxy));
    assert_eq!(steps(&scene.seen(&api, "bad"), "poison"), 0);
    proxy.heal();
    program.tell();
    let ended = program.end();
    assert!(
        ended
            .stdout
            .contains("health queued 10 blocked 0 rejected 0 dropped 0"),
        "{}",
        ended.stdout
    );
    assert!(
        ended
            .stdout
            .ends_with("flushed true\nhealth queued 0 blocked 0 rejected 0 dropped 0\n"),
        "{}",
        ended.stdout
    );
    let bad = scene.seen(&api, "bad");
    assert_eq!(
        (bad.status.as_str(), steps(&bad, "poison")),
        ("FINISHED", 10)
    );
    assert_eq!(scene.folder.journals_left(), 0);
}

#[test]
fn a_run_that_cannot_be_created_keeps_no_other_run_back() {
    let server = Server::shared();
    let proxy = Proxy::start(server.url(), |request| {
        is(request, "runs/create", "poison").then_some(Fault::Status(500))
    });
    let scene = Scene::at(&proxy.url());
    let api = server.api();
    let script = [
        "start poison",
        "points loss 0 5",
        "start good",
        "points loss 0 5",
        "end good",
        "end poison",
    ];
    scene.run_until(&api, &script, "good", |run| steps(run, "loss") == 5);
    assert_eq!(scene.folder.journals_left(), 1);
    proxy.heal();
    scene.run(&["start next", "end next"]);
    assert_eq!(steps(&scene.seen(&api, "poison"), "loss"), 5);
    assert_eq!(scene.folder.journals_left(), 0);
}

/// Regression: a server with SQLite answered so, for ever, to a run whose name was empty.
#[test]
fn a_run_whose_creation_is_contested_for_ever_keeps_no_other_run_back() {
    let server = Server::shared();
    let proxy = Proxy::start(server.url(), |request| {
        is(request, "runs/create", "poison").then_some(Fault::Contested)
    });
    let scene = Scene::at(&proxy.url());
    let script = [
        "start poison",
        "start good",
        "points loss 0 5",
        "end good",
        "end poison",
    ];
    let api = server.api();
    scene.run_until(&api, &script, "good", |run| steps(run, "loss") == 5);
    assert_eq!(scene.folder.journals_left(), 1);
    proxy.heal();
    scene.run(&["start next", "end next"]);
    assert_eq!(scene.seen(&api, "poison").status, "FINISHED");
}

/// Regression: a failed look for a second run with the same key stopped the delivery of all runs.
#[test]
fn a_run_whose_duplicate_cannot_be_looked_for_keeps_no_other_run_back() {
    let server = Server::shared();
    let (creations, searches) = (AtomicUsize::new(0), AtomicUsize::new(0));
    let proxy = Proxy::start(server.url(), move |request| {
        if is(request, "runs/create", "poison") && creations.fetch_add(1, Ordering::Relaxed) == 0 {
            return Some(Fault::DropAnswer);
        }
        // The first search finds the run whose answer was lost; the later ones look for another run.
        let is_search = is(request, "runs/search", "runKey");
        (is_search && searches.fetch_add(1, Ordering::Relaxed) > 0).then_some(Fault::Status(500))
    });
    let scene = Scene::at(&proxy.url());
    let script = [
        "start poison",
        "points loss 0 5",
        "end poison",
        "start good",
        "points loss 0 5",
        "end good",
    ];
    scene.run_until(&server.api(), &script, "good", |run| {
        run.status == "FINISHED" && steps(run, "loss") == 5
    });
    proxy.heal();
    scene.run(&["start next", "end next"]);
    let poison = scene.seen(&server.api(), "poison");
    assert_eq!((steps(&poison, "loss"), &*poison.status), (5, "FINISHED"));
    assert_eq!(scene.folder.journals_left(), 0);
}

/// Regression: an empty name was sent, so a server made up another one and refused the run for its two names.
#[test]
fn a_run_with_an_empty_name_has_the_default_name() {
    let server = Server::shared();
    let folder = Folder::new();
    let experiment = unique();
    let environment = [
        ("MLFLOW_TRACKING_URI", server.url()),
        ("MLFLOW_EXPERIMENT_NAME", experiment.as_str()),
    ];
    let ended = folder.run(
        SCRIPTED,
        &["start ", "points loss 0 5", "flush 20", "end "],
        &environment,
    );
    assert!(
        ended
            .warnings()
            .iter()
            .any(|line| line.contains("it is empty and is not used")),
        "{}",
        ended.stderr
    );
    assert_eq!(folder.journals_left(), 0, "{}", ended.stderr);
}

/// Regression: if another server behind a load balancer did not know the run, tracking of the run ended for
/// the life of the process.
#[test]
fn a_run_that_is_not_found_for_a_while_goes_on() {
    let server = Server::shared();
    let proxy = Proxy::start(server.url(), |_| None);
    let scene = Scene::at(&proxy.url());
    let mut program = scene.folder.start(
        SCRIPTED,
        &[
            "start run",
            "points loss 0 5",
            "flush 100",
            "wait here",
            "points loss 5 10",
            "flush 3",
            "health",
            "wait there",
            "points loss 10 15",
            "flush 100",
            "health",
            "end run",
        ],
        &scene.environment(),
    );
    program.wait_for_stdout("here");
    proxy.schedule(|request| {
        let is_of_run = ["log-batch", "runs/get", "runs/update"];
        let asked = is_of_run.iter().any(|route| request.line.contains(route));
        asked.then_some(Fault::NoSuchRun)
    });
    program.tell();
    program.wait_for_stdout("there");
    proxy.heal();
    program.tell();
    let ended = program.end();
    let blocked = "health queued 0 blocked 5 rejected 0 dropped 0";
    assert!(ended.stdout.contains(blocked), "{}", ended.stdout);
    let run = scene.seen(&server.api(), "run");
    assert_eq!(
        (run.status.as_str(), steps(&run, "loss")),
        ("FINISHED", 15),
        "{}",
        ended.stderr
    );
    assert_eq!(scene.folder.journals_left(), 0);
}

/// The user removes `mlflow.db` while a run is open.
#[test]
fn a_run_of_a_file_that_was_removed_is_made_anew() {
    for dies in [false, true] {
        let folder = Folder::new();
        let end = if dies { "abort" } else { "end run" };
        let mut program = folder.start(
            SCRIPTED,
            &[
                "start run",
                "param lr 0.1",
                "points loss 0 5",
                "flush 100",
                "wait here",
                "points loss 5 10",
                end,
            ],
            &[],
        );
        program.wait_for_stdout("here");
        std::fs::remove_file(folder.path().join("mlflow.db")).unwrap();
        program.tell();
        program.end();
        folder.run(SCRIPTED, &["start next", "end next"], &[]);
        let database = folder.database();
        let status = "select status from runs where name = 'run'";
        let expected = if dies { "KILLED" } else { "FINISHED" };
        assert_eq!(one::<String>(&database, status), expected, "dies: {dies}");
        let points = "select count(*) from metrics m join runs r using (run_uuid) where r.name = 'run' and m.step >= 5";
        assert_eq!(one::<i64>(&database, points), 5, "dies: {dies}");
        assert_eq!(folder.journals_left(), 0, "dies: {dies}");
    }
}

/// Regression: one of fifty values belonged to a run that had been deleted. These values kept whole segments,
/// and when the journal reached its limit, most values of a healthy run were dropped.
#[test]
fn the_values_of_a_deleted_run_take_no_room_of_others() {
    let folder = Folder::new();
    let mut script = vec!["start deleted", "start healthy", "flush 100", "wait here"];
    let points: Vec<String> = (0..60)
        .map(|part| format!("points loss {} {}", part * 4900, (part + 1) * 4900))
        .collect();
    let few: Vec<String> = (0..60)
        .map(|part| format!("points loss {} {}", part * 100, (part + 1) * 100))
        .collect();
    for (points, few) in points.iter().zip(&few) {
        script.extend(["on deleted", few, "on healthy", points, "flush 100"]);
    }
    script.extend(["health", "end healthy"]);
    let mut program = folder.start(
        SCRIPTED,
        &script,
        &[("MLFLOW_JOURNAL_MAX_BYTES", "4194304")],
    );
    program.wait_for_stdout("here");
    let database = folder.database();
    let set_stage = |stage: &str| {
        let update = "update runs set lifecycle_stage = ?1 where name = 'deleted'";
        database.execute(update, [stage]).unwrap();
    };
    set_stage("deleted");
    program.tell();
    let ended = program.end();
    assert!(!ended.stdout.contains("flushed false"), "{}", ended.stdout);
    let health = "health queued 0 blocked 6000 rejected 0 dropped 0";
    assert!(
        ended.stdout.contains(health),
        "{}{}",
        ended.stdout,
        ended.stderr
    );
    let points = |name: &str| {
        let query = format!(
            "select count(*) from metrics m join runs r using (run_uuid) where r.name = '{name}'"
        );
        one::<i64>(&database, &query)
    };
    assert_eq!((points("healthy"), points("deleted")), (294_000, 0));
    assert!(
        ended.stderr.contains("6001 values wait in"),
        "{}",
        ended.stderr
    );

    set_stage("active");
    folder.run(SCRIPTED, &["start next", "end next"], &[]);
    assert_eq!(points("deleted"), 6000);
    assert_eq!(folder.journals_left(), 0);
}

/// A server looks up each point of a repeated batch in the history of its key, which takes long. New values
/// do not wait for that.
#[test]
fn a_batch_without_an_answer_is_sent_again_in_small_parts_and_holds_up_nothing_new() {
    let server = Server::shared();
    // Steps of each batch. The first large batch is executed, but not acknowledged.
    let batches: Arc<Mutex<Vec<Vec<i64>>>> = Arc::default();
    let (kept, spoiled) = (Arc::clone(&batches), AtomicBool::new(false));
    let proxy = Proxy::start(server.url(), move |request| {
        if !request.line.contains("log-batch") {
            return None;
        }
        let body: serde_json::Value = serde_json::from_slice(&request.body).unwrap();
        let metrics = body["metrics"].as_array().cloned().unwrap_or_default();
        let steps: Vec<i64> = metrics
            .iter()
            .filter_map(|metric| metric["step"].as_i64())
            .collect();
        let is_large = steps.len() > 150;
        if is_large || spoiled.load(Ordering::Relaxed) {
            kept.lock().unwrap().push(steps);
        }
        (is_large && !spoiled.swap(true, Ordering::Relaxed)).then_some(Fault::TooLate)
    });
    let scene = Scene::at(&proxy.url());
    let ended = scene.run(&[
        "start run",
        "points old 0 1000",
        "points new 5000 5010",
        "end run",
        "flush 100",
        "health",
    ]);
    assert!(
        ended.stdout.contains("health queued 0 blocked 0"),
        "{}",
        ended.stdout
    );
    let run = scene.seen(&server.api(), "run");
    assert_eq!(
        (steps(&run, "old"), steps(&run, "new")),
        (1000, 10),
        "each once"
    );
    let batches = batches.lock().unwrap();
    let (unanswered, later) = batches.split_first().unwrap();
    let repeats = |batch: &&Vec<i64>| batch.iter().any(|step| unanswered.contains(step));
    let again: Vec<usize> = later.iter().filter(repeats).map(Vec::len).collect();
    assert_eq!(
        again.iter().sum::<usize>(),
        unanswered.len(),
        "all of it, once"
    );
    assert!(again.iter().all(|points| *points <= 100), "{again:?}");
    let is_new = |batch: &Vec<i64>| batch.iter().any(|step| !unanswered.contains(step));
    let new = later.iter().position(is_new).unwrap();
    let old = later.iter().position(|batch| repeats(&batch)).unwrap();
    assert!(new < old, "what is new goes first: {new}, {old}");
    assert!(scene.folder.journals_left() == 0, "{}", ended.stderr);
}

/// Regression: some parts of batches that had no answer failed again, and the process ended with the rest
/// undelivered. A process gives up after three failures, and parts delivered in between did not reset the
/// count.
#[test]
fn what_is_in_doubt_arrives_before_the_process_ends() {
    let server = Server::shared();
    let mut large = 0;
    let mut failed: BTreeMap<i64, usize> = BTreeMap::new();
    let proxy = Proxy::start(server.url(), move |request| {
        if !request.line.contains("log-batch") {
            return None;
        }
        let body: serde_json::Value = serde_json::from_slice(&request.body).unwrap();
        let first = body["metrics"][0]["step"].as_i64()?;
        if body["metrics"].as_array().map_or(0, Vec::len) > 100 {
            large += 1;
            return (large <= 3).then_some(Fault::TooLate);
        }
        let times = failed.entry(first).or_default();
        *times += 1;
        (*times <= 2 && first % 200 == 0).then_some(Fault::Status(503))
    });
    let scene = Scene::at(&proxy.url());
    let ended = scene.run(&["start run", "points old 0 3000", "end run"]);
    assert_eq!(scene.folder.journals_left(), 0, "{}", ended.stderr);
    let run = scene.seen(&server.api(), "run");
    assert_eq!(steps(&run, "old"), 3000, "each once");
    let counts = proxy.counts().faults;
    assert!(counts["503"] >= 6, "{counts:?}");
}

/// Regression: a redirect to a login page was followed by a pause of half a minute, even while a flush
/// waited.
#[test]
fn a_flush_does_not_wait_for_the_pause_after_a_redirect() {
    let server = Server::shared();
    let proxy = Proxy::start(server.url(), |_| Some(Fault::Redirect(To::Login)));
    let scene = Scene::at(&proxy.url());
    let mut program = scene.folder.start(
        SCRIPTED,
        &[
            "start run",
            "points loss 0 10",
            "wait here",
            "flush 20",
            "health",
            "end run",
        ],
        &scene.environment(),
    );
    program.wait_for_stderr("the store does not accept values");
    program.wait_for_stdout("here");
    program.tell();
    proxy.heal();
    let ended = program.end();
    assert!(
        ended.stdout.contains("flushed true"),
        "{}{}",
        ended.stdout,
        ended.stderr
    );
    assert_eq!(steps(&scene.seen(&server.api(), "run"), "loss"), 10);
}

/// Regression: during a roll-out a gateway answers with error pages of its own, and artifacts and metrics
/// were lost by that.
#[test]
fn a_gateways_page_destroys_nothing() {
    let server = Server::shared();
    for status in [404, 405, 413, 422, 501] {
        let (mut artifacts, mut batches) = (0, 0);
        let proxy = Proxy::start(server.url(), move |request| {
            let seen = if request.line.contains("mlflow-artifacts") {
                &mut artifacts
            } else if request.line.contains("log-batch") {
                &mut batches
            } else {
                return None;
            };
            *seen += 1;
            (*seen <= 3).then_some(Fault::Status(status))
        });
        let scene = Scene::at(&proxy.url());
        let ended = scene.run(&[
            "start run",
            "param lr 0.1",
            "points loss 0 10",
            "text notes.txt there",
            "end run",
            "flush 100",
            "health",
        ]);
        let all = "flushed true\nhealth queued 0 blocked 0 rejected 0 dropped 0\n";
        assert!(
            ended.stdout.ends_with(all),
            "{status}: {}{}",
            ended.stdout,
            ended.stderr
        );
        let run = scene.seen(&server.api(), "run");
        assert_eq!(
            (run.status.as_str(), steps(&run, "loss")),
            ("FINISHED", 10),
            "{status}"
        );
        assert_eq!(run.params["lr"], "0.1", "{status}");
        assert_eq!(scene.folder.journals_left(), 0, "{status}");
    }
}

#[test]
fn what_the_store_refuses_is_kept_and_can_be_sent_again() {
    let folder = Folder::new();
    let first = folder.run(
        SCRIPTED,
        &[
            "start run",
            "param lr 0.1",
            "flush 100",
            "param lr 0.2",
            "text a there",
            "text a/b below",
            "end run",
            "flush 100",
            "health",
        ],
        &[],
    );
    let health = "health queued 0 blocked 0 rejected 2 dropped 0";
    assert!(
        first.stdout.contains(health),
        "{}{}",
        first.stdout,
        first.stderr
    );
    assert_eq!((folder.journals_left(), folder.rejected_left()), (0, 1));
    let told = first
        .stderr
        .lines()
        .filter(|line| line.contains("has refused 2 values"));
    assert_eq!(told.count(), 1, "{}", first.stderr);

    let again = folder.run(SCRIPTED, &["start again", "resend 100", "end again"], &[]);
    assert!(
        again.stdout.contains("flushed true"),
        "{}{}",
        again.stdout,
        again.stderr
    );
    assert_eq!(
        (folder.journals_left(), folder.rejected_left()),
        (0, 1),
        "refused again"
    );

    let database = folder.database();
    database
        .execute("delete from params where key = 'lr'", [])
        .unwrap();
    let artifacts: String = one(
        &database,
        "select artifact_uri from runs where name = 'run'",
    );
    std::fs::remove_file(std::path::Path::new(&artifacts).join("a")).unwrap();
    // The values are sent again by a program that logs nothing itself.
    let last = folder.run(SCRIPTED, &["resend 100"], &[]);
    assert!(
        last.stdout.contains("flushed true"),
        "{}{}",
        last.stdout,
        last.stderr
    );
    assert_eq!((folder.journals_left(), folder.rejected_left()), (0, 0));
    let lr = "select value from params where key = 'lr'";
    assert_eq!(one::<String>(&database, lr), "0.2");
    let below = std::fs::read_to_string(std::path::Path::new(&artifacts).join("a/b"));
    assert_eq!(below.unwrap(), "below");
}

#[test]
fn what_the_store_refuses_and_nobody_can_keep_is_said() {
    let folder = Folder::new();
    let user = rustix::process::geteuid().as_raw();
    std::fs::create_dir_all(folder.journal()).unwrap();
    std::fs::write(folder.journal().join(format!("rejected-{user}")), "").unwrap();
    let steps = [
        "start run",
        "param lr 0.1",
        "flush 100",
        "param lr 0.2",
        "end run",
    ];
    let ended = folder.run(SCRIPTED, &steps, &[]);
    let told = ended
        .stderr
        .lines()
        .find(|line| line.contains("has refused 1 value ("));
    let told = told.expect(&ended.stderr);
    assert!(
        told.contains("lost because nothing could be kept (not a directory)"),
        "{told}"
    );
    assert!(told.contains("cannot be changed"), "{told}");
    assert!(
        !ended.stderr.contains("they are kept in"),
        "{}",
        ended.stderr
    );
}
