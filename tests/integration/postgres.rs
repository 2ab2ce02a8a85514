//! Server with several workers and PostgreSQL: checks of behaviour that may differ there. The store
//! conformance suite and the main program run against such a server, too.

use std::collections::BTreeSet;
use std::sync::Barrier;
use std::thread;

use mlflow::store::{
    Batch, ExperimentRef, Metric, NewRun, Param, RestOptions, RestStore, Store, StoreError, Tag,
};

use crate::support::fault::Fault;
use crate::support::program::Folder;
use crate::support::proxy::Proxy;
use crate::support::rng::Rng;
use crate::support::scaled::Scaled;
use crate::support::{block_on, unique};

const NUMBERS: &str = env!("CARGO_BIN_EXE_numbers");
const TEXTS: &str = env!("CARGO_BIN_EXE_texts");

fn store(url: &str) -> RestStore {
    RestStore::new(RestOptions::new(url)).expect("a store")
}

/// Regression: the server answered 500 to a text with a NUL, and everything behind the text waited forever.
#[test]
fn a_text_with_nul_does_not_hold_up_what_comes_after_it() {
    let Some(scaled) = Scaled::shared() else {
        return;
    };
    let server = scaled.server();
    let folder = Folder::new();
    let ended = folder.run(TEXTS, &[], &[("MLFLOW_TRACKING_URI", server.url())]);
    assert!(ended.success, "{}", ended.stderr);
    let warnings = ended.warnings();
    assert_eq!(warnings.len(), 5, "{}", ended.stderr);
    assert!(
        warnings.iter().all(|line| line.contains("NUL")),
        "{warnings:?}"
    );
    assert_eq!(folder.journals_left(), 0, "all was delivered");

    let api = server.api();
    let runs = api.runs(&api.experiment("texts"));
    assert_eq!(runs.len(), 1);
    let run = api.run(&runs[0].0);
    assert_eq!(
        (run.name.as_str(), run.status.as_str()),
        ("na\u{fffd}me", "FINISHED")
    );
    assert_eq!(run.params["start"], "\u{fffd}");
    assert_eq!(run.tags["start"], "a\u{fffd}");
    assert_eq!(run.params["nul"], "a\u{fffd}b\u{fffd}");
    assert_eq!(run.tags["nul"], "a\u{fffd}b");
    assert_eq!(
        run.params["odd"],
        "\u{ffff}\u{10ffff}\u{301}\u{202e}\u{85}\\x00 %s 'q' \"q\""
    );
    assert_eq!(run.params["long"], "🦀".repeat(6000));
    for tag in ["long", "mlflow.note.content"] {
        assert_eq!(run.tags[tag], "🦀".repeat(8000));
    }
    let edge: Vec<f64> = run.points["edge"].iter().map(|point| point.value).collect();
    assert!(edge[0].is_nan());
    assert_eq!(edge[1..], [f64::MAX, f64::MIN]);
    assert_eq!(run.artifacts["nul.txt"], b"a\0b");
}

/// Older versions of the library may have written a NUL into their journals.
#[test]
fn a_store_given_a_nul_names_the_entry_and_takes_the_others() {
    let Some(scaled) = Scaled::shared() else {
        return;
    };
    block_on(async {
        let store = store(scaled.server().url());
        let experiment = ExperimentRef::Name(unique());
        let experiment_id = store.experiment(&experiment).await.expect("an experiment");
        let key = unique();
        let new = NewRun {
            key: &key,
            experiment_id: &experiment_id,
            name: "r",
            user_id: "",
            start_time_ms: 1,
            tags: &[],
        };
        let run = store.create_run(&new).await.expect("a run");
        let pair = |value: &str| ("k".to_owned(), value.to_owned());
        for value in ["a\0", "a"] {
            let (key, text) = pair(value);
            let params = [Param { key, value: text }];
            let (key, text) = pair(value);
            let tags = [Tag { key, value: text }];
            for batch in [
                Batch {
                    params: &params,
                    ..Batch::default()
                },
                Batch {
                    tags: &tags,
                    ..Batch::default()
                },
            ] {
                let logged = store.log_batch(&run, &batch).await;
                match (value, logged) {
                    ("a", Ok(())) => {}
                    ("a\0", Err(StoreError::Rejected { reason })) => {
                        assert!(reason.contains("NUL"), "{reason}");
                    }
                    (_, other) => panic!("{value:?}: {other:?}"),
                }
            }
        }
        let named = ExperimentRef::Name("a\0b".to_owned());
        match store.experiment(&named).await {
            Err(StoreError::Blocked {
                reason,
                everything: false,
            }) => assert!(reason.contains("NUL"), "{reason}"),
            other => panic!("{other:?}"),
        }
    });
}

/// Asserts that the experiment `numbers` has `processes` runs, each with `points` points under each of two
/// keys, every point once.
fn is_whole(scaled: &Scaled, processes: i64, points: i64) {
    let ask = |query: &str| scaled.postgres().ask(query);
    assert_eq!(
        ask("select count(*) from experiments where name = 'numbers'"),
        "1"
    );
    assert_eq!(
        ask(
            "select status, count(*), count(distinct runs.name) from runs \
             join experiments using (experiment_id) \
             where experiments.name = 'numbers' and runs.name <> 'next' \
             and runs.lifecycle_stage = 'active' group by status"
        ),
        format!("FINISHED|{processes}|{processes}")
    );
    assert_eq!(
        ask(
            "select count(*), count(distinct (run_uuid, key, step)), sum((value <> step)::int) \
             from metrics where key like 'thread/%'"
        ),
        format!("{0}|{0}|0", processes * points * 2)
    );
}

/// Runs programs that log at the same time, and `meanwhile`. Waits until the programs end.
fn log_at_once(url: &str, processes: i64, points: i64, meanwhile: impl FnOnce()) -> Vec<Folder> {
    let folders: Vec<Folder> = (0..processes).map(|_| Folder::new()).collect();
    let points = points.to_string();
    let living: Vec<_> = (0..)
        .zip(&folders)
        .map(|(process, folder)| {
            let arguments = [&format!("p{process}"), points.as_str(), "2"];
            folder.start(NUMBERS, &arguments, &[("MLFLOW_TRACKING_URI", url)])
        })
        .collect();
    meanwhile();
    for process in living {
        let ended = process.end();
        assert!(ended.success, "{}", ended.stderr);
    }
    folders
}

/// Runs a program in each folder that still has a journal, to ship it. A program whose first requests failed
/// ends without waiting, and leaves its journal.
fn sweep(url: &str, folders: &[Folder]) {
    for folder in folders.iter().filter(|folder| folder.journals_left() > 0) {
        let arguments = ["next", "0", "0"];
        let ended = folder.run(NUMBERS, &arguments, &[("MLFLOW_TRACKING_URI", url)]);
        assert_eq!(folder.journals_left(), 0, "{}", ended.stderr);
    }
}

/// A request is sent again while another worker may still execute the first one.
#[test]
fn what_is_sent_again_to_another_worker_is_absorbed() {
    let Some(scaled) = Scaled::start() else {
        return;
    };
    // The faults are random. In a fixed order of faults, programs that each make as many requests as the
    // order is long would meet the same fault forever.
    let mut rng = Rng::seeded();
    let proxy = Proxy::start(scaled.server().url(), move |_| match rng.below(7) {
        0 => Some(Fault::DropAnswer),
        1 => Some(Fault::CutAnswer),
        2 => Some(Fault::TooLate),
        3 => Some(Fault::Late),
        _ => None,
    });
    let folders = log_at_once(&proxy.url(), 8, 600, || {});
    proxy.heal();
    sweep(&proxy.url(), &folders);
    let counts = proxy.counts();
    assert!(counts.faults.len() == 4, "{counts:?}");
    is_whole(&scaled, 8, 600);
}

#[test]
fn a_database_that_cuts_its_connections_loses_nothing() {
    let Some(scaled) = Scaled::start() else {
        return;
    };
    let points = || -> i64 {
        let count = scaled.postgres().ask("select count(*) from metrics");
        count.parse().expect("a number")
    };
    let folders = log_at_once(scaled.server().url(), 4, 3_000, || {
        let cut = "select count(pg_terminate_backend(pid)) from pg_stat_activity \
                   where datname = 'mlflow' and pid <> pg_backend_pid()";
        // Connections are cut again after the programs have recovered from the cut before.
        for wanted in [0, 1, 4_000, 8_000] {
            while points() < wanted {
                thread::yield_now();
            }
            scaled.postgres().ask(cut);
        }
    });
    sweep(scaled.server().url(), &folders);
    is_whole(&scaled, 4, 3_000);
}

/// Two workers insert the latest value of a key. PostgreSQL refuses one of them, with an error code that a
/// bad value has, too.
#[test]
fn many_that_log_the_same_new_keys_at_once_are_not_refused() {
    const KEYS: i64 = 300;
    const CLIENTS: i64 = 8;
    let Some(scaled) = Scaled::shared() else {
        return;
    };
    let server = scaled.server();
    let experiment = ExperimentRef::Name(unique());
    let run = block_on(async {
        let store = store(server.url());
        let experiment_id = store.experiment(&experiment).await.expect("an experiment");
        let key = unique();
        let new = NewRun {
            key: &key,
            experiment_id: &experiment_id,
            name: "shared",
            user_id: "",
            start_time_ms: 1,
            tags: &[],
        };
        store.create_run(&new).await.expect("a run")
    });
    let together = Barrier::new(usize::try_from(CLIENTS).expect("a few"));
    // Each client shares most keys with the next one, but uses an order of its own.
    let key = |client: i64, number: i64| {
        let turned = if client % 2 == 0 {
            number
        } else {
            KEYS - 1 - number
        };
        format!("key/{}", client * 50 + turned)
    };
    let log = |client: i64| {
        let metrics: Vec<Metric> = (0..KEYS)
            .map(|number| Metric {
                key: key(client, number).into(),
                value: client as f64,
                timestamp_ms: 1,
                step: number,
            })
            .collect();
        let batch = Batch {
            metrics: &metrics,
            ..Batch::default()
        };
        together.wait();
        block_on(async {
            let store = store(server.url());
            loop {
                match store.log_batch(&run, &batch).await {
                    Ok(()) => return,
                    Err(StoreError::Unavailable { .. } | StoreError::Contested { .. }) => {}
                    Err(other) => panic!("{other:?}"),
                }
            }
        });
    };
    thread::scope(|scope| {
        for client in 0..CLIENTS {
            let log = &log;
            scope.spawn(move || log(client));
        }
    });
    let points = format!(
        "select count(*), count(distinct key) from metrics where run_uuid = '{}'",
        run.run_id
    );
    let keys: BTreeSet<String> = (0..CLIENTS)
        .flat_map(|client| (0..KEYS).map(move |number| key(client, number)))
        .collect();
    assert_eq!(
        scaled.postgres().ask(&points),
        format!("{}|{}", KEYS * CLIENTS, keys.len())
    );
}
