//! The numbers of guests on one link, as each end gives them to those it runs, and what a frame is about by them. Bytes
//! and sockets are not in here: see [`line`](super::line).

use super::arrived::{Arrived, GuestName};
use super::outlet::Feed;
use crate::link::{Frame, GuestId, LinkError};
use std::collections::BTreeMap;

/// Guests that one end may offer on a link: far more than a host runs.
const GUESTS_MAX: usize = 1024;

/// Who is who on one link.
#[derive(Debug, Default)]
pub struct Numbers {
    /// Guests that run here.
    ours: BTreeMap<GuestId, (GuestName, Feed)>,
    /// Guests that run there.
    theirs: BTreeMap<GuestId, GuestName>,
}

impl Numbers {
    /// Gives a guest that runs here its number, and takes the feed of its epochs.
    pub fn offer(&mut self, guest: GuestName, feed: Feed) -> GuestId {
        let number = self.ours.last_key_value().map_or(1, |(number, _)| number.get() + 1);
        let number = GuestId::new(number).expect("counted from 1");
        // What an encode thread still has for an earlier offer of this guest goes nowhere.
        let earlier = self.ours.values().filter(|(name, _)| *name == guest);
        earlier.for_each(|(_, feed)| feed.close());
        self.ours.insert(number, (guest, feed));
        number
    }

    /// The number that the other end gave a guest.
    pub fn number_of(&self, guest: &GuestName) -> Option<GuestId> {
        // A guest that was offered again has its newest number.
        self.theirs.iter().rev().find(|(_, name)| *name == guest).map(|(number, _)| *number)
    }

    /// The feeds of guests that run here.
    pub fn feeds(&self) -> impl Iterator<Item = (GuestId, &Feed)> {
        self.ours.iter().map(|(number, (_, feed))| (*number, feed))
    }

    /// Finds the guest that a frame is about, and makes it the loop's own.
    pub fn sort(&mut self, frame: Frame<'_>) -> Result<(GuestName, Arrived), LinkError> {
        let unknown = |found| LinkError::Unexpected { expected: "a guest that was offered", found };
        let kind = frame.kind_name();
        let number = frame.guest().ok_or(unknown(kind))?;
        if let Frame::ToPrimary { message, .. } = frame {
            let (name, _) = self.ours.get(&number).ok_or(unknown(kind))?;
            return Ok((name.clone(), Arrived::ToPrimary(message)));
        }
        if let Frame::GuestOffer { name, description, .. } = frame {
            if self.theirs.len() >= GUESTS_MAX {
                return Err(LinkError::Unexpected { expected: "no further guest", found: kind });
            }
            let name = GuestName::from(name);
            self.theirs.insert(number, name.clone());
            return Ok((name, Arrived::Offer(description)));
        }
        let name = self.theirs.get(&number).ok_or(unknown(kind))?.clone();
        let what = match frame {
            Frame::ToSecondary { message, .. } => Arrived::ToSecondary(message),
            Frame::PageBatch { batch, .. } => Arrived::Pages(batch.to_vec()),
            Frame::LibxcState { records, .. } => Arrived::LibxcState(records.to_vec()),
            Frame::LibxlState { records, .. } => Arrived::LibxlState(records.to_vec()),
            Frame::EpochEnd { summary, .. } => Arrived::EpochEnd(summary),
            _ => return Err(unknown(kind)),
        };
        Ok((name, what))
    }
}

/// Encode threads that wait for this link go on.
impl Drop for Numbers {
    fn drop(&mut self) {
        self.feeds().for_each(|(_, feed)| feed.close());
    }
}
