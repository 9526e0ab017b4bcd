use crate::policy::HashKey;

/// Which backends are picked among, and how.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum Picking {
    /// All of them.
    Anywhere(Picker),
    /// Those of the nearest tier that has room.
    NearestFirst(Picker),
}

/// How one of several backends is picked.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum Picker {
    /// Each in turn.
    RoundRobin,
    /// In proportion to weight.
    Weighted,
    /// The one with the fewest requests under way for its weight.
    LeastConnections,
    /// The one with the lower expected latency of two drawn at random.
    Ewma,
    /// The one that the key leads to, while it has room.
    Hash(HashKey),
}

impl Picking {
    const AFFINITY: &'static str = "region_affinity";
    pub(super) const INSIDE: &'static [&'static str] =
        &["round_robin", "weighted", "least_connections", "ewma", "hash"];
    pub(super) const NAMES: &'static [&'static str] = &[
        "round_robin",
        "weighted",
        "least_connections",
        "ewma",
        "hash",
        Self::AFFINITY,
    ];

    /// How it picks among those that it picks among.
    #[must_use]
    pub const fn picker(&self) -> &Picker {
        match self {
            Self::Anywhere(picker) | Self::NearestFirst(picker) => picker,
        }
    }

    /// The algorithm's name in the configuration.
    #[must_use]
    pub const fn as_str(&self) -> &'static str {
        match self {
            Self::Anywhere(picker) => picker.as_str(),
            Self::NearestFirst(_) => Self::AFFINITY,
        }
    }

    /// `inside` counts with `region_affinity` alone; its default is the fewest requests under way.
    pub(super) fn named(algorithm: &str, inside: Option<&str>, key: &HashKey) -> Self {
        if algorithm == Self::AFFINITY {
            Self::NearestFirst(Picker::named(inside.unwrap_or("least_connections"), key))
        } else {
            Self::Anywhere(Picker::named(algorithm, key))
        }
    }
}

impl Picker {
    /// The name in the configuration.
    #[must_use]
    pub const fn as_str(&self) -> &'static str {
        match self {
            Self::RoundRobin => "round_robin",
            Self::Weighted => "weighted",
            Self::LeastConnections => "least_connections",
            Self::Ewma => "ewma",
            Self::Hash(_) => "hash",
        }
    }

    /// The names have been checked by their kind.
    fn named(name: &str, key: &HashKey) -> Self {
        match name {
            "weighted" => Self::Weighted,
            "least_connections" => Self::LeastConnections,
            "ewma" => Self::Ewma,
            "hash" => Self::Hash(key.clone()),
            _ => Self::RoundRobin,
        }
    }
}
