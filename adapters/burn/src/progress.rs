//! [`Progress`]: numbers of batches at the ends of epochs, which a checkpoint needs to be resumed from.
//!
//! Burn counts the batches of a training in one thread, for the metrics, and saves checkpoints in others. A checkpoint of an epoch
//! may be saved before the metrics of its last batch were counted, so the checkpoint waits for the number, for a bounded time.

use std::collections::BTreeMap;
use std::sync::{Condvar, Mutex, PoisonError};
use std::time::Duration;

/// Longest wait for the end of an epoch. Burn has handed over all batches before it saves, so the wait is one of milliseconds.
const WAIT: Duration = Duration::from_secs(2);

/// Numbers of batches since the start of a training.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct Batches {
    pub(crate) train: u64,
    pub(crate) valid: u64,
}

impl Batches {
    /// Returns the text that a checkpoint keeps.
    pub(crate) fn to_text(self) -> String {
        let Self { train, valid } = self;
        format!("train {train}\nvalid {valid}\n")
    }

    /// Reads the text that a checkpoint keeps; `None` if it is not one.
    pub(crate) fn from_text(text: &str) -> Option<Self> {
        let count = |line: Option<&str>, name: &str| {
            let (found, count) = line?.split_once(' ')?;
            (found == name).then_some(())?;
            count.parse().ok()
        };
        let mut lines = text.lines();
        Some(Self {
            train: count(lines.next(), "train")?,
            valid: count(lines.next(), "valid")?,
        })
    }
}

/// Numbers of batches at the ends of epochs, by epoch.
#[derive(Debug, Default)]
pub(crate) struct Progress {
    ended: Mutex<Ended>,
    changed: Condvar,
}

#[derive(Debug, Default)]
struct Ended {
    epochs: BTreeMap<usize, Batches>,
    /// True once a wait was in vain. Then no other one is begun, as each would hold the training up.
    is_silent: bool,
}

impl Progress {
    /// Stores the numbers at the end of an epoch.
    pub(crate) fn end_epoch(&self, epoch: usize, batches: Batches) {
        let mut ended = self.ended.lock().unwrap_or_else(PoisonError::into_inner);
        ended.epochs.insert(epoch, batches);
        self.changed.notify_all();
    }

    /// Waits for the end of an epoch, and returns the numbers; `None` if the end is not reported in time.
    pub(crate) fn at_end_of(&self, epoch: usize) -> Option<Batches> {
        let ended = self.ended.lock().unwrap_or_else(PoisonError::into_inner);
        let is_open = |ended: &mut Ended| !ended.is_silent && !ended.epochs.contains_key(&epoch);
        let waited = self.changed.wait_timeout_while(ended, WAIT, is_open);
        let (mut ended, _) = waited.unwrap_or_else(PoisonError::into_inner);
        let batches = ended.epochs.get(&epoch).copied();
        ended.is_silent |= batches.is_none();
        batches
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_text_is_read_as_it_was_written_and_no_other_one_is() {
        let batches = Batches {
            train: 12,
            valid: 3,
        };
        assert_eq!(Batches::from_text(&batches.to_text()), Some(batches));
        for text in ["", "train 12", "train 12\nvalid x", "valid 3\ntrain 12"] {
            assert_eq!(Batches::from_text(text), None, "{text:?}");
        }
    }

    #[test]
    fn a_checkpoint_gets_the_numbers_of_its_epoch_even_if_they_come_later() {
        let progress = Progress::default();
        let batches = |train| Batches { train, valid: 1 };
        std::thread::scope(|threads| {
            let waiting = threads.spawn(|| progress.at_end_of(2));
            progress.end_epoch(1, batches(4));
            progress.end_epoch(2, batches(8));
            progress.end_epoch(3, batches(12));
            assert_eq!(waiting.join().expect("no panic"), Some(batches(8)));
        });
        assert_eq!(progress.at_end_of(1), Some(batches(4)));
    }
}
