//! Journals after a loss of power: file names without the bytes of their files. Torn or missing content is
//! reported, never delivered as whole.

use std::fs::{self, File};
use std::path::{Path, PathBuf};

use crate::support::program::{Ended, Folder, one};

const CHECKPOINT: &str = env!("CARGO_BIN_EXE_checkpoint");
const NUMBERS: &str = env!("CARGO_BIN_EXE_numbers");

const WEIGHTS: usize = 80_000;

/// Leaves a journal that a process could not deliver. Returns the path of the copy of its artifact.
fn leave_a_journal(folder: &Folder) -> PathBuf {
    fs::write(folder.path().join("weights.bin"), vec![7; WEIGHTS]).unwrap();
    let lock = folder.database();
    lock.execute_batch("begin exclusive").unwrap();
    let environment = [("MLFLOW_EXIT_TIMEOUT", "0.2")];
    let left = folder.run(CHECKPOINT, &["weights.bin", "10"], &environment);
    assert!(left.success, "{}", left.stderr);
    let journal = fs::read_dir(folder.journal()).unwrap().next().unwrap();
    let files = fs::read_dir(journal.unwrap().path()).unwrap().flatten();
    let mut copies = files.filter(|file| file.metadata().unwrap().len() == WEIGHTS as u64);
    copies.next().unwrap().path()
}

fn next(folder: &Folder) -> Ended {
    let next = folder.run(NUMBERS, &["next", "1", "1"], &[]);
    assert!(next.success, "{}", next.stderr);
    next
}

fn artifacts(folder: &Folder) -> PathBuf {
    let uri = "select artifact_uri from runs where name = 'checkpoint'";
    PathBuf::from(one::<String>(&folder.database(), uri))
}

/// Returns true if some file below `path` has this length and consists of this byte only.
fn is_kept(path: &Path, length: usize, byte: u8) -> bool {
    fs::read_dir(path)
        .into_iter()
        .flatten()
        .flatten()
        .any(|entry| {
            let path = entry.path();
            if path.is_dir() {
                return is_kept(&path, length, byte);
            }
            fs::read(path)
                .is_ok_and(|bytes| bytes.len() == length && bytes.iter().all(|b| *b == byte))
        })
}

fn is_refused(folder: &Folder, ended: &Ended, words: &[&str]) {
    let warnings = ended.warnings();
    assert_eq!(warnings.len(), 1, "{}", ended.stderr);
    for words in words.iter().chain(&["weights.bin", "is rejected for good"]) {
        assert!(warnings[0].contains(words), "{words}: {}", warnings[0]);
    }
    let artifacts = artifacts(folder);
    assert!(!artifacts.join("weights.bin").exists());
    let notes = fs::read(artifacts.join("notes.txt")).unwrap();
    assert_eq!(notes.len(), 60_000, "the other one is whole");
    let points = "select count(*) from metrics where key = 'loss'";
    assert_eq!(one::<i64>(&folder.database(), points), 10);
    let again = next(folder);
    assert_eq!(again.warnings(), [""; 0], "it is told once");
}

/// The device had the event, but not the bytes of its file.
#[test]
fn a_copy_that_a_loss_of_power_has_emptied_is_not_delivered() {
    let folder = Folder::new();
    let copy = leave_a_journal(&folder);
    File::create(copy).unwrap();
    let next = next(&folder);
    is_refused(&folder, &next, &["80000 bytes", "has 0"]);
}

#[test]
fn a_copy_that_a_loss_of_power_has_cut_is_not_delivered_and_kept() {
    let folder = Folder::new();
    let copy = leave_a_journal(&folder);
    File::options()
        .write(true)
        .open(copy)
        .unwrap()
        .set_len(4096)
        .unwrap();
    let next = next(&folder);
    is_refused(&folder, &next, &["80000 bytes", "has 4096"]);
    assert!(is_kept(&folder.journal(), 4096, 7));
}

/// The device had the length of the file, but not its bytes.
#[test]
fn a_copy_that_a_loss_of_power_has_filled_with_zeros_is_not_delivered() {
    let folder = Folder::new();
    let copy = leave_a_journal(&folder);
    fs::write(copy, vec![0; WEIGHTS]).unwrap();
    let next = next(&folder);
    is_refused(&folder, &next, &["checksum"]);
    assert!(is_kept(&folder.journal(), WEIGHTS, 0));
}

#[test]
fn a_copy_that_is_gone_is_told() {
    let folder = Folder::new();
    let copy = leave_a_journal(&folder);
    fs::remove_file(copy).unwrap();
    let next = next(&folder);
    is_refused(&folder, &next, &["80000 bytes"]);
}

#[test]
fn a_copy_that_is_whole_is_delivered() {
    let folder = Folder::new();
    leave_a_journal(&folder);
    let next = next(&folder);
    assert_eq!(next.warnings(), [""; 0]);
    let weights = fs::read(artifacts(&folder).join("weights.bin")).unwrap();
    assert!(weights == vec![7; WEIGHTS]);
}
