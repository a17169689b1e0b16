//! The surroundings of a simulated engine: one link, one witness, virtual time. Frames are encoded and decoded by the
//! engine's own code. What the engine sends in an iteration is collected and delivered at its end, in order.

use super::GuestId;
use super::frame::Frame as GuestsFrame;
use super::mutant::Mutant;
use super::names::{guest_of, name};
use super::settings::Settings;
use std::collections::VecDeque;
use understudy::guest::LoopWaker;
use understudy::node::{Context, GuestName, Inbound, Numbers, SendQueue, Silence};
use understudy_checkpoint::domain::Description;
use understudy_checkpoint::{Epoch, Generation};
use understudy_link::{Decoder, Encoded, Frame, GuestFrame, GuestId as Number, Lane, PacketFrame, encode};
use understudy_session::lease::LeaseRequest;
use understudy_session::{Decline, NodeName, Time, ToPrimary, WitnessRequest};

/// A message that the engine sent in an iteration.
#[derive(Debug)]
pub(super) enum Said {
    /// An encoded frame for the link.
    Frame(Vec<u8>),
    /// The engine has closed the link.
    CloseLink,
    /// A request to the witness.
    Ask(GuestId, WitnessRequest),
    /// A request to the witness about the lease of a host.
    AskLease(NodeName, LeaseRequest),
    /// Records that the frames before tell that a copy has sent these.
    Told(GuestId, Generation, Epoch, Vec<GuestsFrame>),
    /// Records that the frames before contain this ack.
    Ack(GuestId, Generation, Epoch),
}

/// The `Context` of one engine.
#[derive(Debug)]
pub(super) struct SimContext {
    pub(super) now: Time,
    host: usize,
    mutant: Option<Mutant>,
    link: Option<SimLink>,
    pub(super) witness_up: bool,
    pub(super) said: Vec<Said>,
    /// The engine has closed the link in this iteration and must be informed.
    pub(super) closed: bool,
}

/// One end of a connection.
#[derive(Debug)]
struct SimLink {
    numbers: Numbers,
    decoder: Decoder,
    sequence: u32,
    heard_at: Time,
    /// Frames that have arrived and were not handled yet.
    inbox: VecDeque<Vec<u8>>,
}

impl SimContext {
    pub(super) fn new(host: usize, mutant: Option<Mutant>) -> Self {
        let said = Vec::new();
        Self { now: Time(0), host, mutant, link: None, witness_up: false, said, closed: false }
    }

    /// Establishes a new connection.
    pub(super) fn connect(&mut self) {
        let mut decoder = Decoder::new();
        decoder.allow_long_frames();
        let mut numbers = Numbers::default();
        numbers.use_windows(true);
        let (heard_at, inbox) = (self.now, VecDeque::new());
        self.link = Some(SimLink { numbers, decoder, sequence: 0, heard_at, inbox });
    }

    /// Ends the connection. Returns whether there was one.
    pub(super) fn disconnect(&mut self) -> bool {
        self.link.take().is_some()
    }

    /// Adds an arrived frame.
    pub(super) fn receive(&mut self, bytes: Vec<u8>) {
        if let Some(line) = &mut self.link {
            line.heard_at = self.now;
            line.inbox.push_back(bytes);
        }
    }

    /// The next arrived frame that may be handled. A frame that cannot be decoded ends the connection.
    pub(super) fn next_arrived(&mut self) -> Option<(GuestName, Inbound)> {
        loop {
            if let Some(arrived) = self.take_frame()? {
                return Some(arrived);
            }
        }
    }

    /// `None`: there is no frame. `Some(None)`: the frame concerned the link itself.
    fn take_frame(&mut self) -> Option<Option<(GuestName, Inbound)>> {
        let line = self.link.as_mut()?;
        let bytes = line.inbox.pop_front()?;
        let mut rest = &bytes[..];
        while !rest.is_empty() {
            let space = line.decoder.space().expect("a line of the simulator has memory");
            let count = space.len().min(rest.len());
            space[..count].copy_from_slice(&rest[..count]);
            line.decoder.filled(count);
            rest = &rest[count..];
        }
        let sorted = match line.decoder.next_frame() {
            Ok(Some(Frame::Guest(number, frame))) => line.numbers.sort(number, frame).ok(),
            Ok(_) | Err(_) => None,
        };
        if sorted.is_none() {
            self.close_link(&name(1 - self.host), "what came cannot be read");
        }
        sorted
    }

    /// Moves what the encoders have queued to the link.
    pub(super) fn drain_send_queues(&mut self) {
        let Some(line) = &mut self.link else { return };
        let windows = line.numbers.next_windows();
        let mut frames = Vec::new();
        for (_, ours) in line.numbers.ours_mut() {
            frames.extend(std::iter::from_fn(|| ours.next_frame()));
        }
        frames.into_iter().for_each(|frame| self.put(frame));
        for (guest, through_bytes) in windows {
            self.put_frame(&GuestFrame::Window { through_bytes }.of(guest));
        }
    }

    fn put_frame(&mut self, frame: &Frame<'_>) {
        self.put(encode(frame).expect("frames of the simulator fit the link"));
    }

    fn put(&mut self, frame: Encoded) {
        if let Some(line) = &mut self.link {
            self.said.push(Said::Frame(frame.seal(line.sequence)));
            line.sequence = line.sequence.wrapping_add(1);
        }
    }

    /// For mutants: a secondary that has begun a takeover keeps acking; whatever has arrived is acked.
    fn wronged(&self, message: ToPrimary) -> ToPrimary {
        match message {
            ToPrimary::Declined { generation, epoch: Some(epoch), why: Decline::TakingOver }
                if self.mutant == Some(Mutant::AckAfterTakeover) =>
            {
                ToPrimary::Ack { generation, epoch }
            }
            ToPrimary::Declined {
                generation,
                epoch: Some(epoch),
                why: Decline::Damaged | Decline::WrongBase,
            } if self.mutant == Some(Mutant::AckBeforeDecode) => ToPrimary::Ack { generation, epoch },
            message => message,
        }
    }
}

impl Context for SimContext {
    fn now(&self) -> Time {
        self.now
    }

    fn monotonic_ns(&self, time: Time) -> u64 {
        time.0
    }

    fn is_link_up(&self, _peer: &NodeName) -> bool {
        self.link.is_some()
    }

    fn link_version(&self, _peer: &NodeName) -> Option<u16> {
        self.link.as_ref().map(|_| *understudy_link::VERSIONS.end())
    }

    fn offer(
        &mut self,
        peer: &NodeName,
        guest: &GuestName,
        generation: Generation,
        description: &Description,
    ) -> Option<(Number, SendQueue)> {
        let queue = SendQueue::new(LoopWaker::silent());
        let number = self.link.as_mut()?.numbers.offer(guest.clone(), queue.clone());
        let description = Box::new(description.clone());
        self.send(
            peer,
            &GuestFrame::Offer { name: guest, generation: Some(generation), description }.of(number),
        );
        Some((number, queue))
    }

    fn number_of(&self, _peer: &NodeName, guest: &GuestName) -> Option<Number> {
        self.link.as_ref()?.numbers.number_of(guest)
    }

    fn send(&mut self, _peer: &NodeName, frame: &Frame<'_>) {
        if let Frame::Guest(guest, GuestFrame::ToPrimary(message)) = frame {
            let message = self.wronged(message.clone());
            if let ToPrimary::Ack { generation, epoch } = message
                && let Some(name) = self.link.as_ref().and_then(|line| line.numbers.name_of(*guest))
            {
                self.said.push(Said::Ack(guest_of(name), generation, epoch));
            }
            return self.put_frame(&GuestFrame::ToPrimary(message).of(*guest));
        }
        if let Frame::Guest(guest, GuestFrame::Packets(PacketFrame::Output { generation, base, packets, .. })) =
            frame
            && let Some(name) = self.link.as_ref().and_then(|line| line.numbers.name_of(*guest))
        {
            let frames = packets.iter().map(GuestsFrame::from_bytes).collect();
            self.said.push(Said::Told(guest_of(name), *generation, *base, frames));
        }
        self.put_frame(frame);
    }

    fn has_room(&self, _peer: &NodeName, _lane: Lane) -> bool {
        true
    }

    fn close_link(&mut self, _peer: &NodeName, _why: &str) {
        if self.disconnect() {
            self.closed = true;
            self.said.push(Said::CloseLink);
        }
    }

    fn end_silent_link(&mut self, peer: &NodeName) -> Silence {
        if self.link.as_ref().is_some_and(|line| self.now - line.heard_at < Settings::SILENCE_MAX) {
            return Silence::Kept;
        }
        self.close_link(peer, "it was silent");
        Silence::Closed
    }

    /// Each guest has its own window, so nothing is held back.
    fn hold_back(&mut self, _is_full: &dyn Fn(&NodeName) -> bool) {}

    fn is_held_back(&self, _peer: &NodeName) -> bool {
        false
    }

    fn is_witness_up(&self) -> bool {
        self.witness_up
    }

    fn session_failed(&mut self, guest: &str, why: &str) {
        panic!("the session of {guest} on {} has failed: {why}", name(self.host));
    }

    fn ask_lease(&mut self, host: &NodeName, request: LeaseRequest) {
        if self.witness_up {
            self.said.push(Said::AskLease(host.clone(), request));
        }
    }

    fn ask_witness(&mut self, guest: &str, request: WitnessRequest) {
        if self.witness_up {
            self.said.push(Said::Ask(guest_of(guest), request));
        }
    }
}
