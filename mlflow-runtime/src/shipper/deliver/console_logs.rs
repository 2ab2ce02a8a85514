//! The upload of [console logs](crate::shipper::queue::console_logs) that are due.

use std::time::Duration;

use tokio::time::Instant;

use crate::model::ArtifactKind;
use crate::shipper::batch::{Artifact, ArtifactBytes, Rejection};
use crate::shipper::deliver::delivery::Delivery;
use crate::shipper::failure_scope::{Obstacle, StuckReason, into_halt};
use crate::shipper::queue::console_logs::{FULLY_SHIPPED, OpenConsole, UPLOAD_INTERVAL};
use crate::shipper::read::journal_reader::JournalReader;
use crate::store::StoreError;

/// Time for which a run's end waits for the upload of the last lines.
const FINAL_UPLOAD_TIMEOUT: Duration = Duration::from_secs(2);

/// Result of an upload that was answered.
enum UploadOutcome {
    Complete,
    /// The store will never accept the log.
    Refused(String),
    /// The store accepts no console log for this run until a person acts.
    Blocked(String),
}

impl Delivery {
    /// Uploads the console logs that have new content: all of them, or only those that are due. Returns true
    /// if nothing that had to be uploaded is left.
    pub(in crate::shipper) async fn deliver_consoles(
        &mut self,
        reader: &mut JournalReader,
        all: bool,
    ) -> bool {
        let mut delivered = true;
        let now = Instant::now();
        for index in 0..reader.consoles.open.len() {
            if !reader.is_live() {
                reader.consoles.open[index].wait_until_stable();
            }
            reader.consoles.open[index].try_again_if_due(now);
            let open = &reader.consoles.open[index];
            if !open.has_pending(&reader.owner) || (!all && open.due > now) {
                continue;
            }
            let run = open.run;
            if let Some(front) = reader.parked.blocking_run(&reader.runs, run) {
                reader.consoles.open[index].due = now + UPLOAD_INTERVAL;
                delivered &= reader.parked.is_run_blocked(front);
                continue;
            }
            let is_final = reader.consoles.is_exiting
                || reader.is_final(&reader.consoles.open[index], &reader.runs.closed_runs());
            match self.send_console(reader, index, is_final).await {
                Ok(()) => {}
                // The log is uploaded when its run can be delivered.
                Err(Obstacle::Stuck(_)) => {
                    reader.consoles.open[index].due = now + UPLOAD_INTERVAL;
                    delivered = false;
                }
                Err(Obstacle::Halt(halt)) => {
                    reader.consoles.record_failure(&halt);
                    // The next call begins with the logs behind this one.
                    reader.consoles.open.rotate_left(index + 1);
                    delivered = false;
                    break;
                }
            }
        }
        reader.close_consoles();
        delivered
    }

    /// Uploads the run's console log before the run's end is sent, so that the log is complete for whoever
    /// sees the run ended, but for a last word that output on its way may still make a secret. If the upload fails, or takes longer than [`FINAL_UPLOAD_TIMEOUT`], the end is
    /// sent without it.
    pub(in crate::shipper) async fn deliver_last_lines(
        &mut self,
        reader: &mut JournalReader,
        run: u32,
    ) {
        let is_of = |open: &OpenConsole| open.run == run;
        let Some(index) = reader.consoles.open.iter().position(is_of) else {
            return;
        };
        if reader.consoles.is_failing() || !reader.consoles.open[index].has_pending(&reader.owner) {
            return;
        }
        // A testing fake has no tokio runtime, hence no timers; its store never makes the upload wait.
        let sent = if tokio::runtime::Handle::try_current().is_ok() {
            tokio::time::timeout(
                FINAL_UPLOAD_TIMEOUT,
                self.send_console(reader, index, false),
            )
            .await
        } else {
            Ok(self.send_console(reader, index, false).await)
        };
        if let Ok(Err(Obstacle::Halt(halt))) = sent {
            reader.consoles.record_failure(&halt);
        }
    }

    /// Uploads a console log. `is_final`: nobody appends to the log any more.
    async fn send_console(
        &mut self,
        reader: &mut JournalReader,
        index: usize,
        is_final: bool,
    ) -> Result<(), Obstacle> {
        let open = &reader.consoles.open[index];
        let (run, path) = (open.run, open.path.clone());
        // Measured before the bytes are read: a line appended in between counts as new.
        let length = open.length(&reader.owner);
        let Some((bytes, length)) = open.bytes(&reader.owner, length, is_final) else {
            return Ok(());
        };
        if length <= open.shipped_bytes && !is_final {
            // All that is new is a word whose end has not come yet.
            let shipped = open.shipped_bytes;
            reader.record_shipped(index, shipped, false);
            return Ok(());
        }
        let sequence = 0;
        let artifact = Artifact {
            sequence,
            kind: ArtifactKind::File,
            path,
            bytes,
            fingerprint: None,
        };
        let sent = match self.ensure_run(reader, run).await {
            Ok(stored) => match self.upload(&stored, std::slice::from_ref(&artifact)).await {
                Ok(None) => UploadOutcome::Complete,
                Ok(Some(reason)) => UploadOutcome::Refused(reason),
                Err(StoreError::Blocked {
                    reason,
                    everything: false,
                }) => UploadOutcome::Blocked(reason.to_string()),
                Err(error) => return Err(into_halt(error).into()),
            },
            Err(Obstacle::Stuck(StuckReason::Blocked(reason))) => UploadOutcome::Blocked(reason),
            Err(obstacle) => return Err(obstacle),
        };
        reader.consoles.record_success();
        self.has_progress = true;
        match sent {
            UploadOutcome::Complete => reader.record_shipped(index, length, false),
            UploadOutcome::Refused(reason) => {
                // The log continues to grow in its file, so a copy of its present content is kept.
                let copy = ArtifactBytes::Memory(artifact.read().unwrap_or_default());
                let artifact = Artifact {
                    bytes: copy,
                    ..artifact
                };
                // A console log is not a value of the journal and has a counter of its own.
                self.stats().rejected_consoles.add(1);
                self.keep_refused(reader, run, vec![Rejection::artifact(artifact, reason)]);
                reader.record_shipped(index, FULLY_SHIPPED, false);
            }
            UploadOutcome::Blocked(reason) => {
                self.warn_blocked(reader, &reason);
                reader.record_shipped(index, FULLY_SHIPPED, true);
            }
        }
        Ok(())
    }
}
