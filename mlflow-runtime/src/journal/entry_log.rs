//! Logs of entries of one run, or of one kind, copied out of the segments they were appended to.
//!
//! # Invariants
//!
//! 1. An entry is whole in the log before its place in the original segment is acknowledged. A kill between
//!    the two leaves the entry twice and never loses it. Delivering an entry twice is harmless.
//! 2. A segment of a log is self-contained like every other segment: the next process reads it as one.
//! 3. The writer of a log is its only reader, so no data here is shared between threads.
//!
//! # Operation
//!
//! The shipper copies the entries that have to wait by themselves, so that one value of a deleted run does
//! not keep a segment of 4 MiB. A log writes to one file at a time, with one system call per record. The file
//! is opened anew for every copy, because ten thousand runs that wait must not take ten thousand descriptors.

use std::borrow::Cow;
use std::fs::{self, File};
use std::io;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use rustc_hash::{FxHashMap, FxHashSet};

use crate::journal::directory::segment_path;
use crate::journal::record::{Definition, Event, MetricRecord, Origin, RunStart};
use crate::journal::segment::Segment;
use crate::journal::segment::allocate;
use crate::journal::segment::append::{Appender, WrittenAppender};
use crate::journal::segment::mapped::{HEADER_BYTES, frame_bytes};
use crate::journal::user_files;
use crate::model::Metric;
use crate::model::RunIdentity;

/// Size, in bytes, from which on a log continues in another file.
const SEGMENT_BYTES: usize = 4 << 20;
/// Least size, in bytes, of a log's segment in memory, which is allocated in full when it is opened.
const MEMORY_SEGMENT_BYTES: usize = 64 << 10;

/// Function that opens a segment with space for at least the given number of bytes.
pub(crate) type OpenSegmentFn<'a> = dyn FnMut(usize) -> io::Result<(Arc<Segment>, Appender)> + 'a;

/// Writing end of a log.
#[derive(Default)]
pub(crate) struct EntryLog {
    tail: Option<Tail>,
}

struct Tail {
    segment: Arc<Segment>,
    /// End of the last frame, and the size in bytes up to which the segment may be filled.
    position: usize,
    len: usize,
    /// Present while entries are copied; in memory, where there is no file to reopen, always.
    appender: Option<Appender>,
    runs: FxHashSet<u32>,
    keys: FxHashMap<Arc<str>, u32>,
}

/// Segments that one copy has touched, and number of the records that it has written.
#[derive(Default)]
pub(crate) struct CopySummary {
    /// Segments, oldest first, each with its present size in bytes.
    pub(crate) segments: Vec<(Arc<Segment>, usize)>,
    pub(crate) records: usize,
}

/// Writer of entries of one run to a log.
pub(crate) struct EntryWriter<'a, 'o> {
    log: &'a mut EntryLog,
    open: &'a mut OpenSegmentFn<'o>,
    origin: &'a Origin,
    run: u32,
    identity: &'a RunIdentity,
    summary: CopySummary,
}

impl EntryLog {
    /// Returns true if the file that the log writes to lies in `directory` and still exists.
    pub(crate) fn is_below(&self, directory: &Path) -> bool {
        let file = self.tail.as_ref().and_then(|tail| tail.segment.file());
        file.is_some_and(|file| file.parent() == Some(directory) && file.exists())
    }

    /// Makes the next entry begin a new segment, unless `is_there` knows the last one.
    pub(crate) fn keep_if(&mut self, is_there: impl FnOnce(&Arc<Segment>) -> bool) {
        if self
            .tail
            .as_ref()
            .is_some_and(|tail| !is_there(&tail.segment))
        {
            self.tail = None;
        }
    }

    /// Begins a copy of entries of `run`. The segments that `open` opens belong to this log alone.
    pub(crate) fn writer<'a, 'o>(
        &'a mut self,
        open: &'a mut OpenSegmentFn<'o>,
        origin: &'a Origin,
        run: u32,
        identity: &'a RunIdentity,
    ) -> EntryWriter<'a, 'o> {
        EntryWriter {
            log: self,
            open,
            origin,
            run,
            identity,
            summary: CopySummary::default(),
        }
    }
}

impl EntryWriter<'_, '_> {
    /// Appends a metric point.
    pub(crate) fn append_metric(&mut self, metric: &Metric) -> io::Result<()> {
        let key = self.define_key(&metric.key)?;
        let record = MetricRecord {
            run: self.run,
            key,
            timestamp_ms: metric.timestamp_ms,
            step: metric.step,
            value: metric.value,
        };
        let body = record.encode();
        if !self.fits(frame_bytes(body.len())) {
            // The next segment has to define the key again.
            self.close_segment()?;
            return self.append_metric(metric);
        }
        self.append(&body)?;
        self.summary.records += 1;
        Ok(())
    }

    /// Appends an event with its position in the order of all events.
    pub(crate) fn append_event(
        &mut self,
        event: &Event<'_>,
        sequence: u64,
        attachment: &[u8],
    ) -> io::Result<()> {
        let body = event.encode(self.run, sequence, attachment);
        self.define_run(frame_bytes(body.len()))?;
        self.append(&body)?;
        self.summary.records += 1;
        Ok(())
    }

    /// Appends the start of a run that the store has already, for a shipper that may have to create the run
    /// anew. This record does not count as an entry.
    pub(crate) fn append_delivered_start(&mut self, start: RunStart<'static>) -> io::Result<()> {
        let start = RunStart {
            is_delivered: true,
            ..start
        };
        self.append_event(&Event::Start(Box::new(start)), 0, &[])?;
        self.summary.records -= 1;
        Ok(())
    }

    /// Appends the start of the run, with its tags and params.
    pub(crate) fn append_start(&mut self, start: &RunStart<'_>, sequence: u64) -> io::Result<()> {
        self.append_event(&Event::Start(Box::new(start.clone())), sequence, &[])
    }

    /// Ends the copy, and closes its file.
    pub(crate) fn finish(mut self) -> io::Result<CopySummary> {
        // The run is defined even if none of its entries waits, because a process that recovers the journal
        // has to close the run.
        self.define_run(0)?;
        self.record_position();
        if let Some(tail) = &mut self.log.tail
            && tail.segment.file().is_some()
        {
            tail.appender = None;
        }
        Ok(self.summary)
    }

    fn define_key(&mut self, name: &Arc<str>) -> io::Result<u32> {
        self.define_run(name.len() + 256)?;
        let Some(tail) = &mut self.log.tail else {
            return Err(io::Error::other("the log has no segment"));
        };
        if let Some(id) = tail.keys.get(name) {
            return Ok(*id);
        }
        let id = u32::try_from(tail.keys.len()).map_err(io::Error::other)?;
        tail.keys.insert(Arc::clone(name), id);
        let name = Cow::Borrowed(&**name);
        self.append(&Definition::Key { id, name }.encode())?;
        Ok(id)
    }

    /// Makes sure that there is a segment with space for `bytes`, in which the run is defined.
    fn define_run(&mut self, bytes: usize) -> io::Result<()> {
        let is_defined = |tail: &Tail| tail.runs.contains(&self.run);
        if self.log.tail.as_ref().is_some_and(is_defined) && self.fits(bytes) {
            return Ok(());
        }
        let definition = Definition::Run {
            number: self.run,
            identity: Cow::Borrowed(self.identity),
        }
        .encode();
        if self.log.tail.is_some() && !self.fits(bytes + frame_bytes(definition.len())) {
            self.close_segment()?;
        }
        if self.log.tail.is_none() {
            self.begin_segment(bytes + frame_bytes(definition.len()))?;
        }
        let is_new = match &mut self.log.tail {
            Some(tail) => tail.runs.insert(self.run),
            None => false,
        };
        if is_new {
            self.append(&definition)?;
        }
        Ok(())
    }

    fn fits(&self, bytes: usize) -> bool {
        let tail = self.log.tail.as_ref();
        tail.is_some_and(|tail| tail.position + bytes <= tail.len)
    }

    fn begin_segment(&mut self, bytes: usize) -> io::Result<()> {
        let origin = Definition::Origin(self.origin.clone()).encode();
        let at_least = HEADER_BYTES + frame_bytes(origin.len()) + bytes;
        let (segment, appender) = (self.open)(at_least)?;
        let len = usize::try_from(segment.size_bytes()).map_err(io::Error::other)?;
        self.log.tail = Some(Tail {
            len: if segment.file().is_some() {
                SEGMENT_BYTES.max(at_least)
            } else {
                len
            },
            segment,
            position: HEADER_BYTES,
            appender: Some(appender),
            runs: FxHashSet::default(),
            keys: FxHashMap::default(),
        });
        self.append(&origin)
    }

    /// Closes a full segment. The next entry goes to another one, in which the run is defined at once.
    fn close_segment(&mut self) -> io::Result<()> {
        self.record_position();
        self.log.tail = None;
        self.define_run(0)
    }

    /// Records the present size of the segment in the summary.
    fn record_position(&mut self) {
        let Some(tail) = &self.log.tail else { return };
        match self.summary.segments.last_mut() {
            Some((last, end)) if Arc::ptr_eq(last, &tail.segment) => *end = tail.position,
            _ => {
                let touched = (Arc::clone(&tail.segment), tail.position);
                self.summary.segments.push(touched);
            }
        }
    }

    fn append(&mut self, body: &[u8]) -> io::Result<()> {
        let Some(tail) = &mut self.log.tail else {
            return Err(io::Error::other("the log has no segment"));
        };
        if tail.appender.is_none() {
            let path = tail.segment.file().unwrap_or(Path::new(""));
            let file = user_files::open_to_write(path)?;
            let resumed = WrittenAppender::resume(file, tail.position, tail.len);
            tail.appender = Some(Appender::Written(resumed));
        }
        let appended = match &mut tail.appender {
            Some(appender) => appender.append(body).is_ok(),
            None => false,
        };
        if !appended {
            // No frame may follow what may be half a frame.
            self.log.tail = None;
            return Err(io::Error::other("the entry cannot be written"));
        }
        tail.position += frame_bytes(body.len());
        Ok(())
    }
}

/// Opens a segment in the directory of an orphaned journal, or of rejected entries.
pub(crate) fn create_segment_in(
    directory: &Path,
    len: usize,
) -> io::Result<(Arc<Segment>, Appender)> {
    let mut number = next_number(directory)?;
    loop {
        let path = segment_path(directory, number);
        match allocate::new_file(&path, len as u64) {
            Ok(file) => {
                let (segment, appender) = init_segment(path, file, len)?;
                return Ok((Arc::new(segment), appender));
            }
            Err(error) if error.kind() == io::ErrorKind::AlreadyExists => number += 1,
            Err(error) => return Err(error),
        }
    }
}

/// Returns a number greater than those of all segments in `directory`.
fn next_number(directory: &Path) -> io::Result<u64> {
    let mut next = 0;
    for entry in fs::read_dir(directory)? {
        let path = entry?.path();
        let number = path
            .file_stem()
            .and_then(|stem| stem.to_str()?.parse::<u64>().ok());
        next = next.max(number.map_or(0, |number| number.saturating_add(1)));
    }
    Ok(next)
}

/// Turns an empty file into a segment for copied entries.
pub(crate) fn init_segment(
    path: PathBuf,
    file: File,
    len: usize,
) -> io::Result<(Segment, Appender)> {
    let len = SEGMENT_BYTES.max(len);
    let appender = WrittenAppender::new(file, len)?;
    let segment = Segment::new_copy(Some(path), None, 0);
    Ok((segment, Appender::Written(appender)))
}

/// Returns the size of a segment in memory for `len` bytes of entries.
pub(crate) fn memory_bytes(len: usize) -> usize {
    MEMORY_SEGMENT_BYTES.max(len)
}
