//! Tests of the writers of a thread, and of the two ways that a point takes to a segment.

use std::cell::RefCell;
use std::os::unix::fs::FileExt as _;

use super::*;
use crate::journal::DropReason;
use crate::journal::segment::mapped::SegmentFull;
use crate::journal::writer::OpenSegment;
use crate::model::RunStatus;

static LOSS: Key = Key::new("loss");

/// Returns the steps of all points of a journal, in the order of its segments.
fn steps(journal: &Journal) -> Vec<i64> {
    let segments = journal.segments();
    let bytes = { segments.iter() }.map(|segment| segment.read().expect("readable"));
    let points = bytes.flat_map(|bytes| records(&bytes).1);
    points.map(|point| point.step).collect()
}

#[test]
fn a_thread_alternates_between_two_journals() {
    let folder = Folder::new();
    let [one, other] = [(); 2].map(|()| journal(&folder));
    for step in 0..100 {
        log(&one, &LOSS, step);
        log(&other, &LOSS, 1000 + step);
    }
    assert!(steps(&one).into_iter().eq(0..100));
    assert!(steps(&other).into_iter().eq(1000..1100));
    let segments = [&one, &other].map(|journal| journal.segments().len());
    assert_eq!(segments, [1, 1], "each has one writer on this thread");
}

#[test]
fn a_point_logged_while_the_writers_are_in_use_is_kept() {
    let folder = Folder::new();
    let journal = journal(&folder);
    log(&journal, &LOSS, 1);
    with_writer(&journal, |_| log(&journal, &LOSS, 2));
    log(&journal, &LOSS, 3);
    let mut found = steps(&journal);
    found.sort_unstable();
    assert_eq!(found, [1, 2, 3]);
    assert_eq!(journal.value_count(), 3);
}

/// Logs a point when the thread's locals are destroyed.
struct LogsAtTheEnd(RefCell<Option<Arc<Journal>>>);

impl Drop for LogsAtTheEnd {
    fn drop(&mut self) {
        if let Some(journal) = self.0.take() {
            log(&journal, &LOSS, 2);
        }
    }
}

thread_local! {
    static FIRST: LogsAtTheEnd = const { LogsAtTheEnd(RefCell::new(None)) };
    static LAST: LogsAtTheEnd = const { LogsAtTheEnd(RefCell::new(None)) };
}

/// The writers are among the locals, which are destroyed in an order that no thread can choose.
#[test]
fn a_point_logged_while_the_threads_locals_are_destroyed_is_kept() {
    let folder = Folder::new();
    let journal = journal(&folder);
    let shared = Arc::clone(&journal);
    let logging = thread::spawn(move || {
        FIRST.with(|place| *place.0.borrow_mut() = Some(Arc::clone(&shared)));
        log(&shared, &LOSS, 1);
        LAST.with(|place| *place.0.borrow_mut() = Some(shared));
    });
    logging.join().expect("no panic");
    let mut found = steps(&journal);
    found.sort_unstable();
    assert_eq!(found, [1, 2, 2]);
}

#[test]
fn a_journal_in_which_nothing_was_logged_leaves_no_directory() {
    let folder = Folder::new();
    let journal = journal(&folder);
    crate::journal::open_first_segment(&journal);
    let directory = journal.path().expect("it lies on disk");
    assert_eq!(journal.segments().len(), 1);
    journal.seal_all();
    journal.remove_if_empty();
    assert!(!directory.exists());

    // A journal with a value stays.
    log(&journal, &LOSS, 0);
    let directory = journal.path().expect("it lies on disk");
    journal.seal_all();
    journal.remove_if_empty();
    assert!(directory.exists());
}

/// A value whose time does not fit into the usual record.
#[test]
fn a_point_of_any_time_is_kept() {
    let folder = Folder::new();
    let identity = identity();
    let run = RunRef {
        number: u32::MAX,
        identity: &identity,
        inherited: false,
    };
    for mapped in [true, false] {
        let journal = Journal::unattended(folder.0.clone(), origin("here"), mapped);
        let journal = journal.expect("the folder can be written");
        let times = [
            0,
            -1,
            (1 << 48) - 1,
            1 << 48,
            i64::MIN,
            i64::MAX,
            1_795_542_561_824,
        ];
        for timestamp_ms in times {
            let point = MetricPoint {
                run,
                key: &LOSS,
                timestamp_ms,
                step: timestamp_ms,
                value: 0.5,
            };
            append_metric(&journal, point);
        }
        let bytes = journal.segments()[0].read().expect("readable");
        let (_, points, whole) = records(&bytes);
        assert!(whole);
        let found: Vec<_> = points.iter().map(|point| point.timestamp_ms).collect();
        assert_eq!(found, times);
        assert!(points.iter().all(|point| point.run == u32::MAX));
    }
}

/// Returns the steps that a shipper finds in the segments that are sealed, and removes these segments.
fn deliver_sealed(journal: &Journal) -> Vec<i64> {
    let mut steps = Vec::new();
    for segment in journal.segments() {
        if !segment.is_sealed() {
            continue;
        }
        let bytes = segment.read().expect("readable");
        let end = segment.final_end().unwrap_or(usize::MAX);
        bytes.for_each_whole(|body, offset| {
            if let Some(Record::Metric(metric)) = Record::decode(body)
                && offset < end
            {
                steps.push(metric.step);
            }
        });
        journal.retire(&segment);
    }
    steps
}

/// A key in whose look-up, between the writer's look at its segment and the append, another thread ends the process.
#[derive(Clone, Copy)]
struct Interrupting<'a> {
    journal: &'a Arc<Journal>,
    /// Steps that were delivered before the end; `None` until then.
    delivered: &'a RefCell<Option<Vec<i64>>>,
}

impl MetricKey for Interrupting<'_> {
    fn number_in(self, open: &OpenSegment) -> Option<u32> {
        let number = (&LOSS).number_in(open)?;
        let mut delivered = self.delivered.borrow_mut();
        if delivered.is_none() {
            let journal = Arc::clone(self.journal);
            let ending = thread::spawn(move || {
                journal.seal_all();
                let steps = deliver_sealed(&journal);
                journal.remove_if_empty();
                steps
            });
            *delivered = Some(ending.join().expect("no panic"));
        }
        Some(number)
    }

    fn define_in(self, open: &mut OpenSegment, journal: &Journal) -> Result<(), SegmentFull> {
        (&LOSS).define_in(open, journal)
    }
}

/// Before, a value was lost without a trace if its thread was inside the append when another thread sealed the segment at the
/// end of the process, found nothing new in it, and removed it.
#[test]
fn a_value_whose_segment_is_removed_during_its_append_is_kept() {
    for (mapped, has_earlier) in [(true, false), (true, true), (false, false), (false, true)] {
        let folder = Folder::new();
        let journal = Journal::unattended(folder.0.clone(), origin("here"), mapped);
        let journal = journal.expect("the folder can be written");
        if has_earlier {
            log(&journal, &LOSS, 0);
        } else {
            crate::journal::open_first_segment(&journal);
        }
        let delivered = RefCell::new(None);
        let key = Interrupting {
            journal: &journal,
            delivered: &delivered,
        };
        log(&journal, key, 1);
        let mut found = delivered.take().expect("it was interrupted");
        assert_eq!(found, if has_earlier { vec![0] } else { vec![] });
        found.extend(steps(&journal));
        assert_eq!(found.last(), Some(&1), "mapped: {mapped}");
        assert_eq!(journal.value_count(), found.len() as u64);
    }
}

#[test]
fn a_value_logged_while_the_segments_are_sealed_is_found_once() {
    const VALUES: i64 = 100_000;
    for mapped in [true, false] {
        let folder = Folder::new();
        let journal = Journal::unattended(folder.0.clone(), origin("here"), mapped);
        let journal = journal.expect("the folder can be written");
        let logging = {
            let journal = Arc::clone(&journal);
            thread::spawn(move || (0..VALUES).for_each(|step| log(&journal, &LOSS, step)))
        };
        let mut found = Vec::new();
        while !logging.is_finished() {
            journal.seal_all();
            found.extend(deliver_sealed(&journal));
            journal.remove_if_empty();
        }
        logging.join().expect("no panic");
        journal.seal_all();
        found.extend(deliver_sealed(&journal));
        found.sort_unstable();
        assert!(found.into_iter().eq(0..VALUES), "each value once");
        assert_eq!(journal.value_count(), VALUES.unsigned_abs());
    }
}

#[test]
fn a_writer_that_appends_to_a_closed_segment_appends_again_elsewhere() {
    let folder = Folder::new();
    let journal = journal(&folder);
    log(&journal, &LOSS, 0);
    let first = journal.segments().remove(0);
    // Another thread is about to seal the segment, and has seen what is in it.
    first.close();
    assert!(first.final_end().is_none());
    first.seal_closed();
    assert_eq!(first.value_count(), 1);
    log(&journal, &LOSS, 1);
    let end = Event::End {
        status: RunStatus::Finished,
        end_time_ms: 1,
    };
    assert!(tell(&journal, &end, &[]));
    assert_eq!(deliver_sealed(&journal), [0]);
    assert_eq!(steps(&journal), [1]);
    assert_eq!(journal.value_count(), 3);
}

/// A thread that logs after its segment was closed, and before anybody has looked at the segment, decides where it ends.
#[test]
fn a_value_between_the_close_and_the_seal_is_found_in_its_segment() {
    for mapped in [true, false] {
        let folder = Folder::new();
        let journal = Journal::unattended(folder.0.clone(), origin("here"), mapped);
        let journal = journal.expect("the folder can be written");
        log(&journal, &LOSS, 0);
        let first = journal.segments().remove(0);
        first.close();
        (1..4).for_each(|step| log(&journal, &LOSS, step));
        first.seal_closed();
        assert_eq!(deliver_sealed(&journal), [0, 1], "mapped: {mapped}");
        assert_eq!(steps(&journal), [2, 3]);
        assert_eq!(journal.value_count(), 4);
    }
}

/// Regression: a segment whose file was removed took every later value of its thread, and all of these were lost uncounted.
#[test]
fn a_closed_segment_whose_file_is_removed_takes_no_further_values() {
    let folder = Folder::new();
    let journal = Journal::unattended(folder.0.clone(), origin("here"), false);
    let journal = journal.expect("the folder can be written");
    log(&journal, &LOSS, 0);
    let first = journal.segments().remove(0);
    std::fs::remove_file(first.file().expect("a file")).expect("it is ours");
    journal.seal_all();
    assert!(!first.is_sealed(), "nobody knows what is in it");
    (1..4).for_each(|step| log(&journal, &LOSS, step));
    assert!(first.is_sealed());
    assert!(journal.retire_removed(&first, 0));
    assert_eq!(
        journal.dropped(DropReason::Removed),
        2,
        "0, and 1, which its thread had appended"
    );
    assert_eq!(steps(&journal), [2, 3]);
    journal.seal_all();
    assert_eq!(journal.value_count(), 2);
}

/// Regression: the end of a segment was searched from its beginning, and damage in front of values cut them off.
#[test]
fn damage_in_a_closed_segment_cuts_off_no_value_behind_it() {
    for mapped in [true, false] {
        let folder = Folder::new();
        let journal = Journal::unattended(folder.0.clone(), origin("here"), mapped);
        let journal = journal.expect("the folder can be written");
        (0..10).for_each(|step| log(&journal, &LOSS, step));
        let first = journal.segments().remove(0);
        let mut offsets = Vec::new();
        first
            .read()
            .expect("readable")
            .for_each_whole(|_, offset| offsets.push(offset));
        let file = std::fs::OpenOptions::new()
            .write(true)
            .open(first.file().expect("a file"));
        let damaged = offsets[offsets.len() - 5] + 16;
        file.expect("writable")
            .write_all_at(&[0xff; 4], damaged as u64)
            .expect("writable");
        journal.seal_all();
        let found = deliver_sealed(&journal);
        assert_eq!(found.last(), Some(&9), "mapped: {mapped}: {found:?}");
        assert_eq!(found.len(), 9);
    }
}
