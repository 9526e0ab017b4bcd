//! `edgeproxy-agent completions` and `edgeproxy-agent man`: what shells and readers are told of the command line, made from
//! it.

use std::fs;
use std::io::{self, Write as _};
use std::path::PathBuf;
use std::process::ExitCode;

use anyhow::Context as _;
use clap::{Command, Subcommand};
use clap_complete::Shell;

/// What is told of it.
#[derive(Subcommand, Debug)]
pub(crate) enum ManualTask {
    /// Print what a shell needs to complete flags.
    Completions {
        /// The shell that reads it.
        shell: Shell,
    },
    /// Print the manual page, or write it into a folder.
    Man {
        /// The folder that gets edgeproxy-agent.1; made if it isn't there.
        #[arg(short, long, value_name = "FOLDER")]
        output: Option<PathBuf>,
    },
}

/// Prints it, or writes it.
pub(crate) fn manual(task: &ManualTask, definition: Command) -> ExitCode {
    match told(task, definition) {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            let _ = writeln!(io::stderr(), "edgeproxy-agent: {error:#}");
            ExitCode::FAILURE
        }
    }
}

fn told(task: &ManualTask, mut definition: Command) -> anyhow::Result<()> {
    let mut text = Vec::new();
    match task {
        ManualTask::Completions { shell } => {
            clap_complete::generate(*shell, &mut definition, "edgeproxy-agent", &mut text);
        }
        // Two more pages for what makes them are no help to anybody.
        ManualTask::Man { output } => {
            clap_mangen::Man::new(definition.disable_help_subcommand(true)).render(&mut text)?;
            if let Some(folder) = output {
                let page = folder.join("edgeproxy-agent.1");
                return fs::create_dir_all(folder)
                    .and_then(|()| fs::write(&page, &text))
                    .with_context(|| format!("{} can't be written", page.display()));
            }
        }
    }
    // Whoever has closed it knows that the rest is lost.
    let mut out = io::stdout().lock();
    let _ = out.write_all(&text).and_then(|()| out.flush());
    Ok(())
}
