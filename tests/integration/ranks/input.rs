//! Environment variables about ranks, valid and invalid.

use super::{Launch, RANKS, count, tag};
use crate::support::program::{Ended, Folder};

fn warning(ended: &Ended) -> &str {
    assert!(ended.success, "{}", ended.stderr);
    let [warning] = ended.warnings()[..] else {
        panic!("one warning: {}", ended.stderr)
    };
    warning
}

#[test]
fn each_launcher_tells_rank_and_world_size() {
    let launchers: [&[(&str, &str)]; 4] = [
        &[("RANK", "2"), ("WORLD_SIZE", "3"), ("LOCAL_RANK", "1")],
        &[
            ("OMPI_COMM_WORLD_RANK", "2"),
            ("OMPI_COMM_WORLD_SIZE", "3"),
            ("OMPI_COMM_WORLD_LOCAL_RANK", "1"),
        ],
        &[
            ("PMI_RANK", "2"),
            ("PMI_SIZE", "3"),
            ("MPI_LOCALRANKID", "1"),
        ],
        &[
            ("SLURM_STEP_ID", "0"),
            ("SLURM_PROCID", "2"),
            ("SLURM_NTASKS", "3"),
            ("SLURM_LOCALID", "1"),
        ],
    ];
    for environment in launchers {
        let folder = Folder::new();
        let ended = folder.run(RANKS, &["log"], environment);
        assert_eq!(ended.warnings(), [""; 0], "{}", ended.stderr);
        let database = folder.database();
        let tag = |key: &str| tag(&database, key).unwrap();
        assert_eq!(tag("distributed.rank"), "2", "{environment:?}");
        assert_eq!(tag("distributed.world_size"), "3");
        assert_eq!(tag("distributed.local_rank"), "1");
        assert_eq!(count(&database, "by/2"), 100, "the function knows it, too");
    }
}

#[test]
fn a_process_that_nobody_launched_has_no_rank() {
    for environment in [&[][..], &[("SLURM_PROCID", "0"), ("SLURM_NTASKS", "8")]] {
        let folder = Folder::new();
        let ended = folder.run(RANKS, &["log"], environment);
        assert_eq!(ended.warnings(), [""; 0], "{}", ended.stderr);
        let database = folder.database();
        assert_eq!(tag(&database, "distributed.rank"), None, "{environment:?}");
        assert_eq!(tag(&database, "distributed.world_size"), None);
    }
}

#[test]
fn a_rank_that_cannot_be_is_one_warning_and_none() {
    let folder = Folder::new();
    let environment = [("RANK", "4"), ("WORLD_SIZE", "4")];
    let ended = folder.run(RANKS, &["configure"], &environment);
    let warning = warning(&ended);
    for word in ["RANK=\"4\"", "ignored", "below WORLD_SIZE=4"] {
        assert!(warning.contains(word), "{warning}");
    }
    assert_eq!(tag(&folder.database(), "distributed.rank"), None);
}

#[test]
fn a_rendezvous_without_a_rank_is_one_warning_and_a_run_of_ones_own() {
    let folder = Folder::new();
    for _ in 0..2 {
        let ended = folder.run(RANKS, &["log"], &[("MLFLOW_RENDEZVOUS_ID", "job")]);
        let warning = warning(&ended);
        assert!(
            warning.contains("MLFLOW_RENDEZVOUS_ID=\"job\""),
            "{warning}"
        );
        assert!(warning.contains("WORLD_SIZE"), "{warning}");
    }
    assert_eq!(count(&folder.database(), "by/0"), 200);
    let runs = "select count(*) from runs where status = 'FINISHED'";
    assert_eq!(super::one::<i64>(&folder.database(), runs), 2);
}

#[test]
fn metrics_have_the_prefix_of_their_rank() {
    let prefix = ("MLFLOW_METRIC_PREFIX", "rank-{rank}of{world_size}/");
    let launch = Launch::of(2, &[("MLFLOW_RENDEZVOUS_ID", "job"), prefix]);
    super::expect_no_warnings(&launch.run_all(|_| vec!["log"]));
    let database = launch.folder.database();
    for rank in 0..2 {
        assert_eq!(count(&database, &format!("rank-{rank}of2/loss")), 1);
        assert_eq!(count(&database, &format!("rank-{rank}of2/by/{rank}")), 100);
    }
    assert_eq!(count(&database, "loss"), 0);
    assert!(count(&database, "system/own") > 0, "those have a node id");
}

#[test]
fn a_prefix_that_cannot_be_is_one_warning_and_none() {
    let long = "x".repeat(300);
    for bad in ["{host}/", "{local_rank}/", "rank={rank}/", &long] {
        let launch = Launch::of(1, &[("MLFLOW_METRIC_PREFIX", bad)]);
        let ended = launch.run(0, &["log"]);
        let warning = warning(&ended);
        assert!(warning.contains("MLFLOW_METRIC_PREFIX"), "{warning}");
        assert!(warning.contains(bad), "{warning}");
        assert_eq!(count(&launch.folder.database(), "loss"), 1);
    }
}

/// The key is too long only with its prefix.
#[test]
fn a_key_that_is_too_long_with_its_prefix_is_set_aside() {
    let long = "x".repeat(247);
    let launch = Launch::of(1, &[("MLFLOW_METRIC_PREFIX", &long)]);
    let ended = launch.run(0, &["log"]);
    let warnings = ended.warnings();
    assert_eq!(warnings.len(), 2, "one for each key: {warnings:?}");
    for warning in warnings {
        assert!(warning.contains("it has 251 characters"), "{warning}");
    }
    let database = launch.folder.database();
    assert_eq!(count(&database, "system/own"), 1, "everything else arrives");
}
