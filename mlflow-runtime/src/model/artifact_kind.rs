//! [`ArtifactKind`]: what the bytes of an artifact are, and what a store makes of them.

use mlflow_rules::to_hex;
use ring::digest::{self, SHA256};
use serde::{Deserialize, Serialize};

use crate::model::checkpoint::CheckpointCall;
use crate::model::logged_model::ModelPath;

/// Kind of an artifact in the journal. Every kind is spooled, deferred, kept and sent again in the same way;
/// the kind decides what is sent to the store.
///
/// The name of a variant is a part of the journal's format. An event with a kind that a version does not know
/// stays in its file, for a newer version.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub(crate) enum ArtifactKind {
    /// File, stored as it is.
    #[default]
    File,
    /// Rows of a table, appended to the table at the path: JSON, one row a line.
    TableRows(TableChunk),
    /// Pixels of an image, encoded as PNG when the image is sent.
    Image(ImageLayout),
    /// File of an image in any form that is known, converted to PNG when the image is sent.
    ImageFile {
        /// Place of the image.
        place: ImagePlace,
    },
    /// Dataset, an input of the run. Its bytes are a [`DatasetRecord`](crate::model::dataset::DatasetRecord), and
    /// its path is a [`dataset_path`](Self::dataset_path).
    Dataset,
    /// File of a logged model. Its path is a [`ModelPath`] with a file.
    ModelFile,
    /// Logged model, of which all files come before it. Its bytes are a
    /// [`ModelRecord`](crate::model::logged_model::ModelRecord), and its path is a [`ModelPath`] without a file.
    Model,
    /// File of a checkpoint.
    CheckpointFile(CheckpointCall),
    /// End of a checkpoint, of which all files come before it. Its bytes are the
    /// [`CheckpointFiles`](crate::model::checkpoint::CheckpointFiles), and its path is that of the checkpoint.
    Checkpoint(CheckpointCall),
    /// Logged model that is an output of the run, by hand. Its path is the id of the model, and its bytes are the
    /// step as text.
    ModelOutput,
    /// Logged model that is an input of the run. Its path is the id of the model, and it has no bytes.
    ModelInput,
}

/// Names that are independent of all other names.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub(crate) enum PathNamespace {
    /// Paths among the artifacts of a run.
    Artifacts,
    /// Datasets of a run.
    Datasets,
    /// Files and records of models.
    Models,
    /// Ids of models that are outputs of a run.
    ModelOutputs,
    /// Ids of models that are inputs of a run.
    ModelInputs,
}

/// Rows that one call has logged to a table.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub(crate) struct TableChunk {
    /// Random number of the series of chunks that one process logs to one table.
    pub(crate) series: u64,
    /// Position in the series, by which the rows are recognized when they are sent again.
    pub(crate) number: u64,
    /// Number of rows.
    pub(crate) rows: usize,
}

/// Form in which the journal has an image.
#[derive(Clone, Copy, Debug)]
#[cfg_attr(
    not(feature = "image"),
    expect(dead_code, reason = "only a program with the feature encodes an image")
)]
pub(crate) enum ImageForm {
    Pixels(ImageLayout),
    File { place: ImagePlace },
}

/// Layout of an image's pixels: rows from the top, pixels from the left, one byte a channel.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub(crate) struct ImageLayout {
    /// Width in pixels.
    pub(crate) width: u32,
    /// Height in pixels.
    pub(crate) height: u32,
    /// Number of channels: 1 for gray, 3 for RGB, 4 for RGBA.
    pub(crate) channels: u8,
    /// Place of the image.
    pub(crate) place: ImagePlace,
}

/// Place at which the page shows an image. It decides if a small copy of the image is stored, and where.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub(crate) enum ImagePlace {
    /// Artifact of its own, without a small copy.
    Artifact,
    /// Series by step, shown as a grid with a slider.
    Series,
    /// Cell of a table.
    TableCell,
}

/// Separator of the name and the checksum in the path of a dataset.
const CHECKSUM_SEPARATOR: char = '#';
/// Number of characters of the checksum.
const CHECKSUM_CHARS: usize = 16;

impl ArtifactKind {
    /// Returns true for a file, which is recorded without its kind, as all versions know it.
    pub(crate) fn is_file(&self) -> bool {
        *self == Self::File
    }

    /// Returns the word for an artifact of this kind in a message.
    pub(crate) fn noun(self) -> &'static str {
        match self {
            Self::File => "artifact",
            Self::TableRows(_) => "table",
            Self::Image(_) | Self::ImageFile { .. } => "image",
            Self::Dataset => "dataset",
            Self::ModelFile => "model file",
            Self::Model => "model",
            Self::CheckpointFile(_) => "file of a checkpoint",
            Self::Checkpoint(_) => "checkpoint",
            Self::ModelOutput => "model output",
            Self::ModelInput => "model input",
        }
    }

    /// Returns the namespace of the artifact's path. Of two artifacts with one path in one namespace, the later
    /// replaces the earlier. `None` for rows of a table and for a checkpoint of several files, which replace
    /// nothing: a checkpoint that is logged again has a folder of its own.
    pub(crate) fn namespace(self) -> Option<PathNamespace> {
        match self {
            Self::File | Self::Image(_) | Self::ImageFile { .. } => Some(PathNamespace::Artifacts),
            Self::Dataset => Some(PathNamespace::Datasets),
            Self::ModelFile | Self::Model => Some(PathNamespace::Models),
            Self::CheckpointFile(call) if !call.is_folder => Some(PathNamespace::Artifacts),
            Self::ModelOutput => Some(PathNamespace::ModelOutputs),
            Self::ModelInput => Some(PathNamespace::ModelInputs),
            Self::TableRows(_) | Self::CheckpointFile(_) | Self::Checkpoint(_) => None,
        }
    }

    /// Returns the path of a dataset: its name, and a checksum of its record. An artifact supersedes an earlier
    /// one with the same path, so only a record that says the same may have the same path.
    pub(crate) fn dataset_path(name: &str, record: &[u8]) -> String {
        let mut checksum = to_hex(digest::digest(&SHA256, record).as_ref());
        checksum.truncate(CHECKSUM_CHARS);
        format!("{name}{CHECKSUM_SEPARATOR}{checksum}")
    }

    /// Returns the name by which people know the artifact with this path.
    pub(crate) fn shown_name(self, path: &str) -> &str {
        match self {
            Self::File
            | Self::TableRows(_)
            | Self::Image(_)
            | Self::ImageFile { .. }
            | Self::CheckpointFile(_)
            | Self::Checkpoint(_)
            | Self::ModelOutput
            | Self::ModelInput => path,
            Self::Dataset => path
                .rsplit_once(CHECKSUM_SEPARATOR)
                .map_or(path, |(name, _)| name),
            Self::ModelFile | Self::Model => ModelPath::shown(path),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Regression: an image that waited was uploaded over a newer one of another size.
    #[test]
    fn an_image_replaces_a_file_and_an_image_of_another_size() {
        let image = |width| {
            let layout = ImageLayout {
                width,
                height: 1,
                channels: 1,
                place: ImagePlace::Artifact,
            };
            ArtifactKind::Image(layout).namespace()
        };
        assert_eq!(image(1), image(2));
        assert_eq!(image(1), ArtifactKind::File.namespace());
        assert_ne!(image(1), ArtifactKind::Dataset.namespace());
    }
}
