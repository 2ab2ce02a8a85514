//! Polars frames as datasets: described as MLflow's Python client describes the same frames.

use mlflow::testing::{DatasetInput, fake};
use mlflow::{Dataset, tracked};
use polars_core::df;
use polars_core::prelude::*;
use serde_json::{Value, json};

use crate::support::installed::polars_release;
use crate::support::mlflow::python_command;
use crate::support::warnings;

/// Prints the digest, schema and profile of each frame of [`frames`].
const PYTHON: &str = r#"
import datetime, json, logging
import polars as pl
import mlflow
logging.disable()
numbers = pl.DataFrame({"a": [1, 2, 3], "b": [0.5, float("nan"), -0.0], "c": ["x", "", None], "d": [True, None, False]})
narrow = pl.DataFrame({"i": [1, -1], "u": [1, 2], "v": [3, 4], "f": [1.5, 2.5], "none": [None, None]},
                      schema={"i": pl.Int32, "u": pl.UInt32, "v": pl.UInt8, "f": pl.Float32, "none": pl.Int64})
nested = pl.DataFrame({"l": [[1, 2], [3]], "s": [{"b": 1, "a": "x"}, {"b": 2, "a": "y"}]})
times = pl.DataFrame({"day": [1, 20000], "at": [5, 6], "bytes": [b"\x01", b""]},
                     schema={"day": pl.Int32, "at": pl.Int64, "bytes": pl.Binary}).cast(
    {"day": pl.Date, "at": pl.Datetime("us")})
empty = numbers.clear()
long = pl.DataFrame({"n": [None if n % 7 == 0 else n for n in range(200_000)]})
chunks = pl.concat([numbers, numbers.slice(1)], rechunk=False)
words = pl.DataFrame({"w": ["b", "a", "b", None]}, schema={"w": pl.Categorical})
deep = pl.DataFrame({"d": [[{"x": 1}, {"x": 2}], []]})
described = [mlflow.data.from_polars(frame).to_dict()
             for frame in [numbers, narrow, nested, times, empty, long, numbers.slice(1), chunks, words, deep]]
print(json.dumps([[one[key] for key in ["digest", "schema", "profile"]] for one in described]))
"#;

/// Position of the frame with a categorical column. Python's build of Polars hashes texts of categories in another way.
const CATEGORICAL: usize = 8;

/// Returns the frames of [`PYTHON`].
fn frames() -> PolarsResult<Vec<DataFrame>> {
    let numbers = df!(
        "a" => [1_i64, 2, 3],
        "b" => [0.5, f64::NAN, -0.0],
        "c" => [Some("x"), Some(""), None],
        "d" => [Some(true), None, Some(false)],
    )?;
    let narrow = df!(
        "i" => [1_i32, -1],
        "u" => [1_u32, 2],
        "v" => [3_u8, 4],
        "f" => [1.5_f32, 2.5],
        "none" => [None::<i64>, None],
    )?;
    let lists = [
        Series::new("".into(), [1_i64, 2]),
        Series::new("".into(), [3_i64]),
    ];
    let fields = [
        Series::new("b".into(), [1_i64, 2]),
        Series::new("a".into(), ["x", "y"]),
    ];
    let structs = StructChunked::from_series("s".into(), 2, fields.iter())?;
    let lists = Series::new("l".into(), &lists[..]);
    let nested = DataFrame::new_infer_height(vec![lists.into(), structs.into_series().into()])?;
    let bytes: [&[u8]; 2] = [b"\x01", b""];
    let day = Series::new("day".into(), [1_i32, 20000]).cast(&DataType::Date)?;
    let microseconds = DataType::Datetime(TimeUnit::Microseconds, None);
    let at = Series::new("at".into(), [5_i64, 6]).cast(&microseconds)?;
    let bytes = Series::new("bytes".into(), &bytes[..]);
    let times = DataFrame::new_infer_height(vec![day.into(), at.into(), bytes.into()])?;
    let long: Vec<_> = (0..200_000_i64)
        .map(|n| (n % 7 != 0).then_some(n))
        .collect();
    let long = df!("n" => long)?;
    let empty = numbers.clear();
    let sliced = numbers.slice(1, usize::MAX);
    let chunks = numbers.vstack(&sliced)?;
    let categorical = DataType::from_categories(Categories::global());
    let words = Series::new("w".into(), [Some("b"), Some("a"), Some("b"), None]);
    let words = DataFrame::new_infer_height(vec![words.cast(&categorical)?.into()])?;
    let x = Series::new("x".into(), [1_i64, 2]);
    let inner = StructChunked::from_series("".into(), 2, [x].iter())?.into_series();
    let deep = Series::new("d".into(), [inner.clone(), inner.clear()]);
    let deep = DataFrame::new_infer_height(vec![deep.into()])?;
    Ok(vec![
        numbers, narrow, nested, times, empty, long, sliced, chunks, words, deep,
    ])
}

#[test]
fn python_describes_the_same_frames_in_the_same_way() {
    let mut command = python_command();
    command.env("PYTHONPATH", polars_release());
    let printed = command.args(["-c", PYTHON]).output().expect("python");
    let errors = String::from_utf8_lossy(&printed.stderr);
    assert!(printed.status.success(), "{errors}");
    let theirs: Vec<Value> = serde_json::from_slice(&printed.stdout).expect("JSON");

    let frames = frames().unwrap();
    let fake = fake();
    let (runs, warnings) = warnings::capture(|| {
        let run = mlflow::start_run().start();
        for (number, frame) in frames.iter().enumerate() {
            run.log_input(&Dataset::from_polars(number.to_string(), frame), "training");
        }
        drop(run);
        fake.runs()
    });
    assert_eq!(warnings, [""; 0]);
    let describe = |input: &DatasetInput| json!([input.digest, input.schema, input.profile]);
    let ours: Vec<Value> = runs[0].inputs.iter().map(describe).collect();
    assert_eq!(ours.len(), theirs.len());
    for (number, (ours, theirs)) in ours.iter().zip(&theirs).enumerate() {
        if number == CATEGORICAL {
            assert_ne!(ours[0], theirs[0], "the docs say that they differ");
            assert_eq!((&ours[1], &ours[2]), (&theirs[1], &theirs[2]));
            continue;
        }
        assert_eq!(ours, theirs, "frame {number}");
    }
}

#[test]
fn a_frame_as_an_argument_is_an_input() {
    #[tracked(metric = "rows")]
    fn train(training: &DataFrame, rate: f64) -> f64 {
        training.height() as f64 * rate
    }

    let fake = fake();
    train(&df!("x" => [1.0, 2.0]).unwrap(), 0.5);
    fake.assert_input("dataset", "training");
    let runs = fake.runs();
    assert_eq!(runs[0].inputs.len(), 1);
    assert_eq!(runs[0].params.len(), 1, "{:?}", runs[0].params);
    assert_eq!(runs[0].metrics["rows"][0].value, 1.0);
}

#[test]
fn a_type_that_mlflow_lacks_costs_the_schema_and_one_line() {
    let frame = df!("id" => [1_u64, 2], "x" => [0.5, 1.5]).unwrap();
    let fake = fake();
    let (runs, warnings) = warnings::capture(|| {
        let run = mlflow::start_run().start();
        run.log_input(&Dataset::from_polars("empty", &DataFrame::empty()), "");
        run.log_input(&Dataset::from_polars("wide", &frame), "training");
        let own = Dataset::from_polars("own", &frame).digest("v7").rows(9);
        run.log_input(&own.schema([("x", mlflow::ColumnType::Double)]), "");
        drop(run);
        fake.runs()
    });
    let [_, wide, own] = &runs[0].inputs[..] else {
        panic!("{:?}", runs[0].inputs);
    };
    assert!(wide.schema.is_none() && wide.digest.parse::<u64>().is_ok());
    assert_eq!(own.digest, "v7");
    assert!(
        own.schema
            .as_deref()
            .is_some_and(|schema| schema.contains("\"x\""))
    );
    let [empty, warnings @ ..] = &warnings[..] else {
        panic!("no warning");
    };
    assert!(
        empty.contains("dataset schema \"empty\"") && empty.contains("the frame has no columns"),
        "{empty}"
    );
    assert_eq!(warnings.len(), 1, "{warnings:?}");
    assert!(
        warnings[0].contains("dataset schema \"wide\"")
            && warnings[0].contains(
                "its column \"id\" has the type u64, which MLflow lacks: cast the column"
            ),
        "{warnings:?}"
    );
}

/// Regression: the names of fields inside a struct were not masked.
#[test]
fn no_name_of_a_column_or_field_holds_a_credential() {
    let token = format!("ghp_{}", "a1B2c3D4e5F6".repeat(3));
    let field = Series::new(token.as_str().into(), [1_i64]);
    let nested = StructChunked::from_series("s".into(), 1, [field.clone()].iter()).unwrap();
    let columns = vec![field.into(), nested.into_series().into()];
    let frame = DataFrame::new_infer_height(columns).unwrap();
    let fake = fake();
    let run = mlflow::start_run().start();
    run.log_input(&Dataset::from_polars("people", &frame), "");
    drop(run);
    let schema = fake.runs()[0].inputs[0].schema.clone().unwrap();
    assert!(!schema.contains(&token), "{schema}");
    assert_eq!(schema.matches("[redacted]").count(), 2, "{schema}");
}

/// The description of a dataset is printed where a user prints a value of their own.
#[test]
fn a_frame_shows_none_of_its_values() {
    let frame = df!("name" => ["very secret"]).unwrap();
    let printed = format!("{:?}", Dataset::from_polars("people", &frame));
    assert!(!printed.contains("secret"), "{printed}");
    assert!(printed.contains("rows: 1"), "{printed}");
}
