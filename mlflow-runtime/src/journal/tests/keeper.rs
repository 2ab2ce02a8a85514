//! The device is asked, and a segment is ready.

use std::fs;
use std::sync::Arc;
use std::thread;
use std::time::{Duration, Instant};

use super::*;
use crate::journal::LARGE;
use crate::journal::spares::Spares;
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

#[test]
fn a_segment_that_is_used_again_holds_nothing_of_before() {
    let folder = Folder::new();
    let file = folder.0.join("0000000007.segment");
    let len = usize::try_from(LARGE).expect("small");
    let (segment, mut appender) =
        allocation::create(file.clone(), len, true).expect("the folder can be written");
    while appender.append(&[1; 4000]).is_ok() {}
    segment.seal();
    drop(appender);

    let spares = Arc::new(Spares::default());
    assert!(spares.recycle(&file));
    assert!(!spares.recycle(&file), "one at a time");
    spares.make(file.with_extension("spare"), true);
    let mut spare = spares.take(&folder.0).expect("it is ready");
    assert!(spare.region.frame(HEADER_BYTES).is_none());
    spare.appender.append(&[2; 8]).expect("there is room");
    let bytes = SegmentBytes::Loaded(Arc::new(fs::read(&spare.path).expect("readable")));
    assert!(bytes.is_ours());
    assert_eq!(bytes.acknowledged(), HEADER_BYTES);
    let Frame::Whole { body, next } = bytes.frame(HEADER_BYTES) else {
        panic!("the frame that was appended")
    };
    assert_eq!(body, [2; 8]);
    assert_eq!(bytes.frame(next), Frame::End);
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
