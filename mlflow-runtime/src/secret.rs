//! Values that must not be shown.

use std::borrow::Cow;
use std::fmt;

/// A value that is never printed, by `Debug` or otherwise.
///
/// ```
/// let token = mlflow::Secret::new("s3cr3t".to_owned());
/// assert_eq!(format!("{token:?}"), "[redacted]");
/// assert_eq!(token.expose(), "s3cr3t");
/// ```
#[derive(Clone, PartialEq, Eq)]
pub struct Secret<T>(T);

impl<T> Secret<T> {
    /// Wraps a value.
    pub const fn new(value: T) -> Self {
        Self(value)
    }

    pub(crate) fn into_inner(self) -> T {
        self.0
    }

    /// Returns the value itself. Keep it out of logs.
    pub const fn expose(&self) -> &T {
        &self.0
    }
}

impl<T> From<T> for Secret<T> {
    fn from(value: T) -> Self {
        Self(value)
    }
}

impl From<&str> for Secret<String> {
    fn from(value: &str) -> Self {
        Self(value.to_owned())
    }
}

impl From<&String> for Secret<String> {
    fn from(value: &String) -> Self {
        Self(value.clone())
    }
}

impl From<Cow<'_, str>> for Secret<String> {
    fn from(value: Cow<'_, str>) -> Self {
        Self(value.into_owned())
    }
}

impl From<Box<str>> for Secret<String> {
    fn from(value: Box<str>) -> Self {
        Self(value.into())
    }
}

/// Takes over a secret of the crate [`secrecy`].
#[cfg(feature = "secrecy")]
#[cfg_attr(docsrs, doc(cfg(feature = "secrecy")))]
impl From<secrecy::SecretString> for Secret<String> {
    fn from(value: secrecy::SecretString) -> Self {
        use secrecy::ExposeSecret as _;
        Self(value.expose_secret().to_owned())
    }
}

impl<T> fmt::Debug for Secret<T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("[redacted]")
    }
}
