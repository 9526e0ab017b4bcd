//! That how much of a guess is right can't be told from how long the answer takes: by what is compared and how, since a
//! clock in a test proves nothing. `cargo run -p edgeproxy-access --example timing` measures.

#![allow(clippy::unwrap_used, reason = "a test fails by a panic")]

use edgeproxy_access::{Digest, Token};

/// The bits in which two digests differ, by their hexadecimal digits.
fn distance(one: Digest, other: Digest) -> u32 {
    let (one, other) = (one.to_string(), other.to_string());
    let digits = |text: &str| -> Vec<u32> {
        let (_, digits) = text.split_once(':').unwrap();
        digits.chars().map(|digit| digit.to_digit(16).unwrap()).collect()
    };
    let pairs = digits(&one).into_iter().zip(digits(&other));
    pairs.map(|(one, other)| (one ^ other).count_ones()).sum()
}

/// What is compared has nothing to do with how much is right: about half of the 256 bits differ, whether the first
/// character is wrong or the last one.
#[test]
fn what_is_compared_is_as_far_off_with_one_character_wrong_as_with_all() {
    let token = Token::generate().unwrap();
    let right = token.reveal().as_bytes();
    for wrong in 0..right.len() {
        let mut guess = right.to_vec();
        guess[wrong] ^= 1;
        let one_wrong = distance(token.digest(), Digest::of(&guess));
        let mut guess = right.to_vec();
        // No character of a token, so that what follows is never right by chance.
        guess[wrong..].fill(b'!');
        let rest_wrong = distance(token.digest(), Digest::of(&guess));
        for bits in [one_wrong, rest_wrong] {
            // Seven standard deviations of 8 bits.
            assert!((72..=184).contains(&bits), "{wrong}: {bits} bits");
        }
    }
}

/// The comparison is subtle's, which looks at every byte, and there is no other one: a derived one would stop at the first
/// difference.
#[test]
fn digests_are_compared_in_constant_time_and_tokens_not_at_all() {
    let digest = include_str!("../src/digest.rs");
    let (_, comparison) = digest.split_once("impl PartialEq for Digest {").unwrap();
    let (comparison, _) = comparison.split_once("\n}\n").unwrap();
    assert!(
        comparison.contains("self.0.ct_eq(&other.0).into()"),
        "{comparison}"
    );
    let token = include_str!("../src/token.rs");
    let (before, _) = token.split_once("pub struct Token(").unwrap();
    let derived = before
        .lines()
        .rev()
        .find(|line| line.starts_with("#[derive"))
        .unwrap();
    assert_eq!(derived, "#[derive(Clone)]");
    assert!(!token.contains("PartialEq for Token"));
    let grants = include_str!("../src/grants.rs");
    assert!(grants.contains("tokens: HashMap<Digest, Arc<Grant>>"));
    assert!(grants.contains("self.tokens.get(&Digest::of(shown))"));
}
