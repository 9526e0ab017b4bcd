//! A fleet file as a fleet that can be simulated. Its app is made by the same [`Plan`] that serves: so a setting means in a
//! simulation what it means in use.

use std::ops::RangeInclusive;
use std::time::Duration;

use edgeproxy_backend::Protocol;
use edgeproxy_balance::retry::Allowance;
use edgeproxy_balance::{Algorithm, LastResort};
use edgeproxy_config as config;
use edgeproxy_config::{Distribution, FleetMachine, FleetTraffic, Happening, Spacing, Sticky};
use edgeproxy_simulate as simulate;
use edgeproxy_simulate::{Action, Arrivals, Keys, Latency, Machine, Membership, Rate, Requests, Site, Step};

use crate::plan::{self, AppPlan, Plan, PlanError};
use crate::translate;

/// What a fleet file describes.
///
/// # Errors
/// When its app's health monitor or a route can't be.
pub fn fleet(file: &config::Fleet) -> Result<simulate::Fleet, PlanError> {
    let (settings, topology) = (&file.loaded.settings, &file.loaded.topology);
    let plan = Plan::of(settings, topology)?;
    let app = plan.app(&file.app);
    let of_app = topology.app(&file.app).map(|app| &app.settings);
    let of_all = config::AppSettings::of(settings);
    let effective = of_app.unwrap_or(&of_all);
    let mut machines: Vec<Machine> = file.machines.iter().map(machine).collect();
    for machine in &mut machines {
        machine.backend.fallback |= app.fallback.contains(&machine.backend.id);
    }
    let regions: Vec<_> = settings.regions.iter().map(|(region, _)| region).collect();
    let pairs = regions
        .iter()
        .flat_map(|one| regions.iter().map(move |other| (*one, *other)));
    let known = pairs.filter(|(one, other)| one < other);
    Ok(simulate::Fleet {
        seed: file.seed,
        duration: file.duration,
        app: simulate::App {
            name: file.app.clone(),
            policy: app.policy.clone(),
            ledgers: app.ledgers,
            // Simulated backends speak HTTP/1.1.
            monitor: app
                .monitors
                .as_ref()
                .map(|monitors| (**monitors.of(Protocol::Http1)).clone()),
            requests: requests(app, effective),
            registry: translate::registry(settings, app.ledgers),
        },
        machines,
        traffic: file.traffic.iter().map(traffic).collect(),
        sites: file
            .proxies
            .iter()
            .map(|region| Site { region: *region })
            .collect(),
        round_trips: known
            .filter_map(|(one, other)| Some((one, other, topology.geography.rtt(one, other)?)))
            .collect(),
        script: file.events.iter().map(step).collect(),
    })
}

/// The same fleet with each of the algorithms that are compared; only itself where there are none.
#[must_use]
pub fn compared(
    fleet: &simulate::Fleet,
    algorithms: &[(config::Algorithm, Option<config::Algorithm>)],
) -> Vec<simulate::Fleet> {
    let with = |(outer, inner): &(config::Algorithm, Option<config::Algorithm>)| {
        let mut other = fleet.clone();
        other.app.policy.algorithm = match inner {
            Some(inner) => Algorithm::RegionAffinity(plan::algorithm(*inner).inner()),
            None => plan::algorithm(*outer),
        };
        other
    };
    if algorithms.is_empty() {
        vec![fleet.clone()]
    } else {
        algorithms.iter().map(with).collect()
    }
}

fn requests(app: &AppPlan, effective: &config::AppSettings) -> Requests {
    let settings = &app.settings;
    let statuses = (100..=599).filter(|status| settings.unhealthy_responses.contains(*status));
    Requests {
        max_failures: settings.max_failures,
        last_resort: if settings.last_resort {
            LastResort::Used
        } else {
            LastResort::Unused
        },
        unhealthy: statuses
            .map(|status: u16| RangeInclusive::new(status, status))
            .collect(),
        max_attempts: if settings.retry_enabled {
            settings.max_attempts
        } else {
            1
        },
        retry_non_idempotent: settings.retry_non_idempotent,
        allowance: Allowance {
            percent: settings.retry_budget_percent,
            per_sec: settings.retry_budget_per_sec,
        },
        queue_max: settings.queue_max,
        queue_timeout: settings.queue_timeout,
        connect_timeout: settings.connect_timeout,
        response_timeout: settings.response_header_timeout,
        bindings: match effective.sticky {
            Sticky::Off => None,
            _ => Some((effective.max_bindings, effective.binding_ttl)),
        },
    }
}

fn machine(machine: &FleetMachine) -> Machine {
    let is = &machine.behaviour;
    let mean = Duration::from_micros(u64::from(is.latency_ms.thousandths()));
    Machine {
        backend: machine.backend.clone(),
        membership: if machine.listed {
            Membership::Listed
        } else {
            Membership::Registers
        },
        is_there: machine.is_there,
        latency: match is.distribution {
            Distribution::Constant => Latency::Constant(mean),
            Distribution::Exponential => Latency::Exponential(mean),
            Distribution::Lognormal => Latency::Lognormal {
                mean,
                sigma_permille: short(is.sigma.thousandths()),
            },
        },
        parallel: is.parallel,
        warm_up: (!is.warm_up.is_zero()).then(|| (is.warm_up, is.warm_up_factor.as_f64())),
        // The thousandths of a percent are parts of 100,000.
        errors_per_100k: is.error_percent.thousandths(),
        status: short(is.status),
        resets_per_100k: is.reset_percent.thousandths(),
    }
}

/// What the file's bounds let through fits.
fn short(number: u32) -> u16 {
    u16::try_from(number).unwrap_or(u16::MAX)
}

fn traffic(traffic: &FleetTraffic) -> simulate::Traffic {
    simulate::Traffic {
        name: traffic.name.clone(),
        rate: Rate {
            from: traffic.from,
            until: traffic.until,
            begin: traffic.rate.as_f64(),
            end: traffic.to_rate.as_f64(),
        },
        arrivals: match traffic.spacing {
            Spacing::Poisson => Arrivals::Poisson,
            Spacing::Even => Arrivals::Even,
        },
        region: traffic.region,
        country: traffic.country,
        keys: traffic.keys.map(|(count, zipf)| Keys {
            count,
            zipf_permille: short(zipf.thousandths()),
        }),
        idempotent: traffic.idempotent,
    }
}

fn step(event: &config::FleetEvent) -> Step {
    Step {
        at: event.at,
        machines: event.machines.clone(),
        stagger: event.stagger,
        action: match event.happening {
            Happening::Crash => Action::Crash,
            Happening::Hang => Action::Hang,
            Happening::Unreachable => Action::Unreachable,
            Happening::Slow => Action::Slow(event.factor.as_f64()),
            Happening::Errors => Action::Errors(event.percent.thousandths()),
            Happening::Resets => Action::Resets(event.percent.thousandths()),
            Happening::Silent => Action::Silent,
            Happening::Restart => Action::Restart(event.down),
            Happening::Join => Action::Join,
            Happening::Leave => Action::Leave,
            Happening::Disable => Action::Disable,
            Happening::Weigh => Action::Weigh(event.weight),
        },
        lasts: event.lasts,
    }
}

#[cfg(test)]
pub(crate) mod tests;
