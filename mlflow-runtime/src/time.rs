//! Timestamps of values, and deadlines.
//!
//! A value's timestamp is in milliseconds since the Unix epoch, and is fixed when the value is logged.

use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

/// Returns the current time in ms since the Unix epoch, exact to the clock tick (1 to 10 ms). Costs a few
/// nanoseconds.
#[inline]
pub(crate) fn coarse_now_ms() -> i64 {
    #[cfg(target_os = "linux")]
    {
        let now = rustix::time::clock_gettime(rustix::time::ClockId::RealtimeCoarse);
        now.tv_sec * 1000 + now.tv_nsec / 1_000_000
    }
    #[cfg(not(target_os = "linux"))]
    now_ms()
}

/// Returns the current time in ms since the Unix epoch, exact to the millisecond.
pub(crate) fn now_ms() -> i64 {
    #[cfg(test)]
    if let Some(now_ms) = crate::determinism::now_ms() {
        return now_ms;
    }
    let since = SystemTime::now()
        .duration_since(UNIX_EPOCH)
        .unwrap_or_default();
    i64::try_from(since.as_millis()).unwrap_or(i64::MAX)
}

/// Returns a time in ms since the Unix epoch; `None` for one before it.
pub(crate) fn unix_ms(time: SystemTime) -> Option<i64> {
    let since = time.duration_since(UNIX_EPOCH).ok()?;
    Some(i64::try_from(since.as_millis()).unwrap_or(i64::MAX))
}

/// Returns `start` plus `timeout`, or a time decades away if the clock cannot count that far.
pub(crate) fn saturating_deadline(start: Instant, timeout: Duration) -> Instant {
    const FOR_EVER: Duration = Duration::from_secs(1 << 30);
    start.checked_add(timeout).unwrap_or(start + FOR_EVER)
}

/// Formats a time in UTC as `20261124-130501`, which sorts by time and is valid in the names of files and
/// keys.
pub(crate) fn format_compact_utc(timestamp_ms: i64) -> String {
    let UtcDateTime { date, time, .. } = UtcDateTime::from_unix_ms(timestamp_ms);
    let ((year, month, day), (hour, minute, second)) = (date, time);
    format!("{year:04}{month:02}{day:02}-{hour:02}{minute:02}{second:02}")
}

/// Formats a time in UTC as Python's `str(datetime)` does: `2026-11-24 13:05:01.250000`.
pub(crate) fn format_python_utc(timestamp_ms: i64) -> String {
    let UtcDateTime { date, time, ms } = UtcDateTime::from_unix_ms(timestamp_ms);
    let ((year, month, day), (hour, minute, second)) = (date, time);
    format!("{year:04}-{month:02}-{day:02} {hour:02}:{minute:02}:{second:02}.{ms:03}000")
}

/// A time in ms since the Unix epoch, displayed in UTC as RFC 3339 defines it: `2026-11-24T13:05:01.250Z`.
#[cfg(feature = "tracing")]
pub(crate) struct Rfc3339(pub(crate) i64);

#[cfg(feature = "tracing")]
impl std::fmt::Display for Rfc3339 {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let UtcDateTime { date, time, ms } = UtcDateTime::from_unix_ms(self.0);
        let ((year, month, day), (hour, minute, second)) = (date, time);
        write!(
            f,
            "{year:04}-{month:02}-{day:02}T{hour:02}:{minute:02}:{second:02}.{ms:03}Z"
        )
    }
}

/// A date and time in UTC.
struct UtcDateTime {
    /// Year, month, day.
    date: (i64, i64, i64),
    /// Hour, minute, second.
    time: (i64, i64, i64),
    ms: i64,
}

impl UtcDateTime {
    fn from_unix_ms(timestamp_ms: i64) -> Self {
        let (seconds, ms) = (timestamp_ms.div_euclid(1000), timestamp_ms.rem_euclid(1000));
        let (days, second) = (seconds.div_euclid(86_400), seconds.rem_euclid(86_400));
        Self {
            date: civil_from_days(days),
            time: (second / 3600, second / 60 % 60, second % 60),
            ms,
        }
    }
}

/// Returns the Gregorian date (year, month, day) of a day counted from 1970-01-01, by Howard Hinnant's
/// `civil_from_days` ("chrono-Compatible Low-Level Date Algorithms").
fn civil_from_days(days: i64) -> (i64, i64, i64) {
    let days = days + 719_468;
    let era = days.div_euclid(146_097);
    let day_of_era = days.rem_euclid(146_097);
    let year_of_era =
        (day_of_era - day_of_era / 1460 + day_of_era / 36_524 - day_of_era / 146_096) / 365;
    let day_of_year = day_of_era - (365 * year_of_era + year_of_era / 4 - year_of_era / 100);
    let shifted_month = (5 * day_of_year + 2) / 153;
    let day = day_of_year - (153 * shifted_month + 2) / 5 + 1;
    let month = if shifted_month < 10 {
        shifted_month + 3
    } else {
        shifted_month - 9
    };
    (year_of_era + era * 400 + i64::from(month <= 2), month, day)
}

#[cfg(test)]
mod tests {
    use super::format_compact_utc;

    #[cfg(feature = "tracing")]
    #[test]
    fn times_are_as_rfc_3339_has_them() {
        let shown = |ms| super::Rfc3339(ms).to_string();
        assert_eq!(shown(1_709_210_096_007), "2024-02-29T12:34:56.007Z");
        assert_eq!(shown(-1), "1969-12-31T23:59:59.999Z");
    }

    #[test]
    fn dates_are_those_of_the_calendar() {
        assert_eq!(format_compact_utc(0), "19700101-000000");
        assert_eq!(format_compact_utc(1_709_210_096_000), "20240229-123456");
        assert_eq!(format_compact_utc(4_102_444_799_000), "20991231-235959");
        assert_eq!(format_compact_utc(4_107_542_400_000), "21000301-000000");
        assert_eq!(format_compact_utc(-1000), "19691231-235959");
    }
}
