//! The copy beside an image, on the thread that commits: made, set to a commit, run and halted.
//!
//! ```text
//!   none ── Set ─► Making: pages of the image, some at a time ──┐
//!    ▲                                                          ├──► set, stands still ── Run ─► runs ── Halt ─► stands still
//!    │             Changing: what an epoch changed since,  ─────┘            ▲                                     │
//!    │             and what the copy wrote                                   └────────────── Set: Changing ◄───────┘
//!    └── Drop, or any error
//! ```
//!
//! While it is set the image stands still: commits wait (`receive`), and what arrives is decoded in between.
//!
//! Not here: when it is set, and what it hears and says ([`traffic`](super::traffic)).

use super::fault::CopyFault;
use super::room::Taken;
use super::running::{HostCopy, NotBegun};
use super::traffic::Traffic;
use crate::guest::machine::RunningGuest;
use crate::guest::receiver::work::Held;
use crate::guest::replica::Start;
use crate::memory;
use std::sync::Arc;
use understudy_checkpoint::domain::{DomainError, Sink};
use understudy_checkpoint::epoch::Image;
use understudy_checkpoint::pages::DirtyBitmap;
use understudy_checkpoint::{Epoch, PageEntry, PageType, Pfn};

/// Frames copied between two parts of an arriving epoch.
const STEP_FRAMES: u64 = 512;

/// The live copy beside an image, if there is one.
#[derive(Debug)]
pub(in crate::guest) struct Beside {
    traffic: Arc<Traffic>,
    copy: Option<Placed>,
    setting: Option<Setting>,
}

/// A copy that exists.
#[derive(Debug)]
struct Placed {
    copy: Box<dyn HostCopy>,
    _room: Taken,
    /// Frames that epochs have changed in the image, so that the copy may differ. The copy's own writes are not in it.
    differs: DirtyBitmap,
}

/// A copy that is being set.
#[derive(Debug)]
struct Setting {
    epoch: Epoch,
    /// The next frame to copy.
    next: Pfn,
    /// The memory of a new copy, and the room reserved for it.
    made: Option<(Image, Taken)>,
}

impl Beside {
    pub(in crate::guest) fn new(traffic: Arc<Traffic>) -> Self {
        Self { traffic, copy: None, setting: None }
    }

    pub(in crate::guest) fn is_setting(&self) -> bool {
        self.setting.is_some()
    }

    /// Notes that a commit has changed this frame of the image.
    pub(in crate::guest) fn changed(&mut self, pfn: Pfn) {
        if let Some(placed) = &mut self.copy {
            placed.differs.set(pfn);
        }
    }

    /// Begins to set the copy to `epoch`, the image's present epoch.
    pub(in crate::guest) fn set(&mut self, epoch: Epoch, held: &Held) -> Result<(), CopyFault> {
        self.traffic.idle();
        let made = match &mut self.copy {
            Some(Placed { copy, differs, .. }) => {
                let halted = copy.halt().and_then(|()| copy.drain_dirty(differs));
                halted.map_err(|error| self.fail(error))?;
                None
            }
            None => {
                let room = take_room(held)?;
                Some((Image::new(held.description.page_count), room))
            }
        };
        self.setting = Some(Setting { epoch, next: Pfn(0), made });
        Ok(())
    }

    /// Copies some more frames of `image`. Returns the epoch once the copy is set.
    pub(in crate::guest) fn step(
        &mut self,
        image: &Image,
        held: &Held,
    ) -> Result<Option<Epoch>, (Epoch, CopyFault)> {
        let Some(Setting { epoch, next, made }) = &mut self.setting else { return Ok(None) };
        let (epoch, from) = (*epoch, *next);
        let until = Pfn(from.0.saturating_add(STEP_FRAMES).min(image.page_count()));
        *next = until;
        let done = match (made, &mut self.copy) {
            (Some((made, _)), _) => make(made, image, from, until),
            (None, Some(placed)) => change(placed, image, from, until).map_err(CopyFault::from),
            (None, None) => Err(CopyFault::Gone),
        };
        let done = match done {
            Ok(()) if until.0 < image.page_count() => return Ok(None),
            Ok(()) => self.finish(image, held),
            Err(why) => Err(why),
        };
        self.setting = None;
        done.map(|()| Some(epoch)).map_err(|why| {
            self.drop_copy();
            (epoch, why)
        })
    }

    /// Ends the setting of the copy, because there is no image to set it from.
    pub(in crate::guest) fn give_up(&mut self, why: CopyFault) -> Result<Option<Epoch>, (Epoch, CopyFault)> {
        let setting = self.setting.take();
        self.drop_copy();
        setting.map_or(Ok(None), |setting| Err((setting.epoch, why)))
    }

    /// Completes the copy after its last page.
    fn finish(&mut self, image: &Image, held: &Held) -> Result<(), CopyFault> {
        if let Some(Setting { made: Some((mut made, room)), .. }) = self.setting.take() {
            made.apply_state(image.state());
            let differs = DirtyBitmap::try_new(image.page_count())?;
            let port = self.traffic.clone();
            let copy = held.host.copy(&held.name, &held.description, made, port)?;
            self.traffic.connect(copy.card());
            self.copy = Some(Placed { copy, _room: room, differs });
            return Ok(());
        }
        let Some(Placed { copy, differs, .. }) = &mut self.copy else { return Err(CopyFault::Gone) };
        differs.clear();
        Ok(copy.put_state(image.state())?)
    }

    pub(in crate::guest) fn run(&mut self) -> Result<(), CopyFault> {
        self.with(|copy| copy.run())
    }

    pub(in crate::guest) fn halt(&mut self) -> Result<(), CopyFault> {
        self.with(|copy| copy.halt())?;
        self.traffic.stands_still();
        Ok(())
    }

    fn with(
        &mut self,
        act: impl FnOnce(&mut dyn HostCopy) -> Result<(), DomainError>,
    ) -> Result<(), CopyFault> {
        let Some(placed) = &mut self.copy else { return Err(CopyFault::Absent) };
        act(&mut *placed.copy).map_err(|error| self.fail(error))
    }

    fn fail(&mut self, error: DomainError) -> CopyFault {
        self.drop_copy();
        error.into()
    }

    /// Drops the copy and all that belongs to it.
    pub(in crate::guest) fn drop_copy(&mut self) {
        (self.copy, self.setting) = (None, None);
    }

    /// Turns the copy into the guest. After an error the copy is kept only if the attempt may be repeated.
    pub(in crate::guest) fn begin(&mut self, start: &Start<'_>) -> Result<RunningGuest, CopyFault> {
        let Some(Placed { copy, _room, differs }) = self.copy.take() else {
            return Err(CopyFault::Absent);
        };
        copy.begin(start, &self.traffic).map_err(|NotBegun { why, copy }| {
            self.copy = copy.map(|copy| Placed { copy, _room, differs });
            CopyFault::NotBegun(why)
        })
    }

    pub(in crate::guest) fn is_there(&self) -> bool {
        self.copy.is_some()
    }
}

/// Reserves memory for a copy, which takes as much as an image. Without the check the kernel could kill the whole process.
fn take_room(held: &Held) -> Result<Taken, CopyFault> {
    let bytes = held.host.copy_bytes(&held.description);
    let needed = bytes.saturating_add(memory::RESERVE_BYTES);
    match held.room.available_bytes() {
        Some(available) if available < needed => {
            Err(CopyFault::NoMemory { needed_mib: needed >> 20, available_mib: available >> 20 })
        }
        _ => {
            let full = |left: u64| CopyFault::NoRoom { needed_mib: bytes >> 20, left_mib: left >> 20 };
            held.room.take(bytes).map_err(full)
        }
    }
}

fn make(made: &mut Image, image: &Image, from: Pfn, until: Pfn) -> Result<(), CopyFault> {
    for pfn in (from.0..until.0).map(Pfn) {
        let page_type = image.page_type(pfn);
        if page_type != PageType::Absent {
            made.apply_page(PageEntry::new(pfn, page_type), image.page(pfn));
        }
    }
    made.fault().map_or(Ok(()), |why| Err(CopyFault::Image(why)))
}

fn change(placed: &mut Placed, image: &Image, from: Pfn, until: Pfn) -> Result<(), DomainError> {
    let Placed { copy, differs, .. } = placed;
    for pfn in (from.0..until.0).map(Pfn).filter(|pfn| differs.get(*pfn)) {
        copy.put_page(PageEntry::new(pfn, image.page_type(pfn)), image.page(pfn))?;
    }
    Ok(())
}
