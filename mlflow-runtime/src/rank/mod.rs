//! Ranks: many processes, one run.

mod launcher;
mod rendezvous;
mod settings;

pub(crate) use launcher::{Place, place};
pub(crate) use rendezvous::next_key;
pub(crate) use settings::{Options, Settings};

use crate::store::Tag;

pub(crate) use launcher::tell_faults;

/// Which of the launch's processes this is, from 0; `None` where no launcher says so.
///
/// ```
/// // Of many processes that train together, one writes the model down.
/// if mlflow::rank::rank().unwrap_or(0) == 0 {
///     // save the model
/// }
/// ```
#[must_use]
pub fn rank() -> Option<u32> {
    place().map(|place| place.rank)
}

/// How many processes the launch has; `None` where no launcher says so.
///
/// ```
/// let share = 1.0 / f64::from(mlflow::rank::world_size().unwrap_or(1));
/// # assert_eq!(share, 1.0);
/// ```
#[must_use]
pub fn world_size() -> Option<u32> {
    place().map(|place| place.world_size.get())
}

/// Which of the launch's processes on this host this is, from 0; `None` where no launcher says so.
///
/// ```
/// let device = mlflow::rank::local_rank().unwrap_or(0);
/// # assert_eq!(device, 0);
/// ```
#[must_use]
pub fn local_rank() -> Option<u32> {
    place().and_then(|place| place.local_rank)
}

/// The tags of every run that the process starts.
pub(crate) fn tags() -> impl Iterator<Item = Tag> {
    let numbers = [
        ("distributed.rank", rank()),
        ("distributed.world_size", world_size()),
        ("distributed.local_rank", local_rank()),
    ];
    numbers.into_iter().filter_map(|(key, number)| {
        Some(Tag {
            key: key.to_owned(),
            value: number?.to_string(),
        })
    })
}
