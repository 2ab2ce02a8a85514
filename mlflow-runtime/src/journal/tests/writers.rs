//! Tests of the writers of a thread, and of the two ways that a point takes to a segment.

use std::cell::RefCell;

use super::*;

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
        log(&one, MetricKey::Interned(&LOSS), step);
        log(&other, MetricKey::Interned(&LOSS), 1000 + step);
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
    log(&journal, MetricKey::Interned(&LOSS), 1);
    with_writer(&journal, |_| log(&journal, MetricKey::Interned(&LOSS), 2));
    log(&journal, MetricKey::Interned(&LOSS), 3);
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
            log(&journal, MetricKey::Interned(&LOSS), 2);
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
        log(&shared, MetricKey::Interned(&LOSS), 1);
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
    log(&journal, MetricKey::Interned(&LOSS), 0);
    let directory = journal.path().expect("it lies on disk");
    journal.seal_all();
    journal.remove_if_empty();
    assert!(directory.exists());
}
