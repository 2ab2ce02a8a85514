//! Second build of the integration tests' table of signatures, in a crate of the edition before the
//! macros' own.

#[cfg(test)]
#[path = "../integration/macros/signatures/mod.rs"]
#[rustfmt::skip] // The package mlflow-tests formats this module, in the style of its own edition.
mod signatures;
