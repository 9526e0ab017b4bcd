use super::*;

/// Backends whose utilization is what they get of the offered load by their capacity, and who get shares in proportion to
/// weight and factor. What they report is `late` heartbeats old.
struct Plant {
    loads: Loads,
    members: Vec<Member>,
    offered: f64,
    late: usize,
    publications: u32,
}

struct Member {
    weight: f64,
    capacity: f64,
    steering: Steering,
    history: Vec<f64>,
}

fn eu() -> Region {
    Region::parse("eu").unwrap()
}

impl Plant {
    fn new(members: &[(f64, f64)], offered: f64, late: usize) -> Self {
        let member = |(weight, capacity): &(f64, f64)| Member {
            weight: *weight,
            capacity: *capacity,
            steering: Steering::CLEAN,
            history: Vec::new(),
        };
        Self {
            loads: Loads::default(),
            members: members.iter().map(member).collect(),
            offered,
            late,
            publications: 0,
        }
    }

    fn share(member: &Member) -> f64 {
        member.weight * f64::from(member.steering.factor.permille())
    }

    fn utilizations(&self) -> Vec<f64> {
        let all: f64 = self.members.iter().map(Self::share).sum();
        let busy = |member: &Member| (self.offered * Self::share(member) / all / member.capacity).min(1.0);
        self.members.iter().map(busy).collect()
    }

    /// Everyone sends a heartbeat, with a utilization that is off by what `noise` says.
    #[allow(clippy::cast_possible_truncation, clippy::cast_sign_loss)]
    fn round(&mut self, mut noise: impl FnMut() -> f64) {
        let now = self.utilizations();
        for (member, now) in self.members.iter_mut().zip(now) {
            member.history.push(now);
            let seen = member.history[member.history.len().saturating_sub(1 + self.late)];
            let reported = (seen * (1.0 + noise()) * 1_000.0).clamp(0.0, 1_000.0) as u16;
            let before = member.steering.factor;
            self.loads.report(eu(), &mut member.steering, Some(reported));
            self.publications += u32::from(member.steering.factor != before);
        }
    }

    /// How much busier the busiest is than the idlest.
    fn spread(&self) -> f64 {
        let found = self.utilizations();
        let most = found.iter().copied().fold(0.0, f64::max);
        most / found.iter().copied().fold(f64::MAX, f64::min)
    }
}

#[test]
fn what_heartbeats_report_evens_out_how_busy_backends_are() {
    for late in 0..=2 {
        let mut plant = Plant::new(&[(2.0, 100.0), (2.0, 200.0), (2.0, 300.0)], 300.0, late);
        assert!(plant.spread() > 2.9);
        for _ in 0..30 {
            plant.round(|| 0.0);
        }
        let spread = plant.spread();
        assert!(
            spread < 1.35,
            "{late} late: the busiest is {spread:.2} times as busy as the idlest"
        );
        plant.publications = 0;
        for _ in 0..100 {
            plant.round(|| 0.0);
        }
        assert!(
            plant.publications <= 3,
            "{late} late: {} changes of the table though nothing happens",
            plant.publications
        );
    }
}

#[test]
fn reports_that_are_two_heartbeats_old_make_nobody_swing() {
    let mut plant = Plant::new(&[(1.0, 100.0), (1.0, 100.0), (1.0, 50.0)], 120.0, 2);
    for _ in 0..40 {
        plant.round(|| 0.0);
    }
    let (mut least, mut most) = (f64::MAX, 0.0_f64);
    for _ in 0..60 {
        plant.round(|| 0.0);
        least = least.min(plant.utilizations()[0]);
        most = most.max(plant.utilizations()[0]);
    }
    assert!(most / least < 1.2, "swings between {least:.2} and {most:.2}");
}

#[test]
fn noise_of_a_tenth_moves_the_table_seldom() {
    let mut random = fastrand::Rng::with_seed(7);
    let mut plant = Plant::new(&[(2.0, 100.0); 10], 500.0, 1);
    for _ in 0..1_000 {
        plant.round(|| (random.f64() - 0.5) / 5.0);
    }
    assert!(plant.spread() < 1.4);
    // Of 10,000 reports.
    assert!(plant.publications < 100, "{} changes", plant.publications);
}

#[test]
fn one_alone_is_compared_with_nobody() {
    let mut loads = Loads::default();
    let mut steering = Steering::CLEAN;
    for utilization in [0, 500, 1_000] {
        loads.report(eu(), &mut steering, Some(utilization));
        assert_eq!(steering.factor, LoadFactor::NONE);
    }
}

#[test]
fn whoever_stops_reporting_gets_its_weight_back() {
    let mut plant = Plant::new(&[(1.0, 100.0), (1.0, 500.0)], 100.0, 0);
    for _ in 0..20 {
        plant.round(|| 0.0);
    }
    let member = &mut plant.members[1];
    assert!(member.steering.factor > LoadFactor::NONE);
    let mut heartbeats = 0;
    while member.steering != Steering::CLEAN {
        plant.loads.report(eu(), &mut member.steering, None);
        heartbeats += 1;
        assert!(heartbeats < 200, "{:?}", member.steering);
    }
    assert!(heartbeats > 3, "at once");
}

#[test]
fn regions_are_compared_with_themselves() {
    let (eu, us) = (eu(), Region::parse("us").unwrap());
    let mut loads = Loads::default();
    let mut members =
        [(eu, 900), (eu, 900), (us, 100), (us, 100)].map(|(region, busy)| (region, busy, Steering::CLEAN));
    for _ in 0..50 {
        for (region, busy, steering) in &mut members {
            loads.report(*region, steering, Some(*busy));
        }
    }
    assert!(
        members
            .iter()
            .all(|(_, _, steering)| steering.factor == LoadFactor::NONE)
    );
}

#[test]
fn a_report_of_nothing_at_all_attracts_four_times_the_share_at_the_most() {
    let mut loads = Loads::default();
    let (mut liar, mut honest) = (Steering::CLEAN, Steering::CLEAN);
    for _ in 0..100 {
        loads.report(eu(), &mut honest, Some(1_000));
        loads.report(eu(), &mut liar, Some(0));
    }
    assert_eq!(liar.factor.permille(), 4_000);
    assert_eq!(honest.factor.permille(), 250);
    loads.forget(eu(), &mut liar);
    loads.forget(eu(), &mut honest);
    assert_eq!(loads, Loads::default());
}

#[test]
fn half_of_what_is_under_way_elsewhere_is_believed_with_each_report() {
    let mut taken = 0;
    let mut seen = Vec::new();
    for reported in [
        Some(18),
        Some(18),
        Some(18),
        Some(18),
        Some(10),
        None,
        None,
        None,
        None,
    ] {
        taken = elsewhere(taken, reported, 10);
        seen.push(taken);
    }
    assert_eq!(seen, [4, 6, 7, 8, 4, 2, 1, 0, 0]);
    assert_eq!(elsewhere(0, Some(u32::MAX), 0), u32::MAX / 2 + 1);
    assert_eq!(elsewhere(u32::MAX, Some(u32::MAX), 0), u32::MAX);
    assert_eq!(elsewhere(5, Some(3), 9), 2, "fewer than this proxy knows of");
}
