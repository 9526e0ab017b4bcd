//! Whether a request that failed is tried again: the rules are those of whoever picks.

use http::Method;

pub use edgeproxy_balance::retry::RetryBudget;
pub(crate) use edgeproxy_balance::retry::{Allowance, Failed, Next, Request, next};

/// RFC 9110 §9.2.2. An unknown method promises nothing.
pub(crate) fn is_idempotent(method: &Method) -> bool {
    matches!(
        *method,
        Method::GET | Method::HEAD | Method::OPTIONS | Method::TRACE | Method::PUT | Method::DELETE
    )
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn idempotent_methods_are_those_of_rfc_9110() {
        for method in [
            Method::GET,
            Method::HEAD,
            Method::OPTIONS,
            Method::TRACE,
            Method::PUT,
            Method::DELETE,
        ] {
            assert!(is_idempotent(&method), "{method}");
        }
        for method in [
            Method::POST,
            Method::PATCH,
            Method::CONNECT,
            Method::from_bytes(b"PURGE").unwrap(),
        ] {
            assert!(!is_idempotent(&method), "{method}");
        }
    }
}
