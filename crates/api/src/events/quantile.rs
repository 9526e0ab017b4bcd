use edgeproxy_metrics::{BOUNDS_MICROS, BUCKETS};

/// Fewer than half a request is what has faded away.
const LEAST: f64 = 0.5;

/// The time in ms that the share `of` of them took at the most, by how many fell into each bucket of
/// [`BOUNDS_MICROS`]. Within a bucket they are taken to be spread evenly; of the last one, which has no end, its beginning
/// is told. `None` if there is nothing to go by.
pub(super) fn quantile_ms(counts: &[f64; BUCKETS], of: f64) -> Option<f64> {
    let total: f64 = counts.iter().sum();
    if total < LEAST {
        return None;
    }
    let mut wanted = total * of;
    let mut from = 0.0;
    for (count, bound) in counts.iter().zip(BOUNDS_MICROS) {
        let to = bound as f64 / 1_000.0;
        if *count > 0.0 && wanted <= *count {
            return Some(rounded(from + (to - from) * wanted / count));
        }
        wanted -= count;
        from = to;
    }
    Some(from)
}

/// Three digits: there is no more in it.
fn rounded(ms: f64) -> f64 {
    let mut unit = 0.001;
    while unit * 1_000.0 <= ms {
        unit *= 10.0;
    }
    ((ms / unit).round() * unit * 1_000.0).round() / 1_000.0
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_quantile_lies_where_its_bucket_does() {
        let mut counts = [0.0; BUCKETS];
        assert_eq!(quantile_ms(&counts, 0.5), None);
        // 2.5 to 5 ms.
        counts[3] = 98.0;
        assert_eq!(quantile_ms(&counts, 0.5), Some(3.75));
        assert_eq!(quantile_ms(&counts, 1.0), Some(5.0));
        // 100 to 250 ms.
        counts[8] = 2.0;
        assert_eq!(quantile_ms(&counts, 0.99), Some(175.0));
        counts[BUCKETS - 1] = 1_000.0;
        assert_eq!(quantile_ms(&counts, 0.99), Some(60_000.0));
    }

    #[test]
    fn three_digits_are_told() {
        for (ms, told) in [
            (0.123_45, 0.123),
            (1.2345, 1.23),
            (123.45, 123.0),
            (1_234.5, 1_230.0),
        ] {
            assert!((rounded(ms) - told).abs() < 1e-9, "{ms} {}", rounded(ms));
        }
    }
}
