//! What becomes of Apigee's files. `tests/apigee/NAME` is a folder of them, `NAME.toml` what is written, and `NAME.txt` what
//! is told. After a change run with `UPDATE_EXPECTED=1`, then read the difference as its reader would.

#![allow(clippy::unwrap_used, reason = "a test fails by it")]

use std::fs;
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use edgeproxy_config::{ApigeeFile, ConfigFile, ImportOptions, Imported, Layers, Paint, import_apigee};

fn folder() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/apigee")
}

/// The files below a folder, by name, with paths that begin there.
fn files(folder: &Path, below: &Path) -> Vec<ApigeeFile> {
    let mut entries: Vec<PathBuf> = fs::read_dir(folder.join(below))
        .unwrap()
        .map(|entry| below.join(entry.unwrap().file_name()))
        .collect();
    entries.sort();
    let read = |path: PathBuf| {
        if folder.join(&path).is_dir() {
            return files(folder, &path);
        }
        let bytes = fs::read(folder.join(&path)).unwrap();
        vec![ApigeeFile { path, bytes }]
    };
    entries.into_iter().flat_map(read).collect()
}

fn import(files: &[ApigeeFile]) -> Imported {
    let options = ImportOptions {
        region: "eu".parse().unwrap(),
        addresses: [("www.mybackendservice.com".to_owned(), [10, 9, 0, 1].into())].into(),
    };
    import_apigee(files, &options)
}

/// Compares a folder's outcome, and loads what was written.
fn compare(name: &str) {
    let imported = import(&files(&folder().join(name), Path::new("")));
    let told = imported.report.text(Paint::Plain) + &imported.report.summary() + "\n";
    let outcomes = [("toml", &imported.toml), ("txt", &told)];
    for (extension, found) in outcomes {
        let expected = folder().join(format!("{name}.{extension}"));
        if std::env::var_os("UPDATE_EXPECTED").is_some() {
            fs::write(&expected, found).unwrap();
        }
        assert_eq!(
            *found,
            fs::read_to_string(&expected).unwrap_or_default(),
            "{name}.{extension}"
        );
    }
    let file = ConfigFile {
        path: "edgeproxy.toml".into(),
        text: imported.toml.clone(),
    };
    let layers = Layers {
        file: Some(file),
        ..Layers::default()
    };
    let refused = layers.load().err().map(|error| error.to_string());
    assert_eq!(refused, None);
}

/// Two of the five are broken: a `>` too many, and an end tag too few.
#[test]
fn the_documentation_s_examples_as_they_are_printed() {
    compare("documented");
    let broken = import(&files(&folder().join("documented"), Path::new("")));
    let places: Vec<String> = broken
        .report
        .problems
        .iter()
        .map(|problem| problem.place.to_string())
        .collect();
    assert_eq!(places, ["4-single-target.xml:1:199"]);
    let stray = broken
        .report
        .findings
        .iter()
        .find(|finding| finding.rule == "apigee-stray-text")
        .unwrap();
    assert_eq!(
        stray.place.as_ref().unwrap().to_string(),
        "2-two-targets.xml:1:55"
    );
}

#[test]
fn a_balancer_with_everything_that_it_can_say() {
    compare("balancer");
}

#[test]
fn a_proxy_bundle_with_its_callouts_and_paths() {
    compare("bundle");
}

#[test]
fn tls_to_targets() {
    compare("tls");
}

#[test]
fn what_has_no_meaning_is_told_with_place_and_mend() {
    compare("wrong");
}

/// Printed, since how fast a machine is that others use as well is nothing to fail by. The bound is for an algorithm that
/// has become quadratic.
#[test]
#[allow(
    clippy::print_stdout,
    reason = "the time that was taken is what is of interest"
)]
fn a_tree_of_500_files_is_imported_in_no_time() {
    let mut files = Vec::new();
    for n in 0..250 {
        let server = format!(
            "<TargetServer name=\"target{n}\">\n  <Host>10.1.{}.{}</Host>\n  <Port>8080</Port>\n</TargetServer>\n",
            n / 250,
            n % 250 + 1
        );
        let endpoint = format!(
            "<TargetEndpoint name=\"default\">\n  <HTTPTargetConnection>\n    <LoadBalancer>\n      \
             <Server name=\"target{n}\"/>\n      <Server name=\"target{}\"/>\n      <MaxFailures>5</MaxFailures>\n    \
             </LoadBalancer>\n    <HealthMonitor><IsEnabled>true</IsEnabled><TCPMonitor/></HealthMonitor>\n  \
             </HTTPTargetConnection>\n</TargetEndpoint>\n",
            (n + 1) % 250
        );
        files.push(ApigeeFile {
            path: format!("servers/target{n}.xml").into(),
            bytes: server.into_bytes(),
        });
        files.push(ApigeeFile {
            path: format!("proxy{n}/apiproxy/targets/default.xml").into(),
            bytes: endpoint.into_bytes(),
        });
    }
    let started = Instant::now();
    let imported = import(&files);
    let taken = started.elapsed();
    println!("500 files were imported in {taken:?}");
    assert_eq!(imported.report.problems, []);
    assert_eq!(imported.toml.matches("[[backends]]").count(), 500);
    assert!(taken < Duration::from_secs(20), "{taken:?}");
}
