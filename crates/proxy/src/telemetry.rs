//! What is told of the traffic: lines of the access log, counts for the metrics, spans, and reports to who decides on backends.

pub(crate) mod access_log;
pub(crate) mod counts;
pub(crate) mod report;
pub(crate) mod traces;
