//! What a message must be, compared with what it is.

use crate::case::Expected;
use crate::stage::PSEUDONYM;
use crate::wire::Message;

/// What is wrong with a message, in words; nothing is.
pub(crate) type Checked = Result<(), String>;

pub(crate) fn ensure(holds: bool, otherwise: impl FnOnce() -> String) -> Checked {
    if holds { Ok(()) } else { Err(otherwise()) }
}

/// What a case says of a message. `{origin}` in a value stands for the backend's address.
pub(crate) fn expected(expected: &Expected, origin: &str, found: &Message) -> Checked {
    for (name, _) in &expected.fields {
        let values: Vec<String> = (expected.fields.iter())
            .filter(|(other, _)| other.eq_ignore_ascii_case(name))
            .map(|(_, value)| value.replace("{origin}", origin))
            .collect();
        let all = found.all(name);
        // Options of a connection are tokens in any case.
        let same = if name == "connection" {
            all.join(",").eq_ignore_ascii_case(&values.join(","))
        } else {
            all == values
        };
        ensure(same, || format!("{name}: {values:?} expected, found {all:?}"))?;
    }
    for absent in &expected.absent {
        match absent.split_once(": ") {
            Some((name, value)) => ensure(!found.all(name).contains(&value), || {
                format!("\"{absent}\" is still there")
            })?,
            None => ensure(!found.has(absent), || {
                format!("{absent} is still there: {:?}", found.all(absent))
            })?,
        }
    }
    ensure(found.body == expected.body, || {
        format!(
            "the body {} expected, found {}",
            short(&expected.body),
            short(&found.body)
        )
    })?;
    let trailers: Vec<_> = (found.trailers.iter())
        .map(|(name, value)| (name.to_ascii_lowercase(), value.clone()))
        .collect();
    ensure(trailers == expected.trailers, || {
        format!(
            "the trailers {:?} expected, found {trailers:?}",
            expected.trailers
        )
    })
}

/// What holds for every request that a backend sees.
pub(crate) fn request(found: &Message) -> Checked {
    let one = |name: &str| match found.all(name).as_slice() {
        [value] => Ok((*value).to_owned()),
        values => Err(format!("one {name} expected, found {values:?}")),
    };
    one("host")?;
    one("x-request-id")?;
    one("traceparent")?;
    ensure(one("x-forwarded-for")? == "127.0.0.1", || {
        "X-Forwarded-For is not the client's address".to_owned()
    })?;
    ensure(one("x-forwarded-proto")? == "http", || {
        "X-Forwarded-Proto is not http".to_owned()
    })?;
    signed(found)?;
    ensure(found.start.ends_with(" HTTP/1.1"), || {
        format!("the backend is spoken to by {:?}", found.start)
    })?;
    none_of(
        found,
        &[
            "keep-alive",
            "proxy-connection",
            "forwarded",
            "x-real-ip",
            "http2-settings",
        ],
    )
}

/// What holds for every response of a backend's that a client sees.
pub(crate) fn response(found: &Message) -> Checked {
    let dates = found.all("date");
    ensure(dates.len() == 1, || format!("one date expected, found {dates:?}"))?;
    signed(found)?;
    none_of(found, &["keep-alive", "proxy-connection"])
}

/// What holds for every error of the proxy's own.
pub(crate) fn own(found: &Message, closes: bool) -> Checked {
    for (name, value) in [
        ("server", "edgeproxy"),
        ("content-type", "application/problem+json"),
    ] {
        let all = found.all(name);
        ensure(all == [value], || {
            format!("{name}: {value} expected of an error of the proxy's own, found {all:?}")
        })?;
    }
    let words = found.all("x-edgeproxy-error");
    ensure(words.len() == 1, || {
        format!("one X-Edgeproxy-Error expected, found {words:?}")
    })?;
    let says = found.all("connection").contains(&"close");
    ensure(says == closes, || {
        format!("Connection: close is said: {says}; the connection is to close: {closes}")
    })
}

fn signed(found: &Message) -> Checked {
    let via = found.all("via");
    let last = via.last().and_then(|value| value.rsplit(',').next());
    let by = last.and_then(|hop| hop.trim().strip_prefix("1.")?.split_once(' '));
    ensure(by.is_some_and(|(_, name)| name == PSEUDONYM), || {
        format!("Via is not signed: {via:?}")
    })
}

fn none_of(found: &Message, names: &[&str]) -> Checked {
    for name in names {
        ensure(!found.has(name), || {
            format!("{name} is still there: {:?}", found.all(name))
        })?;
    }
    Ok(())
}

/// A text that is fit for a line.
pub(crate) fn short(text: &str) -> String {
    const MAX: usize = 200;
    let shown: String = text.chars().take(MAX).collect();
    if shown.len() == text.len() {
        format!("{shown:?}")
    } else {
        format!("{shown:?} and more, {} bytes", text.chars().count())
    }
}
