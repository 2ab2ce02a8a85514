//! The user's own lints fire as on a plain function: each expectation below has to be met.

use mlflow::{timed, tracked};

use super::expect_runs;

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
    assert_eq!(super::block_on(g(1)).into(), 1.0);
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
    assert_eq!((allowed((1, 2), 3), expected((1, 2), 3), super::block_on(later((1, 2)))), (5, 5, 2));
}
