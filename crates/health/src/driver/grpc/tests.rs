use proptest::prelude::*;

use super::*;

#[test]
fn the_request_is_one_message_with_the_service_s_name() {
    assert_eq!(&*ask(""), [0, 0, 0, 0, 0]);
    assert_eq!(&*ask("ab"), [0, 0, 0, 0, 4, 0x0a, 2, b'a', b'b']);
    let long = ask(&"s".repeat(200));
    assert_eq!(long[..8], [0, 0, 0, 0, 203, 0x0a, 0xc8, 1]);
    assert_eq!(long.len(), 208);
}

fn framed(message: &[u8]) -> Vec<u8> {
    let mut framed = vec![0];
    framed.extend_from_slice(&u32::try_from(message.len()).unwrap().to_be_bytes());
    framed.extend_from_slice(message);
    framed
}

#[test]
fn the_status_is_field_1_and_0_where_it_isn_t_there() {
    for (message, expected) in [
        (&[][..], 0),
        (&[0x08, 1], 1),
        (&[0x08, 2], 2),
        (&[0x08, 1, 0x08, 3], 3),
        (
            &[
                0x12, 2, 8, 9, 0x1d, 1, 2, 3, 4, 0x21, 1, 2, 3, 4, 5, 6, 7, 8, 0x28, 0x96, 1, 0x08, 1,
            ],
            1,
        ),
    ] {
        assert_eq!(serving(&framed(message)), Ok(expected), "{message:?}");
    }
}

#[test]
fn what_is_no_message_is_told_as_such() {
    let mut compressed = framed(&[0x08, 1]);
    compressed[0] = 1;
    let mut two = framed(&[0x08, 1]);
    two.extend(framed(&[0x08, 1]));
    for (found, words) in [
        (&[][..], "the answer is no message"),
        (&[0, 0, 0], "the answer is no message"),
        (&compressed, "the answer is compressed, which nobody asked for"),
        (&two, "the answer is not one whole message"),
        (
            &framed(&[0x08]),
            "the answer can't be read as HealthCheckResponse",
        ),
        (
            &framed(&[0x0b]),
            "the answer can't be read as HealthCheckResponse",
        ),
        (
            &framed(&[0x12, 9, 1]),
            "the answer can't be read as HealthCheckResponse",
        ),
        (
            &framed(&[0x00, 1]),
            "the answer can't be read as HealthCheckResponse",
        ),
    ] {
        let what = words.to_owned();
        assert_eq!(serving(found), Err(Failure::NotGrpc { what }), "{found:?}");
    }
}

proptest! {
    #[test]
    fn whatever_comes_is_read_without_a_panic(message: Vec<u8>) {
        let _ = serving(&message);
        let _ = serving(&framed(&message));
    }

    #[test]
    fn a_service_s_name_comes_back_as_it_went(service in "[a-z.]{0,256}") {
        let framed = ask(&service);
        let mut message = &framed[PREFIX..];
        prop_assert_eq!(u32::from_be_bytes(framed[1..5].try_into().unwrap()) as usize, message.len());
        if !service.is_empty() {
            prop_assert_eq!(varint(&mut message), Some(0x0a));
            prop_assert_eq!(varint(&mut message), Some(service.len() as u64));
        }
        prop_assert_eq!(message, service.as_bytes());
    }
}
