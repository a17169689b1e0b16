//! Which connections are allowed: the place where the link's security is decided, once.
//!
//! There is one kind so far. A plain connection proves nothing about its other end, so it is taken on loopback
//! only; mutually authenticated TLS will be the second kind, for everything else.

use std::net::SocketAddr;

/// How two engines trust each other's bytes.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub enum Transport {
    /// TCP without any authentication, between processes of one machine.
    #[default]
    PlainLoopback,
}

/// Why an address may not be used.
#[derive(thiserror::Error, Clone, PartialEq, Eq, Debug)]
pub enum TransportError {
    /// A plain connection would leave the machine.
    #[error(
        "{0} is not a loopback address, and a link to another machine needs mutual TLS, which this version does \
         not have; use 127.0.0.1 or [::1]"
    )]
    PlainBeyondLoopback(SocketAddr),
}

impl Transport {
    /// Whether `address` may be listened on, connected to, or accepted from.
    pub fn admit(self, address: SocketAddr) -> Result<SocketAddr, TransportError> {
        match self {
            Self::PlainLoopback if address.ip().to_canonical().is_loopback() => Ok(address),
            Self::PlainLoopback => Err(TransportError::PlainBeyondLoopback(address)),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_plain_link_stays_on_the_machine() {
        for address in ["127.0.0.1:1", "127.8.8.8:1", "[::1]:1", "[::ffff:127.0.0.1]:1"] {
            assert!(Transport::PlainLoopback.admit(address.parse().unwrap()).is_ok(), "{address}");
        }
        for address in ["0.0.0.0:1", "192.0.2.1:1", "[::]:1", "[2001:db8::1]:1"] {
            assert!(Transport::PlainLoopback.admit(address.parse().unwrap()).is_err(), "{address}");
        }
    }
}
