//! Generics, lifetimes, opaque and dynamic types.

use std::fmt::{Debug, Display};

use mlflow::tracked;

use super::expect_runs;

#[test]
fn generic() {
    #[tracked]
    fn f<T, U: Clone>(a: T, b: &U) -> (T, U) {
        (a, b.clone())
    }
    let _expect = expect_runs(1);
    assert_eq!(f(1, &"b"), (1, "b"));
}

#[test]
fn const_generic() {
    #[tracked]
    fn f<const N: usize>(a: [u8; N]) -> [u8; N] {
        a
    }
    let _expect = expect_runs(1);
    assert_eq!(f([1, 2]), [1, 2]);
}

#[test]
fn where_clause() {
    #[tracked]
    fn f<T>(a: T) -> String
    where
        T: Display,
        for<'a> &'a T: Debug,
        String: Clone,
    {
        a.to_string()
    }
    let _expect = expect_runs(1);
    assert_eq!(f(1), "1");
}

#[test]
fn higher_ranked() {
    #[tracked]
    fn f<F>(a: F) -> usize
    where
        F: for<'a> Fn(&'a str) -> &'a str,
    {
        a("abc").len()
    }
    let _expect = expect_runs(1);
    assert_eq!(f(|a| &a[1..]), 2);
}

#[test]
fn elided_lifetime() {
    #[tracked]
    fn f(a: &str) -> &str {
        &a[1..]
    }
    let _expect = expect_runs(1);
    assert_eq!(f("ab"), "b");
}

#[test]
fn named_lifetimes() {
    #[tracked]
    fn f<'a, 'b: 'a>(a: &'a str, b: &'b str) -> &'a str {
        if a.is_empty() { b } else { a }
    }
    let _expect = expect_runs(1);
    assert_eq!(f("", "b"), "b");
}

#[test]
fn anonymous_lifetime_in_a_type() {
    struct View<'a>(&'a str);
    #[tracked]
    fn f(a: &str) -> View<'_> {
        View(a)
    }
    let _expect = expect_runs(1);
    assert_eq!(f("a").0, "a");
}

#[test]
fn static_lifetime() {
    #[tracked]
    fn f() -> &'static [u8] {
        &[1]
    }
    let _expect = expect_runs(1);
    assert_eq!(f(), [1]);
}

#[test]
fn impl_trait_argument() {
    #[tracked]
    fn f(a: impl IntoIterator<Item = u8>, b: &impl Display) -> u8 {
        a.into_iter().sum::<u8>() + u8::try_from(b.to_string().len()).unwrap_or(0)
    }
    let _expect = expect_runs(1);
    assert_eq!(f([1, 2], &"b"), 4);
}

#[test]
fn impl_trait_return() {
    #[tracked]
    fn f(n: u8) -> impl Iterator<Item = u8> {
        (0..n).map(|n| n * 2)
    }
    let _expect = expect_runs(1);
    assert_eq!(f(2).sum::<u8>(), 2);
}

#[test]
fn impl_trait_in_result() {
    #[tracked]
    fn f(n: i8) -> Result<impl Iterator<Item = impl Display>, Box<dyn std::error::Error>> {
        let n = u8::try_from(n)?;
        Ok(0..n)
    }
    let _expect = expect_runs(2);
    assert_eq!(f(2).ok().map(Iterator::count), Some(2));
    assert!(f(-1).is_err());
}

#[test]
fn impl_trait_in_box_and_tuple() {
    #[tracked]
    fn f(n: u8) -> (Box<impl Fn() -> u8>, Option<impl Debug>) {
        (Box::new(move || n), Some(1))
    }
    let _expect = expect_runs(1);
    assert_eq!(f(2).0(), 2);
}

#[test]
fn impl_trait_in_a_trait() {
    trait Rows {
        fn rows(&self, n: u8) -> impl Iterator<Item = u8>;
        #[tracked]
        fn twice(&self, n: u8) -> impl Iterator<Item = u8> {
            self.rows(n).chain(self.rows(n))
        }
        #[tracked]
        fn none(&self) -> impl IntoIterator<Item = u8> {
            Vec::new()
        }
        #[tracked]
        fn measure(&self) -> impl Fn(&str) -> usize {
            |text| text.len()
        }
    }
    struct Table;
    impl Rows for Table {
        #[tracked]
        fn rows(&self, n: u8) -> impl Iterator<Item = u8> {
            0..n
        }
    }
    let expect = expect_runs(5);
    assert_eq!(Table.twice(2).count(), 4);
    assert_eq!(Table.none().into_iter().count(), 0);
    assert_eq!(Table.measure()("ab"), 2);
    assert_eq!(expect.params().len(), 3);
}

#[test]
fn impl_trait_with_a_lifetime() {
    #[tracked]
    fn f(a: &[u8]) -> impl Iterator<Item = &u8> + '_ {
        a.iter()
    }
    let _expect = expect_runs(1);
    assert_eq!(f(&[1, 2]).count(), 2);
}

#[test]
fn use_captures() {
    #[tracked]
    fn f<'a, T>(a: &'a [u8], _b: T) -> impl Iterator<Item = u8> + use<'a, T> {
        a.iter().copied()
    }
    let _expect = expect_runs(1);
    assert_eq!(f(&[1, 2], 1).count(), 2);
}

#[test]
fn impl_trait_with_static_bound() {
    #[tracked]
    fn f(n: u8) -> impl Fn(u8) -> u8 + Send + Sync + 'static {
        move |a| a + n
    }
    let _expect = expect_runs(1);
    assert_eq!(f(1)(2), 3);
}

#[test]
fn dyn_arguments() {
    #[tracked]
    fn f(a: &dyn Display, b: &mut dyn FnMut(), c: Box<dyn Fn() -> u8 + '_>) -> u8 {
        b();
        c() + u8::try_from(a.to_string().len()).unwrap_or(0)
    }
    let _expect = expect_runs(1);
    let mut called = false;
    assert_eq!(f(&"a", &mut || called = true, Box::new(|| 1)), 2);
    assert!(called);
}

#[test]
fn dyn_return() {
    #[tracked]
    fn f<'a>(a: &'a str) -> Box<dyn Display + 'a> {
        Box::new(a)
    }
    let _expect = expect_runs(1);
    assert_eq!(f("a").to_string(), "a");
}

#[test]
fn extern_c() {
    #[tracked]
    extern "C" fn f(a: u32) -> u32 {
        a
    }
    let _expect = expect_runs(1);
    let pointer: extern "C" fn(u32) -> u32 = f;
    assert_eq!(pointer(1), 1);
}

#[test]
fn unsafe_fn() {
    #[tracked]
    #[allow(unsafe_code)]
    unsafe fn f(a: *const u8) -> u8 {
        unsafe { *a }
    }
    let _expect = expect_runs(1);
    #[allow(unsafe_code)]
    let value = unsafe { f(&1) };
    assert_eq!(value, 1);
}

#[test]
fn exported() {
    #[tracked]
    #[unsafe(no_mangle)]
    #[allow(unsafe_code)]
    pub(crate) extern "C" fn mlflow_tests_exported(a: u8) -> u8 {
        a
    }
    let _expect = expect_runs(1);
    assert_eq!(mlflow_tests_exported(1), 1);
}

#[test]
fn associated_item_of_an_argument() {
    #[tracked]
    fn f<I: Iterator>(mut a: I) -> Option<<I as Iterator>::Item> {
        a.next()
    }
    let _expect = expect_runs(1);
    assert_eq!(f([1].into_iter()), Some(1));
}

#[test]
fn fn_pointers() {
    #[tracked]
    fn f(a: fn(u8) -> u8) -> fn(u8) -> u8 {
        a
    }
    let _expect = expect_runs(1);
    assert_eq!(f(|a| a + 1)(1), 2);
}

#[test]
fn as_a_fn_pointer_and_fn_item() {
    #[tracked]
    fn f(a: &str) -> usize {
        a.len()
    }
    let _expect = expect_runs(2);
    let pointer: for<'a> fn(&'a str) -> usize = f;
    assert_eq!(["ab"].into_iter().map(f).sum::<usize>() + pointer("c"), 3);
}

#[test]
fn phantom_and_raw_pointers() {
    #[tracked]
    fn f<T>(a: *const T, b: std::marker::PhantomData<T>) -> bool {
        let _ = b;
        a.is_null()
    }
    let _expect = expect_runs(1);
    assert!(f::<u8>(std::ptr::null(), std::marker::PhantomData));
}

#[test]
fn recursion() {
    #[tracked]
    fn f(n: u32) -> u32 {
        if n == 0 { 0 } else { 1 + f(n - 1) }
    }
    let _expect = expect_runs(3);
    assert_eq!(f(2), 2);
}

#[test]
fn in_a_generic_impl() {
    struct Holder<T>(T);
    impl<T: Clone> Holder<T> {
        #[tracked]
        fn f<U>(&self, a: U) -> (T, U) {
            (self.0.clone(), a)
        }
    }
    let _expect = expect_runs(1);
    assert_eq!(Holder(1).f(2), (1, 2));
}
