//! Logging to the current run: functions for keys known at run time, macros for literal keys.
//!
//! Invariant: without a current run, each function and macro does nothing and costs one access to a
//! thread-local. A warning names the first keys that are logged so, at most five in a process, and the line of the call. Each
//! function therefore passes its caller's location on.

use std::fmt::Display;
use std::path::Path;
use std::time::SystemTime;

use serde::Serialize;

use crate::model::metric_key::Key;
#[cfg(feature = "image")]
use crate::run::Image;
use crate::run::Run;
use crate::run::current_run::{
    current_run_or_warn, has_current_run, report_key_outside_run, report_outside_run,
    with_current_run,
};
use crate::run::log_as::{LogAsInput, LogAsModel, describe_dataset, describe_model};
use crate::run::metric_value::{MetricValue, Step};
use crate::tracker::global::{self, COMPILED_OUT};

/// Logs a metric of the current run at step 0; see [`Run::log_metric`](crate::Run::log_metric).
///
/// ```
/// # let fake = mlflow::testing::fake();
/// # let run = mlflow::start_run().start();
/// mlflow::log_metric("rmse", 0.79);
/// # drop(run);
/// # fake.assert_metric("rmse", &[(0, 0.79)]);
/// ```
#[inline]
#[track_caller]
pub fn log_metric(key: &str, value: impl MetricValue) {
    log_point(key, value.as_metric(), 0);
}

/// Logs a metric of the current run at a step. For a key that is a literal, [`metric!`](crate::metric) is
/// faster.
///
/// ```
/// # let fake = mlflow::testing::fake();
/// # let run = mlflow::start_run().start();
/// for layer in 0..2 {
///     mlflow::log_metric_at(&format!("layer/{layer}/norm"), 1.0, 10);
/// }
/// # drop(run);
/// # fake.assert_metric("layer/1/norm", &[(10, 1.0)]);
/// ```
#[inline]
#[track_caller]
pub fn log_metric_at(key: &str, value: impl MetricValue, step: impl Step) {
    log_point(key, value.as_metric(), step.as_step());
}

#[track_caller]
fn log_point(key: &str, value: f64, step: i64) {
    if COMPILED_OUT {
        return;
    }
    if !has_current_run() {
        report_outside_run("metric", key);
    } else {
        with_current_run(move |run| run.log_now(key, value, step));
    }
}

/// Logs several metrics of the current run at one step.
///
/// ```
/// # let fake = mlflow::testing::fake();
/// # let run = mlflow::start_run().start();
/// mlflow::log_metrics([("rmse", 0.79), ("r2", 0.1)], 3);
/// # drop(run);
/// # fake.assert_metric("r2", &[(3, 0.1)]);
/// ```
#[track_caller]
pub fn log_metrics<K: AsRef<str>, V: MetricValue>(
    metrics: impl IntoIterator<Item = (K, V)>,
    step: impl Step,
) {
    if let Some(run) = current_run_or_warn("call of", "log_metrics") {
        run.log_metrics(metrics, step);
    }
}

/// Logs a metric of the current run at a step and a time; see [`Run::log_metric_at_time`](crate::Run::log_metric_at_time). The
/// time is a [`SystemTime`], or a time of a crate that becomes one, such as those of `jiff` and `chrono`.
///
/// ```
/// use std::time::{Duration, SystemTime};
///
/// # let fake = mlflow::testing::fake();
/// # let run = mlflow::start_run().start();
/// let measured = SystemTime::UNIX_EPOCH + Duration::from_millis(1_764_000_000_250);
/// mlflow::log_metric_at_time("temperature", 61.5, 0, measured);
/// # drop(run);
/// # assert_eq!(fake.runs()[0].metrics["temperature"][0].timestamp_ms, 1_764_000_000_250);
/// ```
#[track_caller]
pub fn log_metric_at_time(
    key: &str,
    value: impl MetricValue,
    step: impl Step,
    time: impl Into<SystemTime>,
) {
    if let Some(run) = current_run_or_warn("metric", key) {
        run.log_metric_at_time(key, value, step, time);
    }
}

/// Logs the numbers of a struct or map as metrics of the current run, at one step and one time; see
/// [`Run::log_metrics_of`](crate::Run::log_metrics_of).
///
/// ```
/// #[derive(serde::Serialize)]
/// struct Stats { loss: f64, acc: Option<f32>, lr: Vec<f64>, note: &'static str }
///
/// # let fake = mlflow::testing::fake();
/// # let run = mlflow::start_run().start();
/// let stats = Stats { loss: 0.3, acc: None, lr: vec![0.1, 0.01], note: "warm up" };
/// mlflow::log_metrics_of(&stats, 5);
/// # drop(run);
/// # fake.assert_metric("loss", &[(5, 0.3)]);
/// # fake.assert_metric("lr.1", &[(5, 0.01)]);
/// # assert_eq!(fake.runs()[0].metrics.len(), 3);
/// ```
#[track_caller]
pub fn log_metrics_of<T: Serialize + ?Sized>(stats: &T, step: impl Step) {
    if let Some(run) = current_run_or_warn("call of", "log_metrics_of") {
        run.log_metrics_of(stats, step);
    }
}

/// Logs a param of the current run; see [`Run::log_param`](crate::Run::log_param).
///
/// ```
/// # let fake = mlflow::testing::fake();
/// # let run = mlflow::start_run().start();
/// mlflow::log_param("optimizer", "adam");
/// # drop(run);
/// # fake.assert_param("optimizer", "adam");
/// ```
#[track_caller]
pub fn log_param(key: &str, value: impl Display) {
    if let Some(run) = current_run_or_warn("param", key) {
        run.log_param(key, value);
    }
}

/// Logs the fields of a struct or map as params of the current run; see
/// [`Run::log_params`](crate::Run::log_params).
///
/// ```
/// #[derive(serde::Serialize)]
/// struct Config { lr: f64, layers: Vec<u32> }
///
/// # let fake = mlflow::testing::fake();
/// # let run = mlflow::start_run().start();
/// mlflow::log_params(&Config { lr: 0.1, layers: vec![64, 32] });
/// # drop(run);
/// # fake.assert_param("lr", "0.1");
/// # fake.assert_param("layers", "[64, 32]");
/// ```
#[track_caller]
pub fn log_params<T: Serialize + ?Sized>(params: &T) {
    if let Some(run) = current_run_or_warn("call of", "log_params") {
        run.log_params(params);
    }
}

/// Sets a tag of the current run.
///
/// ```
/// # let fake = mlflow::testing::fake();
/// # let run = mlflow::start_run().start();
/// mlflow::set_tag("dataset", "v3");
/// # drop(run);
/// # fake.assert_tag("dataset", "v3");
/// ```
#[track_caller]
pub fn set_tag(key: &str, value: impl Display) {
    if let Some(run) = current_run_or_warn("tag", key) {
        run.set_tag(key, value);
    }
}

/// Sets several tags of the current run.
///
/// ```
/// # let fake = mlflow::testing::fake();
/// # let run = mlflow::start_run().start();
/// mlflow::set_tags([("dataset", "v3"), ("stage", "dev")]);
/// # drop(run);
/// # fake.assert_tag("stage", "dev");
/// ```
#[track_caller]
pub fn set_tags<K: AsRef<str>, V: Display>(tags: impl IntoIterator<Item = (K, V)>) {
    if let Some(run) = current_run_or_warn("call of", "set_tags") {
        run.set_tags(tags);
    }
}

/// Stores `text` as an artifact of the current run; see [`Run::log_text`](crate::Run::log_text).
///
/// ```
/// # let fake = mlflow::testing::fake();
/// # let run = mlflow::start_run().start();
/// mlflow::log_text("feature,weight\nalcohol,0.28\n", "coefficients.csv");
/// # drop(run);
/// # assert!(fake.runs()[0].artifacts.contains_key("coefficients.csv"));
/// ```
#[track_caller]
pub fn log_text(text: &str, artifact_file: &str) {
    if let Some(run) = current_run_or_warn("artifact", artifact_file) {
        run.log_text(text, artifact_file);
    }
}

/// Stores a value as JSON or YAML, as an artifact of the current run; see
/// [`Run::log_dict`](crate::Run::log_dict).
///
/// ```
/// #[derive(serde::Serialize)]
/// struct Config { lr: f64, layers: Vec<u32> }
///
/// # let fake = mlflow::testing::fake();
/// # let run = mlflow::start_run().start();
/// let config = Config { lr: 0.1, layers: vec![64, 32] };
/// mlflow::log_dict(&config, "config.yaml");
/// # drop(run);
/// # assert_eq!(fake.runs()[0].artifacts["config.yaml"], b"layers:\n  - 64\n  - 32\nlr: 0.1\n");
/// ```
#[track_caller]
pub fn log_dict<T: Serialize + ?Sized>(value: &T, artifact_file: &str) {
    if let Some(run) = current_run_or_warn("artifact", artifact_file) {
        run.log_dict(value, artifact_file);
    }
}

/// Appends rows to a table of the current run; see [`Run::log_table`](crate::Run::log_table).
///
/// ```
/// #[derive(serde::Serialize)]
/// struct Answer<'a> { question: &'a str, answer: &'a str, score: f64 }
///
/// # let fake = mlflow::testing::fake();
/// # let run = mlflow::start_run().start();
/// let answers = [
///     Answer { question: "2 + 2", answer: "4", score: 1.0 },
///     Answer { question: "2 * 3", answer: "5", score: 0.0 },
/// ];
/// mlflow::log_table(&answers, "eval.json");
/// mlflow::log_table([Answer { question: "1 - 1", answer: "0", score: 1.0 }], "eval.json");
/// # drop(run);
/// # let table = String::from_utf8(fake.runs()[0].artifacts["eval.json"].clone()).unwrap();
/// # assert_eq!(table, r#"{"columns":["question","answer","score"],"data":[["2 + 2","4",1.0],["2 * 3","5",0.0],["1 - 1","0",1.0]]}"#);
/// ```
#[track_caller]
pub fn log_table<T: Serialize>(rows: impl IntoIterator<Item = T>, artifact_file: &str) {
    if let Some(run) = current_run_or_warn("table", artifact_file) {
        run.log_table(rows, artifact_file);
    }
}

/// Stores an image as an artifact of the current run; see [`Run::log_image`](crate::Run::log_image).
///
/// ```
/// # let fake = mlflow::testing::fake();
/// # let run = mlflow::start_run().start();
/// let pixels: Vec<u8> = (0..16 * 16).flat_map(|at| [at as u8, 0, 255]).collect();
/// mlflow::log_image(mlflow::Image::rgb(16, 16, &pixels), "gradient.png");
///
/// let picture = image::DynamicImage::new_rgb8(16, 16); // of the crate `image`
/// mlflow::log_image(&picture, "black.png");
/// # drop(run);
/// # assert!(fake.runs()[0].artifacts["gradient.png"].starts_with(b"\x89PNG"));
/// # assert!(fake.runs()[0].artifacts.contains_key("black.png"));
/// ```
#[cfg(feature = "image")]
#[cfg_attr(docsrs, doc(cfg(feature = "image")))]
#[track_caller]
pub fn log_image<'i>(image: impl Into<Image<'i>>, artifact_file: &str) {
    if let Some(run) = current_run_or_warn("image", artifact_file) {
        run.log_image(image, artifact_file);
    }
}

/// Stores an image of a series at a step of the current run; see
/// [`Run::log_image_at`](crate::Run::log_image_at).
///
/// ```
/// # let fake = mlflow::testing::fake();
/// # let run = mlflow::start_run().start();
/// for step in 0..3 {
///     let sample = image::GrayImage::from_pixel(28, 28, image::Luma([80 * step as u8]));
///     mlflow::log_image_at(&sample, "samples/digit", step);
/// }
/// # drop(run);
/// # assert_eq!(fake.runs()[0].artifacts.len(), 6);
/// ```
#[cfg(feature = "image")]
#[cfg_attr(docsrs, doc(cfg(feature = "image")))]
#[track_caller]
pub fn log_image_at<'i>(image: impl Into<Image<'i>>, key: &str, step: impl Step) {
    if let Some(run) = current_run_or_warn("image", key) {
        run.log_image_at(image, key, step);
    }
}

/// Stores an SVG image or an HTML page as an artifact of the current run; see
/// [`Run::log_figure`](crate::Run::log_figure).
///
/// ```
/// # let fake = mlflow::testing::fake();
/// # let run = mlflow::start_run().start();
/// let svg = r#"<svg xmlns="http://www.w3.org/2000/svg"><circle r="4"/></svg>"#; // drawn by `plotters`
/// mlflow::log_figure(svg, "charts/confusion.svg");
/// # drop(run);
/// # assert!(fake.runs()[0].artifacts.contains_key("charts/confusion.svg"));
/// ```
#[track_caller]
pub fn log_figure(figure: &str, artifact_file: &str) {
    if let Some(run) = current_run_or_warn("artifact", artifact_file) {
        run.log_figure(figure, artifact_file);
    }
}

/// Stores copies of all files in a folder as artifacts of the current run; see
/// [`Run::log_artifacts`](crate::Run::log_artifacts).
///
/// ```
/// # let fake = mlflow::testing::fake();
/// # let run = mlflow::start_run().start();
/// mlflow::log_artifacts("benches");
/// # drop(run);
/// # assert!(fake.runs()[0].artifacts.contains_key("log.rs"));
/// ```
#[track_caller]
pub fn log_artifacts(local_dir: impl AsRef<Path>) {
    if let Some(run) = current_run_or_warn("artifact", &local_dir.as_ref().to_string_lossy()) {
        run.log_artifacts(local_dir);
    }
}

/// Stores a copy of a file as an artifact of the current run; see
/// [`Run::log_artifact`](crate::Run::log_artifact).
///
/// ```
/// # let fake = mlflow::testing::fake();
/// # let run = mlflow::start_run().start();
/// mlflow::log_artifact("Cargo.toml");
/// # drop(run);
/// # assert!(fake.runs()[0].artifacts.contains_key("Cargo.toml"));
/// ```
#[track_caller]
pub fn log_artifact(local_path: impl AsRef<Path>) {
    if let Some(run) = current_run_or_warn("artifact", &local_path.as_ref().to_string_lossy()) {
        run.log_artifact(local_path);
    }
}

/// Stores a copy of a local file or folder in the directory `artifact_path` of the current run's artifacts; see
/// [`Run::log_artifact_in`](crate::Run::log_artifact_in).
///
/// ```
/// # let fake = mlflow::testing::fake();
/// # let run = mlflow::start_run().start();
/// mlflow::log_artifact_in("Cargo.toml", "build");
/// # drop(run);
/// # assert!(fake.runs()[0].artifacts.contains_key("build/Cargo.toml"));
/// ```
#[track_caller]
pub fn log_artifact_in(local_path: impl AsRef<Path>, artifact_path: &str) {
    if let Some(run) = current_run_or_warn("call of", "log_artifact_in") {
        run.log_artifact_in(local_path, artifact_path);
    }
}

/// Stores copies of all files of a local folder in the directory `artifact_path` of the current run's artifacts; see
/// [`Run::log_artifacts_in`](crate::Run::log_artifacts_in).
///
/// ```
/// # let fake = mlflow::testing::fake();
/// # let run = mlflow::start_run().start();
/// mlflow::log_artifacts_in("benches", "source");
/// # drop(run);
/// # assert!(fake.runs()[0].artifacts.contains_key("source/log.rs"));
/// ```
#[track_caller]
pub fn log_artifacts_in(local_dir: impl AsRef<Path>, artifact_path: &str) {
    if let Some(run) = current_run_or_warn("call of", "log_artifacts_in") {
        run.log_artifacts_in(local_dir, artifact_path);
    }
}

/// Logs a dataset as an input of the current run; see [`Run::log_input`](crate::Run::log_input).
///
/// ```
/// use mlflow::Dataset;
///
/// # let fake = mlflow::testing::fake();
/// # let run = mlflow::start_run().start();
/// mlflow::log_input(&Dataset::from_file("Cargo.toml").name("wine"), "training");
/// # drop(run);
/// # fake.assert_input("wine", "training");
/// ```
#[track_caller]
pub fn log_input(dataset: &(impl LogAsInput + ?Sized), context: &str) {
    match Run::current() {
        Some(run) => run.log_input(dataset, context),
        None if global::is_enabled() => {
            if let Some(dataset) = describe_dataset(dataset) {
                current_run_or_warn("dataset", &dataset.shown_name());
            }
        }
        None => {}
    }
}

/// Stores a copy of a file or folder as the checkpoint of a step of the current run; see
/// [`Run::log_checkpoint`](crate::Run::log_checkpoint).
///
/// ```
/// # use std::fs;
/// # let fake = mlflow::testing::fake();
/// # let folder = std::env::temp_dir().join(format!("mlflow-doc-checkpoint-{}", std::process::id()));
/// # fs::create_dir_all(&folder)?;
/// # let weights = folder.join("weights.bin");
/// let resume = mlflow::start_run().name("fit").resume_last(); // a new run, unless the last one did not finish
/// if let Some(checkpoint) = resume.download_checkpoint("restored")? {
///     println!("go on from {}", checkpoint.display());
/// }
/// let run = resume.start();
/// for step in 0..3 {
///     // ...
///     fs::write(&weights, "weights")?;
///     mlflow::log_checkpoint(&weights, step);
/// }
/// # drop(run);
/// # assert!(fake.runs()[0].artifacts.contains_key("checkpoints/step-2.bin"));
/// # fs::remove_dir_all(&folder)?;
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
#[track_caller]
pub fn log_checkpoint(local_path: impl AsRef<Path>, step: impl Step) {
    if let Some(run) = current_run_or_warn("checkpoint", &local_path.as_ref().to_string_lossy()) {
        run.log_checkpoint(local_path, step);
    }
}

/// Keeps the checkpoints of the newest `count` steps of the current run, and deletes older ones; see
/// [`Run::keep_checkpoints`](crate::Run::keep_checkpoints).
///
/// ```
/// # use std::fs;
/// # let fake = mlflow::testing::fake();
/// # let folder = std::env::temp_dir().join(format!("mlflow-doc-keep-{}", std::process::id()));
/// # fs::create_dir_all(&folder)?;
/// # let weights = folder.join("weights.bin");
/// let run = mlflow::start_run().name("fit").start();
/// mlflow::keep_checkpoints(2);
/// for step in 0..5 {
///     // ...
///     fs::write(&weights, "weights")?;
///     mlflow::log_checkpoint(&weights, step);
/// }
/// # drop(run);
/// # let kept: Vec<_> = fake.runs()[0].artifacts.keys().cloned().collect();
/// # assert_eq!(kept, ["checkpoints/step-3.bin", "checkpoints/step-4.bin"]);
/// # fs::remove_dir_all(&folder)?;
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
#[track_caller]
pub fn keep_checkpoints(count: usize) {
    if let Some(run) = current_run_or_warn("setting", "keep_checkpoints") {
        run.keep_checkpoints(count);
    }
}

/// Logs a model as an output of the current run; see [`Run::log_model`](crate::Run::log_model).
///
/// ```
/// use mlflow::{Flavor, Model};
///
/// # let fake = mlflow::testing::fake();
/// # let run = mlflow::start_run().start();
/// let model = Model::new("digits").bytes("model.mpk", [0x81]).flavor(Flavor::custom("burn_record"));
/// mlflow::log_model(&model);
/// # drop(run);
/// # fake.assert_model_logged("digits");
/// ```
#[track_caller]
pub fn log_model(model: &(impl LogAsModel + ?Sized)) {
    match Run::current() {
        Some(run) => run.log_model(model),
        None if global::is_enabled() => {
            if let Some(model) = describe_model(model) {
                current_run_or_warn("model", model.name());
            }
        }
        None => {}
    }
}

/// Logs a model that exists already as an output of the current run; see [`Run::log_output`](crate::Run::log_output).
///
/// ```
/// # let fake = mlflow::testing::fake();
/// # let run = mlflow::start_run().start();
/// mlflow::log_output("m-0a1b2c3d4e5f60718293a4b5c6d7e8f9", 100);
/// # drop(run);
/// # assert_eq!(fake.runs()[0].model_outputs, [("m-0a1b2c3d4e5f60718293a4b5c6d7e8f9".to_owned(), 100)]);
/// ```
#[track_caller]
pub fn log_output(model_id: &str, step: impl Step) {
    if let Some(run) = current_run_or_warn("model output", model_id) {
        run.log_output(model_id, step);
    }
}

/// Logs a model that exists already as an input of the current run, e.g. the one that the run evaluates; see
/// [`Run::log_model_input`](crate::Run::log_model_input).
///
/// ```
/// # let fake = mlflow::testing::fake();
/// # let run = mlflow::start_run().start();
/// mlflow::log_model_input("m-0a1b2c3d4e5f60718293a4b5c6d7e8f9");
/// # drop(run);
/// # assert_eq!(fake.runs()[0].model_inputs, ["m-0a1b2c3d4e5f60718293a4b5c6d7e8f9"]);
/// ```
#[track_caller]
pub fn log_model_input(model_id: &str) {
    if let Some(run) = current_run_or_warn("model input", model_id) {
        run.log_model_input(model_id);
    }
}

/// Logs a metric of the current run under an interned key; [`metric!`](crate::metric) expands to this call.
///
/// Inlined into the program, whose access to the thread-local is cheaper.
#[doc(hidden)]
#[inline]
#[track_caller]
pub fn log_key(key: &Key, value: f64, step: i64) {
    if COMPILED_OUT {
        return;
    }
    if has_current_run() {
        append_to_current_run(key, value, step);
    } else {
        report_key_outside_run("metric", key);
    }
}

/// All of an append, in one function.
#[inline(never)]
fn append_to_current_run(key: &Key, value: f64, step: i64) {
    with_current_run(move |run| run.log_now(key, value, step));
}

/// Logs a metric of the current run under a literal key, checked at compile time.
///
/// Without a step, the step is 0. The value is any number or a `bool`, the step any integer. The expressions
/// of the value and the step are evaluated even if there is no current run.
///
/// ```
/// # let fake = mlflow::testing::fake();
/// # let run = mlflow::start_run().start();
/// for epoch in 0..3_usize {
///     mlflow::metric!("loss", 1.0 / (1 + epoch) as f32, step = epoch);
/// }
/// mlflow::metric!("converged", true);
/// # drop(run);
/// # fake.assert_metric("loss", &[(0, 1.0), (1, 0.5), (2, f64::from(1.0_f32 / 3.0))]);
/// # fake.assert_metric("converged", &[(0, 1.0)]);
/// ```
///
/// A key that MLflow would refuse does not compile:
///
/// ```compile_fail
/// mlflow::metric!("loss=", 0.5);
/// ```
#[macro_export]
macro_rules! metric {
    ($key:literal, $value:expr $(,)?) => {
        $crate::metric!($key, $value, step = 0_i64)
    };
    ($key:literal, $value:expr, step = $step:expr $(,)?) => {{
        static KEY: $crate::__private::Key = $crate::__private::Key::new($key);
        $crate::__private::log_key(
            &KEY,
            $crate::__private::MetricValue::as_metric(&$value),
            $crate::__private::Step::as_step(&$step),
        )
    }};
    ($key:literal $($rest:tt)*) => {
        ::core::compile_error!(
            "`metric!` takes a key, a value, and the step by its name: `metric!(\"loss\", value, step = 3)`"
        )
    };
    ($key:expr, $($rest:tt)*) => {
        ::core::compile_error!(::core::concat!(
            "`metric!` takes a literal as its key, which `",
            ::core::stringify!($key),
            "` is not: `mlflow::log_metric(key, value)` and `mlflow::log_metric_at(key, value, step)` take any text"
        ))
    };
}

/// Logs several metrics of the current run at one step; see [`metric!`](crate::metric).
///
/// ```
/// # let fake = mlflow::testing::fake();
/// # let run = mlflow::start_run().start();
/// mlflow::metrics!(step = 7, "loss" => 0.25, "accuracy" => 0.9);
/// # drop(run);
/// # fake.assert_metric("accuracy", &[(7, 0.9)]);
/// ```
#[macro_export]
macro_rules! metrics {
    (step = $step:expr, $($key:literal => $value:expr),+ $(,)?) => {{
        let step = $crate::__private::Step::as_step(&$step);
        $($crate::metric!($key, $value, step = step);)+
    }};
    ($($key:literal => $value:expr),+ $(,)?) => {
        $crate::metrics!(step = 0_i64, $($key => $value),+)
    };
    ($($key:literal => $value:expr),+, step = $step:expr $(,)?) => {
        $crate::metrics!(step = $step, $($key => $value),+)
    };
    ($($other:tt)*) => {
        ::core::compile_error!(
            "`metrics!` takes `\"key\" => value` pairs with literal keys, and one step by its name: \
             `metrics!(\"loss\" => 0.25, step = 7)`; `mlflow::log_metrics([(key, value)], step)` takes any text as a key"
        )
    };
}
