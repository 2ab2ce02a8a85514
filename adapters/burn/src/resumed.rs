//! [`Resumed`]: what an earlier process has logged to the run that is resumed.
//!
//! Invariants:
//!
//! 1. No point is logged twice: steps that the run has are left out.
//! 2. Epochs before the checkpoint have their values, so that early stopping and the choice of checkpoints see the whole training.

use std::collections::{BTreeMap, HashMap};

use burn_train::metric::store::Split;
use mlflow::blocking::Client;
use mlflow::{ClientError, LegalValues};

use crate::epoch_value::EpochValue;
use crate::keys;
use crate::progress::Batches;

/// Points of the run that is resumed, and the state of the training at the checkpoint.
#[derive(Debug, Default)]
pub(crate) struct Resumed {
    /// Numbers of batches at the checkpoint; `None` if the checkpoint does not say.
    batches: Option<Batches>,
    /// Greatest step of each metric.
    last_steps: BTreeMap<String, i64>,
    /// Values of the epochs up to the checkpoint, by key and epoch.
    epochs: HashMap<(String, usize), f64>,
}

impl Resumed {
    /// Reads the points of the run from the store. `epoch` is the one of the checkpoint, 0 without one.
    pub(crate) fn read(
        last: &mlflow::entities::Run,
        epoch: usize,
        batches: Option<Batches>,
    ) -> Result<Self, ClientError> {
        let last_steps: BTreeMap<_, _> = { last.metrics.iter() }
            .map(|(key, point)| (key.clone(), point.step))
            .collect();
        let of_epochs: Vec<_> = { last_steps.keys() }
            .filter(|key| keys::is_of_epoch(key))
            .cloned()
            .collect();
        let mut epochs = HashMap::new();
        if epoch > 0 && !of_epochs.is_empty() {
            for history in Client::new().metric_histories(&*last.run_id, of_epochs)? {
                for (step, value) in history.steps().iter().zip(history.values()) {
                    if let Ok(step) = usize::try_from(*step)
                        && step <= epoch
                    {
                        epochs.insert((history.key().to_owned(), step), *value);
                    }
                }
            }
        }
        Ok(Self {
            batches: if epoch == 0 {
                Some(Batches::default())
            } else {
                batches
            },
            last_steps,
            epochs,
        })
    }

    /// Returns the number of batches of a split before the first one of this process.
    pub(crate) fn batches(&self, split: &Split) -> u64 {
        let count = |batches: Batches| match split {
            Split::Train => batches.train,
            Split::Valid => batches.valid,
            Split::Test(_) => 0,
        };
        // Without the number, the batches follow the last one that was logged.
        let logged = || {
            let part = keys::of_batch(split, "");
            let steps = { self.last_steps.iter() }
                .filter(|(key, _)| key.starts_with(&part))
                .map(|(_, step)| u64::try_from(step + 1).unwrap_or(0));
            steps.max().unwrap_or(0)
        };
        self.batches.map_or_else(logged, count)
    }

    /// Returns the first step of a metric that the run does not have.
    pub(crate) fn first_step(&self, key: &str) -> u64 {
        let last = self.last_steps.get(&*LegalValues::new().metric_key(key));
        last.map_or(0, |step| u64::try_from(step + 1).unwrap_or(0))
    }

    /// Returns the value of an epoch before the checkpoint.
    pub(crate) fn epoch_value(&self, key: &str, epoch: usize) -> Option<EpochValue> {
        let key = LegalValues::new().metric_key(key).into_owned();
        self.epochs.get(&(key, epoch)).copied().map(EpochValue::of)
    }
}
