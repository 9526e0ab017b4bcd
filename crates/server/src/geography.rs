//! Where clients are: the database that the settings name, read at the start and whenever its file changes.

use std::fs::File;
use std::io::Read as _;
use std::net::IpAddr;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use arc_swap::ArcSwap;
use edgeproxy_backend::Country;
use edgeproxy_balance::Client;
use edgeproxy_config::Settings;
use edgeproxy_geo::{Atlas, Database, DatabaseError, Location, Regions};
use edgeproxy_proxy::Locate;

use crate::watch::{self, Fault, Stamp, Subject, Watched};

/// The longest database that is read: 1 GiB. The largest that are sold have half of that.
const MAX_BYTES: u64 = 1 << 30;

/// Why there is no database.
#[derive(Debug, thiserror::Error)]
pub enum GeographyError {
    /// Its file can't be read.
    #[error("{} can't be read: {source}", path.display())]
    Read {
        /// Which.
        path: PathBuf,
        /// What the system said.
        source: std::io::Error,
    },
    /// Its file is longer than any database.
    #[error("{} is longer than 1 GiB; expected a MaxMind database of countries (.mmdb)", path.display())]
    TooLong {
        /// Which.
        path: PathBuf,
    },
    /// It is none.
    #[error("{} {error}", path.display())]
    Database {
        /// The file.
        path: PathBuf,
        /// What is wrong with it.
        error: DatabaseError,
    },
}

/// The atlas in force. A clone is the same.
#[derive(Clone, Debug)]
pub(crate) struct Geography(Arc<ArcSwap<Atlas>>);

/// What was made of a configuration, to be handed on to the next.
pub(crate) struct Surveyed {
    pub(crate) geography: Geography,
    /// The database's file, as it was when it was read.
    file: Option<(PathBuf, Vec<Stamp>)>,
    pub(crate) watched: Option<Watched>,
}

impl Geography {
    /// Reads the database at `path`, if there is to be one, and has it watched from then on. What was read `before` is
    /// not read again while the file is the same: it may be large.
    pub(crate) fn load(
        path: Option<&Path>,
        regions: Regions,
        before: Option<&Surveyed>,
    ) -> Result<Surveyed, GeographyError> {
        let Some(path) = path else {
            let geography = Self::of(None, regions);
            return Ok(Surveyed {
                geography,
                file: None,
                watched: None,
            });
        };
        // Before it is read: what changes meanwhile is read again.
        let file = (path.to_owned(), watch::stamps([path]));
        let known = before.filter(|before| before.file.as_ref() == Some(&file));
        let database = match known.and_then(|before| before.geography.0.load().database.clone()) {
            Some(database) => database,
            None => Arc::new(read(path)?),
        };
        let geography = Self::of(Some(database), regions);
        let subject = Reread {
            path: path.to_owned(),
            geography: geography.clone(),
        };
        let watched = Watched::new("geoip_path".to_owned(), subject, file.1.clone());
        Ok(Surveyed {
            geography,
            file: Some(file),
            watched: Some(watched),
        })
    }

    fn of(database: Option<Arc<Database>>, regions: Regions) -> Self {
        Self(Arc::new(ArcSwap::from_pointee(Atlas { database, regions })))
    }
}

impl Locate for Geography {
    fn address(&self, address: IpAddr) -> Client {
        client(self.0.load().locate(address))
    }

    fn country(&self, country: Country) -> Client {
        client(self.0.load().within(country))
    }
}

fn client(location: Location) -> Client {
    Client {
        country: location.country,
        region: location.region,
        ..Client::default()
    }
}

/// The database's file, and what is made of it.
struct Reread {
    path: PathBuf,
    geography: Geography,
}

impl Subject for Reread {
    fn paths(&self) -> Vec<&Path> {
        vec![&self.path]
    }

    fn reload(&self) -> Result<(), Fault> {
        let database = Some(Arc::new(read(&self.path)?));
        let regions = self.geography.0.load().regions.clone();
        self.geography.0.store(Arc::new(Atlas { database, regions }));
        Ok(())
    }
}

/// Whether the database that the settings name can be used, if they name one.
///
/// # Errors
/// It can't.
pub fn check_database(settings: &Settings) -> Result<(), GeographyError> {
    settings
        .geoip_path
        .as_deref()
        .map_or(Ok(()), |path| read(path).map(drop))
}

fn read(path: &Path) -> Result<Database, GeographyError> {
    let mut bytes = Vec::new();
    // One more than is accepted, which tells a file that is too long from one that just fits.
    let read = File::open(path).and_then(|file| file.take(MAX_BYTES + 1).read_to_end(&mut bytes));
    let path = path.to_owned();
    match read {
        Ok(_) if bytes.len() as u64 > MAX_BYTES => Err(GeographyError::TooLong { path }),
        Ok(_) => Database::read(bytes).map_err(|error| GeographyError::Database { path, error }),
        Err(source) => Err(GeographyError::Read { path, source }),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn fixture() -> Vec<u8> {
        std::fs::read(concat!(
            env!("CARGO_MANIFEST_DIR"),
            "/../geo/fixtures/countries.mmdb"
        ))
        .unwrap()
    }

    fn place(geography: &Geography, address: &str) -> String {
        let Client { country, region, .. } = geography.address(address.parse().unwrap());
        format!("{country:?} {region:?}")
    }

    #[test]
    fn a_changed_database_is_in_force_and_a_damaged_one_is_not() {
        let folder = tempfile::TempDir::new().unwrap();
        let path = folder.path().join("countries.mmdb");
        std::fs::write(&path, fixture()).unwrap();
        let surveyed = Geography::load(Some(&path), Regions::default(), None).unwrap();
        let (geography, mut watched) = (surveyed.geography, surveyed.watched.unwrap());
        assert_eq!(place(&geography, "192.0.2.1"), "Some(BR) Some(sa)");
        assert_eq!(place(&geography, "203.0.113.1"), "None None");
        assert!(watched.look().is_none());

        let mut changed = fixture();
        let at = changed.windows(2).position(|pair| pair == b"BR").unwrap();
        changed[at..at + 2].copy_from_slice(b"JP");
        std::fs::rename(write(&folder, "next", &changed), &path).unwrap();
        assert!(watched.look().is_none(), "not before it has settled");
        assert!(watched.look().unwrap().is_ok());
        assert_eq!(place(&geography, "192.0.2.1"), "Some(JP) Some(ap)");

        std::fs::rename(write(&folder, "next", b"hello"), &path).unwrap();
        assert!(watched.look().is_none());
        let fault = watched.look().unwrap().unwrap_err().to_string();
        assert!(
            fault.contains("countries.mmdb is no sound MaxMind database"),
            "{fault}"
        );
        assert_eq!(
            place(&geography, "192.0.2.1"),
            "Some(JP) Some(ap)",
            "the one before"
        );
    }

    fn write(folder: &tempfile::TempDir, name: &str, bytes: &[u8]) -> PathBuf {
        let path = folder.path().join(name);
        std::fs::write(&path, bytes).unwrap();
        path
    }

    #[test]
    fn without_a_database_a_named_country_still_has_its_region() {
        let surveyed = Geography::load(None, Regions::default(), None).unwrap();
        assert!(surveyed.watched.is_none());
        let geography = surveyed.geography;
        assert_eq!(place(&geography, "192.0.2.1"), "None None");
        let Client { region, .. } = geography.country(Country::parse("MX").unwrap());
        assert_eq!(region.unwrap().as_str(), "us");
        let missing = Geography::load(Some(Path::new("/none.mmdb")), Regions::default(), None).map(drop);
        assert!(
            missing
                .unwrap_err()
                .to_string()
                .starts_with("/none.mmdb can't be read: ")
        );
    }
}
