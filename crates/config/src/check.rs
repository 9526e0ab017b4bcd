//! Settings that are each valid and contradict each other.

use std::net::SocketAddr;

use crate::layers::Draft;
use crate::suggest::closest;

pub(crate) fn together(draft: &mut Draft<'_>) {
    region_exists(draft);
    listeners_differ(draft);
}

fn region_exists(draft: &mut Draft<'_>) {
    let region = draft.settings.region;
    if !draft.all_valid(&["region", "regions"]) || draft.settings.regions.country(region).is_some() {
        return;
    }
    let known: Vec<String> = draft
        .settings
        .regions
        .iter()
        .map(|(region, _)| region.to_string())
        .collect();
    let add = format!("add it with its country, in the file as `[regions]` with `{region} = \"CC\"`");
    let help = match closest(region.as_str(), known.iter().map(String::as_str)) {
        Some(meant) => format!("did you mean {meant:?}? Else {add}"),
        None => add,
    };
    let message = format!(
        "region is \"{region}\"; expected one of those known: {}",
        known.join(", ")
    );
    draft.conflict("region", message, Some(help));
}

fn listeners_differ(draft: &mut Draft<'_>) {
    let (proxy, api) = (draft.settings.listen_addr, draft.settings.api_listen_addr);
    let checked = draft.all_valid(&["listen_addr", "api_listen_addr", "api_enabled"]);
    // An API that is off binds nothing.
    if !checked || !draft.settings.api_enabled || !overlap(proxy, api) {
        return;
    }
    let at_fault = if draft.is_given("api_listen_addr") {
        "api_listen_addr"
    } else {
        "listen_addr"
    };
    let message = format!("listen_addr {proxy} and api_listen_addr {api} can't both be listened on");
    draft.conflict(
        at_fault,
        message,
        Some("give one of them another port".to_owned()),
    );
}

fn overlap(a: SocketAddr, b: SocketAddr) -> bool {
    if a.port() == 0 || a.port() != b.port() {
        return false;
    }
    // A dual-stack `[::]` takes the IPv4 addresses too.
    let covers = |wide: SocketAddr, other: SocketAddr| {
        wide.ip().is_unspecified() && (wide.is_ipv6() || other.is_ipv4())
    };
    a.ip() == b.ip() || covers(a, b) || covers(b, a)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn addresses_overlap_where_one_socket_would_take_the_other_ones_place() {
        for (a, b, expected) in [
            ("0.0.0.0:80", "127.0.0.1:80", true),
            ("[::]:80", "127.0.0.1:80", true),
            ("0.0.0.0:80", "[::1]:80", false),
            ("10.0.0.1:80", "10.0.0.2:80", false),
            ("10.0.0.1:80", "10.0.0.1:81", false),
            ("0.0.0.0:0", "0.0.0.0:0", false),
        ] {
            let (a, b): (SocketAddr, SocketAddr) = (a.parse().unwrap(), b.parse().unwrap());
            assert_eq!((overlap(a, b), overlap(b, a)), (expected, expected), "{a} {b}");
        }
    }
}
