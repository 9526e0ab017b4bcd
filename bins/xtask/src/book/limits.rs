//! The page of limits says what the code says: each row that names a constant has its value.

use std::path::Path;

use crate::source;

const PAGE: &str = "limits.md";

/// Rows whose value is not that of the constant that they name.
pub(super) fn faults(docs: &Path) -> anyhow::Result<Vec<String>> {
    let mut faults = Vec::new();
    for (number, line) in (1..).zip(source::text(&docs.join(PAGE))?.lines()) {
        let Some(row) = Row::read(line) else { continue };
        let code = source::text(&docs.join(row.file))?;
        let values = values(&code, row.name);
        if said(row.says).is_none_or(|said| !values.contains(&said)) {
            faults.push(format!(
                "docs/{PAGE}:{number} says {}, and {} in {} is {}",
                row.says,
                row.name,
                row.file,
                match &*values {
                    [] => "not there".to_owned(),
                    values => format!("{values:?}"),
                }
            ));
        }
    }
    Ok(faults)
}

/// A row of which the last column is a link to where its value comes from.
#[derive(PartialEq, Eq, Debug)]
struct Row<'a> {
    says: &'a str,
    name: &'a str,
    file: &'a str,
}

impl<'a> Row<'a> {
    fn read(line: &'a str) -> Option<Self> {
        let mut columns = line.split('|').map(str::trim).skip(2);
        let says = columns.next()?;
        let link = columns.nth(1)?;
        let (name, file) = link.strip_prefix("[`")?.split_once("`](")?;
        let file = file.strip_suffix(')')?;
        Some(Self { says, name, file })
    }
}

/// What a constant, or a field's default, of that name is in a file.
fn values(code: &str, name: &str) -> Vec<u64> {
    let of_line = |line: &str| {
        let line = line.trim();
        let line = line.split_once("const ").map_or(line, |(_, rest)| rest);
        let rest = line.strip_prefix(name)?.trim_start();
        let rest = rest.strip_prefix(':')?;
        computed(rest.split_once('=').map_or(rest, |(_, value)| value))
    };
    code.lines().filter_map(of_line).collect()
}

/// `64`, `10_000`, `64 * 1024`, `1 << 20`, and the same within a call.
fn computed(value: &str) -> Option<u64> {
    let value = value.trim().trim_end_matches([';', ',']);
    let value = value.split_once('(').map_or(value, |(_, inner)| inner);
    let value = value.trim_end_matches(')');
    let number = |text: &str| text.trim().replace('_', "").parse::<u64>().ok();
    if let Some((a, b)) = value.split_once("<<") {
        return number(a)?.checked_shl(u32::try_from(number(b)?).ok()?);
    }
    value
        .split('*')
        .map(number)
        .try_fold(1_u64, |product, factor| product.checked_mul(factor?))
}

/// `10,000`, `8 KiB`, `1 MiB`.
fn said(text: &str) -> Option<u64> {
    let (number, unit) = text.split_once(' ').unwrap_or((text, ""));
    let unit: u64 = match unit {
        "" => 1,
        "KiB" => 1 << 10,
        "MiB" => 1 << 20,
        _ => return None,
    };
    number.replace(',', "").parse::<u64>().ok()?.checked_mul(unit)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_row_is_what_it_says_and_where_that_comes_from() {
        let row = Row::read("| heads | 64 KiB | 431 | [`MAX_HEAD`](../crates/a.rs) |");
        let expected = Row {
            says: "64 KiB",
            name: "MAX_HEAD",
            file: "../crates/a.rs",
        };
        assert_eq!(row, Some(expected));
        for other in [
            "| what | limit | what happens at it | in the code |",
            "|---|---|---|---|",
            "",
        ] {
            assert_eq!(Row::read(other), None, "{other}");
        }
    }

    #[test]
    fn a_constant_is_found_by_its_whole_name_with_its_value() {
        let code = "/// MAX_HEAD\npub(crate) const MAX_HEAD: usize = 64 * 1024;\nconst MAX_HEADS: u8 = 3;\n\
                    pub backends: usize,\nbackends: 10_000,\npeers: at_least_one(60),\nconst BYTES: u64 = 1 << 20;\n";
        assert_eq!(values(code, "MAX_HEAD"), [65_536]);
        assert_eq!(values(code, "backends"), [10_000]);
        assert_eq!(values(code, "peers"), [60]);
        assert_eq!(values(code, "BYTES"), [1 << 20]);
        assert!(values(code, "NONE").is_empty());
    }

    #[test]
    fn what_the_page_says_is_a_number_with_a_unit_of_bytes_or_none() {
        assert_eq!(said("10,000"), Some(10_000));
        assert_eq!(said("8 KiB"), Some(8_192));
        assert_eq!(said("1 MiB"), Some(1 << 20));
        assert_eq!(said("a few"), None);
    }
}
