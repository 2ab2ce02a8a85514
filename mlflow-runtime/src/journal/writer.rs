//! Writers: the segment that each thread appends to, and the numbers that are defined in it.
//!
//! Invariants: a record is appended only after the definitions to which it refers, in the same segment. A
//! segment has one writer at a time. When the thread of a writer ends, its segment waits for the next thread
//! that begins to log.

use std::borrow::Cow;
use std::cell::RefCell;
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
    /// Writers of this thread. They are borrowed while they are in use: what logs meanwhile uses the fallback writer.
    static WRITERS: RefCell<ThreadWriters> = const { RefCell::new(ThreadWriters::EMPTY) };
}

/// Number that no journal has.
const NO_JOURNAL: u32 = 0;

/// Writers of one thread, one for each journal. There is almost always only one, as there is one destination.
struct ThreadWriters {
    /// The writer that was used last.
    latest: Writer,
    others: Vec<Writer>,
}

impl ThreadWriters {
    const EMPTY: Self = Self {
        latest: Writer::NEW,
        others: Vec::new(),
    };

    /// Returns the writer for a journal, which becomes the latest one.
    fn find_or_create(&mut self, journal: &Journal) -> &mut Writer {
        if self.latest.journal != *journal.id {
            let found = { self.others.iter() }.position(|writer| writer.journal == *journal.id);
            let mut writer = found.map_or(Writer::NEW, |at| self.others.swap_remove(at));
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

/// Access of one thread to one journal: the segment that the thread appends to.
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

impl Default for Writer {
    fn default() -> Self {
        Self::NEW
    }
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
pub(crate) struct OpenSegment {
    appender: Appender,
    segment: Arc<Segment>,
    /// True if the segment is beyond the journal's bound, so that it takes only essential records.
    is_reserved: bool,
    /// Run that was logged to last, if the segment takes its metrics: it defines the run, and is not reserved.
    metric_run: Option<u32>,
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

/// Key of a metric. A trait and not an enum, so that each kind has an append of its own, which keeps the point in registers.
pub(crate) trait MetricKey: Copy {
    /// Returns the number that the segment has defined for the key.
    fn number_in(self, open: &OpenSegment) -> Option<u32>;

    /// Defines the key in the segment.
    fn define_in(self, open: &mut OpenSegment, journal: &Journal) -> Result<(), SegmentFull>;
}

/// Key known at the call site, or bound to a handle: found by its number.
impl MetricKey for &Key {
    #[inline(always)]
    fn number_in(self, open: &OpenSegment) -> Option<u32> {
        // A key without a number has 0, which no segment defines.
        let id = self.assigned_number();
        (open.keys.get(id as usize) == Some(&true)).then_some(id)
    }

    fn define_in(self, open: &mut OpenSegment, journal: &Journal) -> Result<(), SegmentFull> {
        let id = self.number();
        open.append_key(journal, id, self.name())?;
        let index = id as usize;
        if open.keys.len() <= index {
            open.keys.resize(index + 1, false);
        }
        open.keys[index] = true;
        Ok(())
    }
}

/// Key that is only known by its text.
impl MetricKey for &str {
    #[inline]
    fn number_in(self, open: &OpenSegment) -> Option<u32> {
        open.dynamic_keys.get(self).copied()
    }

    fn define_in(self, open: &mut OpenSegment, journal: &Journal) -> Result<(), SegmentFull> {
        let id =
            FIRST_DYNAMIC_KEY + u32::try_from(open.dynamic_keys.len()).map_err(|_| SegmentFull)?;
        open.append_key(journal, id, self)?;
        open.dynamic_keys.insert(self.into(), id);
        Ok(())
    }
}

/// Metric point, as it is logged.
#[derive(Clone, Copy)]
pub(crate) struct MetricPoint<'a, K> {
    pub(crate) run: RunRef<'a>,
    pub(crate) key: K,
    pub(crate) timestamp_ms: i64,
    pub(crate) step: i64,
    pub(crate) value: f64,
}

impl<K> MetricPoint<'_, K> {
    /// Returns the point with a step that stands for itself, see [`record::clamp_plain_step`].
    #[inline(always)]
    fn with_plain_step(self) -> Self {
        Self {
            step: record::clamp_plain_step(self.step),
            ..self
        }
    }
}

/// Greatest number of attempts to append a record: in a segment that the thread took over, in one that it
/// opened, one more, and as many again for segments that are sealed meanwhile.
const MAX_ATTEMPTS: usize = 6;

/// Runs `write`, once, on the calling thread's writer, then logs deferred warnings.
pub(crate) fn with_writer(journal: &Journal, mut write: impl FnMut(&mut Writer)) {
    let is_written = borrow_writers(|writers| write(writers.find_or_create(journal)));
    if is_written.is_none() {
        let mut stray = lock(&journal.fallback_writer);
        stray.journal = *journal.id;
        stray.process = fork::current_generation();
        write(&mut stray);
    }
    journal.deferred_warnings.emit();
}

/// Calls `use_them` with the calling thread's writers. Returns `None` if they are in use, because a destructor of the user's
/// logs meanwhile, or if the thread's locals are destroyed.
#[inline]
fn borrow_writers<R>(use_them: impl FnOnce(&mut ThreadWriters) -> R) -> Option<R> {
    let borrowed = WRITERS.try_with(|writers| {
        let mut writers = writers.try_borrow_mut().ok()?;
        Some(use_them(&mut writers))
    });
    borrowed.ok().flatten()
}

/// Seals the segment that this thread has open, and those that wait for a thread, so that they can be shipped
/// and deleted while the thread lives on. From now on, segments of threads that end are sealed at once.
pub(crate) fn release_thread(journal: &Journal) {
    borrow_writers(|writers| {
        let writers = writers.iter_mut();
        for writer in writers.filter(|writer| writer.journal == *journal.id) {
            writer.open = None;
        }
    });
    // If the lock is taken, another thread is writing with the fallback writer.
    if let Ok(mut stray) = journal.fallback_writer.try_lock() {
        stray.open = None;
    }
    journal.idle_segments.close();
}

/// Seals the segments that this thread has open, of all journals. For a thread of this crate that will log
/// nothing for a while.
pub(crate) fn release_all() {
    borrow_writers(|writers| {
        // The segments of a parent belong to threads of the parent, which may hold their locks.
        let generation = fork::current_generation();
        let own = { writers.iter_mut() }.filter(|writer| writer.process == generation);
        own.for_each(|writer| writer.open = None);
    });
}

/// Appends a metric point, once, by the calling thread's writer.
///
/// A point whose run and key the open segment has defined already is appended without a call of another function, so that its
/// parts stay in the processor's registers. All others take the long way.
#[inline(always)]
pub(crate) fn append_metric(journal: &Journal, point: MetricPoint<'_, impl MetricKey>) {
    let point = point.with_plain_step();
    let is_appended = borrow_writers(|ThreadWriters { latest, .. }| {
        let is_for_journal = latest.journal == *journal.id;
        let open = latest.open.as_mut();
        is_for_journal && open.is_some_and(|open| open.append_known_metric(point))
    });
    if is_appended == Some(true) {
        // No warning was deferred: nothing but the long way defers any.
        journal.wakeup.notify_if_asleep();
    } else {
        append_new_metric(journal, point);
    }
}

#[cold]
#[inline(never)]
fn append_new_metric(journal: &Journal, point: MetricPoint<'_, impl MetricKey>) {
    with_writer(journal, |writer| writer.append_point(journal, point));
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
    const NEW: Self = Self {
        journal: NO_JOURNAL,
        process: 0,
        segment_count: 0,
        open: None,
        idle: Weak::new(),
    };

    /// Appends a metric point.
    #[inline]
    pub(crate) fn append_metric(
        &mut self,
        journal: &Journal,
        point: MetricPoint<'_, impl MetricKey>,
    ) {
        let point = point.with_plain_step();
        if let Some(open) = &mut self.open
            && open.append_known_metric(point)
        {
            journal.wakeup.notify_if_asleep();
        } else {
            self.append_point(journal, point);
        }
    }

    /// Appends a metric point that is to get the last step of its key, which the shipper finds.
    pub(crate) fn append_metric_at_last_step(
        &mut self,
        journal: &Journal,
        run: RunRef<'_>,
        key: impl MetricKey,
        timestamp_ms: i64,
        value: f64,
    ) {
        let step = record::encode_last_step(journal.next_sequence());
        let point = MetricPoint {
            run,
            key,
            timestamp_ms,
            step,
            value,
        };
        self.append_point(journal, point);
    }

    /// Appends a metric point, after the definitions that it needs, and to a new segment if the open one has no room.
    #[cold]
    fn append_point(&mut self, journal: &Journal, point: MetricPoint<'_, impl MetricKey>) {
        for _ in 0..MAX_ATTEMPTS {
            if let Some(open) = &mut self.open
                && open.define_metric(journal, point.run, point.key).is_ok()
                && open.append_known_metric(point)
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
            metric_run: None,
            runs: FxHashSet::default(),
            keys: Vec::new(),
            dynamic_keys: FxHashMap::default(),
        });
        Ok(())
    }
}

impl OpenSegment {
    /// Appends a metric point if the segment has room for it and defines its run and its key. Returns false if the segment does
    /// not have the point.
    #[inline(always)]
    fn append_known_metric(&mut self, point: MetricPoint<'_, impl MetricKey>) -> bool {
        if self.metric_run != Some(point.run.number) {
            return false;
        }
        let Some(key) = point.key.number_in(self) else {
            return false;
        };
        let record = MetricRecord {
            run: point.run.number,
            key,
            timestamp_ms: point.timestamp_ms,
            step: point.step,
            value: point.value,
        };
        let appended = match record.words() {
            Some(words) => self.appender.append_words(&words),
            None => self.append_wide(record),
        };
        appended.is_ok() && self.count_value()
    }

    /// Appends a metric whose time does not fit into the usual record.
    #[cold]
    fn append_wide(&mut self, record: MetricRecord) -> Result<(), SegmentFull> {
        self.appender.append(&record.encode())
    }

    /// Counts the value that was appended last. Returns false if another thread has sealed the segment without it.
    #[inline(always)]
    fn count_value(&mut self) -> bool {
        self.segment.count_value();
        !self.segment.is_closed() || self.segment.has_frames_until(self.appender.position())
    }

    /// Defines the run and the key of a metric, where the segment does not define them yet.
    fn define_metric(
        &mut self,
        journal: &Journal,
        run: RunRef<'_>,
        key: impl MetricKey,
    ) -> Result<(), SegmentFull> {
        if self.is_reserved || self.segment.is_closed() {
            return Err(SegmentFull);
        }
        self.define_run(&run)?;
        self.metric_run = Some(run.number);
        if key.number_in(self).is_none() {
            key.define_in(self, journal)?;
        }
        Ok(())
    }

    fn append_event(&mut self, run: &RunRef<'_>, body: &[u8]) -> Result<(), SegmentFull> {
        if self.segment.is_closed() {
            return Err(SegmentFull);
        }
        self.define_run(run)?;
        self.appender.append(body)?;
        if self.count_value() {
            Ok(())
        } else {
            Err(SegmentFull)
        }
    }

    fn define_run(&mut self, run: &RunRef<'_>) -> Result<(), SegmentFull> {
        if self.runs.contains(&run.number) {
            return Ok(());
        }
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
