//! Arguments and returned values: the params and metrics that they become.

use std::collections::BTreeMap;
use std::fmt::Debug;

use mlflow::tracked;

use super::recorder::{fake, last_metrics, only_run, params};

#[test]
fn structs_are_flattened() {
    #[derive(Clone, serde::Serialize)]
    struct Config {
        lr: f64,
        layers: Vec<u32>,
        token: &'static str,
    }
    #[tracked]
    fn train(config: &Config, other: Config) {
        let _ = (config, other);
    }
    let fake = fake();
    let config = Config {
        lr: 0.1,
        layers: vec![64, 32],
        token: "hunter2",
    };
    train(&config, config.clone());
    let expected = [
        ("config.layers", "[64, 32]"),
        ("config.lr", "0.1"),
        ("config.token", "[redacted]"),
        ("other.layers", "[64, 32]"),
        ("other.lr", "0.1"),
        ("other.token", "[redacted]"),
    ];
    assert_eq!(params(&only_run(&fake)), expected);
}

#[test]
fn long_data_is_its_length() {
    #[tracked]
    fn train(data: &[f64], copy: Vec<f64>) {
        let _ = (data, copy);
    }
    let fake = fake();
    train(&vec![0.0; 1_000_000], vec![0.0; 20]);
    assert_eq!(
        params(&only_run(&fake)),
        [("copy", "[20 items]"), ("data", "[1000000 items]")]
    );
}

#[test]
fn generic_code_captures_what_the_bounds_allow() {
    #[tracked]
    fn any<T>(value: T) -> T {
        value
    }
    #[tracked]
    fn debug<T: Debug>(value: &T) {
        let _ = value;
    }
    let fake = fake();
    assert_eq!(any(1.5), 1.5);
    debug(&Some("x"));
    let runs = fake.runs();
    assert_eq!(params(&runs[0]), [("value", "<f64>")]);
    assert_eq!(last_metrics(&runs[0]), []);
    assert_eq!(params(&runs[1]), [("value", "Some(\"x\")")]);
}

#[test]
fn returned_maps_and_non_finite_numbers() {
    #[tracked]
    fn map() -> BTreeMap<&'static str, f64> {
        BTreeMap::from([("a", f64::INFINITY), ("b", 2.0)])
    }
    #[tracked]
    fn nan() -> f64 {
        f64::NAN
    }
    #[tracked]
    fn yes() -> bool {
        true
    }
    let fake = fake();
    let _ = (map(), nan(), yes());
    let runs = fake.runs();
    assert_eq!(last_metrics(&runs[0]), [("a", f64::INFINITY), ("b", 2.0)]);
    assert!(last_metrics(&runs[1])[0].1.is_nan());
    assert_eq!(last_metrics(&runs[2]), [("yes", 1.0)]);
}

#[test]
fn a_returned_value_of_more_than_a_few_numbers_arrives() {
    #[derive(serde::Serialize)]
    struct Scores {
        rmse: f64,
        by_class: BTreeMap<u32, f64>,
    }
    #[tracked]
    fn map() -> BTreeMap<u32, f64> {
        (0..20).map(|class| (class, 0.5)).collect()
    }
    #[tracked]
    fn nested() -> Scores {
        Scores {
            rmse: 0.5,
            by_class: (0..17).map(|class| (class, 0.5)).collect(),
        }
    }
    #[tracked]
    fn vector() -> Vec<f64> {
        vec![0.5; 40]
    }
    let fake = fake();
    let _ = (map(), nested(), vector());
    let runs = fake.runs();
    assert_eq!(runs[0].metrics.len(), 20);
    assert_eq!(runs[1].metrics.len(), 18);
    assert_eq!(runs[2].metrics.len(), 40);
    assert!(runs[1].metrics.contains_key("by_class.16"));
}

#[test]
fn newtypes_enums_durations_and_pointers_are_numbers() {
    #[derive(serde::Serialize)]
    struct Loss(f64);
    #[derive(serde::Serialize)]
    enum Outcome {
        Score(f64),
        Both { a: i32, b: bool },
    }
    #[tracked]
    fn newtype() -> Loss {
        Loss(0.5)
    }
    #[tracked]
    fn variant(both: bool) -> Outcome {
        if both {
            Outcome::Both { a: 1, b: true }
        } else {
            Outcome::Score(0.5)
        }
    }
    #[tracked]
    fn took() -> std::time::Duration {
        std::time::Duration::from_millis(1500)
    }
    #[tracked]
    fn shared() -> std::sync::Arc<f64> {
        std::sync::Arc::new(0.5)
    }
    #[tracked]
    fn boxed() -> Box<f64> {
        Box::new(0.5)
    }
    let fake = fake();
    let _ = (newtype(), variant(false), variant(true));
    let _ = (took(), shared(), boxed());
    let runs = fake.runs();
    let all: Vec<_> = runs.iter().flat_map(last_metrics).collect();
    let expected = [
        ("newtype", 0.5),
        ("Score", 0.5),
        ("Both.a", 1.0),
        ("Both.b", 1.0),
        ("took", 1.5),
        ("shared", 0.5),
        ("boxed", 0.5),
    ];
    assert_eq!(all, expected);
}

#[test]
fn names_by_position_are_not_those_of_a_map() {
    #[tracked(metrics("p", "r"))]
    fn map() -> BTreeMap<u32, f64> {
        BTreeMap::from([(1, 0.5), (7, 0.25)])
    }
    #[tracked(metrics("p", "r"))]
    fn vector() -> Vec<f64> {
        vec![0.5, 0.25]
    }
    let fake = fake();
    let _ = (map(), vector());
    let runs = fake.runs();
    assert_eq!(last_metrics(&runs[0]), [("map.1", 0.5), ("map.7", 0.25)]);
    assert_eq!(last_metrics(&runs[1]), [("p", 0.5), ("r", 0.25)]);
}

#[test]
fn a_value_that_panics_when_it_is_shown_harms_nobody() {
    struct Bad;
    impl std::fmt::Display for Bad {
        fn fmt(&self, _: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
            panic!("in Display")
        }
    }
    #[tracked]
    fn takes(bad: Bad) -> Result<(), Bad> {
        Err(bad)
    }
    let fake = fake();
    assert!(takes(Bad).is_err());
    assert_eq!(params(&only_run(&fake)), [("bad", "…")]);
}

/// Regression: `1.0` was logged as `1`, `1e-10` as `0.0000000001`, and `1e30` with 31 digits. MLflow's Python
/// client does not write them like that.
#[test]
fn floats_are_written_as_debug_and_python_write_them() {
    #[derive(serde::Serialize)]
    struct Config {
        lr: f64,
        decay: f32,
        betas: [f64; 2],
        eps: Option<f64>,
    }
    #[tracked(run_name = "lr-{whole}", params(half = 1.0 / 2.0, two = 2.0))]
    fn train(
        whole: f64,
        small: f32,
        large: &f64,
        shared: std::sync::Arc<f64>,
        config: &Config,
        count: u32,
    ) {
        let _ = (whole, small, large, shared, config, count);
        mlflow::log_param("by hand", 3.0);
        mlflow::log_param("text", "1");
        mlflow::set_tag("scale", 1e-7);
    }
    let fake = fake();
    let config = Config {
        lr: 1.0,
        decay: 0.1,
        betas: [0.9, 1.0],
        eps: Some(1e-8),
    };
    train(1.0, 1e-10, &1e30, std::sync::Arc::new(-2.0), &config, 7);
    let run = only_run(&fake);
    let expected = [
        ("by hand", "3.0"),
        ("config.betas", "[0.9, 1.0]"),
        ("config.decay", "0.1"),
        ("config.eps", "1e-8"),
        ("config.lr", "1.0"),
        ("count", "7"),
        ("half", "0.5"),
        ("large", "1e30"),
        ("shared", "-2.0"),
        ("small", "1e-10"),
        ("text", "1"),
        ("two", "2.0"),
        ("whole", "1.0"),
    ];
    assert_eq!(params(&run), expected);
    assert_eq!(run.name, "lr-1.0");
    assert_eq!(run.tags["scale"], "1e-7");
}

/// Regression: only the fields of a variant were logged, and only their keys showed the name of the variant.
#[test]
fn a_variant_with_fields_is_logged_by_its_name_too() {
    #[derive(serde::Serialize)]
    enum Optimizer {
        Adam,
        Sgd(f64),
        Momentum { beta: f64 },
        Both(u8, u8),
    }
    #[derive(serde::Serialize)]
    struct Config {
        first: Optimizer,
        all: Vec<Optimizer>,
    }
    #[tracked]
    fn train(plain: &Optimizer, optimizer: &Optimizer, config: &Config) {
        let _ = (plain, optimizer);
        mlflow::log_params(&config.first);
    }
    let fake = fake();
    let config = Config {
        first: Optimizer::Sgd(0.5),
        all: vec![Optimizer::Both(1, 2), Optimizer::Adam],
    };
    train(
        &Optimizer::Adam,
        &Optimizer::Momentum { beta: 0.9 },
        &config,
    );
    let expected = [
        ("Sgd", "0.5"),
        ("config.all.0", "Both"),
        ("config.all.0.Both", "[1, 2]"),
        ("config.all.1", "Adam"),
        ("config.first", "Sgd"),
        ("config.first.Sgd", "0.5"),
        ("optimizer", "Momentum"),
        ("optimizer.Momentum.beta", "0.9"),
        ("plain", "Adam"),
    ];
    assert_eq!(params(&only_run(&fake)), expected);
}

/// Regression: a matrix was logged as a page of digits.
#[test]
fn an_argument_that_shows_itself_on_several_lines_is_its_first_one() {
    struct Matrix;
    impl std::fmt::Display for Matrix {
        fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
            f.write_str("[[1., 2.],\n [3., 4.]]")
        }
    }
    /// Tensor whose digits are on a device, so that formatting it is expensive.
    struct Tensor(std::cell::Cell<bool>);
    impl std::fmt::Display for Tensor {
        fn fmt(&self, _: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
            self.0.set(true);
            Ok(())
        }
    }
    #[tracked]
    fn train(matrix: Matrix, tensor: std::rc::Rc<Tensor>, prompt: &str, text: String) {
        let _ = (matrix, tensor, prompt, text);
    }
    let fake = fake();
    let tensor = std::rc::Rc::new(Tensor(std::cell::Cell::new(false)));
    train(
        Matrix,
        std::rc::Rc::clone(&tensor),
        "a\nb",
        "c\nd".to_owned(),
    );
    assert!(!tensor.0.get(), "its digits were asked for");
    let run = only_run(&fake);
    let params = params(&run);
    assert_eq!(params[0], ("matrix", "[[1., 2.],…"));
    assert_eq!(params[1], ("prompt", "a\nb"));
    assert!(
        params[2].0 == "tensor" && params[2].1.contains("Tensor>"),
        "{params:?}"
    );
    assert_eq!(params[3], ("text", "c\nd"));
}
