//! Numbers and addresses as they are written into a head, without an allocation.

use std::io::Write as _;
use std::net::IpAddr;

pub(crate) fn push_decimal(out: &mut Vec<u8>, number: u64) {
    out.extend_from_slice(itoa::Buffer::new().format(number).as_bytes());
}

/// Sixteen digits.
pub(crate) fn push_hex(out: &mut Vec<u8>, number: u64) {
    let mut text = [0; 16];
    let (high, low) = text.split_at_mut(8);
    high.copy_from_slice(&eight_digits(number >> 32));
    low.copy_from_slice(&eight_digits(number & 0xffff_ffff));
    out.extend_from_slice(&text);
}

/// The digits of 32 bits, all at a time: each half byte is moved into a byte of its own, then becomes a digit.
fn eight_digits(number: u64) -> [u8; 8] {
    const EACH: u64 = 0x0101_0101_0101_0101;
    let spread = (number << 16 | number) & 0x0000_ffff_0000_ffff;
    let spread = (spread << 8 | spread) & 0x00ff_00ff_00ff_00ff;
    let spread = (spread << 4 | spread) & (EACH * 0x0f);
    // One for those above nine: six more carry them into the next half byte.
    let letters = (spread + EACH * 6) >> 4 & EACH;
    let digits = spread + EACH * u64::from(b'0') + letters * u64::from(b'a' - b'0' - 10);
    digits.to_be_bytes()
}

pub(crate) fn push_ip(out: &mut Vec<u8>, ip: IpAddr) {
    match ip {
        IpAddr::V4(ip) => {
            let (mut text, mut len) = ([0; 15], 0);
            let mut push = |byte: u8| {
                if let Some(place) = text.get_mut(len) {
                    *place = byte;
                }
                len += 1;
            };
            for (index, octet) in ip.octets().into_iter().enumerate() {
                if index > 0 {
                    push(b'.');
                }
                if octet > 99 {
                    push(b'0' + octet / 100);
                }
                if octet > 9 {
                    push(b'0' + octet / 10 % 10);
                }
                push(b'0' + octet % 10);
            }
            out.extend_from_slice(text.get(..len).unwrap_or_default());
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
