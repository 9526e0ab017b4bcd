//! The pure crates hold no runtime, socket, clock or random source. Shown by their dependency trees and their
//! source, not claimed.

use std::path::Path;

use anyhow::ensure;

use crate::step::{Context, Verdict};
use crate::{cargo, source};

struct PureCrate {
    package: &'static str,
    features: &'static str,
    source: &'static str,
    /// The part of the source that is compiled only with features that are not looked at here.
    impure_module: Option<&'static str>,
}

const PURE: [PureCrate; 7] = [
    PureCrate {
        package: "edgeproxy-backend",
        features: "--all-features",
        source: "crates/backend/src",
        impure_module: None,
    },
    PureCrate {
        package: "edgeproxy-balance",
        features: "--all-features",
        source: "crates/balance/src",
        impure_module: None,
    },
    PureCrate {
        package: "edgeproxy-registry",
        features: "--all-features",
        source: "crates/registry/src",
        impure_module: None,
    },
    PureCrate {
        package: "edgeproxy-simulate",
        features: "--all-features",
        source: "crates/simulate/src",
        impure_module: None,
    },
    PureCrate {
        package: "edgeproxy-metrics",
        features: "--all-features",
        source: "crates/metrics/src",
        impure_module: None,
    },
    PureCrate {
        package: "edgeproxy-health",
        features: "--no-default-features",
        source: "crates/health/src",
        impure_module: Some("driver"),
    },
    PureCrate {
        package: "edgeproxy-agent",
        features: "--no-default-features",
        source: "crates/agent/src",
        impure_module: Some("driver"),
    },
];

/// A trailing `*` stands for anything.
const FORBIDDEN_PACKAGES: [&str; 26] = [
    // Runtimes and what waits for sockets.
    "tokio",
    "tokio-*",
    "mio",
    "socket2",
    "async-std",
    "async-io",
    "smol",
    // Protocols.
    "hyper",
    "hyper-*",
    "h2",
    "axum",
    "axum-*",
    "tower",
    "tower-*",
    // Random sources.
    "rand",
    "rand_*",
    "getrandom",
    "fastrand",
    "oorandom",
    // Clocks.
    "chrono",
    "time",
    "jiff",
    "quanta",
    "coarsetime",
    "web-time",
    // Locks.
    "parking_lot",
];

/// What the standard library has of these shows in no tree.
const FORBIDDEN_CALLS: [&str; 10] = [
    "Instant::now",
    "SystemTime::now",
    "thread::sleep",
    "thread_rng",
    "Mutex",
    "RwLock",
    "Condvar",
    "TcpStream",
    "TcpListener",
    "UdpSocket",
];

/// Played by loom alone, which is no part of what ships.
const MODELS: &str = "models";

/// Whether a package is pure with all of its features or, if `without_features`, with none.
pub(crate) fn is_pure(package: &str, without_features: bool) -> bool {
    PURE.iter()
        .any(|pure| pure.package == package && (without_features || pure.features == "--all-features"))
}

pub(crate) fn check(context: &Context) -> anyhow::Result<Verdict> {
    let mut faults = Vec::new();
    for pure in &PURE {
        faults.extend(faults_of_tree(pure, context)?);
        faults.extend(faults_of_source(pure, &context.workspace.root)?);
        println!("{} ({}) is looked through", pure.package, pure.features);
    }
    ensure!(faults.is_empty(), "{}", faults.join("\n"));
    Ok(Verdict::Passed)
}

fn faults_of_tree(pure: &PureCrate, context: &Context) -> anyhow::Result<Vec<String>> {
    let args = [
        "tree",
        "--edges",
        "normal",
        "--package",
        pure.package,
        pure.features,
        "--prefix",
        "none",
    ];
    let tree = cargo::output(cargo::command(&context.workspace, args))?;
    Ok(packages_of(&tree)
        .into_iter()
        .filter(|package| FORBIDDEN_PACKAGES.iter().any(|pattern| matches(pattern, package)))
        .map(|package| format!("{} ({}) depends on {package}", pure.package, pure.features))
        .collect())
}

/// The names in the output of `cargo tree --prefix none`, each once.
pub(crate) fn packages_of(tree: &str) -> Vec<&str> {
    let mut names: Vec<&str> = tree
        .lines()
        .filter_map(|line| line.split_whitespace().next())
        .collect();
    names.sort_unstable();
    names.dedup();
    names
}

fn matches(pattern: &str, name: &str) -> bool {
    match pattern.strip_suffix('*') {
        Some(start) => name.starts_with(start),
        None => name == pattern,
    }
}

fn faults_of_source(pure: &PureCrate, root: &Path) -> anyhow::Result<Vec<String>> {
    let folder = root.join(pure.source);
    let mut faults = Vec::new();
    for path in source::files(&folder, "rs")? {
        let inside = path.strip_prefix(&folder).unwrap_or(&path);
        let is_model = path.file_stem().is_some_and(|name| name == MODELS);
        let is_impure = pure
            .impure_module
            .is_some_and(|module| belongs_to(inside, module));
        if is_model || is_impure {
            continue;
        }
        for (number, call) in forbidden_calls(&source::text(&path)?) {
            faults.push(format!(
                "{}/{}:{number} has {call}",
                pure.source,
                inside.display()
            ));
        }
    }
    Ok(faults)
}

/// Whether a path is of that module: `module.rs`, or in the folder `module`.
fn belongs_to(path: &Path, module: &str) -> bool {
    let first = path
        .components()
        .next()
        .map(|part| part.as_os_str().to_string_lossy());
    first.is_some_and(|first| first == module || first.strip_suffix(".rs") == Some(module))
}

/// The forbidden calls in a source text with their line numbers; what follows `//` is not looked at.
fn forbidden_calls(text: &str) -> Vec<(usize, &'static str)> {
    let mut found = Vec::new();
    for (number, line) in (1..).zip(text.lines()) {
        let code = line.split("//").next().unwrap_or_default();
        found.extend(
            FORBIDDEN_CALLS
                .into_iter()
                .filter(|call| code.contains(call))
                .map(|call| (number, call)),
        );
    }
    found
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_tree_is_read_as_names_each_once() {
        let tree = "edgeproxy-registry v0.1.0 (/w/crates/registry)\nhashbrown v0.17.0\n\
                    thiserror v2.0.18\nthiserror-impl v2.0.18 (proc-macro)\nhashbrown v0.17.0 (*)\n\n";
        assert_eq!(
            packages_of(tree),
            ["edgeproxy-registry", "hashbrown", "thiserror", "thiserror-impl"]
        );
    }

    #[test]
    fn patterns_match_whole_names_or_beginnings() {
        assert!(matches("rand_*", "rand_core"));
        assert!(matches("time", "time"));
        assert!(!matches("time", "humantime"));
        assert!(!matches("rand_*", "rand"));
    }

    #[test]
    fn calls_in_comments_do_not_count() {
        let text = "let a = Instant::now();\n/// never `Instant::now`\nlet b = 1; // SystemTime::now\n";
        assert_eq!(forbidden_calls(text), [(1, "Instant::now")]);
    }

    #[test]
    fn locks_and_sockets_of_the_standard_library_count() {
        let text = "use std::sync::{Arc, Mutex};\nlet lock = RwLock::new(1);\nuse std::net::{IpAddr, SocketAddr};\n\
                    let socket = UdpSocket::bind(addr)?;\nlet stream = TcpStream::connect(addr)?;\n";
        let expected = [(1, "Mutex"), (2, "RwLock"), (4, "UdpSocket"), (5, "TcpStream")];
        assert_eq!(forbidden_calls(text), expected);
    }

    #[test]
    fn a_module_is_its_file_and_its_folder() {
        assert!(belongs_to(Path::new("driver.rs"), "driver"));
        assert!(belongs_to(Path::new("driver/http.rs"), "driver"));
        assert!(!belongs_to(Path::new("drivers.rs"), "driver"));
        assert!(!belongs_to(Path::new("schedule/driver.rs"), "driver"));
    }
}
