//! Program that executes its arguments as commands, one after the other, so that a test can write a
//! scenario as a list of lines.
//!
//! ```text
//! start RUN           starts a run and makes it the current one
//! on RUN              makes a started run the current one
//! points KEY FROM TO  logs the points FROM..TO of a metric; point i has the value i and the step i
//! values KEY VALUE FROM TO  logs the points FROM..TO of a metric, all with the same value
//! param KEY VALUE     logs a param
//! tag KEY VALUE       sets a tag
//! text PATH CONTENT   logs a text as an artifact
//! rows PATH FROM TO   appends the rows FROM..TO to a table, in one call
//! row PATH FROM TO    appends the rows FROM..TO to a table, each in a call of its own
//! wide PATH COUNT     appends COUNT rows of a kilobyte to a table, in one call
//! pictures PATH FROM TO  appends the rows FROM..TO with an image of 4 × 2 pixels each to a table
//! pictured PATH       logs a value that holds an image as JSON
//! resume RUN ID       resumes a run by its id and makes it the current one
//! picture PATH SIZE   logs a square image of red pixels
//! sample KEY STEP     logs an image of 4 × 2 pixels of a series at a step
//! photo PATH KEY STEP logs the file of an image as one of a series at a step
//! file PATH           logs a file, or all files of a folder, as artifacts
//! keep COUNT          keeps the checkpoints of the newest steps
//! checkpoint STEP PATH  logs a file or folder as the checkpoint of a step
//! input PATH CONTEXT  logs a file as a dataset
//! url URL CONTEXT     logs the dataset at a URL, with a schema and a tag
//! array NAME          logs an array with targets as a dataset
//! misfit NAME         logs an array as a dataset whose shape does not fit and whose profile has a NaN
//! tagged NAME         logs a dataset with two tags of one key, one of which is also the context
//! model NAME PATH     logs a file as a model, with all that a model may have; PATH may end in .onnx
//! register NAME AS PATH  logs a file as a model, and registers it
//! promote NAME AS ALIAS PATH  logs a file or folder as a model, and registers it with an alias and a tag
//! measured NAME PATH DATASET  logs a file as a model with metrics, some of them on a file as a dataset
//! output ID STEP      logs a model by its id as an output
//! evaluates ID        logs a model by its id as an input
//! folder NAME PATH    logs all files of a folder as a model
//! fit NAME            calls a tracked function with a dataset as argument, which returns a model and a number
//! end RUN             ends a run
//! flush SECONDS       prints `flushed true` or `flushed false`
//! resend SECONDS      resends rejected values, and prints the same as `flush`
//! recover SECONDS     ships orphaned journals, and prints the report
//! move FROM TO        ships orphaned journals of the URI FROM to the URI TO, and prints the report or error
//! curves COUNT        calls COUNT times a function that returns a metric whose curve another thread logs
//! trials COUNT        calls COUNT times a function with two arguments that logs three points and returns a number
//! best EXPERIMENT KEY prints `best` and the greatest value that a run has of the metric, `none` or the error
//! to URI              sets the tracking URI for runs that start from now on
//! returned            calls functions whose attribute names their returned values rightly or wrongly
//! inner ID            calls, in a run of the experiment `outer`, a function that continues the run ID
//! outside KEY         logs a metric without a run
//! unstarted           makes the builder of a run and does not start the run
//! concurrency         prints how many requests are in flight at once while many wait
//! health              prints `health queued Q blocked H rejected R dropped D`
//! wait WORD           prints the word and waits for a line
//! abort               aborts the process
//! ```

#[path = "support/report.rs"]
mod report;

use std::collections::HashMap;
use std::env;
use std::path::Path;
use std::time::Duration;

use mlflow::{
    ActiveRun, ColumnType, Dataset, Flavor, Model, Run, RunStatus, Signature, TensorType,
};

fn main() {
    report::to_stderr();
    let mut guards: HashMap<String, ActiveRun> = HashMap::new();
    let mut current: Option<Run> = None;
    for argument in env::args().skip(1) {
        let words: Vec<&str> = argument.split(' ').collect();
        let run = || current.as_ref().expect("a run");
        let seconds = |text: &str| Duration::from_secs(text.parse().expect("seconds"));
        match words[..] {
            ["start", name] => {
                let guard = mlflow::start_run().name(name).nested(false).start();
                current = Some((*guard).clone());
                guards.insert(name.to_owned(), guard);
            }
            ["on", name] => current = Some((*guards[name]).clone()),
            ["points", key, from, to] => {
                let number = |text: &str| text.parse::<i64>().expect("a number");
                for step in number(from)..number(to) {
                    run().log_metric_at(key, step as f64, step);
                }
            }
            ["values", key, value, from, to] => {
                let number = |text: &str| text.parse::<i64>().expect("a number");
                let value: f64 = value.parse().expect("a number");
                for step in number(from)..number(to) {
                    run().log_metric_at(key, value, step);
                }
            }
            ["param", key, value] => run().log_param(key, value),
            ["tag", key, value] => run().set_tag(key, value),
            ["text", path, content] => run().log_text(content, path),
            ["rows", path, from, to] => run().log_table(rows(from, to), path),
            ["row", path, from, to] => {
                rows(from, to).for_each(|row| run().log_table([row], path));
            }
            ["wide", path, count] => {
                let count: usize = count.parse().expect("a number");
                let text = "x".repeat(1000);
                run().log_table((0..count).map(|id| (id, &text)), path);
            }
            #[cfg(feature = "image")]
            ["picture", path, size] => {
                let size: u32 = size.parse().expect("a number");
                let pixels = [200, 0, 0].repeat((size * size) as usize);
                run().log_image(mlflow::Image::rgb(size, size, pixels), path);
            }
            #[cfg(feature = "image")]
            ["sample", key, step] => {
                let step: u8 = step.parse().expect("a number");
                let pixels = vec![step; 4 * 2];
                run().log_image_at(mlflow::Image::gray(4, 2, pixels), key, step);
            }
            #[cfg(feature = "image")]
            ["pictures", path, from, to] => {
                let ids = from.parse::<u8>().expect("a number")..to.parse().expect("a number");
                let samples = ids.map(|id| Sample {
                    id,
                    picture: mlflow::Image::gray(4, 2, vec![id; 4 * 2]),
                });
                run().log_table(samples, path);
            }
            #[cfg(feature = "image")]
            ["pictured", path] => {
                let picture = mlflow::Image::gray(4, 2, vec![0; 4 * 2]);
                run().log_dict(&Sample { id: 0, picture }, path);
            }
            #[cfg(feature = "image")]
            ["photo", path, key, step] => {
                let step: i64 = step.parse().expect("a number");
                run().log_image_at(mlflow::Image::from_file(path), key, step);
            }
            ["resume", name, id] => {
                let guard = mlflow::start_run().run_id(id).start();
                current = Some((*guard).clone());
                guards.insert(name.to_owned(), guard);
            }
            ["file", path] => run().log_artifact(path),
            ["keep", count] => run().keep_checkpoints(count.parse().expect("a number")),
            ["checkpoint", step, path] => {
                run().log_checkpoint(path, step.parse::<i64>().expect("a number"));
            }
            ["input", path, context] => run().log_input(&Dataset::from_file(path), context),
            ["url", url, context] => {
                let columns = [
                    ("alcohol", ColumnType::Double),
                    ("quality", ColumnType::Long),
                ];
                let dataset = Dataset::from_url(url).schema(columns).tag("fold", "1");
                run().log_input(&dataset, context);
            }
            ["array", name] => {
                let features = [[0.0, 1.0], [2.0, 3.0], [4.0, 5.0]];
                let dataset = Dataset::from_slice(name, &features).targets(&[0_i64, 1, 1]);
                run().log_input(&dataset, "");
            }
            ["model", name, path] => {
                let flavor = if path.ends_with(".onnx") {
                    Flavor::Onnx
                } else {
                    Flavor::custom("weights")
                };
                let signature = Signature::new()
                    .input_tensor("x", TensorType::Float32, &[-1, 2])
                    .output_tensor("y", TensorType::Float32, &[-1, 2]);
                let model = Model::new(name)
                    .file(path)
                    .flavor(flavor)
                    .signature(signature)
                    .input_example(&[[1.0, 2.0]])
                    .param("layers", 2)
                    .param("width", 64)
                    .tag("stage", "dev")
                    .model_type("test/classifier")
                    .step(7);
                run().log_model(&model);
            }
            ["register", name, registered, path] => {
                run().log_model(&Model::new(name).file(path).register_as(registered));
            }
            ["promote", name, registered, alias, path] => {
                let model = Model::new(name).register_as(registered);
                let is_folder = Path::new(path).is_dir();
                let model = if is_folder {
                    model.folder(path)
                } else {
                    model.file(path)
                };
                run().log_model(&model.alias(alias).version_tag("stage", "dev"));
            }
            ["measured", name, path, dataset] => {
                let dataset = Dataset::from_file(dataset);
                let model = Model::new(name)
                    .file(path)
                    .step(3)
                    .metric("accuracy", 0.5)
                    .metric_on(&dataset, "accuracy", 0.25)
                    .metric_on(&dataset, "lost", f64::NAN)
                    .metric("ratio", f64::INFINITY)
                    .metric("AR@100", 1);
                run().log_model(&model);
            }
            ["output", id, step] => {
                run().log_output(id, step.parse::<i64>().expect("a number"));
            }
            ["evaluates", id] => run().log_model_input(id),
            ["folder", name, path] => run().log_model(&Model::new(name).folder(path)),
            ["fit", name] => drop(fit(Dataset::from_slice(name, &[0.5_f32, 1.5]), name)),
            ["tagged", name] => {
                let dataset = Dataset::new(name).tag("split", "a").tag("split", "b");
                run().log_input(&dataset.tag("mlflow.data.context", "mine"), "training");
            }
            ["misfit", name] => {
                let dataset = Dataset::from_slice(name, &[1.0, 2.0, 3.0, 4.0])
                    .shape(&[3, 2])
                    .profile("mean", f64::NAN);
                run().log_input(&dataset, "");
            }
            ["end", name] => {
                let guard = guards.remove(name).expect("a run");
                guard.finish(RunStatus::Finished);
            }
            ["returned"] => returned(),
            ["inner", id] => outer(id),
            ["flush", timeout] => {
                println!("flushed {}", mlflow::flush(seconds(timeout)).complete);
            }
            ["resend", timeout] => {
                println!(
                    "flushed {}",
                    mlflow::resend_rejected(seconds(timeout)).complete
                );
            }
            ["curves", count] => (0..count.parse().expect("a number")).for_each(|_: u32| {
                curve();
            }),
            ["trials", count] => {
                let count: u32 = count.parse().expect("a number");
                (0..count).for_each(|number| {
                    trial(number, 0.5);
                });
            }
            ["best", experiment, key] => best(experiment, key),
            ["to", uri] => mlflow::set_tracking_uri(uri),
            ["outside", key] => mlflow::log_metric(key, 1.0),
            ["unstarted"] => {
                let _run = mlflow::start_run().name("unstarted");
            }
            ["recover", timeout] => print_report(&mlflow::recover(seconds(timeout))),
            ["move", from, to] => match mlflow::recover_from(from, to, Duration::from_secs(60)) {
                Ok(report) => print_report(&report),
                Err(error) => println!("moved nothing: {error}"),
            },
            ["concurrency"] => println!("at once {}", mlflow::health().concurrent_requests),
            ["health"] => {
                let health = mlflow::health();
                println!(
                    "health queued {} blocked {} rejected {} dropped {}",
                    health.queued,
                    health.blocked,
                    health.rejected,
                    health.dropped.total()
                );
            }
            ["wait", word] => {
                println!("{word}");
                std::io::stdin()
                    .read_line(&mut String::new())
                    .expect("a line");
            }
            ["abort"] => std::process::abort(),
            _ => panic!("{argument:?} is nothing to do"),
        }
    }
}

/// Row of a table.
#[derive(serde::Serialize)]
struct Row {
    id: i64,
    text: String,
    score: f64,
}

/// Row of a table with pictures.
#[cfg(feature = "image")]
#[derive(serde::Serialize)]
struct Sample {
    id: u8,
    picture: mlflow::Image<'static>,
}

fn rows(from: &str, to: &str) -> impl Iterator<Item = Row> + use<> {
    let number = |text: &str| text.parse::<i64>().expect("a number");
    (number(from)..number(to)).map(|id| Row {
        id,
        text: format!("row {id}, \"quoted\""),
        score: id as f64 / 4.0,
    })
}

#[mlflow::tracked(metric = "loss")]
fn curve() -> f64 {
    let points = || (0..200).for_each(|step| mlflow::metric!("loss", step as f64, step = step));
    mlflow::thread::spawn(points)
        .join()
        .expect("a thread that logs");
    -0.5
}

#[mlflow::tracked]
fn trial(number: u32, rate: f64) -> f64 {
    for step in 0..3 {
        mlflow::metric!("loss", rate / f64::from(step + 1), step = step);
    }
    f64::from(number) * rate
}

fn best(experiment: &str, key: &str) {
    match mlflow::best_run(experiment, key, mlflow::Goal::Maximize) {
        Ok(Some(run)) => println!("best {}", run.metrics[key].value),
        Ok(None) => println!("best none"),
        Err(error) => println!("best error: {error}"),
    }
}

fn print_report(report: &mlflow::RecoverReport) {
    println!(
        "recovered complete {} found {} delivered {} rejected {} blocked {} left {}",
        report.complete,
        report.journals_found,
        report.delivered,
        report.rejected,
        report.blocked,
        report.journals_left
    );
}

#[derive(serde::Serialize)]
struct Scores {
    rmse: f64,
}

type Loss = f64;

#[mlflow::tracked(metric = "loss")]
fn fields() -> Result<Scores, String> {
    Ok(Scores { rmse: 0.5 })
}

#[mlflow::tracked(metric = "loss")]
fn text() -> &'static str {
    "0.5"
}

/// Returns a map whose keys are in another order at each call.
#[mlflow::tracked(metric = "loss")]
fn map() -> HashMap<String, f64> {
    (0..20).map(|key| (format!("k{key}"), 0.5)).collect()
}

#[mlflow::tracked(metrics("precision", "recall"))]
fn no_tuple() -> Scores {
    Scores { rmse: 0.5 }
}

#[mlflow::tracked(metric = "loss")]
fn fits() -> Result<Loss, String> {
    Ok(0.5)
}

#[mlflow::tracked(metric = "loss")]
fn absent() -> Option<Loss> {
    None
}

#[mlflow::tracked(metrics("precision", "recall"))]
fn pair() -> (f64, f64) {
    (0.5, 0.5)
}

fn returned() {
    for _ in 0..30 {
        map();
        fields().expect("it is fine");
        text();
        no_tuple();
        fits().expect("it is fine");
        absent();
        pair();
    }
}

#[mlflow::tracked(experiment = "outer")]
fn outer(id: &str) {
    inner(id);
}

#[mlflow::tracked(run_id = id)]
fn inner(id: &str) {
    let _ = id;
}

#[mlflow::tracked(metric = "accuracy", skip(name))]
fn fit(training: Dataset, name: &str) -> Result<(Model, f64), std::fmt::Error> {
    let _ = training;
    let model = Model::new(name).bytes("weights.bin", [1, 2, 3]).step(2);
    Ok((model, 0.75))
}
