//! Schedule of the faults of a proxy: each kind of fault once, then faults at random.
//!
//! Invariant: the sequence of faults depends on the seed alone. Timing decides which
//! request meets which fault.

use std::time::Duration;

use crate::support::fake_server::Request;
use crate::support::fault::{After, Fault, To};
use crate::support::rng::Rng;

/// Faults after which the library tries again soon, without a person.
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
    Fault::Redirect(To::Answer),
    Fault::Drip(Duration::from_micros(100)),
    Fault::DropAnswer,
    Fault::ResetAnswer,
    Fault::CutAnswer,
    Fault::TooLate,
    Fault::HalfBody,
    Fault::LengthTooLong,
    Fault::LengthTooShort,
];

/// Faults that a person has to fix. The library tries again only after half a minute or more.
const LASTING: [Fault; 2] = [Fault::Redirect(To::Login), Fault::Redirect(To::Itself)];

/// Percentage of requests that meet a fault.
const SPOILED_PERCENT: u64 = 30;
/// Number of faults of which, on average, one is a lasting fault, after each kind has had its turn.
const LASTING_ONE_IN: u64 = 200;

/// Returns the schedule of a proxy: a function that returns the fault for the next request, or `None` for no
/// fault. Lasting faults occur only with `lasting`.
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
