//! When which fault strikes: each kind in turn, then any at any time.
//!
//! Invariant: the sequence of faults depends on the seed alone; which request meets which is up to
//! the machine.

use std::time::Duration;

use crate::support::fake_server::Request;
use crate::support::fault::{After, Fault, To};
use crate::support::rng::Rng;

/// After these the library tries again by itself, and soon.
const PASSING: [Fault; 18] = [
    Fault::Refuse(Duration::from_millis(300)),
    Fault::Reset,
    Fault::Hang,
    Fault::Status(500),
    Fault::Status(502),
    Fault::Status(503),
    Fault::Later(After::Seconds(1)),
    Fault::Later(After::Date(2)),
    Fault::Html,
    Fault::Redirect(To::Server),
    Fault::Drip(Duration::from_micros(100)),
    Fault::DropAnswer,
    Fault::ResetAnswer,
    Fault::CutAnswer,
    Fault::TooLate,
    Fault::HalfBody,
    Fault::LengthTooLong,
    Fault::LengthTooShort,
];

/// These ask for a person, so that it tries again after half a minute or more.
const LASTING: [Fault; 2] = [Fault::Redirect(To::Login), Fault::Redirect(To::Itself)];

/// So many requests of a hundred are spoiled.
const SPOILED_PERCENT: u64 = 30;
/// One fault in so many is a lasting one, after their turn.
const LASTING_ONE_IN: u64 = 200;

/// The schedule of a proxy: which fault meets the next request.
pub(crate) fn fault_schedule(mut rng: Rng, lasting: bool) -> impl FnMut(&Request) -> Option<Fault> {
    let mut turns: Vec<Fault> = PASSING.to_vec();
    if lasting {
        turns.extend(LASTING);
    }
    turns.reverse();
    move |_| {
        if rng.below(100) >= SPOILED_PERCENT {
            return None;
        }
        turns.pop().or_else(|| {
            let kinds: &[Fault] = if lasting && rng.below(LASTING_ONE_IN) == 0 {
                &LASTING
            } else {
                &PASSING
            };
            let at = usize::try_from(rng.below(kinds.len() as u64)).unwrap();
            Some(kinds[at])
        })
    }
}
