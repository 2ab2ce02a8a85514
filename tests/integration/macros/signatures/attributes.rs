//! Attributes on and in the function.

use mlflow::tracked;

use super::expect_runs;

#[test]
fn builtin_attributes() {
    /// Documented.
    #[tracked]
    #[must_use]
    #[inline]
    #[cold]
    #[doc(hidden)]
    fn f(a: u8) -> u8 {
        a
    }
    let _expect = expect_runs(1);
    assert_eq!(f(1), 1);
}

#[test]
fn must_use_async() {
    #[tracked]
    #[must_use]
    async fn f(a: u8) -> u8 {
        a
    }
    let _expect = expect_runs(1);
    assert_eq!(super::block_on(f(1)), 1);
}

#[test]
fn cfg_arguments() {
    #[tracked]
    fn f(
        a: u8,
        #[cfg(test)] b: u8,
        #[cfg(any())] c: NoSuchType,
        #[cfg(any())] (d, e): NoSuchType,
    ) -> u8 {
        a + b
    }
    let _expect = expect_runs(1);
    assert_eq!(f(1, 2), 3);
}

#[test]
fn cfg_arguments_async() {
    #[tracked]
    async fn f(#[cfg(any())] (c, d): NoSuchType, #[cfg(test)] (a, b): (u8, u8)) -> u8 {
        a + b
    }
    let _expect = expect_runs(1);
    assert_eq!(super::block_on(f((1, 2))), 3);
}

/// Regression: only a plain `#[cfg]` was copied to the capture of an argument.
#[test]
fn cfg_attr_arguments() {
    #[tracked]
    fn f(
        #[cfg_attr(test, cfg(test), allow(unused_mut))] mut a: u8,
        #[cfg_attr(test, cfg(any()))] b: NoSuchType,
        #[cfg_attr(not(test), cfg(any()))] c: u8,
        #[cfg_attr(all(), allow(unused_variables), cfg_attr(true, cfg(all()), cfg(any())))]
        d: NoSuchType,
        #[cfg_attr(test, cfg(any()))] (e, g): NoSuchType,
        #[cfg_attr(test, cfg_attr(test, cfg(test)))] (h, _): (u8, u8),
        #[cfg_attr(any(), cfg(any()))] i: u8,
    ) -> u8 {
        a + c + h + i
    }
    #[tracked]
    async fn later(
        #[cfg_attr(test, cfg(any()))] a: NoSuchType,
        #[cfg_attr(test, cfg(test))] b: String,
        #[cfg_attr(test, cfg(any()))] (c, d): NoSuchType,
        e: String,
    ) -> String {
        b + &e
    }
    #[tracked]
    fn either(#[cfg(any())] z: NoSuchType, #[cfg_attr(test, cfg(test))] z: u8) -> u8 {
        z
    }
    let expect = expect_runs(3);
    assert_eq!(f(1, 2, (3, 4), 5), 11);
    let later = later("b".to_owned(), "e".to_owned());
    assert_eq!(super::block_on(later), "be");
    assert_eq!(either(6), 6);
    let expected = [
        ("a", "1"),
        ("c", "2"),
        ("h", "3"),
        ("i", "5"),
        ("b", "b"),
        ("e", "e"),
        ("z", "6"),
    ];
    assert_eq!(
        expect.params(),
        expected.map(|(key, value)| (key.to_owned(), value.to_owned()))
    );
}

#[test]
fn inner_attributes() {
    #[tracked]
    fn f(a: u8) -> u8 {
        #![allow(unused_variables, clippy::no_effect)]
        //! Inner documentation.
        let b = 1;
        a
    }
    let _expect = expect_runs(1);
    assert_eq!(f(1), 1);
}

#[test]
fn cfg_in_the_body() {
    #[tracked]
    fn f(a: u8) -> u8 {
        #[cfg(any())]
        return no_such_function(a);
        #[cfg(test)]
        a
    }
    let _expect = expect_runs(1);
    assert_eq!(f(1), 1);
}

#[tracked]
#[test]
fn test_below() {
    assert!(mlflow::Run::current().is_some());
}

#[test]
#[tracked]
fn test_above() -> Result<(), String> {
    mlflow::Run::current()
        .map(|_| ())
        .ok_or("no run".to_owned())
}

#[tracked]
#[tokio::test]
async fn tokio_test_below() {
    assert!(mlflow::Run::current().is_some());
}

#[tokio::test]
#[tracked]
async fn tokio_test_above() {
    assert!(mlflow::Run::current().is_some());
}

#[test]
fn tokio_main_below() {
    #[tracked]
    #[tokio::main(flavor = "current_thread")]
    async fn main() -> Result<(), String> {
        Ok(())
    }
    let _expect = expect_runs(1);
    assert_eq!(main(), Ok(()));
}

#[test]
fn tokio_main_above() {
    #[tokio::main(flavor = "current_thread")]
    #[tracked]
    async fn main() -> Result<(), String> {
        Ok(())
    }
    let _expect = expect_runs(1);
    assert_eq!(main(), Ok(()));
}

#[test]
fn fn_main() {
    #[tracked]
    fn main() -> std::process::ExitCode {
        std::process::ExitCode::SUCCESS
    }
    let _expect = expect_runs(1);
    let _ = main();
}

#[test]
fn track_caller() {
    #[tracked]
    #[track_caller]
    fn f(a: u8) -> (u8, u32) {
        (a, std::panic::Location::caller().line())
    }
    let _expect = expect_runs(1);
    assert_eq!(f(1), (1, line!()));
}

#[test]
fn tracked_twice() {
    #[tracked]
    #[tracked]
    fn f(a: u8) -> u8 {
        a
    }
    let _expect = expect_runs(2);
    assert_eq!(f(1), 1);
}

#[test]
fn expectations_hold() {
    #[tracked]
    #[expect(unused_variables, unused_mut)]
    fn f(mut a: u8, (b, c): (u8, u8)) -> u8 {
        a + b
    }
    #[expect(dead_code)]
    #[tracked]
    fn dead() {}
    let _expect = expect_runs(1);
    assert_eq!(f(1, (0, 2)), 1);
}

#[test]
fn forbidden_lints() {
    mod strict {
        #![forbid(
            unsafe_code,
            unused_variables,
            unused_mut,
            unused_imports,
            unused_braces,
            unused_parens,
            unreachable_code,
            unused_must_use,
            unused_assignments,
            non_snake_case,
            dead_code,
            missing_docs
        )]
        #[::mlflow::tracked(tags(a = a), params(b))]
        pub(super) fn f(a: u8, (b, mut c): (u8, Vec<u8>)) -> Result<u8, String> {
            c.push(a);
            Ok(b)
        }
        #[::mlflow::tracked]
        pub(super) async fn g(a: u8, (b, mut c): (u8, Vec<u8>)) -> Result<u8, String> {
            c.push(a);
            Ok(b)
        }
        #[::mlflow::tracked]
        pub(super) fn diverges(a: u8) -> ! {
            panic!("{a}")
        }
    }
    let _expect = expect_runs(3);
    assert_eq!(strict::f(1, (2, vec![])), Ok(2));
    assert_eq!(super::block_on(strict::g(1, (2, vec![]))), Ok(2));
    assert!(std::panic::catch_unwind(|| strict::diverges(1)).is_err());
}

#[test]
fn another_path_to_the_library() {
    mod facade {
        pub(super) mod tracking {
            pub(crate) use mlflow::__private;
        }
    }
    #[tracked(crate = facade::tracking, run_name = "{a}", tags(twice = a * 2), params(b = a), hash(a))]
    fn f(a: u8) -> Result<u8, String> {
        Ok(a)
    }
    #[tracked(crate = facade::tracking)]
    async fn later((a, _): (u8, u8)) -> impl Fn(&str) -> usize {
        move |text| text.len() + usize::from(a)
    }
    #[tracked(crate = facade::tracking)]
    fn boxed(a: u8) -> std::pin::Pin<Box<dyn std::future::Future<Output = u8>>> {
        Box::pin(async move { a })
    }
    #[tracked(crate = facade::tracking)]
    fn alias(a: u8) -> Alias {
        a
    }
    #[mlflow::timed(crate = facade::tracking)]
    fn timed() {}
    type Alias = u8;
    let expect = expect_runs(4);
    timed();
    assert_eq!(f(1), Ok(1));
    assert_eq!(super::block_on(later((1, 2)))("ab"), 3);
    assert_eq!(super::block_on(boxed(1)) + alias(1), 2);
    assert_eq!(expect.params().len(), 5);
}

#[test]
fn no_implicit_prelude() {
    mod bare {
        #![no_implicit_prelude]
        #[::mlflow::tracked(experiment = "e", run_name = "{a}", tags(a = a), params(b = 1), hash(c))]
        pub(super) fn f(a: u8, (b, _): (u8, u8), c: &str) -> ::std::result::Result<u8, ()> {
            let _ = c;
            ::std::result::Result::Ok(a + b)
        }
        #[::mlflow::tracked]
        pub(super) async fn g(a: u8) -> ::std::option::Option<u8> {
            ::std::option::Option::Some(a)
        }
        #[::mlflow::tracked]
        pub(super) fn boxed(
            a: u8,
        ) -> ::std::pin::Pin<::std::boxed::Box<dyn ::std::future::Future<Output = u8>>> {
            ::std::boxed::Box::pin(async move { a })
        }
        #[::mlflow::timed]
        pub(super) fn timed() {}
    }
    let _expect = expect_runs(3);
    bare::timed();
    assert_eq!(bare::f(1, (2, 3), "c"), Ok(3));
    assert_eq!(super::block_on(bare::g(1)), Some(1));
    assert_eq!(super::block_on(bare::boxed(1)), 1);
}
