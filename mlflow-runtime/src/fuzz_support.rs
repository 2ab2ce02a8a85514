//! What the targets in `fuzz/` call. Not for anybody else: it exists only under `cfg(fuzzing)`.

use std::path::Path;

use crate::journal::segment::encode_acknowledged;
use crate::journal::segment::mapped::{checksum, encode_header};
use crate::shipper::fuzz_support::recover;
use crate::store::fuzz_support::parse_as_every_response;

/// Recovers a dead process's journal with these segments, below `root`; panics where the reader
/// breaks a promise.
pub fn journal(root: &Path, segments: &[&[u8]]) {
    recover(root, segments);
}

/// What a segment begins with.
#[must_use]
pub fn segment_header() -> Vec<u8> {
    encode_header().to_vec()
}

/// The checksum that a frame with this body holds.
#[must_use]
pub fn frame_checksum(body: &[u8]) -> u32 {
    checksum(body)
}

/// The word that says in a segment's header how far it was delivered.
#[must_use]
pub fn acknowledged(offset: usize) -> u64 {
    encode_acknowledged(offset)
}

/// Reads a server's answer as one to each kind of request; panics where the parser breaks a promise.
pub fn answer(answer: impl Fn() -> reqwest::Response) {
    parse_as_every_response(answer);
}
