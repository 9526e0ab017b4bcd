//! What holds for whatever a stranger sends: one function for each parser, to be called with any bytes at all.
//!
//! `crates/proxy/fuzz` calls them with what a fuzzer makes up, and the unit tests with every file in its `seeds`.
//! Each reads the bytes whole and in pieces, and holds what came of it against [`reference`], which is written
//! for plainness and shares nothing with the codec.

#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    reason = "these are assertions, and no part of what ships"
)]

mod body;
mod chunked_body;
mod client_hello;
mod pieces;
mod proxy_header;
mod reference;
mod request_head;
mod response_head;
mod values;

pub use body::{request_body, response_body};
pub use chunked_body::chunked_body;
pub use client_hello::client_hello;
pub use proxy_header::proxy_header;
pub use request_head::request_head;
pub use response_head::response_head;
pub use values::values;

#[cfg(test)]
mod tests {
    use std::path::Path;

    /// As the programs in `fuzz/targets` and the folders in `fuzz/seeds` are named.
    type Check = fn(&[u8]);

    const TARGETS: [(&str, Check); 8] = [
        ("chunked_body", super::chunked_body),
        ("client_hello", super::client_hello),
        ("proxy_header", super::proxy_header),
        ("request_body", super::request_body),
        ("request_head", super::request_head),
        ("response_body", super::response_body),
        ("response_head", super::response_head),
        ("values", super::values),
    ];

    fn names(folder: &Path) -> Vec<String> {
        let entries =
            std::fs::read_dir(folder).unwrap_or_else(|error| panic!("{}: {error}", folder.display()));
        let name = |entry: std::io::Result<std::fs::DirEntry>| {
            entry.unwrap().path().file_stem()?.to_str().map(str::to_owned)
        };
        let mut names: Vec<String> = entries.filter_map(name).collect();
        names.sort();
        names
    }

    #[test]
    fn every_target_has_a_program_and_seeds_and_the_seeds_hold() {
        let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("fuzz");
        let targets = TARGETS.map(|(name, _)| name);
        assert_eq!(names(&folder.join("targets")), targets);
        assert_eq!(names(&folder.join("seeds")), targets);
        for (name, check) in TARGETS {
            let seeds = std::fs::read_dir(folder.join("seeds").join(name)).unwrap();
            let mut count = 0;
            for seed in seeds {
                let path = seed.unwrap().path();
                let bytes = std::fs::read(&path).unwrap();
                println!("{name}: {}", path.display());
                check(&bytes);
                count += 1;
            }
            assert!(count > 0, "{name} has no seeds");
        }
    }
}
