//! What two guests send, and what should come of it: one case for each rule that a comparer can get wrong.

use crate::frames::{self, ACK, FIN, RST, SYN, Tcp};

/// What happens, in order.
#[derive(Clone, Debug)]
pub(crate) enum Step {
    /// The primary sends.
    Primary(Vec<u8>),
    /// The copy sends, in the primary's numbers.
    Copy(Vec<u8>),
    /// A checkpoint: what waits leaves, and the copy is set anew.
    Checkpoint,
    /// A frame arrives that the copy had sent before the last checkpoint.
    StaleCopy(Vec<u8>),
}

/// Whether a checkpoint is to be asked for.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) enum Asks {
    No,
    Yes,
    /// At once, or when the wait is over: what waits can never be matched.
    SoonerOrLater,
}

/// What should come of a case.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Right {
    /// How many of the primary's frames leave, those that a checkpoint lets go included.
    pub(crate) left: usize,
    /// The ack of the last that leaves, where the rule is about that.
    pub(crate) ack: Option<u32>,
    pub(crate) asks: Asks,
}

/// What came of a case.
#[derive(Clone, Copy, PartialEq, Eq, Default, Debug)]
pub(crate) struct Outcome {
    pub(crate) left: usize,
    /// Of the last TCP segment that left.
    pub(crate) ack: Option<u32>,
    pub(crate) asked: bool,
}

impl Right {
    pub(crate) fn is(self, outcome: Outcome) -> bool {
        let asks_as_it_should = match self.asks {
            Asks::No => !outcome.asked,
            Asks::Yes => outcome.asked,
            Asks::SoonerOrLater => true,
        };
        let ack_is_right = self.ack.is_none_or(|ack| outcome.ack == Some(ack));
        asks_as_it_should && ack_is_right && outcome.left == self.left
    }
}

impl std::fmt::Display for Outcome {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let left = match (self.left, self.ack) {
            (0, _) => "none leaves".to_owned(),
            (count, Some(ack)) => format!("{count} left, ack {ack}"),
            (count, None) => format!("{count} left"),
        };
        f.pad(&if self.asked { format!("{left}, asks") } else { left })
    }
}

/// A case.
pub(crate) struct Case {
    pub(crate) name: &'static str,
    pub(crate) steps: Vec<Step>,
    pub(crate) right: Right,
}

const LEAVES: Right = Right { left: 1, ack: None, asks: Asks::No };
const WAITS: Right = Right { left: 0, ack: None, asks: Asks::No };
const DIVERGES: Right = Right { left: 0, ack: None, asks: Asks::Yes };

const A: [u8; 100] = [b'A'; 100];
const B: [u8; 100] = [b'B'; 100];

use Step::{Checkpoint, Copy, Primary, StaleCopy};

fn p(segment: Tcp) -> Step {
    Primary(segment.frame())
}

/// The copy's frames have another IP identification, as those of a second guest do.
fn s(segment: Tcp) -> Step {
    Copy(segment.identification(9).frame())
}

/// All cases, each with a port of its own.
pub(crate) fn all() -> Vec<Case> {
    let mut cases = Vec::new();
    let mut port = 20_000;
    let mut case = |name, right, steps: Steps<'_>| {
        port += 1;
        cases.push(Case { name, right, steps: steps(&|sequence, ack| Tcp::guest(port, sequence, ack)) });
    };
    content(&mut case);
    acks(&mut case);
    ends(&mut case);
    ranges(&mut case);
    options(&mut case);
    others(&mut case);
    checkpoints(&mut case);
    cases
}

/// Makes a segment of the guest in a case's own connection: sequence number, ack.
type Segments<'a> = &'a dyn Fn(u32, u32) -> Tcp;
type Steps<'a> = &'a dyn Fn(Segments<'_>) -> Vec<Step>;
type Add<'a> = &'a mut dyn FnMut(&'static str, Right, Steps<'_>);

fn content(case: Add<'_>) {
    case("same payload", LEAVES, &|t| vec![p(t(1000, 5000).payload(&A)), s(t(1000, 5000).payload(&A))]);
    case("same payload, the copy first", LEAVES, &|t| {
        vec![s(t(1000, 5000).payload(&A)), p(t(1000, 5000).payload(&A))]
    });
    case("different payload", DIVERGES, &|t| {
        vec![p(t(1000, 5000).payload(&A)), s(t(1000, 5000).payload(&B))]
    });
    case("1 byte with 5 bytes of padding / 1 byte", LEAVES, &|t| {
        vec![p(t(1000, 5000).payload(b"x").padded(5)), s(t(1000, 5000).payload(b"x"))]
    });
    case(
        "equal bytes at other sequence numbers",
        Right { left: 1, ack: None, asks: Asks::SoonerOrLater },
        &|t| {
            let same = [p(t(900, 5000).payload(&A)), s(t(900, 5000).payload(&A))];
            [&same[..], &[p(t(2000, 5000).payload(&B)), s(t(1000, 5000).payload(&B))]].concat()
        },
    );
}

fn acks(case: Add<'_>) {
    case("pure ACK 9000 / nothing", WAITS, &|t| vec![p(t(1000, 9000))]);
    case("pure ACK 9000 / pure ACK 9000", LEAVES, &|t| vec![p(t(1000, 9000)), s(t(1000, 9000))]);
    case("pure ACK 9000 / pure ACK 5000", WAITS, &|t| vec![p(t(1000, 9000)), s(t(1000, 5000))]);
    case("100 B, ack 9000 / same, ack 5000", Right { ack: Some(5000), ..LEAVES }, &|t| {
        vec![p(t(1000, 9000).payload(&A)), s(t(1000, 5000).payload(&A))]
    });
    case("50 B, ack 9000 / 100 B, ack 5000", Right { ack: Some(5000), ..LEAVES }, &|t| {
        vec![p(t(1000, 9000).payload(&A[..50])), s(t(1000, 5000).payload(&A))]
    });
}

fn ends(case: Add<'_>) {
    let fin = FIN | ACK;
    case("FIN / data", DIVERGES, &|t| vec![p(t(1000, 5000).flags(fin)), s(t(1000, 5000).payload(&A))]);
    case(
        "RST / data, in a flow that is not known yet",
        Right { asks: Asks::SoonerOrLater, ..DIVERGES },
        &|t| vec![p(t(1000, 5000).flags(RST | ACK)), s(t(1000, 5000).payload(&A))],
    );
    case("RST / data, after equal data", Right { left: 1, ..DIVERGES }, &|t| {
        let same = [p(t(900, 5000).payload(&A)), s(t(900, 5000).payload(&A))];
        [&same[..], &[p(t(1000, 5000).flags(RST | ACK)), s(t(1000, 5000).payload(&A))]].concat()
    });
    case("FIN / FIN", LEAVES, &|t| vec![p(t(1000, 5000).flags(fin)), s(t(1000, 5000).flags(fin))]);
    case("data and FIN / data, then FIN", LEAVES, &|t| {
        let copy = [s(t(1000, 5000).payload(&A)), s(t(1100, 5000).flags(fin))];
        [&[p(t(1000, 5000).payload(&A).flags(fin))], &copy[..]].concat()
    });
    case("port used again, lower ISN, different bytes", Right { left: 2, ..DIVERGES }, &|t| {
        let open = t(500, 7000).flags(SYN | ACK);
        vec![
            p(t(1000, 5000).payload(&A)),
            s(t(1000, 5000).payload(&A)),
            p(open.clone()),
            s(open),
            p(t(501, 7000).payload(&A)),
            s(t(501, 7000).payload(&B)),
        ]
    });
}

fn ranges(case: Add<'_>) {
    let both = Right { left: 2, ..LEAVES };
    let same = |t: Segments<'_>| [p(t(1000, 5000).payload(&A)), s(t(1000, 5000).payload(&A))];
    case("retransmission of compared bytes / nothing", both, &|t| {
        [&same(t)[..], &[p(t(1000, 5000).payload(&A))]].concat()
    });
    case("old tail and new bytes / new bytes", both, &|t| {
        let more = [&A[50..], &B].concat();
        [&same(t)[..], &[p(t(1050, 5000).payload(&more)), s(t(1100, 5000).payload(&B))]].concat()
    });
    case("second segment first / first segment first", both, &|t| {
        vec![
            p(t(1100, 5000).payload(&B)),
            s(t(1000, 5000).payload(&A)),
            p(t(1000, 5000).payload(&A)),
            s(t(1100, 5000).payload(&B)),
        ]
    });
    case("one segment / two", LEAVES, &|t| {
        let copy = [s(t(1000, 5000).payload(&A)), s(t(1100, 5000).payload(&B))];
        [&[p(t(1000, 5000).payload(&[A, B].concat()))], &copy[..]].concat()
    });
    case("two segments / one", both, &|t| {
        let primary = [p(t(1000, 5000).payload(&A)), p(t(1100, 5000).payload(&B))];
        [&primary[..], &[s(t(1000, 5000).payload(&[A, B].concat()))]].concat()
    });
    let late = u32::MAX - 49;
    case("numbers wrap within a segment", both, &|t| {
        vec![
            p(t(late, 5000).payload(&A)),
            s(t(late, 5000).payload(&A)),
            p(t(50, 5000).payload(&B)),
            s(t(50, 5000).payload(&B)),
        ]
    });
    case("numbers wrap, the primary's segments in other order", both, &|t| {
        vec![
            p(t(50, 5000).payload(&B)),
            p(t(late, 5000).payload(&A)),
            s(t(late, 5000).payload(&A)),
            s(t(50, 5000).payload(&B)),
        ]
    });
    case("twelve segments, then their twelve twins", Right { left: 12, ..LEAVES }, &|t| {
        let all = |of: fn(Tcp) -> Step| (0..12).map(move |n| of(t(1000 + 100 * n, 5000).payload(&A)));
        all(p).chain(all(s)).collect()
    });
}

fn options(case: Add<'_>) {
    let open = SYN | ACK;
    let (mss, scale) = ([2, 4, 5, 180], [1, 3, 3, 7]);
    case("SYN-ACKs of other MSS", DIVERGES, &|t| {
        let of = |mss: [u8; 4]| t(1000, 5000).flags(open).options(&mss);
        vec![p(of(mss)), s(of([2, 4, 2, 24]))]
    });
    case("SYN-ACKs of other window scale", DIVERGES, &|t| {
        let of = |scale: [u8; 4]| t(1000, 5000).flags(open).options(&scale);
        vec![p(of(scale)), s(of([1, 3, 3, 8]))]
    });
    case("SYN-ACKs of other clocks", LEAVES, &|t| {
        let of = |clock| t(1000, 5000).flags(open).options(&frames::timestamps(clock, 7));
        vec![p(of(100)), s(of(900))]
    });
    case("time stamps of the copy alone", LEAVES, &|t| {
        let stamped = t(1000, 5000).payload(&A).options(&frames::timestamps(7, 7));
        vec![p(t(1000, 5000).payload(&A)), s(stamped)]
    });
    case("another window", LEAVES, &|t| {
        vec![p(t(1000, 5000).payload(&A).window(0)), s(t(1000, 5000).payload(&A))]
    });
}

fn others(case: Add<'_>) {
    let both = Right { left: 2, ..LEAVES };
    let udp = |port, payload, id| frames::udp(port, payload, id);
    case("UDP in other order", both, &|t| {
        let port = t(0, 0).client_port;
        let copy = [Copy(udp(port, &[b'b'; 20], 8)), Copy(udp(port, &[b'a'; 20], 9))];
        [&[Primary(udp(port, &[b'a'; 20], 1)), Primary(udp(port, &[b'b'; 20], 2))], &copy[..]].concat()
    });
    case("SCTP, equal but for the IP identification", Right { asks: Asks::No, ..LEAVES }, &|_| {
        vec![Primary(frames::other(132, &[b'Q'; 40], 1)), Copy(frames::other(132, &[b'Q'; 40], 2))]
    });
    case("a fragment, equal but for the IP identification", LEAVES, &|_| {
        vec![Primary(frames::fragment(&A[..96], 96, 7)), Copy(frames::fragment(&A[..96], 96, 8))]
    });
    case("IPv6 / nothing", WAITS, &|_| vec![Primary(frames::ipv6(b"one"))]);
    case("IPv6 / the same", LEAVES, &|_| vec![Primary(frames::ipv6(b"two")), Copy(frames::ipv6(b"two"))]);
    case("ARP / nothing", WAITS, &|_| vec![Primary(frames::arp())]);
    case("VLAN, TCP / nothing", WAITS, &|t| {
        vec![Primary(frames::tagged(&t(1000, 5000).payload(&A).frame(), 5))]
    });
    case("VLAN, TCP / the same", LEAVES, &|t| {
        let frame = frames::tagged(&t(1000, 5000).payload(&A).frame(), 6);
        vec![Primary(frame.clone()), Copy(frame)]
    });
}

fn checkpoints(case: Add<'_>) {
    case("a divergence, then its checkpoint", Right { left: 1, ack: None, asks: Asks::Yes }, &|t| {
        vec![p(t(1000, 5000).payload(&A)), s(t(1000, 5000).payload(&B)), Checkpoint]
    });
    case(
        "a frame of the copy from before the checkpoint",
        Right { left: 2, ack: None, asks: Asks::No },
        &|t| {
            vec![
                p(t(1000, 5000).payload(&A)),
                Checkpoint,
                StaleCopy(t(1100, 5000).payload(&B).frame()),
                p(t(1100, 5000).payload(&A)),
                s(t(1100, 5000).payload(&A)),
            ]
        },
    );
}
