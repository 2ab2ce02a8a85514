//! Tests with images of a journal after a loss of power.
//!
//! Invariants: everything that was confirmed by a sync is delivered, nothing is delivered that was not
//! logged, and missing values are counted where their loss can be detected.
//!
//! A test writes a journal and syncs it at times. The test notes which pages were synced. Images are made of
//! the synced pages and of later changes: each page or sector that has changed since is dropped, kept, or
//! torn. Files may have an old length, or be missing if their directory was not synced, and deleted files may
//! be back. The real recovery reads each image.
//!
//! `MLFLOW_TEST_IMAGES=100000` sets the number of images; `MLFLOW_TEST_SEED=…` makes other ones.

use std::borrow::Cow;
use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::io::Write as _;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::thread;

use crate::journal::record::{ArtifactLocation, Event, Origin, Record, RunStart};
use crate::journal::segment::SegmentBytes;
use crate::journal::segment::mapped::HEADER_BYTES;
use crate::journal::user_files;
use crate::journal::{Journal, MetricKey, MetricPoint, RunRef, release_thread, with_writer};
use crate::model::metric_key::Key;
use crate::model::{ArtifactKind, ExperimentRef, Param, Tag};
use crate::model::{Role, RunIdentity};
use crate::shipper::fuzz_support::recover_image;
use crate::shipper::{Delivery, JournalReader};
use crate::store::MemoryStore;

const PAGE: usize = 4096;
const SECTOR: usize = 512;
const RUNS: u32 = 2;

static LOSS: Key = Key::new("loss");

/// Random numbers by `SplitMix64`: all choices follow from the seed.
struct Random(u64);

impl Random {
    fn next(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut word = self.0;
        word = (word ^ (word >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        word = (word ^ (word >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        word ^ (word >> 31)
    }

    fn below(&mut self, end: usize) -> usize {
        usize::try_from(self.next() % (end.max(1) as u64)).expect("small")
    }

    fn chance(&mut self, percent: usize) -> bool {
        self.below(100) < percent
    }
}

/// A value that was logged.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
enum Value {
    Start,
    /// Key and step; the value is half of the step.
    Metric(&'static str, i64),
    Param(usize),
    /// Number of the tag, which is also its value.
    Tag(usize),
    /// Number and length of the artifact.
    Artifact(usize, usize),
}

type Logged = (u32, Value);

fn artifact(number: usize, len: usize) -> Vec<u8> {
    (0..len)
        .map(|at| b'a' + ((at / 7 + number) % 26) as u8)
        .collect()
}

/// Contents of a file that the device is certain to have.
#[derive(Clone, Default)]
struct Kept {
    bytes: Vec<u8>,
    /// End of the last sync, as an offset.
    end: usize,
}

/// A simulated process, with its files and the state of the device.
struct Life {
    folder: PathBuf,
    journal: Arc<Journal>,
    live: JournalReader,
    store: MemoryStore,
    mapped: bool,
    logged: Vec<Logged>,
    /// Number of logged values, from the first, that are confirmed by a sync.
    confirmed: usize,
    /// Files, as far as they were synced.
    device: BTreeMap<String, Kept>,
    /// Names of the files in the directory when it was last synced.
    named: BTreeSet<String>,
    /// Last contents of files that were deleted since the last sync.
    gone: BTreeMap<String, Vec<u8>>,
    step: i64,
    number: usize,
}

fn identity(run: u32) -> RunIdentity {
    RunIdentity {
        key: format!("{run:032}"),
        experiment: ExperimentRef::Name("e".to_owned()),
        resumed: None,
        role: Role::Owner,
    }
}

fn tell(journal: &Journal, run: u32, event: &Event<'_>, attachment: &[u8]) {
    let identity = identity(run);
    let run = RunRef {
        number: run,
        identity: &identity,
        inherited: false,
    };
    let mut written = false;
    with_writer(journal, |writer| {
        written = writer.append_event(journal, &run, event, attachment);
    });
    assert!(written, "there is room");
}

impl Life {
    fn new(folder: PathBuf, mapped: bool) -> Self {
        let origin = Origin {
            destination: "here".to_owned(),
            host: "h".to_owned(),
            process_id: 1,
            tags: Arc::default(),
        };
        let journal = Journal::unattended(folder.clone(), origin, mapped).expect("writable");
        let live = JournalReader::for_live(Arc::clone(&journal), Arc::default());
        Self {
            folder,
            journal,
            live,
            store: MemoryStore::new(),
            mapped,
            logged: Vec::new(),
            confirmed: 0,
            device: BTreeMap::new(),
            named: BTreeSet::new(),
            gone: BTreeMap::new(),
            step: 0,
            number: 0,
        }
    }

    fn start(&mut self, run: u32) {
        let start = RunStart {
            identity: Cow::Owned(identity(run)),
            name: format!("run {run}").into(),
            user: "u".into(),
            start_time_ms: 1,
            parent: None,
            tags: Vec::new(),
            with_common_tags: false,
            params: Vec::new(),
            is_delivered: false,
        };
        tell(&self.journal, run, &Event::Start(Box::new(start)), &[]);
        self.logged.push((run, Value::Start));
    }

    /// Takes one random step of a program, its shipper or the sync thread.
    fn live_on(&mut self, random: &mut Random) {
        let run = 1 + random.below(RUNS as usize) as u32;
        match random.below(20) {
            0..6 => {
                let count = if random.chance(5) {
                    3000
                } else {
                    1 + random.below(60)
                };
                self.points(run, count, random.chance(30));
            }
            6..9 => {
                let value = self.number.to_string();
                let key = format!("p{value}");
                let param = Param { key, value };
                tell(&self.journal, run, &Event::Param(Cow::Owned(param)), &[]);
                self.logged.push((run, Value::Param(self.number)));
                self.number += 1;
            }
            9..11 => {
                let value = self.number.to_string();
                let tag = Tag {
                    key: "t".to_owned(),
                    value,
                };
                tell(&self.journal, run, &Event::Tag(Cow::Owned(tag)), &[]);
                self.logged.push((run, Value::Tag(self.number)));
                self.number += 1;
            }
            11 => self.artifact(run, random.below(9000), false),
            12 => self.artifact(run, random.below(30_000), true),
            13..17 => self.sync(),
            _ => self.ship(),
        }
    }

    fn points(&mut self, run: u32, count: usize, aside: bool) {
        let steps = self.step..self.step + i64::try_from(count).expect("small");
        self.step = steps.end;
        for step in steps.clone() {
            let key = if step % 3 == 0 { "loss" } else { "own" };
            self.logged.push((run, Value::Metric(key, step)));
        }
        let journal = Arc::clone(&self.journal);
        let log = move || {
            let identity = identity(run);
            let run = RunRef {
                number: run,
                identity: &identity,
                inherited: false,
            };
            for step in steps {
                if step % 3 == 0 {
                    log_point(&journal, run, &LOSS, step);
                } else {
                    log_point(&journal, run, "own", step);
                }
            }
        };
        if aside {
            thread::spawn(log).join().expect("it does not panic");
        } else {
            log();
        }
    }

    fn artifact(&mut self, run: u32, len: usize, beside: bool) {
        let number = self.number;
        self.number += 1;
        let bytes = artifact(number, len);
        let path = format!("a{number}").into();
        if beside {
            let copy = self.journal.write_artifact(&bytes).expect("on disk");
            let Ok(copy) = copy else {
                panic!("there is room")
            };
            let event = Event::Artifact {
                path,
                kind: ArtifactKind::File,
                content: ArtifactLocation::Spooled(copy.name.into()),
                fingerprint: Some(copy.fingerprint),
            };
            tell(&self.journal, run, &event, &[]);
        } else {
            let event = Event::Artifact {
                path,
                kind: ArtifactKind::File,
                content: ArtifactLocation::Attached,
                fingerprint: None,
            };
            tell(&self.journal, run, &event, &bytes);
        }
        self.logged.push((run, Value::Artifact(number, len)));
    }

    /// Delivers one batch, as the shipper does.
    fn ship(&mut self) {
        let before = self.files();
        let runtime = tokio::runtime::Builder::new_current_thread().build();
        let runtime = runtime.expect("a runtime");
        let mut delivery = Delivery::new(Box::new(self.store.clone()), Arc::default(), true);
        let mut read_batch = self.live.read(50);
        runtime
            .block_on(delivery.deliver(&mut self.live, &mut read_batch))
            .expect("the store takes it");
        self.live.acknowledge(&read_batch);
        let now = self.files();
        let gone = before
            .into_iter()
            .filter(|(name, _)| !now.contains_key(name));
        self.gone.extend(gone);
    }

    /// Returns the files of the process's directory.
    fn files(&self) -> BTreeMap<String, Vec<u8>> {
        files(&self.journal.path().expect("on disk"))
    }

    /// Syncs the journal, and notes what the device has from now on.
    fn sync(&mut self) {
        self.journal.sync();
        let now = self.files();
        for (name, bytes) in &now {
            let kept = self.device.entry(name.clone()).or_default();
            if name.ends_with(".segment") {
                kept.keep_frames(bytes, self.mapped);
            } else if name.ends_with(".artifact") {
                kept.bytes.clone_from(bytes);
            }
        }
        self.named = now.into_keys().collect();
        self.gone.clear();
        self.confirmed = self.logged.len();
    }
}

impl Kept {
    /// Notes the bytes that `Region::sync`, or else `fdatasync`, makes durable.
    fn keep_frames(&mut self, now: &[u8], mapped: bool) {
        let (from, to) = if mapped {
            let mut end = HEADER_BYTES;
            SegmentBytes::from_bytes(now.to_vec()).for_each_whole(|body, offset| {
                end = offset + 8 + body.len().next_multiple_of(8);
            });
            let from = if self.end <= HEADER_BYTES {
                0
            } else {
                self.end
            };
            self.end = end;
            (
                from / PAGE * PAGE,
                end.next_multiple_of(PAGE).min(now.len()),
            )
        } else {
            (0, now.len())
        };
        self.bytes.resize(now.len(), 0);
        if from < to {
            self.bytes[from..to].copy_from_slice(&now[from..to]);
        }
    }
}

fn files(directory: &Path) -> BTreeMap<String, Vec<u8>> {
    let entries = fs::read_dir(directory).expect("readable").flatten();
    let read = entries.map(|entry| {
        let name = entry.file_name().to_string_lossy().into_owned();
        (name, fs::read(entry.path()).expect("readable"))
    });
    read.collect()
}

fn log_point(journal: &Journal, run: RunRef<'_>, key: impl MetricKey, step: i64) {
    with_writer(journal, |writer| {
        let point = MetricPoint {
            run,
            key,
            timestamp_ms: 1 + step,
            step,
            value: step as f64 / 2.0,
        };
        writer.append_metric(journal, point);
    });
}

/// Returns one of the states in which the device may have a file.
fn image_of(kept: &Kept, now: &[u8], random: &mut Random) -> Vec<u8> {
    let mut image = kept.bytes.clone();
    // A file's length may be older than its contents.
    let len = match random.below(4) {
        0 => kept.bytes.len(),
        1 => kept.bytes.len() + random.below(now.len().saturating_sub(kept.bytes.len()) + 1),
        _ => now.len().max(kept.bytes.len()),
    };
    image.resize(len, 0);
    let unit = if random.chance(50) { PAGE } else { SECTOR };
    let percent = [0, 10, 50, 90, 100][random.below(5)];
    for from in (0..len.min(now.len())).step_by(unit) {
        let to = (from + unit).min(len).min(now.len());
        if !random.chance(percent) {
            continue;
        }
        // Torn within the unit, between sectors.
        let torn = if unit == PAGE && random.chance(20) {
            SECTOR * random.below(PAGE / SECTOR)
        } else {
            0
        };
        let from = (from + torn).min(to);
        image[from..to].copy_from_slice(&now[from..to]);
    }
    image
}

impl Life {
    /// Writes one image below `root`.
    fn cut(&self, root: &Path, random: &mut Random) {
        let path = root.join("0123456789abcdef".repeat(2));
        fs::create_dir_all(root).expect("writable");
        user_files::create_directory(&path).expect("writable");
        let now = self.files();
        for (name, bytes) in now.iter().chain(&self.gone) {
            let is_gone = !now.contains_key(name);
            let is_there = if is_gone {
                self.named.contains(name) && random.chance(50)
            } else {
                self.named.contains(name) || random.chance(70)
            };
            if !is_there {
                continue;
            }
            let kept = self.device.get(name).cloned().unwrap_or_default();
            let image = image_of(&kept, bytes, random);
            let file = user_files::create_file(&path.join(name));
            file.and_then(|mut file| file.write_all(&image))
                .expect("writable");
        }
    }

    /// Recovers an image, and compares the store with what was logged.
    fn check(&self, root: &Path, image: &str) {
        let store = self.store.deep_copy();
        let shipped = recover_image(&store, root, 2 * self.logged.len() + 100);
        let mut found = BTreeSet::new();
        let logged: BTreeSet<&Logged> = self.logged.iter().collect();
        let mut note = |value: Logged| {
            assert!(
                logged.contains(&value),
                "{image}: nobody has logged {value:?}"
            );
            found.insert(value);
        };
        for run in store.runs() {
            let number = run
                .run_id
                .trim_start_matches('0')
                .parse()
                .expect("a run's key");
            note((number, Value::Start));
            for metric in &run.metrics {
                let key = if &*metric.key == "loss" {
                    "loss"
                } else {
                    "own"
                };
                assert_eq!(&*metric.key, key, "{image}");
                assert_eq!(metric.value * 2.0, metric.step as f64, "{image}");
                assert_eq!(metric.timestamp_ms, metric.step + 1, "{image}");
                note((number, Value::Metric(key, metric.step)));
            }
            for (key, value) in &run.params {
                assert_eq!(key[1..], *value, "{image}");
                note((number, Value::Param(value.parse().expect("a number"))));
            }
            if let Some(value) = run.tags.get("t") {
                note((number, Value::Tag(value.parse().expect("a number"))));
            }
            for (path, bytes) in &run.artifacts {
                let of = path[1..].parse().expect("a number");
                assert!(
                    *bytes == artifact(of, bytes.len()),
                    "{image}: {path} is damaged"
                );
                note((number, Value::Artifact(of, bytes.len())));
            }
        }
        let mut last_tags = BTreeMap::new();
        for (run, value) in &self.logged[..self.confirmed] {
            match value {
                // The last one counts.
                Value::Tag(tag) => drop(last_tags.insert(*run, *tag)),
                value => assert!(
                    found.contains(&(*run, value.clone())),
                    "{image}: {value:?} of run {run} was confirmed; damaged {}, held {}",
                    shipped.stats.damaged.get(),
                    shipped.stats.blocked.get()
                ),
            }
        }
        for (run, last) in last_tags {
            let newest = found.iter().find_map(|(of, value)| match value {
                Value::Tag(tag) if *of == run => Some(*tag),
                _ => None,
            });
            assert!(
                newest >= Some(last),
                "{image}: tag {newest:?}, confirmed {last}"
            );
        }
        // A value that is missing between two delivered values of a file has to be counted as damaged.
        if shipped.is_claimed && shipped.stats.damaged.get() == 0 && self.gone.is_empty() {
            for (name, bytes) in self.files() {
                if !name.ends_with(".segment") {
                    continue;
                }
                let mut missing = None;
                SegmentBytes::from_bytes(bytes).for_each_whole(|body, _| {
                    if let Some(Record::Metric(metric)) = Record::decode(body) {
                        let key = if metric.step % 3 == 0 { "loss" } else { "own" };
                        let value = (metric.run, Value::Metric(key, metric.step));
                        if !found.contains(&value) {
                            missing = Some(value);
                        } else {
                            assert_eq!(
                                missing, None,
                                "{image}: a gap in {name} that nobody counted"
                            );
                        }
                    }
                });
            }
        }
    }
}

#[test]
fn whatever_a_loss_of_power_leaves_what_was_confirmed_arrives() {
    let number = |name: &str| std::env::var(name).ok().and_then(|text| text.parse().ok());
    let images = number("MLFLOW_TEST_IMAGES").unwrap_or(200);
    let seed = number("MLFLOW_TEST_SEED");
    let seed = seed.unwrap_or(1);
    println!("MLFLOW_TEST_SEED={seed}");
    let mut random = Random(seed);
    let folder = std::env::temp_dir().join(format!("mlflow-runtime-test-{}", uuid::Uuid::new_v4()));
    let mut made = 0;
    while made < images {
        let mut life = Life::new(folder.join("life"), random.chance(75));
        (1..=RUNS).for_each(|run| life.start(run));
        for _ in 0..3 {
            for _ in 0..1 + random.below(20) {
                life.live_on(&mut random);
            }
            for _ in 0..8 {
                let root = folder.join("image");
                life.cut(&root, &mut random);
                life.check(&root, &format!("seed {seed}, image {made}"));
                fs::remove_dir_all(&root).expect("it is ours");
                made += 1;
            }
        }
        release_thread(&life.journal);
        fs::remove_dir_all(&life.folder).expect("it is ours");
    }
    fs::remove_dir_all(folder).expect("it is ours");
}
