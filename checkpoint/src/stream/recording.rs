//! [`Recording`]: a recorded stream as epochs: the first copy, then each complete checkpoint.
//!
//! ```text
//!   headers, static records │ memory, state, CHECKPOINT … CHECKPOINT_END │ memory, state … CHECKPOINT_END │ mem
//!   └────────────── first copy: Description and Image ────────────────┘ └────────── an epoch ──────────┘ └ tail,
//!                                                                                                 never played
//! ```
//!
//! A plain stream is a first copy without epochs. An HVM guest's frames may reach higher in a later epoch than in the
//! first copy; a PV guest's end where X86_PV_P2M_FRAMES says. An entry without a page (XTAB) removes the page that was
//! there: the guest gave the frame back. (Stock receivers keep such a page as long as the guest exists.)

use super::config::GuestConfig;
use super::fault::{Defect, Fault, Layer, Place, Rule};
use super::input::{Items, StreamError};
use super::libxc::{self, DomainType, GuestWidth, LibxcHeader, PageData, Record};
use super::libxl;
use super::reader::{Content, Item, Reader};
use crate::domain::{Description, DomainState, GuestKind, Sink};
use crate::epoch::Image;
use crate::{PAGE_SIZE, Page, PageEntry, Pfn};
use std::io::Read;

/// The changes of one checkpoint.
#[derive(Clone, PartialEq, Eq, Debug, Default)]
pub struct RecordedEpoch {
    entries: Vec<PageEntry>,
    pages: Vec<Page>,
    state: DomainState,
}

impl RecordedEpoch {
    /// The changed pages in the order of the recording. A pfn that comes again replaces what came before.
    pub fn entries(&self) -> &[PageEntry] {
        &self.entries
    }

    /// The data of the entries that carry any, in order.
    pub fn pages(&self) -> &[Page] {
        &self.pages
    }

    /// Everything but pages.
    pub fn state(&self) -> &DomainState {
        &self.state
    }

    /// Advances an image from the previous epoch to this one. The image grows to the highest pfn in the epoch.
    pub fn apply_to(&self, image: &mut Image) {
        self.apply_pages(image);
        image.apply_state(&self.state);
    }

    /// The highest pfn in the epoch.
    pub fn pfn_max(&self) -> Option<Pfn> {
        self.entries.iter().map(|entry| entry.pfn()).max()
    }

    fn apply_pages(&self, image: &mut Image) {
        if let Some(Pfn(pfn_max)) = self.pfn_max() {
            image.grow(pfn_max + 1);
        }
        let mut pages = self.pages.iter();
        for entry in &self.entries {
            let page = if entry.page_type().has_data() { pages.next() } else { None };
            image.apply_page(*entry, page);
        }
    }

    fn clear_pages(&mut self) {
        self.entries.clear();
        self.pages.clear();
    }

    fn add_pages(&mut self, data: PageData<'_>) {
        self.entries.extend(data.entries());
        self.pages.extend_from_slice(data.pages());
    }
}

/// The effect of one item.
enum Progress {
    More,
    /// A checkpoint is complete.
    Committed,
    /// The stream has ended.
    Ended,
}

/// Reads a recording epoch by epoch, in memory bounded by the guest's size.
#[derive(Debug)]
pub struct Recording<R> {
    items: Items<R>,
    intake: Intake,
}

impl<R: Read> Recording<R> {
    /// A recording whose outermost layer is detected from its first bytes.
    pub fn new(input: R) -> Self {
        Self { items: Items::new(input, Reader::new()), intake: Intake::default() }
    }

    /// The number of complete checkpoints so far.
    pub fn checkpoints(&self) -> u64 {
        self.items.reader().checkpoints()
    }

    /// The guest's configuration; known after the first copy.
    pub fn guest(&self) -> &GuestConfig {
        &self.intake.guest
    }

    /// Reads the first copy: the guest's description, and its image at the first checkpoint (in a plain stream: at the
    /// end).
    pub fn first_copy(&mut self) -> Result<(Description, Image), StreamError> {
        let mut image = Image::new(0);
        let mut epoch = RecordedEpoch::default();
        loop {
            let progress = self.step(&mut epoch)?;
            epoch.apply_pages(&mut image);
            epoch.clear_pages();
            self.check_memory(image.resident_bytes() as u64)?;
            if !matches!(progress, Progress::More) {
                break;
            }
        }
        if let Some(pfn_max) = self.intake.pv_pfn_max {
            image.grow(pfn_max + 1);
        }
        self.intake.first_copy_read = true;
        image.apply_state(&epoch.state);
        let has_emulator = !epoch.state.libxl.is_empty();
        let Some(header) = self.intake.libxc else {
            return Err(self.fault(Rule::Order, "The stream ends before the libxc header".to_owned()).into());
        };
        Ok((self.intake.describe(&header, image.page_count(), has_emulator), image))
    }

    /// Reads the next complete epoch. `false` if there is none: the recording has ended, perhaps within an epoch; then
    /// do not use `into`.
    pub fn next_epoch(&mut self, into: &mut RecordedEpoch) -> Result<bool, StreamError> {
        into.clear_pages();
        into.state.clear();
        loop {
            match self.step(into) {
                Ok(Progress::More) => self.check_memory((into.pages.len() * PAGE_SIZE) as u64)?,
                Ok(Progress::Committed) => return Ok(true),
                Ok(Progress::Ended) => return Ok(false),
                Err(StreamError::Fault(fault)) if fault.rule == Rule::Truncated => return Ok(false),
                Err(error) => return Err(error),
            }
        }
    }

    /// [`next_epoch`](Self::next_epoch), which also advances an image from the previous epoch to this one. Fails if the
    /// guest would have more memory than its configuration allows.
    pub fn next_epoch_onto(
        &mut self,
        image: &mut Image,
        epoch: &mut RecordedEpoch,
    ) -> Result<bool, StreamError> {
        if !self.next_epoch(epoch)? {
            return Ok(false);
        }
        epoch.apply_to(image);
        self.check_memory(image.resident_bytes() as u64)?;
        Ok(true)
    }

    /// Adds one item to `epoch`.
    fn step(&mut self, epoch: &mut RecordedEpoch) -> Result<Progress, StreamError> {
        let before = self.items.reader().checkpoints();
        let Some(item) = self.items.next_item()? else {
            return Ok(Progress::Ended);
        };
        self.intake.take(&item, epoch)?;
        let committed = self.items.reader().checkpoints() > before;
        Ok(if committed { Progress::Committed } else { Progress::More })
    }

    fn check_memory(&self, bytes: u64) -> Result<(), Fault> {
        let bytes_max = self.intake.guest.image_bytes_max();
        if bytes <= bytes_max {
            return Ok(());
        }
        let detail = format!("The pages need {bytes} bytes; the guest's configuration allows {bytes_max}");
        Err(self.fault(Rule::ImageSize, detail))
    }

    /// A fault at the present place of the stream.
    fn fault(&self, rule: Rule, detail: String) -> Fault {
        let offset = self.items.reader().offset();
        Defect::new(rule, detail).at(Place { offset, record: None, layer: Layer::Libxc, kind: None })
    }
}

/// What the head of the stream says, against which later items are checked.
#[derive(Debug, Default)]
struct Intake {
    config: Vec<u8>,
    guest: GuestConfig,
    libxc: Option<LibxcHeader>,
    static_records: Vec<u8>,
    static_complete: bool,
    pv_width: Option<GuestWidth>,
    pv_pfn_max: Option<u64>,
    /// After VERIFY: all pages come again, only to be compared.
    comparing: bool,
    first_copy_read: bool,
}

impl Intake {
    fn take(&mut self, item: &Item<'_>, epoch: &mut RecordedEpoch) -> Result<(), Fault> {
        match item.content {
            Content::XlHeader(header) => {
                self.config = header.config.unwrap_or_default().to_vec();
                self.guest = GuestConfig::read(&self.config);
            }
            Content::LibxlHeader(_) | Content::Go => {}
            Content::LibxcHeader(header) => self.libxc = Some(header),
            Content::Libxl(frame) => match libxl::Record::parse(frame).map_err(|it| it.at(item.place))? {
                libxl::Record::EmulatorXenstoreData(_) | libxl::Record::EmulatorContext { .. } => {
                    epoch.state.libxl.extend_from_slice(item.bytes);
                }
                _ => {}
            },
            Content::Libxc(frame) => libxc::Record::parse(frame)
                .and_then(|record| self.take_libxc(record, item.bytes, epoch))
                .map_err(|defect| defect.at(item.place))?,
        }
        Ok(())
    }

    fn take_libxc(
        &mut self,
        record: Record<'_>,
        bytes: &[u8],
        epoch: &mut RecordedEpoch,
    ) -> Result<(), Defect> {
        match record {
            Record::PageData(_) if self.comparing => {}
            Record::PageData(data) => {
                self.check_pages(&data)?;
                epoch.add_pages(data);
            }
            Record::PvInfo(width) => {
                self.pv_width = Some(width);
                self.take_static(bytes)?;
            }
            Record::P2mFrames(frames) => {
                self.check_p2m(&frames)?;
                self.pv_pfn_max = self.pv_pfn_max.max(Some(frames.end.into()));
                self.take_static(bytes)?;
            }
            Record::StaticDataEnd => {
                self.static_complete = true;
                self.take_static(bytes)?;
            }
            Record::CpuidPolicy(_) | Record::MsrPolicy(_) => self.take_static(bytes)?,
            Record::Vcpu(_)
            | Record::SharedInfo(_)
            | Record::TscInfo(_)
            | Record::HvmContext(_)
            | Record::HvmParams(_) => epoch.state.libxc.extend_from_slice(bytes),
            Record::Verify => self.comparing = true,
            Record::End | Record::Checkpoint | Record::Optional { .. } => {}
        }
        Ok(())
    }

    fn take_static(&mut self, bytes: &[u8]) -> Result<(), Defect> {
        if self.first_copy_read {
            return Err(Defect::new(Rule::Order, "A static record comes again after the first copy"));
        }
        self.static_records.extend_from_slice(bytes);
        Ok(())
    }

    fn check_p2m(&self, frames: &libxc::P2mFrames<'_>) -> Result<(), Defect> {
        let Some(width) = self.pv_width else {
            return Err(Defect::new(Rule::Order, "X86_PV_P2M_FRAMES comes before X86_PV_INFO"));
        };
        let (have, expected) = (frames.frames.len() as u64, frames.frames_expected(width));
        if have != expected {
            let detail = format!("{have} P2M frames for a range that takes {expected}");
            return Err(Defect::new(Rule::P2mFrames, detail));
        }
        Ok(())
    }

    fn check_pages(&self, data: &PageData<'_>) -> Result<(), Defect> {
        let Some(header) = self.libxc else {
            return Err(Defect::new(Rule::Order, "Pages come before the libxc header"));
        };
        if header.version >= 3 && !self.static_complete {
            return Err(Defect::new(Rule::StaticData, "Pages come before STATIC_DATA_END"));
        }
        let below = match (header.domain_type, self.pv_pfn_max) {
            (DomainType::Pv, None) => {
                return Err(Defect::new(Rule::Order, "Pages come before X86_PV_P2M_FRAMES"));
            }
            (DomainType::Pv, Some(pfn_max)) => pfn_max + 1,
            // As a receiver, which takes any frame of an HVM guest at any time; below the reader's limit it is.
            (DomainType::Hvm, _) => return Ok(()),
        };
        match data.entries().find(|entry| entry.pfn().0 >= below) {
            None => Ok(()),
            Some(entry) => {
                let detail = format!("Pfn {:#x} is not below the guest's {below:#x}", entry.pfn().0);
                Err(Defect::new(Rule::PageRange, detail))
            }
        }
    }

    fn describe(&self, header: &LibxcHeader, page_count: u64, has_emulator: bool) -> Description {
        let kind = match (header.domain_type, self.guest.kind) {
            (DomainType::Pv, _) => GuestKind::Pv,
            (DomainType::Hvm, Some(kind @ (GuestKind::Hvm | GuestKind::Pvh))) => kind,
            (DomainType::Hvm, _) if has_emulator => GuestKind::Hvm,
            (DomainType::Hvm, _) => GuestKind::Pvh,
        };
        Description {
            kind,
            page_count,
            libxc_version: header.version,
            xen_version: header.xen_version,
            config: self.config.clone(),
            static_records: self.static_records.clone(),
            disks_bytes: Vec::new(),
        }
    }
}
