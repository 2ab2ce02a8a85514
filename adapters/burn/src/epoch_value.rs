//! Value of a metric over the batches of an epoch.
//!
//! Invariants:
//!
//! - The value is the one that Burn computes from the entries of the epoch: the final entry if there is one, else the mean of
//!   the batches, weighted by their numbers of elements.
//! - The memory that is needed does not depend on the number of batches.

use burn_train::metric::NumericEntry;

/// Value of one metric in one epoch of one split, so far.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub(crate) struct EpochValue {
    sum: f64,
    count: usize,
    final_value: Option<f64>,
}

impl EpochValue {
    /// Creates the value of an epoch that has ended.
    pub(crate) fn of(value: f64) -> Self {
        Self {
            final_value: Some(value),
            ..Self::default()
        }
    }

    /// Adds the entry of a batch, or the final one of the epoch.
    pub(crate) fn add(&mut self, entry: &NumericEntry) {
        let (value, count) = match entry {
            NumericEntry::Value(value) => (*value, 1),
            NumericEntry::Aggregated {
                aggregated_value,
                count,
            } => (*aggregated_value, *count),
            NumericEntry::Final(value) => {
                self.final_value = Some(*value);
                return;
            }
        };
        // A batch without elements has no value, and 0 times NaN would be NaN.
        if count > 0 {
            self.sum += value * count as f64;
            self.count += count;
        }
    }

    /// Returns the value; `None` without an entry.
    pub(crate) fn value(&self) -> Option<f64> {
        let mean = || (self.count > 0).then(|| self.sum / self.count as f64);
        self.final_value.or_else(mean)
    }

    /// Returns the entries from which Burn computes the same value.
    pub(crate) fn entries(&self) -> Vec<NumericEntry> {
        self.value().map(NumericEntry::Final).into_iter().collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn value_of(entries: &[NumericEntry]) -> Option<f64> {
        let mut value = EpochValue::default();
        entries.iter().for_each(|entry| value.add(entry));
        value.value()
    }

    fn batch(aggregated_value: f64, count: usize) -> NumericEntry {
        NumericEntry::Aggregated {
            aggregated_value,
            count,
        }
    }

    #[test]
    fn it_is_the_mean_of_the_elements_unless_a_final_one_is_known() {
        assert_eq!(value_of(&[]), None);
        assert_eq!(value_of(&[batch(1.0, 3), batch(5.0, 1)]), Some(2.0));
        assert_eq!(
            value_of(&[NumericEntry::Value(1.0), NumericEntry::Value(2.0)]),
            Some(1.5)
        );
        assert_eq!(
            value_of(&[batch(1.0, 3), NumericEntry::Final(0.25)]),
            Some(0.25)
        );
        assert_eq!(value_of(&[batch(f64::NAN, 0), batch(2.0, 2)]), Some(2.0));
    }
}
