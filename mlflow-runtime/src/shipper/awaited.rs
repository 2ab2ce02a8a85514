//! Work of runs that another process has not created yet, while all other runs go on.
//!
//! Invariants: a run's work is delivered in the order in which it was read, so whatever comes for a
//! run that waits joins it; a segment that holds some of it keeps its place until it is settled; what
//! is put aside is bounded: beyond that, everything waits. Only this process's own journal puts work
//! aside: what a dead one left is held, or waits as a whole.

use std::collections::VecDeque;
use std::sync::Arc;

use rustc_hash::{FxHashMap, FxHashSet};
use tokio::time::Instant;

use super::Delivery;
use super::backoff::Backoff;
use super::delivery::{Cause, Halt, Settled};
use super::runs::Runs;
use super::source::Source;
use super::work::Work;
use crate::journal::segment::Segment;

/// What all that is put aside may take in memory, about.
const MEMORY_BYTES: usize = 64 << 20;
/// Runs that are looked for in vain at one try: of very many, the others have their turn later.
const LOOKS: usize = 10;

/// The work of one journal that is put aside.
#[derive(Default)]
pub(super) struct Awaited {
    /// Whose turn it is to be looked for. Each stands here once.
    turns: VecDeque<u32>,
    works: FxHashMap<u32, VecDeque<Aside>>,
    memory_bytes: usize,
    oldest_ms: Option<i64>,
    backoff: Backoff,
    due: Option<Instant>,
}

/// A run's share of one pass.
pub(super) struct Aside {
    work: Work,
    /// The segments it comes from: cursors move.
    segments: Vec<Arc<Segment>>,
}

impl Awaited {
    pub(super) fn is_empty(&self) -> bool {
        self.turns.is_empty()
    }

    pub(super) fn has_room(&self) -> bool {
        self.memory_bytes < MEMORY_BYTES
    }

    /// The time of the oldest entry, about.
    pub(super) fn oldest_ms(&self) -> Option<i64> {
        self.oldest_ms
    }

    /// When to look again, while anything waits.
    pub(super) fn due(&self) -> Option<Instant> {
        self.due.filter(|_| !self.is_empty())
    }

    /// Somebody waits: look at the next step.
    pub(super) fn hurry(&mut self) {
        self.due = Some(Instant::now());
    }

    /// Whether the run, or one that has to be created before it, is among them.
    pub(super) fn holds(&self, runs: &Runs, number: u32) -> bool {
        runs.line(number)
            .iter()
            .any(|run| self.works.contains_key(run))
    }

    pub(super) fn push(&mut self, work: Work, segments: Vec<Arc<Segment>>, oldest_ms: Option<i64>) {
        self.memory_bytes += work.memory_bytes();
        self.oldest_ms = self.oldest_ms.into_iter().chain(oldest_ms).min();
        self.due.get_or_insert_with(Instant::now);
        let run = work.run;
        let works = self.works.entry(run).or_insert_with(|| {
            self.turns.push_back(run);
            VecDeque::new()
        });
        works.push_back(Aside { work, segments });
    }

    fn take(&mut self, run: u32) -> Option<Aside> {
        let aside = self.works.get_mut(&run)?.pop_front()?;
        self.memory_bytes = self.memory_bytes.saturating_sub(aside.work.memory_bytes());
        Some(aside)
    }

    fn put_back(&mut self, run: u32, aside: Aside) {
        self.memory_bytes += aside.work.memory_bytes();
        self.works.entry(run).or_default().push_front(aside);
    }

    /// Everything of the run whose turn it is is settled.
    fn leave(&mut self, run: u32) {
        self.works.remove(&run);
        self.turns.pop_front();
        if self.is_empty() {
            *self = Self::default();
        }
    }
}

impl Delivery {
    /// Delivers what waits, if it is time to look, of the runs that are there now.
    pub(super) async fn deliver_awaited(&mut self, source: &mut Source) -> Result<(), Halt> {
        if source.awaited.due().is_none_or(|due| due > Instant::now()) {
            return Ok(());
        }
        let mut missed: FxHashSet<u32> = FxHashSet::default();
        let mut looks = 0;
        let mut delivered = false;
        for _ in 0..source.awaited.turns.len() {
            let Some(run) = source.awaited.turns.front().copied() else {
                break;
            };
            let line = source.runs.line(run);
            if !line.iter().any(|run| missed.contains(run)) {
                if looks == LOOKS {
                    break;
                }
                match self.deliver_awaited_run(source, run).await {
                    Ok(()) => {
                        delivered = true;
                        continue;
                    }
                    Err(halt) if halt.cause == Cause::Elsewhere => {
                        looks += 1;
                        // The eldest is the one that is not there.
                        missed.extend(line.last());
                    }
                    Err(halt) => return Err(halt),
                }
            }
            source.awaited.turns.rotate_left(1);
        }
        if delivered {
            self.progress = true;
            source.awaited.backoff.reset();
        }
        let delay = source.awaited.backoff.next(Cause::Elsewhere);
        source.awaited.due = Instant::now().checked_add(delay);
        Ok(())
    }

    async fn deliver_awaited_run(&mut self, source: &mut Source, run: u32) -> Result<(), Halt> {
        while let Some(mut aside) = source.awaited.take(run) {
            aside.work.cursors = source.cursors_of(&aside.segments);
            match self.deliver_work(source, &mut aside.work).await {
                Ok(settled) => {
                    let Aside { work, segments } = aside;
                    source.settle_awaited(work, &segments, settled == Settled::Held);
                }
                Err(halt) => {
                    source.awaited.put_back(run, aside);
                    return Err(halt);
                }
            }
        }
        source.awaited.leave(run);
        Ok(())
    }
}
