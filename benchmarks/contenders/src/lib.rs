//! The work that is the same for all, and how it is timed: 100 params, then points in ten keys.

use std::io::Write as _;
use std::time::{Instant, UNIX_EPOCH};

pub const PARAMS: usize = 100;
pub const KEYS: usize = 10;

/// What a contender was asked for: `URI POINTS`.
pub fn arguments() -> (String, usize) {
    let mut arguments = std::env::args().skip(1);
    let uri = arguments.next().expect("a tracking URI");
    let points = arguments.next().and_then(|points| points.parse().ok());
    (uri, points.expect("a number of points"))
}

pub fn keys() -> Vec<String> {
    (0..KEYS).map(|key| format!("metric_{key}")).collect()
}

/// Says how long it took until the store had everything, and when that was: the times of several processes that ran at once
/// can be put together.
pub fn delivered(begun: Instant) {
    let delivered_s = begun.elapsed().as_secs_f64();
    let ended_s = UNIX_EPOCH.elapsed().expect("a clock").as_secs_f64();
    println!(
        "{}",
        serde_json::json!({"delivered_s": delivered_s, "ended_s": ended_s})
    );
}

/// How long each call took, in nanoseconds.
pub struct Calls(Vec<u64>);

impl Calls {
    pub fn with_capacity(calls: usize) -> Self {
        Self(Vec::with_capacity(calls))
    }

    pub fn time<R>(&mut self, call: impl FnOnce() -> R) -> R {
        let begun = Instant::now();
        let result = call();
        self.0
            .push(u64::try_from(begun.elapsed().as_nanos()).unwrap_or(u64::MAX));
        result
    }

    /// Says that all is logged, and how long it took: whoever listens may end the process now.
    pub fn logged(mut self) {
        let blocked: u64 = self.0.iter().sum();
        self.0.sort_unstable();
        let at = |share: f64| self.0[((self.0.len() - 1) as f64 * share) as usize] as f64 / 1e3;
        let report = serde_json::json!({
            "blocked_s": blocked as f64 / 1e9,
            "p50_us": at(0.5),
            "p999_us": at(0.999),
            "calls": self.0.len(),
        });
        let mut stdout = std::io::stdout();
        writeln!(stdout, "{report}").expect("stdout");
        stdout.flush().expect("stdout");
    }
}

/// Says how far the program is, and goes on when whoever listens has looked at it.
pub fn pause(at: &str) {
    println!("{at}");
    let mut line = String::new();
    let _ = std::io::stdin().read_line(&mut line);
}
