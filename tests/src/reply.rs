use bytes::Bytes;
use http::{HeaderMap, StatusCode, Version};
use serde_json::Value;

/// A whole answer, whoever asked for it.
#[derive(Clone, Debug)]
pub struct Reply {
    /// The protocol that it came by.
    pub version: Version,
    /// Its status.
    pub status: StatusCode,
    /// Its headers.
    pub headers: HeaderMap,
    /// Its body, without its framing.
    pub body: Bytes,
}

impl Reply {
    /// The body as text.
    ///
    /// # Panics
    /// If it is not UTF-8.
    #[must_use]
    pub fn text(&self) -> &str {
        std::str::from_utf8(&self.body).expect("the body is UTF-8")
    }

    /// The body as JSON.
    ///
    /// # Panics
    /// If it is not.
    #[must_use]
    pub fn json(&self) -> Value {
        match serde_json::from_slice(&self.body) {
            Ok(value) => value,
            Err(error) => panic!("not JSON ({error}): {self:?}"),
        }
    }

    /// A header as text; `None` if there is none.
    ///
    /// # Panics
    /// If it is there more than once, or is no text.
    #[must_use]
    pub fn header(&self, name: &str) -> Option<&str> {
        let mut values = self.headers.get_all(name).iter();
        let value = values.next()?;
        assert!(
            values.next().is_none(),
            "{name} is there more than once: {:?}",
            self.headers
        );
        Some(value.to_str().expect("the header is text"))
    }

    /// This reply, which has to have that status.
    ///
    /// # Panics
    /// If it has another.
    #[track_caller]
    #[must_use]
    pub fn expect(self, status: u16) -> Self {
        assert_eq!(self.status.as_u16(), status, "{self:?}");
        self
    }

    /// The body of an error of the API or the proxy: a problem document (RFC 9457) with a sentence.
    ///
    /// # Panics
    /// If the status is another, or it is no such document.
    #[track_caller]
    #[must_use]
    pub fn problem(&self, status: u16) -> Value {
        assert_eq!(self.status.as_u16(), status, "{self:?}");
        assert_eq!(
            self.header("content-type"),
            Some("application/problem+json"),
            "{self:?}"
        );
        let body = self.json();
        let sentence = body["error"].as_str().unwrap_or_default();
        assert!(
            !sentence.is_empty() && !sentence.contains('\n'),
            "`error` is one short sentence: {body}"
        );
        body
    }
}
