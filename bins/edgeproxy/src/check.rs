//! `edgeproxy check`: what is wrong with a configuration, or risky.

use std::path::{Path, PathBuf};
use std::process::ExitCode;
use std::{fs, io};

use clap::Args;
use edgeproxy_config::{Loaded, Place, Problem, RawFlags, Report, expiring, granting};
use edgeproxy_server::{TlsError, certificates, check_database, check_store, granted};

use crate::cli::RunFlags;
use crate::output::{Format, paint, print, render};

/// What is checked, and how it is told.
#[derive(Args, Debug)]
pub(crate) struct CheckOptions {
    /// The files to check, each by itself. Without one: the file that `run` would read.
    #[arg(value_name = "FILE", conflicts_with = "config")]
    files: Vec<PathBuf>,
    /// How it is told.
    #[arg(long, value_enum, default_value_t, value_name = "FORMAT")]
    format: Format,
    #[command(flatten)]
    flags: RunFlags,
}

/// What is wrong with an argument that is no file, in words that don't speak of a flag which nobody has written.
fn unreadable(file: &Path) -> Option<Problem> {
    let told = match fs::metadata(file) {
        Ok(found) if found.is_dir() => "is a folder; expected a configuration file".to_owned(),
        Ok(_) => return None,
        Err(error) => format!("can't be read: {error}; expected a configuration file"),
    };
    let place = Place::File(file.to_owned());
    Some(Problem::new(place, told))
}

/// Tells everything, and ends with 0 for nothing, 1 for findings, and 2 for what can't be used.
pub(crate) fn check(options: CheckOptions) -> ExitCode {
    let CheckOptions { files, format, flags } = options;
    let asked: Vec<(RawFlags, Option<PathBuf>)> = if files.is_empty() {
        vec![(flags.0, None)]
    } else {
        let with = |file: PathBuf| {
            let flags = RawFlags {
                config: Some(file.clone()),
                ..flags.0.clone()
            };
            (flags, Some(file))
        };
        files.into_iter().map(with).collect()
    };
    let mut names = Vec::new();
    let mut report = Report::default();
    for (flags, argument) in asked {
        if let Some(problem) = argument.as_deref().and_then(unreadable) {
            names.push(problem.place.to_string());
            report.problems.push(problem);
            continue;
        }
        let named = flags.config.clone();
        let loaded = edgeproxy_config::load(flags, std::env::vars_os().collect());
        let file = loaded
            .as_ref()
            .ok()
            .and_then(|loaded| loaded.file.clone())
            .or(named);
        names.push(file.map_or("the defaults".to_owned(), |file| file.display().to_string()));
        report = report.and(Report::of(&loaded));
        if let Ok(loaded) = &loaded {
            report = report
                .and(of_certificates(loaded))
                .and(of_tokens(loaded))
                .and(of_store(loaded))
                .and(of_database(loaded));
        }
    }
    print(&render(&report, format, paint(&io::stdout()), &names.join(", ")));
    exit_code(&report)
}

/// 0 for nothing, 1 for findings, 2 for problems.
pub(crate) fn exit_code(report: &Report) -> ExitCode {
    match (report.problems.is_empty(), report.findings.is_empty()) {
        (true, true) => ExitCode::SUCCESS,
        (true, false) => ExitCode::from(1),
        (false, _) => ExitCode::from(2),
    }
}

/// What the files of certificates are like: unreadable, or about to end.
fn of_certificates(loaded: &Loaded) -> Report {
    match certificates(&loaded.settings) {
        Ok(certificates) => Report {
            problems: Vec::new(),
            findings: expiring(&certificates),
        },
        Err(error) => Report {
            problems: vec![unusable(loaded, &error)],
            findings: Vec::new(),
        },
    }
}

/// What the file of tokens is like: unusable, open to others, or about to end in parts.
fn of_tokens(loaded: &Loaded) -> Report {
    match granted(&loaded.settings) {
        Ok(known) => Report {
            problems: Vec::new(),
            findings: known.iter().flat_map(granting).collect(),
        },
        Err(error) => {
            let place = loaded
                .place("api_tokens_file")
                .cloned()
                .unwrap_or(Place::Defaults);
            Report {
                problems: vec![Problem::new(place, format!("api_tokens_file: {error}"))],
                findings: Vec::new(),
            }
        }
    }
}

/// Whether the store that proxies share can be asked at all.
fn of_store(loaded: &Loaded) -> Report {
    let problem = check_store(&loaded.settings).err().map(|error| {
        let place = loaded.place("store").cloned().unwrap_or(Place::Defaults);
        Problem::new(place, error.to_string())
    });
    Report {
        problems: problem.into_iter().collect(),
        findings: Vec::new(),
    }
}

/// Whether there is a database of countries where there is to be one.
fn of_database(loaded: &Loaded) -> Report {
    let problem = check_database(&loaded.settings).err().map(|error| {
        let place = loaded.place("geoip_path").cloned().unwrap_or(Place::Defaults);
        Problem::new(place, format!("geoip_path: {error}"))
    });
    Report {
        problems: problem.into_iter().collect(),
        findings: Vec::new(),
    }
}

fn unusable(loaded: &Loaded, error: &TlsError) -> Problem {
    let key = match error.of.as_str() {
        "tls_listen_addr" => "tls_cert",
        "backend_tls" => "backend_tls_ca",
        "api_tls" => "api_tls_cert",
        _ => "",
    };
    let of_key = loaded.place(key).cloned();
    let place = of_key
        .or_else(|| loaded.file.clone().map(Place::File))
        .unwrap_or(Place::Defaults);
    Problem::new(place, format!("TLS of {error}"))
}

#[cfg(test)]
mod tests {
    use edgeproxy_config::{Finding, Severity};

    use super::*;

    #[test]
    fn the_exit_code_is_0_for_nothing_1_for_findings_and_2_for_problems() {
        let finding = Finding {
            rule: "api-off",
            severity: Severity::Error,
            place: None,
            message: String::new(),
            advice: String::new(),
        };
        let risky = Report {
            problems: Vec::new(),
            findings: vec![finding],
        };
        let wrong = Report {
            problems: vec![Problem::new(Place::Defaults, "x")],
            ..risky.clone()
        };
        let codes = [&Report::default(), &risky, &wrong].map(|report| format!("{:?}", exit_code(report)));
        assert_eq!(
            codes,
            [ExitCode::from(0), ExitCode::from(1), ExitCode::from(2)].map(|code| format!("{code:?}"))
        );
    }
}
