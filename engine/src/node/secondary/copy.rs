//! The live copy of a guest that is held here: the session's orders, its input, and its output towards the primary.
//!
//! ```text
//!   session ─ SetCopy, RunCopy, HaltCopy, DropCopy ─► receive thread ─ CopySet, CopyHalted … ─► session
//!           ─ RunCopy, HaltCopy, CutCopy ───────────► Traffic: told, or not any more, at once
//!   link    ─ Input, Handshake, Released ───────────► Traffic
//!           ◄─ Output ─────────────────────────────── Traffic, in each turn of the loop
//!           ◄─ Room ───────────────────────────────── Traffic, when a copy is asked for
//! ```
//!
//! Not here: the copy itself (`guest/copy`), and the decisions about it (the session).

use super::SecondaryGuest;
use crate::guest::{CopyLimits, CopyOrder, Report, Traffic, TrafficStats, Untold, Work};
use crate::node::context::Context;
use crate::node::inbound::GuestPackets;
use std::sync::Arc;
use understudy_checkpoint::{Epoch, Generation};
use understudy_colo::mirror::Missing;
use understudy_colo::rewriter::carried;
use understudy_link::{GuestFrame, Lane, PacketFrame};
use understudy_session::secondary::{Input, Output};
use understudy_session::{Span, Time};

/// How often a copy is checked: whether it has ended, and whether delayed work is due.
const LOOK_EVERY: Span = Span::from_ms(20);

/// How long a copy that is set waits for the message that says how much input its image contains. The message is sent before the image is
/// complete, and may arrive a moment later.
const CUT_MAX: Span = Span::from_ms(1_000);

/// The live copy, if there is one.
#[derive(Debug)]
pub(super) struct CopyHere {
    traffic: Arc<Traffic>,
    /// When to check the copy; `None` without a copy.
    look_at: Option<Time>,
    /// The epoch that the copy is set to while its cut is not known yet, and the deadline for the cut.
    awaits_cut: Option<(Epoch, Time)>,
    /// The losses that the log has already reported.
    said: TrafficStats,
    /// Whether the log already says that there is no room for the guest's connections.
    lacks_connections: bool,
}

impl CopyHere {
    pub(super) fn new(traffic: Arc<Traffic>) -> Self {
        Self {
            traffic,
            look_at: None,
            awaits_cut: None,
            said: TrafficStats::default(),
            lacks_connections: false,
        }
    }

    pub(super) fn next_look(&self) -> Option<Time> {
        self.look_at.into_iter().chain(self.awaits_cut.map(|(_, until)| until)).min()
    }

    pub(super) fn link_lost(&self) {
        self.traffic.link_lost();
    }

    /// The rewriter for a guest started from the image of `epoch`; `None` if no connection needs one.
    pub(super) fn through(&self, epoch: Epoch) -> Option<Arc<Traffic>> {
        self.traffic.carries(epoch).then(|| self.traffic.clone())
    }

    pub(super) fn committed(&self, epoch: Epoch) {
        self.traffic.forget(epoch);
    }
}

impl SecondaryGuest {
    /// Carries out an order of the session.
    pub(super) fn copy_order(&mut self, output: &Output, cx: &mut dyn Context) {
        let Some(CopyHere { traffic, look_at, .. }) = &mut self.copy else {
            // The session knows that no copy runs here.
            return tracing::error!(guest = %self.name, "A copy is to run where none can");
        };
        let order = match *output {
            Output::SetCopy { epoch } => {
                *look_at = None;
                CopyOrder::Set { epoch, traffic: traffic.clone() }
            }
            Output::RunCopy { generation, base } => {
                traffic.run(generation, base);
                *look_at = Some(cx.now());
                CopyOrder::Run
            }
            Output::HaltCopy => {
                traffic.mute();
                CopyOrder::Halt
            }
            Output::CutCopy => return traffic.mute(),
            _ => {
                traffic.idle();
                *look_at = None;
                CopyOrder::Drop
            }
        };
        self.give(Work::LiveCopy(order));
    }

    /// Takes a report of the receive thread about the copy.
    pub(super) fn copy_report(&mut self, report: Report, cx: &mut dyn Context) {
        let Some(CopyHere { traffic, look_at, .. }) = &mut self.copy else { return };
        let guest = &*self.name;
        let input = match report {
            Report::CopySet { epoch } => {
                self.copy.iter_mut().for_each(|copy| copy.awaits_cut = Some((epoch, cx.now() + CUT_MAX)));
                return self.copy_is_set(cx);
            }
            Report::CopySetFailed { epoch, error } => {
                tracing::warn!(guest, %epoch, error, "The copy cannot be set");
                Input::CopySetFailed { epoch }
            }
            Report::CopyHalted => Input::CopyHalted,
            Report::CopyEnded { error } => {
                tracing::error!(guest, error, "The copy has ended");
                *look_at = None;
                Input::CopyCrashed { has_forwarded: traffic.has_forwarded() }
            }
            _ => return,
        };
        self.handle(input, cx);
    }

    /// The copy is set. Whether it can run is known once the cut of its epoch has arrived, or is overdue.
    fn copy_is_set(&mut self, cx: &mut dyn Context) {
        let Some(copy) = &mut self.copy else { return };
        let Some((epoch, until)) = copy.awaits_cut else { return };
        let hears_all = match copy.traffic.reaches(epoch) {
            Ok(()) => true,
            Err(Missing::Mark(_)) if self.session.wants_copy() && cx.now() < until => return,
            Err(why) => {
                tracing::debug!(guest = %self.name, %epoch, %why, "The copy does not run from this epoch");
                false
            }
        };
        copy.awaits_cut = None;
        self.handle(Input::CopySet { epoch, hears_all }, cx);
    }

    /// Takes packets from the primary.
    pub(super) fn copy_hears(&mut self, packets: GuestPackets, cx: &mut dyn Context) {
        let Some(CopyHere { traffic, lacks_connections, .. }) = &mut self.copy else { return };
        match packets {
            GuestPackets::Input { generation, first, packets } => {
                if let Some(packets) = packets.packets()
                    && let Err(why) = traffic.input(generation, first, packets)
                {
                    cx.close_link(&self.peer, &why.to_string());
                }
            }
            GuestPackets::Taken { generation, next } => traffic.taken(generation, next),
            GuestPackets::Cut { generation, epoch, next, carried } => {
                let cut = carried::read(&carried).map_err(|error| error.to_string()).and_then(|carried| {
                    traffic.cut(generation, epoch, next, carried).map_err(|error| error.to_string())
                });
                match cut {
                    Ok(lost) => {
                        if lost > 0 && !*lacks_connections {
                            tracing::warn!(
                                guest = %self.name, connections = lost,
                                "More connections of the guest have other numbers than their clients know than are kept here: \
                                 these would end if the guest were started from a checkpoint"
                            );
                        }
                        *lacks_connections = lost > 0;
                        self.copy_is_set(cx);
                    }
                    Err(why) => cx.close_link(&self.peer, &why),
                }
            }
            GuestPackets::Handshake { epoch, packet, .. } => traffic.handshake(epoch, &packet),
            GuestPackets::Released { generation, base, through } => {
                traffic.released(generation, base, through)
            }
            GuestPackets::Room { .. } | GuestPackets::Output { .. } => {}
        }
    }

    /// The primary asks for a copy: tells it how much room there is here.
    pub(super) fn tell_room(&self, generation: Generation, cx: &mut dyn Context) {
        if let Some(CopyHere { traffic, .. }) = &self.copy
            && let Some(number) = cx.number_of(&self.peer, &self.name)
        {
            let CopyLimits { input, sent, .. } = traffic.limits();
            let room = PacketFrame::Room {
                generation,
                input_packets: input.frames_max as u64,
                input_bytes: input.bytes_max as u64,
                output_packets: sent.frames_max as u64,
            };
            cx.send(&self.peer, &GuestFrame::Packets(room).of(number));
        }
    }

    /// Sends the copy's output to the primary, and checks the copy when that is due.
    pub(super) fn run_copy(&mut self, cx: &mut dyn Context) {
        let now = cx.now();
        self.copy_is_set(cx);
        let Some(CopyHere { traffic, look_at: Some(look_at), said, .. }) = &mut self.copy else { return };
        if let Some(number) = cx.number_of(&self.peer, &self.name) {
            // Output that has no room in the lane is sent in a later iteration.
            while cx.has_room(&self.peer, Lane::HeldPackets(number))
                && let Some(Untold { generation, base, first, list }) = traffic.take_untold()
            {
                if let Some(packets) = list.packets() {
                    let output = PacketFrame::Output { generation, base, first, packets };
                    cx.send(&self.peer, &GuestFrame::Packets(output).of(number));
                }
            }
        }
        if *look_at > now {
            return;
        }
        *look_at = now + LOOK_EVERY;
        traffic.tick();
        let stats = traffic.stats();
        if stats != *said {
            tracing::warn!(
                guest = %self.name, input = stats.input_lost, output = stats.output_lost, unanswered = stats.unanswered,
                "Frames between the copy and the world had no room, in all; a checkpoint follows"
            );
            *said = stats;
        }
        if traffic.has_ended() {
            self.copy_report(Report::CopyEnded { error: "its vCPU has stopped".into() }, cx);
        }
    }
}
