//! The levels of the autoref dispatch, best first.
//!
//! | method | levels |
//! |---|---|
//! | `__mlflow_param` | `Display`, a lock, `Serialize` and `Debug`, `Serialize`, an `Rc` or `Arc`, a length and `Debug` (two levels), `Debug`, the type's name |
//! | `__mlflow_numbers` | a lock, `Serialize`, an `Rc` or `Arc`, nothing |
//! | `__mlflow_hash` | bytes, `Display`, a lock, `Serialize`, an `Rc` or `Arc`, `Debug`, nothing |
//! | `__mlflow_failure` | `Error`, derefs to an `Error`, `Display`, `Debug`, the type's name |
//!
//! The macro expansion writes seven references. A method can therefore be found at nine places, which the
//! compiler tries in this order: the trait on six references; on seven, the last of which the call borrows by
//! itself; on five, four, three, two, one and none; and on none with a method that takes the capture by
//! value.

#![expect(missing_docs, reason = "each level is one line of the table above")]

use std::any::type_name;
use std::error::Error;
use std::fmt::{Debug, Display, Write};
use std::ops::Deref;

use serde::Serialize;

use super::bounded_text::{Text, TextEnd, name_behind_pointers, truncate_to_text};
use super::error_chain::Failure;
use super::flatten::{Leaves, flatten_value};
use super::hash::{sha256_of_bytes, sha256_of_json, sha256_of_text};
use super::len_hint::Length;
use super::locked_value::{Lock, Look, is_lock, is_lock_in_debug, lock_name};
use super::redacted_debug::render_debug;
use super::scalar::{Leaf, MAX_PARAM_ENTRIES, Purpose};
use super::shared_value::Shared;
use crate::model::limits::{PARAM_VALUE_CHARS, TAG_VALUE_CHARS};

/// A value to be captured.
#[derive(Debug)]
pub struct Capture<'v, T: ?Sized>(pub &'v T);

impl<T: ?Sized> Copy for Capture<'_, T> {}

impl<T: ?Sized> Clone for Capture<'_, T> {
    fn clone(&self) -> Self {
        *self
    }
}

/// Value of a param: one text, or the fields of a struct or map.
#[derive(Debug, PartialEq)]
pub enum Values {
    /// `alpha` = text.
    Text(Text),
    /// `config` → `config.lr`, `config.epochs`.
    Fields(Vec<(String, Text)>),
}

impl Values {
    /// Returns the value on one line, as a run's name needs it.
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

/// Numbers found in a returned value.
#[derive(Debug, Default, PartialEq)]
pub struct Numbers {
    /// Numbers, each with the path that leads to it.
    pub(crate) values: Vec<(String, f64)>,
    /// True if every path begins with an index.
    pub(crate) is_sequence: bool,
    /// Paths at which numbers are missing, each with the reason.
    pub(crate) missing: Vec<(String, TextEnd)>,
}

impl Numbers {
    /// Returns no numbers, for a value that could not be read because of `end`.
    fn missing(end: TextEnd) -> Self {
        Self {
            missing: vec![(String::new(), end)],
            ..Self::default()
        }
    }
}

fn capture_display<T: Display + ?Sized>(value: &T) -> Values {
    // A tensor's numbers may lie on a device and are no param, so only the type's name is logged.
    if is_tensor::<T>() {
        return name_of::<T>();
    }
    let text = Text::from_value(PARAM_VALUE_CHARS, value);
    Values::Text(if is_text::<T>() {
        text
    } else {
        text.first_line()
    })
}

fn capture_debug<T: Debug + ?Sized>(value: &T) -> Values {
    if is_address::<T>() || is_lock_in_debug::<T>() {
        return name_of::<T>();
    }
    Values::Text(render_debug(PARAM_VALUE_CHARS, format_args!("{value:?}")))
}

/// Returns true if a `T` is shown as an address, which differs in each process: a function or raw pointer.
fn is_address<T: ?Sized>() -> bool {
    const POINTERS: [&str; 7] = [
        "fn(",
        "unsafe fn(",
        "extern ",
        "unsafe extern ",
        "for<",
        "*const ",
        "*mut ",
    ];
    let name = type_name::<T>().trim_start_matches('&');
    POINTERS.iter().any(|pointer| name.starts_with(pointer))
}

/// Returns the `Debug` output of `value`, or only its number of entries if there are too many.
fn capture_debug_or_len<T: Debug + ?Sized>(value: &T, entries: Option<usize>) -> Values {
    match entries {
        Some(entries) if entries > MAX_PARAM_ENTRIES => {
            Values::Text(format!("[{entries} items]").into())
        }
        _ => capture_debug(value),
    }
}

/// Marks a fallback text with `end`, the reason why the value could not be captured in a better way.
fn with_text_end(values: Values, end: TextEnd) -> Values {
    match values {
        Values::Text(text) => Values::Text(Text {
            end: text.end.and(end),
            ..text
        }),
        fields @ Values::Fields(_) => fields,
    }
}

fn values_from_leaves(mut leaves: Vec<Leaf>) -> Values {
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

/// Returns the fields of an argument.
fn flatten_params<T: Serialize + ?Sized>(value: &T) -> Values {
    flatten_to_values(value, Purpose::Params)
}

/// Returns the fields of a value that is to be logged in full, within the limits of [`Purpose::Config`].
pub(crate) fn flatten_config<T: Serialize + ?Sized>(value: &T) -> Values {
    flatten_to_values(value, Purpose::Config)
}

fn flatten_to_values<T: Serialize + ?Sized>(value: &T, purpose: Purpose) -> Values {
    match flatten_value(value, purpose) {
        Ok(Leaves { leaves, .. }) => values_from_leaves(leaves),
        Err(TextEnd::Locked) => Values::Text(Text::lock_placeholder(lock_name::<T>())),
        Err(end) => with_text_end(name_of::<T>(), end),
    }
}

/// Returns the numbers of a value that can be serialized.
pub(crate) fn numbers_of<T: Serialize + ?Sized>(value: &T) -> Numbers {
    match flatten_value(value, Purpose::Metrics) {
        Ok(leaves) => numbers_from_leaves(leaves),
        Err(end) => Numbers::missing(end),
    }
}

fn numbers_from_leaves(leaves: Leaves) -> Numbers {
    let mut numbers = Numbers {
        is_sequence: leaves.is_sequence,
        ..Numbers::default()
    };
    for Leaf { path, scalar } in leaves.leaves {
        match (scalar.number(), scalar.end()) {
            (Some(value), _) => numbers.values.push((path, value)),
            // A text is no number and therefore not missing, even if it was truncated.
            (None, TextEnd::Complete | TextEnd::Truncated) => {}
            (None, end) => numbers.missing.push((path, end)),
        }
    }
    numbers
}

fn hash_of<T: Serialize + ?Sized>(value: &T) -> Option<String> {
    if is_lock::<T>() {
        return None;
    }
    sha256_of_json(value)
}

/// Returns true if, judging by the type's name, a `T` is a tensor.
fn is_tensor<T: ?Sized>() -> bool {
    let name = name_behind_pointers::<T>();
    let (path, _) = name.split_once('<').unwrap_or((name, ""));
    path.ends_with("Tensor")
}

/// Returns true if a `T` is a text of the user's, of which every line is kept.
fn is_text<T: ?Sized>() -> bool {
    const TEXTS: [&str; 3] = ["str", "alloc::string::String", "alloc::borrow::Cow<str>"];
    TEXTS.contains(&name_behind_pointers::<T>())
}

/// Returns the name of `T`, with its path, in angle brackets: `<alloc::string::String>`.
fn name_of<T: ?Sized>() -> Values {
    Values::Text(truncate_to_text(
        PARAM_VALUE_CHARS,
        &format!("<{}>", type_name::<T>()),
    ))
}

pub trait ParamByDisplay {
    fn __mlflow_param(&self) -> Values;
}
impl<T: Display + ?Sized> ParamByDisplay for &&&&&&Capture<'_, T> {
    fn __mlflow_param(&self) -> Values {
        capture_display(self.0)
    }
}

pub trait ParamByLock {
    fn __mlflow_param(&self) -> Values;
}
impl<T: Lock<Content: Serialize> + ?Sized> ParamByLock for &&&&&&&Capture<'_, T> {
    fn __mlflow_param(&self) -> Values {
        self.0.look(|look| match look {
            Look::Content(content) => flatten_params(content),
            Look::Locked => Values::Text(Text::locked_placeholder()),
            Look::Absent => Values::Text("None".to_owned().into()),
        })
    }
}

pub trait ParamBySerializeOrDebug {
    fn __mlflow_param(&self) -> Values;
}
impl<T: Serialize + Debug + ?Sized> ParamBySerializeOrDebug for &&&&&Capture<'_, T> {
    fn __mlflow_param(&self) -> Values {
        match flatten_value(self.0, Purpose::Params) {
            Ok(Leaves { leaves, .. }) => values_from_leaves(leaves),
            Err(end) => with_text_end(capture_debug(self.0), end),
        }
    }
}

pub trait ParamBySerialize {
    fn __mlflow_param(&self) -> Values;
}
impl<T: Serialize + ?Sized> ParamBySerialize for &&&&Capture<'_, T> {
    fn __mlflow_param(&self) -> Values {
        flatten_params(self.0)
    }
}

pub trait ParamByShared {
    fn __mlflow_param(&self) -> Values;
}
impl<T: Shared<Content: Serialize> + ?Sized> ParamByShared for &&&Capture<'_, T> {
    fn __mlflow_param(&self) -> Values {
        match self.0.content() {
            Some(content) => flatten_params(content),
            None => Values::Text("None".to_owned().into()),
        }
    }
}

pub trait ParamByLength {
    fn __mlflow_param(&self) -> Values;
}
impl<T: Debug + Length + ?Sized> ParamByLength for &&Capture<'_, T> {
    fn __mlflow_param(&self) -> Values {
        capture_debug_or_len(self.0, self.0.entries())
    }
}

pub trait ParamByIteration {
    fn __mlflow_param(&self) -> Values;
}
impl<'v, T: Debug + ?Sized> ParamByIteration for &Capture<'v, T>
where
    &'v T: IntoIterator,
    <&'v T as IntoIterator>::IntoIter: ExactSizeIterator,
{
    fn __mlflow_param(&self) -> Values {
        capture_debug_or_len(self.0, Some(self.0.into_iter().len()))
    }
}

pub trait ParamByDebug {
    fn __mlflow_param(&self) -> Values;
}
impl<T: Debug + ?Sized> ParamByDebug for Capture<'_, T> {
    fn __mlflow_param(&self) -> Values {
        capture_debug(self.0)
    }
}

pub trait ParamByName {
    fn __mlflow_param(self) -> Values;
}
impl<T: ?Sized> ParamByName for Capture<'_, T> {
    fn __mlflow_param(self) -> Values {
        name_of::<T>()
    }
}

pub trait NumbersByLock {
    fn __mlflow_numbers(&self) -> Numbers;
}
impl<T: Lock<Content: Serialize> + ?Sized> NumbersByLock for &&&Capture<'_, T> {
    fn __mlflow_numbers(&self) -> Numbers {
        self.0.look(|look| match look {
            Look::Content(content) => numbers_of(content),
            Look::Locked => Numbers::missing(TextEnd::Locked),
            Look::Absent => Numbers::default(),
        })
    }
}

pub trait NumbersBySerialize {
    fn __mlflow_numbers(&self) -> Numbers;
}
impl<T: Serialize + ?Sized> NumbersBySerialize for &&Capture<'_, T> {
    fn __mlflow_numbers(&self) -> Numbers {
        numbers_of(self.0)
    }
}

pub trait NumbersByShared {
    fn __mlflow_numbers(&self) -> Numbers;
}
impl<T: Shared<Content: Serialize> + ?Sized> NumbersByShared for &Capture<'_, T> {
    fn __mlflow_numbers(&self) -> Numbers {
        self.0.content().map_or_else(Numbers::default, numbers_of)
    }
}

pub trait NoNumbers {
    fn __mlflow_numbers(&self) -> Numbers;
}
impl<T: ?Sized> NoNumbers for Capture<'_, T> {
    fn __mlflow_numbers(&self) -> Numbers {
        Numbers::default()
    }
}

pub trait HashOfBytes {
    fn __mlflow_hash(&self) -> Option<String>;
}
impl<T: AsRef<[u8]> + ?Sized> HashOfBytes for &&&&&&Capture<'_, T> {
    fn __mlflow_hash(&self) -> Option<String> {
        Some(sha256_of_bytes(self.0.as_ref()))
    }
}

pub trait HashOfDisplay {
    fn __mlflow_hash(&self) -> Option<String>;
}
impl<T: Display + ?Sized> HashOfDisplay for &&&&&Capture<'_, T> {
    fn __mlflow_hash(&self) -> Option<String> {
        sha256_of_text(format_args!("{}", self.0))
    }
}

pub trait HashOfLock {
    fn __mlflow_hash(&self) -> Option<String>;
}
impl<T: Lock<Content: Serialize> + ?Sized> HashOfLock for &&&&Capture<'_, T> {
    fn __mlflow_hash(&self) -> Option<String> {
        self.0.look(|look| match look {
            Look::Content(content) => hash_of(content),
            Look::Locked => Some(Text::locked_placeholder().text),
            Look::Absent => sha256_of_json(&()),
        })
    }
}

pub trait HashOfSerialize {
    fn __mlflow_hash(&self) -> Option<String>;
}
impl<T: Serialize + ?Sized> HashOfSerialize for &&&Capture<'_, T> {
    fn __mlflow_hash(&self) -> Option<String> {
        hash_of(self.0)
    }
}

pub trait HashOfShared {
    fn __mlflow_hash(&self) -> Option<String>;
}
impl<T: Shared<Content: Serialize> + ?Sized> HashOfShared for &&Capture<'_, T> {
    fn __mlflow_hash(&self) -> Option<String> {
        self.0
            .content()
            .map_or_else(|| sha256_of_json(&()), hash_of)
    }
}

pub trait HashOfDebug {
    fn __mlflow_hash(&self) -> Option<String>;
}
impl<T: Debug + ?Sized> HashOfDebug for &Capture<'_, T> {
    fn __mlflow_hash(&self) -> Option<String> {
        if is_lock_in_debug::<T>() {
            return None;
        }
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
            Text::from_display(TAG_VALUE_CHARS, &self.0),
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
            Text::from_display(TAG_VALUE_CHARS, &error),
            error.source(),
        )
    }
}

pub trait FailureByDisplay {
    fn __mlflow_failure(&self) -> Failure;
}
impl<T: Display + ?Sized> FailureByDisplay for &&Capture<'_, T> {
    fn __mlflow_failure(&self) -> Failure {
        Failure::of_error(
            type_name::<T>(),
            Text::from_display(TAG_VALUE_CHARS, &self.0),
            None,
        )
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

/// The traits of all levels, for a glob import that brings no names into scope.
pub(crate) mod specialization {
    pub use super::{
        FailureByDebug as _, FailureByDeref as _, FailureByDisplay as _, FailureByError as _,
        FailureByName as _, HashOfBytes as _, HashOfDebug as _, HashOfDisplay as _,
        HashOfLock as _, HashOfSerialize as _, HashOfShared as _, NoHash as _, NoNumbers as _,
        NumbersByLock as _, NumbersBySerialize as _, NumbersByShared as _, ParamByDebug as _,
        ParamByDisplay as _, ParamByIteration as _, ParamByLength as _, ParamByLock as _,
        ParamByName as _, ParamBySerialize as _, ParamBySerializeOrDebug as _, ParamByShared as _,
    };
}

#[cfg(test)]
#[path = "dispatch_tests.rs"]
mod tests;
