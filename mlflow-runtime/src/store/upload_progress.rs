//! [`Uploads`]: the artifacts that are being uploaded, with the bytes that were sent, and [`UploadProgress`], as a
//! person sees it.
//!
//! The bytes are counted where they are sent, deep in a store. A task-local value names the upload to which they
//! belong, so that no store has to hand it down. An upload whose store counts nothing is not shown.

use std::fmt;
use std::sync::atomic::{AtomicBool, AtomicU64, AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

use crate::sync::lock;

/// Time after which an upload is shown.
pub(crate) const SHOWN_AFTER: Duration = Duration::from_secs(2);

tokio::task_local! {
    static CURRENT: Arc<TrackedUpload>;
}

/// Uploads in progress of one shipper.
#[derive(Default)]
pub(crate) struct Uploads {
    in_progress: Mutex<Vec<Arc<TrackedUpload>>>,
    /// Number of files that are not uploaded yet, those in progress included.
    pending: AtomicUsize,
}

/// Upload of one artifact.
pub(crate) struct TrackedUpload {
    path: String,
    total_bytes: u64,
    sent_bytes: AtomicU64,
    is_counted: AtomicBool,
    started: Instant,
}

impl Uploads {
    /// Carries out an upload, which is in progress until `upload` ends or is dropped.
    pub(crate) async fn track<R>(
        &self,
        path: &str,
        total_bytes: u64,
        upload: impl Future<Output = R>,
    ) -> R {
        let of_artifact = Arc::new(TrackedUpload {
            path: path.to_owned(),
            total_bytes,
            sent_bytes: AtomicU64::new(0),
            is_counted: AtomicBool::new(false),
            started: Instant::now(),
        });
        lock(&self.in_progress).push(Arc::clone(&of_artifact));
        let _entry = UploadEntry(self, Arc::clone(&of_artifact));
        CURRENT.scope(of_artifact, upload).await
    }

    /// Sets the number of files that are not uploaded yet, those in progress included.
    pub(crate) fn set_pending(&self, files: usize) {
        self.pending.store(files, Ordering::Relaxed);
    }

    /// Returns the progress of the upload that has the most bytes left, among those that are to be shown.
    pub(crate) fn progress(&self) -> Option<UploadProgress> {
        let in_progress = lock(&self.in_progress);
        let is_shown = |upload: &&Arc<TrackedUpload>| {
            upload.is_counted.load(Ordering::Relaxed) && upload.started.elapsed() >= SHOWN_AFTER
        };
        let largest = { in_progress.iter().filter(is_shown) }
            .max_by_key(|upload| upload.total_bytes.saturating_sub(upload.sent()))?;
        let pending = self.pending.load(Ordering::Relaxed);
        Some(UploadProgress {
            path: largest.path.clone(),
            sent_bytes: largest.sent(),
            total_bytes: largest.total_bytes,
            elapsed: largest.started.elapsed(),
            waiting_files: pending.max(in_progress.len()).saturating_sub(1),
        })
    }
}

/// Entry of an upload in [`Uploads`].
struct UploadEntry<'u>(&'u Uploads, Arc<TrackedUpload>);

impl Drop for UploadEntry<'_> {
    fn drop(&mut self) {
        lock(&self.0.in_progress).retain(|upload| !Arc::ptr_eq(upload, &self.1));
    }
}

impl TrackedUpload {
    /// Returns the upload to which the calling task belongs.
    pub(super) fn current() -> Option<Arc<Self>> {
        CURRENT.try_with(Arc::clone).ok()
    }

    /// Counts bytes that were sent.
    pub(super) fn add(&self, bytes: u64) {
        self.is_counted.store(true, Ordering::Relaxed);
        self.sent_bytes.fetch_add(bytes, Ordering::Relaxed);
    }

    /// Counts bytes no longer, because they are sent again.
    pub(super) fn take_back(&self, bytes: u64) {
        self.sent_bytes.fetch_sub(bytes, Ordering::Relaxed);
    }

    fn sent(&self) -> u64 {
        self.sent_bytes
            .load(Ordering::Relaxed)
            .min(self.total_bytes)
    }
}

/// Progress of an artifact's upload. Its `Display` is the line that a person sees, such as
/// `uploading model.bin: 1.2 of 2.0 GiB, 110.0 MiB/s, 8 s left; 3 files wait`. See [`Recovery`](crate::Recovery) for an
/// example.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct UploadProgress {
    /// Path of the artifact in its run.
    pub path: String,
    /// Number of bytes that were sent.
    pub sent_bytes: u64,
    /// Length of the artifact in bytes.
    pub total_bytes: u64,
    /// Time since the beginning of the upload.
    pub elapsed: Duration,
    /// Number of other files that are not uploaded yet, as far as it is known.
    pub waiting_files: usize,
}

impl UploadProgress {
    /// Returns the line with at most `columns` characters. A long path is cut at its beginning.
    pub(crate) fn to_line(&self, columns: usize) -> String {
        let line = self.to_string();
        // A character of another script may take two columns.
        let width = |text: &str| -> usize {
            { text.chars() }
                .map(|c| if c.is_ascii() { 1 } else { 2 })
                .sum()
        };
        let excess = width(&line).saturating_sub(columns);
        if excess == 0 {
            return line;
        }
        let mut path = self.path.as_str();
        while !path.is_empty() && width(path) + excess + 2 > width(&self.path) {
            path = path
                .get(path.chars().next().map_or(0, char::len_utf8)..)
                .unwrap_or_default();
        }
        let shorter = Self {
            path: format!("…{path}"),
            ..self.clone()
        };
        let line = shorter.to_string();
        let mut left = columns;
        line.chars()
            .take_while(|c| {
                let taken = if c.is_ascii() { 1 } else { 2 };
                let fits = taken <= left;
                left = left.saturating_sub(taken);
                fits
            })
            .collect()
    }
}

impl fmt::Display for UploadProgress {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let (unit, name) = unit_of(self.total_bytes);
        let in_unit = |bytes: u64| bytes as f64 / unit as f64;
        let path: String = { self.path.chars() }
            .map(|c| if c.is_control() { '?' } else { c })
            .collect();
        let digits = usize::from(unit > 1);
        write!(
            f,
            "uploading {path}: {:.digits$} of {:.digits$} {name}",
            in_unit(self.sent_bytes),
            in_unit(self.total_bytes)
        )?;
        let rate = self.sent_bytes as f64 / self.elapsed.as_secs_f64().max(0.001);
        if rate >= 1.0 {
            let (unit, name) = unit_of(rate as u64);
            let left = self.total_bytes.saturating_sub(self.sent_bytes) as f64 / rate;
            let rate = rate / unit as f64;
            write!(f, ", {rate:.1} {name}/s, {} left", describe_seconds(left))?;
        }
        match self.waiting_files {
            0 => Ok(()),
            1 => f.write_str("; 1 file waits"),
            files => write!(f, "; {files} files wait"),
        }
    }
}

/// Returns the unit in which a number of bytes is shown, in bytes, and its name.
fn unit_of(bytes: u64) -> (u64, &'static str) {
    match bytes {
        0..0x400 => (1, "B"),
        0x400..0x10_0000 => (1 << 10, "KiB"),
        0x10_0000..0x4000_0000 => (1 << 20, "MiB"),
        _ => (1 << 30, "GiB"),
    }
}

// Input:  8.4; 150.0; 7300.0
// Output: `8 s`; `2 min 30 s`; `2 h 1 min`
fn describe_seconds(seconds: f64) -> String {
    // A cast of a float is saturating.
    let seconds = seconds.round() as u64;
    match seconds {
        0..60 => format!("{seconds} s"),
        60..3600 => format!("{} min {} s", seconds / 60, seconds % 60),
        _ => format!("{} h {} min", seconds / 3600, seconds % 3600 / 60),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn progress(path: &str, sent_bytes: u64, total_bytes: u64, seconds: u64) -> UploadProgress {
        UploadProgress {
            path: path.to_owned(),
            sent_bytes,
            total_bytes,
            elapsed: Duration::from_secs(seconds),
            waiting_files: 0,
        }
    }

    #[test]
    fn a_line_says_what_is_sent_and_how_long_it_takes() {
        let two_gib = progress("model.bin", 3 << 29, 2 << 30, 12);
        let line = "uploading model.bin: 1.5 of 2.0 GiB, 128.0 MiB/s, 4 s left";
        assert_eq!(two_gib.to_string(), line);
        let waiting = UploadProgress {
            waiting_files: 3,
            ..two_gib
        };
        assert_eq!(waiting.to_string(), format!("{line}; 3 files wait"));
        let stalled = progress("a\nb", 0, 10, 3);
        assert_eq!(stalled.to_string(), "uploading a?b: 0 of 10 B");
        assert_eq!(
            progress("m", 1 << 20, 1 << 40, 1).to_string(),
            "uploading m: 0.0 of 1024.0 GiB, 1.0 MiB/s, 291 h 16 min left"
        );
    }

    #[test]
    fn a_line_fits_the_terminal() {
        let long = progress(&format!("{}end.bin", "名".repeat(200)), 1 << 20, 2 << 20, 1);
        for columns in [1, 20, 60, 79, 200] {
            let line = long.to_line(columns);
            let width: usize = line.chars().map(|c| if c.is_ascii() { 1 } else { 2 }).sum();
            assert!(width <= columns, "{columns}: {line}");
            assert_eq!(
                line.contains("end.bin: 1.0 of 2.0 MiB"),
                columns >= 60,
                "{line}"
            );
        }
    }
}
