//! Cuts of a store's connections in the middle of a commit, at random moments.
//!
//! A client whose connection is cut then cannot know whether its transaction was committed. The server makes each
//! commit wait for a moment before it is written, so that a cut meets it.

use std::sync::atomic::{AtomicBool, Ordering};
use std::thread;
use std::time::Duration;

use crate::kills::moment_within;
use crate::support::postgres::Postgres;
use crate::support::rng::Rng;

/// Time for which each commit waits, in microseconds.
const COMMIT_DELAY_US: u32 = 10_000;
/// Longest time between two cuts.
const LONGEST: Duration = Duration::from_millis(500);

/// Function that ends the connections of which a commit is under way, and waits for one up to a second. Returns their
/// number.
const CUT: &str = "
create function cut_during_commit() returns bigint language plpgsql as $$
declare
    cut bigint;
begin
    for attempt in 1..1000 loop
        perform pg_stat_clear_snapshot();
        select count(*) filter (where pg_terminate_backend(pid)) into cut from pg_stat_activity
        where application_name = 'mlflow-runtime' and state = 'active' and query = 'COMMIT';
        exit when cut > 0;
        perform pg_sleep(0.001);
    end loop;
    return cut;
end $$";

/// Prepares a server for cuts.
pub(crate) fn prepare(server: &Postgres) {
    server.query("postgres", CUT);
    for (setting, value) in [("commit_delay", COMMIT_DELAY_US), ("commit_siblings", 0)] {
        let set = format!("alter system set {setting} = {value}");
        server.query("postgres", &set);
    }
    server.query("postgres", "select pg_reload_conf()");
}

/// Cuts connections until `is_over`. Returns the number of cuts.
pub(crate) fn cut(server: &Postgres, mut rng: Rng, is_over: &AtomicBool) -> u64 {
    let mut cuts = 0;
    while !is_over.load(Ordering::Relaxed) {
        thread::sleep(moment_within(&mut rng, LONGEST));
        let cut = server.query("postgres", "select cut_during_commit()");
        cuts += cut.parse::<u64>().unwrap();
    }
    cuts
}
