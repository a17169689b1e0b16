//! From a legacy stream to one of today: bytes in, bytes out, pages past it.
//!
//! ```text
//!   legacy                                   libxl v2 around libxc v3, of Xen 0.1
//!
//!   envelope                            ─►   envelope, marked as v2
//!   p2m_size                            ─►   headers, HVM: STATIC_DATA_END
//!   extended info                       ─►   X86_PV_INFO, STATIC_DATA_END
//!   frames                              ─►   X86_PV_P2M_FRAMES
//!   body 1    batches                   ─►   PAGE_DATA, as they come       (its pages pass by: Action::Pass)
//!             time stamp counter        ─►   X86_TSC_INFO, where it comes
//!             parameters, vCPUs' map …       kept
//!   tail 1                                   kept
//!   body 2…   pages                          kept until their tail is whole, then ─► PAGE_DATA
//!   tail 2…                                  kept in place of the one before
//!   the end                             ─►   the last whole tail: HVM_PARAMS, state, END, device model, END
//! ```
//!
//! A stream of Remus becomes a plain one of its last complete checkpoint: receivers take the later copy of a page. Whether
//! another body follows a tail, the stream says by LAST_CHECKPOINT and ENABLE_COMPRESSION, and by what only Xen since 4.1
//! wrote: senders that know LAST_CHECKPOINT leave it out for Remus alone. Of other streams, an input that can be looked
//! at further is ([`After::Look`]), and one that could be waited for in vain is not ([`After::Stop`]).

use super::batch::{self, Segment};
use super::body::{Body, Tail};
use super::chunk::Chunk;
use super::delta;
use super::envelope::Envelope;
use super::fault::{Defect, Fault, Rule};
use super::head::{Head, guest_name};
use super::held::Held;
use super::item::{Expect, Item, Run, Step};
use super::options::{After, Layer, Options, Report};
use super::reader::Reader;
use crate::stream::libxc::{DomainType, LibxcHeader, P2mFrames, Record, write_page_data_head};
use crate::stream::libxl::{self, LibxlHeader};
use std::collections::VecDeque;
use zerocopy::little_endian::U64;

/// What a converter says of the Xen that wrote the stream: it does not know.
const XEN_VERSION: (u32, u32) = (0, 1);
const LIBXC_VERSION: u32 = 3;

/// Asked for at once, where it matters little.
const PIECE_BYTES: u64 = 1 << 20;

/// What the converter wants next. Before each, [`output`](Converter::output) is to be written.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Action {
    /// Come again with so many bytes, from the same start; the stream has them.
    Need(usize),
    /// Come again with all bytes until the input ends, from the same start.
    UntilEnd,
    /// So many bytes of the input were taken.
    Took(usize),
    /// So many bytes go from the input to the output as they are; say by [`passed`](Converter::passed) how many went.
    Pass(u64),
    /// It is done.
    Done,
}

#[derive(Clone, Copy, PartialEq, Eq, Debug)]
enum Phase {
    /// Pages go on as they come.
    First,
    /// They wait for their tail. `doubtful`: it may be that no checkpoint is here at all.
    Later {
        doubtful: bool,
    },
    Done,
}

/// Converts one stream.
#[derive(Debug)]
pub struct Converter {
    options: Options,
    reader: Reader,
    phase: Phase,
    out: Vec<u8>,
    envelope: Envelope,
    told: Option<DomainType>,
    head: Option<Head>,
    body: Body,
    /// Records of pages to come, of the batch that is read.
    segments: VecDeque<Segment>,
    /// Bytes of pages of the record that is written.
    segment_left: u64,
    held: Held,
    committed: Option<Tail>,
    checkpoints: u64,
    dropped: bool,
    not_looked: bool,
}

impl Converter {
    /// A converter at the beginning of a stream. With [`Layer::Libxl`] it has output before it has seen a byte.
    pub fn new(options: Options) -> Self {
        let mut out = Vec::new();
        if options.layer == Layer::Libxl {
            write_libxl_head(&mut out);
        }
        let expect = Expect {
            envelope: options.layer == Layer::Whole,
            emulator: options.layer != Layer::Libxc { skip_emulator: true },
        };
        Self {
            options,
            reader: Reader::new(expect),
            phase: Phase::First,
            out,
            envelope: Envelope::Bare,
            told: None,
            head: None,
            body: Body::default(),
            segments: VecDeque::new(),
            segment_left: 0,
            held: Held::default(),
            committed: None,
            checkpoints: 0,
            dropped: false,
            not_looked: false,
        }
    }

    /// What is to be written now; empty it.
    pub fn output(&mut self) -> &mut Vec<u8> {
        &mut self.out
    }

    /// What was converted; of a conversion that is done.
    pub fn report(&self) -> Option<Report> {
        let head = self.head.filter(|_| self.phase == Phase::Done)?;
        let (checkpoints, dropped, not_looked) = (self.checkpoints, self.dropped, self.not_looked);
        let bytes = self.reader.offset();
        Some(Report { envelope: self.envelope, head, checkpoints, dropped, not_looked, bytes })
    }

    /// Goes on with `input`, the next bytes of the stream.
    pub fn next(&mut self, input: &[u8]) -> Result<Action, Fault> {
        match self.step(input) {
            Err(fault) if self.phase == (Phase::Later { doubtful: true }) => Err(question(fault)),
            result => result,
        }
    }

    /// The input has ended; `rest` of it was not taken.
    pub fn end(&mut self, rest: &[u8]) -> Result<(), Fault> {
        if self.phase == Phase::Done {
            return Ok(());
        }
        if self.reader.goes_on_until_end() {
            let item = self.reader.end_emulator(rest)?;
            self.body.take_tail(&item);
            return self.commit().map(|_| self.finish());
        }
        if self.committed.is_none() {
            return Err(self.reader.cut(rest));
        }
        self.dropped = self.body.has_begun || !rest.is_empty();
        self.finish();
        Ok(())
    }

    /// So many bytes of pages went from the input to the output.
    pub fn passed(&mut self, bytes: u64) {
        self.reader.pass(bytes);
        self.segment_left -= bytes;
        if self.segment_left == 0 {
            self.begin_segments();
        }
    }

    fn step(&mut self, input: &[u8]) -> Result<Action, Fault> {
        if self.phase == Phase::Done {
            return Ok(Action::Done);
        }
        let offset = self.reader.offset();
        match self.reader.next(input)? {
            Step::Need(bytes) => Ok(Action::Need(bytes)),
            Step::UntilEnd => Ok(Action::UntilEnd),
            Step::Item(bytes, item) => {
                self.take(&item).map_err(|defect| defect.at(offset))?;
                Ok(Action::Took(bytes))
            }
            Step::Run(Run::Pages, _) if self.phase == Phase::First => Ok(Action::Pass(self.segment_left)),
            Step::Run(run, left) => self.swallow(run, left, input).map_err(|defect| defect.at(offset)),
            Step::Over => self.commit(),
        }
    }

    /// Takes what is there of bytes that do not go on now.
    fn swallow(&mut self, run: Run, left: u64, input: &[u8]) -> Result<Action, Defect> {
        let left = if run == Run::Pages { self.segment_left } else { left };
        if input.is_empty() {
            return Ok(Action::Need(left.min(PIECE_BYTES) as usize));
        }
        let taken = left.min(input.len() as u64) as usize;
        if run == Run::Unmapped {
            self.reader.pass(taken as u64);
        } else {
            self.held.check(taken)?;
            Held::append(&mut self.held.records, &input[..taken])?;
            self.passed(taken as u64);
        }
        Ok(Action::Took(taken))
    }

    fn take(&mut self, item: &Item<'_>) -> Result<(), Defect> {
        match item {
            Item::Envelope(envelope, bytes) => {
                self.envelope = *envelope;
                self.told = envelope.guest(bytes);
                if self.options.layer == Layer::Whole {
                    envelope.write(bytes, &mut self.out);
                    write_libxl_head(&mut self.out);
                }
            }
            Item::Head(head) => self.take_head(head)?,
            Item::Width(width) => Record::PvInfo(*width).write(&mut self.out),
            Item::Frames(words) => self.take_frames(words),
            Item::Chunk(chunk) => self.take_chunk(chunk)?,
            Item::Block(_) | Item::Tmem | Item::Unmapped(_) => {}
            item => self.body.take_tail(item),
        }
        Ok(())
    }

    fn take_head(&mut self, head: &Head) -> Result<(), Defect> {
        self.check_told(head)?;
        self.head = Some(*head);
        let (version, domain_type) = (LIBXC_VERSION, head.guest);
        LibxcHeader { version, domain_type, xen_version: XEN_VERSION }.write(&mut self.out);
        if head.guest == DomainType::Hvm {
            Record::StaticDataEnd.write(&mut self.out);
        }
        Ok(())
    }

    /// What people and configurations say must be what the bytes say.
    fn check_told(&self, head: &Head) -> Result<(), Defect> {
        let told = |detail: String| Err(Defect::new(Rule::Told, detail));
        if let Some(word) = self.options.word.filter(|word| *word != head.word) {
            return told(format!("A {}-bit sender was named, but the bytes say: {head}", word.bits()));
        }
        for (guest, who) in [(self.options.guest, "was named"), (self.told, "is what the configuration says")]
        {
            if let Some(guest) = guest.filter(|guest| *guest != head.guest) {
                return told(format!(
                    "A guest of kind {} {who}, but the bytes say: {head}",
                    guest_name(guest)
                ));
            }
        }
        Ok(())
    }

    fn take_frames(&mut self, words: &[u8]) {
        let Head { word, frames, .. } = self.head.expect("frames follow the head");
        let pfns: Vec<U64> = words.chunks_exact(word.bytes()).map(|bytes| word.at(bytes, 0).into()).collect();
        Record::StaticDataEnd.write(&mut self.out);
        Record::P2mFrames(P2mFrames { start: 0, end: frames - 1, frames: &pfns }).write(&mut self.out);
    }

    fn take_chunk(&mut self, chunk: &Chunk<'_>) -> Result<(), Defect> {
        let head = self.head.expect("chunks follow the head");
        self.body.take_chunk(chunk, head.word)?;
        match chunk {
            Chunk::Batch(words) => {
                let entries = batch::entries(words, head.word, head.frames)?;
                self.held.check(0)?;
                if self.reader.is_compressed() {
                    self.held
                        .entries
                        .extend(entries.iter().filter(|entry| entry.page_type() != crate::PageType::Absent));
                    if self.held.entries.len() > head.frames as usize {
                        let detail = "A compressed checkpoint names more pages than the guest has";
                        return Err(Defect::new(Rule::Checkpoint, detail));
                    }
                } else {
                    self.segments.extend(batch::segments(entries));
                    self.begin_segments();
                }
            }
            Chunk::Compressed(packed) => {
                self.held.check(packed.len())?;
                Held::append(&mut self.held.packed, packed)?;
            }
            Chunk::Tsc(tsc) => Record::TscInfo(*tsc).write(self.records()),
            Chunk::End if self.reader.is_compressed() => {
                let Held { records, entries, packed, remembered } = &mut self.held;
                delta::unpack(entries, packed, remembered, records)?;
                entries.clear();
                packed.clear();
            }
            _ => {}
        }
        Ok(())
    }

    /// Where records of pages go.
    fn records(&mut self) -> &mut Vec<u8> {
        match self.phase {
            Phase::First => &mut self.out,
            Phase::Later { .. } | Phase::Done => &mut self.held.records,
        }
    }

    /// Writes the heads of records of pages up to the first that has pages.
    fn begin_segments(&mut self) {
        while self.segment_left == 0
            && let Some(segment) = self.segments.pop_front()
        {
            self.segment_left = segment.page_bytes;
            write_page_data_head(self.records(), &segment.entries);
        }
    }

    /// A tail is complete: what waited for it goes on.
    fn commit(&mut self) -> Result<Action, Fault> {
        let body = std::mem::take(&mut self.body);
        if let Phase::Later { .. } = self.phase {
            if !body.has_vcpu_info {
                let detail = "Every checkpoint of Remus says which vCPUs it has; this one does not";
                return Err(Defect::new(Rule::Checkpoint, detail).at(self.reader.offset()));
            }
            // Nothing is waiting to be written, so that nothing is copied.
            if self.out.is_empty() {
                std::mem::swap(&mut self.out, &mut self.held.records);
            } else {
                self.out.append(&mut self.held.records);
            }
        }
        self.checkpoints += 1;
        let tail = self.committed.insert(body.into_tail());
        let is_remus = tail.announces_compression || tail.shows_xen_4_1 || self.reader.is_compressed();
        let was_doubtful = !matches!(self.phase, Phase::Later { doubtful: false });
        match self.options.after {
            _ if tail.is_last => self.finish(),
            After::Plain => self.finish(),
            After::Remus => self.begin_body(false),
            _ if is_remus || !was_doubtful => self.begin_body(false),
            After::Look => self.begin_body(self.checkpoints == 1),
            After::Stop => {
                self.not_looked = true;
                self.finish();
            }
        }
        Ok(Action::Took(0))
    }

    fn begin_body(&mut self, doubtful: bool) {
        self.reader.begin_body();
        self.phase = Phase::Later { doubtful };
    }

    fn finish(&mut self) {
        let tail = self.committed.take().expect("a tail is complete");
        let guest = self.head.expect("tails follow the head").guest;
        tail.write(guest, self.options.layer, &mut self.out);
        self.phase = Phase::Done;
    }
}

fn write_libxl_head(out: &mut Vec<u8>) {
    LibxlHeader { converted: true }.write(out);
    libxl::Record::LibxcContext.write(out);
}

/// What follows the first tail of a stream that does not say whether it is one of Remus is no checkpoint.
fn question(fault: Fault) -> Fault {
    let Fault { offset, rule, detail } = fault;
    let detail = format!(
        "The stream does not say whether it ends after its first state, and what follows is no sound checkpoint of Remus \
         ({detail} [{rule}]). Say --plain if it is no stream of Remus and what follows is not its own; if it is one, it is \
         damaged"
    );
    Fault { offset, rule: Rule::Question, detail }
}
