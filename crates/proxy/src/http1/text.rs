//! Numbers and addresses as they are written into a head, without an allocation.

use std::io::Write as _;
use std::net::IpAddr;

pub(crate) fn push_decimal(out: &mut Vec<u8>, number: u64) {
    out.extend_from_slice(itoa::Buffer::new().format(number).as_bytes());
}

/// Sixteen digits.
pub(crate) fn push_hex(out: &mut Vec<u8>, number: u64) {
    const DIGITS: &[u8; 16] = b"0123456789abcdef";
    let digit = |byte: u8, shift: u8| DIGITS[usize::from(byte >> shift & 15)];
    let mut text = [0; 16];
    for (pair, byte) in text.chunks_exact_mut(2).zip(number.to_be_bytes()) {
        pair.copy_from_slice(&[digit(byte, 4), digit(byte, 0)]);
    }
    out.extend_from_slice(&text);
}

pub(crate) fn push_ip(out: &mut Vec<u8>, ip: IpAddr) {
    match ip {
        IpAddr::V4(ip) => {
            for (index, octet) in ip.octets().into_iter().enumerate() {
                if index > 0 {
                    out.push(b'.');
                }
                push_decimal(out, u64::from(octet));
            }
        }
        // Writing to a vector can't fail.
        IpAddr::V6(ip) => drop(write!(out, "{ip}")),
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn pushed(push: impl FnOnce(&mut Vec<u8>)) -> String {
        let mut out = Vec::new();
        push(&mut out);
        String::from_utf8(out).unwrap()
    }

    proptest! {
        #[test]
        fn text_is_what_the_standard_library_writes(number: u64, ip: IpAddr) {
            prop_assert_eq!(pushed(|out| push_decimal(out, number)), number.to_string());
            prop_assert_eq!(pushed(|out| push_hex(out, number)), format!("{number:016x}"));
            prop_assert_eq!(pushed(|out| push_ip(out, ip)), ip.to_string());
        }
    }
}
