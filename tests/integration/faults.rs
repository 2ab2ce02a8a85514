//! Network faults, one at a time: each value arrives once, and the user is warned once.

use std::collections::{BTreeSet, HashMap};
use std::sync::mpsc;
use std::time::{Duration, Instant};

use serde_json::json;

use crate::support::fake_server::Request;
use crate::support::fault::{After, Fault, To};
use crate::support::mlflow::{Api, Server};
use crate::support::program::{Folder, Live};
use crate::support::proxy::Proxy;
use crate::support::seen::{Latest, Seen};
use crate::support::unique;

const STEADY: &str = env!("CARGO_BIN_EXE_steady");
const NUMBERS: &str = env!("CARGO_BIN_EXE_numbers");
const POINTS: i64 = 400;

/// Warnings that the user gets.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Told {
    /// Two warnings: the store is unavailable, and the store is available again.
    GoneAndBack,
    /// No warning, because the request succeeds in spite of the fault.
    Nothing,
}

/// Runs the program while every request meets the fault, until the program warns. Then each kind of request
/// meets the fault once more, and no request after that.
fn spoil(fault: Fault, told: Told) {
    let server = Server::shared();
    let proxy = Proxy::start(server.url(), move |_| Some(fault));
    let folder = Folder::new();
    let experiment = unique();
    // A request that is to succeed in spite of the fault gets enough time.
    let timeout = if told == Told::Nothing { "60" } else { "1" };
    let mut program = folder.start(
        STEADY,
        &[&POINTS.to_string()],
        &[
            ("MLFLOW_TRACKING_URI", &proxy.url()),
            ("MLFLOW_EXPERIMENT_NAME", &experiment),
            ("MLFLOW_HTTP_REQUEST_TIMEOUT", timeout),
        ],
    );
    program.wait_for_stdout("logged");
    if told == Told::GoneAndBack {
        program.wait_for_stderr("the store does not accept values");
        if matches!(fault, Fault::Redirect(_) | Fault::Refuse(_)) {
            // A redirect is retried seldom, because a person has to act. A refused connection would be
            // another outage each time.
            proxy.heal();
        } else {
            proxy.schedule(each_kind_of_request(fault));
        }
    }
    program.tell();
    let ended = program.end();

    assert!(ended.success, "{}", ended.stderr);
    assert!(!ended.stderr.contains("panicked"), "{}", ended.stderr);
    let stdout = format!("logged\nresult {POINTS}\ncomplete true dropped 0\n");
    assert_eq!(ended.stdout, stdout, "{}", ended.stderr);
    let expected: &[&str] = match told {
        Told::GoneAndBack => &[
            "the store does not accept values",
            "the store is available again",
        ],
        Told::Nothing => &[],
    };
    let warnings = ended.warnings();
    assert_eq!(warnings.len(), expected.len(), "{}", ended.stderr);
    for (warning, words) in warnings.iter().zip(expected) {
        assert!(warning.contains(words), "{}", ended.stderr);
    }
    assert_eq!(folder.journals_left(), 0, "all was delivered");
    assert!(proxy.counts().faults[fault.name()] > 0);
    is_whole(&only_run(&server.api(), &experiment));
}

/// Starts the program with the store at `url`.
fn steady(folder: &Folder, url: &str, experiment: &str, points: i64) -> Live {
    folder.start(
        STEADY,
        &[&points.to_string()],
        &[
            ("MLFLOW_TRACKING_URI", url),
            ("MLFLOW_EXPERIMENT_NAME", experiment),
        ],
    )
}

/// Returns a schedule in which each kind of request meets the fault once more. A fault that breaks the
/// connection comes twice, because a request that is harmless when repeated is then repeated at once.
/// Requests about the experiment are spared: they have met the fault before.
fn each_kind_of_request(fault: Fault) -> impl FnMut(&Request) -> Option<Fault> {
    let times = if fault.breaks() { 2 } else { 1 };
    let mut seen: HashMap<String, u32> = HashMap::new();
    move |request| {
        let line = &request.line;
        let before = seen.entry(line.to_owned()).or_default();
        *before += 1;
        (*before <= times && !line.contains("/experiments/")).then_some(fault)
    }
}

/// Returns the experiment's only run. Deleted runs count, too.
fn only_run(api: &Api, experiment: &str) -> Seen {
    let runs = runs(api, experiment);
    assert_eq!(runs.len(), 1, "no run twice");
    api.run(&runs[0].0)
}

/// Returns the ids and `lifecycle_stage`s of the experiment's runs.
fn runs(api: &Api, experiment: &str) -> Vec<(String, String)> {
    let found = api.post(
        "experiments/search",
        &json!({"max_results": 2, "filter": format!("name = '{experiment}'")}),
    );
    api.runs(found["experiments"][0]["experiment_id"].as_str().unwrap())
}

fn is_whole(run: &Seen) {
    assert_eq!(
        (run.name.as_str(), run.status.as_str()),
        ("steady", "FINISHED")
    );
    assert!(run.end_time_ms >= run.start_time_ms);
    for number in 0..150 {
        let text = number.to_string();
        assert_eq!(run.params[&format!("p{number}")], text);
        assert_eq!(run.tags[&format!("t{number}")], text);
    }
    let points = &run.points["loss"];
    assert_eq!(points.len(), usize::try_from(POINTS).unwrap(), "each once");
    let steps: BTreeSet<i64> = points.iter().map(|point| point.step).collect();
    assert_eq!(steps, (0..POINTS).collect());
    for point in points {
        assert!((point.value - point.step as f64 / 2.0).abs() < f64::EPSILON);
    }
    assert_eq!(run.latest["loss"], Latest((POINTS - 1) as f64 / 2.0));
    assert_eq!(run.artifacts["notes/small.txt"], b"small\n");
    let large = "0123456789abcdef".repeat(4096);
    assert_eq!(run.artifacts["notes/large.txt"], large.as_bytes());
}

#[test]
fn failures_with_progress_between_them_are_no_outage() {
    let server = Server::shared();
    let mut seen = BTreeSet::new();
    let (again, repeated) = mpsc::channel();
    let proxy = Proxy::start(server.url(), move |request| {
        let line = &request.line;
        let is_write = line.contains("log-batch") || line.starts_with("PUT ");
        let is_first = is_write && seen.insert(line.to_owned());
        if is_write && !is_first {
            let _ = again.send(line.to_owned());
        }
        is_first.then_some(Fault::Status(503))
    });
    let (folder, experiment) = (Folder::new(), unique());
    let mut program = steady(&folder, &proxy.url(), &experiment, POINTS);
    // The program may end only after each of the three requests was retried, because a failure while the
    // program ends is warned of at once.
    let mut waiting = 3;
    let mut tried = BTreeSet::new();
    while waiting > 0 {
        let line = repeated.recv_timeout(Duration::from_secs(120)).unwrap();
        waiting -= usize::from(tried.insert(line));
    }
    program.tell();
    let ended = program.end();
    assert_eq!(ended.warnings(), [""; 0], "{}", ended.stderr);
    is_whole(&only_run(&server.api(), &experiment));
}

/// Starts a proxy through which the server executes the first creation of the run after the second.
fn late_creation(server: &Server, run: &'static str) -> Proxy {
    let mut spoiled = false;
    Proxy::start(server.url(), move |request| {
        let creates = request.line.contains("/runs/create")
            && String::from_utf8_lossy(&request.body).contains(run);
        (creates && !std::mem::replace(&mut spoiled, true)).then_some(Fault::Late)
    })
}

/// Returns the run that remains of two duplicates, then the deleted one.
fn whole_and_twin(api: &Api, runs: Vec<(String, String)>) -> [Seen; 2] {
    let mut runs = runs;
    runs.sort_by(|a, b| a.1.cmp(&b.1));
    let stages: Vec<&str> = runs.iter().map(|(_, stage)| stage.as_str()).collect();
    assert_eq!(stages, ["active", "deleted"]);
    [0, 1].map(|at: usize| api.run(&runs[at].0))
}

/// Regression: the duplicate stayed, empty and RUNNING, forever.
#[test]
fn a_run_created_by_a_request_that_was_given_up_does_not_stay() {
    let server = Server::shared();
    let proxy = late_creation(server, "steady");
    let (folder, experiment) = (Folder::new(), unique());
    let mut program = steady(&folder, &proxy.url(), &experiment, POINTS);
    program.tell();
    let ended = program.end();
    assert!(ended.stdout.contains("complete true"), "{}", ended.stderr);
    assert_eq!(proxy.counts().faults["late"], 1);
    let api = server.api();
    let [whole, twin] = whole_and_twin(&api, runs(&api, &experiment));
    is_whole(&whole);
    assert!(twin.points.is_empty() && twin.params.is_empty() && twin.artifacts.is_empty());
}

/// Regression: the second run stayed if the server could not list its artifacts at that moment.
#[test]
fn a_run_created_twice_of_which_the_server_does_not_tell_at_once_does_not_stay() {
    let server = Server::shared();
    let (mut created, mut listed) = (0, 0);
    let proxy = Proxy::start(server.url(), move |request| {
        let nth = |count: &mut i32| {
            *count += 1;
            *count
        };
        if request.line.contains("/runs/create") {
            (nth(&mut created) == 1).then_some(Fault::Late)
        } else if request.line.contains("/artifacts/list") {
            (nth(&mut listed) <= 2).then_some(Fault::Status(504))
        } else {
            None
        }
    });
    let (folder, experiment) = (Folder::new(), unique());
    let mut program = steady(&folder, &proxy.url(), &experiment, POINTS);
    program.tell();
    let ended = program.end();
    assert!(ended.stdout.contains("complete true"), "{}", ended.stderr);
    let api = server.api();
    let [whole, _] = whole_and_twin(&api, runs(&api, &experiment));
    is_whole(&whole);
}

/// Checks the duplicate of a run whose process dies, so that the next process closes the run.
#[test]
fn the_run_of_a_dead_process_created_by_a_request_that_was_given_up_does_not_stay() {
    let server = Server::start_with(&[]);
    let proxy = late_creation(&server, "aborted");
    let folder = Folder::new();
    let environment = [("MLFLOW_TRACKING_URI", &*proxy.url())];
    folder.run(NUMBERS, &["aborted", "0", "0", "abort"], &environment);
    let next = folder.run(NUMBERS, &["next", "1", "1"], &environment);
    assert!(next.success, "{}", next.stderr);
    assert_eq!(folder.journals_left(), 0);
    assert_eq!(proxy.counts().faults["late"], 1);
    let api = server.api();
    let mut runs = runs(&api, "numbers");
    runs.retain(|(id, _)| api.run(id).name == "aborted");
    let [closed, twin] = whole_and_twin(&api, runs);
    assert_eq!(
        [closed.status.as_str(), twin.status.as_str()],
        ["KILLED", "RUNNING"]
    );
}

#[test]
fn a_batch_that_takes_longer_than_a_gateway_waits_is_not_sent_in_the_same_size_for_ever() {
    let server = Server::shared();
    let proxy = Proxy::start(server.url(), |request| {
        (request.body.len() > 20_000 && request.line.contains("log-batch"))
            .then_some(Fault::TooLate)
    });
    let folder = Folder::new();
    let experiment = unique();
    let points: i64 = 4000;
    let mut program = folder.start(
        STEADY,
        &[&points.to_string()],
        &[
            ("MLFLOW_TRACKING_URI", &proxy.url()),
            ("MLFLOW_EXPERIMENT_NAME", &experiment),
        ],
    );
    program.tell();
    let ended = program.end();
    assert!(ended.stdout.contains("complete true"), "{}", ended.stderr);
    assert!(proxy.counts().faults["504"] > 0);
    let run = only_run(&server.api(), &experiment);
    assert_eq!(run.points["loss"].len(), usize::try_from(points).unwrap());
}

#[test]
fn a_server_killed_and_started_again() {
    let mut server = Server::start_with(&[]);
    let (folder, experiment) = (Folder::new(), unique());
    let mut program = steady(&folder, server.url(), &experiment, POINTS);
    program.wait_for_stderr("View run steady");
    server.kill();
    program.tell();
    program.wait_for_stderr("the store does not accept values");
    server.restart();
    let ended = program.end();
    assert!(ended.stdout.contains("complete true"), "{}", ended.stderr);
    assert_eq!(ended.warnings().len(), 2, "{}", ended.stderr);
    is_whole(&only_run(&server.api(), &experiment));
}

#[test]
fn artifacts_that_their_store_does_not_take_keep_nothing_else_from_arriving() {
    let server = Server::shared();
    let proxy = Proxy::start(server.url(), |request| {
        request
            .line
            .starts_with("PUT ")
            .then_some(Fault::Status(500))
    });
    let (folder, experiment) = (Folder::new(), unique());
    let mut program = steady(&folder, &proxy.url(), &experiment, POINTS);
    program.wait_for_stderr("is retried separately");
    program.tell();
    // The remaining points and the end of the run arrive although the artifacts do not.
    let api = server.api();
    let begun = Instant::now();
    while only_run(&api, &experiment).status != "FINISHED" {
        assert!(begun.elapsed() < Duration::from_secs(120), "it waits");
    }
    let seen = only_run(&api, &experiment);
    assert_eq!(seen.points["loss"].len(), usize::try_from(POINTS).unwrap());
    assert!(seen.artifacts.is_empty());
    proxy.heal();
    let ended = program.end();
    assert!(ended.stdout.contains("complete true"), "{}", ended.stderr);
    assert!(
        ended.warnings().len() <= 2,
        "one for each: {}",
        ended.stderr
    );
    assert_eq!(folder.journals_left(), 0, "all was delivered");
    is_whole(&only_run(&api, &experiment));
}

/// The server has executed the request, but the client gets a status 5xx, a reset, no answer, or part of an
/// answer. Experiments and runs meet the fault at their first and their second attempt.
#[test]
fn what_was_created_and_not_acknowledged_is_one_row() {
    let server = Server::shared();
    for fault in [
        Fault::Committed(503),
        Fault::Committed(500),
        Fault::TooLate,
        Fault::DropAnswer,
        Fault::ResetAnswer,
        Fault::CutAnswer,
        Fault::HalfBody,
        Fault::LengthTooLong,
    ] {
        let mut seen: HashMap<String, u32> = HashMap::new();
        let proxy = Proxy::start(server.url(), move |request| {
            let times = seen.entry(request.line.clone()).or_default();
            *times += 1;
            (request.line.contains("/create") && *times <= 2).then_some(fault)
        });
        let (folder, experiment) = (Folder::new(), unique());
        let mut program = steady(&folder, &proxy.url(), &experiment, 10);
        program.wait_for_stdout("logged");
        program.tell();
        let ended = program.end();
        assert!(
            ended.stdout.contains("complete true"),
            "{fault:?}: {}",
            ended.stderr
        );
        assert!(proxy.counts().faults[fault.name()] >= 2, "{fault:?}");
        let api = server.api();
        let body = json!({"max_results": 10, "filter": format!("name = '{experiment}'")});
        let found = api.post("experiments/search", &body);
        assert_eq!(
            found["experiments"].as_array().unwrap().len(),
            1,
            "{fault:?}"
        );
        let runs = runs(&api, &experiment);
        let active = runs.iter().filter(|(_, stage)| stage == "active");
        assert_eq!(active.count(), 1, "{fault:?}: {runs:?}");
        assert_eq!(folder.journals_left(), 0, "{fault:?}");
    }
}

macro_rules! spoiled {
    ($($name:ident: $fault:expr, $told:ident;)*) => {
        $(
            #[test]
            fn $name() {
                spoil($fault, Told::$told);
            }
        )*
    };
}

spoiled! {
    refused: Fault::Refuse(Duration::from_millis(200)), GoneAndBack;
    reset: Fault::Reset, GoneAndBack;
    silent: Fault::Hang, GoneAndBack;
    status_500: Fault::Status(500), GoneAndBack;
    status_502: Fault::Status(502), GoneAndBack;
    status_503: Fault::Status(503), GoneAndBack;
    asked_to_come_back_in_a_second: Fault::Later(After::Seconds(1)), GoneAndBack;
    asked_to_come_back_at_a_date: Fault::Later(After::Date(2)), GoneAndBack;
    a_login_page_in_place_of_json: Fault::Html, GoneAndBack;
    redirected_to_a_login: Fault::Redirect(To::Login), GoneAndBack;
    redirected_in_a_circle: Fault::Redirect(To::Itself), GoneAndBack;
    redirected_to_an_answer: Fault::Redirect(To::Answer), Nothing;
    slow: Fault::Drip(Duration::from_micros(100)), Nothing;
    too_slow: Fault::Drip(Duration::from_millis(20)), GoneAndBack;
    done_and_not_answered: Fault::DropAnswer, GoneAndBack;
    done_and_reset: Fault::ResetAnswer, GoneAndBack;
    done_and_half_answered: Fault::CutAnswer, GoneAndBack;
    done_and_the_gateway_tired: Fault::TooLate, GoneAndBack;
    json_cut_in_half: Fault::HalfBody, GoneAndBack;
    length_too_long: Fault::LengthTooLong, GoneAndBack;
    length_too_short: Fault::LengthTooShort, GoneAndBack;
}
