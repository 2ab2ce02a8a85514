//! SHA-256 of a value, as lower-case hex.
//!
//! Invariant: the value is streamed into the digest, never held as text.

use std::fmt::{self, Write as _};
use std::io;
use std::panic::{AssertUnwindSafe, catch_unwind};

use mlflow_rules::to_hex;
use ring::digest::{Context, SHA256};
use serde::Serialize;

struct HashWriter(Context);

impl fmt::Write for HashWriter {
    fn write_str(&mut self, part: &str) -> fmt::Result {
        self.0.update(part.as_bytes());
        Ok(())
    }
}

impl io::Write for HashWriter {
    fn write(&mut self, part: &[u8]) -> io::Result<usize> {
        self.0.update(part);
        Ok(part.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

impl HashWriter {
    fn new() -> Self {
        Self(Context::new(&SHA256))
    }

    fn hex(self) -> String {
        to_hex(self.0.finish().as_ref())
    }
}

pub(super) fn sha256_of_bytes(bytes: &[u8]) -> String {
    let mut sink = HashWriter::new();
    sink.0.update(bytes);
    sink.hex()
}

/// Returns the hash of a text; `None` if its formatting fails, because a part of a value has no hash.
pub(super) fn sha256_of_text(text: fmt::Arguments<'_>) -> Option<String> {
    let mut sink = HashWriter::new();
    catch_unwind(AssertUnwindSafe(|| sink.write_fmt(text)))
        .ok()?
        .ok()?;
    Some(sink.hex())
}

pub(super) fn sha256_of_json<T: Serialize + ?Sized>(value: &T) -> Option<String> {
    let mut sink = HashWriter::new();
    catch_unwind(AssertUnwindSafe(|| serde_json::to_writer(&mut sink, value)))
        .ok()?
        .ok()?;
    Some(sink.hex())
}
