//! The levels of the autoref dispatch, best first.
//!
//! | method | levels |
//! |---|---|
//! | `__mlflow_param` | `Display`, `Serialize`, a length and `Debug`, `Debug`, the type's name |
//! | `__mlflow_numbers` | `Serialize`, nothing |
//! | `__mlflow_hash` | bytes, `Display`, `Serialize`, `Debug`, nothing |
//! | `__mlflow_failure` | `Error`, derefs to an `Error`, `Display`, `Debug`, the type's name |

#![expect(missing_docs, reason = "each level is one line of the table above")]

use std::any::type_name;
use std::error::Error;
use std::fmt::{Debug, Display, Write};
use std::ops::Deref;

use serde::Serialize;

use super::debug::render_debug;
use super::failure::Failure;
use super::flatten::{FEW, Leaf, Purpose, flatten};
use super::hash::{sha256_of_bytes, sha256_of_json, sha256_of_text};
use super::text::{Text, cut};
use crate::limits::{PARAM_VALUE_CHARS, TAG_VALUE_CHARS};

/// A value about to be looked at.
#[derive(Debug)]
pub struct Capture<'v, T: ?Sized>(pub &'v T);

/// A param's value: one text, or the fields of a struct or map.
#[derive(Debug, PartialEq)]
pub enum Values {
    /// `alpha` = text.
    Text(Text),
    /// `config` → `config.lr`, `config.epochs`.
    Fields(Vec<(String, Text)>),
}

impl Values {
    /// One line, as a run's name needs it.
    pub(crate) fn into_text(self) -> Text {
        match self {
            Self::Text(text) => text,
            Self::Fields(fields) => {
                let mut line = Text::from(String::new());
                for (key, Text { text, end }) in fields {
                    let separator = if line.text.is_empty() { "" } else { "," };
                    // Writing to a String cannot fail.
                    let _ = write!(line.text, "{separator}{key}={text}");
                    line.end = line.end.and(end);
                }
                line
            }
        }
    }
}

/// A returned value's numbers, each with the path that leads to it.
pub type Numbers = Vec<(String, f64)>;

fn displayed(value: &dyn Display) -> Values {
    Values::Text(Text::of(PARAM_VALUE_CHARS, value))
}

fn debugged(value: &dyn Debug) -> Values {
    Values::Text(render_debug(PARAM_VALUE_CHARS, format_args!("{value:?}")))
}

fn flattened(mut leaves: Vec<Leaf>) -> Values {
    match leaves.pop() {
        Some(leaf) if leaves.is_empty() && leaf.path.is_empty() => {
            Values::Text(leaf.scalar.into_text())
        }
        last => Values::Fields(
            leaves
                .into_iter()
                .chain(last)
                .map(|leaf| (leaf.path, leaf.scalar.into_text()))
                .collect(),
        ),
    }
}

/// The fields of `value`.
pub(crate) fn serialized<T: Serialize + ?Sized>(value: &T) -> Values {
    flattened(flatten(value, Purpose::Params))
}

fn numbers(leaves: Vec<Leaf>) -> Numbers {
    leaves
        .into_iter()
        .filter_map(|leaf| Some((leaf.path, leaf.scalar.number()?)))
        .collect()
}

/// What `T` is called, without the paths in front.
fn name_of<T: ?Sized>() -> Values {
    Values::Text(cut(PARAM_VALUE_CHARS, &format!("<{}>", type_name::<T>())))
}

pub trait ParamByDisplay {
    fn __mlflow_param(&self) -> Values;
}
impl<T: Display + ?Sized> ParamByDisplay for &&&&Capture<'_, T> {
    fn __mlflow_param(&self) -> Values {
        displayed(&self.0)
    }
}

pub trait ParamBySerialize {
    fn __mlflow_param(&self) -> Values;
}
impl<T: Serialize + ?Sized> ParamBySerialize for &&&Capture<'_, T> {
    fn __mlflow_param(&self) -> Values {
        serialized(self.0)
    }
}

pub trait ParamByLength {
    fn __mlflow_param(&self) -> Values;
}
impl<'v, T: Debug + ?Sized> ParamByLength for &&Capture<'v, T>
where
    &'v T: IntoIterator,
    <&'v T as IntoIterator>::IntoIter: ExactSizeIterator,
{
    fn __mlflow_param(&self) -> Values {
        match self.0.into_iter().len() {
            len if len > FEW => Values::Text(format!("[{len} items]").into()),
            _ => debugged(&self.0),
        }
    }
}

pub trait ParamByDebug {
    fn __mlflow_param(&self) -> Values;
}
impl<T: Debug + ?Sized> ParamByDebug for &Capture<'_, T> {
    fn __mlflow_param(&self) -> Values {
        debugged(&self.0)
    }
}

pub trait ParamByName {
    fn __mlflow_param(&self) -> Values;
}
impl<T: ?Sized> ParamByName for Capture<'_, T> {
    fn __mlflow_param(&self) -> Values {
        name_of::<T>()
    }
}

pub trait NumbersBySerialize {
    fn __mlflow_numbers(&self) -> Numbers;
}
impl<T: Serialize + ?Sized> NumbersBySerialize for &Capture<'_, T> {
    fn __mlflow_numbers(&self) -> Numbers {
        numbers(flatten(self.0, Purpose::Metrics))
    }
}

pub trait NoNumbers {
    fn __mlflow_numbers(&self) -> Numbers;
}
impl<T: ?Sized> NoNumbers for Capture<'_, T> {
    fn __mlflow_numbers(&self) -> Numbers {
        Vec::new()
    }
}

pub trait HashOfBytes {
    fn __mlflow_hash(&self) -> Option<String>;
}
impl<T: AsRef<[u8]> + ?Sized> HashOfBytes for &&&&Capture<'_, T> {
    fn __mlflow_hash(&self) -> Option<String> {
        Some(sha256_of_bytes(self.0.as_ref()))
    }
}

pub trait HashOfDisplay {
    fn __mlflow_hash(&self) -> Option<String>;
}
impl<T: Display + ?Sized> HashOfDisplay for &&&Capture<'_, T> {
    fn __mlflow_hash(&self) -> Option<String> {
        sha256_of_text(format_args!("{}", self.0))
    }
}

pub trait HashOfSerialize {
    fn __mlflow_hash(&self) -> Option<String>;
}
impl<T: Serialize + ?Sized> HashOfSerialize for &&Capture<'_, T> {
    fn __mlflow_hash(&self) -> Option<String> {
        sha256_of_json(self.0)
    }
}

pub trait HashOfDebug {
    fn __mlflow_hash(&self) -> Option<String>;
}
impl<T: Debug + ?Sized> HashOfDebug for &Capture<'_, T> {
    fn __mlflow_hash(&self) -> Option<String> {
        sha256_of_text(format_args!("{:?}", self.0))
    }
}

pub trait NoHash {
    fn __mlflow_hash(&self) -> Option<String>;
}
impl<T: ?Sized> NoHash for Capture<'_, T> {
    fn __mlflow_hash(&self) -> Option<String> {
        None
    }
}

pub trait FailureByError {
    fn __mlflow_failure(&self) -> Failure;
}
impl<T: Error + ?Sized> FailureByError for &&&&Capture<'_, T> {
    fn __mlflow_failure(&self) -> Failure {
        Failure::of_error(
            type_name::<T>(),
            Text::of(TAG_VALUE_CHARS, &self.0),
            self.0.source(),
        )
    }
}

pub trait FailureByDeref {
    fn __mlflow_failure(&self) -> Failure;
}
impl<T: Deref<Target: Error> + ?Sized> FailureByDeref for &&&Capture<'_, T> {
    fn __mlflow_failure(&self) -> Failure {
        let error: &T::Target = self.0;
        Failure::of_error(
            type_name::<T>(),
            Text::of(TAG_VALUE_CHARS, &error),
            error.source(),
        )
    }
}

pub trait FailureByDisplay {
    fn __mlflow_failure(&self) -> Failure;
}
impl<T: Display + ?Sized> FailureByDisplay for &&Capture<'_, T> {
    fn __mlflow_failure(&self) -> Failure {
        Failure::of_error(type_name::<T>(), Text::of(TAG_VALUE_CHARS, &self.0), None)
    }
}

pub trait FailureByDebug {
    fn __mlflow_failure(&self) -> Failure;
}
impl<T: Debug + ?Sized> FailureByDebug for &Capture<'_, T> {
    fn __mlflow_failure(&self) -> Failure {
        let message = render_debug(TAG_VALUE_CHARS, format_args!("{:?}", self.0));
        Failure::of_error(type_name::<T>(), message, None)
    }
}

pub trait FailureByName {
    fn __mlflow_failure(&self) -> Failure;
}
impl<T: ?Sized> FailureByName for Capture<'_, T> {
    fn __mlflow_failure(&self) -> Failure {
        Failure::of_error(type_name::<T>(), type_name::<T>().to_owned().into(), None)
    }
}

/// Every level, for a glob import that brings no names.
pub mod by_bounds {
    pub use super::{
        FailureByDebug as _, FailureByDeref as _, FailureByDisplay as _, FailureByError as _,
        FailureByName as _, HashOfBytes as _, HashOfDebug as _, HashOfDisplay as _,
        HashOfSerialize as _, NoHash as _, NoNumbers as _, NumbersBySerialize as _,
        ParamByDebug as _, ParamByDisplay as _, ParamByLength as _, ParamByName as _,
        ParamBySerialize as _,
    };
}

#[cfg(test)]
#[path = "levels_tests.rs"]
mod tests;
