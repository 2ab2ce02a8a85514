//! [`StoreFeed`]: runs that are read from their store again and again, on a thread of their own.
//!
//! Invariants: the store is read for at most a tenth of the time, so that whoever looks on does not slow down whoever
//! trains. Of a metric, the points are read again if its last point has changed, which is the one with the greatest step. Newer
//! points with smaller steps do not change it, as after a restart from a checkpoint. Therefore one more metric of a run that
//! goes on is read again each time, in turn, and all of them once it has ended.

use std::collections::{BTreeMap, HashMap};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::mpsc::{self, Receiver, RecvTimeoutError, Sender, SyncSender};
use std::thread;
use std::time::{Duration, Instant};

use mlflow::ClientError;
use mlflow::blocking::Client;
use mlflow::entities::{MetricHistory, MetricPoint, Run};
use mlflow::search::{SearchRuns, tag};
use mlflow::store::RUN_KEY_TAG;

use crate::console_log::{CONSOLE_FOLDER, newest_console};
use crate::output::format;

/// Least time between two readings.
const MIN_INTERVAL: Duration = Duration::from_secs(1);
/// Least time between two readings of runs that have ended, or of a store that does not answer.
const IDLE_INTERVAL: Duration = Duration::from_secs(5);
/// Number of times that a reading's duration is waited until the next one.
const PAUSE_FACTOR: u32 = 9;
/// Greatest console log that is fetched, in bytes.
const MAX_CONSOLE_BYTES: u64 = 8 << 20;
/// Greatest part of a console log that is kept, in bytes.
const MAX_KEPT_CONSOLE_BYTES: usize = 256 << 10;
/// Number of results that wait for their reader, which is busy while a terminal is slow.
const MAX_PENDING_NEWS: usize = 2;

/// Run that is to be read.
#[derive(Clone, Debug)]
pub(super) struct WantedRun {
    /// Position of the run among those that are watched.
    pub(super) index: usize,
    pub(super) id: WantedId,
}

#[derive(Clone, Debug)]
pub(super) enum WantedId {
    /// Id in the store.
    Stored(String),
    /// Local id of a run that the store may not have yet.
    Key(String),
}

/// Result of a reading.
pub(super) enum StoreNews {
    /// Run, with the histories of the metrics that have changed.
    Run {
        index: usize,
        run: Box<Run>,
        experiment: Option<String>,
        histories: Vec<MetricHistory>,
    },
    /// Console log of a run.
    Console { index: usize, text: String },
    /// End of one reading of all runs, with the first error.
    Complete(Option<ClientError>),
}

/// Runs that are read from one store. The reading ends when the feed is dropped.
pub(super) struct StoreFeed {
    news: Receiver<StoreNews>,
    /// Result of the last complete reading; `None` before the first one.
    outcome: Option<Result<(), ClientError>>,
    wants_console: Arc<AtomicBool>,
    _stop: Sender<()>,
}

impl StoreFeed {
    /// Begins to read runs.
    pub(super) fn start(client: Client, wanted: Vec<WantedRun>) -> std::io::Result<Self> {
        let (sender, news) = mpsc::sync_channel(MAX_PENDING_NEWS);
        let (stop, stopped) = mpsc::channel();
        let wants_console = Arc::new(AtomicBool::new(false));
        let reader = Reader {
            client,
            wanted,
            sender,
            wants_console: Arc::clone(&wants_console),
            known: HashMap::new(),
            experiments: BTreeMap::new(),
            console_bytes: HashMap::new(),
        };
        thread::Builder::new()
            .name("store".to_owned())
            .spawn(move || reader.run(&stopped))?;
        Ok(Self {
            news,
            outcome: None,
            wants_console,
            _stop: stop,
        })
    }

    /// Sets whether the console logs are read, too.
    pub(super) fn set_wants_console(&self, wants: bool) {
        self.wants_console.store(wants, Ordering::Relaxed);
    }

    /// Returns the next result, if there is one by now.
    pub(super) fn try_next(&mut self) -> Option<StoreNews> {
        let mut news = self.news.try_recv().ok()?;
        if let StoreNews::Complete(error) = &mut news {
            self.outcome = Some(error.take().map_or(Ok(()), Err));
        }
        Some(news)
    }

    /// Takes the error of the last complete reading.
    pub(super) fn take_error(&mut self) -> Option<ClientError> {
        match self.outcome.take() {
            Some(Err(error)) => Some(error),
            outcome => {
                self.outcome = outcome;
                None
            }
        }
    }

    /// Returns the result of the last complete reading; `None` before the first one.
    pub(super) fn outcome(&self) -> Option<Result<(), &ClientError>> {
        let outcome = self.outcome.as_ref()?;
        Some(outcome.as_ref().copied())
    }
}

/// Run that was read.
#[derive(Default)]
struct KnownRun {
    has_ended: bool,
    curves: BTreeMap<String, KnownCurve>,
    /// Number of readings of the run.
    readings: u64,
}

/// Curve of a metric when it was read last.
struct KnownCurve {
    last: MetricPoint,
    points: usize,
    /// Number of the reading.
    reading: u64,
}

impl KnownRun {
    /// Returns the metrics whose curves are to be read.
    fn choose(&self, run: &Run) -> Vec<String> {
        let is_known = |key: &&String| {
            let known = { self.curves.get(*key) }.zip(run.metrics.get(*key));
            known.is_some_and(|(known, point)| is_same(&known.last, point))
        };
        let (known, mut chosen): (Vec<&String>, Vec<&String>) =
            run.metrics.keys().partition(is_known);
        if run.end_time_ms.is_none() {
            let reading = |key: &&String| self.curves.get(*key).map(|known| known.reading);
            chosen.extend(known.into_iter().min_by_key(reading));
        } else if !self.has_ended {
            chosen.extend(known);
        }
        chosen.into_iter().cloned().collect()
    }

    /// Takes over what was read, and returns the curves that are not those that were known.
    fn take(&mut self, run: &Run, histories: Vec<MetricHistory>) -> Vec<MetricHistory> {
        self.readings += 1;
        self.has_ended = run.end_time_ms.is_some();
        self.curves.retain(|key, _| run.metrics.contains_key(key));
        let mut changed = Vec::new();
        for history in histories {
            let Some(&last) = run.metrics.get(history.key()) else {
                continue;
            };
            let now = KnownCurve {
                last,
                points: history.len(),
                reading: self.readings,
            };
            let former = self.curves.insert(history.key().to_owned(), now);
            // A store only adds points.
            let is_known = |former: &KnownCurve| {
                former.points == history.len() && is_same(&former.last, &last)
            };
            if !former.is_some_and(|former| is_known(&former)) {
                changed.push(history);
            }
        }
        changed
    }
}

/// State of the thread.
struct Reader {
    client: Client,
    wanted: Vec<WantedRun>,
    sender: SyncSender<StoreNews>,
    wants_console: Arc<AtomicBool>,
    /// Metrics that were read, by the position of the run.
    known: HashMap<usize, KnownRun>,
    /// Names of experiments, by their ids.
    experiments: BTreeMap<String, String>,
    /// Lengths of the console logs that were read.
    console_bytes: HashMap<usize, u64>,
}

impl Reader {
    fn run(mut self, stopped: &Receiver<()>) {
        loop {
            let started = Instant::now();
            let Some(is_idle) = self.read_all() else {
                return;
            };
            let least = if is_idle { IDLE_INTERVAL } else { MIN_INTERVAL };
            let pause = least.max(started.elapsed() * PAUSE_FACTOR);
            if stopped.recv_timeout(pause) != Err(RecvTimeoutError::Timeout) {
                return;
            }
        }
    }

    /// Reads all runs once. Returns true if nothing is to be expected soon, and `None` if nobody receives the results.
    fn read_all(&mut self) -> Option<bool> {
        let mut is_idle = true;
        let mut first_error = None;
        for wanted in self.wanted.clone() {
            match self.read(&wanted) {
                Ok(Some(news)) => {
                    if let StoreNews::Run { run, .. } = &news {
                        is_idle &= run.end_time_ms.is_some();
                    }
                    self.sender.send(news).ok()?;
                }
                Ok(None) => is_idle = false,
                Err(error) => {
                    let is_away = matches!(
                        error,
                        ClientError::Unavailable { .. } | ClientError::Blocked { .. }
                    );
                    first_error.get_or_insert(error);
                    if is_away {
                        break;
                    }
                    // A run that was deleted keeps no other back.
                    continue;
                }
            }
            if self.wants_console.load(Ordering::Relaxed)
                && let Some(text) = self.read_console(&wanted)
            {
                let index = wanted.index;
                self.sender.send(StoreNews::Console { index, text }).ok()?;
            }
        }
        is_idle |= first_error.is_some();
        self.sender.send(StoreNews::Complete(first_error)).ok()?;
        Some(is_idle)
    }

    /// Reads a run; `None` if the store does not have it yet.
    fn read(&mut self, wanted: &WantedRun) -> Result<Option<StoreNews>, ClientError> {
        let Some(run_id) = self.find(wanted)? else {
            return Ok(None);
        };
        let run = self.client.run(run_id)?;
        let known = self.known.entry(wanted.index).or_default();
        let chosen = known.choose(&run);
        let histories = if chosen.is_empty() {
            Vec::new()
        } else {
            self.client.metric_histories(&*run.run_id, chosen)?
        };
        let histories = known.take(&run, histories);
        let experiment = self.experiment_name(&run.experiment_id);
        Ok(Some(StoreNews::Run {
            index: wanted.index,
            run: Box::new(run),
            experiment,
            histories,
        }))
    }

    /// Finds the id of a run; `None` if the store does not have the run yet.
    fn find(&mut self, wanted: &WantedRun) -> Result<Option<String>, ClientError> {
        let key = match &wanted.id {
            WantedId::Stored(id) => return Ok(Some(id.clone())),
            WantedId::Key(key) => key,
        };
        let Some(run) = run_of_key(&self.client, key)? else {
            return Ok(None);
        };
        if let Some(wanted) = { self.wanted.iter_mut() }.find(|other| other.index == wanted.index) {
            wanted.id = WantedId::Stored(run.run_id.clone());
        }
        Ok(Some(run.run_id))
    }

    fn experiment_name(&mut self, id: &str) -> Option<String> {
        if let Some(name) = self.experiments.get(id) {
            return Some(name.clone());
        }
        let name = self.client.experiment_by_id(id).ok()?.name;
        self.experiments.insert(id.to_owned(), name.clone());
        Some(name)
    }

    /// Reads the newest console log of a run, if it has grown. A log that cannot be read is no error, as most runs have
    /// none.
    fn read_console(&mut self, wanted: &WantedRun) -> Option<String> {
        let id = { self.wanted.iter() }
            .find(|other| other.index == wanted.index)
            .map(|wanted| wanted.id.clone())?;
        let WantedId::Stored(run_id) = id else {
            return None;
        };
        let files = self.client.list_artifacts(&*run_id, CONSOLE_FOLDER).ok()?;
        let newest = newest_console(&files)?;
        let bytes = newest.file_size?;
        if self.console_bytes.get(&wanted.index) == Some(&bytes) {
            return None;
        }
        let text = if bytes > MAX_CONSOLE_BYTES {
            format!(
                "the log has {}: `cargo mlflow artifacts get {run_id} {}` fetches it",
                format::size(bytes),
                newest.path
            )
        } else {
            let log = self.client.read_artifact(&*run_id, &*newest.path).ok()?;
            String::from_utf8_lossy(last_part(&log)).into_owned()
        };
        self.console_bytes.insert(wanted.index, bytes);
        Some(text)
    }
}

/// Finds a run by its local id; `None` if the store does not have the run yet.
pub(super) fn run_of_key(client: &Client, key: &str) -> Result<Option<Run>, ClientError> {
    let search = SearchRuns::new().filter(tag(RUN_KEY_TAG).eq(key)).limit(1);
    client.search_runs(search).next().transpose()
}

/// Returns the end of a log, from the beginning of a line on.
fn last_part(log: &[u8]) -> &[u8] {
    let start = log.len().saturating_sub(MAX_KEPT_CONSOLE_BYTES);
    let (before, part) = log.split_at(start);
    let begins_line = before.last().is_none_or(|byte| *byte == b'\n');
    let line_end = part.iter().position(|byte| *byte == b'\n');
    match line_end {
        Some(end) if !begins_line => part.get(end + 1..).unwrap_or_default(),
        _ => part,
    }
}

/// Returns true if both are the same point. NaN is the same as NaN.
fn is_same(one: &MetricPoint, other: &MetricPoint) -> bool {
    let place = |point: &MetricPoint| (point.step, point.timestamp_ms, point.value.to_bits());
    place(one) == place(other)
}
