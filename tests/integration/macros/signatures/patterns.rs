//! Patterns in arguments, and raw identifiers.

use mlflow::tracked;

use super::{Expect, expect_runs};

struct Point {
    x: f64,
    y: f64,
}

struct Pair(u8, u8);

fn assert_params<const N: usize>(expect: &Expect, expected: [(&str, &str); N]) {
    assert_eq!(
        expect.params(),
        expected.map(|(key, value)| (key.to_owned(), value.to_owned()))
    );
}

#[test]
fn tuple() {
    #[tracked]
    fn f((a, b): (u8, &str)) -> usize {
        usize::from(a) + b.len()
    }
    let expect = expect_runs(1);
    assert_eq!(f((1, "b")), 2);
    assert_params(&expect, [("a", "1"), ("b", "b")]);
}

#[test]
fn struct_with_rest() {
    #[tracked]
    fn f(Point { x, .. }: Point) -> f64 {
        x
    }
    let expect = expect_runs(1);
    assert_eq!(f(Point { x: 1.0, y: 2.0 }), 1.0);
    assert_params(&expect, [("x", "1.0")]);
}

#[test]
fn struct_renaming_fields() {
    #[tracked]
    fn f(
        Point {
            x: first,
            y: mut second,
        }: Point,
    ) -> f64 {
        second += first;
        second
    }
    let expect = expect_runs(1);
    assert_eq!(f(Point { x: 1.0, y: 2.0 }), 3.0);
    assert_params(&expect, [("first", "1.0"), ("second", "2.0")]);
}

#[test]
fn tuple_struct() {
    #[tracked]
    fn f(Pair(a, _): Pair) -> u8 {
        a
    }
    let expect = expect_runs(1);
    let pair = Pair(1, 2);
    assert_eq!(pair.1, 2);
    assert_eq!(f(pair), 1);
    assert_params(&expect, [("a", "1")]);
}

#[test]
fn slice() {
    #[tracked]
    fn f([first, rest @ ..]: [u8; 3]) -> u8 {
        first + rest[1]
    }
    let expect = expect_runs(1);
    assert_eq!(f([1, 2, 3]), 4);
    assert_params(&expect, [("first", "1"), ("rest", "[2, 3]")]);
}

#[test]
fn reference() {
    #[tracked]
    fn f(&a: &u8, &(b, ref c): &(u8, String)) -> usize {
        usize::from(a + b) + c.len()
    }
    let expect = expect_runs(1);
    assert_eq!(f(&1, &(2, "c".to_owned())), 4);
    assert_params(&expect, [("a", "1"), ("b", "2"), ("c", "c")]);
}

#[test]
fn wildcards() {
    #[tracked]
    fn f(_: u8, _: String, a: u8) -> u8 {
        a
    }
    let expect = expect_runs(1);
    assert_eq!(f(1, String::new(), 3), 3);
    assert_params(&expect, [("a", "3")]);
}

#[test]
fn by_reference() {
    #[tracked]
    fn f(ref a: String, ref mut b: Vec<u8>) -> usize {
        b.push(1);
        a.len() + b.len()
    }
    let expect = expect_runs(1);
    assert_eq!(f("a".to_owned(), vec![]), 2);
    assert_params(&expect, [("a", "a"), ("b", "[]")]);
}

#[test]
fn at() {
    #[tracked]
    fn f(all @ (a, b): (u8, u8)) -> u8 {
        all.0 + a + b
    }
    let expect = expect_runs(1);
    assert_eq!(f((1, 2)), 4);
    assert_params(&expect, [("a", "1"), ("all", "[1, 2]"), ("b", "2")]);
}

#[test]
fn mutable() {
    #[tracked]
    fn f(mut a: u8, mut b: Vec<u8>) -> Vec<u8> {
        a += 1;
        b.push(a);
        b
    }
    let expect = expect_runs(1);
    assert_eq!(f(1, vec![]), [2]);
    assert_params(&expect, [("a", "1"), ("b", "[]")]);
}

#[test]
fn mutable_after_a_pattern() {
    #[tracked]
    fn f((a, _): (u8, u8), mut b: u8, c: &str) -> u8 {
        b += a;
        b + u8::try_from(c.len()).unwrap_or(0)
    }
    let expect = expect_runs(1);
    assert_eq!(f((1, 2), 3, "c"), 5);
    assert_params(&expect, [("a", "1"), ("b", "3"), ("c", "c")]);
}

#[test]
fn raw_identifiers() {
    #[tracked(skip(r#match))]
    fn r#loop(r#type: &str, r#match: u8) -> usize {
        r#type.len() + usize::from(r#match)
    }
    let expect = expect_runs(1);
    assert_eq!(r#loop("a", 1), 2);
    assert_params(&expect, [("type", "a")]);
}

#[test]
fn unit_and_nested() {
    #[tracked]
    fn f((): (), ((a, _), [b, ..]): ((u8, u8), [u8; 2])) -> u8 {
        a + b
    }
    let expect = expect_runs(1);
    assert_eq!(f((), ((1, 2), [3, 4])), 4);
    assert_params(&expect, [("a", "1"), ("b", "3")]);
}

#[test]
fn skipped_parts() {
    #[tracked(skip(b))]
    fn f((a, b): (u8, u8)) -> u8 {
        a + b
    }
    let expect = expect_runs(1);
    assert_eq!(f((1, 2)), 3);
    assert_params(&expect, [("a", "1")]);
}

#[test]
fn an_argument_called_like_ours() {
    #[tracked(tags(site = SITE))]
    fn f(call: u8, value: u8) -> u8 {
        call + value + SITE
    }
    const SITE: u8 = 1;
    let _expect = expect_runs(1);
    assert_eq!(f(1, 2), 4);
}

struct Unit;

#[test]
fn a_unit_struct_was_taken_for_a_name() {
    #[tracked]
    fn f((Unit, a): (Unit, u8)) -> u8 {
        a
    }
    let _expect = expect_runs(1);
    assert_eq!(f((Unit, 1)), 1);
}

#[test]
#[allow(non_snake_case)]
fn capital_letters() {
    #[tracked]
    fn f((X, y): (&str, u8)) -> u8 {
        let _ = X;
        y
    }
    let expect = expect_runs(1);
    assert_eq!(f(("x", 1)), 1);
    let expected = [("X", "x"), ("y", "1")].map(|(key, value)| (key.to_owned(), value.to_owned()));
    assert_eq!(expect.params(), expected);
}

#[test]
fn alternatives_bound_nothing() {
    #[tracked(tags(t = x))]
    fn f((Ok(x) | Err(x)): Result<u8, u8>) -> u8 {
        x
    }
    #[tracked(skip(y))]
    fn g((((x, 1), y) | ((1, x), y) | ((x, _), y)): ((u8, u8), u8)) -> u8 {
        x + y
    }
    let expect = expect_runs(2);
    assert_eq!(f(Err(3)), 3);
    assert_eq!(g(((1, 4), 1)), 5);
    assert_eq!(
        expect.params(),
        ["3", "4"].map(|x| ("x".to_owned(), x.to_owned()))
    );
}
