//! The text that Prometheus reads, in its own format and in OpenMetrics.

use std::fmt::Write as _;

use crate::histogram::{BOUNDS_MICROS, Buckets};
use crate::{Family, Kind};

/// In which format metrics are told.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub enum Format {
    /// Prometheus' text format, version 0.0.4.
    #[default]
    Text,
    /// OpenMetrics 1.0.0.
    OpenMetrics,
}

impl Format {
    /// What `Content-Type` says.
    #[must_use]
    pub const fn content_type(self) -> &'static str {
        match self {
            Self::Text => "text/plain; version=0.0.4; charset=utf-8",
            Self::OpenMetrics => "application/openmetrics-text; version=1.0.0; charset=utf-8",
        }
    }
}

/// Writes families, one after the other, and hands the text on in parts, so that no part has to hold all of it.
pub struct Exposition<'s> {
    format: Format,
    text: String,
    sink: &'s mut dyn FnMut(String) -> bool,
    /// Nobody takes any more.
    ended: bool,
}

/// A part is handed on once it has as many bytes.
const PART: usize = 64 * 1024;

/// A number as a sample has it.
#[derive(Clone, Copy, PartialEq, Debug)]
pub enum Number {
    /// A whole one.
    Whole(u64),
    /// Any other.
    Real(f64),
}

impl From<u64> for Number {
    fn from(number: u64) -> Self {
        Self::Whole(number)
    }
}

impl From<u32> for Number {
    fn from(number: u32) -> Self {
        Self::Whole(number.into())
    }
}

impl From<usize> for Number {
    fn from(number: usize) -> Self {
        Self::Whole(number as u64)
    }
}

impl From<bool> for Number {
    fn from(holds: bool) -> Self {
        Self::Whole(holds.into())
    }
}

impl From<f64> for Number {
    fn from(number: f64) -> Self {
        Self::Real(number)
    }
}

impl<'s> Exposition<'s> {
    /// Writes to `sink`, which gets the text in parts and says whether it takes more.
    pub fn new(format: Format, sink: &'s mut dyn FnMut(String) -> bool) -> Self {
        Self {
            format,
            text: String::with_capacity(PART + PART / 4),
            sink,
            ended: false,
        }
    }

    /// Begins a family, whose samples have to follow before another begins. Each family once.
    pub fn family(&mut self, family: &'static Family) -> Samples<'_, 's> {
        let name = match self.format {
            Format::Text => family.sample_name(),
            Format::OpenMetrics => family.name.to_owned(),
        };
        let kind = match (self.format, family.kind) {
            // What it doesn't know is what it is written as.
            (Format::Text, Kind::Info) => Kind::Gauge,
            (_, kind) => kind,
        };
        let text = &mut self.text;
        // Writing to a String can't fail.
        let _ = writeln!(text, "# TYPE {name} {}", kind.as_str());
        if let (Format::OpenMetrics, Some(unit)) = (self.format, family.unit) {
            let _ = writeln!(text, "# UNIT {name} {}", unit.as_str());
        }
        let _ = write!(text, "# HELP {name} ");
        escape(text, family.help, self.format == Format::OpenMetrics);
        text.push('\n');
        Samples {
            sample_name: family.sample_name(),
            family,
            out: self,
        }
    }

    /// Whether somebody still takes what is written.
    #[must_use]
    pub fn is_wanted(&self) -> bool {
        !self.ended
    }

    /// Writes what is left.
    pub fn finish(mut self) {
        if self.format == Format::OpenMetrics {
            self.text.push_str("# EOF\n");
        }
        self.hand_on();
    }

    fn hand_on(&mut self) {
        let part = std::mem::take(&mut self.text);
        if !self.ended {
            self.ended = !(self.sink)(part);
        }
    }

    fn line_ended(&mut self) {
        if self.text.len() >= PART {
            self.hand_on();
        }
    }
}

/// The samples of a family.
pub struct Samples<'e, 's> {
    family: &'static Family,
    sample_name: String,
    out: &'e mut Exposition<'s>,
}

impl Samples<'_, '_> {
    /// Whether somebody still takes what is written.
    #[must_use]
    pub fn is_wanted(&self) -> bool {
        self.out.is_wanted()
    }

    /// Writes a sample, with a value for each of the family's labels.
    pub fn value(&mut self, labels: &[&str], number: impl Into<Number>) {
        debug_assert_eq!(labels.len(), self.family.labels.len(), "{}", self.family.name);
        self.sample("", labels, None);
        let text = &mut self.out.text;
        let _ = match number.into() {
            Number::Whole(number) => writeln!(text, " {number}"),
            Number::Real(number) => writeln!(text, " {number}"),
        };
        self.out.line_ended();
    }

    /// Writes the samples of a histogram, with a value for each of the family's labels.
    pub fn histogram(&mut self, labels: &[&str], buckets: &Buckets) {
        debug_assert_eq!(self.family.kind, Kind::Histogram, "{}", self.family.name);
        let mut below = 0_u64;
        for (at, count) in buckets.counts.iter().enumerate() {
            below = below.wrapping_add(*count);
            let bound = match BOUNDS_MICROS.get(at) {
                Some(micros) => self.bound(*micros),
                None => "+Inf".to_owned(),
            };
            self.sample("_bucket", labels, Some(&bound));
            let _ = writeln!(self.out.text, " {below}");
        }
        self.sample("_sum", labels, None);
        let _ = writeln!(self.out.text, " {}", seconds(buckets.micros));
        self.sample("_count", labels, None);
        let _ = writeln!(self.out.text, " {below}");
        self.out.line_ended();
    }

    /// OpenMetrics wants a fraction in every bound; Prometheus' own clients write none where there is none.
    fn bound(&self, micros: u64) -> String {
        let seconds = seconds(micros);
        match self.out.format {
            Format::OpenMetrics if micros.is_multiple_of(1_000_000) => format!("{seconds}.0"),
            _ => seconds.to_string(),
        }
    }

    fn sample(&mut self, suffix: &str, labels: &[&str], le: Option<&str>) {
        let text = &mut self.out.text;
        text.push_str(&self.sample_name);
        text.push_str(suffix);
        let all = self.family.labels.iter().zip(labels.iter().copied());
        let mut separator = '{';
        for (name, value) in all
            .map(|(name, value)| (*name, value))
            .chain(le.map(|le| ("le", le)))
        {
            text.push(separator);
            text.push_str(name);
            text.push_str("=\"");
            escape(text, value, true);
            text.push('"');
            separator = ',';
        }
        if separator == ',' {
            text.push('}');
        }
    }
}

/// Two centuries in microseconds are exact to the microsecond.
fn seconds(micros: u64) -> f64 {
    micros as f64 / 1e6
}

fn escape(text: &mut String, value: &str, quotes: bool) {
    for c in value.chars() {
        match c {
            '\\' => text.push_str("\\\\"),
            '\n' => text.push_str("\\n"),
            '"' if quotes => text.push_str("\\\""),
            c => text.push(c),
        }
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;
    use crate::Histogram;

    static TOOK: Family =
        Family::histogram("a_took_seconds", &["app"], "How \"long\" it took,\nall \\ told.");
    static DONE: Family = Family::counter("a_done", &[], "Done.");
    static BUILD: Family = Family::info("a_build", &["version"], "Build.");

    fn written(format: Format, write: impl Fn(&mut Exposition<'_>)) -> String {
        let mut text = String::new();
        let mut sink = |part: String| {
            text.push_str(&part);
            true
        };
        let mut out = Exposition::new(format, &mut sink);
        write(&mut out);
        out.finish();
        text
    }

    #[test]
    fn prometheus_text_names_counters_in_full_and_escapes_help_and_labels() {
        let text = written(Format::Text, |out| {
            out.family(&DONE).value(&[], 7_u64);
            out.family(&BUILD).value(&["1\"\\\n"], 1_u64);
            let histogram = Histogram::default();
            histogram.record(Duration::from_millis(3));
            out.family(&TOOK).histogram(&["x"], &histogram.read());
        });
        assert!(text.starts_with("# TYPE a_done_total counter\n# HELP a_done_total Done.\na_done_total 7\n"));
        assert!(text.contains("# TYPE a_build_info gauge\n"), "{text}");
        assert!(
            text.contains("a_build_info{version=\"1\\\"\\\\\\n\"} 1\n"),
            "{text}"
        );
        assert!(
            text.contains("# HELP a_took_seconds How \"long\" it took,\\nall \\\\ told.\n"),
            "{text}"
        );
        assert!(
            text.contains("a_took_seconds_bucket{app=\"x\",le=\"0.0025\"} 0\n"),
            "{text}"
        );
        assert!(
            text.contains("a_took_seconds_bucket{app=\"x\",le=\"0.005\"} 1\n"),
            "{text}"
        );
        assert!(
            text.contains("a_took_seconds_bucket{app=\"x\",le=\"1\"} 1\n"),
            "{text}"
        );
        assert!(
            text.ends_with(
                "le=\"+Inf\"} 1\na_took_seconds_sum{app=\"x\"} 0.003\na_took_seconds_count{app=\"x\"} 1\n"
            ),
            "{text}"
        );
    }

    #[test]
    fn openmetrics_names_families_tells_units_and_its_end() {
        let text = written(Format::OpenMetrics, |out| {
            out.family(&DONE).value(&[], 7_u64);
            out.family(&BUILD).value(&["1"], 1_u64);
            out.family(&TOOK).histogram(&["x"], &Buckets::default());
        });
        assert!(
            text.starts_with("# TYPE a_done counter\n# HELP a_done Done.\na_done_total 7\n"),
            "{text}"
        );
        assert!(
            text.contains("# TYPE a_build info\n") && text.contains("\na_build_info{"),
            "{text}"
        );
        assert!(text.contains("# UNIT a_took_seconds seconds\n"), "{text}");
        assert!(
            text.contains("le=\"1.0\"") && text.contains("le=\"0.0005\""),
            "{text}"
        );
        assert!(text.ends_with("# EOF\n"), "{text}");
    }

    #[test]
    fn what_is_long_comes_in_parts_and_stops_when_nobody_takes_it() {
        let (mut parts, mut bytes) = (0, 0);
        let mut sink = |part: String| {
            parts += 1;
            bytes += part.len();
            parts < 3
        };
        let mut out = Exposition::new(Format::Text, &mut sink);
        let mut samples = out.family(&BUILD);
        for _ in 0..100_000 {
            samples.value(&["1"], 1_u64);
        }
        assert!(!samples.is_wanted());
        out.finish();
        assert_eq!(parts, 3);
        assert!(bytes < 4 * PART, "{bytes}");
    }
}
