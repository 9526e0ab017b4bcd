//! The members of a backend's table, as the reference has them. They are read by name.

use crate::kinds::number;
use crate::setting::Kind;
use crate::table::Field;

const PROTOCOLS: &[&str] = &["http1", "h2c", "https", "tcp"];

pub(crate) const FIELDS: &[Field] = &[
    field(
        "id",
        Kind::Text {
            name: "ID",
            expected: "1 to 128 of A-Z a-z 0-9 . _ : -",
        },
        "required",
        "Who it is, unique among all backends.",
    ),
    field(
        "app",
        Kind::Text {
            name: "APP",
            expected: "the name of an app, such as \"shop\"",
        },
        "required",
        "The app that it serves.",
    ),
    field(
        "region",
        Kind::Text {
            name: "REGION",
            expected: "the name of a region, such as \"eu\"",
        },
        "required",
        "The region that it runs in.",
    ),
    field(
        "country",
        Kind::Text {
            name: "CC",
            expected: "a country code, such as \"DE\"",
        },
        "the region's",
        "The country that it runs in.",
    ),
    field(
        "ip",
        Kind::Text {
            name: "IP",
            expected: "an IPv4 or IPv6 address",
        },
        "required",
        "Its address.",
    ),
    field("port", number(1, 65_535), "required", "Its port."),
    field(
        "weight",
        number(0, 1_000),
        "`2`",
        "Its share of the traffic; 0 takes no new requests.",
    ),
    field(
        "soft_limit",
        number(0, u32::MAX as u64),
        "`100`",
        "How many requests at a time it is comfortable with; 0 is no limit.",
    ),
    field(
        "hard_limit",
        number(0, u32::MAX as u64),
        "`150`",
        "How many requests at a time it gets at most; 0 is no limit.",
    ),
    field(
        "fallback",
        Kind::Switch,
        "`false`",
        "Use it only when every other backend of the app is out.",
    ),
    field("protocol", Kind::OneOf(PROTOCOLS), "`http1`", "What it speaks."),
    field(
        "metadata",
        Kind::Table {
            name: "NAME:VALUE,…",
            expected: "a table of texts, at most 32, 4096 bytes in all",
        },
        "none",
        "What else there is to say about it.",
    ),
];

const fn field(key: &'static str, kind: Kind, default: &'static str, doc_text: &'static str) -> Field {
    Field {
        key,
        kind,
        default,
        doc_text,
    }
}
