//! Pages of the documentation, command by command, and what they say that is printed.

use std::process::Stdio;
use std::time::Duration;

use tempfile::TempDir;
use tokio::process::Command;

use crate::{Edgeproxy, FreePort, PATIENCE, within};

/// Stands for whatever is printed there.
const ANYTHING: &str = "…";

/// Where pages have the API, as everybody has who doesn't say otherwise.
const API: &str = "http://127.0.0.1:8081";

/// Commands that are run in one go, and what they print.
#[derive(PartialEq, Eq, Debug)]
pub struct Step<'a> {
    /// For the shell.
    pub commands: Commands<'a>,
    /// What the page says that they print.
    pub prints: Option<&'a str>,
}

/// What a reader would do.
#[derive(PartialEq, Eq, Debug)]
pub enum Commands<'a> {
    /// Run these lines.
    Shell(&'a str),
    /// Write this into a file of that name.
    File(&'a str, &'a str),
}

impl Commands<'_> {
    fn script(&self) -> String {
        match self {
            Self::Shell(lines) => (*lines).to_owned(),
            Self::File(name, text) => format!("cat > {name} <<'END-OF-THE-FILE'\n{text}END-OF-THE-FILE\n"),
        }
    }
}

/// Fenced blocks: `sh` are commands, a `text` right after is what they print. A block after a comment `file: NAME` is that
/// file; one after any other comment is for the eyes alone.
///
/// # Panics
/// If a block is malformed.
#[must_use]
pub fn steps(page: &str) -> Vec<Step<'_>> {
    let mut steps: Vec<Step<'_>> = Vec::new();
    let parts: Vec<_> = page.split("```").collect();
    for pair in parts.chunks_exact(2) {
        let [before, block] = pair else { continue };
        let (kind, block) = block.split_once('\n').expect("a block has lines");
        let remark = before
            .trim_end()
            .strip_suffix("-->")
            .and_then(|before| before.rsplit_once("<!--"))
            .map(|(_, remark)| remark.trim());
        let file = remark.and_then(|remark| remark.strip_prefix("file: "));
        let commands = match (file, kind) {
            (Some(name), _) => Commands::File(name, block),
            (None, "sh") if remark.is_none() => Commands::Shell(block),
            (None, "text") if remark.is_none() => {
                steps.last_mut().expect("commands come first").prints = Some(block);
                continue;
            }
            _ => continue,
        };
        steps.push(Step {
            commands,
            prints: None,
        });
    }
    steps
}

/// Runs a page in a folder of its own with bash, `edgeproxy` and `edgeproxy-agent` in the `PATH`. Each port of `ports` that it
/// names becomes one that is free.
///
/// # Panics
/// If anything fails, prints something else, or all together takes longer than `limit`.
pub async fn run(page: &str, ports: &[&str], limit: Duration) {
    let steps = steps(page);
    let free: Vec<_> = ports.iter().map(|_| FreePort::for_anybody()).collect();
    let with_ports = |text: &str| with_ports(text, ports, &free);
    let folder = TempDir::with_prefix("edgeproxy-page-").expect("a temporary folder can be made");
    let mut script = "trap 'kill $(jobs -p) 2>/dev/null || true' EXIT\n".to_owned();
    for step in &steps {
        script.push_str(&with_ports(&step.commands.script()));
        script.push_str("printf '\\001'\n");
    }
    let binary = Edgeproxy::binary();
    let built = binary.parent().expect("the binary is in a folder").to_owned();
    let path = std::env::var("PATH").unwrap_or_default();
    // It ends all that was started, too, should the time run out.
    let mut shell = Command::new("timeout");
    shell
        .args([&limit.as_secs().to_string(), "bash", "-euc", &script])
        .env_clear()
        .env("PATH", format!("{}:{path}", built.display()))
        .env("NO_PROXY", "*")
        .env("EDGEPROXY_API", with_ports(API))
        .current_dir(folder.path())
        .stdin(Stdio::null())
        .kill_on_drop(true);
    let output = within(limit + PATIENCE, "the page", shell.output())
        .await
        .expect("bash can be run");
    let (printed, told) = (
        String::from_utf8_lossy(&output.stdout),
        String::from_utf8_lossy(&output.stderr),
    );
    let mut blocks = printed.split('\u{1}');
    for step in &steps {
        let block = blocks.next().unwrap_or_default();
        let expected = with_ports(step.prints.unwrap_or_default());
        assert!(
            fits(block, &expected),
            "{}\nprinted:\n{block}\nexpected:\n{expected}\non standard error:\n{told}",
            step.commands.script()
        );
    }
    assert!(output.status.success(), "{told}");
}

fn with_ports(text: &str, ports: &[&str], free: &[FreePort]) -> String {
    // In two strokes, so that a port of the system's choice isn't taken for one of the text.
    let marked = ports
        .iter()
        .enumerate()
        .fold(text.to_owned(), |text, (at, port)| {
            text.replace(port, &format!("\u{1}{at}\u{2}"))
        });
    free.iter().enumerate().fold(marked, |text, (at, port)| {
        text.replace(&format!("\u{1}{at}\u{2}"), &port.addr().port().to_string())
    })
}

/// Whether a text is what is expected, however many spaces columns are apart.
fn fits(printed: &str, expected: &str) -> bool {
    let words = |text: &str| text.split_whitespace().collect::<Vec<_>>().join(" ");
    let (printed, expected) = (words(printed), words(expected));
    let mut parts = expected.split(ANYTHING).map(str::trim);
    let first = parts.next().unwrap_or_default();
    let Some(mut rest) = printed.strip_prefix(first) else {
        return false;
    };
    let mut is_open = false;
    for part in parts {
        is_open = part.is_empty();
        match rest.find(part) {
            Some(at) => rest = &rest[at + part.len()..],
            None => return false,
        }
    }
    is_open || rest.is_empty()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_printed_is_compared_but_for_what_differs() {
        for (printed, expected, is_so) in [
            ("a   b\n", "a b", true),
            ("a b c", "a … c", true),
            ("a b", "a …", true),
            ("a b c d", "a … c", false),
            ("x a", "a", false),
            ("a", "a b", false),
            ("", "", true),
            ("a", "", false),
        ] {
            assert_eq!(fits(printed, expected), is_so, "{printed:?} {expected:?}");
        }
    }

    #[test]
    fn a_page_is_commands_files_and_what_is_printed() {
        let page = "Text.\n\n```sh\nrun\n```\n\n```text\nout\n```\n\n<!-- file: a.toml -->\n```toml\nx = 1\n```\n\n\
                    <!-- not run: why -->\n```sh\nno\n```\n```promql\nup\n```\n";
        let step = |commands, prints| Step { commands, prints };
        assert_eq!(
            steps(page),
            [
                step(Commands::Shell("run\n"), Some("out\n")),
                step(Commands::File("a.toml", "x = 1\n"), None),
            ]
        );
    }
}
