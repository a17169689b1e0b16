//! One connection with what belongs to it: whose it is, the numbers of guests on it, the feeds of encode threads.

use super::arrived::{Arrived, GuestName};
use super::links::LinkEvent;
use super::outlet::Feed;
use crate::link::{
    Connection, ConnectionError, Encoded, Event, Fill, Frame, GuestId, Hello, Identity, Lane, LinkError,
};
use crate::session::NodeName;
use std::collections::{BTreeMap, VecDeque};

/// Bytes read from one link before others, timers and guests have their turn.
const READ_BYTES: usize = 1 << 20;

/// A lane is filled from its feed up to this: enough to keep the socket busy from one turn to the next, little
/// enough that the last pages of a full copy, for whose ack output waits, are not long under way.
const LANE_FILL_BYTES: usize = 512 << 10;

/// Guests that one end may offer on a link: far more than a host runs.
const GUESTS_MAX: usize = 1024;

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
    /// Guests that run here.
    ours: BTreeMap<GuestId, (GuestName, Feed)>,
    /// Guests that run there.
    theirs: BTreeMap<GuestId, GuestName>,
    /// What ended it while no result could be given.
    broken: Option<ConnectionError>,
}

impl Line {
    pub(super) fn new(connection: Connection, whose: Whose) -> Self {
        let (ours, theirs) = (BTreeMap::new(), BTreeMap::new());
        Self { connection, whose, blocked: false, ours, theirs, broken: None }
    }

    pub(super) fn offer(&mut self, guest: GuestName, feed: Feed) -> GuestId {
        let number = self.ours.last_key_value().map_or(1, |(number, _)| number.get() + 1);
        let number = GuestId::new(number).expect("counted from 1");
        // What an encode thread still has for an earlier offer of this guest goes nowhere.
        let earlier = self.ours.values().filter(|(name, _)| *name == guest);
        earlier.for_each(|(_, feed)| feed.close());
        self.ours.insert(number, (guest, feed));
        number
    }

    pub(super) fn number_of(&self, guest: &GuestName) -> Option<GuestId> {
        // A guest that was offered again has its newest number.
        self.theirs.iter().rev().find(|(_, name)| *name == guest).map(|(number, _)| *number)
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
                let (guest, what) = sort(frame, &self.ours, &mut self.theirs)?;
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
            for (number, (_, feed)) in &self.ours {
                while self.connection.outbox().queued_bytes(Lane::Offered(*number)) < LANE_FILL_BYTES
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

/// Encode threads that wait for this connection go on.
impl Drop for Line {
    fn drop(&mut self) {
        self.ours.values().for_each(|(_, feed)| feed.close());
    }
}

/// Finds the guest that a frame is about, and makes it the loop's own.
fn sort(
    frame: Frame<'_>,
    ours: &BTreeMap<GuestId, (GuestName, Feed)>,
    theirs: &mut BTreeMap<GuestId, GuestName>,
) -> Result<(GuestName, Arrived), ConnectionError> {
    let unknown = |found| LinkError::Unexpected { expected: "a guest that was offered", found };
    let kind = frame.kind_name();
    let number = frame.guest().ok_or(unknown(kind))?;
    if let Frame::ToPrimary { message, .. } = frame {
        let (name, _) = ours.get(&number).ok_or(unknown(kind))?;
        return Ok((name.clone(), Arrived::ToPrimary(message)));
    }
    if let Frame::GuestOffer { name, description, .. } = frame {
        if theirs.len() >= GUESTS_MAX {
            return Err(LinkError::Unexpected { expected: "no further guest", found: kind }.into());
        }
        let name = GuestName::from(name);
        theirs.insert(number, name.clone());
        return Ok((name, Arrived::Offer(description)));
    }
    let name = theirs.get(&number).ok_or(unknown(kind))?.clone();
    let what = match frame {
        Frame::ToSecondary { message, .. } => Arrived::ToSecondary(message),
        Frame::PageBatch { batch, .. } => Arrived::Pages(batch.to_vec()),
        Frame::LibxcState { records, .. } => Arrived::LibxcState(records.to_vec()),
        Frame::LibxlState { records, .. } => Arrived::LibxlState(records.to_vec()),
        Frame::EpochEnd { summary, .. } => Arrived::EpochEnd(summary),
        _ => return Err(unknown(kind).into()),
    };
    Ok((name, what))
}
