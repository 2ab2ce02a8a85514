use std::collections::{BTreeMap, HashMap};

use super::*;

macro_rules! param {
    ($value:expr) => {{
        use super::by_bounds::*;
        (&&&&&Capture(&$value)).__mlflow_param()
    }};
}

macro_rules! numbers_of {
    ($value:expr) => {{
        use super::by_bounds::*;
        (&&&&&Capture(&$value)).__mlflow_numbers()
    }};
}

macro_rules! failure {
    ($value:expr) => {{
        use super::by_bounds::*;
        (&&&&&Capture(&$value)).__mlflow_failure()
    }};
}

macro_rules! hash {
    ($value:expr) => {{
        use super::by_bounds::*;
        (&&&&&Capture(&$value)).__mlflow_hash()
    }};
}

fn shown(value: &str) -> Text {
    value.to_owned().into()
}

fn text(value: &str) -> Values {
    Values::Text(shown(value))
}

fn fields(values: &[(&str, &str)]) -> Values {
    Values::Fields(
        values
            .iter()
            .map(|(key, value)| ((*key).to_owned(), (*value).to_owned().into()))
            .collect(),
    )
}

#[derive(Serialize)]
struct Config {
    lr: f64,
    layers: Vec<usize>,
    optimizer: Optimizer,
    api_key: &'static str,
    data: Vec<f64>,
    warmup: Option<u32>,
}

#[derive(Serialize)]
struct Optimizer {
    name: &'static str,
    momentum: f32,
}

#[test]
fn the_best_the_type_can_do() {
    #[derive(Debug)]
    struct OnlyDebug(#[allow(dead_code)] u8);
    struct Nothing;
    assert_eq!(param!(0.5), text("0.5"));
    assert_eq!(param!("a b"), text("a b"));
    assert_eq!(param!(true), text("true"));
    assert_eq!(param!(Some(3)), text("3"));
    assert_eq!(param!(None::<u8>), text("None"));
    assert_eq!(param!([1, 2, 3]), text("[1, 2, 3]"));
    assert_eq!(param!((1, "x")), text("[1, x]"));
    assert_eq!(param!(OnlyDebug(1)), text("OnlyDebug(1)"));
    assert!(matches!(param!(Nothing), Values::Text(text) if text.text.ends_with("Nothing>")));
    assert!(matches!(param!(|| 1), Values::Text(_)));
    assert_eq!(param!(*(&"unsized" as &dyn Display)), text("unsized"));
}

#[test]
fn structs_and_maps_are_flattened() {
    let config = Config {
        lr: 0.1,
        layers: vec![64, 32],
        optimizer: Optimizer {
            name: "sgd",
            momentum: 0.9,
        },
        api_key: "hunter2",
        data: vec![0.0; 17],
        warmup: None,
    };
    assert_eq!(
        param!(config),
        fields(&[
            ("lr", "0.1"),
            ("layers", "[64, 32]"),
            ("optimizer.name", "sgd"),
            ("optimizer.momentum", "0.9"),
            ("api_key", "[redacted]"),
            ("data", "[17 items]"),
            ("warmup", "None"),
        ])
    );
    assert_eq!(
        param!(BTreeMap::from([("a", 1), ("b", 2)])),
        fields(&[("a", "1"), ("b", "2")])
    );
    assert_eq!(
        param!((0..20).map(|i| (i, i)).collect::<HashMap<_, _>>()),
        text("{20 items}")
    );
}

#[test]
fn generic_code_sees_the_declared_bounds() {
    fn any<T>(value: &T) -> Values {
        param!(*value)
    }
    fn debug<T: Debug>(value: &T) -> Values {
        param!(*value)
    }
    fn display(value: &impl Display) -> Values {
        param!(*value)
    }
    assert_eq!(any(&1), text("<i32>"));
    assert_eq!(debug(&"a"), text("\"a\""));
    assert_eq!(display(&"a"), text("a"));
}

#[test]
fn long_values_are_their_length() {
    #[derive(Clone, Debug)]
    struct OnlyDebug;
    let numbers = vec![1.0; 10_000_000];
    let started = std::time::Instant::now();
    assert_eq!(param!(numbers[..]), text("[10000000 items]"));
    assert_eq!(param!(numbers), text("[10000000 items]"));
    assert!(started.elapsed().as_millis() < 100, "it looked at the data");
    assert_eq!(param!(vec![OnlyDebug; 100]), text("[100 items]"));
    assert_eq!(
        param!([OnlyDebug, OnlyDebug]),
        text("[OnlyDebug, OnlyDebug]")
    );
}

#[test]
fn numbers_keep_their_path() {
    #[derive(Serialize)]
    struct Newtype(f64);
    #[derive(Serialize)]
    enum Outcome {
        Score(f64),
        Both { a: i32, b: bool },
    }
    let of = |values: &[(&str, f64)]| -> Numbers {
        values.iter().map(|(k, v)| ((*k).to_owned(), *v)).collect()
    };
    assert_eq!(numbers_of!(0.5), of(&[("", 0.5)]));
    assert_eq!(numbers_of!(true), of(&[("", 1.0)]));
    assert_eq!(numbers_of!(Newtype(2.0)), of(&[("", 2.0)]));
    assert_eq!(numbers_of!((1, 2.5, "text")), of(&[("0", 1.0), ("1", 2.5)]));
    assert_eq!(numbers_of!(Outcome::Score(1.0)), of(&[("Score", 1.0)]));
    assert_eq!(
        numbers_of!(Outcome::Both { a: 1, b: false }),
        of(&[("Both.a", 1.0), ("Both.b", 0.0)])
    );
    assert_eq!(numbers_of!(Some(Some(3))), of(&[("", 3.0)]));
    assert_eq!(numbers_of!(f64::INFINITY), of(&[("", f64::INFINITY)]));
    assert!(numbers_of!(f64::NAN)[0].1.is_nan());
    assert_eq!(numbers_of!(vec![0.0; 1000]), of(&[]));
    assert_eq!(numbers_of!(|| 1), of(&[]));
}

#[test]
fn failures_have_a_chain_where_the_type_has_one() {
    #[derive(Debug)]
    struct Outer(std::num::ParseIntError);
    impl Display for Outer {
        fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
            f.write_str("outer")
        }
    }
    impl Error for Outer {
        fn source(&self) -> Option<&(dyn Error + 'static)> {
            Some(&self.0)
        }
    }
    let parse = || "x".parse::<i32>().unwrap_err();
    let failure = failure!(Outer(parse()));
    assert!(failure.kind.ends_with("Outer"));
    assert_eq!(failure.message, shown("outer"));
    assert_eq!(
        failure.chain,
        Some(shown("1: invalid digit found in string"))
    );
    let boxed: Box<dyn Error + Send + Sync> = Box::new(Outer(parse()));
    assert_eq!(
        failure!(boxed).chain,
        Some(shown("1: invalid digit found in string"))
    );
    assert_eq!(failure!("text").message, shown("text"));
    assert_eq!(failure!(String::from("text")).message, shown("text"));
    assert_eq!(failure!(Some(1)).message, shown("Some(1)"));
    assert_eq!(failure!(()).message, shown("()"));
}

#[test]
fn hashes() {
    let abc = "ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad";
    assert_eq!(hash!("abc").as_deref(), Some(abc));
    assert_eq!(hash!(b"abc"[..]).as_deref(), Some(abc));
    assert_eq!(hash!(vec![1.5, 2.5]), hash!([1.5, 2.5]));
    assert!(hash!(12).is_some());
    assert_eq!(hash!(|| 1), None);
}
