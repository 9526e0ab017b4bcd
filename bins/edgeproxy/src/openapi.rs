//! `edgeproxy openapi`: the description of the API, without a server.

use std::fs;
use std::path::PathBuf;
use std::process::ExitCode;

use clap::Args;

use crate::output::{print, tell};

/// Where to.
#[derive(Args, Debug)]
pub(crate) struct OpenapiOptions {
    /// The file that gets it; one that is there is replaced. Without it: standard output.
    #[arg(short, long, value_name = "FILE")]
    output: Option<PathBuf>,
}

pub(crate) fn openapi(options: &OpenapiOptions) -> ExitCode {
    let text = edgeproxy_server::openapi();
    let Some(file) = &options.output else {
        print(text);
        return ExitCode::SUCCESS;
    };
    match fs::write(file, text) {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            tell(&format!(
                "edgeproxy: the description can't be written to {}: {error}\n",
                file.display()
            ));
            ExitCode::FAILURE
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_file_gets_the_document_and_one_that_cant_be_written_is_a_failure() {
        let folder = tempfile::tempdir().unwrap();
        let file = folder.path().join("openapi.json");
        let output = Some(file.clone());
        assert_eq!(openapi(&OpenapiOptions { output }), ExitCode::SUCCESS);
        let read: serde_json::Value = serde_json::from_str(&fs::read_to_string(file).unwrap()).unwrap();
        assert_eq!(read["openapi"], "3.1.0");
        let output = Some(folder.path().join("no/such/folder"));
        assert_eq!(openapi(&OpenapiOptions { output }), ExitCode::FAILURE);
    }
}
