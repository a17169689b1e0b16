//! What an end of a link serves, and why it refuses a link. Not here: refusals of single guests
//! ([`refusal`](super::refusal)).

/// The service that the connecting end asks for.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Service {
    /// A node that holds guests.
    Node,
    /// The witness.
    Witness,
    /// A node that has a link to this one already: nothing but signs of life, on another network than the link's.
    Spare,
}

impl Service {
    /// Whether an end that serves this takes a hello to `asked`.
    pub(super) fn takes(self, asked: Self) -> bool {
        self == asked || self == Self::Node && asked == Self::Spare
    }
}

/// Why an end refuses a link.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum RefuseReason {
    /// There is no version that both ends speak.
    NoCommonVersion,
    /// It is not the service that the other end asked for.
    WrongService,
    /// There is, or is about to be, another link between these two nodes.
    Duplicate,
    /// The node is not one of its peers.
    UnknownNode,
    /// It has no room for another connection.
    Full,
    /// The other end did not keep to the protocol.
    Protocol,
    /// Another process with this node's name is connected and answers. Only sent to ends that speak version 2.
    NameInUse,
}
