//! Requests to the API, as anybody may make them.

use std::net::SocketAddr;

use anyhow::Result;
use edgeproxy_tests::{Client, Registration, Reply};
use http::{Method, Request};
use http_body_util::Full;

/// A caller with a connection of its own.
pub(crate) struct Caller {
    client: Client,
    host: String,
    token: Option<String>,
}

impl Caller {
    pub(crate) fn new(api: SocketAddr, token: Option<String>) -> Self {
        Self {
            client: Client::new(api),
            host: api.to_string(),
            token,
        }
    }

    pub(crate) async fn call(
        &mut self,
        method: Method,
        path: &str,
        body: impl Into<Vec<u8>>,
    ) -> Result<Reply> {
        self.ask(method, path, &[("content-type", "application/json")], body)
            .await
    }

    /// With these fields, of which `host` takes the place of the right one.
    pub(crate) async fn ask(
        &mut self,
        method: Method,
        path: &str,
        fields: &[(&str, &str)],
        body: impl Into<Vec<u8>>,
    ) -> Result<Reply> {
        let mut request = Request::builder().method(method).uri(path);
        if !fields.iter().any(|(name, _)| *name == "host") {
            request = request.header("host", &self.host);
        }
        if let Some(token) = &self.token {
            request = request.header("authorization", format!("Bearer {token}"));
        }
        for (name, value) in fields {
            request = request.header(*name, *value);
        }
        let body: Vec<u8> = body.into();
        self.client.send(request.body(Full::from(body))?).await
    }

    pub(crate) async fn register(&mut self, registration: &Registration) -> Result<Reply> {
        self.call(Method::POST, "/api/v1/register", registration.to_json())
            .await
    }

    pub(crate) async fn get(&mut self, path: &str) -> Result<Reply> {
        self.call(Method::GET, path, "").await
    }
}
