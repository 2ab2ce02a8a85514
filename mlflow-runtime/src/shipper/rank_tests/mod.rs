//! Tests of ranks that share a run: which rank starts and ends the run, and how the orphaned journal of a
//! rank is shipped. With journals on disk and a store in memory.

mod process;

use std::sync::Arc;
use std::time::{Duration, Instant};

use process::{Folder, Left, Process};

use crate::journal::segment::Segment;
use crate::journal::{RunRef, release_thread};
use crate::model::RunStatus;
use crate::model::{Role, RunIdentity};
use crate::shipper::{Delivery, JournalReader, Shipper, StepOutcome};
use crate::store::MemoryStore;

/// Delivers everything in the journal, and asserts that nothing waits.
fn ship(reader: &mut JournalReader, store: &MemoryStore) {
    assert!(try_to_ship(reader, store));
}

/// Delivers the journal. Returns false if a run is parked.
fn try_to_ship(reader: &mut JournalReader, store: &MemoryStore) -> bool {
    let mut delivery = Delivery::new(Box::new(store.clone()), Arc::default(), true);
    let mut read_batch = reader.read(1000);
    let delivered = block_on(async {
        reader.parked.retry_by(tokio::time::Instant::now());
        delivery.deliver_parked(reader).await?;
        delivery.deliver(reader, &mut read_batch).await
    });
    delivered.expect("the store takes it");
    reader.acknowledge(&read_batch);
    reader.parked.is_empty()
}

/// Delivers an orphaned journal completely, and closes its open runs.
fn recover(left: Left, store: &MemoryStore) {
    let Left {
        _folder,
        mut reader,
    } = left;
    ship(&mut reader, store);
    let nobody = Process::start(Role::Owner);
    let mut delivery = Delivery::new(Box::new(store.clone()), Arc::default(), true);
    block_on(delivery.close_open_runs(&mut reader, &nobody.reader(), &|| false))
        .expect("the store takes it");
    reader.remove();
}

fn block_on<T>(future: impl Future<Output = T>) -> T {
    tokio::runtime::Builder::new_current_thread()
        .build()
        .expect("a runtime")
        .block_on(future)
}

/// Returns status, number of points and attempt of the only run.
fn only(store: &MemoryStore) -> (RunStatus, usize, String) {
    let [run] = &store.runs()[..] else {
        panic!("one run")
    };
    let attempt = run.tags["attempt"].clone();
    (run.status, run.metrics.len(), attempt)
}

/// Runs an earlier launch to its end, and returns its attempt.
fn earlier(store: &MemoryStore) -> String {
    let first = Process::start(Role::Leader);
    first.log_metric(0);
    first.end(RunStatus::Finished);
    let attempt = first.attempt();
    ship(&mut first.reader(), store);
    assert_eq!(only(store), (RunStatus::Finished, 1, attempt.clone()));
    attempt
}

#[test]
fn rank_0_goes_on_with_the_run_of_an_earlier_launch() {
    let store = MemoryStore::new();
    earlier(&store);
    let again = Process::start(Role::Leader);
    again.log_metric(1);
    ship(&mut again.reader(), &store);
    let attempt = again.attempt();
    assert_eq!(only(&store), (RunStatus::Running, 2, attempt));
}

#[test]
fn what_a_dead_rank_0_left_does_not_set_a_run_going_that_has_ended() {
    let store = MemoryStore::new();
    let dead = Process::start(Role::Leader);
    dead.log_metric(1);
    let attempt = earlier(&store);
    recover(dead.die(), &store);
    assert_eq!(only(&store), (RunStatus::Finished, 2, attempt));
}

#[test]
fn what_a_dead_rank_0_left_becomes_a_run_if_there_is_none() {
    let store = MemoryStore::new();
    let dead = Process::start(Role::Leader);
    dead.log_metric(1);
    recover(dead.die(), &store);
    let (status, points, _) = only(&store);
    assert_eq!((status, points), (RunStatus::Killed, 1));
}

#[test]
fn another_rank_waits_for_the_run_and_leaves_its_status_as_it_is() {
    let store = MemoryStore::new();
    let member = Process::start(Role::Member { rank: 1 });
    member.log_metric(1);
    let mut reader = member.reader();
    assert!(!try_to_ship(&mut reader, &store), "it is waited for");
    assert_eq!(store.runs(), []);
    let leader = Process::start(Role::Leader);
    ship(&mut leader.reader(), &store);
    ship(&mut reader, &store);
    member.end(RunStatus::Failed);
    ship(&mut reader, &store);
    let (status, points, _) = only(&store);
    assert_eq!((status, points), (RunStatus::Running, 1));
    assert_eq!(store.runs()[0].tags["error.rank-1.status"], "FAILED");
    leader.end(RunStatus::Finished);
    ship(&mut leader.reader(), &store);
    assert_eq!(only(&store).0, RunStatus::Finished);
}

/// Other ranks of the next attempt find the journal of the killed rank 0 first. They would close the run that
/// the new rank 0 is using, or create a duplicate of it.
#[test]
fn what_rank_0_left_is_not_touched_by_a_rank_that_goes_on_with_its_run() {
    let store = MemoryStore::new();
    let dead = Process::start(Role::Leader).die();
    let member = Process::start(Role::Member { rank: 1 });
    let mut live = member.reader();
    assert!(
        !dead.reader.runs.are_led_by_live_rank0(&live.runs),
        "nothing is known yet"
    );
    assert!(!try_to_ship(&mut live, &store));
    assert!(dead.reader.runs.are_led_by_live_rank0(&live.runs));
    let other = Process::start(Role::Member { rank: 2 }).die();
    assert!(
        !other.reader.runs.are_led_by_live_rank0(&live.runs),
        "that was not rank 0"
    );

    earlier(&store);
    member.end(RunStatus::Finished);
    ship(&mut live, &store);
    assert!(
        !dead.reader.runs.are_led_by_live_rank0(&live.runs),
        "it has left the run"
    );
}

/// Rank 1 alone calls another function: no rank creates that run, and the shared run continues.
#[test]
fn a_run_that_rank_0_never_starts_keeps_nothing_else_back() {
    let store = MemoryStore::new();
    let leader = Process::start(Role::Leader);
    ship(&mut leader.reader(), &store);
    let member = Process::start(Role::Member { rank: 1 });
    let other = RunIdentity {
        key: "a".repeat(32),
        ..member.identity.clone()
    };
    let alone = RunRef {
        number: 2,
        identity: &other,
        inherited: false,
    };
    member.log_start(&alone);
    member.log_metric_to(&alone, 0);
    let mut reader = member.reader();
    for step in 0..3 {
        member.log_metric(step);
        member.log_metric_to(&alone, step + 1);
        assert!(!try_to_ship(&mut reader, &store), "one is waited for");
        let (_, points, _) = only(&store);
        assert_eq!(points, usize::try_from(step).unwrap() + 1);
    }
    let copies = |segment: &Arc<Segment>| segment.is_copy();
    assert_eq!(
        member
            .journal
            .segments()
            .iter()
            .filter(|one| copies(one))
            .count(),
        1,
        "what waits lies apart"
    );

    let late = Process::start(Role::Leader);
    let identity = &RunIdentity {
        role: Role::Leader,
        ..other.clone()
    };
    late.log_start(&RunRef { identity, ..alone });
    ship(&mut late.reader(), &store);
    ship(&mut reader, &store);
    let runs = store.runs();
    let there = runs.iter().find(|run| run.run_id != runs[0].run_id);
    let steps = there.unwrap().metrics.iter().map(|point| point.step);
    assert_eq!(steps.collect::<Vec<_>>(), [0, 1, 2, 3], "in order, once");
    assert_eq!(runs[0].metrics.len(), 3);
}

/// A job is queued again, on this host or another, before the journal of its first rank 0 is shipped.
#[test]
fn the_end_that_a_dead_rank_0_left_does_not_end_the_run_that_a_later_one_goes_on_with() {
    for told in [true, false] {
        let store = MemoryStore::new();
        let dead = Process::start(Role::Leader);
        ship(&mut dead.reader(), &store);
        if told {
            dead.end(RunStatus::Failed);
        }
        let again = Process::start_at(100, Role::Leader);
        ship(&mut again.reader(), &store);
        recover(dead.die(), &store);
        assert_eq!(only(&store).0, RunStatus::Running, "told: {told}");
        again.end(RunStatus::Finished);
        ship(&mut again.reader(), &store);
        assert_eq!(only(&store).0, RunStatus::Finished);
        assert_eq!(store.runs()[0].end_time_ms, Some(108));
    }
}

#[test]
fn the_end_that_a_dead_rank_0_left_ends_the_run_if_nobody_goes_on_with_it() {
    let store = MemoryStore::new();
    let dead = Process::start(Role::Leader);
    ship(&mut dead.reader(), &store);
    dead.end(RunStatus::Finished);
    recover(dead.die(), &store);
    assert_eq!(only(&store).0, RunStatus::Finished);
    // Nothing of the second attempt has reached the store.
    let second = Process::start_at(100, Role::Leader);
    second.end(RunStatus::Failed);
    recover(second.die(), &store);
    assert_eq!(only(&store).0, RunStatus::Failed);
    assert_eq!(store.runs()[0].end_time_ms, Some(108));
}

/// Rank 0 and all other ranks terminated before the run was created.
#[test]
fn what_a_dead_rank_0_left_is_shipped_before_what_others_left_for_its_run() {
    let folder = Folder::new();
    let store = MemoryStore::new();
    let roles = (1..6).map(|rank| Role::Member { rank });
    for role in roles.chain([Role::Leader]) {
        let process = Process::start_in(&folder, 1, role);
        process.log_metric(match role {
            Role::Member { rank } => rank.into(),
            _ => 0,
        });
        release_thread(&process.journal);
    }
    let begun = Instant::now();
    while folder.left_behind().count() < 6 {
        assert!(begun.elapsed() < Duration::from_secs(60), "nothing is left");
        std::thread::yield_now();
    }
    let delivery = Delivery::new(Box::new(store.clone()), Arc::default(), true);
    let nobody = Process::start(Role::Owner);
    let mut shipper = Shipper::new(delivery, nobody.reader());
    shipper.orphaned = vec![folder.left_behind()];
    while block_on(shipper.step_orphan(&|| false)).expect("the store takes it") != StepOutcome::Idle
    {
    }
    let (status, points, _) = only(&store);
    assert_eq!((status, points), (RunStatus::Killed, 6));
    assert_eq!(folder.left_behind().count(), 0);
}

#[test]
fn a_rank_that_failed_in_an_earlier_attempt_is_not_failed_for_good() {
    let store = MemoryStore::new();
    ship(&mut Process::start(Role::Leader).reader(), &store);
    let status = |rank, end| {
        let member = Process::start(Role::Member { rank });
        member.end(end);
        ship(&mut member.reader(), &store);
        let key = format!("error.rank-{rank}.status");
        store.runs()[0].tags.get(&key).cloned()
    };
    assert_eq!(status(1, RunStatus::Failed).as_deref(), Some("FAILED"));
    assert_eq!(status(1, RunStatus::Finished).as_deref(), Some("FINISHED"));
    assert_eq!(status(2, RunStatus::Finished), None, "it never failed");
}

#[test]
fn a_process_forked_from_another_rank_waits_for_rank_0_as_that_rank_does() {
    let store = MemoryStore::new();
    let forked = Process::start(Role::Owner);
    let identity = &RunIdentity {
        key: "a".repeat(32),
        role: Role::Member { rank: 1 },
        ..forked.identity.clone()
    };
    let joined = RunRef {
        number: 2,
        identity,
        inherited: true,
    };
    forked.log_metric_to(&joined, 0);
    let mut reader = forked.reader();
    assert!(!try_to_ship(&mut reader, &store));
    assert_eq!(
        reader.runs.role(2),
        Role::Guest,
        "it keeps to that rank's rules"
    );
    assert_eq!(
        reader.runs.waiting_time(2, false),
        None,
        "what it leaves is held"
    );

    let leader = Process::start(Role::Leader);
    let identity = &RunIdentity {
        role: Role::Leader,
        ..identity.clone()
    };
    let inherited = false;
    leader.log_start(&RunRef {
        number: 2,
        identity,
        inherited,
    });
    ship(&mut leader.reader(), &store);
    ship(&mut reader, &store);
    let runs = store.runs();
    assert!(
        runs.iter()
            .any(|run| run.run_id != runs[0].run_id && run.metrics.len() == 1)
    );
}
