//! W&B: the files of offline runs, `offline-run-*/run-ID.wandb` with the folder `files` beside it.
//!
//! The history becomes metrics under W&B's own steps and times, the config params, measurements of the machine
//! metrics below `system/`, and the files of the run artifacts. A value of the summary without a history becomes a
//! metric of one point if it is a number, else a tag below `summary.`. Keys in keys are joined by dots.

mod log_file;
mod record;

use std::collections::{BTreeMap, HashSet};
use std::fs::{self, File};
use std::io::{self, BufReader, Read};
use std::path::{Path, PathBuf};
use std::time::{Duration, SystemTime};

use mlflow::RunStatus;
use prost::Message as _;

use self::log_file::{LogFile, Step};
use self::record::{
    Content, Environment, Exit, Git, History, Item, ItemValue, Record, Run, Stats, Update,
};
use super::discovery::changed_ms;
use super::values::{Json, flatten, to_integer};
use super::writer::{Artifact, Importer, RunWriter, SourceRun};
use crate::failure::Failure;
use crate::output::format;

/// Extension of the files.
pub(super) const EXTENSION: &str = "wandb";
/// Time without a change of its file after which a run without an end counts as killed: as long as W&B waits for
/// a sign of life.
const SILENCE: Duration = Duration::from_secs(5 * 60);
/// Memory for the console output of a run. What is beyond it is left out.
const MAX_OUTPUT_BYTES: usize = 64 << 20;
/// Experiment of runs without a project: W&B's own name for them.
const NO_PROJECT: &str = "uncategorized";
const BUFFER_BYTES: usize = 1 << 20;
/// Deepest folder among the files of a run.
const MAX_FOLDER_DEPTH: usize = 32;
/// Console output among the files of a run.
const OUTPUT_FILE: &str = "output.log";
/// Config among the files of a run.
const CONFIG_FILE: &str = "config.yaml";

/// Imports the run of a file.
pub(super) fn import(path: &Path, importer: &Importer<'_>) -> Result<(), Failure> {
    let cannot_read = |error| Failure::Io(format!("cannot read {}", path.display()), error);
    let file = importer
        .progress
        .reader(File::open(path).map_err(cannot_read)?);
    let file = BufReader::with_capacity(BUFFER_BYTES, file);
    let Some(mut log) = LogFile::open(file).map_err(cannot_read)? else {
        return Err(Failure::Usage(format!(
            "{} is no file of W&B: expected one that begins with `:W&B`",
            path.display()
        )));
    };
    let mut reader = RunReader::new(path, importer);
    reader.read(&mut log)?;
    reader.finish()
}

/// Returns the first member of a file of YAML whose name is that of a secret. Every text that may be a name counts.
fn secret_member(yaml: &str) -> Option<&str> {
    let is_around = |char: char| char.is_whitespace() || matches!(char, '"' | '\'' | '-' | '?');
    yaml.split(['\n', '{', '[', ','])
        .filter_map(|part| part.split_once(':'))
        .map(|(name, _)| name.trim_matches(is_around))
        .find(|name| mlflow_rules::is_secret_name(name))
}

/// Reader of one run.
struct RunReader<'i> {
    importer: &'i Importer<'i>,
    path: &'i Path,
    writer: RunWriter<'i>,
    /// True once the record that names the run was read.
    has_run: bool,
    start_ms: Option<i64>,
    /// Latest values of the summary, by key.
    summary: BTreeMap<String, Json>,
    /// Keys of the history.
    metrics: HashSet<String>,
    last_step: i64,
    /// Number of measurements of the machine.
    samples: i64,
    /// Console output, for a run without a file of it.
    output: String,
}

impl<'i> RunReader<'i> {
    fn new(path: &'i Path, importer: &'i Importer<'i>) -> Self {
        Self {
            importer,
            path,
            writer: importer.begin(SourceRun {
                format: "wandb",
                id: path.display().to_string(),
                source: path.display().to_string(),
                name: path.display().to_string(),
                experiment: NO_PROJECT.to_owned(),
                changed_ms: changed_ms(path),
            }),
            has_run: false,
            start_ms: None,
            summary: BTreeMap::new(),
            metrics: HashSet::new(),
            last_step: 0,
            samples: 0,
            output: String::new(),
        }
    }

    fn read(&mut self, log: &mut LogFile<impl Read>) -> Result<(), Failure> {
        let mut damaged = 0_u64;
        loop {
            let step = match log.next_record() {
                Ok(step) => step,
                Err(error) => {
                    self.importer.damage_by_read_error(self.path, &error);
                    break;
                }
            };
            match step {
                Step::Record(record) => match Record::decode(record) {
                    Ok(record) => self.record(record)?,
                    Err(_) => damaged += 1,
                },
                Step::Damaged => damaged += 1,
                Step::Truncated => {
                    self.importer.remark(format!(
                        "{}: the last record is not complete, as after the end of a process by force; all records \
                         before it are imported",
                        self.path.display()
                    ));
                    break;
                }
                Step::End => break,
            }
        }
        if damaged > 0 {
            let what = format!("damaged: {} of the file", format::counted(damaged, "part"));
            self.importer.damage(self.path, &what);
        }
        Ok(())
    }

    fn record(&mut self, record: Record) -> Result<(), Failure> {
        match record.content {
            Some(Content::Run(run)) => self.run(*run),
            Some(Content::Environment(environment)) => self.environment(*environment),
            Some(Content::Config(config)) => self.config(config),
            Some(Content::Summary(summary)) => self.summary(summary),
            Some(Content::History(history)) => return self.history(history),
            Some(Content::Stats(stats)) => return self.stats(stats),
            Some(Content::Output(output) | Content::OutputRaw(output)) => {
                if let Some(time) = output.timestamp {
                    self.writer.saw_time(time.ms());
                }
                if self.output.len() + output.line.len() <= MAX_OUTPUT_BYTES {
                    self.output.push_str(&output.line);
                }
            }
            Some(Content::Exit(exit)) => self.exit(&exit),
            None => {}
        }
        Ok(())
    }

    fn run(&mut self, run: Run) {
        let Run {
            run_id,
            entity,
            project,
            config,
            summary,
            run_group,
            job_type,
            display_name,
            notes,
            tags,
            sweep_id,
            host,
            start_time,
            git,
        } = run;
        self.has_run = true;
        let source = self.writer.source();
        source.id = format!("{entity}/{project}/{run_id}");
        source.name = if display_name.is_empty() {
            run_id.clone()
        } else {
            display_name
        };
        if !project.is_empty() {
            source.experiment.clone_from(&project);
        }
        if let Some(start) = start_time {
            self.start_ms = Some(start.ms());
            self.writer.start(start.ms());
        }
        for (key, value) in [
            ("wandb.run_id", &*run_id),
            ("wandb.entity", &entity),
            ("wandb.project", &project),
            ("wandb.group", &run_group),
            ("wandb.job_type", &job_type),
            ("wandb.sweep_id", &sweep_id),
            ("wandb.tags", &tags.join(",")),
            ("mlflow.note.content", &notes),
            ("host.name", &host),
        ] {
            self.tag(key, value);
        }
        self.git(git);
        self.config(config.unwrap_or_default());
        self.summary(summary.unwrap_or_default());
    }

    fn environment(&mut self, environment: Environment) {
        let Environment {
            python,
            program,
            git,
            host,
            username,
        } = environment;
        for (key, value) in [
            ("mlflow.source.name", &program),
            ("mlflow.user", &username),
            ("host.name", &host),
            ("python.version", &python),
        ] {
            self.tag(key, value);
        }
        if !username.is_empty() {
            self.writer.user(&username);
        }
        self.git(git);
    }

    fn git(&mut self, git: Option<Git>) {
        if let Some(git) = git {
            self.tag("mlflow.source.git.commit", &git.commit);
            let url = mlflow_rules::url_without_credentials(&git.remote_url);
            self.tag("mlflow.source.git.repoURL", &url);
        }
    }

    fn tag(&mut self, key: &str, value: &str) {
        if !value.is_empty() {
            self.writer.tag(key, value);
        }
    }

    fn config(&mut self, config: Update) {
        let Update { update, remove } = config;
        for item in remove {
            self.writer.remove_params(&item.path());
        }
        for item in update {
            let path = item.path();
            if is_internal(&path) {
                continue;
            }
            let Some(value) = item.value() else { continue };
            // A value replaces all that was below its key.
            self.writer.remove_params(&path);
            let mut params = Vec::new();
            flatten(path, value, &mut |key, value| params.push((key, value)));
            for (key, value) in params {
                self.writer.param(&key, &value.to_string());
            }
        }
    }

    fn summary(&mut self, summary: Update) {
        let Update { update, remove } = summary;
        for item in remove {
            self.summary.remove(&item.path());
        }
        for item in update {
            let path = item.path();
            if is_internal(&path) {
                continue;
            }
            if let Some(value) = item.value() {
                self.summary.insert(path, value);
            }
        }
    }

    fn history(&mut self, history: History) -> Result<(), Failure> {
        let mut step = history.step.map(|step| step.num);
        let mut time_ms = None;
        let mut values = Vec::new();
        let mut media = HashSet::new();
        for item in &history.item {
            let path = item.path();
            let Some(value) = item.value() else { continue };
            match (&*path, value.number()) {
                ("_step", Some(number)) => step = step.or(Some(to_integer(number))),
                ("_timestamp", Some(seconds)) => time_ms = Some(to_integer(seconds * 1000.0)),
                _ if is_internal(&path) => {}
                _ => {
                    if let Some(owner) = path.strip_suffix("._type") {
                        media.insert(owner.to_owned());
                    }
                    flatten(path, value, &mut |key, value| values.push((key, value)));
                }
            }
        }
        let step = step.unwrap_or(self.last_step + 1);
        self.last_step = self.last_step.max(step);
        for (key, value) in values {
            let is_of_media = media.iter().any(|owner| {
                key.strip_prefix(&**owner)
                    .is_some_and(|rest| rest.starts_with('.'))
            });
            if is_of_media {
                continue;
            }
            if let Some(value) = value.number() {
                self.writer.point(&key, step, value, time_ms)?;
                if !self.metrics.contains(&key) {
                    self.metrics.insert(key);
                }
            }
        }
        Ok(())
    }

    fn stats(&mut self, stats: Stats) -> Result<(), Failure> {
        let time_ms = stats.timestamp.map(|time| time.ms());
        let step = self.samples;
        self.samples += 1;
        for item in stats.item {
            if let Some(value) = item.value().and_then(|value| value.number()) {
                let key = format!("system/{}", item.path());
                self.writer.point(&key, step, value, time_ms)?;
            }
        }
        Ok(())
    }

    fn exit(&mut self, exit: &Exit) {
        let status = match exit.exit_code {
            0 => RunStatus::Finished,
            _ => RunStatus::Failed,
        };
        let end_ms = self
            .start_ms
            .map(|start| start.saturating_add(i64::from(exit.runtime) * 1000));
        let last_ms = self.writer.last_time_ms();
        self.writer.end(status, end_ms.max(last_ms));
    }

    fn finish(mut self) -> Result<(), Failure> {
        if !self.has_run {
            self.importer.damage(
                self.path,
                "the record that names the run is missing, so nothing of it can be stored",
            );
            return Ok(());
        }
        self.write_summary()?;
        self.write_files()?;
        if !self.writer.has_end() {
            let is_silent = fs::metadata(self.path)
                .and_then(|metadata| metadata.modified())
                .is_ok_and(|changed| {
                    SystemTime::now()
                        .duration_since(changed)
                        .is_ok_and(|silence| silence > SILENCE)
                });
            let status = if is_silent {
                RunStatus::Killed
            } else {
                RunStatus::Running
            };
            self.writer.end(status, None);
        }
        self.writer.finish()
    }

    /// Writes the values of the summary that have no history.
    fn write_summary(&mut self) -> Result<(), Failure> {
        let media: Vec<String> = { self.summary.keys() }
            .filter_map(|key| key.strip_suffix("._type"))
            .map(|owner| format!("{owner}."))
            .collect();
        let time_ms = self.writer.last_time_ms();
        for (path, value) in std::mem::take(&mut self.summary) {
            if media.iter().any(|owner| path.starts_with(&**owner)) {
                continue;
            }
            let mut values = Vec::new();
            flatten(path, value, &mut |key, value| values.push((key, value)));
            for (key, value) in values {
                if self.metrics.contains(&key) {
                    continue;
                }
                match value.number() {
                    Some(number) => self.writer.point(&key, self.last_step, number, time_ms)?,
                    None => self
                        .writer
                        .tag(&format!("summary.{key}"), &value.to_string()),
                }
            }
        }
        Ok(())
    }

    /// Writes the files of the run, and its console output if there is no file of it.
    fn write_files(&mut self) -> Result<(), Failure> {
        let folder = self.path.parent().unwrap_or(Path::new("")).join("files");
        let mut files = Vec::new();
        if folder.is_dir() {
            list_files(&folder, 0, &mut files)
                .map_err(|error| Failure::Io(format!("cannot read {}", folder.display()), error))?;
        }
        let has_output = folder.join(OUTPUT_FILE).is_file();
        for file in files {
            let path = file.strip_prefix(&folder).unwrap_or(&file);
            let path = path.to_string_lossy().into_owned();
            if path == CONFIG_FILE && self.has_secret_member(&file) {
                continue;
            }
            self.writer.artifact(&path, Artifact::File(&file))?;
        }
        let output = std::mem::take(&mut self.output);
        if !has_output && !output.is_empty() {
            let content = Artifact::Bytes(output.into_bytes());
            self.writer.artifact(OUTPUT_FILE, content)?;
        }
        Ok(())
    }

    /// Returns true, with a line, if the config holds a secret, which its name tells.
    fn has_secret_member(&self, config: &Path) -> bool {
        // A file that cannot be read is told where it is stored.
        let yaml = fs::read(config).unwrap_or_default();
        let yaml = String::from_utf8_lossy(&yaml);
        let Some(name) = secret_member(&yaml) else {
            return false;
        };
        self.importer.remark(format!(
            "artifact {CONFIG_FILE:?} is left out: its member {name:?} has the name of a secret. The params hold the \
             other values"
        ));
        true
    }
}

/// Adds the files of a folder, in the order of their names. A link to a folder is not followed.
fn list_files(folder: &Path, depth: usize, files: &mut Vec<PathBuf>) -> io::Result<()> {
    let mut entries = fs::read_dir(folder)?.collect::<io::Result<Vec<_>>>()?;
    entries.sort_by_key(fs::DirEntry::file_name);
    for entry in entries {
        let path = entry.path();
        if entry.file_type()?.is_dir() && depth < MAX_FOLDER_DEPTH {
            list_files(&path, depth + 1, files)?;
        } else if path.is_file() {
            files.push(path);
        }
    }
    Ok(())
}

impl Item {
    /// Returns the key, with dots between its parts.
    fn path(&self) -> String {
        if self.nested_key.is_empty() {
            self.key.clone()
        } else {
            self.nested_key.join(".")
        }
    }

    /// Returns the value; `None` if it cannot be read.
    fn value(&self) -> Option<Json> {
        match &self.value {
            None => Json::parse(&self.value_json),
            Some(ItemValue::Flag(flag)) => Some(Json::Flag(*flag)),
            Some(ItemValue::Integer(integer)) => Some(Json::Number(integer.to_string())),
            Some(ItemValue::Number(number)) => Some(Json::Number(number.to_string())),
            Some(ItemValue::Text(text)) => Some(Json::Text(text.clone())),
            Some(ItemValue::Json(json)) => Json::parse(json),
        }
    }
}

/// Returns true for the keys that W&B keeps for itself.
fn is_internal(path: &str) -> bool {
    path.starts_with('_')
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::commands::import::writer::QUIET;

    /// Reader that ends with an error.
    struct Failing<'b>(&'b [u8]);

    impl Read for Failing<'_> {
        fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
            match self.0.read(buffer)? {
                0 => Err(io::Error::other("the disk is broken")),
                read => Ok(read),
            }
        }
    }

    #[test]
    fn a_read_error_keeps_what_was_read_before() {
        let run = Run {
            run_id: "a".to_owned(),
            ..Run::default()
        };
        let point = Item {
            key: "loss".to_owned(),
            value: Some(ItemValue::Number(0.5)),
            ..Item::default()
        };
        let history = History {
            item: vec![point],
            step: None,
        };
        let mut contents = vec![Content::Run(Box::new(run))];
        contents.extend(vec![Content::History(history); 3000]);
        let records: Vec<Vec<u8>> = { contents.into_iter() }
            .map(|content| {
                let content = Some(content);
                Record { content }.encode_to_vec()
            })
            .collect();
        let bytes = log_file::framed(&records);
        assert!(bytes.len() > 65_536);
        let mut log = LogFile::open(Failing(&bytes[..65_536]))
            .expect("bytes")
            .expect("a header");

        let config = mlflow::Config::new().tracking_uri("http://127.0.0.1:9");
        let client = mlflow::blocking::Client::with_config(config);
        let importer = Importer::new(&client, QUIET, None, true, &[]).expect("signals");
        let mut reader = RunReader::new(Path::new("a/run-a.wandb"), &importer);
        reader.read(&mut log).expect("damage");
        reader.finish().expect("a dry run");
        let results = importer.into_results();
        assert_eq!(results.damaged_files, 1);
        let remark = &results.remarks[0];
        assert!(remark.contains("cannot be read to its end: the disk is broken"));
        let points = results.runs[0].points;
        assert!((2000..3000).contains(&points), "{points}");
    }

    #[test]
    fn members_with_the_name_of_a_secret_are_found() {
        for (yaml, name) in [
            (
                "lr:\n  value: 1\ndb_password:\n  value: a",
                Some("db_password"),
            ),
            ("db:\n  value:\n    - apiKey: a", Some("apiKey")),
            ("db: {host: a, \"api-key\": b}", Some("api-key")),
            ("max_tokens:\n  value: 8\nnote:\n  value: a token", None),
        ] {
            assert_eq!(secret_member(yaml), name, "{yaml}");
        }
    }
}
