//! The pieces that a legacy stream is read in.

use super::chunk::Chunk;
use super::envelope::Envelope;
use super::head::Head;
use crate::Page;
use crate::stream::libxc::{GuestWidth, VcpuPart};

/// A piece of a legacy stream.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Item<'a> {
    /// What stands around the stream, before it.
    Envelope(Envelope, &'a [u8]),
    /// The beginning of the stream.
    Head(Head),
    /// A PV guest's word size, from the extended info.
    Width(GuestWidth),
    /// Another block of the extended info, by its name.
    Block([u8; 4]),
    /// The frames of a PV guest's P2M table, one word each.
    Frames(&'a [u8]),
    /// A chunk of a body.
    Chunk(Chunk<'a>),
    /// A part of what transcendent memory held: nothing that matters.
    Tmem,
    /// HVM: the frames of the device model's two rings and of xenstore's.
    Rings([u64; 3]),
    /// HVM: the context.
    Context(&'a [u8]),
    /// HVM: the device model's record, whole, and its state.
    Emulator {
        /// With its signature.
        record: &'a [u8],
        /// The state alone.
        state: &'a [u8],
    },
    /// PV: how many pages were not mapped at the end. Their pfns follow.
    Unmapped(u32),
    /// PV: a part of a vCPU.
    Vcpu {
        /// Its number.
        id: u32,
        /// Which part.
        part: VcpuPart,
        /// The part.
        blob: &'a [u8],
    },
    /// PV: the shared info page.
    SharedInfo(&'a Page),
}

/// Bytes that need not be in one piece.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Run {
    /// The pages of a batch.
    Pages,
    /// Pfns of pages that were not mapped.
    Unmapped,
}

/// What [`Reader::next`](super::Reader::next) made of the input.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Step<'a> {
    /// The input holds no whole item. Come again with this many bytes, from the same start; the stream has them.
    Need(usize),
    /// An item of so many bytes; go on after them.
    Item(usize, Item<'a>),
    /// So many bytes follow that are nobody's to interpret: say by [`pass`](super::Reader::pass) how many went.
    Run(Run, u64),
    /// The device model's state goes on to the end of the input.
    UntilEnd,
    /// A tail is complete. Nothing follows, unless [`begin_body`](super::Reader::begin_body) says so.
    Over,
}

/// What a reader should expect.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Expect {
    /// There may be an envelope.
    pub envelope: bool,
    /// The device model's record follows the tail of an HVM guest.
    pub emulator: bool,
}
