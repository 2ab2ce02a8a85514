//! The attributes: what they record, and what they leave alone.

mod arguments;
mod instrument;
mod locks;
mod mistakes;
mod outcomes;
mod recorder;
mod secrets;
mod signatures;
mod timed;
mod transparency;
mod values;
