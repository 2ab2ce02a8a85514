//! The rank of this process, and the number of ranks, as the launcher of the process gives them.
//!
//! Invariants:
//!
//! - The environment is read once per process.
//! - A launcher counts only if it sets both the rank and the world size, because some of the variables are
//!   set for other reasons, too.
//! - No warning is issued while anything is locked or half initialized, because the warning may reach a
//!   subscriber that starts runs.

use std::num::NonZeroU32;
use std::sync::atomic::{AtomicBool, Ordering};

use once_cell::race::OnceBox;

use crate::env_vars::{read_description, unusable};
use crate::warnings::UserWarning;

/// Rank of a process in its launch.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct RankInfo {
    pub(crate) rank: u32,
    pub(crate) world_size: NonZeroU32,
    pub(crate) local_rank: Option<u32>,
}

/// Environment variables of one launcher.
struct Launcher {
    rank: &'static str,
    /// Variables for the world size, of which the first that is set counts.
    world_size: &'static [&'static str],
    local_rank: &'static str,
    /// Variable that only the processes of a launch have, for a launcher that sets the others elsewhere, too.
    required_variable: Option<&'static str>,
}

/// Launchers, the innermost first: inside of a Slurm job, `mpirun` and `torchrun` start processes of their
/// own. Slurm gives a rank even to a batch script, which is a single process, but no step id.
const LAUNCHERS: [Launcher; 4] = [
    Launcher {
        rank: "RANK",
        world_size: &["WORLD_SIZE"],
        local_rank: "LOCAL_RANK",
        required_variable: None,
    },
    Launcher {
        rank: "OMPI_COMM_WORLD_RANK",
        world_size: &["OMPI_COMM_WORLD_SIZE"],
        local_rank: "OMPI_COMM_WORLD_LOCAL_RANK",
        required_variable: None,
    },
    Launcher {
        rank: "PMI_RANK",
        world_size: &["PMI_SIZE"],
        local_rank: "MPI_LOCALRANKID",
        required_variable: None,
    },
    Launcher {
        rank: "SLURM_PROCID",
        world_size: &["SLURM_STEP_NUM_TASKS", "SLURM_NTASKS"],
        local_rank: "SLURM_LOCALID",
        required_variable: Some("SLURM_STEP_ID"),
    },
];

/// A variable whose value cannot be used.
#[derive(Debug, PartialEq, Eq)]
struct InvalidVariable {
    variable: &'static str,
    value: String,
    expected: String,
}

struct Detection {
    rank_info: Option<RankInfo>,
    faults: Vec<InvalidVariable>,
    /// Set once the warnings about `faults` have been issued.
    is_warned: AtomicBool,
}

fn detect_once() -> &'static Detection {
    static DETECTION: OnceBox<Detection> = OnceBox::new();
    DETECTION.get_or_init(|| {
        let mut faults = Vec::new();
        let place = detect_rank(&read_description, &mut faults);
        Box::new(Detection {
            rank_info: place,
            faults,
            is_warned: AtomicBool::new(false),
        })
    })
}

/// Returns the rank of this process, and the number of ranks; `None` if no launcher has set both.
pub(crate) fn rank_info() -> Option<RankInfo> {
    detect_once().rank_info
}

/// Warns, once, about each launcher variable that could not be used.
pub(crate) fn warn_faults() {
    let told = detect_once();
    if told.is_warned.swap(true, Ordering::Relaxed) {
        return;
    }
    for (_, warning) in faults() {
        warning.issue();
    }
}

/// Returns the launcher variables that could not be used, each with the warning about it.
pub(crate) fn faults() -> impl Iterator<Item = (&'static str, UserWarning)> {
    detect_once().faults.iter().map(|fault| {
        let InvalidVariable {
            variable,
            value,
            expected,
        } = fault;
        (*variable, unusable(variable, value, expected))
    })
}

fn detect_rank(
    text: &dyn Fn(&'static str) -> Option<String>,
    faults: &mut Vec<InvalidVariable>,
) -> Option<RankInfo> {
    LAUNCHERS
        .iter()
        .find_map(|launcher| launcher.detect(text, faults))
}

impl Launcher {
    fn detect(
        &self,
        text: &dyn Fn(&'static str) -> Option<String>,
        faults: &mut Vec<InvalidVariable>,
    ) -> Option<RankInfo> {
        let Self {
            rank,
            world_size,
            local_rank,
            required_variable: only_with,
        } = self;
        if let Some(variable) = only_with {
            text(variable)?;
        }
        let its_rank = text(rank)?;
        let (variable, size) = world_size
            .iter()
            .find_map(|variable| Some((*variable, text(variable)?)))?;
        let Ok(size) = size.trim().parse::<NonZeroU32>() else {
            faults.push(InvalidVariable {
                variable,
                value: size,
                expected: "a whole number, 1 or more".to_owned(),
            });
            return None;
        };
        let mut below = |name: &'static str, value: String| {
            let parsed = value.trim().parse().ok();
            let valid = parsed.filter(|number| *number < size.get());
            if valid.is_none() {
                faults.push(InvalidVariable {
                    variable: name,
                    value,
                    expected: format!("a whole number below {variable}={size}"),
                });
            }
            valid
        };
        Some(RankInfo {
            rank: below(rank, its_rank)?,
            world_size: size,
            local_rank: text(local_rank).and_then(|value| below(local_rank, value)),
        })
    }
}

/// Returns the tags about ranks that every run of the process gets.
pub(crate) fn rank_tags() -> impl Iterator<Item = (&'static str, String)> {
    let place = rank_info();
    let numbers = [
        ("distributed.rank", place.map(|place| place.rank)),
        (
            "distributed.world_size",
            place.map(|place| place.world_size.get()),
        ),
        (
            "distributed.local_rank",
            place.and_then(|place| place.local_rank),
        ),
    ];
    let known = numbers.into_iter();
    known.filter_map(|(key, number)| Some((key, number?.to_string())))
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Rank, world size and local rank.
    type Numbers = (u32, u32, Option<u32>);

    fn read_from(environment: &[(&str, &str)]) -> (Option<Numbers>, Vec<InvalidVariable>) {
        let mut faults = Vec::new();
        let find = |name| environment.iter().find(|(key, _)| *key == name);
        let text = |name| find(name).map(|(_, value)| (*value).to_owned());
        let place = detect_rank(&text, &mut faults);
        let shown = |place: RankInfo| (place.rank, place.world_size.get(), place.local_rank);
        (place.map(shown), faults)
    }

    #[test]
    fn each_launcher_is_understood() {
        let torchrun = [("RANK", "5"), ("WORLD_SIZE", "8"), ("LOCAL_RANK", "1")];
        assert_eq!(read_from(&torchrun), (Some((5, 8, Some(1))), vec![]));
        let open_mpi = [
            ("OMPI_COMM_WORLD_RANK", "0"),
            ("OMPI_COMM_WORLD_SIZE", "2"),
            ("OMPI_COMM_WORLD_LOCAL_RANK", "0"),
        ];
        assert_eq!(read_from(&open_mpi), (Some((0, 2, Some(0))), vec![]));
        let hydra = [
            ("PMI_RANK", "3"),
            ("PMI_SIZE", "4"),
            ("MPI_LOCALRANKID", "1"),
        ];
        assert_eq!(read_from(&hydra), (Some((3, 4, Some(1))), vec![]));
        let pmi = [("PMI_RANK", "3"), ("PMI_SIZE", "4")];
        assert_eq!(read_from(&pmi), (Some((3, 4, None)), vec![]));
        let srun = [
            ("SLURM_PROCID", "1"),
            ("SLURM_STEP_NUM_TASKS", "2"),
            ("SLURM_NTASKS", "16"),
            ("SLURM_LOCALID", "0"),
            ("SLURM_STEP_ID", "0"),
        ];
        assert_eq!(read_from(&srun), (Some((1, 2, Some(0))), vec![]));
    }

    #[test]
    fn a_batch_script_is_not_one_of_several() {
        let sbatch = [("SLURM_PROCID", "0"), ("SLURM_NTASKS", "16")];
        assert_eq!(read_from(&sbatch), (None, vec![]));
    }

    #[test]
    fn the_launcher_inside_of_another_counts() {
        let slurm = [
            ("SLURM_PROCID", "0"),
            ("SLURM_NTASKS", "2"),
            ("SLURM_STEP_ID", "0"),
        ];
        let inside =
            |first: [(&'static str, &'static str); 2]| read_from(&[&first[..], &slurm].concat());
        let mpi = inside([("OMPI_COMM_WORLD_RANK", "7"), ("OMPI_COMM_WORLD_SIZE", "8")]);
        assert_eq!(mpi, (Some((7, 8, None)), vec![]));
        let torch = inside([("RANK", "3"), ("WORLD_SIZE", "4")]);
        assert_eq!(torch, (Some((3, 4, None)), vec![]));
        let half = inside([("RANK", "3"), ("LOCAL_RANK", "4")]);
        assert_eq!(half, (Some((0, 2, None)), vec![]), "RANK may mean anything");
    }

    #[test]
    fn what_cannot_be_used_is_told_once_and_the_next_launcher_counts() {
        let rank = |rank: &str, size: &str| {
            let (place, faults) = read_from(&[("RANK", rank), ("WORLD_SIZE", size)]);
            assert_eq!(place, None, "{rank} of {size}");
            let [fault] = &faults[..] else {
                panic!("one fault: {faults:?}")
            };
            (fault.variable, fault.value.clone(), fault.expected.clone())
        };
        let below = "a whole number below WORLD_SIZE=4".to_owned();
        for bad in ["4", "-1", "one", "1.0"] {
            assert_eq!(rank(bad, "4"), ("RANK", bad.to_owned(), below.clone()));
        }
        for bad in ["0", "-2", "many", "99999999999"] {
            let expected = "a whole number, 1 or more".to_owned();
            assert_eq!(rank("0", bad), ("WORLD_SIZE", bad.to_owned(), expected));
        }
        let bad_local = [("RANK", "1"), ("WORLD_SIZE", "2"), ("LOCAL_RANK", "x")];
        let (place, faults) = read_from(&bad_local);
        assert_eq!(place, Some((1, 2, None)));
        assert_eq!(faults.len(), 1);
        let next = [
            ("RANK", "x"),
            ("WORLD_SIZE", "2"),
            ("PMI_RANK", "1"),
            ("PMI_SIZE", "2"),
        ];
        assert_eq!(read_from(&next).0, Some((1, 2, None)));
    }
}
