use proptest::prelude::*;

use super::*;

const JSON: [&[u8]; 4] = [
    b"{\"a\":1}",
    b"{}",
    b"{\"b\":\"a long one, so that its length has two digits\"}",
    b"{\"c\":3}",
];

fn file() -> Vec<u8> {
    let mut bytes = Vec::new();
    for json in JSON {
        put(json, &mut bytes);
    }
    bytes
}

fn lines(bytes: &[u8]) -> Vec<&[u8]> {
    Pieces::of(bytes)
        .filter_map(|piece| match piece {
            Piece::Line(json) => Some(json),
            Piece::Damage(_) | Piece::Torn(_) => None,
        })
        .collect()
}

/// Where each line begins, and the end of the last.
fn beginnings(bytes: &[u8]) -> Vec<usize> {
    let ends = bytes
        .iter()
        .enumerate()
        .filter(|(_, byte)| **byte == b'\n')
        .map(|(at, _)| at + 1);
    [0].into_iter().chain(ends).collect()
}

#[test]
fn what_was_put_is_found() {
    assert_eq!(
        file().split(|byte| *byte == b'\n').next().unwrap(),
        b"561bacaf 7 {\"a\":1}"
    );
    assert_eq!(lines(&file()), JSON);
    assert_eq!(Pieces::of(&file()).count(), JSON.len());
    assert_eq!(Pieces::of(b"").next(), None);
}

#[test]
fn a_flipped_byte_costs_the_line_that_it_is_in_and_no_other() {
    let sound = file();
    let beginnings = beginnings(&sound);
    for at in 0..sound.len() {
        for flip in 1..=u8::MAX {
            let mut bytes = sound.clone();
            bytes[at] ^= flip;
            let hit = beginnings.iter().rposition(|beginning| *beginning <= at).unwrap();
            let mut others = JSON.to_vec();
            // A line feed belongs to no line.
            if sound[at] != b'\n' {
                others.remove(hit);
            }
            assert_eq!(lines(&bytes), others, "byte {at} with {flip:#04x}");
            let is_told = Pieces::of(&bytes).any(|piece| !matches!(piece, Piece::Line(_)));
            assert!(is_told, "byte {at} with {flip:#04x}");
        }
    }
}

#[test]
fn a_file_that_ends_early_has_all_lines_before_and_a_torn_one() {
    let sound = file();
    let beginnings = beginnings(&sound);
    for end in 0..sound.len() {
        let cut = &sound[..end];
        let whole = beginnings
            .iter()
            .filter(|beginning| **beginning > 0 && **beginning - 1 <= end)
            .count();
        assert_eq!(lines(cut), JSON[..whole], "cut at {end}");
        let last = Pieces::of(cut).last();
        let at_an_end = beginnings
            .iter()
            .any(|beginning| *beginning == end || *beginning == end + 1);
        let is_torn = matches!(last, Some(Piece::Torn(_)));
        assert!(at_an_end != is_torn, "cut at {end}: {last:?}");
        assert!(
            !Pieces::of(cut).any(|piece| matches!(piece, Piece::Damage(_))),
            "cut at {end}"
        );
    }
}

#[test]
fn room_that_was_never_written_to_is_torn_and_not_damage() {
    let mut bytes = file();
    let end = bytes.len();
    bytes.extend_from_slice(&[0; 512]);
    assert_eq!(Pieces::of(&bytes).last(), Some(Piece::Torn(end..end + 512)));
    bytes[end - 3..end].fill(0);
    assert!(matches!(Pieces::of(&bytes).last(), Some(Piece::Torn(_))));
    assert_eq!(lines(&bytes), JSON[..3]);
    // Something stands after the zeros.
    bytes.extend_from_slice(b"x\n");
    assert!(!Pieces::of(&bytes).any(|piece| matches!(piece, Piece::Torn(_))));
}

#[test]
fn a_byte_too_many_or_too_few_costs_one_line() {
    let sound = file();
    for at in 0..sound.len() {
        let mut more = sound.clone();
        more.insert(at, b'7');
        assert!(lines(&more).len() >= JSON.len() - 1, "one more at {at}");
        let mut less = sound.clone();
        less.remove(at);
        assert!(lines(&less).len() >= JSON.len() - 1, "one less at {at}");
    }
}

proptest! {
    #[test]
    fn any_bytes_are_read_to_their_end_in_order(bytes in proptest::collection::vec(any::<u8>(), 0..300)) {
        reads_to_the_end(&bytes)?;
    }

    #[test]
    fn any_bytes_like_ours_are_read_to_their_end_in_order(text in "([0-9a-f]{8} [0-9]{1,20} [{}a\n]{0,4}){0,8}") {
        reads_to_the_end(text.as_bytes())?;
    }
}

fn reads_to_the_end(bytes: &[u8]) -> Result<(), TestCaseError> {
    let mut pieces = Pieces::of(bytes);
    let mut at = 0;
    while let Some(piece) = pieces.next() {
        prop_assert!(pieces.at > at, "it goes on");
        if let Piece::Damage(range) | Piece::Torn(range) = piece {
            prop_assert_eq!(range, at..pieces.at);
        }
        at = pieces.at;
    }
    prop_assert_eq!(at, bytes.len());
    Ok(())
}
