//! Shared log file, into which a helper process copies the stdout and stderr of this process.
//!
//! Invariants: each run without a parent has a part of the file. The part begins at what was written when the
//! run started, and ends at what was written when the run ended, or a moment later, because output that is on
//! the way at the end belongs to the run. The end of the part stands in a marker file of its own, so that a
//! process which reads the journal after a kill knows the end; a part without its marker file is not needed
//! any more. Space that no part needs is released to the file system. The helper appends to the file, so the
//! file may be truncated, and emptied, while it is written.
//!
//! The helper writes what the process prints, with the secrets in it. [`blot_secrets`](SharedLogFile::blot_secrets) overwrites
//! these in the file, with bytes that no text holds, so that they lie on the disk for no longer than a look at the file is
//! apart from the next. Offsets stay as they are. What is read of the file shows `[redacted]` in their place.

use std::fs::{self, File};
use std::io::{self, Write as _};
use std::ops::Range;
use std::os::unix::fs::FileExt as _;
use std::path::{Path, PathBuf};
use std::sync::Mutex;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::time::{Duration, Instant};

use mlflow_rules::{Edge, REDACTED, credential_ranges, mask};

use super::{TRUNCATION_NOTICE, file_length, read_range};
use crate::journal::user_files;
use crate::sync::lock;

/// First byte in place of a secret. No UTF-8 text holds it.
const BLOT_START: u8 = 0xfe;
/// Further bytes in place of a secret. No UTF-8 text holds it.
const BLOT: u8 = 0xff;

/// Number of bytes before new output that are looked at again: a secret, such as a private key, may have begun there.
const BLOT_CONTEXT_BYTES: u64 = 16 << 10;

/// Number of bytes that are read of the file at a time.
const PIECE_BYTES: u64 = 1 << 20;

/// Greatest number of bytes that one look at the file searches for secrets, unless it is the last one.
const MAX_SEARCHED_BYTES: u64 = 32 << 20;

/// Length from which on a line is searched before it has ended.
const LONG_LINE_BYTES: usize = 64 << 10;

pub(crate) struct SharedLogFile {
    file: File,
    /// The same file, to overwrite bytes in it: what is written to `file` goes to its end.
    overwriting: File,
    /// Held while secrets are overwritten.
    blotting: Mutex<()>,
    /// Offset up to which the file was searched for secrets.
    blotted_end: AtomicU64,
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
            overwriting: user_files::open_to_write(path)?,
            blotting: Mutex::default(),
            blotted_end: AtomicU64::new(0),
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

    /// Overwrites the secrets in what was written since the last call, up to the end of the last line. A secret that cannot be
    /// overwritten is masked when the log is read.
    pub(crate) fn blot_secrets(&self) {
        let _alone = lock(&self.blotting);
        let mut left = MAX_SEARCHED_BYTES;
        let length = self.length();
        while left > 0
            && let Some(searched) = self.blot_piece(length, false)
        {
            left = left.saturating_sub(searched);
        }
    }

    /// Overwrites the secrets in everything that is written now, no longer than until `until`.
    pub(crate) fn blot_last_secrets(&self, until: Instant) {
        let _alone = lock(&self.blotting);
        let length = self.length();
        while Instant::now() < until && self.blot_piece(length, true).is_some() {}
    }

    /// Overwrites the secrets in a piece of the file's first `length` bytes. Returns the length of the piece, or `None` if nothing
    /// is to be searched yet.
    fn blot_piece(&self, length: u64, is_last: bool) -> Option<u64> {
        // The file may have been cut.
        let searched = self.blotted_end.load(Ordering::Relaxed).min(length);
        let from = searched.saturating_sub(BLOT_CONTEXT_BYTES);
        let to = length.min(searched + PIECE_BYTES);
        if to <= searched {
            return None;
        }
        let bytes = read_range(&self.file, from, to - from).ok()?;
        let new = usize::try_from(searched - from).ok()?;
        let end = if is_last && to == length {
            bytes.len()
        } else {
            new + find_piece_end(bytes.get(new..)?)?
        };
        let text = to_searchable(bytes.get(..end)?);
        // What lies before the new bytes was looked at. Half a name, with which they may begin, may look like that of a secret.
        let found = credential_ranges(&text).into_iter();
        for range in found.filter(|range| range.end > new) {
            let range = without_key_header(&text, range);
            if range.is_empty() {
                continue;
            }
            let mut blots = vec![BLOT; range.len()];
            if let Some(first) = blots.first_mut() {
                *first = BLOT_START;
            }
            let at = from + range.start as u64;
            let _ = self.overwriting.write_all_at(&blots, at);
        }
        self.blotted_end.store(from + end as u64, Ordering::Relaxed);
        Some((end - new) as u64)
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
            self.blotted_end.store(0, Ordering::Relaxed);
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

/// Returns the end of the last line, or of the last word if the line is very long; `None` if more is to be waited for. A line that
/// a terminal shows over the one before it has ended, too.
fn find_piece_end(bytes: &[u8]) -> Option<usize> {
    let last = |is_end: fn(&u8) -> bool| bytes.iter().rposition(is_end).map(|at| at + 1);
    last(|byte| matches!(byte, b'\n' | b'\r')).or_else(|| {
        let is_long = bytes.len() >= LONG_LINE_BYTES;
        is_long.then(|| last(|byte| *byte == b' ').unwrap_or(bytes.len()))
    })
}

/// Returns the text of captured output in which secrets are looked for. Every byte keeps its place. Letters stand in place of a
/// secret that is blotted out, so that what follows it, such as the second half of a key, is known as its continuation.
fn to_searchable(bytes: &[u8]) -> String {
    let mut text = String::with_capacity(bytes.len());
    for chunk in bytes.utf8_chunks() {
        text.push_str(chunk.valid());
        let placeholder = |byte: &u8| match *byte {
            BLOT | BLOT_START => 'A',
            _ => '?',
        };
        text.extend(chunk.invalid().iter().map(placeholder));
    }
    text
}

/// Returns the part of a secret's range behind the header of a private key. The header stays, as the rest of the key may follow.
fn without_key_header(text: &str, range: Range<usize>) -> Range<usize> {
    const HEADER_END: &str = "PRIVATE KEY-----";
    let secret = text.get(range.clone()).unwrap_or_default();
    let header = secret
        .starts_with("-----BEGIN ")
        .then(|| secret.find(HEADER_END))
        .flatten();
    header.map_or(range.clone(), |at| {
        range.start + at + HEADER_END.len()..range.end
    })
}

/// Returns captured output as text, with `[redacted]` in place of secrets, also of those that are [blotted
/// out](SharedLogFile::blot_secrets). Other bytes that are not UTF-8 become U+FFFD.
pub(crate) fn mask_output(bytes: &[u8], edge: Edge) -> String {
    let mut hidden = blots(bytes);
    hidden.extend(credential_ranges(&to_searchable(bytes)));
    hidden.sort_by_key(|range| range.start);
    let mut text = String::with_capacity(bytes.len());
    let mut shown = 0;
    for range in hidden {
        if range.start >= shown {
            let between = bytes.get(shown..range.start).unwrap_or_default();
            // Two parts of one secret may stand side by side.
            if !between.is_empty() || !text.ends_with(REDACTED) {
                text.push_str(&String::from_utf8_lossy(between));
                text.push_str(REDACTED);
            }
        }
        shown = shown.max(range.end);
    }
    text.push_str(&String::from_utf8_lossy(
        bytes.get(shown..).unwrap_or_default(),
    ));
    mask(&text, edge).map_or(text, |masked| masked.text)
}

/// Returns how many bytes at the end may be the beginning of a secret, which are left for later: 0, or the last line. Of a line
/// with more than [`LONG_LINE_BYTES`], these are the words in its last bytes.
pub(crate) fn unfinished_secret_length(bytes: &[u8]) -> usize {
    let is_line_end = |byte: &u8| matches!(byte, b'\n' | b'\r');
    let line = { bytes.iter().rposition(is_line_end) }.map_or(0, |at| at + 1);
    let most = bytes.len().saturating_sub(LONG_LINE_BYTES);
    let start = if line >= most {
        line
    } else {
        // Not in the middle of a word, whose beginning would be taken for the whole.
        let is_blank = |byte: &u8| byte.is_ascii_whitespace();
        let blank = { bytes.iter().skip(most) }.position(is_blank);
        blank.map_or(most, |at| most + at)
    };
    let last = bytes.get(start..).unwrap_or_default();
    match mask_output(last, Edge::Cut) == mask_output(last, Edge::End) {
        true => 0,
        false => last.len(),
    }
}

/// Returns the ranges of what is blotted out. A secret of a single byte is not told from other bytes.
fn blots(bytes: &[u8]) -> Vec<Range<usize>> {
    let mut found = Vec::new();
    let mut from = 0;
    while let Some(rest) = bytes.get(from..)
        && let Some(at) = rest.windows(2).position(|pair| pair == [BLOT_START, BLOT])
    {
        let further = rest.get(at + 1..).unwrap_or_default();
        let length = further.iter().take_while(|byte| **byte == BLOT).count();
        found.push(from + at..from + at + 1 + length);
        from += at + 1 + length;
    }
    found
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

    /// Regression: what a process printed lay in the file as it was until it was uploaded.
    #[test]
    fn secrets_are_overwritten_in_the_file() {
        let (folder, common) = folder();
        let (part, _) = common.begin_part(folder.0.join("part"), 0).expect("a part");
        let raw = || fs::read(folder.0.join("common.console")).expect("readable");
        let holds = |word: &str| String::from_utf8_lossy(&raw()).contains(word);
        print(&common, "rate=1\npassword=hunter2 rows=3\npassw");
        common.blot_secrets();
        assert!(!holds("hunter2") && holds("rows=3"));
        print(&common, "ord=s3cr3t");
        common.blot_secrets();
        assert!(holds("s3cr3t"), "the line has not ended");
        print(&common, "\n\u{ff}");
        common.blot_secrets();
        assert!(!holds("s3cr3t"));
        let key = |word: &str| format!("-----{word} PRIVATE KEY-----\n");
        print(&common, &format!("{}MIIabcdefgh\n", key("BEGIN")));
        common.blot_secrets();
        print(
            &common,
            &format!("MIIdefghijk\n{}Token: Zx81kQ9vLm2P", key("END")),
        );
        common.blot_last_secrets(Instant::now() + Duration::from_secs(600));
        assert!(!holds("MIIabc") && !holds("MIIdef") && !holds("Zx81kQ9vLm2P"));
        let length = common.part_length(part);
        assert_eq!(length, raw().len() as u64);
        let shown = mask_output(&common.read(part, length).expect("readable"), Edge::End);
        let expected = "rate=1\npassword=[redacted] rows=3\npassword=[redacted]\nÿ[redacted]\nToken: [redacted]";
        assert_eq!(shown, expected);
    }

    /// Regression: of a secret that a look at the file had cut, the rest was not known as one.
    #[test]
    fn a_secret_that_comes_in_parts_is_overwritten_as_a_whole() {
        let key_line = "MIIEvQIBADANBgkqhkiG9w0BAQEFAASC".repeat(2);
        let body = format!("{key_line}\n").repeat(20);
        let key = format!("-----BEGIN PRIVATE KEY-----\n{body}-----END PRIVATE KEY-----\n");
        let line = format!(
            "{}password=hunter2hunter2 rows=3\n",
            "epoch ".repeat(20_000)
        );
        for text in [
            format!("{}\n{key}rows=3\n", "noise ".repeat(30_000)),
            line,
            "5 %\r6 % password=hunter2hunter2\r7 %".to_owned(),
            // A key in one line, as in JSON.
            format!(
                "noise noise\n{{\"private_key\": \"{}\"}}\n",
                key.replace('\n', "\\n")
            ),
            format!("noise noise\nKEY={}\n", key.replace('\n', " ")),
            format!("noise noise\n{}\n", key.replace('\n', "\r\n")),
        ] {
            for parts in [1, 3, 7, 50] {
                let (folder, common) = folder();
                let (part, _) = common.begin_part(folder.0.join("part"), 0).expect("a part");
                let size = text.len().div_ceil(parts);
                let mut rest = text.as_str();
                while !rest.is_empty() {
                    let (now, later) = rest.split_at(size.min(rest.len()));
                    print(&common, now);
                    common.blot_secrets();
                    rest = later;
                }
                common.blot_last_secrets(Instant::now() + Duration::from_secs(600));
                let raw = common
                    .read(part, common.part_length(part))
                    .expect("readable");
                let left = String::from_utf8_lossy(&raw);
                let shown = mask_output(&raw, Edge::End);
                for secret in ["MIIEvQ", "hunter2"] {
                    assert!(!left.contains(secret), "{parts}: {left:.300}");
                    assert!(!shown.contains(secret), "{parts}");
                }
                assert!(shown.contains("[redacted]"), "{parts}");
                let others = ["noise noise", "epoch epoch", "5 %"];
                assert!(others.iter().any(|other| shown.contains(other)), "{parts}");
            }
        }
    }

    /// Regression: where a look at the file began in the middle of `max_tokens=…`, the value looked like a secret.
    #[test]
    fn what_is_no_secret_stays_wherever_a_look_at_the_file_begins() {
        let (folder, common) = folder();
        let (part, _) = common.begin_part(folder.0.join("part"), 0).expect("a part");
        let line = "max_tokens=Zx81kQ9vLm2PZx81kQ9v\n";
        for _ in 0..2000 {
            print(&common, line);
            common.blot_secrets();
        }
        let raw = common
            .read(part, common.part_length(part))
            .expect("readable");
        assert_eq!(String::from_utf8(raw).expect("text"), line.repeat(2000));
    }

    #[test]
    fn bytes_that_are_no_text_become_a_mark() {
        for (bytes, shown) in [
            (&b"a\xfe\xff\xffb"[..], "a[redacted]b"),
            (b"\xfe\xff\xfe\xff \xfe\xff", "[redacted] [redacted]"),
            (b"a\xfeb\xc3", "a\u{fffd}b\u{fffd}"),
            (b"\xe6\x97", "\u{fffd}"),
            (b"\xff\0", "\u{fffd}\0"),
            ("plain 日本".as_bytes(), "plain 日本"),
            (b"a password=hunter2 \xff", "a password=[redacted] \u{fffd}"),
        ] {
            assert_eq!(mask_output(bytes, Edge::End), shown, "{bytes:?}");
        }
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
    fn a_last_word_that_may_become_a_secret_is_unfinished() {
        let token = ["gh", "p_", "Fake1Fak"].concat();
        let line = format!("key {token}");
        for (text, unfinished) in [
            (format!("more\n{line}"), line.len()),
            (format!("more\r{line}"), line.len()),
            (line.clone(), line.len()),
            (format!("more\n{line} is a word\n"), 0),
            (format!("more\n{line} and"), 0),
            ("more\n".to_owned(), 0),
            ("epoch 3/10: 50 %|#####     | loss=0.5".to_owned(), 0),
            (String::new(), 0),
        ] {
            assert_eq!(
                unfinished_secret_length(text.as_bytes()),
                unfinished,
                "{text:?}"
            );
        }
        // Of a line that is long already, its end alone waits.
        let long = format!("{}{token}", "word ".repeat(LONG_LINE_BYTES));
        let unfinished = unfinished_secret_length(long.as_bytes());
        assert!(
            (LONG_LINE_BYTES - 5..=LONG_LINE_BYTES).contains(&unfinished),
            "{unfinished}"
        );
        assert!(long.as_bytes()[long.len() - unfinished].is_ascii_whitespace());
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
