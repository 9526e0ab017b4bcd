//! The tables of a file and what is in them, for whoever describes a file rather than reads one: made of the lists
//! that the readers use.

use crate::app::keys as health;
use crate::listeners::tls;
use crate::settings::AppSettings;
use crate::table::{Field, fields};
use crate::{app, backend, listeners, region, route};

/// A kind of table.
pub(crate) struct Shape {
    /// Its key in the table around it.
    pub(crate) key: &'static str,
    /// How it is written at the beginning of a line.
    pub(crate) heading: &'static str,
    /// What it is for.
    pub(crate) about: &'static str,
    pub(crate) form: Form,
    pub(crate) fields: Vec<&'static Field>,
    pub(crate) inner: Vec<Shape>,
}

/// How often a table is there.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(crate) enum Form {
    /// Once.
    One,
    /// Any number of times, each with a name.
    Named,
    /// As [`Form::Named`]; a text in its place is the first field alone.
    NamedOrText,
    /// Any number of times, without a name.
    Many,
}

/// The tables of a file, in the order of the reference.
pub(crate) fn shapes() -> Vec<Shape> {
    vec![listener(), app(), route(), backend(), region()]
}

fn listener() -> Shape {
    Shape {
        key: listeners::KEY,
        heading: "[[listeners]]",
        about: "Addresses that clients connect to, besides that of `listen_addr`; at most 64. More in [Listeners](listeners.md).",
        form: Form::Many,
        fields: fields(listeners::KEYS).collect(),
        inner: vec![Shape {
            key: tls::KEY,
            heading: "[listeners.tls]",
            about: "TLS ends at the listener.",
            form: Form::One,
            fields: fields(tls::KEYS).collect(),
            inner: vec![Shape {
                key: tls::CERTIFICATES,
                heading: "[[listeners.tls.certificates]]",
                about: "What clients are shown, at least one; the first is the default.",
                form: Form::Many,
                fields: fields(tls::CERTIFICATE_KEYS).collect(),
                inner: Vec::new(),
            }],
        }],
    }
}

fn app() -> Shape {
    let probe = |key, heading, about, fields| Shape {
        key,
        heading,
        about,
        form: Form::One,
        fields,
        inner: Vec::new(),
    };
    Shape {
        key: app::KEY,
        heading: "[apps.NAME]",
        about: "What an app has differently from the others. A name with dots stands in quotes: `[apps.\"shop.example\"]`. \
                What it says wins over flags and variables, too.",
        form: Form::Named,
        fields: fields(app::OWN).chain(fields(AppSettings::KEYS)).collect(),
        inner: vec![Shape {
            key: health::KEY,
            heading: "[apps.NAME.health]",
            about: "How the app's backends are probed, by one of `tcp`, `http` and `grpc`. Without any of them: as \
                    `health_monitor` says, or else by `tcp`.",
            form: Form::One,
            fields: fields(health::KEYS).collect(),
            inner: vec![
                probe(
                    "tcp",
                    "[apps.NAME.health.tcp]",
                    "A connection that is made and closed.",
                    fields(health::TCP).collect(),
                ),
                probe(
                    "http",
                    "[apps.NAME.health.http]",
                    "A request whose response has to be as it should. It speaks HTTP as the backend does, so to one of protocol `h2c` \
                     HTTP/2; one of protocol `https` is only connected to, unless a key says how TLS is spoken. Whoever listens at a \
                     `port` of the probe's own is spoken to in HTTP/1.1, whatever the backend speaks.",
                    fields(health::HTTP).collect(),
                ),
                probe(
                    "grpc",
                    "[apps.NAME.health.grpc]",
                    "A call of `grpc.health.v1.Health/Check`, which passes if the answer is SERVING. To a backend of protocol `https` it \
                     goes inside TLS as traffic does, unless the probe has a `port` of its own.",
                    fields(health::GRPC).collect(),
                ),
            ],
        }],
    }
}

fn route() -> Shape {
    Shape {
        key: route::KEY,
        heading: "[[routes]]",
        about: "Which requests go to which app; at most 16,384. The most specific route wins, wherever it stands: a host \
                before a wildcard before any host, then the longer path, then the one that asks for more fields by their \
                value, then for more fields at all. Two that are equally specific and have a request in common are refused. \
                Where there are routes, a request that none of them is for gets 404; without any, its `Host` names the \
                app, or the only app gets it. Where a path plays a part, one with a segment `.` or `..`, however it is \
                encoded, gets 400. Connections that are passed on by their server name follow no route.",
        form: Form::Many,
        fields: fields(route::KEYS).collect(),
        inner: Vec::new(),
    }
}

fn backend() -> Shape {
    Shape {
        key: backend::KEY,
        heading: "[[backends]]",
        about: "Backends that don't register; at most 10,000. They need no heartbeat, and obey the rules of a registration. \
                Nobody can deregister one, or take its id by registering; an operator can change it by PATCH.",
        form: Form::Many,
        fields: backend::FIELDS.iter().collect(),
        inner: Vec::new(),
    }
}

fn region() -> Shape {
    Shape {
        key: region::KEY,
        heading: "[regions.NAME]",
        about: "A region besides the built-in `sa`, `us`, `eu` and `ap`, or more about one of those. Where only the country \
                is to be said, `NAME = \"CC\"` under `[regions]` is enough.",
        form: Form::NamedOrText,
        fields: fields(region::KEYS).collect(),
        inner: Vec::new(),
    }
}
