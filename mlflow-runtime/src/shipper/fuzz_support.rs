//! Recovery of an orphaned journal, given as bytes, into a store in memory. The tests of damage and the fuzz
//! targets call the real reader through this module.
//!
//! # Invariants
//!
//! Every recovery asserts the following:
//!
//! 1. The recovery ends, after about as many steps as there are records at most.
//! 2. A journal of another destination stays. One of the given destination is deleted, unless a file in it
//!    has an unknown format, or something in it is blocked or waits for another process.
//! 3. A damaged file is kept, and one without damage is not.

use std::fs;
use std::io::Write as _;
use std::path::Path;
use std::sync::Arc;
use std::task::{Context, Poll, Waker};
use std::time::Duration;

use crate::journal::directory::Directory;
use crate::journal::record::{Definition, Origin, Record};
use crate::journal::segment::mapped::HEADER_BYTES;
use crate::journal::segment::{Frame, SegmentBytes};
use crate::journal::user_files;
use crate::journal::{Journal, quarantine};
use crate::shipper::backoff::Backoff;
use crate::shipper::failure_scope::into_halt;
use crate::shipper::stats::Stats;
use crate::shipper::{Delivery, JournalReader, Shipper, StepOutcome};
use crate::store::{MemoryStore, StoreError, StoredRunData};

/// Result of a recovery.
#[cfg_attr(fuzzing, allow(dead_code))] // a target only asks whether promises are kept
#[derive(Debug)]
pub(crate) struct Recovery {
    /// Runs that the store holds.
    pub(crate) runs: Vec<StoredRunData>,
    /// True if the directory of the journal still exists.
    pub(crate) is_journal_kept: bool,
    /// Number of records that were lost.
    pub(crate) damaged: u64,
    /// Contents of the damaged files that were kept, without their headers.
    pub(crate) kept_files: Vec<Vec<u8>>,
}

/// Recovers a journal with the given segments, in a directory below `root`.
///
/// # Panics
/// If the reader breaks a promise, or `root` cannot be written.
pub(crate) fn recover(root: &Path, segments: &[&[u8]]) -> Recovery {
    recover_into(&MemoryStore::adopting(), root, segments)
}

/// Number of steps after the last record: one that finds no more records, and one for each later stage.
const EXTRA_STEPS: usize = 5;

/// Result of shipping a journal.
pub(crate) struct ShipResult {
    /// Set if there was a journal to be shipped.
    pub(crate) is_claimed: bool,
    /// Set if something in it still waits.
    is_unfinished: bool,
    pub(crate) stats: Arc<Stats>,
}

/// Ships the journal below `root`, which has at most `most` records.
#[cfg(test)]
pub(crate) fn recover_image(store: &MemoryStore, root: &Path, most: usize) -> ShipResult {
    ship_orphan(store, root, "here", most + EXTRA_STEPS)
}

/// Ships the orphaned journal below `root` for `destination`, until nothing more is to be done.
///
/// # Panics
/// If that takes more than `most` steps.
fn ship_orphan(store: &MemoryStore, root: &Path, destination: &str, most: usize) -> ShipResult {
    let stats = Arc::new(Stats::default());
    let mut shipper = new_shipper(store, &stats);
    let mut left = Directory::find_orphaned(root, destination);
    shipper.current_orphan = left.next().map(JournalReader::for_orphan);
    let claimed = shipper.current_orphan.is_some();
    let mut passes = 0;
    while poll_step(&mut shipper) != StepOutcome::Idle {
        passes += 1;
        assert!(passes <= most, "recovery makes progress");
    }
    ShipResult {
        is_claimed: claimed,
        is_unfinished: !shipper.unfinished_orphans.is_empty(),
        stats,
    }
}

/// Recovers a journal into a store that may hold runs already.
pub(crate) fn recover_into(store: &MemoryStore, root: &Path, segments: &[&[u8]]) -> Recovery {
    let path = root.join("dead");
    user_files::create_directory(&path).expect("the root can be written");
    user_files::create_file(&path.join("lock")).expect("the root can be written");
    let (mut records, mut readable, mut destination) = (0, true, None);
    for (number, bytes) in segments.iter().enumerate() {
        let file = path.join(format!("{number:010}.segment"));
        user_files::create_file(&file)
            .and_then(|mut file| file.write_all(bytes))
            .expect("the root can be written");
        let bytes = SegmentBytes::from_bytes(bytes.to_vec());
        records += count_whole_frames(&bytes);
        readable &= bytes.has_known_format();
        destination = destination.or_else(|| decode_destination(&bytes));
    }
    let ShipResult {
        is_claimed: claimed,
        is_unfinished: unfinished,
        stats,
    } = ship_orphan(
        store,
        root,
        &destination.unwrap_or_default(),
        records + EXTRA_STEPS,
    );
    let kept = path.exists();
    assert!(claimed || kept, "what is not ours stays");
    let at_fault = !readable || unfinished;
    assert!(!claimed || !kept || at_fault, "what is delivered goes");
    if kept {
        fs::remove_dir_all(&path).expect("it is ours");
    }
    let damaged = stats.damaged.get();
    let kept_files = take_files(&quarantine::damaged_directory(root));
    assert!(kept_files.is_empty() || !kept, "each file has one place");
    assert!(
        damaged == 0 || kept || !kept_files.is_empty(),
        "what could not be read is not deleted"
    );
    Recovery {
        runs: store.runs(),
        is_journal_kept: kept,
        damaged,
        kept_files,
    }
}

/// Returns the contents of a folder's files, and removes it.
fn take_files(folder: &Path) -> Vec<Vec<u8>> {
    let entries = fs::read_dir(folder).into_iter().flatten().flatten();
    let files = entries.map(|entry| {
        let mut bytes = fs::read(entry.path()).expect("readable");
        bytes.drain(..HEADER_BYTES.min(bytes.len()));
        bytes
    });
    let files: Vec<_> = files.collect();
    if !files.is_empty() {
        fs::remove_dir_all(folder).expect("it is ours");
    }
    files
}

/// Returns the delay of the shipper's next attempt after this error.
pub(crate) fn delay_after(error: StoreError) -> Duration {
    Backoff::default().next_delay(into_halt(error).cause)
}

fn new_shipper(store: &MemoryStore, stats: &Arc<Stats>) -> Shipper {
    let origin = Origin {
        destination: String::new(),
        host: String::new(),
        process_id: 0,
        tags: Arc::default(),
    };
    let live = Journal::in_memory(origin, "");
    Shipper::new(
        Delivery::new(Box::new(store.clone()), Arc::clone(stats), true),
        JournalReader::for_live(live, Arc::default()),
    )
}

/// Takes one step. A store in memory is neither pending nor unavailable.
fn poll_step(shipper: &mut Shipper) -> StepOutcome {
    let mut context = Context::from_waker(Waker::noop());
    match std::pin::pin!(shipper.step_orphan(&|| false)).poll(&mut context) {
        Poll::Ready(Ok(step)) => step,
        Poll::Ready(Err(halt)) => panic!("the store is there: {}", halt.reason),
        Poll::Pending => panic!("a store in memory does not pend"),
    }
}

/// Counts the frames that can be read.
fn count_whole_frames(bytes: &SegmentBytes) -> usize {
    let (mut count, mut read_to) = (0, HEADER_BYTES);
    bytes.for_each_whole(|body, offset| {
        assert!(offset >= read_to, "reading goes forward");
        (count, read_to) = (count + 1, offset + body.len());
    });
    count
}

fn decode_destination(bytes: &SegmentBytes) -> Option<String> {
    let Frame::Whole { body, .. } = bytes.frame(HEADER_BYTES) else {
        return None;
    };
    match Record::decode(body) {
        Some(Record::Definition(Definition::Origin(origin))) => Some(origin.destination),
        _ => None,
    }
}
