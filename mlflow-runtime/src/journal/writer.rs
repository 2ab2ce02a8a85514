//! Appending: each thread's own segment, and the numbers it has defined in it.
//!
//! Invariants: a record is appended only after the definitions it refers to, in the same segment. A
//! segment has one writer at a time; when its thread ends, it waits for the next one that begins.

use std::borrow::Cow;
use std::cell::RefCell;
use std::sync::{Arc, Mutex, Weak};

use rustc_hash::{FxHashMap, FxHashSet};

use crate::journal::deferred_warnings::Warning;
use crate::journal::quota::{Reason, Taken};
use crate::journal::record::{self, Content, Definition, Event, MetricRecord};
use crate::journal::segment::Segment;
use crate::journal::segment::append::Appender;
use crate::journal::segment::mapped::Full;
use crate::journal::{Journal, Opened};
use crate::model::RunIdentity;
use crate::model::key_names::Named;
use crate::model::metric_key::Key;
use crate::os::fork;
use crate::sync::lock;

/// Key numbers above this are given out by a writer, for one segment; those below by [`Key`], for good.
const DYNAMIC_KEYS: u32 = 1 << 31;

/// Returns true if the number of a key is the same in all segments of its process.
pub(crate) fn is_interned(id: u32) -> bool {
    id < DYNAMIC_KEYS
}

/// Metrics of the machine: they have a way of their own to be told apart.
const SYSTEM: &str = "system/";

thread_local! {
    /// This thread's writers. Almost always one: one destination.
    static WRITERS: RefCell<Vec<Writer>> = const { RefCell::new(Vec::new()) };
}

/// One thread's way into one journal.
#[derive(Default)]
pub(crate) struct Writer {
    journal: u32,
    /// The process it was made in.
    process: u32,
    /// How many segments the thread has had.
    rolls: usize,
    open: Option<Open>,
    /// Where to leave the segment when the thread ends.
    idle: Weak<Idle>,
}

/// How many segments wait for a thread; more are sealed, so that they can be deleted.
const MAX_IDLE: usize = 16;

/// Segments whose threads have ended; none once the process is about to end, as nobody would take
/// them.
pub(super) struct Idle(Mutex<Option<Vec<(usize, Open)>>>);

impl Default for Idle {
    fn default() -> Self {
        Self(Mutex::new(Some(Vec::new())))
    }
}

impl Idle {
    fn put(&self, rolls: usize, open: Open) {
        if let Some(waiting) = &mut *lock(&self.0)
            && waiting.len() < MAX_IDLE
        {
            waiting.push((rolls, open));
        }
    }

    fn take(&self) -> Option<(usize, Open)> {
        lock(&self.0).as_mut()?.pop()
    }

    /// Seals those that wait and those that come.
    fn close(&self) {
        let waiting = lock(&self.0).take();
        drop(waiting);
    }
}

/// A segment being written.
struct Open {
    appender: Appender,
    segment: Arc<Segment>,
    /// Whether it is beyond the journal's bound: only for what is essential.
    is_reserved: bool,
    last_run: Option<u32>,
    runs: FxHashSet<u32>,
    /// Indexed by a [`Key`]'s number.
    keys: Vec<bool>,
    dynamic_keys: FxHashMap<Box<str>, u32>,
}

/// A run, as far as the journal has to know it.
pub(crate) struct RunRef<'a> {
    pub(crate) number: u32,
    pub(crate) identity: &'a RunIdentity,
    /// Whether the process this one was forked from has started it.
    pub(crate) inherited: bool,
}

/// The name of a metric.
#[derive(Clone, Copy)]
pub(crate) enum MetricKey<'a> {
    /// Known at the call site, or bound to a handle: found by number.
    Interned(&'a Key),
    Dynamic(&'a str),
}

/// A segment that a thread found, one that it made, and one to spare.
const ATTEMPTS: usize = 3;

/// Runs `write`, once, on the calling thread's writer.
#[inline]
pub(crate) fn write(journal: &Journal, mut write: impl FnMut(&mut Writer)) {
    let done = WRITERS.try_with(|writers| {
        // Borrowed already: a destructor of the user's logs while this thread ends.
        let mut writers = writers.try_borrow_mut().ok()?;
        let writer = match writers.first_mut() {
            Some(first) if first.journal == journal.id => first,
            _ => other_writer(&mut writers, journal)?,
        };
        write(writer);
        Some(())
    });
    // Thread-locals are gone (the thread, or the process, is ending) or in use.
    if !matches!(done, Ok(Some(()))) {
        let mut stray = lock(&journal.stray);
        stray.journal = journal.id;
        stray.process = fork::generation();
        write(&mut stray);
    }
    journal.trouble.tell();
}

#[cold]
fn other_writer<'a>(writers: &'a mut Vec<Writer>, journal: &Journal) -> Option<&'a mut Writer> {
    if let Some(at) = writers
        .iter()
        .position(|writer| writer.journal == journal.id)
    {
        writers.swap(0, at);
    } else {
        let mut writer = Writer::default();
        writer.journal = journal.id;
        writer.process = fork::generation();
        writers.insert(0, writer);
    }
    writers.first_mut()
}

/// Seals what this thread has open, so that it can be shipped and deleted while the thread lives on.
pub(crate) fn release_thread(journal: &Journal) {
    let _ = WRITERS.try_with(|writers| {
        if let Ok(mut writers) = writers.try_borrow_mut() {
            for writer in writers
                .iter_mut()
                .filter(|writer| writer.journal == journal.id)
            {
                writer.open = None;
            }
        }
    });
    // Whoever holds it writes to it.
    if let Ok(mut stray) = journal.stray.try_lock() {
        stray.open = None;
    }
    journal.idle.close();
}

/// The same for all journals, for a thread of ours that has nothing to log for a while.
pub(crate) fn release_all() {
    let _ = WRITERS.try_with(|writers| {
        if let Ok(mut writers) = writers.try_borrow_mut() {
            writers.iter_mut().for_each(|writer| writer.open = None);
        }
    });
}

impl Writer {
    /// Appends a metric point.
    #[inline]
    pub(crate) fn metric(
        &mut self,
        journal: &Journal,
        run: &RunRef<'_>,
        key: MetricKey<'_>,
        timestamp_ms: i64,
        step: i64,
        value: f64,
    ) {
        let step = record::plain_step(step);
        self.point(journal, run, key, timestamp_ms, step, value);
    }

    /// Appends a metric point that is to stand at the last step of its key.
    pub(crate) fn metric_at_last_step(
        &mut self,
        journal: &Journal,
        run: &RunRef<'_>,
        key: MetricKey<'_>,
        timestamp_ms: i64,
        value: f64,
    ) {
        let step = record::last_step(journal.next_sequence());
        self.point(journal, run, key, timestamp_ms, step, value);
    }

    #[inline]
    fn point(
        &mut self,
        journal: &Journal,
        run: &RunRef<'_>,
        key: MetricKey<'_>,
        timestamp_ms: i64,
        step: i64,
        value: f64,
    ) {
        for _ in 0..ATTEMPTS {
            if let Some(open) = &mut self.open
                && !open.is_reserved
                && open
                    .metric(journal, run, key, timestamp_ms, step, value)
                    .is_ok()
            {
                journal.bell.ring_if_asleep();
                return;
            }
            if let Err(reason) = self.make_room(journal, 0, false) {
                journal.count_dropped(reason, 1);
                return;
            }
        }
        journal.count_dropped(Reason::JournalFull, 1);
    }

    /// Appends an event; false if there is no room for it.
    pub(crate) fn event(
        &mut self,
        journal: &Journal,
        run: &RunRef<'_>,
        event: &Event<'_>,
        attachment: &[u8],
    ) -> bool {
        // The bytes of a spooled artifact have found room already.
        let essential = match event {
            Event::Artifact { content, .. } => matches!(content, Content::Spooled(_)),
            _ => true,
        };
        let body = event.encode(run.number, journal.next_sequence(), attachment);
        for _ in 0..ATTEMPTS {
            if let Some(open) = &mut self.open
                && (essential || !open.is_reserved)
                && open.event(run, &body).is_ok()
            {
                journal.bell.ring_surely();
                if matches!(event, Event::End { .. }) {
                    journal.bell.keeper.sync_now();
                }
                return true;
            }
            if let Err(reason) = self.make_room(journal, body.len(), essential) {
                journal.count_dropped(reason, 1);
                return false;
            }
        }
        journal.count_dropped(Reason::JournalFull, 1);
        false
    }

    /// Opens another segment, or the one that is open to everything, if the journal has room again.
    #[cold]
    fn make_room(
        &mut self,
        journal: &Journal,
        frame: usize,
        essential: bool,
    ) -> Result<(), Reason> {
        match &mut self.open {
            Some(open) if open.is_reserved && !essential => match journal.room.shortage() {
                Some(reason) => Err(reason),
                None => {
                    open.is_reserved = false;
                    Ok(())
                }
            },
            _ => self.roll(journal, frame, essential),
        }
    }

    fn roll(&mut self, journal: &Journal, frame: usize, essential: bool) -> Result<(), Reason> {
        if self.open.take().is_some() {
            journal.bell.keeper.sync_now();
        } else if self.rolls == 0 {
            self.idle = Arc::downgrade(&journal.idle);
            if let Some((rolls, open)) = journal.idle.take() {
                self.rolls = rolls;
                self.open = Some(open);
                return Ok(());
            }
        }
        let origin = &journal.origin_definition;
        let Opened {
            segment,
            mut appender,
            taken,
        } = journal.open_segment(self.rolls, frame + origin.len(), essential)?;
        self.rolls += 1;
        let started = appender.append(origin).is_ok();
        self.open = started.then(|| Open {
            appender,
            segment,
            is_reserved: taken == Taken::Beyond,
            last_run: None,
            runs: FxHashSet::default(),
            keys: Vec::new(),
            dynamic_keys: FxHashMap::default(),
        });
        Ok(())
    }
}

impl Open {
    #[inline]
    fn metric(
        &mut self,
        journal: &Journal,
        run: &RunRef<'_>,
        key: MetricKey<'_>,
        timestamp_ms: i64,
        step: i64,
        value: f64,
    ) -> Result<(), Full> {
        if self.segment.is_sealed() {
            return Err(Full);
        }
        if self.last_run != Some(run.number) {
            self.define_run(run)?;
        }
        let key = match key {
            MetricKey::Interned(key) => {
                let id = key.number();
                if self.keys.get(id as usize) == Some(&true) {
                    id
                } else {
                    self.define_key(journal, id, key.name())?
                }
            }
            MetricKey::Dynamic(name) => match self.dynamic_keys.get(name) {
                Some(id) => *id,
                None => self.define_dynamic_key(journal, name)?,
            },
        };
        let record = MetricRecord {
            run: run.number,
            key,
            timestamp_ms,
            step,
            value,
        };
        self.appender.append(&record.encode())?;
        self.segment.count_value();
        Ok(())
    }

    fn event(&mut self, run: &RunRef<'_>, body: &[u8]) -> Result<(), Full> {
        if self.segment.is_sealed() {
            return Err(Full);
        }
        if self.last_run != Some(run.number) {
            self.define_run(run)?;
        }
        self.appender.append(body)?;
        self.segment.count_value();
        Ok(())
    }

    #[cold]
    fn define_run(&mut self, run: &RunRef<'_>) -> Result<(), Full> {
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
    fn define_key(&mut self, journal: &Journal, id: u32, name: &str) -> Result<u32, Full> {
        self.append_key(journal, id, name)?;
        let index = id as usize;
        if self.keys.len() <= index {
            self.keys.resize(index + 1, false);
        }
        self.keys[index] = true;
        Ok(id)
    }

    #[cold]
    fn define_dynamic_key(&mut self, journal: &Journal, name: &str) -> Result<u32, Full> {
        let id = DYNAMIC_KEYS + u32::try_from(self.dynamic_keys.len()).map_err(|_| Full)?;
        self.append_key(journal, id, name)?;
        self.dynamic_keys.insert(name.into(), id);
        Ok(id)
    }

    fn append_key(&mut self, journal: &Journal, id: u32, name: &str) -> Result<(), Full> {
        let mut key = Cow::Borrowed(name);
        if !journal.key_prefix.is_empty() && !name.starts_with(SYSTEM) {
            key.to_mut().insert_str(0, &journal.key_prefix);
        }
        let Named { name, news } = journal.key_names.name(&key);
        if let Some(news) = news {
            let line = news.line("metric", &key, &name);
            journal.trouble.note(Warning::KeyName { line });
        }
        self.appender.append(&Definition::Key { id, name }.encode())
    }
}

impl Drop for Writer {
    fn drop(&mut self) {
        let Some(open) = self.open.take() else { return };
        if self.process != fork::generation() {
            // The parent's: this thread goes on writing to it there.
            std::mem::forget(open);
        } else if let Some(idle) = self.idle.upgrade() {
            idle.put(self.rolls, open);
        }
    }
}

impl Drop for Open {
    fn drop(&mut self) {
        self.segment.seal();
    }
}
