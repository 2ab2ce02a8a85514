//! Tests of single kinds of damage by a disk, and of the values that each of them may cost.

use std::os::unix::fs::PermissionsExt as _;
use std::thread;
use std::time::{Duration, Instant};

use super::*;
use crate::journal::quarantine;
use crate::journal::record::MetricRecord;
use crate::shipper::fuzz_support::recover_into;
use crate::shipper::stats::Stats;
use crate::shipper::{Delivery, JournalReader};
use crate::store::MemoryStore;

const VALUES: i64 = 3000;

/// Returns the first records of a run's segment, and the definitions of two metric names: an interned one,
/// and one that only this segment uses.
pub(super) fn named() -> Vec<Vec<u8>> {
    let key = |id, name: &'static str| {
        let name = name.into();
        Definition::Key { id, name }.encode()
    };
    let mut bodies = beginning(0);
    bodies.extend([key(7, "loss"), key(1 << 31, "own")]);
    bodies
}

fn point(key: u32, step: i64) -> Vec<u8> {
    point_at(100 + step, key, step)
}

fn point_at(timestamp_ms: i64, key: u32, step: i64) -> Vec<u8> {
    let metric = MetricRecord {
        run: 1,
        key,
        timestamp_ms,
        step,
        value: 0.5,
    };
    metric.encode().to_vec()
}

pub(super) fn points(key: u32, steps: std::ops::Range<i64>) -> Vec<Vec<u8>> {
    steps.map(|step| point(key, step)).collect()
}

fn steps(recovery: &Recovery) -> Vec<i64> {
    let metrics = recovery.runs.iter().flat_map(|run| &run.metrics);
    metrics.map(|metric| metric.step).collect()
}

/// Fills a segment with zeros up to the size that it has on the disk.
fn padded(mut bytes: Vec<u8>) -> Vec<u8> {
    let len = bytes.len().next_multiple_of(4096).max(64 << 10);
    bytes.resize(len, 0);
    bytes
}

/// Regression: all values behind the header were lost, 28,255 of 60,000, and the file was deleted without a
/// warning.
#[test]
fn a_zeroed_frame_header_costs_one_value() {
    let folder = Folder::new();
    let whole = padded(framed(&[named(), points(7, 0..VALUES)].concat()));
    let all = frames(&whole);
    for hit in [5, 6, 1000, all.len() - 2] {
        let (from, ..) = all[hit];
        let mut damaged = whole.clone();
        damaged[from..from + 8].fill(0);
        let found = recover(&folder.0, &[&damaged]);
        let lost = i64::try_from(hit).expect("small") - 5;
        let expected: Vec<_> = (0..VALUES).filter(|step| *step != lost).collect();
        assert_eq!(steps(&found), expected);
        assert_eq!(found.damaged, 1);
        assert!(found.kept_files == [&damaged[HEADER_BYTES..]]);
    }
}

/// All points of journals of earlier versions are of the wide kind. Now only those with an unusual time are.
#[test]
fn damage_between_points_of_both_kinds_costs_one_value() {
    let folder = Folder::new();
    let point = |step| match step % 2 {
        0 => point(7, step),
        _ => point_at((1 << 48) + step, 7, step),
    };
    let whole = padded(framed(
        &[named(), (0..VALUES).map(point).collect()].concat(),
    ));
    assert_eq!(steps(&recover(&folder.0, &[&whole])).len(), 3000);
    let all = frames(&whole);
    for hit in [5, 6, 1000, 1001, all.len() - 2] {
        let (from, end, _) = all[hit];
        assert_eq!(end - from, if hit % 2 == 1 { 40 } else { 48 });
        for damage in [from..from + 8, from + 8..from + 16, end - 8..end] {
            for fill in [0, 0xff] {
                let mut damaged = whole.clone();
                damaged[damage.clone()].fill(fill);
                let found = recover(&folder.0, &[&damaged]);
                let lost = i64::try_from(hit).expect("small") - 5;
                let mut found = steps(&found);
                found.sort_unstable();
                let expected = (0..VALUES).filter(|step| *step != lost);
                assert!(found.into_iter().eq(expected), "{hit}, {damage:?}, {fill}");
            }
        }
    }
}

#[test]
fn a_page_that_the_device_has_lost_costs_what_was_in_it() {
    let folder = Folder::new();
    let whole = padded(framed(&[named(), points(7, 0..VALUES)].concat()));
    for (page, len) in [(8192, 4096), (65_536, 512), (4096, 65_536)] {
        for fill in [0, 0xff, 0x55] {
            let mut damaged = whole.clone();
            damaged[page..page + len].fill(fill);
            let found = recover(&folder.0, &[&damaged]);
            let hit = |(from, end, _): &&Bounds| *from < page + len && *end > page;
            let lost = frames(&whole).iter().filter(hit).count();
            assert_eq!(steps(&found).len() + lost, 3000, "{page}, {len}, {fill}");
            // If the first damaged frame still has its length, it is counted separately.
            assert!((1..=2).contains(&found.damaged), "{}", found.damaged);
        }
    }
}

/// Regression: the page with the header was lost, and the file was taken for an empty one.
#[test]
fn a_segment_without_its_header_is_no_empty_one() {
    let folder = Folder::new();
    let first = padded(framed(&[named(), points(7, 0..VALUES)].concat()));
    let second = padded(framed(&[named(), points(7, VALUES..VALUES + 1)].concat()));
    let mut damaged = first.clone();
    damaged[..4096].fill(0);
    let all = frames(&first);
    let lost = all.iter().filter(|(from, ..)| *from < 4096).count() - 5;
    let found = recover(&folder.0, &[&damaged, &second]);
    assert_eq!(steps(&found).len() + lost, 3001);
    assert!(found.kept_files == [&damaged[HEADER_BYTES..]]);
    // Without the second segment, the destination is not known.
    let alone = recover(&folder.0, &[&damaged]);
    assert!(alone.is_journal_kept && alone.runs.is_empty());
}

/// Regression: the journal counted as one of every destination, and was deleted.
#[test]
fn a_journal_whose_first_record_is_zeroed_is_nobodys() {
    let folder = Folder::new();
    let mut damaged = padded(framed(&[named(), points(7, 0..10)].concat()));
    damaged[HEADER_BYTES..HEADER_BYTES + 8].fill(0);
    assert!(recover(&folder.0, &[&damaged]).is_journal_kept);
}

#[test]
fn a_lost_origin_is_that_of_another_segment() {
    let folder = Folder::new();
    let mut first = framed(&[named(), points(7, 0..10)].concat());
    let second = framed(&[named(), points(7, 10..20)].concat());
    first[HEADER_BYTES + 20] ^= 1;
    let found = recover(&folder.0, &[&first, &second]);
    assert_eq!(steps(&found), (0..20).collect::<Vec<_>>());
    assert_eq!(found.damaged, 1);
    assert!(found.kept_files == [&first[HEADER_BYTES..]]);
}

#[test]
fn an_append_that_a_kill_has_interrupted_is_no_damage() {
    let folder = Folder::new();
    let [.., end] = events();
    let long = Event::Artifact {
        path: "a.txt".into(),
        kind: ArtifactKind::File,
        content: ArtifactLocation::Attached,
        fingerprint: None,
    };
    let lasts = [
        point(7, 10),
        end.encode(1, 1, &[]),
        long.encode(1, 1, &[b'x'; 5000]),
        Definition::Key {
            id: 8,
            name: "accuracy".into(),
        }
        .encode(),
    ];
    for last in lasts {
        let before = framed(&[named(), points(7, 0..10)].concat());
        let whole = framed(&[named(), points(7, 0..10), vec![last.clone()]].concat());
        // A mapped segment: the body is written first, in any order, then the checksum, and last the length.
        let mut copied = padded(whole.clone());
        copied[before.len()..before.len() + 4].fill(0);
        let with_checksum = copied.clone();
        copied[before.len() + 4..before.len() + 8].fill(0);
        let mut images = vec![with_checksum, copied.clone()];
        for cut in [1, 8, 17, last.len() / 2, last.len() - 1] {
            let mut begun = copied.clone();
            begun[before.len() + 8 + cut..].fill(0);
            images.push(begun);
            let mut ended = copied.clone();
            ended[before.len() + 8..before.len() + 8 + cut].fill(0);
            images.push(ended);
        }
        // A segment that is written by system calls: in order. Within a long attachment, few offsets are
        // enough.
        let len = 8 + last.len();
        let cuts = (0..len).filter(|cut| *cut < 200 || *cut + 8 > len || cut % 50 == 0);
        images.extend(cuts.map(|cut| whole[..before.len() + cut].to_vec()));
        for image in images {
            let found = recover(&folder.0, &[&image]);
            assert_eq!(steps(&found), (0..10).collect::<Vec<_>>());
            assert_eq!(found.damaged, 0);
            assert!(!found.is_journal_kept && found.kept_files.is_empty());
        }
    }
}

#[test]
fn records_inside_of_a_damaged_artifact_are_none() {
    let folder = Folder::new();
    let inner = framed(&[named(), points(7, 500..600)].concat());
    let artifact = Event::Artifact {
        path: "copy.segment".into(),
        kind: ArtifactKind::File,
        content: ArtifactLocation::Attached,
        fingerprint: None,
    };
    let artifact = artifact.encode(1, 1, &inner);
    let whole = padded(framed(
        &[named(), vec![artifact.clone()], points(7, 0..10)].concat(),
    ));
    let (from, end, _) = frames(&whole)[5];
    assert_eq!(end - from - 8, artifact.len());
    let attached = end - inner.len();
    let damages: [&[(usize, u8)]; 6] = [
        // Bits in the contents of the artifact, in its name, and in the kind of the record.
        &[(attached + 200, 1)],
        &[(from + 40, 1)],
        &[(from + 8, 2)],
        // Bits in the length of the frame.
        &[(from, 8)],
        &[(from + 1, 0x10)],
        &[(from + 2, 1)],
    ];
    let mut images: Vec<_> = damages
        .iter()
        .map(|damage| {
            let mut image = whole.clone();
            damage.iter().for_each(|(at, bits)| image[*at] ^= bits);
            image
        })
        .collect();
    let mut zeroed = whole.clone();
    zeroed[from..from + 8].fill(0);
    images.push(zeroed);
    for (number, image) in images.iter().enumerate() {
        let found = recover(&folder.0, &[image]);
        assert_eq!(
            steps(&found),
            (0..10).collect::<Vec<_>>(),
            "damage {number}"
        );
        assert_eq!(found.damaged, 1, "damage {number}");
    }
}

/// Regression: the metrics were left out without a warning.
#[test]
fn a_name_that_is_lost_is_that_of_another_segment() {
    let folder = Folder::new();
    let values = [points(7, 0..10), points(1 << 31, 10..15)].concat();
    let mut first = framed(&[named(), values].concat());
    let (loss, own) = (frames(&first)[3], frames(&first)[4]);
    let second = framed(&[named(), points(7, 20..30)].concat());
    first[loss.0 + 12] ^= 1;
    first[own.0 + 12] ^= 1;
    let found = recover(&folder.0, &[&first, &second]);
    let expected: Vec<_> = (0..10).chain(20..30).collect();
    assert_eq!(
        steps(&found),
        expected,
        "those of the segment's own are not"
    );
    assert_eq!(found.damaged, 2 + 5);
    assert!(
        found.runs[0]
            .metrics
            .iter()
            .all(|point| &*point.key == "loss")
    );
    let alone = recover(&folder.0, &[&first]);
    assert_eq!((steps(&alone), alone.damaged), (vec![], 2 + 15));
}

/// Regression: the values stayed in the journal, as those of a run that "is not in the store any more".
#[test]
fn a_run_whose_start_is_damaged_is_created_anew() {
    let folder = Folder::new();
    let mut bytes = framed(&[named(), points(7, 3..10)].concat());
    let (start, ..) = frames(&bytes)[2];
    bytes[start + 40] ^= 1;
    let found = recover(&folder.0, &[&bytes]);
    assert_eq!(steps(&found), (3..10).collect::<Vec<_>>());
    let [run] = &*found.runs else {
        panic!("one run: {:?}", found.runs)
    };
    assert_eq!(run.name, format!("run-{}", identity().key));
    assert_eq!(run.start_time_ms, 103);
    assert_eq!(run.status, RunStatus::Killed);
}

#[test]
fn a_run_that_the_store_has_lost_is_created_anew() {
    let folder = Folder::new();
    let mut bytes = framed(&[named(), points(7, 0..10)].concat());
    let delivered = frames(&bytes)[9].0;
    let hint = encode_acknowledged(delivered).to_le_bytes();
    bytes[ACKNOWLEDGED_OFFSET..ACKNOWLEDGED_OFFSET + 8].copy_from_slice(&hint);
    let found = recover(&folder.0, &[&bytes]);
    assert_eq!(steps(&found), (4..10).collect::<Vec<_>>());
    assert_eq!((found.damaged, found.is_journal_kept), (0, false));
    assert_eq!(found.runs[0].start_time_ms, 5);
    assert_eq!(found.runs[0].name, "r", "its start is still there");
}

#[test]
fn a_run_that_the_store_has_lost_is_not_created_for_nothing() {
    let folder = Folder::new();
    let mut bytes = framed(&[named(), points(7, 0..10)].concat());
    let hint = encode_acknowledged(bytes.len()).to_le_bytes();
    bytes[ACKNOWLEDGED_OFFSET..ACKNOWLEDGED_OFFSET + 8].copy_from_slice(&hint);
    let found = recover(&folder.0, &[&bytes]);
    assert_eq!((found.runs, found.is_journal_kept), (vec![], false));
}

#[test]
fn a_run_of_others_is_not_created_anew() {
    let folder = Folder::new();
    let resumed = RunIdentity {
        resumed: Some("gone".to_owned()),
        ..identity()
    };
    let member = RunIdentity {
        role: Role::Member { rank: 1 },
        ..identity()
    };
    for other in [resumed, member] {
        let mut bodies = named();
        bodies[1] = Definition::Run {
            number: 1,
            identity: Cow::Owned(other),
        }
        .encode();
        bodies.remove(2);
        bodies.push(point(7, 0));
        let found = recover_into(&MemoryStore::new(), &folder.0, &[&framed(&bodies)]);
        assert!(found.is_journal_kept && found.runs.is_empty());
    }
}

#[test]
fn a_value_whose_run_is_lost_is_counted() {
    let folder = Folder::new();
    let mut bodies = named();
    bodies.drain(1..3);
    bodies.extend(points(7, 0..10));
    let found = recover(&folder.0, &[&framed(&bodies)]);
    assert_eq!((found.runs, found.damaged), (vec![], 10));
    assert_eq!(found.kept_files.len(), 1);
}

/// The damaged segment belongs to this process. The shipper reads it from the file, as its writer is done.
#[test]
fn damage_in_a_living_process_costs_no_more() {
    let folder = Folder::new();
    let journal = Journal::on_disk(folder.0.clone(), origin(), 1 << 30, "").expect("writable");
    let identity = identity();
    let run = RunRef {
        number: 1,
        identity: &identity,
        inherited: false,
    };
    let [start, .., end] = events();
    with_writer(&journal, |writer| {
        writer.append_event(&journal, &run, &start, &[]);
        for step in 0..10 {
            writer.append_metric(
                &journal,
                MetricPoint {
                    run,
                    key: "loss",
                    timestamp_ms: 5,
                    step,
                    value: 0.5,
                },
            );
        }
        writer.append_event(&journal, &run, &end, &[]);
    });
    release_thread(&journal);
    let directory = journal.path().expect("it lies on disk");
    let file = directory.join("0000000000.segment");
    let mut bytes = fs::read(&file).expect("readable");
    let all = frames(&bytes);
    // Damage the start of the run, and one value.
    bytes[all[2].0 + 40] ^= 1;
    bytes[all[7].0..all[7].0 + 8].fill(0);
    fs::write(&file, &bytes).expect("writable");

    let store = MemoryStore::new();
    let stats = Arc::new(Stats::default());
    let mut delivery = Delivery::new(Box::new(store.clone()), Arc::clone(&stats), true);
    let mut live = JournalReader::for_live(Arc::clone(&journal), Arc::default());
    let runtime = tokio::runtime::Builder::new_current_thread().build();
    let runtime = runtime.expect("a runtime");
    let begun = Instant::now();
    while file.exists() {
        assert!(begun.elapsed() < Duration::from_secs(60), "it is not read");
        let mut read_batch = live.read(1000);
        runtime
            .block_on(delivery.deliver(&mut live, &mut read_batch))
            .expect("the store takes it");
        live.acknowledge(&read_batch);
        thread::yield_now();
    }
    let runs = store.runs();
    let steps: Vec<_> = runs[0].metrics.iter().map(|metric| metric.step).collect();
    assert_eq!(steps, [0, 1, 2, 4, 5, 6, 7, 8, 9]);
    assert_eq!(runs[0].status, RunStatus::Finished);
    assert_eq!(stats.damaged.get(), 2);
    let kept = quarantine::damaged_directory(&folder.0);
    let process = directory.file_name().expect("it has a name");
    let name = format!("{}-0000000000.damaged", process.display());
    let metadata = fs::metadata(kept.join(name)).expect("it is kept");
    assert_eq!(metadata.permissions().mode() & 0o777, 0o600);
    let metadata = fs::metadata(&kept).expect("it is there");
    assert_eq!(metadata.permissions().mode() & 0o777, 0o700);
    journal.remove_if_empty();
    assert!(!directory.exists());
}
