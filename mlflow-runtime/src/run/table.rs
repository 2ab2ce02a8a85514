//! Tables on their way into the journal: each row as a line of JSON.
//!
//! Invariants: a row that cannot be written as JSON is left out with a warning, and costs no other row. Two
//! processes of one run do not append to the same table.
//!
//! With the feature `image`, a row may hold images: see `table_images`.

use std::borrow::Cow;

use serde::Serialize;

use super::handle::LiveRun;
#[cfg(feature = "image")]
use super::table_images::RowImages;
#[cfg(not(feature = "image"))]
use super::table_row::write_row;
use crate::model::{ArtifactKind, limits};
use crate::warnings::warn_user;

/// Size, in bytes, at which the rows of one call continue in a further artifact.
const MAX_CHUNK_BYTES: usize = 4 << 20;

/// Characters in paths of tables by which Python's client and the page would not find the table.
const FORBIDDEN: [char; 9] = ['"', '\'', ',', ':', '[', ']', '{', '}', '?'];

impl LiveRun<'_> {
    /// Logs rows, to be appended to the table `artifact_file`.
    pub(super) fn log_table<T: Serialize>(
        &self,
        rows: impl IntoIterator<Item = T>,
        artifact_file: &str,
    ) {
        let Some(path) = self.table_path(artifact_file) else {
            return;
        };
        #[cfg(feature = "image")]
        let mut images = Some(RowImages::new(*self, &path));
        let (mut lines, mut count, mut is_begun) = (Vec::new(), 0, false);
        for (index, row) in rows.into_iter().enumerate() {
            let before = lines.len();
            #[cfg(feature = "image")]
            let written = self.write_row_and_images(&row, &mut lines, &mut images, &path, index);
            #[cfg(not(feature = "image"))]
            let written = write_row(&row, &mut lines);
            if let Err(fault) = written {
                lines.truncate(before);
                self.tracker.warn_rejected(
                    "row of the table",
                    &path,
                    format_args!("row {index} is left out: {fault}"),
                );
                continue;
            }
            count += 1;
            if lines.len() >= MAX_CHUNK_BYTES {
                self.log_rows(&path, std::mem::take(&mut count), &lines);
                lines.clear();
                is_begun = true;
            }
        }
        // A table without rows is a table.
        if count > 0 || !is_begun {
            self.log_rows(&path, count, &lines);
        }
    }

    fn log_rows(&self, path: &str, rows: usize, lines: &[u8]) {
        let chunk = self.chunk_series().next_chunk(path, rows);
        let kind = ArtifactKind::TableRows(chunk);
        self.log_artifact_bytes(kind, lines, path);
    }

    /// Returns the path of the table that the calling process appends to, and logs a warning if it is not the
    /// given one because MLflow would not find a table there. Returns `None` for a table that is rejected, because no
    /// store can keep its path.
    fn table_path(&self, artifact_file: &str) -> Option<String> {
        let trimmed = artifact_file.trim_matches('/');
        let stem = trimmed.strip_suffix(".json").unwrap_or(trimmed);
        // Before characters are replaced, as a credential is known by those around it.
        let masked = limits::mask_key(stem);
        let is_masked = masked.is_some();
        let mut path = masked.unwrap_or_else(|| stem.to_owned());
        if is_masked || path.contains(FORBIDDEN) {
            // The hash keeps two such tables from becoming one.
            let hash = crc32c::crc32c(trimmed.as_bytes());
            path = format!("{}_{hash:08x}", path.replace(FORBIDDEN, "_"));
        }
        if path.is_empty() {
            "table".clone_into(&mut path);
        }
        path.push_str(".json");
        let stored = self.stored_path("table", &path)?;
        if path != artifact_file {
            warn_user(format_args!(
                "table {artifact_file:?} is stored as {path:?}: MLflow finds tables whose paths are relative, end in \
                 .json and hold neither credentials nor the characters {}",
                FORBIDDEN.iter().collect::<String>()
            ));
        }
        let owner = match self.journal_ref().identity.role.member_rank() {
            Some(rank) => Cow::Owned(format!("rank-{rank}")),
            None if self.is_inherited() => Cow::Owned(format!("process-{}", std::process::id())),
            None => Cow::Borrowed(""),
        };
        Some(match stored.strip_suffix(".json") {
            Some(stem) if !owner.is_empty() => format!("{stem}-{owner}.json"),
            _ => stored.into_owned(),
        })
    }
}
