//! Salvage: reading on behind damage, in the bytes of a segment that no thread writes to any more.
//!
//! # Invariants
//!
//! 1. Reading continues at a whole frame, or where the zeros at the segment's end begin. So a damaged frame
//!    costs only itself wherever its length can be trusted.
//! 2. A length is trusted where it leads, over other damaged frames if need be, to a whole frame or to the
//!    zeros, and the checksum does not prove the length wrong. The body of such a frame is not searched,
//!    because an attached artifact may contain frames.
//! 3. Where the length leads nowhere, the next frame is searched for in steps of 8 bytes. A frame counts if
//!    it is whole and its body is a record of a known kind.
//! 4. A frame without a length that no whole frame follows is no damage: the process was killed in the middle
//!    of this append, which had not returned.
//! 5. The time is linear in the length of the segment, but for a logarithm. Checksums of long bodies come
//!    from a table, so that a thousand wrong lengths do not read the segment a thousand times.

use std::sync::OnceLock;

use crate::journal::record::{ArtifactLocation, Event, Record, encoded_length, is_plausible};
use crate::journal::segment::mapped::{FRAME_HEADER_BYTES, HEADER_BYTES, checksum, frame_bytes};

/// Greatest number of damaged frames in a row over which the length of the first one is followed.
const MAX_DAMAGED_FRAMES: usize = 16;
/// Length up to which the checksum of a body is computed directly.
const MAX_DIRECT_CHECKSUM_BYTES: usize = 4096;
/// Length of a page: files that are mapped have a multiple of it, and not less than [`MIN_MAPPED_BYTES`].
const PAGE_BYTES: usize = 4096;
const MIN_MAPPED_BYTES: usize = 64 << 10;

/// Bytes of a segment, as they were read from its file.
pub(crate) struct LoadedSegment {
    bytes: Vec<u8>,
    /// Offset of the zeros at the end.
    written_end: OnceLock<usize>,
    /// CRC-32C of all bytes before each multiple of 8.
    prefix_checksums: OnceLock<Vec<u32>>,
}

impl LoadedSegment {
    pub(super) fn new(bytes: Vec<u8>) -> Self {
        Self {
            bytes,
            written_end: OnceLock::new(),
            prefix_checksums: OnceLock::new(),
        }
    }

    pub(super) fn bytes(&self) -> &[u8] {
        &self.bytes
    }

    /// Returns true if the segment holds nothing but zeros.
    pub(super) fn is_blank(&self) -> bool {
        self.written_end() == 0
    }

    /// Returns the offset at which reading continues behind the bytes at `offset`, which are no whole frame;
    /// `None` if nothing was lost there, because no more was written, or the append had not returned.
    pub(super) fn skip_damage(&self, offset: usize) -> Option<usize> {
        let end = self.written_end();
        if offset >= end {
            return None;
        }
        if let Some(next) = self.end_by_record_length(offset) {
            // Invariant 4, where the length alone was missing.
            return (next < end || self.word(offset) != Some(0)).then_some(next);
        }
        if let Some(next) = self
            .end_by_frame_length(offset)
            .or_else(|| self.search_next_frame(offset))
        {
            return Some(next);
        }
        match self.word(offset) {
            // Invariant 4. A file written with system calls ends in the middle of such a frame; a mapped file
            // has its full length from the beginning.
            None | Some(0) => None,
            Some(_) if self.body(offset).is_none() && !self.has_full_length() => None,
            Some(_) => Some(end.next_multiple_of(8)),
        }
    }

    /// Returns the end of a frame of which only the length is wrong: the checksum fits the length that the
    /// record itself has.
    fn end_by_record_length(&self, offset: usize) -> Option<usize> {
        let body = self.bytes.get(offset + FRAME_HEADER_BYTES..)?;
        let body = body.get(..encoded_length(body)?)?;
        (self.word(offset + 4)? == self.body_checksum(offset, body))
            .then(|| offset + frame_bytes(body.len()))
    }

    /// Follows the length of the damaged frame at `offset`, and returns the offset of the next frame if the
    /// length can be trusted.
    fn end_by_frame_length(&self, offset: usize) -> Option<usize> {
        let (mut at, mut first) = (offset, None);
        for _ in 0..MAX_DAMAGED_FRAMES {
            // The bodies of the frames that follow have to look like records, because any number leads
            // somewhere.
            let body = self.body(at);
            let body = body.filter(|body| first.is_none() || is_plausible(body))?;
            let next = at + frame_bytes(body.len());
            let first = *first.get_or_insert(next);
            if next >= self.written_end() || self.is_whole(next) {
                return Some(first);
            }
            at = next;
        }
        None
    }

    /// Searches for the next frame behind the damage at `offset`.
    fn search_next_frame(&self, offset: usize) -> Option<usize> {
        let is_artifact = self.holds_attachment(offset);
        let mut inside = None;
        let mut at = offset + FRAME_HEADER_BYTES;
        while at < self.written_end() {
            if !self.is_record(at) {
                at += 8;
                continue;
            }
            if !is_artifact {
                return Some(at);
            }
            // The frame may be a part of the artifact. Frames of the segment lead to its end.
            let behind = self.end_of_whole_frames(at);
            if behind >= self.written_end() {
                return Some(at);
            }
            inside.get_or_insert(at);
            at = behind.max(at + 8);
        }
        inside
    }

    /// Returns true if the damaged frame at `offset` holds an artifact of unknown length.
    fn holds_attachment(&self, offset: usize) -> bool {
        let body = self.bytes.get(offset + FRAME_HEADER_BYTES..);
        let Some(Record::Event { event, .. }) = body.and_then(Record::decode) else {
            return false;
        };
        let attached = ArtifactLocation::Attached;
        let is_attached = |event: &Event<'_>| match event {
            Event::Artifact { content, .. } => {
                std::mem::discriminant(content) == std::mem::discriminant(&attached)
            }
            _ => false,
        };
        event.parse().as_ref().is_some_and(is_attached)
    }

    /// Returns the end of a row of whole frames.
    fn end_of_whole_frames(&self, offset: usize) -> usize {
        let mut at = offset;
        while let Some(body) = self.body(at).filter(|_| self.is_whole(at)) {
            at += frame_bytes(body.len());
        }
        at
    }

    /// Returns true if a whole frame with a record of a known kind is at `offset`.
    fn is_record(&self, offset: usize) -> bool {
        let body = self.body(offset).filter(|body| is_plausible(body));
        body.is_some_and(|body| {
            self.is_whole(offset)
                && match Record::decode(body) {
                    Some(Record::Event { event, .. }) => event.parse().is_some(),
                    record => record.is_some(),
                }
        })
    }

    fn is_whole(&self, offset: usize) -> bool {
        self.body(offset)
            .is_some_and(|body| self.word(offset + 4) == Some(self.body_checksum(offset, body)))
    }

    /// Returns the body of the frame at `offset`, if its length keeps the body inside the file.
    fn body(&self, offset: usize) -> Option<&[u8]> {
        let len = self.word(offset).filter(|len| *len > 0)? as usize;
        let start = offset + FRAME_HEADER_BYTES;
        self.bytes.get(start..start.checked_add(len)?)
    }

    fn word(&self, offset: usize) -> Option<u32> {
        let bytes = self.bytes.get(offset..offset.checked_add(4)?)?;
        Some(u32::from_le_bytes(bytes.try_into().ok()?))
    }

    /// Returns the checksum of `body`, which belongs to the frame at `offset`.
    fn body_checksum(&self, offset: usize, body: &[u8]) -> u32 {
        if body.len() <= MAX_DIRECT_CHECKSUM_BYTES {
            #[cfg(test)]
            tests::SUMMED.set(tests::SUMMED.get() + body.len());
            return checksum(body);
        }
        let start = offset + FRAME_HEADER_BYTES;
        let (last, rest) = ((start + body.len()) / 8, (start + body.len()) % 8);
        let sums = self.prefix_checksums();
        let (Some(before), Some(through)) = (sums.get(start / 8), sums.get(last)) else {
            return checksum(body);
        };
        let through = crc32c::crc32c_append(*through, &body[body.len() - rest..]);
        #[allow(clippy::cast_possible_truncation)] // it comes from a word of 32 bits
        let seed = body.len() as u32;
        crc32c::crc32c_combine(before ^ seed, through, body.len())
    }

    fn prefix_checksums(&self) -> &[u32] {
        self.prefix_checksums.get_or_init(|| {
            let mut sum = 0;
            let words = self.bytes.chunks_exact(8).map(|word| {
                sum = crc32c::crc32c_append(sum, word);
                sum
            });
            std::iter::once(0).chain(words).collect()
        })
    }

    fn written_end(&self) -> usize {
        *self.written_end.get_or_init(|| {
            let last = self.bytes.iter().rposition(|byte| *byte != 0);
            last.map_or(0, |last| last + 1)
        })
    }

    fn has_full_length(&self) -> bool {
        self.bytes.len() >= MIN_MAPPED_BYTES && self.bytes.len().is_multiple_of(PAGE_BYTES)
    }

    /// Returns true if the header was lost and frames were not: the device has kept a later page and not the
    /// first.
    pub(super) fn has_lost_its_header(&self) -> bool {
        !self.is_blank() && self.bytes.iter().take(HEADER_BYTES).all(|byte| *byte == 0)
    }
}

#[cfg(test)]
mod tests {
    use std::cell::Cell;

    use super::*;

    thread_local! {
        /// Bytes of bodies whose checksums were computed directly.
        pub(super) static SUMMED: Cell<usize> = const { Cell::new(0) };
    }

    #[test]
    fn the_table_gives_the_checksums_of_bodies() {
        let bytes: Vec<u8> = (0..40_000_u32).map(|at| ((at * at) >> 7) as u8).collect();
        let loaded = LoadedSegment::new(bytes.clone());
        for (offset, len) in [(64, 4097), (64, 5000), (8000, 30_003), (72, 39_000)] {
            let body = &bytes[offset + 8..offset + 8 + len];
            assert_eq!(
                loaded.body_checksum(offset, body),
                checksum(body),
                "{offset}, {len}"
            );
        }
    }

    /// Before, each length that led nowhere read the rest of the segment for a checksum.
    #[test]
    fn lengths_that_lead_nowhere_do_not_read_the_segment_again_each_time() {
        let body = [[2, b'{'].as_slice(), &[b' '; 54]].concat();
        let mut bytes = vec![0; HEADER_BYTES];
        let end = 1 << 20;
        while bytes.len() < end {
            let len = (end - bytes.len()) / 2;
            bytes.extend(u32::try_from(len).expect("small").to_le_bytes());
            bytes.extend([1; 4]);
            bytes.extend(&body);
        }
        let loaded = LoadedSegment::new(bytes);
        SUMMED.set(0);
        assert_eq!(loaded.skip_damage(HEADER_BYTES), Some(loaded.bytes.len()));
        assert!(SUMMED.get() < 4 * end, "{} bytes of {end}", SUMMED.get());
    }
}
