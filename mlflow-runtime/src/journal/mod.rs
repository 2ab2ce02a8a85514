//! The journal: the queue, the offline spool and the crash log in one.
//!
//! # Invariants
//!
//! 1. When an append returns, the value survives the death of the process: SIGKILL, `abort`,
//!    `process::exit`, an operating system that ends it for want of memory.
//! 2. It survives the loss of power from five seconds after, or from when its segment was full or
//!    its run ended, plus the time that the device takes: see [`sync_thread`].
//! 3. A thread writes only to its own segment, so an append takes no lock and waits for nothing.
//! 4. Segments are self-contained: see [`record`].
//! 5. A value leaves the journal only when the store has accepted it or will never accept it.
//!    A segment is deleted, or used again, when that holds for all its values and no run it started
//!    is open.
//! 6. The size is bounded. Params, tags, starts and ends of runs are written beyond the bound, up to
//!    what the device and the memory hold; metrics, small texts and console lines that find no room are
//!    dropped, the newest first, and counted. Copies of artifacts take none of that room: see
//!    [`spool`].
//! 7. A journal is read only where it is this user's and nobody else can write to it: see [`owned`].
//!
//! # Layout
//!
//! The bytes of a segment: [`segment::mapped`]; what its frames say: [`record`]; the files: [`directory`].
//!
//! # Operation
//!
//! [`write`] finds the calling thread's [`Writer`] and appends. A thread that ends leaves its segment
//! to the next one that begins, so that many short-lived threads take the room of a few. The shipper
//! walks [`Journal::segments`] with its own cursors.
//!
//! A file is mapped where that is safe, else written to with a system call for each record, about
//! 1 µs (see [`segment::mmap_safety`]); where no file can be written, segments lie in memory, bounded by
//! [`MEMORY_BYTES`]: then invariants 1 and 2 do not hold, and a warning said so.
//!
//! # Recovery
//!
//! The segments are the only truth; the acknowledged offset in their header is a hint. Appends are
//! sequential, and a new segment is all zeros: so a frame that is not whole is the last one, of an
//! append that a kill has interrupted, or damage of the device. Behind damage reading goes on, see
//! [`salvage`]; one warning for each file says where it begins and how much was skipped, and the file
//! is [`kept`] when the rest is delivered. A record of a kind that this version does not know stays in
//! its file, counted as held, for a newer version; so does a file of another format.
//!
//! # Modules
//!
//! | module | what |
//! |---|---|
//! | [`writer`] | a thread's way in |
//! | [`record`] | what the frames of a segment say |
//! | [`segment`] | one segment: its bytes ([`mapped`](segment::mapped), with the crate's `unsafe` that touches memory), appending ([`append`](segment::append)), how its file comes to be ([`allocate`](segment::allocate)), which files can be mapped ([`mmap_safety`](segment::mmap_safety)), segments that are ready before they are needed ([`preallocate`](segment::preallocate)) |
//! | [`storage`] | where segments lie: on disk, else in memory |
//! | [`directory`], [`owned`] | the folder of a process, and who may touch its files |
//! | [`quota`] | how much there may be |
//! | [`wakeup`] | who is woken when something was written |
//! | [`sync_thread`] | what asks the device for the bytes |
//! | [`deferred_warnings`] | what the user is told, later, by another thread |
//! | [`entry_log`] | entries of one run, or of one kind, copied out of their segments so that these can go |
//! | [`salvage`], [`kept`] | reading on behind damage, and damaged files |
//! | [`console_log`] | what runs say in words |
//! | [`spool`], [`copying`], [`free_space`] | artifacts beside the segments, their copies, and the part of a disk that these leave |
//! | [`atomics`] | the protocols between threads, which loom tries |

mod atomics;
pub(crate) mod console_log;
mod copying;
mod deferred_warnings;
pub(crate) mod directory;
pub(crate) mod entry_log;
mod free_space;
pub(crate) mod kept;
pub(crate) mod owned;
mod quota;
pub(crate) mod record;
mod salvage;
pub(crate) mod segment;
pub(crate) mod spool;
mod storage;
mod sync_thread;
#[cfg(test)]
mod tests;
pub(crate) mod wakeup;
mod writer;

use std::fs::File;
use std::io;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicBool, AtomicU32, AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, RwLock};

use console_log::Consoles;
use deferred_warnings::{Trouble, Warning};
use owned::Place;
use quota::{MEMORY_BYTES, Room, Taken};
use record::{Definition, Fingerprint, Origin};
use segment::Segment;
use segment::append::Appender;
use segment::mapped::Region;
use segment::preallocate::Spares;
use spool::{Copy, Spool, Uncopied};
use storage::{Backing, Disk};
use wakeup::Bell;
use writer::{Idle, Writer};

pub(crate) use quota::Reason;
pub(crate) use writer::{MetricKey, RunRef, is_interned, release_all, release_thread, write};

use crate::model::key_names::KeyNames;
use crate::sync::{lock, unpoisoned};

/// Sizes of a thread's first, second and later segments: a thread that logs little costs little.
const SEGMENT_BYTES: [u64; 4] = [64 << 10, 256 << 10, 1 << 20, LARGE];
/// The size of the segments of a thread that logs much.
const LARGE: u64 = 4 << 20;

/// Everything one process has logged for one destination and has not delivered yet.
pub(crate) struct Journal {
    /// Tells journals of one process apart.
    id: u32,
    origin: Origin,
    /// It, as every segment begins with it.
    origin_definition: Vec<u8>,
    backing: Backing,
    room: Room,
    next_segment: AtomicU64,
    next_sequence: AtomicU64,
    segments: Mutex<Vec<Arc<Segment>>>,
    /// Held shared while a segment is made, alone while the directory is removed.
    gate: RwLock<()>,
    /// Values of segments that are gone from `segments`.
    retired_values: AtomicU64,
    trouble: Trouble,
    memory_warned: AtomicBool,
    sync_warned: AtomicBool,
    /// Set when a damaged file could not be moved out of the directory.
    keeps_files: AtomicBool,
    /// For threads whose thread-locals are gone already.
    stray: Mutex<Writer>,
    /// Segments of threads that have ended.
    idle: Arc<Idle>,
    /// What stands before the name of a metric.
    key_prefix: Box<str>,
    /// The names of metrics whose keys MLflow refuses.
    key_names: KeyNames,
    /// Sizes of a thread's first, second and later segments.
    segment_bytes: [u64; 4],
    pub(crate) consoles: Consoles,
    spool: Spool,
    spares: Arc<Spares>,
    pub(crate) bell: Bell,
}

/// A new segment, and how to write to it.
struct Opened {
    segment: Arc<Segment>,
    appender: Appender,
    taken: Taken,
}

impl Journal {
    /// Creates a journal below `root`, or fails if that cannot be written, or is not private.
    pub(crate) fn on_disk(
        root: impl Into<Place>,
        origin: Origin,
        max_bytes: u64,
        key_prefix: &str,
    ) -> io::Result<Arc<Self>> {
        let backing = Backing::Disk(Disk::below(root.into())?);
        let journal = Self::new(backing, origin, max_bytes, key_prefix);
        sync_thread::spawn(&journal);
        segment::preallocate::spawn(&journal);
        Ok(journal)
    }

    pub(crate) fn in_memory(origin: Origin, key_prefix: &str) -> Arc<Self> {
        Self::new(Backing::Memory, origin, MEMORY_BYTES, key_prefix)
    }

    /// A journal below `root` without threads of its own, with segments of about `segment_bytes`.
    #[cfg(test)]
    pub(crate) fn without_threads(
        root: PathBuf,
        origin: Origin,
        segment_bytes: u64,
    ) -> io::Result<Arc<Self>> {
        let backing = Backing::Disk(Disk::below(root.into())?);
        let mut journal = Self::new(backing, origin, 1 << 30, "");
        if let Some(journal) = Arc::get_mut(&mut journal) {
            journal.segment_bytes = [segment_bytes; 4];
        }
        Ok(journal)
    }

    /// Creates a journal below `root` without threads of its own: a test says when the device is asked.
    /// Its files are mapped, or written to.
    #[cfg(test)]
    pub(crate) fn unattended(root: PathBuf, origin: Origin, mapped: bool) -> io::Result<Arc<Self>> {
        let backing = Backing::Disk(Disk::unattended(root.into(), mapped)?);
        Ok(Self::new(backing, origin, 1 << 30, ""))
    }

    fn new(backing: Backing, origin: Origin, max_bytes: u64, key_prefix: &str) -> Arc<Self> {
        static NEXT_ID: AtomicU32 = AtomicU32::new(1);
        Arc::new(Self {
            id: NEXT_ID.fetch_add(1, Ordering::Relaxed),
            origin_definition: Definition::Origin(origin.clone()).encode(),
            origin,
            backing,
            room: Room::new(max_bytes),
            next_segment: AtomicU64::new(0),
            next_sequence: AtomicU64::new(0),
            segments: Mutex::new(Vec::new()),
            gate: RwLock::new(()),
            retired_values: AtomicU64::new(0),
            trouble: Trouble::default(),
            memory_warned: AtomicBool::new(false),
            sync_warned: AtomicBool::new(false),
            keeps_files: AtomicBool::new(false),
            stray: Mutex::new(Writer::default()),
            idle: Arc::default(),
            key_prefix: key_prefix.into(),
            key_names: KeyNames::default(),
            segment_bytes: SEGMENT_BYTES,
            consoles: Consoles::default(),
            spool: Spool::default(),
            spares: Arc::default(),
            bell: Bell::default(),
        })
    }

    pub(crate) fn origin(&self) -> &Origin {
        &self.origin
    }

    /// The place of the next event in the order of all events. Every event below the number
    /// returned by [`sequence`](Self::sequence) is visible to a scan that starts afterwards.
    fn next_sequence(&self) -> u64 {
        self.next_sequence.fetch_add(1, Ordering::AcqRel)
    }

    pub(crate) fn sequence(&self) -> u64 {
        self.next_sequence.load(Ordering::Acquire)
    }

    /// The segments, oldest first.
    pub(crate) fn segments(&self) -> Vec<Arc<Segment>> {
        self.lock_segments().clone()
    }

    /// Values logged so far, delivered or not.
    pub(crate) fn values(&self) -> u64 {
        let segments = self.lock_segments();
        let live: u64 = segments.iter().map(|segment| segment.values()).sum();
        live + self.retired_values.load(Ordering::Relaxed)
    }

    /// Values that found no room.
    pub(crate) fn dropped(&self, reason: Reason) -> u64 {
        self.room.dropped(reason)
    }

    pub(crate) fn used_bytes(&self) -> u64 {
        self.room.used_bytes() + self.room.copied_bytes()
    }

    /// Takes room for bytes of a console; returns false, and counts them as dropped, if there is none.
    pub(crate) fn take_console_room(&self, bytes: u64) -> bool {
        let taken = self.room.take(bytes, false);
        if let Err(reason) = taken {
            self.count_dropped(reason, 1);
            self.trouble.tell();
        }
        taken.is_ok()
    }

    /// Counts values that found no room.
    #[cold]
    fn count_dropped(&self, reason: Reason, values: u64) {
        if self.room.count_dropped(reason, values) {
            let max_bytes = self.room.max_bytes();
            self.trouble.note(Warning::Dropped { reason, max_bytes });
        }
    }

    /// Gives back what such bytes have taken.
    pub(crate) fn give_console_room(&self, bytes: u64) {
        self.room.give(bytes);
    }

    /// Copies a file beside the segments; `None` where the journal is in memory.
    pub(crate) fn copy_artifact(&self, source: &File) -> Option<Result<Copy, Uncopied>> {
        Some(self.spool.copy(&self.path()?, source))
    }

    /// Writes an artifact beside the segments; `None` where the journal is in memory.
    pub(crate) fn write_artifact(&self, bytes: &[u8]) -> Option<Result<Copy, Uncopied>> {
        Some(self.spool.write(&self.path()?, bytes))
    }

    /// Removes a copy that no event names.
    pub(crate) fn discard_artifact(&self, name: &str, fingerprint: Fingerprint) {
        if let Some(directory) = self.path() {
            let _ = std::fs::remove_file(directory.join(name));
        }
        self.spool.give(fingerprint.length);
    }

    /// Returns the bytes of all artifacts that wait beside the segments.
    pub(crate) fn artifact_bytes(&self) -> u64 {
        self.spool.bytes()
    }

    /// Notes that an artifact of so many bytes has a second name.
    pub(crate) fn take_artifact(&self, bytes: u64) {
        self.spool.take(bytes);
    }

    /// Notes that an artifact of so many bytes waits no more.
    pub(crate) fn give_artifact(&self, bytes: u64) {
        self.spool.give(bytes);
    }

    /// Returns the directory for consoles; `None` where the journal is in memory.
    pub(crate) fn spool_directory(&self) -> Option<PathBuf> {
        self.path()
    }

    /// Returns where journals may lie: below the configured directory, and below the `fallback`, which is used
    /// where that cannot be written to, as it may not have been for others.
    pub(crate) fn roots(&self, configured: &Path, fallback: &Path) -> Vec<PathBuf> {
        let mut roots = vec![configured.to_owned()];
        for root in [Some(fallback), self.root()].into_iter().flatten() {
            if !roots.iter().any(|known| known == root) {
                roots.push(root.to_owned());
            }
        }
        roots
    }

    /// Returns where journals lie, this one and those of others; `None` where this one is in memory.
    pub(crate) fn root(&self) -> Option<&Path> {
        match &self.backing {
            Backing::Disk(disk) => Some(disk.root()),
            Backing::Memory => None,
        }
    }

    /// Values in segments that are only in memory, delivered or not.
    pub(crate) fn values_in_memory(&self) -> u64 {
        let segments = self.lock_segments();
        let in_memory = segments.iter().filter(|segment| segment.file().is_none());
        in_memory.map(|segment| segment.values()).sum()
    }

    /// The directory of this process, while there is one.
    pub(crate) fn path(&self) -> Option<PathBuf> {
        match &self.backing {
            Backing::Disk(disk) => Some(disk.existing()?.path().to_owned()),
            Backing::Memory => None,
        }
    }

    /// Forgets a segment that holds nothing of interest any more.
    pub(crate) fn retire(&self, segment: &Arc<Segment>) {
        {
            let mut segments = self.lock_segments();
            let before = segments.len();
            segments.retain(|other| !Arc::ptr_eq(other, segment));
            if segments.len() == before {
                return;
            }
            // Under the lock: whoever counts values meets it here or there.
            self.retired_values
                .fetch_add(segment.values(), Ordering::Relaxed);
        }
        if segment.is_copy() {
            self.room.give_copied(segment.size_bytes());
        } else {
            self.room.give(segment.size_bytes());
        }
        if segment.file().is_none() {
            self.room.give_memory(segment.size_bytes());
        }
        if let Err(error) = segment.remove_file() {
            self.keeps_files.store(true, Ordering::Relaxed);
            if let Some(directory) = self.path() {
                kept::warn(&directory, &error);
            }
        }
    }

    /// Opens a segment of up to `len` bytes for copied entries, beside the others.
    pub(crate) fn open_copy(&self, len: usize) -> io::Result<(Arc<Segment>, Appender)> {
        let _gate = unpoisoned(self.gate.read());
        let (segment, appender) = match &self.backing {
            Backing::Disk(disk) => {
                let number = || self.next_segment.fetch_add(1, Ordering::Relaxed);
                let (path, file) = disk.create_copy(len, number)?;
                entry_log::written(path, file, len)?
            }
            Backing::Memory => {
                let len = entry_log::memory_bytes(len);
                // Beyond the bound, too: the copy takes the place of what it was copied from.
                let _ = self.room.take_memory(len as u64, true);
                self.room.take_copied(len as u64);
                let (region, appender) = Region::create_anonymous(len)?;
                let segment = Segment::copy(None, Some(region), len);
                (segment, Appender::Mapped(appender))
            }
        };
        let segment = Arc::new(segment);
        self.lock_segments().push(Arc::clone(&segment));
        Ok((segment, appender))
    }

    /// Notes that a segment of copied entries has grown.
    pub(crate) fn copy_has_grown(&self, segment: &Segment, bytes: usize) {
        if segment.file().is_some() {
            self.room.take_copied(segment.set_size_bytes(bytes as u64));
        }
    }

    /// Returns whether copied entries take no more than the journal's bound, which is theirs besides.
    pub(crate) fn copies_fit(&self) -> bool {
        self.room.copied_bytes() <= self.room.max_bytes()
    }

    /// Counts metrics of a run that waits by itself for which there is no more room.
    pub(crate) fn drop_copied(&self, values: u64) {
        self.count_dropped(Reason::JournalFull, values);
        self.trouble.tell();
    }

    /// Forgets a segment whose file is gone: all of its values but the `read` first ones are lost. False
    /// if the file is there.
    pub(crate) fn give_up(&self, segment: &Arc<Segment>, read: u64) -> bool {
        let gone = |file: &Path| matches!(file.try_exists(), Ok(false));
        if !segment.file().is_some_and(gone) {
            return false;
        }
        {
            let mut segments = self.lock_segments();
            segments.retain(|other| !Arc::ptr_eq(other, segment));
            self.retired_values.fetch_add(read, Ordering::Relaxed);
        }
        self.room.give(segment.size_bytes());
        self.count_dropped(Reason::Removed, segment.values().saturating_sub(read));
        self.trouble.tell();
        true
    }

    /// Whether the device lacks something.
    fn is_dirty(&self) -> bool {
        self.lock_segments()
            .iter()
            .any(|segment| segment.is_dirty())
    }

    /// Has the device keep what was appended so far: first the copies of artifacts, then the names of
    /// all files, then the events that name the copies.
    pub(crate) fn sync(&self) {
        let dirty: Vec<_> = self
            .segments()
            .into_iter()
            .filter(|segment| segment.is_dirty())
            // Before the copies are looked at: what is appended later may name another.
            .map(|segment| (segment.extent(), segment))
            .collect();
        let mut synced = self.spool.sync();
        if let Backing::Disk(disk) = &self.backing
            && let Some(directory) = disk.existing()
        {
            synced = synced.and(directory.sync());
        }
        for (extent, segment) in dirty {
            // One that was delivered and deleted meanwhile needs no device.
            synced = synced.and(segment.sync(extent).or_else(|error| match error.kind() {
                io::ErrorKind::NotFound => Ok(()),
                _ => Err(error),
            }));
        }
        if let Err(error) = synced
            && !self.sync_warned.swap(true, Ordering::Relaxed)
        {
            tracing::warn!(
                target: "mlflow", %error,
                "the device did not confirm the journal; a loss of power may cost what was not delivered yet"
            );
        }
    }

    /// Seals the segments that are open, whosever they are: for the end of a process, when all that was logged is
    /// delivered, so that their files can go. A thread that logs later gets a new one. A call that another thread is
    /// in the middle of may be lost: it has not returned.
    pub(crate) fn seal_all(&self) {
        for segment in self.segments().iter().filter(|segment| !segment.is_copy()) {
            segment.seal();
        }
    }

    /// Returns whether no segment is left.
    pub(crate) fn is_empty(&self) -> bool {
        self.lock_segments().is_empty()
    }

    /// Removes the directory, if every segment is gone. A thread that logs later gets a new one.
    pub(crate) fn remove_if_empty(&self) {
        let _gate = unpoisoned(self.gate.write());
        let segments = self.lock_segments();
        if let Backing::Disk(disk) = &self.backing
            && segments.is_empty()
            && !self.keeps_files.load(Ordering::Relaxed)
            && let Some(directory) = disk.take()
        {
            directory.remove();
        }
    }

    /// A new segment with room for a frame of `frame` bytes. `rolls` counts the calling thread's
    /// segments.
    fn open_segment(&self, rolls: usize, frame: usize, essential: bool) -> Result<Opened, Reason> {
        let usual = self.segment_bytes[rolls.min(self.segment_bytes.len() - 1)];
        let at_least = (frame + 4096).next_multiple_of(4096) as u64;
        let smallest = at_least.max(self.segment_bytes[0]);
        if !essential && self.room.is_shut() {
            return Err(Reason::MemoryFull);
        }
        // Near a bound, of disk or memory, as little as can be.
        let usual = if self.room.fits(usual) {
            usual.max(at_least)
        } else {
            smallest
        };
        let opened = match self.open_segment_of(usual, essential) {
            Err(_) if usual > smallest => self.open_segment_of(smallest, essential),
            opened => opened,
        };
        if matches!(opened, Err(Reason::MemoryFull)) && smallest == self.segment_bytes[0] {
            self.room.shut();
        }
        opened
    }

    fn open_segment_of(&self, bytes: u64, essential: bool) -> Result<Opened, Reason> {
        let taken = self.room.take(bytes, essential)?;
        let _gate = unpoisoned(self.gate.read());
        match self.allocate(bytes, taken, essential) {
            Ok(opened) => {
                self.lock_segments().push(Arc::clone(&opened.segment));
                Ok(opened)
            }
            Err(reason) => {
                self.room.give(bytes);
                Err(reason)
            }
        }
    }

    /// On disk, else in memory.
    fn allocate(&self, bytes: u64, taken: Taken, essential: bool) -> Result<Opened, Reason> {
        let len = usize::try_from(bytes).map_err(|_| Reason::MemoryFull)?;
        if let Backing::Disk(disk) = &self.backing {
            let number = || self.next_segment.fetch_add(1, Ordering::Relaxed);
            match disk.open(len, &self.spares, number) {
                Ok((segment, appender)) => {
                    return Ok(Opened {
                        segment: Arc::new(segment),
                        appender,
                        taken,
                    });
                }
                Err(error) => self.note_memory(disk.root(), error),
            }
        }
        let taken_memory = self.room.take_memory(bytes, essential)?;
        match Region::create_anonymous(len) {
            Ok((region, appender)) => Ok(Opened {
                segment: Arc::new(Segment::new(None, Some(region), len)),
                appender: Appender::Mapped(appender),
                taken: taken.max(taken_memory),
            }),
            // The system has none.
            Err(_) => {
                self.room.give_memory(bytes);
                Err(Reason::MemoryFull)
            }
        }
    }

    fn note_memory(&self, root: &Path, error: io::Error) {
        if !self.memory_warned.swap(true, Ordering::Relaxed) {
            let root = root.to_owned();
            self.trouble.note(Warning::InMemory { error, root });
        }
    }

    fn lock_segments(&self) -> MutexGuard<'_, Vec<Arc<Segment>>> {
        lock(&self.segments)
    }
}

impl Drop for Journal {
    fn drop(&mut self) {
        self.bell.keeper.stop();
        self.spares.stop();
    }
}
