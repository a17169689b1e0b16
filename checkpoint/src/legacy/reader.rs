//! A legacy stream: bytes in, items out. Incremental (any split of the input gives the same items), borrowing, bounded
//! (see [`limits`](super::limits)), and exact: it never asks for a byte behind the end.
//!
//! ```text
//!  Envelope ─► Head ─┬─ PV ──► Info ─► Frames ─┐
//!                    └─ HVM ───────────────────┴► Chunk ◄──── any chunk but the end ────┐
//!                                                  │ ├── a batch ─► Pages ──────────────┤
//!                    begin_body                    │ └── TMEM ─► TmemPool… / TmemExtra… ┘
//!                   ┌────────────► Chunk …         │ the end
//!                   │                              ├─ HVM ─► Rings ─► Context ─► Emulator ───┐
//!                  Over ◄──────────────────────────┴─ PV ──► Unmapped ─► Vcpu… ─► SharedInfo ┴─► Over
//! ```
//!
//! Nothing on the wire says whether another body follows a tail: whoever uses the reader decides
//! ([`begin_body`](Reader::begin_body)).

use super::batch;
use super::bytes::{u32_at, u64_at};
use super::chunk::{self, Chunk};
use super::envelope::Envelope;
use super::fault::{Defect, Fault, Rule};
use super::head::{HEAD_BYTES, Head};
use super::info::{self, Block};
use super::item::{Expect, Item, Run, Step};
use super::limits::EMULATOR_BYTES_MAX;
use super::tail::{
    CONTEXT_HEAD_BYTES, EMULATOR_HEAD_BYTES, EXTENDED_BYTES, RINGS_BYTES, XSAVE_HEAD_BYTES, context_bytes,
    emulator_bytes, emulator_until_end, xsave_bytes,
};
use super::tmem;
use crate::PAGE_SIZE;
use crate::stream::compressed_by;
use crate::stream::libxc::{DomainType, GuestWidth, VcpuPart};

#[derive(Clone, Copy, PartialEq, Eq, Debug)]
enum State {
    Envelope,
    Head,
    Info { left: u32 },
    Frames,
    Chunk,
    Run { run: Run, left: u64 },
    TmemPool,
    TmemExtra,
    Rings,
    Context,
    Emulator,
    EmulatorUntilEnd,
    Unmapped,
    Vcpu { index: usize, part: VcpuPart },
    SharedInfo,
    Over,
}

/// Reads legacy streams.
#[derive(Debug)]
pub struct Reader {
    state: State,
    expect: Expect,
    offset: u64,
    head: Option<Head>,
    width: Option<GuestWidth>,
    has_extended: bool,
    has_xsave: bool,
    /// vCPUs of the tail to come, ascending.
    vcpus: Vec<u32>,
    /// Pages of this body come compressed.
    compressed: bool,
    compressed_from_next: bool,
}

impl Reader {
    /// A reader at the beginning.
    pub fn new(expect: Expect) -> Self {
        Self {
            state: State::Envelope,
            expect,
            offset: 0,
            head: None,
            width: None,
            has_extended: false,
            has_xsave: false,
            vcpus: vec![0],
            compressed: false,
            compressed_from_next: false,
        }
    }

    /// Bytes consumed so far.
    pub fn offset(&self) -> u64 {
        self.offset
    }

    /// The word size of a PV guest, once it is known.
    pub fn width(&self) -> Option<GuestWidth> {
        self.width
    }

    /// Whether the pages of the body that is read come compressed.
    pub fn is_compressed(&self) -> bool {
        self.compressed
    }

    /// Whether the device model's state goes on until the input ends.
    pub fn goes_on_until_end(&self) -> bool {
        self.state == State::EmulatorUntilEnd
    }

    /// After a complete tail: another body follows.
    pub fn begin_body(&mut self) {
        debug_assert_eq!(self.state, State::Over);
        self.vcpus = vec![0];
        self.compressed |= self.compressed_from_next;
        self.state = State::Chunk;
    }

    /// So many bytes of a run went their way.
    pub fn pass(&mut self, bytes: u64) {
        let State::Run { run, left } = self.state else { unreachable!("only runs are passed") };
        self.offset += bytes;
        self.state = match (left - bytes, run) {
            (0, Run::Pages) => State::Chunk,
            (0, Run::Unmapped) => self.vcpu(0),
            (left, _) => State::Run { run, left },
        };
    }

    /// Takes the next item from the front of `input`.
    pub fn next<'a>(&mut self, input: &'a [u8]) -> Result<Step<'a>, Fault> {
        let offset = self.offset;
        match self.state {
            State::Run { run, left } => Ok(Step::Run(run, left)),
            State::EmulatorUntilEnd if input.len() > EMULATOR_BYTES_MAX => {
                let detail = format!("The device model's state has more than {EMULATOR_BYTES_MAX} bytes");
                Err(Defect::new(Rule::Emulator, detail).at(offset))
            }
            State::EmulatorUntilEnd => Ok(Step::UntilEnd),
            State::Over => Ok(Step::Over),
            _ => self.step(input).map_err(|defect| defect.at(offset)),
        }
    }

    /// The input has ended, with `rest`, where the device model's state went on until then.
    pub fn end_emulator<'a>(&mut self, rest: &'a [u8]) -> Result<Item<'a>, Fault> {
        debug_assert_eq!(self.state, State::EmulatorUntilEnd);
        let state = emulator_until_end(rest).map_err(|defect| defect.at(self.offset))?;
        self.offset += rest.len() as u64;
        self.state = State::Over;
        Ok(Item::Emulator { record: rest, state })
    }

    /// What an input that ends here is cut in.
    pub fn cut(&self, rest: &[u8]) -> Fault {
        let part = match self.state {
            State::Envelope | State::Head => "its first bytes",
            State::Info { .. } => "the extended info",
            State::Frames => "the frames of the P2M table",
            State::Chunk | State::TmemPool | State::TmemExtra => "a body",
            State::Run { run: Run::Pages, .. } => "a page",
            State::Run { run: Run::Unmapped, .. } | State::Unmapped => "the pages that were not mapped",
            State::Rings | State::Context => "the HVM context",
            State::Emulator | State::EmulatorUntilEnd => "the device model's record",
            State::Vcpu { .. } => "a vCPU",
            State::SharedInfo => "the shared info page",
            State::Over => "the next body",
        };
        let detail = format!("The input ends within {part}");
        Defect::new(Rule::Truncated, detail).at(self.offset + rest.len() as u64)
    }

    fn step<'a>(&mut self, input: &'a [u8]) -> Result<Step<'a>, Defect> {
        if self.state == State::Emulator && emulator_bytes(input)?.is_none() {
            self.state = State::EmulatorUntilEnd;
            return Ok(Step::UntilEnd);
        }
        let needed = self.needed(input)?;
        let Some(bytes) = input.get(..needed) else { return Ok(Step::Need(needed)) };
        let (taken, item) = self.take(bytes)?;
        self.offset += taken as u64;
        Ok(Step::Item(taken, item))
    }

    fn head(&self) -> Head {
        self.head.expect("the head is read first")
    }

    fn guest_width(&self) -> GuestWidth {
        self.width.expect("extended info without a vCPU is refused")
    }

    fn frame_count(&self) -> usize {
        u64::from(self.head().frames).div_ceil(self.guest_width().frames_per_page()) as usize
    }

    /// Bytes that the next item is read from, as far as `input` tells.
    fn needed(&self, input: &[u8]) -> Result<usize, Defect> {
        Ok(match self.state {
            State::Envelope if input.len() < HEAD_BYTES => HEAD_BYTES,
            State::Envelope => self.envelope_of(input)?.needed(input)?.max(HEAD_BYTES),
            State::Head => HEAD_BYTES,
            State::Info { left } => info::needed(input, left)?,
            State::Frames => self.frame_count() * self.head().word.bytes(),
            State::Chunk => chunk::needed(input, self.head().word)?,
            State::TmemPool => tmem::needed(input, tmem::POOL_BYTES),
            State::TmemExtra => tmem::needed(input, tmem::EXTRA_BYTES),
            State::Rings => RINGS_BYTES,
            State::Context => context_bytes(input)?,
            State::Emulator => emulator_bytes(input)?.expect("its length was told before"),
            State::Unmapped => 4,
            State::Vcpu { part: VcpuPart::Basic, .. } => self.guest_width().vcpu_basic_bytes(),
            State::Vcpu { part: VcpuPart::Xsave, .. } => xsave_bytes(input)?,
            State::Vcpu { .. } => EXTENDED_BYTES,
            State::SharedInfo => PAGE_SIZE,
            State::Run { .. } | State::EmulatorUntilEnd | State::Over => unreachable!("these have no items"),
        })
    }

    /// The envelope that the input begins with, if one is expected.
    fn envelope_of(&self, first: &[u8]) -> Result<Envelope, Defect> {
        let envelope = Envelope::of(first)?;
        if self.expect.envelope || envelope == Envelope::Bare {
            return Ok(envelope);
        }
        let detail =
            format!("A file {envelope}, where a bare stream was to be; its header is to be read before");
        Err(Defect::new(Rule::Envelope, detail))
    }

    /// Reads the item that all of `bytes` are there for. Returns how many of them are its own.
    fn take<'a>(&mut self, bytes: &'a [u8]) -> Result<(usize, Item<'a>), Defect> {
        let item = match self.state {
            State::Envelope => {
                let envelope = self.envelope_of(bytes)?;
                let taken = envelope.needed(bytes)?;
                self.state = State::Head;
                return Ok((taken, Item::Envelope(envelope, &bytes[..taken])));
            }
            State::Head => {
                let head = Head::read(bytes).map_err(|defect| match compressed_by(bytes) {
                    Some(command) => {
                        let hint = format!("The input is compressed; run it through `{command}` first");
                        Defect::new(Rule::Head, hint)
                    }
                    None => defect,
                })?;
                self.head = Some(head);
                self.state = match head.guest {
                    DomainType::Pv => State::Info { left: head.info_bytes },
                    DomainType::Hvm => State::Chunk,
                };
                return Ok((head.bytes(), Item::Head(head)));
            }
            State::Info { left } => self.take_block(bytes, left - bytes.len() as u32)?,
            State::Frames => self.take_frames(bytes)?,
            State::Chunk => Item::Chunk(self.take_chunk(bytes)?),
            State::TmemPool | State::TmemExtra => self.take_tmem(bytes)?,
            State::Rings => {
                self.state = State::Context;
                Item::Rings([0, 8, 16].map(|at| u64_at(bytes, at)))
            }
            State::Context => {
                self.state = if self.expect.emulator { State::Emulator } else { State::Over };
                Item::Context(&bytes[CONTEXT_HEAD_BYTES..])
            }
            State::Emulator => {
                self.state = State::Over;
                Item::Emulator { record: bytes, state: &bytes[EMULATOR_HEAD_BYTES..] }
            }
            State::Unmapped => self.take_unmapped(u32_at(bytes, 0))?,
            State::Vcpu { index, part } => self.take_vcpu(bytes, index, part),
            State::SharedInfo => {
                self.state = State::Over;
                Item::SharedInfo(bytes.try_into().expect("a page was asked for"))
            }
            State::Run { .. } | State::EmulatorUntilEnd | State::Over => unreachable!("these have no items"),
        };
        Ok((bytes.len(), item))
    }

    fn take_block(&mut self, bytes: &[u8], left: u32) -> Result<Item<'static>, Defect> {
        let block = info::read(bytes)?;
        match block {
            Block::Width(width) if self.width.replace(width).is_some() => {
                return Err(Defect::new(Rule::ExtendedInfo, "A second vCPU"));
            }
            Block::Width(_) | Block::Other(_) => {}
            Block::Extended => self.has_extended = true,
            Block::Xsave(has_xsave) => self.has_xsave = has_xsave,
        }
        if left == 0 && self.width.is_none() {
            let detail = "No vCPU tells the word size of the guest; such a stream cannot be converted";
            return Err(Defect::new(Rule::ExtendedInfo, detail));
        }
        self.state = if left == 0 { State::Frames } else { State::Info { left } };
        Ok(match block {
            Block::Width(width) => Item::Width(width),
            Block::Extended => Item::Block(*b"extv"),
            Block::Xsave(_) => Item::Block(*b"xcnt"),
            Block::Other(id) => Item::Block(id),
        })
    }

    fn take_frames<'a>(&mut self, bytes: &'a [u8]) -> Result<Item<'a>, Defect> {
        let Head { word, frames, .. } = self.head();
        let mut pfns = bytes.chunks_exact(word.bytes()).map(|bytes| word.at(bytes, 0));
        if let Some(pfn) = pfns.find(|pfn| *pfn >= frames.into()) {
            let detail = format!("P2M frame {pfn:#x} of a guest of {frames:#x} frames");
            return Err(Defect::new(Rule::P2mFrames, detail));
        }
        self.state = State::Chunk;
        Ok(Item::Frames(bytes))
    }

    fn take_chunk<'a>(&mut self, bytes: &'a [u8]) -> Result<Chunk<'a>, Defect> {
        let Head { word, guest, .. } = self.head();
        let read = Chunk::read(bytes, word)?;
        match read {
            Chunk::End if guest == DomainType::Hvm => self.state = State::Rings,
            Chunk::End => self.state = State::Unmapped,
            Chunk::Batch(words) => match batch::page_bytes(words, word) {
                left if left > 0 && !self.compressed => self.state = State::Run { run: Run::Pages, left },
                _ => {}
            },
            Chunk::Param(_) if guest == DomainType::Pv => {
                return Err(Defect::new(Rule::Chunk, "A parameter of HVM guests in a PV guest's stream"));
            }
            Chunk::Compressed(_) if !self.compressed => {
                return Err(Defect::new(
                    Rule::Compressed,
                    "Compressed pages, which were not announced before",
                ));
            }
            Chunk::VcpuInfo { max_id, map } => {
                let is_in = |id: &u32| map[*id as usize / 8] >> (id % 8) & 1 == 1;
                self.vcpus = (0..=max_id).filter(is_in).collect();
            }
            Chunk::EnableCompression => self.compressed_from_next = true,
            Chunk::Tmem => self.state = State::TmemPool,
            Chunk::TmemExtra => self.state = State::TmemExtra,
            _ => {}
        }
        Ok(read)
    }

    fn take_tmem(&mut self, bytes: &[u8]) -> Result<Item<'static>, Defect> {
        if tmem::is_end(bytes) {
            self.state = State::Chunk;
        } else if self.state == State::TmemPool {
            tmem::check_pool(bytes)?;
        }
        Ok(Item::Tmem)
    }

    fn take_unmapped(&mut self, count: u32) -> Result<Item<'static>, Defect> {
        let Head { word, frames, .. } = self.head();
        if count > frames {
            let detail = format!("{count} pages were not mapped, of a guest of {frames} frames");
            return Err(Defect::new(Rule::Unmapped, detail));
        }
        let left = u64::from(count) * word.bytes() as u64;
        self.state = match left {
            0 => self.vcpu(0),
            left => State::Run { run: Run::Unmapped, left },
        };
        Ok(Item::Unmapped(count))
    }

    /// The state before the vCPU of that index, or behind the last.
    fn vcpu(&self, index: usize) -> State {
        match self.vcpus.get(index) {
            Some(_) => State::Vcpu { index, part: VcpuPart::Basic },
            None => State::SharedInfo,
        }
    }

    fn take_vcpu<'a>(&mut self, bytes: &'a [u8], index: usize, part: VcpuPart) -> Item<'a> {
        self.state = match part {
            VcpuPart::Basic if self.has_extended => State::Vcpu { index, part: VcpuPart::Extended },
            VcpuPart::Basic | VcpuPart::Extended if self.has_xsave => {
                State::Vcpu { index, part: VcpuPart::Xsave }
            }
            _ => self.vcpu(index + 1),
        };
        let blob = if part == VcpuPart::Xsave { &bytes[XSAVE_HEAD_BYTES..] } else { bytes };
        Item::Vcpu { id: self.vcpus[index], part, blob }
    }
}
