//! Whom a listener sends away where too many have not said who they are. Pure.
//!
//! ```text
//!   those without a certificate before those with one
//!     └ those of the address from which most came before others
//!         └ the oldest first
//! ```
//!
//! Who floods a port from one address hence displaces itself. On a plain port all are without a certificate.

use std::cmp::Reverse;
use std::collections::BTreeMap;
use std::net::IpAddr;

/// One that has not said hello.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Stranger<K> {
    /// Who it is to the listener; later ones are greater.
    pub id: K,
    /// Where it comes from.
    pub address: IpAddr,
    /// Whether it has shown a certificate that is trusted.
    pub proven: bool,
}

/// The one to send away; `None` if there is none.
pub fn which_stranger_goes<K: Ord + Copy>(strangers: impl Iterator<Item = Stranger<K>>) -> Option<K> {
    let strangers: Vec<_> = strangers.collect();
    let mut came = BTreeMap::<_, usize>::new();
    for stranger in strangers.iter().filter(|stranger| !stranger.proven) {
        *came.entry(stranger.address).or_default() += 1;
    }
    let rank = |stranger: &&Stranger<K>| {
        let of_address = came.get(&stranger.address).copied().unwrap_or_default();
        (stranger.proven, Reverse(of_address), stranger.id)
    };
    strangers.iter().min_by_key(rank).map(|stranger| stranger.id)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_flood_displaces_itself_and_nobody_who_has_shown_a_certificate() {
        let stranger = |id: u32, last: u8, proven: bool| Stranger {
            id,
            address: IpAddr::from([192, 0, 2, last]),
            proven,
        };
        let goes = |strangers: &[Stranger<u32>]| which_stranger_goes(strangers.iter().copied());
        assert_eq!(goes(&[]), None);
        assert_eq!(goes(&[stranger(1, 1, true), stranger(2, 1, true)]), Some(1), "somebody has to go");
        assert_eq!(goes(&[stranger(1, 1, true), stranger(2, 2, false)]), Some(2));
        let flood =
            [stranger(1, 1, false), stranger(2, 9, false), stranger(3, 9, false), stranger(4, 9, true)];
        assert_eq!(goes(&flood), Some(2), "the oldest of the address from which most came");
        assert_eq!(goes(&[stranger(1, 1, false), stranger(2, 9, false)]), Some(1));
    }
}
