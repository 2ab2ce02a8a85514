//! The serde serializer: the leaves that each kind of value adds.

use std::fmt::Display;

use serde::ser::{self, Serialize};

use super::{FlattenStop, Flattener, Level, flatten_value};
use crate::capture::bounded_text::{render_text, truncate_to_text};
use crate::capture::scalar::{Purpose, Scalar};
use crate::model::limits::PARAM_VALUE_CHARS;

impl<'a> ser::Serializer for &'a mut Flattener {
    type Ok = ();
    type Error = FlattenStop;
    type SerializeSeq = Level<'a>;
    type SerializeTuple = Level<'a>;
    type SerializeTupleStruct = Level<'a>;
    type SerializeTupleVariant = Level<'a>;
    type SerializeMap = Level<'a>;
    type SerializeStruct = Level<'a>;
    type SerializeStructVariant = Level<'a>;

    fn serialize_bool(self, value: bool) -> Result<(), FlattenStop> {
        self.leaf(Scalar::Bool(value))
    }
    fn serialize_i8(self, value: i8) -> Result<(), FlattenStop> {
        self.leaf(Scalar::Signed(value.into()))
    }
    fn serialize_i16(self, value: i16) -> Result<(), FlattenStop> {
        self.leaf(Scalar::Signed(value.into()))
    }
    fn serialize_i32(self, value: i32) -> Result<(), FlattenStop> {
        self.leaf(Scalar::Signed(value.into()))
    }
    fn serialize_i64(self, value: i64) -> Result<(), FlattenStop> {
        self.leaf(Scalar::Signed(value.into()))
    }
    fn serialize_i128(self, value: i128) -> Result<(), FlattenStop> {
        self.leaf(Scalar::Signed(value))
    }
    fn serialize_u8(self, value: u8) -> Result<(), FlattenStop> {
        self.leaf(Scalar::Unsigned(value.into()))
    }
    fn serialize_u16(self, value: u16) -> Result<(), FlattenStop> {
        self.leaf(Scalar::Unsigned(value.into()))
    }
    fn serialize_u32(self, value: u32) -> Result<(), FlattenStop> {
        self.leaf(Scalar::Unsigned(value.into()))
    }
    fn serialize_u64(self, value: u64) -> Result<(), FlattenStop> {
        self.leaf(Scalar::Unsigned(value.into()))
    }
    fn serialize_u128(self, value: u128) -> Result<(), FlattenStop> {
        self.leaf(Scalar::Unsigned(value))
    }
    fn serialize_f32(self, value: f32) -> Result<(), FlattenStop> {
        self.leaf(Scalar::Float32(value))
    }
    fn serialize_f64(self, value: f64) -> Result<(), FlattenStop> {
        self.leaf(Scalar::Float(value))
    }
    fn serialize_char(self, value: char) -> Result<(), FlattenStop> {
        self.text(value)
    }
    fn serialize_str(self, value: &str) -> Result<(), FlattenStop> {
        self.leaf(Scalar::Text(truncate_to_text(PARAM_VALUE_CHARS, value)))
    }
    fn serialize_bytes(self, value: &[u8]) -> Result<(), FlattenStop> {
        self.text(format!("[{} bytes]", value.len()))
    }
    fn serialize_none(self) -> Result<(), FlattenStop> {
        self.text("None")
    }
    fn serialize_some<T: Serialize + ?Sized>(self, value: &T) -> Result<(), FlattenStop> {
        self.part(value)
    }
    fn serialize_unit(self) -> Result<(), FlattenStop> {
        self.text("()")
    }
    fn serialize_unit_struct(self, name: &'static str) -> Result<(), FlattenStop> {
        self.text(name)
    }
    fn serialize_unit_variant(
        self,
        _: &'static str,
        _: u32,
        variant: &'static str,
    ) -> Result<(), FlattenStop> {
        self.text(variant)
    }
    fn serialize_newtype_struct<T: Serialize + ?Sized>(
        self,
        _: &'static str,
        value: &T,
    ) -> Result<(), FlattenStop> {
        self.part(value)
    }
    fn serialize_newtype_variant<T: Serialize + ?Sized>(
        self,
        _: &'static str,
        _: u32,
        variant: &'static str,
        value: &T,
    ) -> Result<(), FlattenStop> {
        self.variant(variant)?;
        self.level(['(', ')'])?.entry(variant, value)?;
        self.depth -= 1;
        Ok(())
    }
    fn serialize_seq(self, len: Option<usize>) -> Result<Level<'a>, FlattenStop> {
        self.open(len, ['[', ']'])
    }
    fn serialize_tuple(self, len: usize) -> Result<Level<'a>, FlattenStop> {
        self.open(Some(len), ['[', ']'])
    }
    fn serialize_tuple_struct(self, _: &'static str, _: usize) -> Result<Level<'a>, FlattenStop> {
        self.level(['[', ']'])
    }
    fn serialize_tuple_variant(
        self,
        _: &'static str,
        _: u32,
        variant: &'static str,
        _: usize,
    ) -> Result<Level<'a>, FlattenStop> {
        self.variant(variant)?;
        self.push_path_segment(variant);
        self.level(['[', ']'])
    }
    fn serialize_map(self, len: Option<usize>) -> Result<Level<'a>, FlattenStop> {
        self.open(len, ['{', '}'])
    }
    fn serialize_struct(self, name: &'static str, _: usize) -> Result<Level<'a>, FlattenStop> {
        let mut level = self.level(['{', '}'])?;
        level.is_duration = name == "Duration";
        Ok(level)
    }
    fn serialize_struct_variant(
        self,
        _: &'static str,
        _: u32,
        variant: &'static str,
        _: usize,
    ) -> Result<Level<'a>, FlattenStop> {
        self.variant(variant)?;
        self.push_path_segment(variant);
        self.level(['{', '}'])
    }
    fn collect_str<T: Display + ?Sized>(self, value: &T) -> Result<(), FlattenStop> {
        self.leaf(Scalar::Text(render_text(PARAM_VALUE_CHARS, |out| {
            write!(out, "{value}")
        })))
    }
}

impl ser::SerializeSeq for Level<'_> {
    type Ok = ();
    type Error = FlattenStop;
    fn serialize_element<T: Serialize + ?Sized>(&mut self, value: &T) -> Result<(), FlattenStop> {
        self.element(value)
    }
    fn end(self) -> Result<(), FlattenStop> {
        self.join()
    }
}

impl ser::SerializeTuple for Level<'_> {
    type Ok = ();
    type Error = FlattenStop;
    fn serialize_element<T: Serialize + ?Sized>(&mut self, value: &T) -> Result<(), FlattenStop> {
        self.element(value)
    }
    fn end(self) -> Result<(), FlattenStop> {
        self.join()
    }
}

impl ser::SerializeTupleStruct for Level<'_> {
    type Ok = ();
    type Error = FlattenStop;
    fn serialize_field<T: Serialize + ?Sized>(&mut self, value: &T) -> Result<(), FlattenStop> {
        self.element(value)
    }
    fn end(self) -> Result<(), FlattenStop> {
        self.join()
    }
}

impl ser::SerializeTupleVariant for Level<'_> {
    type Ok = ();
    type Error = FlattenStop;
    fn serialize_field<T: Serialize + ?Sized>(&mut self, value: &T) -> Result<(), FlattenStop> {
        self.element(value)
    }
    fn end(self) -> Result<(), FlattenStop> {
        self.join()
    }
}

impl ser::SerializeMap for Level<'_> {
    type Ok = ();
    type Error = FlattenStop;
    fn serialize_key<T: Serialize + ?Sized>(&mut self, key: &T) -> Result<(), FlattenStop> {
        self.key = flatten_value(key, Purpose::Params)
            .ok()
            .and_then(|leaves| leaves.leaves.into_iter().next())
            .map(|leaf| leaf.scalar.to_string());
        Ok(())
    }
    fn serialize_value<T: Serialize + ?Sized>(&mut self, value: &T) -> Result<(), FlattenStop> {
        match self.key.take() {
            // The map's length was not known beforehand; only this entry shows that the map is too long.
            _ if self.entries == self.flatten.max_len(self.brackets) => self.element(value),
            Some(key) => self.entry(&key, value),
            None => self.element(value),
        }
    }
    fn end(self) -> Result<(), FlattenStop> {
        self.close()
    }
}

impl ser::SerializeStruct for Level<'_> {
    type Ok = ();
    type Error = FlattenStop;
    fn serialize_field<T: Serialize + ?Sized>(
        &mut self,
        key: &'static str,
        value: &T,
    ) -> Result<(), FlattenStop> {
        self.is_duration &= matches!((self.entries, key), (0, "secs") | (1, "nanos"));
        self.entry(key, value)
    }
    fn end(mut self) -> Result<(), FlattenStop> {
        if self.is_duration {
            self.join_duration();
        }
        self.close()
    }
}

impl ser::SerializeStructVariant for Level<'_> {
    type Ok = ();
    type Error = FlattenStop;
    fn serialize_field<T: Serialize + ?Sized>(
        &mut self,
        key: &'static str,
        value: &T,
    ) -> Result<(), FlattenStop> {
        self.entry(key, value)
    }
    fn end(self) -> Result<(), FlattenStop> {
        self.close()
    }
}
