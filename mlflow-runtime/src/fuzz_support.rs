//! Entry points for the targets in `fuzz/`. Not part of the public API: the module exists only under
//! `cfg(fuzzing)`.

use std::path::Path;

use crate::journal::segment::encode_acknowledged;
use crate::journal::segment::mapped::{checksum, encode_header};
use crate::shipper::fuzz_support::recover;
use crate::store::fuzz_support::parse_as_every_response;

/// Recovers an orphaned journal with these segments, below `root`. Panics if the reader breaks one of its
/// guarantees.
pub fn journal(root: &Path, segments: &[&[u8]]) {
    recover(root, segments);
}

/// Returns the header of a segment.
#[must_use]
pub fn segment_header() -> Vec<u8> {
    encode_header().to_vec()
}

/// Returns the checksum of a frame with this body.
#[must_use]
pub fn frame_checksum(body: &[u8]) -> u32 {
    checksum(body)
}

/// Returns the word that stores the acknowledged offset in a segment's header.
#[must_use]
pub fn acknowledged(offset: usize) -> u64 {
    encode_acknowledged(offset)
}

/// Parses a server's answer as the response to each kind of request. Panics if the parser breaks one of its
/// guarantees.
pub fn answer(answer: impl Fn() -> reqwest::Response) {
    parse_as_every_response(answer);
}
