//! Main use of the library: annotated functions whose runs appear in MLflow. The program is
//! `programs/sweep.rs`.

use std::collections::BTreeMap;

use crate::support::mlflow::{Server, read_file};
use crate::support::program::{Folder, one};
use crate::support::scaled::Scaled;
use crate::support::seen::{Latest, Point, Seen};
use crate::support::unique;

const SWEEP: &str = env!("CARGO_BIN_EXE_sweep");
const NUMBERS: &str = env!("CARGO_BIN_EXE_numbers");
const SCRIPTED: &str = env!("CARGO_BIN_EXE_scripted");

/// Checks the parent run and the two fits that the program creates. `runs` holds all of its runs, and `ids`
/// their ids.
fn check(runs: &[Seen], ids: &[String]) {
    let named = |name: &str| {
        let at = runs
            .iter()
            .position(|run| run.name == name)
            .unwrap_or_else(|| panic!("no run {name}"));
        (&runs[at], &ids[at])
    };
    let (parent, parent_id) = named("parent");
    assert_eq!(parent.status, "FINISHED");
    assert_eq!(parent.params["alphas"], "[0.5, 2.0]");
    assert!(!parent.tags.contains_key("mlflow.parentRunId"));
    assert!(parent.points.is_empty(), "skip_return");

    let (good, _) = named("fit-0.5");
    assert_eq!(good.status, "FINISHED");
    assert_eq!(good.tags["mlflow.parentRunId"], **parent_id);
    assert_eq!(good.tags["model"], "elastic-net");
    assert_eq!(good.tags["dotted.key"], "7");
    assert_eq!(good.tags["seen"], "true");
    assert_eq!(good.tags["mlflow.note.content"], "Fits one model.");
    assert_eq!(good.tags["mlflow.runName"], "fit-0.5");
    assert_eq!(good.tags["mlflow.source.type"], "LOCAL");
    assert_eq!(good.tags["service.name"], "mlflow-tests");
    assert_eq!(good.tags["service.version"], "0.1.0");
    assert_eq!(good.tags["code.function"], "sweep::fit");
    assert!(good.tags["code.filepath"].ends_with("programs/sweep.rs"));
    for tag in [
        "mlflow.user",
        "mlflow.source.name",
        "host.name",
        "host.arch",
        "os.type",
        "process.pid",
        "code.lineno",
    ] {
        assert!(!good.tags[tag].is_empty(), "{tag}");
    }
    let params: Vec<_> = good
        .params
        .iter()
        .map(|(key, value)| format!("{key}={value}"))
        .collect();
    assert_eq!(params, ["alpha=0.5", "extra=6", "label=naïve"]);
    let loss: Vec<_> = good.points["loss"]
        .iter()
        .map(|point| (point.step, point.value))
        .collect();
    assert_eq!(
        loss,
        [(0, 0.5), (1, 0.25), (2, 0.5 / 3.0), (3, 0.125), (4, 0.1)]
    );
    let [point] = good.points["b"][..] else {
        panic!("one point")
    };
    assert!(point.value.is_nan() && point.step == 3);
    assert_eq!(
        good.points["c"][0].value,
        f64::MAX,
        "MLflow's SQL stores hold no infinity"
    );
    assert_eq!(good.latest["rmse"], Latest(0.5));
    assert_eq!(good.latest["nested.r2"], Latest(0.5));
    assert_eq!(
        good.artifacts["tables/coefficients.csv"],
        b"feature,weight\nalcohol,0.25\n"
    );
    assert!(good.start_time_ms > 0 && good.end_time_ms >= good.start_time_ms);
    let Point { timestamp_ms, .. } = good.points["loss"][0];
    // The clock of values advances in steps of a few milliseconds.
    assert!(timestamp_ms >= good.start_time_ms - 20 && timestamp_ms <= good.end_time_ms);

    let (bad, _) = named("fit-2.0");
    assert_eq!(bad.status, "FAILED");
    assert_eq!(bad.tags["error.message"], "alpha 2 is too large");
    assert!(!bad.latest.contains_key("rmse"));
    assert_eq!(bad.points["loss"].len(), 5);
}

#[test]
fn a_program_is_seen_on_a_tracking_server() {
    is_seen_on(&Server::start_with(&[]));
}

#[test]
fn a_program_is_seen_on_several_workers_with_postgres() {
    if let Some(scaled) = Scaled::shared() {
        is_seen_on(scaled.server());
    }
}

/// Runs the program against a server, and checks its runs there. No other test has an experiment `sweep` on
/// that server.
fn is_seen_on(server: &Server) {
    let folder = Folder::new();
    let ended = folder.run(SWEEP, &[], &[("MLFLOW_TRACKING_URI", server.url())]);
    assert_eq!(ended.stdout, "1\n");
    assert_eq!(ended.warnings(), [""; 0], "{}", ended.stderr);
    let api = server.api();
    let experiment = api.experiment("sweep");
    assert!(ended.stderr.contains(&format!(
        "View run parent at: {}/#/experiments/{experiment}/runs/",
        server.url()
    )));
    assert_eq!(folder.journals_left(), 0, "all was delivered");

    let ids: Vec<String> = api
        .runs(&experiment)
        .into_iter()
        .map(|(id, _)| id)
        .collect();
    assert_eq!(ids.len(), 3);
    let runs: Vec<Seen> = ids.iter().map(|id| api.run(id)).collect();
    check(&runs, &ids);
}

#[test]
fn a_program_is_seen_in_the_default_file_before_and_after_mlflow_migrates_it() {
    let folder = Folder::new();
    assert_eq!(folder.run(SWEEP, &[], &[]).stdout, "1\n");
    let ids = |folder: &Folder| -> Vec<String> {
        let database = folder.database();
        let mut query = database
            .prepare("select run_uuid from runs order by start_time, rowid")
            .unwrap();
        query
            .query_map([], |row| row.get(0))
            .unwrap()
            .collect::<Result<_, _>>()
            .unwrap()
    };
    let revision = |folder: &Folder| -> String {
        crate::support::program::one(
            &folder.database(),
            "select version_num from alembic_version",
        )
    };
    let first = ids(&folder);
    assert_eq!(first.len(), 3);
    let written = revision(&folder);
    let file = folder.path().join("mlflow.db");
    check(&read_file(&file, &first), &first);
    assert_ne!(revision(&folder), written, "MLflow has migrated the file");

    let again = folder.run(SWEEP, &[], &[]);
    assert_eq!(again.warnings(), [""; 0], "{}", again.stderr);
    let second: Vec<String> = ids(&folder)
        .into_iter()
        .filter(|id| !first.contains(id))
        .collect();
    assert_eq!(second.len(), 3);
    check(&read_file(&file, &second), &second);
    check(&read_file(&file, &first), &first);
}

#[test]
fn a_first_run_says_where_it_is_and_how_to_look_at_it() {
    let folder = Folder::new();
    let first = folder.run(SWEEP, &[], &[]).stderr;
    let file = folder.path().join("mlflow.db");
    let file = file.display();
    let said = format!(
        "mlflow: created the MLflow database {file} for the runs; view them with: mlflow ui --backend-store-uri sqlite:///{file}\n"
    );
    assert!(first.contains(&said), "{first}");
    let second = folder.run(SWEEP, &[], &[]).stderr;
    assert!(!second.contains("mlflow ui"), "{second}");
}

/// Regression: a service with a tracked handler printed a line for each request.
#[test]
fn the_pages_of_a_few_runs_are_printed_however_many_there_are() {
    let folder = Folder::new();
    let server = Server::shared();
    let steps: Vec<String> = (0..20)
        .flat_map(|run| [format!("start r{run}"), format!("end r{run}")])
        .collect();
    let steps: Vec<&str> = steps.iter().map(String::as_str).collect();
    let environment = [("MLFLOW_TRACKING_URI", server.url())];
    let stderr = folder.run(SCRIPTED, &steps, &environment).stderr;
    let lines: Vec<_> = stderr.lines().collect();
    assert_eq!(lines.len(), 6, "{stderr}");
    assert!(lines[..5].iter().all(|line| line.starts_with("View run r")));
    assert_eq!(
        lines[5],
        "mlflow: the URLs of further runs of this process are not printed"
    );
}

/// Regression: the name given to a resumed run was ignored. Such a name renames the run, as in Python.
#[test]
fn a_run_that_goes_on_keeps_its_name_or_gets_the_one_that_is_given() {
    let server = Server::shared();
    let url = ("MLFLOW_TRACKING_URI", server.url());
    for environment in [&[url][..], &[]] {
        let folder = Folder::new();
        let run = |program: &str, steps: &[&str], more: &[(&str, &str)]| {
            folder
                .run(program, steps, &[environment, more].concat())
                .stderr
        };
        let first = run(SCRIPTED, &["start one", "end one"], &[]);
        let id = match environment {
            [] => one(&folder.database(), "select run_uuid from runs"),
            _ => first.trim().rsplit('/').next().expect("an id").to_owned(),
        };
        let resumed = [("MLFLOW_RUN_ID", id.as_str())];
        let name = || match environment {
            [] => one(
                &folder.database(),
                "select name from runs order by start_time",
            ),
            _ => server.api().run(&id).name,
        };
        let nameless = run(NUMBERS, &["", "1", "1"], &resumed);
        assert_eq!(name(), "one", "{nameless}");
        if !environment.is_empty() {
            let page = format!("View run at: {}/#/experiments/0/runs/{id}", server.url());
            assert!(nameless.contains(&page), "{nameless}");
        }
        let named = run(SWEEP, &[], &resumed);
        assert_eq!(name(), "parent", "{named}");
    }
}

/// Regression: the library ignored the mismatch without a warning. MLflow's Python client refuses to resume
/// such a run.
#[test]
fn a_run_that_goes_on_says_that_another_experiment_is_named_for_it() {
    let server = Server::shared();
    let url = ("MLFLOW_TRACKING_URI", server.url());
    let id_of = |folder: &Folder, first: &str| match first.trim().rsplit_once("/runs/") {
        Some((_, id)) => id.to_owned(),
        None => one(&folder.database(), "select run_uuid from runs"),
    };
    for environment in [&[url][..], &[]] {
        let folder = Folder::new();
        let named = unique();
        let name = ("MLFLOW_EXPERIMENT_NAME", named.as_str());
        let run = |more: &[(&str, &str)]| {
            let environment = [environment, more].concat();
            let ended = folder.run(SCRIPTED, &["start one", "end one"], &environment);
            assert!(ended.success, "{}", ended.stderr);
            ended.stderr
        };
        let id = id_of(&folder, &run(&[name]));
        let resumed = ("MLFLOW_RUN_ID", id.as_str());
        let says = |more: &[(&str, &str)]| {
            let stderr = run(more);
            let lines = stderr
                .lines()
                .filter(|line| line.starts_with("mlflow: the resumed run "));
            lines.map(str::to_owned).collect::<Vec<_>>()
        };
        assert_eq!(says(&[resumed]), [""; 0]);
        assert_eq!(says(&[resumed, name]), [""; 0]);
        // The experiment of the outer run was not configured for the resumed run, so there is no warning.
        let ended = folder.run(SCRIPTED, &[&format!("inner {id}")], environment);
        assert!(
            !ended.stderr.contains("stays in its experiment"),
            "{}",
            ended.stderr
        );
        let other = ("MLFLOW_EXPERIMENT_NAME", "other");
        let line = format!(
            "mlflow: the resumed run {id} stays in its experiment {named:?}, where it was created. The experiment \"other\", \
             which is configured for it, is ignored. Remove that setting, or start a new run"
        );
        assert_eq!(says(&[resumed, other]), [line.as_str()]);
        for id in ["0", "4242"] {
            let by_id = ("MLFLOW_EXPERIMENT_ID", id);
            let lines = says(&[resumed, by_id]);
            let [line] = &lines[..] else {
                panic!("{lines:?}");
            };
            let rest = format!(
                "The id {id}, which is configured for it, is ignored. Remove that setting, or start a new run"
            );
            assert!(line.ends_with(&rest), "{line}");
        }
    }
}

/// Regression: the id was ignored without a warning.
#[test]
fn an_id_of_another_experiment_than_the_name_is_one_line() {
    let folder = Folder::new();
    let script = ["start one", "start two", "end one", "end two"];
    let said = |id: &str| {
        let environment = [
            ("MLFLOW_EXPERIMENT_NAME", "wine"),
            ("MLFLOW_EXPERIMENT_ID", id),
        ];
        let ended = folder.run(SCRIPTED, &script, &environment);
        let lines = ended
            .stderr
            .lines()
            .filter(|line| line.contains("EXPERIMENT"));
        let lines = lines.filter(|line| line.starts_with("mlflow: "));
        lines.map(str::to_owned).collect::<Vec<_>>()
    };
    let line = "mlflow: MLFLOW_EXPERIMENT_ID=7 is not used, as MLFLOW_EXPERIMENT_NAME names another experiment, whose id is \
                1. Unset one of them";
    assert_eq!(said("7"), [line]);
    assert_eq!(said("1"), [""; 0], "they agree");
    let runs = "select count(*) from runs join experiments using (experiment_id) where experiments.name = 'wine'";
    assert_eq!(one::<i64>(&folder.database(), runs), 4);
}

/// Regression: the returned number was at step 0 if its thread's values were read before those of the other
/// thread. If two points have the same millisecond, MLflow shows the greater value.
#[test]
fn a_returned_number_is_the_last_one_of_a_curve_that_another_thread_has_logged() {
    let folder = Folder::new();
    let ended = folder.run(SCRIPTED, &["curves 100"], &[]);
    assert!(ended.success, "{}", ended.stderr);
    let database = folder.database();
    let points = "select count(*) from metrics where key = 'loss'";
    assert_eq!(one::<i64>(&database, points), 100 * 201);
    let returned =
        "select count(*) from metrics where key = 'loss' and value = -0.5 and step = 199";
    assert_eq!(one::<i64>(&database, returned), 100);
    let latest =
        "select count(*) from latest_metrics where key = 'loss' and value = -0.5 and step = 199";
    assert_eq!(one::<i64>(&database, latest), 100);
}

/// Regression: the run's user was the user of the requests, but its tag `mlflow.user` named another one.
#[test]
fn the_user_of_a_run_and_its_tag_are_the_one_that_requests_come_from() {
    let server = Server::shared();
    let url = ("MLFLOW_TRACKING_URI", server.url());
    let users = |more: &[(&str, &str)]| {
        let folder = Folder::new();
        let environment = [&[url, ("LOGNAME", "root")][..], more].concat();
        let stderr = folder
            .run(SCRIPTED, &["start one", "end one"], &environment)
            .stderr;
        let id = stderr.trim().rsplit('/').next().expect("an id");
        let run = server.api().run(id);
        (run.user_id, run.tags["mlflow.user"].clone())
    };
    let both = |user: &str| (user.to_owned(), user.to_owned());
    assert_eq!(users(&[]), both("root"));
    let alice = ("MLFLOW_TRACKING_USERNAME", "alice");
    assert_eq!(users(&[alice]), both("alice"));
    let told = ("MLFLOW_RUN_CONTEXT", r#"{"mlflow.user": "ci"}"#);
    assert_eq!(users(&[alice, told]).1, "ci");
}

#[test]
fn quiet_means_quiet() {
    let folder = Folder::new();
    let server = Server::shared();
    let environment = [
        ("MLFLOW_TRACKING_URI", server.url()),
        ("MLFLOW_SUPPRESS_PRINTING_URL_TO_STDOUT", "true"),
    ];
    assert_eq!(folder.run(SWEEP, &[], &environment).stderr, "");
}

#[test]
fn a_run_given_by_its_id_goes_on() {
    let server = Server::shared();
    let folder = Folder::new();
    let uri = ("MLFLOW_TRACKING_URI", server.url());
    let experiment = ("MLFLOW_EXPERIMENT_NAME", "resumed");
    let first = folder.run(NUMBERS, &["first", "10", "1"], &[uri, experiment]);
    let (_, url) = first
        .stderr
        .rsplit_once('/')
        .expect("the run's page on stderr");
    let id = url.trim();
    let before = server.api().run(id);
    let second = folder.run(
        NUMBERS,
        &["second", "20", "2"],
        &[uri, ("MLFLOW_RUN_ID", id)],
    );
    assert_eq!(second.warnings(), [""; 0], "{}", second.stderr);
    let after = server.api().run(id);
    assert_eq!(after.name, "second", "it gets the name that is given");
    let without_name = |tags: &BTreeMap<String, String>| {
        let mut tags = tags.clone();
        tags.remove("mlflow.runName");
        tags
    };
    assert_eq!(without_name(&after.tags), without_name(&before.tags));
    assert_eq!(after.status, "FINISHED");
    assert!(after.end_time_ms > before.end_time_ms);
    assert_eq!(
        after.points["thread/0"].len(),
        30,
        "new points beside the old ones"
    );
    assert_eq!(after.points["thread/1"].len(), 20);
}
