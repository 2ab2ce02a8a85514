//! [`Importer`] and [`RunWriter`]: the way of a run from another tracker into the store.
//!
//! Invariants:
//!
//! - The key of a run follows from its source and the experiment, so that a later import finds the run again.
//! - Each point of the source is stored once, however often it is imported: the points that the run already has
//!   are read before others are added.
//! - Memory is bounded: points are written when [`FLUSH_POINTS`] of them have been read.
//!   The points that a run had before are held in memory while the run is imported, some 40 bytes each.
//! - After an interrupt, what was stored stays, and the next import goes on. The result tells which runs are not
//!   complete.

use std::cell::{Cell, RefCell};
use std::collections::{BTreeMap, BTreeSet, HashMap, HashSet};
use std::fs::{self, File};
use std::io::{self, Read as _};
use std::path::{Path, PathBuf};
use std::sync::Arc;

use mlflow::blocking::Client;
use mlflow::entities::{NewRun, Run, RunUpdate, RunValues};
use mlflow::{ClientError, LegalValues, RunStatus};
use mlflow_rules::{Edge, REDACTED};
use serde::Serialize;

use super::discovery::{Source, absolute};
use super::progress::Progress;
use crate::commands::interrupt::Interrupt;
use crate::failure::Failure;
use crate::output::Output;

/// Number of points of one run that are written at a time.
const FLUSH_POINTS: usize = 50_000;
/// Number of points of all runs that may wait in memory, where the rows of a file belong to many runs.
pub(super) const MAX_WAITING_POINTS: usize = 500_000;
/// Size above which an artifact of the same size counts as the same, and is not sent again.
const COMPARED_BYTES: u64 = 1 << 20;
/// Size of the largest text in which secrets are looked for.
const MAX_SEARCHED_BYTES: u64 = 64 << 20;
/// Number of bytes that tell a text from other content: a text has no NUL.
const SAMPLE_BYTES: u64 = 8192;

/// Format of the files that `export` writes, whose tables all belong to the same runs.
pub(super) const EXPORT_FORMAT: &str = "mlflow";

/// Tag with the format of the source.
const FORMAT_TAG: &str = "import.format";
/// Tag with the path of the source.
const SOURCE_TAG: &str = "import.source";
/// Tag with the id of the run in its source.
const ID_TAG: &str = "import.id";

/// Run in another tracker's files.
#[derive(Clone, Debug)]
pub(super) struct SourceRun {
    /// Name of the format, which is a part of the key.
    pub(super) format: &'static str,
    /// Id that the source has given to the run, else the path of the source.
    pub(super) id: String,
    /// Path of the source, for people.
    pub(super) source: String,
    pub(super) name: String,
    /// Experiment, unless the arguments name another.
    pub(super) experiment: String,
    /// Time of the last change of the source, which is the start of a run that has no times at all.
    pub(super) changed_ms: Option<i64>,
}

/// Result of one run's import.
#[derive(Debug, Serialize)]
pub(super) struct ImportedRun {
    pub(super) format: &'static str,
    pub(super) source: String,
    pub(super) experiment: String,
    pub(super) name: String,
    /// Id in the store; `None` if nothing was to be written.
    pub(super) run_id: Option<String>,
    /// Points in the source.
    pub(super) points: u64,
    /// Points that the run did not have before.
    pub(super) new_points: u64,
    pub(super) params: u64,
    pub(super) artifacts: u64,
    /// False if the import has ended before the end of the run.
    pub(super) complete: bool,
}

impl ImportedRun {
    /// Adds what another file holds of the same run.
    fn add(&mut self, other: &Self) {
        self.points += other.points;
        self.new_points += other.new_points;
        self.params += other.params;
        self.artifacts += other.artifacts;
        self.complete &= other.complete;
    }
}

/// Result of an import.
pub(super) struct Results {
    pub(super) runs: Vec<ImportedRun>,
    /// Lines for people.
    pub(super) remarks: Vec<String>,
    pub(super) damaged_files: u64,
    /// Number of runs that stay `RUNNING`, as the import has ended before their end.
    pub(super) left_running: u64,
}

/// Format and id of a run in its source.
type RunId = (&'static str, String);

/// Store to which runs are imported, and what is known about the import so far.
pub(super) struct Importer<'c> {
    client: &'c Client,
    output: Output,
    interrupt: Interrupt,
    is_dry_run: bool,
    /// Experiment that the arguments name.
    experiment: Option<String>,
    experiment_ids: RefCell<HashMap<String, String>>,
    pub(super) progress: Progress,
    /// Lines for people that were written, each once, with their places in the order of writing.
    remarks: RefCell<HashMap<String, usize>>,
    imported: RefCell<Vec<ImportedRun>>,
    /// Places in `imported`.
    imported_places: RefCell<HashMap<RunId, usize>>,
    /// Metrics of exported runs, of which this import has read points.
    imported_metrics: RefCell<HashMap<RunId, HashSet<Arc<str>>>>,
    /// Runs of which points are stored, but not all, with their status in the store.
    unfinished: RefCell<HashMap<RunId, (ImportedRun, RunStatus)>>,
    /// True if there is only one source, so that an error about it says all.
    has_one_source: bool,
    damaged_files: RefCell<BTreeSet<PathBuf>>,
    waiting_points: Cell<usize>,
}

impl<'c> Importer<'c> {
    /// Creates the importer for a store.
    pub(super) fn new(
        client: &'c Client,
        output: Output,
        experiment: Option<String>,
        is_dry_run: bool,
        sources: &[Source],
    ) -> Result<Self, Failure> {
        let total_bytes = sources.iter().map(Source::bytes).sum();
        let interrupt = Interrupt::listen()
            .map_err(|error| Failure::Io("cannot listen for signals".to_owned(), error))?;
        Ok(Self {
            client,
            output,
            interrupt,
            is_dry_run,
            experiment,
            experiment_ids: RefCell::default(),
            progress: Progress::begin(output, total_bytes),
            remarks: RefCell::default(),
            imported: RefCell::default(),
            imported_places: RefCell::default(),
            imported_metrics: RefCell::default(),
            unfinished: RefCell::default(),
            has_one_source: sources.len() == 1,
            damaged_files: RefCell::default(),
            waiting_points: Cell::new(0),
        })
    }

    /// Begins the import of a run. The run is created with its first value, or at its end.
    pub(super) fn begin(&self, source: SourceRun) -> RunWriter<'_> {
        RunWriter {
            importer: self,
            source,
            start_time_ms: None,
            user: None,
            legal: LegalValues::new(),
            keys: HashMap::new(),
            points: WaitingPoints {
                points: Vec::new(),
                total: &self.waiting_points,
            },
            params: BTreeMap::new(),
            tags: BTreeMap::new(),
            end: None,
            last_time_ms: None,
            target: Target::Pending,
            counts: Counts::default(),
        }
    }

    /// Writes a line about the import, the first time.
    pub(super) fn remark(&self, text: impl Into<String>) {
        // A name in it may have line feeds.
        let text = text.into().replace(['\n', '\r'], " ");
        let mut remarks = self.remarks.borrow_mut();
        if !remarks.contains_key(&text) {
            self.progress.suspend(|| self.output.remark(&text));
            let place = remarks.len();
            remarks.insert(text, place);
        }
    }

    /// Writes a line about a file that cannot be read to its end, or not in full.
    pub(super) fn damage(&self, file: &Path, what: &str) {
        self.count_damage(
            file,
            format!("{}: {what}; what can be read is imported", file.display()),
        );
    }

    /// Writes a line about a file whose rest cannot be read.
    pub(super) fn damage_by_read_error(&self, file: &Path, error: &io::Error) {
        let what = format!("the file cannot be read to its end: {error}");
        self.damage(file, &what);
    }

    /// Writes a line about a source of which nothing can be read, or no more. The others are still imported.
    pub(super) fn skip(&self, file: &Path, failure: &Failure) {
        self.count_damage(file, failure.to_string());
    }

    /// Tells that there are no values in a source: by an error if it is the only one, else by a line.
    pub(super) fn skip_empty(&self, path: &Path, why: &str) -> Result<(), Failure> {
        let text = format!("there is nothing to import in {}: {why}", path.display());
        if self.has_one_source {
            return Err(Failure::NotFound(text));
        }
        self.remark(text);
        Ok(())
    }

    fn count_damage(&self, file: &Path, text: String) {
        self.remark(text);
        self.damaged_files.borrow_mut().insert(file.to_owned());
    }

    /// Returns the content of a file in which secrets are looked for: that of a text.
    fn searched_text(&self, path: &Path) -> io::Result<Option<Vec<u8>>> {
        let mut file = File::open(path)?;
        let mut content = Vec::new();
        (&mut file).take(SAMPLE_BYTES).read_to_end(&mut content)?;
        if !is_text(&content) {
            return Ok(None);
        }
        file.take(MAX_SEARCHED_BYTES).read_to_end(&mut content)?;
        if content.len() as u64 > MAX_SEARCHED_BYTES {
            self.remark(format!(
                "{}: the file has more than 64 MiB, and no secrets are looked for in it",
                path.display()
            ));
            return Ok(None);
        }
        Ok(Some(content))
    }

    /// Returns true if too many points of all runs wait in memory.
    pub(super) fn is_full(&self) -> bool {
        self.waiting_points.get() >= MAX_WAITING_POINTS
    }

    /// Returns an error if the program is to end.
    pub(super) fn check_interrupt(&self) -> Result<(), Failure> {
        if self.interrupt.has_come() {
            return Err(Failure::Other("interrupted".to_owned()));
        }
        Ok(())
    }

    /// Returns the result.
    pub(super) fn into_results(self) -> Results {
        let Self {
            imported,
            imported_places,
            unfinished,
            remarks,
            damaged_files,
            ..
        } = self;
        let mut runs = imported.into_inner();
        let mut unfinished: Vec<_> = unfinished.into_inner().into_iter().collect();
        unfinished.sort_by(|(left, _), (right, _)| left.cmp(right));
        let is_running = |status: &RunStatus| *status == RunStatus::Running;
        let left_running = { unfinished.iter() }
            .filter(|(_, (_, status))| is_running(status))
            .count();
        let places = imported_places.into_inner();
        for (id, (run, _)) in unfinished {
            match places.get(&id).and_then(|place| runs.get_mut(*place)) {
                None => runs.push(run),
                Some(known) => known.add(&run),
            }
        }
        let mut remarks: Vec<(String, usize)> = remarks.into_inner().into_iter().collect();
        remarks.sort_by_key(|(_, place)| *place);
        Results {
            runs,
            remarks: remarks.into_iter().map(|(text, _)| text).collect(),
            damaged_files: damaged_files.into_inner().len() as u64,
            left_running: left_running as u64,
        }
    }

    /// Adds the result of a run. Several files may belong to one run.
    fn add_imported(&self, id: RunId, run: ImportedRun) {
        self.unfinished.borrow_mut().remove(&id);
        let mut imported = self.imported.borrow_mut();
        let next = imported.len();
        let place = *{ self.imported_places.borrow_mut() }
            .entry(id)
            .or_insert(next);
        match imported.get_mut(place) {
            None => imported.push(run),
            Some(known) => known.add(&run),
        }
    }

    /// Returns the id of the experiment, which is created if it does not exist.
    fn experiment_id(&self, name: &str) -> Result<String, Failure> {
        if let Some(id) = self.experiment_ids.borrow().get(name) {
            return Ok(id.clone());
        }
        let id = match self.client.experiment(name) {
            Ok(found) if found.is_deleted() => {
                return Err(Failure::Blocked(format!(
                    "the experiment `{name}` is deleted: restore it, or choose another one with --experiment"
                )));
            }
            Ok(found) => found.experiment_id,
            Err(ClientError::NotFound { .. }) => match self.client.create_experiment(name) {
                // Another process has created it meanwhile.
                Err(ClientError::AlreadyExists { .. }) => {
                    self.client.experiment(name)?.experiment_id
                }
                created => created?,
            },
            Err(error) => return Err(error.into()),
        };
        let mut known = self.experiment_ids.borrow_mut();
        known.insert(name.to_owned(), id.clone());
        Ok(id)
    }
}

/// Point that waits in memory. A point without a time of its own gets that of the run's start.
struct Point {
    key: Arc<str>,
    step: i64,
    value: f64,
    time_ms: Option<i64>,
}

/// Points of one run that wait in memory. Their number is a part of `total` until they are taken or dropped.
struct WaitingPoints<'i> {
    points: Vec<Point>,
    /// Number of points of all runs that wait.
    total: &'i Cell<usize>,
}

impl WaitingPoints<'_> {
    fn push(&mut self, point: Point) {
        self.points.push(point);
        self.total.set(self.total.get() + 1);
    }

    fn take(&mut self) -> Vec<Point> {
        self.total.set(self.total.get() - self.points.len());
        std::mem::take(&mut self.points)
    }
}

impl Drop for WaitingPoints<'_> {
    fn drop(&mut self) {
        self.take();
    }
}

/// Step, time and bits of the value of a point.
type PointIdentity = (i64, i64, u64);

enum Target {
    /// Nothing was written yet.
    Pending,
    /// Nothing is written, as this is a dry run, or as the run is deleted in the store.
    Nowhere {
        experiment: String,
    },
    Open(Box<OpenRun>),
}

struct OpenRun {
    /// Run as it was before this import.
    run: Run,
    experiment: String,
    /// Points that the run had before, for those metrics that were looked up.
    points: HashMap<Arc<str>, HashSet<PointIdentity>>,
    /// Sizes of the artifacts that the run had before, by path; `None` if not looked up yet.
    artifacts: Option<HashMap<String, u64>>,
}

#[derive(Default)]
struct Counts {
    points: u64,
    new_points: u64,
    artifacts: u64,
}

/// Content of an artifact.
pub(super) enum Artifact<'a> {
    File(&'a Path),
    Bytes(Vec<u8>),
}

/// Run that is being imported.
pub(super) struct RunWriter<'i> {
    importer: &'i Importer<'i>,
    source: SourceRun,
    /// Start of the run; the earliest time of its points, if the source has no other.
    start_time_ms: Option<i64>,
    user: Option<String>,
    legal: LegalValues,
    /// Names under which the metrics of the source are stored.
    keys: HashMap<String, Arc<str>>,
    points: WaitingPoints<'i>,
    params: BTreeMap<String, String>,
    tags: BTreeMap<String, String>,
    end: Option<(RunStatus, Option<i64>)>,
    last_time_ms: Option<i64>,
    target: Target,
    counts: Counts,
}

impl RunWriter<'_> {
    /// Sets the start of the run, in ms since the Unix epoch.
    pub(super) fn start(&mut self, time_ms: i64) {
        self.start_time_ms = Some(time_ms.max(0));
    }

    /// Sets the owner of the run.
    pub(super) fn user(&mut self, user: &str) {
        self.user = Some(user.to_owned());
    }

    /// Returns the path of the source, for people.
    pub(super) fn source_path(&self) -> &str {
        &self.source.source
    }

    /// Returns the name of the run.
    pub(super) fn name(&self) -> &str {
        &self.source.name
    }

    /// Changes what is known about the run, before anything of it is written.
    pub(super) fn source(&mut self) -> &mut SourceRun {
        &mut self.source
    }

    /// Adds a param. The last value of a key wins.
    pub(super) fn param(&mut self, key: &str, value: &str) {
        self.params.insert(key.to_owned(), value.to_owned());
    }

    /// Removes a param, and all params below its key.
    pub(super) fn remove_params(&mut self, key: &str) {
        self.params.retain(|param, _| {
            let rest = param.strip_prefix(key);
            !rest.is_some_and(|rest| rest.is_empty() || rest.starts_with('.'))
        });
    }

    /// Adds a tag. The last value of a key wins.
    pub(super) fn tag(&mut self, key: &str, value: &str) {
        self.tags.insert(key.to_owned(), value.to_owned());
    }

    /// Sets status and end of the run. Default: `FINISHED` at the time of the last point.
    pub(super) fn end(&mut self, status: RunStatus, time_ms: Option<i64>) {
        self.end = Some((status, time_ms));
    }

    /// Returns true if the source has set an end.
    pub(super) fn has_end(&self) -> bool {
        self.end.is_some()
    }

    /// Returns the latest time of a point so far.
    pub(super) fn last_time_ms(&self) -> Option<i64> {
        self.last_time_ms
    }

    /// Notes a time at which the run was active.
    pub(super) fn saw_time(&mut self, time_ms: i64) {
        let time_ms = time_ms.max(0);
        self.last_time_ms = self.last_time_ms.max(Some(time_ms));
    }

    /// Adds a point of a metric.
    pub(super) fn point(
        &mut self,
        key: &str,
        step: i64,
        value: f64,
        time_ms: Option<i64>,
    ) -> Result<(), Failure> {
        let key = match self.keys.get(key) {
            Some(key) => Arc::clone(key),
            None => {
                let legal: Arc<str> = self.legal.metric_key(key).as_ref().into();
                self.tell_changes();
                self.keys.insert(key.to_owned(), Arc::clone(&legal));
                legal
            }
        };
        let time_ms = time_ms.map(|ms| ms.max(0));
        if let Some(ms) = time_ms {
            self.saw_time(ms);
        }
        self.counts.points += 1;
        self.points.push(Point {
            key,
            step,
            value,
            time_ms,
        });
        if self.points.points.len() >= FLUSH_POINTS {
            self.flush()?;
        }
        Ok(())
    }

    /// Adds an artifact, and replaces an earlier one with the same path. Credentials in texts are masked. A file that
    /// cannot be read is left out with a line.
    pub(super) fn artifact(&mut self, path: &str, content: Artifact<'_>) -> Result<(), Failure> {
        let path = self.legal.artifact_path(path);
        self.tell_changes();
        let content = match &content {
            Artifact::File(file) => match self.importer.searched_text(file) {
                Ok(text) => text.and_then(|text| self.masked(&path, &text)),
                Err(error) => {
                    self.importer.damage_by_read_error(file, &error);
                    return Ok(());
                }
            },
            Artifact::Bytes(bytes) if is_text(bytes) => self.masked(&path, bytes),
            Artifact::Bytes(_) => None,
        }
        .map_or(content, Artifact::Bytes);
        self.counts.artifacts += 1;
        let client = self.importer.client;
        let Some(open) = self.open()? else {
            return Ok(());
        };
        let run_id = open.run.run_id.clone();
        let size = match &content {
            Artifact::File(file) => fs::metadata(file).map_or(0, |metadata| metadata.len()),
            Artifact::Bytes(bytes) => bytes.len() as u64,
        };
        if size > COMPARED_BYTES && open.artifact_sizes(client)?.get(&path) == Some(&size) {
            return Ok(());
        }
        match content {
            Artifact::File(file) => client.log_artifact(run_id, file, path)?,
            Artifact::Bytes(bytes) => client.log_artifact_bytes(run_id, bytes, path)?,
        }
        self.importer.check_interrupt()
    }

    /// Returns the text of an artifact without its credentials; `None` if it has none.
    fn masked(&self, path: &str, text: &[u8]) -> Option<Vec<u8>> {
        let masked = mlflow_rules::mask(&String::from_utf8_lossy(text), Edge::End)?;
        self.importer.remark(format!(
            "artifact {path:?}: text that looks like {} is stored as {REDACTED}",
            masked.kind
        ));
        Some(masked.text.into_bytes())
    }

    /// Returns the value, or what is stored in its place if the key has the name of a secret.
    fn unless_secret<'v>(&self, what: &str, key: &str, value: &'v str) -> &'v str {
        // What MLflow holds already was judged when it was logged.
        if self.source.format == EXPORT_FORMAT || !mlflow_rules::is_secret_name(key) {
            return value;
        }
        self.importer.remark(format!(
            "{what} {key:?}: it has the name of a secret and is stored as {REDACTED}"
        ));
        REDACTED
    }

    /// Returns true if this import has read points of the metric already.
    pub(super) fn was_imported(&mut self, key: &str) -> bool {
        let key = self.legal.metric_key(key);
        let imported = self.importer.imported_metrics.borrow();
        { imported.get(&self.id()) }.is_some_and(|metrics| metrics.contains(&*key))
    }

    /// Adds the latest value of a metric, whose step and time are not known. A metric that the store has keeps its
    /// points.
    pub(super) fn latest_value(
        &mut self,
        key: &str,
        value: f64,
        time_ms: Option<i64>,
    ) -> Result<(), Failure> {
        let legal = self.legal.metric_key(key).into_owned();
        let open = self.open()?;
        if open.is_some_and(|open| open.run.metrics.contains_key(&legal)) {
            self.counts.points += 1;
            return Ok(());
        }
        self.point(key, 0, value, time_ms)
    }

    /// Returns true if nothing is known of the run but its name and its start.
    pub(super) fn is_empty(&self) -> bool {
        let Counts {
            points, artifacts, ..
        } = self.counts;
        points + artifacts == 0
            && self.params.is_empty()
            && self.tags.is_empty()
            && self.end.is_none()
    }

    fn id(&self) -> RunId {
        (self.source.format, self.source.id.clone())
    }

    /// Writes the points that wait in memory.
    pub(super) fn flush(&mut self) -> Result<(), Failure> {
        let points = self.points.take();
        if points.is_empty() {
            return Ok(());
        }
        let earliest = points.iter().filter_map(|point| point.time_ms).min();
        self.start_time_ms = self.start_time_ms.or(earliest);
        let client = self.importer.client;
        let written = match self.open()? {
            Some(open) => open.write(client, points)?,
            None => 0,
        };
        self.counts.new_points += written;
        self.importer.progress.add_points(written);
        self.note_unfinished();
        self.importer.check_interrupt()
    }

    /// Notes what is stored of the run so far.
    fn note_unfinished(&self) {
        if let Target::Open(open) = &self.target {
            let result = self.result(Some(open.run.run_id.clone()), open.experiment.clone());
            let mut unfinished = self.importer.unfinished.borrow_mut();
            unfinished.insert(self.id(), (result, open.run.status));
        }
    }

    /// Returns the result so far, as of a run that is not complete.
    fn result(&self, run_id: Option<String>, experiment: String) -> ImportedRun {
        ImportedRun {
            format: self.source.format,
            source: self.source.source.clone(),
            experiment,
            name: self.source.name.clone(),
            run_id,
            points: self.counts.points,
            new_points: self.counts.new_points,
            params: self.params.len() as u64,
            artifacts: self.counts.artifacts,
            complete: false,
        }
    }

    /// Writes all that is left, with params, tags, status and end.
    pub(super) fn finish(mut self) -> Result<(), Failure> {
        self.flush()?;
        self.write_texts()?;
        self.write_end()?;
        self.tell_changes();
        let (run_id, experiment) = match &self.target {
            Target::Open(open) => (Some(open.run.run_id.clone()), open.experiment.clone()),
            Target::Nowhere { experiment } => (None, experiment.clone()),
            Target::Pending => (None, self.source.experiment.clone()),
        };
        let result = ImportedRun {
            complete: true,
            ..self.result(run_id, experiment)
        };
        let (importer, id) = (self.importer, self.id());
        if id.0 == EXPORT_FORMAT {
            let mut metrics = importer.imported_metrics.borrow_mut();
            let metrics = metrics.entry(id.clone()).or_default();
            metrics.extend(self.keys.into_values());
        }
        importer.add_imported(id, result);
        importer.check_interrupt()
    }

    fn tell_changes(&mut self) {
        for change in self.legal.take_changes() {
            self.importer.remark(change);
        }
    }

    fn write_texts(&mut self) -> Result<(), Failure> {
        let mut params = Vec::new();
        for (key, value) in &self.params {
            let value = self.unless_secret("param", key, value);
            params.push(self.legal.param(key, value));
        }
        let mut tags = Vec::new();
        for (key, value) in &self.tags {
            let value = self.unless_secret("tag", key, value);
            tags.push(self.legal.tag(key, value));
        }
        let (importer, name) = (self.importer, self.source.name.clone());
        let Some(open) = self.open()? else {
            return Ok(());
        };
        let mut values = RunValues::new();
        for (key, value) in params {
            match open.run.param(&key) {
                None => values = values.param(key, value),
                Some(stored) if stored == value => {}
                Some(stored) => {
                    importer.remark(format!(
                        "run `{name}`: the param `{key}` stays {stored:?}, although it is {value:?} in the source: \
                         MLflow's params cannot change"
                    ));
                }
            }
        }
        for (key, value) in tags {
            if open.run.tag(&key) != Some(&value) {
                values = values.tag(key, value);
            }
        }
        if !values.is_empty() {
            importer.client.log_batch(&*open.run.run_id, values)?;
        }
        Ok(())
    }

    fn write_end(&mut self) -> Result<(), Failure> {
        let (client, end, last) = (self.importer.client, self.end, self.last_time_ms);
        let Some(open) = self.open()? else {
            return Ok(());
        };
        let start = open.run.start_time_ms.unwrap_or_default();
        let (status, time) = match end {
            Some((RunStatus::Running, _)) => (RunStatus::Running, None),
            Some((status, time)) => (status, Some(time.or(last).unwrap_or(start).max(start))),
            // Another file of the same run may have set the end already.
            None => {
                let status = match open.run.status {
                    RunStatus::Running => RunStatus::Finished,
                    ended => ended,
                };
                let last = last.unwrap_or(start).max(start);
                (status, open.run.end_time_ms.max(Some(last)))
            }
        };
        if (open.run.status, open.run.end_time_ms) == (status, time) {
            return Ok(());
        }
        let mut update = RunUpdate::new().status(status);
        if let Some(time) = time {
            update = update.end_time_ms(time);
        }
        Ok(client.update_run(&*open.run.run_id, update)?)
    }

    /// Returns the run in the store, which is created if it does not exist; `None` if nothing is written.
    fn open(&mut self) -> Result<Option<&mut OpenRun>, Failure> {
        if matches!(self.target, Target::Pending) {
            self.target = self.create()?;
        }
        Ok(match &mut self.target {
            Target::Open(open) => Some(open),
            Target::Pending | Target::Nowhere { .. } => None,
        })
    }

    fn create(&mut self) -> Result<Target, Failure> {
        let importer = self.importer;
        let given = importer.experiment.as_ref();
        let experiment = self
            .legal
            .experiment_name(given.unwrap_or(&self.source.experiment))
            .ok_or_else(|| {
                Failure::Usage(
                    "the name of the experiment is empty: give one with --experiment".to_owned(),
                )
            })?;
        let name = self.legal.run_name(&self.source.name);
        if importer.is_dry_run {
            self.tell_changes();
            return Ok(Target::Nowhere { experiment });
        }
        let experiment_id = importer.experiment_id(&experiment)?;
        let SourceRun {
            format, id, source, ..
        } = &self.source;
        let key = run_key(format, id, &experiment_id);
        let mut new = NewRun::new(experiment_id).key(key).name(name);
        if let Some(start) = self.start_time_ms.or(self.source.changed_ms) {
            new = new.start_time_ms(start);
        }
        if let Some(user) = &self.user {
            new = new.user_id(self.legal.run_name(user));
        }
        let source = absolute(Path::new(source));
        for (key, value) in [(FORMAT_TAG, *format), (SOURCE_TAG, &source), (ID_TAG, id)] {
            let (key, value) = self.legal.tag(key, value);
            new = new.tag(key, value);
        }
        self.tell_changes();
        let run = importer.client.create_run(new)?;
        if run.is_deleted() {
            importer.remark(format!(
                "run `{}` was imported before and is deleted in the store, so it is left out: restore the run {} to \
                 import it again",
                self.source.name, run.run_id
            ));
            return Ok(Target::Nowhere { experiment });
        }
        Ok(Target::Open(Box::new(OpenRun {
            run,
            experiment,
            points: HashMap::new(),
            artifacts: None,
        })))
    }
}

impl OpenRun {
    /// Writes those of the points that the run does not have yet, and returns their number.
    fn write(&mut self, client: &Client, points: Vec<Point>) -> Result<u64, Failure> {
        self.look_up_points(client, &points)?;
        let start = self.run.start_time_ms.unwrap_or_default();
        let mut values = RunValues::new();
        let mut count = 0;
        for point in points {
            let time_ms = point.time_ms.unwrap_or(start);
            let identity = point_identity(point.step, time_ms, point.value);
            let is_stored =
                { self.points.get(&point.key) }.is_some_and(|stored| stored.contains(&identity));
            if !is_stored {
                values.push_metric(point.key, point.value, point.step, time_ms);
                count += 1;
            }
        }
        if count > 0 {
            client.log_batch(&*self.run.run_id, values)?;
        }
        Ok(count)
    }

    /// Reads the stored points of those metrics that the run had before.
    fn look_up_points(&mut self, client: &Client, points: &[Point]) -> Result<(), Failure> {
        let wanted: HashSet<&Arc<str>> = { points.iter() }
            .map(|point| &point.key)
            .filter(|key| !self.points.contains_key(*key) && self.run.metrics.contains_key(&***key))
            .collect();
        if wanted.is_empty() {
            return Ok(());
        }
        let keys = wanted.iter().map(ToString::to_string);
        let histories = client.metric_histories(&*self.run.run_id, keys)?;
        for history in histories {
            let stored = history
                .iter()
                .map(|point| point_identity(point.step, point.timestamp_ms, point.value));
            self.points.insert(history.key().into(), stored.collect());
        }
        Ok(())
    }

    fn artifact_sizes(&mut self, client: &Client) -> Result<&HashMap<String, u64>, Failure> {
        if self.artifacts.is_none() {
            let mut sizes = HashMap::new();
            let mut folders = vec![String::new()];
            while let Some(folder) = folders.pop() {
                for entry in client.list_artifacts(&*self.run.run_id, folder)? {
                    match entry.file_size {
                        _ if entry.is_dir => folders.push(entry.path),
                        Some(size) => {
                            sizes.insert(entry.path, size);
                        }
                        None => {}
                    }
                }
            }
            self.artifacts = Some(sizes);
        }
        Ok(self.artifacts.get_or_insert_default())
    }
}

/// Returns true if the content is a text, as far as its beginning tells.
fn is_text(content: &[u8]) -> bool {
    let mut sample = content.iter().zip(0..SAMPLE_BYTES);
    sample.all(|(byte, _)| *byte != 0)
}

/// Returns what distinguishes a point from others of its metric, as the stores hold it: an infinity is stored as
/// the largest finite value, and there is one NaN and one zero.
fn point_identity(step: i64, time_ms: i64, value: f64) -> PointIdentity {
    let value = if value.is_nan() {
        f64::NAN
    } else {
        value.clamp(f64::MIN, f64::MAX) + 0.0
    };
    (step, time_ms, value.to_bits())
}

/// Returns the key of a run: 32 hex characters, which the same source in the same experiment always has.
fn run_key(format: &str, id: &str, experiment_id: &str) -> String {
    let text = [format, id, experiment_id].join("\0");
    let hash = hmac_sha256::Hash::hash(text.as_bytes());
    mlflow_rules::to_hex(hash.get(..16).unwrap_or(&hash))
}

/// Output of tests.
#[cfg(test)]
pub(super) const QUIET: Output = Output {
    json: true,
    is_terminal: false,
    is_styled: false,
    width: 80,
    height: 24,
};

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_run_that_is_given_up_leaves_no_points_in_the_count() {
        let config = mlflow::Config::new().tracking_uri("http://127.0.0.1:9");
        let client = Client::with_config(config);
        let importer = Importer::new(&client, QUIET, None, true, &[]).expect("signals");
        let mut run = importer.begin(SourceRun {
            format: "csv",
            id: "a".to_owned(),
            source: "a.csv".to_owned(),
            name: "a".to_owned(),
            experiment: "a".to_owned(),
            changed_ms: None,
        });
        for step in 0..3 {
            run.point("loss", step, 1.0, None).expect("a dry run");
        }
        assert_eq!(importer.waiting_points.get(), 3);
        drop(run);
        assert_eq!(importer.waiting_points.get(), 0);
    }

    #[test]
    fn a_key_is_that_of_its_source() {
        let key = run_key("tensorboard", "/runs/a", "1");
        assert_eq!(key, run_key("tensorboard", "/runs/a", "1"));
        assert_eq!(key.len(), 32);
        for (format, id, experiment) in [
            ("wandb", "/runs/a", "1"),
            ("tensorboard", "/runs/b", "1"),
            ("tensorboard", "/runs/a", "2"),
        ] {
            assert_ne!(key, run_key(format, id, experiment));
        }
    }

    #[test]
    fn values_are_compared_as_stores_hold_them() {
        for (one, other) in [
            (0.0, -0.0),
            (f64::NAN, -f64::NAN),
            (f64::INFINITY, f64::MAX),
        ] {
            assert_eq!(point_identity(1, 2, one), point_identity(1, 2, other));
        }
        assert_ne!(point_identity(1, 2, 0.5), point_identity(1, 2, 0.25));
    }
}
