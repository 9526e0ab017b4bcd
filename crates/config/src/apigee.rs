//! What Apigee's files say, as `edgeproxy.toml`: its target endpoints, target servers and service callouts.
//!
//! Pure: the caller has read the files. They are a stranger's: XML without document types, so without entities to
//! expand, and a limit to sizes, depths and counts.

mod balancer;
mod element;
mod endpoint;
mod join;
mod json;
mod monitor;
mod names;
mod notes;
mod proxy;
pub(crate) mod rules;
mod server;
mod text;
mod tls;
mod toml_text;
mod url;
mod write;
mod xml;

use std::collections::BTreeMap;
use std::net::IpAddr;
use std::path::{Path, PathBuf};

use edgeproxy_backend::Region;

use crate::layers::{ConfigFile, Layers};
use crate::problem::{Document, Place, Problem};
use crate::report::Report;
use crate::source::MAX_FILE_BYTES;
use element::Element;
use endpoint::Endpoint;
use join::Read;
use notes::{Notes, shown};
use proxy::{Offer, bundle};
use server::Server;

/// The most bytes of one of Apigee's files: 4 MiB.
pub const MAX_APIGEE_FILE_BYTES: u64 = 4 << 20;

/// One of Apigee's files.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ApigeeFile {
    /// Where it was, for messages; and for the bundle that it is a part of.
    pub path: PathBuf,
    /// What is in it. `.json` is JSON, everything else XML.
    pub bytes: Vec<u8>,
}

/// What Apigee's files don't say.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ImportOptions {
    /// The region of the proxy and of all backends.
    pub region: Region,
    /// The addresses of host names, which are in lower case. No name server is asked.
    pub addresses: BTreeMap<String, IpAddr>,
}

/// What became of them.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Imported {
    /// The configuration file.
    pub toml: String,
    /// Files that could not be read, and what could not be taken over as it was.
    pub report: Report,
}

/// Makes a configuration file of Apigee's files.
///
/// A file that can't be read is a problem of the report, and doesn't stop the others. What has no counterpart is a
/// finding. The text is one that [`Layers::load`] takes; where it isn't, which too many backends can bring about, the
/// report has its problems.
///
/// ```
/// use std::collections::BTreeMap;
/// use edgeproxy_config::{ApigeeFile, ImportOptions, import_apigee};
///
/// let file = |path: &str, text: &str| ApigeeFile { path: path.into(), bytes: text.into() };
/// let files = [
///     file("shop.xml", "<TargetEndpoint name='shop'><HTTPTargetConnection><LoadBalancer><Server name='target1'/>\
///          <MaxFailures>0</MaxFailures></LoadBalancer></HTTPTargetConnection></TargetEndpoint>"),
///     file("target1.json", r#"{"name": "target1", "host": "10.0.0.1", "port": 80}"#),
/// ];
/// let options = ImportOptions { region: "eu".parse()?, addresses: BTreeMap::new() };
/// let imported = import_apigee(&files, &options);
/// assert!(imported.report.is_clean());
/// assert!(imported.toml.contains("[apps.shop]\nalgorithm = \"round_robin\"\n"));
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
#[must_use]
pub fn import_apigee(files: &[ApigeeFile], options: &ImportOptions) -> Imported {
    let mut problems = Vec::new();
    let mut texts = Vec::with_capacity(files.len());
    for file in files {
        match text::decode(&file.path, &file.bytes) {
            Ok(text) => texts.push((file.path.as_path(), text)),
            Err(problem) => problems.push(problem),
        }
    }
    let documents: Vec<Document<'_>> = texts
        .iter()
        .map(|(path, text)| Document::new(path, text))
        .collect();
    let mut notes = Notes::of(&documents);
    let mut read = Read::default();
    for (index, document) in documents.iter().enumerate() {
        match elements(document, index) {
            Ok(elements) => elements
                .iter()
                .for_each(|element| take(&mut notes, &mut read, document, element)),
            Err(problem) => problems.push(problem),
        }
    }
    let joined = join::join(&mut notes, read, options);
    let toml = write::write(&notes, &joined, options);
    problems.extend(refused(&toml));
    Imported {
        toml,
        report: Report {
            problems,
            findings: notes.finish(),
        },
    }
}

fn elements(document: &Document<'_>, index: usize) -> Result<Vec<Element>, Problem> {
    let is_json = document
        .path
        .extension()
        .is_some_and(|extension| extension.eq_ignore_ascii_case("json"));
    if is_json {
        json::parse(document, index)
    } else {
        xml::parse(document, index).map(|element| vec![element])
    }
}

fn take(notes: &mut Notes<'_>, read: &mut Read, document: &Document<'_>, element: &Element) {
    let of_bundle = bundle(document.path);
    match element.name.as_str() {
        "TargetServer" => read.servers.extend(Server::read(notes, element)),
        "TargetEndpoint" | "ServiceCallout" => {
            let stem = document
                .path
                .file_stem()
                .and_then(|stem| stem.to_str())
                .unwrap_or_default();
            read.stems.insert(element.at.file, stem.to_owned());
            read.endpoints.push((Endpoint::read(notes, element), of_bundle));
        }
        "ProxyEndpoint" => read
            .offers
            .extend(Offer::read(notes, element).map(|offer| (offer, of_bundle))),
        "APIProxy" => {
            // It lies beside the folders of the bundle, and has nothing else that counts.
            let folder = document.path.parent().map(Path::to_path_buf).unwrap_or_default();
            let name = element.attribute("name").unwrap_or_default();
            read.bundles.insert(folder, name.to_owned());
        }
        "Manifest" => {}
        other => notes.tell(
            rules::NOT_IMPORTED,
            &element.at,
            format!("<{}> has no counterpart: the file was left out", shown(other)),
            "do without it, or have the backends do it",
        ),
    }
}

/// Why the text would be refused.
fn refused(toml: &str) -> Vec<Problem> {
    let file = ConfigFile {
        path: "edgeproxy.toml".into(),
        text: toml.to_owned(),
    };
    let layers = Layers {
        file: Some(file),
        ..Layers::default()
    };
    let refused = layers.load().err();
    let mut problems = refused.map(|error| error.problems).unwrap_or_default();
    if toml.len() as u64 > MAX_FILE_BYTES {
        let message = format!(
            "would have {} bytes; expected at most {MAX_FILE_BYTES}",
            toml.len()
        );
        let problem = Problem::new(Place::File("edgeproxy.toml".into()), message);
        problems.push(problem.with_help("import fewer files, and have more than one proxy"));
    }
    problems
}

#[cfg(test)]
mod tests;
