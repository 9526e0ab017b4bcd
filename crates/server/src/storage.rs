//! Where registrations are kept, and what of them comes back at the start.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Instant;

use edgeproxy_api::Admission;
use edgeproxy_backend::{Backend, Region};
use edgeproxy_config::{Settings, StoreKind};
use edgeproxy_control::{Driver, Handle, kept_registry, registry};
use edgeproxy_registry::Config;
use edgeproxy_store::{FileStore, LoadError, Loaded, Store};

use crate::control::ControlRuntime;
use crate::{BuildError, shared_store};

/// A store that has been read.
pub(crate) struct Storage {
    kept: Option<(Arc<dyn Store>, Loaded)>,
    /// What the process before had, where it is kept nowhere else.
    handed: Option<Loaded>,
    began: Instant,
    /// The folder of a file.
    pub(crate) folder: Option<PathBuf>,
    /// Whether others write there as well.
    is_shared: bool,
}

/// How many that can't be restored are named in the log.
const NAMED: usize = 20;

impl Storage {
    /// Opens what the settings ask for, and reads it on that runtime, which it is used on afterwards. `usual` is the
    /// folder where the settings name none; without either, nothing is kept. `handed` is what the process before had,
    /// which the store may not know.
    ///
    /// # Errors
    /// When a folder that the settings name can't be used.
    pub(crate) fn open(
        settings: &Settings,
        usual: Option<&Path>,
        handed: Option<Loaded>,
        (port, runtime): (u16, &ControlRuntime),
    ) -> Result<Self, BuildError> {
        let began = Instant::now();
        if let StoreKind::Etcd(address) = &settings.store {
            let name = shared_store::own_name(settings, port)?;
            let store = shared_store::open(address, settings, name)?;
            let loaded = load(&*store, None, runtime).map_err(|error| BuildError::Shared(told(&error)))?;
            let loaded = or_handed(loaded, handed.as_ref());
            return Ok(Self {
                kept: Some((store, draining(loaded, handed))),
                handed: None,
                began,
                folder: None,
                is_shared: true,
            });
        }
        // Where nobody can register there is nothing to be kept.
        let is_wanted = settings.api_enabled && settings.store == StoreKind::File;
        let Some(folder) = settings.data_dir.as_deref().or(usual).filter(|_| is_wanted) else {
            return Ok(Self::nothing(began, handed));
        };
        let store: Arc<dyn Store> = Arc::new(FileStore::open(folder));
        match load(&*store, handed.as_ref(), runtime) {
            Ok(loaded) => Ok(Self {
                kept: Some((store, draining(loaded, handed))),
                handed: None,
                began,
                folder: Some(folder.to_owned()),
                is_shared: false,
            }),
            Err(error) if settings.data_dir.is_some() => Err(BuildError::Store(told(&error))),
            Err(error) => {
                tracing::warn!(
                    "registrations are kept in memory only, and a restart forgets them: {}; name a folder by data_dir, \
                     or set store = \"memory\" if that is meant",
                    told(&error)
                );
                Ok(Self::nothing(began, handed))
            }
        }
    }

    const fn nothing(began: Instant, handed: Option<Loaded>) -> Self {
        Self {
            kept: None,
            handed,
            began,
            folder: None,
            is_shared: false,
        }
    }

    /// Begins the registry, puts a configuration in force by `configure`, and brings back what was kept. What is wrong
    /// with that is logged.
    pub(crate) fn begin<E>(
        self,
        mut config: Config,
        admission: &Admission,
        configure: impl FnOnce(&Handle) -> Result<(), E>,
    ) -> Result<(Handle, Driver), E> {
        let (name, loaded, (handle, driver)) = match (self.kept, self.handed) {
            (Some((store, loaded)), _) => {
                let name = store.name();
                let registry = kept_registry(config, store, &loaded);
                (name, loaded, registry)
            }
            (None, Some(handed)) => {
                // No number is given twice, though nothing is kept.
                let next = handed.next_incarnation.unwrap_or(config.first_incarnation);
                config.first_incarnation = next.max(config.first_incarnation);
                ("memory", handed, registry(config))
            }
            (None, None) => {
                let (handle, driver) = registry(config);
                configure(&handle)?;
                return Ok((handle, driver));
            }
        };
        configure(&handle)?;
        for finding in &loaded.findings {
            if finding.is_loss {
                tracing::error!(store = name, "{}", finding.message);
            } else {
                tracing::warn!(store = name, "{}", finding.message);
            }
        }
        let found = loaded.records.len();
        tell_of_regions(&loaded, admission);
        let admit = |backend: &Backend| {
            // Another proxy has let it in, as it would while this one runs.
            if self.is_shared {
                return Ok(());
            }
            admission
                .check(backend.addr)
                .map_err(|why| format!("its ip {why}"))
        };
        let unrestored = handle.restore(loaded, admit);
        for problem in unrestored.iter().take(NAMED) {
            tracing::warn!(store = name, "{problem}");
        }
        if unrestored.len() > NAMED {
            tracing::warn!(store = name, "{} more are not restored", unrestored.len() - NAMED);
        }
        let folder = self.folder.as_deref().map(|folder| folder.display().to_string());
        tracing::info!(
            store = name,
            folder,
            backends = found - unrestored.len(),
            took_ms = u64::try_from(self.began.elapsed().as_millis()).unwrap_or(u64::MAX),
            "registrations are restored"
        );
        Ok((handle, driver))
    }
}

/// What the process before had is in the store that all share, and may have been changed by others since. Only where the
/// store is away it is better than nothing.
fn or_handed(loaded: Loaded, handed: Option<&Loaded>) -> Loaded {
    match handed {
        Some(handed) if loaded.records.is_empty() && !loaded.findings.is_empty() => Loaded {
            records: handed.records.clone(),
            overrides: handed.overrides.clone(),
            ..loaded
        },
        _ => loaded,
    }
}

/// On a thread of its own, since this one may be a runtime's already.
fn load(store: &dyn Store, handed: Option<&Loaded>, runtime: &ControlRuntime) -> Result<Loaded, LoadError> {
    let loading = async {
        let loaded = store.load().await?;
        let unknown = handed.map(|handed| handed.beyond(&loaded)).unwrap_or_default();
        if unknown.is_empty() {
            return Ok(loaded);
        }
        // The process before had another store, or none.
        store.commit(&unknown).await.map_err(|error| LoadError {
            message: format!("what the process before had can't be kept: {error}"),
            source: error.source,
        })?;
        store.load().await
    };
    let runtime = runtime.get();
    let loaded = std::thread::scope(|scope| {
        scope
            .spawn(|| runtime.map(|runtime| runtime.block_on(loading)))
            .join()
    });
    loaded.ok().flatten().unwrap_or_else(|| {
        Err(LoadError {
            message: "reading the store ended in a panic, which is a bug".to_owned(),
            source: None,
        })
    })
}

/// What is kept, and those that drain by the word of the process before: a store knows nothing of them.
fn draining(kept: Loaded, handed: Option<Loaded>) -> Loaded {
    let leaving = handed.map(|handed| handed.leaving).unwrap_or_default();
    Loaded { leaving, ..kept }
}

fn told(error: &LoadError) -> String {
    match &error.source {
        None => error.message.clone(),
        Some(source) => format!("{}: {source}", error.message),
    }
}

/// Backends of a region that isn't configured any more stay, and are the last to be asked; their next registration is
/// refused.
fn tell_of_regions(loaded: &Loaded, admission: &Admission) {
    let mut unknown: BTreeMap<Region, usize> = BTreeMap::new();
    for record in &loaded.records {
        let region = record.backend.region;
        if !admission.regions.iter().any(|(known, _)| *known == region) {
            *unknown.entry(region).or_default() += 1;
        }
    }
    for (region, backends) in unknown {
        tracing::warn!(
            %region,
            backends,
            "backends of a region that is not configured are restored, and are asked last; they cannot register again \
             until [regions] has it"
        );
    }
}
