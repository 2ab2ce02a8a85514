//! Rows of tables as lines of JSON.
//!
//! Invariants: a panic in the `Serialize` of a row does not reach the function that logs the row. MLflow's Python client
//! can read each row: one integer that it cannot read would cost the whole table.

use std::borrow::Cow;
use std::io;
use std::panic::{AssertUnwindSafe, catch_unwind};

use serde::Serialize;
use serde_json::Serializer;
use serde_json::ser::{CompactFormatter, Formatter};

/// Appends a row as a line: an object of its columns, or an array. A plain value is a row of one column.
pub(crate) fn write_row<T: Serialize>(
    row: &T,
    lines: &mut Vec<u8>,
) -> Result<(), Cow<'static, str>> {
    let start = lines.len();
    // The `Serialize` of a type may panic, which must not reach the caller.
    let written = catch_unwind(AssertUnwindSafe(|| {
        row.serialize(&mut Serializer::with_formatter(&mut *lines, RowFormatter))
    }));
    match written {
        Ok(Ok(())) => {}
        Ok(Err(error)) => return Err(format!("it cannot be written as JSON: {error}").into()),
        Err(_) => return Err("its `Serialize` panicked".into()),
    }
    if !matches!(lines.get(start), Some(b'{' | b'[')) {
        lines.insert(start, b'[');
        lines.push(b']');
    }
    lines.push(b'\n');
    Ok(())
}

/// Format of a row, without integers that `load_table` cannot read.
struct RowFormatter;

impl Formatter for RowFormatter {
    fn write_i128<W: io::Write + ?Sized>(&mut self, writer: &mut W, value: i128) -> io::Result<()> {
        match i64::try_from(value) {
            Ok(value) => CompactFormatter.write_i64(writer, value),
            Err(_) => match u64::try_from(value) {
                Ok(value) => CompactFormatter.write_u64(writer, value),
                Err(_) => Err(too_long(value)),
            },
        }
    }

    fn write_u128<W: io::Write + ?Sized>(&mut self, writer: &mut W, value: u128) -> io::Result<()> {
        match u64::try_from(value) {
            Ok(value) => CompactFormatter.write_u64(writer, value),
            Err(_) => Err(too_long(value)),
        }
    }
}

fn too_long(value: impl std::fmt::Display) -> io::Error {
    io::Error::other(format!(
        "the integer {value} has more than 64 bits, which MLflow cannot read; give it as a text or a float"
    ))
}
