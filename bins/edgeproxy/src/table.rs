//! Tables for people.

use edgeproxy_config::Paint;

use crate::output::{Tone, fitted, paint, shown, tell, terminal_width, toned, width};

/// A column of a table.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Column {
    heading: &'static str,
    /// What is of the highest rank goes first where there is no room; 0 stays.
    rank: u8,
    is_number: bool,
}

/// What stands in a row's column.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Cell {
    text: String,
    tone: Option<Tone>,
}

/// Where a table is shown.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Room {
    /// Columns of the terminal; `None` where it isn't one, and a line may be of any length.
    pub(crate) width: Option<usize>,
    pub(crate) paint: Paint,
}

impl Column {
    /// Of words.
    pub(crate) const fn of(heading: &'static str, rank: u8) -> Self {
        Self {
            heading,
            rank,
            is_number: false,
        }
    }

    /// Of numbers, which stand at the right.
    pub(crate) const fn of_numbers(heading: &'static str, rank: u8) -> Self {
        Self {
            heading,
            rank,
            is_number: true,
        }
    }
}

impl From<String> for Cell {
    fn from(text: String) -> Self {
        Self { text, tone: None }
    }
}

impl Cell {
    /// In the colour of that tone.
    pub(crate) const fn toned(text: String, tone: Tone) -> Self {
        Self {
            text,
            tone: Some(tone),
        }
    }
}

impl Room {
    /// That of standard output.
    pub(crate) fn of_stdout() -> Self {
        Self {
            width: terminal_width(),
            paint: paint(&std::io::stdout()),
        }
    }
}

const GAP: usize = 2;
/// How far in what continues a row begins.
const INDENT: usize = 4;
/// A last column that is narrower than this is nobody's to read.
const READABLE: usize = 24;

/// Rows in columns that line up, under a line of headings. Where the terminal is too narrow the last column goes below its
/// row, and then columns are left out, which is told on standard error. Without a terminal all is there.
pub(crate) fn table(columns: &[Column], rows: &[Vec<Cell>], room: Room) -> String {
    let (text, left_out) = laid_out(columns, rows, room);
    if !left_out.is_empty() {
        tell(&format!(
            "not shown at this width: {}; --json has everything\n",
            left_out.join(", ")
        ));
    }
    text
}

fn laid_out(columns: &[Column], rows: &[Vec<Cell>], room: Room) -> (String, Vec<&'static str>) {
    let headings = columns.iter().map(|column| column.heading.to_uppercase().into());
    let rows: Vec<Vec<Cell>> = std::iter::once(headings.collect())
        .chain(rows.iter().map(|row| row.iter().map(cleaned).collect()))
        .collect();
    let layout = Layout::of(columns, &rows, room);
    let mut text = String::new();
    for (nth, row) in rows.iter().enumerate() {
        for line in layout.lines(row, nth == 0) {
            text.push_str(line.trim_end());
            text.push('\n');
        }
    }
    (text, layout.left_out)
}

/// Which columns there are, and how wide.
struct Layout {
    /// All but the last one of the table.
    shown: Vec<Shown>,
    last: Last,
    left_out: Vec<&'static str>,
    paint: Paint,
}

struct Shown {
    /// Which one of the table.
    at: usize,
    width: usize,
    column: Column,
}

/// Where the last column is, and how many columns of the terminal it has.
enum Last {
    Beside(usize),
    Below(usize),
}

impl Layout {
    fn of(columns: &[Column], rows: &[Vec<Cell>], room: Room) -> Self {
        let mut shown: Vec<Shown> = columns
            .iter()
            .enumerate()
            .map(|(at, column)| {
                let cells = rows.iter().filter_map(|row| row.get(at));
                let width = cells.map(|cell| width(&cell.text)).fold(0, usize::max);
                let column = *column;
                Shown { at, width, column }
            })
            .collect();
        let last = shown.pop().map_or(0, |last| last.width);
        let wide = |shown: &[Shown]| shown.iter().map(|shown| shown.width + GAP).sum::<usize>();
        let limit = room.width.unwrap_or(usize::MAX);
        let mut left_out = Vec::new();
        let last = if wide(&shown) + last.min(READABLE) <= limit {
            Last::Beside(limit.saturating_sub(wide(&shown)))
        } else {
            while wide(&shown).saturating_sub(GAP) > limit {
                let rank = |shown: &Shown| shown.column.rank;
                let Some(least) = shown
                    .iter()
                    .rposition(|one| rank(one) > 0 && shown.iter().all(|other| rank(other) <= rank(one)))
                else {
                    break;
                };
                left_out.push(shown.remove(least).column.heading);
            }
            Last::Below(limit.saturating_sub(INDENT).max(READABLE))
        };
        Self {
            shown,
            last,
            left_out,
            paint: room.paint,
        }
    }

    fn lines(&self, row: &[Cell], is_heading: bool) -> Vec<String> {
        let mut line = String::new();
        for Shown {
            at,
            width: wide,
            column,
        } in &self.shown
        {
            let Some(cell) = row.get(*at) else { continue };
            let space = " ".repeat(wide.saturating_sub(width(&cell.text)));
            let told = painted(cell, self.paint);
            line.push_str(&if column.is_number {
                format!("{space}{told}")
            } else {
                format!("{told}{space}")
            });
            line.push_str(&" ".repeat(GAP));
        }
        let Some(last) = row.last() else { return vec![line] };
        match self.last {
            Last::Beside(room) => {
                let begin: usize = self.shown.iter().map(|shown| shown.width + GAP).sum();
                let mut parts = wrapped(&last.text, room).into_iter();
                line.push_str(&parts.next().unwrap_or_default());
                let more = parts.map(|part| format!("{}{part}", " ".repeat(begin)));
                std::iter::once(line).chain(more).collect()
            }
            Last::Below(room) => {
                let text = if is_heading || last.text == "-" {
                    ""
                } else {
                    &last.text
                };
                let more = wrapped(text, room).into_iter().filter(|part| !part.is_empty());
                let more = more.map(|part| format!("{}{part}", " ".repeat(INDENT)));
                std::iter::once(line).chain(more).collect()
            }
        }
    }
}

fn painted(cell: &Cell, paint: Paint) -> String {
    let text = cell.text.as_str();
    cell.tone
        .map_or_else(|| text.to_owned(), |tone| toned(text, tone, paint))
}

fn cleaned(cell: &Cell) -> Cell {
    let text = match cell.text.as_str() {
        "" => "-".to_owned(),
        text => shown(text),
    };
    Cell {
        text,
        tone: cell.tone,
    }
}

/// A text in lines of at most so many columns, broken between words. A word that is longer is cut.
pub(crate) fn wrapped(text: &str, columns: usize) -> Vec<String> {
    if width(text) <= columns {
        return vec![text.to_owned()];
    }
    let mut lines = vec![String::new()];
    for word in text.split(' ').filter(|word| !word.is_empty()) {
        let Some(line) = lines.last_mut() else { break };
        let has = width(line);
        let word = if width(word) > columns {
            fitted(word, columns)
        } else {
            word.to_owned()
        };
        if has == 0 {
            line.push_str(&word);
        } else if has + 1 + width(&word) <= columns {
            line.push(' ');
            line.push_str(&word);
        } else {
            lines.push(word);
        }
    }
    lines
}

#[cfg(test)]
mod tests {
    use super::*;

    const COLUMNS: [Column; 4] = [
        Column::of("id", 0),
        Column::of("app", 2),
        Column::of_numbers("requests", 1),
        Column::of("why", 0),
    ];

    fn rows() -> Vec<Vec<Cell>> {
        let cell = |text: &str| Cell::from(text.to_owned());
        vec![
            vec![cell("é1"), cell("shop"), cell("9"), cell("\u{1b}[2Jx")],
            vec![
                cell("日本"),
                cell(""),
                cell("1234"),
                cell("5 requests in a row have failed here"),
            ],
        ]
    }

    fn at(width: Option<usize>) -> (String, Vec<&'static str>) {
        let paint = Paint::Plain;
        laid_out(&COLUMNS, &rows(), Room { width, paint })
    }

    #[test]
    fn columns_line_up_and_nothing_moves_the_cursor() {
        let expected = "\
ID    APP   REQUESTS  WHY
é1    shop         9   [2Jx
日本  -         1234  5 requests in a row have failed here
";
        assert_eq!(at(None), (expected.to_owned(), vec![]));
        assert_eq!(at(Some(80)).0, expected);
    }

    #[test]
    fn a_narrow_terminal_has_the_last_column_in_lines_and_then_below() {
        let beside = "\
ID    APP   REQUESTS  WHY
é1    shop         9   [2Jx
日本  -         1234  5 requests in a row have
                      failed here
";
        assert_eq!(at(Some(46)), (beside.to_owned(), vec![]));
        let below = "\
ID    APP   REQUESTS
é1    shop         9
     [2Jx
日本  -         1234
    5 requests in a row have
    failed here
";
        assert_eq!(at(Some(30)), (below.to_owned(), vec![]));
    }

    #[test]
    fn where_that_is_not_enough_columns_are_left_out_and_named() {
        let (text, left_out) = at(Some(16));
        assert_eq!(left_out, ["app"]);
        assert!(text.starts_with("ID    REQUESTS\n"), "{text}");
        let (text, left_out) = at(Some(4));
        assert_eq!(left_out, ["app", "requests"]);
        assert!(text.starts_with("ID\n"), "{text}");
    }

    #[test]
    fn colours_take_no_room() {
        let rows = [vec![
            Cell::toned("bad".to_owned(), Tone::Bad),
            Cell::from("x".to_owned()),
        ]];
        let room = Room {
            width: None,
            paint: Paint::Colours,
        };
        let (text, _) = laid_out(&[Column::of("state", 0), Column::of("why", 0)], &rows, room);
        assert_eq!(text, "STATE  WHY\n\u{1b}[31mbad\u{1b}[0m    x\n");
    }
}
