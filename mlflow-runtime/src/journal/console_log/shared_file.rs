//! Shared log file, into which a helper process copies the stdout and stderr of this process.
//!
//! Invariants: each run without a parent has a part of the file. The part begins at what was written when the
//! run started, and ends at what was written when the run ended, or a moment later, because output that is on
//! the way at the end belongs to the run. The end of the part stands in a marker file of its own, so that a
//! process which reads the journal after a kill knows the end; a part without its marker file is not needed
//! any more. Space that no part needs is released to the file system. The helper appends to the file, so the
//! file may be truncated, and emptied, while it is written.

use std::fs::{self, File};
use std::io::{self, Write as _};
use std::path::{Path, PathBuf};
use std::sync::Mutex;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use super::{TRUNCATION_NOTICE, file_length, read_range};
use crate::journal::user_files;
use crate::sync::lock;

pub(crate) struct SharedLogFile {
    file: File,
    is_closed: AtomicBool,
    parts: Mutex<LogParts>,
}

#[derive(Default)]
struct LogParts {
    next: u64,
    parts: Vec<LogPart>,
    /// Offset up to which the space of the file was released.
    freed_end: u64,
    /// Length of the file when it was closed.
    closed_length: Option<u64>,
}

struct LogPart {
    number: u64,
    start: u64,
    end: Option<u64>,
    ended: Option<Instant>,
    /// Path of the marker file, which holds the end of the part.
    marker: PathBuf,
}

/// Least number of bytes for which space is released.
const MIN_PUNCH_BYTES: u64 = 1 << 20;

impl SharedLogFile {
    pub(crate) fn create(path: &Path) -> io::Result<Self> {
        Ok(Self {
            file: user_files::create_to_append(path)?,
            is_closed: AtomicBool::new(false),
            parts: Mutex::default(),
        })
    }

    /// Begins the part of a new run, while `on_the_way` bytes of earlier output are on their way to the file.
    /// Returns the number of the part, and its first offset. Parts of runs that have ended are finished
    /// there.
    pub(crate) fn begin_part(&self, marker: PathBuf, on_the_way: u64) -> io::Result<(u64, u64)> {
        user_files::create_file(&marker)?;
        let mut parts = lock(&self.parts);
        let from = self.length() + on_the_way;
        parts.finish_ended(from, Duration::ZERO);
        let number = parts.next;
        parts.next += 1;
        parts.parts.push(LogPart {
            number,
            start: from,
            end: None,
            ended: None,
            marker,
        });
        Ok((number, from))
    }

    /// Records that the run of this part has ended. Output that is on the way still belongs to the part.
    pub(super) fn end_part(&self, number: u64) {
        if let Some(part) = lock(&self.parts).get(number) {
            part.ended = Some(Instant::now());
        }
    }

    /// Finishes, at the present end of the file, the parts of runs that have ended at least `ago` before. To
    /// be called when all output that was on the way has arrived.
    pub(crate) fn finish_ended_parts(&self, ago: Duration) {
        lock(&self.parts).finish_ended(self.length(), ago);
    }

    /// Removes a part that is not needed any more, with its marker file.
    pub(super) fn remove_part(&self, number: u64) {
        let mut parts = lock(&self.parts);
        if let Some(part) = parts.get(number) {
            let _ = fs::remove_file(&part.marker);
        }
        parts.parts.retain(|part| part.number != number);
    }

    pub(super) fn is_final(&self, number: u64) -> bool {
        lock(&self.parts)
            .get(number)
            .is_none_or(|part| part.end.is_some())
    }

    pub(super) fn part_length(&self, number: u64) -> u64 {
        let now = self.length();
        lock(&self.parts).get(number).map_or(0, |part| {
            part.end.unwrap_or(now).min(now).saturating_sub(part.start)
        })
    }

    pub(super) fn read(&self, number: u64, length: u64) -> io::Result<Vec<u8>> {
        let from = lock(&self.parts).get(number).map(|part| part.start);
        let from = from.ok_or(io::ErrorKind::NotFound)?;
        read_range(&self.file, from, length)
    }

    /// Releases the space that no part needs, and returns the number of bytes that parts need; 0 once the
    /// file is closed.
    pub(crate) fn reclaim_space(&self) -> u64 {
        let mut parts = lock(&self.parts);
        if let Some(closed_at) = parts.closed_length {
            if self.length() > closed_at {
                let _ = self.file.set_len(closed_at);
            }
            return 0;
        }
        let Some(first) = parts.parts.iter().map(|part| part.start).min() else {
            let _ = self.file.set_len(0);
            parts.freed_end = 0;
            return 0;
        };
        if first - parts.freed_end.min(first) >= MIN_PUNCH_BYTES {
            punch_hole(&self.file, first);
            parts.freed_end = first;
        }
        self.length().saturating_sub(first)
    }

    /// Closes the file for further output, with a last line that says so.
    pub(crate) fn close(&self) {
        let mut parts = lock(&self.parts);
        self.is_closed.store(true, Ordering::Relaxed);
        let _ = (&self.file).write(TRUNCATION_NOTICE);
        parts.closed_length = Some(self.length());
    }

    /// Returns the file for appending; `None` once it is closed.
    pub(super) fn open_file(&self) -> Option<&File> {
        (!self.is_closed.load(Ordering::Relaxed)).then_some(&self.file)
    }

    pub(crate) fn length(&self) -> u64 {
        file_length(&self.file)
    }
}

impl LogParts {
    fn get(&mut self, number: u64) -> Option<&mut LogPart> {
        self.parts.iter_mut().find(|part| part.number == number)
    }

    fn finish_ended(&mut self, at: u64, ago: Duration) {
        for part in &mut self.parts {
            if part.end.is_none() && part.ended.is_some_and(|ended| ended.elapsed() >= ago) {
                part.end = Some(at);
                // If the marker cannot be written, a reader after a kill takes all bytes up to the end of the
                // file.
                let _ = user_files::open_or_create(&part.marker)
                    .and_then(|mut marker| marker.write_all(at.to_string().as_bytes()));
            }
        }
    }
}

/// Returns the end of a part of an orphaned journal's file: `None` if the part is not needed any more, and
/// `u64::MAX` if its run had not ended.
pub(crate) fn read_part_end(marker: &Path) -> Option<u64> {
    let bytes = user_files::read_file(marker).ok()?;
    let end = std::str::from_utf8(&bytes)
        .ok()
        .and_then(|text| text.parse().ok());
    Some(end.unwrap_or(u64::MAX))
}

/// Releases the space of the file's beginning, up to the end of a block. Where the file system cannot do
/// that, the space stays in use.
fn punch_hole(file: &File, to: u64) {
    #[cfg(target_os = "linux")]
    {
        use rustix::fs::{FallocateFlags, fallocate};
        let flags = FallocateFlags::PUNCH_HOLE | FallocateFlags::KEEP_SIZE;
        let _ = fallocate(file, flags, 0, to & !4095);
    }
    #[cfg(not(target_os = "linux"))]
    let _ = (file, to);
}

#[cfg(test)]
mod tests {
    use super::*;

    struct Folder(PathBuf);

    impl Drop for Folder {
        fn drop(&mut self) {
            let _ = fs::remove_dir_all(&self.0);
        }
    }

    fn folder() -> (Folder, SharedLogFile) {
        let path =
            std::env::temp_dir().join(format!("mlflow-runtime-common-{}", uuid::Uuid::new_v4()));
        user_files::create_directory(&path).expect("writable");
        let common = SharedLogFile::create(&path.join("common.console")).expect("writable");
        (Folder(path), common)
    }

    fn print(common: &SharedLogFile, text: &str) {
        let mut file = common.open_file().expect("open");
        file.write_all(text.as_bytes()).expect("written");
    }

    fn text(common: &SharedLogFile, part: u64) -> String {
        let bytes = common.read(part, common.part_length(part));
        String::from_utf8(bytes.expect("readable")).expect("UTF-8")
    }

    #[test]
    fn a_part_ends_where_the_next_one_begins_or_when_what_was_on_the_way_is_there() {
        let (folder, common) = folder();
        let marker = |name: &str| folder.0.join(name);
        let begin = |name| common.begin_part(marker(name), 0).expect("a part").0;
        print(&common, "nobody's;");
        let first = begin("first");
        print(&common, "first;");
        common.end_part(first);
        assert!(!common.is_final(first));
        assert_eq!(read_part_end(&marker("first")), Some(u64::MAX));
        print(&common, "late;");
        let second = begin("second");
        print(&common, "second;");
        assert!(common.is_final(first));
        assert_eq!(text(&common, first), "first;late;");
        assert_eq!(read_part_end(&marker("first")), Some(20));
        let beside = begin("beside");
        print(&common, "of both;");
        common.end_part(second);
        common.finish_ended_parts(Duration::from_secs(3600));
        assert!(!common.is_final(second), "it has ended only now");
        common.finish_ended_parts(Duration::ZERO);
        print(&common, "of one;");
        assert_eq!(text(&common, second), "second;of both;");
        assert_eq!(text(&common, beside), "of both;of one;");
        common.remove_part(first);
        assert_eq!(read_part_end(&marker("first")), None);
        assert_eq!(common.part_length(first), 0);
    }

    #[test]
    fn what_no_part_needs_takes_no_room_and_does_not_count() {
        let (folder, common) = folder();
        let much = "x".repeat(3 << 20);
        print(&common, &much);
        assert_eq!(common.reclaim_space(), 0);
        assert_eq!(common.length(), 0, "there is no part");
        let (first, _) = common
            .begin_part(folder.0.join("first"), 0)
            .expect("a part");
        print(&common, &much);
        let (second, from) = common
            .begin_part(folder.0.join("second"), 0)
            .expect("a part");
        print(&common, "second");
        assert_eq!(common.reclaim_space(), (3 << 20) + 6);
        common.remove_part(first);
        assert_eq!(common.reclaim_space(), 6);
        assert_eq!(from, 3 << 20);
        assert_eq!(text(&common, second), "second");
        common.remove_part(second);
        assert_eq!(common.reclaim_space(), 0);
        assert_eq!(common.length(), 0);
    }

    #[test]
    fn one_that_is_closed_ends_in_its_last_line_whoever_goes_on_writing() {
        let (folder, common) = folder();
        let (part, _) = common
            .begin_part(folder.0.join("first"), 0)
            .expect("a part");
        print(&common, "first;");
        common.close();
        assert!(common.open_file().is_none());
        let mut subprocess = &common.file;
        subprocess.write_all(b"more").expect("written");
        common.reclaim_space();
        let full = String::from_utf8(TRUNCATION_NOTICE.to_vec()).expect("UTF-8");
        assert_eq!(text(&common, part), format!("first;{full}"));
    }
}
