use edgeproxy_backend::TrafficReport;
use edgeproxy_control::ReportSender;
use edgeproxy_proxy::Reporter;

/// Takes the data plane's reports to the registry's queue.
pub(crate) struct QueueReporter {
    sender: ReportSender,
}

impl QueueReporter {
    pub(crate) fn new(sender: ReportSender) -> Self {
        Self { sender }
    }
}

impl Reporter for QueueReporter {
    fn report(&self, report: TrafficReport) {
        tracing::debug!(backend = %report.id, incarnation = %report.incarnation, signal = ?report.signal, "traffic report");
        self.sender.send(report);
    }
}
