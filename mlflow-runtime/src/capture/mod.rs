//! Conversion of any value into text or numbers, without a trait bound on its type.
//!
//! Invariants:
//!
//! - **No bound is demanded.** The compiler finds out at the call site which traits a type implements
//!   (autoref specialization), and the best available trait is used.
//! - **Bounded.** Memory never grows with the size of the data. Nor does time, because a long sequence is
//!   recorded by its length. The one exception is an opaque type that implements only `Debug`: std's builders
//!   still iterate over all entries after the writer has reached its limit, although nothing is formatted any
//!   more. The only way out, unwinding, would poison the locks that the `Debug` implementation holds.
//! - **Never waits for a lock.** A lock is tried, or skipped.
//! - **A panic inside a value's formatting or serialization does not reach the caller.**
//!
//! The dispatch: for `(&&&&&&&Capture(&x)).__mlflow_param()` the compiler looks for the method that needs the
//! fewest dereferences. The trait of each level is implemented for one reference less than that of the level
//! before, so the first level whose bound holds wins. In generic code only the declared bounds count.

#[cfg(feature = "polars")]
pub(crate) mod background_digest;
mod bounded_text;
mod dispatch;
mod error_chain;
pub(crate) mod file_digest;
mod flatten;
mod hash;
mod len_hint;
mod locked_value;
mod redacted_debug;
mod scalar;
mod shared_value;

#[cfg(feature = "tracing")]
pub(crate) use bounded_text::render_text;
pub(crate) use bounded_text::{Text, TextEnd, truncate_to_text};
pub use dispatch::{Capture, Numbers, Values};
pub(crate) use dispatch::{flatten_config, numbers_of, specialization};
pub use error_chain::Failure;
pub(crate) use error_chain::payload_text;
pub(crate) use redacted_debug::render_debug;
