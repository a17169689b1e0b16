//! The back channel: what a receiver sends while it takes a stream.
//!
//! ```text
//!   Migrate:  banner ─► "domain received, ready…" ─► "my copy unpause results…" + status byte
//!                                              └───► "domain is yours…"  (it failed; take the guest back)
//!   Remus:    banner, then nothing: stock Remus has no acknowledgement
//!   Colo:     banner ─► [ CHECKPOINT_STATE (libxl, 5) | CHECKPOINT_DIRTY_PFN_LIST (libxc, 0x0F) ]*
//! ```
//!
//! Stock secondaries from Xen 4.18 on send the dirty list with eight zero bytes between its header and its
//! pfns, not counted in its length (they write a struct of 16 bytes where the header has 8):
//!
//! ```text
//!   right:  | 0F | 8·n |          pfn 1 … pfn n |
//!   4.18+:  | 0F | 8·n | 0 (u64)  pfn 1 … pfn n |
//! ```
//!
//! A first pfn other than 0 shows that the peer is right. A first 0 may be pfn 0 or the defect; the eight bytes after
//! the list tell, because with the defect they are the last pfn, and otherwise the next record follows, later. Waiting
//! for a correct peer's next record would take for ever, because that peer waits for pages. So the reader returns
//! [`BackStep::Undecided`] and lets the caller, who has a clock, [decide](BackReader::assume_right).

use super::fault::{Defect, Fault, Layer, Place, Rule};
use super::frame::{self, FRAME_HEADER_BYTES, Frame};
use super::libxl::CheckpointState;
use super::limits::{DIRTY_PFNS_MAX, PFNS_MAX};
use super::{libxc, libxl, xl};
use crate::Pfn;
use zerocopy::FromBytes;
use zerocopy::little_endian::U64;

/// The kind of receiver.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum BackKind {
    /// `xl migrate-receive`.
    Migrate,
    /// `xl migrate-receive -r`.
    Remus,
    /// `xl migrate-receive --colo`.
    Colo,
}

/// The pfns of a CHECKPOINT_DIRTY_PFN_LIST, borrowed from the input.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct DirtyPfnList<'a> {
    pfns: &'a [U64],
}

impl<'a> DirtyPfnList<'a> {
    /// Checks the pfns.
    pub fn new(pfns: &'a [U64]) -> Result<Self, Defect> {
        if let Some(pfn) = pfns.iter().find(|pfn| pfn.get() >= PFNS_MAX) {
            let detail = format!("Dirty pfn {pfn:#x} is beyond the limit of {PFNS_MAX:#x}");
            return Err(Defect::new(Rule::PageRange, detail));
        }
        Ok(Self { pfns })
    }

    /// The pfns in wire order.
    pub fn iter(&self) -> impl ExactSizeIterator<Item = Pfn> + use<'a> {
        self.pfns.iter().map(|pfn| Pfn(pfn.get()))
    }

    /// Appends the record with the correct header of 8 bytes, which every primary reads correctly.
    pub fn write(&self, out: &mut Vec<u8>) {
        use zerocopy::IntoBytes;
        frame::write(out, libxc::kind::CHECKPOINT_DIRTY_PFN_LIST, &[self.pfns.as_bytes()]);
    }
}

/// A message from a receiver.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Answer<'a> {
    /// Ready for the stream.
    Banner,
    /// The guest is built and may be run.
    Ready,
    /// The result of starting the guest: 0, or a negative error code as a byte.
    Report(u8),
    /// The receiver failed; the guest is the sender's again.
    TakeBack,
    /// COLO: the state of the secondary.
    State(CheckpointState),
    /// COLO: the pages that the secondary's guest wrote.
    DirtyPfns(DirtyPfnList<'a>),
}

/// The result of [`BackReader::next`].
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum BackStep<'a> {
    /// An answer from the front of the input.
    Answer {
        /// Its length; continue after it.
        bytes: usize,
        /// The answer.
        answer: Answer<'a>,
    },
    /// Call again with at least this many bytes from the same start.
    Need(usize),
    /// A whole dirty list has arrived, but it begins with 0. Eight more bytes would show whether the peer has the 4.18
    /// defect. If none come for a while, call [`BackReader::assume_right`].
    Undecided(usize),
    /// Nothing can follow.
    End,
}

#[derive(Clone, Copy, PartialEq, Eq, Debug)]
enum State {
    Banner,
    Ready,
    Report,
    Colo,
    Ended,
}

/// How a peer writes dirty lists.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
enum ListForm {
    Unknown,
    Right,
    EightZeroBytes,
}

/// Parses the back channel, incrementally and within limits as [`Reader`](super::Reader) does. Answers borrow from the
/// input.
#[derive(Clone, Debug)]
pub struct BackReader {
    kind: BackKind,
    state: State,
    lists: ListForm,
    offset: u64,
    records: u64,
}

impl BackReader {
    /// A reader for the answers of one receiver.
    pub fn new(kind: BackKind) -> Self {
        Self { kind, state: State::Banner, lists: ListForm::Unknown, offset: 0, records: 0 }
    }

    /// Whether the peer is known to write dirty lists with eight extra bytes.
    pub fn has_list_defect(&self) -> bool {
        self.lists == ListForm::EightZeroBytes
    }

    /// Decides that the peer's lists are correct. Call it if [`BackStep::Undecided`] persists.
    pub fn assume_right(&mut self) {
        if self.lists == ListForm::Unknown {
            self.lists = ListForm::Right;
        }
    }

    /// Parses the next answer at the front of `input`.
    pub fn next<'a>(&mut self, input: &'a [u8]) -> Result<BackStep<'a>, Fault> {
        let place = self.place(input);
        let step = match self.state {
            State::Banner => expect(input, xl::BANNER)
                .map(|whole| self.text(whole, xl::BANNER.len(), Answer::Banner, self.after_banner())),
            State::Ready => self.ready(input),
            State::Report => self.report(input),
            State::Colo => self.record(input),
            State::Ended if input.is_empty() => Ok(BackStep::End),
            State::Ended => Err(Defect::new(Rule::Trailing, "Bytes follow the receiver's last word")),
        }
        .map_err(|defect| defect.at(place))?;
        if let BackStep::Answer { bytes, .. } = step {
            self.offset += bytes as u64;
        }
        Ok(step)
    }

    fn place(&self, input: &[u8]) -> Place {
        let record = (self.state == State::Colo).then_some(self.records);
        let kind = frame::peek(input).filter(|_| record.is_some()).map(|(kind, _)| kind);
        let layer = match kind {
            Some(libxc::kind::CHECKPOINT_DIRTY_PFN_LIST) => Layer::Libxc,
            Some(_) => Layer::Libxl,
            None => Layer::Xl,
        };
        Place { offset: self.offset, record, layer, kind }
    }

    fn after_banner(&self) -> State {
        match self.kind {
            BackKind::Migrate => State::Ready,
            BackKind::Remus => State::Ended,
            BackKind::Colo => State::Colo,
        }
    }

    fn text<'a>(&mut self, whole: bool, bytes: usize, answer: Answer<'a>, next: State) -> BackStep<'a> {
        if !whole {
            return BackStep::Need(bytes);
        }
        self.state = next;
        BackStep::Answer { bytes, answer }
    }

    fn ready<'a>(&mut self, input: &[u8]) -> Result<BackStep<'a>, Defect> {
        if let Ok(whole) = expect(input, xl::READY) {
            return Ok(self.text(whole, xl::READY.len(), Answer::Ready, State::Report));
        }
        let whole = expect(input, xl::GO)?;
        Ok(self.text(whole, xl::GO.len(), Answer::TakeBack, State::Ended))
    }

    fn report<'a>(&mut self, input: &[u8]) -> Result<BackStep<'a>, Defect> {
        if expect(input, xl::REPORT).is_err() {
            let whole = expect(input, xl::GO)?;
            return Ok(self.text(whole, xl::GO.len(), Answer::TakeBack, State::Ended));
        }
        match input.get(xl::REPORT.len()) {
            None => Ok(BackStep::Need(xl::REPORT.len() + 1)),
            // After a failure the report is followed by "domain is yours…".
            Some(0) => Ok(self.text(true, xl::REPORT.len() + 1, Answer::Report(0), State::Ended)),
            Some(status) => Ok(self.text(true, xl::REPORT.len() + 1, Answer::Report(*status), State::Report)),
        }
    }

    fn record<'a>(&mut self, input: &'a [u8]) -> Result<BackStep<'a>, Defect> {
        let Some((kind, length)) = frame::peek(input) else {
            return Ok(BackStep::Need(FRAME_HEADER_BYTES));
        };
        let step = match kind {
            libxl::kind::CHECKPOINT_STATE => state_record(input, length)?,
            libxc::kind::CHECKPOINT_DIRTY_PFN_LIST => self.dirty_list(input, length)?,
            other => {
                let detail = format!("Record type {other:#x} does not belong to the back channel");
                return Err(Defect::new(Rule::RecordPlace, detail));
            }
        };
        self.records += u64::from(matches!(step, BackStep::Answer { .. }));
        Ok(step)
    }

    fn dirty_list<'a>(&mut self, input: &'a [u8], length: usize) -> Result<BackStep<'a>, Defect> {
        if !length.is_multiple_of(8) || length / 8 > DIRTY_PFNS_MAX {
            let detail = format!("A dirty list of {length} bytes");
            return Err(Defect::new(Rule::BodyLength, detail));
        }
        let whole = FRAME_HEADER_BYTES + length;
        if input.len() < whole {
            return Ok(BackStep::Need(whole));
        }
        let (words, _) = <[U64]>::ref_from_prefix_with_elems(&input[FRAME_HEADER_BYTES..], length / 8)
            .expect("the whole list is there");
        if self.lists == ListForm::Unknown {
            self.lists = match (words.first(), U64::read_from_prefix(&input[whole..])) {
                (Some(first), _) if first.get() != 0 => ListForm::Right,
                (_, Err(_)) => return Ok(BackStep::Undecided(whole + 8)),
                (_, Ok((after, _))) if is_state_header(after.get()) => ListForm::Right,
                (_, Ok(_)) => ListForm::EightZeroBytes,
            };
        }
        let extra = if self.lists == ListForm::EightZeroBytes { 8 } else { 0 };
        let Some(pfns) = input.get(FRAME_HEADER_BYTES + extra..whole + extra) else {
            return Ok(BackStep::Need(whole + extra));
        };
        let list = DirtyPfnList::new(frame::elements(pfns, "A dirty list")?)?;
        Ok(BackStep::Answer { bytes: whole + extra, answer: Answer::DirtyPfns(list) })
    }
}

/// Whether `input` starts with `text`; `false` if it is too short to tell. Fails if it differs.
fn expect(input: &[u8], text: &[u8]) -> Result<bool, Defect> {
    let seen = input.len().min(text.len());
    if input[..seen] != text[..seen] {
        let detail = format!("The receiver did not say {:?}", String::from_utf8_lossy(text));
        return Err(Defect::new(Rule::Magic, detail));
    }
    Ok(seen == text.len())
}

fn state_record(input: &[u8], length: usize) -> Result<BackStep<'_>, Defect> {
    if length > 8 {
        return Err(Defect::new(Rule::BodyLength, format!("CHECKPOINT_STATE announces {length} bytes")));
    }
    let Some(frame) = Frame::read(input) else {
        return Ok(BackStep::Need(FRAME_HEADER_BYTES + frame::padded(length)));
    };
    match libxl::Record::parse(frame)? {
        libxl::Record::CheckpointState(state) => Ok(BackStep::Answer {
            bytes: FRAME_HEADER_BYTES + frame::padded(length),
            answer: Answer::State(state),
        }),
        _ => unreachable!("the type was looked at before"),
    }
}

/// Whether eight bytes after a list are the header of a CHECKPOINT_STATE, the only record that may follow one. As a pfn
/// they would mean 64 TiB of guest memory.
fn is_state_header(word: u64) -> bool {
    let (kind, length) = (word as u32, word >> 32);
    kind == libxl::kind::CHECKPOINT_STATE && (length == 4 || length == 8)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn read_all(kind: BackKind, mut input: &[u8]) -> (Vec<String>, BackReader) {
        let mut reader = BackReader::new(kind);
        let mut answers = Vec::new();
        loop {
            match reader.next(input).unwrap() {
                BackStep::Answer { bytes, answer } => {
                    answers.push(match answer {
                        Answer::DirtyPfns(list) => {
                            format!("{:?}", list.iter().map(|p| p.0).collect::<Vec<_>>())
                        }
                        other => format!("{other:?}"),
                    });
                    input = &input[bytes..];
                }
                BackStep::Undecided(_) => reader.assume_right(),
                BackStep::Need(_) | BackStep::End => return (answers, reader),
            }
        }
    }

    fn colo(list: &[u8]) -> Vec<u8> {
        let mut bytes = xl::BANNER.to_vec();
        libxl::Record::CheckpointState(CheckpointState::SecondarySuspended).write(&mut bytes);
        bytes.extend_from_slice(list);
        bytes
    }

    const SUSPENDED: &str = "State(SecondarySuspended)";

    #[test]
    fn lists_of_a_right_peer_and_of_one_since_4_18_read_the_same() {
        let right = [0x0F, 0, 0, 0, 16, 0, 0, 0, 0x10, 0, 0, 0, 0, 0, 0, 0, 0x20, 0, 0, 0, 0, 0, 0, 0];
        let mut defective = right.to_vec();
        defective.splice(8..8, [0; 8]);
        for (list, has_defect) in [(&right[..], false), (&defective[..], true)] {
            let mut bytes = colo(list);
            libxl::Record::CheckpointState(CheckpointState::SecondaryReady).write(&mut bytes);
            let (answers, reader) = read_all(BackKind::Colo, &bytes);
            assert_eq!(answers, ["Banner", SUSPENDED, "[16, 32]", "State(SecondaryReady)"]);
            assert_eq!(reader.has_list_defect(), has_defect);
        }
    }

    #[test]
    fn a_right_list_with_pfn_0_is_not_taken_for_the_defect() {
        let list = [0x0F, 0, 0, 0, 16, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0x20, 0, 0, 0, 0, 0, 0, 0];
        let (answers, reader) = read_all(BackKind::Colo, &colo(&list));
        assert_eq!(answers[2], "[0, 32]", "nothing follows: the caller's clock decides");
        assert!(!reader.has_list_defect());
        let mut bytes = colo(&list);
        libxl::Record::CheckpointState(CheckpointState::SecondaryReady).write(&mut bytes);
        assert_eq!(read_all(BackKind::Colo, &bytes).0[2..], ["[0, 32]", "State(SecondaryReady)"]);
    }

    #[test]
    fn an_empty_list_of_a_peer_since_4_18_leaves_nothing_behind() {
        let mut bytes = colo(&[0x0F, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0]);
        libxl::Record::CheckpointState(CheckpointState::SecondaryReady).write(&mut bytes);
        assert_eq!(read_all(BackKind::Colo, &bytes).0[2..], ["[]", "State(SecondaryReady)"]);
    }

    #[test]
    fn a_migration_ends_with_its_report_or_with_the_guest_given_back() {
        let good = [xl::BANNER, xl::READY, xl::REPORT, &[0]].concat();
        assert_eq!(read_all(BackKind::Migrate, &good).0, ["Banner", "Ready", "Report(0)"]);
        let bad = [xl::BANNER, xl::READY, xl::REPORT, &[253], xl::GO].concat();
        assert_eq!(read_all(BackKind::Migrate, &bad).0, ["Banner", "Ready", "Report(253)", "TakeBack"]);
        let early = [xl::BANNER, xl::GO].concat();
        assert_eq!(read_all(BackKind::Migrate, &early).0, ["Banner", "TakeBack"]);
    }

    #[test]
    fn remus_has_no_acknowledgement() {
        let mut bytes = xl::BANNER.to_vec();
        assert_eq!(read_all(BackKind::Remus, &bytes).0, ["Banner"]);
        bytes.push(0);
        let mut reader = BackReader::new(BackKind::Remus);
        reader.next(&bytes).unwrap();
        assert_eq!(reader.next(&bytes[54..]).unwrap_err().rule, Rule::Trailing);
    }
}
