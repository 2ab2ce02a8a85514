//! Keys of metrics in a run.

use burn_train::metric::store::Split;

/// Part of a key that tells the value of a batch from that of an epoch.
const BATCH: &str = "iteration/";

/// Returns the key of a metric by epoch.
// Input:  Split::Valid, `Loss`
// Output: `valid/Loss`
pub(crate) fn of_epoch(split: &Split, name: &str) -> String {
    format!("{}/{name}", part(split))
}

/// Returns the key of a metric by batch.
// Input:  Split::Valid, `Loss`
// Output: `valid/iteration/Loss`
pub(crate) fn of_batch(split: &Split, name: &str) -> String {
    format!("{}/{BATCH}{name}", part(split))
}

/// Returns true for the key of a metric of a training by epoch.
pub(crate) fn is_of_epoch(key: &str) -> bool {
    let name = ["train/", "valid/"]
        .iter()
        .find_map(|part| key.strip_prefix(part));
    name.is_some_and(|name| !name.starts_with(BATCH))
}

/// Returns the first part of the keys of a split's metrics.
fn part(split: &Split) -> String {
    match split {
        Split::Train | Split::Valid | Split::Test(None) => split.to_string(),
        Split::Test(Some(tag)) => format!("test/{tag}"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn keys_of_epochs_are_told_from_all_others() {
        assert!(is_of_epoch(&of_epoch(&Split::Train, "Loss")));
        assert!(is_of_epoch(&of_epoch(&Split::Valid, "Top-K @ 5")));
        for key in ["train/iteration/Loss", "test/all/Loss", "loss", "system/x"] {
            assert!(!is_of_epoch(key), "{key}");
        }
    }
}
