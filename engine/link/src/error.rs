//! What can be wrong with the bytes of a link. Each error ends the connection; the sessions see the link go down and
//! begin anew on the next one.

use alloc::string::String;

/// Why a peer's bytes are rejected.
#[derive(thiserror::Error, Clone, PartialEq, Eq, Debug)]
pub enum LinkError {
    /// The first bytes do not begin a frame.
    #[error("The other end does not speak the understudy link protocol; check the address")]
    NotALink,
    /// After whole frames, bytes came that do not begin a frame.
    #[error(
        "After {after} frames come bytes that are none; something between the hosts adds, drops or repeats bytes: look for a \
         proxy, a balancer or a tunnel on the way, and connect without it"
    )]
    OutOfStep {
        /// How many whole frames came before.
        after: u32,
    },
    /// A kind that this version does not know.
    #[error("The peer sent a frame of unknown kind {0:#x}; both ends must run matching versions")]
    UnknownKind(u16),
    /// A value of a field that this version does not know.
    #[error("The peer sent the unknown value {value} as {field}; both ends must run matching versions")]
    UnknownValue { field: &'static str, value: u8 },
    /// A lease that no host has.
    #[error(
        "The peer sent a lease with the number {number} and a watchdog of {watchdog_ms} ms, which no host can have"
    )]
    NoLease { number: u64, watchdog_ms: u32 },
    /// The body is longer than frames may be at this point of the connection.
    #[error("The peer announced a frame of {bytes} bytes where {limit} are allowed")]
    FrameTooLong { bytes: usize, limit: usize },
    /// The seal does not match: bytes changed on the way.
    #[error(
        "A frame arrived damaged; check the network between the hosts, and what stands in it: a proxy that repeats or drops \
         bytes does this, and a card whose checksum offload is broken"
    )]
    Damaged,
    /// A frame is missing or came twice, which TCP rules out.
    #[error(
        "Frame {found} arrived where {expected} was due, which TCP excludes: look for a proxy, a balancer or a tunnel between \
         the hosts that repeats or drops bytes, and connect without it; only without one is this a bug of the sender"
    )]
    OutOfSequence {
        /// The expected number.
        expected: u32,
        found: u32,
    },
    /// A packet is longer than any network carries.
    #[error(
        "The peer sent a packet of {0} bytes, which no network carries; report this as a bug of the sender"
    )]
    PacketTooLong(usize),
    /// A list of packets is longer than a frame may carry.
    #[error("The peer sent {0} bytes of packets in one frame; report this as a bug of the sender")]
    TooManyPackets(usize),
    /// The body ends inside a field.
    #[error("A frame's body is too short for its kind; report this as a bug of the sender")]
    BodyTooShort,
    /// The body goes on after its last field.
    #[error("A frame's body is {0} bytes too long for its kind; report this as a bug of the sender")]
    BodyTooLong(usize),
    /// A name or reason is not UTF-8.
    #[error("A frame carries a text that is not UTF-8; report this as a bug of the sender")]
    NotText,
    /// A name is empty.
    #[error("A frame carries an empty name; report this as a bug of the sender")]
    EmptyName,
    /// A frame about a guest came with the link's guest number, or the other way round.
    #[error("A frame of kind {kind:#x} is addressed to guest {guest}; report this as a bug of the sender")]
    WrongAddress { kind: u16, guest: u32 },
    /// A frame came that is not allowed at this point of the connection.
    #[error("The peer sent {found} where {expected} was due; report this as a bug of the sender")]
    Unexpected {
        /// What was expected.
        expected: &'static str,
        found: &'static str,
    },
    /// The other end refused this link.
    #[error("The peer refuses the link: {reason}: {detail}")]
    Refused {
        /// The reason, from a closed list.
        reason: super::RefuseReason,
        /// The reason, in the peer's words.
        detail: String,
    },
    /// The peer's certificate belongs to another node.
    #[error(
        "The other end calls itself {said} and has the certificate of {proven}; give it its own name, or the certificate of \
         {said} its place on the other end"
    )]
    NotItsName {
        /// The node that the certificate belongs to.
        proven: String,
        /// The node's name in its hello.
        said: String,
    },
    /// A peer did not answer a ping for too long.
    #[error("The peer does not answer any more; check its host and the network between")]
    Silent,
    /// The peer closed the connection, in order or not.
    #[error("The other end closed the connection")]
    Ended,
    /// The hello was not answered in time.
    #[error("The other end did not complete the hello in time; check that it is an understudy engine")]
    HelloTimeout,
}
