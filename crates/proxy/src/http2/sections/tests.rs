use proptest::prelude::*;

use super::*;

const ID: u32 = 5;

fn frame(kind: u8, flags: u8, stream: u32, payload: &[u8]) -> Vec<u8> {
    let length = u32::try_from(payload.len()).unwrap().to_be_bytes();
    let mut frame = length[1..].to_vec();
    frame.extend([kind, flags]);
    frame.extend(stream.to_be_bytes());
    frame.extend(payload);
    frame
}

fn integer(out: &mut Vec<u8>, bits: u8, prefix: u8, mut number: usize) {
    if number < usize::from(prefix) {
        return out.push(bits | u8::try_from(number).unwrap());
    }
    out.push(bits | prefix);
    number -= usize::from(prefix);
    while number >= 0x80 {
        out.push(u8::try_from(number % 0x80).unwrap() | 0x80);
        number /= 0x80;
    }
    out.push(u8::try_from(number).unwrap());
}

/// A field in one of the ways that RFC 7541 §6 has, or the size of the table, which is none.
#[derive(Clone, Debug)]
enum Written {
    Indexed(usize),
    Named(u8, usize, Vec<u8>),
    New(u8, Vec<u8>, Vec<u8>),
    Size(usize),
}

impl Written {
    fn write(&self, out: &mut Vec<u8>) {
        let string = |out: &mut Vec<u8>, text: &[u8]| {
            integer(out, 0, 0x7f, text.len());
            out.extend_from_slice(text);
        };
        let kind = |kind: u8| match kind {
            0 => (0x40, 0x3f),
            1 => (0x00, 0x0f),
            _ => (0x10, 0x0f),
        };
        match self {
            Self::Indexed(index) => integer(out, 0x80, 0x7f, *index),
            Self::Size(size) => integer(out, 0x20, 0x1f, *size),
            Self::Named(how, index, value) => {
                let (bits, prefix) = kind(*how);
                integer(out, bits, prefix, *index);
                string(out, value);
            }
            Self::New(how, name, value) => {
                out.push(kind(*how).0);
                string(out, name);
                string(out, value);
            }
        }
    }
}

fn written() -> impl Strategy<Value = Written> {
    let text = || proptest::collection::vec(any::<u8>(), 0..300);
    prop_oneof![
        (1_usize..400).prop_map(Written::Indexed),
        (0_u8..3, 1_usize..400, text()).prop_map(|(how, index, value)| Written::Named(how, index, value)),
        (0_u8..3, text(), text()).prop_map(|(how, name, value)| Written::New(how, name, value)),
        (0_usize..5000).prop_map(Written::Size),
    ]
}

fn counted(sections: &Sections) -> Vec<(u32, usize)> {
    sections.counted.borrow().iter().copied().collect()
}

proptest! {
    /// Whatever the fields, the frames that they are cut into, what stands around them, and the reads they come by.
    #[test]
    fn every_field_of_trailers_is_counted_and_nothing_else_is(
        fields in proptest::collection::vec(written(), 0..8),
        parts in 1_usize..4,
        padding in proptest::option::of(0_u8..9),
        priority: bool,
        cuts in proptest::collection::vec(1_usize..40, 1..20),
    ) {
        let mut block = Vec::new();
        for field in &fields {
            field.write(&mut block);
        }
        let expected = fields.iter().filter(|field| !matches!(field, Written::Size(_))).count();
        let mut bytes = vec![0; PREFACE];
        bytes.extend(frame(HEADERS, END_HEADERS, ID, b"\x82\x84"));
        bytes.extend(frame(0, 0, ID, b"some data"));
        let mut pieces = block.chunks(block.len() / parts + 1).map(<[u8]>::to_vec).collect::<Vec<_>>();
        if pieces.is_empty() {
            pieces.push(Vec::new());
        }
        let count = pieces.len();
        for (number, mut piece) in pieces.into_iter().enumerate() {
            let mut flags = if number + 1 == count { END_HEADERS } else { 0 };
            if number > 0 {
                bytes.extend(frame(CONTINUATION, flags, ID, &piece));
                continue;
            }
            flags |= END_STREAM;
            if priority {
                flags |= HAS_PRIORITY;
                piece.splice(0..0, [0; PRIORITY]);
            }
            if let Some(padding) = padding {
                flags |= PADDED;
                piece.insert(0, padding);
                piece.extend(vec![0x82; usize::from(padding)]);
            }
            bytes.extend(frame(HEADERS, flags, ID, &piece));
        }
        // A request without a body, which is no trailers.
        bytes.extend(frame(HEADERS, END_HEADERS | END_STREAM, ID + 2, b"\x82\x84"));
        let (sections, mut counter) = (Sections::default(), Counter::of_client());
        let mut rest = &bytes[..];
        for size in cuts.iter().cycle() {
            let (piece, behind) = rest.split_at((*size).min(rest.len()));
            counter.read(piece, &sections);
            rest = behind;
            if rest.is_empty() {
                break;
            }
        }
        prop_assert_eq!(counted(&sections), [(ID, expected)]);
    }

    #[test]
    fn no_bytes_are_too_odd_for_it(bytes: Vec<u8>, payload: Vec<u8>) {
        let (sections, mut counter) = (Sections::default(), Counter::of_backend());
        counter.read(&frame(HEADERS, END_HEADERS | END_STREAM | PADDED | HAS_PRIORITY, 1, &payload), &sections);
        counter.read(&bytes, &sections);
    }
}

#[test]
fn trailers_that_have_lost_a_field_spoil_their_stream_until_it_ends() {
    let (sections, one, other) = (Sections::default(), 1, 3);
    sections.count(1, 2);
    sections.count(3, 2);
    assert!(sections.is_whole(one, 2) && !sections.is_whole(other, 1));
    assert!(!sections.is_spoiled(one) && sections.is_spoiled(other));
    sections.end(other);
    assert!(!sections.is_spoiled(other) && counted(&sections).is_empty());
    assert!(sections.is_whole(other, 7), "nobody knows");
}

#[test]
fn what_nobody_asks_for_is_forgotten() {
    let sections = Sections::default();
    for stream in 0..2 * u32::try_from(KEPT).unwrap() {
        sections.count(stream, 1);
    }
    assert_eq!(counted(&sections).len(), KEPT);
}
