//! Ranks that find each other's run by a shared text, the rendezvous id.

use serde_json::json;

use super::{
    Launch, NUMBERS, STEPS, check, count, expect_no_warnings, experiment, runs, status, tag,
    wait_for_run,
};
use crate::support::mlflow::Server;
use crate::support::program::one;
use crate::support::unique;

const ID: &str = "MLFLOW_RENDEZVOUS_ID";

#[test]
fn ranks_with_one_rendezvous_have_one_run_whoever_comes_first() {
    let server = Server::shared();
    let api = server.api();
    let (name, id) = experiment(&api);
    let environment = [
        ("MLFLOW_TRACKING_URI", server.url()),
        ("MLFLOW_EXPERIMENT_NAME", &name),
        (ID, "job"),
    ];
    let launch = Launch::of(3, &environment);
    let mut early: Vec<_> = [1, 2]
        .map(|rank| {
            let place = launch.place(rank);
            let environment = launch.environment(&place);
            launch
                .folder
                .start(super::RANKS, &["nest", "wait"], &environment)
        })
        .into();
    for rank in &mut early {
        rank.wait_for_stdout("logged");
    }
    assert_eq!(api.runs(&id), [], "only rank 0 creates it");

    let first = launch.run(0, &["nest"]);
    let [shared] = &runs(&api, &id)["shared"][..] else {
        panic!("one run")
    };
    assert_eq!(shared.status, "FINISHED");
    for mut rank in early {
        rank.tell();
        expect_no_warnings(&[rank.end()]);
    }
    expect_no_warnings(&[first]);

    let ids = api.runs(&id);
    let runs = runs(&api, &id);
    let [shared] = &runs["shared"][..] else {
        panic!("one run")
    };
    check(shared, 3);
    assert_eq!(shared.points["after"].len(), 2);
    assert_eq!(shared.status, "FINISHED", "still");
    assert_eq!(shared.tags["distributed.rank"], "0", "its creator's");
    assert_eq!(shared.tags["distributed.world_size"], "3");
    for rank in 0..3 {
        let [fold] = &runs[&format!("fold-{rank}")][..] else {
            panic!("one child of each rank")
        };
        assert_eq!(fold.tags["distributed.rank"], rank.to_string());
        let parent = &fold.tags["mlflow.parentRunId"];
        let (is_run, _) = ids
            .iter()
            .find(|(id, _)| id == parent)
            .expect("a run of the store");
        assert_eq!(api.run(is_run).name, "shared");
    }
    assert_eq!(ids.len(), 4);
    assert_eq!(launch.folder.journals_left(), 0);
}

#[test]
fn what_one_rank_does_besides_does_not_shift_what_all_do() {
    let launch = Launch::of(3, &[(ID, "job")]);
    expect_no_warnings(&launch.run_all(|_| vec!["twice"]));
    let database = launch.folder.database();
    let ranks = "select count(distinct key) || ' ' || count(*) from metrics where key like 'by/%' group by run_uuid";
    let mut query = database.prepare(ranks).unwrap();
    let found = query.query_map([], |row| row.get(0)).unwrap();
    let found: Vec<String> = found.collect::<Result<_, _>>().unwrap();
    assert_eq!(found, ["3 300", "3 300"], "two runs of all ranks");
    let evaluated = "select count(*) from runs where name = 'evaluated' and status = 'FINISHED'";
    assert_eq!(one::<i64>(&database, evaluated), 1);
    let open = "select count(*) from runs where status = 'RUNNING'";
    assert_eq!(one::<i64>(&database, open), 0);
}

#[test]
fn a_call_of_one_rank_above_0_alone_keeps_no_value_of_others_back() {
    let launch = Launch::of(2, &[(ID, "job"), ("MLFLOW_EXIT_TIMEOUT", "3")]);
    launch.run(0, &["log"]);
    let ended = launch.run(1, &["alone"]);
    assert!(ended.stderr.contains("values wait in"), "{}", ended.stderr);
    let database = launch.folder.database();
    assert_eq!(count(&database, "by/1"), STEPS);
    assert_eq!(one::<i64>(&database, "select count(*) from runs"), 1);
    assert_eq!(launch.folder.journals_left(), 1);
}

#[test]
fn a_rank_that_fails_is_named_and_the_run_is_as_rank_0_ends_it() {
    let launch = Launch::of(3, &[(ID, "job")]);
    launch.run_all(|rank| match rank {
        1 => vec!["fail"],
        2 => vec!["panic"],
        _ => vec!["log"],
    });
    let database = launch.folder.database();
    assert_eq!(status(&database), "FINISHED");
    let tag = |key: &str| tag(&database, key);
    assert_eq!(tag("error.message"), None);
    let expected = [
        ("error.rank-1.message", "rank 1 has no data"),
        ("error.rank-1.status", "FAILED"),
        ("error.rank-2.message", "rank 2 has no memory"),
        ("error.rank-2.type", "panic"),
        ("error.rank-2.status", "FAILED"),
    ];
    for (key, value) in expected {
        assert_eq!(tag(key).as_deref(), Some(value), "{key}");
    }

    let launch = Launch::of(2, &[(ID, "job")]);
    launch.run_all(|rank| if rank == 0 { vec!["fail"] } else { vec!["log"] });
    let database = launch.folder.database();
    assert_eq!(status(&database), "FAILED");
    let message = super::tag(&database, "error.message");
    assert_eq!(message.as_deref(), Some("rank 0 has no data"));
    assert_eq!(super::tag(&database, "error.rank-0.status"), None);
}

#[test]
fn a_rank_that_was_killed_does_not_take_the_run_along() {
    let launch = Launch::of(2, &[(ID, "job")]);
    let places = [launch.place(0), launch.place(1)];
    let mut live = [0, 1].map(|rank| {
        let environment = launch.environment(&places[rank]);
        launch.folder.start(super::RANKS, &["wait"], &environment)
    });
    for rank in &mut live {
        rank.wait_for_stdout("logged");
    }
    let database = launch.folder.database();
    wait_for_run(&database);
    let [mut first, second] = live;
    second.kill();
    launch.folder.run(NUMBERS, &["next", "0", "0"], &[]);
    assert_eq!(count(&database, "by/1"), STEPS, "its values are there");
    assert_eq!(status(&database), "RUNNING", "rank 0 goes on");
    let killed = tag(&database, "error.rank-1.status");
    assert_eq!(killed.as_deref(), Some("KILLED"));

    first.tell();
    assert!(first.end().success);
    assert_eq!(status(&database), "FINISHED");
    assert_eq!(count(&database, "by/0"), STEPS);
    assert_eq!(launch.folder.journals_left(), 0);
}

#[test]
fn what_rank_0_left_is_closed_by_another_rank_that_goes_on() {
    let launch = Launch::of(2, &[(ID, "job")]);
    let places = [launch.place(0), launch.place(1)];
    let mut live = [0, 1].map(|rank| {
        let environment = launch.environment(&places[rank]);
        launch.folder.start(super::RANKS, &["wait"], &environment)
    });
    for rank in &mut live {
        rank.wait_for_stdout("logged");
    }
    let database = launch.folder.database();
    wait_for_run(&database);
    let [first, mut second] = live;
    first.kill();
    second.tell();
    assert!(second.end().success);
    assert_eq!(status(&database), "KILLED");
    for key in ["by/0", "by/1"] {
        assert_eq!(count(&database, key), STEPS, "{key}");
    }
    assert_eq!(launch.folder.journals_left(), 0);
}

#[test]
fn a_rank_whose_run_nobody_creates_leaves_and_its_values_wait_for_it() {
    let mut launch = Launch::of(2, &[(ID, "job"), ("MLFLOW_EXIT_TIMEOUT", "0.2")]);
    let ended = launch.run(1, &["nest"]);
    expect_no_warnings(std::slice::from_ref(&ended));
    assert!(ended.stderr.contains("values wait in"), "{}", ended.stderr);
    launch.environment.pop();
    // The program that ships the journal does not create the run, either.
    launch.folder.run(NUMBERS, &["next", "0", "0"], &[]);
    let database = launch.folder.database();
    let runs = "select count(*) from runs where name != 'next'";
    assert_eq!(one::<i64>(&database, runs), 0);
    assert_eq!(launch.folder.journals_left(), 1);

    launch.run(0, &["log"]);
    launch.folder.run(NUMBERS, &["last", "0", "0"], &[]);
    assert_eq!(launch.folder.journals_left(), 0);
    assert_eq!(count(&database, "by/1"), STEPS);
    assert_eq!(status(&database), "FINISHED");
    let parent = "select count(*) from tags join runs using (run_uuid) where name = 'fold-1' and \
                  key = 'mlflow.parentRunId' and value = (select run_uuid from runs where name = 'shared')";
    assert_eq!(one::<i64>(&database, parent), 1);
}

#[test]
fn a_job_that_is_queued_again_finds_its_run() {
    let server = Server::shared();
    let api = server.api();
    let (name, id) = experiment(&api);
    let job = unique();
    let environment = [
        ("MLFLOW_TRACKING_URI", server.url()),
        ("MLFLOW_EXPERIMENT_NAME", &name),
        (ID, &job),
    ];
    let launch = Launch::of(2, &environment);
    let place = launch.place(0);
    let environment = launch.environment(&place);
    let mut first = launch.folder.start(super::RANKS, &["wait"], &environment);
    first.wait_for_stdout("logged");
    first.kill();

    for points in [2 * STEPS, 3 * STEPS] {
        expect_no_warnings(&launch.run_all(|_| vec!["log"]));
        let runs = runs(&api, &id);
        let [run] = &runs["shared"][..] else {
            panic!("one run")
        };
        assert_eq!(run.status, "FINISHED");
        assert_eq!(run.points["by/0"].len(), points);
        assert_eq!(run.points["by/1"].len(), points - STEPS);
    }
    let other = Launch::of(
        1,
        &[
            ("MLFLOW_TRACKING_URI", server.url()),
            ("MLFLOW_EXPERIMENT_NAME", &name),
            (ID, "another job"),
        ],
    );
    other.run(0, &["log"]);
    assert_eq!(runs(&api, &id)["shared"].len(), 2);
}

#[test]
fn a_run_given_by_its_id_wins_over_the_rendezvous() {
    let mut launch = Launch::of(2, &[(ID, "job")]);
    launch.folder.run(NUMBERS, &["shared", "0", "0"], &[]);
    let database = launch.folder.database();
    let id = one(&database, "select run_uuid from runs");
    launch.environment.push(("MLFLOW_RUN_ID", id));
    expect_no_warnings(&launch.run_all(|_| vec!["log"]));
    assert_eq!(one::<i64>(&database, "select count(*) from runs"), 1);
    assert_eq!(count(&database, "by/1"), STEPS);
}

/// Every rank returns a copy of the model.
#[test]
fn a_model_that_all_ranks_return_is_logged_once() {
    let server = Server::shared();
    let api = server.api();
    let (name, id) = experiment(&api);
    let environment = [
        ("MLFLOW_TRACKING_URI", server.url()),
        ("MLFLOW_EXPERIMENT_NAME", &name),
        (ID, "job"),
    ];
    let launch = Launch::of(3, &environment);
    expect_no_warnings(&launch.run_all(|_| vec!["model"]));
    let found = api.post("logged-models/search", &json!({ "experiment_ids": [id] }));
    let models = found["models"].as_array().unwrap();
    assert_eq!(models.len(), 1, "{found:#}");
    assert_eq!(models[0]["info"]["status"], "LOGGED_MODEL_READY");
    assert_eq!(launch.folder.journals_left(), 0);
}
