//! What must never be written down: values whose [name](is_secret_name) says that they are secret,
//! and what [looks like a credential](mask), wherever in a text it stands.
//!
//! And which keys MLflow [takes](key_fault).
//!
//! One rule for both sides: the macro judges arguments when the code is compiled, the runtime
//! judges values when they are logged. Not meant for others than the two; it has no dependencies,
//! as it is built for the compiler's machine and for the program's.
//!
//! ```
//! use mlflow_rules::{Edge, is_secret_name, mask};
//!
//! assert!(is_secret_name("db_password") && !is_secret_name("max_tokens"));
//! let masked = mask("cannot clone https://me:pass@host/repo", Edge::End).unwrap();
//! assert_eq!(masked.text, "cannot clone https://[redacted]@host/repo");
//! ```

mod credential;
mod key;
mod name;

pub use credential::{Edge, Masked, mask};
pub use key::{KEY_CHARS, KeyFault, checked_key, is_key_char, key_fault};
pub use name::is_secret_name;

/// Stands in for a secret value.
pub const REDACTED: &str = "[redacted]";
