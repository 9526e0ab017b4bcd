use std::net::IpAddr;
use std::num::NonZeroU16;
use std::time::Duration;

use edgeproxy_backend::{AppName, BackendId, Country, Limits, Metadata, Protocol, Region, Weight};
use serde::Serialize;

/// What a backend says of itself. What is `None` is the server's choice.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Registration {
    /// Who it is, unique among all backends. The same after a restart, so that it takes its own place again.
    pub id: BackendId,
    /// The app that it serves.
    pub app: AppName,
    /// The region that it runs in.
    pub region: Region,
    /// The country that it runs in. Default: the region's.
    pub country: Option<Country>,
    /// Where proxies reach it. Default: the address from which this machine reaches the API, found out at the
    /// first registration and kept.
    pub ip: Option<IpAddr>,
    /// The port that it serves on.
    pub port: NonZeroU16,
    /// Its share of traffic.
    pub weight: Option<Weight>,
    /// How many requests it takes at a time.
    pub limits: Option<Limits>,
    /// Whether it is used only when every other backend of the app is out.
    pub fallback: bool,
    /// What it speaks.
    pub protocol: Protocol,
    /// For how long it counts as alive after a heartbeat; whole seconds. The server says how often those come.
    pub ttl: Option<Duration>,
    /// What else it says about itself.
    pub metadata: Metadata,
}

impl Registration {
    /// A backend that leaves everything else to the server.
    #[must_use]
    pub fn new(id: BackendId, app: AppName, region: Region, port: NonZeroU16) -> Self {
        Self {
            id,
            app,
            region,
            country: None,
            ip: None,
            port,
            weight: None,
            limits: None,
            fallback: false,
            protocol: Protocol::default(),
            ttl: None,
            metadata: Metadata::default(),
        }
    }

    /// The body of a registration: `POST /api/v1/register`, as `application/json`. Proxies reach the backend at `ip`.
    #[must_use]
    pub fn to_json(&self, ip: IpAddr) -> Vec<u8> {
        let wire = Wire {
            id: &self.id,
            app: &self.app,
            region: self.region,
            country: self.country,
            ip: ip.to_canonical(),
            port: self.port,
            weight: self.weight,
            soft_limit: self.limits.map(Limits::soft),
            hard_limit: self.limits.map(Limits::hard),
            fallback: self.fallback,
            protocol: self.protocol.as_str(),
            ttl_secs: self.ttl.map(|ttl| ttl.as_secs()),
            metadata: &self.metadata,
        };
        // Text and numbers alone: this can't fail.
        serde_json::to_vec(&wire).unwrap_or_default()
    }
}

/// The form of a registration on the wire.
#[derive(Serialize)]
struct Wire<'a> {
    id: &'a BackendId,
    app: &'a AppName,
    region: Region,
    #[serde(skip_serializing_if = "Option::is_none")]
    country: Option<Country>,
    ip: IpAddr,
    port: NonZeroU16,
    #[serde(skip_serializing_if = "Option::is_none")]
    weight: Option<Weight>,
    #[serde(skip_serializing_if = "Option::is_none")]
    soft_limit: Option<u32>,
    #[serde(skip_serializing_if = "Option::is_none")]
    hard_limit: Option<u32>,
    fallback: bool,
    protocol: &'static str,
    #[serde(skip_serializing_if = "Option::is_none")]
    ttl_secs: Option<u64>,
    #[serde(skip_serializing_if = "is_empty")]
    metadata: &'a Metadata,
}

fn is_empty(metadata: &Metadata) -> bool {
    metadata.iter().next().is_none()
}

/// What a backend says of its load with every heartbeat. What is `None` is not said.
#[derive(Clone, Copy, PartialEq, Debug, Default, Serialize)]
pub struct LoadReport {
    /// Requests that it has under way, from whomever.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub in_flight: Option<u32>,
    /// How busy it is, between 0.0 and 1.0.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub utilization: Option<f64>,
    /// The share of traffic that it wants from now on.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub weight: Option<Weight>,
}

/// The body of a heartbeat.
#[derive(Serialize)]
struct Beat {
    #[serde(flatten)]
    report: LoadReport,
    #[serde(skip_serializing_if = "Option::is_none")]
    draining: Option<bool>,
}

/// The body of a heartbeat, `POST /api/v1/heartbeat/{id}`: nothing where there is nothing to say.
#[must_use]
pub fn heartbeat_body(report: LoadReport, draining: bool) -> Vec<u8> {
    let draining = draining.then_some(true);
    if report == LoadReport::default() && draining.is_none() {
        return Vec::new();
    }
    // Numbers alone: this can't fail. A number that is none becomes null, which the server refuses in words.
    serde_json::to_vec(&Beat { report, draining }).unwrap_or_default()
}

#[cfg(test)]
mod tests {
    use std::net::Ipv4Addr;

    use super::*;

    fn registration() -> Registration {
        Registration::new(
            BackendId::parse("b-1").unwrap(),
            AppName::parse("shop").unwrap(),
            Region::parse("eu").unwrap(),
            NonZeroU16::new(8080).unwrap(),
        )
    }

    fn text(bytes: Vec<u8>) -> String {
        String::from_utf8(bytes).unwrap()
    }

    #[test]
    fn what_is_left_to_the_server_is_not_sent() {
        assert_eq!(
            text(registration().to_json(Ipv4Addr::LOCALHOST.into())),
            r#"{"id":"b-1","app":"shop","region":"eu","ip":"127.0.0.1","port":8080,"fallback":false,"protocol":"http1"}"#
        );
    }

    #[test]
    fn everything_that_is_set_is_sent() {
        let full = Registration {
            country: Country::parse("de").ok(),
            weight: Weight::new(3).ok(),
            limits: Limits::new(5, 6).ok(),
            fallback: true,
            protocol: Protocol::H2c,
            ttl: Some(Duration::from_secs(30)),
            metadata: Metadata::new([("zone".to_owned(), "a".to_owned())]).unwrap(),
            ..registration()
        };
        assert_eq!(
            text(full.to_json("::ffff:10.0.0.1".parse().unwrap())),
            r#"{"id":"b-1","app":"shop","region":"eu","country":"DE","ip":"10.0.0.1","port":8080,"weight":3,"soft_limit":5,"hard_limit":6,"fallback":true,"protocol":"h2c","ttl_secs":30,"metadata":{"zone":"a"}}"#
        );
    }

    #[test]
    fn a_heartbeat_with_nothing_to_say_has_no_body() {
        assert!(heartbeat_body(LoadReport::default(), false).is_empty());
        assert_eq!(
            text(heartbeat_body(LoadReport::default(), true)),
            r#"{"draining":true}"#
        );
        let report = LoadReport {
            in_flight: Some(3),
            utilization: Some(0.5),
            weight: Weight::new(1).ok(),
        };
        assert_eq!(
            text(heartbeat_body(report, false)),
            r#"{"in_flight":3,"utilization":0.5,"weight":1}"#
        );
    }
}
