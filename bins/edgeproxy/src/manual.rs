//! `edgeproxy completions` and `edgeproxy man`: what shells and readers are told of the command line, made from it.

use std::fs;
use std::path::PathBuf;
use std::process::ExitCode;

use anyhow::Context as _;
use clap::{Args, Command};
use clap_complete::Shell;

use crate::output::{print, tell};

/// For which shell.
#[derive(Args, Debug)]
pub(crate) struct CompletionsOptions {
    /// The shell that reads it.
    shell: Shell,
}

/// Where to.
#[derive(Args, Debug)]
pub(crate) struct ManOptions {
    /// The folder that gets edgeproxy.1, edgeproxy-run.1 and so on; made if it isn't there.
    #[arg(short, long, value_name = "FOLDER")]
    output: Option<PathBuf>,
}

pub(crate) fn completions(options: &CompletionsOptions, mut definition: Command) -> ExitCode {
    let mut text = Vec::new();
    clap_complete::generate(options.shell, &mut definition, "edgeproxy", &mut text);
    print(&String::from_utf8_lossy(&text));
    ExitCode::SUCCESS
}

pub(crate) fn man(options: &ManOptions, definition: Command) -> ExitCode {
    match written(options, definition) {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            tell(&format!("edgeproxy: {error:#}\n"));
            ExitCode::FAILURE
        }
    }
}

fn written(options: &ManOptions, definition: Command) -> anyhow::Result<()> {
    let Some(folder) = &options.output else {
        let mut text = Vec::new();
        clap_mangen::Man::new(definition).render(&mut text)?;
        print(&String::from_utf8_lossy(&text));
        return Ok(());
    };
    fs::create_dir_all(folder)
        .and_then(|()| clap_mangen::generate_to(definition, folder))
        .with_context(|| format!("the pages can't be written into {}", folder.display()))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_command_has_a_page_that_shows_its_flags() {
        let folder = tempfile::tempdir().unwrap();
        let output = Some(folder.path().join("man"));
        written(&ManOptions { output }, crate::cli::definition()).unwrap();
        for (page, words) in [
            (
                "edgeproxy.1",
                "the load balancer that backends register themselves with",
            ),
            ("edgeproxy-run.1", "EDGEPROXY_API_LISTEN_ADDR"),
            ("edgeproxy-drain.1", "deregister"),
            ("edgeproxy-import-apigee.1", "resolve"),
        ] {
            let text = fs::read_to_string(folder.path().join("man").join(page)).unwrap();
            let text = text.replace("\\-", "-").to_lowercase();
            assert!(text.contains(&words.to_lowercase()), "{page}: {text}");
        }
    }

    #[test]
    fn shells_learn_commands_and_settings() {
        for shell in [
            Shell::Bash,
            Shell::Zsh,
            Shell::Fish,
            Shell::Elvish,
            Shell::PowerShell,
        ] {
            let mut text = Vec::new();
            clap_complete::generate(shell, &mut crate::cli::definition(), "edgeproxy", &mut text);
            let text = String::from_utf8(text).unwrap();
            for word in ["drain", "api-enabled", "completions"] {
                assert!(text.contains(word), "{shell}: {word}");
            }
        }
    }
}
