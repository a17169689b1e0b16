//! Who is at the other end, and which of two links between two nodes stays. Pure.
//!
//! ```text
//!   the end that connects                          the end that is connected to
//!   ─────────────────────                          ────────────────────────────
//!   Answering ── Hello ──────────────────────────► Greeting
//!                                                     │ the node looks for another link (choose)
//!   Open ◄────────────── HelloAnswer ──────────────── agree ─► Open
//!   (ended) ◄─────────── Refuse ───────────────────── refuse ─► (ended)
//! ```
//!
//! Two nodes that know each other's address both connect, perhaps at the same moment. Both must then keep the
//! same link, without another exchange: see [`choose`].

use super::frame::{Frame, LinkFrame};
use super::hello::{Hello, HelloAnswer, Identity, common_version};
use super::service::{RefuseReason, Service};
use super::version::VERSIONS;
use super::{EncodeError, Encoded, LinkError, encode};
use alloc::format;
use alloc::string::String;
use understudy_session::{NodeName, Span};

/// A hello that is not complete after this long ends the connection.
pub const HELLO_MAX: Span = Span::from_ms(2_000);

/// The state of the hello.
#[derive(Clone, PartialEq, Eq, Debug)]
pub(super) enum Handshake {
    /// Our hello is sent; its answer is due.
    Answering,
    /// The peer's hello is due.
    Greeting,
    /// The peer's hello is here; this end has to agree or refuse.
    Deciding {
        /// The newest version that both speak.
        version: u16,
    },
    /// Both ends have agreed.
    Open,
    /// This end has refused or said goodbye; whatever still arrives is skipped.
    Ending,
}

/// The hello of the end that connects.
pub(super) fn hello(from: Identity, service: Service) -> Result<Encoded, EncodeError> {
    let hello = Hello { versions: (*VERSIONS.start(), *VERSIONS.end()), service, from };
    encode(&LinkFrame::Hello(hello).into())
}

/// Reads the answer to our hello: the peer, and the version that both speak.
pub(super) fn read_answer(frame: Frame<'_>) -> Result<(Identity, u16), LinkError> {
    match frame {
        Frame::Link(LinkFrame::HelloAnswer(HelloAnswer { version, from })) if VERSIONS.contains(&version) => {
            Ok((from, version))
        }
        Frame::Link(LinkFrame::HelloAnswer(HelloAnswer { version, .. })) => {
            Err(LinkError::UnknownValue { field: "version", value: version.to_le_bytes()[0] })
        }
        other => Err(unexpected("a hello's answer", &other)),
    }
}

/// The version to speak, or the refusal.
pub(super) type Answer = Result<u16, (RefuseReason, String)>;

/// Reads a hello to `service`, and returns how to answer it.
pub(super) fn read_hello(frame: Frame<'_>, service: Service) -> Result<(Hello, Answer), LinkError> {
    let Frame::Link(LinkFrame::Hello(hello)) = frame else {
        return Err(unexpected("a hello", &frame));
    };
    let answer = match common_version(hello.versions) {
        _ if !service.takes(hello.service) => Err((
            RefuseReason::WrongService,
            match service {
                Service::Node | Service::Spare => "This is a node, not a witness".into(),
                Service::Witness => "This is a witness, not a node".into(),
            },
        )),
        None => Err((
            RefuseReason::NoCommonVersion,
            format!("This end speaks versions {} to {}", VERSIONS.start(), VERSIONS.end()),
        )),
        Some(version) => Ok(version),
    };
    Ok((hello, answer))
}

/// The first part of a reader's name at the witness; its process number, a dot and the name of its node follow. A
/// reader may be connected beside its node, and may only read records.
pub const READER_PREFIX: &str = "look.";

/// Refuses a hello whose name differs from the certificate's.
pub(super) fn check_name(
    proven: &NodeName,
    said: &NodeName,
    service: Service,
) -> Result<(), (RefuseReason, String)> {
    if said == proven || service == Service::Witness && is_reader_of(said, proven) {
        return Ok(());
    }
    let why = format!("This certificate is that of {proven}, and the hello says {said}");
    Err((RefuseReason::UnknownNode, why))
}

/// Whether `said` is the name of a reader that belongs to `node`.
fn is_reader_of(said: &NodeName, node: &NodeName) -> bool {
    let name = said.0.strip_prefix(READER_PREFIX).and_then(|rest| rest.split_once('.'));
    // A reader's name may be cut at its end.
    name.is_some_and(|(_, name)| !name.is_empty() && node.0.starts_with(name))
}

pub(super) fn unexpected(expected: &'static str, found: &Frame<'_>) -> LinkError {
    LinkError::Unexpected { expected, found: found.kind_name() }
}

/// The connection that a node already has to a peer when that peer's hello arrives.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Standing {
    /// No other connection.
    Alone,
    /// This node has dialled and sent its own hello.
    Dialing,
    /// A link is open.
    Open {
        /// The peer's instance on that link.
        instance: u64,
        /// Whether this node dialled it.
        dialed: bool,
    },
}

/// What to do with a peer's hello.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Choice {
    /// Agree, and close any other connection to this peer.
    Take,
    /// Refuse as [`RefuseReason::Duplicate`], and keep the other connection.
    Keep,
}

/// Decides between an existing connection and a peer's hello, so that both ends keep the same link:
///
/// * Both hellos cross: the one from the node with the lesser name stays.
/// * The link is open, and the peer connects again the same way as before, or was restarted: the peer has lost the old
///   link, so the new one stays.
/// * The link is open, this node dialled it, and the hello comes from the same process: it was sent before the peer
///   accepted our link, so our link stays. If the peer has lost our link after all, the link's end reaches us too, and
///   the peer connects again.
pub fn choose(standing: Standing, this: &NodeName, peer: &Identity) -> Choice {
    match standing {
        Standing::Alone => Choice::Take,
        Standing::Dialing if *this < peer.node => Choice::Keep,
        Standing::Dialing => Choice::Take,
        Standing::Open { instance, dialed: true } if instance == peer.instance => Choice::Keep,
        Standing::Open { .. } => Choice::Take,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use alloc::collections::VecDeque;
    use alloc::vec::Vec;
    use proptest::prelude::*;

    fn identity(name: &str) -> Identity {
        Identity { node: NodeName(name.into()), instance: 1 }
    }

    /// A node, reduced to its connections: at most one that is being dialled and one that is open.
    struct Node {
        me: Identity,
        peer: Identity,
        dialing: Option<u32>,
        open: Option<(u32, bool)>,
    }

    enum Wire {
        Hello(u32),
        Answer(u32),
        Refuse(u32),
        Closed(u32),
    }

    impl Node {
        fn standing(&self) -> Standing {
            match (self.open, self.dialing) {
                (Some((_, dialed)), _) => Standing::Open { instance: self.peer.instance, dialed },
                (None, Some(_)) => Standing::Dialing,
                (None, None) => Standing::Alone,
            }
        }

        fn dial(&mut self, id: u32, out: &mut VecDeque<Wire>) {
            if self.open.is_none() && self.dialing.is_none() {
                self.dialing = Some(id);
                out.push_back(Wire::Hello(id));
            }
        }

        fn hear(&mut self, wire: Wire, out: &mut VecDeque<Wire>) {
            match wire {
                Wire::Hello(id) => match choose(self.standing(), &self.me.node, &self.peer) {
                    Choice::Keep => out.push_back(Wire::Refuse(id)),
                    Choice::Take => {
                        let closed =
                            self.open.take().map(|(id, _)| id).into_iter().chain(self.dialing.take());
                        out.extend(closed.map(Wire::Closed));
                        self.open = Some((id, false));
                        out.push_back(Wire::Answer(id));
                    }
                },
                Wire::Answer(id) if self.dialing == Some(id) => {
                    self.dialing = None;
                    self.open = Some((id, true));
                }
                Wire::Refuse(id) if self.dialing == Some(id) => self.dialing = None,
                Wire::Closed(id) if self.dialing == Some(id) => self.dialing = None,
                Wire::Closed(id) if self.open.is_some_and(|(open, _)| open == id) => self.open = None,
                Wire::Answer(_) | Wire::Refuse(_) | Wire::Closed(_) => {}
            }
        }
    }

    proptest! {
        /// In whatever order nodes dial and messages arrive, both nodes end with the same one link.
        #[test]
        fn two_nodes_that_both_dial_keep_the_same_link(steps in proptest::collection::vec(0u8..4, 1..40)) {
            let (a, b) = (identity("a"), identity("b"));
            let mut nodes = [
                Node { me: a.clone(), peer: b.clone(), dialing: None, open: None },
                Node { me: b, peer: a, dialing: None, open: None },
            ];
            let mut wires = [VecDeque::new(), VecDeque::new()];
            let mut next_id = 0;
            let mut step = |nodes: &mut [Node; 2], wires: &mut [VecDeque<Wire>; 2], step: u8| {
                let side = usize::from(step & 1);
                let mut out = VecDeque::new();
                if step < 2 {
                    next_id += 1;
                    nodes[side].dial(next_id, &mut out);
                } else if let Some(wire) = wires[1 - side].pop_front() {
                    nodes[side].hear(wire, &mut out);
                }
                wires[side].extend(out);
            };
            for choice in steps {
                step(&mut nodes, &mut wires, choice);
            }
            // Each dials again whenever it has no connection, as nodes do; then all messages are delivered.
            for _ in 0..20 {
                for choice in [0, 2, 3, 2, 3, 1, 2, 3, 2, 3] {
                    step(&mut nodes, &mut wires, choice);
                }
            }
            let open: Vec<_> = nodes.iter().map(|node| node.open.map(|(id, _)| id)).collect();
            prop_assert!(open[0].is_some() && open[0] == open[1], "{:?}", open);
        }
    }

    #[test]
    fn a_proven_name_is_the_only_one_that_may_be_said() {
        let name = |name: &str| NodeName(name.into());
        let proven = name("a");
        assert!(check_name(&proven, &proven, Service::Node).is_ok());
        for said in ["b", "A", "a.", "", "look.7.b", "look.7.", "look.a"] {
            for service in [Service::Node, Service::Witness] {
                let (reason, why) = check_name(&proven, &name(said), service).unwrap_err();
                assert_eq!(reason, RefuseReason::UnknownNode);
                assert!(why.contains("certificate is that of a"), "{why}");
            }
        }
        assert!(check_name(&proven, &name("look.7.a"), Service::Witness).is_ok());
        assert!(check_name(&proven, &name("look.7.a"), Service::Node).is_err(), "there is nothing to read");
    }

    #[test]
    fn a_restarted_peer_replaces_the_link_of_its_former_life() {
        let peer = Identity { node: NodeName("b".into()), instance: 2 };
        for dialed in [false, true] {
            let standing = Standing::Open { instance: 1, dialed };
            assert_eq!(choose(standing, &NodeName("a".into()), &peer), Choice::Take);
        }
    }

    #[test]
    fn a_hello_to_the_wrong_service_or_of_another_age_is_refused_with_words() {
        let hello = |versions, service| {
            Frame::from(LinkFrame::Hello(Hello { versions, service, from: identity("a") }))
        };
        let reason = |frame| read_hello(frame, Service::Witness).unwrap().1.unwrap_err().0;
        assert_eq!(reason(hello((1, 1), Service::Node)), RefuseReason::WrongService);
        assert_eq!(reason(hello((8, 9), Service::Witness)), RefuseReason::NoCommonVersion);
        assert!(read_hello(LinkFrame::Bye.into(), Service::Node).is_err());
        let answer = LinkFrame::HelloAnswer(HelloAnswer { version: 9, from: identity("b") });
        assert!(read_answer(answer.into()).is_err());
    }
}
