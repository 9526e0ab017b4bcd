use std::time::Duration;

/// Times, counted by their size to one part in thirty-two: as G. Tene's HdrHistogram has it, with five bits.
#[derive(Clone, PartialEq, Eq, Debug, Default)]
pub struct Histogram {
    counts: Vec<u32>,
    total: u64,
    sum_micros: u64,
}

const BITS: u32 = 5;
const LINEAR: u64 = 1 << BITS;

impl Histogram {
    pub(crate) fn record(&mut self, micros: u64) {
        let slot = slot_of(micros);
        if slot >= self.counts.len() {
            self.counts.resize(slot + 1, 0);
        }
        if let Some(count) = self.counts.get_mut(slot) {
            *count = count.saturating_add(1);
        }
        self.total += 1;
        self.sum_micros = self.sum_micros.saturating_add(micros);
    }

    /// How many there are.
    #[must_use]
    pub const fn len(&self) -> u64 {
        self.total
    }

    /// Whether there are none.
    #[must_use]
    pub const fn is_empty(&self) -> bool {
        self.total == 0
    }

    /// Their mean, exactly; zero where there are none.
    #[must_use]
    pub fn mean(&self) -> Duration {
        Duration::from_micros(self.sum_micros.checked_div(self.total).unwrap_or(0))
    }

    /// The time that so many of a thousand don't exceed, to one part in thirty-two; zero where there are none.
    #[must_use]
    pub fn at_permille(&self, permille: u16) -> Duration {
        let wanted = (self.total * u64::from(permille)).div_ceil(1_000).max(1);
        let mut seen = 0;
        for (slot, count) in self.counts.iter().enumerate() {
            seen += u64::from(*count);
            if seen >= wanted {
                return Duration::from_micros(upper_of(slot));
            }
        }
        Duration::ZERO
    }
}

fn slot_of(micros: u64) -> usize {
    let octave = (u64::BITS - micros.leading_zeros()).saturating_sub(BITS + 1);
    let slot = u64::from(octave) * LINEAR + (micros >> octave);
    usize::try_from(slot).unwrap_or(usize::MAX)
}

/// The largest time of a slot.
fn upper_of(slot: usize) -> u64 {
    let slot = slot as u64;
    if slot < 2 * LINEAR {
        return slot;
    }
    let octave = slot / LINEAR - 1;
    let first = LINEAR + slot % LINEAR;
    ((first + 1) << octave) - 1
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_time_is_told_to_one_part_in_thirty_two() {
        for micros in (0..5_000).chain([70_000, 1_000_000, 3_599_999_999]) {
            let told = upper_of(slot_of(micros));
            assert!(told >= micros && told <= micros + micros / 32, "{micros} {told}");
            assert!(micros == 0 || slot_of(micros) >= slot_of(micros - 1));
        }
    }

    #[test]
    fn quantiles_of_a_thousand_in_a_row() {
        let mut histogram = Histogram::default();
        assert_eq!(histogram.at_permille(500), Duration::ZERO);
        (1..=1_000).for_each(|micros| histogram.record(micros));
        for (permille, micros) in [(500, 500), (900, 900), (990, 990), (1_000, 1_000)] {
            let found = histogram.at_permille(permille).as_micros();
            assert!(
                (micros..=micros + micros / 32).contains(&found),
                "{permille} {found}"
            );
        }
        assert_eq!((histogram.len(), histogram.mean().as_micros()), (1_000, 500));
    }
}
