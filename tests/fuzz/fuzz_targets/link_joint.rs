//! Links in TLS, both ends in memory, and a way between them that is as narrow, as slow and as hostile as the input says.
//!
//! ```text
//!   a ── frames ─► records ─► [ pieces, damage, foreign bytes, the end ] ─► records ─► frames ── b       and back
//! ```
//!
//! What comes out at an end is what went in at the other, in order, as far as it comes. On a way that changes nothing, all of it
//! comes, and nobody complains.

#![no_main]

use libfuzzer_sys::fuzz_target;
use std::collections::VecDeque;
use std::io::{self, Read, Write};
use std::sync::{Arc, OnceLock};
use understudy::connection::{Channel, ConnectionError, Fill, Joint};
use understudy::trust::Credentials;
use understudy::trust::keygen::keygen;
use understudy_link::{Event, GuestFrame, GuestId, Identity, Lane, Link, LinkFrame, Service, encode};
use understudy_session::{NodeName, Time};

/// What waits between the ends at most: the sender's outbox bounds itself.
const SENT_MAX: usize = 64;

fn name(name: &str) -> NodeName {
    NodeName(name.into())
}

/// a and b, who trust each other.
fn world() -> &'static [Arc<Credentials>; 2] {
    static WORLD: OnceLock<[Arc<Credentials>; 2]> = OnceLock::new();
    WORLD.get_or_init(|| {
        let root = std::env::temp_dir().join(format!("understudy-link-joint-{}", std::process::id()));
        let made = ["a", "b"].map(|node| keygen(&root.join(node), &name(node)).unwrap());
        std::fs::copy(&made[1].certificate, root.join("a/trust/b.crt")).unwrap();
        std::fs::copy(&made[0].certificate, root.join("b/trust/a.crt")).unwrap();
        let world = ["a", "b"].map(|node| Arc::new(Credentials::load(&root.join(node), &name(node)).unwrap()));
        std::fs::remove_dir_all(root).unwrap();
        world
    })
}

/// A stream's end.
#[derive(Default)]
struct Memory {
    arrived: VecDeque<u8>,
    ended: bool,
    left: VecDeque<u8>,
    room: usize,
}

impl Read for Memory {
    fn read(&mut self, space: &mut [u8]) -> io::Result<usize> {
        if self.arrived.is_empty() && !self.ended {
            return Err(io::ErrorKind::WouldBlock.into());
        }
        self.arrived.read(space)
    }
}

impl Write for Memory {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        let count = bytes.len().min(self.room);
        if count == 0 {
            return Err(io::ErrorKind::WouldBlock.into());
        }
        self.room -= count;
        self.left.extend(&bytes[..count]);
        Ok(count)
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

struct End {
    joint: Joint,
    stream: Memory,
    /// Frames as they stand on a wire that begins with each of them.
    sent: Vec<Vec<u8>>,
    got: Vec<Vec<u8>>,
    over: bool,
}

impl End {
    fn new(joint: Joint) -> Self {
        Self { joint, stream: Memory::default(), sent: Vec::new(), got: Vec::new(), over: false }
    }

    fn send(&mut self, bytes: usize) {
        let guest = GuestId::new(1).unwrap();
        // Before both have said who they are, an engine sends nothing, and the other end would take it for a wrong answer.
        let link = self.joint.link();
        if self.sent.len() >= SENT_MAX || !link.is_open() || !link.has_room(Lane::Offered(guest)) {
            return;
        }
        let batch = vec![bytes as u8; bytes];
        let frame = encode(&GuestFrame::PageBatch(&batch).of(guest)).unwrap();
        self.sent.push(frame.clone().seal(0));
        self.joint.link_mut().push(frame).unwrap();
    }

    /// Writes as far as there is room, and takes in what has arrived.
    fn turn(&mut self, room: usize) -> Result<(), ConnectionError> {
        self.stream.room = room;
        if self.over {
            return Ok(());
        }
        self.joint.flush(&mut self.stream)?;
        loop {
            let is_asked = match self.joint.next_event()? {
                Some(Event::Hello(_)) => true,
                Some(Event::Guest(number, frame)) => {
                    self.got.push(encode(&frame.of(number)).expect("what decodes fits").seal(0));
                    continue;
                }
                Some(Event::Ping) => {
                    self.joint.link_mut().push(encode(&LinkFrame::Pong.into())?)?;
                    continue;
                }
                Some(_) => continue,
                None => false,
            };
            if is_asked {
                self.joint.link_mut().agree(Identity { node: name("b"), instance: 2 })?;
                continue;
            }
            match self.joint.fill(&mut self.stream)? {
                Fill::Some | Fill::Last => {}
                Fill::Drained => return self.joint.flush(&mut self.stream),
                Fill::Ended => {
                    self.over = true;
                    return Ok(());
                }
            }
        }
    }
}

fuzz_target!(|input: &[u8]| {
    let [of_a, of_b] = world();
    let dialed = Link::dialed(Service::Node, Identity { node: name("a"), instance: 1 }, Time(0)).unwrap();
    let accepted = Link::accepted(Service::Node, Time(0));
    let mut ends = [
        End::new(Joint::new(dialed, Channel::dial(of_a.clone(), &name("b")).unwrap())),
        End::new(Joint::new(accepted, Channel::accept(of_b.clone()))),
    ];
    let (mut is_hurt, mut failed) = (false, false);
    for step in input.chunks_exact(2) {
        let (at, argument) = (usize::from(step[0] & 1), usize::from(step[1]));
        match step[0] >> 1 & 7 {
            0 | 1 => failed |= ends[at].turn(argument * 64).is_err(),
            2 | 3 => carry(&mut ends, at, argument * 128),
            4 => ends[at].send(argument * 300),
            5 => {
                let left = &mut ends[at].stream.left;
                if let Some(length) = std::num::NonZero::new(left.len()) {
                    left[argument % length] ^= 1 << (argument % 8);
                    is_hurt = true;
                }
            }
            6 => {
                ends[at].stream.left.extend(step.iter().cycle().take(argument));
                is_hurt = true;
            }
            _ => {
                ends[at].stream.ended = true;
                is_hurt = true;
            }
        }
        assert!(is_hurt || !failed, "nothing was changed on the way");
        judge(&ends);
        if failed {
            return;
        }
    }
    if is_hurt {
        return;
    }
    for _ in 0..1_000 {
        for at in 0..2 {
            ends[at].turn(usize::MAX).unwrap();
            carry(&mut ends, at, usize::MAX);
        }
    }
    judge(&ends);
    for at in 0..2 {
        assert_eq!(ends[1 - at].got.len(), ends[at].sent.len(), "all of it arrives");
    }
});

fn carry(ends: &mut [End; 2], from: usize, bytes: usize) {
    let left = &mut ends[from].stream.left;
    let count = left.len().min(bytes);
    let moved: Vec<u8> = left.drain(..count).collect();
    ends[1 - from].stream.arrived.extend(moved);
}

fn judge(ends: &[End; 2]) {
    for at in 0..2 {
        assert!(ends[at].sent.starts_with(&ends[1 - at].got), "what came is not what went");
    }
}
