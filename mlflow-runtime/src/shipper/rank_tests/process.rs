//! Simulated processes of a launch, and the journals that they leave.

use std::borrow::Cow;
use std::fs;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::{Duration, Instant};

use crate::journal::directory::{Directory, OrphanedJournals};
use crate::journal::record::{Event, Origin, RunStart};
use crate::journal::{Journal, MetricPoint, RunRef, release_thread, with_writer};
use crate::model::{ExperimentRef, RunStatus, Tag};
use crate::model::{Role, RunIdentity};
use crate::shipper::JournalReader;

/// A process of the launch, with its journal.
pub(super) struct Process {
    folder: Arc<Folder>,
    pub(super) journal: Arc<Journal>,
    pub(super) identity: RunIdentity,
    start_time_ms: i64,
}

/// A temporary folder of one test, removed when it is dropped.
pub(super) struct Folder(PathBuf);

impl Folder {
    pub(super) fn new() -> Arc<Self> {
        let name = format!("mlflow-runtime-test-{}", uuid::Uuid::new_v4());
        Arc::new(Self(std::env::temp_dir().join(name)))
    }

    pub(super) fn left_behind(&self) -> OrphanedJournals {
        Directory::find_orphaned(&self.0, "here")
    }
}

impl Drop for Folder {
    fn drop(&mut self) {
        let _ = fs::remove_dir_all(&self.0);
    }
}

/// The orphaned journal of a terminated process.
pub(super) struct Left {
    pub(super) _folder: Arc<Folder>,
    pub(super) reader: JournalReader,
}

impl Process {
    pub(super) fn start(role: Role) -> Self {
        Self::start_at(1, role)
    }

    pub(super) fn start_at(start_time_ms: i64, role: Role) -> Self {
        Self::start_in(&Folder::new(), start_time_ms, role)
    }

    pub(super) fn start_in(folder: &Arc<Folder>, start_time_ms: i64, role: Role) -> Self {
        let origin = Origin {
            destination: "here".to_owned(),
            host: "h".to_owned(),
            process_id: 1,
            tags: Arc::default(),
        };
        let folder = Arc::clone(folder);
        let journal = Journal::on_disk(folder.0.clone(), origin, 1 << 30, "").expect("writable");
        let identity = RunIdentity {
            key: "k".repeat(32),
            experiment: ExperimentRef::Name("e".to_owned()),
            resumed: None,
            role,
        };
        let process = Self {
            folder,
            journal,
            identity,
            start_time_ms,
        };
        process.log_start(&process.run());
        process
    }

    pub(super) fn log_start(&self, run: &RunRef<'_>) {
        let tag = Tag {
            key: "attempt".to_owned(),
            value: self.attempt(),
        };
        let start = RunStart {
            identity: Cow::Borrowed(run.identity),
            name: "run".into(),
            user: "u".into(),
            start_time_ms: self.start_time_ms,
            parent: None,
            tags: vec![Cow::Owned(tag)],
            with_common_tags: false,
            is_delivered: false,
            params: Vec::new(),
        };
        self.log_to(run, &Event::Start(Box::new(start)));
    }

    pub(super) fn attempt(&self) -> String {
        self.folder.0.display().to_string()
    }

    pub(super) fn log(&self, event: &Event<'_>) {
        self.log_to(&self.run(), event);
    }

    pub(super) fn log_to(&self, run: &RunRef<'_>, event: &Event<'_>) {
        with_writer(&self.journal, |writer| {
            writer.append_event(&self.journal, run, event, &[]);
        });
    }

    pub(super) fn log_metric(&self, step: i64) {
        self.log_metric_to(&self.run(), step);
    }

    pub(super) fn log_metric_to(&self, run: &RunRef<'_>, step: i64) {
        with_writer(&self.journal, |writer| {
            writer.append_metric(
                &self.journal,
                MetricPoint {
                    run: *run,
                    key: "loss",
                    timestamp_ms: 7,
                    step,
                    value: 0.5,
                },
            );
        });
    }

    pub(super) fn end(&self, status: RunStatus) {
        let end_time_ms = self.start_time_ms + 8;
        self.log(&Event::End {
            status,
            end_time_ms,
        });
    }

    pub(super) fn run(&self) -> RunRef<'_> {
        RunRef {
            number: 1,
            identity: &self.identity,
            inherited: false,
        }
    }

    pub(super) fn reader(&self) -> JournalReader {
        JournalReader::for_live(Arc::clone(&self.journal), Arc::default())
    }

    pub(super) fn die(self) -> Left {
        release_thread(&self.journal);
        drop(self.journal);
        let begun = Instant::now();
        // The sync thread may still hold the journal for a moment.
        loop {
            if let Some(left) = self.folder.left_behind().next() {
                return Left {
                    _folder: self.folder,
                    reader: JournalReader::for_orphan(left),
                };
            }
            assert!(begun.elapsed() < Duration::from_secs(60), "nothing is left");
            std::thread::yield_now();
        }
    }
}
