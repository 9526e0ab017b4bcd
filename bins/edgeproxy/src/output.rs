//! What commands print, and how a text fits into a terminal.

use std::fmt::Write as _;
use std::io::{self, IsTerminal, Write as _};

use clap::ValueEnum;
use edgeproxy_config::{Paint, Report};
use serde_json::Value;
use unicode_width::{UnicodeWidthChar as _, UnicodeWidthStr};

/// In which form a report is printed.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, ValueEnum)]
pub(crate) enum Format {
    /// For people.
    #[default]
    Text,
    /// For scripts.
    Json,
    /// For whoever shows the results of linters: SARIF 2.1.0.
    Sarif,
}

/// Colours for a terminal, unless it has none or nobody wants them (no-color.org).
pub(crate) fn paint(stream: &impl IsTerminal) -> Paint {
    let unwanted = std::env::var_os("NO_COLOR").is_some_and(|value| !value.is_empty());
    let dumb = std::env::var_os("TERM").is_some_and(|value| value == "dumb");
    if stream.is_terminal() && !unwanted && !dumb {
        Paint::Colours
    } else {
        Paint::Plain
    }
}

/// A report in a form. As text it ends with a line that counts; `checked` says of what.
pub(crate) fn render(report: &Report, format: Format, paint: Paint, checked: &str) -> String {
    match format {
        Format::Text => format!("{}{checked}: {}\n", report.text(paint), report.summary()),
        Format::Json => report.json(),
        Format::Sarif => report.sarif(),
    }
}

/// Writes to standard output. Whoever has closed it knows that the rest is lost.
pub(crate) fn print(text: &str) {
    let mut out = io::stdout().lock();
    let _ = out.write_all(text.as_bytes()).and_then(|()| out.flush());
}

/// Writes to standard error.
pub(crate) fn tell(text: &str) {
    let mut out = io::stderr().lock();
    let _ = out.write_all(text.as_bytes()).and_then(|()| out.flush());
}

/// Writes to standard output, and says whether there is still somebody who reads.
pub(crate) fn wrote(text: &str) -> bool {
    let mut out = io::stdout().lock();
    out.write_all(text.as_bytes()).and_then(|()| out.flush()).is_ok()
}

/// How worrying something is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Tone {
    Good,
    Warning,
    Bad,
    /// Neither: it is out, and somebody wants it so.
    Off,
}

/// A text in the colour of its tone.
pub(crate) fn toned(text: &str, tone: Tone, paint: Paint) -> String {
    let code = match (paint, tone) {
        (Paint::Plain, _) => return text.to_owned(),
        (Paint::Colours, Tone::Good) => "32",
        (Paint::Colours, Tone::Warning) => "33",
        (Paint::Colours, Tone::Bad) => "31",
        (Paint::Colours, Tone::Off) => "2",
    };
    format!("\x1b[{code}m{text}\x1b[0m")
}

/// How worrying a backend's state is.
pub(crate) fn tone_of_state(state: &str) -> Tone {
    match state {
        "routable" => Tone::Good,
        "ejected" | "unhealthy" => Tone::Bad,
        "trial" | "suspect" => Tone::Warning,
        _ => Tone::Off,
    }
}

/// Columns of a terminal, if standard output is one that says how wide it is.
pub(crate) fn terminal_width() -> Option<usize> {
    let out = io::stdout();
    let size = out.is_terminal().then(|| rustix::termios::tcgetwinsize(&out));
    size?
        .ok()
        .map(|size| usize::from(size.ws_col))
        .filter(|width| *width > 0)
}

/// Columns that a text takes on a terminal.
pub(crate) fn width(text: &str) -> usize {
    UnicodeWidthStr::width(text)
}

/// A text that takes just so many columns: with spaces behind it, or cut, which a `…` shows.
pub(crate) fn fitted(text: &str, columns: usize) -> String {
    let text = shown(text);
    let has = width(&text);
    if has <= columns {
        return format!("{text}{}", " ".repeat(columns - has));
    }
    let mut cut = String::new();
    let mut used = 0;
    for c in text.chars() {
        let more = c.width().unwrap_or_default();
        if used + more + 1 > columns {
            break;
        }
        cut.push(c);
        used += more;
    }
    if columns > used {
        cut.push('…');
        used += 1;
    }
    cut.push_str(&" ".repeat(columns - used));
    cut
}

/// Whether it can neither move a terminal's cursor nor turn the order of what is written round.
fn is_harmless(c: char) -> bool {
    !(c.is_control()
        || matches!(c, '\u{200e}' | '\u{200f}' | '\u{202a}'..='\u{202e}' | '\u{2066}'..='\u{2069}'))
}

/// What another machine said, without what would do something to a terminal.
pub(crate) fn shown(text: &str) -> String {
    text.chars()
        .map(|c| if is_harmless(c) { c } else { ' ' })
        .collect()
}

/// The same as JSON over several lines, for scripts and for whoever looks on.
pub(crate) fn json(value: &Value) -> String {
    escaped(&format!("{value:#}\n"))
}

/// The same in one line.
pub(crate) fn json_line(value: &Value) -> String {
    format!("{}\n", escaped(&value.to_string()))
}

/// JSON in which everything that would do something to a terminal is escaped, which JSON asks for below a space only. Outside of its
/// strings there is nothing of that kind but ends of lines.
fn escaped(json: &str) -> String {
    let mut out = String::with_capacity(json.len());
    for c in json.chars() {
        if is_harmless(c) || c == '\n' {
            out.push(c);
        } else {
            // All of them are in the basic plane. Writing to a String can't fail.
            let _ = write!(out, "\\u{:04x}", u32::from(c));
        }
    }
    out
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_text_takes_as_many_columns_as_there_are() {
        assert_eq!(fitted("é1", 4), "é1  ");
        assert_eq!(fitted("backend-1", 6), "backe…");
        // Characters that take two columns each.
        assert_eq!(fitted("日本語", 6), "日本語");
        assert_eq!(fitted("日本語", 5), "日本…");
        assert_eq!(fitted("日本語", 4), "日… ");
        assert_eq!(fitted("ab", 1), "…");
        assert_eq!(fitted("ab", 0), "");
    }

    #[test]
    fn json_says_the_same_and_does_nothing_to_a_terminal() {
        let value = serde_json::json!({"a\u{9b}b": ["\u{1b}[2J\n", "\u{7f}", "x\u{202e}y\u{2066}z\u{200f}", "ü\u{1f600}"]});
        for text in [json(&value), json_line(&value)] {
            assert_eq!(serde_json::from_str::<Value>(&text).unwrap(), value);
            assert!(text.chars().all(|c| c == '\n' || is_harmless(c)), "{text:?}");
            assert!(
                text.contains("\\u009b") && text.contains("\\u202e") && text.contains("ü\u{1f600}"),
                "{text:?}"
            );
        }
        assert_eq!(json_line(&value).lines().count(), 1);
    }

    #[test]
    fn nothing_moves_the_cursor_or_turns_the_line_round() {
        assert_eq!(shown("\u{1b}[2Jx\ny\u{202e}z"), " [2Jx y z");
    }
}
