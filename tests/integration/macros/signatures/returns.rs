//! Returned types, coercions, and early returns.

use std::collections::HashMap;
use std::error::Error;

use mlflow::tracked;

use super::{block_on, expect_runs};

type Result<T> = std::result::Result<T, Box<dyn Error>>;

#[test]
fn alias_of_result() {
    #[tracked]
    fn f(a: &str) -> Result<u8> {
        let a = a.parse()?;
        Ok(a)
    }
    let _expect = expect_runs(2);
    assert!(f("1").is_ok() && f("x").is_err());
}

#[test]
fn question_mark_on_option() {
    #[tracked]
    fn f(a: &[u8]) -> Option<u8> {
        let first = a.first()?;
        Some(*first)
    }
    let _expect = expect_runs(2);
    assert_eq!(f(&[1]).or(f(&[])), Some(1));
}

#[test]
fn question_mark_on_result() {
    #[tracked]
    fn f(a: &str) -> std::result::Result<i32, std::num::ParseIntError> {
        Ok(a.parse::<i32>()? + 1)
    }
    let _expect = expect_runs(1);
    assert_eq!(f("1"), Ok(2));
}

#[test]
fn anyhow() {
    #[tracked]
    fn f(a: &str) -> anyhow::Result<i32> {
        use anyhow::Context as _;
        let a = a.parse::<i32>().context("outer")?;
        anyhow::ensure!(a > 0, "not positive");
        Ok(a)
    }
    let _expect = expect_runs(3);
    assert!(f("1").is_ok() && f("x").is_err() && f("0").is_err());
}

#[test]
fn early_return() {
    #[tracked]
    fn f(a: u8) -> &'static str {
        if a == 0 {
            return "zero";
        }
        for _ in 0..a {
            if a > 3 {
                return "many";
            }
        }
        "few"
    }
    let _expect = expect_runs(3);
    assert_eq!((f(0), f(1), f(9)), ("zero", "few", "many"));
}

#[test]
fn inference_through_collect() {
    #[tracked]
    fn f(a: &[&str]) -> std::result::Result<HashMap<String, u8>, std::num::ParseIntError> {
        a.iter()
            .map(|a| Ok(((*a).to_owned(), a.parse()?)))
            .collect()
    }
    let _expect = expect_runs(1);
    assert_eq!(f(&["1"]).map(|map| map.len()), Ok(1));
}

#[test]
fn inference_through_into_and_default() {
    #[tracked]
    fn f(a: &str) -> (String, Vec<u8>) {
        (a.into(), Default::default())
    }
    let _expect = expect_runs(1);
    assert_eq!(f("a"), ("a".to_owned(), vec![]));
}

#[test]
fn unsizing() {
    #[tracked]
    fn f() -> Box<[u8]> {
        Box::new([1, 2])
    }
    let _expect = expect_runs(1);
    assert_eq!(f().len(), 2);
}

#[test]
fn unsizing_to_dyn() {
    #[tracked]
    fn f(a: bool) -> Box<dyn Error> {
        if a {
            Box::new(std::fmt::Error)
        } else {
            "text".into()
        }
    }
    let _expect = expect_runs(1);
    assert!(!f(true).to_string().is_empty());
}

#[test]
fn deref_coercion() {
    #[tracked]
    fn f(a: &String) -> &str {
        a
    }
    let _expect = expect_runs(1);
    assert_eq!(f(&"a".to_owned()), "a");
}

#[test]
fn deref_coercion_of_mut() {
    #[tracked]
    fn f(a: &mut Vec<u8>) -> &mut [u8] {
        a
    }
    let _expect = expect_runs(1);
    assert_eq!(f(&mut vec![1]), [1]);
}

#[test]
fn reborrow_of_mut_argument() {
    #[tracked]
    fn f<'a>(a: &'a mut [u8], b: usize) -> &'a mut u8 {
        &mut a[b]
    }
    let _expect = expect_runs(1);
    let mut v = [1, 2];
    *f(&mut v, 1) = 3;
    assert_eq!(v, [1, 3]);
}

#[test]
fn mut_argument_used_again() {
    #[tracked]
    fn f(a: &mut Vec<u8>) {
        a.push(1);
        a.push(2);
    }
    let _expect = expect_runs(2);
    let mut v = vec![];
    f(&mut v);
    f(&mut v);
    assert_eq!(v.len(), 4);
}

#[test]
fn closures() {
    #[tracked]
    fn f<'a>(a: &'a str) -> impl Fn(&str) -> String + 'a {
        move |b| format!("{a}{b}")
    }
    let _expect = expect_runs(1);
    assert_eq!(f("a")("b"), "ab");
}

#[test]
fn closure_coerced_to_a_fn_pointer() {
    #[tracked]
    fn f() -> fn(u8) -> u8 {
        |a| a + 1
    }
    let _expect = expect_runs(1);
    assert_eq!(f()(1), 2);
}

#[test]
fn temporaries_in_the_tail() {
    #[tracked]
    fn f(a: std::cell::RefCell<String>) -> usize {
        let c = a;
        #[allow(clippy::let_and_return)]
        let len = c.borrow().len();
        len
    }
    #[tracked]
    fn lock(a: &std::sync::Mutex<Vec<u8>>) -> usize {
        a.lock().map_or(0, |a| a.len())
    }
    let _expect = expect_runs(2);
    assert_eq!(f("a".to_owned().into()) + lock(&vec![1].into()), 2);
}

#[test]
fn items_in_the_body() {
    #[tracked]
    fn f(a: u8) -> Option<u8> {
        #[allow(dead_code)]
        enum Option {
            None,
        }
        const A: u8 = 1;
        fn inner(a: u8) -> u8 {
            a + A
        }
        Some(inner(a))
    }
    let _expect = expect_runs(1);
    assert_eq!(f(1), Some(2));
}

#[test]
fn shadowed_ok_and_err() {
    mod shadow {
        #![allow(non_snake_case, dead_code, unused)]
        pub(crate) struct Some;
        pub(crate) struct Ok;
        pub(crate) struct Err;
        pub(crate) struct Option;
        mod std {}
        mod core {}
        mod mlflow {}
        #[::mlflow::tracked(tags(a = a))]
        pub(crate) fn f(a: u8) -> ::std::result::Result<u8, u8> {
            if a == 0 {
                ::std::result::Result::Err(a)
            } else {
                ::std::result::Result::Ok(a)
            }
        }
    }
    let _expect = expect_runs(1);
    assert_eq!(shadow::f(1), Ok(1));
}

#[test]
fn never() {
    #[tracked]
    fn f(a: u8) -> ! {
        panic!("{a}")
    }
    let _expect = expect_runs(1);
    assert!(std::panic::catch_unwind(|| f(1)).is_err());
}

#[test]
fn explicit_unit() {
    #[tracked]
    #[allow(clippy::unused_unit)]
    fn f(a: &mut u8) -> () {
        *a = 1;
    }
    let _expect = expect_runs(1);
    let mut a = 0;
    f(&mut a);
    assert_eq!(a, 1);
}

#[test]
fn diverging_body_with_a_type() {
    #[tracked]
    fn f(a: u8) -> u8 {
        loop {
            if a > 0 {
                break a;
            }
        }
    }
    #[tracked]
    fn never_ok(a: &str) -> std::result::Result<std::convert::Infallible, String> {
        Err(a.to_owned())
    }
    let _expect = expect_runs(2);
    assert_eq!(f(1), 1);
    assert!(never_ok("a").is_err());
}

#[test]
fn labels_and_shadowing() {
    #[tracked]
    fn f(a: u8) -> u8 {
        let a = 'a: {
            if a > 1 {
                break 'a 1;
            }
            a
        };
        let a = a + 1;
        a * 2
    }
    let _expect = expect_runs(1);
    assert_eq!(f(5), 4);
}

struct Plain;

/// Regression: the type of the elements follows only from the signature, but the macro's code required it
/// earlier, to examine `Serialize`.
#[test]
fn an_empty_list_of_what_the_signature_says() {
    #[tracked]
    fn f() -> impl IntoIterator<Item = Plain> {
        Vec::new()
    }
    #[tracked]
    fn g() -> std::result::Result<impl IntoIterator<Item = Plain>, String> {
        Ok(vec![])
    }
    #[tracked]
    async fn h() -> std::result::Result<impl IntoIterator<Item = Plain>, String> {
        Ok(vec![])
    }
    let _expect = expect_runs(3);
    assert_eq!(f().into_iter().count(), 0);
    assert_eq!(g().map(|list| list.into_iter().count()), Ok(0));
    assert_eq!(block_on(h()).map(|list| list.into_iter().count()), Ok(0));
}

#[test]
fn a_number_behind_a_trait_is_logged() {
    #[tracked]
    fn f() -> impl std::fmt::Display {
        0.5
    }
    #[tracked]
    fn g() -> impl Into<f64> {
        0.5_f32
    }
    #[tracked]
    async fn h() -> std::result::Result<impl std::fmt::Display, String> {
        Ok(0.5)
    }
    #[tracked]
    async fn i() -> impl Into<f64> {
        0.5_f32
    }
    let fake = mlflow::testing::fake();
    let _ = (
        f().to_string(),
        g().into(),
        block_on(h()).is_ok(),
        block_on(i()).into(),
    );
    assert_eq!(fake.runs().len(), 4);
    for run in fake.runs() {
        assert_eq!(run.metrics.len(), 1, "{run:#?}");
    }
}

macro_rules! imp {
    () => { impl Iterator<Item = u8> };
}

#[test]
fn a_macro_stood_for_the_type() {
    #[tracked]
    fn f(n: u8) -> imp!() {
        0..n
    }
    #[tracked]
    async fn g(n: u8) -> imp!() {
        0..n
    }
    let _expect = expect_runs(2);
    assert_eq!(f(3).count(), 3);
    assert_eq!(block_on(g(3)).count(), 3);
}

/// Regression: the types of a closure's arguments, which only the signature gives, did not reach the closure.
#[test]
fn closures_without_types_among_others() {
    #[tracked]
    fn tuple(a: u8) -> (impl Fn(&str) -> usize, u8) {
        (|text| text.len(), a)
    }
    #[tracked]
    fn reference(a: &u8) -> &'static impl Fn(&str) -> usize {
        let _ = a;
        &|text| text.len()
    }
    let expect = expect_runs(2);
    let (length, a) = tuple(1);
    assert_eq!((length("ab"), a, reference(&1)("ab")), (2, 1, 2));
    assert_eq!(expect.params().len(), 2);
}

/// Regression: the types of a closure's arguments did not reach a closure that a future returns.
#[test]
fn async_closures_without_types() {
    #[tracked]
    async fn plain(a: u8) -> impl Fn(&str) -> usize {
        std::future::ready(()).await;
        move |text| text.len() + usize::from(a)
    }
    #[tracked]
    async fn generic<'a, T: Clone>(a: &'a str, b: &T) -> impl Fn(&T, &str) -> (T, &'a str) {
        let b = b.clone();
        move |c, text| {
            let first = if text.is_empty() { c } else { &b };
            (first.clone(), a)
        }
    }
    #[tracked]
    async fn among_others(a: f64) -> (impl FnMut(&mut Vec<u8>) + Send, f64) {
        (|list| list.push(1), a)
    }
    /// Every path ends in a `return`. The macro's own code must not be reported as unreachable.
    #[tracked]
    async fn returned(a: usize) -> impl Fn(&str) -> usize {
        if a > 1 {
            unreachable!()
        } else {
            return move |text: &str| text.len() + a;
        }
    }
    #[tracked]
    async fn boxed(a: bool) -> Box<dyn Fn(&str) -> usize> {
        if a {
            return Box::new(|text| text.len() + 1);
        }
        Box::new(|_| 0)
    }
    trait Tokens {
        #[allow(async_fn_in_trait)]
        async fn tokens(&self) -> impl Fn(&str) -> usize;
        #[tracked]
        async fn none(&self, a: u8) -> impl Fn(&str) -> bool {
            move |text| text.len() < usize::from(a)
        }
    }
    impl Tokens for u8 {
        #[tracked]
        async fn tokens(&self) -> impl Fn(&str) -> usize {
            |text| text.len() + usize::from(*self)
        }
    }
    let expect = expect_runs(8);
    assert_eq!(block_on(super::assert_send(plain(1)))("ab"), 3);
    assert_eq!(block_on(generic("a", &2))(&3, ""), (3, "a"));
    let mut list = vec![];
    block_on(among_others(0.5)).0(&mut list);
    assert_eq!(list, [1]);
    assert_eq!(
        (block_on(boxed(true))("ab"), block_on(boxed(false))("ab")),
        (3, 0)
    );
    assert_eq!(block_on(returned(1))("ab"), 3);
    assert_eq!(block_on(1_u8.tokens())("ab"), 3);
    assert!(block_on(1_u8.none(1))(""));
    assert_eq!(expect.params().len(), 8);
}
