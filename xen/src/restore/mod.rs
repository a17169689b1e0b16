//! Rebuilds a domain from a libxc stream: libxl has made the domain empty, records fill it, and completion makes it
//! runnable.
//!
//! ```text
//!   static data ──► policy set │ PAGE_DATA ──► populated, written │ TSC, parameters, shared info ──► set
//!                              │ vCPUs, HVM context ──► kept until completion
//!   complete: vCPUs, page tables pinned, P2M, event channels, grants ──► the guest may be unpaused
//! ```
//!
//! Not here: reading the stream, and deciding when an epoch counts ([`helper`](crate::helper)).

mod error;
mod exact;
pub(crate) mod hvm;
mod journal;
pub(crate) mod memory;
pub(crate) mod pv;

pub use error::RestoreError;
pub(crate) use exact::ExactItems;

use crate::{CpuPolicy, DomId, Gfn, TscInfo, Xen};
use bitflags::bitflags;
use hvm::HvmRebuild;
use memory::GuestMemory;
use pv::PvRebuild;
use serde::{Deserialize, Serialize};
use understudy_checkpoint::domain::{Description, GuestKind};
use understudy_checkpoint::stream::Frame;
use understudy_checkpoint::stream::libxc::{DomainType, LibxcHeader, PageData, Record, TscInfo as TscRecord};
use understudy_checkpoint::{PAGE_SIZE, PageEntry, PageType, Pfn};
use zerocopy::IntoBytes;

/// A ring's event channel and the domain at its other end.
#[derive(Serialize, Deserialize, Clone, Copy, PartialEq, Eq, Debug)]
pub struct RingEnd {
    /// The guest's port, allocated by libxl.
    pub port: u32,
    /// The domain that serves the ring.
    pub backend: DomId,
}

/// The two rings that every guest has.
#[derive(Serialize, Deserialize, Clone, Copy, PartialEq, Eq, Debug)]
pub struct Rings {
    /// The ring of xenstore.
    pub store: RingEnd,
    /// The ring of the console.
    pub console: RingEnd,
}

/// The frames of the rebuilt guest's rings; 0 if it has none, as in HVM parameters and in libxl.
#[derive(Serialize, Deserialize, Clone, Copy, PartialEq, Eq, Debug)]
pub struct RingFrames {
    /// The frame of xenstore's ring.
    pub store: Gfn,
    /// The frame of the console's ring.
    pub console: Gfn,
}

impl RingFrames {
    /// In place of a ring's frame: there is no such ring.
    pub const NONE: Gfn = Gfn(0);
}

impl Default for RingFrames {
    fn default() -> Self {
        Self { store: Self::NONE, console: Self::NONE }
    }
}

bitflags! {
    /// Static data that a stream lacks, as reported to the toolstack (`XGR_SDD_MISSING_*`, `xenguest.h`).
    #[derive(Clone, Copy, PartialEq, Eq, Debug)]
    pub struct MissingData: u32 {
        /// The CPUID policy.
        const CPUID = 1 << 0;
        /// The MSR policy.
        const MSR = 1 << 1;
    }
}

enum Guest {
    Hvm(HvmRebuild),
    Pv(Box<PvRebuild>),
}

/// A domain being rebuilt.
pub struct Rebuild {
    xen: Xen,
    domain: DomId,
    memory: GuestMemory,
    guest: Guest,
    policy: CpuPolicy,
    /// All static data have arrived.
    is_static_done: bool,
    /// Compare the pages that follow with what is there.
    is_verifying: bool,
    /// Pages that differed in the comparison.
    mismatches: u64,
    /// The rings are in use: libxl completed the domain before its memory got its present content.
    has_rings: bool,
}

impl Rebuild {
    /// Starts to rebuild the domain that libxl has made, from a stream with this header.
    pub fn begin(xen: Xen, domain: DomId, header: &LibxcHeader) -> Result<Self, RestoreError> {
        let info = xen.domain_info(domain)?.ok_or(RestoreError::Order("there is no such domain"))?;
        let name = |is_hvm| if is_hvm { "HVM or PVH" } else { "PV" };
        let is_hvm = header.domain_type == DomainType::Hvm;
        if is_hvm != info.is_hvm() {
            let (stream, built) = (name(is_hvm), name(info.is_hvm()));
            return Err(RestoreError::WrongKind { domain, stream, built });
        }
        let guest = if is_hvm {
            Guest::Hvm(HvmRebuild::default())
        } else {
            Guest::Pv(Box::new(PvRebuild::new(info.max_vcpu_id, info.shared_info_frame)))
        };
        Ok(Self {
            memory: GuestMemory::new(xen.clone(), domain, is_hvm),
            xen,
            domain,
            guest,
            policy: CpuPolicy { leaves: Vec::new(), msrs: Vec::new() },
            is_static_done: false,
            is_verifying: false,
            mismatches: 0,
            has_rings: false,
        })
    }

    /// Starts with a domain that libxl has completed and whose memory is in place as the stream has it; only state
    /// follows.
    pub(crate) fn of_standby(xen: Xen, domain: DomId, what: &Description) -> Result<Self, RestoreError> {
        let domain_type = if what.kind == GuestKind::Pv { DomainType::Pv } else { DomainType::Hvm };
        let header = LibxcHeader { version: what.libxc_version, domain_type, xen_version: what.xen_version };
        let mut rebuild = Self::begin(xen, domain, &header)?;
        rebuild.has_rings = true;
        // libxl has set the policy; it cannot be set again.
        rebuild.is_static_done = true;
        if let Guest::Hvm(guest) = &mut rebuild.guest {
            guest.keep_rings();
        }
        Ok(rebuild)
    }

    /// Takes the memory of a PV guest and makes its page tables name machine frames. `page_type` returns the type of a
    /// pfn. After an error [`into_memory`](Self::into_memory) returns the memory.
    pub(crate) fn localise(
        &mut self,
        static_records: &[u8],
        memory: GuestMemory,
        page_type: impl Fn(Pfn) -> PageType,
    ) -> Result<(), RestoreError> {
        self.memory = memory;
        let Guest::Pv(guest) = &mut self.guest else { return Ok(()) };
        records(static_records, |record| match record {
            Record::PvInfo(_) | Record::P2mFrames(_) => guest.apply(&self.xen, self.domain, record),
            _ => Ok(()),
        })?;
        guest.localise_tables(&mut self.memory, page_type)
    }

    /// Checks the state of a PV guest against its memory, without passing anything to Xen.
    pub(crate) fn check(
        mut self,
        static_records: &[u8],
        state: &[u8],
        memory: &GuestMemory,
        page_type: impl Fn(Pfn) -> PageType,
    ) -> Result<(), RestoreError> {
        let Guest::Pv(guest) = &mut self.guest else { return Ok(()) };
        let mut take = |record: &Record<'_>| match record {
            Record::PvInfo(_) | Record::P2mFrames(_) | Record::Vcpu(_) => {
                guest.apply(&self.xen, self.domain, record)
            }
            _ => Ok(()),
        };
        records(static_records, &mut take)?;
        records(state, &mut take)?;
        guest.check(memory, page_type)
    }

    /// Returns the memory.
    pub(crate) fn into_memory(self) -> GuestMemory {
        self.memory
    }

    /// Applies a sequence of libxc records.
    pub(crate) fn apply_all(&mut self, bytes: &[u8]) -> Result<(), RestoreError> {
        records(bytes, |record| self.apply(record))
    }

    /// Whether all static data have arrived.
    pub fn is_static_done(&self) -> bool {
        self.is_static_done
    }

    /// The number of pages that differed from those of a VERIFY pass.
    pub fn mismatches(&self) -> u64 {
        self.mismatches
    }

    /// Whether `record` requires all static data. A v2 stream does not say where they end; they end before the first
    /// such record.
    pub fn needs_static_data(record: &Record<'_>) -> bool {
        matches!(record, Record::P2mFrames(_) | Record::PageData(_))
    }

    /// Ends the static data: sets the policy. Returns what is missing.
    pub fn finish_static_data(&mut self) -> Result<MissingData, RestoreError> {
        if std::mem::replace(&mut self.is_static_done, true) {
            return Err(RestoreError::Order("its static data end twice"));
        }
        if !self.policy.leaves.is_empty() || !self.policy.msrs.is_empty() {
            self.xen.set_cpu_policy(self.domain, &self.policy)?;
        }
        let mut missing = MissingData::empty();
        missing.set(MissingData::CPUID, self.policy.leaves.is_empty());
        missing.set(MissingData::MSR, self.policy.msrs.is_empty());
        Ok(missing)
    }

    /// Applies a record. END, CHECKPOINT and STATIC_DATA_END are left to the caller.
    pub fn apply(&mut self, record: &Record<'_>) -> Result<(), RestoreError> {
        if Self::needs_static_data(record) && !self.is_static_done {
            return Err(RestoreError::Order("memory comes before the static data are complete"));
        }
        match record {
            Record::CpuidPolicy(leaves) => self.policy.leaves = leaves.as_bytes().to_vec(),
            Record::MsrPolicy(msrs) => self.policy.msrs = msrs.as_bytes().to_vec(),
            Record::TscInfo(tsc) => self.set_tsc(tsc)?,
            Record::Verify => self.is_verifying = true,
            Record::PageData(pages) if self.is_verifying => self.compare(pages)?,
            Record::PageData(pages) => self.pages(pages)?,
            // Of a type that is not known, and may be left out.
            Record::Optional { .. } => {}
            Record::End | Record::Checkpoint | Record::StaticDataEnd => {
                return Err(RestoreError::Order("a record ends what has not begun"));
            }
            Record::HvmContext(_) | Record::HvmParams(_) => match &mut self.guest {
                Guest::Hvm(guest) => guest.apply(&self.xen, self.domain, record)?,
                Guest::Pv(_) => return Err(RestoreError::Order("a PV guest has records of an HVM guest")),
            },
            Record::PvInfo(_) | Record::P2mFrames(_) | Record::Vcpu(_) | Record::SharedInfo(_) => {
                match &mut self.guest {
                    Guest::Pv(guest) => guest.apply(&self.xen, self.domain, record)?,
                    Guest::Hvm(_) => {
                        return Err(RestoreError::Order("an HVM guest has records of a PV guest"));
                    }
                }
            }
        }
        Ok(())
    }

    /// Makes the guest runnable. Afterwards nothing is mapped any more.
    pub fn complete(self, rings: Rings) -> Result<RingFrames, RestoreError> {
        self.complete_keeping(rings).0
    }

    /// [`complete`](Self::complete), which also returns the memory, perhaps unmapped.
    pub(crate) fn complete_keeping(
        mut self,
        rings: Rings,
    ) -> (Result<RingFrames, RestoreError>, GuestMemory) {
        let completed = match self.guest {
            Guest::Hvm(guest) => guest.complete(&self.xen, self.domain, rings),
            Guest::Pv(guest) => guest.complete(&self.xen, self.domain, &mut self.memory, rings),
        };
        let seeded = completed.and_then(|frames| {
            if !self.has_rings {
                seed_rings(&self.xen, self.domain, frames, rings)?;
            }
            Ok(frames)
        });
        (seeded, self.memory)
    }

    fn set_tsc(&self, tsc: &TscRecord) -> Result<(), RestoreError> {
        let info = TscInfo {
            mode: tsc.mode.get(),
            khz: tsc.khz.get(),
            incarnation: tsc.incarnation.get(),
            elapsed_ns: tsc.nsec.get(),
        };
        Ok(self.xen.set_tsc_info(self.domain, info)?)
    }

    fn pages(&mut self, pages: &PageData<'_>) -> Result<(), RestoreError> {
        let takes_frame = |entry: &PageEntry| {
            let kind = entry.page_type();
            kind.has_data() || kind == PageType::AllocateOnly
        };
        if let Guest::Pv(guest) = &mut self.guest {
            pages.entries().try_for_each(|entry| guest.note_type(entry))?;
        }
        self.memory.populate(pages.entries().filter(takes_frame).map(|entry| entry.pfn()))?;
        for (entry, page) in pages.iter() {
            match (&mut self.guest, page) {
                (_, None) => {}
                (Guest::Hvm(_), Some(page)) => self.memory.write(entry.pfn(), page)?,
                (Guest::Pv(guest), Some(page)) => guest.write(&mut self.memory, entry, page)?,
            }
        }
        Ok(())
    }

    /// Counts pages that differ from the stream's. A PV guest's page tables cannot be compared any more.
    fn compare(&mut self, pages: &PageData<'_>) -> Result<(), RestoreError> {
        let mut here = [0; PAGE_SIZE];
        for (entry, page) in pages.iter() {
            let Some(page) = page else { continue };
            if entry.page_type() == PageType::Normal {
                self.memory.read(entry.pfn(), &mut here)?;
                self.mismatches += u64::from(here != *page);
            }
        }
        Ok(())
    }
}

/// Grant table entries that every guest starts with (`xen/include/public/grant_table.h`).
const GRANT_CONSOLE: u32 = 0;
const GRANT_STORE: u32 = 1;

/// Parses a sequence of libxc records.
pub(crate) fn records(
    mut bytes: &[u8],
    mut take: impl FnMut(&Record<'_>) -> Result<(), RestoreError>,
) -> Result<(), RestoreError> {
    while let Some(frame) = Frame::read(bytes) {
        take(&Record::parse(frame)?)?;
        bytes = &bytes[frame.bytes_len()..];
    }
    Ok(())
}

/// Allows the backends to map the rings.
pub(crate) fn seed_rings(
    xen: &Xen,
    domain: DomId,
    frames: RingFrames,
    rings: Rings,
) -> Result<(), RestoreError> {
    if frames.console != RingFrames::NONE {
        xen.seed_grant(domain, GRANT_CONSOLE, frames.console, rings.console.backend)?;
    }
    if frames.store != RingFrames::NONE {
        xen.seed_grant(domain, GRANT_STORE, frames.store, rings.store.backend)?;
    }
    Ok(())
}
