//! The file into which a helper process copies the process's stdout and stderr.
//!
//! Invariants: each run without a parent has a part of it, from what was written when it started to what
//! was when it ended, or a moment later: what is on the way then is its own. Where the part ends stands in
//! a file of its own, so that whoever reads the journal after a kill knows it; without that file the
//! part is not needed any more. What no part needs is given back to the file system. The helper
//! appends, so the file may be cut at its end, and emptied, while it is written.

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
    /// The file takes no room up to here.
    freed_end: u64,
    /// How long it may be, once it takes nothing more.
    closed_length: Option<u64>,
}

struct LogPart {
    number: u64,
    start: u64,
    end: Option<u64>,
    ended: Option<Instant>,
    /// Says where it ends.
    marker: PathBuf,
}

/// Less than this is not worth a call.
const MIN_PUNCH_BYTES: u64 = 1 << 20;

impl SharedLogFile {
    pub(crate) fn create(path: &Path) -> io::Result<Self> {
        Ok(Self {
            file: user_files::create_to_append(path)?,
            is_closed: AtomicBool::new(false),
            parts: Mutex::default(),
        })
    }

    /// A run begins, while so many bytes are on their way; returns its part, and where that begins.
    /// Those of runs that have ended end there.
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

    /// The run of this part has ended; what is on the way is still its own.
    pub(super) fn end_part(&self, number: u64) {
        if let Some(part) = lock(&self.parts).get(number) {
            part.ended = Some(Instant::now());
        }
    }

    /// What was on the way has arrived: the parts of runs that have ended so long ago end here.
    pub(crate) fn finish_ended_parts(&self, ago: Duration) {
        lock(&self.parts).finish_ended(self.length(), ago);
    }

    /// The part is not needed any more.
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

    /// What parts need, in bytes; gives the rest back.
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

    /// Takes nothing more: the last line says so.
    pub(crate) fn close(&self) {
        let mut parts = lock(&self.parts);
        self.is_closed.store(true, Ordering::Relaxed);
        let _ = (&self.file).write(TRUNCATION_NOTICE);
        parts.closed_length = Some(self.length());
    }

    /// For appending, as long as it takes anything.
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
                // Where that cannot be, a reader after a kill takes what there is.
                let _ = user_files::open_or_create(&part.marker)
                    .and_then(|mut marker| marker.write_all(at.to_string().as_bytes()));
            }
        }
    }
}

/// Where a part of a dead process's file ends: `None` where it is not needed any more, and the largest
/// number where its run had not ended.
pub(crate) fn read_part_end(marker: &Path) -> Option<u64> {
    let bytes = user_files::read_file(marker).ok()?;
    let end = std::str::from_utf8(&bytes)
        .ok()
        .and_then(|text| text.parse().ok());
    Some(end.unwrap_or(u64::MAX))
}

/// Gives the file's beginning back, up to a block's end. Where that cannot be, it stays.
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
