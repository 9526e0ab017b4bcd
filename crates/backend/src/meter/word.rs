use super::Gate;

/// Gate, streak and epoch in one word, so that they change together or not at all.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(super) struct Word(u64);

const GATE_BITS: u32 = 3;
const STREAK_BITS: u32 = 29;
const STREAK_MAX: u32 = (1 << STREAK_BITS) - 1;
const EPOCH_SHIFT: u32 = GATE_BITS + STREAK_BITS;

impl Word {
    pub(super) const NEW: Self = Self(Gate::Open as u64);

    pub(super) const fn from_bits(bits: u64) -> Self {
        Self(bits)
    }

    pub(super) const fn bits(self) -> u64 {
        self.0
    }

    #[inline]
    pub(super) const fn gate(self) -> Gate {
        match self.0 & ((1 << GATE_BITS) - 1) {
            0 => Gate::Open,
            1 => Gate::Excluded,
            2 => Gate::Trial,
            3 => Gate::TrialBusy,
            4 => Gate::Unhealthy,
            5 => Gate::Closed,
            _ => Gate::Cut,
        }
    }

    #[inline]
    #[allow(clippy::cast_possible_truncation)] // masked to 29 bits
    pub(super) const fn streak(self) -> u32 {
        (self.0 >> GATE_BITS) as u32 & STREAK_MAX
    }

    #[inline]
    #[allow(clippy::cast_possible_truncation)] // 32 bits are left
    pub(super) const fn epoch(self) -> u32 {
        (self.0 >> EPOCH_SHIFT) as u32
    }

    pub(super) const fn with_gate(self, gate: Gate) -> Self {
        Self((self.0 & !((1 << GATE_BITS) - 1)) | gate as u64)
    }

    pub(super) const fn with_streak(self, streak: u32) -> Self {
        let streak = if streak > STREAK_MAX { STREAK_MAX } else { streak };
        Self((self.0 & !((STREAK_MAX as u64) << GATE_BITS)) | (streak as u64) << GATE_BITS)
    }

    pub(super) const fn next_epoch(self) -> Self {
        // The epoch sits on top, so overflow falls off the end of the word.
        Self(self.0.wrapping_add(1 << EPOCH_SHIFT))
    }

    /// Open and without a failure, in that epoch: what a success finds nearly always.
    #[inline]
    pub(super) const fn is_clean(self, epoch: u32) -> bool {
        self.0 == (epoch as u64) << EPOCH_SHIFT | Gate::Open as u64
    }
}
