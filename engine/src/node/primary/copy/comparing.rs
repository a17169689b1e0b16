//! What is compared: the frames that a guest sends, held, with those that its copy sends.
//!
//! ```text
//!   held frames ── look ───────┐
//!   the copy's ─── copy_sent ──┴─► comparer ─► Todo: frames that leave, handshakes, divergences
//! ```
//!
//! Frames are compared where they are held; none is copied.
//!
//! Not here: what becomes of a divergence or a handshake ([`copy`](super)), and when two frames match (`colo`).

use super::used::Used;
use crate::guest::{CARD, Compared, CopyLimits};
use crate::node::primary::input_load::InputLoad;
use std::hash::{BuildHasher, Hasher, RandomState};
use understudy_checkpoint::{Epoch, Generation};
use understudy_colo::comparer::{self, CopyNumber, Output, Why};
use understudy_colo::packet::{Frame, Offload};
use understudy_colo::{Comparer, FrameId, Part, Patch, mirror};
use understudy_link::PacketList;
use understudy_netbuf::HeldId;
use understudy_session::{Divergence, Time};

/// The comparer of a guest's output with its copy's, and the input that the copy is sent.
pub(super) struct Comparing {
    pub(super) generation: Generation,
    pub(super) comparer: Comparer,
    /// The next held frame to compare.
    pub(super) next: HeldId,
    /// Frames may leave by a match with the copy of this epoch.
    pub(super) base: Option<Epoch>,
    /// What the copy's host was told of frames that are no longer needed.
    pub(super) used: Used,
    pub(super) input: InputLoad,
    /// The number of frames missing from the copy's input that the log has already reported.
    pub(super) lost_said: u64,
    pub(super) todo: Todo,
    /// The comparer's counts at the last look.
    pub(super) stats: comparer::Stats,
    pub(super) limits: CopyLimits,
}

/// The comparer's actions, in order.
#[derive(Debug, Default)]
pub(super) struct Todo {
    pub(super) leaving: Vec<Leaving>,
    /// Handshakes, each with the epoch in which it was sent.
    pub(super) handshakes: Vec<(Epoch, Vec<u8>)>,
    pub(super) diverged: Vec<comparer::Divergence>,
}

#[derive(Debug)]
pub(super) enum Leaving {
    Held(HeldId, Patch),
    /// A part of a frame leaves; the frame itself stays held.
    Part(HeldId, Part),
    Made(Vec<u8>),
    /// A frame that newer frames have made obsolete: it must not leave after them.
    Outdated(HeldId),
}

impl std::fmt::Debug for Comparing {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Comparing")
            .field("base", &self.base)
            .field("next", &self.next)
            .finish_non_exhaustive()
    }
}

impl Comparing {
    pub(super) fn new(generation: Generation, next: HeldId, limits: CopyLimits) -> Self {
        // The key is secret: who knows it could slow down the table of flows.
        let seed = RandomState::new().build_hasher().finish();
        Self {
            generation,
            comparer: Comparer::new(limits.comparer, seed),
            next,
            base: None,
            used: Used::new(limits.comparer.frames_max),
            input: InputLoad::new(limits.input),
            lost_said: 0,
            todo: Todo::default(),
            stats: comparer::Stats::default(),
            limits,
        }
    }

    /// Adopts the room that the copy's host has. Returns whether that is less than this host's settings.
    pub(super) fn limit(&mut self, input: mirror::Limits, output_frames: usize) -> bool {
        self.input.limit(input);
        self.comparer.limit_frames(output_frames);
        self.used.limit(output_frames);
        let CopyLimits { comparer, input: own, .. } = self.limits;
        input.frames_max < own.frames_max
            || input.bytes_max < own.bytes_max
            || output_frames < comparer.frames_max
    }

    /// Compares what the guest has sent since the last call.
    pub(super) fn look(&mut self, held: &dyn Compared, now: Time) {
        let Self { comparer, next, todo, .. } = self;
        *next = held.look(*next, &mut |id, epoch, bytes| {
            comparer.primary(now, FrameId(id.0), frame(bytes), epoch);
            todo.note(comparer, Some(bytes));
        });
    }

    /// Takes frames that the copy has sent.
    pub(super) fn copy_sent(&mut self, base: Epoch, first: u64, packets: &PacketList, now: Time) {
        let Some(packets) = packets.packets() else { return };
        for (number, bytes) in (first..).zip(packets.iter()) {
            self.comparer.copy_numbered(now, CopyNumber(number), frame(bytes), base);
            self.todo.note(&mut self.comparer, None);
        }
    }
}

impl Todo {
    /// Collects the comparer's actions for its last input, which is `sent` if that was a frame of the guest.
    pub(super) fn note(&mut self, comparer: &mut Comparer, sent: Option<&[u8]>) {
        while let Some(output) = comparer.poll_output() {
            match output {
                Output::Release(FrameId(id)) => {
                    self.leaving.push(Leaving::Held(HeldId(id), Patch::default()));
                }
                Output::ReleaseAs(FrameId(id), patch) => self.leaving.push(Leaving::Held(HeldId(id), patch)),
                Output::Handshake(handshake) => {
                    self.handshakes.extend(sent.map(|sent| (handshake.epoch, sent.to_vec())));
                }
                Output::Diverged(divergence) => self.diverged.push(divergence),
                Output::Acknowledge(what) => {
                    let mut frame = Vec::new();
                    if comparer.write_acknowledgement(&what, &mut frame) {
                        self.leaving.push(Leaving::Made(frame));
                    }
                }
                Output::Outdated(FrameId(id)) => self.leaving.push(Leaving::Outdated(HeldId(id))),
                Output::ReleasePart(FrameId(id), part) => {
                    self.leaving.push(Leaving::Part(HeldId(id), part));
                }
            }
        }
    }

    pub(super) fn let_out(&mut self, held: &dyn Compared, guest: &str) {
        for leaving in self.leaving.drain(..) {
            match leaving {
                Leaving::Made(frame) => held.add(frame),
                Leaving::Outdated(id) => held.discard(id),
                Leaving::Part(id, part) => {
                    let mut cut = Vec::new();
                    let mut is_cut = Ok(());
                    held.show(id, &mut |bytes| is_cut = part.cut(frame(bytes), &mut cut));
                    match is_cut {
                        // A frame that is no longer held has left as a whole.
                        Ok(()) if cut.is_empty() => {}
                        Ok(()) => held.add(cut),
                        Err(error) => {
                            tracing::error!(guest, %error, "Some of a frame waits with the rest of it")
                        }
                    }
                }
                Leaving::Held(id, patch) => held.let_out(id, &mut |frame| {
                    if !patch.is_empty()
                        && let Err(error) = patch.apply(frame, Offload::default())
                    {
                        tracing::error!(guest, %error, "A frame leaves as it is");
                    }
                }),
            }
        }
    }
}

/// The session's word for the comparer's reason.
pub(super) fn kind(why: Why) -> Divergence {
    match why {
        Why::Timeout => Divergence::Silence,
        Why::Full(_) => Divergence::Full,
        Why::Payload { .. }
        | Why::End { .. }
        | Why::Reset { .. }
        | Why::Handshake { .. }
        | Why::Urgent { .. }
        | Why::Silent => Divergence::Content,
    }
}

/// A frame as a lab guest's card sends it: no offloads are pending.
fn frame(bytes: &[u8]) -> Frame<'_> {
    Frame { card: CARD, offload: Offload::default(), bytes }
}
