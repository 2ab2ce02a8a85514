use std::cell::{Cell, RefCell};
use std::collections::{BTreeMap, HashMap};
use std::rc::Rc;
use std::time::Duration;

use super::*;

macro_rules! param {
    ($value:expr) => {{
        use super::specialization::*;
        (&&&&&&&Capture(&$value)).__mlflow_param()
    }};
}

macro_rules! numbers_of {
    ($value:expr) => {{
        use super::specialization::*;
        (&&&&&&&Capture(&$value)).__mlflow_numbers().values
    }};
}

macro_rules! failure {
    ($value:expr) => {{
        use super::specialization::*;
        (&&&&&&&Capture(&$value)).__mlflow_failure()
    }};
}

macro_rules! hash {
    ($value:expr) => {{
        use super::specialization::*;
        (&&&&&&&Capture(&$value)).__mlflow_hash()
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

/// A value that counts how often it is formatted.
#[derive(Clone, Default)]
struct Seen(Rc<Cell<usize>>);

impl Debug for Seen {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        self.0.set(self.0.get() + 1);
        f.write_str("Seen")
    }
}

#[derive(Clone, Default)]
struct SeenBySerialize(Rc<Cell<usize>>);

impl Serialize for SeenBySerialize {
    fn serialize<S: serde::Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        self.0.set(self.0.get() + 1);
        serializer.serialize_u8(1)
    }
}

#[test]
#[expect(clippy::arc_with_non_send_sync, reason = "it only leads to the values")]
fn long_values_are_their_length_and_not_looked_at() {
    let seen = Seen::default();
    let values = vec![seen.clone(); 100];
    assert_eq!(param!(values[..]), text("[100 items]"));
    assert_eq!(param!(values), text("[100 items]"));
    assert_eq!(param!(&values), text("[100 items]"));
    assert_eq!(param!(Some(Box::new(&values))), text("[100 items]"));
    assert_eq!(param!(Rc::new(values.clone())), text("[100 items]"));
    assert_eq!(param!(Rc::<[Seen]>::from(&values[..])), text("[100 items]"));
    assert_eq!(
        param!(Some(std::sync::Arc::new(values))),
        text("[100 items]")
    );
    assert_eq!(seen.0.get(), 0);
    assert_eq!(param!([seen.clone(), seen.clone()]), text("[Seen, Seen]"));
    assert_eq!(seen.0.get(), 2);

    let seen = SeenBySerialize::default();
    let values = Rc::new(vec![seen.clone(); 100]);
    assert_eq!(param!(values), text("[100 items]"));
    assert_eq!(param!(Some(Rc::clone(&values))), text("[100 items]"));
    assert_eq!(seen.0.get(), 0);
}

#[test]
fn a_collection_of_another_library_is_its_length() {
    #[derive(Debug)]
    struct Own([u8; 20]);
    impl<'v> IntoIterator for &'v Own {
        type Item = &'v u8;
        type IntoIter = std::slice::Iter<'v, u8>;
        fn into_iter(self) -> Self::IntoIter {
            self.0.iter()
        }
    }
    assert_eq!(param!(Own([0; 20])), text("[20 items]"));
}

#[test]
fn a_serialize_that_fails_gives_way_to_debug() {
    let ended = |values: Values| match values {
        Values::Text(text) => (text.text, text.end),
        Values::Fields(fields) => panic!("{fields:?}"),
    };
    #[derive(Debug, Serialize)]
    struct WithDebug(RefCell<u8>);
    #[derive(Serialize)]
    struct NoDebug(RefCell<u8>);
    let cell = WithDebug(RefCell::new(1_u8));
    let borrowed = cell.0.borrow_mut();
    assert_eq!(
        ended(param!(cell)),
        (
            "WithDebug(RefCell { value: <borrowed> })".to_owned(),
            TextEnd::Failed
        )
    );
    drop(borrowed);
    let cell = NoDebug(cell.0);
    let borrowed = cell.0.borrow_mut();
    let (shown, end) = ended(param!(cell));
    assert!(shown.ends_with("NoDebug>"), "{shown}");
    assert_eq!(end, TextEnd::Failed);
    drop(borrowed);
}

#[test]
fn what_is_too_much_of_a_param_says_so() {
    let wide: BTreeMap<_, _> = (0..16)
        .map(|i| (i, BTreeMap::from_iter((0..16).map(|j| (j, 0)))))
        .collect();
    let Values::Fields(fields) = param!(wide) else {
        panic!("it has fields");
    };
    assert_eq!(fields.len(), crate::model::limits::MAX_FIELDS + 1);
    let ends: Vec<TextEnd> = fields.iter().map(|(_, text)| text.end).collect();
    assert_eq!(ends.last(), Some(&TextEnd::TooMany));
    assert_eq!(
        ends.iter().filter(|end| **end != TextEnd::Complete).count(),
        1
    );

    #[derive(Serialize)]
    struct Deep {
        inner: Option<Box<Deep>>,
    }
    let deep = (0..30).fold(Deep { inner: None }, |inner, _| Deep {
        inner: Some(Box::new(inner)),
    });
    let Values::Fields(fields) = param!(deep) else {
        panic!("it has fields");
    };
    assert_eq!(fields.len(), 1);
    assert_eq!(fields[0].1.end, TextEnd::TooDeep);
}

#[test]
fn an_address_is_not_logged() {
    fn double(x: u8) -> u8 {
        x * 2
    }
    let pointer: fn(u8) -> u8 = double;
    assert_eq!(param!(pointer), text("<fn(u8) -> u8>"));
    assert_eq!(param!(&raw const pointer), text("<*const fn(u8) -> u8>"));
}

#[test]
fn a_duration_is_one_value() {
    assert_eq!(param!(Duration::from_millis(1500)), text("1.5s"));
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
    let of = |values: &[(&str, f64)]| -> Vec<(String, f64)> {
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
    assert_eq!(numbers_of!(std::sync::Arc::new(2.0)), of(&[("", 2.0)]));
    assert_eq!(numbers_of!(Box::new(2.0)), of(&[("", 2.0)]));
    assert_eq!(numbers_of!(Duration::from_millis(1500)), of(&[("", 1.5)]));
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
