//! What more than one table takes.

use crate::setting::Kind;

pub(crate) const SOCKET: Kind = Kind::Text {
    name: "IP:PORT",
    expected: "an IP address and a port, such as \"0.0.0.0:8080\" or \"[::]:8080\"",
};
pub(crate) const NETWORKS: Kind = Kind::List {
    name: "CIDR,…",
    expected: "a network, such as \"10.0.0.0/8\" or \"fd00::/8\"",
};

pub(crate) const PATH: Kind = Kind::Text {
    name: "PATH",
    expected: "the path of a PEM file, such as \"/etc/edgeproxy/cert.pem\"",
};

pub(crate) const DATABASE: Kind = Kind::Text {
    name: "PATH",
    expected: "the path of a MaxMind database of countries, such as \"/etc/edgeproxy/country.mmdb\"",
};

pub(crate) const FOLDER: Kind = Kind::Text {
    name: "FOLDER",
    expected: "the path of a folder, such as \"/var/lib/edgeproxy\"",
};

pub(crate) const SOCKET_OR_OFF: Kind = Kind::Text {
    name: "IP:PORT|off",
    expected: "an IP address and a port, such as \"0.0.0.0:8080\" or \"[::]:8080\", or \"off\"",
};

pub(crate) const fn number(min: u64, max: u64) -> Kind {
    Kind::Number {
        min,
        max,
        unit: "",
        word: None,
    }
}

pub(crate) const fn bytes(min: u64, max: u64) -> Kind {
    Kind::Number {
        min,
        max,
        unit: "bytes",
        word: None,
    }
}

pub(crate) const fn seconds(min: u64, max: u64) -> Kind {
    Kind::Number {
        min,
        max,
        unit: "seconds",
        word: None,
    }
}
