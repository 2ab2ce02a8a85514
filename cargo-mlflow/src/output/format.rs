//! Numbers, times and sizes as people read them.

use std::time::Duration;

use jiff::tz::TimeZone;
use jiff::{Timestamp, Unit};

/// Returns a number with as many digits as a person compares, at most six significant ones. MLflow's databases hold
/// the greatest float in the place of an infinity.
// Input:  0.7000000000000001, 1234567.0, 1e-9,   NaN, 1.7976931348623157e308
// Output: 0.7,                1234567,   1e-9,   NaN, inf
pub(crate) fn number(value: f64) -> String {
    if is_infinite(value) {
        return if value > 0.0 { "inf" } else { "-inf" }.to_owned();
    }
    if value.is_nan() {
        return "NaN".to_owned();
    }
    let magnitude = value.abs();
    if value == 0.0 || (1e-4..1e15).contains(&magnitude) {
        let digits_before = if magnitude < 1.0 {
            0.0
        } else {
            magnitude.log10().floor() + 1.0
        };
        // A number below one keeps six digits behind its leading zeros.
        let leading_zeros = if magnitude > 0.0 && magnitude < 1.0 {
            -magnitude.log10().floor() - 1.0
        } else {
            0.0
        };
        #[expect(
            clippy::cast_possible_truncation,
            clippy::cast_sign_loss,
            reason = "between 0 and 10"
        )]
        let decimals = (6.0 - digits_before + leading_zeros).clamp(0.0, 10.0) as usize;
        let text = format!("{value:.decimals$}");
        return if text.contains('.') {
            text.trim_end_matches('0').trim_end_matches('.').to_owned()
        } else {
            text
        };
    }
    let text = format!("{value:.5e}");
    match text.split_once('e') {
        Some((mantissa, exponent)) if mantissa.contains('.') => format!(
            "{}e{exponent}",
            mantissa.trim_end_matches('0').trim_end_matches('.')
        ),
        _ => text,
    }
}

/// Returns true for an infinity, and for the greatest float, which stands for an infinity in MLflow's databases.
pub(crate) fn is_infinite(value: f64) -> bool {
    value.abs() >= f64::MAX
}

/// Returns true if the value is a number that can be compared and drawn: neither NaN nor an infinity, also not one
/// that MLflow's databases hold as the greatest float.
pub(crate) fn is_number(value: f64) -> bool {
    !value.is_nan() && !is_infinite(value)
}

/// Returns a time in the time zone of this machine, without parts of seconds.
pub(crate) fn time(ms: i64) -> String {
    let Ok(timestamp) = Timestamp::from_millisecond(ms) else {
        return format!("{ms} ms");
    };
    let zoned = timestamp.to_zoned_datetime(TimeZone::system());
    match zoned.round(Unit::Second) {
        Ok(zoned) => zoned.strftime("%Y-%m-%d %H:%M:%S").to_string(),
        Err(_) => timestamp.to_string(),
    }
}

/// Returns how long ago a time was.
// Input:  90 s ago, 26 h ago
// Output: `1 min`,  `1 d`
pub(crate) fn ago(ms: i64) -> String {
    let seconds = (Timestamp::now().as_millisecond() - ms) / 1000;
    match seconds {
        ..0 => "in the future".to_owned(),
        0..60 => format!("{seconds} s ago"),
        60..3600 => format!("{} min ago", seconds / 60),
        3600..86_400 => format!("{} h ago", seconds / 3600),
        86_400..31_536_000 => format!("{} d ago", seconds / 86_400),
        _ => format!("{} y ago", seconds / 31_536_000),
    }
}

/// Returns a duration in its two greatest units.
// Input:  0.25 s,   75 s,        5 h 12 min 7 s
// Output: `250 ms`, `1 min 15 s`, `5 h 12 min`
pub(crate) fn duration(duration: Duration) -> String {
    let seconds = duration.as_secs();
    match seconds {
        0 => format!("{} ms", duration.as_millis()),
        1..60 => format!("{seconds} s"),
        60..3600 => format!("{} min {} s", seconds / 60, seconds % 60),
        3600..86_400 => format!("{} h {} min", seconds / 3600, seconds % 3600 / 60),
        _ => format!("{} d {} h", seconds / 86_400, seconds % 86_400 / 3600),
    }
}

/// Returns a whole number with a comma before each three digits.
// Input:  1234567
// Output: `1,234,567`
pub(crate) fn count(number: u64) -> String {
    let digits = number.to_string();
    let mut text = String::with_capacity(digits.len() + digits.len() / 3);
    for (index, digit) in digits.chars().enumerate() {
        if index > 0 && (digits.len() - index).is_multiple_of(3) {
            text.push(',');
        }
        text.push(digit);
    }
    text
}

/// Returns a number with the word for what is counted.
// Input:  1, `journal`, 1234, `value`
// Output: `1 journal`, `1,234 values`
pub(crate) fn counted(number: u64, word: &str) -> String {
    let end = if number == 1 { "" } else { "s" };
    format!("{} {word}{end}", count(number))
}

/// Returns a size in the greatest unit of which there is at least one.
#[expect(clippy::cast_precision_loss, reason = "four digits are shown")]
pub(crate) fn size(bytes: u64) -> String {
    const UNITS: [&str; 5] = ["KiB", "MiB", "GiB", "TiB", "PiB"];
    if bytes < 1024 {
        return format!("{bytes} B");
    }
    let mut amount = bytes as f64 / 1024.0;
    let mut units = UNITS.iter();
    let mut unit = units.next();
    while amount >= 1024.0 && units.len() > 0 {
        amount /= 1024.0;
        unit = units.next();
    }
    format!("{amount:.1} {}", unit.copied().unwrap_or_default())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn numbers_are_short_and_keep_what_matters() {
        for (value, text) in [
            (0.7000000000000001, "0.7"),
            (0.0, "0"),
            (-1.0, "-1"),
            (1234567.0, "1234567"),
            (123456.789, "123457"),
            (12.3456789, "12.3457"),
            (0.00123456789, "0.00123457"),
            (1e-9, "1e-9"),
            (1.5e20, "1.5e20"),
            (f64::NAN, "NaN"),
            (f64::INFINITY, "inf"),
            (f64::MIN, "-inf"),
            (1.7e308, "1.7e308"),
        ] {
            assert_eq!(number(value), text);
        }
    }

    #[test]
    fn what_stands_for_infinity_is_no_number() {
        for value in [
            f64::NAN,
            f64::INFINITY,
            f64::NEG_INFINITY,
            f64::MAX,
            f64::MIN,
        ] {
            assert!(!is_number(value), "{value}");
        }
        for value in [0.0, -1.5, 1e-300, 1.7e308] {
            assert!(is_number(value), "{value}");
        }
    }

    #[test]
    fn durations_and_sizes_have_units() {
        assert_eq!(duration(Duration::from_millis(250)), "250 ms");
        assert_eq!(duration(Duration::from_secs(75)), "1 min 15 s");
        assert_eq!(duration(Duration::from_secs(18_727)), "5 h 12 min");
        assert_eq!(duration(Duration::from_secs(90_000)), "1 d 1 h");
        assert_eq!(count(0), "0");
        assert_eq!(count(999), "999");
        assert_eq!(count(1_234_567), "1,234,567");
        assert_eq!(counted(1, "run"), "1 run");
        assert_eq!(counted(1000, "run"), "1,000 runs");
        assert_eq!(size(0), "0 B");
        assert_eq!(size(1536), "1.5 KiB");
        assert_eq!(size(5 << 30), "5.0 GiB");
    }
}
