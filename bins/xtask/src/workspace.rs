//! The workspace as cargo describes it.

use std::path::PathBuf;

use anyhow::Context as _;
use serde_json::Value;

use crate::cargo;

/// The packages of the workspace and where they are.
#[derive(Debug)]
pub(crate) struct Workspace {
    pub(crate) root: PathBuf,
    pub(crate) target: PathBuf,
    pub(crate) packages: Vec<Package>,
}

/// A package of the workspace.
#[derive(PartialEq, Eq, Debug)]
pub(crate) struct Package {
    pub(crate) name: String,
    /// Every feature but `default`, and those of the package itself that it switches on.
    pub(crate) features: Vec<Feature>,
    /// What `default` switches on.
    pub(crate) defaults: Vec<String>,
    /// Whether other packages can depend on it, by a library of its own.
    pub(crate) is_library: bool,
    pub(crate) dependencies: Vec<Dependency>,
}

/// Libraries that only tests are made of. Nobody embeds them.
const OF_TESTS: [&str; 2] = ["edgeproxy-tests", "edgeproxy-whole"];

impl Package {
    /// Whether other people's programs can be made with it.
    pub(crate) fn is_for_embedders(&self) -> bool {
        self.is_library && !OF_TESTS.contains(&self.name.as_str())
    }
}

/// A feature of a package.
#[derive(Clone, PartialEq, Eq, Debug)]
pub(crate) struct Feature {
    pub(crate) name: String,
    /// Features of the same package.
    pub(crate) implies: Vec<String>,
}

/// A package's dependency on another package of the workspace.
#[derive(PartialEq, Eq, Debug)]
pub(crate) struct Dependency {
    pub(crate) name: String,
    pub(crate) kind: Kind,
}

/// What a dependency is needed for.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) enum Kind {
    /// The product, or what builds it.
    Product,
    /// Tests, examples, benches.
    Development,
}

impl Workspace {
    /// Asks cargo.
    ///
    /// # Errors
    /// cargo failed, or its answer has another form than the documented one.
    pub(crate) fn load() -> anyhow::Result<Self> {
        let mut command = cargo::bare();
        command.args(["metadata", "--no-deps", "--format-version", "1"]);
        Self::parse(&cargo::output(command)?)
    }

    /// Reads the answer of `cargo metadata`.
    fn parse(json: &str) -> anyhow::Result<Self> {
        let metadata: Value = serde_json::from_str(json).context("`cargo metadata` printed no JSON")?;
        let packages = array(&metadata, "packages")?
            .iter()
            .map(package)
            .collect::<anyhow::Result<_>>()?;
        Ok(Self {
            root: text(&metadata, "workspace_root")?.into(),
            target: text(&metadata, "target_directory")?.into(),
            packages,
        })
    }
}

fn package(value: &Value) -> anyhow::Result<Package> {
    let features = value["features"]
        .as_object()
        .context("a package without `features`")?;
    let dependencies = array(value, "dependencies")?
        .iter()
        .filter(|dependency| dependency["path"].is_string())
        .map(|dependency| {
            let kind = match dependency["kind"].as_str() {
                Some("dev") => Kind::Development,
                _ => Kind::Product,
            };
            Ok(Dependency {
                name: text(dependency, "name")?.to_owned(),
                kind,
            })
        })
        .collect::<anyhow::Result<_>>()?;
    let switched_on = |name: &str| -> Vec<String> {
        let on = features.get(name).and_then(Value::as_array);
        let on = on.into_iter().flatten().filter_map(Value::as_str);
        on.filter(|on| features.contains_key(*on))
            .map(str::to_owned)
            .collect()
    };
    let named = features.keys().filter(|name| *name != "default");
    Ok(Package {
        name: text(value, "name")?.to_owned(),
        features: named
            .map(|name| Feature {
                name: name.clone(),
                implies: switched_on(name),
            })
            .collect(),
        defaults: switched_on("default"),
        is_library: array(value, "targets")?
            .iter()
            .filter_map(|target| target["kind"].as_array())
            .flatten()
            .any(|kind| kind == "lib"),
        dependencies,
    })
}

fn text<'v>(value: &'v Value, member: &str) -> anyhow::Result<&'v str> {
    value[member]
        .as_str()
        .with_context(|| format!("`cargo metadata` printed no string `{member}`"))
}

fn array<'v>(value: &'v Value, member: &str) -> anyhow::Result<&'v Vec<Value>> {
    value[member]
        .as_array()
        .with_context(|| format!("`cargo metadata` printed no list `{member}`"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn dependencies_outside_of_the_workspace_are_left_out() {
        let json = r#"{"workspace_root": "/w", "target_directory": "/w/target", "packages": [{
            "name": "a", "features": {"default": ["x"], "x": [], "y": ["x", "dep:serde", "b/z"]},
            "targets": [{"kind": ["lib"]}, {"kind": ["test"]}],
            "dependencies": [
                {"name": "serde", "kind": null},
                {"name": "b", "kind": null, "path": "/w/b"},
                {"name": "c", "kind": "dev", "path": "/w/c"}
            ]}]}"#;
        let workspace = Workspace::parse(json).unwrap();
        assert_eq!(
            workspace.packages,
            [Package {
                name: "a".into(),
                features: vec![
                    Feature {
                        name: "x".into(),
                        implies: Vec::new()
                    },
                    Feature {
                        name: "y".into(),
                        implies: vec!["x".into()]
                    }
                ],
                defaults: vec!["x".into()],
                is_library: true,
                dependencies: vec![
                    Dependency {
                        name: "b".into(),
                        kind: Kind::Product
                    },
                    Dependency {
                        name: "c".into(),
                        kind: Kind::Development
                    },
                ],
            }]
        );
    }

    #[test]
    fn an_answer_of_another_form_names_the_member() {
        let error = Workspace::parse(r#"{"workspace_root": "/w"}"#).unwrap_err();
        assert_eq!(error.to_string(), "`cargo metadata` printed no list `packages`");
    }
}
