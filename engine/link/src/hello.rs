//! What a hello and its answers say. How they are exchanged is in [`handshake`](super::handshake).

use super::frame::VERSIONS;
use super::values::Value;
use core::fmt;
use understudy_session::NodeName;

/// What the end that connects wants to talk to.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Service {
    /// A node that holds guests.
    Node,
    /// The witness.
    Witness,
}

/// Who an end of a link is.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Identity {
    /// Its name.
    pub node: NodeName,
    /// Drawn anew whenever its process starts: tells a restarted node from one that lost a connection.
    pub instance: u64,
}

/// The first frame of the end that connected.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Hello {
    /// Versions it speaks.
    pub versions: (u16, u16),
    /// What it wants to talk to.
    pub service: Service,
    /// Who it is.
    pub from: Identity,
}

/// The first frame of the end that was connected to, if it agrees.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct HelloAnswer {
    /// The version that both speak from here on.
    pub version: u16,
    /// Who it is.
    pub from: Identity,
}

/// Why an end does not agree.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum RefuseReason {
    /// No version that both speak.
    NoCommonVersion,
    /// It is not what the other end wants to talk to.
    WrongService,
    /// There is, or is about to be, another link between these two nodes.
    Duplicate,
    /// It does not expect this node.
    UnknownNode,
    /// It has no room for another connection.
    Full,
    /// The other end did not keep to the protocol.
    Protocol,
    /// Another process of this name is connected and answers. Only for ends that speak version 2.
    NameInUse,
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
