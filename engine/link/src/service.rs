//! What an end of a link serves, and why it does not agree to a link. Not here: refusals of single guests
//! ([`refusal`](super::refusal)).

/// What the end that connects wants to talk to.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Service {
    /// A node that holds guests.
    Node,
    /// The witness.
    Witness,
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
