//! Segments: regions of frames, each written by one thread and seen by all others.
//!
//! Invariants: the frames of a segment are read in order. While the segment is written, reading stops at the
//! first frame that is not whole, because the rest of that frame is on its way. Afterwards reading continues
//! behind damage, see [`salvage`], and the file of a damaged segment is
//! [quarantined](crate::journal::quarantine). The acknowledged offset only grows. A lost or damaged offset
//! costs a second delivery, never a value. A segment that was sealed by another thread than its writer has an
//! end, on which its readers and its writer agree: the readers see nothing behind it, and the writer appends again
//! elsewhere what it had appended behind it.

pub(crate) mod allocate;
pub(crate) mod append;
pub(crate) mod mapped;
pub(crate) mod mmap_safety;
pub(crate) mod preallocate;
pub(super) mod salvage;

use std::fs;
use std::io;
use std::os::unix::fs::FileExt;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicBool, AtomicU32, AtomicU64, AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, OnceLock};
use std::time::Duration;

use crate::cache_line::CacheLine;
use crate::journal::atomics::{announce_close, load_state};
use crate::journal::quarantine;
use crate::journal::record::Record;
use crate::journal::segment::mapped::{
    ACKNOWLEDGED_OFFSET, FORMAT_VERSION, FRAME_HEADER_BYTES, HEADER_BYTES, MAGIC, Region, checksum,
    frame_bytes,
};
use crate::journal::segment::salvage::LoadedSegment;
use crate::journal::user_files;
use crate::sync::lock;

/// Segment, shared by its writer and the shipper.
pub(crate) struct Segment {
    file: Option<PathBuf>,
    /// Size in bytes. The size of a segment with [copied](crate::journal::entry_log) entries grows.
    bytes: AtomicU64,
    /// True if the segment holds entries that were copied from other segments.
    is_copy: bool,
    /// Mapped memory, present while the writer appends through it, and for good where there is no file.
    region: Mutex<Option<Arc<Region>>>,
    /// Flags: [`CLOSED`] and [`SEALED`].
    state: CacheLine<AtomicU32>,
    /// Part that readers see of a segment which another thread than its writer has closed.
    final_extent: OnceLock<Extent>,
    /// Set once damage was found in the segment's file.
    damaged: AtomicBool,
    /// Number of values appended. Only the writer stores it; other threads load it.
    values: CacheLine<AtomicU64>,
    /// Number of values that the device has, and the offset up to which it has the bytes.
    synced_values: AtomicU64,
    synced_offset: AtomicUsize,
}

/// Time after which a store of the writer's has left the processor's store buffer, from which it takes some microseconds at
/// most. Until then the writer may have looked at the state of its segment before another thread changed the state, while that
/// thread does not see what the writer has appended.
pub(in crate::journal) const STORE_DELAY: Duration = Duration::from_millis(1);

/// Flag of a segment that takes nothing more. What the writer appends from now on may belong to the segment or not.
const CLOSED: u32 = 1;
/// Flag of a segment in which nothing more will be found.
const SEALED: u32 = 2;

/// Part of a segment that was written at one moment.
#[derive(Clone, Copy, Debug)]
pub(in crate::journal) struct Extent {
    values: u64,
    end: usize,
}

/// Content of a segment at an offset.
#[derive(Debug, PartialEq)]
pub(crate) enum Frame<'a> {
    Whole {
        body: &'a [u8],
        next: usize,
    },
    /// Zeros, or the end of the file: nothing was written from here on.
    End,
    /// Incomplete or damaged frame.
    Torn,
}

/// Bytes of a segment, in mapped memory or read from a file.
#[derive(Clone)]
pub(crate) enum SegmentBytes {
    Mapped(Arc<Region>),
    Loaded(Arc<LoadedSegment>),
}

impl Segment {
    /// Returns a segment of `len` bytes, in a file, in memory, or in both.
    pub(crate) fn new(file: Option<PathBuf>, region: Option<Arc<Region>>, len: usize) -> Self {
        Self {
            file,
            bytes: AtomicU64::new(len as u64),
            is_copy: false,
            region: Mutex::new(region),
            state: CacheLine::default(),
            final_extent: OnceLock::new(),
            damaged: AtomicBool::new(false),
            values: CacheLine::default(),
            synced_values: AtomicU64::new(0),
            synced_offset: AtomicUsize::new(0),
        }
    }

    /// Returns a segment for entries that are copied from others. Its writer is its only reader, so the
    /// segment counts as sealed.
    pub(in crate::journal) fn new_copy(
        file: Option<PathBuf>,
        region: Option<Arc<Region>>,
        len: usize,
    ) -> Self {
        Self {
            is_copy: true,
            state: CacheLine(AtomicU32::new(CLOSED | SEALED)),
            ..Self::new(file, region, len)
        }
    }

    pub(crate) fn is_copy(&self) -> bool {
        self.is_copy
    }

    /// Records that the file has grown to `bytes`; returns by how much.
    pub(crate) fn set_size_bytes(&self, bytes: u64) -> u64 {
        bytes.saturating_sub(self.bytes.swap(bytes, Ordering::Relaxed))
    }

    /// Opens a segment of an orphaned journal.
    pub(crate) fn open_orphaned(file: PathBuf) -> io::Result<Self> {
        let bytes = fs::symlink_metadata(&file)?.len();
        Ok(Self {
            state: CacheLine(AtomicU32::new(CLOSED | SEALED)),
            ..Self::new(
                Some(file),
                None,
                usize::try_from(bytes).unwrap_or(usize::MAX),
            )
        })
    }

    pub(crate) fn size_bytes(&self) -> u64 {
        self.bytes.load(Ordering::Relaxed)
    }

    pub(crate) fn file(&self) -> Option<&Path> {
        self.file.as_deref()
    }

    /// Counts one more value. Only the writer calls this, so load and store need not be one atomic step.
    #[inline]
    pub(crate) fn count_value(&self) {
        self.values
            .store(self.values.load(Ordering::Relaxed) + 1, Ordering::Relaxed);
    }

    pub(crate) fn value_count(&self) -> u64 {
        match self.final_extent.get() {
            Some(extent) => extent.values,
            None => self.values.load(Ordering::Relaxed),
        }
    }

    /// Returns true if the segment has values that were not synced.
    pub(crate) fn is_dirty(&self) -> bool {
        self.file.is_some() && self.value_count() > self.synced_values.load(Ordering::Relaxed)
    }

    /// Returns the part of the segment that was appended so far.
    pub(in crate::journal) fn extent(&self) -> Extent {
        // The values are counted first: a value that is appended in between is not counted yet, and is synced
        // once more.
        let values = self.value_count();
        let start = self.synced_offset.load(Ordering::Relaxed);
        let region = self.lock_region();
        let end = region.as_ref().map_or(start, |region| region.end(start));
        Extent { values, end }
    }

    /// Syncs what was appended until then. A file that is not mapped is synced as it is now.
    pub(in crate::journal) fn sync(&self, until: Extent) -> io::Result<()> {
        if self.file.is_none() {
            return Ok(());
        }
        let region = self.lock_region().clone();
        match region {
            Some(region) => {
                let start = self.synced_offset.load(Ordering::Relaxed);
                region.sync(start, until.end)?;
                self.synced_offset.store(until.end, Ordering::Relaxed);
            }
            None => self.sync_file()?,
        }
        self.synced_values.store(until.values, Ordering::Relaxed);
        Ok(())
    }

    /// Syncs the whole file of a segment that is written with system calls.
    /// On Apple's systems `sync_data` and `sync_all` use `F_FULLFSYNC`, because `fsync` leaves the bytes in the
    /// cache of the device.
    pub(crate) fn sync_file(&self) -> io::Result<()> {
        match &self.file {
            Some(file) => user_files::open_to_read(file)?.sync_data(),
            None => Ok(()),
        }
    }

    fn lock_region(&self) -> MutexGuard<'_, Option<Arc<Region>>> {
        lock(&self.region)
    }

    /// Marks the segment as finished by its writer. The mapping is dropped, so that a long outage costs disk
    /// space and not memory. If somebody has removed the file, the mapping is kept, as it holds the only
    /// copy.
    pub(crate) fn seal(&self) {
        self.state.fetch_or(CLOSED | SEALED, Ordering::Release);
        if self.file.as_ref().is_some_and(|file| file.exists()) {
            self.lock_region().take();
        }
    }

    /// Begins to seal the segment for its writer, which may be appending at this moment. [`STORE_DELAY`] later,
    /// [`seal_closed`](Self::seal_closed) ends it.
    pub(crate) fn close(&self) {
        announce_close(&*self.state, CLOSED);
    }

    /// Seals a closed segment. What has been appended by now belongs to it. A segment that cannot be read now stays closed,
    /// and its writer seals it when the writer logs again or ends.
    pub(crate) fn seal_closed(&self) {
        if self.final_extent.get().is_none() {
            let Ok(bytes) = self.read() else { return };
            // The writer may have decided meanwhile.
            let _ = self.final_extent.set(self.extent_of(&bytes));
        }
        self.seal();
    }

    /// Returns true if the segment takes nothing more. For the writer, after it has appended, and for a reader, after it has
    /// found a frame: see [`close`](Self::close).
    #[inline]
    pub(crate) fn is_closed(&self) -> bool {
        load_state(&*self.state) != 0
    }

    /// Returns true if the frames before `end` belong to the segment, which is closed. For the writer, which has just appended
    /// the last of these: of a frame that it has appended while another thread sealed the segment, the readers see either all
    /// or nothing. If nobody has decided yet where the segment ends, it ends at `end`.
    #[cold]
    pub(in crate::journal) fn has_frames_until(&self, end: usize) -> bool {
        let all = Extent {
            values: self.values.load(Ordering::Relaxed),
            end,
        };
        end <= self.final_extent.get_or_init(|| all).end
    }

    /// Returns the offset at which the frames of a sealed segment end, if another thread than its writer has sealed it.
    pub(crate) fn final_end(&self) -> Option<usize> {
        self.final_extent.get().map(|extent| extent.end)
    }

    /// Returns the part of a segment that was appended so far, as its bytes show it. Damage between the frames is passed over,
    /// so that what lies behind it is not cut off.
    fn extent_of(&self, bytes: &SegmentBytes) -> Extent {
        let mut extent = Extent {
            values: 0,
            end: HEADER_BYTES,
        };
        bytes.for_each_whole(|body, offset| {
            extent.values += u64::from(Record::is_value(body));
            extent.end = offset + frame_bytes(body.len());
        });
        if let SegmentBytes::Mapped(region) = bytes {
            let end = region.end(HEADER_BYTES);
            if end > extent.end {
                // Somebody has changed the bytes of a frame. The frames behind it are told apart by their lengths alone.
                let values = self.values.load(Ordering::Relaxed);
                return Extent { values, end };
            }
        }
        extent
    }

    /// Returns true if the file holds nothing but zeros: its process died before it wrote anything.
    pub(crate) fn is_blank(&self) -> bool {
        self.read().is_ok_and(|bytes| bytes.is_blank())
    }

    #[inline]
    pub(crate) fn is_sealed(&self) -> bool {
        self.state.load(Ordering::Acquire) & SEALED != 0
    }

    pub(crate) fn read(&self) -> io::Result<SegmentBytes> {
        if let Some(region) = &*self.lock_region() {
            return Ok(SegmentBytes::Mapped(Arc::clone(region)));
        }
        match &self.file {
            Some(file) => Ok(SegmentBytes::from_bytes(user_files::read_file(file)?)),
            None => Ok(SegmentBytes::from_bytes(Vec::new())),
        }
    }

    /// Writes the acknowledged offset: every entry before `offset` is settled. Errors are ignored, as the
    /// offset is a hint.
    pub(crate) fn acknowledge(&self, offset: usize) {
        let hint = encode_acknowledged(offset);
        #[cfg(test)]
        crate::determinism::before_change();
        if let Some(region) = &*self.lock_region() {
            region.set_acknowledged(hint);
        } else if let Some(file) = &self.file {
            let _ = user_files::open_to_write(file).and_then(|file| {
                file.write_all_at(&hint.to_le_bytes(), ACKNOWLEDGED_OFFSET as u64)
            });
        }
    }

    /// Marks the segment's file as damaged.
    pub(crate) fn set_damaged(&self) {
        self.damaged.store(true, Ordering::Relaxed);
    }

    /// Deletes the segment's file, or moves it to quarantine if it is damaged.
    pub(crate) fn remove_file(&self) -> io::Result<()> {
        let Some(file) = &self.file else {
            return Ok(());
        };
        #[cfg(test)]
        crate::determinism::before_change();
        if self.damaged.load(Ordering::Relaxed) {
            return quarantine::quarantine_file(file);
        }
        let _ = fs::remove_file(file);
        Ok(())
    }
}

impl SegmentBytes {
    /// Wraps the bytes that were read from a segment's file.
    pub(crate) fn from_bytes(bytes: Vec<u8>) -> Self {
        Self::Loaded(Arc::new(LoadedSegment::new(bytes)))
    }

    /// Returns true if frames that are appended later do not show in these bytes.
    pub(crate) fn is_snapshot(&self) -> bool {
        matches!(self, Self::Loaded(_))
    }

    /// Returns true if a file holds nothing but zeros.
    pub(crate) fn is_blank(&self) -> bool {
        match self {
            Self::Mapped(_) => false,
            Self::Loaded(loaded) => loaded.is_blank(),
        }
    }

    #[inline]
    pub(crate) fn frame(&self, offset: usize) -> Frame<'_> {
        match self {
            Self::Mapped(region) => region
                .frame(offset)
                .map_or(Frame::End, |bytes| parse_frame(bytes, 0, offset)),
            Self::Loaded(loaded) => parse_frame(loaded.bytes(), offset, offset),
        }
    }

    /// Returns the offset of the next frame behind the bytes at `offset`, which are no whole frame and will
    /// not become one; `None` if nothing was lost there. See [`salvage`].
    pub(crate) fn skip_damage(&self, offset: usize) -> Option<usize> {
        match self {
            // Memory is not damaged.
            Self::Mapped(_) => None,
            Self::Loaded(loaded) => loaded.skip_damage(offset),
        }
    }

    /// Calls `take` with the body and the offset of every whole frame.
    pub(crate) fn for_each_whole(&self, mut take: impl FnMut(&[u8], usize)) {
        let mut offset = HEADER_BYTES;
        loop {
            offset = match self.frame(offset) {
                Frame::Whole { body, next } => {
                    take(body, offset);
                    next
                }
                Frame::End | Frame::Torn => match self.skip_damage(offset) {
                    Some(next) => next,
                    None => return,
                },
            };
        }
    }

    /// Returns true if the bytes are a segment in a format that this version reads.
    pub(crate) fn has_known_format(&self) -> bool {
        match self {
            Self::Mapped(_) => true,
            Self::Loaded(loaded) => {
                let bytes = loaded.bytes();
                bytes.get(..8) == Some(&MAGIC)
                    && bytes.get(8..12) == Some(&FORMAT_VERSION.to_le_bytes())
                    || loaded.has_lost_its_header()
            }
        }
    }

    /// Returns the offset up to which an earlier shipper has acknowledged entries; the end of the header if
    /// that is not known.
    pub(crate) fn acknowledged_offset(&self) -> usize {
        let hint = match self {
            Self::Mapped(_) => None,
            Self::Loaded(loaded) => loaded
                .bytes()
                .get(ACKNOWLEDGED_OFFSET..ACKNOWLEDGED_OFFSET + 8)
                .and_then(|bytes| bytes.try_into().ok())
                .and_then(|bytes| decode_acknowledged(u64::from_le_bytes(bytes))),
        };
        hint.unwrap_or(0).max(HEADER_BYTES)
    }
}

/// Encodes the acknowledged offset as it is written: with its checksum, as one damaged bit in the offset
/// would make undelivered entries count as delivered. Both are in one word, so that they are written at once.
pub(crate) fn encode_acknowledged(offset: usize) -> u64 {
    // An offset beyond 4 GiB is not recorded.
    u32::try_from(offset).map_or(0, |offset| {
        u64::from(checksum(&offset.to_le_bytes())) << 32 | u64::from(offset)
    })
}

fn decode_acknowledged(word: u64) -> Option<usize> {
    let offset = usize::try_from(word & u64::from(u32::MAX)).ok()?;
    (encode_acknowledged(offset) == word).then_some(offset)
}

/// Parses the frame at `bytes[at..]`, which is at `offset` of its segment.
fn parse_frame(bytes: &[u8], at: usize, offset: usize) -> Frame<'_> {
    let word = |at: usize| -> Option<u32> {
        Some(u32::from_le_bytes(bytes.get(at..at + 4)?.try_into().ok()?))
    };
    let Some(len) = word(at) else {
        return Frame::End;
    };
    if len == 0 {
        return Frame::End;
    }
    let len = len as usize;
    let body_at = at + FRAME_HEADER_BYTES;
    match (
        word(at + 4),
        body_at
            .checked_add(len)
            .and_then(|end| bytes.get(body_at..end)),
    ) {
        (Some(expected), Some(body)) if checksum(body) == expected => Frame::Whole {
            body,
            next: offset + frame_bytes(len),
        },
        _ => Frame::Torn,
    }
}
