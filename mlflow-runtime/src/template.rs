//! Text put together from constants, arguments and the moment: `lr-{lr}-{timestamp}`.

use std::fmt::{self, Display};
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use crate::capture::{Values, cut};
use crate::limits::KEY_CHARS;

/// A run's or experiment's name in the making.
#[derive(Debug, Default)]
pub struct Template(String);

impl Template {
    /// Empty.
    #[must_use]
    pub fn new() -> Self {
        Self::default()
    }

    /// Constant text.
    pub fn text(&mut self, text: &str) {
        self.0.push_str(text);
    }

    /// `{argument}`.
    // By value: it is made for this call, and the macro's expansion stays free of a borrow.
    pub fn value(&mut self, value: Values) {
        self.0.push_str(&cut(KEY_CHARS, &value.into_text()));
    }

    /// `{argument:.3}`.
    pub fn formatted(&mut self, text: fmt::Arguments<'_>) {
        self.0.push_str(&crate::capture::render(KEY_CHARS, |out| {
            out.write_fmt(text)
        }));
    }

    /// `{timestamp}`.
    pub fn timestamp(&mut self) {
        self.0.push_str(&timestamp(SystemTime::now()));
    }

    /// `{env}`: `MLFLOW_ENV`, else `default`.
    pub fn env(&mut self) {
        let env = std::env::var("MLFLOW_ENV")
            .ok()
            .filter(|env| !env.is_empty());
        self.0.push_str(env.as_deref().unwrap_or("default"));
    }
}

impl Display for Template {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

// Input:  2026-07-04 13:05:09 UTC
// Output: `20260704-130509`
pub(crate) fn timestamp(time: SystemTime) -> String {
    let since_epoch = time
        .duration_since(UNIX_EPOCH)
        .unwrap_or(Duration::ZERO)
        .as_secs();
    let (days, second) = (since_epoch / 86_400, since_epoch % 86_400);
    let (year, month, day) = civil(days);
    format!(
        "{year:04}{month:02}{day:02}-{:02}{:02}{:02}",
        second / 3600,
        second / 60 % 60,
        second % 60
    )
}

/// Year, month and day of the Gregorian calendar, `days` after 1970-01-01.
fn civil(days: u64) -> (u64, u64, u64) {
    let leap = |year: u64| {
        year.is_multiple_of(4) && (!year.is_multiple_of(100) || year.is_multiple_of(400))
    };
    let (mut year, mut left) = (1970 + days / 146_097 * 400, days % 146_097);
    while left >= 365 + u64::from(leap(year)) {
        left -= 365 + u64::from(leap(year));
        year += 1;
    }
    let mut month = 1;
    for length in [
        31,
        28 + u64::from(leap(year)),
        31,
        30,
        31,
        30,
        31,
        31,
        30,
        31,
        30,
        31,
    ] {
        if left < length {
            break;
        }
        left -= length;
        month += 1;
    }
    (year, month, left + 1)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn timestamps() {
        let at = |secs| timestamp(UNIX_EPOCH + Duration::from_secs(secs));
        assert_eq!(at(0), "19700101-000000");
        assert_eq!(at(951_782_400), "20000229-000000");
        assert_eq!(at(1_783_170_309), "20260704-130509");
        assert_eq!(at(4_107_542_399), "21000228-235959");
        assert_eq!(at(4_107_542_400), "21000301-000000");
    }
}
