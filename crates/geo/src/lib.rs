//! Where a client is: its country, from a MaxMind database, and the region that serves that country.
//!
//! # The key decision: a lookup can't fail
//!
//! A database is checked as a whole when it is read ([`Database::read`]), and refused with the reason if anything is wrong.
//! After that, an address has a country or it has none. There is no I/O: the caller passes in bytes. So whoever watches the
//! file decides when to read it again, and replaces a database in use only by one that is sound.
//!
//! ```
//! use edgeproxy_backend::{Country, Region};
//! use edgeproxy_geo::{Atlas, Regions};
//!
//! // Without a database every address is somewhere unknown, but a country that a header names has its region.
//! let atlas = Atlas { database: None, regions: Regions::default() };
//! assert_eq!(atlas.locate("192.0.2.1".parse()?).country, None);
//! assert_eq!(atlas.regions.of(Country::parse("UY")?), Region::parse("sa")?);
//! # Ok::<(), Box<dyn std::error::Error>>(())
//! ```
//!
//! # What it leaves to the caller
//!
//! Finding out which address is the client's, reading the file and noticing when it changes, and what to do with a client
//! whose place is unknown.

mod database;
mod regions;

pub use database::{Database, DatabaseError};
pub use regions::Regions;

use std::net::IpAddr;
use std::sync::Arc;

use edgeproxy_backend::{Country, Region};

/// A database and what its countries mean.
#[derive(Debug, Default)]
pub struct Atlas {
    /// `None`: no address is anywhere.
    pub database: Option<Arc<Database>>,
    /// Which region serves which country.
    pub regions: Regions,
}

/// Where something is, as far as that is known.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub struct Location {
    /// The country.
    pub country: Option<Country>,
    /// The region that serves that country.
    pub region: Option<Region>,
}

impl Atlas {
    /// Where `address` is. Costs a walk of at most 128 steps, allocates nothing, and takes no lock.
    #[must_use]
    pub fn locate(&self, address: IpAddr) -> Location {
        match self
            .database
            .as_ref()
            .and_then(|database| database.country(address))
        {
            Some(country) => self.within(country),
            None => Location::default(),
        }
    }

    /// Where somebody is who is known to be in `country`.
    #[must_use]
    pub fn within(&self, country: Country) -> Location {
        Location {
            country: Some(country),
            region: Some(self.regions.of(country)),
        }
    }
}
