use edgeproxy_backend::{Country, Region};

use crate::value::{FromValue, Mismatch, Value};

/// The regions that exist, each with its country: the built-in ones, and those of the configuration.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct RegionTable(Vec<(Region, Country)>);

impl RegionTable {
    const BUILT_IN: [(&'static str, &'static str); 4] =
        [("sa", "BR"), ("us", "US"), ("eu", "DE"), ("ap", "JP")];
    /// The most regions that a configuration can add.
    pub const MAX_ADDED: usize = 256;

    /// The country of a region, where there is such a region.
    #[must_use]
    pub fn country(&self, region: Region) -> Option<Country> {
        self.0
            .iter()
            .find(|(known, _)| *known == region)
            .map(|(_, country)| *country)
    }

    /// The regions with their countries, the built-in ones first, then the others by name.
    pub fn iter(&self) -> impl ExactSizeIterator<Item = (Region, Country)> + '_ {
        self.0.iter().copied()
    }

    /// The country of a built-in region, as text.
    pub(crate) fn built_in(name: &str) -> Option<&'static str> {
        let name = name.to_ascii_lowercase();
        let found = Self::BUILT_IN.iter().find(|(known, _)| *known == name);
        found.map(|(_, country)| *country)
    }

    /// Their names, for a message.
    pub(crate) fn names(&self) -> String {
        let names: Vec<&str> = self.0.iter().map(|(region, _)| region.as_str()).collect();
        names.join(", ")
    }

    fn set(&mut self, region: Region, country: Country) {
        match self.0.iter_mut().find(|(known, _)| *known == region) {
            Some((_, current)) => *current = country,
            None => self.0.push((region, country)),
        }
    }
}

impl FromValue for RegionTable {
    fn from_value(value: &Value) -> Result<Self, Mismatch> {
        let Value::Pairs(pairs) = value else {
            return Err(value.unfit());
        };
        if pairs.len() > Self::MAX_ADDED {
            return Err(Mismatch::new(format!("{} regions", pairs.len()))
                .help(format!("at most {} can be added", Self::MAX_ADDED)));
        }
        let mut table = Self(Vec::with_capacity(Self::BUILT_IN.len() + pairs.len()));
        let built_in = Self::BUILT_IN.iter().map(|(name, code)| (None, *name, *code));
        let added = pairs
            .iter()
            .enumerate()
            .map(|(item, (name, code))| (Some(item), name.as_str(), code.as_str()));
        for (item, name, code) in built_in.chain(added) {
            let refused = |problem: String| Mismatch {
                item,
                ..Mismatch::new(format!("{name:.32}:{code:.32}")).help(problem)
            };
            let region = Region::parse(name).map_err(|error| refused(error.to_string()))?;
            let country = Country::parse(code).map_err(|error| refused(error.to_string()))?;
            table.set(region, country);
        }
        // A file's table has no order, so a list in a variable should not have one either.
        table.0[Self::BUILT_IN.len()..].sort_unstable();
        Ok(table)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn configured_regions_join_the_built_in_ones_and_may_change_their_country() {
        let pairs = [("mx", "mx"), ("EU", "FR")].map(|(a, b)| (a.to_owned(), b.to_owned()));
        let table = RegionTable::from_value(&Value::Pairs(pairs.into())).unwrap();
        let listed: Vec<String> = table
            .iter()
            .map(|(region, country)| format!("{region}:{country}"))
            .collect();
        assert_eq!(listed, ["sa:BR", "us:US", "eu:FR", "ap:JP", "mx:MX"]);
    }
}
