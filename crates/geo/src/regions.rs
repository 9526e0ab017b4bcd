use edgeproxy_backend::{Country, Region};

/// Which region serves which country. Every country has one.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Regions(Box<[(Country, Region)]>);

/// The built-in regions with their countries: `us` is all of North and Central America and the Caribbean, `eu` also
/// Africa, the Middle East and the north and centre of Asia, `ap` the rest of Asia and the Pacific.
const BUILT_IN: [(&str, &str); 4] = [
    ("sa", "AQ AR BO BR CL CO EC FK GF GS GY PE PY SR UY VE"),
    (
        "us",
        "AG AI AW BB BL BM BQ BS BZ CA CR CU CW DM DO GD GL GP GT HN HT JM KN KY LC MF MQ MS MX NI PA PM PR SV SX TC \
         TT UM US VC VG VI",
    ),
    (
        "eu",
        "AD AE AL AM AO AT AX AZ BA BE BF BG BH BI BJ BV BW BY CD CF CG CH CI CM CV CY CZ DE DJ DK DZ EE EG EH ER ES \
         ET FI FO FR GA GB GE GG GH GI GM GN GQ GR GW HR HU IE IL IM IQ IR IS IT JE JO KE KG KM KW KZ LB LI LR LS LT \
         LU LV LY MA MC MD ME MG MK ML MR MT MU MW MZ NA NE NG NL NO OM PL PS PT QA RE RO RS RU RW SA SC SD SE SH SI \
         SJ SK SL SM SN SO SS ST SY SZ TD TG TJ TM TN TR TZ UA UG UZ VA YE YT ZA ZM ZW",
    ),
    (
        "ap",
        "AF AS AU BD BN BT CC CK CN CX FJ FM GU HK HM ID IN IO JP KH KI KP KR LA LK MH MM MN MO MP MV MY NC NF NP NR \
         NU NZ PF PG PH PK PN PW SB SG TF TH TK TL TO TV TW VN VU WF WS",
    ),
];

impl Regions {
    /// With another region for some countries. What is named last counts.
    #[must_use]
    pub fn with(mut self, changes: impl IntoIterator<Item = (Country, Region)>) -> Self {
        for (country, region) in changes {
            if let Ok(at) = self.0.binary_search_by_key(&country, |(country, _)| *country) {
                self.0[at].1 = region;
            }
        }
        self
    }

    /// The region that serves `country`.
    #[must_use]
    pub fn of(&self, country: Country) -> Region {
        match self.0.binary_search_by_key(&country, |(country, _)| *country) {
            Ok(at) | Err(at) => self.0[at.min(self.0.len() - 1)].1,
        }
    }

    /// Every country with its region, by the country's code.
    pub fn iter(&self) -> impl ExactSizeIterator<Item = (Country, Region)> + '_ {
        self.0.iter().copied()
    }
}

impl Default for Regions {
    fn default() -> Self {
        let mut all = Vec::with_capacity(Country::all().len());
        for (region, countries) in BUILT_IN {
            let Ok(region) = Region::parse(region) else {
                continue;
            };
            let countries = countries.split(' ').filter_map(|code| Country::parse(code).ok());
            all.extend(countries.map(|country| (country, region)));
        }
        all.sort_unstable();
        Self(all.into())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn country(code: &str) -> Country {
        Country::parse(code).unwrap()
    }

    fn region(name: &str) -> Region {
        Region::parse(name).unwrap()
    }

    #[test]
    fn every_country_has_one_region() {
        let regions = Regions::default();
        let listed: Vec<_> = regions.iter().map(|(country, _)| country).collect();
        assert_eq!(listed, Country::all().collect::<Vec<_>>());
        for (code, name) in [
            ("BR", "sa"),
            ("US", "us"),
            ("MX", "us"),
            ("DE", "eu"),
            ("ZA", "eu"),
            ("JP", "ap"),
        ] {
            assert_eq!(regions.of(country(code)), region(name), "{code}");
        }
    }

    #[test]
    fn the_last_change_of_a_country_counts_and_the_others_stay() {
        let (br, pt) = (country("BR"), country("PT"));
        let regions = Regions::default().with([(br, region("x")), (br, region("y"))]);
        assert_eq!((regions.of(br), regions.of(pt)), (region("y"), region("eu")));
        let others = |regions: &Regions| regions.iter().filter(|(c, _)| *c != br).collect::<Vec<_>>();
        assert_eq!(others(&regions), others(&Regions::default()));
    }
}
