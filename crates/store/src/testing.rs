//! The contract's tests: what every [`Store`] has to pass, whatever it keeps things on.
//!
//! A store's own tests say how it is opened ([`Medium`]), and name that to [`contract!`](crate::contract), which makes
//! a test of each promise:
//!
//! ```
//! use edgeproxy_store::testing::Medium;
//! use edgeproxy_store::{Memory, Store};
//!
//! impl Medium for Kept {
//!     fn open(&mut self) -> Box<dyn Store> {
//!         Box::new(self.0.clone())
//!     }
//! }
//! struct Kept(Memory);
//!
//! edgeproxy_store::contract!(Kept(Memory::new()));
//! ```

// What fails in here fails a test.
#![allow(clippy::expect_used, clippy::panic, clippy::missing_panics_doc)]

mod model;
mod promises;

use std::time::Duration;

use edgeproxy_backend::{
    AppName, Backend, BackendAddr, BackendId, Country, Incarnation, Limits, Metadata, Protocol, Region,
    Weight,
};
use edgeproxy_registry::{Overridden, Overrides, Record, Write};

pub use model::a_naive_model_agrees;
pub use promises::*;

use crate::Store;

/// What a store keeps things on: a folder, a prefix of a server's keys.
pub trait Medium {
    /// A store on it. Each call after the first is a restart; the store before has been dropped.
    fn open(&mut self) -> Box<dyn Store>;
}

/// Makes a test of each promise, on a fresh medium each: the expression is evaluated in an async function.
#[macro_export]
macro_rules! contract {
    ($medium:expr) => {
        #[tokio::test]
        async fn what_was_committed_is_loaded_oldest_incarnation_first() {
            $crate::testing::what_was_committed_is_loaded_oldest_incarnation_first(&mut $medium).await;
        }

        #[tokio::test]
        async fn every_field_survives() {
            $crate::testing::every_field_survives(&mut $medium).await;
        }

        #[tokio::test]
        async fn the_latest_write_of_an_id_is_what_is_kept() {
            $crate::testing::the_latest_write_of_an_id_is_what_is_kept(&mut $medium).await;
        }

        #[tokio::test]
        async fn a_write_of_an_older_life_changes_nothing() {
            $crate::testing::a_write_of_an_older_life_changes_nothing(&mut $medium).await;
        }

        #[tokio::test]
        async fn overrides_live_apart_from_registrations_and_the_default_clears_them() {
            $crate::testing::overrides_live_apart_from_registrations_and_the_default_clears_them(
                &mut $medium,
            )
            .await;
        }

        #[tokio::test]
        async fn an_incarnation_is_never_used_again_though_everything_is_gone() {
            $crate::testing::an_incarnation_is_never_used_again_though_everything_is_gone(&mut $medium).await;
        }

        #[tokio::test]
        async fn a_batch_committed_twice_is_committed_once() {
            $crate::testing::a_batch_committed_twice_is_committed_once(&mut $medium).await;
        }

        #[tokio::test]
        async fn a_commit_that_nobody_waits_for_harms_nothing() {
            $crate::testing::a_commit_that_nobody_waits_for_harms_nothing(&mut $medium).await;
        }

        #[tokio::test]
        async fn a_storm_is_kept_whole() {
            $crate::testing::a_storm_is_kept_whole(&mut $medium).await;
        }

        #[tokio::test]
        async fn a_naive_model_agrees_over_any_history_with_restarts() {
            $crate::testing::a_naive_model_agrees(&mut || async { $medium }).await;
        }
    };
}

/// The backend of that number; `variant` changes everything about it but its id.
#[must_use]
pub fn record(number: u32, incarnation: u64, variant: u16) -> Record {
    let [_, a, b, c] = number.to_be_bytes();
    let protocols = Protocol::ALL;
    let pairs = (0..variant % 3).map(|n| (format!("key {n}\n\"\u{0}é"), "\u{1f310}\r\n\\".repeat(n.into())));
    let backend = Backend {
        id: id(number),
        app: AppName::parse(&format!("app-{}.example", variant % 7)).expect("a name"),
        region: Region::parse(["eu", "us", "sa"][usize::from(variant) % 3]).expect("a region"),
        country: Country::parse("DE").expect("a country"),
        addr: BackendAddr::new([10, a, b, c].into(), 8_000 + variant % 1_000).expect("an address"),
        weight: Weight::new(u64::from(variant % 1_001)).expect("a weight"),
        limits: Limits::new(variant.into(), u32::from(variant) + 50).expect("limits"),
        protocol: protocols[usize::from(variant) % protocols.len()],
        fallback: variant % 2 == 1,
        metadata: Metadata::new(pairs).expect("metadata"),
    };
    Record {
        backend,
        incarnation: life(incarnation),
        ttl: Duration::from_secs(5 + u64::from(variant % 3_595)),
    }
}

/// The id of that number.
#[must_use]
pub fn id(number: u32) -> BackendId {
    BackendId::parse(&format!("backend-eu-{number:07}")).expect("an id")
}

/// The incarnation of that number.
#[must_use]
pub fn life(number: u64) -> Incarnation {
    Incarnation::new(number).expect("not 0")
}

/// The backend of that number is registered.
#[must_use]
pub fn registered(number: u32, incarnation: u64) -> Write {
    Write::Registered(record(number, incarnation, 0))
}

/// It is gone.
#[must_use]
pub fn gone(number: u32, incarnation: u64) -> Write {
    Write::Gone {
        id: id(number),
        incarnation: life(incarnation),
    }
}

/// An operator has disabled it.
#[must_use]
pub fn disabled(number: u32) -> Write {
    let overrides = Overrides {
        enabled: Some(false),
        ..Overrides::default()
    };
    Write::Overridden(Overridden {
        id: id(number),
        app: Some(record(number, 1, 0).backend.app),
        overrides,
    })
}
