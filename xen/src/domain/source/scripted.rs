//! A test's HVM guest with a scripted Xen and toolstack.
//!
//! Not here: the tests themselves (`logged`).

use super::*;
use crate::abi::domctl::{self, DomainFlags};
use crate::abi::{dm, memory};
use crate::simulated::{Asked, Simulated, payload, set_payload, suspended_flags};
use nix::errno::Errno;
use std::collections::BTreeSet;
use std::sync::{Arc, Mutex, MutexGuard};
use understudy_checkpoint::PAGE_SIZE;
use zerocopy::{FromBytes, FromZeros};

pub(super) const PFNS: u64 = 64;

/// The script: what the hypervisor and the toolstack answer.
pub(super) struct World {
    pub(super) is_suspended: bool,
    pub(super) is_logging: bool,
    pub(super) dirty: BTreeSet<u64>,
    pub(super) gpfn_max: u64,
    /// `Some`: the toolstack fails to suspend, after doing it (`true`) or not (`false`).
    pub(super) suspend_fails: Option<bool>,
    pub(super) resume_fails: Option<bool>,
    pub(super) takes_part: bool,
    pub(super) is_asked: bool,
    pub(super) resumed: u32,
    /// Xen's answer when a page is to be marked as written.
    pub(super) marking: Result<u64, Errno>,
}

type Shared = Arc<Mutex<World>>;

pub(super) struct Scripted(Shared);

impl Scripted {
    fn world(&self) -> MutexGuard<'_, World> {
        self.0.lock().unwrap()
    }
}

fn fails() -> DomainError {
    DomainError::Failed("as the script says".into())
}

impl Toolstack for Scripted {
    fn suspend(&mut self) -> Result<(), DomainError> {
        let mut world = self.world();
        world.is_suspended = world.suspend_fails.unwrap_or(true);
        world.is_asked = world.suspend_fails == Some(false);
        world.suspend_fails.map_or(Ok(()), |_| Err(fails()))
    }

    fn resume(&mut self) -> Result<(), DomainError> {
        let mut world = self.world();
        world.is_suspended = !world.resume_fails.unwrap_or(true);
        world.resumed += 1;
        world.is_asked = false;
        world.resume_fails.map_or(Ok(()), |_| Err(fails()))
    }

    fn guest_took_part(&self) -> bool {
        self.world().takes_part
    }

    fn is_asked_to_suspend(&self) -> bool {
        self.world().is_asked
    }

    fn log_device_model(&mut self, _on: bool) -> Result<(), DomainError> {
        Ok(())
    }

    fn save_device_model(&mut self, _out: &mut Vec<u8>) -> Result<(), DomainError> {
        Ok(())
    }
}

pub(super) struct Guest {
    pub(super) hypervisor: Arc<Simulated>,
    pub(super) world: Shared,
    pub(super) source: XenSource<Scripted>,
}

impl Guest {
    pub(super) fn new() -> Self {
        let world = Arc::new(Mutex::new(World {
            is_suspended: false,
            is_logging: false,
            dirty: BTreeSet::new(),
            gpfn_max: PFNS - 1,
            suspend_fails: None,
            resume_fails: None,
            takes_part: true,
            is_asked: false,
            resumed: 0,
            marking: Err(Errno::ENOSYS),
        }));
        let hypervisor = Simulated::new();
        answer(&hypervisor, &world);
        let xen = Xen::over(hypervisor.clone()).unwrap();
        let mut source = XenSource::open(xen, DomId(1), Scripted(world.clone())).unwrap();
        source.begin_log_dirty().unwrap();
        Self { hypervisor, world, source }
    }

    pub(super) fn world(&self) -> MutexGuard<'_, World> {
        self.world.lock().unwrap()
    }

    pub(super) fn writes(&self, pfn: u64, value: u8) {
        self.hypervisor.write_frame(pfn, &[value; PAGE_SIZE]);
        if self.world().is_logging {
            self.world().dirty.insert(pfn);
        }
    }

    /// A pause that copies what is dirty. Returns the first byte of each copied page, by pfn.
    pub(super) fn pause(&mut self) -> Result<Vec<(u64, u8)>, DomainError> {
        let copied = self.copy();
        self.source.resume().unwrap();
        copied
    }

    pub(super) fn copy(&mut self) -> Result<Vec<(u64, u8)>, DomainError> {
        self.source.suspend()?;
        let mut wanted = DirtyBitmap::new(self.source.page_count());
        self.source.drain_dirty(&mut wanted)?;
        self.copy_all(&wanted)
    }

    pub(super) fn copy_all(&mut self, wanted: &DirtyBitmap) -> Result<Vec<(u64, u8)>, DomainError> {
        let mut staging = Staging::new(2 * PFNS as usize);
        self.source.copy_pages(wanted, Pfn(0), &mut staging, 1)?;
        let with_data = staging.entries().iter().filter(|entry| entry.page_type().has_data());
        Ok(with_data.zip(staging.pages()).map(|(entry, page)| (entry.pfn().0, page[0])).collect())
    }
}

fn answer(hypervisor: &Arc<Simulated>, world: &Shared) {
    let seen = world.clone();
    hypervisor.answer(Asked::Domctl(domctl::GET_DOMAIN_INFO), move |call| {
        let mut info = domctl::DomainInfo::new_zeroed();
        (info.domain, info.tot_pages, info.flags) = (1, PFNS, DomainFlags::HVM);
        if seen.lock().unwrap().is_suspended {
            info.flags |= suspended_flags();
        }
        set_payload(call, &info);
        Ok(0)
    });
    hypervisor.answer(Asked::Domctl(domctl::GET_PAGE_FRAME_INFO), |call| {
        let count = payload::<domctl::PageFrameInfo>(call).num as usize;
        <[u64]>::mut_from_bytes(call.data().unwrap()).unwrap()[..count].fill(0);
        Ok(0)
    });
    let seen = world.clone();
    hypervisor.answer(Asked::Memory(memory::MAXIMUM_GPFN), move |_| Ok(seen.lock().unwrap().gpfn_max));
    hypervisor.answer(Asked::Domctl(domctl::GET_CPU_POLICY), |_| Ok(0));
    let seen = world.clone();
    hypervisor.answer(Asked::DeviceModel, move |call| {
        let mut world = seen.lock().unwrap();
        let (head, extents) = dm::ModifiedMemory::read_from_prefix(call.data().unwrap()).unwrap();
        let extents =
            <[dm::Extent]>::ref_from_prefix_with_elems(extents, head.nr_extents as usize).unwrap().0;
        for extent in extents {
            assert!(extent.first_pfn < world.gpfn_max, "Xen refuses the highest");
            if world.marking.is_ok() && world.is_logging {
                world.dirty.insert(extent.first_pfn);
            }
        }
        world.marking
    });
    let world = world.clone();
    hypervisor.answer(Asked::Domctl(domctl::SHADOW_OP), move |call| {
        let mut world = world.lock().unwrap();
        let mut asked: domctl::ShadowOp = payload(call);
        match asked.op {
            domctl::SHADOW_ENABLE_LOG_DIRTY if world.is_logging => return Err(Errno::EINVAL),
            domctl::SHADOW_ENABLE_LOG_DIRTY => world.is_logging = true,
            domctl::SHADOW_OFF => world.is_logging = false,
            // As Xen does: also without a log it succeeds.
            _ => {
                let dirty = std::mem::take(&mut world.dirty);
                asked.dirty_count = dirty.len() as u32;
                let bitmap = call.data().unwrap();
                bitmap.fill(0);
                dirty.iter().for_each(|pfn| bitmap[*pfn as usize / 8] |= 1 << (pfn % 8));
                set_payload(call, &asked);
            }
        }
        Ok(0)
    });
}
