//! One connection with what belongs to it: whose it is, and the numbers of guests on it.

use super::links::LinkEvent;
use super::numbers::Numbers;
use crate::link::{Connection, ConnectionError, Encoded, Event, Fill, Hello, Identity, Lane};
use crate::session::NodeName;
use std::collections::VecDeque;

/// Bytes read from one link before others, timers and guests have their turn.
const READ_BYTES: usize = 1 << 20;

/// A lane is filled from its feed up to this: enough to keep the socket busy from one turn to the next, little
/// enough that the last pages of a full copy, for whose ack output waits, are not long under way.
const LANE_FILL_BYTES: usize = 512 << 10;

/// Whose connection it is.
#[derive(Clone, PartialEq, Eq, Debug)]
pub(super) enum Whose {
    /// It has not said.
    Stranger,
    /// It was told that it is not wanted.
    Refused,
    /// This node connected to a peer that has not agreed yet.
    Dialed(NodeName),
    /// The link to this peer.
    Open(NodeName),
}

/// What came of reading.
#[derive(Debug)]
pub(super) enum Read {
    /// Nothing more for now.
    Drained,
    /// There may be more: it is others' turn.
    More,
    /// A stranger says hello.
    Hello(Hello),
    /// The dialled peer agreed.
    Agreed(Identity),
    /// The peer has closed, or said goodbye.
    Ended,
}

#[derive(Debug)]
pub(super) struct Line {
    pub(super) connection: Connection,
    pub(super) whose: Whose,
    pub(super) blocked: bool,
    pub(super) numbers: Numbers,
    /// What ended it while no result could be given.
    broken: Option<ConnectionError>,
}

impl Line {
    pub(super) fn new(connection: Connection, whose: Whose) -> Self {
        Self { connection, whose, blocked: false, numbers: Numbers::default(), broken: None }
    }

    pub(super) fn push(&mut self, frame: Encoded) {
        if let Err(error) = self.connection.push(frame) {
            self.broken.get_or_insert(error);
        }
    }

    /// Reads frames about guests into `events` until nothing more came, enough came, or something else has to
    /// be decided first.
    pub(super) fn read(&mut self, events: &mut VecDeque<LinkEvent>) -> Result<Read, ConnectionError> {
        let mut bytes = 0;
        loop {
            while let Some(event) = self.connection.next_event()? {
                let frame = match event {
                    Event::Hello(hello) => return Ok(Read::Hello(hello)),
                    Event::Up(identity) => return Ok(Read::Agreed(identity)),
                    Event::Bye => return Ok(Read::Ended),
                    Event::Frame(frame) => frame,
                };
                let Whose::Open(peer) = &self.whose else {
                    continue;
                };
                let (guest, what) = self.numbers.sort(frame)?;
                bytes += what.len_bytes();
                events.push_back(LinkEvent::Arrived { peer: peer.clone(), guest, what });
                if bytes >= READ_BYTES {
                    return Ok(Read::More);
                }
            }
            match self.connection.fill()? {
                Fill::Some => {}
                Fill::Drained => return Ok(Read::Drained),
                Fill::Ended => return Ok(Read::Ended),
            }
        }
    }

    /// Fills lanes from feeds and writes, until the socket takes no more or nothing is left.
    pub(super) fn flush(&mut self) -> Result<(), ConnectionError> {
        if let Some(error) = self.broken.take() {
            return Err(error);
        }
        loop {
            let mut fed = false;
            for (number, feed) in self.numbers.feeds() {
                while self.connection.outbox().queued_bytes(Lane::Offered(number)) < LANE_FILL_BYTES
                    && let Some(frame) = feed.pop()
                {
                    self.connection.push(frame)?;
                    fed = true;
                }
            }
            self.connection.flush()?;
            if !fed || !self.connection.outbox().is_empty() {
                return Ok(());
            }
        }
    }
}
