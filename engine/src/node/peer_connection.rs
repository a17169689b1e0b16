//! One connection: who is at the other end, whether that end answers, and the guests on it.
//!
//! A link of version 2 is always read: a guest whose thread is busy blocks only its own sender
//! ([`numbers`](super::numbers)).

use super::link_event::LinkEvent;
use super::numbers::Numbers;
use crate::connection::{Connection, ConnectionError, Fill};
use std::collections::VecDeque;
use understudy_link::Event;
use understudy_link::{
    BULLETINS_SINCE, Encoded, Frame, GUEST_REFUSALS_SINCE, GuestFrame, Hello, Identity, Lane, LinkError,
    LinkFrame, encode,
};
use understudy_session::{NodeName, Span, Time};

/// How many bytes are read from one link before others, timers and guests have their turn.
const READ_BYTES: usize = 1 << 20;

/// How many frames are read from one link before others, timers and guests have their turn: small ones cost time as
/// well.
const READ_FRAMES: usize = 4096;

/// How far a lane is filled from its queue: enough to keep the socket busy until the next iteration, and little enough
/// that the last pages of a full sync, for whose ack output waits, arrive soon.
const LANE_FILL_BYTES: usize = 512 << 10;

/// How often a peer is pinged, which also measures the round trip.
pub(super) const PING_EVERY: Span = Span::from_ms(1_000);

/// A peer that has been pinged and silent for this long is gone. Guests notice much earlier; this is for links on which
/// no guest speaks.
const SILENCE_MAX: Span = Span::from_ms(10_000);

/// How long a peer's process that has a link may take to answer before another process of its name takes its place.
pub(super) const TWIN_WAIT: Span = Span::from_ms(1_000);

/// Who is at the other end.
#[derive(Clone, PartialEq, Eq, Debug)]
pub(super) enum Whose {
    /// Not known: no hello yet.
    Stranger,
    /// A node that was refused.
    Refused,
    /// Another process of a peer to which there is a link already. It waits until the first one was asked.
    Contending { hello: Hello, since: Time },
    /// A peer that this node dialled and that has not agreed yet.
    Dialed(NodeName),
    /// A peer with an open link.
    Open(NodeName),
    /// A peer beside its link, from whichever end.
    Spare(NodeName),
}

/// The result of reading.
#[derive(Debug)]
pub(super) enum Read {
    /// Nothing more for now.
    Drained,
    /// There may be more, but it is others' turn.
    More,
    /// A stranger has sent its hello.
    Hello(Hello),
    /// The dialled peer has agreed.
    Agreed(Identity),
    /// The peer has closed, or said goodbye.
    Ended,
}

#[derive(Debug)]
pub(super) struct PeerConnection {
    pub(super) connection: Connection,
    pub(super) whose: Whose,
    /// Whether reading is stopped; only on a link of version 1, which has no windows.
    pub(super) blocked: bool,
    /// When anything last arrived.
    pub(super) heard_at: Time,
    /// When the socket was connected, if it is.
    connected_at: Option<Time>,
    /// Whether anything has arrived since this was last asked.
    has_heard: bool,
    ping_every: Span,
    pinged_at: Option<Time>,
    /// When a ping was last answered.
    pub(super) ponged_at: Option<Time>,
    next_ping_at: Time,
    /// The round trip, once measured, until it is taken.
    round_trip: Option<Span>,
    /// The peer is to be told how this node stands.
    owes_bulletin: bool,
    pub(super) numbers: Numbers,
    /// An error that ended it at a moment when no result could be returned.
    broken: Option<ConnectionError>,
    /// The peer has closed its end: what is left is read up to that.
    pub(super) is_ending: bool,
}

impl PeerConnection {
    pub(super) fn new(connection: Connection, whose: Whose, now: Time) -> Self {
        Self {
            connection,
            whose,
            blocked: false,
            heard_at: now,
            connected_at: None,
            has_heard: false,
            ping_every: PING_EVERY,
            pinged_at: None,
            ponged_at: None,
            next_ping_at: now,
            round_trip: None,
            owes_bulletin: false,
            numbers: Numbers::default(),
            broken: None,
            is_ending: false,
        }
    }

    /// Whether the peer speaks version 2: refusals for single guests, windows, pings.
    pub(super) fn has_windows(&self) -> bool {
        self.connection.version() >= GUEST_REFUSALS_SINCE
    }

    /// Both ends agreed: this is the link to `peer`.
    pub(super) fn opened(&mut self, peer: NodeName, now: Time) {
        self.whose = Whose::Open(peer);
        self.numbers.use_windows(self.has_windows());
        self.ping(now);
    }

    /// Both ends agreed: this is beside the link, and is pinged this often.
    pub(super) fn opened_as_spare(&mut self, peer: NodeName, ping_every: Span, now: Time) {
        self.whose = Whose::Spare(peer);
        self.ping_every = ping_every;
        self.ping(now);
    }

    /// Whether anything has arrived since the last call.
    pub(super) fn take_heard(&mut self) -> bool {
        std::mem::take(&mut self.has_heard)
    }

    pub(super) fn push(&mut self, frame: Encoded) {
        if let Err(error) = self.connection.push(frame) {
            self.broken.get_or_insert(error);
        }
    }

    pub(super) fn send(&mut self, frame: &Frame<'_>) {
        match encode(frame) {
            Ok(encoded) => self.push(encoded),
            Err(error) => self.broken = Some(error.into()),
        }
    }

    /// Pings the peer.
    pub(super) fn ping(&mut self, now: Time) {
        if self.connection.is_open() && self.has_windows() && self.pinged_at.is_none() {
            self.pinged_at = Some(now);
            self.next_ping_at = now + self.ping_every;
            self.send(&LinkFrame::Ping.into());
            self.owe_bulletin();
        }
    }

    /// Has the peer be told how this node stands, if it hears that.
    pub(super) fn owe_bulletin(&mut self) {
        let is_link = matches!(self.whose, Whose::Open(_)) && self.connection.is_open();
        self.owes_bulletin = is_link && self.connection.version() >= BULLETINS_SINCE;
    }

    /// Whether the peer is to be told; from now on it is not.
    pub(super) fn take_owed_bulletin(&mut self) -> bool {
        std::mem::take(&mut self.owes_bulletin)
    }

    pub(super) fn is_bulletin_owed(&self) -> bool {
        self.owes_bulletin
    }

    /// When [`run_timers`](Self::run_timers) has something to do.
    pub(super) fn next_timeout(&self) -> Option<Time> {
        if let Some(deadline) = self.connection.deadline() {
            return Some(deadline);
        }
        let asked = self.pinged_at.map(|_| self.heard_at + SILENCE_MAX);
        self.has_windows().then(|| asked.unwrap_or(self.next_ping_at))
    }

    /// Pings a peer again if that is due. An error if a hello, or the answer of a pinged peer, takes too long.
    pub(super) fn run_timers(&mut self, now: Time) -> Result<(), ConnectionError> {
        self.connection.check_timeout(now)?;
        if self.pinged_at.is_some() && self.heard_at + SILENCE_MAX <= now {
            return Err(LinkError::Silent.into());
        }
        if self.next_ping_at <= now {
            self.ping(now);
        }
        Ok(())
    }

    /// The round trip, if it was measured since the last call.
    pub(super) fn take_round_trip(&mut self) -> Option<Span> {
        self.round_trip.take()
    }

    /// Reads frames about guests into `events`, until nothing is left, the turn is over, or something else has to be
    /// decided first.
    pub(super) fn read(
        &mut self,
        events: &mut VecDeque<LinkEvent>,
        now: Time,
    ) -> Result<Read, ConnectionError> {
        let (mut bytes, mut frames, mut is_last) = (0, 0, false);
        loop {
            while let Some(event) = self.connection.next_event()? {
                self.heard_at = now;
                self.has_heard = true;
                let (number, frame) = match event {
                    Event::Hello(hello) => return Ok(Read::Hello(hello)),
                    Event::Up(identity) => {
                        // A pinged peer answers at once, so this is the time of the way.
                        self.round_trip = self.connected_at.map(|at| now - at);
                        return Ok(Read::Agreed(identity));
                    }
                    Event::Bye => return Ok(Read::Ended),
                    Event::Ping => {
                        self.connection.push(encode(&LinkFrame::Pong.into())?)?;
                        continue;
                    }
                    Event::Pong => {
                        self.round_trip = self.pinged_at.take().map(|at| now - at);
                        self.ponged_at = Some(now);
                        continue;
                    }
                    Event::Bulletin(said) => {
                        if let Whose::Open(peer) = &self.whose {
                            bytes += said.len();
                            events.push_back(LinkEvent::Bulletin { peer: peer.clone(), said });
                        }
                        if bytes >= READ_BYTES {
                            return Ok(Read::More);
                        }
                        continue;
                    }
                    Event::FactsWanted => {
                        if let Whose::Open(peer) = &self.whose {
                            events.push_back(LinkEvent::FactsWanted { peer: peer.clone() });
                        }
                        continue;
                    }
                    Event::Facts(facts) => {
                        if let Whose::Open(peer) = &self.whose {
                            events.push_back(LinkEvent::Facts { peer: peer.clone(), facts });
                        }
                        return Ok(Read::More);
                    }
                    Event::Guest(number, frame) => (number, frame),
                    Event::Witness(frame) => {
                        let found = frame.kind_name();
                        return Err(LinkError::Unexpected { expected: "a frame about a guest", found }.into());
                    }
                };
                let Whose::Open(peer) = &self.whose else {
                    continue;
                };
                if let Some((guest, what)) = self.numbers.sort(number, frame)? {
                    bytes += what.len_bytes();
                    events.push_back(LinkEvent::Arrived { peer: peer.clone(), guest, what });
                }
                frames += 1;
                if bytes >= READ_BYTES || frames >= READ_FRAMES {
                    return Ok(Read::More);
                }
            }
            if is_last && !self.is_ending {
                return Ok(Read::Drained);
            }
            match self.connection.fill()? {
                Fill::Some => {}
                Fill::Last => is_last = true,
                Fill::Drained => return Ok(Read::Drained),
                Fill::Ended => return Ok(Read::Ended),
            }
        }
    }

    /// Fills lanes from send queues and writes, until the socket takes no more or nothing is left.
    pub(super) fn flush(&mut self, now: Time) -> Result<(), ConnectionError> {
        if let Some(error) = self.broken.take() {
            return Err(error);
        }
        for (guest, through_bytes) in self.numbers.next_windows() {
            self.connection.push(encode(&GuestFrame::Window { through_bytes }.of(guest))?)?;
        }
        loop {
            let mut fed = false;
            for (number, ours) in self.numbers.ours_mut() {
                while self.connection.outbox().queued_bytes(Lane::Offered(number)) < LANE_FILL_BYTES
                    && let Some(frame) = ours.next_frame()
                {
                    self.connection.push(frame)?;
                    fed = true;
                }
            }
            self.connection.flush()?;
            if self.connected_at.is_none() && self.connection.is_connected() {
                self.connected_at = Some(now);
            }
            if !fed || !self.connection.outbox().is_empty() {
                return Ok(());
            }
        }
    }
}
