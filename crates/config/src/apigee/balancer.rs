//! `LoadBalancer`: which servers take turns, and when one is out.

use std::collections::HashSet;

use super::element::{Element, Spot};
use super::notes::{Known, Notes, shown};
use super::rules;

/// What a balancer says.
#[derive(Debug, Clone)]
pub(super) struct Balancer {
    pub(super) algorithm: &'static str,
    pub(super) members: Vec<Member>,
    pub(super) max_failures: u64,
    pub(super) retry: Option<bool>,
    pub(super) unhealthy: Vec<u16>,
}

/// A reference to a target server.
#[derive(Debug, Clone)]
pub(super) struct Member {
    pub(super) name: String,
    pub(super) weight: u64,
    pub(super) fallback: bool,
    pub(super) enabled: bool,
    pub(super) at: Spot,
}

const KNOWN: Known = Known {
    once: &[
        "Algorithm",
        "MaxFailures",
        "RetryEnabled",
        "TargetDisableSecs",
        "ServerUnhealthyResponse",
    ],
    often: &["Server"],
    attributes: &[],
};

impl Balancer {
    pub(super) fn read(notes: &mut Notes<'_>, element: &Element) -> Self {
        notes.only(element, &KNOWN);
        let algorithm = algorithm(notes, element.child("Algorithm"));
        let members = members(notes, element, algorithm);
        fallbacks(notes, element, &members);
        let max_failures = notes.whole(element.child("MaxFailures"), 1_000_000);
        if element.child("MaxFailures").is_none() {
            notes.tell(
                rules::NO_MAX_FAILURES,
                &element.at,
                "there is no MaxFailures, which is 0: a server that is down keeps getting its turn",
                "write <MaxFailures>5</MaxFailures> and a HealthMonitor; here max_failures and [apps.NAME.health]",
            );
        }
        if let Some(found) = element.child("TargetDisableSecs") {
            notes.tell(
                rules::NO_COUNTERPART,
                &found.at,
                "<TargetDisableSecs> has no counterpart: a backend that was ejected is tried again after 30 s, and after \
                 twice as long each time that it fails again, up to 300 s",
                "write a health monitor, which lets a backend return as soon as it is well",
            );
        }
        Self {
            algorithm,
            members,
            max_failures: max_failures.unwrap_or_default(),
            retry: notes.flag(element.child("RetryEnabled")),
            unhealthy: unhealthy(notes, element.child("ServerUnhealthyResponse")),
        }
    }
}

fn algorithm(notes: &mut Notes<'_>, element: Option<&Element>) -> &'static str {
    let text = element.and_then(|element| Some((element, notes.text(element)?)));
    match text {
        None | Some((_, "RoundRobin")) => "round_robin",
        Some((_, "Weighted")) => "weighted",
        Some((_, "LeastConnections")) => "least_connections",
        Some((element, other)) => {
            let found = format!("\"{}\"", shown(other));
            let expected = "RoundRobin, Weighted or LeastConnections";
            notes.bad(element, &found, expected, Some("round_robin was written"));
            "round_robin"
        }
    }
}

fn members(notes: &mut Notes<'_>, element: &Element, algorithm: &str) -> Vec<Member> {
    const SERVER: Known = Known::once(&["Weight", "IsFallback", "IsEnabled"]);
    let mut members: Vec<Member> = Vec::new();
    let mut named = HashSet::new();
    for server in element.children("Server") {
        notes.only(server, &SERVER);
        let Some(name) = server.given_name() else {
            notes.tell(
                rules::SERVER_UNNAMED,
                &server.at,
                "a <Server> has no name, so it refers to nothing: it was left out",
                "give it the name of a target server",
            );
            continue;
        };
        if !named.insert(name) {
            notes.tell(
                rules::SERVER_TWICE,
                &server.at,
                format!("server \"{}\" is named twice: the first counts", shown(name)),
                "remove one; to give it more of the traffic, write Weighted and a Weight",
            );
            continue;
        }
        let weight = server.child("Weight");
        if let Some(weight) = weight.filter(|_| algorithm != "weighted") {
            notes.tell(
                rules::NO_COUNTERPART,
                &weight.at,
                format!("<Weight> does nothing with {algorithm}: it was left out"),
                "write <Algorithm>Weighted</Algorithm>, or remove it",
            );
        }
        members.push(Member {
            name: name.to_owned(),
            // What a server has that says nothing.
            weight: notes.whole(weight, u64::from(u32::MAX)).unwrap_or(1),
            fallback: notes.flag(server.child("IsFallback")).unwrap_or(false),
            enabled: notes.flag(server.child("IsEnabled")).unwrap_or(true),
            at: server.at.clone(),
        });
    }
    if members.is_empty() {
        notes.tell(
            rules::NO_SERVERS,
            &element.at,
            "the load balancer has no server: every request would get 503",
            "add one, as in <Server name=\"target1\"/>",
        );
    }
    members
}

fn fallbacks(notes: &mut Notes<'_>, element: &Element, members: &[Member]) {
    let fallbacks: Vec<&Member> = members.iter().filter(|member| member.fallback).collect();
    if let [_, second, ..] = fallbacks.as_slice() {
        notes.tell(
            rules::SEVERAL_FALLBACKS,
            &second.at,
            format!(
                "{} servers are fallbacks, where Apigee permits one; here they take turns",
                fallbacks.len()
            ),
            "keep one, if the others are to get traffic every day",
        );
    }
    if !members.is_empty() && fallbacks.len() == members.len() {
        notes.tell(
            rules::ONLY_FALLBACK,
            &element.at,
            "every server is a fallback: there is nothing that it could stand in for, so it is an ordinary backend here",
            "remove IsFallback, or add the server that it stands in for",
        );
    }
}

fn unhealthy(notes: &mut Notes<'_>, element: Option<&Element>) -> Vec<u16> {
    const CODES: Known = Known {
        once: &[],
        often: &["ResponseCode"],
        attributes: &[],
    };
    let Some(element) = element else {
        return Vec::new();
    };
    notes.only(element, &CODES);
    codes(notes, element)
}

/// Every `ResponseCode` that is one.
pub(super) fn codes(notes: &mut Notes<'_>, element: &Element) -> Vec<u16> {
    let mut codes = Vec::new();
    for code in element.children("ResponseCode") {
        let Some(text) = notes.text(code) else { continue };
        match text.parse::<u16>() {
            Ok(status) if (200..=599).contains(&status) && codes.len() < 64 => {
                if !codes.contains(&status) {
                    codes.push(status);
                }
            }
            _ => notes.bad(
                code,
                &format!("\"{}\"", shown(text)),
                "at most 64 statuses from 200 to 599",
                None,
            ),
        }
    }
    codes
}
