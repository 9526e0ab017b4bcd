/// The candidate that was most likely meant by `text`; `None` when none is near.
///
/// Near is a third of the length, so that `spil` finds `spill` and `port` finds nothing at random.
pub(crate) fn closest<'a>(text: &str, candidates: impl IntoIterator<Item = &'a str>) -> Option<&'a str> {
    const LONGEST: usize = 64;
    let text: Vec<char> = text
        .chars()
        .take(LONGEST + 1)
        .map(|c| c.to_ascii_lowercase())
        .collect();
    if text.is_empty() || text.len() > LONGEST {
        return None;
    }
    candidates
        .into_iter()
        .map(|candidate| {
            let lower: Vec<char> = candidate.chars().map(|c| c.to_ascii_lowercase()).collect();
            (distance(&text, &lower), lower.len().max(text.len()), candidate)
        })
        .filter(|(distance, longer, _)| *distance <= (longer / 3).max(1))
        .min_by_key(|(distance, ..)| *distance)
        .map(|(.., candidate)| candidate)
}

/// Edits between two texts, where a swap of neighbours is one (optimal string alignment: Damerau 1964).
fn distance(a: &[char], b: &[char]) -> usize {
    let mut before: Vec<usize> = Vec::new();
    let mut above: Vec<usize> = (0..=b.len()).collect();
    for (i, ca) in a.iter().enumerate() {
        let mut row = Vec::with_capacity(b.len() + 1);
        row.push(i + 1);
        for (j, cb) in b.iter().enumerate() {
            let replaced = above[j] + usize::from(ca != cb);
            let mut best = replaced.min(above[j + 1] + 1).min(row[j] + 1);
            if i > 0 && j > 0 && *ca == b[j - 1] && a[i - 1] == *cb {
                best = best.min(before[j - 1] + 1);
            }
            row.push(best);
        }
        before = std::mem::replace(&mut above, row);
    }
    above.last().copied().unwrap_or_default()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn chars(text: &str) -> Vec<char> {
        text.chars().collect()
    }

    #[test]
    fn distance_counts_single_edits_and_swaps() {
        for (a, b, expected) in [
            ("", "abc", 3),
            ("abc", "abc", 0),
            ("abc", "acb", 1),
            ("kitten", "sitting", 3),
            ("soft", "sotf", 1),
        ] {
            assert_eq!(distance(&chars(a), &chars(b)), expected, "{a} {b}");
            assert_eq!(distance(&chars(b), &chars(a)), expected, "{b} {a}");
        }
    }

    #[test]
    fn only_near_words_are_suggested() {
        let words = ["listen_addr", "api_listen_addr", "region", "regions", "spill"];
        assert_eq!(closest("listen_adr", words), Some("listen_addr"));
        assert_eq!(closest("REGION", words), Some("region"));
        assert_eq!(closest("spil", words), Some("spill"));
        assert_eq!(closest("password", words), None);
        assert_eq!(closest("", words), None);
        assert_eq!(closest(&"x".repeat(1_000_000), words), None);
    }
}
