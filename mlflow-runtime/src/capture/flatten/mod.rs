//! A serializer that keeps the leaves of a value: `{a: {b: 1}}` becomes `a.b` = 1.
//!
//! Invariants:
//!
//! - There are at most as many leaves as the [`Purpose`] allows, at most [`MAX_DEPTH`] levels deep.
//! - A sequence or map with more entries than the purpose allows is replaced by its length, and its
//!   serialization is stopped at once.
//! - Whatever is left out is represented by a leaf with the reason.
//! - A field with a secret's name is not read, nor is a value behind a lock.

mod serializer;

use std::fmt::{self, Display};
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::time::Duration;

use mlflow_rules::{REDACTED, is_secret_name};
use serde::ser::{self, Serialize};

use super::bounded_text::{Text, TextEnd, render_text};
use super::locked_value::{is_lock, lock_name};
use super::scalar::{Leaf, Purpose, Scalar};
use crate::model::limits::PARAM_VALUE_CHARS;

const MAX_DEPTH: usize = 16;

/// Leaves of a value.
pub(super) struct Leaves {
    /// Leaves in the value's own order.
    pub(super) leaves: Vec<Leaf>,
    /// True if the value is a sequence, so that every path begins with an index.
    pub(super) is_sequence: bool,
}

/// Returns the leaves of `value`, or the reason why the value as a whole could not be read.
pub(super) fn flatten_value<T: Serialize + ?Sized>(
    value: &T,
    purpose: Purpose,
) -> Result<Leaves, TextEnd> {
    let mut flatten = Flattener {
        purpose,
        path: String::new(),
        depth: 0,
        leaves: Vec::new(),
        is_sequence: false,
        is_full: false,
    };
    if is_lock::<T>() {
        return Err(TextEnd::Locked);
    }
    match catch_unwind(AssertUnwindSafe(|| value.serialize(&mut flatten))) {
        // `Enough` ends the serialization of a long value early; the leaves found until then count.
        Ok(Ok(()) | Err(FlattenStop::Enough)) => {}
        Ok(Err(FlattenStop::Refused)) => return Err(TextEnd::Failed),
        Err(_) if flatten.path.is_empty() => return Err(TextEnd::Panicked),
        Err(_) => flatten.push_placeholder(TextEnd::Panicked),
    }
    Ok(Leaves {
        leaves: flatten.leaves,
        is_sequence: flatten.is_sequence,
    })
}

struct Flattener {
    purpose: Purpose,
    path: String,
    depth: usize,
    leaves: Vec<Leaf>,
    /// True if the outermost level is a sequence.
    is_sequence: bool,
    /// Set once the limit on leaves is reached, and a last leaf represents the rest.
    is_full: bool,
}

impl Flattener {
    fn leaf(&mut self, scalar: Scalar) -> Result<(), FlattenStop> {
        if self.leaves.len() < self.purpose.max_leaves() {
            self.push(scalar);
            return Ok(());
        }
        if !self.is_full {
            self.is_full = true;
            self.push_placeholder(TextEnd::TooMany);
        }
        Err(FlattenStop::Enough)
    }

    fn push(&mut self, scalar: Scalar) {
        self.leaves.push(Leaf {
            path: self.path.clone(),
            scalar,
        });
    }

    /// Serializes a part of the value, unless the part is behind a lock.
    fn part<T: Serialize + ?Sized>(&mut self, value: &T) -> Result<(), FlattenStop> {
        if is_lock::<T>() {
            return self.leaf(Scalar::Text(Text::lock_placeholder(lock_name::<T>())));
        }
        value.serialize(self)
    }

    /// Adds a leaf that represents a value which is left out.
    fn push_placeholder(&mut self, end: TextEnd) {
        self.push(Scalar::Text(Text::placeholder(end)));
    }

    fn text(&mut self, text: impl Into<String>) -> Result<(), FlattenStop> {
        self.leaf(Scalar::Text(text.into().into()))
    }

    /// Returns the maximum number of entries of a sequence or map.
    fn max_len(&self, brackets: [char; 2]) -> usize {
        match brackets {
            ['{', _] => self.purpose.max_entries(),
            _ => self.purpose.max_elements(),
        }
    }

    fn open(&mut self, len: Option<usize>, brackets: [char; 2]) -> Result<Level<'_>, FlattenStop> {
        if let Some(len) = len.filter(|len| *len > self.max_len(brackets)) {
            let [open, close] = brackets;
            self.length(format!("{open}{len} items{close}"))?;
            return Err(FlattenStop::Enough);
        }
        self.level(brackets)
    }

    /// Adds the length of a long sequence or map as a leaf. As a param the length is a complete value; as
    /// metrics, the entries are missing.
    fn length(&mut self, text: String) -> Result<(), FlattenStop> {
        let end = match self.purpose {
            Purpose::Params | Purpose::Config => TextEnd::Complete,
            Purpose::Metrics => TextEnd::TooMany,
        };
        self.leaf(Scalar::Text(Text { text, end }))
    }

    fn level(&mut self, brackets: [char; 2]) -> Result<Level<'_>, FlattenStop> {
        if self.depth >= MAX_DEPTH {
            self.leaf(Scalar::Text(Text::placeholder(TextEnd::TooDeep)))?;
            return Err(FlattenStop::Enough);
        }
        if self.path.is_empty() && self.depth == 0 {
            self.is_sequence = brackets == ['[', ']'];
        }
        self.depth += 1;
        Ok(Level {
            path_len: self.path.len(),
            first_leaf: self.leaves.len(),
            entries: 0,
            is_plain: true,
            key: None,
            is_duration: false,
            brackets,
            flatten: self,
        })
    }

    /// Adds the name of an enum variant as a leaf above the variant's fields: a param `optimizer` beside
    /// `optimizer.Sgd.lr`.
    fn variant(&mut self, name: &str) -> Result<(), FlattenStop> {
        match self.purpose {
            // A value given to `log_params` has no key of its own under which the variant could be logged.
            Purpose::Config if self.path.is_empty() => Ok(()),
            Purpose::Params | Purpose::Config => self.text(name),
            Purpose::Metrics => Ok(()),
        }
    }

    /// Extends the path by `segment`: `a` → `a.segment`.
    fn push_path_segment(&mut self, segment: &str) {
        if !self.path.is_empty() {
            self.path.push('.');
        }
        self.path.push_str(segment);
    }
}

/// Reason why the serialization of a value stops.
#[derive(Debug)]
enum FlattenStop {
    /// Limit reached: the rest of the value is not needed.
    Enough,
    /// Failure: the value cannot be serialized.
    Refused,
}

impl Display for FlattenStop {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Enough => "enough was seen",
            Self::Refused => "it was refused",
        })
    }
}

impl std::error::Error for FlattenStop {}

impl ser::Error for FlattenStop {
    fn custom<T: Display>(_: T) -> Self {
        Self::Refused
    }
}

/// An open struct, sequence or map.
struct Level<'a> {
    flatten: &'a mut Flattener,
    /// Length, in bytes, of the path that leads to this level.
    path_len: usize,
    /// Index of the first leaf in this level.
    first_leaf: usize,
    entries: usize,
    /// True while every entry has been one plain value.
    is_plain: bool,
    /// Key of a map entry whose value is serialized next.
    key: Option<String>,
    /// True while the struct looks like a `std::time::Duration`.
    is_duration: bool,
    brackets: [char; 2],
}

impl Level<'_> {
    fn entry<T: Serialize + ?Sized>(
        &mut self,
        segment: &str,
        value: &T,
    ) -> Result<(), FlattenStop> {
        if self.flatten.is_full {
            return Err(FlattenStop::Enough);
        }
        let before = self.flatten.leaves.len();
        self.entries += 1;
        self.flatten.push_path_segment(segment);
        let depth = self.flatten.depth;
        let path = self.flatten.path.len();
        if is_secret_name(segment) {
            self.flatten.text(REDACTED)?;
        } else {
            // An entry that is too long, or that fails, ends only itself: its siblings are still read.
            match self.flatten.part(value) {
                Ok(()) | Err(FlattenStop::Enough) => {}
                Err(FlattenStop::Refused) => {
                    self.flatten.path.truncate(path);
                    self.flatten.leaves.truncate(before);
                    self.flatten.push_placeholder(TextEnd::Failed);
                }
            }
        }
        self.flatten.depth = depth;
        let leaves = self.flatten.leaves.get(before..).unwrap_or_default();
        self.is_plain &= leaves.len() == 1 && leaves.iter().all(|leaf| leaf.path.len() == path);
        self.flatten.path.truncate(self.path_len);
        Ok(())
    }

    fn element<T: Serialize + ?Sized>(&mut self, value: &T) -> Result<(), FlattenStop> {
        let max = self.flatten.max_len(self.brackets);
        if self.entries == max {
            self.flatten.leaves.truncate(self.first_leaf);
            self.flatten.path.truncate(self.path_len);
            let [open, close] = self.brackets;
            self.flatten
                .length(format!("{open}more than {max} items{close}"))?;
            return Err(FlattenStop::Enough);
        }
        let segment = self.entries.to_string();
        self.entry(&segment, value)
    }

    /// Ends a sequence. Plain values become one param: `layers` = `[64, 32]` in place of `layers.0` = 64,
    /// `layers.1` = 32.
    fn join(self) -> Result<(), FlattenStop> {
        if self.is_plain && self.flatten.purpose != Purpose::Metrics {
            let leaves = self.flatten.leaves.split_off(self.first_leaf);
            let [open, close] = self.brackets;
            let mut joined = render_text(PARAM_VALUE_CHARS, |out| {
                out.write_char(open)?;
                for (index, leaf) in leaves.iter().enumerate() {
                    let separator = if index == 0 { "" } else { ", " };
                    write!(out, "{separator}{}", leaf.scalar)?;
                }
                out.write_char(close)
            });
            joined.end = leaves
                .iter()
                .fold(joined.end, |end, leaf| end.and(leaf.scalar.end()));
            self.flatten.leaf(Scalar::Text(joined))?;
        }
        self.close()
    }

    fn close(self) -> Result<(), FlattenStop> {
        self.flatten.depth -= 1;
        Ok(())
    }

    /// Replaces the two fields of a duration by one value: as a param its `Debug` output, `1.5s`; as a metric
    /// its seconds.
    fn join_duration(&mut self) {
        let leaves = self
            .flatten
            .leaves
            .get(self.first_leaf..)
            .unwrap_or_default();
        let [
            Leaf {
                scalar: Scalar::Unsigned(seconds),
                ..
            },
            Leaf {
                scalar: Scalar::Unsigned(nanos),
                ..
            },
        ] = leaves
        else {
            return;
        };
        let (Ok(seconds), Ok(nanos)) = (u64::try_from(*seconds), u32::try_from(*nanos)) else {
            return;
        };
        let duration =
            Duration::from_secs(seconds).saturating_add(Duration::from_nanos(nanos.into()));
        self.flatten.leaves.truncate(self.first_leaf);
        self.flatten.push(match self.flatten.purpose {
            Purpose::Params | Purpose::Config => Scalar::Text(format!("{duration:?}").into()),
            Purpose::Metrics => Scalar::Float(duration.as_secs_f64()),
        });
    }
}
