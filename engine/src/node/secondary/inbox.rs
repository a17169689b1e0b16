//! Handles a primary's frames for one guest in order: messages go to the session, parts of epochs to the receive
//! thread. A heartbeat does not wait behind pages.
//!
//! Not here: the session's decisions, and the thread's answers.

use super::SecondaryGuest;
use crate::guest::Work;
use crate::node::context::Context;
use crate::node::inbound::Inbound;
use understudy_checkpoint::epoch::{EpochEnd, EpochPart};
use understudy_checkpoint::{Epoch, Generation};
use understudy_session::secondary::{Input, State};
use understudy_session::{Decline, ToSecondary};

/// The most frames that wait: far more than an honest primary's window holds.
const INBOX_FRAMES_MAX: usize = 1 << 18;

impl SecondaryGuest {
    /// A frame from the primary.
    pub(in crate::node) fn arrived(&mut self, what: Inbound, cx: &mut dyn Context) {
        if let Inbound::ToSecondary(message) = &what
            && let Some(activation) = &mut self.activation
        {
            activation.is_outdated |= message.generation() > activation.record.generation;
        }
        if self.session.state() == State::ActivationFailed {
            return;
        }
        // A primary that was silent speaks again.
        self.attach(cx);
        self.has_spoken = true;
        // Packets do not wait behind pages, since somebody waits for each of them.
        let what = match what {
            Inbound::Packets(packets) => return self.copy_hears(packets, cx),
            what => what,
        };
        if let Inbound::ToSecondary(ToSecondary::Heartbeat { generation }) = &what
            && *generation == self.session.generation()
            && !self.inbox.is_empty()
        {
            // A heartbeat only says that the primary lives, and does not wait behind pages.
            return self.handle(Input::SignOfLife, cx);
        }
        self.inbox_bytes += what.len_bytes();
        self.inbox.push_back(what);
        if self.inbox.len() > INBOX_FRAMES_MAX {
            cx.close_link(&self.peer, "It sends more frames of a guest than can be dealt with");
        }
        self.pump(cx);
    }

    /// Handles as many frames of the inbox as possible.
    pub(in crate::node) fn pump(&mut self, cx: &mut dyn Context) {
        self.give_waiting();
        let mut heard = false;
        while self.waiting.is_empty()
            && !self.verdict_due
            && !self.waits_for_copy()
            && let Some(what) = self.inbox.pop_front()
        {
            self.inbox_bytes -= what.len_bytes();
            heard = true;
            self.take(what, cx);
        }
        if heard {
            self.handle(Input::SignOfLife, cx);
        }
    }

    /// An epoch does not begin while a complete one waits for the copy to halt.
    fn waits_for_copy(&self) -> bool {
        let is_begin =
            || matches!(self.inbox.front(), Some(Inbound::ToSecondary(ToSecondary::EpochBegin { .. })));
        self.session.is_halting() && is_begin()
    }

    fn take(&mut self, what: Inbound, cx: &mut dyn Context) {
        let part = match what {
            Inbound::ToSecondary(message) => {
                match &message {
                    ToSecondary::EpochBegin { base, .. } => self.base = *base,
                    ToSecondary::Switchover { .. } => self.lost = Some((cx.now(), "switchover")),
                    ToSecondary::CopyWanted { generation, from: Some(_), .. } => {
                        self.tell_room(*generation, cx);
                    }
                    _ => {}
                }
                return self.handle(Input::Message(message), cx);
            }
            Inbound::Part(part) => part,
            Inbound::Offer(..)
            | Inbound::ToPrimary(_)
            | Inbound::Declined(_)
            | Inbound::Ready
            | Inbound::NeedsFencing
            | Inbound::DiskSay { .. }
            | Inbound::Packets(_) => return,
        };
        let Some(receiving) = self.receiving else { return };
        match part {
            EpochPart::End(EpochEnd { generation, epoch, .. }) if receiving != (generation, epoch) => {
                return self.wrong_end(generation, epoch, cx);
            }
            EpochPart::End(_) => self.verdict_due = true,
            _ => {}
        }
        self.give(Work::Part(part.map(|parcel| parcel.bytes)));
    }

    /// The end of another epoch than the one begun last: the parts in between belong to neither.
    fn wrong_end(&mut self, generation: Generation, epoch: Epoch, cx: &mut dyn Context) {
        let Some((begun_in, begun)) = self.receiving else { return };
        tracing::error!(
            guest = %self.name, peer = %self.peer, %begun, ended = %epoch, begun_in = %begun_in, ended_in = %generation,
            "An epoch ends that was not begun; report this as a bug of the sender"
        );
        self.stop_receiving();
        self.begun.pop_back();
        self.give(Work::DropIncomplete);
        let broken = Input::Broken { generation: begun_in, epoch: begun, why: Decline::Damaged };
        self.handle(broken, cx);
    }

    pub(super) fn give(&mut self, work: Work) {
        if !self.waiting.is_empty() {
            self.waiting.push_back(work);
        } else if let Err(work) = self.replica_thread.offer(work) {
            self.waiting.push_back(work);
        }
    }

    fn give_waiting(&mut self) {
        while let Some(work) = self.waiting.pop_front() {
            if let Err(work) = self.replica_thread.offer(work) {
                self.waiting.push_front(work);
                return;
            }
        }
    }

    pub(super) fn stop_receiving(&mut self) {
        self.receiving = None;
        self.verdict_due = false;
    }
}
