//! [`LogFile`]: the frame of a `.wandb` file: the log format of LevelDB, with a header of seven bytes before the
//! first record and CRC-32 as its checksum.
//!
//! The file is a sequence of blocks. A record is one fragment in a block, or several in successive blocks. A
//! reader that meets damage goes on with the next block.

use std::io::{self, Read};

/// First bytes of each file: the name of the format, its magic number and its version.
pub(super) const HEADER: [u8; 7] = *b":W&B\xe1\xbe\x00";
const BLOCK_BYTES: usize = 32_768;
/// Bytes before each fragment: checksum, length and kind.
const FRAGMENT_HEADER_BYTES: usize = 7;
/// Largest record that is read. A greater one comes from damage.
const MAX_RECORD_BYTES: usize = 256 << 20;

/// Records of a `.wandb` file, one after the other.
pub(super) struct LogFile<R> {
    reader: R,
    block: Vec<u8>,
    /// Place in the block.
    at: usize,
    /// True if the block is the last one of the file.
    is_last_block: bool,
    record: Vec<u8>,
}

/// Result of one step through the file.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Step<'r> {
    Record(&'r [u8]),
    /// Part of the file that is damaged; what is behind it can be read.
    Damaged,
    /// Record whose end is missing, as that of a process that was killed.
    Truncated,
    End,
}

/// Fragment of a record, as its kind tells.
enum Fragment {
    /// Fragment at this place of the block, with its kind.
    Part(u8, std::ops::Range<usize>),
    Damaged,
    Truncated,
    End,
}

const WHOLE: u8 = 1;
const FIRST: u8 = 2;
const LAST: u8 = 4;

impl<R: Read> LogFile<R> {
    /// Reads the header. Returns `None` if the file has another.
    pub(super) fn open(reader: R) -> io::Result<Option<Self>> {
        let mut file = Self {
            reader,
            block: Vec::new(),
            at: HEADER.len(),
            is_last_block: false,
            record: Vec::new(),
        };
        file.read_block()?;
        Ok(file.block.starts_with(&HEADER).then_some(file))
    }

    fn read_block(&mut self) -> io::Result<()> {
        self.block.clear();
        let limit = BLOCK_BYTES as u64;
        let read = (&mut self.reader)
            .take(limit)
            .read_to_end(&mut self.block)?;
        self.is_last_block = read < BLOCK_BYTES;
        Ok(())
    }

    /// Reads the next record.
    pub(super) fn next_record(&mut self) -> io::Result<Step<'_>> {
        self.record.clear();
        let mut is_begun = false;
        loop {
            match self.next_fragment()? {
                Fragment::Part(kind, place) => {
                    let begins = matches!(kind, WHOLE | FIRST);
                    if begins == is_begun || self.record.len() > MAX_RECORD_BYTES {
                        // Other fragments of the record are missing. One that begins the next record is read again.
                        if begins {
                            self.at = place.start - FRAGMENT_HEADER_BYTES;
                        }
                        return Ok(Step::Damaged);
                    }
                    let data = self.block.get(place).unwrap_or_default();
                    self.record.extend_from_slice(data);
                    if matches!(kind, WHOLE | LAST) {
                        return Ok(Step::Record(&self.record));
                    }
                    is_begun = true;
                }
                Fragment::Damaged => return Ok(Step::Damaged),
                Fragment::Truncated => return Ok(Step::Truncated),
                Fragment::End if is_begun => return Ok(Step::Truncated),
                Fragment::End => return Ok(Step::End),
            }
        }
    }

    fn next_fragment(&mut self) -> io::Result<Fragment> {
        // The rest of a block is too short for a header, and is filled with zeros.
        while BLOCK_BYTES - self.at.min(BLOCK_BYTES) < FRAGMENT_HEADER_BYTES {
            if self.is_last_block {
                return Ok(Fragment::End);
            }
            self.read_block()?;
            self.at = 0;
        }
        let left = self.block.get(self.at..).unwrap_or_default();
        let Some((header, left)) = left.split_first_chunk::<FRAGMENT_HEADER_BYTES>() else {
            let is_end = left.is_empty();
            self.at = BLOCK_BYTES;
            self.is_last_block = true;
            return Ok(if is_end {
                Fragment::End
            } else {
                Fragment::Truncated
            });
        };
        let [c0, c1, c2, c3, l0, l1, kind] = *header;
        let length = usize::from(u16::from_le_bytes([l0, l1]));
        let start = self.at + FRAGMENT_HEADER_BYTES;
        let Some(data) = left.get(..length) else {
            let was_last = self.is_last_block;
            // A length that leaves the block comes from damage, unless the file ends here.
            self.at = BLOCK_BYTES;
            return Ok(if was_last && start + length <= BLOCK_BYTES {
                Fragment::Truncated
            } else {
                Fragment::Damaged
            });
        };
        let mut checksum = crc32fast::Hasher::new();
        checksum.update(&[kind]);
        checksum.update(data);
        if checksum.finalize() != u32::from_le_bytes([c0, c1, c2, c3])
            || !(WHOLE..=LAST).contains(&kind)
        {
            self.at = BLOCK_BYTES;
            return Ok(Fragment::Damaged);
        }
        self.at = start + length;
        Ok(Fragment::Part(kind, start..start + length))
    }
}

/// Returns a file of these records, as W&B frames them.
#[cfg(test)]
pub(super) fn framed(records: &[Vec<u8>]) -> Vec<u8> {
    let mut file = HEADER.to_vec();
    for record in records {
        let mut rest = &**record;
        let mut is_first = true;
        loop {
            let space = BLOCK_BYTES - file.len() % BLOCK_BYTES;
            if space < FRAGMENT_HEADER_BYTES {
                file.extend(vec![0; space]);
                continue;
            }
            let (part, behind) = rest.split_at(rest.len().min(space - FRAGMENT_HEADER_BYTES));
            let kind = match (is_first, behind.is_empty()) {
                (true, true) => WHOLE,
                (true, false) => FIRST,
                (false, false) => 3,
                (false, true) => LAST,
            };
            let mut checksum = crc32fast::Hasher::new();
            checksum.update(&[kind]);
            checksum.update(part);
            file.extend(checksum.finalize().to_le_bytes());
            file.extend(u16::try_from(part.len()).expect("a block").to_le_bytes());
            file.push(kind);
            file.extend(part);
            (rest, is_first) = (behind, false);
            if rest.is_empty() {
                break;
            }
        }
    }
    file
}

#[cfg(test)]
mod tests {
    use super::*;

    fn read(file: &[u8]) -> (Vec<Vec<u8>>, Vec<String>) {
        let mut log = LogFile::open(file).expect("bytes").expect("a header");
        let (mut records, mut others) = (Vec::new(), Vec::new());
        loop {
            match log.next_record().expect("bytes") {
                Step::Record(record) => records.push(record.to_vec()),
                Step::End => return (records, others),
                other => others.push(format!("{other:?}")),
            }
            assert!(others.len() < 10, "{others:?}");
        }
    }

    fn sample() -> Vec<Vec<u8>> {
        let lengths = [10, 32_700, 3, 100_000, 0, 40, 32_754, 32_761, 5];
        lengths
            .iter()
            .zip(0_u8..)
            .map(|(length, byte)| vec![byte; *length])
            .collect()
    }

    #[test]
    fn records_that_cross_blocks_are_read() {
        assert_eq!(read(&framed(&sample())), (sample(), vec![]));
    }

    #[test]
    fn every_cut_of_a_file_leaves_the_whole_records_before_it() {
        let file = framed(&sample());
        for cut in (HEADER.len()..file.len()).step_by(997) {
            let (records, others) = read(&file[..cut]);
            assert!(sample().starts_with(&records), "{cut}");
            let next = framed(&sample()[..records.len() + 1]).len();
            assert!(next > cut, "{cut}");
            assert!(
                others.iter().all(|other| other == "Truncated"),
                "{others:?}"
            );
        }
    }

    #[test]
    fn a_damaged_block_costs_no_record_of_others() {
        let mut file = framed(&sample());
        let length = file.len();
        file[20] ^= 1;
        let (records, others) = read(&file);
        assert!(!others.is_empty() && others.iter().all(|other| other == "Damaged"));
        // The first block holds three records and the beginning of the fourth.
        assert_eq!(records, sample()[4..]);
        file[length - 1] ^= 1;
        assert_eq!(read(&file).0, sample()[4..8]);
    }
}
