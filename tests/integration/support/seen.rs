//! Run as read back from a store, in one form for every way of reading.

use std::collections::BTreeMap;

use serde_json::Value;

/// Point of a metric. The value is as MLflow holds it: ±∞ is the largest finite value.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Point {
    pub(crate) timestamp_ms: i64,
    pub(crate) step: i64,
    pub(crate) value: f64,
}

impl Point {
    pub(crate) fn new(step: i64, timestamp_ms: i64, value: f64) -> Self {
        Self {
            timestamp_ms,
            step,
            value: if value.is_nan() {
                value
            } else {
                value.clamp(f64::MIN, f64::MAX)
            },
        }
    }

    pub(crate) fn of_rest(metric: &Value) -> Self {
        let integer = |field: &str| metric[field].as_i64().unwrap_or(0);
        Self::new(
            integer("step"),
            integer("timestamp"),
            number(&metric["value"]),
        )
    }
}

/// Treats all NaN as equal.
impl PartialEq for Point {
    fn eq(&self, other: &Self) -> bool {
        (self.timestamp_ms, self.step) == (other.timestamp_ms, other.step)
            && same(self.value, other.value)
    }
}

/// Returns true if the numbers are equal or both NaN.
fn same(a: f64, b: f64) -> bool {
    a == b || (a.is_nan() && b.is_nan())
}

/// Latest value of a metric. All NaN are equal.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Latest(pub(crate) f64);

impl PartialEq for Latest {
    fn eq(&self, other: &Self) -> bool {
        same(self.0, other.0)
    }
}

/// Dataset as an input of a run.
#[derive(Clone, Debug, Default, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) struct SeenInput {
    pub(crate) name: String,
    pub(crate) digest: String,
    pub(crate) source_type: String,
    pub(crate) source: String,
    pub(crate) schema: Option<String>,
    pub(crate) profile: Option<String>,
    pub(crate) tags: BTreeMap<String, String>,
}

impl SeenInput {
    /// Reads an input from the answer of `runs/get`, or from the output of the Python script in
    /// [`read_file`](super::mlflow::read_file), which has the same form.
    fn new(input: &Value) -> Self {
        let dataset = &input["dataset"];
        let optional = |field: &str| dataset[field].as_str().map(str::to_owned);
        Self {
            name: text(&dataset["name"]),
            digest: text(&dataset["digest"]),
            source_type: text(&dataset["source_type"]),
            source: text(&dataset["source"]),
            schema: optional("schema"),
            profile: optional("profile"),
            tags: pairs(&input["tags"]),
        }
    }

    /// Reads a list of inputs.
    fn list(inputs: &Value) -> Vec<Self> {
        let inputs = inputs.as_array().map(Vec::as_slice).unwrap_or_default();
        inputs.iter().map(Self::new).collect()
    }
}

/// Metric of a logged model, with its value as text.
#[derive(Clone, Debug, Default, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) struct SeenModelMetric {
    pub(crate) key: String,
    pub(crate) timestamp_ms: i64,
    pub(crate) step: i64,
    pub(crate) value: String,
    /// Name and digest of the dataset.
    pub(crate) dataset: Option<(String, String)>,
}

impl SeenModelMetric {
    /// Returns a metric as MLflow holds it, which knows no NaN and no infinity here.
    pub(crate) fn new(key: &str, timestamp_ms: i64, step: i64, value: f64) -> Self {
        let value = if value.is_nan() { 0.0 } else { value };
        Self {
            key: key.to_owned(),
            timestamp_ms,
            step,
            value: value.clamp(f64::MIN, f64::MAX).to_string(),
            dataset: None,
        }
    }

    fn of_rest(metric: &Value) -> Self {
        let integer = |field: &str| metric[field].as_i64().unwrap_or(0);
        let (step, value) = (integer("step"), number(&metric["value"]));
        let name = metric["dataset_name"].as_str();
        Self {
            dataset: name.map(|name| (name.to_owned(), text(&metric["dataset_digest"]))),
            ..Self::new(&text(&metric["key"]), integer("timestamp"), step, value)
        }
    }
}

/// Logged model as an output of a run.
#[derive(Clone, Debug, Default, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) struct SeenModel {
    pub(crate) name: String,
    pub(crate) status: String,
    pub(crate) model_type: String,
    pub(crate) params: BTreeMap<String, String>,
    /// Tags other than MLflow's own.
    pub(crate) tags: BTreeMap<String, String>,
    pub(crate) metrics: Vec<SeenModelMetric>,
    pub(crate) step: i64,
    /// Sizes of the files by path.
    pub(crate) files: BTreeMap<String, u64>,
}

impl SeenModel {
    /// Reads a model from the answer of `logged-models/get`, which holds no files.
    pub(crate) fn of_rest(model: &Value, step: i64) -> Self {
        let (info, data) = (&model["info"], &model["data"]);
        let mut tags = pairs(&info["tags"]);
        tags.retain(|key, _| !key.starts_with("mlflow."));
        let metrics = data["metrics"].as_array().map(Vec::as_slice);
        let metrics = metrics.unwrap_or_default().iter();
        let mut metrics: Vec<_> = metrics.map(SeenModelMetric::of_rest).collect();
        metrics.sort();
        Self {
            metrics,
            name: text(&info["name"]),
            status: text(&info["status"]),
            model_type: text(&info["model_type"]),
            params: pairs(&data["params"]),
            tags,
            step,
            files: BTreeMap::new(),
        }
    }

    /// Reads a model from the output of the Python script in [`read_file`](super::mlflow::read_file).
    fn of_python(model: &Value) -> Self {
        let files = model["files"].as_object().expect("an object").iter();
        let files = files
            .map(|(path, size)| (path.clone(), size.as_u64().expect("a size")))
            .collect();
        let step = model["step"].as_i64().expect("a step");
        Self {
            files,
            ..Self::of_rest(model, step)
        }
    }
}

/// Run with its values, artifacts, inputs and outputs.
#[derive(Clone, Debug, Default, PartialEq)]
pub(crate) struct Seen {
    pub(crate) name: String,
    pub(crate) user_id: String,
    pub(crate) status: String,
    pub(crate) start_time_ms: i64,
    /// End time; 0 for a run that has not ended.
    pub(crate) end_time_ms: i64,
    pub(crate) params: BTreeMap<String, String>,
    pub(crate) tags: BTreeMap<String, String>,
    pub(crate) latest: BTreeMap<String, Latest>,
    /// Points by key; ordered by timestamp, step and value once [`sorted`](Seen::sorted) has run.
    pub(crate) points: BTreeMap<String, Vec<Point>>,
    pub(crate) artifacts: BTreeMap<String, Vec<u8>>,
    /// Datasets, in their order once [`sorted`](Seen::sorted) has run.
    pub(crate) inputs: Vec<SeenInput>,
    /// Logged models, in their order once [`sorted`](Seen::sorted) has run.
    pub(crate) models: Vec<SeenModel>,
}

impl Seen {
    /// Sorts the points of each metric, the inputs and the models.
    pub(crate) fn sorted(mut self) -> Self {
        self.inputs.sort();
        self.models.sort();
        for points in self.points.values_mut() {
            points.sort_by(|a, b| {
                (a.timestamp_ms, a.step)
                    .cmp(&(b.timestamp_ms, b.step))
                    .then(a.value.total_cmp(&b.value))
            });
        }
        self
    }

    /// Reads a run from the answer of `runs/get`, which holds neither metric history nor artifacts.
    pub(crate) fn of_rest(run: &Value) -> Self {
        let (info, data) = (&run["info"], &run["data"]);
        let metrics = data["metrics"]
            .as_array()
            .map(Vec::as_slice)
            .unwrap_or_default();
        Self {
            name: text(&info["run_name"]),
            user_id: text(&info["user_id"]),
            status: text(&info["status"]),
            start_time_ms: info["start_time"].as_i64().unwrap_or(0),
            end_time_ms: info["end_time"].as_i64().unwrap_or(0),
            params: pairs(&data["params"]),
            tags: pairs(&data["tags"]),
            latest: metrics
                .iter()
                .map(|one| (text(&one["key"]), Latest(number(&one["value"]))))
                .collect(),
            inputs: SeenInput::list(&run["inputs"]["dataset_inputs"]),
            ..Self::default()
        }
    }

    /// Reads a run from the output of the Python script in [`read_file`](super::mlflow::read_file).
    pub(crate) fn of_python(run: &Value) -> Self {
        let map = |field: &str| {
            let pairs = run[field].as_object().expect("an object");
            pairs
                .iter()
                .map(|(key, value)| (key.clone(), text(value)))
                .collect::<BTreeMap<_, _>>()
        };
        let list = |field: &str| run[field].as_array().expect("a list").clone();
        let mut points: BTreeMap<String, Vec<Point>> = BTreeMap::new();
        for point in list("points") {
            let integer = |index: usize| point[index].as_i64().expect("an integer");
            let read = Point::new(integer(1), integer(2), number(&point[3]));
            points.entry(text(&point[0])).or_default().push(read);
        }
        let seen = Self {
            name: text(&run["name"]),
            user_id: text(&run["user"]),
            status: text(&run["status"]),
            start_time_ms: run["start"].as_i64().expect("an integer"),
            end_time_ms: run["end"].as_i64().expect("an integer"),
            params: map("params"),
            tags: map("tags"),
            latest: list("latest")
                .iter()
                .map(|one| (text(&one[0]), Latest(number(&one[1]))))
                .collect(),
            points,
            artifacts: map("files")
                .into_iter()
                .map(|(path, hex)| (path, unhex(&hex)))
                .collect(),
            inputs: SeenInput::list(&run["inputs"]),
            models: list("models").iter().map(SeenModel::of_python).collect(),
        };
        seen.sorted()
    }
}

/// Returns a list of objects with `key` and `value` as a map.
fn pairs(list: &Value) -> BTreeMap<String, String> {
    let list = list.as_array().map(Vec::as_slice).unwrap_or_default();
    list.iter()
        .map(|pair| (text(&pair["key"]), text(&pair["value"])))
        .collect()
}

fn text(value: &Value) -> String {
    value.as_str().unwrap_or_default().to_owned()
}

/// Returns the number in a JSON value, which may be a number or text.
fn number(value: &Value) -> f64 {
    match value {
        Value::String(text) => text.to_ascii_lowercase().parse().expect("a number"),
        number => number.as_f64().expect("a number"),
    }
}

fn unhex(hex: &str) -> Vec<u8> {
    let digits: Vec<u32> = hex
        .chars()
        .map(|digit| digit.to_digit(16).expect("a hex digit"))
        .collect();
    digits
        .chunks(2)
        .map(|pair| u8::try_from(pair[0] * 16 + pair[1]).expect("a byte"))
        .collect()
}
