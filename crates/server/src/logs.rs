//! The logs of lines: who changed what, and what was asked for.

use std::sync::Arc;
use std::time::{Duration, SystemTime};

use edgeproxy_api as api;
use edgeproxy_config as config;
use edgeproxy_config::Settings;
use edgeproxy_lines::{Log, Queue, Target, Writer, open};
use edgeproxy_proxy as proxy;

use crate::build_error::BuildError;

/// Every log that is on.
pub(crate) struct Logs {
    pub(crate) audit: Option<api::Audit>,
    pub(crate) access: Option<AccessLines>,
    pub(crate) writers: Writers,
}

/// Where workers hand on what they have gathered for the access log. A clone is the same.
#[derive(Clone)]
pub(crate) struct AccessLines(Queue);

/// The threads that write.
#[derive(Default)]
pub(crate) struct Writers(Vec<Writer>);

/// Parts of some 32 KiB each, so that 8 MiB may wait: a quarter of a second of 100,000 requests each second.
const WAITING: usize = 256;

const ACCESS_JSON: Log = Log {
    name: "access log",
    waiting: WAITING,
    lost: |lines| serde_json::json!({ "time": now(), "lost_lines": lines }).to_string(),
};

const ACCESS_TEXT: Log = Log {
    name: "access log",
    waiting: WAITING,
    lost: |lines| format!("{} lost_lines={lines}", now()),
};

fn now() -> String {
    humantime::format_rfc3339_micros(SystemTime::now()).to_string()
}

impl Logs {
    /// Opens what the settings ask for.
    ///
    /// # Errors
    /// When a file can't be written to, or a thread can't be started.
    pub(crate) fn open(settings: &Settings) -> Result<Self, BuildError> {
        let mut writers = Writers::default();
        let audit = audit(settings, &mut writers)?;
        let access = access(settings, &mut writers)?;
        Ok(Self {
            audit,
            access,
            writers,
        })
    }
}

fn audit(settings: &Settings, writers: &mut Writers) -> Result<Option<api::Audit>, BuildError> {
    let target = match &settings.audit_log {
        _ if !settings.api_enabled => return Ok(None),
        config::AuditLog::Off => return Ok(None),
        config::AuditLog::Stderr => Target::Stderr,
        config::AuditLog::File(path) => Target::File(path.clone()),
    };
    let log = settings.audit_log.clone();
    let (audit, writer) = api::Audit::open(target).map_err(|source| BuildError::Audit { log, source })?;
    writers.0.push(writer);
    Ok(Some(audit))
}

fn access(settings: &Settings, writers: &mut Writers) -> Result<Option<AccessLines>, BuildError> {
    let target = match &settings.access_log {
        config::AccessLog::Off => return Ok(None),
        config::AccessLog::Stdout => Target::Stdout,
        config::AccessLog::File(path) => Target::File(path.clone()),
    };
    let log = match settings.access_log_format {
        config::AccessLogFormat::Json => &ACCESS_JSON,
        config::AccessLogFormat::Text => &ACCESS_TEXT,
    };
    let (queue, writer) = open(target, log).map_err(|source| BuildError::Access {
        log: settings.access_log.clone(),
        source,
    })?;
    writers.0.push(writer);
    Ok(Some(AccessLines(queue)))
}

impl AccessLines {
    /// How requests are written down by those settings.
    pub(crate) fn log(&self, settings: &Settings) -> proxy::AccessLog {
        proxy::AccessLog {
            sink: Arc::new(self.clone()),
            format: match settings.access_log_format {
                config::AccessLogFormat::Json => proxy::LineFormat::Json,
                config::AccessLogFormat::Text => proxy::LineFormat::Text,
            },
            sample_per_million: settings.access_log_sample.thousandths() * 1_000,
            with_query: settings.access_log_query,
        }
    }

    /// Lines that could not be written so far.
    pub(crate) fn dropped(&self) -> u64 {
        self.0.lost()
    }
}

impl proxy::LineSink for AccessLines {
    fn take(&self, lines: Vec<u8>, count: u32) {
        self.0.push(lines, count.into());
    }
}

impl Writers {
    /// Writes what is left, and ends.
    pub(crate) async fn finish(self) {
        for writer in self.0 {
            let written = tokio::task::spawn_blocking(|| writer.finish());
            // A disk that takes nothing keeps nobody from ending.
            if tokio::time::timeout(GRACE, written).await.is_err() {
                tracing::warn!("the last lines of a log could not be written in time");
            }
        }
    }
}

/// How long what is left of a log may take.
const GRACE: Duration = Duration::from_secs(1);
