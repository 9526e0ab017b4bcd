//! The tutorial, command by command, and what it says that they print.

use std::process::Stdio;
use std::time::Duration;

use edgeproxy_tests::{FreePort, PATIENCE, within};
use tempfile::TempDir;
use tokio::process::Command;

const TUTORIAL: &str = include_str!("../../../docs/tutorial.md");
const EM_PORTUGUES: &str = include_str!("../../../docs/pt-BR/tutorial.md");

/// Ports that the text names. Each becomes one that is free.
const PORTS: [&str; 5] = ["8080", "8081", "9001", "9002", "9003"];

/// Stands for whatever is printed there.
const ANYTHING: &str = "…";

/// All commands together.
const LIMIT: Duration = Duration::from_secs(60);

/// Commands that are run in one go, and what they print.
#[derive(PartialEq, Eq, Debug)]
struct Step<'a> {
    commands: &'a str,
    prints: Option<&'a str>,
}

/// Fenced blocks: `sh` are commands, a `text` right after is what they print.
fn steps(page: &str) -> Vec<Step<'_>> {
    let mut steps: Vec<Step<'_>> = Vec::new();
    let parts: Vec<_> = page.split("```").collect();
    for pair in parts.chunks_exact(2) {
        let [before, block] = pair else { continue };
        let (kind, block) = block.split_once('\n').expect("a block has lines");
        match kind {
            "sh" if before.trim_end().ends_with("-->") => {}
            "sh" => steps.push(Step {
                commands: block,
                prints: None,
            }),
            "text" => steps.last_mut().expect("commands come first").prints = Some(block),
            _ => {}
        }
    }
    steps
}

fn with_ports(text: &str, ports: &[FreePort; 5]) -> String {
    // In two strokes, so that a port of the system's choice isn't taken for one of the text.
    let marked = PORTS
        .iter()
        .enumerate()
        .fold(text.to_owned(), |text, (at, port)| {
            text.replace(port, &format!("\u{1}{at}"))
        });
    ports.iter().enumerate().fold(marked, |text, (at, port)| {
        text.replace(&format!("\u{1}{at}"), &port.addr().port().to_string())
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

#[tokio::test]
async fn the_tutorial_is_executed_command_by_command() {
    let steps = steps(TUTORIAL);
    assert!(steps.len() > 15, "{}", steps.len());
    let ports = [(); 5].map(|()| FreePort::for_anybody());
    let folder = TempDir::with_prefix("edgeproxy-tutorial-").expect("a temporary folder can be made");
    let mut script = "trap 'kill $(jobs -p) 2>/dev/null || true' EXIT\n".to_owned();
    for step in &steps {
        script.push_str(&with_ports(step.commands, &ports));
        script.push_str("printf '\\001'\n");
    }
    let binary = edgeproxy_tests::Edgeproxy::binary();
    let built = binary.parent().expect("the binary is in a folder").to_owned();
    let path = std::env::var("PATH").unwrap_or_default();
    // It ends all that was started, too, should the time run out.
    let mut shell = Command::new("timeout");
    shell
        .args([&LIMIT.as_secs().to_string(), "bash", "-euc", &script])
        .env_clear()
        .env("PATH", format!("{}:{path}", built.display()))
        .env("NO_PROXY", "*")
        // The text has it at its usual port.
        .env("EDGEPROXY_API", with_ports("http://127.0.0.1:8081", &ports))
        .current_dir(folder.path())
        .stdin(Stdio::null())
        .kill_on_drop(true);
    let output = within(LIMIT + PATIENCE, "the tutorial", shell.output())
        .await
        .expect("bash can be run");
    let (printed, told) = (
        String::from_utf8_lossy(&output.stdout),
        String::from_utf8_lossy(&output.stderr),
    );
    let mut blocks = printed.split('\u{1}');
    for step in &steps {
        let block = blocks.next().unwrap_or_default();
        let expected = with_ports(step.prints.unwrap_or_default(), &ports);
        assert!(
            fits(block, &expected),
            "{}\nprinted:\n{block}\nexpected:\n{expected}\non standard error:\n{told}",
            step.commands
        );
    }
    assert!(output.status.success(), "{told}");
}

#[test]
fn the_tutorial_in_portuguese_has_the_same_commands_and_prints() {
    assert_eq!(steps(EM_PORTUGUES), steps(TUTORIAL));
}

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
