//! Logged models on their way into the journal: their files as copies, then the record that completes them.
//!
//! Invariants: a model is logged with all of its files or not at all. The events follow each other, after all
//! files are copied, so that a process hardly dies between them. A fault of anything but the files costs the part
//! that has it, and one warning.

use std::borrow::Cow;
use std::collections::BTreeMap;
use std::fs;
use std::io;
use std::path::{Path, PathBuf};

use serde_json::{Value, json};

use super::flavor::{self, Content, Flavor};
use super::{Model, ModelSource};
use crate::model::logged_model::{ModelPath, ModelRecord};
use crate::model::mlmodel::{INPUT_EXAMPLE_FILE, MLMODEL_FILE};
use crate::model::model_metric::RecordedMetric;
use crate::model::{ArtifactKind, NewModel, Param, Tag, limits, tag_keys};
use crate::run::artifact::Prepared;
use crate::run::handle::LiveRun;
use crate::time;

/// Content of a file of a model.
#[derive(Clone)]
enum FileContent<'m> {
    Path(PathBuf),
    Bytes(&'m [u8]),
}

/// Files of a model by their paths inside of the model.
type Files<'m> = BTreeMap<String, FileContent<'m>>;

/// Files of a model while they are collected.
#[derive(Default)]
struct CollectedFiles<'m> {
    files: Files<'m>,
    /// Paths that MLflow's servers do not keep, and the paths that stand for them.
    renamed: Vec<(String, String)>,
}

impl LiveRun<'_> {
    /// Logs a model as an output of the run.
    pub(in crate::run) fn log_model(&self, model: &Model) {
        let metrics = self.log_model_metrics(model);
        if let Err(fault) = self.try_log_model(model, metrics) {
            let name = self.model_name(&model.name);
            self.tracker
                .warn_rejected("model", &name, format_args!("{fault}"));
        }
    }

    /// Logs a model, or returns the reason why it is not logged.
    fn try_log_model(&self, model: &Model, metrics: Vec<RecordedMetric>) -> Result<(), String> {
        let Model {
            name,
            sources,
            flavor,
            signature,
            input_example,
            params,
            tags,
            metrics: _,
            model_type,
            step,
            registered_name: _,
            aliases: _,
            version_tags: _,
        } = model;
        if let Some(fault) = limits::find_model_name_fault(name) {
            return Err(format!("its name {fault}; give it another name"));
        }
        let name = &*self.model_name(name);
        let mut collected = CollectedFiles::default();
        for source in sources {
            collect_files(source, &mut collected)?;
        }
        let CollectedFiles { mut files, renamed } = collected;
        if files.is_empty() {
            return Err("it has no files; add them with file, folder or bytes".to_owned());
        }
        for (path, kept) in renamed {
            self.tracker.warn_left_out(
                "model",
                name,
                format_args!(
                    "its file {path:?} is stored as {kept:?}, because MLflow's servers do not keep `%` and `#` in names"
                ),
            );
        }
        let flavors = self.flavors(name, flavor.as_ref(), &files);
        let signature = signature
            .as_ref()
            .filter(|given| !given.is_empty())
            .and_then(|signature| {
                let warn = |fault: String| {
                    self.tracker.warn_left_out(
                        "model signature",
                        name,
                        format_args!("it is left out: {fault}"),
                    );
                };
                signature.to_json().map_err(warn).ok()
            });
        let example = self.input_example(name, input_example.as_ref(), &files);
        if let Some(json) = &example {
            let content = FileContent::Bytes(json.as_bytes());
            files.insert(INPUT_EXAMPLE_FILE.to_owned(), content);
        }
        let model_type = { model_type.as_deref() }
            .filter(|kind| !kind.is_empty())
            .map(|kind| {
                let max = limits::MODEL_NAME_CHARS;
                let sanitized = self
                    .tracker
                    .sanitizer
                    .sanitize_text("model type", name, kind, max);
                sanitized.unwrap_or_else(|| kind.to_owned())
            });
        let key = uuid::Uuid::new_v4().simple().to_string();
        let path = ModelPath::of_record(&NewModel {
            key: &key,
            name,
            model_type: model_type.as_deref(),
        });

        let mut prepared = Vec::with_capacity(files.len());
        let mut sizes = BTreeMap::new();
        for (file, content) in &files {
            match self.prepare_file(content) {
                Ok((copy, size)) => {
                    sizes.insert(file.clone(), size);
                    prepared.push((format!("{path}/{file}"), copy));
                }
                Err(fault) => {
                    for (_, copy) in prepared {
                        copy.discard(self.tracker.journal());
                    }
                    return Err(format!("its file {file:?}: {fault}"));
                }
            }
        }
        let registration = self.registration(name, model);
        let record = ModelRecord {
            files: sizes,
            params: self.model_params(name, params),
            tags: self.tags_with_program(name, tags),
            metrics,
            step: *step,
            flavors,
            signature,
            input_example: example
                .as_ref()
                .map(|_| json!({ "artifact_path": INPUT_EXAMPLE_FILE, "type": "json_object" })),
            utc_time_created: time::format_python_utc(time::now_ms()),
            registered_name: registration.name,
            aliases: registration.aliases,
            version_tags: registration.tags,
        };
        for (path, copy) in prepared {
            self.log_prepared(ArtifactKind::ModelFile, &path, copy);
        }
        // Writing texts and numbers into memory does not fail.
        let bytes = serde_json::to_vec(&record).unwrap_or_default();
        self.log_artifact_bytes(ArtifactKind::Model, &bytes, &path);
        Ok(())
    }

    /// Returns the name of a model, with credentials masked.
    fn model_name<'n>(&self, name: &'n str) -> Cow<'n, str> {
        let sanitizer = &self.tracker.sanitizer;
        let masked = sanitizer.sanitize_text("model", "name", name, usize::MAX);
        masked.map_or(Cow::Borrowed(name), Cow::Owned)
    }

    /// Returns the JSON of the input example, or logs a warning if there can be none.
    fn input_example<'e>(
        &self,
        name: &str,
        example: Option<&'e Result<String, String>>,
        files: &Files<'_>,
    ) -> Option<Cow<'e, str>> {
        let fault = match example? {
            Err(fault) => fault,
            Ok(_) if files.contains_key(INPUT_EXAMPLE_FILE) => {
                "the model has a file input_example.json of its own; rename that file"
            }
            Ok(json) => {
                let kind = "model input example";
                let sanitizer = &self.tracker.sanitizer;
                let sanitized = sanitizer.sanitize_text(kind, name, json, usize::MAX);
                return Some(sanitized.map_or(Cow::Borrowed(json), Cow::Owned));
            }
        };
        self.tracker.warn_left_out(
            "model input example",
            name,
            format_args!("it is left out: {fault}"),
        );
        None
    }

    /// Returns the tags of the program, as MLflow's Python client sets them, and the given ones, which win.
    fn tags_with_program(&self, name: &str, given: &[(String, String)]) -> Vec<Tag> {
        let program = self
            .program_tags()
            .into_iter()
            .map(|tag| (tag.key, tag.value));
        let program = program.filter(|(key, _)| given.iter().all(|(other, _)| other != key));
        let tags: Vec<_> = program.chain(given.iter().cloned()).collect();
        self.model_tags("model tag", name, &tags, limits::TAG_VALUE_CHARS)
    }

    /// Returns the tags that MLflow accepts, `kind` naming what they belong to.
    pub(super) fn model_tags(
        &self,
        kind: &'static str,
        name: &str,
        tags: &[(String, String)],
        max_chars: usize,
    ) -> Vec<Tag> {
        let sanitizer = &self.tracker.sanitizer;
        { tags.iter() }
            // The tag by which a model or version is found again is this library's own.
            .filter(|(key, _)| key != tag_keys::MODEL_KEY)
            .filter_map(|(key, value)| {
                let key = self.accepted_key(kind, name, key)?;
                let sanitized = sanitizer.sanitize_text(kind, name, value, max_chars);
                let value = sanitized.unwrap_or_else(|| value.clone());
                Some(Tag { key, value })
            })
            .collect()
    }

    fn model_params(&self, name: &str, params: &[(String, String)]) -> Vec<Param> {
        let sanitizer = &self.tracker.sanitizer;
        let mut kept: Vec<Param> = Vec::new();
        for (key, value) in params {
            let Some(key) = self.accepted_key("model param", name, key) else {
                continue;
            };
            if kept.iter().all(|known| known.key != key) {
                let max = limits::PARAM_VALUE_CHARS;
                let sanitized = sanitizer.sanitize_text("model param", name, value, max);
                let value = sanitized.unwrap_or_else(|| value.clone());
                kept.push(Param { key, value });
            }
        }
        kept
    }

    /// Returns a key with credentials masked, or logs a warning if MLflow refuses it.
    fn accepted_key(&self, kind: &'static str, name: &str, key: &str) -> Option<String> {
        let masked = self.tracker.sanitizer.mask_key(kind, key);
        let key = masked.unwrap_or_else(|| key.to_owned());
        if let Some(fault) = limits::find_key_fault(&key) {
            self.tracker
                .warn_left_out(kind, name, format_args!("{key:?} is left out: {fault}"));
            return None;
        }
        Some(key)
    }

    /// Returns the flavors as `MLmodel` holds them. Files that do not match the flavor are plain files, with a
    /// warning.
    fn flavors(&self, name: &str, flavor: Option<&Flavor>, files: &Files<'_>) -> Value {
        let Some(flavor) = flavor else {
            return json!({});
        };
        let choose = |path: &str, ending: &str| {
            self.tracker.warn_left_out(
                "model flavor",
                name,
                format_args!(
                    "{path:?} is taken as the model, because several of its files have names that end in {ending}; name the model model{ending}"
                ),
            );
        };
        match describe_flavor(flavor, files, choose) {
            Ok(flavors) => flavors,
            Err(fault) => {
                self.tracker.warn_left_out(
                    "model flavor",
                    name,
                    format_args!("the model is logged as plain files: {fault}"),
                );
                let plain = Flavor::of_plain_files();
                plain.to_json(only_file(files), None)
            }
        }
    }

    /// Copies a file, and returns the copy with its size; else the reason why it cannot be copied.
    fn prepare_file<'m>(
        &self,
        content: &FileContent<'m>,
    ) -> Result<(Prepared<'m>, u64), Cow<'static, str>> {
        match content {
            FileContent::Bytes(bytes) => {
                let prepared = Prepared::from_bytes(self.tracker.journal(), bytes)?;
                Ok((prepared, bytes.len() as u64))
            }
            FileContent::Path(path) => Prepared::from_file(self.tracker.journal(), path),
        }
    }
}

/// Adds the files of a source, or returns the reason why they cannot be logged.
fn collect_files<'m>(
    source: &'m ModelSource,
    files: &mut CollectedFiles<'m>,
) -> Result<(), String> {
    match source {
        ModelSource::Bytes { path, bytes } => {
            let path = path.trim_matches('/');
            add_file(path, FileContent::Bytes(bytes), files)
        }
        ModelSource::File(path) => {
            let shown = path.display();
            let name = path.file_name().and_then(|name| name.to_str());
            let name =
                name.ok_or_else(|| format!("{shown}: it has no name that is valid UTF-8"))?;
            match fs::metadata(path) {
                Ok(metadata) if metadata.is_file() => {
                    add_file(name, FileContent::Path(path.clone()), files)
                }
                Ok(_) => Err(format!("{shown} is no file; add a folder with folder")),
                Err(error) => Err(unreadable(path, &error)),
            }
        }
        ModelSource::Folder(path) => {
            let metadata = fs::metadata(path).map_err(|error| unreadable(path, &error))?;
            if !metadata.is_dir() {
                let shown = path.display();
                return Err(format!("{shown} is no folder; add a file with file"));
            }
            collect_folder(path, "", files)
        }
    }
}

fn collect_folder(
    folder: &Path,
    prefix: &str,
    files: &mut CollectedFiles<'_>,
) -> Result<(), String> {
    let entries = fs::read_dir(folder).and_then(Iterator::collect::<io::Result<Vec<_>>>);
    for entry in entries.map_err(|error| unreadable(folder, &error))? {
        let inside = entry.path();
        let name = entry.file_name();
        let Some(name) = name.to_str() else {
            let shown = inside.display();
            return Err(format!("{shown}: its name is not valid UTF-8; rename it"));
        };
        let path = match prefix {
            "" => name.to_owned(),
            prefix => format!("{prefix}/{name}"),
        };
        let is_link = entry.file_type().is_ok_and(|kind| kind.is_symlink());
        match fs::metadata(&inside) {
            // A link to a folder may lead back into itself.
            Ok(metadata) if metadata.is_dir() && is_link => {
                let shown = inside.display();
                return Err(format!("{shown} is a link to a folder; add that folder"));
            }
            Ok(metadata) if metadata.is_dir() => collect_folder(&inside, &path, files)?,
            Ok(metadata) if metadata.is_file() => {
                add_file(&path, FileContent::Path(inside), files)?;
            }
            Ok(_) => {
                let shown = inside.display();
                return Err(format!("{shown} is neither a file nor a folder"));
            }
            Err(error) => return Err(unreadable(&inside, &error)),
        }
    }
    Ok(())
}

/// Adds a file under a path that MLflow's servers keep.
fn add_file<'m>(
    path: &str,
    content: FileContent<'m>,
    collected: &mut CollectedFiles<'m>,
) -> Result<(), String> {
    if path.split('/').any(|part| matches!(part, "" | "." | "..")) {
        return Err(format!("{path:?} is no path inside of a model"));
    }
    if path == MLMODEL_FILE {
        return Err(format!(
            "it has a file {MLMODEL_FILE:?}, which MLflow's description of the model is; rename it"
        ));
    }
    let CollectedFiles { files, renamed } = collected;
    let kept = limits::sanitize_artifact_path(path);
    if let Some(kept) = &kept {
        renamed.push((path.to_owned(), kept.clone()));
    }
    let path = kept.unwrap_or_else(|| path.to_owned());
    if let Some((file, inside)) = find_collision(&path, files) {
        return Err(format!(
            "its file {file:?} is also the folder of its file {inside:?}; rename one of them"
        ));
    }
    match files.insert(path.clone(), content) {
        None => Ok(()),
        Some(_) => Err(format!("it has two files with the path {path:?}")),
    }
}

/// Returns two paths, the new one among them, of which the first would be a file and a folder.
fn find_collision<'p>(path: &'p str, files: &'p Files<'_>) -> Option<(&'p str, &'p str)> {
    let mut folders = path.match_indices('/').map(|(at, _)| &path[..at]);
    if let Some(folder) = folders.find(|folder| files.contains_key(*folder)) {
        return Some((folder, path));
    }
    let prefix = format!("{path}/");
    let (inside, _) = files.range(prefix.clone()..).next()?;
    inside
        .starts_with(&prefix)
        .then_some((path, inside.as_str()))
}

fn unreadable(path: &Path, error: &io::Error) -> String {
    let shown = path.display();
    match error.kind() {
        io::ErrorKind::NotFound => format!("there is no file or folder {shown}"),
        _ => format!("{shown} cannot be read: {error}"),
    }
}

/// Returns the path of the file, if the model has only one.
fn only_file<'f>(files: &'f Files<'_>) -> Option<&'f str> {
    let mut paths = files.keys();
    let path = paths.next().map(String::as_str);
    path.filter(|_| paths.next().is_none())
}

/// Returns the flavors as `MLmodel` holds them, or the reason why the files do not match the flavor.
/// `choose` is called with the file that is taken of several, and with their ending.
fn describe_flavor(
    flavor: &Flavor,
    files: &Files<'_>,
    choose: impl FnOnce(&str, &str),
) -> Result<Value, String> {
    if let Some(fault) = flavor.find_name_fault() {
        return Err(fault);
    }
    let Some(ending) = flavor.file_ending() else {
        return Ok(flavor.to_json(only_file(files), None));
    };
    let mut candidates = files.iter().filter(|(path, _)| path.ends_with(ending));
    let by_name = files.get_key_value(&format!("model{ending}"));
    let first = candidates.next();
    if by_name.is_none()
        && *flavor == Flavor::Onnx
        && let (Some((path, _)), Some(_)) = (first, candidates.next())
    {
        choose(path, ending);
    }
    let Some((path, content)) = by_name.or(first) else {
        return Err(format!(
            "none of its files has a name that ends in {ending}"
        ));
    };
    let mut content: Box<dyn Content + '_> = match content {
        FileContent::Path(file) => flavor::open_content(file)?,
        FileContent::Bytes(bytes) => Box::new(io::Cursor::new(bytes)),
    };
    let version = match flavor {
        Flavor::Onnx => Some(flavor::onnx_version(&mut *content)),
        Flavor::Safetensors => flavor::safetensors_fault(&mut *content).map(Err),
        Flavor::Custom(_) => None,
    };
    match version {
        None => Ok(flavor.to_json(Some(path), None)),
        Some(Ok(version)) => Ok(flavor.to_json(Some(path), Some(version))),
        Some(Err(fault)) => Err(format!("{path:?}: {fault}")),
    }
}
