//! Tests of the shipper with a journal on disk and a store in memory: which segments may be deleted, which
//! value of a tag or param counts, and how lost values are counted.

use std::borrow::Cow;
use std::fs;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::thread;
use std::time::{Duration, Instant};

use crate::journal::directory::Directory;
use crate::journal::record::{ArtifactLocation, Event, Origin, RunStart};
use crate::journal::segment::SegmentBytes;
use crate::journal::segment::mapped::HEADER_BYTES;
use crate::journal::{DropReason, Journal, MetricPoint, RunRef, release_thread, with_writer};
use crate::model::{ArtifactKind, ExperimentRef, ModelStatus, Param, RunStatus, Tag};
use crate::model::{Role, RunIdentity};
use crate::shipper::batch::ReadBatch;
use crate::shipper::fuzz_support::recover_image;
use crate::shipper::stats::Stats;
use crate::shipper::{Delivery, JournalReader, Shipper, StepOutcome};
use crate::store::{MemoryStore, StoreError};
use crate::time;

fn identity() -> RunIdentity {
    RunIdentity {
        key: "k".repeat(32),
        experiment: ExperimentRef::Name("e".to_owned()),
        resumed: None,
        role: Role::Owner,
    }
}

fn log(journal: &Journal, event: &Event<'_>) {
    let identity = identity();
    let run = RunRef {
        number: 1,
        identity: &identity,
        inherited: false,
    };
    with_writer(journal, |writer| {
        writer.append_event(journal, &run, event, &[]);
    });
}

fn set_state(journal: &Journal, value: &str) {
    let tag = Tag {
        key: "state".to_owned(),
        value: value.to_owned(),
    };
    log(journal, &Event::Tag(Cow::Owned(tag)));
}

/// Reads at most about `budget` entries, delivers and acknowledges them.
fn ship(reader: &mut JournalReader, store: &MemoryStore, budget: usize) {
    let read_batch = deliver(reader, store, budget);
    reader.acknowledge(&read_batch);
}

/// Reads at most about `budget` entries and delivers them, without acknowledging them.
fn deliver(reader: &mut JournalReader, store: &MemoryStore, budget: usize) -> ReadBatch {
    let runtime = tokio::runtime::Builder::new_current_thread()
        .build()
        .expect("a runtime");
    let mut delivery = Delivery::new(Box::new(store.clone()), Arc::default(), true);
    let mut read_batch = reader.read(budget);
    runtime
        .block_on(delivery.deliver(reader, &mut read_batch))
        .expect("the store takes it");
    read_batch
}

fn origin() -> Origin {
    Origin {
        destination: "here".to_owned(),
        host: "h".to_owned(),
        process_id: 1,
        tags: Arc::default(),
    }
}

fn journal_below(folder: &Path) -> Arc<Journal> {
    Journal::on_disk(folder.to_owned(), origin(), 1 << 30, "").expect("the folder is ours")
}

fn start(journal: &Journal) {
    let start = RunStart {
        identity: Cow::Owned(identity()),
        name: "run".into(),
        user: "u".into(),
        start_time_ms: 1,
        parent: None,
        tags: Vec::new(),
        with_common_tags: false,
        is_delivered: false,
        params: Vec::new(),
    };
    log(journal, &Event::Start(Box::new(start)));
}

/// Found by the reliability program `kills`: a backlog was read in parts, and a segment with the last value
/// of a tag was delivered and deleted before another segment with an older value was read. Then the process
/// was killed, and the next one could not know that the older value was superseded.
#[test]
fn a_segment_stays_while_what_it_supersedes_is_still_to_be_delivered() {
    let folder = std::env::temp_dir().join(format!("mlflow-runtime-test-{}", uuid::Uuid::new_v4()));
    let journal = journal_below(&folder);
    start(&journal);
    let shared = Arc::clone(&journal);
    let thread = thread::spawn(move || {
        let identity = identity();
        let run = RunRef {
            number: 1,
            identity: &identity,
            inherited: false,
        };
        for step in 0..10 {
            with_writer(&shared, |writer| {
                writer.append_metric(
                    &shared,
                    MetricPoint {
                        run,
                        key: "loss",
                        timestamp_ms: 7,
                        step,
                        value: 0.5,
                    },
                );
            });
        }
        set_state(&shared, "old");
    });
    thread.join().expect("it does not panic");
    set_state(&journal, "new");
    let end = Event::End {
        status: RunStatus::Finished,
        end_time_ms: 2,
    };
    log(&journal, &end);
    release_thread(&journal);

    let store = MemoryStore::new();
    let state = || store.runs()[0].tags["state"].clone();
    let mut live = JournalReader::for_live(Arc::clone(&journal), Arc::default());
    ship(&mut live, &store, 5);
    assert_eq!(state(), "new");
    drop((live, journal));

    let mut dead = JournalReader::for_orphan(left_behind(&folder));
    ship(&mut dead, &store, 1000);
    assert_eq!(store.runs()[0].metrics.len(), 10);
    assert_eq!(state(), "new");
    fs::remove_dir_all(folder).expect("it is ours");
}

/// Regression: the model stayed pending for ever, as no record completed it.
#[test]
fn a_model_whose_process_was_killed_before_its_record_is_a_failed_one() {
    let folder = std::env::temp_dir().join(format!("mlflow-runtime-test-{}", uuid::Uuid::new_v4()));
    let journal = journal_below(&folder);
    start(&journal);
    let model = Event::Artifact {
        path: format!("{}/net/w.bin", "a".repeat(32)).into(),
        kind: ArtifactKind::ModelFile,
        content: ArtifactLocation::Attached,
        fingerprint: None,
    };
    log(&journal, &model);
    set_state(&journal, "killed");
    release_thread(&journal);
    drop(journal);

    let store = MemoryStore::new();
    let shipped = recover_image(&store, &folder, 10);
    assert!(shipped.is_claimed);
    let run = &store.runs()[0];
    assert_eq!(run.status, RunStatus::Killed);
    assert_eq!(run.tags["state"], "killed");
    assert_eq!(run.models[0].status, ModelStatus::UploadFailed);
    assert_eq!(run.model_outputs.len(), 1);
    let _ = fs::remove_dir_all(folder);
}

/// Found on a busy machine: the journal's directory was removed before its first segment, with the start of
/// the run, was read. All later entries waited for that start for good.
#[test]
fn a_run_whose_start_was_removed_is_started_anew() {
    let folder = std::env::temp_dir().join(format!("mlflow-runtime-test-{}", uuid::Uuid::new_v4()));
    let journal = journal_below(&folder);
    start(&journal);
    release_thread(&journal);
    fs::remove_dir_all(&folder).expect("it is ours");
    set_state(&journal, "later");
    let store = MemoryStore::new();
    let mut live = JournalReader::for_live(Arc::clone(&journal), Arc::default());
    let begun = Instant::now();
    while store.runs().is_empty() {
        assert!(
            begun.elapsed() < Duration::from_secs(60),
            "it waits for good"
        );
        ship(&mut live, &store, 1000);
        thread::yield_now();
    }
    ship(&mut live, &store, 1000);
    assert_eq!(store.runs()[0].tags["state"], "later");
    drop((live, journal));
    let _ = fs::remove_dir_all(folder);
}

/// Found by the reliability program `kills`: two threads created segments at the same moment, and the live
/// journal was read in another order than that of the files. When the process was killed, the newest value of
/// a tag was delivered and an older one was not; the next process sent the older one.
#[test]
fn an_older_tag_before_a_newer_one_that_was_delivered_is_not_sent() {
    let folder = std::env::temp_dir().join(format!("mlflow-runtime-test-{}", uuid::Uuid::new_v4()));
    let journal = journal_below(&folder);
    start(&journal);
    set_state(&journal, "old");
    let shared = Arc::clone(&journal);
    let thread = thread::spawn(move || set_state(&shared, "new"));
    thread.join().expect("it does not panic");
    let store = MemoryStore::new();
    let mut live = JournalReader::for_live(Arc::clone(&journal), Arc::default());
    ship(&mut live, &store, 1000);
    release_thread(&journal);
    let segments = journal.segments();
    assert_eq!(segments.len(), 2, "the run is open");
    // As if nothing of the first file had been delivered.
    segments[0].acknowledge(HEADER_BYTES);
    drop((live, journal, segments));

    let mut dead = JournalReader::for_orphan(left_behind(&folder));
    for _ in 0..4 {
        ship(&mut dead, &store, 1);
    }
    assert_eq!(store.runs()[0].tags["state"], "new");
    fs::remove_dir_all(folder).expect("it is ours");
}

/// Regression: a reading that had begun before a segment was closed delivered a point that its thread then appended to another
/// segment, too.
#[test]
fn a_segment_that_is_being_closed_is_read_when_its_end_is_known() {
    let folder = std::env::temp_dir().join(format!("mlflow-runtime-test-{}", uuid::Uuid::new_v4()));
    let journal = journal_below(&folder);
    start(&journal);
    let store = MemoryStore::new();
    let mut live = JournalReader::for_live(Arc::clone(&journal), Arc::default());
    ship(&mut live, &store, 1000);
    set_state(&journal, "new");
    let segment = journal.segments().remove(0);
    segment.close();
    ship(&mut live, &store, 1000);
    assert!(
        !store.runs()[0].tags.contains_key("state"),
        "its end is not known"
    );
    segment.seal_closed();
    ship(&mut live, &store, 1000);
    assert_eq!(store.runs()[0].tags["state"], "new");
    release_thread(&journal);
    drop((live, journal));
    let _ = fs::remove_dir_all(folder);
}

/// Waits until the orphaned journal can be locked: the sync thread may still hold it for a moment.
fn left_behind(folder: &Path) -> Directory {
    let begun = Instant::now();
    loop {
        if let Some(left) = Directory::find_orphaned(folder, "here").next() {
            return left;
        }
        assert!(begun.elapsed() < Duration::from_secs(60), "nothing is left");
        thread::yield_now();
    }
}

/// MySQL ignores case: `Loss` and `loss` conflict each time.
#[test]
fn a_row_that_another_client_seems_to_make_for_ever_is_set_aside() {
    let contested = || StoreError::Contested {
        reason: "Duplicate entry".into(),
    };
    for (answers, arrive) in [(20, 2), (25, 1)] {
        let store = MemoryStore::new();
        let journal = Journal::in_memory(origin(), "");
        start(&journal);
        let mut reader = JournalReader::for_live(Arc::clone(&journal), Arc::default());
        ship(&mut reader, &store, 1000);
        for value in ["Loss", "loss"] {
            let tag = Tag {
                key: value.to_owned(),
                value: value.to_owned(),
            };
            log(&journal, &Event::Tag(Cow::Owned(tag)));
        }
        for _ in 0..answers {
            store.fail_next(contested());
        }
        let runtime = tokio::runtime::Builder::new_current_thread().build();
        let runtime = runtime.expect("a runtime");
        let mut delivery = Delivery::new(Box::new(store.clone()), Arc::default(), true);
        let mut read_batch = reader.read(1000);
        let before = store.runs()[0].tags.len();
        let mut tries = 1;
        while runtime
            .block_on(delivery.deliver(&mut reader, &mut read_batch))
            .is_err()
        {
            tries += 1;
        }
        assert_eq!(tries, 21);
        assert_eq!(store.runs()[0].tags.len() - before, arrive);
    }
}

fn set_tags(journal: &Journal, count: usize) {
    for number in 0..count {
        let tag = Tag {
            key: format!("t{number}"),
            value: String::new(),
        };
        log(journal, &Event::Tag(Cow::Owned(tag)));
    }
}

/// Found by the images of a loss of power. With segments that are written, not mapped, a reading that ended
/// at its budget kept the bytes it had read. The writer was done by the next reading, which took these bytes
/// for the whole segment. The file was then deleted with what had been appended in between.
#[test]
fn what_is_appended_between_two_readings_of_a_written_segment_is_read() {
    let folder = std::env::temp_dir().join(format!("mlflow-runtime-test-{}", uuid::Uuid::new_v4()));
    let journal = Journal::unattended(folder.clone(), origin(), false).expect("writable");
    start(&journal);
    set_tags(&journal, 10);
    let store = MemoryStore::new();
    let mut live = JournalReader::for_live(Arc::clone(&journal), Arc::default());
    ship(&mut live, &store, 5);
    set_tags(&journal, 20);
    release_thread(&journal);
    for _ in 0..10 {
        ship(&mut live, &store, 5);
    }
    let runs = store.runs();
    let tags = runs[0].tags.keys().filter(|key| key.starts_with('t'));
    assert_eq!(tags.count(), 20);
    fs::remove_dir_all(folder).expect("it is ours");
}

/// Found by failing every system call in turn: one failed read of a file with the start of a run kept back
/// all that the run had logged until the exit of the process, which waited for it.
#[test]
fn a_file_that_cannot_be_read_for_a_moment_keeps_nothing_back() {
    let folder = std::env::temp_dir().join(format!("mlflow-runtime-test-{}", uuid::Uuid::new_v4()));
    let journal = Journal::unattended(folder.clone(), origin(), true).expect("writable");
    start(&journal);
    set_tags(&journal, 10);
    release_thread(&journal);
    let segments = journal.segments();
    let file = segments[0].file().expect("on disk");
    let aside = file.with_extension("aside");
    fs::rename(file, &aside).expect("writable");
    fs::create_dir(file).expect("writable");
    let store = MemoryStore::new();
    let mut live = JournalReader::for_live(Arc::clone(&journal), Arc::default());
    ship(&mut live, &store, 1000);
    assert!(store.runs().is_empty());
    fs::remove_dir(file).expect("writable");
    fs::rename(&aside, file).expect("writable");
    ship(&mut live, &store, 1000);
    assert_eq!(store.runs().len(), 1);
    assert!(store.runs()[0].tags.contains_key("t9"));
    fs::remove_dir_all(folder).expect("it is ours");
}

/// Returns the file of a sealed segment with a run, ten tags and ten metrics.
fn segment_of_twenty_values(journal: &Journal) -> PathBuf {
    start(journal);
    set_tags(journal, 10);
    let identity = identity();
    let run = RunRef {
        number: 1,
        identity: &identity,
        inherited: false,
    };
    with_writer(journal, |writer| {
        for step in 0..10 {
            writer.append_metric(
                journal,
                MetricPoint {
                    run,
                    key: "loss",
                    timestamp_ms: 5,
                    step,
                    value: 0.5,
                },
            );
        }
    });
    release_thread(journal);
    let segments = journal.segments();
    segments[0].file().expect("on disk").to_owned()
}

/// Ships all of a live journal, and checks that each value is counted once: `lost` values as lost, `blocked` as
/// blocked, and the others as delivered or dropped.
fn check_counts(
    journal: &Arc<Journal>,
    store: &MemoryStore,
    lost: u64,
    blocked: usize,
) -> Arc<Stats> {
    let runtime = tokio::runtime::Builder::new_current_thread()
        .build()
        .expect("a runtime");
    let stats = Arc::<Stats>::default();
    let mut delivery = Delivery::new(Box::new(store.clone()), Arc::clone(&stats), true);
    let mut live = JournalReader::for_live(Arc::clone(journal), Arc::default());
    loop {
        let mut read_batch = live.read(1000);
        let delivered = runtime.block_on(delivery.deliver(&mut live, &mut read_batch));
        delivered.expect("the store takes it");
        live.acknowledge(&read_batch);
        if !read_batch.has_more {
            break;
        }
        thread::yield_now();
    }
    let counted = stats.settled() + live.blocked_entries() as u64;
    assert_eq!((stats.lost.get(), live.blocked_entries()), (lost, blocked));
    assert_eq!(counted + journal.dropped(DropReason::Removed), 21);
    stats
}

/// Regression: such values were counted as queued for as long as the process lived, and each flush waited for
/// them.
#[test]
fn what_cannot_be_read_of_the_own_journal_is_counted_as_lost() {
    for damage in ["zeros", "cut", "name"] {
        let folder =
            std::env::temp_dir().join(format!("mlflow-runtime-test-{}", uuid::Uuid::new_v4()));
        let journal = Journal::unattended(folder.clone(), origin(), true).expect("writable");
        let file = segment_of_twenty_values(&journal);
        let mut bytes = fs::read(&file).expect("readable");
        let mut offsets = Vec::new();
        SegmentBytes::from_bytes(bytes.clone()).for_each_whole(|_, offset| offsets.push(offset));
        // Three records define the origin, the run and the key; 21 are values.
        assert_eq!(offsets.len(), 3 + 21);
        let lost = match damage {
            // Zero the frame header of the last tag but one.
            "zeros" => {
                bytes[offsets[11]..offsets[11] + 8].fill(0);
                1
            }
            "cut" => {
                bytes.truncate(offsets[22]);
                2
            }
            // Damage the definition of the key, between the tags and the metrics.
            _ => {
                bytes[offsets[13] + 12] ^= 1;
                10
            }
        };
        fs::write(&file, &bytes).expect("writable");
        let store = MemoryStore::new();
        let stats = check_counts(&journal, &store, lost, 0);
        assert!(stats.damaged.get() > 0, "{damage}");
        assert_eq!(store.runs().len(), 1);
        let _ = fs::remove_dir_all(folder);
    }
}

/// Regression, as above. The file exists, so its values are not lost.
#[test]
fn what_a_file_holds_that_cannot_be_read_at_all_is_counted_as_held() {
    let folder = std::env::temp_dir().join(format!("mlflow-runtime-test-{}", uuid::Uuid::new_v4()));
    let journal = Journal::unattended(folder.clone(), origin(), true).expect("writable");
    let file = segment_of_twenty_values(&journal);
    fs::remove_file(&file).expect("it is ours");
    fs::create_dir(&file).expect("writable");
    let store = MemoryStore::new();
    let stats = check_counts(&journal, &store, 0, 21);
    let said = stats.describe_first_blocked(true);
    assert!(said.contains("cannot be read"), "{said}");
    let _ = fs::remove_dir_all(folder);
}

/// Regression: the file was removed after a part of it had been read, and the unread values were counted as
/// queued.
#[test]
fn what_was_not_read_of_a_file_that_is_gone_is_counted_as_removed() {
    let folder = std::env::temp_dir().join(format!("mlflow-runtime-test-{}", uuid::Uuid::new_v4()));
    let journal = Journal::unattended(folder.clone(), origin(), false).expect("writable");
    start(&journal);
    set_tags(&journal, 10);
    let store = MemoryStore::new();
    let mut live = JournalReader::for_live(Arc::clone(&journal), Arc::default());
    ship(&mut live, &store, 5);
    set_tags(&journal, 10);
    release_thread(&journal);
    let segments = journal.segments();
    fs::remove_file(segments[0].file().expect("on disk")).expect("it is ours");
    ship(&mut live, &store, 5);
    let read = 21 - journal.dropped(DropReason::Removed);
    assert!((5..=11).contains(&read), "{read}");
    assert_eq!(journal.value_count(), read);
    let _ = fs::remove_dir_all(folder);
}

/// Logs a point of the metric `loss` with the value 2.0, at the last step of the key.
fn log_returned(journal: &Journal) {
    let identity = identity();
    let run = RunRef {
        number: 1,
        identity: &identity,
        inherited: false,
    };
    with_writer(journal, |writer| {
        let key = "loss";
        writer.append_metric_at_last_step(journal, run, key, time::now_ms() + 1, 2.0);
    });
}

/// Regression: while one thread logged more than was shipped, the entries of another thread behind a param
/// waited for all of it.
#[test]
fn a_param_does_not_wait_for_what_is_logged_after_it() {
    const BUDGET: usize = 10;
    let folder = std::env::temp_dir().join(format!("mlflow-runtime-test-{}", uuid::Uuid::new_v4()));
    let journal = Journal::unattended(folder.clone(), origin(), true).expect("writable");
    start(&journal);
    let param = Param {
        key: "alpha".to_owned(),
        value: "1".to_owned(),
    };
    let store = MemoryStore::new();
    let mut live = JournalReader::for_live(Arc::clone(&journal), Arc::default());
    thread::scope(|scope| {
        let (more, ask) = std::sync::mpsc::channel::<usize>();
        let (done, logged) = std::sync::mpsc::channel();
        let journal = &journal;
        scope.spawn(move || {
            for count in ask {
                let identity = identity();
                let run = RunRef {
                    number: 1,
                    identity: &identity,
                    inherited: false,
                };
                for step in 0..count {
                    with_writer(journal, |writer| {
                        let now_ms = time::now_ms();
                        let step = i64::try_from(step).unwrap_or(0);
                        writer.append_metric(
                            journal,
                            MetricPoint {
                                run,
                                key: "loss",
                                timestamp_ms: now_ms,
                                step,
                                value: 0.5,
                            },
                        );
                    });
                }
                let _ = done.send(());
            }
        });
        let log_more = |count| {
            more.send(count).expect("it listens");
            logged.recv().expect("it answers");
        };
        log_more(20 * BUDGET);
        log(journal, &Event::Param(Cow::Owned(param)));
        // The other thread keeps logging more than is shipped until the param is delivered.
        let begun = Instant::now();
        loop {
            log_more(2 * BUDGET);
            for _ in 0..2 {
                ship(&mut live, &store, BUDGET);
            }
            let runs = store.runs();
            if runs.first().is_some_and(|run| !run.params.is_empty()) {
                break;
            }
            assert!(
                begun.elapsed() < Duration::from_secs(60),
                "it waits for good"
            );
        }
        drop(more);
    });
    let _ = fs::remove_dir_all(folder);
}

/// Regression: with a backlog that is read in parts, the point was sent when its own segment was read. It got
/// the last step that had been read by then from the segments of other threads.
#[test]
fn a_point_at_the_last_step_waits_for_what_other_threads_had_logged_before_it() {
    let folder = std::env::temp_dir().join(format!("mlflow-runtime-test-{}", uuid::Uuid::new_v4()));
    let journal = Journal::unattended(folder.clone(), origin(), true).expect("writable");
    let log_steps = |steps: std::ops::Range<i64>| {
        let identity = identity();
        let run = RunRef {
            number: 1,
            identity: &identity,
            inherited: false,
        };
        with_writer(&journal, |writer| {
            for step in steps.clone() {
                writer.append_metric(
                    &journal,
                    MetricPoint {
                        run,
                        key: "loss",
                        timestamp_ms: time::now_ms(),
                        step,
                        value: 0.5,
                    },
                );
            }
        });
    };
    start(&journal);
    thread::scope(|scope| {
        for thread in 0..3 {
            let log_steps = &log_steps;
            let logged = scope.spawn(move || log_steps(thread * 100..thread * 100 + 100));
            logged.join().expect("it does not panic");
        }
    });
    log_returned(&journal);
    let store = MemoryStore::new();
    let mut live = JournalReader::for_live(Arc::clone(&journal), Arc::default());
    for _ in 0..3 + 301 / 7 {
        ship(&mut live, &store, 7);
    }
    let runs = store.runs();
    let points = &runs[0].metrics;
    assert_eq!(points.len(), 301);
    let returned = points.iter().find(|point| point.value > 1.0);
    assert_eq!(returned.expect("it is there").step, 299);
    let _ = fs::remove_dir_all(folder);
}

/// Found by the simulation: a reading reached its budget before the segment with the first value.
#[test]
fn of_two_values_of_a_param_the_first_counts_whatever_their_threads() {
    let folder = std::env::temp_dir().join(format!("mlflow-runtime-test-{}", uuid::Uuid::new_v4()));
    let journal = Journal::unattended(folder.clone(), origin(), true).expect("writable");
    let set_param = |value: &str| {
        let param = Param {
            key: "alpha".to_owned(),
            value: value.to_owned(),
        };
        log(&journal, &Event::Param(Cow::Owned(param)));
    };
    start(&journal);
    thread::scope(|scope| {
        scope.spawn(|| {
            set_tags(&journal, 20);
            set_param("first");
        });
    });
    set_param("second");
    let store = MemoryStore::new();
    let mut live = JournalReader::for_live(Arc::clone(&journal), Arc::default());
    for _ in 0..6 {
        ship(&mut live, &store, 7);
    }
    let runs = store.runs();
    assert!(runs[0].tags.contains_key("t19"), "all of it is read");
    assert_eq!(runs[0].params["alpha"], "first");
    let _ = fs::remove_dir_all(folder);
}

/// Found by the simulation: the process was killed after the point was sent and before that was noted. More
/// had been logged under the key meanwhile, so the next process sent the point at another step, and the store
/// had it twice.
#[test]
fn a_point_at_the_last_step_is_sent_again_at_the_same_step() {
    let folder = std::env::temp_dir().join(format!("mlflow-runtime-test-{}", uuid::Uuid::new_v4()));
    let journal = journal_below(&folder);
    let log_point = |step, value| {
        let identity = identity();
        let run = RunRef {
            number: 1,
            identity: &identity,
            inherited: false,
        };
        with_writer(&journal, |writer| {
            writer.append_metric(
                &journal,
                MetricPoint {
                    run,
                    key: "loss",
                    timestamp_ms: time::now_ms(),
                    step,
                    value,
                },
            );
        });
    };
    start(&journal);
    log_point(7, 0.5);
    log_returned(&journal);
    let store = MemoryStore::new();
    let mut live = JournalReader::for_live(Arc::clone(&journal), Arc::default());
    deliver(&mut live, &store, 1000);
    log_point(50, 0.5);
    release_thread(&journal);
    drop((live, journal));

    let mut dead = JournalReader::for_orphan(left_behind(&folder));
    ship(&mut dead, &store, 1000);
    let runs = store.runs();
    let returned = runs[0].metrics.iter().filter(|point| point.value > 1.0);
    let steps: Vec<i64> = returned.map(|point| point.step).collect();
    assert_eq!(steps, [7]);
    fs::remove_dir_all(folder).expect("it is ours");
}

/// Found by stopping a process (SIGSTOP) in the middle of a batch: it held the lock of the store's file, and
/// others waited. The values of the process itself are sent in batches as large as the store accepts.
#[test]
fn what_a_dead_process_left_goes_in_small_batches() {
    const POINTS: usize = 10_000;
    let folder = std::env::temp_dir().join(format!("mlflow-runtime-test-{}", uuid::Uuid::new_v4()));
    let journal = journal_below(&folder);
    start(&journal);
    let identity = identity();
    let run = RunRef {
        number: 1,
        identity: &identity,
        inherited: false,
    };
    for step in (0..).take(POINTS) {
        with_writer(&journal, |writer| {
            writer.append_metric(
                &journal,
                MetricPoint {
                    run,
                    key: "loss",
                    timestamp_ms: 7,
                    step,
                    value: 0.5,
                },
            );
        });
    }
    release_thread(&journal);

    let store = MemoryStore::new();
    let mut live = JournalReader::for_live(Arc::clone(&journal), Arc::default());
    deliver(&mut live, &store, usize::MAX);
    assert_eq!(store.largest_batch(), POINTS);
    drop((live, journal));

    let store = MemoryStore::new();
    let mut dead = JournalReader::for_orphan(left_behind(&folder));
    ship(&mut dead, &store, usize::MAX);
    assert_eq!(store.runs()[0].metrics.len(), POINTS);
    assert!(store.largest_batch() <= 4096, "{}", store.largest_batch());
    fs::remove_dir_all(folder).expect("it is ours");
}

/// Regression: with many orphaned runs, the values of the process itself waited for a whole batch of them.
/// They now wait for one run.
#[test]
fn what_a_dead_process_left_is_interrupted_after_each_run() {
    const RUNS: usize = 5;
    let folder = std::env::temp_dir().join(format!("mlflow-runtime-test-{}", uuid::Uuid::new_v4()));
    let journal = journal_below(&folder);
    for number in 1..=RUNS {
        let identity = RunIdentity {
            key: format!("run-{number}"),
            ..identity()
        };
        let run = RunRef {
            number: u32::try_from(number).expect("a few"),
            identity: &identity,
            inherited: false,
        };
        with_writer(&journal, |writer| {
            writer.append_metric(
                &journal,
                MetricPoint {
                    run,
                    key: "loss",
                    timestamp_ms: 7,
                    step: 0,
                    value: 0.5,
                },
            );
        });
    }
    release_thread(&journal);
    drop(journal);

    let store = MemoryStore::adopting();
    let live = JournalReader::for_live(Journal::in_memory(origin(), ""), Arc::default());
    let delivery = Delivery::new(Box::new(store.clone()), Arc::default(), true);
    let mut shipper = Shipper::new(delivery, live);
    shipper.orphaned = vec![Directory::find_orphaned(&folder, "here")];
    let runtime = tokio::runtime::Builder::new_current_thread().build();
    let runtime = runtime.expect("a runtime");
    let points = || {
        store
            .runs()
            .iter()
            .map(|run| run.metrics.len())
            .sum::<usize>()
    };
    let mut delivered = Vec::new();
    while runtime
        .block_on(shipper.step_orphan(&|| true))
        .expect("the store is there")
        != StepOutcome::Idle
    {
        delivered.push(points());
    }
    assert_eq!(delivered[..RUNS], [1, 2, 3, 4, 5]);
    let closed = store
        .runs()
        .iter()
        .filter(|run| run.status == RunStatus::Killed)
        .count();
    assert_eq!(closed, RUNS, "{delivered:?}");
    assert_eq!(Directory::find_orphaned(&folder, "here").count(), 0);
    fs::remove_dir_all(folder).expect("it is ours");
}
