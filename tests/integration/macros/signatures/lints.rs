//! Lints of the user's own code: they fire as on a plain function. Each expectation below has to be met.

use std::future::Future;
use std::pin::Pin;

use mlflow::{timed, tracked};

use super::{block_on, expect_runs};

#[expect(dead_code)]
#[tracked]
fn dead() {}

#[tracked]
#[expect(dead_code)]
fn dead_with_argument(a: u8) -> u8 { a }

#[expect(dead_code)]
#[tracked]
async fn dead_async() -> u8 { 1 }

#[expect(dead_code)]
#[tracked]
fn dead_never() -> ! { panic!() }

#[expect(dead_code)]
#[timed]
fn dead_timed() -> u8 { 1 }

#[test]
fn unreachable_code() {
    #[tracked]
    #[expect(unreachable_code)]
    fn f(a: u8) -> u8 {
        return a;
        2
    }
    #[tracked]
    #[expect(unreachable_code)]
    async fn g(a: u8) -> impl Into<f64> {
        return a;
        2
    }
    let _expect = expect_runs(2);
    assert_eq!(f(1), 1);
    assert_eq!(block_on(g(1)).into(), 1.0);
}

#[test]
fn unused_must_use() {
    #[tracked]
    #[must_use]
    fn f(a: u8) -> u8 { a }
    #[tracked]
    async fn g(a: u8) -> u8 { a }
    let _expect = expect_runs(1);
    #[expect(unused_must_use)]
    {
        f(1);
        g(1);
    }
}

#[test]
fn unused_variables() {
    #[tracked]
    #[expect(unused_variables)]
    fn f((a, b): (u8, u8)) -> u8 { a }
    let _expect = expect_runs(1);
    assert_eq!(f((1, 2)), 1);
}

#[test]
fn lints_of_an_argument_were_lost_with_its_pattern() {
    #[tracked]
    fn allowed(#[allow(unused_variables)] (a, b): (u8, u8), #[allow(unused_mut)] mut c: u8) -> u8 { b + c }
    #[tracked]
    fn expected(#[expect(unused_variables)] (a, b): (u8, u8), #[expect(unused_mut)] mut c: u8) -> u8 { b + c }
    #[tracked]
    async fn later(#[expect(unused_variables)] (a, b): (u8, u8)) -> u8 { b }
    let _expect = expect_runs(3);
    assert_eq!((allowed((1, 2), 3), expected((1, 2), 3), block_on(later((1, 2)))), (5, 5, 2));
}

/// Regression: logging used an argument that nothing else uses, so that the user's expectation was not met.
#[test]
fn an_expectation_of_an_unused_argument() {
    #[tracked]
    fn logged(#[expect(unused_variables)] a: u8, #[expect(unused, reason = "later")] b: &str) -> u8 { 1 }
    #[tracked(hash(a), tags(twice = b.len() * 2), skip(b), run_name = "{c}", params(d))]
    fn named(#[expect(unused_variables)] a: &str, #[expect(unused_variables)] b: &str, #[expect(unused_variables)] c: &str, #[expect(unused_variables)] d: &str) -> u8 { 1 }
    #[tracked]
    fn after_a_pattern((a, _): (u8, u8), #[expect(unused_variables)] b: &str) -> u8 { a }
    #[tracked]
    async fn later(#[expect(unused_variables)] a: String, #[expect(unused_variables)] b: String) -> u8 { 1 }
    #[tracked]
    #[timed]
    async fn kept(#[expect(unused_variables)] a: String, #[expect(unused_variables)] (b, _): (u8, u8)) -> u8 { 1 }
    #[tracked]
    fn guarded(#[expect(unused_variables)] a: u8, #[expect(unused_variables)] (b, _): (u8, u8)) -> ! { panic!() }
    #[tracked]
    fn under_a_condition(#[cfg_attr(test, expect(unused_variables), cfg(test))] a: u8) -> u8 { 1 }
    let expect = expect_runs(7);
    let sum = logged(1, "b") + named("a", "b", "c", "d") + after_a_pattern((1, 2), "b") + under_a_condition(1);
    assert_eq!(sum, 4);
    assert_eq!(block_on(later(String::new(), String::new())) + block_on(kept(String::new(), (1, 2))), 2);
    assert!(std::panic::catch_unwind(|| guarded(1, (1, 2))).is_err());
    assert_eq!(expect.params().len(), 2 + 3 + 2 + 2 + 2 + 2 + 1);
}

/// The other lints of an expectation are still reported.
#[test]
fn an_expectation_of_more_than_an_unused_argument() {
    #[tracked]
    fn f(#[expect(unused_variables, unused_mut, reason = "later")] mut a: u8) -> u8 { 1 }
    #[tracked]
    fn assigned(#[expect(unused_assignments)] mut a: u8) -> u8 { a = 2; a }
    #[tracked]
    async fn later(#[expect(unused_mut, unused_variables)] mut a: String, #[expect(unused_mut, non_snake_case)] mut B: String) -> String { B }
    let expect = expect_runs(3);
    assert_eq!(f(1) + assigned(1), 3);
    assert_eq!(block_on(later(String::new(), "b".to_owned())), "b");
    assert_eq!(expect.params().len(), 4);
}

/// The lint for an argument that is not logged still fires, as in the plain function.
#[test]
fn an_expectation_of_a_skipped_argument() {
    #[tracked(skip(a), redact(b))]
    fn skipped(#[expect(unused_variables)] a: &str, #[expect(unused_variables)] b: &str) -> u8 { 1 }
    #[tracked(skip_all)]
    async fn later(#[expect(unused_variables)] a: String, #[expect(unused_variables)] b: String) -> u8 { 1 }
    #[tracked(skip_all)]
    fn guarded(#[expect(unused_variables)] a: u8, #[expect(unused_variables)] (b, _): (u8, u8)) -> ! { panic!() }
    #[tracked(skip(a))]
    fn owned(#[expect(unused_variables)] a: u8, #[expect(unused_variables)] (b, _): (u8, u8)) -> u8 { 1 }
    #[timed]
    fn timed(#[expect(unused_variables)] a: u8, #[expect(unused_variables)] b: &str) -> u8 { 1 }
    #[timed]
    fn boxed(#[expect(unused_variables)] a: String, #[expect(unused_variables)] b: &str) -> Pin<Box<dyn Future<Output = u8>>> { Box::pin(std::future::ready(1)) }
    let expect = expect_runs(4);
    assert_eq!(skipped("a", "b") + owned(1, (2, 3)) + timed(1, ""), 3);
    assert_eq!(block_on(later(String::new(), String::new())) + block_on(boxed(String::new(), "")), 2);
    assert!(std::panic::catch_unwind(|| guarded(1, (1, 2))).is_err());
    let expected = [("b", "[redacted]"), ("b", "2")].map(|(key, value)| (key.to_owned(), value.to_owned()));
    assert_eq!(expect.params(), expected);
}
