//! Fuzz target of the masking of secrets.
//!
//! An input is a text; bytes that are not UTF-8 are replaced.
#![no_main]

use libfuzzer_sys::fuzz_target;

#[path = "../../mlflow-rules/tests/invariants/mod.rs"]
mod invariants;

fuzz_target!(|input: &[u8]| {
    invariants::check(&String::from_utf8_lossy(input));
});
