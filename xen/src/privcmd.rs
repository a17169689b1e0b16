//! The hypervisor through `/dev/xen/privcmd`.
//!
//! Hypercalls use one descriptor. Memory is mapped through another, which is restricted to one domain and cannot reach
//! other guests. (A restricted descriptor cannot do hypercalls: EPERM.)
//!
//! ```text
//!   Privcmd ── fd ─────────────► HYPERCALL
//!      └────── fd, RESTRICT d ─► mmap + MMAPBATCH_V2, MMAP_RESOURCE       one, for the domain mapped last
//! ```

#![allow(unsafe_code)]

use crate::abi::{memory, privcmd};
use crate::hypervisor::{Call, ForeignMemory, Hypervisor};
use crate::{Access, DomId, GfnSlot, XenError};
use nix::errno::Errno;
use nix::sys::mman::{MapFlags, ProtFlags, mmap, mmap_anonymous};
use std::fs::{File, OpenOptions};
use std::io;
use std::num::NonZeroUsize;
use std::os::fd::AsRawFd;
use std::path::{Path, PathBuf};
use std::ptr::NonNull;
use std::sync::{Arc, Mutex, PoisonError};
use understudy_checkpoint::{PAGE_SIZE, Page};

mod ioctl {
    use super::privcmd;
    nix::ioctl_write_ptr_bad!(hypercall, privcmd::HYPERCALL, privcmd::Hypercall);
    nix::ioctl_write_ptr_bad!(mmap_batch, privcmd::MMAP_BATCH_V2, privcmd::MmapBatch);
    nix::ioctl_write_ptr_bad!(restrict, privcmd::RESTRICT, u16);
    nix::ioctl_write_ptr_bad!(mmap_resource, privcmd::MMAP_RESOURCE, privcmd::MmapResource);
}

/// Paths of the device. The second is that of old kernels, through xenfs.
const PATHS: [&str; 2] = ["/dev/xen/privcmd", "/proc/xen/privcmd"];

/// The hypervisor of this host.
#[derive(Debug)]
pub(crate) struct Privcmd {
    path: PathBuf,
    calls: File,
    /// The descriptor used last for mapping: pages are mapped batch by batch, mostly for one guest.
    last: Mutex<Option<(DomId, Arc<PrivcmdFd>)>>,
}

impl Privcmd {
    /// Opens the device.
    pub(crate) fn open() -> Result<Self, XenError> {
        let mut failed = None;
        for path in PATHS {
            match open(Path::new(path)) {
                Ok(calls) => return Ok(Self { path: path.into(), calls, last: Mutex::new(None) }),
                Err(source) => failed = failed.or(Some(XenError::Device { path: path.into(), source })),
            }
        }
        Err(failed.expect("there are paths"))
    }
}

fn open(path: &Path) -> io::Result<File> {
    OpenOptions::new().read(true).write(true).open(path)
}

impl Hypervisor for Privcmd {
    fn hypercall(&self, call: &mut Call<'_>) -> Result<u64, Errno> {
        let request = privcmd::Hypercall { op: call.op(), arg: call.registers() };
        // SAFETY: the addresses in the request are those of buffers that `call` borrows exclusively, and Xen stays
        // within them by the counts that `Call::new` was given.
        let answer = unsafe { ioctl::hypercall(self.calls.as_raw_fd(), &request) }?;
        // ioctl() cuts the kernel's answer to 32 bits. Frame numbers above 2^31 are meant, not negative numbers,
        // which have become errors already.
        Ok(u64::from(answer.cast_unsigned()))
    }

    fn foreign_memory(&self, domain: DomId) -> io::Result<Arc<dyn ForeignMemory>> {
        let mut last = self.last.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some((of, fd)) = &*last
            && *of == domain
        {
            return Ok(fd.clone());
        }
        let device = open(&self.path)?;
        // SAFETY: the kernel reads one u16.
        match unsafe { ioctl::restrict(device.as_raw_fd(), &domain.0) } {
            Ok(_) => {}
            // Kernels before 4.11 know no restriction: mapping works, only less is forbidden.
            Err(Errno::ENOTTY | Errno::ENOSYS) => {
                tracing::debug!("this kernel cannot restrict privcmd to domain {domain}");
            }
            Err(errno) => return Err(errno.into()),
        }
        let fd = Arc::new(PrivcmdFd { domain, device });
        *last = Some((domain, fd.clone()));
        Ok(fd)
    }
}

/// A descriptor that maps the memory of one domain.
#[derive(Debug)]
struct PrivcmdFd {
    domain: DomId,
    device: File,
}

impl PrivcmdFd {
    /// Maps a fresh part of the device at the address `at`, with no frames yet.
    ///
    /// # Safety
    /// As for [`ForeignMemory::replace`].
    unsafe fn map_at(&self, at: NonNull<Page>, pages: usize, access: Access) -> Result<(), Errno> {
        let rights = match access {
            Access::Read => ProtFlags::PROT_READ,
            Access::ReadWrite => ProtFlags::PROT_READ | ProtFlags::PROT_WRITE,
        };
        let (start, length) = range(at, pages);
        let flags = MapFlags::MAP_SHARED | MapFlags::MAP_FIXED;
        // SAFETY: the range is the caller's and unused.
        unsafe { mmap(Some(start), length, rights, flags, &self.device, 0) }.map(drop)
    }

    /// Makes the kernel map `frames` into what `map_at` put at the address `at`.
    ///
    /// # Safety
    /// As for [`ForeignMemory::fill`].
    unsafe fn batch(&self, at: NonNull<Page>, frames: &[GfnSlot], errors: &mut [u8]) -> Result<(), Errno> {
        let mut answers = vec![0i32; frames.len()];
        let request = privcmd::MmapBatch {
            num: u32::try_from(frames.len()).map_err(|_| Errno::E2BIG)?,
            domain: self.domain.0,
            address: at.addr().get() as u64,
            frames: frames.as_ptr().addr() as u64,
            errors: answers.as_mut_ptr().addr() as u64,
        };
        // Provenance: the kernel is handed the addresses as numbers.
        frames.as_ptr().expose_provenance();
        answers.as_mut_ptr().expose_provenance();
        // SAFETY: the kernel reads `num` frames, writes `num` answers, both of that length, and changes only
        // the page tables of the range at `at`, which is the caller's.
        match unsafe { ioctl::mmap_batch(self.device.as_raw_fd(), &request) } {
            // ENOENT: some are paged out; the answers say which.
            Ok(_) | Err(Errno::ENOENT) => {}
            Err(errno) => return Err(errno),
        }
        for (error, answer) in errors.iter_mut().zip(&answers) {
            *error = u8::try_from(answer.unsigned_abs()).unwrap_or(Errno::EIO as u8);
        }
        Ok(())
    }

    /// Unmaps everything from the address `at` on after a failure, but keeps the range reserved.
    ///
    /// # Safety
    /// As for [`ForeignMemory::replace`].
    unsafe fn clear(at: NonNull<Page>, pages: usize) {
        let (start, length) = range(at, pages);
        let flags = MapFlags::MAP_PRIVATE | MapFlags::MAP_FIXED | MapFlags::MAP_NORESERVE;
        // SAFETY: the range is the caller's and unused.
        let cleared = unsafe { mmap_anonymous(Some(start), length, ProtFlags::PROT_NONE, flags) };
        debug_assert!(cleared.is_ok(), "an empty mapping costs nothing");
    }
}

fn range(at: NonNull<Page>, pages: usize) -> (NonZeroUsize, NonZeroUsize) {
    let length = NonZeroUsize::new(pages * PAGE_SIZE).expect("a mapping has pages");
    (at.addr(), length)
}

impl ForeignMemory for PrivcmdFd {
    unsafe fn replace(
        &self,
        at: NonNull<Page>,
        frames: &[GfnSlot],
        access: Access,
        errors: &mut [u8],
    ) -> Result<(), Errno> {
        // SAFETY: the caller's promises are those asked for.
        let mapped =
            unsafe { self.map_at(at, frames.len(), access).and_then(|()| self.batch(at, frames, errors)) };
        if mapped.is_err() {
            // SAFETY: the caller's promises are those asked for.
            unsafe { Self::clear(at, frames.len()) };
        }
        mapped
    }

    unsafe fn fill(&self, at: NonNull<Page>, frames: &[GfnSlot], errors: &mut [u8]) -> Result<(), Errno> {
        // SAFETY: the caller's promises are those asked for.
        unsafe { self.batch(at, frames, errors) }
    }

    unsafe fn grant_table(&self, at: NonNull<Page>, frames: usize) -> Result<(), Errno> {
        let request = privcmd::MmapResource {
            domain: self.domain.0,
            kind: memory::RESOURCE_GRANT_TABLE,
            id: memory::RESOURCE_GRANT_TABLE_SHARED,
            index: 0,
            num: frames as u64,
            address: at.addr().get() as u64,
        };
        // SAFETY: the caller's promises are those asked for; the kernel changes only the page table entries
        // of `at`.
        let mapped = unsafe {
            self.map_at(at, frames, Access::ReadWrite)
                .and_then(|()| ioctl::mmap_resource(self.device.as_raw_fd(), &request).map(drop))
        };
        if mapped.is_err() {
            // SAFETY: the caller's promises are those asked for.
            unsafe { Self::clear(at, frames) };
        }
        mapped
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{Gfn, HypercallBuffer, Mapping, Xen};

    /// A device that can be opened and mapped but rejects every request.
    fn no_privcmd() -> Privcmd {
        let path = PathBuf::from("/dev/zero");
        Privcmd { calls: open(&path).unwrap(), path, last: Mutex::new(None) }
    }

    #[test]
    fn a_device_that_is_something_else_is_told() {
        let mut argument = HypercallBuffer::new(8).unwrap();
        let registers = [crate::hypervisor::Register::Word(0); 5];
        let mut call = Call::new(17, registers, &mut argument, None, &[]);
        assert_eq!(no_privcmd().hypercall(&mut call), Err(Errno::ENOTTY));
        assert!(matches!(
            Xen::over(Arc::new(no_privcmd())),
            Err(XenError::Hypercall { errno: Errno::ENOTTY, .. })
        ));
    }

    #[test]
    fn a_mapping_that_fails_leaves_nothing_behind_but_its_reason() {
        let hypervisor = no_privcmd();
        let mapped = Mapping::new(
            hypervisor.foreign_memory(DomId(3)).unwrap(),
            DomId(3),
            &[Gfn(1).into(), Gfn(2).into()],
            Access::Read,
        );
        assert!(matches!(mapped, Err(XenError::Map { errno: Errno::ENOTTY, .. })));
        let granted = Mapping::grant_table(hypervisor.foreign_memory(DomId(3)).unwrap(), DomId(3), 1);
        assert!(matches!(granted, Err(XenError::Hypercall { errno: Errno::ENOTTY, .. })));
    }

    #[test]
    fn the_device_is_opened_once_for_a_domain_in_a_row() {
        let hypervisor = no_privcmd();
        let of = |domain| Arc::as_ptr(&hypervisor.foreign_memory(DomId(domain)).unwrap()).cast::<()>();
        let first = of(3);
        assert_eq!(of(3), first);
        assert_eq!(hypervisor.last.lock().unwrap().as_ref().map(|(domain, _)| *domain), Some(DomId(3)));
        of(4);
        assert_eq!(hypervisor.last.lock().unwrap().as_ref().map(|(domain, _)| *domain), Some(DomId(4)));
    }

    #[test]
    fn a_machine_without_xen_is_told_what_is_missing() {
        if let Err(error) = Privcmd::open() {
            let text = error.to_string();
            assert!(text.starts_with("/dev/xen/privcmd: ") && text.contains("dom0"), "{text}");
        }
    }
}
