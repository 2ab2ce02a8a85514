//! Reference for the lowest possible cost of a value on disk: reading the clock, and writing the bytes into a
//! mapped file whose pages are present.

use std::fs::OpenOptions;
use std::hint::black_box;
use std::path::Path;

use memmap2::MmapMut;

/// Size of a metric in the journal, including its header.
const RECORD_BYTES: usize = 40;
const FILE_BYTES: usize = 32 << 20;

pub(crate) struct MappedAppend {
    bytes: MmapMut,
    position: usize,
}

impl MappedAppend {
    pub(crate) fn below(folder: &Path) -> Self {
        let file = OpenOptions::new()
            .read(true)
            .write(true)
            .create(true)
            .truncate(true)
            .open(folder.join("reference.mapped"))
            .expect("a file");
        file.set_len(FILE_BYTES as u64).expect("room on the disk");
        #[allow(unsafe_code)]
        // SAFETY: no other code or process knows the file, so nothing truncates or changes it while it is
        // mapped.
        let mut bytes = unsafe { MmapMut::map_mut(&file) }.expect("a mapping");
        bytes.fill(1);
        Self { bytes, position: 0 }
    }

    pub(crate) fn append(&mut self, step: i64) {
        let now = rustix::time::clock_gettime(rustix::time::ClockId::RealtimeCoarse);
        if self.position + RECORD_BYTES > self.bytes.len() {
            self.position = 0;
        }
        let record = &mut self.bytes[self.position..self.position + RECORD_BYTES];
        let time_ms = (now.tv_sec * 1000 + now.tv_nsec / 1_000_000).cast_unsigned();
        let words = [32, time_ms, 1, step.cast_unsigned(), 0.5_f64.to_bits()];
        for (place, word) in record.chunks_exact_mut(8).zip(words) {
            place.copy_from_slice(&word.to_le_bytes());
        }
        black_box(record);
        self.position += RECORD_BYTES;
    }
}
