//! [`ChunkSeries`]: the numbers of the chunks of rows that a process logs to the tables of a run.
//!
//! Invariants: the numbers of one table have no gaps, so that those which have arrived are few ranges. No two processes
//! share a series.

use std::sync::Mutex;

use rustc_hash::FxHashMap;

use crate::model::TableChunk;
use crate::os::fork::PerProcess;
use crate::sync::lock;

/// Series of chunks of one run, one for each table. A forked process has series of its own.
#[derive(Debug, Default)]
pub(super) struct ChunkSeries(PerProcess<Mutex<FxHashMap<String, Series>>>);

#[derive(Debug)]
struct Series {
    id: u64,
    next_number: u64,
}

impl Default for Series {
    fn default() -> Self {
        Self {
            id: uuid::Uuid::new_v4().as_u64_pair().0,
            next_number: 0,
        }
    }
}

impl ChunkSeries {
    /// Returns the next chunk of the table at `path`, with this number of rows.
    pub(super) fn next_chunk(&self, path: &str, rows: usize) -> TableChunk {
        let mut series = lock(self.0.get());
        let Series { id, next_number } = series.entry(path.to_owned()).or_default();
        let number = *next_number;
        *next_number += 1;
        TableChunk {
            series: *id,
            number,
            rows,
        }
    }
}
