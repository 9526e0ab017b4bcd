//! What is in force, in the API's words, and what became of the last reload.

use std::path::Path;
use std::sync::Arc;
use std::time::SystemTime;

use arc_swap::ArcSwap;
use edgeproxy_api as api;
use edgeproxy_api::{Configuration, LastReload, Layer, ReloadProblem, SettingInForce};
use edgeproxy_config::{App, Loaded, Origin, Place, Reload, Setting, Settings, Shown};
use serde_json::{Map, Value};

/// The configuration in force, as it is told. A clone is the same.
#[derive(Clone)]
pub(crate) struct InForce(Arc<ArcSwap<Configuration>>);

impl api::Configured for InForce {
    fn configuration(&self) -> Arc<Configuration> {
        self.0.load_full()
    }
}

impl InForce {
    /// What the server began with.
    pub(crate) fn new(loaded: &Loaded) -> Self {
        Self(Arc::new(ArcSwap::from_pointee(told(loaded, 1))))
    }

    /// Another one is in force from now on.
    pub(crate) fn applied(&self, loaded: &Loaded, by: &'static str, changes: Vec<String>) {
        let before = self.0.load();
        self.0.store(Arc::new(Configuration {
            reloads: before.reloads + 1,
            last_reload: Some(LastReload {
                unix_secs: unix_secs(),
                by,
                applied: true,
                changes,
                problems: Vec::new(),
            }),
            ..told(loaded, before.version + 1)
        }));
    }

    /// What was read is not in force.
    pub(crate) fn refused(&self, by: &'static str, problems: Vec<ReloadProblem>) {
        let before = self.0.load();
        self.0.store(Arc::new(Configuration {
            reloads: before.reloads + 1,
            last_reload: Some(LastReload {
                unix_secs: unix_secs(),
                by,
                applied: false,
                changes: Vec::new(),
                problems,
            }),
            ..Configuration::clone(&before)
        }));
    }
}

fn unix_secs() -> u64 {
    let since = SystemTime::now().duration_since(SystemTime::UNIX_EPOCH);
    since.map_or(0, |since| since.as_secs())
}

fn told(loaded: &Loaded, version: u64) -> Configuration {
    let topology = &loaded.topology;
    Configuration {
        version,
        unix_secs: unix_secs(),
        file: loaded
            .file
            .as_deref()
            .map(Path::display)
            .map(|path| path.to_string()),
        settings: Settings::ALL.iter().map(|one| setting(loaded, one)).collect(),
        listeners: loaded
            .settings
            .listeners
            .iter()
            .map(|one| table(one.shown()))
            .collect(),
        apps: topology.apps.iter().map(app).collect(),
        routes: topology
            .routes
            .iter()
            .map(|route| placed(route.shown(), &route.place))
            .collect(),
        backends: topology
            .backends
            .iter()
            .map(|backend| placed(backend.shown(), &backend.place))
            .collect(),
        regions: topology
            .regions(&loaded.settings)
            .into_iter()
            .map(|(name, region)| (name, value(region)))
            .collect(),
        reloads: 0,
        last_reload: None,
    }
}

fn setting(loaded: &Loaded, setting: &'static Setting) -> SettingInForce {
    let (from, in_file) = match loaded.origin(setting.key) {
        Origin::Default => (Layer::Default, false),
        Origin::File { .. } => (Layer::File, true),
        Origin::Env => (Layer::Environment, false),
        Origin::Flag => (Layer::Flag, false),
    };
    let place = loaded.place(setting.key).filter(|_| in_file);
    SettingInForce {
        key: setting.key,
        value: value(setting.shown(&loaded.settings)),
        from,
        place: place.map(Place::to_string),
        variable: setting.env(),
        flag: format!("--{}", setting.flag()),
        live: setting.reload == Reload::Live,
    }
}

/// Its table, and which of the settings in it it says itself.
fn app(app: &App) -> Map<String, Value> {
    let said = Settings::ALL
        .iter()
        .filter(|setting| app.says(setting.key).is_some());
    let said: Vec<Value> = said.map(|setting| Value::from(setting.key)).collect();
    let mut table = Map::new();
    table.insert("name".to_owned(), Value::from(app.name.as_str()));
    table.extend(placed(app.shown(), &app.place));
    table.insert("said_here".to_owned(), Value::Array(said));
    table
}

fn placed(shown: Shown, place: &Place) -> Map<String, Value> {
    let mut placed = table(shown);
    placed.insert("place".to_owned(), Value::from(place.to_string()));
    placed
}

fn table(shown: Shown) -> Map<String, Value> {
    match value(shown) {
        Value::Object(table) => table,
        // Every table is shown as one.
        _ => Map::new(),
    }
}

fn value(shown: Shown) -> Value {
    match shown {
        Shown::Nothing => Value::Null,
        Shown::Switch(switch) => Value::Bool(switch),
        Shown::Number(number) => Value::from(number),
        Shown::Decimal(decimal) => Value::from(decimal.as_f64()),
        Shown::Text(text) => Value::String(text),
        Shown::Secret => Value::from("***"),
        Shown::List(items) => Value::Array(items.into_iter().map(value).collect()),
        Shown::Table(entries) => {
            let entries = entries.into_iter();
            Value::Object(entries.map(|(key, shown)| (key, value(shown))).collect())
        }
    }
}

#[cfg(test)]
mod tests {
    use edgeproxy_api::Configured as _;
    use edgeproxy_config::{ConfigFile, Layers, RawFlags};

    use super::*;

    fn loaded(text: &str) -> Loaded {
        let file = ConfigFile {
            path: "edgeproxy.toml".into(),
            text: text.to_owned(),
        };
        let layers = Layers {
            flags: RawFlags {
                config: None,
                values: vec![("max_attempts", "2".into())],
            },
            env: vec![("EDGEPROXY_REGION".into(), "eu".into())],
            file: Some(file),
        };
        layers.load().unwrap()
    }

    #[test]
    fn each_setting_says_which_layer_it_is_from() {
        let in_force =
            InForce::new(&loaded("max_failures = 5\nslow_start_aggression = 1.5\n")).configuration();
        let told = |key: &str| {
            let found = in_force.settings.iter().find(|one| one.key == key).unwrap();
            (found.value.to_string(), found.from, found.place.clone())
        };
        let place = |line| Some(format!("edgeproxy.toml:{line}:1"));
        assert_eq!(told("max_failures"), ("5".to_owned(), Layer::File, place(1)));
        assert_eq!(
            told("slow_start_aggression"),
            ("1.5".to_owned(), Layer::File, place(2))
        );
        assert_eq!(told("region"), ("\"eu\"".to_owned(), Layer::Environment, None));
        assert_eq!(told("max_attempts"), ("2".to_owned(), Layer::Flag, None));
        assert_eq!(told("tls_cert"), ("null".to_owned(), Layer::Default, None));
        assert_eq!(in_force.settings.len(), Settings::ALL.len());
        let live = |key: &str| in_force.settings.iter().find(|one| one.key == key).unwrap().live;
        assert!(live("max_failures") && !live("workers"));
    }

    #[test]
    fn tables_say_where_they_stand_and_an_app_what_it_says_itself() {
        let text = "[apps.shop]\nmax_failures = 2\nlast_backend = \"eject\"\n[[routes]]\nhost = \"a.example\"\napp = \"shop\"\n\
                    [[backends]]\nid = \"b\"\napp = \"shop\"\nregion = \"eu\"\nip = \"10.0.0.1\"\nport = 80\n";
        let in_force = InForce::new(&loaded(text)).configuration();
        let app = &in_force.apps[0];
        assert_eq!(app["name"], "shop");
        assert_eq!(app["max_failures"], 2);
        assert_eq!(
            app["said_here"],
            serde_json::json!(["max_failures", "last_backend"])
        );
        assert_eq!(app["place"], "edgeproxy.toml:1:7");
        assert_eq!(app["max_attempts"], 2, "as the flag says");
        assert_eq!(in_force.routes[0]["apps"], serde_json::json!({ "shop": 1 }));
        assert_eq!(in_force.backends[0]["ip"], "10.0.0.1");
        assert_eq!(in_force.regions["eu"]["country"], "DE");
    }

    #[test]
    fn a_refused_reload_is_told_beside_what_stays_in_force() {
        let in_force = InForce::new(&loaded("max_failures = 5\n"));
        let problem = ReloadProblem {
            place: Some("edgeproxy.toml:1:1".to_owned()),
            message: "bad".to_owned(),
            help: None,
        };
        in_force.refused("file", vec![problem]);
        let told = in_force.configuration();
        assert_eq!((told.version, told.reloads), (1, 1));
        assert!(!told.last_reload.as_ref().unwrap().applied);
        in_force.applied(&loaded("max_failures = 6\n"), "signal", vec!["x".to_owned()]);
        let told = in_force.configuration();
        assert_eq!((told.version, told.reloads), (2, 2));
        assert_eq!(told.last_reload.as_ref().unwrap().changes, ["x"]);
        let max_failures = told
            .settings
            .iter()
            .find(|one| one.key == "max_failures")
            .unwrap();
        assert_eq!(max_failures.value, 6);
    }
}
