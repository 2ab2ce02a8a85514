//! Tests of reading journals: live ones, delivered ones, and damaged ones.

use std::borrow::Cow;
use std::fs::{self, File, Permissions};
use std::io;
use std::os::unix::fs::{FileExt as _, PermissionsExt as _};
use std::path::{Path, PathBuf};
use std::sync::{Arc, Barrier};
use std::thread;

use super::*;
use crate::journal::record::{
    ArtifactLocation, Definition, Event, Fingerprint, Origin, Record, RunStart,
};
use crate::journal::segment::SegmentBytes;
use crate::journal::segment::mapped::HEADER_BYTES;
use crate::journal::{Journal, MetricPoint, RunRef, release_thread, user_files, with_writer};
use crate::model::metric_key::Key;
use crate::model::{ArtifactKind, ExperimentRef, Param, Role, RunIdentity, RunStatus, Tag};

static LOSS: Key = Key::new("loss");

struct Folder(PathBuf);

impl Folder {
    fn new() -> Self {
        let name = format!("mlflow-runtime-journals-{}", uuid::Uuid::new_v4());
        let path = std::env::temp_dir().join(name);
        user_files::create_directory(&path).expect("the temporary folder can be written");
        Self(path)
    }

    fn journal(&self, segment_bytes: u64) -> Arc<Journal> {
        let tag = |key: &str| Tag {
            key: key.to_owned(),
            value: "common".to_owned(),
        };
        let origin = Origin {
            destination: "here".to_owned(),
            host: "h".to_owned(),
            process_id: 7,
            tags: Arc::from([tag("own"), tag("shared")]),
        };
        Journal::without_threads(self.0.clone(), origin, segment_bytes)
            .expect("the folder can be written")
    }
}

impl Drop for Folder {
    fn drop(&mut self) {
        let _ = fs::remove_dir_all(&self.0);
    }
}

fn identity(number: u32) -> RunIdentity {
    RunIdentity {
        key: format!("key-{number}"),
        experiment: ExperimentRef::Name("e".to_owned()),
        resumed: None,
        role: Role::Owner,
    }
}

fn log_at(journal: &Journal, steps: std::ops::Range<i64>) {
    let identity = identity(1);
    let run = RunRef {
        number: 1,
        identity: &identity,
        inherited: false,
    };
    with_writer(journal, |writer| {
        for step in steps.clone() {
            writer.append_metric(
                journal,
                MetricPoint {
                    run,
                    key: &LOSS,
                    timestamp_ms: 100 + step.clamp(0, 100),
                    step,
                    value: 0.5,
                },
            );
        }
    });
}

fn tell(journal: &Journal, event: &Event<'_>, attachment: &[u8]) {
    let identity = identity(1);
    let run = RunRef {
        number: 1,
        identity: &identity,
        inherited: false,
    };
    with_writer(journal, |writer| {
        assert!(writer.append_event(journal, &run, event, attachment));
    });
}

fn start() -> Event<'static> {
    let own = Tag {
        key: "own".to_owned(),
        value: "mine".to_owned(),
    };
    let param = Param {
        key: "p".to_owned(),
        value: "1".to_owned(),
    };
    Event::Start(Box::new(RunStart {
        name: Cow::Borrowed("fit"),
        user: Cow::Borrowed("me"),
        parent: Some(Cow::Owned(identity(9))),
        tags: vec![Cow::Owned(own)],
        with_common_tags: true,
        params: vec![param],
        ..RunStart::replacement(&identity(1), 50)
    }))
}

/// Leaves the journal behind, as a process does that ends.
fn orphan(journal: Arc<Journal>) -> StoredJournal {
    let path = journal.path().expect("it lies on disk");
    release_thread(&journal);
    drop(journal);
    let stored = StoredJournal::open(path).expect("a journal");
    assert_eq!(stored.state(), JournalState::Orphaned);
    stored
}

fn stored(journal: &Journal) -> StoredJournal {
    StoredJournal::open(journal.path().expect("it lies on disk")).expect("a journal")
}

fn steps(entries: impl Iterator<Item = Entry>) -> Vec<i64> {
    let step = |entry: Entry| match entry.value {
        EntryValue::Point(point) => point.step,
        _ => None,
    };
    entries.filter_map(step).collect()
}

fn segments(journal: &StoredJournal) -> Vec<PathBuf> {
    crate::journal::directory::segment_files(journal.path()).expect("readable")
}

/// Returns the offsets of the records of a segment that `is_wanted` chooses.
fn offsets(file: &Path, is_wanted: impl Fn(&Record<'_>) -> bool) -> Vec<u64> {
    let bytes = SegmentBytes::from_bytes(fs::read(file).expect("readable"));
    let mut found = Vec::new();
    bytes.for_each_whole(|body, offset| {
        if Record::decode(body).is_some_and(|record| is_wanted(&record)) {
            found.push(offset as u64);
        }
    });
    found
}

fn is_metric(record: &Record<'_>) -> bool {
    matches!(record, Record::Metric(_))
}

fn overwrite(file: &Path, offset: u64, bytes: &[u8]) {
    let file = File::options().write(true).open(file).expect("it is ours");
    file.write_all_at(bytes, offset).expect("writable");
}

#[test]
fn entries_are_what_was_logged() {
    let folder = Folder::new();
    let journal = folder.journal(64 << 10);
    tell(&journal, &start(), &[]);
    log_at(&journal, 3..4);
    let owner = identity(1);
    let run = RunRef {
        number: 1,
        identity: &owner,
        inherited: false,
    };
    with_writer(&journal, |writer| {
        writer.append_metric_at_last_step(&journal, run, &LOSS, 100, 0.5);
    });
    let tag = Tag {
        key: "t".to_owned(),
        value: "v".to_owned(),
    };
    tell(&journal, &Event::Tag(Cow::Owned(tag)), &[]);
    let attached = Event::Artifact {
        path: Cow::Borrowed("notes.txt"),
        kind: ArtifactKind::File,
        content: ArtifactLocation::Attached,
        fingerprint: None,
    };
    tell(&journal, &attached, b"hello");
    let dataset = Event::Artifact {
        path: Cow::Owned(ArtifactKind::dataset_path("train#1.csv", b"{}")),
        kind: ArtifactKind::Dataset,
        content: ArtifactLocation::Attached,
        fingerprint: None,
    };
    tell(&journal, &dataset, b"{}");
    for (path, kind) in [
        ("0a1b/net/dir/weights.bin", ArtifactKind::ModelFile),
        ("0a1b/net", ArtifactKind::Model),
    ] {
        let model = Event::Artifact {
            path: Cow::Borrowed(path),
            kind,
            content: ArtifactLocation::Attached,
            fingerprint: None,
        };
        tell(&journal, &model, b"123");
    }
    let end = Event::End {
        status: RunStatus::Failed,
        end_time_ms: 900,
    };
    tell(&journal, &end, &[]);

    let journal = orphan(journal);
    let entries: Vec<_> = journal.entries().expect("readable").collect();
    let run = &entries[0].run;
    assert_eq!(
        (run.key.as_str(), run.experiment_name.as_deref()),
        ("key-1", Some("e"))
    );
    assert!(
        entries
            .iter()
            .all(|entry| entry.run == *run && !entry.is_settled)
    );
    let map = |pairs: &[(&str, &str)]| {
        let own = |(key, value): &(&str, &str)| ((*key).to_owned(), (*value).to_owned());
        pairs.iter().map(own).collect()
    };
    let point = |step| {
        EntryValue::Point(LoggedPoint {
            key: Arc::from("loss"),
            value: 0.5,
            timestamp_ms: if step == Some(3) { 103 } else { 100 },
            step,
        })
    };
    let values: Vec<_> = entries.iter().map(|entry| entry.value.clone()).collect();
    let expected = [
        EntryValue::Start(Box::new(StartedRun {
            name: "fit".to_owned(),
            user: "me".to_owned(),
            start_time_ms: 50,
            parent_key: Some("key-9".to_owned()),
            tags: map(&[("own", "mine"), ("shared", "common")]),
            params: map(&[("p", "1")]),
        })),
        point(Some(3)),
        point(None),
        EntryValue::Tag {
            key: "t".to_owned(),
            value: "v".to_owned(),
        },
        EntryValue::Artifact {
            path: "notes.txt".to_owned(),
            kind: EntryArtifactKind::File,
            bytes: 5,
            file: None,
        },
        EntryValue::Dataset {
            name: "train#1.csv".to_owned(),
            bytes: 2,
            file: None,
        },
        EntryValue::Model {
            name: "net".to_owned(),
            path: Some("dir/weights.bin".to_owned()),
            bytes: 3,
            file: None,
        },
        EntryValue::Model {
            name: "net".to_owned(),
            path: None,
            bytes: 3,
            file: None,
        },
        EntryValue::End {
            status: RunStatus::Failed,
            end_time_ms: 900,
        },
    ];
    assert_eq!(values, expected);
    let sequences: Vec<_> = entries.iter().map(|entry| entry.sequence).collect();
    let events: Vec<_> = sequences.into_iter().flatten().collect();
    assert!(events.is_sorted() && events.len() == 7, "{events:?}");

    let summary = journal.summary().expect("readable");
    let origin = (
        summary.destination.as_deref(),
        summary.host.as_deref(),
        summary.process_id,
    );
    assert_eq!(origin, (Some("here"), Some("h"), Some(7)));
    assert_eq!((summary.first_ms, summary.last_ms), (Some(50), Some(900)));
    assert_eq!(summary.waiting_values(), 9);
    let run = &summary.runs[0];
    assert_eq!(
        (run.points, run.params, run.tags, run.artifacts),
        (2, 0, 1, 4)
    );
    assert!(run.start_waits && run.end_waits && run.artifact_bytes == 13);
    let EntryValue::Start(start) = &entries[0].value else {
        panic!("{:?}", entries[0]);
    };
    assert_eq!(run.start_params, 1);
    assert_eq!(run.start_tags, start.tags.len() as u64);
    assert_eq!(
        (run.name.as_deref(), run.status),
        (Some("fit"), Some(RunStatus::Failed))
    );
}

#[test]
fn a_live_journal_is_followed_through_its_segments() {
    let folder = Folder::new();
    let journal = folder.journal(4096);
    let mut logged = Vec::new();
    let mut log = |steps: std::ops::Range<i64>| {
        log_at(&journal, steps.clone());
        logged.extend(steps);
    };
    log(0..10);
    let stored = stored(&journal);
    assert_eq!(stored.state(), JournalState::Live);
    let mut entries = stored.entries().expect("readable");
    let mut read = steps(entries.by_ref());
    assert!(entries.next().is_none(), "nothing was logged meanwhile");
    for from in [10, 20, 600, 2000] {
        log(from..from + from / 2);
        read.extend(steps(entries.by_ref()));
    }
    assert!(segments(&stored).len() > 3, "{:?}", segments(&stored));
    assert_eq!(read, logged);
    assert!(entries.damage().is_empty());
}

#[test]
fn a_journal_is_read_whole_while_another_thread_writes_to_it() {
    const POINTS: i64 = 200_000;
    let folder = Folder::new();
    let journal = folder.journal(256 << 10);
    log_at(&journal, 0..1);
    let stored = stored(&journal);
    let mut entries = stored.entries().expect("readable");
    let mut read = Vec::new();
    thread::scope(|scope| {
        let writer = scope.spawn(|| {
            log_at(&journal, 1..POINTS);
            release_thread(&journal);
        });
        while !writer.is_finished() {
            read.extend(steps(entries.by_ref()));
        }
    });
    read.extend(steps(entries.by_ref()));
    assert!(entries.damage().is_empty(), "{:?}", entries.damage());
    read.sort_unstable();
    assert!(read == (0..POINTS).collect::<Vec<_>>(), "{}", read.len());
}

#[test]
fn what_the_store_has_does_not_wait() {
    let folder = Folder::new();
    let journal = folder.journal(64 << 10);
    log_at(&journal, 0..10);
    let file = segments(&stored(&journal)).remove(0);
    let offset = offsets(&file, is_metric)[6];
    journal.segments()[0].acknowledge(usize::try_from(offset).expect("small"));
    let summary = stored(&journal).summary().expect("readable");
    assert_eq!(
        (summary.state, summary.waiting_values()),
        (JournalState::Live, 4)
    );
    assert_eq!((summary.first_ms, summary.last_ms), (Some(106), Some(109)));
    let verified = orphan(journal).verify().expect("readable");
    assert_eq!((verified.waiting_values, verified.settled_values), (4, 6));
    assert!(verified.damage.is_empty());
}

#[test]
fn damage_costs_what_it_hits() {
    let folder = Folder::new();
    let journal = folder.journal(64 << 10);
    log_at(&journal, 0..10);
    let journal = orphan(journal);
    let file = segments(&journal).remove(0);
    let offset = offsets(&file, is_metric)[4];
    overwrite(&file, offset + 20, &[0xff; 4]);
    let mut entries = journal.entries().expect("readable");
    assert_eq!(steps(entries.by_ref()), [0, 1, 2, 3, 5, 6, 7, 8, 9]);
    let [found] = &entries.damage().files[..] else {
        panic!("{:?}", entries.damage());
    };
    assert_eq!(
        (
            found.path.as_path(),
            found.first_offset,
            found.stretches,
            found.skipped_bytes
        ),
        (file.as_path(), Some(offset), 1, 40)
    );
    assert_eq!(journal.verify().expect("readable").waiting_values, 9);
    assert_eq!(
        journal.summary().expect("readable").damage.skipped_bytes(),
        40
    );
}

/// A process is appending this record, or was killed while it did.
#[test]
fn the_unfinished_end_of_a_live_journal_is_no_damage() {
    let folder = Folder::new();
    let journal = folder.journal(64 << 10);
    log_at(&journal, 0..3);
    let stored = stored(&journal);
    let file = segments(&stored).remove(0);
    let end = offsets(&file, is_metric)[2] + 40;
    overwrite(&file, end, &[32, 0, 0, 0, 1, 2, 3, 4]);
    let mut entries = stored.entries().expect("readable");
    assert_eq!(steps(entries.by_ref()), [0, 1, 2]);
    assert!(entries.damage().is_empty(), "{:?}", entries.damage());
}

/// Interned names have the same number in all segments.
#[test]
fn a_lost_name_is_found_in_another_segment() {
    let folder = Folder::new();
    let journal = folder.journal(64 << 10);
    // Two threads at a time have two segments.
    let barrier = Barrier::new(2);
    thread::scope(|scope| {
        for steps in [0..5, 5..10] {
            let (journal, barrier) = (&journal, &barrier);
            scope.spawn(move || {
                log_at(journal, steps);
                barrier.wait();
                release_thread(journal);
            });
        }
    });
    let journal = orphan(journal);
    let files = segments(&journal);
    assert_eq!(files.len(), 2);
    let is_definition = |record: &Record<'_>| {
        matches!(
            record,
            Record::Definition(Definition::Key { .. } | Definition::Run { .. })
        )
    };
    for offset in offsets(&files[0], is_definition) {
        overwrite(&files[0], offset + 10, &[0xff; 8]);
    }
    let mut read = steps(journal.entries().expect("readable"));
    read.sort_unstable();
    assert_eq!(read, (0..10).collect::<Vec<_>>());

    // Without the other segment, nobody knows the name.
    fs::remove_file(&files[1]).expect("it is ours");
    let mut entries = journal.entries().expect("readable");
    assert_eq!(entries.by_ref().count(), 0);
    assert_eq!(entries.damage().files[0].nameless_values, 5);
}

#[test]
fn a_copy_of_an_artifact_that_has_changed_is_found() {
    let folder = Folder::new();
    let journal = folder.journal(64 << 10);
    let Some(Ok(copy)) = journal.write_artifact(b"weights") else {
        panic!("the folder can be written");
    };
    let event = |fingerprint| Event::Artifact {
        path: Cow::Borrowed("model.bin"),
        kind: ArtifactKind::File,
        content: ArtifactLocation::Spooled(Cow::Borrowed(&copy.name)),
        fingerprint: Some(fingerprint),
    };
    tell(&journal, &event(copy.fingerprint), &[]);
    let journal = orphan(journal);
    assert!(journal.verify().expect("readable").damage.is_empty());
    assert_eq!(
        journal.summary().expect("readable").runs[0].artifact_bytes,
        7
    );
    let file = journal.path().join(&copy.name);
    overwrite(&file, 0, b"W");
    let damage = journal.verify().expect("readable").damage;
    assert_eq!(damage.files[0].path, file);
    let reason = damage.files[0].reason.as_deref().expect("a reason");
    assert!(reason.contains("checksum"), "{reason}");
    let Fingerprint { length, .. } = copy.fingerprint;
    assert_eq!(length, 7);
}

#[test]
fn a_file_of_a_newer_version_is_reported_and_an_empty_one_is_not() {
    let folder = Folder::new();
    let journal = folder.journal(64 << 10);
    log_at(&journal, 0..3);
    let journal = orphan(journal);
    let mut newer = vec![0; 256];
    newer[..8].copy_from_slice(b"mlflowrs");
    newer[8] = 99;
    newer[HEADER_BYTES] = 1;
    fs::write(journal.path().join("0000000008.segment"), newer).expect("writable");
    fs::write(journal.path().join("0000000009.segment"), [0; 4096]).expect("writable");
    let summary = journal.summary().expect("readable");
    assert_eq!(summary.waiting_values(), 3);
    assert_eq!(summary.damage.files.len(), 1);
    let reason = summary.damage.files[0].reason.as_deref().expect("a reason");
    assert!(reason.contains("format"), "{reason}");
}

#[test]
fn a_journal_that_others_can_write_to_is_not_read() {
    let folder = Folder::new();
    let journal = folder.journal(64 << 10);
    log_at(&journal, 0..3);
    let journal = orphan(journal);
    let mode = |mode| fs::set_permissions(journal.path(), Permissions::from_mode(mode));
    mode(0o770).expect("it is ours");
    let exposed = StoredJournal::open(journal.path()).expect("it is there");
    assert_eq!(exposed.state(), JournalState::Exposed);
    assert_eq!(exposed.entries().expect("nothing").count(), 0);
    assert_eq!(
        exposed.remove().map_err(|error| error.kind()),
        Err(io::ErrorKind::PermissionDenied)
    );
    mode(0o700).expect("it is ours");
    assert_eq!(steps(journal.entries().expect("readable")), [0, 1, 2]);
}

#[test]
fn a_journal_that_cannot_be_read_is_listed_with_its_error() {
    let folder = Folder::new();
    let journal = orphan(folder.journal(64 << 10));
    // Something else has taken the place of the directory since it was found.
    fs::remove_dir_all(journal.path()).expect("ours");
    fs::write(journal.path(), "").expect("ours");
    let error = journal.summary().expect_err("no directory");
    let summary = journal.summary_or_error();
    assert_eq!(summary.error, Some(error.to_string()));
    assert_eq!(
        (summary.name.as_str(), summary.runs.len()),
        (journal.name(), 0)
    );
}

#[test]
fn only_a_journal_without_a_process_is_removed() {
    let folder = Folder::new();
    let journal = folder.journal(64 << 10);
    log_at(&journal, 0..3);
    let live = stored(&journal);
    assert_eq!(
        live.clone().remove().map_err(|error| error.kind()),
        Err(io::ErrorKind::WouldBlock)
    );
    let dead = orphan(journal);
    // A process ships it now.
    let claimed = crate::journal::directory::Directory::find_orphaned(&folder.0, "here").next();
    assert_eq!(
        dead.clone().remove().map_err(|error| error.kind()),
        Err(io::ErrorKind::WouldBlock)
    );
    drop(claimed);
    assert_eq!(steps(dead.entries().expect("readable")), [0, 1, 2]);
    dead.clone().remove().expect("it is ours");
    assert_eq!(StoredJournal::find_below(&folder.0).expect("readable"), []);
    assert_eq!(
        StoredJournal::open(dead.path()).map_err(|error| error.kind()),
        Err(io::ErrorKind::NotFound)
    );
}

#[test]
fn journals_are_found_by_their_configuration() {
    let folder = Folder::new();
    let config = Config::new().journal_dir(folder.0.join("missing"));
    let is_here = |journal: &StoredJournal| journal.path().starts_with(&folder.0);
    let found = find(&config).expect("a directory that is missing holds nothing");
    assert!(!found.iter().any(is_here));
    let journal = folder.journal(64 << 10);
    log_at(&journal, 0..3);
    let config = Config::new().journal_dir(&folder.0);
    let found: Vec<_> = find(&config)
        .expect("readable")
        .into_iter()
        .filter(is_here)
        .collect();
    assert_eq!(found, [stored(&journal)]);
    let file = folder.0.join("file");
    fs::write(&file, "").expect("writable");
    let error = find(&Config::new().journal_dir(&file)).expect_err("it is no directory");
    assert!(error.to_string().contains("file"), "{error}");
}
