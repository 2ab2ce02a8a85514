//! Datasets on their way into the journal: their texts within MLflow's limits and without secrets, and their
//! digests.
//!
//! Invariant: a fault of a dataset costs the part that has it, and one warning. The rest is logged.

use std::path::Path;

use serde::Serialize;
use serde_json::{Value, json};

use super::column::{self, ColumnDescription};
use super::source::{DatasetSource, SourceDescription};
use super::{Dataset, DatasetContent, array};
#[cfg(feature = "polars")]
use crate::capture::background_digest;
#[cfg(feature = "polars")]
use crate::capture::file_digest::rows_fallback_warning;
use crate::capture::file_digest::{DigestSource, FileStamp, digest_of_text, fallback_warning};
use crate::model::dataset::{DatasetRecord, FileVersion, RecordedDigest};
use crate::model::python_json::{JsonObject, to_python_json};
use crate::model::{ArtifactKind, Tag, limits, tag_keys};
use crate::run::handle::LiveRun;

/// Largest file whose digest is computed by the thread that logs the dataset: it takes a millisecond.
const INLINE_FILE_BYTES: u64 = 1 << 20;
/// Largest frame whose rows are hashed by the thread that logs the dataset: it takes a millisecond.
#[cfg(feature = "polars")]
const INLINE_FRAME_BYTES: usize = 1 << 20;
/// Greatest integer up to which a double holds all integers.
const MAX_EXACT_INTEGER: f64 = 9_007_199_254_740_992.0;

/// Description from which the digest of unseen data is computed, as MLflow's Python client does it for a
/// `MetaDataset`.
#[derive(Serialize)]
struct DigestedDescription<'a> {
    name: &'a str,
    source: &'a str,
    source_type: &'a str,
    schema: DigestedSchema<'a>,
}

#[derive(Serialize)]
#[serde(untagged)]
enum DigestedSchema<'a> {
    None(&'static str),
    Columns(&'a [ColumnDescription<'a>]),
}

impl LiveRun<'_> {
    /// Logs a dataset as an input of the run. An empty context is none.
    pub(in crate::run) fn log_dataset(&self, dataset: &Dataset, context: &str) {
        let (path, bytes) = self.dataset_record(dataset, context).to_artifact();
        self.log_dataset_record(&path, &bytes);
    }

    /// Logs the artifact of a dataset's record.
    pub(in crate::run) fn log_dataset_record(&self, path: &str, bytes: &[u8]) {
        self.log_artifact_bytes(ArtifactKind::Dataset, bytes, path);
    }

    /// Returns a dataset as the journal records it. An empty context is none.
    pub(in crate::run) fn dataset_record(&self, dataset: &Dataset, context: &str) -> DatasetRecord {
        let Dataset {
            name: _,
            digest,
            source,
            content,
            columns,
            profile,
            tags,
            faults,
        } = dataset;
        let name = self.dataset_name(dataset);
        for fault in faults {
            self.tracker
                .warn_left_out("dataset", &name, format_args!("{fault}"));
        }
        let text = |kind: &'static str, text: &str, max: usize| {
            let sanitized = self.tracker.sanitizer.sanitize_text(kind, &name, text, max);
            sanitized.unwrap_or_else(|| text.to_owned())
        };
        let SourceDescription {
            source_type,
            json: source,
            was_cut,
        } = source.describe(|| self.program_tags());
        if was_cut {
            self.tracker.warn_left_out(
                "dataset source",
                &name,
                format_args!(
                    "its URI was cut: MLflow stores at most {} characters of a source",
                    limits::DATASET_SOURCE_CHARS
                ),
            );
        }
        let source = text("dataset source", &source, limits::DATASET_SOURCE_CHARS);
        let columns: Vec<_> = { columns.iter() }
            .map(|(column, kind)| (text("dataset column", column, usize::MAX), *kind))
            .collect();
        let columns: Vec<_> = { columns.iter() }
            .map(|(name, column_type)| ColumnDescription {
                column_type: *column_type,
                name,
                required: true,
            })
            .collect();
        // The same data has the same digest at each commit.
        let digested_source = source_without_commit(&dataset.source, || self.program_tags());
        let description = DigestedDescription {
            name: &name,
            source: digested_source.as_deref().unwrap_or(&source),
            source_type: &source_type,
            schema: if columns.is_empty() {
                DigestedSchema::None("")
            } else {
                DigestedSchema::Columns(&columns)
            },
        };
        let digest = match digest.as_deref().filter(|digest| !digest.is_empty()) {
            Some(digest) => {
                RecordedDigest::Known(text("dataset digest", digest, limits::DATASET_DIGEST_CHARS))
            }
            None => self.content_digest(content, &description),
        };
        let schema = match content {
            _ if !columns.is_empty() => Some(column::schema(&columns)),
            DatasetContent::Arrays { features, targets } => {
                Some(array::schema(features, targets.as_ref()))
            }
            DatasetContent::Unseen | DatasetContent::File(_) => None,
            #[cfg(feature = "polars")]
            DatasetContent::Frame(frame) => {
                let described = frame.schema(|column| text("dataset column", column, usize::MAX));
                let warn = |fault: String| {
                    self.tracker.warn_left_out(
                        "dataset schema",
                        &name,
                        format_args!("it is left out, because {fault}"),
                    );
                };
                described.map_err(warn).ok()
            }
        };
        let schema = schema
            .filter(|json| self.fits("dataset schema", &name, json, limits::DATASET_SCHEMA_CHARS));
        let profile = profile_json(content, profile, |key| {
            text("dataset profile", key, usize::MAX)
        });
        let profile = profile.filter(|json| {
            self.fits(
                "dataset profile",
                &name,
                json,
                limits::DATASET_PROFILE_CHARS,
            )
        });
        let context = Some((tag_keys::DATASET_CONTEXT, context));
        let context = context.filter(|(_, context)| !context.is_empty());
        let given = tags.iter().map(|(key, value)| (&**key, &**value));
        // A server refuses an input with a tag that is there twice. The last one counts, as in the file.
        let mut tags: Vec<Tag> = Vec::new();
        for (key, value) in given.chain(context) {
            let key = text("dataset tag", key, limits::INPUT_TAG_KEY_CHARS);
            let value = text("dataset tag", value, limits::INPUT_TAG_VALUE_CHARS);
            tags.retain(|earlier| earlier.key != key);
            tags.push(Tag { key, value });
        }
        DatasetRecord {
            digest,
            source_type,
            schema,
            profile,
            tags,
            source,
            name,
        }
    }

    fn dataset_name(&self, dataset: &Dataset) -> String {
        let name = dataset.shown_name();
        let sanitizer = &self.tracker.sanitizer;
        sanitizer
            .sanitize_text("dataset name", &name, &name, limits::DATASET_NAME_CHARS)
            .unwrap_or_else(|| name.into_owned())
    }

    /// Returns true if MLflow can store a part of the dataset `name`, which `kind` names; else logs a warning.
    fn fits(&self, kind: &'static str, name: &str, json: &str, max: usize) -> bool {
        // The text is ASCII, so its characters are its bytes.
        let length = json.len();
        if length > max {
            self.tracker.warn_left_out(
                kind,
                name,
                format_args!(
                    "it has {length} characters and is left out: MLflow stores at most {max}"
                ),
            );
        }
        length <= max
    }

    /// Returns the digest of the content, or if the content is not seen, that of the description.
    fn content_digest(
        &self,
        content: &DatasetContent,
        description: &DigestedDescription<'_>,
    ) -> RecordedDigest {
        let of_description = || digest_of_text(&to_python_json(description));
        match content {
            DatasetContent::Unseen => RecordedDigest::Known(of_description()),
            DatasetContent::Arrays { features, targets } => {
                RecordedDigest::Known(array::digest(features, targets.as_ref()))
            }
            #[cfg(feature = "polars")]
            DatasetContent::Frame(frame) if frame.estimated_bytes() > INLINE_FRAME_BYTES => {
                let frame = frame.clone();
                RecordedDigest::OfRows {
                    rows: background_digest::start(move || frame.digest()),
                    fallback: of_description(),
                }
            }
            #[cfg(feature = "polars")]
            DatasetContent::Frame(frame) => match frame.digest() {
                Ok(digest) => RecordedDigest::Known(digest),
                Err(reason) => {
                    let name = description.name;
                    let warning = rows_fallback_warning(name, &reason);
                    self.tracker
                        .warn_user_once("dataset digest", name, &warning);
                    RecordedDigest::Known(of_description())
                }
            },
            DatasetContent::File(path) => match file_digest(path, of_description) {
                Ok(digest) => digest,
                Err(error) => {
                    let name = description.name;
                    let warning = fallback_warning(name, path, &error);
                    self.tracker
                        .warn_user_once("dataset digest", name, &warning);
                    RecordedDigest::Known(of_description())
                }
            },
        }
    }
}

/// Returns the source of a dataset that the program has made, without the commit of the program; `None` for any other one,
/// whose description names no commit.
fn source_without_commit(
    source: &DatasetSource,
    program: impl FnOnce() -> Vec<Tag>,
) -> Option<String> {
    let without_commit = || {
        let mut tags = program();
        tags.retain(|tag| tag.key != tag_keys::GIT_COMMIT);
        tags
    };
    (*source == DatasetSource::Code).then(|| source.describe(without_commit).json)
}

/// Returns the digest of a small file, or what is needed to compute that of a large one later.
fn file_digest(
    path: &Path,
    of_description: impl FnOnce() -> String,
) -> std::io::Result<RecordedDigest> {
    let file = DigestSource::open(path)?;
    let FileStamp {
        length,
        modified_ns,
    } = file.stamp();
    let absolute = std::path::absolute(path)?;
    match absolute.into_os_string().into_string() {
        Ok(path) if length > INLINE_FILE_BYTES => Ok(RecordedDigest::OfFile {
            file: FileVersion {
                path,
                length,
                modified_ns,
            },
            fallback: of_description(),
        }),
        // A path that no JSON can hold could not be found again later.
        _ => file.digest().map(RecordedDigest::Known),
    }
}

/// Returns the profile of the content and the given numbers as JSON.
fn profile_json(
    content: &DatasetContent,
    given: &[(String, f64)],
    sanitize_key: impl Fn(&str) -> String,
) -> Option<String> {
    let mut fields = Vec::new();
    if let DatasetContent::Arrays { features, targets } = content {
        features.push_profile("features", &mut fields);
        if let Some(targets) = targets {
            targets.push_profile("targets", &mut fields);
        }
    }
    #[cfg(feature = "polars")]
    if let DatasetContent::Frame(frame) = content {
        frame.push_profile(&mut fields);
    }
    let given = given.iter();
    fields.extend(given.map(|(key, number)| (sanitize_key(key), to_json_number(*number))));
    (!fields.is_empty()).then(|| to_python_json(&JsonObject(fields)))
}

/// Returns the number as JSON, an integer without a decimal point.
#[allow(clippy::cast_possible_truncation)] // the number is an integer that fits
fn to_json_number(number: f64) -> Value {
    if number.fract() == 0.0 && number.abs() <= MAX_EXACT_INTEGER {
        json!(number as i64)
    } else {
        json!(number)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Regression: data that a program made was another dataset at each commit.
    #[test]
    fn the_digest_of_data_that_a_program_made_is_the_same_at_each_commit() {
        let at = |commit: &str| {
            let tag = |key: &str, value: &str| Tag {
                key: key.to_owned(),
                value: value.to_owned(),
            };
            let program = [
                tag(tag_keys::USER, "ada"),
                tag(tag_keys::GIT_COMMIT, commit),
            ];
            let described = DatasetSource::Code.describe(|| program.to_vec());
            assert!(described.json.contains(commit), "{}", described.json);
            source_without_commit(&DatasetSource::Code, || program.to_vec()).unwrap()
        };
        assert_eq!(at("3c1f0a2"), at("a979320"));
        assert!(at("3c1f0a2").contains("ada"));
        let uri = DatasetSource::Uri("train.csv".to_owned());
        assert_eq!(source_without_commit(&uri, Vec::new), None);
    }
}
