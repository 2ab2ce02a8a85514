//! [`Entries`]: the entries of a journal, one after the other.
//!
//! # Invariants
//!
//! 1. One segment is in memory at a time, so a journal of a gibibyte takes a few mebibytes.
//! 2. A point of a metric costs no allocation: entries share the names of metrics and the runs.
//! 3. Files are opened for reading only. While the journal's process writes, a frame that is not whole is read
//!    once more before it counts as damage, because the process may have written the frame, and the frames
//!    behind it, while the file was being read.

use std::collections::{BTreeMap, VecDeque};
use std::io;
use std::os::unix::fs::FileExt as _;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use rustc_hash::{FxHashMap, FxHashSet};

use super::console::StoredConsole;
use super::damage::Damage;
use crate::journal::directory::{ARTIFACT_EXTENSION, artifact_path, segment_files};
use crate::journal::is_interned;
use crate::journal::record::{
    ArtifactLocation, Definition, Event, Origin, Record, RunStart, decode_last_step,
};
use crate::journal::segment::mapped::HEADER_BYTES;
use crate::journal::segment::{Frame, SegmentBytes};
use crate::journal::spool::find_copy_fault;
use crate::journal::user_files;
use crate::model::logged_model::ModelPath;
use crate::model::{ArtifactKind, ExperimentRef, RunIdentity, RunStatus, Tag};

/// Entry of a journal: a value of a run.
///
/// ```
/// use std::time::Duration;
/// use mlflow::journals::{EntryArtifactKind, EntryValue, StoredJournal};
///
/// # fn main() -> std::io::Result<()> {
/// # let directory = std::env::temp_dir().join(format!("mlflow-doc-entry-{}", std::process::id()));
/// # let config = mlflow::Config::new().quiet(true).exit_timeout(Duration::ZERO);
/// # mlflow::configure(config.tracking_uri("http://127.0.0.1:9").journal_dir(&directory));
/// let run = mlflow::start_run().name("fit").param("lr", 0.1).start();
/// run.log_metric_at("loss", 0.5, 1);
/// run.log_text("All is well.", "notes.txt");
///
/// let journal = StoredJournal::open(mlflow::health().journal.expect("the journal is on disk"))?;
/// let entries: Vec<_> = journal.entries()?.collect();
/// assert!(entries.iter().all(|entry| entry.run.key == run.key() && !entry.is_settled));
/// for entry in &entries {
///     match &entry.value {
///         EntryValue::Start(start) => assert_eq!((&*start.name, &*start.params["lr"]), ("fit", "0.1")),
///         EntryValue::Point(point) => assert_eq!((&*point.key, point.value, point.step), ("loss", 0.5, Some(1))),
///         EntryValue::Artifact { path, kind, bytes, .. } => {
///             assert_eq!((&**path, *kind, *bytes), ("notes.txt", EntryArtifactKind::File, 12));
///         }
///         other => unreachable!("{other:?} was not logged"),
///     }
/// }
/// assert_eq!(entries.len(), 3);
/// # drop(run);
/// # std::fs::remove_dir_all(&directory)?;
/// # Ok(())
/// # }
/// ```
#[derive(Clone, Debug, PartialEq)]
#[non_exhaustive]
pub struct Entry {
    /// Run that the value belongs to.
    pub run: Arc<JournalRun>,
    /// Position in the order in which the process logged everything but points of metrics, whatever the
    /// thread; `None` for a point, which has its time instead.
    pub sequence: Option<u64>,
    /// True if the store is known to have the value, or to refuse it for good. Of a value that was delivered a
    /// moment ago that may not be known yet.
    pub is_settled: bool,
    /// Value itself.
    pub value: EntryValue,
}

/// Value of an [`Entry`]. See [`Entry`] for an example.
#[derive(Clone, Debug, PartialEq)]
#[non_exhaustive]
pub enum EntryValue {
    /// Start of the run.
    Start(Box<StartedRun>),
    /// Point of a metric.
    Point(LoggedPoint),
    /// Param.
    Param {
        /// Name of the param.
        key: String,
        /// Value of the param.
        value: String,
    },
    /// Tag.
    Tag {
        /// Name of the tag.
        key: String,
        /// Value of the tag.
        value: String,
    },
    /// Artifact, whose bytes lie in the journal itself or in a file beside it.
    Artifact {
        /// Path of the artifact in its run.
        path: String,
        /// Kind of the artifact, by which its bytes are read.
        kind: EntryArtifactKind,
        /// Length of the artifact.
        bytes: u64,
        /// Copy of the artifact; `None` if its bytes lie in the journal itself.
        file: Option<PathBuf>,
    },
    /// Dataset, logged as an input of the run. Its description lies in the journal itself or in a file beside it.
    Dataset {
        /// Name of the dataset.
        name: String,
        /// Length of the description.
        bytes: u64,
        /// File with the description; `None` if it lies in the journal itself.
        file: Option<PathBuf>,
    },
    /// Logged model, or a file of one. The content lies in the journal itself or in a file beside it.
    Model {
        /// Name of the model.
        name: String,
        /// Path of the file inside of the model; `None` for the model itself, whose content is its description.
        path: Option<String>,
        /// Length of the content.
        bytes: u64,
        /// File with the content; `None` if it lies in the journal itself.
        file: Option<PathBuf>,
    },
    /// Console log, a file beside the journal that grows while its run is open.
    Console(StoredConsole),
    /// End of the run.
    End {
        /// Status of the run.
        status: RunStatus,
        /// Time of the end, in ms since the Unix epoch.
        end_time_ms: i64,
    },
}

/// Kind of an [`EntryValue::Artifact`]: what its bytes are, and what becomes of them in the store. See [`Entry`] for an
/// example.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum EntryArtifactKind {
    /// File, stored as it is.
    File,
    /// Rows that are appended to the table at the path: JSON, one row a line.
    TableRows {
        /// Number of rows.
        rows: u64,
    },
    /// Image, stored as PNG.
    Image,
    /// File of a checkpoint, stored as it is.
    CheckpointFile {
        /// Step of the checkpoint.
        step: i64,
    },
    /// End of a checkpoint at the path, of which all files come before it. Its bytes are the sizes of the files, as
    /// JSON.
    CheckpointEnd {
        /// Step of the checkpoint.
        step: i64,
    },
}

/// Run of a journal. See [`Entry`] for an example.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct JournalRun {
    /// Local id of the run, as [`Run::key`](crate::Run::key) returns it.
    pub key: String,
    /// Name of the experiment; `None` if the experiment was given by its id.
    pub experiment_name: Option<String>,
    /// Id of the experiment; `None` if the experiment was given by its name.
    pub experiment_id: Option<String>,
    /// Id that the run has in the store, if it existed there before its process did.
    pub resumed_run_id: Option<String>,
}

/// Start of a run, as its process has recorded it. See [`Entry`] for an example.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct StartedRun {
    /// Name of the run.
    pub name: String,
    /// User who has started the run.
    pub user: String,
    /// Time of the start, in ms since the Unix epoch.
    pub start_time_ms: i64,
    /// Local id of the run that this one is a child of.
    pub parent_key: Option<String>,
    /// Tags that the run was started with, automatic ones included.
    pub tags: BTreeMap<String, String>,
    /// Params that the run was started with.
    pub params: BTreeMap<String, String>,
}

/// Point of a metric, as its process has logged it. See [`Entry`] for an example.
#[derive(Clone, Debug, PartialEq)]
#[non_exhaustive]
pub struct LoggedPoint {
    /// Name of the metric.
    pub key: Arc<str>,
    /// Value of the point; may be NaN or infinite.
    pub value: f64,
    /// Time at which the point was logged, in ms since the Unix epoch.
    pub timestamp_ms: i64,
    /// Step of the point; `None` for the last step of the metric, which is found when the point is delivered.
    pub step: Option<i64>,
}

/// Process that has written a journal. See [`StoredJournal`](super::StoredJournal) for an example.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
#[non_exhaustive]
pub struct JournalOrigin {
    /// Tracking URI to which the values go, without credentials.
    pub destination: String,
    /// Host on which the process ran.
    pub host: String,
    /// Id of the process.
    pub process_id: u32,
}

/// Files that entries are read from.
#[derive(Clone, Debug)]
pub(super) enum EntrySource {
    /// Segments in the directory of a journal. If its process lives, they grow.
    Directory { path: PathBuf, is_live: bool },
    /// Single segment.
    File(PathBuf),
    /// Nothing, because other users can write to the journal.
    Nothing,
}

/// Iterator over the entries of a journal.
///
/// The segments of the journal are read one after the other, the oldest first. Each thread of the process
/// writes segments of its own, so the entries of a thread are in the order in which the thread has logged
/// them; for the order between threads see [`Entry::sequence`] and [`LoggedPoint::timestamp_ms`]. The entries
/// include those that are [settled](Entry::is_settled), as long as they lie in the same file as others.
///
/// The iterator ends where the journal ended when its reading began. **It goes on after its end**: a later
/// call of `next` returns what the process has logged meanwhile, so that a program can follow a journal while
/// it grows.
///
/// A part that cannot be read is skipped, and is reported by [`damage`](Self::damage). See
/// [`StoredJournal::entries`](super::StoredJournal::entries) for an example.
#[derive(Debug)]
pub struct Entries {
    source: EntrySource,
    /// Segments that are still to be read until the present end.
    queue: VecDeque<PathBuf>,
    current: Option<SegmentReader>,
    /// Segments of a live journal that were read to their present ends.
    paused: BTreeMap<PathBuf, SegmentPosition>,
    has_ended: bool,
    /// True if the copies of artifacts are compared with their fingerprints.
    checks_artifacts: bool,
    names: JournalNames,
    damage: Damage,
    unknown_records: u64,
    origin: Option<JournalOrigin>,
}

/// Reading position in a segment, and what was defined before it.
#[derive(Debug)]
struct SegmentPosition {
    offset: usize,
    /// Names of metrics, by their number in the segment.
    keys: FxHashMap<u32, Arc<str>>,
    common_tags: Arc<[Tag]>,
}

/// Segment that is being read.
struct SegmentReader {
    file: PathBuf,
    bytes: SegmentBytes,
    /// Offset before which every entry is settled.
    settled_offset: usize,
    /// Offset at which the file was read once more.
    reread_at: Option<usize>,
    at: SegmentPosition,
}

impl std::fmt::Debug for SegmentReader {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let mut fields = f.debug_struct("SegmentReader");
        let fields = fields.field("file", &self.file);
        fields.field("at", &self.at).finish_non_exhaustive()
    }
}

/// Names that hold for all segments of a journal.
#[derive(Debug, Default)]
struct JournalNames {
    runs: FxHashMap<u32, Arc<JournalRun>>,
    /// One instance of each name of a metric.
    metrics: FxHashSet<Arc<str>>,
    /// Names of metrics that have the same number in all segments. Collected when a segment lacks one.
    interned: FxHashMap<u32, Arc<str>>,
    is_surveyed: bool,
}

impl Entries {
    pub(super) fn new(source: EntrySource) -> io::Result<Self> {
        let mut entries = Self {
            source,
            queue: VecDeque::new(),
            current: None,
            paused: BTreeMap::new(),
            has_ended: false,
            checks_artifacts: false,
            names: JournalNames::default(),
            damage: Damage::default(),
            unknown_records: 0,
            origin: None,
        };
        entries.queue = entries.source.files()?.into();
        Ok(entries)
    }

    /// Makes the reading compare the copies of artifacts with their fingerprints.
    pub(super) fn checking_artifacts(self) -> Self {
        Self {
            checks_artifacts: true,
            ..self
        }
    }

    /// Returns the damage that was met so far. See [`StoredJournal`](super::StoredJournal) for an example.
    #[must_use]
    pub fn damage(&self) -> &Damage {
        &self.damage
    }

    /// Returns the number of records met so far of kinds that this version of the library does not know. A
    /// newer version has written them, and delivers them. See [`StoredJournal`](super::StoredJournal) for an example.
    #[must_use]
    pub fn unknown_records(&self) -> u64 {
        self.unknown_records
    }

    /// Returns the process that has written the journal; `None` before the first entry was read, and for a journal
    /// that holds nothing. See [`StoredJournal`](super::StoredJournal) for an example.
    #[must_use]
    pub fn origin(&self) -> Option<&JournalOrigin> {
        self.origin.as_ref()
    }

    pub(super) fn into_damage(self) -> Damage {
        self.damage
    }

    /// Opens the next segment. Returns false at the present end.
    fn open_next(&mut self) -> bool {
        if std::mem::take(&mut self.has_ended) {
            self.queue_growth();
        }
        while let Some(file) = self.queue.pop_front() {
            let at = self.paused.remove(&file);
            match SegmentReader::open(&file, at) {
                Ok(Some(reader)) => {
                    self.current = Some(reader);
                    return true;
                }
                Ok(None) => {}
                // Its values were delivered meanwhile.
                Err(error) if error.kind() == io::ErrorKind::NotFound => {}
                Err(error) => self
                    .damage
                    .record_unusable(&file, format!("it cannot be read: {error}")),
            }
        }
        self.has_ended = true;
        false
    }

    /// Adds the segments of a live journal to the queue that have grown, or are new, since they were read.
    fn queue_growth(&mut self) {
        if !self.source.is_live() {
            return;
        }
        let Ok(files) = self.source.files() else {
            return;
        };
        self.paused
            .retain(|file, _| files.binary_search(file).is_ok());
        let has_grown = |file: &PathBuf| match self.paused.get(file) {
            Some(at) => is_written(file, at.offset),
            None => !self.damage.files.iter().any(|known| known.path == *file),
        };
        self.queue = files.into_iter().filter(has_grown).collect();
    }

    /// Continues behind the end of what could be read in the current segment.
    fn pass_gap(&mut self) {
        let is_live = self.source.is_live();
        let Some(segment) = &mut self.current else {
            return;
        };
        let offset = segment.at.offset;
        if let Some(next) = segment.bytes.skip_damage(offset) {
            if is_live && segment.reread_at != Some(offset) {
                segment.reread_at = Some(offset);
                if let Ok(bytes) = user_files::read_file(&segment.file) {
                    segment.bytes = SegmentBytes::from_bytes(bytes);
                    return;
                }
            }
            // The last frame of a segment that is still written may be half written.
            if !is_live || matches!(segment.bytes.frame(next), Frame::Whole { .. }) {
                self.damage.record_skipped(&segment.file, offset, next);
                segment.at.offset = next;
                return;
            }
        }
        if let Some(SegmentReader { file, at, .. }) = self.current.take()
            && is_live
        {
            self.paused.insert(file, at);
        }
    }
}

impl Iterator for Entries {
    type Item = Entry;

    fn next(&mut self) -> Option<Entry> {
        loop {
            let Some(segment) = &mut self.current else {
                if self.open_next() {
                    continue;
                }
                return None;
            };
            let offset = segment.at.offset;
            let Frame::Whole { body, next } = segment.bytes.frame(offset) else {
                self.pass_gap();
                continue;
            };
            segment.at.offset = next;
            let is_settled = offset < segment.settled_offset;
            match Record::decode(body) {
                Some(Record::Metric(point)) => {
                    let names = &mut self.names;
                    let run = match names.runs.get(&point.run) {
                        Some(run) => Some(Arc::clone(run)),
                        None => names.find_run(point.run, &self.source),
                    };
                    let key = match segment.at.keys.get(&point.key) {
                        Some(key) => Some(Arc::clone(key)),
                        None => names.find_interned(point.key, &self.source),
                    };
                    let (Some(run), Some(key)) = (run, key) else {
                        self.damage.record_nameless(&segment.file, offset);
                        continue;
                    };
                    return Some(Entry {
                        run,
                        sequence: None,
                        is_settled,
                        value: EntryValue::Point(LoggedPoint {
                            key,
                            value: point.value,
                            timestamp_ms: point.timestamp_ms,
                            step: decode_last_step(point.step).is_none().then_some(point.step),
                        }),
                    });
                }
                Some(Record::Definition(Definition::Key { id, name })) => {
                    let name = self.names.intern(&name);
                    segment.at.keys.insert(id, name);
                }
                Some(Record::Definition(Definition::Run { number, identity })) => {
                    self.names.define_run(number, &identity);
                }
                Some(Record::Definition(Definition::Origin(origin))) => {
                    segment.at.common_tags = Arc::clone(&origin.tags);
                    self.origin
                        .get_or_insert_with(|| JournalOrigin::from(origin));
                }
                Some(Record::Event {
                    run,
                    sequence,
                    event,
                }) => {
                    let Some(parsed) = event.parse() else {
                        self.unknown_records += 1;
                        continue;
                    };
                    if let Event::Start(start) = &parsed {
                        self.names.define_run(run, &start.identity);
                    }
                    let Some(run) = self.names.find_run(run, &self.source) else {
                        self.damage.record_nameless(&segment.file, offset);
                        continue;
                    };
                    let is_known_start =
                        matches!(&parsed, Event::Start(start) if start.is_delivered);
                    let fingerprint = match &parsed {
                        Event::Artifact { fingerprint, .. } => *fingerprint,
                        _ => None,
                    };
                    let attached = event.attachment.len() as u64;
                    let value = EntryValue::of_event(parsed, segment, attached);
                    if self.checks_artifacts
                        && !is_settled
                        && let EntryValue::Artifact {
                            file: Some(file), ..
                        }
                        | EntryValue::Dataset {
                            file: Some(file), ..
                        }
                        | EntryValue::Model {
                            file: Some(file), ..
                        } = &value
                        && (file.exists() || !self.source.is_live())
                        && let Some(fault) = find_copy_fault(file, fingerprint)
                    {
                        self.damage.record_unusable(file, fault);
                    }
                    return Some(Entry {
                        run,
                        sequence: Some(sequence),
                        is_settled: is_settled || is_known_start,
                        value,
                    });
                }
                None => self.unknown_records += 1,
            }
        }
    }
}

impl EntrySource {
    fn is_live(&self) -> bool {
        matches!(self, Self::Directory { is_live: true, .. })
    }

    /// Returns the segments, oldest first.
    pub(super) fn files(&self) -> io::Result<Vec<PathBuf>> {
        match self {
            Self::Directory { path, .. } => match segment_files(path) {
                // The journal was delivered meanwhile.
                Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(Vec::new()),
                files => files,
            },
            Self::File(path) => Ok(vec![path.clone()]),
            Self::Nothing => Ok(Vec::new()),
        }
    }
}

impl SegmentReader {
    /// Opens a segment at a position. Returns `None` if nothing was written to it yet.
    fn open(file: &Path, at: Option<SegmentPosition>) -> io::Result<Option<Self>> {
        let bytes = SegmentBytes::from_bytes(user_files::read_file(file)?);
        if bytes.is_blank() {
            return Ok(None);
        }
        if !bytes.has_known_format() {
            return Err(io::Error::other(
                "it is no segment in a format that this version of the library knows",
            ));
        }
        let at = at.unwrap_or_else(|| SegmentPosition {
            offset: HEADER_BYTES,
            keys: FxHashMap::default(),
            common_tags: Arc::default(),
        });
        Ok(Some(Self {
            file: file.to_owned(),
            settled_offset: bytes.acknowledged_offset(),
            bytes,
            reread_at: None,
            at,
        }))
    }
}

/// Returns true if the file has something other than zeros at `offset`.
fn is_written(file: &Path, offset: usize) -> bool {
    let mut word = [0; 4];
    let read = user_files::open_to_read(file)
        .and_then(|file| file.read_exact_at(&mut word, offset as u64));
    read.is_ok() && word != [0; 4]
}

impl JournalNames {
    /// Returns the run with this number. If no record before has defined the run, all segments are searched.
    fn find_run(&mut self, number: u32, source: &EntrySource) -> Option<Arc<JournalRun>> {
        if !self.runs.contains_key(&number) {
            self.survey(source);
        }
        self.runs.get(&number).map(Arc::clone)
    }

    /// Returns the name of a metric that its own segment does not define.
    #[cold]
    fn find_interned(&mut self, id: u32, source: &EntrySource) -> Option<Arc<str>> {
        if !is_interned(id) {
            return None;
        }
        self.survey(source);
        self.interned.get(&id).map(Arc::clone)
    }

    fn define_run(&mut self, number: u32, identity: &RunIdentity) {
        self.runs
            .entry(number)
            .or_insert_with(|| Arc::new(JournalRun::from(identity)));
    }

    /// Returns the one instance of a metric's name.
    fn intern(&mut self, name: &str) -> Arc<str> {
        if let Some(known) = self.metrics.get(name) {
            return Arc::clone(known);
        }
        let name: Arc<str> = Arc::from(name);
        self.metrics.insert(Arc::clone(&name));
        name
    }

    /// Collects the definitions in all segments, once: damage has hit some of them.
    fn survey(&mut self, source: &EntrySource) {
        if std::mem::replace(&mut self.is_surveyed, true) {
            return;
        }
        for file in source.files().unwrap_or_default() {
            let Ok(bytes) = user_files::read_file(&file) else {
                continue;
            };
            SegmentBytes::from_bytes(bytes).for_each_whole(|body, _| match Record::decode(body) {
                Some(Record::Definition(Definition::Key { id, name })) if is_interned(id) => {
                    let name = self.intern(&name);
                    self.interned.insert(id, name);
                }
                Some(Record::Definition(Definition::Run { number, identity })) => {
                    self.define_run(number, &identity);
                }
                _ => {}
            });
        }
    }
}

impl EntryValue {
    /// Returns the value of an event in `segment`, with an attachment of `attached` bytes.
    fn of_event(event: Event<'static>, segment: &SegmentReader, attached: u64) -> Self {
        let directory = segment.file.parent().unwrap_or(Path::new(""));
        match event {
            Event::Start(mut start) => {
                start.adopt_common_tags(&segment.at.common_tags);
                Self::Start(Box::new(StartedRun::from(*start)))
            }
            Event::Param(param) => {
                let param = param.into_owned();
                Self::Param {
                    key: param.key,
                    value: param.value,
                }
            }
            Event::Tag(tag) => {
                let tag = tag.into_owned();
                Self::Tag {
                    key: tag.key,
                    value: tag.value,
                }
            }
            Event::Artifact {
                path,
                kind,
                content,
                fingerprint,
            } => {
                let path = path.into_owned();
                let artifact = |kind, bytes, file| Self::Artifact {
                    path: path.clone(),
                    kind,
                    bytes,
                    file,
                };
                let value = |bytes, file| match kind {
                    ArtifactKind::File => artifact(EntryArtifactKind::File, bytes, file),
                    ArtifactKind::TableRows(chunk) => {
                        let rows = chunk.rows as u64;
                        artifact(EntryArtifactKind::TableRows { rows }, bytes, file)
                    }
                    ArtifactKind::Image(_) | ArtifactKind::ImageFile { .. } => {
                        artifact(EntryArtifactKind::Image, bytes, file)
                    }
                    ArtifactKind::CheckpointFile(call) => {
                        let step = call.step;
                        artifact(EntryArtifactKind::CheckpointFile { step }, bytes, file)
                    }
                    ArtifactKind::Checkpoint(call) => {
                        let step = call.step;
                        artifact(EntryArtifactKind::CheckpointEnd { step }, bytes, file)
                    }
                    ArtifactKind::Dataset => {
                        let name = kind.shown_name(&path).to_owned();
                        Self::Dataset { name, bytes, file }
                    }
                    ArtifactKind::ModelFile
                    | ArtifactKind::Model
                    | ArtifactKind::ModelOutput
                    | ArtifactKind::ModelInput => {
                        let parsed = ModelPath::parse(&path);
                        let name = parsed.as_ref().map_or(&*path, |parsed| parsed.name);
                        Self::Model {
                            name: name.to_owned(),
                            path: parsed.and_then(|parsed| parsed.file).map(str::to_owned),
                            bytes,
                            file,
                        }
                    }
                };
                match content {
                    ArtifactLocation::Attached => value(attached, None),
                    ArtifactLocation::Spooled(name) => {
                        let file = artifact_path(directory, &name, ARTIFACT_EXTENSION);
                        let length = || file.as_deref().map_or(0, user_files::file_length);
                        let bytes = fingerprint.map_or_else(length, |print| print.length);
                        value(bytes, file)
                    }
                    ArtifactLocation::Growing { file, part } => {
                        Self::Console(StoredConsole::new(path, directory, &file, part.as_ref()))
                    }
                }
            }
            Event::End {
                status,
                end_time_ms,
            } => Self::End {
                status,
                end_time_ms,
            },
        }
    }
}

impl From<Origin> for JournalOrigin {
    fn from(origin: Origin) -> Self {
        Self {
            destination: origin.destination,
            host: origin.host,
            process_id: origin.process_id,
        }
    }
}

impl From<&RunIdentity> for JournalRun {
    fn from(identity: &RunIdentity) -> Self {
        let (experiment_name, experiment_id) = match &identity.experiment {
            ExperimentRef::Name(name) => (Some(name.clone()), None),
            ExperimentRef::Id(id) => (None, Some(id.clone())),
        };
        Self {
            key: identity.key.clone(),
            experiment_name,
            experiment_id,
            resumed_run_id: identity.resumed.clone(),
        }
    }
}

impl From<RunStart<'static>> for StartedRun {
    fn from(start: RunStart<'static>) -> Self {
        Self {
            name: start.name.into_owned(),
            user: start.user.into_owned(),
            start_time_ms: start.start_time_ms,
            parent_key: start.parent.map(|parent| parent.key.clone()),
            tags: { start.tags.into_iter() }
                .map(|tag| {
                    let tag = tag.into_owned();
                    (tag.key, tag.value)
                })
                .collect(),
            params: { start.params.into_iter() }
                .map(|param| (param.key, param.value))
                .collect(),
        }
    }
}
