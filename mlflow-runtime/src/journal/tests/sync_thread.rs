//! Tests of syncs, and of preallocated segments.

use std::fs;
use std::thread;
use std::time::{Duration, Instant};

use super::*;
use crate::journal::LARGE_SEGMENT_BYTES;
use crate::journal::record::ArtifactLocation;
use crate::journal::spool::SpooledArtifact;
use crate::model::{ArtifactKind, RunStatus};

/// Waits until another thread has made the condition true.
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
    // The second and third run end within the least interval between two syncs.
    for step in 0..3 {
        log(&journal, "loss", step);
        assert!(journal.is_dirty());
        assert!(tell(&journal, &end, &[]));
        until("nobody has synced", || !journal.is_dirty());
    }
}

/// Before, a loss of power could leave the event on the device without its copy, and the copy was delivered
/// as it was: empty.
#[test]
fn the_device_is_asked_for_a_copy_when_it_is_asked_for_its_event() {
    let folder = Folder::new();
    let journal = journal(&folder);
    let copy = journal.write_artifact(&[7; 100_000]).expect("on disk");
    let Ok(SpooledArtifact { name, fingerprint }) = copy else {
        panic!("the folder can be written");
    };
    assert_eq!(journal.spool.unsynced_count(), 1);
    let event = Event::Artifact {
        path: "a.bin".into(),
        kind: ArtifactKind::File,
        content: ArtifactLocation::Spooled(name.into()),
        fingerprint: Some(fingerprint),
    };
    assert!(tell(&journal, &event, &[]));
    journal.sync();
    assert!(!journal.is_dirty());
    assert_eq!(journal.spool.unsynced_count(), 0);
    assert_eq!(journal.artifact_bytes(), 100_000);
}

/// An event appended meanwhile may name a copy that was not synced.
#[test]
fn what_comes_after_the_copies_were_looked_at_waits_for_the_next_time() {
    let folder = Folder::new();
    let journal = journal(&folder);
    log(&journal, "loss", 1);
    let segment = journal.segments().pop().expect("one");
    let before = segment.extent();
    log(&journal, "loss", 2);
    segment.sync(before).expect("the device takes it");
    assert!(segment.is_dirty());
    segment.sync(segment.extent()).expect("the device takes it");
    assert!(!segment.is_dirty());
}

#[test]
fn a_thread_that_logs_much_finds_a_segment_ready() {
    let folder = Folder::new();
    let journal = journal(&folder);
    let large = || {
        let mut all = journal.segments();
        all.retain(|segment| segment.size_bytes() == LARGE_SEGMENT_BYTES);
        all
    };
    let mut step = 0;
    let mut log_until = |count| {
        while large().len() < count {
            for _ in 0..1000 {
                log(&journal, "loss", step);
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
    // The segment is delivered while a preallocated one is ready.
    until("no spare segment", || spares(&folder) == 1);
    let delivered = large().remove(0);
    journal.retire(&delivered);
    assert!(!delivered.file().expect("a file").exists());
}

/// Returns the number of preallocated segments beside the others.
fn spares(folder: &Folder) -> usize {
    let directories = fs::read_dir(&folder.0).expect("readable").flatten();
    directories
        .filter_map(|directory| fs::read_dir(directory.path()).ok())
        .flat_map(Iterator::flatten)
        .filter(|file| file.path().extension().is_some_and(|e| e == "spare"))
        .count()
}
