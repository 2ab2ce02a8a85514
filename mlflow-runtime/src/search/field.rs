//! [`Field`] of a record, and the [`SortKey`] that orders records by it.

use std::fmt::{self, Display};

/// Field of a record.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub(crate) struct Field {
    pub(crate) kind: FieldKind,
    pub(crate) key: String,
}

/// Kind of a [`Field`].
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub(crate) enum FieldKind {
    Metric,
    Param,
    Tag,
    Attribute,
    Dataset,
}

/// Field to sort by, and the direction.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct SortKey {
    pub(crate) field: Field,
    pub(crate) descending: bool,
}

impl FieldKind {
    /// Returns the name that precedes a key in MLflow's language.
    pub(crate) fn prefix(self) -> &'static str {
        match self {
            Self::Metric => "metrics",
            Self::Param => "params",
            Self::Tag => "tags",
            Self::Attribute => "attributes",
            Self::Dataset => "datasets",
        }
    }
}

impl Display for Field {
    /// Writes the field in MLflow's language. A key stands in backticks, so that MLflow reads nothing else
    /// into it. An attribute stands alone, as not every search of MLflow knows the prefix `attributes`.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.kind {
            FieldKind::Attribute => f.write_str(&self.key),
            kind => write!(f, "{}.`{}`", kind.prefix(), self.key),
        }
    }
}

impl Display for SortKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let direction = if self.descending { "DESC" } else { "ASC" };
        write!(f, "{} {direction}", self.field)
    }
}
