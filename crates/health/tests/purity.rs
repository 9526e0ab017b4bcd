//! Without the feature `driver`, nothing that does I/O is in the crate's dependency tree.

use std::error::Error;
use std::process::Command;

fn dependencies(features: &[&str]) -> Result<Vec<String>, Box<dyn Error>> {
    let manifest = concat!(env!("CARGO_MANIFEST_DIR"), "/Cargo.toml");
    let output = Command::new(env!("CARGO"))
        .args([
            "tree",
            "--frozen",
            "--no-default-features",
            "--manifest-path",
            manifest,
        ])
        .args(["--edges", "normal", "--prefix", "none", "--format", "{lib}"])
        .args(features)
        .output()?;
    if !output.status.success() {
        return Err(format!("cargo tree: {}", String::from_utf8_lossy(&output.stderr)).into());
    }
    let tree = String::from_utf8(output.stdout)?;
    Ok(tree
        .lines()
        .filter_map(|line| line.split_whitespace().next())
        .map(str::to_owned)
        .collect())
}

#[test]
fn without_the_driver_there_is_no_runtime_and_no_socket() -> Result<(), Box<dyn Error>> {
    let pure = dependencies(&[])?;
    let driver = dependencies(&["--features", "driver"])?;
    for forbidden in [
        "tokio",
        "tokio_rustls",
        "rustls",
        "h2",
        "hyper",
        "hyper_util",
        "mio",
        "socket2",
        "libc",
    ] {
        assert!(
            !pure.iter().any(|name| name == forbidden),
            "{forbidden} in {pure:?}"
        );
        // To miss what is never found anywhere would prove nothing.
        assert!(
            driver.iter().any(|name| name == forbidden),
            "no {forbidden} in {driver:?}"
        );
    }
    assert!(pure.iter().any(|name| name == "edgeproxy_backend"), "{pure:?}");
    Ok(())
}
