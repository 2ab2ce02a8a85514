//! Tests of the journal's invariants, on real files.

use std::fs;
use std::path::PathBuf;
use std::sync::Arc;
use std::thread;

use crate::journal::directory::Directory;
use crate::journal::record::{Definition, Event, MetricRecord, Origin, Record};
use crate::journal::segment::allocate;
use crate::journal::segment::mapped::{HEADER_BYTES, Region};
use crate::journal::segment::{Frame, Segment, SegmentBytes};
use crate::journal::user_files;
use crate::journal::{Journal, MetricKey, MetricPoint, RunRef, append_metric, with_writer};
use crate::model::ExperimentRef;
use crate::model::metric_key::Key;
use crate::model::{Role, RunIdentity};

mod bounds;
mod directories;
mod sync_thread;
mod writers;

struct Folder(PathBuf);

impl Folder {
    fn new() -> Self {
        let path =
            std::env::temp_dir().join(format!("mlflow-runtime-test-{}", uuid::Uuid::new_v4()));
        user_files::create_directory(&path).expect("the temporary folder can be written");
        Self(path)
    }
}

impl Drop for Folder {
    fn drop(&mut self) {
        let _ = fs::remove_dir_all(&self.0);
    }
}

fn origin(destination: &str) -> Origin {
    Origin {
        destination: destination.to_owned(),
        host: "h".to_owned(),
        process_id: 1,
        tags: Arc::default(),
    }
}

fn identity() -> RunIdentity {
    RunIdentity {
        key: "k".repeat(32),
        experiment: ExperimentRef::Name("e".to_owned()),
        resumed: None,
        role: Role::Owner,
    }
}

fn journal(folder: &Folder) -> Arc<Journal> {
    let journal = Journal::on_disk(folder.0.clone(), origin("here"), 1 << 30, "")
        .expect("the folder can be written");
    journal.start_sync_thread();
    journal
}

fn log(journal: &Journal, key: impl MetricKey, step: i64) {
    let identity = identity();
    let run = RunRef {
        number: 1,
        identity: &identity,
        inherited: false,
    };
    append_metric(
        journal,
        MetricPoint {
            run,
            key,
            timestamp_ms: 7,
            step,
            value: 0.5,
        },
    );
}

/// Appends an event. Returns false if there was no space for it.
fn tell(journal: &Journal, event: &Event<'_>, attachment: &[u8]) -> bool {
    let identity = identity();
    let run = RunRef {
        number: 1,
        identity: &identity,
        inherited: false,
    };
    let mut written = false;
    with_writer(journal, |writer| {
        written = writer.append_event(journal, &run, event, attachment);
    });
    written
}

/// Returns the keys and metrics in the whole frames of a segment, and true if the segment ends without a torn
/// frame.
fn records(bytes: &SegmentBytes) -> (Vec<String>, Vec<MetricRecord>, bool) {
    let (mut keys, mut metrics, mut offset) = (Vec::new(), Vec::new(), HEADER_BYTES);
    loop {
        match bytes.frame(offset) {
            Frame::Whole { body, next } => {
                match Record::decode(body) {
                    Some(Record::Metric(metric)) => metrics.push(metric),
                    Some(Record::Definition(Definition::Key { name, .. })) => {
                        keys.push(name.into_owned());
                    }
                    _ => {}
                }
                offset = next;
            }
            Frame::End => return (keys, metrics, true),
            Frame::Torn => return (keys, metrics, false),
        }
    }
}

#[test]
fn a_value_is_in_the_file_when_the_call_returns() {
    static LOSS: Key = Key::new("loss");
    let folder = Folder::new();
    let journal = journal(&folder);
    log(&journal, &LOSS, 1);
    log(&journal, "accuracy", 2);
    log(&journal, &LOSS, 3);

    let files: Vec<_> = fs::read_dir(journal.path().expect("it lies on disk"))
        .expect("readable")
        .flatten()
        .collect();
    let segment = files
        .iter()
        .find(|file| file.path().extension().is_some_and(|e| e == "segment"))
        .expect("one");
    let bytes = SegmentBytes::from_bytes(fs::read(segment.path()).expect("readable"));
    let (keys, metrics, whole) = records(&bytes);
    assert!(whole);
    assert_eq!(keys, ["loss", "accuracy"]);
    assert_eq!(
        metrics.iter().map(|metric| metric.step).collect::<Vec<_>>(),
        [1, 2, 3]
    );
    assert_eq!(journal.value_count(), 3);
}

#[test]
fn every_segment_stands_on_its_own() {
    let folder = Folder::new();
    let journal = journal(&folder);
    for step in 0..20_000 {
        log(&journal, "loss", step);
    }
    let segments = journal.segments();
    assert!(
        segments.len() > 1,
        "the first segment holds fewer than 20,000 values"
    );
    let mut steps = Vec::new();
    for segment in &segments {
        let (keys, metrics, whole) = records(&segment.read().expect("readable"));
        assert!(whole);
        assert_eq!(keys, ["loss"], "each segment defines the key it uses");
        steps.extend(metrics.iter().map(|metric| metric.step));
    }
    assert_eq!(steps, (0..20_000).collect::<Vec<_>>());
}

#[test]
fn reading_stops_at_the_first_damaged_frame() {
    let (region, mut appender) = Region::create_anonymous(4096).expect("memory");
    for step in 0..10 {
        let metric = MetricRecord {
            run: 1,
            key: 1,
            timestamp_ms: 0,
            step,
            value: 0.0,
        };
        appender.append(&metric.encode()).expect("there is room");
    }
    drop(appender);
    let mut bytes = vec![0; HEADER_BYTES];
    let mut offset = HEADER_BYTES;
    while let Some(frame) = region.frame(offset) {
        bytes.extend_from_slice(frame);
        offset += frame.len();
    }
    // Every single bit of the fifth frame, flipped in turn, is noticed.
    let frame = (bytes.len() - HEADER_BYTES) / 10;
    for at in HEADER_BYTES + 5 * frame..HEADER_BYTES + 6 * frame {
        for bit in 0..8 {
            let mut damaged = bytes.clone();
            damaged[at] ^= 1 << bit;
            let (_, metrics, _) = records(&SegmentBytes::from_bytes(damaged));
            assert_eq!(metrics.len(), 5, "byte {at}, bit {bit}");
        }
    }
    // The end of the file is noticed, too, wherever it is cut.
    for end in HEADER_BYTES..bytes.len() {
        let (_, metrics, _) = records(&SegmentBytes::from_bytes(bytes[..end].to_vec()));
        assert_eq!(metrics.len(), (end - HEADER_BYTES) / frame, "cut at {end}");
    }
}

#[test]
fn a_reader_sees_only_whole_frames_while_a_writer_appends() {
    let (region, mut appender) = Region::create_anonymous(1 << 20).expect("memory");
    let segment = Segment::new(None, Some(region), 1 << 20);
    let bytes = segment.read().expect("readable");
    let writer = thread::spawn(move || {
        let mut step = 0;
        while appender
            .append(
                &MetricRecord {
                    run: 1,
                    key: 1,
                    timestamp_ms: step,
                    step,
                    value: 0.0,
                }
                .encode(),
            )
            .is_ok()
        {
            step += 1;
        }
        step
    });
    let (mut seen, mut offset) = (0, HEADER_BYTES);
    loop {
        let finished = writer.is_finished();
        while let Frame::Whole { body, next } = bytes.frame(offset) {
            let Some(Record::Metric(metric)) = Record::decode(body) else {
                panic!("only metrics were written")
            };
            assert_eq!((metric.step, metric.timestamp_ms), (seen, seen));
            (seen, offset) = (seen + 1, next);
        }
        if finished {
            break;
        }
    }
    assert_eq!(seen, writer.join().expect("the writer does not panic"));
}

#[test]
fn where_files_cannot_be_mapped_they_are_written() {
    let folder = Folder::new();
    let path = folder.0.join("0000000000.segment");
    let (segment, mut appender) =
        allocate::create_segment(path, 4096, false).expect("the folder can be written");
    let mut appended = 0;
    loop {
        let metric = MetricRecord {
            run: 1,
            key: 1,
            timestamp_ms: 0,
            step: appended,
            value: 0.5,
        };
        if appender.append(&metric.encode()).is_err() {
            break;
        }
        appended += 1;
        segment.count_value();
        let bytes = segment.read().expect("readable");
        assert!(bytes.has_known_format());
        let (_, metrics, whole) = records(&bytes);
        assert!(whole);
        assert_eq!(metrics.last(), Some(&metric), "seen when the call returns");
    }
    assert_eq!(usize::try_from(appended), Ok((4096 - HEADER_BYTES) / 40));
    segment.acknowledge(HEADER_BYTES + 48);
    assert_eq!(
        segment.read().expect("readable").acknowledged_offset(),
        HEADER_BYTES + 48
    );
    assert!(segment.is_dirty());
    segment.sync(segment.extent()).expect("the device takes it");
    assert!(!segment.is_dirty());
}
