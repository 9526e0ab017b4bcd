//! Which members are how near to whom.

use std::fmt;

use edgeproxy_backend::{Country, Region};

use crate::group::Group;
use crate::{Algorithm, Client, Policy};

/// What the members of a tier have in common.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug)]
pub enum Scope {
    /// Nothing: the policy has no tiers.
    All,
    /// The country.
    Country(Country),
    /// The region.
    Region(Region),
    /// A region that is neither this proxy's own nor in the policy's order.
    Elsewhere,
}

impl fmt::Display for Scope {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::All => f.write_str("all"),
            Self::Country(country) => write!(f, "country {country}"),
            Self::Region(region) => write!(f, "region {region}"),
            Self::Elsewhere => f.write_str("elsewhere"),
        }
    }
}

/// One step of a client's way from near to far.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) struct Step {
    /// The tier's number in the specification; without tiers 0.
    pub(crate) tier: u8,
    group: u32,
}

/// Every group that some client may be sent to.
///
/// A group may hold members of a nearer one too: by the time that it is asked those are known to be full,
/// and leaving them in makes one group of each country and region serve every client. Countries ×
/// regions × members of lists it would be otherwise.
#[derive(Debug)]
pub(crate) struct Tiers {
    groups: Box<[Group]>,
    /// By [`country_slot`]; [`NONE`] where no member is.
    countries: Box<[u32]>,
    /// Sorted.
    regions: Box<[(Region, u32)]>,
    /// What is the same for every client: tiers 2 and 3, or the one group of all.
    rest: Box<[Step]>,
}

const NONE: u32 = u32::MAX;
const COUNTRY_SLOTS: usize = 26 * 26;

/// Where a member is.
pub(crate) struct Place {
    pub(crate) member: u32,
    pub(crate) country: Country,
    pub(crate) region: Region,
}

impl Tiers {
    /// Groups the members; `group` makes one of its scope and members.
    pub(crate) fn new(
        policy: &Policy,
        places: &[Place],
        group: impl FnMut(Scope, Vec<u32>) -> Group,
    ) -> Self {
        let mut builder = Builder::new();
        if !matches!(policy.algorithm, Algorithm::RegionAffinity(_)) {
            builder.add_all(Scope::All, places.iter());
            return builder.finish(&[(0, Scope::All)], group);
        }
        for place in places {
            builder.add(Scope::Country(place.country), place.member);
            builder.add(Scope::Region(place.region), place.member);
        }
        let near =
            |region: &Region| policy.own_region == Some(*region) || policy.region_order.contains(region);
        builder.add_all(
            Scope::Elsewhere,
            places.iter().filter(|place| !near(&place.region)),
        );
        let own = policy.own_region.map(|region| (2, Scope::Region(region)));
        let listed = policy
            .region_order
            .iter()
            .map(|region| (3, Scope::Region(*region)));
        let rest: Vec<(u8, Scope)> = own
            .into_iter()
            .chain(listed)
            .chain([(3, Scope::Elsewhere)])
            .collect();
        builder.finish(&rest, group)
    }

    #[inline]
    pub(crate) fn group(&self, step: Step) -> &Group {
        &self.groups[step.group as usize]
    }

    pub(crate) fn groups(&self) -> &[Group] {
        &self.groups
    }

    /// The client's way from near to far. No group comes twice.
    #[inline]
    pub(crate) fn steps<'a>(&'a self, client: &'a Client) -> Steps<'a> {
        Steps {
            tiers: self,
            client,
            next: 0,
            region: None,
        }
    }

    fn country(&self, country: Country) -> Option<u32> {
        self.countries
            .get(country_slot(country))
            .copied()
            .filter(|group| *group != NONE)
    }

    fn region(&self, region: Region) -> Option<u32> {
        // Up to here a comparison for equality each beats fewer ones for order.
        if self.regions.len() <= 16 {
            return self
                .regions
                .iter()
                .find(|(known, _)| *known == region)
                .map(|(_, group)| *group);
        }
        let found = self
            .regions
            .binary_search_by_key(&region, |(region, _)| *region)
            .ok()?;
        Some(self.regions[found].1)
    }
}

/// A client's way. Looks up what it comes to, and no more: nearly always the first tier has room.
pub(crate) struct Steps<'a> {
    tiers: &'a Tiers,
    client: &'a Client,
    next: usize,
    region: Option<u32>,
}

impl Iterator for Steps<'_> {
    type Item = Step;

    #[inline]
    fn next(&mut self) -> Option<Step> {
        loop {
            let stage = self.next;
            self.next += 1;
            match stage {
                0 => {
                    let group = self
                        .client
                        .country
                        .and_then(|country| self.tiers.country(country));
                    if let Some(group) = group {
                        return Some(Step { tier: 0, group });
                    }
                }
                1 => {
                    self.region = self.client.region.and_then(|region| self.tiers.region(region));
                    if let Some(group) = self.region {
                        return Some(Step { tier: 1, group });
                    }
                }
                stage => {
                    let step = *self.tiers.rest.get(stage - 2)?;
                    if Some(step.group) != self.region {
                        return Some(step);
                    }
                }
            }
        }
    }
}

fn country_slot(country: Country) -> usize {
    let letter = |byte: u8| usize::from(byte.saturating_sub(b'A'));
    country
        .as_str()
        .bytes()
        .fold(0, |slot, byte| slot * 26 + letter(byte))
}

struct Builder {
    lists: Vec<(Scope, Vec<u32>)>,
    /// Where the list of a scope is: tables, since a hash of the scope for each member was two fifths of what
    /// preparing 10,000 members took (2.14 against 1.24 ms).
    countries: Box<[u32]>,
    /// Sorted.
    regions: Vec<(Region, u32)>,
    all: u32,
    elsewhere: u32,
}

impl Builder {
    fn new() -> Self {
        Self {
            lists: Vec::new(),
            countries: vec![NONE; COUNTRY_SLOTS].into(),
            regions: Vec::new(),
            all: NONE,
            elsewhere: NONE,
        }
    }

    fn add(&mut self, scope: Scope, member: u32) {
        let list = self.list_of(scope);
        self.lists[list as usize].1.push(member);
    }

    fn add_all<'a>(&mut self, scope: Scope, places: impl Iterator<Item = &'a Place>) {
        for place in places {
            self.add(scope, place.member);
        }
    }

    /// The list of a scope, which is made if there is none.
    // There are fewer scopes than codes of countries and members together.
    #[allow(clippy::cast_possible_truncation)]
    fn list_of(&mut self, scope: Scope) -> u32 {
        let list = match scope {
            Scope::Country(country) => &mut self.countries[country_slot(country)],
            Scope::Region(region) => {
                let place = self.regions.binary_search_by_key(&region, |(region, _)| *region);
                let place = place.unwrap_or_else(|place| {
                    self.regions.insert(place, (region, NONE));
                    place
                });
                &mut self.regions[place].1
            }
            Scope::All => &mut self.all,
            Scope::Elsewhere => &mut self.elsewhere,
        };
        if *list == NONE {
            *list = self.lists.len() as u32;
            self.lists.push((scope, Vec::new()));
        }
        *list
    }

    fn find(&self, scope: Scope) -> Option<u32> {
        let list = match scope {
            Scope::Country(country) => self.countries[country_slot(country)],
            Scope::Region(region) => {
                let place = self.regions.binary_search_by_key(&region, |(region, _)| *region);
                self.regions[place.ok()?].1
            }
            Scope::All => self.all,
            Scope::Elsewhere => self.elsewhere,
        };
        (list != NONE).then_some(list)
    }

    fn finish(self, rest: &[(u8, Scope)], mut group_of: impl FnMut(Scope, Vec<u32>) -> Group) -> Tiers {
        let mut steps: Vec<Step> = Vec::new();
        for (tier, scope) in rest {
            let group = self.find(*scope);
            if let Some(group) = group.filter(|group| steps.iter().all(|step| step.group != *group)) {
                steps.push(Step { tier: *tier, group });
            }
        }
        let lists = self.lists.into_iter();
        Tiers {
            groups: lists.map(|(scope, members)| group_of(scope, members)).collect(),
            countries: self.countries,
            regions: self.regions.into(),
            rest: steps.into(),
        }
    }
}
