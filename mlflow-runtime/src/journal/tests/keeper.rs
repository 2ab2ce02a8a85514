//! The device is asked, and a segment is ready.

use std::fs;
use std::thread;
use std::time::{Duration, Instant};

use super::*;
use crate::journal::LARGE;
use crate::store::RunStatus;

/// Waits for another thread to get there.
fn until(what: &str, condition: impl Fn() -> bool) {
    let begun = Instant::now();
    while !condition() {
        assert!(begun.elapsed() < Duration::from_secs(60), "{what}");
        thread::yield_now();
    }
}

#[test]
fn the_device_is_asked_to_keep_a_run_that_has_ended() {
    let folder = Folder::new();
    let journal = journal(&folder);
    let end = Event::End {
        status: RunStatus::Finished,
        end_time_ms: 1,
    };
    // The second and third come while the device is in peace.
    for step in 0..3 {
        log(&journal, MetricKey::Dynamic("loss"), step);
        assert!(journal.is_dirty());
        assert!(tell(&journal, &end, &[]));
        until("nobody has synced", || !journal.is_dirty());
    }
}

#[test]
fn a_thread_that_logs_much_finds_a_segment_ready() {
    let folder = Folder::new();
    let journal = journal(&folder);
    let large = || {
        let mut all = journal.segments();
        all.retain(|segment| segment.size_bytes() == LARGE);
        all
    };
    let mut step = 0;
    let mut log_until = |count| {
        while large().len() < count {
            for _ in 0..1000 {
                log(&journal, MetricKey::Dynamic("loss"), step);
                step += 1;
            }
        }
    };
    log_until(1);
    until("no spare segment", || spares(&folder) == 1);
    log_until(2);
    let newest = large().pop().expect("two");
    let (_, metrics, whole) = records(&newest.read().expect("readable"));
    assert!(whole && metrics.len() <= 1000);
    // It is delivered, and there is a spare one already.
    until("no spare segment", || spares(&folder) == 1);
    let delivered = large().remove(0);
    journal.retire(&delivered);
    assert!(!delivered.file().expect("a file").exists());
}

/// Spare segments beside the others.
fn spares(folder: &Folder) -> usize {
    let directories = fs::read_dir(&folder.0).expect("readable").flatten();
    directories
        .filter_map(|directory| fs::read_dir(directory.path()).ok())
        .flat_map(Iterator::flatten)
        .filter(|file| file.path().extension().is_some_and(|e| e == "spare"))
        .count()
}
