//! Attributes `#[tracked]` and `#[timed]`: the values that they record, and the behaviour that they preserve.

mod arguments;
mod instrument;
mod locks;
mod log_as;
mod mistakes;
mod outcomes;
mod recorder;
mod secrets;
mod signatures;
mod timed;
mod transparency;
mod values;
