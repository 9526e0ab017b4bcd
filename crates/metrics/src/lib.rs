//! Numbers that a program tells of itself: counters that cost a request next to nothing, and their exposition in the
//! formats of Prometheus and OpenMetrics.
//!
//! # The key decision: one writer for each number
//!
//! A [`Count`] is written by one thread alone, so that an addition is a load and a store, without the `lock` prefix that
//! an atomic addition takes, and its cache line stays with the core that counts. Whoever wants the sum reads the numbers
//! of all threads. That keeps the price on the side of the one who asks, which is once in fifteen seconds, not ten
//! thousand times a second.
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
//! Who adds what up, how many label values there are, and who is served. It does no I/O.

mod count;
mod exposition;
mod family;
mod histogram;

pub use count::Count;
pub use exposition::{Exposition, Format, Number, Samples};
pub use family::{Family, Kind, Unit};
pub use histogram::{BOUNDS_MICROS, BUCKETS, Buckets, Histogram};
