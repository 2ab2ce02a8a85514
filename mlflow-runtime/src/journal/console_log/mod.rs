//! Console logs: text files of runs, to which lines are appended while a run is open.
//!
//! Invariants: when [`ConsoleLog::append`] returns, the line outlives the process, as a value does; it is not
//! synced to the device. A line is written by one call, which the kernel keeps whole beside the lines of
//! other threads, so no lock is held while the file system works. The text is bounded, and its last line says
//! so when the bound is reached.
//!
//! A console log lies beside the segments, as an artifact does. The event that names the file is appended
//! before the file is created. The shipper uploads the log again and again while it grows, so the file stays
//! until no thread can append to it any more.
//!
//! Where the process's stdout and stderr are [captured](crate::stdio_capture), each run without a parent has
//! a part of one [`SharedLogFile`].

mod shared_file;

use std::fs::{self, File};
use std::io::{self, Write as _};
use std::os::unix::fs::FileExt as _;
use std::path::PathBuf;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, Mutex, OnceLock};

use rustc_hash::FxHashMap;

use crate::journal::segment::allocate::check_file_size_limit;
use crate::journal::user_files;
use crate::sync::lock;
pub(crate) use shared_file::{SharedLogFile, mask_output, read_part_end, unfinished_secret_length};

/// Console logs of a journal's runs, by the number of the run.
#[derive(Default)]
pub(crate) struct RunConsoleLogs(Mutex<FxHashMap<u32, Arc<ConsoleLogSlot>>>);

/// Console log of a run, created at the run's first line; `None` if the journal had no space for it.
pub(crate) type ConsoleLogSlot = OnceLock<Option<ConsoleLog>>;

impl RunConsoleLogs {
    /// Returns the slot of the run, which may be empty still.
    pub(crate) fn slot(&self, run: u32) -> Arc<ConsoleLogSlot> {
        Arc::clone(lock(&self.0).entry(run).or_default())
    }

    /// Returns the slot of the run, if there is one.
    pub(crate) fn get(&self, run: u32) -> Option<Arc<ConsoleLogSlot>> {
        lock(&self.0).get(&run).cloned()
    }

    /// Removes the slot of a run to whose console log no thread appends any more.
    pub(crate) fn forget(&self, run: u32) {
        lock(&self.0).remove(&run);
    }

    /// Removes a slot whose console log could not be created, so that the next line tries again.
    pub(crate) fn remove_failed(&self, run: u32, slot: &Arc<ConsoleLogSlot>) {
        let mut slots = lock(&self.0);
        if slots.get(&run).is_some_and(|now| Arc::ptr_eq(now, slot)) {
            slots.remove(&run);
        }
    }

    /// Returns the number of console logs that hold bytes which are not in the store yet.
    pub(crate) fn unshipped_count(&self) -> u64 {
        let slots: Vec<_> = lock(&self.0).values().cloned().collect();
        let waits = |slot: &&Arc<ConsoleLogSlot>| matches!(slot.get(), Some(Some(console)) if console.has_pending());
        slots.iter().filter(waits).count() as u64
    }
}

/// Console log of one run.
pub(crate) struct ConsoleLog {
    storage: ConsoleStorage,
    max_bytes: u64,
    /// Bytes of all lines so far, including those beyond the bound.
    requested_bytes: AtomicU64,
    /// Bytes of the journal's quota that are reserved for the log.
    reserved_bytes: AtomicU64,
    /// Set while the last line in the file is incomplete.
    is_torn: AtomicBool,
    /// Number of bytes that the store has, or will never take.
    shipped: AtomicU64,
}

enum ConsoleStorage {
    File {
        file: File,
        path: PathBuf,
    },
    Memory(Mutex<Vec<u8>>),
    Captured {
        shared_file: Arc<SharedLogFile>,
        part: u64,
    },
}

/// Bytes of a console log, or the file that they are in.
pub(crate) enum ConsoleBytes {
    File(PathBuf),
    Memory(Vec<u8>),
    /// Bytes as the process wrote them, possibly with secrets.
    Unredacted(Vec<u8>),
}

fn file_length(file: &File) -> u64 {
    file.metadata().map_or(0, |metadata| metadata.len())
}

/// Reads `length` bytes of a file.
pub(crate) fn read_range(file: &File, from: u64, length: u64) -> io::Result<Vec<u8>> {
    let mut bytes = vec![0; usize::try_from(length).map_err(io::Error::other)?];
    file.read_exact_at(&mut bytes, from)?;
    Ok(bytes)
}

/// Reason why a line was not written.
#[derive(Debug)]
pub(crate) enum AppendError {
    /// Limit reached by this line, the first that does not fit.
    LimitReached,
    /// Limit reached by an earlier line.
    OverLimit,
    /// Error of the file system.
    Io(io::Error),
}

/// Greatest length, in bytes, of a console log in memory.
const MAX_LOG_BYTES_IN_MEMORY: u64 = 8 << 20;

/// Last line of a console log that is full.
const TRUNCATION_NOTICE: &[u8] = b"[more lines are left out: see MLFLOW_CONSOLE_MAX_BYTES]\n";

impl ConsoleLog {
    /// Creates a console log in a new file.
    pub(crate) fn in_file(path: PathBuf, max_bytes: u64) -> io::Result<Self> {
        check_file_size_limit(max_bytes.saturating_add(TRUNCATION_NOTICE.len() as u64))?;
        let file = user_files::create_to_append(&path)?;
        Ok(Self::new(ConsoleStorage::File { file, path }, max_bytes))
    }

    /// Creates a console log that is a part of the shared file.
    pub(crate) fn in_shared_file(common: Arc<SharedLogFile>, part: u64, max_bytes: u64) -> Self {
        Self::new(
            ConsoleStorage::Captured {
                shared_file: common,
                part,
            },
            max_bytes,
        )
    }

    pub(crate) fn in_memory(max_bytes: u64) -> Self {
        Self::new(
            ConsoleStorage::Memory(Mutex::default()),
            max_bytes.min(MAX_LOG_BYTES_IN_MEMORY),
        )
    }

    fn new(place: ConsoleStorage, max_bytes: u64) -> Self {
        Self {
            storage: place,
            max_bytes,
            requested_bytes: AtomicU64::new(0),
            reserved_bytes: AtomicU64::new(0),
            is_torn: AtomicBool::new(false),
            shipped: AtomicU64::new(0),
        }
    }

    /// Appends a line, which ends in a line feed and for which quota is reserved.
    pub(crate) fn append(&self, line: &str) -> Result<(), AppendError> {
        let length = line.len() as u64;
        self.reserved_bytes.fetch_add(length, Ordering::Relaxed);
        let before = self.requested_bytes.fetch_add(length, Ordering::Relaxed);
        if before.saturating_add(length) > self.max_bytes {
            if before > self.max_bytes {
                return Err(AppendError::OverLimit);
            }
            // No later line may fit in, even a shorter one. A line that another thread has begun to write may
            // still follow.
            self.requested_bytes
                .fetch_add(self.max_bytes, Ordering::Relaxed);
            return Err(self
                .write(TRUNCATION_NOTICE)
                .err()
                .unwrap_or(AppendError::LimitReached));
        }
        self.write(line.as_bytes())
    }

    fn write(&self, line: &[u8]) -> Result<(), AppendError> {
        let mut file = match &self.storage {
            ConsoleStorage::Memory(text) => {
                lock(text).extend_from_slice(line);
                return Ok(());
            }
            ConsoleStorage::File { file, .. } => file,
            ConsoleStorage::Captured {
                shared_file: common,
                ..
            } => match common.open_file() {
                Some(file) => file,
                None => return Err(AppendError::OverLimit),
            },
        };
        // A line feed ends the incomplete line, so that the next one begins on a line of its own.
        if self.is_torn.swap(false, Ordering::Relaxed) {
            let _ = file.write(b"\n");
        }
        let written = match file.write(line) {
            Ok(written) if written < line.len() => Err(io::ErrorKind::StorageFull.into()),
            Ok(_) => Ok(()),
            Err(error) => Err(error),
        };
        written.map_err(|error| {
            self.is_torn.store(true, Ordering::Relaxed);
            AppendError::Io(error)
        })
    }

    /// Returns the present length in bytes.
    pub(crate) fn length(&self) -> u64 {
        match &self.storage {
            ConsoleStorage::Memory(text) => lock(text).len() as u64,
            ConsoleStorage::File { file, .. } => file_length(file),
            ConsoleStorage::Captured {
                shared_file: common,
                part,
            } => common.part_length(*part).min(
                self.max_bytes
                    .saturating_add(TRUNCATION_NOTICE.len() as u64),
            ),
        }
    }

    /// Returns the first `length` bytes of the log, or more.
    pub(crate) fn bytes(&self, length: u64) -> io::Result<ConsoleBytes> {
        Ok(match &self.storage {
            ConsoleStorage::Memory(text) => ConsoleBytes::Memory(lock(text).clone()),
            ConsoleStorage::File { path, .. } if path.exists() => ConsoleBytes::File(path.clone()),
            // Somebody has removed the file, which is still open.
            ConsoleStorage::File { file, .. } => ConsoleBytes::Memory(read_range(file, 0, length)?),
            ConsoleStorage::Captured {
                shared_file: common,
                part,
            } => {
                let mut bytes = common.read(*part, length.min(self.max_bytes))?;
                if length > self.max_bytes {
                    bytes.push(b'\n');
                    bytes.extend_from_slice(TRUNCATION_NOTICE);
                }
                ConsoleBytes::Unredacted(bytes)
            }
        })
    }

    /// Ends the run's part of captured output: bytes that the process writes from now on are not the run's.
    pub(crate) fn end(&self) {
        if let ConsoleStorage::Captured {
            shared_file: common,
            part,
        } = &self.storage
        {
            common.end_part(*part);
        }
    }

    /// Returns true if no captured output will be added to the log.
    pub(crate) fn is_final(&self) -> bool {
        match &self.storage {
            ConsoleStorage::Captured {
                shared_file: common,
                part,
            } => common.is_final(*part),
            ConsoleStorage::Memory(_) | ConsoleStorage::File { .. } => true,
        }
    }

    /// Deletes the log's file or its part of the shared file, when the log is complete and no longer needed.
    pub(crate) fn remove(&self) {
        match &self.storage {
            ConsoleStorage::Memory(_) => {}
            ConsoleStorage::File { path, .. } => {
                let _ = fs::remove_file(path);
            }
            ConsoleStorage::Captured {
                shared_file: common,
                part,
            } => common.remove_part(*part),
        }
    }

    /// Returns true if the log accepts no more lines.
    pub(crate) fn is_full(&self) -> bool {
        self.requested_bytes.load(Ordering::Relaxed) > self.max_bytes
    }

    /// Returns the bytes of quota to release when the log is deleted.
    pub(crate) fn reserved_bytes(&self) -> u64 {
        self.reserved_bytes.load(Ordering::Relaxed)
    }

    /// Returns true if the log is longer than the part that the store has.
    pub(crate) fn has_pending(&self) -> bool {
        self.length() > self.shipped.load(Ordering::Relaxed)
    }

    /// Records that the store has the first `bytes` bytes, or will never take them.
    pub(crate) fn set_shipped(&self, bytes: u64) {
        self.shipped.store(bytes, Ordering::Relaxed);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// A limit is set by the user, and may be any number.
    #[test]
    fn a_limit_at_the_end_of_all_numbers_is_none() {
        let folder = std::env::temp_dir().join(format!("mlflow-runtime-{}", uuid::Uuid::new_v4()));
        user_files::create_directory(&folder).expect("writable");
        let alone = ConsoleLog::in_file(folder.join("alone"), u64::MAX).expect("writable");
        let common = Arc::new(SharedLogFile::create(&folder.join("common")).expect("writable"));
        let (part, _) = common.begin_part(folder.join("part"), 0).expect("a part");
        let captured = ConsoleLog::in_shared_file(common, part, u64::MAX);
        for console in [alone, captured] {
            assert!(console.append("a line\n").is_ok());
            assert_eq!(console.length(), 7);
            assert!(!console.is_full() && console.has_pending());
            assert!(console.bytes(7).is_ok());
        }
        let _ = fs::remove_dir_all(&folder);
    }

    #[test]
    fn the_last_line_of_one_that_is_full_says_so_once() {
        let console = ConsoleLog::in_memory(10);
        assert!(console.append("a line\n").is_ok());
        assert!(matches!(
            console.append("another\n"),
            Err(AppendError::LimitReached)
        ));
        assert!(matches!(console.append("a\n"), Err(AppendError::OverLimit)));
        let Ok(ConsoleBytes::Memory(bytes)) = console.bytes(0) else {
            panic!("it is in memory");
        };
        assert_eq!(bytes, [b"a line\n", TRUNCATION_NOTICE].concat());
    }
}
