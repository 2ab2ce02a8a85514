//! The text and the place of every error, in `ui/`.
//!
//! They lie here, not in the tests package, as they need no runtime: an error emits the function
//! as it stood.

#[test]
fn errors() {
    trybuild::TestCases::new().compile_fail("ui/*.rs");
}
