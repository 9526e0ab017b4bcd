//! How numbers are written.

use std::time::Duration;

/// 7, 42.5, 1,234, 12.3k, 4.56M.
pub(crate) fn count(number: f64) -> String {
    if number >= 999_500.0 {
        format!("{:.2}M", number / 1e6)
    } else if number >= 9_999.5 {
        format!("{:.1}k", number / 1e3)
    } else if number >= 999.5 {
        let text = format!("{number:.0}");
        let (thousands, rest) = text.split_at(text.len().saturating_sub(3));
        format!("{thousands},{rest}")
    } else if number >= 99.5 || number.fract() == 0.0 {
        format!("{number:.0}")
    } else {
        format!("{number:.1}")
    }
}

/// The same of something that is counted.
#[allow(clippy::cast_precision_loss, reason = "three digits of it are shown")]
pub(crate) fn whole(number: u64) -> String {
    count(number as f64)
}

/// As many a second: with a tenth where it matters, so that figures don't change their width.
pub(crate) fn per_sec(rate: f64) -> String {
    if rate < 99.95 {
        format!("{rate:.1}")
    } else {
        count(rate.round())
    }
}

/// Milliseconds as µs, ms or s, as it suits them; `–` where there are none.
pub(crate) fn latency(ms: Option<f64>) -> String {
    match ms {
        None => "–".to_owned(),
        Some(ms) if ms < 1.0 => format!("{:.0} µs", ms * 1_000.0),
        Some(ms) if ms < 10.0 => format!("{ms:.1} ms"),
        Some(ms) if ms < 9_999.5 => format!("{} ms", count(ms.round())),
        Some(ms) => format!("{:.1} s", ms / 1_000.0),
    }
}

/// 42 s, 3 min 20 s, 5 h 2 min, 3 d 4 h.
pub(crate) fn lasting(time: Duration) -> String {
    let secs = time.as_secs();
    let (days, hours, minutes) = (secs / 86_400, secs / 3_600 % 24, secs / 60 % 60);
    match (days, hours, minutes) {
        (1.., ..) => format!("{days} d {hours} h"),
        (_, 1.., _) => format!("{hours} h {minutes} min"),
        (_, _, 1..) => format!("{minutes} min {} s", secs % 60),
        _ => format!("{secs} s"),
    }
}

/// The time of day of a time as RFC 3339 writes it.
pub(crate) fn clock(time: &str) -> &str {
    time.get(11..19).unwrap_or("–")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn numbers_are_written_as_the_dashboard_writes_them() {
        for (number, text) in [
            (0.0, "0"),
            (7.0, "7"),
            (42.46, "42.5"),
            (123.4, "123"),
            (999.6, "1,000"),
            (1_234.0, "1,234"),
            (12_340.0, "12.3k"),
            (4_560_000.0, "4.56M"),
        ] {
            assert_eq!(count(number), text);
        }
        assert_eq!(
            [0.0, 99.94, 123.4, 12_345.0].map(per_sec),
            ["0.0", "99.9", "123", "12.3k"]
        );
        assert_eq!(
            [None, Some(0.25), Some(2.94), Some(1_234.0), Some(12_000.0)].map(latency),
            ["–", "250 µs", "2.9 ms", "1,234 ms", "12.0 s"]
        );
        assert_eq!(
            [42, 200, 18_120, 273_600].map(|secs| lasting(Duration::from_secs(secs))),
            ["42 s", "3 min 20 s", "5 h 2 min", "3 d 4 h"]
        );
        assert_eq!((clock("2026-11-27T09:12:44.018Z"), clock("ü")), ("09:12:44", "–"));
    }
}
