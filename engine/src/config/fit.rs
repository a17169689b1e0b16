//! Settings that each are right and do not fit each other, or the kernel.

use super::{ConfigError, Peers};
use std::collections::BTreeMap;
use std::net::SocketAddr;

/// Of the kernel, without the zero at the end.
const INTERFACE_BYTES_MAX: usize = 15;

/// Each address belongs to one process. The port 0 of `listen` is not known yet.
pub(super) fn one_service_per_address(
    listen: &[SocketAddr],
    witness: Option<SocketAddr>,
    peers: &Peers,
) -> Result<(), ConfigError> {
    let own = listen.iter().filter(|address| address.port() != 0);
    let own = own.map(|address| ("this node".to_owned(), *address));
    let witness = witness.map(|address| ("the witness".to_owned(), address));
    let peers = peers.iter().flat_map(|(name, addresses)| {
        addresses.iter().map(move |address| (format!("peer {name}"), address.remote))
    });
    let mut seen = BTreeMap::new();
    for (who, address) in own.into_iter().chain(witness).chain(peers) {
        if let Some(other) = seen.insert(address, who.clone()) {
            return Err(ConfigError::Conflict(format!(
                "{address} is given for {other} and for {who}; each process listens on an address of its own"
            )));
        }
    }
    Ok(())
}

/// The kernel's names of interfaces have at most 15 bytes, of which a guest's name needs one.
pub(super) fn check_taps(prefix: &str) -> Result<(), ConfigError> {
    let plain = |c: char| c.is_ascii_graphic() && !"/:".contains(c);
    if prefix.len() < INTERFACE_BYTES_MAX && prefix.chars().all(plain) {
        return Ok(());
    }
    Err(ConfigError::Conflict(format!(
        "No interface's name can begin with {prefix:?}: it has at most {INTERFACE_BYTES_MAX} letters, digits and signs \
         with the guest's name behind; give a shorter prefix, such as a-"
    )))
}
