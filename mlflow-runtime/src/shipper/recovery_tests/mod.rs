//! Tests of the recovery of a journal that the disk has damaged: every bit and every length is tried.

mod damage;

use std::borrow::Cow;
use std::fs;
use std::path::PathBuf;
use std::sync::Arc;

use crate::journal::record::{
    ArtifactLocation, Definition, Event, Origin, RunStart, SharedFilePart,
};
use crate::journal::segment::mapped::{ACKNOWLEDGED_OFFSET, HEADER_BYTES, checksum, encode_header};
use crate::journal::segment::{Frame, SegmentBytes, encode_acknowledged};
use crate::journal::user_files;
use crate::journal::{Journal, MetricPoint, RunRef, release_thread, with_writer};
use crate::model::{ArtifactKind, ExperimentRef, Param, RunStatus, Tag};
use crate::model::{Role, RunIdentity};
use crate::shipper::fuzz_support::{Recovery, recover, recover_image};
use crate::store::{MemoryStore, StoredRunData};

/// A temporary folder of one test, removed when it is dropped.
struct Folder(PathBuf);

impl Folder {
    fn new() -> Self {
        let path =
            std::env::temp_dir().join(format!("mlflow-runtime-test-{}", uuid::Uuid::new_v4()));
        fs::create_dir(&path).expect("the temporary folder can be written");
        Self(path)
    }
}

impl Drop for Folder {
    fn drop(&mut self) {
        let _ = fs::remove_dir_all(&self.0);
    }
}

fn origin() -> Origin {
    Origin {
        destination: "here".to_owned(),
        host: "h".to_owned(),
        process_id: 1,
        tags: Arc::default(),
    }
}

fn identity() -> RunIdentity {
    RunIdentity {
        key: "0123456789abcdef".repeat(2),
        experiment: ExperimentRef::Name("e".to_owned()),
        resumed: None,
        role: Role::Owner,
    }
}

fn events() -> [Event<'static>; 5] {
    let text = |text: &str| text.to_owned();
    let start = RunStart {
        identity: Cow::Owned(identity()),
        name: "r".into(),
        user: "u".into(),
        start_time_ms: 5,
        parent: None,
        tags: vec![],
        with_common_tags: false,
        is_delivered: false,
        params: vec![],
    };
    let param = Param {
        key: text("alpha"),
        value: text("0.5"),
    };
    let tag = Tag {
        key: text("t"),
        value: text("ü"),
    };
    [
        Event::Start(Box::new(start)),
        Event::Param(Cow::Owned(param)),
        Event::Tag(Cow::Owned(tag)),
        Event::Artifact {
            path: "a.txt".into(),
            kind: ArtifactKind::File,
            content: ArtifactLocation::Attached,
            fingerprint: None,
        },
        Event::End {
            status: RunStatus::Finished,
            end_time_ms: 9,
        },
    ]
}

fn artifact<'a>(path: Cow<'a, str>, content: ArtifactLocation<'a>) -> Event<'a> {
    Event::Artifact {
        path,
        kind: ArtifactKind::File,
        content,
        fingerprint: None,
    }
}

/// Returns the segment of a thread that has logged one run, without its unused space.
fn segment() -> Vec<u8> {
    let folder = Folder::new();
    let journal = Journal::on_disk(folder.0.clone(), origin(), 1 << 30, "").expect("writable");
    let identity = identity();
    let run = RunRef {
        number: 1,
        identity: &identity,
        inherited: false,
    };
    let [start, param, tag, artifact, end] = events();
    with_writer(&journal, |writer| {
        writer.append_event(&journal, &run, &start, &[]);
        for step in 1..4 {
            writer.append_metric(
                &journal,
                MetricPoint {
                    run,
                    key: "loss",
                    timestamp_ms: 5 + step,
                    step,
                    value: 0.5,
                },
            );
        }
        writer.append_event(&journal, &run, &param, &[]);
        writer.append_event(&journal, &run, &tag, &[]);
        writer.append_event(&journal, &run, &artifact, b"text");
        writer.append_event(&journal, &run, &end, &[]);
    });
    let path = journal.path().expect("it lies on disk");
    let bytes = fs::read(path.join("0000000000.segment")).expect("readable");
    release_thread(&journal);
    let used = bytes.iter().rposition(|byte| *byte != 0).unwrap_or(0) + 1;
    bytes[..used.next_multiple_of(8)].to_vec()
}

/// Offsets of a frame: its beginning, the end of its body, and the beginning of the next frame.
type Bounds = (usize, usize, usize);

fn frames(bytes: &[u8]) -> Vec<Bounds> {
    let bytes = SegmentBytes::from_bytes(bytes.to_vec());
    let (mut frames, mut offset) = (Vec::new(), HEADER_BYTES);
    while let Frame::Whole { body, next } = bytes.frame(offset) {
        frames.push((offset, offset + 8 + body.len(), next));
        offset = next;
    }
    frames
}

/// Returns the offsets of all whole frames, including those behind damage.
fn offsets(bytes: &[u8]) -> Vec<usize> {
    let mut offsets = Vec::new();
    SegmentBytes::from_bytes(bytes.to_vec()).for_each_whole(|_, offset| offsets.push(offset));
    offsets
}

/// A segment, and the runs of a store after the first 0, 1, 2, … of its frames were read.
struct Sample {
    folder: Folder,
    bytes: Vec<u8>,
    frames: Vec<Bounds>,
    expected: Vec<Vec<StoredRunData>>,
}

impl Sample {
    fn new() -> Self {
        let folder = Folder::new();
        let bytes = segment();
        let frames = frames(&bytes);
        assert_eq!(frames.len(), 11, "origin, run, key, 3 values, 5 events");
        let ends = frames.iter().map(|(_, _, next)| *next);
        let expected = std::iter::once(HEADER_BYTES)
            .chain(ends)
            .map(|end| recover(&folder.0, &[&bytes[..end]]).runs)
            .collect();
        Self {
            folder,
            bytes,
            frames,
            expected,
        }
    }

    fn recover(&self, bytes: &[u8]) -> Recovery {
        recover(&self.folder.0, &[bytes])
    }
}

#[test]
fn a_whole_segment_is_delivered_in_full() {
    let sample = Sample::new();
    let Recovery {
        runs,
        is_journal_kept: kept,
        ..
    } = sample.recover(&sample.bytes);
    assert!(!kept);
    let [run] = &*runs else {
        panic!("one run: {runs:?}")
    };
    assert_eq!(run.status, RunStatus::Finished);
    assert_eq!(run.params["alpha"], "0.5");
    assert_eq!(run.tags["t"], "ü");
    assert_eq!(run.artifacts["a.txt"], b"text");
    let steps: Vec<_> = run.metrics.iter().map(|metric| metric.step).collect();
    assert_eq!(steps, [1, 2, 3]);
    // Each frame changes the store, except for those that only define what others use.
    let differ = sample.expected.windows(2).filter(|two| two[0] != two[1]);
    assert_eq!(differ.count(), 8);
}

/// Regression: a damaged bit ended the reading of its segment.
#[test]
fn a_damaged_bit_costs_the_record_that_it_is_in() {
    let sample = Sample::new();
    let all = sample.recover(&sample.bytes).runs;
    let without = |record: usize| {
        let (from, _, to) = sample.frames[record];
        let rest = [&sample.bytes[..from], &sample.bytes[to..]].concat();
        sample.recover(&rest)
    };
    let without: Vec<_> = (0..sample.frames.len()).map(without).collect();
    assert_eq!(without[3].damaged, 3, "the values of the key");
    for (record, (from, body_end, to)) in sample.frames.iter().enumerate() {
        let mut others = offsets(&sample.bytes);
        others.remove(record);
        for at in *from..*to {
            for bit in 0..8 {
                let mut damaged = sample.bytes.clone();
                damaged[at] ^= 1 << bit;
                if at < *body_end {
                    assert_eq!(offsets(&damaged), others, "byte {at}, bit {bit}");
                }
                // Every bit of a byte leaves the same frames, so one bit of each byte is recovered.
                if bit != at % 8 {
                    continue;
                }
                let found = sample.recover(&damaged);
                let place = format!("record {record}, byte {at}, bit {bit}");
                if at >= *body_end {
                    assert_eq!((&found.runs, found.damaged), (&all, 0), "{place}: padding");
                    assert!(
                        !found.is_journal_kept && found.kept_files.is_empty(),
                        "{place}"
                    );
                } else if record == 0 {
                    assert!(found.is_journal_kept, "{place}: whose it is cannot be read");
                    assert_eq!((found.runs, found.damaged), (vec![], 0), "{place}");
                } else {
                    assert_eq!(found.runs, without[record].runs, "{place}");
                    assert_eq!(found.damaged, without[record].damaged + 1, "{place}");
                    assert!(found.kept_files == [&damaged[HEADER_BYTES..]], "{place}");
                }
            }
        }
    }
}

#[test]
fn what_stands_before_the_end_of_the_file_is_delivered() {
    let sample = Sample::new();
    for end in HEADER_BYTES..sample.bytes.len() {
        let whole = |(_, body_end, _): &&Bounds| *body_end <= end;
        let read = sample.frames.iter().filter(whole).count();
        let Recovery { runs, .. } = sample.recover(&sample.bytes[..end]);
        assert_eq!(runs, sample.expected[read], "cut at {end}");
    }
    for end in 0..HEADER_BYTES {
        let Recovery { runs, .. } = sample.recover(&sample.bytes[..end]);
        assert_eq!(runs, [], "cut at {end}");
    }
}

#[test]
fn a_damaged_header_costs_no_value() {
    let mut sample = Sample::new();
    let delivered = sample.frames[5].2;
    let hint = encode_acknowledged(delivered).to_le_bytes();
    sample.bytes[ACKNOWLEDGED_OFFSET..ACKNOWLEDGED_OFFSET + 8].copy_from_slice(&hint);
    let undamaged = sample.recover(&sample.bytes).runs;
    assert_ne!(Some(&undamaged), sample.expected.last(), "the hint counts");
    for at in 0..HEADER_BYTES {
        for bit in 0..8 {
            let mut damaged = sample.bytes.clone();
            damaged[at] ^= 1 << bit;
            let Recovery {
                runs,
                is_journal_kept: kept,
                ..
            } = sample.recover(&damaged);
            match at {
                0..12 => assert!(kept, "byte {at}, bit {bit}: nobody can read it"),
                // The acknowledged offset is damaged, so delivered entries are delivered again.
                16..24 => assert_eq!(Some(&runs), sample.expected.last(), "byte {at}, bit {bit}"),
                _ => assert_eq!(runs, undamaged, "byte {at}, bit {bit}"),
            }
        }
    }
}

/// Returns a segment with these records.
fn framed(bodies: &[Vec<u8>]) -> Vec<u8> {
    let mut bytes = encode_header().to_vec();
    for body in bodies {
        let length = u32::try_from(body.len()).expect("small");
        bytes.extend(length.to_le_bytes());
        bytes.extend(checksum(body).to_le_bytes());
        bytes.extend(body);
        bytes.resize(bytes.len().next_multiple_of(8), 0);
    }
    bytes
}

/// Returns the first records of a segment, up to the start of a run, which has the number `sequence`.
fn beginning(sequence: u64) -> Vec<Vec<u8>> {
    let identity = Cow::Owned(identity());
    let [start, ..] = events();
    vec![
        Definition::Origin(origin()).encode(),
        Definition::Run {
            number: 1,
            identity,
        }
        .encode(),
        start.encode(1, sequence, &[]),
    ]
}

#[test]
fn the_last_place_in_the_order_of_events_stops_nothing() {
    let folder = Folder::new();
    let [.., end] = events();
    let mut bodies = beginning(u64::MAX);
    bodies.push(end.encode(1, u64::MAX, &[]));
    let Recovery {
        runs,
        is_journal_kept: kept,
        ..
    } = recover(&folder.0, &[&framed(&bodies)]);
    assert_eq!(runs.len(), 1);
    assert_eq!(runs[0].status, RunStatus::Finished, "read to its end");
    assert!(!kept);
}

#[test]
fn a_name_in_a_journal_does_not_lead_out_of_it() {
    let folder = Folder::new();
    let root = folder.0.join("journal");
    fs::create_dir(&root).expect("writable");
    let outside = folder.0.join("private.artifact");
    fs::write(&outside, "not yours").expect("writable");
    let absolute = outside.display().to_string();
    for name in ["../../private.artifact", &absolute, "lock", "..", ""] {
        let mut bodies = beginning(0);
        let content = ArtifactLocation::Spooled(name.into());
        let path = "a.txt".into();
        bodies.push(artifact(path, content).encode(1, 1, &[]));
        let Recovery { runs, .. } = recover(&root, &[&framed(&bodies)]);
        assert_eq!(runs.len(), 1, "{name}");
        assert!(runs[0].artifacts.is_empty(), "{name} is not sent");
        assert!(outside.exists(), "{name} is not deleted");
    }
}

/// Found by the simulation: a process was killed between copying the event of an artifact and releasing the
/// original. The next process delivered the original, deleted its file, and rejected the copy as it had no
/// file.
#[test]
fn the_file_of_an_artifact_goes_with_the_last_event_that_names_it() {
    const POINTS: i64 = 5000;
    let folder = Folder::new();
    let path = folder.0.join("dead");
    user_files::create_directory(&path).expect("writable");
    user_files::create_file(&path.join("lock")).expect("writable");
    let name = "0123456789abcdef0123456789abcdef.artifact";
    fs::write(path.join(name), "text").expect("writable");
    let spooled = || {
        let content = ArtifactLocation::Spooled(name.into());
        artifact("a.txt".into(), content).encode(1, 1, &[])
    };
    let mut first = damage::named();
    first.push(spooled());
    // The points are enough for more than one reading.
    first.extend(damage::points(7, 0..POINTS));
    let second = [beginning(0), vec![spooled()]].concat();
    for (number, bodies) in [first, second].iter().enumerate() {
        let file = path.join(format!("{number:010}.segment"));
        fs::write(file, framed(bodies)).expect("writable");
    }
    let store = MemoryStore::adopting();
    let shipped = recover_image(&store, &folder.0, 10_000);
    assert!(shipped.is_claimed);
    assert_eq!(shipped.stats.total_refused(), 0, "nothing is set aside");
    assert_eq!(store.runs()[0].artifacts["a.txt"], b"text");
    assert!(!path.exists());
}

#[test]
fn nor_does_that_of_a_console_and_one_that_is_gone_is_nothing() {
    let folder = Folder::new();
    let root = folder.0.join("journal");
    fs::create_dir(&root).expect("writable");
    let outside = folder.0.join("private.console");
    fs::write(&outside, "not yours").expect("writable");
    let absolute = outside.display().to_string();
    let names = ["../../private.console", &absolute, "lock", "gone.console"];
    let froms = [None, Some(0), Some(5), Some(u64::MAX)];
    for (name, from) in names
        .iter()
        .flat_map(|name| froms.map(|from| (*name, from)))
    {
        let mut bodies = beginning(0);
        let part = from.map(|from| SharedFilePart {
            file: name.into(),
            from,
        });
        let content = ArtifactLocation::Growing {
            file: name.into(),
            part,
        };
        let path = "logs/console.log".into();
        bodies.push(artifact(path, content).encode(1, 1, &[]));
        let Recovery {
            runs,
            is_journal_kept: kept,
            ..
        } = recover(&root, &[&framed(&bodies)]);
        assert_eq!(runs.len(), 1, "{name} from {from:?}");
        assert!(runs[0].artifacts.is_empty(), "{name} from {from:?}");
        assert!(outside.exists(), "{name} is not deleted");
        assert!(!kept, "{name} from {from:?}");
    }
}

#[test]
fn a_record_of_a_kind_that_is_not_known_stays_for_a_newer_version() {
    let whole = segment();
    let folder = Folder::new();
    let expected = recover(&folder.0, &[&whole]);
    assert!(!expected.is_journal_kept);
    let body = [200_u8; 8];
    let mut frame = 8_u32.to_le_bytes().to_vec();
    frame.extend(checksum(&body).to_le_bytes());
    frame.extend(body);
    let (middle, _, _) = frames(&whole)[4];
    let mut newer = whole;
    newer.splice(middle..middle, frame);
    let recovery = recover(&folder.0, &[&newer]);
    assert!(
        recovery.is_journal_kept,
        "the newer version finds its record"
    );
    assert_eq!(recovery.runs, expected.runs, "everything else is shipped");
}

#[test]
fn a_run_that_another_process_is_about_to_create_is_waited_for() {
    let folder = Folder::new();
    let mut theirs = identity();
    theirs.role = Role::Child;
    let [_, param, ..] = events();
    let identity = Cow::Owned(theirs);
    let bodies = [
        Definition::Origin(origin()).encode(),
        Definition::Run {
            number: 1,
            identity,
        }
        .encode(),
        param.encode(1, 0, &[]),
    ];
    let Recovery {
        runs,
        is_journal_kept: kept,
        ..
    } = recover(&folder.0, &[&framed(&bodies)]);
    assert!(kept, "its values stay meanwhile");
    assert_eq!(runs, []);
}
