//! A serializer that keeps the leaves of a value: `{a: {b: 1}}` becomes `a.b` = 1.
//!
//! Invariants: at most [`MAX_LEAVES`] leaves, [`MAX_DEPTH`] deep; a sequence or map of more than
//! [`FEW`] entries is its length and nothing else, and the value is told to stop at once; a field
//! with a secret's name is not looked at.

use std::fmt::{self, Display};
use std::panic::{AssertUnwindSafe, catch_unwind};

use serde::ser::{self, Serialize};

use super::text::{End, Text, cut, render};
use crate::limits::PARAM_VALUE_CHARS;
use crate::redact::{REDACTED, is_secret_name};

/// The longest sequence or map logged by its entries.
pub(super) const FEW: usize = 16;
const MAX_LEAVES: usize = 200;
const MAX_DEPTH: usize = 16;

/// What the leaves are for.
#[derive(Clone, Copy, PartialEq)]
pub(super) enum Purpose {
    /// Sequences of plain values are one text: `[1, 2]`.
    Params,
    /// Every number is a leaf of its own: `0` = 1, `1` = 2.
    Metrics,
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

    fn end(&self) -> End {
        match self {
            Self::Text(text) => text.end,
            _ => End::Whole,
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
            Self::Float(value) => value.fmt(f),
            Self::Float32(value) => value.fmt(f),
            Self::Signed(value) => value.fmt(f),
            Self::Unsigned(value) => value.fmt(f),
            Self::Bool(value) => value.fmt(f),
            Self::Text(text) => f.write_str(&text.text),
        }
    }
}

/// The leaves of `value`, in its own order.
pub(super) fn flatten<T: Serialize + ?Sized>(value: &T, purpose: Purpose) -> Vec<Leaf> {
    let mut flatten = Flatten {
        purpose,
        path: String::new(),
        depth: 0,
        leaves: Vec::new(),
    };
    // `Stop` is how a long value is left early, and what was seen until then counts.
    let _ = catch_unwind(AssertUnwindSafe(|| value.serialize(&mut flatten)));
    flatten.leaves
}

struct Flatten {
    purpose: Purpose,
    path: String,
    depth: usize,
    leaves: Vec<Leaf>,
}

impl Flatten {
    fn leaf(&mut self, scalar: Scalar) -> Result<(), Stop> {
        if self.leaves.len() >= MAX_LEAVES {
            return Err(Stop);
        }
        self.leaves.push(Leaf {
            path: self.path.clone(),
            scalar,
        });
        Ok(())
    }

    fn text(&mut self, text: impl Into<String>) -> Result<(), Stop> {
        self.leaf(Scalar::Text(text.into().into()))
    }

    fn open(&mut self, len: Option<usize>, brackets: [char; 2]) -> Result<Level<'_>, Stop> {
        if let Some(len) = len.filter(|len| *len > FEW) {
            let [open, close] = brackets;
            self.text(format!("{open}{len} items{close}"))?;
            return Err(Stop);
        }
        self.level(brackets)
    }

    fn level(&mut self, brackets: [char; 2]) -> Result<Level<'_>, Stop> {
        if self.depth >= MAX_DEPTH {
            return Err(Stop);
        }
        self.depth += 1;
        Ok(Level {
            base: self.path.len(),
            first: self.leaves.len(),
            entries: 0,
            plain: true,
            key: None,
            brackets,
            flatten: self,
        })
    }

    /// Below `segment`: `a` → `a.segment`.
    fn below(&mut self, segment: &str) {
        if !self.path.is_empty() {
            self.path.push('.');
        }
        self.path.push_str(segment);
    }
}

/// The value is not looked at any further.
#[derive(Debug)]
struct Stop;

impl Display for Stop {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("enough was seen")
    }
}

impl std::error::Error for Stop {}

impl ser::Error for Stop {
    fn custom<T: Display>(_: T) -> Self {
        Self
    }
}

/// An open struct, sequence or map.
struct Level<'a> {
    flatten: &'a mut Flatten,
    /// Length of the path that leads here.
    base: usize,
    /// Index of the first leaf in here.
    first: usize,
    entries: usize,
    /// Whether every entry so far was one plain value.
    plain: bool,
    /// A map's key that waits for its value.
    key: Option<String>,
    brackets: [char; 2],
}

impl Level<'_> {
    fn entry<T: Serialize + ?Sized>(&mut self, segment: &str, value: &T) -> Result<(), Stop> {
        let before = self.flatten.leaves.len();
        if before >= MAX_LEAVES {
            return Err(Stop);
        }
        self.entries += 1;
        self.flatten.below(segment);
        let depth = self.flatten.depth;
        let path = self.flatten.path.len();
        if is_secret_name(segment) {
            self.flatten.text(REDACTED)?;
        } else {
            // A long entry stops itself, not its siblings.
            let _ = value.serialize(&mut *self.flatten);
        }
        self.flatten.depth = depth;
        let leaves = self.flatten.leaves.get(before..).unwrap_or_default();
        self.plain &= leaves.len() == 1 && leaves.iter().all(|leaf| leaf.path.len() == path);
        self.flatten.path.truncate(self.base);
        Ok(())
    }

    fn element<T: Serialize + ?Sized>(&mut self, value: &T) -> Result<(), Stop> {
        if self.entries == FEW {
            self.flatten.leaves.truncate(self.first);
            let [open, close] = self.brackets;
            self.flatten
                .text(format!("{open}more than {FEW} items{close}"))?;
            return Err(Stop);
        }
        let segment = self.entries.to_string();
        self.entry(&segment, value)
    }

    /// Output: `layers` = `[64, 32]` in place of `layers.0` = 64, `layers.1` = 32.
    fn join(self) -> Result<(), Stop> {
        if self.plain && self.flatten.purpose == Purpose::Params {
            let leaves = self.flatten.leaves.split_off(self.first);
            let [open, close] = self.brackets;
            let mut joined = render(PARAM_VALUE_CHARS, |out| {
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

    fn close(self) -> Result<(), Stop> {
        self.flatten.depth -= 1;
        Ok(())
    }
}

impl<'a> ser::Serializer for &'a mut Flatten {
    type Ok = ();
    type Error = Stop;
    type SerializeSeq = Level<'a>;
    type SerializeTuple = Level<'a>;
    type SerializeTupleStruct = Level<'a>;
    type SerializeTupleVariant = Level<'a>;
    type SerializeMap = Level<'a>;
    type SerializeStruct = Level<'a>;
    type SerializeStructVariant = Level<'a>;

    fn serialize_bool(self, value: bool) -> Result<(), Stop> {
        self.leaf(Scalar::Bool(value))
    }
    fn serialize_i8(self, value: i8) -> Result<(), Stop> {
        self.leaf(Scalar::Signed(value.into()))
    }
    fn serialize_i16(self, value: i16) -> Result<(), Stop> {
        self.leaf(Scalar::Signed(value.into()))
    }
    fn serialize_i32(self, value: i32) -> Result<(), Stop> {
        self.leaf(Scalar::Signed(value.into()))
    }
    fn serialize_i64(self, value: i64) -> Result<(), Stop> {
        self.leaf(Scalar::Signed(value.into()))
    }
    fn serialize_i128(self, value: i128) -> Result<(), Stop> {
        self.leaf(Scalar::Signed(value))
    }
    fn serialize_u8(self, value: u8) -> Result<(), Stop> {
        self.leaf(Scalar::Unsigned(value.into()))
    }
    fn serialize_u16(self, value: u16) -> Result<(), Stop> {
        self.leaf(Scalar::Unsigned(value.into()))
    }
    fn serialize_u32(self, value: u32) -> Result<(), Stop> {
        self.leaf(Scalar::Unsigned(value.into()))
    }
    fn serialize_u64(self, value: u64) -> Result<(), Stop> {
        self.leaf(Scalar::Unsigned(value.into()))
    }
    fn serialize_u128(self, value: u128) -> Result<(), Stop> {
        self.leaf(Scalar::Unsigned(value))
    }
    fn serialize_f32(self, value: f32) -> Result<(), Stop> {
        self.leaf(Scalar::Float32(value))
    }
    fn serialize_f64(self, value: f64) -> Result<(), Stop> {
        self.leaf(Scalar::Float(value))
    }
    fn serialize_char(self, value: char) -> Result<(), Stop> {
        self.text(value)
    }
    fn serialize_str(self, value: &str) -> Result<(), Stop> {
        self.leaf(Scalar::Text(cut(PARAM_VALUE_CHARS, value)))
    }
    fn serialize_bytes(self, value: &[u8]) -> Result<(), Stop> {
        self.text(format!("[{} bytes]", value.len()))
    }
    fn serialize_none(self) -> Result<(), Stop> {
        self.text("None")
    }
    fn serialize_some<T: Serialize + ?Sized>(self, value: &T) -> Result<(), Stop> {
        value.serialize(self)
    }
    fn serialize_unit(self) -> Result<(), Stop> {
        self.text("()")
    }
    fn serialize_unit_struct(self, name: &'static str) -> Result<(), Stop> {
        self.text(name)
    }
    fn serialize_unit_variant(
        self,
        _: &'static str,
        _: u32,
        variant: &'static str,
    ) -> Result<(), Stop> {
        self.text(variant)
    }
    fn serialize_newtype_struct<T: Serialize + ?Sized>(
        self,
        _: &'static str,
        value: &T,
    ) -> Result<(), Stop> {
        value.serialize(self)
    }
    fn serialize_newtype_variant<T: Serialize + ?Sized>(
        self,
        _: &'static str,
        _: u32,
        variant: &'static str,
        value: &T,
    ) -> Result<(), Stop> {
        self.level(['(', ')'])?.entry(variant, value)?;
        self.depth -= 1;
        Ok(())
    }
    fn serialize_seq(self, len: Option<usize>) -> Result<Level<'a>, Stop> {
        self.open(len, ['[', ']'])
    }
    fn serialize_tuple(self, len: usize) -> Result<Level<'a>, Stop> {
        self.open(Some(len), ['[', ']'])
    }
    fn serialize_tuple_struct(self, _: &'static str, _: usize) -> Result<Level<'a>, Stop> {
        self.level(['[', ']'])
    }
    fn serialize_tuple_variant(
        self,
        _: &'static str,
        _: u32,
        variant: &'static str,
        _: usize,
    ) -> Result<Level<'a>, Stop> {
        self.below(variant);
        self.level(['[', ']'])
    }
    fn serialize_map(self, len: Option<usize>) -> Result<Level<'a>, Stop> {
        self.open(len, ['{', '}'])
    }
    fn serialize_struct(self, _: &'static str, _: usize) -> Result<Level<'a>, Stop> {
        self.level(['{', '}'])
    }
    fn serialize_struct_variant(
        self,
        _: &'static str,
        _: u32,
        variant: &'static str,
        _: usize,
    ) -> Result<Level<'a>, Stop> {
        self.below(variant);
        self.level(['{', '}'])
    }
    fn collect_str<T: Display + ?Sized>(self, value: &T) -> Result<(), Stop> {
        self.leaf(Scalar::Text(render(PARAM_VALUE_CHARS, |out| {
            write!(out, "{value}")
        })))
    }
}

impl ser::SerializeSeq for Level<'_> {
    type Ok = ();
    type Error = Stop;
    fn serialize_element<T: Serialize + ?Sized>(&mut self, value: &T) -> Result<(), Stop> {
        self.element(value)
    }
    fn end(self) -> Result<(), Stop> {
        self.join()
    }
}

impl ser::SerializeTuple for Level<'_> {
    type Ok = ();
    type Error = Stop;
    fn serialize_element<T: Serialize + ?Sized>(&mut self, value: &T) -> Result<(), Stop> {
        self.element(value)
    }
    fn end(self) -> Result<(), Stop> {
        self.join()
    }
}

impl ser::SerializeTupleStruct for Level<'_> {
    type Ok = ();
    type Error = Stop;
    fn serialize_field<T: Serialize + ?Sized>(&mut self, value: &T) -> Result<(), Stop> {
        self.element(value)
    }
    fn end(self) -> Result<(), Stop> {
        self.join()
    }
}

impl ser::SerializeTupleVariant for Level<'_> {
    type Ok = ();
    type Error = Stop;
    fn serialize_field<T: Serialize + ?Sized>(&mut self, value: &T) -> Result<(), Stop> {
        self.element(value)
    }
    fn end(self) -> Result<(), Stop> {
        self.join()
    }
}

impl ser::SerializeMap for Level<'_> {
    type Ok = ();
    type Error = Stop;
    fn serialize_key<T: Serialize + ?Sized>(&mut self, key: &T) -> Result<(), Stop> {
        self.key = flatten(key, Purpose::Params)
            .into_iter()
            .next()
            .map(|leaf| leaf.scalar.to_string());
        Ok(())
    }
    fn serialize_value<T: Serialize + ?Sized>(&mut self, value: &T) -> Result<(), Stop> {
        match self.key.take() {
            // Its length was not known beforehand: it shows only now that it is too long.
            _ if self.entries == FEW => self.element(value),
            Some(key) => self.entry(&key, value),
            None => self.element(value),
        }
    }
    fn end(self) -> Result<(), Stop> {
        self.close()
    }
}

impl ser::SerializeStruct for Level<'_> {
    type Ok = ();
    type Error = Stop;
    fn serialize_field<T: Serialize + ?Sized>(
        &mut self,
        key: &'static str,
        value: &T,
    ) -> Result<(), Stop> {
        self.entry(key, value)
    }
    fn end(self) -> Result<(), Stop> {
        self.close()
    }
}

impl ser::SerializeStructVariant for Level<'_> {
    type Ok = ();
    type Error = Stop;
    fn serialize_field<T: Serialize + ?Sized>(
        &mut self,
        key: &'static str,
        value: &T,
    ) -> Result<(), Stop> {
        self.entry(key, value)
    }
    fn end(self) -> Result<(), Stop> {
        self.close()
    }
}
