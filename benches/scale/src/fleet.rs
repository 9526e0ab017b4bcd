//! Backends that are made up.

use edgeproxy_backend::{AppName, Backend, BackendAddr, BackendId, Country, Region};
use edgeproxy_registry::Registration;

/// The id of a number.
pub(crate) fn id(n: u32) -> BackendId {
    BackendId::parse(&format!("backend-eu-{n:07}")).expect("a valid id")
}

/// The backend of a number, in one of so many apps.
pub(crate) fn backend(n: u32, apps: u32) -> Backend {
    let [_, a, b, c] = n.to_be_bytes();
    Backend::new(
        id(n),
        AppName::parse(&format!("app-{}", n % apps)).expect("a valid name"),
        Region::parse("eu").expect("a valid region"),
        Country::parse("DE").expect("a valid country"),
        BackendAddr::new([10, a, b, c].into(), 8080).expect("a valid address"),
    )
}

/// Its registration, with the registry's lease.
pub(crate) fn registration(n: u32, apps: u32) -> Registration {
    Registration {
        backend: backend(n, apps),
        ttl: None,
    }
}
