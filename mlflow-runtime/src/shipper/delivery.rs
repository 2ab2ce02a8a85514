//! Bringing a pass to the store.
//!
//! # Invariants
//!
//! 1. A run is [created](super::creation) before anything is logged to it.
//! 2. After a [`Halt`] the pass can be delivered again: what was done is not forgotten, what was
//!    under way is sent again with the same content.
//! 3. What the store refuses is taken out entry by entry, counted, and warned of once for each key;
//!    everything else goes through.

use std::borrow::Cow;
use std::sync::Arc;
use std::time::Duration;

use super::postponed::{Postponed, Waiting};
use super::share::Share;
use super::source::Source;
use super::work::{ArtifactBytes, Pass, Refused, Sent, Work};
use crate::diagnostics::Said;
use crate::stats::Stats;
use crate::store::{ArtifactContent, Store, StoreError, StoreInfo, StoredRun};

/// Why delivery stopped. Everything is still there.
#[derive(Debug)]
pub(crate) struct Halt {
    pub(super) reason: String,
    pub(super) cause: Cause,
}

/// What to wait for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Cause {
    /// The store is there, and somebody else has it.
    Busy,
    /// So is the store; another process has to create a run first.
    Elsewhere,
    /// The store cannot be reached, or cannot work.
    Away { retry_after: Option<Duration> },
    /// A person has to act: there is no point in hurrying.
    Blocked,
}

/// How often in a row a batch is tried again as another client seems to be in the way. Then it is
/// taken for refused.
const CONTESTS: u32 = 20;

/// Brings values to one store.
pub(crate) struct Delivery {
    pub(super) store: Box<dyn Store>,
    stats: Arc<Stats>,
    pub(super) said: Said,
    pub(super) quiet: bool,
    /// Whether anything was done since it was last asked for.
    pub(super) progress: bool,
    /// How much the next request may hold.
    share: Share,
    /// How often in a row another client was in the way.
    contests: u32,
}

/// What became of one run's work.
enum Outcome {
    Done,
    /// The store takes nothing for the run.
    Held(String),
}

/// How one run's work is settled.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Settled {
    Done,
    /// It stays in the journal, for the next process.
    Held,
}

impl Delivery {
    pub(crate) fn new(store: Box<dyn Store>, stats: Arc<Stats>, quiet: bool) -> Self {
        Self {
            store,
            stats,
            said: Said::default(),
            quiet,
            progress: false,
            share: Share::default(),
            contests: 0,
        }
    }

    pub(super) fn stats(&self) -> &Stats {
        &self.stats
    }

    /// How much to read at once.
    pub(super) fn budget(&self) -> usize {
        self.store.limits().total.saturating_mul(10).min(65_536)
    }

    /// Leaves the store to others, when it is time for that.
    async fn rest(&self) {
        let gap = self.store.gap();
        if !gap.is_zero() {
            tokio::time::sleep(gap).await;
        }
    }

    /// Whether the store has done something since the last call that will not be asked for again.
    pub(super) fn take_progress(&mut self) -> bool {
        std::mem::take(&mut self.progress)
    }

    pub(super) async fn info(&self) -> Result<StoreInfo, StoreError> {
        self.store.info().await
    }

    pub(super) fn uri(&self) -> String {
        self.store.uri()
    }

    /// Delivers what is left of `pass`.
    pub(super) async fn deliver(
        &mut self,
        source: &mut Source,
        pass: &mut Pass,
    ) -> Result<(), Halt> {
        self.leave_unknown(std::mem::take(&mut pass.unknown));
        self.stats.damaged.add(source.take_damaged());
        while let Some(work) = pass.current() {
            let settled = if source.awaited.holds(&source.runs, work.run) {
                Err(elsewhere())
            } else {
                self.deliver_work(source, work).await
            };
            match settled {
                Ok(settled) => pass.finish_current(settled == Settled::Held),
                Err(halt)
                    if halt.cause == Cause::Elsewhere
                        && source.is_live()
                        && source.awaited.has_room() =>
                {
                    if let Some(work) = pass.take_current() {
                        source.put_aside(work, pass.oldest_ms);
                    }
                }
                Err(halt) => return Err(halt),
            }
        }
        Ok(())
    }

    /// Delivers what is left of one run's work.
    pub(super) async fn deliver_work(
        &mut self,
        source: &mut Source,
        work: &mut Work,
    ) -> Result<Settled, Halt> {
        self.rest().await;
        let refused = work.check();
        self.set_aside(work, &refused);
        let outcome = match self.ready(source, work.run).await? {
            Ok(run) => {
                let role = source.runs.role(work.run);
                let is_live = source.is_live();
                let mut outcome = self.work(&run, work, &source.postponed).await?;
                if let (Outcome::Done, Some((status, end_time_ms))) = (&outcome, work.end) {
                    self.deliver_last_lines(source, work.run).await;
                    let ended = self.end(&run, role, is_live, status, end_time_ms).await;
                    if let Err(error) = ended {
                        outcome = Outcome::Held(refusal(error)?);
                    }
                }
                if matches!(outcome, Outcome::Done) {
                    // First, as it may halt: what is postponed is not read again.
                    if work.end.is_some() {
                        self.look_again(source, work.run).await?;
                    }
                    source.postpone(&run, work);
                }
                outcome
            }
            Err(reason) => Outcome::Held(reason),
        };
        if source.is_live() {
            self.stats.settled.add(work.entries - work.postponed);
        }
        Ok(match &outcome {
            Outcome::Done => {
                self.done(source, work);
                Settled::Done
            }
            Outcome::Held(reason) => {
                self.hold(source, work, reason);
                Settled::Held
            }
        })
    }

    fn leave_unknown(&mut self, records: usize) {
        self.stats.held.add(records);
        if records > 0 && self.said.admit("unknown", "").is_some() {
            tracing::warn!(
                target: "mlflow", records,
                "a journal holds records of kinds that this version does not know; they stay for a newer one, \
                 everything else is shipped"
            );
        }
    }

    fn done(&mut self, source: &mut Source, work: &Work) {
        let delivered = work.entries.saturating_sub(work.refused + work.postponed);
        self.stats.delivered.add(delivered);
        if work.end.is_some()
            && let Some(state) = source.runs.get_mut(work.run)
        {
            state.ended = true;
        }
    }

    async fn work(
        &mut self,
        run: &StoredRun,
        work: &mut Work,
        postponed: &Postponed,
    ) -> Result<Outcome, Halt> {
        let limits = self.store.limits();
        while let Some((batch, sent)) = work.next_batch(self.share.of(limits)) {
            self.rest().await;
            match self.store.log_batch(run, &batch).await {
                Ok(()) => {
                    self.share.grow();
                    self.contests = 0;
                }
                Err(error @ StoreError::Contested { .. }) if self.contests < CONTESTS => {
                    self.contests += 1;
                    return Err(halt(error));
                }
                Err(StoreError::Rejected { reason } | StoreError::Contested { reason }) => {
                    self.contests = 0;
                    match self.isolate(run, batch, reason).await? {
                        Ok(refused) => self.set_aside(work, &refused),
                        Err(reason) => return Ok(Outcome::Held(reason)),
                    }
                }
                Err(StoreError::Blocked {
                    reason,
                    everything: false,
                }) => return Ok(Outcome::Held(reason)),
                Err(error) => {
                    if matches!(error, StoreError::Unavailable { .. }) {
                        self.share.shrink();
                    }
                    return Err(halt(error));
                }
            }
            work.sent = sent;
            self.progress = true;
        }
        while let Some((path, bytes)) = work.artifacts.get(work.sent.artifacts) {
            // None before one that waits.
            let put = if postponed.is_empty() {
                self.put(run, path, bytes).await
            } else {
                Err(StoreError::Unavailable {
                    reason: "artifacts wait for their store".to_owned(),
                    retry_after: None,
                })
            };
            match put {
                Ok(refused) => self.set_aside(work, refused.as_slice()),
                Err(StoreError::Blocked {
                    reason,
                    everything: false,
                }) => return Ok(Outcome::Held(reason)),
                Err(StoreError::Unavailable { .. }) if postponed.has_room() => {
                    self.answers(run).await?;
                    break;
                }
                Err(error) => return Err(halt(error)),
            }
            work.sent = Sent {
                artifacts: work.sent.artifacts + 1,
                ..work.sent
            };
            self.progress = true;
        }
        Ok(Outcome::Done)
    }

    /// Delivers the artifacts that wait, up to the first that still has to.
    pub(super) async fn deliver_postponed(&mut self, source: &mut Source) -> Result<(), Halt> {
        while let Some(Waiting {
            run, path, bytes, ..
        }) = source.postponed.first()
        {
            match self.put(run, path, bytes).await {
                Ok(refused) => {
                    match &refused {
                        None => self.stats.delivered.add(1),
                        Some(refused) => self.refuse(std::slice::from_ref(refused)),
                    }
                    if source.is_live() {
                        self.stats.settled.add(1);
                    }
                    source.settle_postponed(false);
                    self.progress = true;
                }
                Err(StoreError::Blocked {
                    reason,
                    everything: false,
                }) => {
                    self.stats.held.add(1);
                    if source.is_live() {
                        self.stats.settled.add(1);
                    }
                    self.warn_held(&reason);
                    source.settle_postponed(true);
                }
                Err(error) => {
                    let halt = halt(error);
                    source.postponed.failed(&halt);
                    source.settle();
                    return Err(halt);
                }
            }
        }
        source.postponed.succeeded();
        source.settle();
        Ok(())
    }

    /// Whether it is the artifacts' store alone that is away.
    async fn answers(&self, run: &StoredRun) -> Result<(), Halt> {
        match self.store.is_running(run).await {
            Err(
                error @ (StoreError::Unavailable { .. }
                | StoreError::Busy { .. }
                | StoreError::Contested { .. }),
            ) => Err(halt(error)),
            _ => Ok(()),
        }
    }

    /// Brings an artifact to the store, which may refuse it for good.
    pub(super) async fn put(
        &self,
        run: &StoredRun,
        path: &str,
        bytes: &ArtifactBytes,
    ) -> Result<Option<Refused>, StoreError> {
        let content = match bytes {
            ArtifactBytes::Memory(bytes) => ArtifactContent::Bytes(Cow::Borrowed(bytes)),
            ArtifactBytes::File(file) => ArtifactContent::File(file),
        };
        match self.store.put_artifact(run, path, content).await {
            Ok(()) => Ok(None),
            Err(StoreError::Rejected { reason }) => Ok(Some(Refused {
                kind: "artifact",
                key: path.to_owned(),
                reason,
            })),
            Err(error) => Err(error),
        }
    }

    fn set_aside(&mut self, work: &mut Work, refused: &[Refused]) {
        work.refused += refused.len();
        self.refuse(refused);
    }

    pub(super) fn refuse(&mut self, refused: &[Refused]) {
        self.stats.rejected.add(refused.len());
        for Refused { kind, key, reason } in refused {
            self.stats
                .note_refusal(|| format!("{kind} {key:?} is set aside: {reason}"));
            if let Some(end) = self.said.admit(kind, key) {
                tracing::warn!(target: "mlflow", "{kind} {key:?} is set aside: {reason}{end}");
            }
        }
    }

    fn hold(&mut self, source: &mut Source, work: &Work, reason: &str) {
        self.stats.held.add(work.entries);
        self.stats
            .note_refusal(|| format!("values stay in the journal: {reason}"));
        self.warn_held(reason);
        source.hold(work, reason);
    }

    pub(super) fn warn_held(&mut self, reason: &str) {
        if let Some(end) = self.said.admit("held", reason) {
            tracing::warn!(target: "mlflow", "values stay in the journal: {reason}{end}");
        }
    }
}

/// A run is created by another process, sooner or later.
pub(super) fn elsewhere() -> Halt {
    Halt {
        reason: "the process that has started the run has not created it yet".to_owned(),
        cause: Cause::Elsewhere,
    }
}

/// Why the store does not take this of one run; else everything stops.
pub(super) fn refusal(error: StoreError) -> Result<String, Halt> {
    match error {
        StoreError::Rejected { reason }
        | StoreError::Blocked {
            reason,
            everything: false,
        } => Ok(reason),
        error => Err(halt(error)),
    }
}

pub(super) fn halt(error: StoreError) -> Halt {
    let (reason, cause) = match error {
        StoreError::Unavailable {
            reason,
            retry_after,
        } => (reason, Cause::Away { retry_after }),
        StoreError::Busy { reason } | StoreError::Contested { reason } => (reason, Cause::Busy),
        StoreError::Rejected { reason } | StoreError::Blocked { reason, .. } => {
            (reason, Cause::Blocked)
        }
    };
    Halt { reason, cause }
}
