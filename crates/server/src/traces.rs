//! Requests told of as spans, in the words of OpenTelemetry's conventions for HTTP.

#[cfg(feature = "otlp")]
mod told;

#[cfg(feature = "otlp")]
use std::sync::Arc;

#[cfg(feature = "otlp")]
use edgeproxy_config as config;
use edgeproxy_config::Settings;
use edgeproxy_proxy as proxy;

use crate::build_error::BuildError;

/// Where workers hand on what became of requests. A clone is the same.
#[derive(Clone)]
pub(crate) struct Traces {
    #[cfg(feature = "otlp")]
    queue: edgeproxy_traces::Queue<proxy::RequestSpan>,
    #[cfg(not(feature = "otlp"))]
    never: std::convert::Infallible,
}

/// The thread that sends them.
#[derive(Default)]
pub(crate) struct Exporter {
    #[cfg(feature = "otlp")]
    exporter: Option<edgeproxy_traces::Exporter>,
}

impl Traces {
    /// Begins to send, if the settings name a collector. Nobody waits for that one.
    ///
    /// # Errors
    /// When the settings can't be used, a thread can't be started, or this program is built without it.
    #[cfg(feature = "otlp")]
    pub(crate) fn open(settings: &Settings) -> Result<(Option<Self>, Exporter), BuildError> {
        let Some(url) = &settings.traces_url else {
            return Ok((None, Exporter::default()));
        };
        let tls = url.is_encrypted().then(|| crate::tls::of_collector(settings));
        let collector = edgeproxy_traces::Collector {
            host: url.host().to_owned(),
            port: url.port(),
            path: url.path().to_owned(),
            tls: tls.transpose()?,
        };
        let origin = told::origin(settings)?;
        let (queue, exporter) = edgeproxy_traces::open(collector, origin, told::spans)?;
        let exporter = Exporter {
            exporter: Some(exporter),
        };
        Ok((Some(Self { queue }), exporter))
    }

    /// As above, in a build without it.
    ///
    /// # Errors
    /// When the settings name a collector.
    #[cfg(not(feature = "otlp"))]
    pub(crate) fn open(settings: &Settings) -> Result<(Option<Self>, Exporter), BuildError> {
        match &settings.traces_url {
            None => Ok((None, Exporter::default())),
            Some(url) => Err(BuildError::Traces(format!(
                "nothing can be sent to {url}: this program is built without that; expected no traces_url, or a build \
                 with the feature otlp"
            ))),
        }
    }

    /// Which requests are told of by those settings.
    #[cfg(feature = "otlp")]
    pub(crate) fn tracing(&self, settings: &Settings) -> proxy::Tracing {
        proxy::Tracing {
            sink: Arc::new(self.clone()),
            sample_per_million: settings.traces_sample.thousandths() * 1_000,
            follow: match settings.traces_follow {
                config::TracesFollow::Nobody => proxy::Follow::Nobody,
                config::TracesFollow::Trusted => proxy::Follow::Trusted,
                config::TracesFollow::Everybody => proxy::Follow::Everybody,
            },
        }
    }

    #[cfg(not(feature = "otlp"))]
    pub(crate) fn tracing(&self, _: &Settings) -> proxy::Tracing {
        match self.never {}
    }

    /// Spans that the collector has taken so far, and those that it never will.
    #[cfg(feature = "otlp")]
    pub(crate) fn counts(&self) -> (u64, u64) {
        (self.queue.sent(), self.queue.dropped())
    }

    #[cfg(not(feature = "otlp"))]
    pub(crate) fn counts(&self) -> (u64, u64) {
        match self.never {}
    }
}

impl proxy::SpanSink for Traces {
    #[cfg(feature = "otlp")]
    fn take(&self, requests: Vec<proxy::RequestSpan>) {
        let spans = requests.iter().map(|request| 1 + request.attempts.len());
        let spans = spans.sum::<usize>() as u64;
        self.queue.push(requests, spans);
    }

    #[cfg(not(feature = "otlp"))]
    fn take(&self, _: Vec<proxy::RequestSpan>) {
        match self.never {}
    }
}

impl Exporter {
    /// Sends what is left, two seconds at most, and ends.
    pub(crate) async fn finish(self) {
        #[cfg(feature = "otlp")]
        if let Some(exporter) = self.exporter {
            let finished = tokio::task::spawn_blocking(|| exporter.finish());
            if finished.await.is_err() {
                tracing::error!("the thread that sends spans could not be waited for");
            }
        }
    }
}
