//! What is to be done: entries read from a journal, grouped by run.
//!
//! Invariants: a [`Work`] remembers what of it is done, so that delivery goes on where it stopped;
//! its events stand in the order in which they happened, whatever their threads.

use std::path::PathBuf;

use rustc_hash::{FxHashMap, FxHashSet};

use super::whole::{self, Unchecked};
use crate::limits;
use crate::store::{Batch, BatchLimits, Metric, Param, RunStatus, Tag};

/// Bytes of events that one pass takes up: bounds the memory of a backlog of long values.
const EVENT_BYTES: usize = 8 << 20;

/// What one reading of a journal gave.
#[derive(Default)]
pub(crate) struct Pass {
    works: Vec<Work>,
    index: FxHashMap<u32, usize>,
    /// Works before this are done.
    pub(super) done: usize,
    pub(super) entries: usize,
    pub(super) event_bytes: usize,
    /// Records of kinds that this version does not know.
    pub(super) unknown: usize,
    /// Whether there was more to read.
    pub(super) more: bool,
    /// No event before this one, in the order of all events, is left to be read.
    pub(super) events_before: u64,
    /// The time of its oldest entry; that of the reading, for one that tells none.
    pub(super) oldest_ms: Option<i64>,
    /// Files whose bytes are delivered; they go once that is acknowledged.
    pub(super) spent_files: Vec<SpentFile>,
}

/// A file whose bytes are delivered, or superseded, and the segments that may name it, by cursor.
pub(super) struct SpentFile {
    pub(super) file: PathBuf,
    pub(super) cursors: Vec<usize>,
}

/// Entries of one run.
#[derive(Default)]
pub(super) struct Work {
    pub(super) run: u32,
    /// Its start's place in the order of all events, from 1; 0 if it had started before.
    pub(super) started: u64,
    pub(super) params: Vec<Param>,
    pub(super) metrics: Vec<Metric>,
    pub(super) tags: Vec<Tag>,
    pub(super) artifacts: Vec<(String, ArtifactBytes)>,
    /// What becomes params, tags and artifacts when the pass is complete, with its place in the
    /// order of all events.
    events: Vec<(u64, Happened)>,
    pub(super) end: Option<(RunStatus, i64)>,
    /// The segments they come from, by cursor.
    pub(super) cursors: Vec<usize>,
    /// Records of the journal that it comes from.
    pub(super) entries: usize,
    /// How many of them the store refused.
    pub(super) refused: usize,
    /// How many are artifacts that wait by themselves now.
    pub(super) postponed: usize,
    pub(super) checked: bool,
    /// Copies among the artifacts that may not be whole.
    pub(super) unchecked: Unchecked,
    pub(super) sent: Sent,
}

/// An event that may supersede another of its kind and key.
pub(super) enum Happened {
    Param(Param),
    Tag(Tag),
    Artifact(String, ArtifactBytes),
}

/// How much of each kind is done.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) struct Sent {
    pub(super) params: usize,
    pub(super) metrics: usize,
    pub(super) tags: usize,
    pub(super) artifacts: usize,
}

#[derive(Debug)]
pub(super) enum ArtifactBytes {
    Memory(Vec<u8>),
    File(PathBuf),
}

/// An entry that the store would refuse, and why.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Refused {
    pub(super) kind: &'static str,
    pub(super) key: String,
    pub(super) reason: String,
}

impl Pass {
    /// An empty one, for a reading that stops at the event `limit`.
    pub(super) fn before(limit: u64) -> Self {
        Self {
            events_before: limit,
            ..Self::default()
        }
    }

    /// The work of a run, for one more entry of it, read by `cursor`.
    pub(super) fn entry(&mut self, run: u32, cursor: usize) -> &mut Work {
        self.entries += 1;
        let at = *self.index.entry(run).or_insert_with(|| {
            self.works.push(Work {
                run,
                ..Work::default()
            });
            self.works.len() - 1
        });
        let work = &mut self.works[at];
        if work.cursors.last() != Some(&cursor) {
            work.cursors.push(cursor);
        }
        work.entries += 1;
        work
    }

    /// There is more to read, and nobody knows what.
    pub(super) fn leave_behind(&mut self) {
        self.more = true;
        self.events_before = 0;
    }

    /// Whether it holds enough for now.
    pub(super) fn is_full(&self, budget: usize) -> bool {
        self.entries >= budget || self.event_bytes >= EVENT_BYTES
    }

    /// Notes when an entry was made.
    pub(super) fn made_at(&mut self, ms: i64) {
        self.oldest_ms = Some(self.oldest_ms.map_or(ms, |oldest| oldest.min(ms)));
    }

    /// Puts the works in the order in which their runs started, and the events of each in theirs.
    pub(super) fn sort(&mut self) {
        self.works.sort_by_key(|work| work.started);
        self.works.iter_mut().for_each(Work::sort);
        self.index.clear();
    }

    pub(super) fn current(&mut self) -> Option<&mut Work> {
        self.works.get_mut(self.done)
    }

    /// Takes the current work out: it waits by itself.
    pub(super) fn take_current(&mut self) -> Option<Work> {
        let work = self.works.get_mut(self.done).map(std::mem::take);
        self.done += 1;
        work
    }

    /// The current work is settled. Its files go when that is acknowledged, unless it is held.
    pub(super) fn finish_current(&mut self, held: bool) {
        if let Some(work) = self.works.get_mut(self.done) {
            let files = work
                .artifacts
                .drain(..)
                .filter_map(|(_, bytes)| match bytes {
                    ArtifactBytes::File(file) => Some(SpentFile {
                        file,
                        cursors: work.cursors.clone(),
                    }),
                    ArtifactBytes::Memory(_) => None,
                });
            if held {
                drop(files);
            } else {
                self.spent_files.extend(files);
            }
            work.metrics = Vec::new();
            self.done += 1;
        }
    }

    pub(super) fn is_empty(&self) -> bool {
        self.works.is_empty()
    }
}

impl Work {
    pub(super) fn happened(&mut self, sequence: u64, event: Happened) {
        self.events.push((sequence, event));
    }

    fn sort(&mut self) {
        let mut events = std::mem::take(&mut self.events);
        events.sort_by_key(|(sequence, _)| *sequence);
        for (_, event) in events {
            match event {
                Happened::Param(param) => self.params.push(param),
                Happened::Tag(tag) => self.tags.push(tag),
                Happened::Artifact(path, bytes) => self.artifacts.push((path, bytes)),
            }
        }
    }

    /// Takes out, once, what the store would refuse, so that the rest can go in full batches.
    pub(super) fn check(&mut self) -> Vec<Refused> {
        if std::mem::replace(&mut self.checked, true) {
            return Vec::new();
        }
        let mut refused = whole::refuse_torn(&mut self.artifacts, &self.unchecked);
        let mut keep = |kind: &'static str, key: &str| match limits::key_fault(key) {
            None => true,
            Some(fault) => {
                refused.push(Refused {
                    kind,
                    key: key.to_owned(),
                    reason: fault.into_owned(),
                });
                false
            }
        };
        self.tags.retain(|tag| keep("tag", &tag.key));
        self.params.retain(|param| keep("param", &param.key));
        // The points of a key share its text: look at each text once.
        let mut good: FxHashSet<*const u8> = FxHashSet::default();
        self.metrics.retain(|metric| {
            let text = metric.key.as_ptr();
            good.contains(&text) || (keep("metric", &metric.key) && good.insert(text))
        });
        let mut values: FxHashMap<String, String> = FxHashMap::default();
        self.params.retain(|param| match values.get(&param.key) {
            None => {
                values.insert(param.key.clone(), param.value.clone());
                true
            }
            Some(value) => {
                if *value != param.value {
                    let reason = format!(
                        "it is {value:?} already and a param cannot change to {:?}",
                        param.value
                    );
                    refused.push(Refused {
                        kind: "param",
                        key: param.key.clone(),
                        reason,
                    });
                }
                false
            }
        });
        refused
    }

    /// What it takes in memory, about.
    pub(super) fn memory_bytes(&self) -> usize {
        let texts = self.tags.iter().map(|tag| tag.key.len() + tag.value.len());
        let params = &self.params;
        let params = params
            .iter()
            .map(|param| param.key.len() + param.value.len());
        let artifacts = self.artifacts.iter().map(|(path, bytes)| match bytes {
            ArtifactBytes::Memory(bytes) => path.len() + bytes.len(),
            ArtifactBytes::File(_) => path.len(),
        });
        let points = self.metrics.len() * size_of::<Metric>();
        size_of::<Self>() + points + texts.chain(params).chain(artifacts).sum::<usize>()
    }

    /// Takes out the artifacts that were not sent.
    pub(super) fn take_unsent_artifacts(&mut self) -> Vec<(String, ArtifactBytes)> {
        let unsent = self.artifacts.split_off(self.sent.artifacts);
        self.postponed += unsent.len();
        unsent
    }

    /// The next entries that fit one request, and what will be sent then; `None` when all are.
    pub(super) fn next_batch(&self, limits: BatchLimits) -> Option<(Batch<'_>, Sent)> {
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
        let sent = Sent {
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

/// Halves of a batch that was refused, kinds first; `None` for a single entry.
pub(super) fn halves<'a>(batch: &Batch<'a>) -> Option<[Batch<'a>; 2]> {
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
