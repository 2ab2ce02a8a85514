//! Images in the cells of tables.
//!
//! Invariants: an image is logged before the row that it belongs to. A cell whose image cannot be copied is `null`, with
//! a warning, and the rest of the row is logged. The copies of a row that is not logged are removed.
//!
//! A row is a value of any type that implements `Serialize`, and an image is a part of it. While [`LiveRun::log_table`]
//! writes a row, an image copies its content, and writes what refers to it, as `log_table` of MLflow's Python client does
//! (`mlflow/tracking/client.py`). The thread keeps the copies until the row is written.

use std::borrow::Cow;
use std::cell::RefCell;
use std::sync::Arc;

use serde::{Serialize, Serializer};

use super::artifact::Prepared;
use super::handle::LiveRun;
use super::image::Image;
use super::table_row::write_row;
use crate::model::{ArtifactKind, ImagePlace};
use crate::tracker::Tracker;
use crate::warnings::warn_user;

/// Folder of a run's images in tables.
const TABLE_IMAGES: &str = "table_images";

thread_local! {
    /// Images of the row that the thread writes; `None` while it writes no row.
    static IMAGES: RefCell<Option<RowImages>> = const { RefCell::new(None) };
}

/// Images of one row, after another of the same table.
pub(super) struct RowImages {
    tracker: Arc<Tracker>,
    /// Folder of the table's images.
    folder: String,
    prepared: Vec<PreparedImage>,
    /// Reasons why images could not be copied.
    faults: Vec<Cow<'static, str>>,
}

/// Image that is copied, and not named by an event yet.
struct PreparedImage {
    reference: CellReference,
    kind: ArtifactKind,
    content: Prepared<'static>,
}

/// Value of a cell that refers to an image.
#[derive(Clone, Serialize)]
struct CellReference {
    #[serde(rename = "type")]
    kind: &'static str,
    filepath: String,
    compressed_filepath: String,
}

impl CellReference {
    /// Returns a reference to a new image in a folder.
    fn new(folder: &str) -> Self {
        let stem = format!("{folder}/{}", uuid::Uuid::new_v4());
        Self {
            kind: "image",
            filepath: format!("{stem}.png"),
            compressed_filepath: format!("{stem}.webp"),
        }
    }
}

impl RowImages {
    /// Creates the images of a row that has none yet, in the table at a path.
    pub(super) fn new(run: LiveRun<'_>, table_path: &str) -> Self {
        let stem = table_path.strip_suffix(".json").unwrap_or(table_path);
        Self {
            tracker: Arc::clone(run.tracker),
            folder: format!("{TABLE_IMAGES}/{stem}"),
            prepared: Vec::new(),
            faults: Vec::new(),
        }
    }

    /// Copies an image. Returns what refers to it, or `None` if it could not be copied.
    fn add(&mut self, image: &Image<'_>) -> Option<CellReference> {
        match image.prepare(self.tracker.journal(), ImagePlace::TableCell) {
            Ok((kind, content)) => {
                let reference = CellReference::new(&self.folder);
                self.prepared.push(PreparedImage {
                    reference: reference.clone(),
                    kind,
                    content: content.into_owned(),
                });
                Some(reference)
            }
            Err(fault) => {
                self.faults.push(fault);
                None
            }
        }
    }
}

impl Serialize for Image<'_> {
    /// Writes a reference to the image into a row of [`log_table`](crate::log_table()). Anywhere else, it writes the size of
    /// the image or the path of its file as text, with a warning, because the pixels are lost there.
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        let add = |images: &RefCell<Option<RowImages>>| {
            let mut images = images.try_borrow_mut().ok()?;
            Some(images.as_mut()?.add(self))
        };
        match IMAGES.try_with(add).ok().flatten() {
            Some(Some(reference)) => reference.serialize(serializer),
            Some(None) => serializer.serialize_none(),
            None => {
                warn_user(format_args!(
                    "an image ({self}) was written as a text, so its pixels are not kept: give the image to log_image, or to log_table \
                     in a struct or map"
                ));
                serializer.collect_str(self)
            }
        }
    }
}

impl LiveRun<'_> {
    /// Appends the row number `index` of a call as a line, and logs its images before. `images` has none.
    ///
    /// # Errors
    /// Returns the reason if the row cannot be written. Its images are not logged then.
    pub(super) fn write_row_and_images<T: Serialize>(
        &self,
        row: &T,
        lines: &mut Vec<u8>,
        images: &mut Option<RowImages>,
        table_path: &str,
        index: usize,
    ) -> Result<(), Cow<'static, str>> {
        let start = lines.len();
        let outer = exchange(images.take());
        let written = write_row(row, lines);
        *images = exchange(outer);
        let Some(images) = images else {
            return written;
        };
        let prepared = images.prepared.drain(..);
        if written.is_err() {
            images.faults.clear();
            prepared.for_each(|image| image.content.discard(self.tracker.journal()));
            return written;
        }
        if let [image] = prepared.as_slice() {
            wrap_plain_image(&image.reference, lines, start);
        }
        for image in prepared {
            self.log_prepared(image.kind, &image.reference.filepath, image.content);
        }
        for fault in images.faults.drain(..) {
            self.tracker.warn_rejected(
                "image of the table",
                table_path,
                format_args!(
                    "a cell of row {index} is null, and no further such cells of the table are told: {fault}"
                ),
            );
        }
        Ok(())
    }
}

/// Replaces the images of the row that the thread writes.
fn exchange(images: Option<RowImages>) -> Option<RowImages> {
    // A thread that ends has no such list any more, and then an image in a row is a text.
    let replace = |own: &RefCell<Option<RowImages>>| {
        let mut own = own.try_borrow_mut().ok()?;
        std::mem::replace(&mut *own, images)
    };
    IMAGES.try_with(replace).ok().flatten()
}

/// Makes a row that is nothing but an image a row of one column, as any plain value is one.
fn wrap_plain_image(reference: &CellReference, lines: &mut Vec<u8>, start: usize) {
    if let Ok(text) = serde_json::to_vec(reference)
        && lines.get(start..).and_then(|line| line.strip_suffix(b"\n")) == Some(&text)
    {
        lines.insert(start, b'[');
        lines.insert(lines.len() - 1, b']');
    }
}
