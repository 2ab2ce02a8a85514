//! Kinds of secrets that the program adds to those of this crate.
//!
//! # Invariants
//!
//! 1. The added kinds hold for the whole process, from the call that adds them on, and nothing removes them: a value may be on
//!    its way while another part of the program configures itself.
//! 2. Looking for them takes no lock, so that a child that was forked meanwhile can do it, too.
//! 3. What is masked already stays as it is.

use std::ops::Range;
use std::sync::OnceLock;

use crate::REDACTED;

/// Greatest number of functions that a process can add.
const MAX_FINDERS: usize = 64;

/// Function that returns the ranges of a text which hold secrets, in bytes.
type FindSecrets = dyn Fn(&str) -> Vec<Range<usize>> + Send + Sync;

/// Function that finds secrets, and its name.
struct Finder {
    name: String,
    find: Box<FindSecrets>,
}

/// Functions in the order in which they were added.
static FINDERS: [OnceLock<Finder>; MAX_FINDERS] = [const { OnceLock::new() }; MAX_FINDERS];

/// Adds a function that finds further secrets in a text, for [`mask`](crate::mask) and
/// [`credential_ranges`](crate::credential_ranges) in the whole process. Returns false if there are too many, 64. A function whose
/// name is known is not added again. Ranges that are empty, or do not lie on the boundaries of characters, are left out.
#[must_use]
pub fn add_secret_finder(
    name: impl Into<String>,
    find: impl Fn(&str) -> Vec<Range<usize>> + Send + Sync + 'static,
) -> bool {
    let (name, find) = (name.into(), Box::new(find));
    let mut finder = Finder { name, find };
    for place in &FINDERS {
        if place.get().is_some_and(|known| known.name == finder.name) {
            return true;
        }
        match place.set(finder) {
            Ok(()) => return true,
            Err(unused) => finder = unused,
        }
    }
    false
}

/// Returns the ranges that the added functions find, without those that are masked already.
pub(super) fn find(text: &str) -> Vec<Range<usize>> {
    let finders = FINDERS.iter().map_while(OnceLock::get);
    let mut found: Vec<_> = finders.flat_map(|finder| (finder.find)(text)).collect();
    found.retain(|range| text.get(range.clone()).is_some_and(|part| !part.is_empty()));
    if found.is_empty() {
        return found;
    }
    let marks = text.match_indices(REDACTED);
    let marks = marks.map(|(at, mark)| at..at + mark.len());
    without(&merge(found), &marks.collect::<Vec<_>>())
}

/// Returns the ranges without the marks in them. Both are in order.
fn without(ranges: &[Range<usize>], marks: &[Range<usize>]) -> Vec<Range<usize>> {
    let mut left = Vec::with_capacity(ranges.len());
    let mut marks = marks.iter().peekable();
    for range in ranges {
        let mut start = range.start;
        while let Some(mark) = marks.peek().filter(|mark| mark.start < range.end) {
            if start < mark.start {
                left.push(start..mark.start);
            }
            start = start.max(mark.end);
            // A mark may reach into the next range.
            if mark.end > range.end {
                break;
            }
            marks.next();
        }
        if start < range.end {
            left.push(start..range.end);
        }
    }
    left
}

/// Returns the ranges in order, those that touch each other as one.
pub(super) fn merge(mut ranges: Vec<Range<usize>>) -> Vec<Range<usize>> {
    ranges.sort_by_key(|range| range.start);
    let mut merged: Vec<Range<usize>> = Vec::with_capacity(ranges.len());
    for range in ranges {
        match merged.last_mut() {
            Some(last) if range.start <= last.end => last.end = last.end.max(range.end),
            _ => merged.push(range),
        }
    }
    merged
}
