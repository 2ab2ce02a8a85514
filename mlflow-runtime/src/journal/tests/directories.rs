//! Tests of the ownership of a journal's directory, and of its removal.

use std::fs;

use super::*;
use crate::journal::directory::is_locked;
use crate::journal::release_thread;

#[test]
fn a_directory_belongs_to_its_process_while_that_lives() {
    let folder = Folder::new();
    let journal = journal(&folder);
    log(&journal, "loss", 1);
    assert!(
        Directory::find_orphaned(&folder.0, "here").next().is_none(),
        "its owner lives"
    );
    release_thread(&journal);
    drop(journal);
    assert!(
        Directory::find_orphaned(&folder.0, "elsewhere")
            .next()
            .is_none(),
        "it goes elsewhere"
    );
    let left = Directory::find_orphaned(&folder.0, "here").next();
    assert!(left.is_some());
    assert!(
        Directory::find_orphaned(&folder.0, "here").next().is_none(),
        "one sweep at a time"
    );
    left.expect("it was found").remove();
    assert_eq!(fs::read_dir(&folder.0).expect("readable").count(), 0);
}

#[test]
fn a_journal_that_cannot_be_read_is_left_alone() {
    let folder = Folder::new();
    let path = folder.0.join("newer");
    fs::create_dir(&path).expect("writable");
    fs::write(path.join("lock"), "").expect("writable");
    let mut newer = vec![0; 256];
    newer[..8].copy_from_slice(b"mlflowrs");
    newer[8] = 99;
    newer[HEADER_BYTES] = 1;
    fs::write(path.join("0000000000.segment"), newer).expect("writable");
    assert!(Directory::find_orphaned(&folder.0, "here").next().is_none());
}

/// A process that ships must not skip a journal because another one has just looked at it.
#[test]
fn a_journal_can_be_claimed_while_others_look_if_it_has_an_owner() {
    use std::sync::atomic::{AtomicBool, Ordering};

    let folder = Folder::new();
    let journal = journal(&folder);
    log(&journal, "loss", 1);
    let path = journal.path().expect("it lies on disk");
    assert!(is_locked(&path).expect("it is ours"), "its owner lives");
    release_thread(&journal);
    drop(journal);
    assert!(!is_locked(&path).expect("it is ours"));
    let is_over = AtomicBool::new(false);
    thread::scope(|scope| {
        let looker = scope.spawn(|| {
            while !is_over.load(Ordering::Relaxed) {
                is_locked(&path).expect("it is ours");
            }
        });
        for claim in 0..1000 {
            let claimed = Directory::find_orphaned(&folder.0, "here").next();
            assert!(claimed.is_some() || looker.is_finished(), "claim {claim}");
        }
        is_over.store(true, Ordering::Relaxed);
    });
    let claimed = Directory::find_orphaned(&folder.0, "here").next();
    assert!(is_locked(&path).expect("it is ours"));
    drop(claimed);
}
