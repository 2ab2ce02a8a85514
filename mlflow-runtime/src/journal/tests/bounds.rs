//! Tests of the quota, and of what happens to values beyond it.

use std::borrow::Cow;
use std::fs;
use std::sync::Arc;
use std::sync::mpsc;
use std::thread;
use std::time::Duration;

use tracing_subscriber::layer::{Context, Layer, SubscriberExt as _};

use super::*;
use crate::journal::record::ArtifactLocation;
use crate::journal::{DropReason, release_thread};
use crate::model::{ArtifactKind, Param, RunStatus};

#[test]
fn metrics_beyond_the_cap_are_dropped_and_counted_and_events_are_not() {
    let folder = Folder::new();
    let journal =
        Journal::on_disk(folder.0.clone(), origin("here"), 256 << 10, "").expect("writable");
    for step in 0..10_000 {
        log(&journal, "loss", step);
    }
    assert!(journal.dropped(DropReason::JournalFull) > 0);
    let dropped = journal.dropped(DropReason::JournalFull);
    assert_eq!(dropped + journal.value_count(), 10_000);
    assert_eq!(journal.dropped(DropReason::MemoryFull), 0);
    let end = Event::End {
        status: RunStatus::Finished,
        end_time_ms: 1,
    };
    assert!(tell(&journal, &end, &[]), "an outcome is never dropped");
}

#[test]
fn a_disk_that_had_no_room_is_used_when_it_has_some() {
    let folder = Folder::new();
    let root = folder.0.join("journal");
    let journal = Journal::on_disk(root.clone(), origin("here"), 1 << 30, "").expect("writable");
    fs::remove_dir_all(&root).expect("nobody uses it yet");
    fs::write(&root, "no directory").expect("writable");
    let dropped = || journal.dropped(DropReason::MemoryFull);
    let mut step = 0;
    let mut log_next = || {
        step += 1;
        log(&journal, "loss", step);
    };
    while dropped() == 0 {
        log_next();
    }
    fs::remove_file(&root).expect("it is there");
    let before = journal.value_count();
    while journal.value_count() == before {
        log_next();
    }
    assert_eq!(
        journal.value_count() + dropped(),
        u64::try_from(step).expect("a count")
    );
    assert!(root.is_dir());
}

#[test]
fn room_beyond_the_cap_is_for_what_is_essential_only() {
    let folder = Folder::new();
    let journal = Journal::on_disk(folder.0.clone(), origin("here"), 0, "").expect("writable");
    let param = Event::Param(Cow::Owned(Param {
        key: "alpha".to_owned(),
        value: "0.5".to_owned(),
    }));
    let artifact = Event::Artifact {
        path: "notes.txt".into(),
        kind: ArtifactKind::File,
        content: ArtifactLocation::Attached,
        fingerprint: None,
    };
    for step in 0..1000 {
        assert!(tell(&journal, &param, &[]));
        log(&journal, "loss", step);
        assert!(!tell(&journal, &artifact, b"small"));
    }
    assert_eq!(journal.value_count(), 1000);
    assert_eq!(journal.dropped(DropReason::JournalFull), 2000);
    assert!(
        journal.used_bytes() <= 256 << 10,
        "one small segment after the other"
    );
}

/// Regression: the bytes of a copy were released from the bytes of the segments, which then counted as fewer than
/// none, so the journal counted as full.
#[test]
fn a_copy_whose_file_was_removed_takes_nothing_of_the_other_segments() {
    let folder = Folder::new();
    let journal =
        Journal::on_disk(folder.0.clone(), origin("here"), 1 << 20, "").expect("writable");
    log(&journal, "loss", 1);
    let (used, values) = (journal.used_bytes(), journal.value_count());
    let (copy, _appender) = journal.open_copy(4 << 10).expect("writable");
    journal.record_copy_growth(&copy, 64 << 10);
    fs::remove_file(copy.file().expect("on disk")).expect("it is ours");
    assert!(journal.retire_removed(&copy, 3));
    assert_eq!(journal.used_bytes(), used);
    assert_eq!(journal.value_count(), values);
    assert!(journal.copies_fit());
    assert!(!journal.segments().iter().any(|segment| segment.is_copy()));
}

#[test]
fn what_is_left_of_reserved_room_is_used_when_there_is_room_again() {
    let folder = Folder::new();
    let journal =
        Journal::on_disk(folder.0.clone(), origin("here"), 100 << 10, "").expect("writable");
    assert!(journal.reserve_console_bytes(90 << 10), "a console");
    let end = Event::End {
        status: RunStatus::Finished,
        end_time_ms: 1,
    };
    assert!(tell(&journal, &end, &[]));
    log(&journal, "loss", 1);
    assert_eq!(journal.value_count(), 1, "the metric found no room");
    journal.release_console_bytes(90 << 10);
    log(&journal, "loss", 2);
    assert_eq!(journal.value_count(), 2);
    assert_eq!(journal.segments().len(), 1);
}

/// Subscriber that logs a value for each warning, as one that turns events into metrics may do.
struct Logs(Arc<Journal>);

impl<S: tracing::Subscriber> Layer<S> for Logs {
    fn on_event(&self, _event: &tracing::Event<'_>, _context: Context<'_, S>) {
        log(&self.0, "warnings", 1);
    }
}

#[test]
fn a_warning_to_a_subscriber_that_logs_waits_for_nobody() {
    let (done, ended) = mpsc::channel();
    thread::spawn(move || {
        let preallocated = super::super::PreallocatedSegments::new(None);
        let storage = super::super::Storage::Memory;
        let journal = Arc::new(Journal::new(storage, origin("here"), 0, "", preallocated));
        let subscriber = tracing_subscriber::registry().with(Logs(Arc::clone(&journal)));
        tracing::subscriber::with_default(subscriber, || {
            // A destructor does the same while the thread's own writer is in use.
            with_writer(&journal, |_| log(&journal, "loss", 1));
        });
        let _ = done.send(journal.dropped(DropReason::JournalFull));
    });
    let dropped = ended.recv_timeout(Duration::from_secs(60));
    assert_eq!(dropped, Ok(2), "the value, and the warning's");
}

#[test]
fn a_directory_that_was_removed_is_made_anew() {
    let folder = Folder::new();
    let journal = journal(&folder);
    log(&journal, "loss", 1);
    let before = journal.path().expect("it lies on disk");
    fs::remove_dir_all(&before).expect("it is there");
    for step in 0..10_000 {
        log(&journal, "loss", step);
    }
    let after = journal.path().expect("it lies on disk");
    assert_ne!(before, after);
    assert!(journal.values_in_memory() == 0 && journal.segments().len() > 1);
    let newest = journal.segments().pop().expect("several");
    assert!(
        newest
            .file()
            .is_some_and(|file| file.starts_with(&after) && file.exists())
    );
    assert!(after.join("lock").exists(), "nobody ships it meanwhile");
}

#[test]
fn threads_that_come_and_go_take_the_room_of_one() {
    let folder = Folder::new();
    let journal = journal(&folder);
    for step in 0..200 {
        let journal = Arc::clone(&journal);
        thread::spawn(move || log(&journal, "loss", step))
            .join()
            .expect("no panic");
    }
    assert_eq!(journal.segments().len(), 1);
    let (keys, metrics, whole) = records(&journal.segments()[0].read().expect("readable"));
    assert!(whole);
    assert_eq!(keys, ["loss"], "what one thread defined serves the next");
    assert_eq!(metrics.len(), 200);
    release_thread(&journal);
    assert!(journal.segments()[0].is_sealed());
}
