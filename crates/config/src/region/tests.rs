use super::*;
use crate::{ConfigFile, Layers, Origin};

fn layers(text: &str) -> Layers {
    Layers {
        file: Some(ConfigFile {
            path: "edgeproxy.toml".into(),
            text: text.to_owned(),
        }),
        ..Layers::default()
    }
}

#[test]
fn a_region_is_a_country_or_a_table_and_both_may_stand_together() {
    let text = "region = \"za\"\n[regions]\nza = \"ZA\"\nmx = { country = \"mx\" }\n[regions.eu]\ncountries = [\"GB\"]\n\
                rtt_ms = { us = 80 }\n";
    let loaded = layers(text).load().unwrap();
    let listed: Vec<String> = loaded
        .settings
        .regions
        .iter()
        .map(|(region, country)| format!("{region}:{country}"))
        .collect();
    assert_eq!(listed, ["sa:BR", "us:US", "eu:DE", "ap:JP", "mx:MX", "za:ZA"]);
    assert_eq!(loaded.origin("regions"), Origin::File { line: 2 });
    let geography = loaded.topology.geography;
    let region = |name: &str| Region::parse(name).unwrap();
    assert_eq!(
        geography.region_of(Country::parse("GB").unwrap()),
        Some(region("eu"))
    );
    assert_eq!(geography.region_of(Country::parse("FR").unwrap()), None);
    assert_eq!(
        geography.rtt(region("us"), region("eu")),
        Some(Duration::from_millis(80))
    );
    assert_eq!(geography.nearest(region("ap")), []);
}

#[test]
fn regions_without_tables_say_nothing_of_geography() {
    let loaded = layers("[regions]\nmx = \"MX\"\n").load().unwrap();
    assert_eq!(loaded.topology.geography, Geography::default());
}

#[test]
fn the_nearest_region_comes_first() {
    let text = "[regions.eu]\nrtt_ms = { ap = 240, us = 80, sa = 190 }\n";
    let nearest = layers(text)
        .load()
        .unwrap()
        .topology
        .geography
        .nearest(Region::parse("eu").unwrap());
    assert_eq!(
        nearest.iter().map(Region::as_str).collect::<Vec<_>>(),
        ["us", "sa", "ap"]
    );
}
