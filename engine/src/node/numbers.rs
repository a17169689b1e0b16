//! The numbers of guests on one link. Each end numbers the guests that it runs. The numbers tell which guest a frame is
//! about, and windows limit the bytes under way for each.
//!
//! ```text
//!   ours     queue ── while sent < window ──► lane ──► socket        window ◄── Window frames
//!   theirs   socket ──► Parcel ──► the guest's thread ── dropped ──► taken ──► Window frames
//! ```
//!
//! Not here: bytes and sockets ([`peer_connection`](super::peer_connection)).

use super::epoch_sender::SendQueue;
use super::inbound::{GuestName, Inbound, Parcel, Taken};
use std::collections::BTreeMap;
use understudy_checkpoint::epoch::{EpochEnd, EpochPart, WritesEnd};
use understudy_link::{Encoded, GuestFrame, GuestId, LinkError, WINDOW_BYTES};

/// The most guests that one end may offer on a link: far more than a host runs.
pub(super) const GUESTS_MAX: usize = 1024;

/// A guest that runs here.
#[derive(Debug)]
pub struct Ours {
    name: GuestName,
    queue: SendQueue,
    sent_bytes: u64,
    /// Frames are sent while `sent_bytes` is below this.
    through_bytes: u64,
}

/// A guest that runs at the other end.
#[derive(Debug)]
struct Theirs {
    name: GuestName,
    received_bytes: u64,
    /// The announced window: frames are accepted while `received_bytes` is below this.
    through_bytes: u64,
    taken: Taken,
}

impl Ours {
    /// The next frame of the guest's epochs, as far as its window reaches.
    pub fn next_frame(&mut self) -> Option<Encoded> {
        let frame = (self.sent_bytes < self.through_bytes).then(|| self.queue.pop()).flatten()?;
        self.sent_bytes += frame.len_bytes() as u64;
        Some(frame)
    }
}

impl Theirs {
    fn new(name: GuestName) -> Self {
        Self { name, received_bytes: 0, through_bytes: WINDOW_BYTES, taken: Taken::default() }
    }

    /// The window to announce, once half of the previous one is used up.
    fn next_window(&mut self) -> Option<u64> {
        let through = self.taken.bytes() + WINDOW_BYTES;
        if through < self.through_bytes + WINDOW_BYTES / 2 {
            return None;
        }
        self.through_bytes = through;
        Some(through)
    }
}

/// The numbers of all guests on one link.
#[derive(Debug, Default)]
pub struct Numbers {
    has_windows: bool,
    ours: BTreeMap<GuestId, Ours>,
    theirs: BTreeMap<GuestId, Theirs>,
}

impl Numbers {
    /// Sets whether the link's version has windows. Call this first.
    pub fn use_windows(&mut self, has_windows: bool) {
        self.has_windows = has_windows;
    }

    /// Numbers a guest that runs here, and takes the queue of its epochs. The number is the same whenever the guest is
    /// offered on this link.
    pub fn offer(&mut self, guest: GuestName, queue: SendQueue) -> GuestId {
        if let Some((number, ours)) = self.ours.iter_mut().find(|(_, ours)| ours.name == guest) {
            // The encode thread's frames for an earlier offer of this guest are dropped.
            ours.queue.close();
            ours.queue = queue;
            return *number;
        }
        let number = self.ours.last_key_value().map_or(1, |(number, _)| number.get() + 1);
        let number = GuestId::new(number).expect("counted from 1");
        let through_bytes = if self.has_windows { WINDOW_BYTES } else { u64::MAX };
        self.ours.insert(number, Ours { name: guest, queue, sent_bytes: 0, through_bytes });
        number
    }

    /// The number that the other end gave a guest.
    pub fn number_of(&self, guest: &GuestName) -> Option<GuestId> {
        // A guest that was offered under two numbers has the newest.
        self.theirs.iter().rev().find(|(_, theirs)| theirs.name == *guest).map(|(number, _)| *number)
    }

    /// The guest to which the other end gave this number.
    pub fn name_of(&self, number: GuestId) -> Option<&GuestName> {
        self.theirs.get(&number).map(|theirs| &theirs.name)
    }

    pub fn ours_mut(&mut self) -> impl Iterator<Item = (GuestId, &mut Ours)> {
        self.ours.iter_mut().map(|(number, ours)| (*number, ours))
    }

    /// The windows to announce to the other end.
    pub fn next_windows(&mut self) -> Vec<(GuestId, u64)> {
        if !self.has_windows {
            return Vec::new();
        }
        self.theirs.iter_mut().filter_map(|(number, theirs)| Some((*number, theirs.next_window()?))).collect()
    }

    /// Finds the guest that a frame is about, and copies the frame into the loop's own memory. `None`: the frame was
    /// for the sender of an epoch.
    pub fn sort(
        &mut self,
        number: GuestId,
        frame: GuestFrame<'_>,
    ) -> Result<Option<(GuestName, Inbound)>, LinkError> {
        let kind = frame.kind_name();
        let unknown = || LinkError::Unexpected { expected: "a guest that was offered", found: kind };
        let what = match frame {
            GuestFrame::Offer { name, generation, description } => {
                return Ok(Some((self.offered(number, name)?, Inbound::Offer(generation, description))));
            }
            GuestFrame::Window { through_bytes } => {
                let ours = self.ours.get_mut(&number).ok_or_else(unknown)?;
                ours.through_bytes = ours.through_bytes.max(through_bytes);
                return Ok(None);
            }
            GuestFrame::ToPrimary(message) => Inbound::ToPrimary(message),
            GuestFrame::HoldDeclined(refusal) => Inbound::Declined(refusal),
            GuestFrame::HoldReady => Inbound::Ready,
            GuestFrame::DiskSay { generation, epoch, say } => {
                Inbound::DiskSay { generation, epoch, say: say.to_vec() }
            }
            GuestFrame::Packets(packets) => {
                let name = if packets.is_of_holder() {
                    self.ours.get(&number).map(|ours| &ours.name)
                } else {
                    self.name_of(number)
                };
                let name = name.ok_or_else(unknown)?.clone();
                return Ok(Some((name, Inbound::Packets(packets.into()))));
            }
            frame => return self.of_theirs(number, frame).map(Some),
        };
        let ours = self.ours.get(&number).ok_or_else(unknown)?;
        Ok(Some((ours.name.clone(), what)))
    }

    /// A frame from a guest that runs at the other end.
    fn of_theirs(
        &mut self,
        number: GuestId,
        frame: GuestFrame<'_>,
    ) -> Result<(GuestName, Inbound), LinkError> {
        let kind = frame.kind_name();
        let unknown = || LinkError::Unexpected { expected: "a guest that was offered", found: kind };
        let theirs = self.theirs.get_mut(&number).ok_or_else(unknown)?;
        let counted = frame.window_bytes().unwrap_or(0);
        if self.has_windows && counted > 0 && theirs.received_bytes >= theirs.through_bytes {
            return Err(LinkError::Unexpected { expected: "a wait for a window", found: kind });
        }
        theirs.received_bytes += counted;
        let credit = theirs.taken.credit(counted);
        let name = theirs.name.clone();
        let part = match frame {
            GuestFrame::ToSecondary(message) => return Ok((name, Inbound::ToSecondary(message))),
            GuestFrame::NeedsFencing => return Ok((name, Inbound::NeedsFencing)),
            GuestFrame::PageBatch(batch) => EpochPart::Pages(batch),
            GuestFrame::LibxcState(records) => EpochPart::LibxcState(records),
            GuestFrame::LibxlState(records) => EpochPart::LibxlState(records),
            GuestFrame::DiskWrites { generation, tag, batch } => EpochPart::Writes { generation, tag, batch },
            GuestFrame::DiskEnd { generation, epoch, summary } => {
                EpochPart::WritesEnd(WritesEnd { generation, epoch, summary })
            }
            GuestFrame::DiskAsk { generation, epoch, ask } => EpochPart::Ask { generation, epoch, ask },
            GuestFrame::EpochEnd { generation, epoch, summary } => {
                EpochPart::End(EpochEnd { generation, epoch, summary })
            }
            _ => return Err(unknown()),
        };
        // The only copy on the way from the socket to the decoder: it frees the connection's buffer at once.
        Ok((name, Inbound::Part(part.map(|bytes| Parcel::new(bytes.to_vec(), credit)))))
    }

    /// Records the number that the other end gives a guest. A number stays with its name.
    fn offered(&mut self, number: GuestId, name: &str) -> Result<GuestName, LinkError> {
        let unexpected = |expected| LinkError::Unexpected { expected, found: "a guest's offer" };
        match self.theirs.get(&number) {
            Some(known) if *known.name == *name => return Ok(known.name.clone()),
            Some(_) => return Err(unexpected("a number of its own")),
            None if self.theirs.len() >= GUESTS_MAX => return Err(unexpected("no further guest")),
            None => {}
        }
        let name = GuestName::from(name);
        self.theirs.insert(number, Theirs::new(name.clone()));
        Ok(name)
    }
}

/// Lets encode threads go on that wait for this link.
impl Drop for Numbers {
    fn drop(&mut self) {
        self.ours.values().for_each(|ours| ours.queue.close());
    }
}

#[cfg(test)]
mod tests {
    use super::super::inbound::GuestPackets;
    use super::*;
    use understudy_checkpoint::domain::{Description, GuestKind};
    use understudy_checkpoint::{Epoch, Generation};
    use understudy_link::{PacketFrame, PacketList};

    fn number(number: u32) -> GuestId {
        GuestId::new(number).unwrap()
    }

    fn offer(name: &str) -> GuestFrame<'_> {
        let description = Description {
            kind: GuestKind::Pvh,
            page_count: 1,
            libxc_version: 3,
            xen_version: (4, 17),
            config: Vec::new(),
            static_records: Vec::new(),
            disks_bytes: Vec::new(),
        };
        GuestFrame::Offer { name, generation: None, description: Box::new(description) }
    }

    fn numbers() -> Numbers {
        let mut numbers = Numbers::default();
        numbers.use_windows(true);
        numbers.sort(number(1), offer("g1")).unwrap();
        numbers.sort(number(2), offer("g2")).unwrap();
        numbers
    }

    #[test]
    fn a_guest_that_takes_nothing_in_stops_its_own_sender_and_nobody_else() {
        let (mut numbers, pages) = (numbers(), vec![0; 1 << 20]);
        let mut kept = Vec::new();
        let refused = loop {
            match numbers.sort(number(1), GuestFrame::PageBatch(&pages)) {
                Ok(arrived) => kept.push(arrived),
                Err(error) => break error,
            }
        };
        assert_eq!(kept.len() as u64, WINDOW_BYTES >> 20);
        assert!(matches!(refused, LinkError::Unexpected { .. }));
        assert!(numbers.next_windows().is_empty(), "nothing was taken in");
        // The other guest has a window of its own.
        drop(numbers.sort(number(2), GuestFrame::PageBatch(&pages)).unwrap());
        // Bytes that are processed or dropped free the window, which is announced in few frames.
        kept.truncate(kept.len() / 2 + 1);
        assert!(numbers.next_windows().is_empty(), "less than half");
        kept.truncate(kept.len() / 2 - 1);
        let windows = numbers.next_windows();
        assert_eq!(windows.len(), 1);
        assert_eq!(windows[0].0, number(1));
        assert!(numbers.sort(number(1), GuestFrame::PageBatch(&pages)).is_ok());
        assert!(numbers.next_windows().is_empty(), "said once");
    }

    #[test]
    fn a_number_stays_with_its_name_and_offers_are_bounded() {
        let mut numbers = numbers();
        assert!(numbers.sort(number(1), offer("g1")).is_ok(), "offered again");
        assert!(numbers.sort(number(1), offer("g3")).is_err());
        let taken =
            (3..5_000).take_while(|guest| numbers.sort(number(*guest), offer(&format!("n{guest}"))).is_ok());
        assert_eq!(taken.count(), GUESTS_MAX - 2);
        assert!(numbers.sort(number(4_999), GuestFrame::PageBatch(&[])).is_err(), "nobody offered that");
    }

    #[test]
    fn packets_are_of_the_guest_that_their_sender_offers_or_holds() {
        let mut numbers = numbers();
        let (generation, base) = (Generation(1), Epoch(1));
        let released = GuestFrame::Packets(PacketFrame::Released { generation, base, through: 3 });
        let (name, what) = numbers.sort(number(2), released.clone()).unwrap().unwrap();
        assert!(matches!(what, Inbound::Packets(GuestPackets::Released { through: 3, .. })));
        assert_eq!(&*name, "g2");
        assert!(numbers.sort(number(3), released).is_err(), "nobody offered that");
        let mut list = PacketList::default();
        list.push(b"said").unwrap();
        let packets = list.packets().unwrap();
        let output = GuestFrame::Packets(PacketFrame::Output { generation, base, first: 0, packets });
        assert!(numbers.sort(number(2), output).is_err(), "that is a number of theirs");
    }
}
