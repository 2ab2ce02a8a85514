//! The number of requests that are in flight at once, found out while the delivery runs.
//!
//! # Invariants
//!
//! 1. The number stays in the range that the [store](crate::store::Store::concurrent_requests) allows, and begins at its
//!    lower end.
//! 2. Only requests that were in flight while others waited are measured. While there is little to send, nothing is
//!    learned, and the number of requests that are waiting limits how many are in flight.
//! 3. One more request stays in flight only if it has raised the rate noticeably. A store that carries out one request at
//!    a time is left at one, but for a rare trial.
//! 4. A store that says that it has too much to do, or gives no answer, gets half as many requests at once (AIMD).
//!
//! A sample is the rate of as many requests as are in flight. From time to time one request more, or one less, is in
//! flight for a trial of a few samples. A trial ends as soon as its samples are clearly better or worse than those
//! before it, so a server with many workers has them all busy after a few dozen requests. After a trial that has
//! brought nothing, twice as many samples pass until the next one. If the rate changes by itself, the trials begin
//! anew.

use std::ops::RangeInclusive;

use tokio::time::Instant;

/// Number of samples whose mean is a rate, and of samples that a trial takes at most.
const WINDOW: usize = 8;
/// Number of samples that a trial takes at least.
const MIN_SAMPLES: usize = 2;
/// Relative deviation of a sample that is taken for chance.
const EXPECTED_DEVIATION: f64 = 0.15;
/// Part by which one request more has to raise the rate.
const MIN_GAIN: f64 = 0.10;
/// Share of the greatest possible gain of one request more that suffices, where that is less than [`MIN_GAIN`].
const MIN_SHARE_OF_GAIN: f64 = 0.5;
/// Part by which the rate has changed if it cannot be chance.
const CHANGED: f64 = 0.3;
/// Number of samples between the first two trials.
const FIRST_PAUSE: u32 = 4;
/// Largest number of samples between two trials.
const MAX_PAUSE: u32 = 64;

/// Number of requests in flight, and what is known about it.
#[derive(Clone, Debug)]
pub(in crate::shipper) struct Concurrency {
    range: RangeInclusive<usize>,
    level: usize,
    /// Latest rates at this level, or at the one before the trial.
    rates: Rates,
    trial: Option<Trial>,
    /// Rate when the last trial ended.
    reference: Option<f64>,
    /// Number of samples until the next trial.
    wait: u32,
    /// Number of samples to wait after the next trial that brings nothing.
    pause: u32,
    /// Direction of the next trial.
    next: Direction,
    sample: Sample,
}

/// A level that is tried.
#[derive(Clone, Debug)]
struct Trial {
    direction: Direction,
    rates: Rates,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Direction {
    Up,
    Down,
}

/// The latest rates, at most [`WINDOW`].
#[derive(Clone, Debug, Default)]
struct Rates {
    rates: [f64; WINDOW],
    count: usize,
    next: usize,
}

/// The measurement that goes on.
#[derive(Clone, Copy, Debug, Default)]
struct Sample {
    /// Time of the answer at which the measurement has begun.
    begun: Option<Instant>,
    /// Number of answers to pass until the measurement begins.
    skip: usize,
    answers: usize,
    work: f64,
}

impl Rates {
    fn push(&mut self, rate: f64) {
        if let Some(slot) = self.rates.get_mut(self.next) {
            *slot = rate;
        }
        self.next = (self.next + 1) % WINDOW;
        self.count = (self.count + 1).min(WINDOW);
    }

    fn mean(&self) -> f64 {
        let rates = self.rates.get(..self.count).unwrap_or_default();
        rates.iter().sum::<f64>() / to_float(self.count.max(1))
    }
}

impl Concurrency {
    pub(in crate::shipper) fn new(range: RangeInclusive<usize>) -> Self {
        let least = (*range.start()).max(1);
        let most = (*range.end()).max(least);
        Self {
            range: least..=most,
            level: least,
            rates: Rates::default(),
            trial: None,
            reference: None,
            wait: 0,
            pause: FIRST_PAUSE,
            next: Direction::Up,
            sample: Sample::default(),
        }
    }

    /// Returns the number of requests that are to be in flight while enough of them wait.
    pub(in crate::shipper) fn level(&self) -> usize {
        self.level
    }

    /// Returns true if more than one request may ever be in flight.
    pub(in crate::shipper) fn is_adjustable(&self) -> bool {
        *self.range.end() > 1
    }

    /// Begins a new series of requests: the time since the last answer does not count.
    pub(in crate::shipper) fn begin_series(&mut self) {
        self.sample = Sample::default();
    }

    /// Records an answer. `work` is the work of its request, in any unit. `is_full` tells that as many requests were in
    /// flight as are to be, and that others waited.
    pub(in crate::shipper) fn record_answer(&mut self, work: usize, now: Instant, is_full: bool) {
        if !is_full {
            self.sample = Sample::default();
            return;
        }
        let sample = &mut self.sample;
        if sample.skip > 0 {
            sample.skip -= 1;
            return;
        }
        let Some(begun) = sample.begun else {
            sample.begun = Some(now);
            return;
        };
        sample.work += to_float(work);
        sample.answers += 1;
        if sample.answers < self.level {
            return;
        }
        let (seconds, work) = ((now - begun).as_secs_f64(), sample.work);
        self.sample = Sample {
            begun: Some(now),
            ..Sample::default()
        };
        // Requests without work say nothing, and rates are compared by their ratio.
        if seconds > 0.0 && work > 0.0 {
            self.record_rate(work / seconds);
        }
    }

    /// Records that the store has too much to do, or gave no answer.
    pub(in crate::shipper) fn back_off(&mut self) {
        self.set_level(self.level / 2);
        self.trial = None;
        self.rates = Rates::default();
        self.reference = None;
        self.next = Direction::Up;
        self.wait = self.pause;
        self.pause = (self.pause * 2).min(MAX_PAUSE);
    }

    fn set_level(&mut self, level: usize) {
        self.level = level.clamp(*self.range.start(), *self.range.end());
        // The requests that are in flight now belong to the level before.
        self.sample = Sample {
            skip: self.level,
            ..Sample::default()
        };
    }

    fn record_rate(&mut self, rate: f64) {
        let Some(mut trial) = self.trial.take() else {
            self.rates.push(rate);
            self.notice_change();
            self.wait = self.wait.saturating_sub(1);
            if self.wait == 0 && self.rates.count >= MIN_SAMPLES {
                self.begin_trial();
            }
            return;
        };
        trial.rates.push(rate);
        let (lower, upper, lower_level) = match trial.direction {
            Direction::Up => (&self.rates, &trial.rates, self.level - 1),
            Direction::Down => (&trial.rates, &self.rates, self.level),
        };
        let Comparison { pays, is_clear } = compare(lower, upper, lower_level);
        if is_clear || trial.rates.count >= WINDOW {
            self.end_trial(trial, pays);
        } else {
            self.trial = Some(trial);
        }
    }

    /// Begins the trials anew if the rate has changed by itself.
    fn notice_change(&mut self) {
        if self.rates.count < WINDOW / 2 {
            return;
        }
        let rate = self.rates.mean();
        let reference = *self.reference.get_or_insert(rate);
        if (rate / reference - 1.0).abs() > CHANGED {
            self.reference = Some(rate);
            self.pause = FIRST_PAUSE;
            self.wait = self.wait.min(FIRST_PAUSE);
        }
    }

    fn begin_trial(&mut self) {
        let (can_rise, can_fall) = (
            self.level < *self.range.end(),
            self.level > *self.range.start(),
        );
        let direction = match self.next {
            Direction::Up if can_rise => Direction::Up,
            Direction::Down if can_fall => Direction::Down,
            _ if can_rise => Direction::Up,
            _ if can_fall => Direction::Down,
            _ => return,
        };
        self.set_level(match direction {
            Direction::Up => self.level + 1,
            Direction::Down => self.level - 1,
        });
        self.trial = Some(Trial {
            direction,
            rates: Rates::default(),
        });
    }

    /// Ends a trial. `pays`: the upper one of the two levels brings enough.
    fn end_trial(&mut self, trial: Trial, pays: bool) {
        let stays = pays == (trial.direction == Direction::Up);
        if stays {
            self.rates = trial.rates;
            self.reference = None;
            self.next = trial.direction;
            let is_least = self.level == *self.range.start();
            self.wait = if is_least { self.pause } else { 0 };
            self.set_level(self.level);
            return;
        }
        self.reference = Some(self.rates.mean());
        self.wait = self.pause;
        self.pause = (self.pause * 2).min(MAX_PAUSE);
        (self.next, self.level) = match trial.direction {
            Direction::Up => (Direction::Down, self.level - 1),
            Direction::Down => (Direction::Up, self.level + 1),
        };
        self.set_level(self.level);
    }
}

/// Comparison of a level with the one below.
struct Comparison {
    /// True if the upper level has raised the rate enough.
    pays: bool,
    /// True if that is not chance.
    is_clear: bool,
}

/// Compares the rates of two levels, of which the lower one has `lower_level` requests in flight.
fn compare(lower: &Rates, upper: &Rates, lower_level: usize) -> Comparison {
    let gain = upper.mean() / lower.mean() - 1.0;
    let needed = MIN_GAIN.min(MIN_SHARE_OF_GAIN / to_float(lower_level.max(1)));
    let variance = 1.0 / to_float(lower.count) + 1.0 / to_float(upper.count);
    let margin = EXPECTED_DEVIATION * variance.sqrt();
    let is_enough = lower.count.min(upper.count) >= MIN_SAMPLES;
    Comparison {
        pays: gain >= needed,
        is_clear: is_enough && (gain - needed).abs() > margin,
    }
}

/// Converts a small count.
fn to_float(count: usize) -> f64 {
    u32::try_from(count).map_or(f64::from(u32::MAX), f64::from)
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;
    use crate::determinism::Random;

    /// Work of each request.
    const WORK: usize = 1000;

    /// Server that carries out `capacity` requests at once, each in about a second.
    struct Server {
        capacity: usize,
        random: Random,
        now: Instant,
    }

    impl Server {
        fn new(capacity: usize, seed: u64) -> Self {
            Self {
                capacity,
                random: Random::new(seed),
                now: Instant::now(),
            }
        }

        /// Answers so many requests, and returns the number of answers that came at each level.
        fn answer(&mut self, concurrency: &mut Concurrency, answers: usize) -> [usize; 9] {
            let mut at_level = [0; 9];
            // Times at which the answers of the requests in flight come, the first one first.
            let mut in_flight: Vec<Instant> = Vec::new();
            for _ in 0..answers {
                while in_flight.len() < concurrency.level() {
                    // With `capacity` requests before it, a request begins when the first of these ends.
                    let before = in_flight.len().checked_sub(self.capacity);
                    let begun = before.map_or(self.now, |at| in_flight[at]);
                    let percent = 80 + self.random.below(41);
                    in_flight.push(begun + Duration::from_millis(10 * percent));
                    in_flight.sort();
                }
                self.now = in_flight.remove(0);
                at_level[concurrency.level()] += 1;
                concurrency.record_answer(WORK, self.now, true);
            }
            at_level
        }
    }

    /// Returns the mean of the levels at which the answers came.
    fn mean(at_level: &[usize; 9]) -> f64 {
        let answers: usize = at_level.iter().sum();
        let levels = at_level.iter().enumerate();
        levels
            .map(|(level, count)| to_float(level * count))
            .sum::<f64>()
            / to_float(answers)
    }

    #[test]
    fn as_many_requests_are_in_flight_as_the_server_carries_out_at_once() {
        for capacity in 1..=8 {
            let means = (0..20).map(|seed| {
                let mut server = Server::new(capacity, seed);
                let mut concurrency = Concurrency::new(1..=8);
                server.answer(&mut concurrency, 400);
                mean(&server.answer(&mut concurrency, 2000))
            });
            let means: Vec<f64> = means.collect();
            let mean = means.iter().sum::<f64>() / 20.0;
            let error = mean - to_float(capacity);
            assert!(error.abs() < 1.0, "{capacity}: {mean} of {means:?}");
        }
    }

    #[test]
    fn a_server_that_carries_out_one_request_at_a_time_gets_one_most_of_the_time() {
        for seed in 0..50 {
            let mut server = Server::new(1, seed);
            let mut concurrency = Concurrency::new(1..=8);
            let at_level = server.answer(&mut concurrency, 2000);
            assert!(at_level[1] > 1300, "{seed}: {at_level:?}");
            assert_eq!(at_level[4..], [0; 5], "{seed}");
        }
    }

    #[test]
    fn all_workers_are_busy_after_a_few_dozen_requests() {
        for seed in 0..50 {
            let mut server = Server::new(4, seed);
            let mut concurrency = Concurrency::new(1..=8);
            let at_level = server.answer(&mut concurrency, 150);
            let below: usize = at_level[..4].iter().sum();
            assert!(below < 75, "{seed}: {at_level:?}");
        }
    }

    #[test]
    fn the_number_follows_a_server_that_changes() {
        for seed in 0..20 {
            let mut server = Server::new(1, seed);
            let mut concurrency = Concurrency::new(1..=8);
            server.answer(&mut concurrency, 1000);
            for capacity in [6, 1, 3] {
                server.capacity = capacity;
                server.answer(&mut concurrency, 1500);
                let mean = mean(&server.answer(&mut concurrency, 1000));
                let error = mean - to_float(capacity);
                assert!(error.abs() < 1.5, "{seed}: {mean} for {capacity}");
            }
        }
    }

    #[test]
    fn an_overloaded_store_gets_half_as_many_requests() {
        let mut server = Server::new(8, 1);
        let mut concurrency = Concurrency::new(1..=8);
        server.answer(&mut concurrency, 1000);
        let before = concurrency.level();
        assert!(before > 4);
        concurrency.back_off();
        assert_eq!(concurrency.level(), before / 2);
        for _ in 0..5 {
            concurrency.back_off();
        }
        assert_eq!(concurrency.level(), 1);
        server.answer(&mut concurrency, 2000);
        assert!(concurrency.level() > 4);
    }

    #[test]
    fn nothing_is_learned_while_nothing_waits() {
        let mut concurrency = Concurrency::new(1..=8);
        let mut now = Instant::now();
        for _ in 0..1000 {
            now += Duration::from_secs(1);
            concurrency.record_answer(WORK, now, false);
        }
        assert_eq!(concurrency.level(), 1);
    }

    #[test]
    fn the_range_of_the_store_is_kept() {
        let mut server = Server::new(8, 1);
        let mut concurrency = Concurrency::new(2..=3);
        assert!(concurrency.is_adjustable());
        let at_level = server.answer(&mut concurrency, 1000);
        assert_eq!(at_level[2] + at_level[3], 1000);
        concurrency.back_off();
        concurrency.back_off();
        assert_eq!(concurrency.level(), 2);
        let fixed = Concurrency::new(1..=1);
        assert!(!fixed.is_adjustable());
        assert_eq!(Concurrency::new(0..=0).level(), 1);
    }
}
