//! Leaves: the plain values that a value consists of.
//!
//! Invariant: a leaf that is not the whole value of its field has a text whose [`TextEnd`] gives the reason.

use std::fmt::{self, Display};

use super::bounded_text::{Text, TextEnd};
use crate::model::limits::{MAX_CONFIG_FIELDS, MAX_FIELDS, MAX_METRICS};

/// Purpose of the leaves, which sets their form and their limits.
#[derive(Clone, Copy, PartialEq)]
pub(super) enum Purpose {
    /// Params of an argument. A sequence of plain values is one text, `[1, 2]`; a long sequence is replaced
    /// by its length.
    Params,
    /// Params of a value that is to be logged in full. No map is too long.
    Config,
    /// Metrics. Every number is a leaf of its own: `0` = 1, `1` = 2.
    Metrics,
}

/// Maximum number of entries of a sequence or map that is logged as params by its entries.
pub(super) const MAX_PARAM_ENTRIES: usize = 16;
/// Maximum number of elements of a sequence that is to be logged in full: about as many as a param's value
/// can hold.
const MAX_CONFIG_ELEMENTS: usize = 1000;

impl Purpose {
    /// Returns the maximum number of elements of a sequence that is read.
    pub(super) fn max_elements(self) -> usize {
        match self {
            Self::Params => MAX_PARAM_ENTRIES,
            Self::Config => MAX_CONFIG_ELEMENTS,
            Self::Metrics => MAX_METRICS,
        }
    }

    /// Returns the maximum number of entries of a map that is read.
    pub(super) fn max_entries(self) -> usize {
        match self {
            Self::Params => MAX_PARAM_ENTRIES,
            // A map is limited by the number of leaves only.
            Self::Config => usize::MAX,
            Self::Metrics => MAX_METRICS,
        }
    }

    pub(super) fn max_leaves(self) -> usize {
        match self {
            Self::Params => MAX_FIELDS,
            Self::Config => MAX_CONFIG_FIELDS,
            Self::Metrics => MAX_METRICS,
        }
    }
}

/// A plain value and the dotted path that leads to it. The path of the captured value itself is empty.
pub(super) struct Leaf {
    pub(super) path: String,
    pub(super) scalar: Scalar,
}

pub(super) enum Scalar {
    Float(f64),
    /// `f32`, kept apart from `Float` because `0.1f32` is shown as `0.1`, but not after its conversion to
    /// `f64`.
    Float32(f32),
    Signed(i128),
    Unsigned(u128),
    Bool(bool),
    Text(Text),
}

impl Scalar {
    #[expect(clippy::cast_precision_loss, reason = "metrics are f64")]
    pub(super) fn number(&self) -> Option<f64> {
        match *self {
            Self::Float(value) => Some(value),
            Self::Float32(value) => Some(f64::from(value)),
            Self::Signed(value) => Some(value as f64),
            Self::Unsigned(value) => Some(value as f64),
            Self::Bool(value) => Some(f64::from(u8::from(value))),
            Self::Text(_) => None,
        }
    }

    pub(super) fn end(&self) -> TextEnd {
        match self {
            Self::Text(text) => text.end,
            _ => TextEnd::Complete,
        }
    }

    pub(super) fn into_text(self) -> Text {
        match self {
            Self::Text(text) => text,
            number => number.to_string().into(),
        }
    }
}

impl Display for Scalar {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            // Floats have the form that Python writes, too: `1.0`, `1e-10`.
            Self::Float(value) => write!(f, "{value:?}"),
            Self::Float32(value) => write!(f, "{value:?}"),
            Self::Signed(value) => value.fmt(f),
            Self::Unsigned(value) => value.fmt(f),
            Self::Bool(value) => value.fmt(f),
            Self::Text(text) => f.write_str(&text.text),
        }
    }
}
