//! Single steps on the way of a value, which `benches/parts.rs` measures one by one. Not part of the public
//! API: the module exists only with the feature `__bench`.

use std::fs;
use std::path::Path;
use std::sync::Arc;

use crate::journal::record::{Origin, Record};
use crate::journal::segment::mapped::HEADER_BYTES;
use crate::journal::segment::{Frame, Segment};
use crate::journal::{self, Journal, MetricPoint, RunRef};
use crate::model::metric_key::Key;
use crate::model::{ExperimentRef, Metric};
use crate::model::{Role, RunIdentity};
use crate::store::{Batch, rest_bodies};

static LOSS: Key = Key::new("loss");

/// A journal without a shipper.
pub struct Appending {
    journal: Arc<Journal>,
    identity: RunIdentity,
}

impl Appending {
    /// Creates a journal in a directory below `root`.
    ///
    /// # Panics
    /// If `root` cannot be written.
    #[must_use]
    pub fn below(root: &Path) -> Self {
        let origin = Origin {
            destination: "nowhere".to_owned(),
            host: String::new(),
            process_id: std::process::id(),
            tags: Arc::default(),
        };
        Self {
            journal: Journal::on_disk(root.to_owned(), origin, u64::MAX, "")
                .expect("the root can be written"),
            identity: RunIdentity {
                key: "k".repeat(32),
                experiment: ExperimentRef::Name("parts".to_owned()),
                resumed: None,
                role: Role::Owner,
            },
        }
    }

    /// Appends one point of a metric.
    pub fn append(&self, time_ms: i64, step: i64) {
        let run = RunRef {
            number: 1,
            identity: &self.identity,
            inherited: false,
        };
        let point = MetricPoint {
            run,
            key: &LOSS,
            timestamp_ms: time_ms,
            step,
            value: 0.5,
        };
        journal::append_metric(&self.journal, point);
    }

    /// Returns the directory of the journal.
    ///
    /// # Panics
    /// If the journal is in memory.
    #[must_use]
    pub fn path(&self) -> std::path::PathBuf {
        self.journal.path().expect("it is on disk")
    }

    /// Reads the whole journal as a recovery does, and returns its number of points.
    ///
    /// # Panics
    /// If the journal's files cannot be read.
    #[must_use]
    pub fn scan(&self) -> usize {
        let directory = self.journal.path().expect("it is on disk");
        let files = fs::read_dir(directory).expect("it can be read");
        let files = files.map(|file| file.expect("it can be read").path());
        files
            .filter(|file| file.extension().is_some_and(|name| name == "segment"))
            .map(|file| points_of(file.as_path()))
            .sum()
    }
}

fn points_of(file: &Path) -> usize {
    let segment = Segment::open_orphaned(file.to_owned()).expect("it can be read");
    let bytes = segment.read().expect("it can be read");
    let (mut points, mut offset) = (0, HEADER_BYTES);
    while let Frame::Whole { body, next } = bytes.frame(offset) {
        points += usize::from(matches!(Record::decode(body), Some(Record::Metric(_))));
        offset = next;
    }
    points
}

/// Returns the length, in bytes, of the request bodies that send these points to a server.
#[must_use]
pub fn encode(metrics: &[Metric]) -> usize {
    let batch = Batch {
        metrics,
        ..Batch::default()
    };
    rest_bodies(&"r".repeat(32), &batch)
        .iter()
        .map(Vec::len)
        .sum()
}
