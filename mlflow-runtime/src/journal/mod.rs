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
//! 7. A journal is read only where it is this user's and nobody else can write to it: see [`user_files`].
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
//! [`MAX_MEMORY_BYTES`]: then invariants 1 and 2 do not hold, and a warning said so.
//!
//! # Recovery
//!
//! The segments are the only truth; the acknowledged offset in their header is a hint. Appends are
//! sequential, and a new segment is all zeros: so a frame that is not whole is the last one, of an
//! append that a kill has interrupted, or damage of the device. Behind damage reading goes on, see
//! [`salvage`]; one warning for each file says where it begins and how much was skipped, and the file
//! is moved to [`quarantine`] when the rest is delivered. A record of a kind that this version does not know stays in
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
//! | [`directory`], [`user_files`] | the folder of a process, and who may touch its files |
//! | [`quota`] | how much there may be |
//! | [`wakeup`] | who is woken when something was written |
//! | [`sync_thread`] | what asks the device for the bytes |
//! | [`deferred_warnings`] | what the user is told, later, by another thread |
//! | [`entry_log`] | entries of one run, or of one kind, copied out of their segments so that these can go |
//! | [`salvage`], [`quarantine`] | reading on behind damage, and damaged files |
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
pub(crate) mod quarantine;
mod quota;
pub(crate) mod record;
mod salvage;
pub(crate) mod segment;
pub(crate) mod spool;
mod storage;
mod sync_thread;
#[cfg(test)]
mod tests;
pub(crate) mod user_files;
pub(crate) mod wakeup;
mod writer;

use std::fs::File;
use std::io;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicBool, AtomicU32, AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, RwLock};

use console_log::RunConsoleLogs;
use deferred_warnings::{DeferredWarning, DeferredWarnings};
use quota::{MAX_MEMORY_BYTES, Quota, Reservation};
use record::{Definition, Fingerprint, Origin};
use segment::Segment;
use segment::append::Appender;
use segment::mapped::Region;
use segment::preallocate::PreallocatedSegments;
use spool::{CopyError, Spool, SpooledArtifact};
use storage::{DiskStorage, Storage};
use user_files::JournalLocation;
use wakeup::Wakeup;
use writer::{IdleSegments, Writer};

pub(crate) use quota::DropReason;
pub(crate) use writer::{MetricKey, RunRef, is_interned, release_all, release_thread, with_writer};

use crate::model::key_names::KeyNames;
use crate::sync::{ignore_poison, lock};

/// Sizes of a thread's first, second and later segments: a thread that logs little costs little.
const SEGMENT_BYTES: [u64; 4] = [64 << 10, 256 << 10, 1 << 20, LARGE_SEGMENT_BYTES];
/// The size of the segments of a thread that logs much.
const LARGE_SEGMENT_BYTES: u64 = 4 << 20;

/// Everything one process has logged for one destination and has not delivered yet.
pub(crate) struct Journal {
    /// Tells journals of one process apart.
    id: u32,
    origin: Origin,
    /// It, as every segment begins with it.
    origin_definition: Vec<u8>,
    storage: Storage,
    quota: Quota,
    next_segment: AtomicU64,
    next_sequence: AtomicU64,
    segments: Mutex<Vec<Arc<Segment>>>,
    /// Held shared while a segment is made, alone while the directory is removed.
    directory_gate: RwLock<()>,
    /// Values of segments that are gone from `segments`.
    retired_values: AtomicU64,
    deferred_warnings: DeferredWarnings,
    memory_warned: AtomicBool,
    sync_warned: AtomicBool,
    /// Set when a damaged file could not be moved out of the directory.
    has_stuck_files: AtomicBool,
    /// For threads whose thread-locals are gone already.
    fallback_writer: Mutex<Writer>,
    /// Segments of threads that have ended.
    idle_segments: Arc<IdleSegments>,
    /// What stands before the name of a metric.
    key_prefix: Box<str>,
    /// The names of metrics whose keys MLflow refuses.
    key_names: KeyNames,
    /// Sizes of a thread's first, second and later segments.
    segment_bytes: [u64; 4],
    pub(crate) console_logs: RunConsoleLogs,
    spool: Spool,
    preallocated: Arc<PreallocatedSegments>,
    pub(crate) wakeup: Wakeup,
}

/// A new segment, and how to write to it.
struct NewSegment {
    segment: Arc<Segment>,
    appender: Appender,
    reservation: Reservation,
}

impl Journal {
    /// Creates a journal below `root`, or fails if that cannot be written, or is not private.
    pub(crate) fn on_disk(
        root: impl Into<JournalLocation>,
        origin: Origin,
        max_bytes: u64,
        key_prefix: &str,
    ) -> io::Result<Arc<Self>> {
        let backing = Storage::Disk(DiskStorage::below(root.into())?);
        let journal = Self::new(backing, origin, max_bytes, key_prefix);
        sync_thread::spawn(&journal);
        segment::preallocate::spawn_preallocator(&journal);
        Ok(journal)
    }

    pub(crate) fn in_memory(origin: Origin, key_prefix: &str) -> Arc<Self> {
        Self::new(Storage::Memory, origin, MAX_MEMORY_BYTES, key_prefix)
    }

    /// A journal below `root` without threads of its own, with segments of about `segment_bytes`.
    #[cfg(test)]
    pub(crate) fn without_threads(
        root: PathBuf,
        origin: Origin,
        segment_bytes: u64,
    ) -> io::Result<Arc<Self>> {
        let backing = Storage::Disk(DiskStorage::below(root.into())?);
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
        let backing = Storage::Disk(DiskStorage::with_mapping(root.into(), mapped)?);
        Ok(Self::new(backing, origin, 1 << 30, ""))
    }

    fn new(backing: Storage, origin: Origin, max_bytes: u64, key_prefix: &str) -> Arc<Self> {
        static NEXT_ID: AtomicU32 = AtomicU32::new(1);
        Arc::new(Self {
            id: NEXT_ID.fetch_add(1, Ordering::Relaxed),
            origin_definition: Definition::Origin(origin.clone()).encode(),
            origin,
            storage: backing,
            quota: Quota::new(max_bytes),
            next_segment: AtomicU64::new(0),
            next_sequence: AtomicU64::new(0),
            segments: Mutex::new(Vec::new()),
            directory_gate: RwLock::new(()),
            retired_values: AtomicU64::new(0),
            deferred_warnings: DeferredWarnings::default(),
            memory_warned: AtomicBool::new(false),
            sync_warned: AtomicBool::new(false),
            has_stuck_files: AtomicBool::new(false),
            fallback_writer: Mutex::new(Writer::default()),
            idle_segments: Arc::default(),
            key_prefix: key_prefix.into(),
            key_names: KeyNames::default(),
            segment_bytes: SEGMENT_BYTES,
            console_logs: RunConsoleLogs::default(),
            spool: Spool::default(),
            preallocated: Arc::default(),
            wakeup: Wakeup::default(),
        })
    }

    pub(crate) fn origin(&self) -> &Origin {
        &self.origin
    }

    /// The place of the next event in the order of all events. Every event below the number
    /// returned by [`current_sequence`](Self::current_sequence) is visible to a scan that starts afterwards.
    fn next_sequence(&self) -> u64 {
        self.next_sequence.fetch_add(1, Ordering::AcqRel)
    }

    pub(crate) fn current_sequence(&self) -> u64 {
        self.next_sequence.load(Ordering::Acquire)
    }

    /// The segments, oldest first.
    pub(crate) fn segments(&self) -> Vec<Arc<Segment>> {
        self.lock_segments().clone()
    }

    /// Values logged so far, delivered or not.
    pub(crate) fn value_count(&self) -> u64 {
        let segments = self.lock_segments();
        let live: u64 = segments.iter().map(|segment| segment.value_count()).sum();
        live + self.retired_values.load(Ordering::Relaxed)
    }

    /// Values that found no room.
    pub(crate) fn dropped(&self, reason: DropReason) -> u64 {
        self.quota.dropped(reason)
    }

    pub(crate) fn used_bytes(&self) -> u64 {
        self.quota.used_bytes() + self.quota.copied_bytes()
    }

    /// Takes room for bytes of a console; returns false, and counts them as dropped, if there is none.
    pub(crate) fn reserve_console_bytes(&self, bytes: u64) -> bool {
        let taken = self.quota.reserve(bytes, false);
        if let Err(reason) = taken {
            self.count_dropped(reason, 1);
            self.deferred_warnings.emit();
        }
        taken.is_ok()
    }

    /// Counts values that found no room.
    #[cold]
    fn count_dropped(&self, reason: DropReason, values: u64) {
        if self.quota.count_dropped(reason, values) {
            let max_bytes = self.quota.max_bytes();
            self.deferred_warnings
                .push(DeferredWarning::Dropped { reason, max_bytes });
        }
    }

    /// Gives back what such bytes have taken.
    pub(crate) fn release_console_bytes(&self, bytes: u64) {
        self.quota.release(bytes);
    }

    /// Copies a file beside the segments; `None` where the journal is in memory.
    pub(crate) fn copy_artifact(
        &self,
        source: &File,
    ) -> Option<Result<SpooledArtifact, CopyError>> {
        Some(self.spool.copy(&self.path()?, source))
    }

    /// Writes an artifact beside the segments; `None` where the journal is in memory.
    pub(crate) fn write_artifact(
        &self,
        bytes: &[u8],
    ) -> Option<Result<SpooledArtifact, CopyError>> {
        Some(self.spool.write(&self.path()?, bytes))
    }

    /// Removes a copy that no event names.
    pub(crate) fn discard_artifact(&self, name: &str, fingerprint: Fingerprint) {
        if let Some(directory) = self.path() {
            let _ = std::fs::remove_file(directory.join(name));
        }
        self.spool.subtract_bytes(fingerprint.length);
    }

    /// Returns the bytes of all artifacts that wait beside the segments.
    pub(crate) fn artifact_bytes(&self) -> u64 {
        self.spool.bytes()
    }

    /// Notes that an artifact of so many bytes has a second name.
    pub(crate) fn add_artifact_bytes(&self, bytes: u64) {
        self.spool.add_bytes(bytes);
    }

    /// Notes that an artifact of so many bytes waits no more.
    pub(crate) fn subtract_artifact_bytes(&self, bytes: u64) {
        self.spool.subtract_bytes(bytes);
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
        match &self.storage {
            Storage::Disk(disk) => Some(disk.root()),
            Storage::Memory => None,
        }
    }

    /// Values in segments that are only in memory, delivered or not.
    pub(crate) fn values_in_memory(&self) -> u64 {
        let segments = self.lock_segments();
        let in_memory = segments.iter().filter(|segment| segment.file().is_none());
        in_memory.map(|segment| segment.value_count()).sum()
    }

    /// The directory of this process, while there is one.
    pub(crate) fn path(&self) -> Option<PathBuf> {
        match &self.storage {
            Storage::Disk(disk) => Some(disk.current_directory()?.path().to_owned()),
            Storage::Memory => None,
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
                .fetch_add(segment.value_count(), Ordering::Relaxed);
        }
        if segment.is_copy() {
            self.quota.release_copied(segment.size_bytes());
        } else {
            self.quota.release(segment.size_bytes());
        }
        if segment.file().is_none() {
            self.quota.release_memory(segment.size_bytes());
        }
        if let Err(error) = segment.remove_file() {
            self.has_stuck_files.store(true, Ordering::Relaxed);
            if let Some(directory) = self.path() {
                quarantine::warn_quarantine_failed(&directory, &error);
            }
        }
    }

    /// Opens a segment of up to `len` bytes for copied entries, beside the others.
    pub(crate) fn open_copy(&self, len: usize) -> io::Result<(Arc<Segment>, Appender)> {
        let _gate = ignore_poison(self.directory_gate.read());
        let (segment, appender) = match &self.storage {
            Storage::Disk(disk) => {
                let number = || self.next_segment.fetch_add(1, Ordering::Relaxed);
                let (path, file) = disk.create_copy_file(len, number)?;
                entry_log::init_segment(path, file, len)?
            }
            Storage::Memory => {
                let len = entry_log::memory_bytes(len);
                // Beyond the bound, too: the copy takes the place of what it was copied from.
                let _ = self.quota.reserve_memory(len as u64, true);
                self.quota.reserve_copied(len as u64);
                let (region, appender) = Region::create_anonymous(len)?;
                let segment = Segment::new_copy(None, Some(region), len);
                (segment, Appender::Mapped(appender))
            }
        };
        let segment = Arc::new(segment);
        self.lock_segments().push(Arc::clone(&segment));
        Ok((segment, appender))
    }

    /// Notes that a segment of copied entries has grown.
    pub(crate) fn record_copy_growth(&self, segment: &Segment, bytes: usize) {
        if segment.file().is_some() {
            self.quota
                .reserve_copied(segment.set_size_bytes(bytes as u64));
        }
    }

    /// Returns whether copied entries take no more than the journal's bound, which is theirs besides.
    pub(crate) fn copies_fit(&self) -> bool {
        self.quota.copied_bytes() <= self.quota.max_bytes()
    }

    /// Counts metrics of a run that waits by itself for which there is no more room.
    pub(crate) fn count_dropped_copies(&self, values: u64) {
        self.count_dropped(DropReason::JournalFull, values);
        self.deferred_warnings.emit();
    }

    /// Forgets a segment whose file is gone: all of its values but the `read` first ones are lost. False
    /// if the file is there.
    pub(crate) fn retire_removed(&self, segment: &Arc<Segment>, read: u64) -> bool {
        let gone = |file: &Path| matches!(file.try_exists(), Ok(false));
        if !segment.file().is_some_and(gone) {
            return false;
        }
        {
            let mut segments = self.lock_segments();
            segments.retain(|other| !Arc::ptr_eq(other, segment));
            self.retired_values.fetch_add(read, Ordering::Relaxed);
        }
        self.quota.release(segment.size_bytes());
        self.count_dropped(
            DropReason::Removed,
            segment.value_count().saturating_sub(read),
        );
        self.deferred_warnings.emit();
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
        if let Storage::Disk(disk) = &self.storage
            && let Some(directory) = disk.current_directory()
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
        let _gate = ignore_poison(self.directory_gate.write());
        let segments = self.lock_segments();
        if let Storage::Disk(disk) = &self.storage
            && segments.is_empty()
            && !self.has_stuck_files.load(Ordering::Relaxed)
            && let Some(directory) = disk.take_directory()
        {
            directory.remove();
        }
    }

    /// A new segment with room for a frame of `frame` bytes. `rolls` counts the calling thread's
    /// segments.
    fn open_segment(
        &self,
        rolls: usize,
        frame: usize,
        essential: bool,
    ) -> Result<NewSegment, DropReason> {
        let usual = self.segment_bytes[rolls.min(self.segment_bytes.len() - 1)];
        let at_least = (frame + 4096).next_multiple_of(4096) as u64;
        let smallest = at_least.max(self.segment_bytes[0]);
        if !essential && self.quota.is_exhausted() {
            return Err(DropReason::MemoryFull);
        }
        // Near a bound, of disk or memory, as little as can be.
        let usual = if self.quota.fits(usual) {
            usual.max(at_least)
        } else {
            smallest
        };
        let opened = match self.open_segment_sized(usual, essential) {
            Err(_) if usual > smallest => self.open_segment_sized(smallest, essential),
            opened => opened,
        };
        if matches!(opened, Err(DropReason::MemoryFull)) && smallest == self.segment_bytes[0] {
            self.quota.mark_exhausted();
        }
        opened
    }

    fn open_segment_sized(&self, bytes: u64, essential: bool) -> Result<NewSegment, DropReason> {
        let taken = self.quota.reserve(bytes, essential)?;
        let _gate = ignore_poison(self.directory_gate.read());
        match self.allocate_segment(bytes, taken, essential) {
            Ok(opened) => {
                self.lock_segments().push(Arc::clone(&opened.segment));
                Ok(opened)
            }
            Err(reason) => {
                self.quota.release(bytes);
                Err(reason)
            }
        }
    }

    /// On disk, else in memory.
    fn allocate_segment(
        &self,
        bytes: u64,
        taken: Reservation,
        essential: bool,
    ) -> Result<NewSegment, DropReason> {
        let len = usize::try_from(bytes).map_err(|_| DropReason::MemoryFull)?;
        if let Storage::Disk(disk) = &self.storage {
            let number = || self.next_segment.fetch_add(1, Ordering::Relaxed);
            match disk.open_segment(len, &self.preallocated, number) {
                Ok((segment, appender)) => {
                    return Ok(NewSegment {
                        segment: Arc::new(segment),
                        appender,
                        reservation: taken,
                    });
                }
                Err(error) => self.defer_memory_warning(disk.root(), error),
            }
        }
        let taken_memory = self.quota.reserve_memory(bytes, essential)?;
        match Region::create_anonymous(len) {
            Ok((region, appender)) => Ok(NewSegment {
                segment: Arc::new(Segment::new(None, Some(region), len)),
                appender: Appender::Mapped(appender),
                reservation: taken.max(taken_memory),
            }),
            // The system has none.
            Err(_) => {
                self.quota.release_memory(bytes);
                Err(DropReason::MemoryFull)
            }
        }
    }

    fn defer_memory_warning(&self, root: &Path, error: io::Error) {
        if !self.memory_warned.swap(true, Ordering::Relaxed) {
            let root = root.to_owned();
            self.deferred_warnings
                .push(DeferredWarning::InMemory { error, root });
        }
    }

    fn lock_segments(&self) -> MutexGuard<'_, Vec<Arc<Segment>>> {
        lock(&self.segments)
    }
}

impl Drop for Journal {
    fn drop(&mut self) {
        self.wakeup.sync_thread.stop();
        self.preallocated.stop();
    }
}
