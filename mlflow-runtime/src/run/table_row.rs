//! Rows of tables as lines of JSON.
//!
//! Invariant: a panic in the `Serialize` of a row does not reach the function that logs the row.

use std::borrow::Cow;
use std::panic::{AssertUnwindSafe, catch_unwind};

use serde::Serialize;

/// Appends a row as a line: an object of its columns, or an array. A plain value is a row of one column.
pub(crate) fn write_row<T: Serialize>(
    row: &T,
    lines: &mut Vec<u8>,
) -> Result<(), Cow<'static, str>> {
    let start = lines.len();
    // The `Serialize` of a type may panic, which must not reach the caller.
    let written = catch_unwind(AssertUnwindSafe(|| serde_json::to_writer(&mut *lines, row)));
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
