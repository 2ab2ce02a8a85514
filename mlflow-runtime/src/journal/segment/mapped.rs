//! Mapped memory that one thread appends frames to while others read them. All `unsafe` of the crate that
//! touches memory is here; the rest of the `unsafe` calls the operating system, in `os/hooks.rs`.
//!
//! # Invariants
//!
//! 1. A region has at most one [`MappedAppender`], and only it writes behind [`HEADER_BYTES`].
//! 2. Bytes at or behind the appender's position have never been read through a [`Region`]; bytes before it
//!    never change again.
//! 3. A frame's length word is stored last, with `Release`, and loaded first, with `Acquire`: a thread that
//!    sees a length other than zero sees the whole frame.
//! 4. A mapped file is never shortened: it is created at its full size, private to its process.
//!
//! # Layout
//!
//! ```text
//! offset 0   8 bytes  magic
//!        8   u32      format version
//!       12   u32      zero
//!       16   u32      acknowledged: every entry before this offset is settled (a hint)
//!       20   u32      checksum of it, as of a body
//!       24   40 bytes zero
//!       64   frames, each starting at a multiple of 8:
//!              u32   length of the body; 0: nothing was written from here on
//!              u32   CRC-32C (Castagnoli, RFC 3720) of the body, seeded with the length
//!              body, padded with zeros
//! ```
//! All numbers are little-endian.
#![allow(unsafe_code)]

use std::fs::File;
use std::io;
use std::ptr;
use std::slice;
use std::sync::Arc;
use std::sync::atomic::{AtomicU32, AtomicU64, Ordering};

use memmap2::{MmapOptions, MmapRaw};

use crate::journal::atomics::{load_published, publish};
use crate::journal::record::METRIC_WORDS;

pub(crate) const HEADER_BYTES: usize = 64;
pub(crate) const FRAME_HEADER_BYTES: usize = 8;
pub(crate) const ACKNOWLEDGED_OFFSET: usize = 16;
pub(crate) const MAGIC: [u8; 8] = *b"mlflowrs";
pub(crate) const FORMAT_VERSION: u32 = 1;

/// Number of bytes that are touched at a time.
#[cfg(target_os = "linux")]
const PREFAULT_BYTES: usize = 64 << 10;

/// Error: the segment has no space for the frame.
#[derive(Debug)]
pub(crate) struct SegmentFull;

/// Returns the header of a new segment.
pub(crate) fn encode_header() -> [u8; HEADER_BYTES] {
    let mut header = [0; HEADER_BYTES];
    header[..8].copy_from_slice(&MAGIC);
    header[8..12].copy_from_slice(&FORMAT_VERSION.to_le_bytes());
    header
}

/// Mapped segment.
pub(crate) struct Region {
    raw: MmapRaw,
}

impl Region {
    /// Maps `len` bytes of a file that was allocated in full and is still all zeros.
    pub(crate) fn create_in_file(
        file: &File,
        len: usize,
    ) -> io::Result<(Arc<Self>, MappedAppender)> {
        Ok(Self::create(MmapOptions::new().len(len).map_raw(file)?))
    }

    /// Maps `len` bytes of memory that ends with the process.
    pub(crate) fn create_anonymous(len: usize) -> io::Result<(Arc<Self>, MappedAppender)> {
        Ok(Self::create(MmapOptions::new().len(len).map_anon()?.into()))
    }

    fn create(raw: MmapRaw) -> (Arc<Self>, MappedAppender) {
        let region = Arc::new(Self { raw });
        let header = encode_header();
        let header = &header[..region.len().min(HEADER_BYTES)];
        // SAFETY: in bounds by the `min`; no other reference to the fresh region exists yet.
        unsafe { ptr::copy_nonoverlapping(header.as_ptr(), region.raw.as_mut_ptr(), header.len()) };
        let appender = MappedAppender {
            region: Arc::clone(&region),
            position: HEADER_BYTES,
            crc: CrcInstruction::detect(),
        };
        (region, appender)
    }

    pub(crate) fn len(&self) -> usize {
        self.raw.len()
    }

    /// Touches every page now, so that no append pays for it. Best effort. The pages are touched some at a
    /// time, because the system holds the process's memory map meanwhile, and every thread that maps or
    /// unmaps memory waits.
    pub(crate) fn prefault(&self) {
        #[cfg(target_os = "linux")]
        for start in (0..self.len()).step_by(PREFAULT_BYTES) {
            let len = PREFAULT_BYTES.min(self.len() - start);
            let _ = self
                .raw
                .advise_range(memmap2::Advice::PopulateWrite, start, len);
        }
    }

    /// Returns the end of what is written so far, searched from the frame at `start` on.
    pub(crate) fn end(&self, start: usize) -> usize {
        let mut end = start.max(HEADER_BYTES);
        while let Some(frame) = self.frame(end) {
            end += frame_bytes(frame.len() - FRAME_HEADER_BYTES);
        }
        end
    }

    /// Syncs the bytes from `start` to `end` to the device.
    pub(crate) fn sync(&self, start: usize, end: usize) -> io::Result<()> {
        // The header is on the first page, which is synced anyway.
        let start = if start <= HEADER_BYTES { 0 } else { start };
        self.raw.flush_range(start, end.saturating_sub(start))
    }

    pub(crate) fn set_acknowledged(&self, hint: u64) {
        if self.len() < HEADER_BYTES {
            return;
        }
        // SAFETY: in bounds by the check, aligned because mappings start at a page; the header's
        // word is only ever accessed as this atomic once the region is shared.
        let word =
            unsafe { AtomicU64::from_ptr(self.raw.as_mut_ptr().add(ACKNOWLEDGED_OFFSET).cast()) };
        word.store(hint.to_le(), Ordering::Relaxed);
    }

    /// Returns the length word at `offset`, or `None` if a frame cannot start there.
    fn length_word(&self, offset: usize) -> Option<&AtomicU32> {
        if !offset.is_multiple_of(8)
            || offset < HEADER_BYTES
            || offset.checked_add(FRAME_HEADER_BYTES)? > self.len()
        {
            return None;
        }
        // SAFETY: in bounds and aligned by the checks; the word is only ever accessed as an atomic,
        // here and by `MappedAppender`.
        Some(unsafe { AtomicU32::from_ptr(self.raw.as_mut_ptr().add(offset).cast()) })
    }

    /// Returns the published bytes of the frame at `offset`, header included; `None` if there is none yet.
    pub(crate) fn frame(&self, offset: usize) -> Option<&[u8]> {
        let len = u32::from_le(load_published(self.length_word(offset)?)) as usize;
        let end = offset.checked_add(FRAME_HEADER_BYTES)?.checked_add(len)?;
        if len == 0 || end > self.len() {
            return None;
        }
        // SAFETY: in bounds by the check. The Acquire load saw a length, so by invariant 3 the
        // frame is written, and by invariant 2 it never changes again.
        Some(unsafe { slice::from_raw_parts(self.raw.as_ptr().add(offset), end - offset) })
    }
}

/// Writer of a [`Region`], which has only this one.
pub(crate) struct MappedAppender {
    region: Arc<Region>,
    position: usize,
    crc: CrcInstruction,
}

impl MappedAppender {
    /// Returns the offset at which the last frame ends.
    pub(crate) fn position(&self) -> usize {
        self.position
    }

    /// Publishes one frame whose body is `words`, in their order. When the call returns, the frame outlives the process. The
    /// length is known to the compiler, so this costs a third of [`append`](Self::append).
    #[inline(always)]
    pub(crate) fn append_words<const N: usize>(
        &mut self,
        words: &[u64; N],
    ) -> Result<(), SegmentFull> {
        let len = const { body_bytes(N) };
        let start = self.position;
        let end = start + FRAME_HEADER_BYTES + len as usize;
        if end > self.region.len() {
            return Err(SegmentFull);
        }
        // SAFETY: `start..end` is in bounds by the check above and untouched so far (invariant 2); `&mut self` is the only
        // writer (invariant 1). `start` is a multiple of 8, so the length word, the checksum at 4 and the body's words at 8 are
        // aligned. The checksum reads the body, of which no other thread knows yet. The length word is published last, and readers
        // go through it (invariant 3).
        unsafe {
            let frame = self.region.raw.as_mut_ptr().add(start);
            let body = frame.add(FRAME_HEADER_BYTES).cast::<[u64; N]>();
            body.write(words.map(u64::to_le));
            let checksum = checksum_of_words(&*body, self.crc).to_le();
            frame.add(4).cast::<u32>().write(checksum);
            publish(AtomicU32::from_ptr(frame.cast()), len.to_le());
        }
        self.position = end;
        Ok(())
    }

    /// Publishes one frame. When the call returns, the frame outlives the process.
    #[inline]
    pub(crate) fn append(&mut self, body: &[u8]) -> Result<(), SegmentFull> {
        let start = self.position;
        let end = start + frame_bytes(body.len());
        if body.is_empty() || end > self.region.len() || body.len() > u32::MAX as usize {
            return Err(SegmentFull);
        }
        #[allow(clippy::cast_possible_truncation)] // checked above
        let len = body.len() as u32;
        let checksum = checksum(body).to_le_bytes();
        // SAFETY: `start..end` is in bounds by the check above and untouched so far (invariant 2);
        // `&mut self` is the only writer (invariant 1). `start` is a multiple of 8, so the length
        // word is aligned; it is published last, and readers go through it (invariant 3).
        unsafe {
            let frame = self.region.raw.as_mut_ptr().add(start);
            ptr::copy_nonoverlapping(body.as_ptr(), frame.add(FRAME_HEADER_BYTES), body.len());
            ptr::copy_nonoverlapping(checksum.as_ptr(), frame.add(4), 4);
            publish(AtomicU32::from_ptr(frame.cast()), len.to_le());
        }
        self.position = end;
        Ok(())
    }
}

/// Returns the number of bytes that a frame takes, header and padding included.
pub(crate) const fn frame_bytes(body: usize) -> usize {
    FRAME_HEADER_BYTES + body.next_multiple_of(8)
}

/// Returns the length of a body of this number of words.
const fn body_bytes(words: usize) -> u32 {
    assert!(words > 0 && words <= 1024, "a body of a few words");
    #[allow(clippy::cast_possible_truncation)] // checked above
    let bytes = (words * 8) as u32;
    bytes
}

/// Returns the checksum of a frame's body.
#[inline]
pub(crate) fn checksum(body: &[u8]) -> u32 {
    if let (chunks, []) = body.as_chunks()
        && let Ok(chunks) = <&[[u8; 8]; METRIC_WORDS]>::try_from(chunks)
    {
        return checksum_of_words(&chunks.map(u64::from_ne_bytes), CrcInstruction::detect());
    }
    checksum_of_bytes(body)
}

fn checksum_of_bytes(body: &[u8]) -> u32 {
    #[allow(clippy::cast_possible_truncation)] // a body is shorter than 4 GiB
    crc32c::crc32c_append(body.len() as u32, body)
}

/// Knowledge whether the processor has an instruction for CRC-32C. On x86-64 it comes with SSE 4.2.
#[derive(Clone, Copy, PartialEq)]
enum CrcInstruction {
    #[cfg(target_arch = "x86_64")]
    Present,
    Missing,
}

impl CrcInstruction {
    #[inline]
    fn detect() -> Self {
        #[cfg(target_arch = "x86_64")]
        if is_x86_feature_detected!("sse4.2") {
            return Self::Present;
        }
        Self::Missing
    }
}

/// Returns the [`checksum`] of a body that consists of `words`, whose bytes are in the order that they have in the file. The
/// crate `crc32c` computes the same; its preparations for a long text cost more than the checksum of a few words.
#[inline(always)]
fn checksum_of_words<const N: usize>(words: &[u64; N], crc: CrcInstruction) -> u32 {
    match crc {
        #[cfg(target_arch = "x86_64")]
        // SAFETY: `detect` has found the instruction.
        CrcInstruction::Present => unsafe { checksum_by_instruction(words) },
        CrcInstruction::Missing => checksum_by_crate(words),
    }
}

#[cfg_attr(target_arch = "x86_64", cold)]
fn checksum_by_crate<const N: usize>(words: &[u64; N]) -> u32 {
    checksum_of_bytes(words.map(u64::to_ne_bytes).as_flattened())
}

/// Returns the [`checksum`] of a body by the processor's instruction. A function with that target feature would not be
/// inlined, and the words would go through memory.
///
/// # Safety
/// The processor has the instruction: [`CrcInstruction::detect`] has returned [`CrcInstruction::Present`].
#[cfg(target_arch = "x86_64")]
#[inline(always)]
unsafe fn checksum_by_instruction<const N: usize>(words: &[u64; N]) -> u32 {
    let mut crc = u64::from(!const { body_bytes(N) });
    for word in words {
        // SAFETY: the processor has the instruction, which only reads and writes these two registers.
        unsafe {
            std::arch::asm!(
                "crc32 {crc}, {word}",
                crc = inout(reg) crc,
                word = in(reg) *word,
                options(pure, nomem, nostack, preserves_flags),
            );
        }
    }
    #[allow(clippy::cast_possible_truncation)] // the instruction leaves the upper half zero
    let crc = crc as u32;
    !crc
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_body_of_words_has_the_checksum_of_its_bytes() {
        let mut seed = 0x9e37_79b9_7f4a_7c15_u64;
        for _ in 0..1000 {
            let words = [(); METRIC_WORDS].map(|()| {
                seed = seed.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1);
                seed ^ seed >> 29
            });
            let bytes = words.map(u64::to_ne_bytes);
            let expected = checksum_of_bytes(bytes.as_flattened());
            assert_eq!(
                checksum_of_words(&words, CrcInstruction::detect()),
                expected
            );
            assert_eq!(checksum(bytes.as_flattened()), expected);
        }
        assert_eq!(
            checksum_of_words(&[7], CrcInstruction::detect()),
            checksum_of_bytes(&7_u64.to_ne_bytes())
        );
    }

    /// What earlier versions have written has to be read.
    #[test]
    fn the_checksum_of_a_body_never_changes() {
        let words = [1_u64, 2, 3, 4].map(u64::to_le);
        for crc in [CrcInstruction::detect(), CrcInstruction::Missing] {
            assert_eq!(checksum_of_words(&words, crc), 0x59fe_aea5);
        }
        let body: Vec<u8> = (0..40).collect();
        assert_eq!(checksum(&body), 0x26b5_8916);
    }

    #[test]
    fn words_are_appended_as_their_bytes_are() {
        let words = [1, u64::MAX, 3 << 40, 0x0102_0304_0506_0708, 5];
        let (by_words, mut appender) = Region::create_anonymous(256).expect("memory");
        appender.append_words(&words).expect("there is room");
        let (by_bytes, mut appender) = Region::create_anonymous(256).expect("memory");
        let bytes = words.map(u64::to_le_bytes);
        appender
            .append(bytes.as_flattened())
            .expect("there is room");
        assert_eq!(by_words.frame(HEADER_BYTES), by_bytes.frame(HEADER_BYTES));
        assert_eq!(by_words.frame(HEADER_BYTES).expect("a frame").len(), 48);
    }

    #[test]
    fn words_are_appended_only_where_they_fit() {
        let (region, mut appender) = Region::create_anonymous(HEADER_BYTES + 95).expect("memory");
        assert!(appender.append_words(&[1; 5]).is_ok());
        assert!(appender.append_words(&[2; 5]).is_err());
        assert_eq!(region.end(HEADER_BYTES), HEADER_BYTES + 48);
    }
}
