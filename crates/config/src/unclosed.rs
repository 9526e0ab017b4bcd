//! An array, or a table within a line, that is never closed: what follows reads as garbage, and only where it begins is
//! worth telling.

use std::ops::Range;

/// The bracket that is never closed, the outermost one of several: where it stands, and what would close it.
pub(crate) fn bracket(text: &str) -> Option<(Range<usize>, char)> {
    let bytes = text.as_bytes();
    let mut open: Vec<(usize, u8)> = Vec::new();
    let (mut at, mut begins_line) = (0, true);
    while let Some(byte) = bytes.get(at) {
        let here = at;
        at += 1;
        match byte {
            b'\n' => begins_line = true,
            b' ' | b'\t' | b'\r' => {}
            b'#' => at = line_end(bytes, here),
            // The head of a table, which ends with its line.
            b'[' if begins_line && open.is_empty() => at = line_end(bytes, here),
            byte => {
                begins_line = false;
                match byte {
                    b'"' | b'\'' => at = string_end(bytes, here, *byte),
                    b'[' => open.push((here, b']')),
                    b'{' => open.push((here, b'}')),
                    _ if open.last().is_some_and(|(_, close)| close == byte) => drop(open.pop()),
                    _ => {}
                }
            }
        }
    }
    let (at, close) = open.first()?;
    Some((*at..at + 1, char::from(*close)))
}

fn line_end(bytes: &[u8], at: usize) -> usize {
    let rest = bytes.get(at..).unwrap_or_default();
    at + rest.iter().position(|byte| *byte == b'\n').unwrap_or(rest.len())
}

/// Behind a string that begins there. One that is never closed ends with its line, or with the text if it may have
/// several.
fn string_end(bytes: &[u8], at: usize, quote: u8) -> usize {
    let begins_with = |at: usize, what: &[u8]| bytes.get(at..).is_some_and(|rest| rest.starts_with(what));
    let (long, short) = ([quote; 3], [quote]);
    let is_long = begins_with(at, &long);
    let close: &[u8] = if is_long { &long } else { &short };
    let mut at = at + close.len();
    while let Some(byte) = bytes.get(at) {
        match byte {
            _ if begins_with(at, close) => return at + close.len(),
            b'\n' if !is_long => return at,
            // What is escaped closes nothing, in strings that have escapes.
            b'\\' if quote == b'"' => at += 2,
            _ => at += 1,
        }
    }
    bytes.len()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn found(text: &str) -> Option<(&str, char)> {
        let (span, close) = bracket(text)?;
        Some((&text[span.start..], close))
    }

    #[test]
    fn the_outermost_that_is_never_closed_is_found() {
        assert_eq!(found("a = [\nb = 1\n[c]\n"), Some(("[\nb = 1\n[c]\n", ']')));
        assert_eq!(found("a = { b = [1, 2\nc = 3"), Some(("{ b = [1, 2\nc = 3", '}')));
        assert_eq!(found("a = [[1], [2]\n"), Some(("[[1], [2]\n", ']')));
        let hidden = "[1, # ]\n\"]\", ']', '''\n]''', \"\"\"\\\"\"\"\"\n";
        assert_eq!(found(&format!("[a]\nb = {hidden}")), Some((hidden, ']')));
    }

    #[test]
    fn what_is_closed_and_the_heads_of_tables_are_not() {
        for text in [
            "",
            "a = [1, [2, 3], { b = 4 }]\n[c]\n[[d]]\n  [e.f]\n",
            "a = \"[\" # [\nb = '{'\nc = '''\n[\n'''\nd = \"\"\"{ \\\"\"\" [\"\"\"\n",
            "[apps.shop\nb = 1\n",
            "a = \"[\nb = 2\n",
            "a = 1]\n",
        ] {
            assert_eq!(found(text), None, "{text}");
        }
    }
}
