//! The journal: the queue, the offline spool and the crash log of a tracked process, in one.
//!
//! Every value that a program logs is appended to the journal by the thread that logs it. The
//! [shipper](crate::shipper) reads the values back, sends them to the store, and acknowledges them. While the
//! store is unavailable, values wait in the journal. After the death of a process its journal stays on disk,
//! and another process with the same destination ships it.
//!
//! # Design constraints and invariants
//!
//! 1. An appended value survives the death of the process: once an append has returned, neither SIGKILL,
//!    `abort`, `process::exit` nor an operating system that is out of memory costs the value.
//! 2. A value survives a loss of power from five seconds after its append on, or from 200 ms after its
//!    segment became full or its run ended; the time that the device takes comes on top. See [`sync_thread`].
//! 3. A thread writes only to its own segment, so an append takes no lock and waits for nothing. Only opening
//!    the next segment takes locks.
//! 4. Segments are self-contained: a record refers only to earlier records of its segment. See [`record`].
//! 5. A value leaves the journal only when the store has accepted the value or will never accept it. A
//!    segment is deleted only when that holds for all of its values and no run started in it is open.
//! 6. The size is bounded. Params, tags, and starts and ends of runs are written beyond the bound, up to what
//!    the device and the memory hold. Metrics, small texts and console lines which find no space are dropped,
//!    the newest first, and counted. Copies of artifacts do not count towards the bound: see [`spool`].
//! 7. A journal is read only where it is this user's and nobody else can write to it: see [`user_files`].
//!
//! Invariants 1 and 2 do not hold for segments in memory. A warning is logged when memory has to be used.
//!
//! # Design overview
//!
//! A [`Journal`] holds what one process has logged for one destination and has not delivered yet. On disk, a
//! journal is a directory of append-only files, the *segments*. A segment is a sequence of *frames*, and a
//! frame holds one *record*: a metric point, an event of a run (its start or end, a param, a tag, an
//! artifact), or a definition, to which later records of the segment refer by a number. Large artifacts and
//! console logs lie in files of their own beside the segments, each named by an event.
//!
//! ```text
//! logging threads              files of the journal         background threads
//! thread A ──▶ Writer ───────▶ 0000000000.segment ──┐
//! thread B ──▶ Writer ───────▶ 0000000001.segment ──┼────▶ shipper ───▶ store
//! artifacts ─▶ Spool ────────▶ <uuid>.artifact ─────┤      (acknowledges, then deletes)
//! log lines ─▶ ConsoleLog ───▶ <uuid>.console ──────┘
//!                              segments, artifacts ◀────── sync thread (fsync)
//!                              <number>.spare ◀─────────── preallocation of segments
//! ```
//!
//! An append waits for none of the background threads. It wakes the shipper and the sync thread if they
//! sleep; while both are awake, the check costs a metric one relaxed load. See [`wakeup`].
//!
//! # On-disk format
//!
//! *Directory.* Each process has one directory per destination, with a UUID as its name and a `lock` file in
//! it that the process keeps locked while it lives. Only the owner of the lock ships or deletes the contents.
//! The tree of files, and the rules by which a directory is trusted, are in [`directory`].
//!
//! *Segment.* A file begins with a header of 64 bytes: a magic number, the format version, and the
//! acknowledged offset with its checksum. Frames follow, each at a multiple of 8 bytes: the length of the
//! body, a CRC-32C, and the body. The layout is in [`segment::mapped`]. The first three segments of a thread
//! have 64 KiB, 256 KiB and 1 MiB, all later ones 4 MiB; a record that needs more gets a larger segment.
//!
//! *Record.* The first byte of a body is the kind of the record. A metric point has a fixed binary form of 32
//! bytes, or of 40 if its time is far from the present. Definitions and events are JSON, so that a newer version can add fields. The first record of every
//! segment is its origin: the destination, the host, the process, and the tags that the runs of the process
//! have in common. The encoding is in [`record`].
//!
//! # Writing
//!
//! [`with_writer`] finds the [`Writer`] of the calling thread in a thread-local. The hot path is
//! [`append_metric`] with a point whose run and key the segment has defined already. The 32 bytes of the
//! record and their checksum are written into the mapped memory behind the last frame; then the length of the
//! frame is stored with `Release`, and only now the frame exists. No step takes a lock or makes a system
//! call, and none writes to memory that another thread writes, see [`cache_line`](crate::cache_line).
//!
//! An append is safe against SIGKILL because the mapping is shared with the file: stored bytes are in the
//! page cache, which belongs to the kernel and outlives the process. A kill before the length is stored
//! leaves a length of zero, which readers take for the end of the segment; the interrupted append had not
//! returned. The blocks of a mapped file are reserved when the file is created, so that a store to the
//! mapping cannot fail for lack of space (a SIGBUS).
//!
//! Files are mapped only where that is safe. On network file systems and some others (see
//! [`segment::mmap_safety`]) each record is written with a system call, about 1 µs, into the same page cache.
//! Where no file can be written, a segment lies in memory, bounded by [`MAX_MEMORY_BYTES`], and the next
//! segment is tried on disk again, unless no directory could be used from the beginning.
//!
//! A full segment is sealed, and the thread opens the next one; large ones are
//! [preallocated](segment::preallocate) by a thread that the first request starts. A thread that ends leaves
//! its segment, with all definitions, to the next thread that begins to log, so that many short-lived threads
//! take the space of a few. Where the thread-locals are destroyed or in use, as in a destructor that logs while its thread ends, a fallback
//! writer behind a mutex is used. Warnings about the journal are [deferred](deferred_warnings) until no
//! writer is in use, because a `tracing` subscriber may log to a run.
//!
//! # Reading and acknowledging
//!
//! The shipper walks [`Journal::segments`] with its own cursors. A mapped segment is read in place while its
//! thread appends; other segments are read from their files. In a segment that is still written, reading
//! stops at the first frame that is not whole. Each event carries its position in the order of all events of
//! the process, and one pass of the shipper reads only events before [`Journal::current_sequence`]; metrics
//! are ordered by their timestamps.
//!
//! When all entries before an offset are delivered, rejected, or copied elsewhere, the shipper
//! [acknowledges](Segment::acknowledge) the offset in the header. This offset is a hint: the frames are the
//! only truth, and a lost or damaged hint costs a second delivery, never a value. Entries that wait longer
//! than others, such as those of a deleted run, are copied to segments of their own, so that one value does
//! not keep 4 MiB: see [`entry_log`].
//!
//! # Deleting
//!
//! [`Journal::retire`] releases the quota of a segment and deletes its file, when invariant 5 allows that.
//! The shipper also keeps a segment while a console log that it names is not whole in the store, and while an
//! older event of another segment is undelivered: after a kill, the next reader has to see which of two
//! events counts. No segment is reused for other values.
//!
//! At the end of the process, if everything is delivered, the open segments are [sealed](Journal::seal_all)
//! and the directory is [removed](Journal::remove_if_empty), the lock file last. Another thread may be appending
//! to such a segment. It looks at the segment's state after the append. If the segment is closed, both threads go by
//! the end of the segment that the first of them has found: a value before that end is read there, and the writer
//! appends every other one again, to a new segment. A kill before the old segment is deleted leaves that value twice,
//! which is harmless. If somebody else has deleted
//! a segment, its unread values are counted as dropped.
//!
//! # Durability
//!
//! Invariant 1 needs no sync, as the page cache outlives the process. For invariant 2, the thread of
//! [`sync_thread`] syncs the copies of artifacts, then the directory, then the segments with the events that
//! name the copies. Console logs are not synced. If the device reports an error, one warning is logged.
//!
//! # Quota
//!
//! [`quota`] counts the full size of each segment, and the bytes of console lines, against the configured
//! bound. Close to the bound, new segments are as small as possible. A segment opened beyond the bound takes
//! essential records only, until there is space again. Copied entries have a bound of the same size for
//! themselves. Artifacts have none, but leave a part of the disk [free](free_space).
//!
//! # Recovery of orphaned journals
//!
//! A journal whose process is dead is *orphaned*: its lock is free.
//! [`Directory::find_orphaned`](directory::Directory::find_orphaned) claims the orphaned journals of a
//! destination by taking their locks. The shipper delivers each of them, closes the runs that its process
//! left open, and removes the directory.
//!
//! # Salvage of damaged journals
//!
//! Appends are sequential, and a new segment is all zeros. So a frame that is not whole is either the last
//! one, of an append that a kill has interrupted, or damage of the device. Reading continues behind damage:
//! see [`segment::salvage`]. One warning for each file gives the offset of the damage and the number of bytes skipped.
//! When the rest is delivered, the file is moved to `damaged-<uid>` beside the journals, for a person to look
//! at: see [`quarantine`]. A record of a kind that this version does not know stays in its file, counted as
//! blocked, for a newer version; so does a file of another format.
//!
//! # Quarantine of rejected records
//!
//! Records which the store rejects for good are copied to `rejected-<uid>`, beside the journals. That folder
//! has the form of a journal, so that [`resend_rejected`](crate::resend_rejected) only has to put it back
//! among the orphaned ones: see [`RejectedFolder`](directory::RejectedFolder).
//!
//! # Console logs and spooled artifacts
//!
//! An artifact is copied when it is logged, so that the program may change its file afterwards. A file or a
//! large text becomes a file beside the segments, and its event carries a fingerprint that reveals a copy
//! torn by a loss of power: see [`spool`]. A small text travels in its event. A [console log](console_log) is
//! a file that grows while its run is open, and is uploaded again and again until the run has ended.
//!
//! # Forks
//!
//! A child made by `fork` never writes to a segment of its parent. The child closes its descriptors of the
//! parent's lock files, leaves the [`Writer`]s of the parent alone, and logs to a journal of its own. See
//! [`os::fork`](crate::os::fork).
//!
//! # Submodules
//!
//! | module | contents |
//! |---|---|
//! | [`writer`] | access of a thread to the journal: its open segment, and the definitions in it |
//! | [`record`] | encoding of the records in the frames of a segment |
//! | [`segment`] | one segment, shared by its writer and its readers |
//! | [`segment::mapped`] | a segment in mapped memory; all `unsafe` of the crate that touches memory |
//! | [`segment::append`] | appending frames through a mapping or with system calls |
//! | [`segment::allocate`], [`segment::preallocate`] | creation of segment files, on demand and ahead |
//! | [`segment::mmap_safety`] | file systems whose files can be mapped |
//! | [`directory`], [`user_files`] | directory of one process, search for orphaned ones, and access rights |
//! | [`access_check`] | state of the directory of journals, for a person who asks |
//! | [`storage`], [`quota`] | location of new segments (disk, else memory), and the bounds of both |
//! | [`wakeup`], [`atomics`] | wakeups of sleeping threads; memory orderings, model-checked with loom |
//! | [`sync_signal`] | requests to the sync thread |
//! | [`sync_thread`] | thread that syncs appended values to the device |
//! | [`deferred_warnings`] | warnings that are logged later, outside all locks |
//! | [`entry_log`] | entries of one run, or of one kind, copied out of their segments |
//! | [`segment::salvage`], [`quarantine`] | reading on behind damage, and the folder of damaged files |
//! | [`console_log`] | log lines, and captured stdout and stderr, of each run |
//! | [`spool`], [`file_copy`], [`free_space`] | artifacts beside the segments, and the disk's reserve |

mod access_check;
mod atomics;
pub(crate) mod console_log;
mod deferred_warnings;
pub(crate) mod directory;
pub(crate) mod entry_log;
mod file_copy;
mod free_space;
pub(crate) mod quarantine;
mod quota;
pub(crate) mod record;
pub(crate) mod segment;
pub(crate) mod spool;
mod storage;
mod sync_signal;
mod sync_thread;
#[cfg(test)]
mod tests;
pub(crate) mod user_files;
pub(crate) mod wakeup;
mod writer;

use std::borrow::Cow;
use std::fs::File;
use std::io;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicBool, AtomicU32, AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, RwLock};
use std::thread;

pub use access_check::JournalDirectory;
use console_log::RunConsoleLogs;
use deferred_warnings::{DeferredWarning, DeferredWarnings};
use quota::{MAX_MEMORY_BYTES, Quota, Reservation};
use record::{Definition, Fingerprint, Origin};
use segment::append::Appender;
use segment::mapped::Region;
use segment::preallocate::PreallocatedSegments;
use segment::{STORE_DELAY, Segment};
use spool::{CopyError, Spool, SpooledArtifact};
use storage::{DiskStorage, Storage};
use user_files::JournalLocation;
use wakeup::Wakeup;
use writer::{IdleSegments, Writer};

pub(crate) use quota::DropReason;
pub(crate) use writer::{
    MetricKey, MetricPoint, RunRef, append_metric, is_interned, open_first_segment, release_all,
    release_thread, with_writer,
};

use crate::cache_line::CacheLine;
use crate::model::key_names::{KeyNames, ResolvedName};
use crate::model::limits::mask_key;
use crate::sync::{ignore_poison, lock};
use crate::warnings::{WarningLimit, warn_user};

/// Sizes, in bytes, of a thread's first, second, third and all later segments. The first ones are small, so
/// that a thread which logs little takes little space.
const SEGMENT_BYTES: [u64; 4] = [
    64 << 10,
    256 << 10,
    MEDIUM_SEGMENT_BYTES,
    LARGE_SEGMENT_BYTES,
];
/// Size, in bytes, of the last segment of a thread before the large ones.
const MEDIUM_SEGMENT_BYTES: u64 = 1 << 20;
/// Size, in bytes, of the segments of a thread that logs much.
const LARGE_SEGMENT_BYTES: u64 = 4 << 20;
/// Prefix of system metrics. The key prefix of a rank is not added to them, as they are told apart in another
/// way.
const SYSTEM_METRIC_PREFIX: &str = "system/";

/// Values that one process has logged for one destination and has not delivered yet.
pub(crate) struct Journal {
    /// Number that tells the journals of one process apart.
    id: CacheLine<u32>,
    origin: Origin,
    /// `origin`, encoded: the first record of every segment.
    origin_definition: Vec<u8>,
    storage: Storage,
    quota: CacheLine<Quota>,
    next_segment: AtomicU64,
    next_sequence: CacheLine<AtomicU64>,
    segments: CacheLine<Mutex<Vec<Arc<Segment>>>>,
    /// Held shared while a segment is created, and exclusively while the directory is removed.
    directory_gate: RwLock<()>,
    /// Number of values in the segments that were removed from `segments`. Of a segment whose file somebody
    /// else has deleted, only the values that were read count.
    retired_values: AtomicU64,
    deferred_warnings: CacheLine<DeferredWarnings>,
    memory_warned: AtomicBool,
    sync_warned: AtomicBool,
    /// Set once a damaged file could not be moved out of the directory.
    has_stuck_files: AtomicBool,
    /// Writer for threads whose thread-locals are destroyed already or in use.
    fallback_writer: CacheLine<Mutex<Writer>>,
    /// Segments of threads that have ended.
    idle_segments: Arc<IdleSegments>,
    /// Prefix of all metric names but those of system metrics; empty for none.
    key_prefix: Box<str>,
    /// Names under which metrics are kept whose keys MLflow refuses.
    key_names: KeyNames,
    /// Sizes of a thread's segments: [`SEGMENT_BYTES`], but for tests.
    segment_bytes: [u64; 4],
    pub(crate) console_logs: RunConsoleLogs,
    spool: Spool,
    preallocated: Arc<PreallocatedSegments>,
    pub(crate) wakeup: Wakeup,
}

/// A new segment, its only writer, and the side of the quota that it is on.
struct NewSegment {
    segment: Arc<Segment>,
    appender: Appender,
    reservation: Reservation,
}

impl Journal {
    /// Creates a journal below `root`, without a [sync thread](Self::start_sync_thread). Fails if `root` cannot be
    /// written, or is not private.
    pub(crate) fn on_disk(
        root: impl Into<JournalLocation>,
        origin: Origin,
        max_bytes: u64,
        key_prefix: &str,
    ) -> io::Result<Arc<Self>> {
        let backing = Storage::Disk(DiskStorage::below(root.into())?);
        Ok(Arc::new_cyclic(|journal| {
            let preallocated = PreallocatedSegments::new(Some(journal.clone()));
            Self::new(backing, origin, max_bytes, key_prefix, preallocated)
        }))
    }

    /// Starts the thread that syncs appended values to the device, if the journal is on disk. Even without the
    /// thread, values survive the death of the process.
    pub(crate) fn start_sync_thread(self: &Arc<Self>) {
        if let Storage::Disk(_) = self.storage {
            sync_thread::spawn(self);
        }
    }

    pub(crate) fn in_memory(origin: Origin, key_prefix: &str) -> Arc<Self> {
        let preallocated = PreallocatedSegments::new(None);
        Arc::new(Self::new(
            Storage::Memory,
            origin,
            MAX_MEMORY_BYTES,
            key_prefix,
            preallocated,
        ))
    }

    /// Creates a journal below `root` without threads of its own, with segments of about `segment_bytes`.
    #[cfg(test)]
    pub(crate) fn without_threads(
        root: PathBuf,
        origin: Origin,
        segment_bytes: u64,
    ) -> io::Result<Arc<Self>> {
        let backing = Storage::Disk(DiskStorage::below(root.into())?);
        let preallocated = PreallocatedSegments::new(None);
        let mut journal = Self::new(backing, origin, 1 << 30, "", preallocated);
        journal.segment_bytes = [segment_bytes; 4];
        Ok(Arc::new(journal))
    }

    /// Creates a journal below `root` without threads of its own, so that a test decides when to sync. Files
    /// are mapped if `mapped` is true, else written with system calls.
    #[cfg(test)]
    pub(crate) fn unattended(root: PathBuf, origin: Origin, mapped: bool) -> io::Result<Arc<Self>> {
        let backing = Storage::Disk(DiskStorage::with_mapping(root.into(), mapped)?);
        let preallocated = PreallocatedSegments::new(None);
        let journal = Self::new(backing, origin, 1 << 30, "", preallocated);
        Ok(Arc::new(journal))
    }

    fn new(
        backing: Storage,
        origin: Origin,
        max_bytes: u64,
        key_prefix: &str,
        preallocated: Arc<PreallocatedSegments>,
    ) -> Self {
        static NEXT_ID: AtomicU32 = AtomicU32::new(1);
        Self {
            id: CacheLine(NEXT_ID.fetch_add(1, Ordering::Relaxed)),
            origin_definition: Definition::Origin(origin.clone()).encode(),
            origin,
            storage: backing,
            quota: CacheLine(Quota::new(max_bytes)),
            next_segment: AtomicU64::new(0),
            next_sequence: CacheLine::default(),
            segments: CacheLine::default(),
            directory_gate: RwLock::new(()),
            retired_values: AtomicU64::new(0),
            deferred_warnings: CacheLine::default(),
            memory_warned: AtomicBool::new(false),
            sync_warned: AtomicBool::new(false),
            has_stuck_files: AtomicBool::new(false),
            fallback_writer: CacheLine::default(),
            idle_segments: Arc::default(),
            key_prefix: key_prefix.into(),
            key_names: KeyNames::default(),
            segment_bytes: SEGMENT_BYTES,
            console_logs: RunConsoleLogs::default(),
            spool: Spool::default(),
            preallocated,
            wakeup: Wakeup::default(),
        }
    }

    pub(crate) fn origin(&self) -> &Origin {
        &self.origin
    }

    /// Returns the position of the next event in the order of all events of the process.
    ///
    /// An event is appended after it took its position. So a scan that starts after
    /// [`current_sequence`](Self::current_sequence) has returned sees everything that was appended before an
    /// event below the returned number took its position. The scan may miss other events below the number,
    /// whose append is still under way.
    fn next_sequence(&self) -> u64 {
        self.next_sequence.fetch_add(1, Ordering::AcqRel)
    }

    /// Returns the name under which a metric is stored, and defers a warning if the key holds a credential, or if MLflow
    /// refuses it.
    pub(crate) fn resolve_metric_name<'k>(&self, key: &'k str) -> Cow<'k, str> {
        let is_prefixed = !self.key_prefix.is_empty() && !key.starts_with(SYSTEM_METRIC_PREFIX);
        let prefixed = is_prefixed.then(|| format!("{}{key}", self.key_prefix));
        let full = prefixed.as_deref().unwrap_or(key);
        let masked = mask_key(full);
        if let Some(masked) = &masked {
            static MASKED: WarningLimit = WarningLimit::new();
            if let Some(end) = MASKED.admit() {
                let line = format!(
                    "metric {masked:?}: text that looks like a credential is left out of its name{end}"
                );
                self.deferred_warnings
                    .push(DeferredWarning::KeyName { line });
            }
        }
        let full = masked.as_deref().unwrap_or(full);
        let ResolvedName { name, warning } = self.key_names.resolve(full);
        if let Some(warning) = warning {
            let line = warning.message("metric", full, &name);
            self.deferred_warnings
                .push(DeferredWarning::KeyName { line });
        }
        match name {
            Cow::Borrowed(_) => masked.or(prefixed).map_or(Cow::Borrowed(key), Cow::Owned),
            Cow::Owned(name) => Cow::Owned(name),
        }
    }

    pub(crate) fn current_sequence(&self) -> u64 {
        self.next_sequence.load(Ordering::Acquire)
    }

    /// Returns the segments, oldest first.
    pub(crate) fn segments(&self) -> Vec<Arc<Segment>> {
        self.lock_segments().clone()
    }

    /// Returns the number of values logged so far, delivered or not.
    pub(crate) fn value_count(&self) -> u64 {
        let segments = self.lock_segments();
        let live: u64 = segments.iter().map(|segment| segment.value_count()).sum();
        live + self.retired_values.load(Ordering::Relaxed)
    }

    /// Returns the number of values that were dropped for this reason.
    pub(crate) fn dropped(&self, reason: DropReason) -> u64 {
        self.quota.dropped(reason)
    }

    pub(crate) fn used_bytes(&self) -> u64 {
        self.quota.used_bytes() + self.quota.copied_bytes()
    }

    /// Reserves quota for a console line of `bytes`. Returns false, and counts the line as one dropped value,
    /// if no quota is left.
    pub(crate) fn reserve_console_bytes(&self, bytes: u64) -> bool {
        let taken = self.quota.reserve(bytes, false);
        if let Err(reason) = taken {
            self.count_dropped(reason, 1);
            self.deferred_warnings.emit();
        }
        taken.is_ok()
    }

    /// Counts dropped values. The first ones for each reason defer a warning.
    #[cold]
    fn count_dropped(&self, reason: DropReason, values: u64) {
        if self.quota.count_dropped(reason, values) {
            let max_bytes = self.quota.max_bytes();
            self.deferred_warnings
                .push(DeferredWarning::Dropped { reason, max_bytes });
        }
    }

    /// Releases quota that was reserved for console lines.
    pub(crate) fn release_console_bytes(&self, bytes: u64) {
        self.quota.release(bytes);
    }

    /// Copies the file of an artifact into the journal's directory. Returns `None` if the journal is in
    /// memory, or has no directory at the moment.
    pub(crate) fn copy_artifact(
        &self,
        source: &File,
    ) -> Option<Result<SpooledArtifact, CopyError>> {
        Some(self.spool.copy(&self.path()?, source))
    }

    /// Writes the bytes of an artifact to a file in the journal's directory. Returns `None` if the journal is
    /// in memory, or has no directory at the moment.
    pub(crate) fn write_artifact(
        &self,
        bytes: &[u8],
    ) -> Option<Result<SpooledArtifact, CopyError>> {
        Some(self.spool.write(&self.path()?, bytes))
    }

    /// Deletes the copy of an artifact that no event names.
    pub(crate) fn discard_artifact(&self, name: &str, fingerprint: Fingerprint) {
        if let Some(directory) = self.path() {
            let _ = std::fs::remove_file(directory.join(name));
        }
        self.spool.subtract_bytes(fingerprint.length);
    }

    /// Returns the size, in bytes, of all artifacts in files beside the segments.
    pub(crate) fn artifact_bytes(&self) -> u64 {
        self.spool.bytes()
    }

    /// Adds the size of a file beside the segments that was given a second name.
    pub(crate) fn add_artifact_bytes(&self, bytes: u64) {
        self.spool.add_bytes(bytes);
    }

    /// Subtracts the size of a file that was deleted, or moved out of the directory.
    pub(crate) fn subtract_artifact_bytes(&self, bytes: u64) {
        self.spool.subtract_bytes(bytes);
    }

    /// Returns the directory of console logs and other files beside the segments; `None` if the journal is in
    /// memory.
    pub(crate) fn spool_directory(&self) -> Option<PathBuf> {
        self.path()
    }

    /// Returns the directory that this journal and those of other processes lie in; `None` if this journal is
    /// in memory.
    pub(crate) fn root(&self) -> Option<&Path> {
        match &self.storage {
            Storage::Disk(disk) => Some(disk.root()),
            Storage::Memory => None,
        }
    }

    /// Returns the number of values in segments that are only in memory, delivered or not.
    pub(crate) fn values_in_memory(&self) -> u64 {
        let segments = self.lock_segments();
        let in_memory = segments.iter().filter(|segment| segment.file().is_none());
        in_memory.map(|segment| segment.value_count()).sum()
    }

    /// Returns the directory of this process's journal, while there is one.
    pub(crate) fn path(&self) -> Option<PathBuf> {
        match &self.storage {
            Storage::Disk(disk) => Some(disk.current_directory()?.path().to_owned()),
            Storage::Memory => None,
        }
    }

    /// Removes a segment that is settled to its end: releases its quota, and deletes its file or moves a
    /// damaged one to [`quarantine`].
    pub(crate) fn retire(&self, segment: &Arc<Segment>) {
        {
            let mut segments = self.lock_segments();
            let before = segments.len();
            segments.retain(|other| !Arc::ptr_eq(other, segment));
            if segments.len() == before {
                return;
            }
            // Under the lock, so that `value_count` counts the values of the segment exactly once.
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

    /// Opens a segment for copied entries, with space for at least `len` bytes.
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
                // Beyond the bound, too: the copy replaces the entries that it was made of.
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

    /// Records that the file of a segment of copied entries has grown to `bytes`. A segment in memory has its
    /// full size from the beginning.
    pub(crate) fn record_copy_growth(&self, segment: &Segment, bytes: usize) {
        if segment.file().is_some() {
            self.quota
                .reserve_copied(segment.set_size_bytes(bytes as u64));
        }
    }

    /// Returns true while copied entries take no more than the journal's bound, which they have for
    /// themselves.
    pub(crate) fn copies_fit(&self) -> bool {
        self.quota.copied_bytes() <= self.quota.max_bytes()
    }

    /// Counts metrics of a run that waits by itself as dropped, because copied entries have reached their
    /// bound.
    pub(crate) fn count_dropped_copies(&self, values: u64) {
        self.count_dropped(DropReason::JournalFull, values);
        self.deferred_warnings.emit();
    }

    /// Counts metrics whose copies somebody else has deleted or damaged as dropped.
    pub(crate) fn count_removed_copies(&self, values: u64) {
        self.count_dropped(DropReason::Removed, values);
        self.deferred_warnings.emit();
    }

    /// Removes a segment whose file somebody else has deleted, and counts all of its values but the first
    /// `read` as dropped. Returns false, and does nothing, if the file is there.
    pub(crate) fn retire_removed(&self, segment: &Arc<Segment>, read: u64) -> bool {
        let gone = |file: &Path| matches!(file.try_exists(), Ok(false));
        if !segment.file().is_some_and(gone) {
            return false;
        }
        {
            let mut segments = self.lock_segments();
            segments.retain(|other| !Arc::ptr_eq(other, segment));
            // The values of a copy are counted in the segment that they were copied from.
            if !segment.is_copy() {
                self.retired_values.fetch_add(read, Ordering::Relaxed);
            }
        }
        if segment.is_copy() {
            self.quota.release_copied(segment.size_bytes());
        } else {
            self.quota.release(segment.size_bytes());
        }
        self.count_dropped(
            DropReason::Removed,
            segment.value_count().saturating_sub(read),
        );
        self.deferred_warnings.emit();
        true
    }

    /// Returns true if a segment has values that were not synced.
    fn is_dirty(&self) -> bool {
        self.lock_segments()
            .iter()
            .any(|segment| segment.is_dirty())
    }

    /// Syncs what was appended so far: first the copies of artifacts, then the directory (the names of all
    /// files), then the segments, with the events that name the copies.
    pub(crate) fn sync(&self) {
        let dirty: Vec<_> = self
            .segments()
            .into_iter()
            .filter(|segment| segment.is_dirty())
            // Before the copies are synced: an event that is appended later may name a copy that is not.
            .map(|segment| (segment.extent(), segment))
            .collect();
        let mut synced = self.spool.sync();
        if let Storage::Disk(disk) = &self.storage
            && let Some(directory) = disk.current_directory()
        {
            synced = synced.and(directory.sync());
        }
        for (extent, segment) in dirty {
            // A segment that was delivered and deleted meanwhile needs no sync.
            synced = synced.and(segment.sync(extent).or_else(|error| match error.kind() {
                io::ErrorKind::NotFound => Ok(()),
                _ => Err(error),
            }));
        }
        if let Err(error) = synced
            && !self.sync_warned.swap(true, Ordering::Relaxed)
        {
            warn_user(format_args!(
                "the journal could not be synced to the disk; values that are not delivered yet may be lost in a power failure: {error}"
            ));
        }
    }

    /// Seals all open segments, whatever thread has them. For the end of a process, when all that was logged
    /// is delivered, so that the files can be deleted. A thread that logs later gets a new segment, and so does a thread that
    /// is logging at this moment, unless its value is still found in the old one.
    pub(crate) fn seal_all(&self) {
        let segments = self.segments();
        let open = { segments.iter() }.filter(|segment| !segment.is_copy() && !segment.is_sealed());
        let open: Vec<_> = open.collect();
        if open.is_empty() {
            return;
        }
        open.iter().for_each(|segment| segment.close());
        thread::sleep(STORE_DELAY);
        open.iter().for_each(|segment| segment.seal_closed());
    }

    /// Returns true if no segment is left.
    pub(crate) fn is_empty(&self) -> bool {
        self.lock_segments().is_empty()
    }

    /// Removes the journal's directory if no segment with values and no damaged file is left in it. A thread that
    /// logs later gets a new directory.
    pub(crate) fn remove_if_empty(&self) {
        // The shipper retires them, but the shipper may have ended, or the store may be unusable. No lock is held here, because
        // a file that cannot be deleted leads to a warning.
        for segment in self.segments() {
            if segment.is_sealed() && !segment.is_copy() && segment.value_count() == 0 {
                self.retire(&segment);
            }
        }
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

    /// Opens a segment with space for records of `frame` bytes. `rolls` is the number of segments that the
    /// calling thread has had.
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
        // Close to a bound, of disk or memory, the segment is as small as possible.
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

    /// Allocates a segment on disk, else in memory.
    fn allocate_segment(
        &self,
        bytes: u64,
        taken: Reservation,
        essential: bool,
    ) -> Result<NewSegment, DropReason> {
        let len = usize::try_from(bytes).map_err(|_| DropReason::MemoryFull)?;
        if let Storage::Disk(disk) = &self.storage {
            let number = || self.next_segment.fetch_add(1, Ordering::Relaxed);
            // A spare segment takes no quota until it is used.
            let requests_next = self.quota.fits(LARGE_SEGMENT_BYTES);
            match disk.open_segment(len, &self.preallocated, requests_next, number) {
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
            // The system has no memory left.
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
        self.wakeup.sync_signal.stop();
        self.preallocated.stop();
    }
}
