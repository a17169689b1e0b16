//! [`Reader`]: parses the forward stream into items. It is incremental (any split of the input gives the same items),
//! borrowing (an item points into the input) and bounded (see [`limits`](super::limits)).
//!
//! ```text
//!  Xl ─► Libxl ─► LibxlRecords(Outer) ──LIBXC_CONTEXT──► Libxc ─► LibxcRecords ◄───────────────┐
//!                     │    ▲                                        │   │                       │
//!                     │    └──────────────── END ───────────────────┘   └──CHECKPOINT           │ any other
//!                     │                                                      ▼                  │ record
//!                     │                                LibxlRecords(Checkpoint)                 │
//!                     │                                                      │ CHECKPOINT_END   │
//!                    END                                                     ▼                  │
//!                     ▼                                               BetweenCheckpoints ───────┤
//!                  Handshake ──"domain is yours…"──► Ended                   └─CHECKPOINT_STATE─┘
//! ```
//!
//! Nothing on the wire tells the layer of a record: type 4 is a vCPU in libxc and CHECKPOINT_END in libxl. Only the
//! state above tells. A stream that begins with libxc stays there, even at CHECKPOINT.
//!
//! The reader checks headers and framing. Bodies are checked when they are parsed.

use super::container::{self, CONTAINER_BYTES};
use super::fault::{Defect, Fault, Layer, Place, Rule};
use super::frame::{self, Frame};
use super::lengths::{handshake_bytes, record_bytes};
use super::libxc::{DomainType, LibxcHeader};
use super::libxl::LibxlHeader;
use super::xl::{self, XlHeader};
use super::{libxc, libxl};
use serde::Serialize;

/// The content of an item.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Content<'a> {
    /// xl's header with the configuration.
    XlHeader(XlHeader<'a>),
    /// libxl's header.
    LibxlHeader(LibxlHeader),
    /// libxc's image and domain headers.
    LibxcHeader(LibxcHeader),
    /// A record of the libxl layer; [`libxl::Record::parse`] parses its body.
    Libxl(Frame<'a>),
    /// A record of the libxc layer; [`libxc::Record::parse`] parses its body.
    Libxc(Frame<'a>),
    /// After a plain migration: the sender allows the receiver to run the guest.
    Go,
}

/// A header, a record or a handshake.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Item<'a> {
    /// The place in the stream.
    pub place: Place,
    /// All its bytes, verbatim.
    pub bytes: &'a [u8],
    /// The content.
    pub content: Content<'a>,
}

impl<'a> Item<'a> {
    /// Parses a libxl record; `None` for anything else.
    pub fn libxl(&self) -> Option<Result<libxl::Record<'a>, Fault>> {
        match self.content {
            Content::Libxl(frame) => {
                Some(libxl::Record::parse(frame).map_err(|defect| defect.at(self.place)))
            }
            _ => None,
        }
    }

    /// Parses a libxc record; `None` for anything else.
    pub fn libxc(&self) -> Option<Result<libxc::Record<'a>, Fault>> {
        match self.content {
            Content::Libxc(frame) => {
                Some(libxc::Record::parse(frame).map_err(|defect| defect.at(self.place)))
            }
            _ => None,
        }
    }
}

/// The result of [`Reader::next`].
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Step<'a> {
    /// An item at the front of the input, `item.bytes.len()` bytes long. Continue after it.
    Item(Item<'a>),
    /// The item is not complete. Call again with at least this many bytes from the same start.
    Need(usize),
    /// The stream has ended, and so has the input.
    End,
}

/// How a stream ended.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum Ending {
    /// With END records, as a plain stream does.
    Plain,
    /// After a complete checkpoint, as a checkpointed stream does.
    Checkpoint,
}

/// The place of libxl records.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
enum Around {
    /// Before or after the libxc stream.
    Outer,
    /// Between libxc's CHECKPOINT and libxl's CHECKPOINT_END.
    Checkpoint,
}

#[derive(Clone, Copy, PartialEq, Eq, Debug)]
enum State {
    /// The first bytes reveal the outermost layer.
    Detect,
    Xl,
    Libxl,
    LibxlRecords(Around),
    Libxc {
        inside_libxl: bool,
    },
    LibxcRecords {
        inside_libxl: bool,
        domain_type: DomainType,
    },
    BetweenCheckpoints {
        domain_type: DomainType,
    },
    /// After libxl's END.
    Handshake,
    Ended,
}

/// Bytes that reveal the outermost layer.
const DETECT_BYTES: usize = 8;

/// Parses the forward direction of a saved or migrating guest: plain or checkpointed, from any layer.
#[derive(Clone, Debug)]
pub struct Reader {
    state: State,
    offset: u64,
    records: u64,
    checkpoints: u64,
    domain_type: Option<DomainType>,
}

impl Default for Reader {
    fn default() -> Self {
        Self::new()
    }
}

impl Reader {
    /// A reader that detects the outermost layer from the first bytes.
    pub fn new() -> Self {
        Self { state: State::Detect, offset: 0, records: 0, checkpoints: 0, domain_type: None }
    }

    /// A reader for a stream whose outermost layer is known.
    pub fn at(layer: Layer) -> Self {
        let state = match layer {
            Layer::Xl => State::Xl,
            Layer::Libxl => State::Libxl,
            Layer::Libxc => State::Libxc { inside_libxl: false },
        };
        Self { state, ..Self::new() }
    }

    /// Bytes consumed so far.
    pub fn offset(&self) -> u64 {
        self.offset
    }

    /// The number of complete checkpoints so far.
    pub fn checkpoints(&self) -> u64 {
        self.checkpoints
    }

    /// The length of the next item, as far as its beginning in `input` tells. If it is all there, [`next`](Self::next)
    /// returns the item. 0 if nothing can follow: the stream has ended, and what follows belongs to something else (a
    /// volume, an older file). Receivers, too, read no further.
    pub fn needed(&self, input: &[u8]) -> Result<usize, Fault> {
        match self.state {
            State::Detect => self.detect(input),
            State::Xl => XlHeader::needed(input),
            State::Libxl => Ok(libxl::HEADER_BYTES),
            State::Libxc { .. } => Ok(libxc::HEADER_BYTES),
            State::LibxlRecords(_) => record_bytes(input, Layer::Libxl),
            State::LibxcRecords { .. } => record_bytes(input, Layer::Libxc),
            State::BetweenCheckpoints { domain_type } => record_bytes(input, next_layer(input, domain_type)),
            State::Handshake => handshake_bytes(input),
            State::Ended => Ok(0),
        }
        .map_err(|defect| defect.at(self.place(input)))
    }

    /// Parses the next item at the front of `input`.
    pub fn next<'a>(&mut self, input: &'a [u8]) -> Result<Step<'a>, Fault> {
        if self.state == State::Detect {
            let needed = self.needed(input)?;
            if input.len() < needed {
                return Ok(Step::Need(needed));
            }
            self.state = Self::at(outermost(input)).state;
        }
        let needed = self.needed(input)?;
        if needed == 0 {
            return Ok(Step::End);
        }
        let Some(bytes) = input.get(..needed) else {
            return Ok(Step::Need(needed));
        };
        let place = self.place(bytes);
        let (content, state) = self.read(bytes).map_err(|defect| defect.at(place))?;
        self.state = state;
        self.offset += needed as u64;
        self.records += u64::from(place.record.is_some());
        Ok(Step::Item(Item { place, bytes, content }))
    }

    /// The ending, once the input has ended with `rest`, bytes of an incomplete item.
    pub fn finish(&self, rest: &[u8]) -> Result<Ending, Fault> {
        let fault = |detail: String| Err(Defect::new(Rule::Truncated, detail).at(self.place(rest)));
        if self.is_followed_by(rest) {
            return Ok(Ending::Plain);
        }
        if !rest.is_empty() {
            return fault(format!("The input ends within an item, after {} of its bytes", rest.len()));
        }
        match self.state {
            State::Ended | State::Handshake => Ok(Ending::Plain),
            State::BetweenCheckpoints { .. } => Ok(Ending::Checkpoint),
            State::LibxcRecords { inside_libxl: false, .. } if self.checkpoints > 0 => Ok(Ending::Checkpoint),
            _ => fault(format!("The input ends here, after {} complete checkpoints", self.checkpoints)),
        }
    }

    /// Whether `rest` follows the end of the stream and belongs to something else.
    pub fn is_followed_by(&self, rest: &[u8]) -> bool {
        let may_end = matches!(self.state, State::Ended | State::Handshake);
        may_end && !rest.is_empty() && self.needed(rest) == Ok(0)
    }

    fn detect(&self, input: &[u8]) -> Result<usize, Defect> {
        if container::may_become(input) {
            return Ok(if input.len() < DETECT_BYTES { DETECT_BYTES } else { CONTAINER_BYTES });
        }
        container::refuse(input)?;
        if input.len() < DETECT_BYTES {
            return Ok(DETECT_BYTES);
        }
        if input.starts_with(&xl::BANNER[..DETECT_BYTES]) {
            let hint = "This is the back direction of a migration; the stream is the forward one";
            return Err(Defect::new(Rule::Magic, hint));
        }
        let known = [&xl::MAGIC[..DETECT_BYTES], libxl::IDENT, &libxc::MARKER];
        if !known.iter().any(|magic| input.starts_with(magic)) {
            let detail = "The first bytes are none of an xl, libxl or libxc stream";
            return Err(Defect::new(Rule::Magic, detail));
        }
        Self::at(outermost(input)).needed(input).map_err(|fault| Defect::new(fault.rule, fault.detail))
    }

    /// The place of the item at the front of `input`.
    fn place(&self, input: &[u8]) -> Place {
        let layer = match self.state {
            State::Detect | State::Xl | State::Handshake => Layer::Xl,
            State::Libxl | State::LibxlRecords(_) => Layer::Libxl,
            State::Libxc { .. } | State::LibxcRecords { .. } => Layer::Libxc,
            State::BetweenCheckpoints { domain_type } => next_layer(input, domain_type),
            State::Ended => self.domain_type.map_or(Layer::Xl, |_| Layer::Libxc),
        };
        let is_record = matches!(
            self.state,
            State::LibxlRecords(_) | State::LibxcRecords { .. } | State::BetweenCheckpoints { .. }
        );
        let record = is_record.then_some(self.records);
        let kind = frame::peek(input).filter(|_| is_record).map(|(kind, _)| kind);
        Place { offset: self.offset, record, layer, kind }
    }

    /// Parses the complete item `bytes`. Returns it and the state after it.
    fn read<'a>(&mut self, bytes: &'a [u8]) -> Result<(Content<'a>, State), Defect> {
        match self.state {
            State::Detect => unreachable!("the layer is detected before anything is read"),
            State::Xl => Ok((Content::XlHeader(XlHeader::read(bytes)?), State::Libxl)),
            State::Libxl => {
                let header = LibxlHeader::read(bytes)?;
                Ok((Content::LibxlHeader(header), State::LibxlRecords(Around::Outer)))
            }
            State::Libxc { inside_libxl } => {
                let header = LibxcHeader::read(bytes)?;
                let domain_type = header.domain_type;
                self.domain_type = Some(domain_type);
                Ok((Content::LibxcHeader(header), State::LibxcRecords { inside_libxl, domain_type }))
            }
            State::LibxlRecords(around) => {
                let frame = whole_frame(bytes);
                Ok((Content::Libxl(frame), self.after_libxl(around, frame.kind)?))
            }
            State::LibxcRecords { inside_libxl, domain_type } => {
                let frame = whole_frame(bytes);
                Ok((Content::Libxc(frame), self.after_libxc(frame.kind, inside_libxl, domain_type)))
            }
            State::BetweenCheckpoints { domain_type } => {
                let frame = whole_frame(bytes);
                match next_layer(bytes, domain_type) {
                    Layer::Libxc => {
                        Ok((Content::Libxc(frame), self.after_libxc(frame.kind, true, domain_type)))
                    }
                    Layer::Libxl | Layer::Xl => {
                        Ok((Content::Libxl(frame), State::LibxcRecords { inside_libxl: true, domain_type }))
                    }
                }
            }
            State::Handshake => Ok((Content::Go, State::Ended)),
            State::Ended => unreachable!("nothing is needed after the end"),
        }
    }

    fn after_libxl(&mut self, around: Around, kind: u32) -> Result<State, Defect> {
        let misplaced = |detail: &str| Err(Defect::new(Rule::RecordPlace, detail));
        match (around, kind) {
            (Around::Outer, libxl::kind::LIBXC_CONTEXT) if self.domain_type.is_some() => {
                misplaced("A second LIBXC_CONTEXT")
            }
            (Around::Outer, libxl::kind::LIBXC_CONTEXT) => Ok(State::Libxc { inside_libxl: true }),
            (Around::Outer, libxl::kind::END) => Ok(State::Handshake),
            (Around::Outer, libxl::kind::CHECKPOINT_END | libxl::kind::CHECKPOINT_STATE) => {
                misplaced("A checkpoint's record outside of a checkpoint")
            }
            (Around::Checkpoint, libxl::kind::CHECKPOINT_END) => {
                self.checkpoints += 1;
                let domain_type = self.domain_type.expect("a checkpoint lies after the libxc header");
                Ok(State::BetweenCheckpoints { domain_type })
            }
            (
                Around::Checkpoint,
                libxl::kind::END | libxl::kind::LIBXC_CONTEXT | libxl::kind::CHECKPOINT_STATE,
            ) => misplaced("Between CHECKPOINT and CHECKPOINT_END only device model records may stand"),
            (around, _) => Ok(State::LibxlRecords(around)),
        }
    }

    fn after_libxc(&mut self, kind: u32, inside_libxl: bool, domain_type: DomainType) -> State {
        match (kind, inside_libxl) {
            (libxc::kind::END, true) => State::LibxlRecords(Around::Outer),
            (libxc::kind::END, false) => State::Ended,
            (libxc::kind::CHECKPOINT, true) => State::LibxlRecords(Around::Checkpoint),
            (libxc::kind::CHECKPOINT, false) => {
                self.checkpoints += 1;
                State::LibxcRecords { inside_libxl, domain_type }
            }
            _ => State::LibxcRecords { inside_libxl, domain_type },
        }
    }
}

fn outermost(input: &[u8]) -> Layer {
    match input {
        input if input.starts_with(libxl::IDENT) => Layer::Libxl,
        input if input.starts_with(&libxc::MARKER) => Layer::Libxc,
        _ => Layer::Xl,
    }
}

/// The layer of the record after CHECKPOINT_END. COLO (HVM only) puts a libxl CHECKPOINT_STATE there. The same number
/// in libxc is a part of a vCPU, which only PV guests have, so the guest's type decides.
fn next_layer(input: &[u8], domain_type: DomainType) -> Layer {
    match (frame::peek(input), domain_type) {
        (Some((libxl::kind::CHECKPOINT_STATE, _)), DomainType::Hvm) => Layer::Libxl,
        _ => Layer::Libxc,
    }
}

fn whole_frame(bytes: &[u8]) -> Frame<'_> {
    Frame::read(bytes).expect("as many bytes as the record needs")
}
