//! Turns any value into text or numbers, without asking its type for anything.
//!
//! Invariants:
//!
//! - **No bound is demanded**: what a type cannot do is found by the compiler at the call site
//!   (autoref specialisation), and the next best thing is used.
//! - **Bounded**: memory never grows with the data, nor does time, as long sequences become their
//!   length. The exception is an opaque type with nothing but a `Debug`: std's builders go on through
//!   its entries after the writer has had enough (though nothing is formatted any more), and the only
//!   way out, unwinding, would poison the locks that a `Debug` holds.
//! - **Never waits** for a lock: one is tried, or passed over.
//! - **A value that panics while it is looked at does not take the caller along.**
//!
//! How the dispatch works: `(&&&&&&&Capture(&x)).__mlflow_param()` looks for the method with the
//! fewest dereferences. Each level's trait is implemented for one reference less, so the first
//! level whose bound holds wins. In generic code only declared bounds count.

mod debug;
mod failure;
mod flatten;
mod hash;
mod leaf;
mod length;
mod levels;
mod lock;
mod shared;
mod text;

pub(crate) use debug::render_debug;
pub use failure::Failure;
pub(crate) use failure::payload_text;
pub(crate) use levels::flatten_config;
pub use levels::{Capture, Numbers, Values, by_bounds};
#[cfg(feature = "tracing")]
pub(crate) use text::render_text;
pub(crate) use text::{Text, TextEnd, truncate_to_text};
