//! A hypervisor for tests: gives scripted answers, records what it was asked, and has memory to map.
//!
//! A domctl or sysctl with a wrong interface version is answered with EACCES, before anything else, as Xen does. A call
//! without a script panics and names the call.
//!
//! Not here: a model of Xen. The tests say what Xen would answer.

#![allow(unsafe_code)]

use crate::abi::domctl::DomainFlags;
use crate::abi::{XENVER_VERSION, domctl, hypercall, sched, sysctl};
use crate::hypervisor::{Call, ForeignMemory, Hypervisor};
use crate::{Access, DomId, Gfn, GfnSlot};
use nix::errno::Errno;
use nix::sys::memfd::{MFdFlags, memfd_create};
use nix::sys::mman::{MapFlags, ProtFlags, mmap, mmap_anonymous};
use std::collections::{HashMap, VecDeque};
use std::fs::File;
use std::io;
use std::num::NonZeroUsize;
use std::os::unix::fs::FileExt;
use std::ptr::NonNull;
use std::sync::{Arc, Mutex, MutexGuard};
use understudy_checkpoint::{PAGE_SIZE, Page};
use zerocopy::{FromBytes, Immutable, IntoBytes, KnownLayout};

/// A hypercall as scripts name it: number and subcommand.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug)]
pub(crate) enum Asked {
    /// `XEN_DOMCTL_*`
    Domctl(u32),
    /// `XEN_SYSCTL_*`
    Sysctl(u32),
    /// `XENMEM_*`
    Memory(u64),
    /// `HVMOP_*`
    Hvm(u64),
    /// `SCHEDOP_*`
    Sched(u64),
    /// `EVTCHNOP_*`
    Evtchn(u64),
    /// `GNTTABOP_*`
    Grant(u64),
    /// Page table operations.
    Mmu,
    /// Writes to page tables and to the machine-to-physical table.
    MmuUpdate,
    /// Operations of a device model.
    DeviceModel,
    /// Several calls in one. Their entries are the argument.
    Multicall,
    /// `XENVER_*`
    Version(u64),
}

type Answer = Box<dyn FnMut(&mut Call<'_>) -> Result<u64, Errno> + Send>;

/// The hypervisor of a test.
pub(crate) struct Simulated {
    script: Mutex<Script>,
    guest: Arc<Guest>,
}

struct Script {
    domctl_version: u32,
    sysctl_version: u32,
    answers: HashMap<Asked, Answer>,
    failures: HashMap<Asked, VecDeque<Errno>>,
    log: Vec<Asked>,
}

impl Simulated {
    /// A Xen 4.17 with domctl and sysctl version 0x15, and no scripts.
    pub(crate) fn new() -> Arc<Self> {
        let simulated = Self {
            script: Mutex::new(Script {
                domctl_version: 0x15,
                sysctl_version: 0x15,
                answers: HashMap::new(),
                failures: HashMap::new(),
                log: Vec::new(),
            }),
            guest: Arc::new(Guest::new()),
        };
        simulated.answer(Asked::Version(XENVER_VERSION), |_| Ok(4 << 16 | 17));
        simulated.answer(Asked::Domctl(domctl::GET_DOMAIN_INFO), |_| Ok(0));
        simulated.answer(Asked::DeviceModel, |_| Err(Errno::ENOSYS));
        simulated.answer(Asked::MmuUpdate, |_| Err(Errno::ENOSYS));
        Arc::new(simulated)
    }

    /// Sets the version of the domctl interface.
    pub(crate) fn speak(&self, domctl_version: u32) {
        self.script().domctl_version = domctl_version;
    }

    /// Sets the version of the sysctl interface.
    pub(crate) fn speak_sysctl(&self, sysctl_version: u32) {
        self.script().sysctl_version = sysctl_version;
    }

    /// Sets the script of a hypercall.
    pub(crate) fn answer(
        &self,
        asked: Asked,
        answer: impl FnMut(&mut Call<'_>) -> Result<u64, Errno> + Send + 'static,
    ) {
        self.script().answers.insert(asked, Box::new(answer));
    }

    /// Makes a hypercall fail the next times with `errnos`, and then succeed as before.
    pub(crate) fn fail(&self, asked: Asked, errnos: &[Errno]) {
        self.script().failures.entry(asked).or_default().extend(errnos);
    }

    /// The calls since the last time this was called, in order.
    pub(crate) fn asked(&self) -> Vec<Asked> {
        std::mem::take(&mut self.script().log)
    }

    fn script(&self) -> MutexGuard<'_, Script> {
        self.script.lock().expect("no test panics in a script and goes on")
    }
}

/// Decodes the payload of a domctl.
pub(crate) fn payload<T: FromBytes + KnownLayout + Immutable>(call: &mut Call<'_>) -> T {
    T::read_from_prefix(&call.argument()[domctl::HEAD_BYTES..]).expect("payloads fit").0
}

/// Decodes the payload of a sysctl.
pub(crate) fn sysctl_payload<T: FromBytes + KnownLayout + Immutable>(call: &mut Call<'_>) -> T {
    T::read_from_prefix(&call.argument()[sysctl::HEAD_BYTES..]).expect("payloads fit").0
}

/// Overwrites the payload of a sysctl.
pub(crate) fn set_sysctl_payload<T: IntoBytes + Immutable>(call: &mut Call<'_>, payload: &T) {
    payload.write_to_prefix(&mut call.argument()[sysctl::HEAD_BYTES..]).expect("payloads fit");
}

/// Overwrites the payload of a domctl.
pub(crate) fn set_payload<T: IntoBytes + Immutable>(call: &mut Call<'_>, payload: &T) {
    payload.write_to_prefix(&mut call.argument()[domctl::HEAD_BYTES..]).expect("payloads fit");
}

fn asked(call: &mut Call<'_>) -> Asked {
    let sub = call.word(0).unwrap_or(0);
    match call.op() {
        hypercall::DOMCTL => Asked::Domctl(head(call).command),
        hypercall::SYSCTL => Asked::Sysctl(sysctl_head(call).command),
        hypercall::MEMORY_OP => Asked::Memory(sub),
        hypercall::HVM_OP => Asked::Hvm(sub),
        hypercall::MULTICALL => Asked::Multicall,
        hypercall::SCHED_OP => Asked::Sched(sub),
        hypercall::EVENT_CHANNEL_OP => Asked::Evtchn(sub),
        hypercall::GRANT_TABLE_OP => Asked::Grant(sub),
        hypercall::MMUEXT_OP => Asked::Mmu,
        hypercall::MMU_UPDATE => Asked::MmuUpdate,
        hypercall::DM_OP => Asked::DeviceModel,
        hypercall::XEN_VERSION => Asked::Version(sub),
        op => panic!("hypercall {op} has no name here"),
    }
}

/// The flags of a domain that has suspended itself.
pub(crate) fn suspended_flags() -> DomainFlags {
    DomainFlags::SHUTDOWN | DomainFlags::from_bits_retain(sched::SHUTDOWN_SUSPEND << domctl::SHUTDOWN_SHIFT)
}

/// Decodes the head of a domctl.
pub(crate) fn head(call: &mut Call<'_>) -> domctl::Head {
    domctl::Head::read_from_prefix(call.argument()).expect("domctls have heads").0
}

fn sysctl_head(call: &mut Call<'_>) -> sysctl::Head {
    sysctl::Head::read_from_prefix(call.argument()).expect("sysctls have heads").0
}

impl Hypervisor for Simulated {
    fn hypercall(&self, call: &mut Call<'_>) -> Result<u64, Errno> {
        let asked = asked(call);
        let mut script = self.script();
        script.log.push(asked);
        let is_understood = match asked {
            Asked::Domctl(_) => head(call).interface_version == script.domctl_version,
            Asked::Sysctl(_) => sysctl_head(call).interface_version == script.sysctl_version,
            _ => true,
        };
        if !is_understood {
            return Err(Errno::EACCES);
        }
        if let Some(errno) = script.failures.get_mut(&asked).and_then(VecDeque::pop_front) {
            return Err(errno);
        }
        let answer = script.answers.get_mut(&asked);
        answer.unwrap_or_else(|| panic!("no script answers {asked:?}"))(call)
    }

    fn foreign_memory(&self, _domain: DomId) -> io::Result<Arc<dyn ForeignMemory>> {
        Ok(self.guest.clone())
    }
}

/// The memory to map: a sparse file with one page for each frame, shared by all domains.
struct Guest {
    memory: File,
    state: Mutex<GuestState>,
}

#[derive(Default)]
struct GuestState {
    /// Frames that do not map: the errno, and how often.
    broken: HashMap<u64, (Errno, usize)>,
    /// Frames that have moved.
    moved: HashMap<u64, u64>,
    fails: Option<Errno>,
    cannot_fill: bool,
    replaced: usize,
}

/// The grant table's first page in the file, beyond any test's frames.
const GRANT_FRAME: u64 = FRAMES - 16;
const FRAMES: u64 = 1 << 20;

impl Guest {
    fn new() -> Self {
        let memory = File::from(memfd_create(c"guest", MFdFlags::MFD_CLOEXEC).expect("a file in memory"));
        memory.set_len(FRAMES * PAGE_SIZE as u64).expect("a sparse file");
        Self { memory, state: Mutex::default() }
    }

    fn state(&self) -> MutexGuard<'_, GuestState> {
        self.state.lock().expect("no test panics here and goes on")
    }

    /// Why a frame does not map this time.
    fn error(&self, frame: u64) -> Option<Errno> {
        if frame >= FRAMES {
            return Some(Errno::EINVAL);
        }
        let mut state = self.state();
        let (errno, times) = state.broken.get_mut(&frame)?;
        let errno = *errno;
        *times -= 1;
        if *times == 0 {
            state.broken.remove(&frame);
        }
        Some(errno)
    }

    /// # Safety
    /// As for [`ForeignMemory::replace`].
    unsafe fn map(&self, at: NonNull<Page>, frames: &[GfnSlot], access: Access, errors: &mut [u8]) {
        let page = NonZeroUsize::new(PAGE_SIZE).expect("not zero");
        let rights = match access {
            Access::Read => ProtFlags::PROT_READ,
            Access::ReadWrite => ProtFlags::PROT_READ | ProtFlags::PROT_WRITE,
        };
        let fixed = MapFlags::MAP_FIXED;
        for (index, (frame, error)) in frames.iter().zip(errors).enumerate() {
            // SAFETY: the range has as many pages as there are frames.
            let address = Some(unsafe { at.add(index) }.addr());
            let frame = frame.get().map_or(u64::MAX, |gfn| gfn.0);
            let errno = self.error(frame);
            *error = errno.map_or(0, |errno| errno as u8);
            let place = self.state().moved.get(&frame).copied().unwrap_or(frame);
            let offset = (place.min(FRAMES) * PAGE_SIZE as u64).cast_signed();
            // SAFETY: one page of the caller's range, which nobody uses meanwhile.
            let mapped = unsafe {
                match errno {
                    None => mmap(address, page, rights, MapFlags::MAP_SHARED | fixed, &self.memory, offset),
                    Some(_) => {
                        mmap_anonymous(address, page, ProtFlags::PROT_NONE, MapFlags::MAP_PRIVATE | fixed)
                    }
                }
            };
            mapped.expect("pages of a file can be mapped");
        }
    }
}

impl ForeignMemory for Guest {
    unsafe fn replace(
        &self,
        at: NonNull<Page>,
        frames: &[GfnSlot],
        access: Access,
        errors: &mut [u8],
    ) -> Result<(), Errno> {
        let fails = {
            let mut state = self.state();
            state.replaced += 1;
            state.fails
        };
        // SAFETY: the caller's promises are those asked for.
        fails.map_or_else(
            || unsafe {
                self.map(at, frames, access, errors);
                Ok(())
            },
            Err,
        )
    }

    unsafe fn fill(&self, at: NonNull<Page>, frames: &[GfnSlot], errors: &mut [u8]) -> Result<(), Errno> {
        if self.state().cannot_fill {
            return Err(Errno::EINVAL);
        }
        // SAFETY: the caller's promises are those asked for.
        unsafe { self.map(at, frames, Access::ReadWrite, errors) };
        Ok(())
    }

    unsafe fn grant_table(&self, at: NonNull<Page>, frames: usize) -> Result<(), Errno> {
        let table: Vec<GfnSlot> = (GRANT_FRAME..).take(frames).map(|frame| Gfn(frame).into()).collect();
        // SAFETY: the caller's promises are those asked for.
        unsafe { self.map(at, &table, Access::ReadWrite, &mut vec![0; frames]) };
        Ok(())
    }
}

/// The guest's side of its memory.
impl Simulated {
    /// Where the grant table's first frame can be found ([`move_frame`](Self::move_frame)).
    pub(crate) const GRANT_FRAME: u64 = GRANT_FRAME;

    /// The content of a frame.
    pub(crate) fn read_frame(&self, frame: u64) -> Page {
        let mut page = [0; PAGE_SIZE];
        self.guest.memory.read_exact_at(&mut page, frame * PAGE_SIZE as u64).expect("frames are in the file");
        page
    }

    /// Writes to a frame, as the guest would.
    pub(crate) fn write_frame(&self, frame: u64, page: &Page) {
        self.guest.memory.write_all_at(page, frame * PAGE_SIZE as u64).expect("frames are in the file");
    }

    /// The content of the grant table's first frame.
    pub(crate) fn read_grant_table(&self) -> Page {
        self.read_frame(GRANT_FRAME)
    }

    /// Writes the grant table's first frame, as guest and Xen would.
    pub(crate) fn write_grant_table(&self, page: &Page) {
        self.write_frame(GRANT_FRAME, page);
    }

    /// Makes a frame fail to map.
    pub(crate) fn break_frame(&self, frame: u64, errno: Errno) {
        self.guest.state().broken.insert(frame, (errno, usize::MAX));
    }

    /// Undoes [`break_frame`](Self::break_frame).
    pub(crate) fn mend_frame(&self, frame: u64) {
        self.guest.state().broken.remove(&frame);
    }

    /// Pages a frame out for so many attempts to map it.
    pub(crate) fn page_out(&self, frame: u64, attempts: usize) {
        self.guest.state().broken.insert(frame, (Errno::ENOENT, attempts));
    }

    /// Lets later mappings of `frame` find what `place` holds. Existing mappings stay.
    pub(crate) fn move_frame(&self, frame: u64, place: u64) {
        self.guest.state().moved.insert(frame, place);
    }

    /// Makes all mapping fail.
    pub(crate) fn fail_maps(&self, errno: Errno) {
        self.guest.state().fails = Some(errno);
    }

    /// Undoes [`fail_maps`](Self::fail_maps).
    pub(crate) fn mend_maps(&self) {
        self.guest.state().fails = None;
    }

    /// Sets whether holes can be filled (as on a PV dom0) or not (as on a PVH dom0).
    pub(crate) fn kernel_fills(&self, fills: bool) {
        self.guest.state().cannot_fill = !fills;
    }

    /// How often a piece was remapped.
    pub(crate) fn replaced(&self) -> usize {
        self.guest.state().replaced
    }
}
