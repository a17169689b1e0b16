//! The contents of a hello and its answers. How they are exchanged is in [`handshake`](super::handshake).

use super::service::{RefuseReason, Service};
use super::values::Value;
use super::version::VERSIONS;
use core::fmt;
use understudy_session::NodeName;

/// The identity of one end of a link.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Identity {
    pub node: NodeName,
    /// A random number drawn at each start of its process. It tells a restarted node from one that lost a connection.
    pub instance: u64,
}

/// The first frame of the end that connected.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Hello {
    /// The versions that it speaks.
    pub versions: (u16, u16),
    pub service: Service,
    pub from: Identity,
}

/// The first frame of the end that was connected to, if it agrees.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct HelloAnswer {
    /// The version that both ends speak from here on.
    pub version: u16,
    pub from: Identity,
}

impl fmt::Display for RefuseReason {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.row().words)
    }
}

/// The newest version that both ends speak.
pub fn common_version(theirs: (u16, u16)) -> Option<u16> {
    let newest = theirs.1.min(*VERSIONS.end());
    (newest >= theirs.0.max(*VERSIONS.start())).then_some(newest)
}
