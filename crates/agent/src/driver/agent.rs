use std::hash::{BuildHasher, RandomState};
use std::net::SocketAddr;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use edgeproxy_backend::Incarnation;
use tokio::runtime::Handle;
use tokio::sync::watch;

use super::Driver;
use super::client::Terms;
#[cfg(feature = "tls")]
use super::trust::{Trust, TrustError};
use crate::api_url::ApiUrl;
use crate::registration::{LoadReport, Registration};
use crate::session::{Departure, Session, Settings};

/// A backend's membership, kept by a task of its own.
///
/// Dropped, it sends no more heartbeats and says nothing: the backend gets requests until its lease runs out. Call
/// [`leave`](Self::leave) before the backend stops.
#[derive(Debug)]
pub struct Agent {
    wishes: watch::Sender<Wishes>,
    state: watch::Receiver<State>,
    drain: Duration,
}

/// How an [`Agent`] is made.
#[derive(Debug, Default)]
pub struct Builder {
    apis: Vec<ApiUrl>,
    token_file: Option<PathBuf>,
    drain: Option<Duration>,
    #[cfg(feature = "tls")]
    trust: Option<Trust>,
}

/// Where a membership stands.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum Membership {
    /// Not registered yet, or not any more; it is being tried.
    Joining,
    /// Registered, as far as is known: heartbeats are sent.
    Registered {
        /// The number of this life of the backend.
        incarnation: Incarnation,
    },
    /// Another backend has registered under the same id. This one gets no new requests, and nothing is sent any more.
    Superseded {
        /// Where the other one is.
        by: SocketAddr,
    },
    /// The first registration was refused, and nothing is sent any more.
    Refused {
        /// By which API.
        api: String,
        /// Why, in words.
        what: String,
    },
    /// It is over.
    Left(Departure),
}

/// Why an [`Agent`] can't be started.
#[derive(Debug, thiserror::Error)]
pub enum StartError {
    /// No address of an API was given.
    #[error("there is no API to register with; name at least one, such as http://10.0.0.1:8081")]
    NoApi,
    /// More addresses than an agent tries.
    #[error("there are {found} addresses of APIs; at most {max} are tried", max = Builder::MAX_APIS)]
    TooManyApis {
        /// How many were given.
        found: usize,
    },
    /// It was not started from inside a tokio runtime.
    #[error("there is no tokio runtime; start an agent from inside one")]
    NoRuntime,
    /// The certificates can't be used.
    #[cfg(feature = "tls")]
    #[error("TLS to the API can't be set up: what was given {0}")]
    Trust(#[from] TrustError),
}

/// Why a backend is not registered, and won't be.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum NotRegistered {
    /// The API refused it.
    #[error("{api} refuses the registration: {what}")]
    Refused {
        /// Which one.
        api: String,
        /// Why.
        what: String,
    },
    /// Another backend has its id.
    #[error("{by} has registered under the same id")]
    Superseded {
        /// Where the other one is.
        by: SocketAddr,
    },
    /// It has left, or the runtime has ended.
    #[error("it has left")]
    Left,
}

/// What the holder of an [`Agent`] wants. The latest word counts.
#[derive(Clone, Copy, PartialEq, Debug, Default)]
pub(super) struct Wishes {
    pub(super) report: LoadReport,
    pub(super) held: bool,
    pub(super) drained: bool,
    pub(super) leave: Option<Duration>,
}

/// What the holder of an [`Agent`] can see.
#[derive(Clone, Debug)]
pub(super) struct State {
    pub(super) membership: Membership,
    pub(super) drained: bool,
}

impl Builder {
    /// The most addresses of APIs.
    pub const MAX_APIS: usize = 16;
    /// How long what is in flight has to end, unless told otherwise.
    pub const DRAIN: Duration = Duration::from_secs(30);

    /// Adds the address of an API. The first one is tried first; one that answers is used until it doesn't. All of them
    /// share a registry: each knows what was said to another.
    #[must_use]
    pub fn api(mut self, api: ApiUrl) -> Self {
        self.apis.push(api);
        self
    }

    /// The file of the bearer token. It is read for every request, so it can be replaced.
    #[must_use]
    pub fn token_file(mut self, file: impl Into<PathBuf>) -> Self {
        self.token_file = Some(file.into());
        self
    }

    /// How long what is in flight has to end when the backend leaves. Default: 30 s.
    #[must_use]
    pub const fn drain(mut self, drain: Duration) -> Self {
        self.drain = Some(drain);
        self
    }

    /// Whom to believe that it is the API. Default: the authorities that this system trusts.
    #[cfg(feature = "tls")]
    #[must_use]
    pub fn trust(mut self, trust: Trust) -> Self {
        self.trust = Some(trust);
        self
    }

    /// Begins to register. The backend is to serve already.
    ///
    /// # Errors
    /// Without an API, with too many, outside of a tokio runtime, or with certificates that can't be used.
    pub fn start(self, registration: Registration) -> Result<Agent, StartError> {
        match self.apis.len() {
            0 => return Err(StartError::NoApi),
            found if found > Self::MAX_APIS => return Err(StartError::TooManyApis { found }),
            _ => {}
        }
        let runtime = Handle::try_current().map_err(|_| StartError::NoRuntime)?;
        let settings = Settings {
            apis: self.apis.len(),
            ip: registration.ip,
            port: registration.port,
            seed: RandomState::new().hash_one(registration.id.as_str()),
        };
        #[cfg(feature = "tls")]
        let connector = {
            let needed = |api: &ApiUrl| api.scheme() == crate::api_url::Scheme::Https;
            let trust = match self.trust {
                Some(trust) => Some(trust),
                None => self.apis.iter().any(needed).then(Trust::system),
            };
            trust.map(Trust::connector).transpose()?
        };
        let terms = Terms {
            apis: self.apis,
            registration,
            token_file: self.token_file,
            #[cfg(feature = "tls")]
            connector,
        };
        let (wishes, heard) = watch::channel(Wishes::default());
        let (told, state) = watch::channel(State {
            membership: Membership::Joining,
            drained: false,
        });
        let driver = Driver::new(Session::new(settings), Arc::new(terms), heard, told);
        runtime.spawn(driver.run());
        Ok(Agent {
            wishes,
            state,
            drain: self.drain.unwrap_or(Self::DRAIN),
        })
    }
}

impl Agent {
    /// A set-up to be filled and [started](Builder::start).
    #[must_use]
    pub fn builder() -> Builder {
        Builder::default()
    }

    /// Where it stands now.
    #[must_use]
    pub fn membership(&self) -> Membership {
        self.state.borrow().membership.clone()
    }

    /// Waits until it is registered. While no API can be reached it goes on trying. Cancel safe.
    ///
    /// # Errors
    /// When it won't be: it was refused, superseded, or has left.
    pub async fn registered(&self) -> Result<Incarnation, NotRegistered> {
        let found = self
            .wait(|state| !matches!(state.membership, Membership::Joining))
            .await;
        match found {
            Some(Membership::Registered { incarnation }) => Ok(incarnation),
            Some(Membership::Refused { api, what }) => Err(NotRegistered::Refused { api, what }),
            Some(Membership::Superseded { by }) => Err(NotRegistered::Superseded { by }),
            Some(Membership::Joining | Membership::Left(_)) | None => Err(NotRegistered::Left),
        }
    }

    /// Waits until it is another than `known`, and says which. After [`Membership::Left`] there is no other: then it
    /// returns at once, each time. Cancel safe.
    pub async fn changed(&self, known: &Membership) -> Membership {
        let found = self.wait(|state| state.membership != *known).await;
        found.unwrap_or(Membership::Left(Departure::NotRegistered))
    }

    /// Says this with every heartbeat from the next one on.
    pub fn report(&self, report: LoadReport) {
        self.wishes.send_modify(|wishes| wishes.report = report);
    }

    /// Asks for no new requests, for good, and waits until an API knows. The lease is kept: [`leave`](Self::leave)
    /// follows. Cancel safe.
    pub async fn drain(&self) {
        self.wishes.send_modify(|wishes| wishes.drained = true);
        self.wait(|state| state.drained || matches!(state.membership, Membership::Left(_)))
            .await;
    }

    /// Sends no heartbeats until it is [resumed](Self::resume), so that the lease runs out: for a backend that has
    /// stopped answering.
    pub fn hold(&self) {
        self.wishes.send_modify(|wishes| wishes.held = true);
    }

    /// Goes on after a [`hold`](Self::hold).
    pub fn resume(&self) {
        self.wishes.send_modify(|wishes| wishes.held = false);
    }

    /// Deregisters at every API, and waits until nothing is in flight any more, for as long as the builder's
    /// [`drain`](Builder::drain) at the most. Then the backend may stop. Cancel safe; it goes on all the same.
    pub async fn leave(&self) -> Departure {
        self.leave_within(self.drain).await
    }

    /// Begins to [leave](Self::leave) without waiting for it, within another time. Called again, it shortens the wait.
    pub fn start_leaving(&self, drain: Duration) {
        self.wishes.send_modify(|wishes| {
            wishes.leave = Some(wishes.leave.map_or(drain, |before| before.min(drain)));
        });
    }

    /// The same as [`leave`](Self::leave) with another time.
    pub async fn leave_within(&self, drain: Duration) -> Departure {
        self.start_leaving(drain);
        match self
            .wait(|state| matches!(state.membership, Membership::Left(_)))
            .await
        {
            Some(Membership::Left(departure)) => departure,
            _ => Departure::Unsaid {
                what: "the runtime has ended".to_owned(),
            },
        }
    }

    /// The membership once `is` is true of the state; `None` if the task has ended before that.
    async fn wait(&self, is: impl FnMut(&State) -> bool) -> Option<Membership> {
        let mut state = self.state.clone();
        let found = state.wait_for(is).await.ok()?;
        Some(found.membership.clone())
    }
}
