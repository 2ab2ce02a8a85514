//! Appenders of frames to a segment: through its mapping, or with one system call per frame.
//!
//! Invariant: when an append returns, the frame outlives the process. A frame that could not be written whole
//! is the last one of its segment.

use std::fs::File;
use std::io;
use std::os::unix::fs::FileExt as _;

use crate::journal::segment::mapped::{
    FRAME_HEADER_BYTES, HEADER_BYTES, MappedAppender, SegmentFull, checksum, encode_header,
    frame_bytes,
};

/// Writer of a segment, which has only this one.
pub(crate) enum Appender {
    Mapped(MappedAppender),
    Written(WrittenAppender),
}

impl Appender {
    /// Appends one frame whose body is `words`, each of them little-endian.
    #[inline(always)]
    pub(crate) fn append_words<const N: usize>(
        &mut self,
        words: &[u64; N],
    ) -> Result<(), SegmentFull> {
        match self {
            Self::Mapped(appender) => appender.append_words(words),
            Self::Written(appender) => appender.append(words.map(u64::to_le_bytes).as_flattened()),
        }
    }

    /// Returns the offset at which the last frame ends.
    pub(crate) fn position(&self) -> usize {
        match self {
            Self::Mapped(appender) => appender.position(),
            Self::Written(appender) => appender.position,
        }
    }

    /// Appends one frame.
    #[inline]
    pub(crate) fn append(&mut self, body: &[u8]) -> Result<(), SegmentFull> {
        match self {
            Self::Mapped(appender) => appender.append(body),
            Self::Written(appender) => appender.append(body),
        }
    }
}

/// Appender for file systems whose files cannot be mapped, or not without the danger of a SIGBUS.
pub(crate) struct WrittenAppender {
    file: File,
    position: usize,
    len: usize,
    /// Buffer, used again for every frame.
    frame: Vec<u8>,
}

impl WrittenAppender {
    /// Writes to an empty file, up to `len` bytes.
    pub(crate) fn new(file: File, len: usize) -> io::Result<Self> {
        file.write_all_at(&encode_header(), 0)?;
        Ok(Self {
            file,
            position: HEADER_BYTES,
            len,
            frame: Vec::new(),
        })
    }

    /// Continues to write to a file at `position`, where its last frame ends.
    pub(crate) fn resume(file: File, position: usize, len: usize) -> Self {
        Self {
            file,
            position,
            len,
            frame: Vec::new(),
        }
    }

    #[cold]
    pub(crate) fn append(&mut self, body: &[u8]) -> Result<(), SegmentFull> {
        let end = self.position + frame_bytes(body.len());
        let Some(len) = u32::try_from(body.len())
            .ok()
            .filter(|len| *len > 0 && end <= self.len)
        else {
            return Err(SegmentFull);
        };
        self.frame.clear();
        self.frame.extend_from_slice(&len.to_le_bytes());
        self.frame.extend_from_slice(&checksum(body).to_le_bytes());
        self.frame.extend_from_slice(body);
        self.frame
            .resize(FRAME_HEADER_BYTES + body.len().next_multiple_of(8), 0);
        #[cfg(test)]
        crate::determinism::before_change();
        // A reader that sees half of the frame finds a wrong checksum, and reads again later.
        let written = self.file.write_all_at(&self.frame, self.position as u64);
        if written.is_err() {
            // Half a frame is no damage, but a reader could not tell, so it is cut off. If that fails, no
            // frame may follow it.
            let _ = self.file.set_len(self.position as u64);
        }
        self.position = if written.is_ok() { end } else { self.len };
        written.map_err(|_| SegmentFull)
    }
}
