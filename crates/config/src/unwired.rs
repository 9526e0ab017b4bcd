//! What can be written down and nothing does yet. Whoever wires a feature takes it out of these lists.

use crate::finding::{Finding, Severity};
use crate::layers::Loaded;
use crate::problem::Place;

/// Settings that nothing reads. Their documentation ends with a sentence that says so, which a test looks after.
pub(crate) const SETTINGS: &[&str] = &[
    "region_order",
    "hash_key",
    "sticky",
    "binding_ttl_secs",
    "sticky_cookie",
    "slow_start_secs",
    "slow_start_aggression",
    "panic_threshold",
    "initial",
    "max_concurrent_probes",
];

/// Where a section is, if it is there.
type Find = fn(&Loaded) -> Option<&Place>;

/// Sections that nothing reads, and what happens meanwhile.
const SECTIONS: &[(&str, &str, Find)] = &[(
    "[[backends]]",
    "only backends that register get traffic",
    |loaded| loaded.topology.backends.first().map(|backend| &backend.place),
)];

/// Whether nothing reads the tables of that key.
pub(crate) fn is_unwired(key: &str) -> bool {
    SECTIONS
        .iter()
        .any(|(name, ..)| name.trim_matches(['[', ']']) == key)
}

/// Everything that the configuration says and that is not in force in this version.
///
/// ```
/// use edgeproxy_config::{ConfigFile, Layers, unwired};
///
/// let file = ConfigFile { path: "edgeproxy.toml".into(), text: "sticky = \"cookie\"\n".to_owned() };
/// let loaded = Layers { file: Some(file), ..Layers::default() }.load()?;
/// assert_eq!(unwired(&loaded)[0].to_string(), "\
/// edgeproxy.toml:1:1: error: sticky is checked and not in force yet (not-in-force)
///   help: remove it, or wait for a version that has it");
/// # Ok::<(), edgeproxy_config::ConfigError>(())
/// ```
#[must_use]
pub fn unwired(loaded: &Loaded) -> Vec<Finding> {
    let finding = |place: &Place, message: String| Finding {
        rule: "not-in-force",
        severity: Severity::Error,
        place: Some(place.clone()),
        message,
        advice: "remove it, or wait for a version that has it".to_owned(),
    };
    let sections = SECTIONS.iter().filter_map(|(name, meanwhile, place)| {
        let message = format!("{name} is checked and not in force yet: {meanwhile}");
        place(loaded).map(|place| finding(place, message))
    });
    let settings = SETTINGS.iter().filter_map(|key| {
        let message = format!("{key} is checked and not in force yet");
        loaded.place(key).map(|place| finding(place, message))
    });
    sections.chain(settings).collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{ConfigFile, Layers, Setting, Settings};

    #[test]
    fn the_documentation_says_of_a_setting_that_it_is_not_in_force_where_it_isn_t() {
        for setting in Settings::ALL {
            let says = setting.doc().ends_with("Not in force yet.");
            assert_eq!(says, SETTINGS.contains(&setting.key), "{}", setting.key);
        }
        assert!(SETTINGS.iter().all(|key| Setting::by_key(key).is_some()));
    }

    #[test]
    fn every_section_and_setting_that_is_not_in_force_is_told() {
        let text = "sticky = \"cookie\"\n[apps.shop]\n[[routes]]\napp = \"shop\"\n\
                    [[backends]]\nid = \"a\"\napp = \"shop\"\nregion = \"eu\"\nip = \"10.0.0.1\"\nport = 80\n";
        let layers = Layers {
            file: Some(ConfigFile {
                path: "edgeproxy.toml".into(),
                text: text.to_owned(),
            }),
            env: vec![("EDGEPROXY_SLOW_START_SECS".into(), "30".into())],
            ..Layers::default()
        };
        let loaded = layers.load().unwrap();
        let places: Vec<String> = unwired(&loaded)
            .iter()
            .map(|finding| finding.place.as_ref().unwrap().to_string())
            .collect();
        assert_eq!(
            places,
            ["edgeproxy.toml:5:1", "edgeproxy.toml:1:1", "environment"]
        );
        assert!(unwired(&Loaded::from(Settings::default())).is_empty());
        let told = loaded.findings();
        assert!(unwired(&loaded).iter().all(|finding| told.contains(finding)));
    }
}
