use std::fmt;
use std::ops::Range;
use std::path::{Path, PathBuf};

/// Everything that is wrong with a configuration, at once. Nothing of it is applied.
///
/// `Display` is made for a terminal: a line for each problem, the line of the file with the place marked,
/// and what to write instead.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ConfigError {
    /// The problems: those of the file from top to bottom, then the environment's, then the command line's.
    /// At least one.
    pub problems: Vec<Problem>,
}

/// One thing that is wrong.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Problem {
    /// Where.
    pub place: Place,
    /// What was found and what was expected, on one line.
    pub message: String,
    /// What to do about it, where that is not plain from the message.
    pub help: Option<String>,
    pub(crate) excerpt: Option<Box<Excerpt>>,
}

/// Where in the configuration something is.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub enum Place {
    /// In the file as a whole.
    File(PathBuf),
    /// At a place of the file.
    Line {
        /// The file.
        path: PathBuf,
        /// The line; the first is 1.
        line: usize,
        /// The column in characters; the first is 1.
        column: usize,
    },
    /// In an environment variable.
    Environment,
    /// In a flag.
    CommandLine,
    /// In none of them: it follows from the defaults.
    Defaults,
}

/// A line of the file with a part of it marked.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Excerpt {
    line: usize,
    text: String,
    before: usize,
    marked: usize,
}

/// A configuration file's text, and where in it things are.
#[derive(Debug)]
pub(crate) struct Document<'a> {
    pub(crate) path: &'a Path,
    pub(crate) text: &'a str,
    /// Where each line begins: thousands of tables are placed, and a file is looked through once.
    lines: Vec<usize>,
    /// Whether a column is a difference of places. A line may be as long as the file.
    is_ascii: bool,
}

impl<'a> Document<'a> {
    pub(crate) fn new(path: &'a Path, text: &'a str) -> Self {
        let after = text.match_indices('\n').map(|(newline, _)| newline + 1);
        Self {
            path,
            text,
            lines: std::iter::once(0).chain(after).collect(),
            is_ascii: text.is_ascii(),
        }
    }

    /// The place of a range of bytes. A range that lies outside is moved to the end.
    pub(crate) fn place(&self, span: &Range<usize>) -> Place {
        let (line, start) = self.line_of(span.start);
        let end = self.floor(span.start);
        let column = if self.is_ascii {
            end.saturating_sub(start) + 1
        } else {
            self.text[start..end].chars().count() + 1
        };
        Place::Line {
            path: self.path.to_owned(),
            line,
            column,
        }
    }

    /// The line of a range of bytes; the first is 1.
    pub(crate) fn line(&self, span: &Range<usize>) -> usize {
        self.line_of(span.start).0
    }

    /// A problem at a range of bytes.
    pub(crate) fn problem(&self, span: &Range<usize>, message: String, help: Option<String>) -> Problem {
        Problem {
            place: self.place(span),
            message,
            help,
            excerpt: Some(Box::new(self.excerpt(span))),
        }
    }

    fn floor(&self, at: usize) -> usize {
        self.text.floor_char_boundary(at.min(self.text.len()))
    }

    /// The number of a line, the first is 1, and where it begins.
    fn line_of(&self, at: usize) -> (usize, usize) {
        let number = self.lines.partition_point(|start| *start <= self.floor(at));
        let start = self.lines.get(number.saturating_sub(1)).copied();
        (number.max(1), start.unwrap_or_default())
    }

    fn excerpt(&self, span: &Range<usize>) -> Excerpt {
        /// As much of a line as is shown, and how much of it before the mark.
        const WIDTH: usize = 96;
        const CONTEXT: usize = 48;
        let (line, start) = self.line_of(span.start);
        let full: Vec<char> = self.text[start..]
            .lines()
            .next()
            .unwrap_or_default()
            .chars()
            .collect();
        let column = self.text[start..self.floor(span.start)].chars().count();
        let length = self.text[self.floor(span.start)..self.floor(span.end.max(span.start))]
            .chars()
            .count();
        let skipped = if full.len() <= WIDTH {
            0
        } else {
            column.saturating_sub(CONTEXT)
        };
        // A tab would shift the mark, and a control character could do worse to a terminal.
        let shown = full
            .iter()
            .skip(skipped)
            .take(WIDTH)
            .map(|c| if c.is_control() { ' ' } else { *c });
        let text: String = shown.collect();
        let before = column - skipped;
        let room = text.chars().count().saturating_sub(before);
        Excerpt {
            line,
            text,
            before,
            marked: length.clamp(1, room.max(1)),
        }
    }
}

impl Problem {
    /// A problem that somebody else has found, with what was found and what was expected on one line.
    #[must_use]
    pub fn new(place: Place, message: impl Into<String>) -> Self {
        Self {
            place,
            message: message.into(),
            help: None,
            excerpt: None,
        }
    }

    /// With what to do about it.
    #[must_use]
    pub fn with_help(mut self, help: impl Into<String>) -> Self {
        self.help = Some(help.into());
        self
    }

    /// The number of its line, the line, and the mark under it.
    pub(crate) fn marked_line(&self) -> Option<(String, &str, String)> {
        let excerpt = self.excerpt.as_ref()?;
        let (before, mark) = (" ".repeat(excerpt.before), "^".repeat(excerpt.marked));
        Some((excerpt.line.to_string(), excerpt.text.trim_end(), before + &mark))
    }
}

impl fmt::Display for Place {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::File(path) => write!(f, "{}", path.display()),
            Self::Line { path, line, column } => write!(f, "{}:{line}:{column}", path.display()),
            Self::Environment => f.write_str("environment"),
            Self::CommandLine => f.write_str("command line"),
            Self::Defaults => f.write_str("defaults"),
        }
    }
}

impl fmt::Display for Problem {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}: {}", self.place, self.message)?;
        if let Some((number, line, mark)) = self.marked_line() {
            let margin = " ".repeat(number.len());
            write!(f, "\n  {number} | {line}\n  {margin} | {mark}")?;
        }
        match &self.help {
            Some(help) => write!(f, "\n  help: {help}"),
            None => Ok(()),
        }
    }
}

impl fmt::Display for ConfigError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        /// A file of another kind altogether has a problem on each of its lines.
        const SHOWN: usize = 20;
        match self.problems.len() {
            1 => f.write_str("the configuration has a problem:\n")?,
            n => writeln!(f, "the configuration has {n} problems:")?,
        }
        for problem in self.problems.iter().take(SHOWN) {
            write!(f, "\n{problem}\n")?;
        }
        match self.problems.len().saturating_sub(SHOWN) {
            0 => Ok(()),
            more => writeln!(f, "\nand {more} more"),
        }
    }
}

impl std::error::Error for ConfigError {}
