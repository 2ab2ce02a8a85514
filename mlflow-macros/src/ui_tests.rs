//! Tests of the text and the location of every error, with one file per topic in `ui/`.
//!
//! The files are in this crate and not in the tests package, as they need no runtime: with an
//! error, the macro emits the function unchanged.

#[test]
fn errors() {
    trybuild::TestCases::new().compile_fail("ui/*.rs");
}
