//! The members of an app as an edgeproxy tells them over HTTP: its listing, and its events to know when to read it anew.

use std::net::{IpAddr, SocketAddr};

use bytes::Bytes;
use edgeproxy_backend::{
    AppName, Backend, BackendAddr, BackendId, Country, Limits, Protocol, Region, Weight,
};
use edgeproxy_control::Handle;
use edgeproxy_registry::{AppPolicy, Configuration};
use http::{Request, Response, header};
use http_body_util::{BodyExt, Empty};
use hyper::body::Incoming;
use hyper_util::client::legacy::{Client, connect::HttpConnector};
use hyper_util::rt::TokioExecutor;
use serde::Deserialize;

/// One app's members.
pub(crate) struct Discovery {
    pub(crate) api: SocketAddr,
    pub(crate) app: AppName,
    /// What holds for them here: each client ejects by what it sees itself.
    pub(crate) policy: AppPolicy,
    client: Client<HttpConnector, Empty<Bytes>>,
}

/// What is read of a listing. Fields that others need are passed over.
#[derive(Deserialize)]
struct Listing {
    backends: Vec<Listed>,
    next_cursor: Option<String>,
}

#[derive(Deserialize)]
struct Listed {
    id: String,
    app: String,
    region: String,
    country: String,
    ip: IpAddr,
    port: u16,
    weight: u64,
    soft_limit: u32,
    hard_limit: u32,
    fallback: bool,
    protocol: String,
    state: String,
}

#[derive(Deserialize)]
struct Page {
    last_event_id: String,
}

impl Discovery {
    /// Nothing is asked yet.
    pub(crate) fn new(api: SocketAddr, app: AppName, policy: AppPolicy) -> Self {
        let client = Client::builder(TokioExecutor::new()).build_http();
        Self {
            api,
            app,
            policy,
            client,
        }
    }

    /// Keeps `registry` as the listing is, until the API can't be asked or ends the stream. Whoever calls it again, after a
    /// while, misses nothing: it begins with the whole listing. Until then the members that were known go on.
    ///
    /// # Errors
    /// The API can't be reached, or answers something else.
    pub(crate) async fn follow(&self, registry: &Handle) -> anyhow::Result<()> {
        // In this order, so that what happens in between is an event that is still to come.
        let page = self.get("/api/v1/events?limit=1", "application/json").await?;
        let page: Page = serde_json::from_slice(&page.into_body().collect().await?.to_bytes())?;
        self.read(registry).await?;
        let path = format!(
            "/api/v1/events?app={}&last_event_id={}",
            self.app, page.last_event_id
        );
        let mut events = self.get(&path, "text/event-stream").await?.into_body();
        let mut unread = Vec::new();
        while let Some(frame) = events.frame().await {
            unread.extend_from_slice(frame?.data_ref().map_or(&[][..], |data| data));
            // An event ends with an empty line. Which one it is doesn't matter: the listing says what holds now. Comments
            // and the beginning of the stream have no data.
            let mut something_happened = false;
            while let Some(end) = unread.windows(2).position(|two| two == b"\n\n") {
                let event: Vec<u8> = unread.drain(..end + 2).collect();
                something_happened |= event
                    .split(|byte| *byte == b'\n')
                    .any(|line| line.starts_with(b"data:"));
            }
            if something_happened {
                self.read(registry).await?;
            }
        }
        Ok(())
    }

    /// Reads the listing, and has the registry take it for its configuration: backends that need no heartbeat here, since
    /// their leases are the API's to watch. What stays keeps its ledger, its connections and what it has in flight.
    async fn read(&self, registry: &Handle) -> anyhow::Result<()> {
        let mut backends = Vec::new();
        let mut cursor = None;
        loop {
            let after = cursor
                .map(|cursor: String| format!("&cursor={cursor}"))
                .unwrap_or_default();
            let path = format!("/api/v1/backends?app={}{after}", self.app);
            let answer = self.get(&path, "application/json").await?;
            let listing: Listing = serde_json::from_slice(&answer.into_body().collect().await?.to_bytes())?;
            // Who leaves, or was switched off by an operator, isn't asked any more. Who is ejected there may well be reachable
            // from here.
            let staying = listing
                .backends
                .into_iter()
                .filter(|listed| !matches!(listed.state.as_str(), "draining" | "disabled"));
            for listed in staying {
                backends.push(listed.parsed()?);
            }
            cursor = listing.next_cursor;
            if cursor.is_none() {
                break;
            }
        }
        registry.configure(Configuration {
            others: self.policy,
            apps: Vec::new(),
            backends,
        })?;
        Ok(())
    }

    async fn get(&self, path: &str, accept: &str) -> anyhow::Result<Response<Incoming>> {
        let request = Request::get(format!("http://{}{path}", self.api))
            .header(header::ACCEPT, accept)
            .body(Empty::new())?;
        let response = self.client.request(request).await?;
        anyhow::ensure!(response.status().is_success(), "{path}: {}", response.status());
        Ok(response)
    }
}

impl Listed {
    /// The vocabulary checks it again: an API that others run is a stranger's word.
    fn parsed(&self) -> anyhow::Result<Backend> {
        let mut backend = Backend::new(
            BackendId::parse(&self.id)?,
            AppName::parse(&self.app)?,
            Region::parse(&self.region)?,
            Country::parse(&self.country)?,
            BackendAddr::new(self.ip, self.port)?,
        );
        backend.weight = Weight::new(self.weight)?;
        backend.limits = Limits::new(self.soft_limit, self.hard_limit)?;
        backend.fallback = self.fallback;
        let protocol = Protocol::from_name(&self.protocol);
        backend.protocol = protocol.ok_or_else(|| anyhow::anyhow!("{} is no protocol", self.protocol))?;
        Ok(backend)
    }
}
