//! What the rewriter of a copy makes of a connection's frames: QEMU's beside ours.
//!
//! The primary's guest opens with 1000, the copy with 9000; the client with 100.

use crate::frames::{self, ACK, RST, SYN, Tcp};
use crate::ours::Rewrite;
use crate::qemu::Rewriter;
use std::io;
use understudy_colo::packet::Side;

/// What happens, in order.
enum Step {
    /// The client sends to the guest.
    Client(Tcp),
    /// The copy sends.
    Copy(Tcp),
    /// The primary's guest opens a connection; QEMU is not told, and concludes it from the client's ACK.
    Primary(Tcp),
    /// The copy is set to the primary's state.
    Checkpoint,
}

/// Which number of the last frame that comes out is looked at.
#[derive(Clone, Copy)]
enum Number {
    AckToCopy,
    SackToCopy,
    EchoToCopy,
    SequenceToCompare,
}

struct Case {
    name: &'static str,
    steps: Vec<Step>,
    number: Number,
    right: u32,
}

use Step::{Checkpoint, Client, Copy, Primary};

/// A connection as seen from both ends.
#[derive(Clone, Copy)]
struct Port(u16);

impl Port {
    fn client(self, sequence: u32, ack: u32) -> Tcp {
        Tcp::client(self.0, sequence, ack)
    }

    fn guest(self, sequence: u32, ack: u32) -> Tcp {
        Tcp::guest(self.0, sequence, ack)
    }

    /// The client's SYN, and both guests' answers.
    fn answered(self) -> Vec<Step> {
        vec![
            Client(self.client(100, 0).flags(SYN)),
            Copy(self.guest(9000, 101).flags(SYN | ACK)),
            Primary(self.guest(1000, 101).flags(SYN | ACK)),
        ]
    }

    fn open(self) -> Vec<Step> {
        let mut steps = self.answered();
        steps.push(Client(self.client(101, 1001)));
        steps
    }
}

fn cases() -> Vec<Case> {
    let mut port = 30_000;
    let mut all = Vec::new();
    let mut case = |name, number, right, before: fn(Port) -> Vec<Step>, last: fn(Port) -> Vec<Step>| {
        port += 1;
        let mut steps = before(Port(port));
        steps.extend(last(Port(port)));
        all.push(Case { name, steps, number, right });
    };
    use Number::{AckToCopy, EchoToCopy, SackToCopy, SequenceToCompare};
    case("the client's ACK", AckToCopy, 9001, Port::answered, |p| vec![Client(p.client(101, 1001))]);
    case("data of the copy", SequenceToCompare, 1001, Port::open, |p| {
        vec![Copy(p.guest(9001, 101).payload(b"x"))]
    });
    case(
        "the client's ACK before the copy's SYN-ACK",
        AckToCopy,
        9001,
        |_| Vec::new(),
        |p| {
            vec![
                Client(p.client(100, 0).flags(SYN)),
                Primary(p.guest(1000, 101).flags(SYN | ACK)),
                Client(p.client(101, 1001)),
                Copy(p.guest(9000, 101).flags(SYN | ACK)),
                Client(p.client(101, 1001)),
            ]
        },
    );
    case("an old SYN comes once more, then an ACK", AckToCopy, 9001, Port::open, |p| {
        vec![Client(p.client(100, 0).flags(SYN)), Client(p.client(101, 1001))]
    });
    case("a checkpoint between SYN-ACK and ACK", AckToCopy, 1001, Port::answered, |p| {
        vec![Checkpoint, Client(p.client(101, 1001))]
    });
    case("open before the checkpoint", AckToCopy, 1001, Port::open, |p| {
        vec![Checkpoint, Client(p.client(101, 1001))]
    });
    case(
        "the guest opens: the client's SYN-ACK",
        AckToCopy,
        9001,
        |_| Vec::new(),
        |p| {
            vec![
                Copy(p.guest(9000, 0).flags(SYN).guest_port(4444)),
                Primary(p.guest(1000, 0).flags(SYN).guest_port(4444)),
                Client(p.client(100, 1001).flags(SYN | ACK).guest_port(4444)),
            ]
        },
    );
    case("RST of the copy, without ACK", SequenceToCompare, 1002, Port::open, |p| {
        vec![Copy(p.guest(9002, 0).flags(RST))]
    });
    case("selective ack of 1500 to 1600", SackToCopy, 9500, Port::open, |p| {
        vec![Client(p.client(101, 1001).options(&frames::sack(1500, 1600)))]
    });
    case(
        "the client echoes the primary's clock, 100; the copy's is 700",
        EchoToCopy,
        700,
        |_| Vec::new(),
        |p| {
            let stamped = |tcp: Tcp, value, echo| tcp.options(&frames::timestamps(value, echo));
            vec![
                Client(stamped(p.client(100, 0).flags(SYN), 5, 0)),
                Copy(stamped(p.guest(9000, 101).flags(SYN | ACK), 700, 5)),
                Primary(stamped(p.guest(1000, 101).flags(SYN | ACK), 100, 5)),
                Client(stamped(p.client(101, 1001), 6, 100)),
            ]
        },
    );
    all
}

impl Number {
    fn side(self) -> Side {
        match self {
            Self::AckToCopy | Self::SackToCopy | Self::EchoToCopy => Side::World,
            Self::SequenceToCompare => Side::Guest,
        }
    }

    fn of(self, frame: &[u8]) -> Option<u32> {
        let word = |at: usize| Some(u32::from_be_bytes(*frame.get(at..)?.first_chunk()?));
        let (sequence, ack) = frames::numbers(frame)?;
        match self {
            Self::AckToCopy => Some(ack),
            Self::SequenceToCompare => Some(sequence),
            // Behind two fillers, kind and length; behind those and the sender's clock.
            Self::SackToCopy => word(58),
            Self::EchoToCopy => word(62),
        }
    }
}

fn of_qemu(rewriter: &mut Rewriter, case: &Case) -> io::Result<Option<u32>> {
    let mut last = None;
    for step in &case.steps {
        let out = match step {
            Client(frame) => rewriter.input(&frame.frame())?.map(|frame| (Side::World, frame)),
            Copy(frame) => rewriter.output(&frame.frame())?.map(|frame| (Side::Guest, frame)),
            Checkpoint => {
                rewriter.checkpoint()?;
                None
            }
            Primary(_) => None,
        };
        last = out.filter(|(side, _)| *side == case.number.side()).map(|(_, frame)| frame).or(last);
    }
    Ok(last.and_then(|frame| case.number.of(&frame)))
}

fn of_ours(case: &Case) -> Option<u32> {
    let mut rewriter = Rewrite::new();
    let mut last = None;
    for step in &case.steps {
        let out = match step {
            Client(frame) => rewriter.frame(Side::World, &frame.frame()),
            Copy(frame) => rewriter.frame(Side::Guest, &frame.frame()),
            Primary(frame) => rewriter.told(&frame.frame()),
            Checkpoint => {
                rewriter.checkpoint();
                Vec::new()
            }
        };
        let mine = out.into_iter().rev().find(|(side, _)| *side == case.number.side());
        last = mine.map(|(_, frame)| frame).or(last);
    }
    last.and_then(|frame| case.number.of(&frame))
}

/// Prints the table; how many of ours are wrong.
pub(crate) fn compare(is_qemu_here: bool) -> io::Result<usize> {
    println!(
        "\nrewriter: the guest's number is 1000, the copy's 9000   {:>6} {:>6} {:>6}",
        "QEMU", "ours", "right"
    );
    let mut qemu = is_qemu_here.then(Rewriter::start).transpose()?;
    let mut wrong = 0;
    let word = |number: Option<u32>| number.map_or("-".into(), |number| number.to_string());
    for case in cases() {
        let ours = of_ours(&case);
        let theirs = match &mut qemu {
            Some(qemu) => word(of_qemu(qemu, &case)?),
            None => "?".into(),
        };
        let is_right = ours == Some(case.right);
        wrong += usize::from(!is_right);
        let mark = if is_right { "" } else { "  OURS IS WRONG" };
        println!("  {:<53} {theirs:>6} {:>6} {:>6}{mark}", case.name, word(ours), case.right);
    }
    Ok(wrong)
}
