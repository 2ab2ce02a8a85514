//! Batches of entries that were read from a journal and are to be delivered, grouped by run.
//!
//! Invariants: a [`RunBatch`] records which of its entries are sent, so that delivery continues where it
//! stopped. Its events are in the order in which they happened, whatever their threads.

use std::borrow::Cow;
use std::collections::HashMap;
use std::io;
use std::ops::Range;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use rustc_hash::{FxHashMap, FxHashSet};

use crate::journal::entry_log::EntryWriter;
use crate::journal::record::{ArtifactLocation, Event, Fingerprint, RunStart, decode_last_step};
use crate::journal::user_files;
use crate::model::limits;
use crate::model::{ArtifactKind, Metric, Param, PathNamespace, RunStatus, Tag};
use crate::shipper::chosen_steps::ChosenSteps;
use crate::store::{ArtifactContent, Batch, BatchLimits};

/// Bytes of events at which a batch is full: bounds the memory for a backlog of long values.
const MAX_EVENT_BYTES: usize = 8 << 20;

/// Greatest number of artifacts with rows of one table that one append takes.
pub(in crate::shipper) const MAX_CHUNKS_PER_APPEND: usize = 70;

/// Greatest number of bytes of rows that one append takes, unless a single artifact has more.
const MAX_BYTES_PER_APPEND: u64 = 8 << 20;

/// Entries from one reading of a journal, grouped by run.
#[derive(Default)]
pub(crate) struct ReadBatch {
    run_batches: Vec<RunBatch>,
    /// Index of each run in `run_batches`, until the batch is sorted.
    index: FxHashMap<u32, usize>,
    /// Number of works that are done; they come first.
    pub(in crate::shipper) done_works: usize,
    pub(in crate::shipper) entries: usize,
    pub(in crate::shipper) event_bytes: usize,
    /// Number of records of kinds that this version does not know.
    pub(in crate::shipper) unknown_records: usize,
    /// True if the reading ended before the end of the journal.
    pub(in crate::shipper) has_more: bool,
    /// Sequence number before which no event is left to be read.
    pub(in crate::shipper) events_before: u64,
    /// Time of the oldest entry, in ms since the Unix epoch; the time of the reading if no entry has a time.
    pub(in crate::shipper) oldest_ms: Option<i64>,
    /// Files whose bytes are delivered or superseded; they are deleted once the batch is acknowledged.
    pub(in crate::shipper) spent_files: Vec<SpentFile>,
}

/// A file whose bytes are delivered or superseded, and the segments that may name it.
pub(in crate::shipper) struct SpentFile {
    pub(in crate::shipper) file: PathBuf,
    /// Indices of the segments' cursors.
    pub(in crate::shipper) cursors: Vec<usize>,
}

/// Entries of one run, in a [`ReadBatch`].
#[derive(Default)]
pub(in crate::shipper) struct RunBatch {
    pub(in crate::shipper) run: u32,
    /// Sequence number of the run's start plus 1; 0 if the start is not in this batch.
    pub(in crate::shipper) start_order: u64,
    pub(in crate::shipper) params: Vec<Param>,
    /// Sequence numbers of `params`.
    param_sequences: Vec<u64>,
    pub(in crate::shipper) metrics: Vec<Metric>,
    pub(in crate::shipper) tags: Vec<Tag>,
    /// Sequence numbers of `tags`.
    tag_sequences: Vec<u64>,
    pub(in crate::shipper) artifacts: Vec<Artifact>,
    /// Events with their sequence numbers. [`sort`](ReadBatch::sort) moves them to `params`, `tags` and
    /// `artifacts`.
    events: Vec<(u64, RunEvent)>,
    /// Status and time, in ms since the Unix epoch, of the run's end.
    pub(in crate::shipper) end: Option<(RunStatus, i64)>,
    /// Indices of the cursors whose segments hold the entries.
    pub(in crate::shipper) cursors: Vec<usize>,
    /// Number of records of the journal that the entries come from.
    pub(in crate::shipper) entries: usize,
    /// Rejected entries that are not counted yet.
    pub(in crate::shipper) unsettled_refusals: Vec<Rejection>,
    /// Number of rejected entries.
    pub(in crate::shipper) refused_count: usize,
    /// Number of entries that wait in a queue, and are settled there.
    pub(in crate::shipper) deferred_count: usize,
    /// Sequence numbers of the deferred artifacts, if the entries were read from a lane.
    pub(in crate::shipper) handed_over: Vec<u64>,
    /// Number of metrics, from the first that is not sent, that a failed request contained: the store may
    /// have them.
    pub(in crate::shipper) doubtful_count: usize,
    /// True if [`take_invalid`](Self::take_invalid) has been called.
    pub(in crate::shipper) is_checked: bool,
    /// True if [`begin_thinning`](Self::begin_thinning) has been called.
    is_thinned: bool,
    /// Sequence numbers of the points whose last step is noted.
    noted_sequences: Vec<u64>,
    /// Numbers of entries, by kind, that are sent.
    pub(in crate::shipper) sent: SentCounts,
}

/// An event of a run, other than its start and end.
pub(in crate::shipper) enum RunEvent {
    Param(Param),
    Tag(Tag),
    Artifact(Artifact),
}

/// Numbers of entries of a run that are sent, by kind.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(in crate::shipper) struct SentCounts {
    pub(in crate::shipper) params: usize,
    pub(in crate::shipper) metrics: usize,
    pub(in crate::shipper) tags: usize,
    pub(in crate::shipper) artifacts: usize,
}

/// An artifact of a run, with its sequence number in the order of all events.
#[derive(Debug)]
pub(in crate::shipper) struct Artifact {
    pub(in crate::shipper) sequence: u64,
    pub(in crate::shipper) kind: ArtifactKind,
    pub(in crate::shipper) path: String,
    pub(in crate::shipper) bytes: ArtifactBytes,
    /// Length and checksum by which a torn file is recognized.
    pub(in crate::shipper) fingerprint: Option<Fingerprint>,
}

/// Contents of an artifact: in memory, or in a file beside the segments.
#[derive(Debug)]
pub(in crate::shipper) enum ArtifactBytes {
    Memory(Vec<u8>),
    File(PathBuf),
}

/// An entry that the store rejects, and the reason.
#[derive(Debug)]
pub(in crate::shipper) struct Rejection {
    pub(in crate::shipper) entry: RejectedEntry,
    pub(in crate::shipper) reason: String,
}

/// The rejected entry, which is kept. Params and tags have their sequence number, or 0 where it is not known.
#[derive(Debug)]
pub(in crate::shipper) enum RejectedEntry {
    Metric(Metric),
    Param(Param, u64),
    Tag(Tag, u64),
    Artifact(Artifact),
}

impl ArtifactBytes {
    /// Returns the artifact's file beside the segments, if it has one.
    pub(in crate::shipper) fn file(&self) -> Option<&Path> {
        match self {
            Self::File(file) => Some(file),
            Self::Memory(_) => None,
        }
    }
}

impl Rejection {
    pub(in crate::shipper) fn metric(metric: Metric, reason: impl Into<String>) -> Self {
        let (entry, reason) = (RejectedEntry::Metric(metric), reason.into());
        Self { entry, reason }
    }

    pub(in crate::shipper) fn param(
        param: Param,
        sequence: u64,
        reason: impl Into<String>,
    ) -> Self {
        let (entry, reason) = (RejectedEntry::Param(param, sequence), reason.into());
        Self { entry, reason }
    }

    pub(in crate::shipper) fn tag(tag: Tag, sequence: u64, reason: impl Into<String>) -> Self {
        let (entry, reason) = (RejectedEntry::Tag(tag, sequence), reason.into());
        Self { entry, reason }
    }

    pub(in crate::shipper) fn artifact(artifact: Artifact, reason: impl Into<String>) -> Self {
        let (entry, reason) = (RejectedEntry::Artifact(artifact), reason.into());
        Self { entry, reason }
    }

    /// Returns the artifact's file beside the segments, if it has one.
    pub(in crate::shipper) fn file(&self) -> Option<PathBuf> {
        match &self.entry {
            RejectedEntry::Artifact(artifact) => artifact.file().map(Path::to_owned),
            _ => None,
        }
    }

    /// Returns the kind of the entry, and its key or path.
    pub(in crate::shipper) fn kind_and_key(&self) -> (&'static str, &str) {
        match &self.entry {
            RejectedEntry::Metric(metric) => ("metric", &metric.key),
            RejectedEntry::Param(param, _) => ("param", &param.key),
            RejectedEntry::Tag(tag, _) => ("tag", &tag.key),
            RejectedEntry::Artifact(artifact) => {
                let Artifact { kind, path, .. } = artifact;
                (kind.noun(), kind.shown_name(path))
            }
        }
    }
}

impl ReadBatch {
    /// Creates an empty batch for a reading that stops at the event with the sequence number `limit`.
    pub(in crate::shipper) fn with_event_limit(limit: u64) -> Self {
        Self {
            events_before: limit,
            ..Self::default()
        }
    }

    /// Counts one more entry of a run, read by `cursor`, and returns the work of the run.
    pub(in crate::shipper) fn add_entry(&mut self, run: u32, cursor: usize) -> &mut RunBatch {
        self.entries += 1;
        let at = *self.index.entry(run).or_insert_with(|| {
            self.run_batches.push(RunBatch {
                run,
                ..RunBatch::default()
            });
            self.run_batches.len() - 1
        });
        let run_batch = &mut self.run_batches[at];
        if run_batch.cursors.last() != Some(&cursor) {
            run_batch.cursors.push(cursor);
        }
        run_batch.entries += 1;
        run_batch
    }

    /// Notes that more is left to read, which may be events with any sequence number.
    pub(in crate::shipper) fn mark_incomplete(&mut self) {
        self.has_more = true;
        self.events_before = 0;
    }

    /// Returns true if the batch has reached its budget of entries, or [`MAX_EVENT_BYTES`].
    pub(in crate::shipper) fn is_full(&self, budget: usize) -> bool {
        self.entries >= budget || self.event_bytes >= MAX_EVENT_BYTES
    }

    /// Notes the time of an entry, in ms since the Unix epoch.
    pub(in crate::shipper) fn record_time(&mut self, ms: i64) {
        self.oldest_ms = Some(self.oldest_ms.map_or(ms, |oldest| oldest.min(ms)));
    }

    /// Sorts the works in the order in which their runs started, and the events of each in the order of their
    /// sequence numbers.
    pub(in crate::shipper) fn sort(&mut self) {
        self.run_batches
            .sort_by_key(|run_batch| run_batch.start_order);
        self.run_batches.iter_mut().for_each(RunBatch::sort);
        self.index.clear();
    }

    /// Returns the first work that is not done.
    pub(in crate::shipper) fn current(&mut self) -> Option<&mut RunBatch> {
        self.run_batches.get_mut(self.done_works)
    }

    /// Returns the works that are not done, the current one first.
    pub(in crate::shipper) fn remaining_works(&self) -> &[RunBatch] {
        self.run_batches.get(self.done_works..).unwrap_or_default()
    }

    /// Returns the works that are not done, the current one first, so that they can be prepared.
    pub(in crate::shipper) fn remaining_works_mut(&mut self) -> &mut [RunBatch] {
        self.run_batches
            .get_mut(self.done_works..)
            .unwrap_or_default()
    }

    /// Moves some of the works that are not done before the others. `chosen` has their positions, in order.
    pub(in crate::shipper) fn bring_forward(&mut self, chosen: &[usize]) {
        if chosen.iter().enumerate().all(|(to, from)| to == *from) {
            return;
        }
        let (mut chosen, mut others) = (chosen.iter().peekable(), Vec::new());
        let works = self.run_batches.split_off(self.done_works);
        for (at, work) in works.into_iter().enumerate() {
            if chosen.next_if(|next| **next == at).is_some() {
                self.run_batches.push(work);
            } else {
                others.push(work);
            }
        }
        self.run_batches.extend(others);
    }

    /// Marks the current work as done after it was parked, and releases its entries.
    pub(in crate::shipper) fn discard_current(&mut self) {
        if let Some(run_batch) = self.run_batches.get_mut(self.done_works) {
            let RunBatch {
                noted_sequences: noted,
                cursors,
                ..
            } = std::mem::take(run_batch);
            *run_batch = RunBatch {
                noted_sequences: noted,
                cursors,
                ..RunBatch::default()
            };
        }
        self.done_works += 1;
    }

    /// Marks the current work as done after it was delivered. Its files are deleted when the batch is
    /// acknowledged.
    pub(in crate::shipper) fn finish_current(&mut self) {
        if let Some(run_batch) = self.run_batches.get_mut(self.done_works) {
            let artifacts = run_batch.artifacts.drain(..).map(|artifact| artifact.bytes);
            let files = artifacts.filter_map(|bytes| match bytes {
                ArtifactBytes::File(file) => Some(SpentFile {
                    file,
                    cursors: run_batch.cursors.clone(),
                }),
                ArtifactBytes::Memory(_) => None,
            });
            self.spent_files.extend(files);
            run_batch.metrics = Vec::new();
            self.done_works += 1;
        }
    }

    pub(in crate::shipper) fn is_empty(&self) -> bool {
        self.run_batches.is_empty()
    }

    /// Returns the sequence numbers of points whose last step is noted, each with the cursors of its work.
    pub(in crate::shipper) fn noted_points(&self) -> impl Iterator<Item = (u64, &[usize])> {
        let run_batches = self.run_batches.iter();
        run_batches.flat_map(|run_batch| {
            run_batch
                .noted_sequences
                .iter()
                .map(|sequence| (*sequence, &*run_batch.cursors))
        })
    }

    /// Returns the sequence numbers of artifacts that were read from a lane and deferred.
    pub(in crate::shipper) fn handed_over(&self) -> impl Iterator<Item = u64> {
        let run_batches = self.run_batches.iter();
        run_batches.flat_map(|run_batch| run_batch.handed_over.iter().copied())
    }
}

impl RunBatch {
    /// Creates the batch of metrics that are no entries of a journal, or not counted as such.
    pub(in crate::shipper) fn of_metrics(run: u32, metrics: Vec<Metric>) -> Self {
        Self {
            run,
            metrics,
            ..Self::default()
        }
    }

    /// Returns the metrics that are sent.
    pub(in crate::shipper) fn sent_metrics(&self) -> &[Metric] {
        let sent = self.metrics.get(..self.sent.metrics);
        sent.unwrap_or(&self.metrics)
    }

    pub(in crate::shipper) fn push_event(&mut self, sequence: u64, event: RunEvent) {
        self.events.push((sequence, event));
    }

    fn sort(&mut self) {
        let mut events = std::mem::take(&mut self.events);
        events.sort_by_key(|(sequence, _)| *sequence);
        for (sequence, event) in events {
            match event {
                RunEvent::Param(param) => {
                    self.params.push(param);
                    self.param_sequences.push(sequence);
                }
                RunEvent::Tag(tag) => {
                    self.tags.push(tag);
                    self.tag_sequences.push(sequence);
                }
                RunEvent::Artifact(artifact) => self.artifacts.push(artifact),
            }
        }
        self.gather_table_rows();
    }

    /// Moves the rows of each table behind the first ones of that table, so that one upload takes them all. Rows stay behind
    /// a file that was logged to the path of their table before them.
    fn gather_table_rows(&mut self) {
        let mut firsts: FxHashMap<&str, u64> = FxHashMap::default();
        let mut places = FxHashMap::default();
        let mut is_any_moved = false;
        for artifact in &self.artifacts {
            let sequence = artifact.sequence;
            let first = match artifact.table() {
                Some(path) => *firsts.entry(path).or_insert(sequence),
                None => {
                    if let Some(path) = artifact.table_or_file() {
                        firsts.remove(path);
                    }
                    sequence
                }
            };
            is_any_moved |= first != sequence;
            places.insert(sequence, first);
        }
        if is_any_moved {
            let artifacts = &mut self.artifacts;
            artifacts.sort_by_key(|artifact| places.get(&artifact.sequence).copied());
        }
    }

    /// Takes out the entries that the store would refuse, so that the rest can be sent in full batches.
    /// Params equal to an earlier one are dropped. Does this only in the first call.
    pub(in crate::shipper) fn take_invalid(&mut self) -> Vec<Rejection> {
        let mut refused = Vec::new();
        if std::mem::replace(&mut self.is_checked, true) {
            return refused;
        }
        let (tags, sequences) = (&mut self.tags, &mut self.tag_sequences);
        retain_with_sequences(tags, sequences, |tag, sequence| {
            let fault = limits::find_key_fault(&tag.key);
            refused.extend(fault.map(|fault| Rejection::tag(tag.clone(), sequence, fault)));
            limits::find_key_fault(&tag.key).is_none()
        });
        let mut values: FxHashMap<String, String> = FxHashMap::default();
        let (params, sequences) = (&mut self.params, &mut self.param_sequences);
        retain_with_sequences(params, sequences, |param, sequence| {
            let reason = match (limits::find_key_fault(&param.key), values.get(&param.key)) {
                (Some(fault), _) => fault.into_owned(),
                (None, None) => {
                    values.insert(param.key.clone(), param.value.clone());
                    return true;
                }
                (None, Some(value)) if *value == param.value => return false,
                (None, Some(value)) => {
                    let new = &param.value;
                    format!(
                        "its value is {value:?} already, and a param cannot be changed to {new:?}"
                    )
                }
            };
            refused.push(Rejection::param(param.clone(), sequence, reason));
            false
        });
        // The points of a key share its text, so each text is checked once.
        let mut good: FxHashSet<*const u8> = FxHashSet::default();
        self.metrics.retain(|metric| {
            let text = metric.key.as_ptr();
            if good.contains(&text) {
                return true;
            }
            let Some(fault) = limits::find_key_fault(&metric.key) else {
                return good.insert(text);
            };
            refused.push(Rejection::metric(metric.clone(), fault));
            false
        });
        refused
    }

    /// Returns true in the first call, if points may be left out of what is to be sent.
    pub(in crate::shipper) fn begin_thinning(&mut self) -> bool {
        let is_first = !std::mem::replace(&mut self.is_thinned, true);
        is_first && self.sent.metrics == 0 && self.doubtful_count == 0
    }

    /// Takes out the metrics that are not `kept`: they are settled elsewhere.
    pub(in crate::shipper) fn leave_out(&mut self, kept: &[bool]) {
        let before = self.metrics.len();
        let mut kept = kept.iter().copied();
        self.metrics.retain(|_| kept.next().unwrap_or(true));
        self.deferred_count += before - self.metrics.len();
    }

    /// Returns true if one request within `limits` takes all entries.
    pub(in crate::shipper) fn fits(&self, limits: BatchLimits) -> bool {
        self.metrics.len() <= limits.metrics
            && self.params.len() <= limits.params
            && self.tags.len() <= limits.tags
            && self.value_count() <= limits.total
    }

    /// Returns the number of metrics, params and tags, those of the run's start included.
    pub(in crate::shipper) fn value_count(&self) -> usize {
        self.metrics.len() + self.params.len() + self.tags.len()
    }

    /// Returns true if there are points at the last step of their key, and that step is not found yet.
    pub(in crate::shipper) fn has_last_steps(&self) -> bool {
        self.metrics.iter().any(is_step_unresolved)
    }

    /// Adds the doubtful metrics to `steps`, which has the greatest step of each key.
    pub(in crate::shipper) fn note_steps_in_doubt(&self, steps: &mut FxHashMap<Arc<str>, i64>) {
        let from = self.sent.metrics.min(self.metrics.len());
        let to = (from + self.doubtful_count).min(self.metrics.len());
        for metric in self.metrics.get(from..to).unwrap_or_default() {
            let step = steps.entry(Arc::clone(&metric.key)).or_insert(metric.step);
            *step = (*step).max(metric.step);
        }
    }

    /// Returns how many of `refused` are params that the run was started with.
    pub(in crate::shipper) fn count_start_params(&self, refused: &[Rejection]) -> usize {
        let sequence_of = |param: &Param| {
            let at = self.params.iter().position(|one| one == param)?;
            self.param_sequences.get(at).copied()
        };
        let is_of_start = |one: &&Rejection| match &one.entry {
            // A param that the store has refused comes without its sequence number.
            RejectedEntry::Param(param, 0) => {
                sequence_of(param).unwrap_or(0).saturating_add(1) == self.start_order
            }
            RejectedEntry::Param(_, sequence) => sequence.saturating_add(1) == self.start_order,
            RejectedEntry::Metric(_) | RejectedEntry::Tag(..) | RejectedEntry::Artifact(_) => false,
        };
        refused.iter().filter(is_of_start).count()
    }

    /// Sets the step of the points at the last step of their key. A point gets the step that was noted for
    /// it, else the greatest step of its key in this work, in `stored` or in `in_doubt`, else 0. Returns the
    /// steps that are to be noted, by sequence number.
    pub(in crate::shipper) fn find_last_steps(
        &mut self,
        stored: &HashMap<String, i64>,
        in_doubt: Option<&FxHashMap<Arc<str>, i64>>,
        noted: &ChosenSteps,
    ) -> Vec<(u64, i64)> {
        let mut last: FxHashMap<Arc<str>, Option<i64>> = FxHashMap::default();
        for metric in self
            .metrics
            .iter()
            .filter(|metric| is_step_unresolved(metric))
        {
            last.insert(
                Arc::clone(&metric.key),
                stored
                    .get(&*metric.key)
                    .max(in_doubt.and_then(|steps| steps.get(&metric.key)))
                    .copied(),
            );
        }
        for metric in self
            .metrics
            .iter()
            .filter(|metric| !is_step_unresolved(metric))
        {
            if let Some(step) = last.get_mut(&metric.key) {
                *step = (*step).max(Some(metric.step));
            }
        }
        let mut found = Vec::new();
        for metric in &mut self.metrics {
            if let Some(sequence) = decode_last_step(metric.step) {
                metric.step = noted.get(sequence).unwrap_or_else(|| {
                    let step = last.get(&metric.key).copied().flatten().unwrap_or(0);
                    found.push((sequence, step));
                    step
                });
                self.noted_sequences.push(sequence);
            }
        }
        found
    }

    /// Returns the next artifacts that are not sent, about `count` of them, in groups that one upload takes each:
    /// a single artifact, or rows of one table.
    pub(in crate::shipper) fn unsent_groups(&self, count: usize) -> Vec<&[Artifact]> {
        let mut groups = Vec::new();
        let mut rest = self.unsent_artifacts();
        rest = rest.get(..count).unwrap_or(rest);
        while let Some(first) = rest.first() {
            let table = first.table();
            let mut bytes = 0;
            let is_of_group = |one: &&Artifact| {
                bytes += one.length();
                table.is_some() && one.table() == table && bytes <= MAX_BYTES_PER_APPEND
            };
            let rows = rest
                .iter()
                .take(MAX_CHUNKS_PER_APPEND)
                .take_while(is_of_group);
            let (group, others) = rest.split_at(rows.count().max(1));
            groups.push(group);
            rest = others;
        }
        groups
    }

    /// Takes out the next `count` artifacts that are not sent.
    pub(in crate::shipper) fn take_next_artifacts(&mut self, count: usize) -> Vec<Artifact> {
        let to = self.artifacts.len().min(self.sent.artifacts + count);
        self.artifacts.drain(self.sent.artifacts..to).collect()
    }

    /// Returns the artifacts that are not sent.
    pub(in crate::shipper) fn unsent_artifacts(&self) -> &[Artifact] {
        let unsent = self.artifacts.get(self.sent.artifacts..);
        unsent.unwrap_or_default()
    }

    /// Adds an artifact that is sent. All others must be taken out before.
    pub(in crate::shipper) fn push_sent_artifact(&mut self, artifact: Artifact) {
        self.artifacts.push(artifact);
        self.sent.artifacts = self.artifacts.len();
    }

    /// Puts artifacts back that were taken out and are not sent.
    pub(in crate::shipper) fn put_back_unsent_artifacts(&mut self, artifacts: Vec<Artifact>) {
        self.artifacts.extend(artifacts);
    }

    /// Takes out the artifacts that were not sent.
    pub(in crate::shipper) fn take_unsent_artifacts(&mut self) -> Vec<Artifact> {
        self.artifacts.split_off(self.sent.artifacts)
    }

    /// Takes out the doubtful metrics, to be parked.
    pub(in crate::shipper) fn take_doubtful(&mut self) -> Vec<Metric> {
        let from = self.sent.metrics.min(self.metrics.len());
        let to = (from + std::mem::take(&mut self.doubtful_count)).min(self.metrics.len());
        self.deferred_count += to - from;
        self.metrics.drain(from..to).collect()
    }

    /// Puts doubtful metrics back that could not be parked.
    pub(in crate::shipper) fn put_back_doubtful(&mut self, metrics: Vec<Metric>) {
        self.deferred_count -= metrics.len();
        let from = self.sent.metrics.min(self.metrics.len());
        self.metrics.splice(from..from, metrics);
    }

    /// Returns the metrics that are not sent.
    pub(in crate::shipper) fn unsent_metrics(&self) -> &[Metric] {
        self.metrics.get(self.sent.metrics..).unwrap_or_default()
    }

    /// Returns true if nothing but metrics, artifacts and the end is left to be sent.
    pub(in crate::shipper) fn has_only_metrics_left(&self) -> bool {
        self.sent.params >= self.params.len() && self.sent.tags >= self.tags.len()
    }

    /// Puts the metrics that are not sent in another order: those of `ranges` first, one range after the other. Together,
    /// the ranges are a beginning of these metrics.
    pub(in crate::shipper) fn reorder_unsent_metrics(&mut self, ranges: &[Range<usize>]) {
        let unsent = self.unsent_metrics();
        let reordered: Vec<Metric> = { ranges.iter() }
            .flat_map(|range| unsent.get(range.clone()).unwrap_or_default())
            .cloned()
            .collect();
        let from = self.sent.metrics.min(self.metrics.len());
        let to = (from + reordered.len()).min(self.metrics.len());
        self.metrics.splice(from..to, reordered);
    }

    /// Records rejected entries. They are counted when the work is done.
    pub(in crate::shipper) fn record_refused(&mut self, refused: Vec<Rejection>) {
        self.unsettled_refusals.extend(refused);
    }

    /// Returns the entries that are not sent.
    fn remaining(&self) -> Remaining<'_> {
        Remaining {
            params: self.params.get(self.sent.params..).unwrap_or_default(),
            param_sequences: self
                .param_sequences
                .get(self.sent.params..)
                .unwrap_or_default(),
            tags: self.tags.get(self.sent.tags..).unwrap_or_default(),
            tag_sequences: self.tag_sequences.get(self.sent.tags..).unwrap_or_default(),
            metrics: self.metrics.get(self.sent.metrics..).unwrap_or_default(),
            artifacts: self.unsent_artifacts(),
        }
    }

    /// Copies the entries that are not sent to `log`. `start` is given if the run is not in the store yet, or
    /// a param of its start is not; it is copied if the run starts in this work. Metrics are left out unless
    /// `keeps_metrics`.
    pub(in crate::shipper) fn copy_remaining(
        &self,
        log: &mut EntryWriter<'_, '_>,
        start: Option<&RunStart<'static>>,
        keeps_metrics: bool,
    ) -> io::Result<()> {
        let rest = self.remaining();
        let started = self.start_order.checked_sub(1);
        let with_start = start.filter(|_| started.is_some());
        let of_start = |sequence: u64| with_start.is_some() && Some(sequence) == started;
        if let (Some(start), Some(sequence)) = (with_start, started) {
            log.append_start(start, sequence)?;
        }
        for (param, sequence) in rest.params.iter().zip(rest.param_sequences) {
            if !of_start(*sequence) {
                log.append_event(&Event::Param(Cow::Borrowed(param)), *sequence, &[])?;
            }
        }
        for (tag, sequence) in rest.tags.iter().zip(rest.tag_sequences) {
            log.append_event(&Event::Tag(Cow::Borrowed(tag)), *sequence, &[])?;
        }
        for artifact in rest.artifacts {
            artifact.copy_to(log)?;
        }
        if keeps_metrics {
            for metric in rest.metrics {
                log.append_metric(metric)?;
            }
        }
        if let Some((status, end_time_ms)) = self.end {
            let end = Event::End {
                status,
                end_time_ms,
            };
            log.append_event(&end, self.last_sequence(), &[])?;
        }
        Ok(())
    }

    /// Returns true if a param that the run was started with is not sent.
    pub(in crate::shipper) fn has_params_of_start(&self) -> bool {
        let rest = self.remaining();
        let started = self.start_order.checked_sub(1);
        started.is_some_and(|started| rest.param_sequences.contains(&started))
    }

    fn last_sequence(&self) -> u64 {
        let artifacts = self.artifacts.iter().map(|artifact| artifact.sequence);
        let events = self.param_sequences.iter().chain(&self.tag_sequences);
        events
            .copied()
            .chain(artifacts)
            .max()
            .unwrap_or(self.start_order)
    }

    /// Returns the next entries that fit into one request, and the counts after it; `None` if all are sent.
    pub(in crate::shipper) fn next_batch(
        &self,
        limits: BatchLimits,
    ) -> Option<(Batch<'_>, SentCounts)> {
        let params = self.params.get(self.sent.params..).unwrap_or_default();
        let params = &params[..params.len().min(limits.params).min(limits.total)];
        let tags = self.tags.get(self.sent.tags..).unwrap_or_default();
        let tags = &tags[..tags.len().min(limits.tags).min(limits.total - params.len())];
        let metrics = self.metrics.get(self.sent.metrics..).unwrap_or_default();
        let metrics = &metrics[..metrics
            .len()
            .min(limits.metrics)
            .min(limits.total - params.len() - tags.len())];
        if params.is_empty() && tags.is_empty() && metrics.is_empty() {
            return None;
        }
        let sent = SentCounts {
            params: self.sent.params + params.len(),
            metrics: self.sent.metrics + metrics.len(),
            tags: self.sent.tags + tags.len(),
            artifacts: self.sent.artifacts,
        };
        Some((
            Batch {
                metrics,
                params,
                tags,
            },
            sent,
        ))
    }
}

/// Entries of a run that are not sent.
struct Remaining<'a> {
    params: &'a [Param],
    param_sequences: &'a [u64],
    tags: &'a [Tag],
    tag_sequences: &'a [u64],
    metrics: &'a [Metric],
    artifacts: &'a [Artifact],
}

impl Artifact {
    /// Returns the path of the table to which the artifact appends rows, or of the file that it replaces, which may be a
    /// table; `None` for any other kind of artifact.
    pub(in crate::shipper) fn table_or_file(&self) -> Option<&str> {
        let is_file = self.kind.namespace() == Some(PathNamespace::Artifacts);
        self.table().or_else(|| is_file.then_some(&*self.path))
    }

    /// Returns the path of the table to which the artifact appends rows; `None` for any other kind of artifact.
    pub(in crate::shipper) fn table(&self) -> Option<&str> {
        match self.kind {
            ArtifactKind::TableRows(_) => Some(&self.path),
            ArtifactKind::File
            | ArtifactKind::Image(_)
            | ArtifactKind::ImageFile { .. }
            | ArtifactKind::Dataset
            | ArtifactKind::ModelFile
            | ArtifactKind::Model
            | ArtifactKind::CheckpointFile(_)
            | ArtifactKind::Checkpoint(_)
            | ArtifactKind::ModelOutput
            | ArtifactKind::ModelInput => None,
        }
    }

    /// Returns the checkpoint that the artifact ends; `None` for any other kind of artifact.
    pub(in crate::shipper) fn ended_checkpoint(&self) -> Option<u64> {
        match self.kind {
            ArtifactKind::Checkpoint(call) => Some(call.id),
            _ => None,
        }
    }

    /// Returns the checkpoint of which the artifact is a file; `None` for any other kind of artifact.
    pub(in crate::shipper) fn checkpoint_of_file(&self) -> Option<u64> {
        match self.kind {
            ArtifactKind::CheckpointFile(call) => Some(call.id),
            _ => None,
        }
    }

    /// Returns the artifact's file beside the segments, if it has one.
    pub(in crate::shipper) fn file(&self) -> Option<&Path> {
        self.bytes.file()
    }

    /// Returns the length of the contents in bytes, as far as it is known.
    pub(in crate::shipper) fn length(&self) -> u64 {
        match &self.bytes {
            ArtifactBytes::Memory(bytes) => bytes.len() as u64,
            ArtifactBytes::File(_) => self.fingerprint.map_or(0, |print| print.length),
        }
    }

    /// Returns the contents as a store takes them.
    pub(in crate::shipper) fn content(&self) -> ArtifactContent<'_> {
        match &self.bytes {
            ArtifactBytes::Memory(bytes) => ArtifactContent::Bytes(Cow::Borrowed(bytes)),
            ArtifactBytes::File(file) => ArtifactContent::File(file),
        }
    }

    /// Reads the contents.
    pub(in crate::shipper) fn read(&self) -> io::Result<Vec<u8>> {
        match &self.bytes {
            ArtifactBytes::Memory(bytes) => Ok(bytes.clone()),
            ArtifactBytes::File(file) => user_files::read_file(file),
        }
    }

    /// Copies the event that names the artifact to `log`.
    pub(in crate::shipper) fn copy_to(&self, log: &mut EntryWriter<'_, '_>) -> io::Result<()> {
        let path = Cow::Borrowed(&*self.path);
        let (content, attachment) = match &self.bytes {
            ArtifactBytes::Memory(bytes) => (ArtifactLocation::Attached, &**bytes),
            ArtifactBytes::File(file) => {
                let name = file.file_name().unwrap_or_default().to_string_lossy();
                (ArtifactLocation::Spooled(name), &[][..])
            }
        };
        log.append_event(
            &Event::Artifact {
                path,
                kind: self.kind,
                content,
                fingerprint: self.fingerprint,
            },
            self.sequence,
            attachment,
        )
    }
}

/// Keeps the items for which `keep` returns true, and their sequence numbers.
fn retain_with_sequences<T>(
    items: &mut Vec<T>,
    sequences: &mut Vec<u64>,
    mut keep: impl FnMut(&T, u64) -> bool,
) {
    let mut kept = sequences.iter().copied();
    let mut flags = Vec::with_capacity(items.len());
    items.retain(|item| {
        let keeps = keep(item, kept.next().unwrap_or_default());
        flags.push(keeps);
        keeps
    });
    let mut flags = flags.into_iter();
    sequences.retain(|_| flags.next().unwrap_or(true));
}

/// Splits a batch in two, first by kind, then in halves. Returns `None` for a single entry.
pub(in crate::shipper) fn split_batch<'a>(batch: &Batch<'a>) -> Option<[Batch<'a>; 2]> {
    let empty = Batch::default();
    let Batch {
        metrics,
        params,
        tags,
    } = *batch;
    if !(params.is_empty() || metrics.is_empty() && tags.is_empty()) {
        return Some([
            Batch { params, ..empty },
            Batch {
                metrics,
                tags,
                ..empty
            },
        ]);
    }
    if !metrics.is_empty() && !tags.is_empty() {
        return Some([Batch { metrics, ..empty }, Batch { tags, ..empty }]);
    }
    let len = params.len() + metrics.len() + tags.len();
    if len < 2 {
        return None;
    }
    let (first_params, last_params) = params.split_at(params.len() / 2);
    let (first_metrics, last_metrics) = metrics.split_at(metrics.len() / 2);
    let (first_tags, last_tags) = tags.split_at(tags.len() / 2);
    Some([
        Batch {
            metrics: first_metrics,
            params: first_params,
            tags: first_tags,
        },
        Batch {
            metrics: last_metrics,
            params: last_params,
            tags: last_tags,
        },
    ])
}

/// Returns true if the point is at the last step of its key, and that step is not found yet.
fn is_step_unresolved(metric: &Metric) -> bool {
    decode_last_step(metric.step).is_some()
}
