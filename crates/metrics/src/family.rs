/// A metric with all of its label values: what is told of it besides numbers.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Family {
    /// Without the `_total` of a counter, and with its unit at the end.
    pub name: &'static str,
    /// How its numbers are to be read.
    pub kind: Kind,
    /// What it is measured in; `None`: things that are counted.
    pub unit: Option<Unit>,
    /// What it says, in a sentence or two.
    pub help: &'static str,
    /// The labels of every sample, in the order in which values are given.
    pub labels: &'static [&'static str],
}

/// How the numbers of a [`Family`] are to be read.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Kind {
    /// It only grows, until the process ends.
    Counter,
    /// It rises and falls.
    Gauge,
    /// How often something took how long.
    Histogram,
    /// Always 1; the labels are what it says.
    Info,
}

/// A base unit of Prometheus.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Unit {
    /// Seconds.
    Seconds,
    /// Bytes.
    Bytes,
    /// A share, from 0 to 1.
    Ratio,
}

impl Family {
    /// Things that are counted, and only become more.
    #[must_use]
    pub const fn counter(name: &'static str, labels: &'static [&'static str], help: &'static str) -> Self {
        Self::new(name, Kind::Counter, labels, help)
    }

    /// A number that rises and falls.
    #[must_use]
    pub const fn gauge(name: &'static str, labels: &'static [&'static str], help: &'static str) -> Self {
        Self::new(name, Kind::Gauge, labels, help)
    }

    /// How often something took how long, in seconds.
    #[must_use]
    pub const fn histogram(name: &'static str, labels: &'static [&'static str], help: &'static str) -> Self {
        Self::new(name, Kind::Histogram, labels, help).in_unit(Unit::Seconds)
    }

    /// Something that is said by labels.
    #[must_use]
    pub const fn info(name: &'static str, labels: &'static [&'static str], help: &'static str) -> Self {
        Self::new(name, Kind::Info, labels, help)
    }

    /// The same, measured in `unit`, with which its name has to end.
    #[must_use]
    pub const fn in_unit(self, unit: Unit) -> Self {
        Self {
            unit: Some(unit),
            ..self
        }
    }

    const fn new(
        name: &'static str,
        kind: Kind,
        labels: &'static [&'static str],
        help: &'static str,
    ) -> Self {
        Self {
            name,
            kind,
            unit: None,
            help,
            labels,
        }
    }

    /// The name that samples bear, and by which queries ask; a histogram's get a suffix to it.
    #[must_use]
    pub fn sample_name(&self) -> String {
        let suffix = match self.kind {
            Kind::Counter => "_total",
            Kind::Info => "_info",
            Kind::Gauge | Kind::Histogram => "",
        };
        format!("{}{suffix}", self.name)
    }
}

impl Kind {
    /// The word in the reference and in OpenMetrics.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Counter => "counter",
            Self::Gauge => "gauge",
            Self::Histogram => "histogram",
            Self::Info => "info",
        }
    }
}

impl Unit {
    /// The word at the end of names.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Seconds => "seconds",
            Self::Bytes => "bytes",
            Self::Ratio => "ratio",
        }
    }
}
