use std::net::SocketAddr;

use anyhow::Result;
use bytes::Bytes;
use http::{Method, Request};
use http_body_util::Full;
use serde_json::{Map, Value, json};

use crate::client::request;
use crate::{Client, Reply};

/// The body of a registration.
#[derive(Clone, Debug)]
pub struct Registration(Map<String, Value>);

impl Registration {
    /// The required fields, in the region `eu`.
    #[must_use]
    pub fn new(id: &str, app: &str, addr: SocketAddr) -> Self {
        let mut fields = Map::new();
        fields.insert("id".to_owned(), json!(id));
        fields.insert("app".to_owned(), json!(app));
        fields.insert("region".to_owned(), json!("eu"));
        fields.insert("ip".to_owned(), json!(addr.ip().to_string()));
        fields.insert("port".to_owned(), json!(addr.port()));
        Self(fields)
    }

    /// The same with a field set.
    #[must_use]
    pub fn with(mut self, field: &str, value: impl Into<Value>) -> Self {
        self.0.insert(field.to_owned(), value.into());
        self
    }

    /// The same without a field.
    #[must_use]
    pub fn without(mut self, field: &str) -> Self {
        self.0.remove(field);
        self
    }

    /// The body.
    #[must_use]
    pub fn to_json(&self) -> String {
        Value::Object(self.0.clone()).to_string()
    }
}

/// A client of the API, over one kept-alive connection.
pub struct Api {
    client: Client,
    host: String,
}

impl Api {
    /// A client without a connection yet.
    #[must_use]
    pub fn new(addr: SocketAddr) -> Self {
        Self {
            client: Client::new(addr),
            host: addr.to_string(),
        }
    }

    /// Registers a new backend.
    ///
    /// # Panics
    /// If the answer is not 201.
    pub async fn register_new(&mut self, registration: &Registration) -> Value {
        self.register(registration).await.expect(201).json()
    }

    /// Registers, and returns whatever the answer is.
    ///
    /// # Panics
    /// If there is none.
    pub async fn register(&mut self, registration: &Registration) -> Reply {
        self.post("/api/v1/register", registration.to_json()).await
    }

    /// A heartbeat without a body.
    ///
    /// # Panics
    /// If there is no answer.
    pub async fn heartbeat(&mut self, id: &str) -> Reply {
        self.call(request(
            Method::POST,
            &self.host,
            &format!("/api/v1/heartbeat/{id}"),
            "",
        ))
        .await
    }

    /// One backend.
    ///
    /// # Panics
    /// If there is no answer.
    pub async fn backend(&mut self, id: &str) -> Reply {
        self.get(&format!("/api/v1/backends/{id}")).await
    }

    /// The state of a backend that is there.
    ///
    /// # Panics
    /// If it isn't.
    pub async fn state(&mut self, id: &str) -> String {
        let backend = self.backend(id).await.expect(200).json();
        backend["state"]
            .as_str()
            .expect("a backend has a state")
            .to_owned()
    }

    /// Every backend's id, page by page, and the `total` that the first page names.
    ///
    /// # Panics
    /// If a page can't be had or read.
    pub async fn ids(&mut self) -> (Vec<String>, u64) {
        let mut ids = Vec::new();
        let mut total = None;
        let mut path = "/api/v1/backends".to_owned();
        loop {
            let page = self.get(&path).await.expect(200).json();
            let backends = page["backends"].as_array().expect("a page has backends");
            ids.extend(
                backends
                    .iter()
                    .map(|backend| backend["id"].as_str().expect("a backend has an id").to_owned()),
            );
            total = total.or(page["total"].as_u64());
            match page["next_cursor"].as_str() {
                Some(cursor) => path = format!("/api/v1/backends?cursor={cursor}"),
                None => return (ids, total.expect("a page has a total")),
            }
        }
    }

    /// Deregisters; `query` begins with `?` or is empty.
    ///
    /// # Panics
    /// If there is no answer.
    pub async fn delete(&mut self, id: &str, query: &str) -> Reply {
        self.call(request(
            Method::DELETE,
            &self.host,
            &format!("/api/v1/backends/{id}{query}"),
            "",
        ))
        .await
    }

    /// An operator's change.
    ///
    /// # Panics
    /// If there is no answer.
    pub async fn patch(&mut self, id: &str, change: &Value) -> Reply {
        let path = format!("/api/v1/backends/{id}");
        let mut request = request(Method::PATCH, &self.host, &path, change.to_string());
        request.headers_mut().insert("content-type", json_type());
        self.call(request).await
    }

    /// A GET of any path.
    ///
    /// # Panics
    /// If there is no answer.
    pub async fn get(&mut self, path: &str) -> Reply {
        self.call(request(Method::GET, &self.host, path, "")).await
    }

    /// A POST of a body that claims to be JSON.
    ///
    /// # Panics
    /// If there is no answer.
    pub async fn post(&mut self, path: &str, body: impl Into<Bytes>) -> Reply {
        let mut request = request(Method::POST, &self.host, path, body);
        request.headers_mut().insert("content-type", json_type());
        self.call(request).await
    }

    /// Any request.
    ///
    /// # Errors
    /// If there is no answer.
    pub async fn send(&mut self, request: Request<Full<Bytes>>) -> Result<Reply> {
        self.client.send(request).await
    }

    async fn call(&mut self, request: Request<Full<Bytes>>) -> Reply {
        let what = format!("{} {}", request.method(), request.uri());
        match self.client.send(request).await {
            Ok(reply) => reply,
            Err(error) => panic!("{what}: {error:#}"),
        }
    }
}

fn json_type() -> http::HeaderValue {
    http::HeaderValue::from_static("application/json")
}
