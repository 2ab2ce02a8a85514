//! What a fake has recorded, as plain values.

use std::collections::BTreeMap;
use std::fmt;

use crate::environment;
use crate::model::RunStatus;
use crate::model::tag_keys;
use crate::run::callsite::Callsite;
use crate::store::StoredRunData;

/// A run as a [`Fake`](super::Fake) saw it.
///
/// Its `Debug` output leaves out what differs from one machine, or one day, to the next: the id, the
/// times, the tags of the environment and the build, and the time in a name that was not given. So
/// it can be a snapshot:
///
/// ```
/// # #[mlflow::tracked]
/// # fn train(alpha: f64) { mlflow::metric!("loss", 0.5, step = 1); }
/// let fake = mlflow::testing::fake();
/// train(0.1);
/// // insta::assert_debug_snapshot!(fake.runs());
/// assert_eq!(
///     format!("{:?}", fake.runs()),
///     r#"[RecordedRun { name: "train-[timestamp]", experiment: "Default", status: Finished, params: {"alpha": "0.1"}, metrics: {"loss": [(1, 0.5)]} }]"#
/// );
/// ```
#[derive(Clone, PartialEq)]
#[non_exhaustive]
pub struct RecordedRun {
    /// Its id.
    pub id: String,
    /// Its name.
    pub name: String,
    /// Its experiment's name.
    pub experiment: String,
    /// Its status; `Running` while it has not ended.
    pub status: RunStatus,
    /// The id of the run it is a child of.
    pub parent: Option<String>,
    /// Params.
    pub params: BTreeMap<String, String>,
    /// Tags.
    pub tags: BTreeMap<String, String>,
    /// Points by key, in the order they were logged.
    pub metrics: BTreeMap<String, Vec<MetricPoint>>,
    /// Artifacts by path.
    pub artifacts: BTreeMap<String, Vec<u8>>,
}

/// One point of a metric.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct MetricPoint {
    /// Step.
    pub step: i64,
    /// Value.
    pub value: f64,
    /// When it was logged, in ms since the Unix epoch.
    pub timestamp_ms: i64,
}

impl RecordedRun {
    pub(super) fn new(run: StoredRunData) -> Self {
        let mut metrics: BTreeMap<String, Vec<MetricPoint>> = BTreeMap::new();
        for point in run.metrics {
            metrics
                .entry(point.key.to_string())
                .or_default()
                .push(MetricPoint {
                    step: point.step,
                    value: point.value,
                    timestamp_ms: point.timestamp_ms,
                });
        }
        let mut tags = run.tags;
        tags.remove(tag_keys::RUN_KEY);
        Self {
            id: run.run_id,
            name: run.name,
            experiment: run.experiment,
            status: run.status,
            parent: tags.get(tag_keys::PARENT_RUN_ID).cloned(),
            params: run.params,
            tags,
            metrics,
            artifacts: run.artifacts,
        }
    }

    /// The tags that the code has set, or the outcome: without those of the environment and the build.
    pub fn own_tags(&self) -> impl Iterator<Item = (&str, &str)> {
        let tags = self.tags.iter();
        tags.map(|(key, value)| (key.as_str(), value.as_str()))
            .filter(|(key, _)| !is_automatic(key))
    }

    /// The name, without the time in one that was not given, and what tells it from others of the same second.
    // Input:  `train-20261126-134101-1f0c3b`, `a-20261126-134101`
    // Output: `train-[timestamp]`, `a-[timestamp]`
    fn stable_name(&self) -> String {
        let name = match self.name.rsplit_once('-') {
            Some((start, end))
                if end.len() == 6
                    && end.bytes().all(|byte| byte.is_ascii_hexdigit())
                    && is_timestamp(start.get(start.len().saturating_sub(15)..)) =>
            {
                start
            }
            _ => &self.name,
        };
        let start = name.len().saturating_sub(15);
        match name.split_at_checked(start) {
            Some((name, time)) if is_timestamp(Some(time)) => format!("{name}[timestamp]"),
            _ => self.name.clone(),
        }
    }
}

/// Whether this is a time as names have it: `20261126-134101`.
fn is_timestamp(text: Option<&str>) -> bool {
    let is_of_time = |(at, byte): (usize, u8)| match at {
        8 => byte == b'-',
        _ => byte.is_ascii_digit(),
    };
    text.is_some_and(|text| text.len() == 15 && text.bytes().enumerate().all(is_of_time))
}

/// Whether a tag is one that runs have without the code's doing.
pub(super) fn is_automatic(key: &str) -> bool {
    [tag_keys::RUN_NAME, tag_keys::PARENT_RUN_ID].contains(&key)
        || environment::for_process().has_tag(key)
        || Callsite::is_automatic_tag(key)
}

impl fmt::Debug for RecordedRun {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self {
            id: _,
            name: _,
            experiment,
            status,
            parent,
            params,
            tags: _,
            metrics,
            artifacts,
        } = self;
        let mut debug = f.debug_struct("RecordedRun");
        debug
            .field("name", &self.stable_name())
            .field("experiment", experiment)
            .field("status", status);
        if parent.is_some() {
            debug.field("nested", &true);
        }
        if !params.is_empty() {
            debug.field("params", params);
        }
        let tags: BTreeMap<&str, &str> = self.own_tags().collect();
        if !tags.is_empty() {
            debug.field("tags", &tags);
        }
        if !metrics.is_empty() {
            let points = |points: &Vec<MetricPoint>| -> Vec<(i64, f64)> {
                points
                    .iter()
                    .map(|point| (point.step, point.value))
                    .collect()
            };
            let metrics: BTreeMap<&String, _> = metrics
                .iter()
                .map(|(key, found)| (key, points(found)))
                .collect();
            debug.field("metrics", &metrics);
        }
        if !artifacts.is_empty() {
            let artifacts: BTreeMap<&String, _> = artifacts
                .iter()
                .map(|(path, bytes)| (path, ArtifactPreview(bytes)))
                .collect();
            debug.field("artifacts", &artifacts);
        }
        debug.finish()
    }
}

/// A short text as such, anything else by its length.
struct ArtifactPreview<'a>(&'a [u8]);

impl fmt::Debug for ArtifactPreview<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match std::str::from_utf8(self.0) {
            Ok(text) if text.len() <= 256 => fmt::Debug::fmt(text, f),
            _ => write!(f, "{} bytes", self.0.len()),
        }
    }
}
