use std::fmt;

/// By how much what a backend reports of its load moves its share: a factor on its weight between a quarter and four,
/// in steps of a quarter of an octave.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Debug, Default)]
pub struct LoadFactor(i8);

/// Two octaves each way.
const STEPS: i8 = 8;
const STEPS_IN_AN_OCTAVE: i8 = 4;

/// `1,000 · 2^(step / 4)`, from the least to the greatest.
const PERMILLE: [u16; 2 * STEPS as usize + 1] = [
    250, 297, 354, 420, 500, 595, 707, 841, 1_000, 1_189, 1_414, 1_682, 2_000, 2_378, 2_828, 3_364, 4_000,
];

impl LoadFactor {
    /// Its weight as it is.
    pub const NONE: Self = Self(0);

    /// The factor that is nearest to `2^octaves`. One that is not a number is none.
    #[must_use]
    pub fn of_octaves(octaves: f64) -> Self {
        let steps = (octaves * f64::from(STEPS_IN_AN_OCTAVE))
            .round()
            .clamp(f64::from(-STEPS), f64::from(STEPS));
        // Between -8 and 8, and 0 for NaN.
        #[allow(clippy::cast_possible_truncation)]
        Self(steps as i8)
    }

    /// The logarithm of the factor, to the base of 2: -2.0 to 2.0.
    #[must_use]
    pub fn octaves(self) -> f64 {
        f64::from(self.0) / f64::from(STEPS_IN_AN_OCTAVE)
    }

    /// The logarithm in quarters of an octave: -8 to 8.
    #[must_use]
    pub const fn steps(self) -> i8 {
        self.0
    }

    /// In thousandths: 250 to 4,000.
    #[must_use]
    pub fn permille(self) -> u16 {
        let at = usize::try_from(self.0 + STEPS).ok();
        at.and_then(|at| PERMILLE.get(at)).copied().unwrap_or(1_000)
    }
}

impl fmt::Display for LoadFactor {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:.2}", f64::from(self.permille()) / 1_000.0)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_step_is_a_quarter_of_an_octave() {
        for step in -STEPS..=STEPS {
            let octaves = f64::from(step) / 4.0;
            let factor = LoadFactor::of_octaves(octaves);
            assert_eq!(factor.octaves().to_bits(), octaves.to_bits());
            assert!(
                (f64::from(factor.permille()) - 1_000.0 * octaves.exp2()).abs() <= 0.5,
                "{factor}"
            );
        }
    }

    #[test]
    fn whatever_is_said_stays_between_a_quarter_and_four() {
        for (octaves, permille) in [
            (f64::NEG_INFINITY, 250),
            (-99.0, 250),
            (f64::NAN, 1_000),
            (0.124, 1_000),
            (0.126, 1_189),
            (f64::INFINITY, 4_000),
        ] {
            assert_eq!(LoadFactor::of_octaves(octaves).permille(), permille, "{octaves}");
        }
        assert_eq!(LoadFactor::NONE.to_string(), "1.00");
    }
}
