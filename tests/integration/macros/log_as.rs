//! Arguments and returned values that are logged as what they are: datasets as inputs, models as outputs.

use std::cell::Cell;
use std::rc::Rc;
use std::sync::Arc;

use mlflow::testing::RecordedRun;
use mlflow::{Dataset, LogAsInput, LogAsModel, Model, tracked};

use super::recorder::{RunStatus, block_on, fake, last_metrics, only_run, params, runs_apart};
use crate::support::warnings;

/// Data with more values than a param holds.
struct Digits {
    name: &'static str,
    pixels: Vec<f32>,
}

impl LogAsInput for Digits {
    fn to_dataset(&self) -> Dataset {
        Dataset::from_slice(self.name, &self.pixels)
    }
}

fn digits(name: &'static str) -> Digits {
    Digits {
        name,
        pixels: vec![0.5; 100],
    }
}

/// Trained model that is no `Serialize`.
struct Net(f32);

impl LogAsModel for Net {
    fn to_model(&self) -> Model {
        Model::new("net").bytes("weights.bin", self.0.to_le_bytes())
    }
}

/// Model with measurements of its own.
#[derive(serde::Serialize)]
struct Trained {
    #[serde(skip)]
    weight: f32,
    accuracy: f64,
}

impl LogAsModel for Trained {
    fn to_model(&self) -> Model {
        Model::new("trained").bytes("weights.bin", self.weight.to_le_bytes())
    }
}

/// Returns the inputs of a run: name and context of each.
fn inputs(run: &RecordedRun) -> Vec<(&str, &str)> {
    run.inputs
        .iter()
        .map(|input| (&*input.name, input.context.as_deref().unwrap_or_default()))
        .collect()
}

fn models(run: &RecordedRun) -> Vec<&str> {
    run.models.iter().map(|model| &*model.name).collect()
}

fn models_of(runs: &[RecordedRun]) -> Vec<Vec<&str>> {
    runs.iter().map(models).collect()
}

#[test]
fn a_dataset_argument_is_an_input_with_the_arguments_name_as_context() {
    #[tracked]
    fn train(training: &Digits, validation: Digits, rate: f64) -> f64 {
        (training.pixels.len() + validation.pixels.len()) as f64 * rate
    }
    let fake = fake();
    assert_eq!(train(&digits("a"), digits("b"), 0.5), 100.0);
    let run = only_run(&fake);
    assert_eq!(inputs(&run), [("a", "training"), ("b", "validation")]);
    assert_eq!(params(&run), [("rate", "0.5")]);
    assert_eq!(last_metrics(&run), [("train", 100.0)]);
}

#[test]
fn a_returned_model_is_an_output_and_its_numbers_are_metrics() {
    #[tracked]
    fn alone() -> Net {
        Net(0.5)
    }
    #[tracked]
    fn with_fields(fails: bool) -> Result<Trained, String> {
        if fails {
            return Err("no".to_owned());
        }
        Ok(Trained {
            weight: 1.0,
            accuracy: 0.75,
        })
    }
    #[tracked(metric = "loss")]
    fn with_a_number() -> Option<(Net, f64)> {
        Some((Net(1.0), 0.25))
    }
    #[tracked]
    async fn later() -> Result<(Net, Vec<f64>), String> {
        Ok((Net(1.0), vec![0.5]))
    }
    let fake = fake();
    assert_eq!(alone().0, 0.5);
    assert!(with_fields(false).is_ok());
    assert!(with_fields(true).is_err());
    assert!(with_a_number().is_some());
    assert!(block_on(later()).is_ok());
    let runs = fake.runs();
    assert_eq!(
        models_of(&runs),
        [
            vec!["net"],
            vec!["trained"],
            vec![],
            vec!["net"],
            vec!["net"]
        ]
    );
    assert_eq!(
        runs[0].models[0].files["weights.bin"],
        0.5_f32.to_le_bytes()
    );
    assert_eq!(last_metrics(&runs[1]), [("accuracy", 0.75)]);
    assert_eq!(runs[2].status, RunStatus::Failed);
    assert_eq!(last_metrics(&runs[3]), [("loss", 0.25)]);
    assert_eq!(last_metrics(&runs[4]), [("later.0", 0.5)]);
}

/// Regression: of a model in front of several numbers, neither the model nor the numbers were logged.
#[test]
fn a_model_in_front_of_several_numbers_is_logged_with_them() {
    #[tracked(metrics("accuracy", "auc"))]
    fn named() -> Result<(Net, f64, f64), String> {
        Ok((Net(1.0), 0.5, 0.75))
    }
    #[tracked]
    fn unnamed() -> (Box<Net>, f64, Option<u32>, bool) {
        (Box::new(Net(1.0)), 0.5, Some(7), true)
    }
    let fake = fake();
    assert!(named().is_ok());
    unnamed();
    let runs = fake.runs();
    assert_eq!(models_of(&runs), [vec!["net"], vec!["net"]]);
    assert_eq!(last_metrics(&runs[0]), [("accuracy", 0.5), ("auc", 0.75)]);
    assert_eq!(
        last_metrics(&runs[1]),
        [("unnamed.0", 0.5), ("unnamed.1", 7.0), ("unnamed.2", 1.0)]
    );
}

#[test]
fn pointers_options_and_collections_are_looked_through() {
    #[tracked]
    fn train(
        shared: Arc<Digits>,
        (counted, boxed): (Rc<Digits>, Box<dyn LogAsInput>),
        present: Option<&Digits>,
        absent: Option<Digits>,
        folds: &[Digits],
        list: Vec<Digits>,
        mutable: &mut Digits,
    ) -> Vec<Box<dyn LogAsModel>> {
        let _ = (shared, counted, boxed, present, absent, folds, list);
        mutable.pixels.clear();
        vec![
            Box::new(Net(1.0)),
            Box::new(Trained {
                weight: 1.0,
                accuracy: 1.0,
            }),
        ]
    }
    let fake = fake();
    let all = train(
        Arc::new(digits("a")),
        (Rc::new(digits("b")), Box::new(digits("c"))),
        Some(&digits("d")),
        None,
        &[digits("e"), digits("f")],
        vec![digits("g")],
        &mut digits("h"),
    );
    assert_eq!(all.len(), 2);
    let run = only_run(&fake);
    let names: Vec<_> = inputs(&run).into_iter().map(|(name, _)| name).collect();
    assert_eq!(names, ["a", "b", "c", "d", "e", "f", "g", "h"]);
    assert_eq!(params(&run), []);
    assert_eq!(models(&run), ["net", "trained"]);
}

#[test]
fn generic_code_sees_what_its_bounds_say() {
    #[tracked]
    fn bounded<D: LogAsInput, M: LogAsModel>(data: &D, model: M) -> M {
        let _ = data.to_dataset();
        model
    }
    #[tracked]
    fn unbounded<D, M>(data: D, model: M) -> M {
        drop(data);
        model
    }
    #[tracked]
    fn opaque(data: &impl LogAsInput) -> impl LogAsModel {
        let _ = data;
        Net(1.0)
    }
    let fake = fake();
    bounded(&digits("a"), Net(1.0));
    unbounded(digits("a"), Net(1.0));
    let _ = opaque(&digits("b"));
    let runs = fake.runs();
    assert_eq!(inputs(&runs[0]), [("a", "data")]);
    assert_eq!(inputs(&runs[1]), []);
    assert_eq!(inputs(&runs[2]), [("b", "data")]);
    assert_eq!(models_of(&runs), [vec!["net"], vec![], vec!["net"]]);
    // The function has not made the model that it was given.
    assert!(
        params(&runs[0])[0].1.contains("Net"),
        "{:?}",
        runs[0].params
    );
}

#[test]
fn the_attribute_switches_each_of_them_off() {
    #[tracked(skip(data), skip_return)]
    fn skipped(data: &Digits) -> Trained {
        let _ = data;
        Trained {
            weight: 1.0,
            accuracy: 0.5,
        }
    }
    #[tracked(skip_all, log_model = false)]
    fn measured(data: &Digits) -> Trained {
        let _ = data;
        Trained {
            weight: 1.0,
            accuracy: 0.5,
        }
    }
    #[tracked(redact(data), log_model = *keep)]
    fn redacted(data: &Digits, keep: &bool) -> (Net, f64) {
        let _ = data;
        (Net(1.0), if *keep { 1.0 } else { 0.0 })
    }
    #[tracked(params(data = data.name))]
    fn replaced(data: &Digits) {
        let _ = data;
    }
    let fake = fake();
    skipped(&digits("a"));
    measured(&digits("a"));
    redacted(&digits("a"), &false);
    redacted(&digits("a"), &true);
    replaced(&digits("a"));
    let runs = fake.runs();
    assert!(runs.iter().all(|run| run.inputs.is_empty()), "{runs:#?}");
    assert_eq!(
        models_of(&runs),
        [vec![], vec![], vec![], vec!["net"], vec![]]
    );
    assert_eq!(last_metrics(&runs[0]), []);
    assert_eq!(last_metrics(&runs[1]), [("accuracy", 0.5)]);
    assert_eq!(last_metrics(&runs[2]), [("redacted", 0.0)]);
    assert_eq!(
        params(&runs[2]),
        [("data", "[redacted]"), ("keep", "false")]
    );
    assert_eq!(params(&runs[4]), [("data", "a")]);
}

thread_local!(static ASKED: Cell<u32> = const { Cell::new(0) });

struct Counted;

impl LogAsInput for Counted {
    fn to_dataset(&self) -> Dataset {
        ASKED.set(ASKED.get() + 1);
        Dataset::new("counted").digest("1")
    }
}

impl LogAsModel for Counted {
    fn to_model(&self) -> Model {
        ASKED.set(ASKED.get() + 1);
        Model::new("counted")
    }
}

/// A description may cost as much as a model is large.
#[test]
fn nothing_is_described_that_is_not_logged() {
    #[tracked(skip(data), log_model = false)]
    fn train(data: &Counted) -> Counted {
        let _ = data;
        Counted
    }
    #[tracked]
    fn fail(keep: bool) -> Result<Counted, String> {
        if keep {
            Ok(Counted)
        } else {
            Err("no".to_owned())
        }
    }
    let fake = fake();
    train(&Counted);
    let _ = fail(false);
    assert_eq!(ASKED.get(), 0);
    let _ = fail(true);
    assert_eq!(ASKED.get(), 1);
    drop(fake);
}

struct Broken;

impl LogAsInput for Broken {
    fn to_dataset(&self) -> Dataset {
        panic!("no data");
    }
}

impl LogAsModel for Broken {
    fn to_model(&self) -> Model {
        panic!("no model");
    }
}

#[test]
fn a_panic_in_a_description_costs_only_what_it_describes() {
    // A process prints so many warnings at most.
    if runs_apart(
        "macros::log_as::a_panic_in_a_description_costs_only_what_it_describes",
        &[],
    ) {
        return;
    }
    #[tracked]
    fn train(first: Broken, second: Digits, rate: f64) -> (Broken, f64) {
        let _ = (first, second);
        (Broken, rate)
    }
    let fake = fake();
    let ((_, rate), lines) = warnings::capture(|| {
        let returned = train(Broken, digits("a"), 0.5);
        let run = mlflow::start_run().start();
        mlflow::log_input(&Broken, "training");
        mlflow::log_model(&Broken);
        drop(run);
        returned
    });
    assert_eq!(rate, 0.5);
    let runs = fake.runs();
    assert_eq!(runs[0].status, RunStatus::Finished);
    assert_eq!(inputs(&runs[0]), [("a", "second")]);
    assert_eq!(last_metrics(&runs[0]), [("train", 0.5)]);
    assert_eq!(params(&runs[0]), [("rate", "0.5")]);
    let lines: Vec<_> = lines
        .iter()
        .filter(|line| line.contains("Broken"))
        .collect();
    assert_eq!(lines.len(), 2, "{lines:#?}");
    assert!(
        lines[0].contains("`LogAsInput::to_dataset` panicked"),
        "{lines:#?}"
    );
    assert!(
        lines[1].contains("`LogAsModel::to_model` panicked"),
        "{lines:#?}"
    );
}

#[test]
fn the_functions_take_such_values_too() {
    let fake = fake();
    let run = mlflow::start_run().start();
    mlflow::log_input(&digits("a"), "training");
    run.log_input(&*Box::new(digits("b")), "");
    mlflow::log_model(&Net(1.0));
    run.log_model(&Arc::new(Net(1.0)));
    drop(run);
    let run = only_run(&fake);
    assert_eq!(inputs(&run), [("a", "training"), ("b", "")]);
    assert_eq!(models(&run), ["net", "net"]);
}
