//! `edgeproxy import`: a configuration made of another system's files.

mod archive;
mod files;

use std::collections::BTreeMap;
use std::fs::OpenOptions;
use std::io::{self, Write};
use std::net::IpAddr;
use std::path::{Path, PathBuf};
use std::process::ExitCode;

use clap::{Args, Subcommand};
use edgeproxy_config::{ImportOptions, Place, Problem, Report, import_apigee};

use crate::check::exit_code;
use crate::output::{Format, paint, print, render, tell};

/// Whose files are read.
#[derive(Subcommand, Debug)]
pub(crate) enum Import {
    /// Apigee's: target endpoints, target servers and service callouts, as XML or JSON; or proxy bundles, as folders or
    /// zip files. What can't be taken over is told on standard error.
    Apigee(Apigee),
}

/// What is imported, and where to.
#[derive(Args, Debug)]
pub(crate) struct Apigee {
    /// Files, folders with all that is in them, or zip files.
    #[arg(value_name = "PATH", required = true)]
    paths: Vec<PathBuf>,
    /// Where the configuration is written [default: standard output].
    #[arg(long, short, value_name = "FILE")]
    output: Option<PathBuf>,
    /// Replace the file of --output if it exists.
    #[arg(long, requires = "output")]
    force: bool,
    /// The region of the proxy and of all backends: Apigee has none.
    #[arg(long, value_name = "REGION", default_value = "sa")]
    region: String,
    /// The address of a host that has a name; may be given several times. No name server is asked.
    #[arg(long, value_name = "NAME=ADDRESS", value_parser = resolved)]
    resolve: Vec<(String, IpAddr)>,
    /// How it is told what could not be taken over.
    #[arg(long, value_enum, default_value_t, value_name = "FORMAT")]
    format: Format,
}

fn resolved(text: &str) -> Result<(String, IpAddr), String> {
    let (name, address) = text.split_once('=').unwrap_or((text, ""));
    match address.parse() {
        Ok(address) if !name.is_empty() => Ok((name.to_ascii_lowercase(), address)),
        _ => Err("expected a host name, = and an IP address, such as shop.example.com=10.0.0.1".to_owned()),
    }
}

/// Imports, and ends as `check` does: 0 if everything was taken over as it was, 1 with findings, 2 if a file could not be
/// read or nothing could be written.
pub(crate) fn import(import: Import) -> ExitCode {
    let Import::Apigee(options) = import;
    let mut problems = Vec::new();
    // Before the work, which would be for nothing.
    if let Some(problem) = options
        .output
        .as_deref()
        .and_then(|output| taken(output, options.force))
    {
        problems.push(problem);
        return end(
            &options,
            &Report {
                problems,
                findings: Vec::new(),
            },
        );
    }
    let region = match options.region.parse() {
        Ok(region) => region,
        Err(error) => {
            problems.push(Problem::new(Place::CommandLine, format!("--region {error}")));
            return end(
                &options,
                &Report {
                    problems,
                    findings: Vec::new(),
                },
            );
        }
    };
    let files = files::gather(&options.paths, &mut problems);
    let import = ImportOptions {
        region,
        addresses: options.resolve.iter().cloned().collect::<BTreeMap<_, _>>(),
    };
    if files.is_empty() && !problems.is_empty() {
        // Nothing was read, so there is nothing to write but what nobody asked for.
        return end(
            &options,
            &Report {
                problems,
                findings: Vec::new(),
            },
        );
    }
    let imported = import_apigee(&files, &import);
    match &options.output {
        None => print(&imported.toml),
        Some(output) => {
            if let Err(error) = write(output, &imported.toml, options.force) {
                let place = Place::File(output.clone());
                problems.push(Problem::new(place, format!("can't be written: {error}")));
            }
        }
    }
    let own = Report {
        problems,
        findings: Vec::new(),
    };
    end(&options, &own.and(imported.report))
}

fn end(options: &Apigee, report: &Report) -> ExitCode {
    let paths: Vec<String> = options
        .paths
        .iter()
        .map(|path| path.display().to_string())
        .collect();
    tell(&render(
        report,
        options.format,
        paint(&io::stderr()),
        &paths.join(", "),
    ));
    exit_code(report)
}

fn taken(output: &Path, force: bool) -> Option<Problem> {
    (!force && output.symlink_metadata().is_ok()).then(|| {
        let place = Place::File(output.to_owned());
        Problem::new(
            place,
            "exists already, and was left as it is; expected a new file",
        )
        .with_help("name another by --output, or replace it by --force")
    })
}

fn write(output: &Path, text: &str, force: bool) -> io::Result<()> {
    let mut options = OpenOptions::new();
    options.write(true);
    // Atomically, for a file that has come since it was looked for.
    let mut file = if force {
        options.create(true).truncate(true).open(output)?
    } else {
        options.create_new(true).open(output)?
    };
    file.write_all(text.as_bytes())?;
    file.sync_all()
}
