//! What is measured.

use crate::bench::peers::load::Load;
use crate::bench::peers::memory::Crowd;
use crate::bench::peers::proxy::{Front, Proxy};

/// One table of the result.
#[derive(Clone, Copy)]
pub(crate) struct Case {
    pub(crate) name: &'static str,
    pub(crate) about: &'static str,
    /// How clients speak to the proxy.
    pub(crate) front: Front,
    pub(crate) kind: Kind,
    /// Whether it runs without being named.
    pub(crate) usual: bool,
}

#[derive(Clone, Copy)]
pub(crate) enum Kind {
    /// Processor time for each unit of load.
    Cost(Load),
    /// The same with one worker and with two, on all cores together with client and origin.
    Workers(Load),
    /// The same with the access log in a file and a follower of the figures, and without either.
    Watched(Load),
    /// Memory for each client.
    Memory(Crowd),
}

const KEPT_ALIVE_1K: Load = Load::Wrk {
    path: "/1k",
    close: false,
};

pub(crate) const CASES: [Case; 12] = [
    Case {
        name: "http1-1k",
        about: "HTTP/1.1, 64 kept-alive connections, answers of 1 KiB",
        front: Front::Http1,
        kind: Kind::Cost(KEPT_ALIVE_1K),
        usual: true,
    },
    Case {
        name: "http1-64k",
        about: "HTTP/1.1, 64 kept-alive connections, answers of 64 KiB",
        front: Front::Http1,
        kind: Kind::Cost(Load::Wrk {
            path: "/64k",
            close: false,
        }),
        usual: true,
    },
    Case {
        name: "churn",
        about: "HTTP/1.1, a connection for each request (`Connection: close`), the origin's kept alive",
        front: Front::Http1,
        kind: Kind::Cost(Load::Wrk {
            path: "/1k",
            close: true,
        }),
        usual: true,
    },
    Case {
        name: "http2-1k",
        about: "HTTP/2 in cleartext, 8 connections of 32 streams, answers of 1 KiB from HTTP/1.1",
        front: Front::Http2,
        kind: Kind::Cost(Load::H2load),
        usual: true,
    },
    Case {
        name: "tcp-bulk-1",
        about: "TCP, one stream",
        front: Front::Tcp,
        kind: Kind::Cost(Load::Bulk { streams: 1 }),
        usual: true,
    },
    Case {
        name: "tcp-bulk-16",
        about: "TCP, 16 streams",
        front: Front::Tcp,
        kind: Kind::Cost(Load::Bulk { streams: 16 }),
        usual: true,
    },
    Case {
        name: "tcp-churn",
        about: "TCP, a connection for each exchange of 64 bytes, 16 at a time",
        front: Front::Tcp,
        kind: Kind::Cost(Load::Exchange),
        usual: true,
    },
    Case {
        name: "idle-10k",
        about: "10,000 idle clients that have each made one request",
        front: Front::Http1,
        kind: Kind::Memory(Crowd::Idle { clients: 10_000 }),
        usual: true,
    },
    Case {
        name: "workers-2",
        about: "http1-1k with one worker and with two, on the cores that client and origin use as well",
        front: Front::Http1,
        kind: Kind::Workers(KEPT_ALIVE_1K),
        usual: true,
    },
    Case {
        name: "watched",
        about: "http1-1k with the access log in a file and a follower of the figures, beside one without",
        front: Front::Http1,
        kind: Kind::Watched(KEPT_ALIVE_1K),
        usual: true,
    },
    Case {
        name: "slow-9k",
        about: "9,000 clients that send a header line every five seconds, 16 good ones beside them",
        front: Front::Http1,
        kind: Kind::Memory(Crowd::Slow { clients: 9_000 }),
        usual: false,
    },
    Case {
        name: "stalled-1k",
        about: "1,000 clients that ask for 256 KiB and read nothing",
        front: Front::Http1,
        kind: Kind::Memory(Crowd::Stalled { clients: 1_000 }),
        usual: false,
    },
];

impl Case {
    /// Whether the figure of this proxy means anything here.
    pub(crate) fn suits(&self, proxy: Proxy) -> bool {
        let relays = matches!(proxy, Proxy::Relay | Proxy::Splice);
        match self.kind {
            Kind::Watched(_) => matches!(proxy, Proxy::Edgeproxy | Proxy::Watched),
            _ if proxy == Proxy::Watched => false,
            // A relay holds a connection to the origin for each client, and has but one worker.
            Kind::Workers(_) | Kind::Memory(_) => !relays,
            Kind::Cost(_) => match self.front {
                Front::Http1 => proxy != Proxy::Splice,
                Front::Http2 => !relays,
                Front::Tcp => true,
            },
        }
    }
}

/// The names that `--only` knows.
pub(crate) fn names() -> Vec<&'static str> {
    CASES.iter().map(|case| case.name).collect()
}

/// The cases of these names in the usual order; the usual ones if none is named.
pub(crate) fn selected(names: &[String]) -> Vec<Case> {
    let wanted = |case: &Case| {
        if names.is_empty() {
            case.usual
        } else {
            names.iter().any(|name| name == case.name)
        }
    };
    CASES.into_iter().filter(wanted).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn no_two_cases_share_a_name() {
        let mut names = names();
        names.sort_unstable();
        names.dedup();
        assert_eq!(names.len(), CASES.len());
    }

    #[test]
    fn cases_that_take_a_minute_run_only_by_name() {
        let usual: Vec<_> = selected(&[]).iter().map(|case| case.name).collect();
        assert!(
            usual.contains(&"http1-1k") && !usual.contains(&"slow-9k"),
            "{usual:?}"
        );
        let named: Vec<_> = selected(&["slow-9k".into()])
            .iter()
            .map(|case| case.name)
            .collect();
        assert_eq!(named, ["slow-9k"]);
    }
}
