//! Writers: the segment that each thread appends to, and the numbers that are defined in it.
//!
//! Invariants: a record is appended only after the definitions to which it refers, in the same segment. A
//! segment has one writer at a time. When the thread of a writer ends, its segment waits for the next thread
//! that begins to log.

use std::borrow::Cow;
use std::cell::Cell;
use std::sync::{Arc, Mutex, Weak};

use rustc_hash::{FxHashMap, FxHashSet};

use crate::journal::quota::{DropReason, Reservation};
use crate::journal::record::{self, ArtifactLocation, Definition, Event, MetricRecord};
use crate::journal::segment::Segment;
use crate::journal::segment::append::Appender;
use crate::journal::segment::mapped::SegmentFull;
use crate::journal::{Journal, NewSegment};
use crate::model::metric_key::Key;
use crate::model::{ArtifactKind, RunIdentity};
use crate::os::fork;
use crate::sync::lock;

/// First of the key numbers that a writer assigns, for one segment. Smaller numbers are assigned by [`Key`],
/// for the whole process.
const FIRST_DYNAMIC_KEY: u32 = 1 << 31;

/// Returns true if the key has this number in all segments of its process.
pub(crate) fn is_interned(id: u32) -> bool {
    id < FIRST_DYNAMIC_KEY
}

thread_local! {
    /// Writers of this thread; `None` before its first append, and while they are in use.
    static WRITERS: Cell<Option<Box<ThreadWriters>>> = const { Cell::new(None) };
    /// True while the writers are in use by code that may call other code. This cell has no destructor, so it can be read while
    /// the thread's locals are destroyed.
    static ARE_IN_USE: Cell<bool> = const { Cell::new(false) };
}

/// Number that no journal has.
const NO_JOURNAL: u32 = 0;

/// Writers of one thread, one for each journal. There is almost always only one, as there is one destination.
#[derive(Default)]
struct ThreadWriters {
    /// The writer that was used last.
    latest: Writer,
    others: Vec<Writer>,
}

impl ThreadWriters {
    /// Returns the writer for a journal, which becomes the latest one.
    fn find_or_create(&mut self, journal: &Journal) -> &mut Writer {
        if self.latest.journal != *journal.id {
            let found = { self.others.iter() }.position(|writer| writer.journal == *journal.id);
            let mut writer = found.map_or_else(Writer::default, |at| self.others.swap_remove(at));
            if writer.journal == NO_JOURNAL {
                writer.journal = *journal.id;
                writer.process = fork::current_generation();
            }
            let earlier = std::mem::replace(&mut self.latest, writer);
            if earlier.journal != NO_JOURNAL {
                self.others.push(earlier);
            }
        }
        &mut self.latest
    }

    fn iter_mut(&mut self) -> impl Iterator<Item = &mut Writer> {
        std::iter::once(&mut self.latest).chain(&mut self.others)
    }
}

/// The calling thread's writers while they are in use. Dropping this value gives them back to the thread, also while a panic
/// unwinds.
struct BorrowedWriters(Option<Box<ThreadWriters>>);

impl BorrowedWriters {
    /// Takes the thread's writers. Returns `None` if they are in use, because a destructor of the user's logs meanwhile, or if
    /// the thread's locals are destroyed.
    fn take() -> Option<Self> {
        if ARE_IN_USE.get() {
            return None;
        }
        let writers = WRITERS.try_with(Cell::take).ok()?.unwrap_or_default();
        ARE_IN_USE.set(true);
        Some(Self(Some(writers)))
    }

    fn iter_mut(&mut self) -> impl Iterator<Item = &mut Writer> {
        self.0.iter_mut().flat_map(|writers| writers.iter_mut())
    }
}

impl Drop for BorrowedWriters {
    fn drop(&mut self) {
        ARE_IN_USE.set(false);
        let writers = self.0.take();
        let _ = WRITERS.try_with(|place| place.set(writers));
    }
}

/// Access of one thread to one journal: the segment that the thread appends to.
#[derive(Default)]
pub(crate) struct Writer {
    journal: u32,
    /// Fork generation of the process in which the writer was created.
    process: u32,
    /// Number of segments that the thread has had, including those of the thread whose segment it took over.
    segment_count: usize,
    open: Option<OpenSegment>,
    /// List that takes the segment when the thread ends.
    idle: Weak<IdleSegments>,
}

/// Greatest number of segments that wait for a thread. Further ones are sealed, so that they can be deleted.
const MAX_IDLE: usize = 16;

/// Segments whose threads have ended. `None` once the process is about to end, as no thread would take them.
pub(super) struct IdleSegments(Mutex<Option<Vec<(usize, OpenSegment)>>>);

impl Default for IdleSegments {
    fn default() -> Self {
        Self(Mutex::new(Some(Vec::new())))
    }
}

impl IdleSegments {
    fn put(&self, rolls: usize, open: OpenSegment) {
        if let Some(waiting) = &mut *lock(&self.0)
            && waiting.len() < MAX_IDLE
        {
            waiting.push((rolls, open));
        }
    }

    fn take(&self) -> Option<(usize, OpenSegment)> {
        lock(&self.0).as_mut()?.pop()
    }

    /// Seals the segments that wait, and from now on each one that is put here.
    fn close(&self) {
        let waiting = lock(&self.0).take();
        drop(waiting);
    }
}

/// Segment that is being written, and what is defined in it.
struct OpenSegment {
    appender: Appender,
    segment: Arc<Segment>,
    /// True if the segment is beyond the journal's bound, so that it takes only essential records.
    is_reserved: bool,
    last_run: Option<u32>,
    runs: FxHashSet<u32>,
    /// Keys defined in the segment, indexed by the [`Key`]'s number.
    keys: Vec<bool>,
    dynamic_keys: FxHashMap<Box<str>, u32>,
}

/// Number and identity of a run, as the journal records them.
#[derive(Clone, Copy)]
pub(crate) struct RunRef<'a> {
    pub(crate) number: u32,
    pub(crate) identity: &'a RunIdentity,
    /// True if the run was started by a process that this process was forked from.
    pub(crate) inherited: bool,
}

/// Name of a metric.
#[derive(Clone, Copy)]
pub(crate) enum MetricKey<'a> {
    /// Key known at the call site, or bound to a handle: found by its number.
    Interned(&'a Key),
    Dynamic(&'a str),
}

/// Greatest number of attempts to append a record: in a segment that the thread took over, in one that it
/// opened, and one more.
const MAX_ATTEMPTS: usize = 3;

/// Runs `write`, once, on the calling thread's writer, then logs deferred warnings.
pub(crate) fn with_writer(journal: &Journal, mut write: impl FnMut(&mut Writer)) {
    if let Some(mut borrowed) = BorrowedWriters::take() {
        if let Some(writers) = &mut borrowed.0 {
            write(writers.find_or_create(journal));
        }
    } else {
        let mut stray = lock(&journal.fallback_writer);
        stray.journal = *journal.id;
        stray.process = fork::current_generation();
        write(&mut stray);
    }
    journal.deferred_warnings.emit();
}

/// Seals the segment that this thread has open, and those that wait for a thread, so that they can be shipped
/// and deleted while the thread lives on. From now on, segments of threads that end are sealed at once.
pub(crate) fn release_thread(journal: &Journal) {
    if let Some(mut borrowed) = BorrowedWriters::take() {
        let writers = borrowed.iter_mut();
        for writer in writers.filter(|writer| writer.journal == *journal.id) {
            writer.open = None;
        }
    }
    // If the lock is taken, another thread is writing with the fallback writer.
    if let Ok(mut stray) = journal.fallback_writer.try_lock() {
        stray.open = None;
    }
    journal.idle_segments.close();
}

/// Seals the segments that this thread has open, of all journals. For a thread of this crate that will log
/// nothing for a while.
pub(crate) fn release_all() {
    if let Some(mut borrowed) = BorrowedWriters::take() {
        // The segments of a parent belong to threads of the parent, which may hold their locks.
        let generation = fork::current_generation();
        let own = { borrowed.iter_mut() }.filter(|writer| writer.process == generation);
        own.for_each(|writer| writer.open = None);
    }
}

/// Appends a metric point, once, by the calling thread's writer, then logs deferred warnings.
///
/// A point whose run and key the open segment has defined already is appended without a call of a closure or another function,
/// so that its parts stay in the processor's registers. All others take the long way.
#[inline(always)]
pub(crate) fn append_metric(
    journal: &Journal,
    run: RunRef<'_>,
    key: MetricKey<'_>,
    timestamp_ms: i64,
    step: i64,
    value: f64,
) {
    let step = record::clamp_plain_step(step);
    // Nothing in between calls other code of this crate, so nothing finds the writers missing. If something did, it would get
    // further ones, and those would leave their segment to another thread.
    let Some(mut writers) = WRITERS.try_with(Cell::take).ok().flatten() else {
        append_new_metric(journal, run, key, timestamp_ms, step, value);
        return;
    };
    let mut is_appended = false;
    // No closure here: its captured values would go through memory.
    if writers.latest.journal == *journal.id
        && let Some(open) = &mut writers.latest.open
    {
        is_appended = open.append_known_metric(run.number, key, timestamp_ms, step, value);
    }
    let _ = WRITERS.try_with(|place| place.set(Some(writers)));
    if is_appended {
        journal.wakeup.notify_if_asleep();
        journal.deferred_warnings.emit();
    } else {
        append_new_metric(journal, run, key, timestamp_ms, step, value);
    }
}

#[cold]
#[inline(never)]
fn append_new_metric(
    journal: &Journal,
    run: RunRef<'_>,
    key: MetricKey<'_>,
    timestamp_ms: i64,
    step: i64,
    value: f64,
) {
    with_writer(journal, |writer| {
        writer.append_point(journal, run, key, timestamp_ms, step, value);
    });
}

/// Opens the calling thread's first segment, if the thread has none yet, and if the journal has space for another thread's first
/// segment, too: the calling thread may log nothing.
pub(crate) fn open_first_segment(journal: &Journal) {
    if !journal.quota.fits(2 * journal.segment_bytes[0]) {
        return;
    }
    with_writer(journal, |writer| {
        if writer.open.is_none() {
            // If this fails, the first append tries again and reports why.
            let _ = writer.make_room(journal, 0, false);
        }
    });
}

impl Writer {
    /// Appends a metric point.
    #[inline]
    pub(crate) fn append_metric(
        &mut self,
        journal: &Journal,
        run: RunRef<'_>,
        key: MetricKey<'_>,
        timestamp_ms: i64,
        step: i64,
        value: f64,
    ) {
        let step = record::clamp_plain_step(step);
        if let Some(open) = &mut self.open
            && open.append_known_metric(run.number, key, timestamp_ms, step, value)
        {
            journal.wakeup.notify_if_asleep();
        } else {
            self.append_point(journal, run, key, timestamp_ms, step, value);
        }
    }

    /// Appends a metric point that is to get the last step of its key, which the shipper finds.
    pub(crate) fn append_metric_at_last_step(
        &mut self,
        journal: &Journal,
        run: RunRef<'_>,
        key: MetricKey<'_>,
        timestamp_ms: i64,
        value: f64,
    ) {
        let step = record::encode_last_step(journal.next_sequence());
        self.append_point(journal, run, key, timestamp_ms, step, value);
    }

    /// Appends a metric point, after the definitions that it needs, and to a new segment if the open one has no room.
    #[cold]
    fn append_point(
        &mut self,
        journal: &Journal,
        run: RunRef<'_>,
        key: MetricKey<'_>,
        timestamp_ms: i64,
        step: i64,
        value: f64,
    ) {
        for _ in 0..MAX_ATTEMPTS {
            if let Some(open) = &mut self.open
                && !open.is_reserved
                && open.define_metric(journal, run, key).is_ok()
                && open.append_known_metric(run.number, key, timestamp_ms, step, value)
            {
                journal.wakeup.notify_if_asleep();
                return;
            }
            if let Err(reason) = self.make_room(journal, 0, false) {
                journal.count_dropped(reason, 1);
                return;
            }
        }
        journal.count_dropped(DropReason::JournalFull, 1);
    }

    /// Appends an event. Returns false, and counts the event as dropped, if there is no space for it.
    pub(crate) fn append_event(
        &mut self,
        journal: &Journal,
        run: &RunRef<'_>,
        event: &Event<'_>,
        attachment: &[u8],
    ) -> bool {
        // The bytes of a spooled artifact are on disk already. Attached ones and console logs are not essential,
        // except those of models and checkpoints: without one of them, these would never be complete.
        let essential = match event {
            Event::Artifact { content, kind, .. } => {
                matches!(content, ArtifactLocation::Spooled(_))
                    || matches!(
                        kind,
                        ArtifactKind::Model
                            | ArtifactKind::ModelFile
                            | ArtifactKind::CheckpointFile(_)
                            | ArtifactKind::Checkpoint(_)
                    )
            }
            _ => true,
        };
        let body = event.encode(run.number, journal.next_sequence(), attachment);
        for _ in 0..MAX_ATTEMPTS {
            if let Some(open) = &mut self.open
                && (essential || !open.is_reserved)
                && open.append_event(run, &body).is_ok()
            {
                journal.wakeup.notify_fenced();
                if matches!(event, Event::End { .. }) {
                    journal.wakeup.sync_signal.request_sync();
                }
                return true;
            }
            if let Err(reason) = self.make_room(journal, body.len(), essential) {
                journal.count_dropped(reason, 1);
                return false;
            }
        }
        journal.count_dropped(DropReason::JournalFull, 1);
        false
    }

    /// Opens another segment, or lifts the restriction of the open one to essential records, if the journal
    /// has space again.
    #[cold]
    fn make_room(
        &mut self,
        journal: &Journal,
        frame: usize,
        essential: bool,
    ) -> Result<(), DropReason> {
        match &mut self.open {
            Some(open) if open.is_reserved && !essential => match journal.quota.shortage() {
                Some(reason) => Err(reason),
                None => {
                    open.is_reserved = false;
                    Ok(())
                }
            },
            _ => self.roll_segment(journal, frame, essential),
        }
    }

    fn roll_segment(
        &mut self,
        journal: &Journal,
        frame: usize,
        essential: bool,
    ) -> Result<(), DropReason> {
        if self.open.take().is_some() {
            journal.wakeup.sync_signal.request_sync();
        } else if self.segment_count == 0 {
            self.idle = Arc::downgrade(&journal.idle_segments);
            if let Some((rolls, open)) = journal.idle_segments.take() {
                self.segment_count = rolls;
                self.open = Some(open);
                return Ok(());
            }
        }
        let origin = &journal.origin_definition;
        let NewSegment {
            segment,
            mut appender,
            reservation: taken,
        } = journal.open_segment(self.segment_count, frame + origin.len(), essential)?;
        self.segment_count += 1;
        let started = appender.append(origin).is_ok();
        self.open = started.then(|| OpenSegment {
            appender,
            segment,
            is_reserved: taken == Reservation::OverLimit,
            last_run: None,
            runs: FxHashSet::default(),
            keys: Vec::new(),
            dynamic_keys: FxHashMap::default(),
        });
        Ok(())
    }
}

impl OpenSegment {
    /// Appends a metric point if the segment has room for it and defines its run and its key. Returns false, and does
    /// nothing, if not.
    #[inline(always)]
    fn append_known_metric(
        &mut self,
        run: u32,
        key: MetricKey<'_>,
        timestamp_ms: i64,
        step: i64,
        value: f64,
    ) -> bool {
        if self.is_reserved || self.segment.is_sealed() || self.last_run != Some(run) {
            return false;
        }
        let Some(key) = self.known_key(key) else {
            return false;
        };
        let record = MetricRecord {
            run,
            key,
            timestamp_ms,
            step,
            value,
        };
        let is_appended = self.appender.append_words(&record.words()).is_ok();
        if is_appended {
            self.segment.count_value();
        }
        is_appended
    }

    /// Defines the run and the key of a metric, where the segment does not define them yet.
    fn define_metric(
        &mut self,
        journal: &Journal,
        run: RunRef<'_>,
        key: MetricKey<'_>,
    ) -> Result<(), SegmentFull> {
        if self.segment.is_sealed() {
            return Err(SegmentFull);
        }
        if self.last_run != Some(run.number) {
            self.define_run(&run)?;
        }
        if self.known_key(key).is_none() {
            match key {
                MetricKey::Interned(key) => self.define_key(journal, key)?,
                MetricKey::Dynamic(name) => self.define_dynamic_key(journal, name)?,
            }
        }
        Ok(())
    }

    /// Returns the number that the segment has defined for a key.
    #[inline]
    fn known_key(&self, key: MetricKey<'_>) -> Option<u32> {
        match key {
            MetricKey::Interned(key) => {
                let id = key.number();
                (self.keys.get(id as usize) == Some(&true)).then_some(id)
            }
            MetricKey::Dynamic(name) => self.dynamic_keys.get(name).copied(),
        }
    }

    fn append_event(&mut self, run: &RunRef<'_>, body: &[u8]) -> Result<(), SegmentFull> {
        if self.segment.is_sealed() {
            return Err(SegmentFull);
        }
        if self.last_run != Some(run.number) {
            self.define_run(run)?;
        }
        self.appender.append(body)?;
        self.segment.count_value();
        Ok(())
    }

    #[cold]
    fn define_run(&mut self, run: &RunRef<'_>) -> Result<(), SegmentFull> {
        if !self.runs.contains(&run.number) {
            let mut identity = Cow::Borrowed(run.identity);
            if run.inherited {
                let role = run.identity.role.inherited();
                identity.to_mut().role = role;
            }
            let definition = Definition::Run {
                number: run.number,
                identity,
            };
            self.appender.append(&definition.encode())?;
            self.runs.insert(run.number);
        }
        self.last_run = Some(run.number);
        Ok(())
    }

    #[cold]
    fn define_key(&mut self, journal: &Journal, key: &Key) -> Result<(), SegmentFull> {
        let id = key.number();
        self.append_key(journal, id, key.name())?;
        let index = id as usize;
        if self.keys.len() <= index {
            self.keys.resize(index + 1, false);
        }
        self.keys[index] = true;
        Ok(())
    }

    #[cold]
    fn define_dynamic_key(&mut self, journal: &Journal, name: &str) -> Result<(), SegmentFull> {
        let id =
            FIRST_DYNAMIC_KEY + u32::try_from(self.dynamic_keys.len()).map_err(|_| SegmentFull)?;
        self.append_key(journal, id, name)?;
        self.dynamic_keys.insert(name.into(), id);
        Ok(())
    }

    fn append_key(&mut self, journal: &Journal, id: u32, name: &str) -> Result<(), SegmentFull> {
        let name = journal.resolve_metric_name(name);
        self.appender.append(&Definition::Key { id, name }.encode())
    }
}

impl Drop for Writer {
    fn drop(&mut self) {
        let Some(open) = self.open.take() else { return };
        if self.process != fork::current_generation() {
            // The segment is the parent's: there, this thread continues to write to it.
            std::mem::forget(open);
        } else if let Some(idle) = self.idle.upgrade() {
            idle.put(self.segment_count, open);
        }
    }
}

impl Drop for OpenSegment {
    fn drop(&mut self) {
        self.segment.seal();
    }
}
