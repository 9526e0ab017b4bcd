//! Rendezvous hashing (Thaler and Ravishankar, 1998): everybody who knows the same names comes to the same winner, and
//! when one leaves only what it had won goes to others.

use edgeproxy_backend::BackendId;

use crate::ProxyName;

/// The proxy of these that is to care for that backend.
pub(super) fn winner<'a>(
    proxies: impl Iterator<Item = &'a ProxyName>,
    id: &BackendId,
) -> Option<&'a ProxyName> {
    proxies.max_by_key(|proxy| (score(proxy, id), *proxy))
}

fn score(proxy: &ProxyName, id: &BackendId) -> u64 {
    // A byte between them that neither has.
    hash(proxy.as_str().bytes().chain([0]).chain(id.as_str().bytes()))
}

/// The same in every version and on every machine: FNV-1a, and the finalizer of SplitMix64, since FNV's high bits hardly
/// depend on the last bytes.
pub(super) fn hash(bytes: impl Iterator<Item = u8>) -> u64 {
    let hash = bytes.fold(0xcbf2_9ce4_8422_2325_u64, |hash, byte| {
        (hash ^ u64::from(byte)).wrapping_mul(0x0000_0100_0000_01b3)
    });
    let hash = (hash ^ (hash >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
    let hash = (hash ^ (hash >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
    hash ^ (hash >> 31)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn shares_are_even_and_a_departure_moves_only_what_the_departed_had() {
        let names: Vec<_> = ["a", "b", "c", "d"]
            .map(|name| ProxyName::parse(name).unwrap())
            .into();
        let mut shares = [0; 4];
        for n in 0..4000 {
            let id = BackendId::parse(&format!("backend-{n}")).unwrap();
            let first = winner(names.iter(), &id).unwrap();
            let at = names.iter().position(|name| name == first).unwrap();
            shares[at] += 1;
            let without_d = winner(names[..3].iter(), &id).unwrap();
            assert!(first == without_d || at == 3);
            assert_eq!(winner(names.iter().rev(), &id), Some(first), "in any order");
        }
        assert!(
            shares.iter().all(|share| (800..1200).contains(share)),
            "{shares:?}"
        );
        assert_eq!(winner([].into_iter(), &BackendId::parse("a").unwrap()), None);
    }

    #[test]
    fn a_score_is_the_same_in_every_version() {
        let (proxy, id) = (
            ProxyName::parse("edge-1").unwrap(),
            BackendId::parse("b-1").unwrap(),
        );
        assert_eq!(score(&proxy, &id), 0xacc6_c29a_9201_e928);
    }
}
