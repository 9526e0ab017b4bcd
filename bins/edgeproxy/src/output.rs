//! What commands print: reports and tables.

use std::io::{self, IsTerminal, Write};

use clap::ValueEnum;
use edgeproxy_config::{Paint, Report};

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

/// Rows in columns that line up, under a line of headings. The last column is as long as it likes.
pub(crate) fn table(headings: &[&str], rows: &[Vec<String>]) -> String {
    let headings: Vec<String> = headings.iter().map(|heading| heading.to_uppercase()).collect();
    let lines: Vec<Vec<String>> = std::iter::once(&headings)
        .chain(rows)
        .map(|row| row.iter().map(|cell| shown(cell)).collect())
        .collect();
    let width = |column: usize| {
        let cells = lines.iter().filter_map(|row| row.get(column));
        cells.map(|cell| cell.chars().count()).max().unwrap_or_default()
    };
    let widths: Vec<usize> = (0..headings.len()).map(width).collect();
    let mut text = String::new();
    for line in &lines {
        let cells = line
            .iter()
            .zip(&widths)
            .map(|(cell, width)| format!("{cell:width$}"));
        text.push_str(cells.collect::<Vec<_>>().join("  ").trim_end());
        text.push('\n');
    }
    text
}

/// What another machine said, without what would move a terminal's cursor.
fn shown(text: &str) -> String {
    match text {
        "" => "-".to_owned(),
        text => text
            .chars()
            .map(|c| if c.is_control() { ' ' } else { c })
            .collect(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn columns_line_up_and_nothing_moves_the_cursor() {
        let rows = [
            vec!["é1".to_owned(), "\u{1b}[2Jx".to_owned()],
            vec!["backend-2".to_owned(), String::new()],
        ];
        assert_eq!(
            table(&["id", "why"], &rows),
            "ID         WHY\né1          [2Jx\nbackend-2  -\n"
        );
    }
}
