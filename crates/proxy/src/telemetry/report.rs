use edgeproxy_backend::TrafficReport;

/// Where the data plane says what its requests mean for a backend: a streak of failures, a trial's outcome.
///
/// Reports are rare. A call is made from a worker in the middle of a request, so it must neither block nor
/// wait: put the report into a bounded queue, and drop and count it when that is full.
pub trait Reporter: Send + Sync + 'static {
    /// Takes one report.
    fn report(&self, report: TrafficReport);
}

impl<F: Fn(TrafficReport) + Send + Sync + 'static> Reporter for F {
    fn report(&self, report: TrafficReport) {
        self(report);
    }
}
