//! TensorBoard: event files. All event files of one folder are one run.
//!
//! Scalars become metrics, whether they were logged as numbers or as tensors; hyperparameters become params;
//! texts and images become artifacts. Histograms, audio and graphs have no place in MLflow and are left out.

mod event;
mod record_file;

use std::collections::BTreeMap;
use std::fs::File;
use std::io::{self, BufReader};
use std::path::{Path, PathBuf};

use mlflow::RunStatus;
use prost::Message as _;

use self::event::{Content, Event, HparamKind, HparamsData, Tensor, Value};
use self::record_file::{RecordFile, Step};
use super::writer::{Artifact, Importer, RunWriter, SourceRun};
use crate::failure::Failure;
use crate::output::format;

/// Part of the name of each event file.
pub(super) const NAME_PART: &str = "tfevents";
/// Memory for the texts of one run. Texts beyond it are left out.
const MAX_TEXT_BYTES: usize = 16 << 20;
const BUFFER_BYTES: usize = 1 << 20;

/// Folder with event files.
#[derive(Debug)]
pub(super) struct EventFolder {
    /// Event files, the oldest first.
    pub(super) files: Vec<PathBuf>,
    pub(super) run: SourceRun,
}

/// Imports the run of a folder.
pub(super) fn import(folder: &EventFolder, importer: &Importer<'_>) -> Result<(), Failure> {
    let mut reader = EventReader {
        writer: importer.begin(folder.run.clone()),
        importer,
        plugins: BTreeMap::new(),
        texts: BTreeMap::new(),
        text_bytes: 0,
        earliest_ms: None,
        is_damaged: false,
        emptiness: "the event file is empty",
    };
    for file in &folder.files {
        match reader.read(file) {
            // The other files hold values of the same run.
            Err(failure @ Failure::Io(..)) if folder.files.len() > 1 => {
                importer.skip(file, &failure);
                reader.is_damaged = true;
            }
            read => read?,
        }
    }
    let is_empty = reader.writer.is_empty() && reader.texts.is_empty();
    match folder.files.first() {
        Some(file) if is_empty && !reader.is_damaged => importer.skip_empty(file, reader.emptiness),
        // A line has told what is wrong.
        _ if is_empty => Ok(()),
        _ => reader.finish(),
    }
}

/// Reader of the event files of one run.
struct EventReader<'i> {
    importer: &'i Importer<'i>,
    writer: RunWriter<'i>,
    /// Plugin of each tag: only the first value of a tag names it.
    plugins: BTreeMap<String, String>,
    /// Content of the artifact of each tag of texts.
    texts: BTreeMap<String, String>,
    text_bytes: usize,
    earliest_ms: Option<i64>,
    /// True if a line has told of a file that cannot be read in full.
    is_damaged: bool,
    /// Reason why there are no values, if there are none.
    emptiness: &'static str,
}

impl EventReader<'_> {
    fn read(&mut self, path: &Path) -> Result<(), Failure> {
        let file = match File::open(path) {
            Ok(file) => self.importer.progress.reader(file),
            Err(error) => {
                self.cut(path, &error);
                return Ok(());
            }
        };
        let mut records = RecordFile::new(BufReader::with_capacity(BUFFER_BYTES, file));
        let mut damaged = 0_u64;
        let mut has_record = false;
        loop {
            let step = match records.next_record() {
                Ok(step) => step,
                Err(error) => {
                    self.cut(path, &error);
                    break;
                }
            };
            match step {
                Step::Record(record) => match Event::decode(record) {
                    Ok(event) => self.event(event)?,
                    Err(_) => damaged += 1,
                },
                Step::Damaged { .. } => damaged += 1,
                Step::Lost { offset } => {
                    let what = format!(
                        "the length of the record at byte {offset} is damaged, so the rest of the file cannot be read"
                    );
                    if !has_record {
                        let path = path.display();
                        return Err(Failure::Io(
                            format!("cannot read {path} as an event file of TensorBoard"),
                            io::Error::other(what),
                        ));
                    }
                    self.importer.damage(path, &what);
                    self.is_damaged = true;
                    break;
                }
                Step::Truncated { .. } if !has_record => {
                    self.emptiness = "its first record is not complete";
                    break;
                }
                Step::Truncated { bytes } => {
                    self.importer.remark(format!(
                        "{}: the last record is not complete ({bytes} bytes), as after the end of a process by force; \
                         all records before it are imported",
                        path.display()
                    ));
                    break;
                }
                Step::End => break,
            }
            has_record = true;
            self.emptiness = "it holds no values";
        }
        if damaged > 0 {
            let records = format::counted(damaged, "record");
            let what = format!("the checksum or content of {records} is damaged");
            self.importer.damage(path, &what);
            self.is_damaged = true;
        }
        Ok(())
    }

    fn cut(&mut self, path: &Path, error: &io::Error) {
        self.is_damaged = true;
        self.importer.damage_by_read_error(path, error);
    }

    fn event(&mut self, event: Event) -> Result<(), Failure> {
        let Event {
            wall_time,
            step,
            summary,
        } = event;
        let time_ms = to_ms(wall_time);
        // Each file begins with an event without values, which tells when the file was opened.
        if self.earliest_ms.is_none_or(|earliest| time_ms < earliest) {
            self.earliest_ms = Some(time_ms);
            self.writer.start(time_ms);
        }
        let Some(summary) = summary else {
            return Ok(());
        };
        for value in summary.value {
            self.value(value, step, time_ms)?;
        }
        Ok(())
    }

    fn value(&mut self, value: Value, step: i64, time_ms: i64) -> Result<(), Failure> {
        let Value {
            tag,
            metadata,
            content,
        } = value;
        let plugin = metadata.and_then(|metadata| metadata.plugin_data);
        if let Some(plugin) = plugin {
            if plugin.plugin_name == "hparams" {
                self.hparams(&plugin.content);
                return Ok(());
            }
            if !self.plugins.contains_key(&tag) {
                self.plugins.insert(tag.clone(), plugin.plugin_name);
            }
        }
        match content {
            Some(Content::Scalar(number)) => {
                self.writer
                    .point(&tag, step, f64::from(number), Some(time_ms))
            }
            Some(Content::Image(image)) => self.image(&tag, step, image.encoded),
            Some(Content::Tensor(tensor)) => self.tensor(&tag, step, time_ms, tensor),
            Some(Content::Histogram(_)) => {
                self.left_out("histograms");
                Ok(())
            }
            Some(Content::Audio(_)) => {
                self.left_out("audio");
                Ok(())
            }
            None => Ok(()),
        }
    }

    fn tensor(
        &mut self,
        tag: &str,
        step: i64,
        time_ms: i64,
        mut tensor: Tensor,
    ) -> Result<(), Failure> {
        match self.plugins.get(tag).map(String::as_str) {
            Some("scalars") | None => match tensor.number() {
                Some(number) => self.writer.point(tag, step, number, Some(time_ms)),
                None => {
                    self.left_out("tensors without a plugin");
                    Ok(())
                }
            },
            Some("text") => {
                for text in &tensor.strings {
                    self.text(tag, step, &String::from_utf8_lossy(text));
                }
                Ok(())
            }
            // Width and height come before the images.
            Some("images") => {
                let images: Vec<_> = tensor.strings.drain(..).skip(2).collect();
                let is_single = images.len() == 1;
                for (index, image) in images.into_iter().enumerate() {
                    let tag = if is_single {
                        tag.to_owned()
                    } else {
                        format!("{tag}/{index}")
                    };
                    self.image(&tag, step, image)?;
                }
                Ok(())
            }
            Some(plugin) => {
                let what = format!("values of the plugin `{plugin}`");
                self.left_out(&what);
                Ok(())
            }
        }
    }

    fn text(&mut self, tag: &str, step: i64, text: &str) {
        self.text_bytes += text.len();
        if self.text_bytes > MAX_TEXT_BYTES {
            self.left_out("texts beyond 16 MiB a run");
            return;
        }
        let content = self.texts.entry(tag.to_owned()).or_default();
        content.push_str(&format!("step {step}\n{text}\n\n"));
    }

    fn image(&mut self, tag: &str, step: i64, image: Vec<u8>) -> Result<(), Failure> {
        let extension = match &*image {
            [0x89, b'P', b'N', b'G', ..] => "png",
            [0xff, 0xd8, ..] => "jpg",
            [b'G', b'I', b'F', ..] => "gif",
            _ => "bin",
        };
        let path = format!("images/{tag}/{step:08}.{extension}");
        self.writer.artifact(&path, Artifact::Bytes(image))
    }

    fn hparams(&mut self, content: &[u8]) {
        let Ok(data) = HparamsData::decode(content) else {
            self.left_out("hyperparameters that are damaged");
            return;
        };
        if let Some(start) = data.session_start {
            for (key, value) in start.hparams {
                match value.kind {
                    Some(HparamKind::Number(number)) => {
                        self.writer.param(&key, &number.to_string());
                    }
                    Some(HparamKind::Text(text)) => self.writer.param(&key, &text),
                    Some(HparamKind::Flag(flag)) => self.writer.param(&key, &flag.to_string()),
                    None => {}
                }
            }
            let start_ms = to_ms(start.start_time);
            if start_ms > 0 && self.earliest_ms.is_none_or(|earliest| start_ms < earliest) {
                self.earliest_ms = Some(start_ms);
                self.writer.start(start_ms);
            }
        }
        if let Some(end) = data.session_end {
            let status = match end.status {
                2 => RunStatus::Failed,
                3 => RunStatus::Running,
                _ => RunStatus::Finished,
            };
            let time_ms = to_ms(end.end_time);
            self.writer.end(status, Some(time_ms).filter(|ms| *ms > 0));
        }
    }

    fn left_out(&self, what: &str) {
        self.importer.remark(format!(
            "{}: {what} are left out: MLflow's runs do not hold them",
            self.writer.source_path()
        ));
    }

    fn finish(mut self) -> Result<(), Failure> {
        for (tag, text) in std::mem::take(&mut self.texts) {
            let path = format!("texts/{tag}.txt");
            self.writer
                .artifact(&path, Artifact::Bytes(text.into_bytes()))?;
        }
        self.writer.finish()
    }
}

/// Returns the time in ms. A time that is no number, or out of range, is that of the nearest one.
#[expect(
    clippy::cast_possible_truncation,
    reason = "a cast of a float saturates"
)]
fn to_ms(seconds: f64) -> i64 {
    (seconds * 1000.0).round() as i64
}
