//! What is changed in a frame of the primary's guest when it leaves before the ack of its epoch.
//!
//! ```text
//!   ack      no more than the copy has received: the client must not forget a byte that only one guest has
//!   window   no more than the copy takes
//!   clock    no older than that of a later frame which has left already: receivers refuse what goes back (RFC 7323, section 5)
//!   options  multipath TCP becomes fillers in a SYN: its keys are random, no copy could go on with them
//! ```
//!
//! Selective acknowledgements stay, also those of bytes that only the guest has. They are advice: a receiver may drop what it
//! has told so, and a sender keeps each byte until the ack passes it (RFC 2018, section 8), which this ack does not do before both
//! guests have it. Where the copy lacks such bytes, the ack stops in front of them; then the sender knows that they were dropped
//! and sends them again, at the latest when its timer ends. Without the blocks, it would send again also what both guests
//! have, at each loss.
//!
//! Not here: what these numbers are (the comparer).

use crate::checksum::Header;
use crate::packet::{Card, Content, Flags, Frame, Offload, Options, Packet, Side};
use thiserror::Error;

/// What is changed in a TCP segment.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub struct Patch {
    /// The acknowledgement number in place of its own.
    pub ack: Option<u32>,
    /// The window field, not scaled, in place of its own.
    pub window: Option<u16>,
    /// The time stamp in place of its own.
    pub clock: Option<u32>,
    /// Multipath TCP's option becomes fillers if it is a SYN.
    pub is_multipath_blanked: bool,
}

/// The patch was made for another frame.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Error)]
#[error(
    "a frame that is to be patched is no TCP segment: the output queue and the comparer disagree about its number; stop COLO for this guest and report it"
)]
pub struct NotTcp;

impl Patch {
    /// Whether it changes nothing.
    pub fn is_empty(&self) -> bool {
        *self == Self::default()
    }

    /// Changes `frame`, which begins with Ethernet, and its checksum. A frame that is no TCP segment is left as it is.
    pub fn apply(&self, frame: &mut [u8], offload: Offload) -> Result<(), NotTcp> {
        let packet = Packet::parse(Frame { card: Card(0), offload, bytes: frame }, Side::Guest);
        let Content::Tcp(segment) = packet.content else { return Err(NotTcp) };
        let (header, is_syn) = (segment.header(), segment.flags.has(Flags::SYN));
        let fixed_bytes = header.len() - segment.options.0.len();
        let stamps = segment.options.timestamps().map(|(stamps, at)| (stamps, fixed_bytes + at));
        let mut header = Header::new(&mut frame[header], offload);
        if let Some(ack) = self.ack {
            header.set_ack(ack);
        }
        if let Some(window) = self.window {
            header.set_window(window);
        }
        if let (Some(clock), Some((_, at))) = (self.clock, stamps) {
            header.map_u32(at, |_| clock);
        }
        if self.is_multipath_blanked && is_syn {
            header.blank_options(Options::MULTIPATH);
        }
        header.finish();
        Ok(())
    }
}
