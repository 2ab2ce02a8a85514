//! Fuzz target of the reader of orphaned journals.
//!
//! An input is the bytes of a segment file, or of several files: each occurrence of a segment's magic starts
//! a new one.
//!
//! The checksums reject nearly every input in which a byte was changed. Most mutations therefore change the
//! bodies of records, and put these into frames with right checksums. The other mutations change bytes at
//! random, as a faulty disk would do.
#![no_main]

use std::path::PathBuf;
use std::sync::LazyLock;

use libfuzzer_sys::{fuzz_mutator, fuzz_target, fuzzer_mutate};
use mlflow::fuzz_support;

const FRAME_HEADER_BYTES: usize = 8;

static HEADER: LazyLock<Vec<u8>> = LazyLock::new(fuzz_support::segment_header);

/// Folder for the journals. The folder is in memory if possible, because every input creates and removes
/// files.
static ROOT: LazyLock<PathBuf> = LazyLock::new(|| {
    let memory = PathBuf::from("/dev/shm");
    let folder = if memory.is_dir() {
        memory
    } else {
        std::env::temp_dir()
    };
    let root = folder.join(format!("mlflow-rs-fuzz-{}", std::process::id()));
    std::fs::create_dir_all(root.join("journal")).expect("the folder can be written");
    // A path in a journal must not lead out of the journal's folder: the target checks that this file
    // survives.
    std::fs::write(root.join("outside.artifact"), "").expect("the folder can be written");
    root
});

fuzz_target!(|input: &[u8]| {
    fuzz_support::journal(&ROOT.join("journal"), &segments(input));
    assert!(ROOT.join("outside.artifact").exists());
});

fuzz_mutator!(|data: &mut [u8], size: usize, max_size: usize, seed: u32| {
    let mut random = Random(seed);
    if random.below(8) == 0 {
        return fuzzer_mutate(data, size, max_size);
    }
    let mut journal = Segments::parse(&data[..size]);
    for _ in 0..=random.below(2) {
        journal.mutate(&mut random);
    }
    let mut bytes = journal.into_bytes();
    if random.below(8) == 0 {
        let at = random.below(bytes.len());
        bytes[at] ^= 1 << random.below(8);
    }
    bytes.truncate(max_size);
    data[..bytes.len()].copy_from_slice(&bytes);
    bytes.len()
});

/// Cuts an input before each occurrence of the magic.
fn segments(input: &[u8]) -> Vec<&[u8]> {
    let (magic, input_end) = (&HEADER[..8], input.len());
    let mut cuts = vec![0];
    // The first byte is compared alone, because libFuzzer instruments every comparison of slices.
    cuts.extend(
        (1..input_end).filter(|at| input[*at] == magic[0] && input[*at..].starts_with(magic)),
    );
    cuts.push(input_end);
    cuts.windows(2).map(|cut| &input[cut[0]..cut[1]]).collect()
}

/// Headers of an input's segments, each with the bodies of the segment's records.
struct Segments(Vec<(Vec<u8>, Vec<Vec<u8>>)>);

impl Segments {
    /// Splits an input into segments and records. The lengths of the frames are used, and the checksums are
    /// ignored.
    fn parse(input: &[u8]) -> Self {
        let parsed = segments(input).into_iter().map(|segment| {
            let mut header = HEADER.clone();
            let known = segment.len().min(header.len());
            // The magic and the version are replaced by valid ones; the acknowledged offset is kept.
            header[12.min(known)..known].copy_from_slice(&segment[12.min(known)..known]);
            let mut rest = segment.get(HEADER.len()..).unwrap_or_default();
            let mut bodies = Vec::new();
            while let Some((length, after)) = rest.split_at_checked(FRAME_HEADER_BYTES) {
                let length = u32::from_le_bytes([length[0], length[1], length[2], length[3]]);
                if length == 0 {
                    break;
                }
                let length = after.len().min(length as usize);
                bodies.push(after[..length].to_vec());
                rest = after.get(length.next_multiple_of(8)..).unwrap_or_default();
            }
            (header, bodies)
        });
        Self(parsed.collect())
    }

    fn mutate(&mut self, random: &mut Random) {
        let segments = self.0.len();
        let Some((header, bodies)) = self.0.get_mut(random.below(segments)) else {
            return;
        };
        let (from, to) = (random.below(bodies.len()), random.below(bodies.len()));
        match random.below(12) {
            _ if bodies.is_empty() => bodies.push(vec![1; 40]),
            // Sets the acknowledged offset, which the reader takes as a hint, to a right or wrong value.
            0 => {
                let length = bodies.iter().map(|body| frame_bytes(body)).sum::<usize>();
                let hint = fuzz_support::acknowledged(random.below(header.len() + length + 64));
                header[16..24].copy_from_slice(&hint.to_le_bytes());
            }
            1 => {
                bodies.remove(from);
            }
            2 => bodies.swap(from, to),
            3 => bodies.insert(to, bodies[from].clone()),
            4 => bodies[from].truncate(random.0 as usize % 64 + 1),
            // Moves the tail of this segment to another one.
            5 if segments < 4 && bodies.len() > 1 => {
                let mut tail = bodies.split_off(from.max(1));
                tail.insert(0, bodies[0].clone());
                self.0.push((HEADER.clone(), tail));
            }
            _ => {
                let body = &mut bodies[from];
                let size = body.len();
                body.resize(size + 64, 0);
                let size = fuzzer_mutate(body, size, size + 64);
                body.truncate(size);
                // Set the length of the JSON, which an event (kind 3) stores before the JSON itself.
                if size > 24 && body[0] == 3 && random.below(4) > 0 {
                    let json = (size - 24) as u32;
                    body[16..20].copy_from_slice(&json.to_le_bytes());
                }
            }
        }
    }

    fn into_bytes(self) -> Vec<u8> {
        let mut bytes = Vec::new();
        for (header, bodies) in self.0 {
            bytes.extend_from_slice(&header);
            for body in bodies.iter().filter(|body| !body.is_empty()) {
                bytes.extend_from_slice(&(body.len() as u32).to_le_bytes());
                bytes.extend_from_slice(&fuzz_support::frame_checksum(body).to_le_bytes());
                bytes.extend_from_slice(body);
                bytes.resize(bytes.len().next_multiple_of(8), 0);
            }
        }
        bytes
    }
}

fn frame_bytes(body: &[u8]) -> usize {
    FRAME_HEADER_BYTES + body.len().next_multiple_of(8)
}

/// Random numbers (xorshift). All choices follow from libFuzzer's seed.
struct Random(u32);

impl Random {
    /// Returns a number below `end`, or 0 if `end` is 0.
    fn below(&mut self, end: usize) -> usize {
        self.0 = self.0.max(1);
        self.0 ^= self.0 << 13;
        self.0 ^= self.0 >> 17;
        self.0 ^= self.0 << 5;
        self.0 as usize % end.max(1)
    }
}
