//! One segment: a region written by one thread, seen by everybody else.
//!
//! Invariants: the frames of a segment are read in order. While it is written, reading stops at the
//! first frame that is not whole: the rest is on its way. Afterwards, it goes on behind what is
//! damaged, see [`salvage`](crate::journal::salvage); the file of such a segment is [quarantined](crate::journal::quarantine). The
//! acknowledged offset only grows, and losing it, or finding it damaged, costs a re-send, never a
//! value.

pub(crate) mod allocate;
pub(crate) mod append;
pub(crate) mod mapped;
pub(crate) mod mmap_safety;
pub(crate) mod preallocate;

use std::fs;
use std::io;
use std::os::unix::fs::FileExt;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicBool, AtomicU64, AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, MutexGuard};

use crate::journal::quarantine;
use crate::journal::salvage::LoadedSegment;
use crate::journal::segment::mapped::{
    ACKNOWLEDGED_OFFSET, FORMAT_VERSION, FRAME_HEADER_BYTES, HEADER_BYTES, MAGIC, Region, checksum,
    frame_bytes,
};
use crate::journal::user_files;
use crate::sync::lock;

/// A segment, shared by its writer and the shipper.
pub(crate) struct Segment {
    file: Option<PathBuf>,
    /// Its size. That of a segment with [copied](crate::journal::entry_log) entries grows.
    bytes: AtomicU64,
    /// Whether it holds entries that were copied from other segments.
    is_copy: bool,
    /// Present while the writer appends through it, and for good where there is no file.
    region: Mutex<Option<Arc<Region>>>,
    sealed: AtomicBool,
    /// Set when damage was found in its file.
    damaged: AtomicBool,
    /// Values appended: one writer stores, others load.
    values: AtomicU64,
    /// How many of them the device has, and up to which offset.
    synced_values: AtomicU64,
    synced_offset: AtomicUsize,
}

/// The part of a segment that was written at one moment.
#[derive(Clone, Copy, Debug)]
pub(in crate::journal) struct Extent {
    values: u64,
    end: usize,
}

/// What stands at an offset.
#[derive(Debug, PartialEq)]
pub(crate) enum Frame<'a> {
    NotAResult {
        body: &'a [u8],
        next: usize,
    },
    /// Nothing was written from here on.
    End,
    /// Something was, but not all of it.
    Torn,
}

/// The bytes of a segment, however they are held.
#[derive(Clone)]
pub(crate) enum SegmentBytes {
    Mapped(Arc<Region>),
    Loaded(Arc<LoadedSegment>),
}

impl Segment {
    /// A segment of `len` bytes, in a file, in memory, or in both.
    pub(crate) fn new(file: Option<PathBuf>, region: Option<Arc<Region>>, len: usize) -> Self {
        Self {
            file,
            bytes: AtomicU64::new(len as u64),
            is_copy: false,
            region: Mutex::new(region),
            sealed: AtomicBool::new(false),
            damaged: AtomicBool::new(false),
            values: AtomicU64::new(0),
            synced_values: AtomicU64::new(0),
            synced_offset: AtomicUsize::new(0),
        }
    }

    /// A segment for entries that are copied from others. Its writer is its only reader, so it counts
    /// as sealed.
    pub(in crate::journal) fn new_copy(
        file: Option<PathBuf>,
        region: Option<Arc<Region>>,
        len: usize,
    ) -> Self {
        Self {
            is_copy: true,
            sealed: AtomicBool::new(true),
            ..Self::new(file, region, len)
        }
    }

    pub(crate) fn is_copy(&self) -> bool {
        self.is_copy
    }

    /// Notes that the file has grown to `bytes`; returns by how much.
    pub(crate) fn set_size_bytes(&self, bytes: u64) -> u64 {
        bytes.saturating_sub(self.bytes.swap(bytes, Ordering::Relaxed))
    }

    /// A segment that another process left.
    pub(crate) fn open_orphaned(file: PathBuf) -> io::Result<Self> {
        let bytes = fs::symlink_metadata(&file)?.len();
        Ok(Self {
            sealed: AtomicBool::new(true),
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

    /// Counts one more value. Only the writer calls it, so load and store need not be one step.
    #[inline]
    pub(crate) fn count_value(&self) {
        self.values
            .store(self.values.load(Ordering::Relaxed) + 1, Ordering::Relaxed);
    }

    pub(crate) fn value_count(&self) -> u64 {
        self.values.load(Ordering::Relaxed)
    }

    /// Whether the device lacks something of it.
    pub(crate) fn is_dirty(&self) -> bool {
        self.file.is_some() && self.value_count() > self.synced_values.load(Ordering::Relaxed)
    }

    /// Returns what was appended so far.
    pub(in crate::journal) fn extent(&self) -> Extent {
        // Values first: what is appended in between is not counted yet, and synced once more.
        let values = self.value_count();
        let start = self.synced_offset.load(Ordering::Relaxed);
        let region = self.lock_region();
        let end = region.as_ref().map_or(start, |region| region.end(start));
        Extent { values, end }
    }

    /// Has the device keep what was appended until then. A file that is not mapped is kept as it is
    /// now.
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

    /// Has the device keep all of a file that is written to.
    pub(crate) fn sync_file(&self) -> io::Result<()> {
        match &self.file {
            Some(file) => user_files::open_to_read(file)?.sync_data(),
            None => Ok(()),
        }
    }

    fn lock_region(&self) -> MutexGuard<'_, Option<Arc<Region>>> {
        lock(&self.region)
    }

    /// The writer is done. The mapping goes, so that a long outage costs disk and not memory; but
    /// where somebody has removed the file, it is all there is.
    pub(crate) fn seal(&self) {
        self.sealed.store(true, Ordering::Release);
        if self.file.as_ref().is_some_and(|file| file.exists()) {
            self.lock_region().take();
        }
    }

    /// Whether its process died before it wrote anything.
    pub(crate) fn is_blank(&self) -> bool {
        match self.read() {
            Ok(SegmentBytes::Loaded(loaded)) => loaded.is_blank(),
            Ok(SegmentBytes::Mapped(_)) | Err(_) => false,
        }
    }

    pub(crate) fn is_sealed(&self) -> bool {
        self.sealed.load(Ordering::Acquire)
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

    /// Notes that the store holds every entry before `offset`. Best effort: it is a hint.
    pub(crate) fn acknowledge(&self, offset: usize) {
        let hint = encode_acknowledged(offset);
        #[cfg(test)]
        crate::seeded::before_change();
        if let Some(region) = &*self.lock_region() {
            region.set_acknowledged(hint);
        } else if let Some(file) = &self.file {
            let _ = user_files::open_to_write(file).and_then(|file| {
                file.write_all_at(&hint.to_le_bytes(), ACKNOWLEDGED_OFFSET as u64)
            });
        }
    }

    /// Notes that its file is damaged.
    pub(crate) fn set_damaged(&self) {
        self.damaged.store(true, Ordering::Relaxed);
    }

    /// Deletes its file, or keeps it elsewhere if it is damaged.
    pub(crate) fn remove_file(&self) -> io::Result<()> {
        let Some(file) = &self.file else {
            return Ok(());
        };
        #[cfg(test)]
        crate::seeded::before_change();
        if self.damaged.load(Ordering::Relaxed) {
            return quarantine::quarantine_file(file);
        }
        let _ = fs::remove_file(file);
        Ok(())
    }
}

impl SegmentBytes {
    /// What a file holds.
    pub(crate) fn from_bytes(bytes: Vec<u8>) -> Self {
        Self::Loaded(Arc::new(LoadedSegment::new(bytes)))
    }

    /// Whether what is appended later does not show.
    pub(crate) fn is_snapshot(&self) -> bool {
        matches!(self, Self::Loaded(_))
    }

    pub(crate) fn frame(&self, offset: usize) -> Frame<'_> {
        match self {
            Self::Mapped(region) => region
                .frame(offset)
                .map_or(Frame::End, |bytes| parse_frame(bytes, 0, offset)),
            Self::Loaded(loaded) => parse_frame(loaded.bytes(), offset, offset),
        }
    }

    /// Returns where to go on behind the bytes at `offset`, which are no whole frame and will not
    /// become one; `None` if nothing was lost there. See [`salvage`](crate::journal::salvage).
    pub(crate) fn skip_damage(&self, offset: usize) -> Option<usize> {
        match self {
            // Memory is not damaged.
            Self::Mapped(_) => None,
            Self::Loaded(loaded) => loaded.skip_damage(offset),
        }
    }

    /// Calls `take` with the body of every whole frame, and its offset.
    pub(crate) fn for_each_whole(&self, mut take: impl FnMut(&[u8], usize)) {
        let mut offset = HEADER_BYTES;
        loop {
            offset = match self.frame(offset) {
                Frame::NotAResult { body, next } => {
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

    /// Whether this is a segment of ours, in a format we read.
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

    /// Where an earlier shipper had got to.
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

/// The acknowledged offset as it is written: with its checksum, as one damaged bit in it would pass
/// off what follows as delivered. In one word, so that both are of the same time.
pub(crate) fn encode_acknowledged(offset: usize) -> u64 {
    // Beyond 4 GiB there is none.
    u32::try_from(offset).map_or(0, |offset| {
        u64::from(checksum(&offset.to_le_bytes())) << 32 | u64::from(offset)
    })
}

fn decode_acknowledged(word: u64) -> Option<usize> {
    let offset = usize::try_from(word & u64::from(u32::MAX)).ok()?;
    (encode_acknowledged(offset) == word).then_some(offset)
}

/// Parses the frame at `bytes[at..]`, which stands at `offset` of its segment.
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
        (Some(expected), Some(body)) if checksum(body) == expected => Frame::NotAResult {
            body,
            next: offset + frame_bytes(len),
        },
        _ => Frame::Torn,
    }
}
