//! Metrics: counters and histograms that cost a request next to nothing, and their exposition in the formats of Prometheus and
//! OpenMetrics.
//!
//! # The key decision: one writer for each number
//!
//! A [`Count`] is written by a single thread. So an addition is a plain load and store, without the `lock` prefix of an atomic
//! addition, and the cache line stays with the core that counts. Whoever wants the sum adds up the numbers of all threads. The
//! cost is on the side of the scrape, which comes every few seconds, and not of the requests, of which there are thousands in
//! each.
//!
//! ```
//! use edgeproxy_metrics::{Count, Exposition, Family, Format};
//!
//! static REQUESTS: Family = Family::counter("shop_requests", &["worker"], "Requests that were answered.");
//!
//! let requests = Count::default();
//! requests.add(2);
//!
//! let mut text = String::new();
//! let mut whole = |part: String| {
//!     text.push_str(&part);
//!     true
//! };
//! let mut out = Exposition::new(Format::Text, &mut whole);
//! out.family(&REQUESTS).value(&["0"], requests.get());
//! out.finish();
//! assert!(text.ends_with("shop_requests_total{worker=\"0\"} 2\n"), "{text}");
//! ```
//!
//! # What it leaves to the caller
//!
//! Adding up the numbers of several threads, bounding the number of label values, and serving the text: it does no I/O.

mod count;
mod exposition;
mod family;
mod histogram;

pub use count::Count;
pub use exposition::{Exposition, Format, Number, Samples};
pub use family::{Family, Kind, Unit};
pub use histogram::{BOUNDS_MICROS, BUCKETS, Buckets, Histogram};
