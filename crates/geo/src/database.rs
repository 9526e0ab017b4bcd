use std::collections::HashSet;
use std::fmt;
use std::net::IpAddr;

use edgeproxy_backend::Country;
use maxminddb::{MaxMindDbError, PathElement, Reader, WithinOptions};

/// Countries by network, in MaxMind's format, version 2: `GeoLite2-Country` and `-City`, `GeoIP2-Country` and others
/// that name a record's country in the same way, or as `country_code` or `country`.
pub struct Database {
    reader: Reader<Vec<u8>>,
    layout: Layout,
}

/// Why there is no database. The message goes on from the name of the file.
#[derive(Clone, PartialEq, Eq, Debug, thiserror::Error)]
pub enum DatabaseError {
    /// It isn't one, or a part of it is damaged.
    #[error("is no sound MaxMind database (.mmdb): {0}")]
    Unsound(String),
    /// One of something else.
    #[error(
        "is a database of type {kind:?} whose records name no country; expected one such as GeoLite2-Country"
    )]
    NoCountries {
        /// Its type, as it says itself.
        kind: String,
    },
}

/// Where a record keeps its country.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
enum Layout {
    /// MaxMind's own.
    Nested,
    CountryCode,
    Country,
}

impl Database {
    /// Checks a file's bytes whole: takes time with their number, some tenths of a second for the common ones, so call
    /// it where nobody waits.
    ///
    /// # Errors
    /// When any part can't be read, or no record names a country.
    pub fn read(bytes: Vec<u8>) -> Result<Self, DatabaseError> {
        let unsound = |error: MaxMindDbError| DatabaseError::Unsound(error.to_string());
        let reader = Reader::from_source(bytes).map_err(unsound)?;
        match check(&reader).map_err(unsound)? {
            Some(layout) => Ok(Self { reader, layout }),
            None => Err(DatabaseError::NoCountries {
                kind: reader.metadata().database_type.chars().take(64).collect(),
            }),
        }
    }

    /// The country of `address`; of an IPv4 address in IPv6 form that of the IPv4 address.
    #[must_use]
    pub fn country(&self, address: IpAddr) -> Option<Country> {
        let found = self.reader.lookup(address.to_canonical()).ok()?;
        let code = found.decode_path::<&str>(self.layout.path()).ok()??;
        Country::parse(code).ok()
    }

    /// What it says it is, such as `GeoLite2-Country`.
    #[must_use]
    pub fn kind(&self) -> &str {
        &self.reader.metadata().database_type
    }

    /// When it was made, in seconds since 1970.
    #[must_use]
    pub fn built(&self) -> u64 {
        self.reader.metadata().build_epoch
    }
}

impl Layout {
    const ALL: [Self; 3] = [Self::Nested, Self::CountryCode, Self::Country];

    fn path(self) -> &'static [PathElement<'static>] {
        match self {
            Self::Nested => &[PathElement::Key("country"), PathElement::Key("iso_code")],
            Self::CountryCode => &[PathElement::Key("country_code")],
            Self::Country => &[PathElement::Key("country")],
        }
    }
}

/// Walks every network and looks for the country of every record. `None`: no record has one.
///
/// The reader's own check also asks for a description, which sound databases are without.
fn check(reader: &Reader<Vec<u8>>) -> Result<Option<Layout>, MaxMindDbError> {
    let mut layouts = Layout::ALL.to_vec();
    let mut looked_at = HashSet::new();
    // A sound tree has no more ends than that, and one with a loop has no end.
    let most = 2 * reader.metadata().node_count as usize + 2;
    let ends = WithinOptions::default().include_networks_without_data();
    for (count, found) in reader.networks(ends)?.enumerate() {
        let found = found?;
        if count == most {
            return Err(MaxMindDbError::invalid_database("its networks lead in a circle"));
        }
        if !found.offset().is_some_and(|offset| looked_at.insert(offset)) {
            continue;
        }
        let mut of_this = None;
        for layout in &layouts {
            match found.decode_path::<&str>(layout.path()) {
                Ok(Some(_)) => of_this = Some(*layout),
                Ok(None) => {}
                // Another maker's record: what is a text here is a map there.
                Err(MaxMindDbError::Decoding { .. }) if layouts.len() > 1 => {}
                Err(error) => return Err(error),
            }
        }
        if let Some(layout) = of_this {
            layouts = vec![layout];
        }
    }
    Ok(match layouts.as_slice() {
        [layout] => Some(*layout),
        _ => None,
    })
}

impl fmt::Debug for Database {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Database")
            .field("kind", &self.kind())
            .field("built", &self.built())
            .finish_non_exhaustive()
    }
}

#[cfg(test)]
mod tests;
