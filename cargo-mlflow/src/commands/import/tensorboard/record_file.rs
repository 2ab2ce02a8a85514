//! [`RecordFile`]: the frame of an event file, in which each record has a length and two checksums.

use std::io::{self, Read};

/// Largest record that is read. A greater length comes from damage.
const MAX_RECORD_BYTES: u64 = 256 << 20;
const LENGTH_BYTES: usize = 8;
const CHECKSUM_BYTES: usize = 4;
/// Constant by which the format masks its checksums.
const MASK_DELTA: u32 = 0xa282_ead8;

/// Records of an event file, one after the other.
pub(super) struct RecordFile<R> {
    reader: R,
    record: Vec<u8>,
    /// Number of bytes that were read.
    offset: u64,
}

/// Result of one step through the file.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Step<'r> {
    Record(&'r [u8]),
    /// Record whose checksum is wrong; the next one can be read.
    Damaged {
        offset: u64,
    },
    /// Damage behind which no record can be found.
    Lost {
        offset: u64,
    },
    /// Record whose end is missing, as that of a process that was killed.
    Truncated {
        bytes: u64,
    },
    End,
}

impl<R: Read> RecordFile<R> {
    /// Creates the records of a file that is read from its beginning.
    pub(super) fn new(reader: R) -> Self {
        Self {
            reader,
            record: Vec::new(),
            offset: 0,
        }
    }

    /// Reads the next record.
    pub(super) fn next_record(&mut self) -> io::Result<Step<'_>> {
        let start = self.offset;
        let mut header = [0; LENGTH_BYTES + CHECKSUM_BYTES];
        match self.fill(&mut header)? {
            0 => return Ok(Step::End),
            read if read < header.len() => return Ok(Step::Truncated { bytes: read as u64 }),
            _ => {}
        }
        let (length, checksum) = header.split_at(LENGTH_BYTES);
        let is_whole = is_checksum_of(length, checksum);
        let mut bytes = [0; LENGTH_BYTES];
        bytes.copy_from_slice(length);
        let length = u64::from_le_bytes(bytes);
        if !is_whole || length > MAX_RECORD_BYTES {
            return Ok(Step::Lost { offset: start });
        }
        let mut record = std::mem::take(&mut self.record);
        let wanted = length + CHECKSUM_BYTES as u64;
        record.clear();
        // The memory grows with what is there, whatever the length says.
        let read = (&mut self.reader).take(wanted).read_to_end(&mut record)?;
        self.record = record;
        self.offset += read as u64;
        if (read as u64) < wanted {
            return Ok(Step::Truncated {
                bytes: self.offset - start,
            });
        }
        let (data, checksum) = self.record.split_at(read - CHECKSUM_BYTES);
        if is_checksum_of(data, checksum) {
            Ok(Step::Record(data))
        } else {
            Ok(Step::Damaged { offset: start })
        }
    }

    /// Reads as many bytes as there are, at most the length of the buffer, and returns their number.
    fn fill(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        let mut read = 0;
        while let Some(rest) = buffer.get_mut(read..).filter(|rest| !rest.is_empty()) {
            match self.reader.read(rest) {
                Ok(0) => break,
                Ok(count) => read += count,
                Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                Err(error) => return Err(error),
            }
        }
        self.offset += read as u64;
        Ok(read)
    }
}

/// Returns true if the masked CRC-32C of the data is the checksum, which is little-endian.
fn is_checksum_of(data: &[u8], checksum: &[u8]) -> bool {
    let masked = crc32c::crc32c(data)
        .rotate_right(15)
        .wrapping_add(MASK_DELTA);
    checksum == masked.to_le_bytes()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn framed(data: &[u8]) -> Vec<u8> {
        let mask = |data: &[u8]| {
            let masked = crc32c::crc32c(data)
                .rotate_right(15)
                .wrapping_add(MASK_DELTA);
            masked.to_le_bytes()
        };
        let length = (data.len() as u64).to_le_bytes();
        [&length[..], &mask(&length), data, &mask(data)].concat()
    }

    #[test]
    fn every_cut_of_a_file_ends_with_whole_records() {
        let file = [framed(b"one"), framed(b""), framed(b"three")].concat();
        let ends = [0, 19, 35, 56];
        for cut in 0..=file.len() {
            let mut records = RecordFile::new(&file[..cut]);
            let mut count = 0;
            let last = loop {
                match records.next_record().expect("bytes") {
                    Step::Record(_) => count += 1,
                    last => break format!("{last:?}"),
                }
            };
            let whole = ends.iter().filter(|end| **end <= cut && **end > 0).count();
            assert_eq!(count, whole, "{cut}");
            let is_whole = ends.contains(&cut);
            assert_eq!(last == "End", is_whole, "{cut}: {last}");
            assert!(is_whole || last.starts_with("Truncated"), "{cut}: {last}");
        }
    }

    #[test]
    fn a_damaged_record_is_skipped_and_a_damaged_length_ends_the_file() {
        let mut file = [framed(b"one"), framed(b"two")].concat();
        file[13] ^= 1;
        let mut records = RecordFile::new(&*file);
        assert_eq!(
            records.next_record().expect("bytes"),
            Step::Damaged { offset: 0 }
        );
        assert_eq!(records.next_record().expect("bytes"), Step::Record(b"two"));
        file[20] ^= 1;
        let mut records = RecordFile::new(&*file);
        records.next_record().expect("bytes");
        assert_eq!(
            records.next_record().expect("bytes"),
            Step::Lost { offset: 19 }
        );
    }
}
