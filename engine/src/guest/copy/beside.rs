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

/// Frames that are looked at from one part of an epoch to the next.
const STEP_FRAMES: u64 = 512;

/// What is beside an image.
#[derive(Debug)]
pub(in crate::guest) struct Beside {
    traffic: Arc<Traffic>,
    copy: Option<Placed>,
    setting: Option<Setting>,
}

/// A copy that was made.
#[derive(Debug)]
struct Placed {
    copy: Box<dyn HostCopy>,
    _room: Taken,
    /// Where it and the image may differ, beside what it has written since: what epochs changed.
    differs: DirtyBitmap,
}

/// A copy that is being set.
#[derive(Debug)]
struct Setting {
    epoch: Epoch,
    /// The next frame to look at.
    next: Pfn,
    /// What a new copy is made from, and the room that it takes.
    made: Option<(Image, Taken)>,
}

/// Why a copy cannot be set: there is none any more.
type Why = String;

impl Beside {
    pub(in crate::guest) fn new(traffic: Arc<Traffic>) -> Self {
        Self { traffic, copy: None, setting: None }
    }

    pub(in crate::guest) fn is_setting(&self) -> bool {
        self.setting.is_some()
    }

    /// A commit has changed this frame of the image.
    pub(in crate::guest) fn changed(&mut self, pfn: Pfn) {
        if let Some(placed) = &mut self.copy {
            placed.differs.set(pfn);
        }
    }

    /// Begins to set it to `epoch`, at which the image stands.
    pub(in crate::guest) fn set(&mut self, epoch: Epoch, held: &Held) -> Result<(), Why> {
        self.traffic.idle();
        let made = match &mut self.copy {
            Some(Placed { copy, differs, .. }) => {
                let halted = copy.halt().and_then(|()| copy.drain_dirty(differs));
                halted.map_err(|error| self.fail(&error))?;
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

    /// Goes on with that for some frames of `image`; the epoch once it is set.
    pub(in crate::guest) fn step(
        &mut self,
        image: &Image,
        held: &Held,
    ) -> Result<Option<Epoch>, (Epoch, Why)> {
        let Some(Setting { epoch, next, made }) = &mut self.setting else { return Ok(None) };
        let (epoch, from) = (*epoch, *next);
        let until = Pfn(from.0.saturating_add(STEP_FRAMES).min(image.page_count()));
        *next = until;
        let done = match (made, &mut self.copy) {
            (Some((made, _)), _) => make(made, image, from, until),
            (None, Some(placed)) => change(placed, image, from, until).map_err(|error| error.to_string()),
            (None, None) => Err("the copy is gone".into()),
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

    /// There is nothing to set it from.
    pub(in crate::guest) fn give_up(&mut self, why: &str) -> Result<Option<Epoch>, (Epoch, Why)> {
        let setting = self.setting.take();
        self.drop_copy();
        setting.map_or(Ok(None), |setting| Err((setting.epoch, why.to_owned())))
    }

    /// All pages are in place.
    fn finish(&mut self, image: &Image, held: &Held) -> Result<(), Why> {
        if let Some(Setting { made: Some((mut made, room)), .. }) = self.setting.take() {
            made.apply_state(image.state());
            let differs = DirtyBitmap::try_new(image.page_count()).map_err(|error| error.to_string())?;
            let port = self.traffic.clone();
            let copy = held.host.copy(&held.name, &held.description, made, port);
            let copy = copy.map_err(|error| error.to_string())?;
            self.traffic.connect(copy.card());
            self.copy = Some(Placed { copy, _room: room, differs });
            return Ok(());
        }
        let Some(Placed { copy, differs, .. }) = &mut self.copy else {
            return Err("the copy is gone".into());
        };
        differs.clear();
        copy.put_state(image.state()).map_err(|error| error.to_string())
    }

    pub(in crate::guest) fn run(&mut self) -> Result<(), Why> {
        self.with(|copy| copy.run())
    }

    pub(in crate::guest) fn halt(&mut self) -> Result<(), Why> {
        self.with(|copy| copy.halt())?;
        self.traffic.stands_still();
        Ok(())
    }

    fn with(&mut self, act: impl FnOnce(&mut dyn HostCopy) -> Result<(), DomainError>) -> Result<(), Why> {
        let Some(placed) = &mut self.copy else { return Err("there is no copy".into()) };
        act(&mut *placed.copy).map_err(|error| self.fail(&error))
    }

    fn fail(&mut self, error: &DomainError) -> Why {
        self.drop_copy();
        error.to_string()
    }

    /// Nothing is left of it here.
    pub(in crate::guest) fn drop_copy(&mut self) {
        (self.copy, self.setting) = (None, None);
    }

    /// The copy is the guest from now on. After an error it is still there only if it may be tried again.
    pub(in crate::guest) fn begin(&mut self, start: &Start<'_>) -> Result<RunningGuest, Why> {
        let Some(Placed { copy, _room, differs }) = self.copy.take() else {
            return Err("there is no copy".into());
        };
        copy.begin(start, &self.traffic).map_err(|NotBegun { why, copy }| {
            self.copy = copy.map(|copy| Placed { copy, _room, differs });
            why
        })
    }

    pub(in crate::guest) fn is_there(&self) -> bool {
        self.copy.is_some()
    }
}

/// A copy takes as much memory as an image: the kernel would end the whole process if it took what is not there.
fn take_room(held: &Held) -> Result<Taken, Why> {
    let bytes = held.host.copy_bytes(&held.description);
    let needed = bytes.saturating_add(memory::RESERVE_BYTES);
    match held.room.available_bytes() {
        Some(available) if available < needed => Err(format!(
            "a copy that runs takes as much memory as the image, {} MiB with the host's reserve, and {} MiB are available",
            needed >> 20,
            available >> 20
        )),
        _ => held.room.take(bytes).map_err(|room| {
            format!(
                "a copy that runs takes as much memory as the image, {} MiB, and of image-max {} MiB are left",
                bytes >> 20,
                room >> 20
            )
        }),
    }
}

fn make(made: &mut Image, image: &Image, from: Pfn, until: Pfn) -> Result<(), Why> {
    for pfn in (from.0..until.0).map(Pfn) {
        let page_type = image.page_type(pfn);
        if page_type != PageType::Absent {
            made.apply_page(PageEntry::new(pfn, page_type), image.page(pfn));
        }
    }
    made.fault().map_or(Ok(()), Err)
}

fn change(placed: &mut Placed, image: &Image, from: Pfn, until: Pfn) -> Result<(), DomainError> {
    let Placed { copy, differs, .. } = placed;
    for pfn in (from.0..until.0).map(Pfn).filter(|pfn| differs.get(*pfn)) {
        copy.put_page(PageEntry::new(pfn, image.page_type(pfn)), image.page(pfn))?;
    }
    Ok(())
}
