//! Disks that are full, cannot be written, or lose the journal: the program ends as it would without
//! tracking, the user is warned once, and the values in memory arrive.

use std::fs::{self, File};
use std::io::{self, Write};
use std::path::{Path, PathBuf};
use std::process::Command;

use rusqlite::Connection;

use crate::support::mlflow::Server;
use crate::support::program::{Ended, Folder, Live, one};

const CHECKPOINT: &str = env!("CARGO_BIN_EXE_checkpoint");
const NUMBERS: &str = env!("CARGO_BIN_EXE_numbers");
const STEADY: &str = env!("CARGO_BIN_EXE_steady");

/// Number of points. Half of them are more than the first segment holds, and all of them more than the
/// second.
const POINTS: i64 = 40_000;

const IN_MEMORY: &str = "values are kept in memory";
const ARTIFACT_IN_MEMORY: &str = "is kept in the journal itself instead";

/// Small file system in memory, mounted at this path, on systems where the test may mount one.
struct Mount(PathBuf);

impl Mount {
    fn tmpfs(path: &Path, options: &str) -> Option<Self> {
        fs::create_dir(path).unwrap();
        let mut mount = Command::new("mount");
        mount.args(["-t", "tmpfs", "-o", options, "mlflow-runtime-test"]);
        let output = mount.arg(path).output();
        if output.as_ref().is_ok_and(|output| output.status.success()) {
            return Some(Self(path.to_owned()));
        }
        // `eprintln!` would not do: the test harness captures its output and hides that of a passed test.
        let _ = writeln!(
            io::stderr(),
            "not tested: nothing can be mounted here: {output:?}"
        );
        None
    }

    /// Writes a file that takes all the remaining space.
    fn fill(&self) {
        let mut file = File::create(self.0.join("filler")).unwrap();
        let full = loop {
            if let Err(error) = file.write_all(&[1; 4096]) {
                break error;
            }
        };
        assert_eq!(full.kind(), io::ErrorKind::StorageFull);
    }
}

impl Drop for Mount {
    fn drop(&mut self) {
        let _ = Command::new("umount").arg("-l").arg(&self.0).status();
    }
}

/// Logs a file of this many bytes as an artifact, along with points. Returns the warning about it, if there
/// is one.
fn log_artifact_of(folder: &Folder, bytes: u64) -> Option<String> {
    let file = File::create(folder.path().join("weights.bin")).unwrap();
    file.set_len(bytes).unwrap();
    rustix::fs::fallocate(&file, rustix::fs::FallocateFlags::empty(), 0, bytes).unwrap();
    let ended = folder.run(CHECKPOINT, &["weights.bin", "10"], &[]);
    assert!(ended.success, "{}", ended.stderr);
    let warnings = ended.warnings();
    assert!(warnings.len() < 2, "{}", ended.stderr);
    let rejected = format!("dropped 0\nrejected {}\n", warnings.len());
    assert!(ended.stdout.starts_with(&rejected), "{}", ended.stderr);
    warnings.first().map(|&line| line.to_owned())
}

#[test]
fn an_artifact_that_does_not_fit_on_the_disk_is_told_in_one_line() {
    let folder = Folder::new();
    if let Some(_disk) = Mount::tmpfs(&folder.journal(), "size=16m") {
        let told = log_artifact_of(&folder, 20_000_000).unwrap();
        for words in [
            "weights.bin",
            "20000000 bytes",
            "are free",
            "MLFLOW_JOURNAL_DIR",
        ] {
            assert!(told.contains(words), "{words}: {told}");
        }
        let points = "select count(*) from metrics where key = 'loss'";
        assert_eq!(one::<i64>(&folder.database(), points), 10);
    }
}

/// The library's copy of an artifact must leave space for the program's own files, e.g. checkpoints.
#[test]
fn an_artifact_leaves_a_part_of_the_disk_free() {
    let folder = Folder::new();
    if let Some(_disk) = Mount::tmpfs(&folder.journal(), "size=64m") {
        assert_eq!(log_artifact_of(&folder, 40 << 20), None);
        let told = log_artifact_of(&folder, 62 << 20).unwrap();
        assert!(
            told.contains("are reserved for the program's own files"),
            "{told}"
        );
    }
}

fn start(folder: &Folder, environment: &[(&str, &str)]) -> Live {
    let mut program = folder.start(STEADY, &[&POINTS.to_string()], environment);
    program.wait_for_stdout("logged");
    program
}

/// Runs the second half of the program, and checks its end and the content of the store. Returns the number
/// of dropped values.
fn ends_well(folder: &Folder, mut program: Live, warnings: &[&str]) -> i64 {
    program.tell();
    let ended = program.end();
    was_told(&ended, warnings);
    let dropped = ended.stdout.trim().rsplit(' ').next().unwrap();
    let expected = format!("logged\nresult {POINTS}\ncomplete true dropped {dropped}\n");
    assert_eq!(ended.stdout, expected, "{}", ended.stderr);
    let database = folder.database();
    let count = |query: &str| one::<i64>(&database, query);
    let dropped = dropped.parse().unwrap();
    assert_eq!(count("select count(*) from metrics"), POINTS - dropped);
    assert_eq!(
        count("select count(*) from (select distinct step from metrics where value * 2 = step)"),
        POINTS - dropped,
        "each once, and right"
    );
    assert_eq!(
        count("select count(*) from params where key like 'p%' and key <> 'points'"),
        150
    );
    assert_eq!(
        count("select count(*) from runs where status = 'FINISHED'"),
        1
    );
    dropped
}

fn was_told(ended: &Ended, expected: &[&str]) {
    assert!(ended.success, "{}", ended.stderr);
    assert!(!ended.stderr.contains("panicked"), "{}", ended.stderr);
    let mut warnings = ended.warnings();
    // The warning about a failed sync concerns a loss of power only. The warning appears when the device is
    // synced, which may be later.
    warnings.retain(|warning| !warning.contains("could not be synced"));
    assert_eq!(warnings.len(), expected.len(), "{}", ended.stderr);
    for words in expected {
        let told = warnings.iter().filter(|warning| warning.contains(words));
        assert_eq!(told.count(), 1, "{words:?}: {}", ended.stderr);
    }
}

/// Asserts that the large artifact was uploaded, even if its copy could not be written beside the journal.
fn artifact_arrived(folder: &Folder) {
    let root: String = one(&folder.database(), "select artifact_uri from runs");
    let large = fs::read(Path::new(&root).join("notes/large.txt")).unwrap();
    assert_eq!(large.len(), 64 << 10);
}

#[test]
fn a_disk_without_room_for_one_segment() {
    let folder = Folder::new();
    if let Some(_disk) = Mount::tmpfs(&folder.journal(), "size=32k") {
        let program = start(&folder, &[]);
        let dropped = ends_well(&folder, program, &[IN_MEMORY, ARTIFACT_IN_MEMORY]);
        assert_eq!(dropped, 0);
        artifact_arrived(&folder);
    }
}

#[test]
fn a_disk_that_others_fill_meanwhile() {
    let folder = Folder::new();
    if let Some(disk) = Mount::tmpfs(&folder.journal(), "size=2m") {
        let program = start(&folder, &[]);
        // The space of mapped segments is reserved, so that they can still be written.
        disk.fill();
        assert_eq!(ends_well(&folder, program, &[IN_MEMORY]), 0);
        artifact_arrived(&folder);
    }
}

#[test]
fn a_disk_without_room_for_a_directory() {
    let folder = Folder::new();
    // The root directory takes the only inode of the file system.
    if let Some(_disk) = Mount::tmpfs(&folder.journal(), "size=8m,nr_inodes=1") {
        let temporary = folder.path().to_str().unwrap().to_owned();
        let program = start(&folder, &[("TMPDIR", &temporary)]);
        assert_eq!(ends_well(&folder, program, &["using the fallback"]), 0);
    }
}

#[test]
fn a_disk_that_is_read_only() {
    let folder = Folder::new();
    if let Some(_disk) = Mount::tmpfs(&folder.journal(), "size=8m,ro") {
        let temporary = folder.path().to_str().unwrap().to_owned();
        let program = start(&folder, &[("TMPDIR", &temporary)]);
        assert_eq!(ends_well(&folder, program, &["using the fallback"]), 0);
    }
}

/// Returns settings with which neither the journal's directory nor its fallback can be created.
fn nowhere(folder: &Folder) -> [(&'static str, String); 2] {
    let file = folder.path().join("file");
    File::create(&file).unwrap();
    let below = |name: &str| file.join(name).to_str().unwrap().to_owned();
    [
        ("MLFLOW_JOURNAL_DIR", below("journal")),
        ("TMPDIR", below("tmp")),
    ]
}

#[test]
fn no_directory_at_all() {
    let folder = Folder::new();
    let environment = nowhere(&folder);
    let environment = environment
        .each_ref()
        .map(|(name, value)| (*name, value.as_str()));
    let program = start(&folder, &environment);
    let told = ["using the fallback", IN_MEMORY];
    assert_eq!(ends_well(&folder, program, &told), 0);
    artifact_arrived(&folder);
}

/// Locks the store's file. The store takes nothing until the returned connection is closed.
fn locked(folder: &Folder) -> Connection {
    let lock = Connection::open(folder.path().join("mlflow.db")).unwrap();
    lock.execute_batch("begin exclusive").unwrap();
    lock
}

#[test]
fn what_finds_no_room_in_memory_is_counted() {
    let folder = Folder::new();
    if let Some(_disk) = Mount::tmpfs(&folder.journal(), "size=32k") {
        let lock = locked(&folder);
        let program = start(&folder, &[("MLFLOW_JOURNAL_MAX_BYTES", "400000")]);
        drop(lock);
        let told = [IN_MEMORY, ARTIFACT_IN_MEMORY, "the journal is full"];
        assert!(ends_well(&folder, program, &told) > 0);
    }
}

#[test]
fn values_of_a_journal_that_is_removed_are_not_said_to_wait() {
    let folder = Folder::new();
    let lock = locked(&folder);
    // Entries that the shipper has read from the journal survive its removal. The program therefore lets the
    // shipper read before it logs the points; the locked store keeps the shipper from reading more.
    let mut program = folder.start(STEADY, &[&POINTS.to_string(), "offered"], &[]);
    program.wait_for_stdout("logged");
    fs::remove_dir_all(folder.journal()).unwrap();
    drop(lock);
    program.tell();
    let ended = program.end();
    assert!(ended.success, "{}", ended.stderr);
    assert!(ended.stdout.contains("complete true"), "{}", ended.stderr);
    assert!(!ended.stderr.contains("values wait"), "{}", ended.stderr);
    let removed = "files of the journal were removed";
    assert!(ended.stderr.contains(removed), "{}", ended.stderr);
    assert!(!ended.stderr.contains(IN_MEMORY), "{}", ended.stderr);
    let dropped: i64 = ended
        .stdout
        .trim()
        .rsplit(' ')
        .next()
        .unwrap()
        .parse()
        .unwrap();
    let database = folder.database();
    // If the run's start was lost, the shipper starts the run anew for the remaining values.
    assert_eq!(
        one::<i64>(
            &database,
            "select count(*) from runs where status = 'FINISHED'"
        ),
        1
    );
    let arrived: i64 = one(&database, "select count(distinct step) from metrics");
    assert!(
        dropped > 0 && arrived >= POINTS - dropped,
        "{arrived} and {dropped} dropped"
    );
    assert!(arrived >= POINTS / 2, "what was logged since");
}

#[test]
fn a_limit_on_the_size_of_files_ends_no_process() {
    let server = Server::shared();
    let limited = |program: &str| format!("ulimit -f 40; exec {program} \"$@\"");
    let folder = Folder::new();
    let arguments = ["-c", &limited(STEADY), "sh", "400"];
    let environment = [("MLFLOW_TRACKING_URI", server.url())];
    let mut program = folder.start("sh", &arguments, &environment);
    program.tell();
    let ended = program.end();
    was_told(&ended, &[IN_MEMORY, ARTIFACT_IN_MEMORY]);
    assert!(
        ended.stdout.ends_with("complete true dropped 0\n"),
        "{}",
        ended.stdout
    );

    // In this case, the limit applies to the store's file, too.
    let folder = Folder::new();
    let arguments = ["-c", &limited(NUMBERS), "sh", "limited", "1000", "2"];
    let ended = folder.run("sh", &arguments, &[]);
    assert!(ended.success, "{}", ended.stderr);
    assert_eq!(ended.stdout, "logged\n");
    assert!(ended.stderr.contains("are lost"), "{}", ended.stderr);
}

/// Each line of a console log is written to the journal's file by a write of its own, not through a mapped
/// segment.
#[cfg(feature = "tracing")]
#[test]
fn lines_on_a_disk_that_others_fill_meanwhile() {
    let folder = Folder::new();
    let Some(disk) = Mount::tmpfs(&folder.journal(), "size=2m") else {
        return;
    };
    let lines = env!("CARGO_BIN_EXE_lines");
    let mut program = folder.start(lines, &["2", "300", "run"], &[]);
    program.wait_for_stdout("logged");
    disk.fill();
    program.tell();
    let ended = program.end();
    assert!(ended.success, "{}", ended.stderr);
    let told = "a line could not be written beside the journal";
    let warnings = ended.warnings();
    let of_lines = warnings.iter().filter(|warning| warning.contains(told));
    assert_eq!(of_lines.count(), 1, "{}", ended.stderr);
    let root: String = one(&folder.database(), "select artifact_uri from runs");
    let console = fs::read_to_string(Path::new(&root).join("logs/console.log")).unwrap();
    for thread in 0..2 {
        let of_thread = |line: &&str| line.contains(&format!("says thread={thread} line="));
        let numbers = console.lines().filter(of_thread);
        let numbers: Vec<usize> = numbers
            .map(|line| line.rsplit('=').next().unwrap().parse().unwrap_or(0))
            .take(300)
            .collect();
        assert_eq!(numbers, (0..300).collect::<Vec<_>>(), "of thread {thread}");
    }
    let finished = "select count(*) from runs where status = 'FINISHED'";
    assert_eq!(one::<i64>(&folder.database(), finished), 1);
}
