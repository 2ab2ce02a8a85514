//! Rules that recognise secrets, which must never be written down, and keys that MLflow accepts.
//!
//! Secrets are recognised in two ways: [`is_secret_name`] judges a value by its name, and [`mask`]
//! finds credentials anywhere in a text, by their form or by the name before them. [`key_fault`] checks the key of a metric, a
//! param or a tag. [`url_without_credentials`] and [`url_without_secrets`] leave the secret parts of a URL
//! out. [`git`] finds the commit that a build records. [`find_nearest`] finds the name that a mistyped one was meant to be.
//!
//! The macros, the runtime and the command line share these rules: a macro judges arguments when
//! the code is compiled, the runtime judges values when they are logged. The crate is internal to
//! these and not meant for other users. The crate has no dependencies, because it is compiled both for the
//! compiler's machine (as a part of the macros) and for the program's.
//!
//! ```
//! use mlflow_rules::{Edge, is_secret_name, mask};
//!
//! assert!(is_secret_name("db_password") && !is_secret_name("max_tokens"));
//! let masked = mask("cannot clone https://me:pass@host/repo", Edge::End).unwrap();
//! assert_eq!(masked.text, "cannot clone https://[redacted]@host/repo");
//! let masked = mask("host=db password=hunter2 dbname=wine", Edge::End).unwrap();
//! assert_eq!(masked.text, "host=db password=[redacted] dbname=wine");
//! ```

mod credential;
pub mod git;
mod hex;
mod key;
mod nearest;
mod secret_name;
mod url;

pub use credential::{Edge, Masked, add_secret_finder, credential_ranges, mask};
pub use hex::to_hex;
pub use key::{KEY_CHARS, KeyFault, checked_key, is_key_char, key_fault};
pub use nearest::find_nearest;
pub use secret_name::{is_secret_name, is_secret_value};
pub use url::{url_without_credentials, url_without_secrets};

/// Text that replaces a secret value.
pub const REDACTED: &str = "[redacted]";
