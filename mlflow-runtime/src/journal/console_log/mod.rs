//! What a run says in words: lines that are appended while it goes on.
//!
//! Invariants: when [`ConsoleLog::append`] returns, the line outlives the process, as a value does (the
//! device is not asked to keep it); a line is written by one call, which the kernel keeps whole beside
//! those of other threads, so no lock is held while the file system works. The text is bounded, and says
//! so in a line at its end.
//!
//! It lies beside the segments, as an artifact does; the event that names it is written before it is
//! made. The shipper brings it to the store again and again while it grows, so it stays until
//! nobody can append to it any more.
//!
//! Where the process's stdout and stderr are [captured](crate::stdio_capture), the runs without a parent have
//! a part each of one [`SharedLogFile`] file.

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
pub(crate) use shared_file::{SharedLogFile, read_part_end};

/// The consoles of a journal's runs, by the run's number.
#[derive(Default)]
pub(crate) struct RunConsoleLogs(Mutex<FxHashMap<u32, Arc<ConsoleLogSlot>>>);

/// A run's console; made at its first line. `None`: the journal had no room for it.
pub(crate) type ConsoleLogSlot = OnceLock<Option<ConsoleLog>>;

impl RunConsoleLogs {
    /// The run's, which may be still to be made.
    pub(crate) fn slot(&self, run: u32) -> Arc<ConsoleLogSlot> {
        Arc::clone(lock(&self.0).entry(run).or_default())
    }

    /// The run's, as far as it has come.
    pub(crate) fn get(&self, run: u32) -> Option<Arc<ConsoleLogSlot>> {
        lock(&self.0).get(&run).cloned()
    }

    /// Nobody appends to it any more.
    pub(crate) fn forget(&self, run: u32) {
        lock(&self.0).remove(&run);
    }

    /// It could not be made; the next line tries again.
    pub(crate) fn remove_failed(&self, run: u32, slot: &Arc<ConsoleLogSlot>) {
        let mut slots = lock(&self.0);
        if slots.get(&run).is_some_and(|now| Arc::ptr_eq(now, slot)) {
            slots.remove(&run);
        }
    }

    /// How many hold something that is not in the store yet.
    pub(crate) fn unshipped_count(&self) -> u64 {
        let slots: Vec<_> = lock(&self.0).values().cloned().collect();
        let waits = |slot: &&Arc<ConsoleLogSlot>| matches!(slot.get(), Some(Some(console)) if console.has_pending());
        slots.iter().filter(waits).count() as u64
    }
}

/// The text of one run.
pub(crate) struct ConsoleLog {
    storage: ConsoleStorage,
    max_bytes: u64,
    /// Bytes of all lines so far, those that found no room included.
    requested_bytes: AtomicU64,
    /// Bytes of the journal's room that were taken for it.
    reserved_bytes: AtomicU64,
    /// The last line could not be written whole.
    is_torn: AtomicBool,
    /// How much of it the store has, or will never take.
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

/// Where the bytes of a console are.
pub(crate) enum ConsoleBytes {
    File(PathBuf),
    Memory(Vec<u8>),
    /// As the process wrote them: with secrets, if there are any.
    Unredacted(Vec<u8>),
}

fn file_length(file: &File) -> u64 {
    file.metadata().map_or(0, |metadata| metadata.len())
}

/// A part of a file.
pub(crate) fn read_range(file: &File, from: u64, length: u64) -> io::Result<Vec<u8>> {
    let mut bytes = vec![0; usize::try_from(length).map_err(io::Error::other)?];
    file.read_exact_at(&mut bytes, from)?;
    Ok(bytes)
}

/// Why a line was left out.
#[derive(Debug)]
pub(crate) enum AppendError {
    /// The first one that is too many.
    LimitReached,
    /// One after that.
    OverLimit,
    /// The file system's answer.
    Io(io::Error),
}

/// How long one may be that lies in memory.
const MAX_MEMORY_BYTES: u64 = 8 << 20;

/// The last line of one that is full.
const TRUNCATION_NOTICE: &[u8] = b"[more lines are left out: see MLFLOW_CONSOLE_MAX_BYTES]\n";

impl ConsoleLog {
    /// One in a new file.
    pub(crate) fn in_file(path: PathBuf, max_bytes: u64) -> io::Result<Self> {
        check_file_size_limit(max_bytes.saturating_add(TRUNCATION_NOTICE.len() as u64))?;
        let file = user_files::create_to_append(&path)?;
        Ok(Self::new(ConsoleStorage::File { file, path }, max_bytes))
    }

    /// A part of the file that runs have in common.
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
            max_bytes.min(MAX_MEMORY_BYTES),
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

    /// Appends a line, which ends in a line feed and has found room.
    pub(crate) fn append(&self, line: &str) -> Result<(), AppendError> {
        let length = line.len() as u64;
        self.reserved_bytes.fetch_add(length, Ordering::Relaxed);
        let before = self.requested_bytes.fetch_add(length, Ordering::Relaxed);
        if before.saturating_add(length) > self.max_bytes {
            if before > self.max_bytes {
                return Err(AppendError::OverLimit);
            }
            // None of those that come now may fit between; one that another thread has begun may follow.
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
        // The next line is one of its own.
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

    /// How long it is now, in bytes.
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

    /// The first `length` bytes of it, or more.
    pub(crate) fn bytes(&self, length: u64) -> io::Result<ConsoleBytes> {
        Ok(match &self.storage {
            ConsoleStorage::Memory(text) => ConsoleBytes::Memory(lock(text).clone()),
            ConsoleStorage::File { path, .. } if path.exists() => ConsoleBytes::File(path.clone()),
            // Somebody has cleared the directory.
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

    /// The run has ended: of what the process writes from now on, nothing is its.
    pub(crate) fn end(&self) {
        if let ConsoleStorage::Captured {
            shared_file: common,
            part,
        } = &self.storage
        {
            common.end_part(*part);
        }
    }

    /// Whether nothing is added to it, as far as the process is concerned.
    pub(crate) fn is_final(&self) -> bool {
        match &self.storage {
            ConsoleStorage::Captured {
                shared_file: common,
                part,
            } => common.is_final(*part),
            ConsoleStorage::Memory(_) | ConsoleStorage::File { .. } => true,
        }
    }

    /// Nobody appends to it any more, and it is not needed.
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

    /// Whether it takes nothing more.
    pub(crate) fn is_full(&self) -> bool {
        self.requested_bytes.load(Ordering::Relaxed) > self.max_bytes
    }

    /// The room that is free again when it is gone.
    pub(crate) fn reserved_bytes(&self) -> u64 {
        self.reserved_bytes.load(Ordering::Relaxed)
    }

    /// Whether there is more of it than the store has.
    pub(crate) fn has_pending(&self) -> bool {
        self.length() > self.shipped.load(Ordering::Relaxed)
    }

    /// So many bytes of it do not wait any more.
    pub(crate) fn set_shipped(&self, bytes: u64) {
        self.shipped.store(bytes, Ordering::Relaxed);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// A limit is what the user says, and may be every number.
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
