//! Images in the cells of tables.
//!
//! Invariants: an image is logged before the row that it belongs to. A cell whose image cannot be logged is `null`, with
//! a warning, and the rest of the row is logged.
//!
//! A row is a value of any type that implements `Serialize`, and an image is a part of it. `Serialize` writes what
//! refers to the image in place of the image, as `log_table` of MLflow's Python client does (`mlflow/tracking/client.py`),
//! and the thread keeps the image until the row is written.

use std::borrow::Cow;
use std::cell::RefCell;

use serde::ser::Error as _;
use serde::{Serialize, Serializer};

use super::handle::LiveRun;
use super::image::Image;
use super::table;
use crate::model::ImagePlace;

/// Folder of a run's images in tables.
const TABLE_IMAGES: &str = "table_images";

thread_local! {
    /// Images of the row that the thread writes; `None` while it writes no row.
    static IMAGES: RefCell<Option<RowImages>> = const { RefCell::new(None) };
}

/// Images of one row.
#[derive(Debug)]
struct RowImages {
    /// Folder of the table's images.
    folder: String,
    images: Vec<(CellReference, Image<'static>)>,
}

/// Value of a cell that refers to an image.
#[derive(Clone, Debug, Serialize)]
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

impl Serialize for Image<'_> {
    /// Writes a reference to the image into a cell of the table that is being logged.
    ///
    /// # Errors
    /// Returns an error outside [`log_table`](crate::log_table()), because nothing else keeps the pixels.
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        let add = |images: &mut Option<RowImages>| {
            let images = images.as_mut()?;
            let reference = CellReference::new(&images.folder);
            images
                .images
                .push((reference.clone(), self.to_owned_image()));
            Some(reference)
        };
        let added = IMAGES.try_with(|images| add(&mut images.borrow_mut()));
        match added {
            Ok(Some(reference)) => reference.serialize(serializer),
            Ok(None) | Err(_) => Err(S::Error::custom(
                "an image has no JSON form: log it with `log_image`, or in a row of `log_table`",
            )),
        }
    }
}

impl LiveRun<'_> {
    /// Logs the images of the row number `index` of a call, and appends the row as a line.
    ///
    /// # Errors
    /// Returns the reason if the row cannot be written. Its images are not logged then.
    pub(super) fn write_row_and_images<T: Serialize>(
        &self,
        row: &T,
        lines: &mut Vec<u8>,
        table_path: &str,
        index: usize,
    ) -> Result<(), Cow<'static, str>> {
        let start = lines.len();
        let stem = table_path.strip_suffix(".json").unwrap_or(table_path);
        let outer = exchange(Some(RowImages {
            folder: format!("{TABLE_IMAGES}/{stem}"),
            images: Vec::new(),
        }));
        let written = table::write_row(row, lines);
        let images = exchange(outer).map(|row| row.images);
        written?;
        let images = images.unwrap_or_default();
        if let [(reference, _)] = &images[..] {
            wrap_plain_image(reference, lines, start);
        }
        for (reference, image) in images {
            let logged = self.try_log_content(&image, &reference.filepath, ImagePlace::TableCell);
            if let Err(fault) = logged {
                self.tracker.warn_rejected(
                    "image of the table",
                    table_path,
                    format_args!("its cell in row {index} is null: {fault}"),
                );
                write_null(&reference, lines, start);
            }
        }
        Ok(())
    }
}

/// Replaces the images of the row that the thread writes.
fn exchange(images: Option<RowImages>) -> Option<RowImages> {
    // A thread that ends has no such list any more, and then an image in a row is an error.
    IMAGES.try_with(|own| own.replace(images)).ok().flatten()
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

/// Replaces a reference by `null` in the last line, which begins at `start`.
fn write_null(reference: &CellReference, lines: &mut Vec<u8>, start: usize) {
    // The path of the image is unique, so its text is in no other value.
    if let Ok(text) = serde_json::to_vec(reference)
        && let Some(at) = (start..lines.len()).find(|at| lines[*at..].starts_with(&text))
    {
        lines.splice(at..at + text.len(), *b"null");
    }
}
