//! The plain values that a value consists of.
//!
//! Invariant: a leaf that is not the whole of what stood there says so by its text's end.

use std::fmt::{self, Display};

use super::text::{Text, TextEnd};
use crate::model::limits::{MAX_CONFIG_FIELDS, MAX_FIELDS, MAX_METRICS};

/// What the leaves are for.
#[derive(Clone, Copy, PartialEq)]
pub(super) enum Purpose {
    /// Sequences of plain values are one text: `[1, 2]`; long ones are their length.
    Params,
    /// The same of a value that somebody wants logged in full: no map is too long.
    Config,
    /// Every number is a leaf of its own: `0` = 1, `1` = 2.
    Metrics,
}

/// The longest sequence or map that is a param by its entries.
pub(super) const MAX_PARAM_ENTRIES: usize = 16;
/// The same of a sequence that somebody wants logged in full: about what a param's value holds.
const MAX_CONFIG_ELEMENTS: usize = 1000;

impl Purpose {
    /// Returns the longest sequence that is looked at.
    pub(super) fn max_elements(self) -> usize {
        match self {
            Self::Params => MAX_PARAM_ENTRIES,
            Self::Config => MAX_CONFIG_ELEMENTS,
            Self::Metrics => MAX_METRICS,
        }
    }

    /// Returns the longest map that is looked at.
    pub(super) fn max_entries(self) -> usize {
        match self {
            Self::Params => MAX_PARAM_ENTRIES,
            // As many of its entries as there may be leaves.
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

/// One value, and the dotted path that leads to it; empty for the value itself.
pub(super) struct Leaf {
    pub(super) path: String,
    pub(super) scalar: Scalar,
}

pub(super) enum Scalar {
    Float(f64),
    /// Apart from `Float`, as `0.1f32` reads `0.1` and as an `f64` does not.
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
            // As Python writes them, too: `1.0`, `1e-10`.
            Self::Float(value) => write!(f, "{value:?}"),
            Self::Float32(value) => write!(f, "{value:?}"),
            Self::Signed(value) => value.fmt(f),
            Self::Unsigned(value) => value.fmt(f),
            Self::Bool(value) => value.fmt(f),
            Self::Text(text) => f.write_str(&text.text),
        }
    }
}
