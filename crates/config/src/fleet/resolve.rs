//! What only shows once all of the file has been read: whom tables name, and whether they are there.

use std::ops::Range;
use std::time::Duration;

use edgeproxy_backend::{AppName, Backend, BackendAddr, BackendId, Limits, Region, Weight};

use super::keys::{At, Event, Group, Raw, Server, Simulation, Traffic};
use super::{Behaviour, Fleet, FleetEvent, FleetMachine, FleetTraffic, Happening, Spacing};
use crate::draft::Draft;
use crate::layers::Loaded;
use crate::policy::Decimal;
use crate::suggest::closest;

/// The most backends: what a simulation takes.
const MOST: usize = 2_000;

/// A backend, and the group that it is of.
struct Member {
    machine: FleetMachine,
    group: Option<String>,
}

/// `None` where no app can be told, which has been told then.
pub(super) fn resolve(draft: &mut Draft<'_>, raw: &Raw) -> Option<Fleet> {
    let app = app(draft, &raw.simulation)?;
    let mut members = listed(draft, &app);
    for (number, group) in raw.groups.iter().enumerate() {
        members.extend(of_group(draft, &app, number, group));
    }
    if members.len() > MOST {
        let message = format!("there are {} backends; expected at most {MOST}", members.len());
        problem(
            draft,
            raw.groups.last().map(|group| group.at.whole.clone()),
            message,
            None,
        );
        members.truncate(MOST);
    }
    unique(draft, &members, &raw.groups);
    for server in &raw.servers {
        behave(draft, &mut members, server);
    }
    let events = raw
        .events
        .iter()
        .filter_map(|event| of_event(draft, &members, event))
        .collect();
    let traffic = raw
        .traffic
        .iter()
        .map(|traffic| of_traffic(draft, traffic))
        .collect();
    let mut proxies = Vec::new();
    for proxy in &raw.proxies {
        let region = proxy.region.unwrap_or(draft.settings.region);
        known(draft, region, &proxy.at);
        proxies.extend(std::iter::repeat_n(region, proxy.count.unwrap_or(1)));
    }
    if proxies.is_empty() {
        proxies.push(draft.settings.region);
    }
    // Where one was given that has a fault, that is what is to be mended.
    let is_sound = draft.problem_count() == 0;
    if members.is_empty() && is_sound {
        let help = "add [[groups]] with a name, a count and a region, or [[backends]]".to_owned();
        let message = format!("app \"{app}\" has no backend; expected at least one");
        problem(draft, raw.simulation.at.clone(), message, Some(help));
    }
    if raw.traffic.is_empty() && is_sound {
        let help = "add [[traffic]] with a rate of requests each second".to_owned();
        problem(
            draft,
            raw.simulation.at.clone(),
            "there is no traffic; expected some".to_owned(),
            Some(help),
        );
    }
    Some(Fleet {
        loaded: Loaded::from(draft.settings.clone()),
        title: raw.simulation.title.clone(),
        compare: raw.simulation.compare.clone().unwrap_or_default().0,
        app,
        seed: raw.simulation.seed.unwrap_or(1),
        duration: raw.simulation.duration.unwrap_or(Duration::from_secs(60)),
        proxies,
        machines: members.into_iter().map(|member| member.machine).collect(),
        traffic,
        events,
    })
}

/// A problem at a place, or at the beginning of the file.
fn problem(draft: &mut Draft<'_>, at: Option<Range<usize>>, message: String, help: Option<String>) {
    draft.conflict_at(&at.unwrap_or(0..0), message, help);
}

/// The app that is named, or the only one that there is.
fn app(draft: &mut Draft<'_>, simulation: &Simulation) -> Option<AppName> {
    if let Some(app) = &simulation.app {
        return Some(app.clone());
    }
    let topology = &draft.topology;
    let of_backends = topology.backends.iter().map(|listed| &listed.backend.app);
    let mut apps: Vec<AppName> = topology
        .apps
        .iter()
        .map(|app| &app.name)
        .chain(of_backends)
        .cloned()
        .collect();
    apps.sort_unstable();
    apps.dedup();
    match apps.as_slice() {
        [only] => Some(only.clone()),
        [] => {
            let message = "there is no app; expected the name of one".to_owned();
            let help = Some("name it: `[simulation]` with `app = \"shop\"`".to_owned());
            problem(draft, simulation.at.clone(), message, help);
            None
        }
        [first, ..] => {
            let names: Vec<&str> = apps.iter().map(AppName::as_str).collect();
            let message = format!(
                "there are {} apps: {}; one is simulated",
                apps.len(),
                names.join(", ")
            );
            let help = format!("name it: `[simulation]` with `app = \"{first}\"`");
            problem(draft, simulation.at.clone(), message, Some(help));
            None
        }
    }
}

fn listed(draft: &Draft<'_>, app: &AppName) -> Vec<Member> {
    let backends = draft.topology.backends_of(app);
    let member = |backend: &Backend| Member {
        machine: FleetMachine {
            backend: backend.clone(),
            listed: true,
            is_there: true,
            behaviour: Behaviour::default(),
        },
        group: None,
    };
    backends.map(|listed| member(&listed.backend)).collect()
}

fn of_group(draft: &mut Draft<'_>, app: &AppName, number: usize, group: &Group) -> Vec<Member> {
    let (Some(name), Some(count), Some(region)) = (&group.name, group.count, group.region) else {
        return Vec::new();
    };
    let default = Limits::DEFAULT;
    let soft = group.soft_limit.unwrap_or(default.soft());
    let hard = group.hard_limit.unwrap_or(default.hard());
    let limits = Limits::new(soft, hard).unwrap_or_else(|error| {
        draft.conflict_at(&group.at.key("hard_limit"), format!("a group's {error}"), None);
        default
    });
    if !known(draft, region, &group.at) {
        return Vec::new();
    }
    let country = group.country.or_else(|| draft.settings.regions.country(region));
    let weight = Weight::new(group.weight.unwrap_or(u64::from(Weight::DEFAULT.get()))).unwrap_or_default();
    let member = |place: usize| {
        let id = BackendId::parse(&format!("{name}-{}", place + 1)).ok()?;
        let ip = format!("10.{}.{}.{}", number % 256, place / 250, place % 250 + 1);
        let addr = BackendAddr::parse(&ip, 8080).ok()?;
        let machine = FleetMachine {
            backend: Backend {
                weight,
                limits,
                fallback: group.fallback.unwrap_or(false),
                ..Backend::new(id, app.clone(), region, country?, addr)
            },
            listed: false,
            is_there: true,
            behaviour: Behaviour::default(),
        };
        Some(Member {
            machine,
            group: Some(name.clone()),
        })
    };
    let members: Vec<Member> = (0..count.min(MOST)).filter_map(member).collect();
    if members.is_empty() {
        let message = format!("a group's name is {name:?}; expected 1 to 123 of A-Z a-z 0-9 . _ : -");
        draft.conflict_at(&group.at.key("name"), message, None);
    }
    members
}

fn unique(draft: &mut Draft<'_>, members: &[Member], groups: &[Group]) {
    let mut ids: Vec<&BackendId> = members.iter().map(|member| &member.machine.backend.id).collect();
    ids.sort_unstable();
    let twice = ids.windows(2).find(|pair| pair.first() == pair.last());
    if let Some([id, ..]) = twice {
        let of = |group: &&Group| {
            group
                .name
                .as_ref()
                .is_some_and(|name| id.as_str().starts_with(name.as_str()))
        };
        let at = groups.iter().rev().find(of).map(|group| group.at.key("name"));
        let help = Some("give the group another name".to_owned());
        problem(
            draft,
            at,
            format!("two backends have the id \"{id}\"; expected each its own"),
            help,
        );
    }
}

/// Whether a region is one; told if not.
fn known(draft: &mut Draft<'_>, region: Region, at: &At) -> bool {
    if draft.settings.regions.country(region).is_some() {
        return true;
    }
    if draft.all_valid(&["regions"]) {
        let names = draft.settings.regions.names();
        let message = format!("region is \"{region}\", which is not a configured region; known are {names}");
        let help = format!("add it with its country, as `{region} = \"CC\"` in [regions]");
        draft.conflict_at(&at.key("region"), message, Some(help));
    }
    false
}

/// The members that a table names, by at most one of three keys; all of them without any.
fn named(
    draft: &mut Draft<'_>,
    members: &[Member],
    (backend, group, region): (Option<&str>, Option<&str>, Option<Region>),
    at: &At,
) -> Vec<usize> {
    let given = [
        ("backend", backend.is_some()),
        ("group", group.is_some()),
        ("region", region.is_some()),
    ];
    let mut given = given.into_iter().filter(|(_, given)| *given).map(|(key, _)| key);
    let (first, second) = (given.next(), given.next());
    if let (Some(first), Some(second)) = (first, second) {
        let message =
            format!("{first} and {second} are both given; expected one of them, or none for every backend");
        draft.conflict_at(&at.key(second), message, None);
        return Vec::new();
    }
    let is_named = |member: &Member| {
        backend.is_none_or(|id| member.machine.backend.id.as_str() == id)
            && group.is_none_or(|name| member.group.as_deref() == Some(name))
            && region.is_none_or(|region| member.machine.backend.region == region)
    };
    let found: Vec<usize> = members
        .iter()
        .enumerate()
        .filter(|(_, member)| is_named(member))
        .map(|(place, _)| place)
        .collect();
    if let (Some(key), true) = (first, found.is_empty()) {
        let name = backend.or(group).map_or_else(
            || region.map_or_else(String::new, |region| region.to_string()),
            str::to_owned,
        );
        let ids = members.iter().map(|member| member.machine.backend.id.as_str());
        let groups = members.iter().filter_map(|member| member.group.as_deref());
        let meant = match key {
            "backend" => closest(&name, ids),
            "group" => closest(&name, groups),
            _ => None,
        };
        let help = meant.map(|meant| format!("did you mean {meant:?}?"));
        let message = match key {
            "backend" => format!("there is no backend {name:?}"),
            _ => format!("there is no backend of {key} {name:?}"),
        };
        draft.conflict_at(&at.key(key), message, help);
    }
    found
}

fn behave(draft: &mut Draft<'_>, members: &mut [Member], server: &Server) {
    let names = (server.backend.as_deref(), server.group.as_deref(), server.region);
    for place in named(draft, members, names, &server.at) {
        let Some(machine) = members.get_mut(place).map(|member| &mut member.machine) else {
            continue;
        };
        let is = &mut machine.behaviour;
        let before = *is;
        *is = Behaviour {
            latency_ms: server.latency_ms.unwrap_or(before.latency_ms),
            distribution: server.distribution.unwrap_or(before.distribution),
            sigma: server.sigma.unwrap_or(before.sigma),
            parallel: server.parallel.unwrap_or(before.parallel),
            warm_up: server.warm_up.unwrap_or(before.warm_up),
            warm_up_factor: server.warm_up_factor.unwrap_or(before.warm_up_factor),
            error_percent: server.error_percent.unwrap_or(before.error_percent),
            status: server.status.unwrap_or(before.status),
            reset_percent: server.reset_percent.unwrap_or(before.reset_percent),
        };
        machine.is_there = server.is_there.unwrap_or(machine.is_there);
    }
}

fn of_traffic(draft: &mut Draft<'_>, traffic: &Traffic) -> FleetTraffic {
    if let Some(region) = traffic.region {
        known(draft, region, &traffic.at);
    }
    let from = traffic.from.unwrap_or_default();
    if let Some(until) = traffic.until.filter(|until| *until <= from) {
        let message = format!(
            "until_secs is {}; expected more than from_secs, which is {}",
            until.as_secs(),
            from.as_secs()
        );
        draft.conflict_at(&traffic.at.key("until_secs"), message, None);
    }
    if traffic.zipf.is_some() && traffic.keys.is_none() {
        let help = Some("add `keys = 1000`, the number of clients".to_owned());
        draft.conflict_at(
            &traffic.at.key("zipf"),
            "zipf is given without keys".to_owned(),
            help,
        );
    }
    let rate = traffic.rate.unwrap_or(Decimal::from_thousandths(0));
    let region = traffic.region.map(|region| region.to_string());
    FleetTraffic {
        name: traffic
            .name
            .clone()
            .or(region)
            .unwrap_or_else(|| "clients".to_owned()),
        rate,
        to_rate: traffic.to_rate.unwrap_or(rate),
        from,
        until: traffic.until,
        spacing: traffic.spacing.unwrap_or(Spacing::Poisson),
        region: traffic.region,
        country: traffic.country,
        keys: traffic
            .keys
            .map(|keys| (keys, traffic.zipf.unwrap_or(Decimal::from_thousandths(0)))),
        idempotent: traffic.idempotent.unwrap_or(true),
    }
}

fn of_event(draft: &mut Draft<'_>, members: &[Member], event: &Event) -> Option<FleetEvent> {
    let (at, happening) = (event.at_secs?, event.what?);
    for (key, given, of) in [
        ("factor", event.factor.is_some(), &[Happening::Slow][..]),
        (
            "percent",
            event.percent.is_some(),
            &[Happening::Errors, Happening::Resets],
        ),
        ("weight", event.weight.is_some(), &[Happening::Weigh]),
        ("down_secs", event.down.is_some(), &[Happening::Restart]),
    ] {
        if given && !of.contains(&happening) {
            let of: Vec<&str> = of.iter().map(|of| of.as_str()).collect();
            let message = format!("{key} is for {}, and this is {happening}", of.join(" and "));
            draft.conflict_at(&event.at.key(key), message, Some("remove it".to_owned()));
        }
    }
    if event.lasts.is_some() && happening == Happening::Restart {
        let message =
            "for_secs is for what goes on until it is over; a restart takes its drain and down_secs"
                .to_owned();
        draft.conflict_at(&event.at.key("for_secs"), message, Some("remove it".to_owned()));
    }
    let names = (event.backend.as_deref(), event.group.as_deref(), event.region);
    Some(FleetEvent {
        at,
        machines: named(draft, members, names, &event.at),
        stagger: event.stagger.unwrap_or_default(),
        happening,
        lasts: event.lasts,
        factor: event.factor.unwrap_or(Decimal::from_thousandths(10_000)),
        percent: event.percent.unwrap_or(Decimal::from_thousandths(100_000)),
        weight: Weight::new(event.weight.unwrap_or(0)).unwrap_or_default(),
        down: event.down.unwrap_or(Duration::from_secs(5)),
    })
}
