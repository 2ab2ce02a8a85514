//! The table of signatures once more, in a crate of the edition before the macro's own.

#[cfg(test)]
#[path = "../integration/macros/signatures/mod.rs"]
#[rustfmt::skip] // The tests package formats it, in its own edition's style.
mod signatures;
