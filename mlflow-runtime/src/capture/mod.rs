//! Turns any value into text or numbers, without asking its type for anything.
//!
//! Invariants:
//!
//! - **No bound is demanded**: what a type cannot do is found by the compiler at the call site
//!   (autoref specialisation), and the next best thing is used.
//! - **Bounded**: time and memory never grow with the data; long sequences become their length.
//! - **A value that panics while it is looked at does not take the caller along.**
//!
//! How the dispatch works: `(&&&&&Capture(&x)).__mlflow_param()` looks for the method with the
//! fewest dereferences. Each level's trait is implemented for one reference less, so the first
//! level whose bound holds wins. In generic code only declared bounds count.

mod debug;
mod failure;
mod flatten;
mod hash;
mod levels;
mod text;

pub(crate) use debug::render_debug;
pub use failure::Failure;
pub(crate) use failure::payload_text;
pub(crate) use levels::serialized;
pub use levels::{Capture, Numbers, Values, by_bounds};
pub(crate) use text::{End, Text, cut};
