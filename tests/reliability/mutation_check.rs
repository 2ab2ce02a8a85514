//! Check of the comparison itself: each kind of damage, done to the rows of a sound store, has to be found.

use std::path::PathBuf;

use rusqlite::Connection;

use crate::ledger::{self, Fault, Life};
use crate::plan::{self, Mark, THREADS};

/// Does each kind of damage in turn, checks that the comparison finds the damage, and rolls it back.
pub(crate) fn all(mut database: Connection, lives: &[Life], artifacts: &dyn Fn(&str) -> PathBuf) {
    let life = lives
        .iter()
        .find(|life| (0..THREADS).all(|thread| life.acknowledged(Mark::Values, thread) > 10))
        .expect("a life that logged something");
    let run = |thread: &str| {
        format!(
            "(select run_uuid from runs where name = 'life-{}{thread}')",
            life.number
        )
    };
    let (whole, round) = (run(""), run("-thread-1-round-0"));
    let damages = [
        (
            Fault::ValueLost,
            format!("delete from metrics where run_uuid = {round} and step = 5"),
        ),
        (
            Fault::ValueDoubled,
            format!(
                "insert into metrics (key, value, timestamp, run_uuid, step, is_nan)
                 select key, value, timestamp + 1, run_uuid, step, is_nan from metrics where run_uuid = {round} and step = 5"
            ),
        ),
        (
            Fault::ValueStrange,
            format!("update metrics set value = value + 1 where run_uuid = {round} and step = 5"),
        ),
        (
            Fault::LatestWrong,
            format!("update latest_metrics set step = 0 where run_uuid = {round}"),
        ),
        (
            Fault::RunLost,
            format!("update runs set name = 'none' where run_uuid = {round}"),
        ),
        (
            Fault::RunDoubled,
            format!(
                "insert into runs (run_uuid, name, status, lifecycle_stage, artifact_uri, experiment_id)
                 select 'twin', name, status, lifecycle_stage, artifact_uri, experiment_id from runs where run_uuid = {whole}"
            ),
        ),
        (
            Fault::RunOpen,
            format!("update runs set status = 'RUNNING' where run_uuid = {whole}"),
        ),
        (
            Fault::RunWrong,
            format!("delete from params where run_uuid = {whole}"),
        ),
        (
            Fault::TagWrong,
            format!(
                "update tags set value = '0' where run_uuid = {whole} and key = '{}'",
                plan::TAG
            ),
        ),
        (
            Fault::NotesLost,
            format!("update runs set artifact_uri = '/nowhere' where run_uuid = {round}"),
        ),
    ];
    for (fault, damage) in damages {
        let transaction = database.transaction().unwrap();
        assert!(transaction.execute(&damage, []).unwrap() > 0, "{fault:?}");
        let verdict = ledger::compare(&transaction, lives, artifacts);
        assert!(verdict.count(fault) > 0, "{fault:?} is not noticed");
    }
}
