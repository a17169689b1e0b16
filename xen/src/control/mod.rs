//! [`Xen`]: typed hypercalls over any [`Hypervisor`].
//!
//! ```text
//!   Xen ─┬─ domain.rs     a domain's state; pause, resume, shutdown, TSC, width
//!        ├─ log_dirty.rs  which frames were written
//!        ├─ mark_dirty.rs marks frames as written
//!        ├─ memory.rs     frames: types, populating, page tables, machine-to-physical table
//!        ├─ vcpu.rs       vCPUs of PV guests
//!        ├─ grants.rs     the grant table's size and layout
//!        ├─ ports.rs      event channel ports of a domain
//!        ├─ hvm.rs        context and parameters of HVM and PVH guests
//!        ├─ policy.rs     CPUID and MSR policy
//!        ├─ watchdog.rs  a timer that resets the host
//!        ├─ host.rs       the host's memory and capabilities
//!        └─ map.rs        foreign memory, grant table
//! ```
//!
//! Calls take hypercall-safe memory from a pool, so none is allocated in the steady state. A call that changes nothing
//! is repeated when Xen could not reach the memory it was given (EFAULT: the kernel moved a page).
//!
//! Not here: sequences of calls ([`domain`](crate::domain), [`restore`](crate::restore)).

mod domain;
mod grants;
mod host;
mod hvm;
mod log_dirty;
mod map;
mod mark_dirty;
mod memory;
mod policy;
mod pool;
mod ports;
mod vcpu;
mod version;
mod watchdog;

pub use domain::{DomainInfo, TscInfo};
pub use host::HostInfo;
pub use log_dirty::DirtyStats;
pub use memory::PinLevel;
pub use policy::{CpuPolicy, CpuidLeaf, PolicyLimit};
pub use ports::PortState;
pub use vcpu::VcpuInfo;

use crate::abi::{domctl, hypercall};
use crate::hypervisor::{Call, Pointer, Register};
use crate::privcmd::Privcmd;
use crate::{DomId, HypercallBuffer, Hypervisor, XenError, calls};
use nix::errno::Errno;
use pool::{Lease, Pool};
use std::sync::Arc;
use understudy_checkpoint::PAGE_SIZE;
use zerocopy::{FromBytes, Immutable, IntoBytes, KnownLayout};

/// Attempts of a call that changes nothing, when Xen answers EFAULT.
const FAULT_TRIES: usize = 3;

/// Bytes of the pool's data buffers: 1024 page table operations, the largest batch. Larger data, such as the CPU policy
/// of a big machine, get buffers of their own.
const DATA_BYTES: usize = 24 << 10;

/// A connection to the hypervisor. Clones share it, and any thread may use any of them.
#[derive(Clone)]
pub struct Xen {
    shared: Arc<Shared>,
}

struct Shared {
    hypervisor: Arc<dyn Hypervisor>,
    /// Xen's release: major, minor.
    release: (u32, u32),
    domctl_version: u32,
    /// Argument structures, one page each.
    arguments: Pool,
    /// What arguments point to, [`DATA_BYTES`] each.
    data: Pool,
    /// HVM contexts, of the last size needed.
    contexts: Pool,
}

impl std::fmt::Debug for Xen {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let Shared { release: (major, minor), domctl_version, .. } = &*self.shared;
        write!(f, "Xen({major}.{minor}, domctl {domctl_version:#x})")
    }
}

/// The data that a call points to besides its argument.
struct Data<'d> {
    buffer: &'d mut HypercallBuffer,
    pointers: &'d [Pointer],
}

/// The pointer from a field of payload `T` to the first `bytes` bytes of the data.
macro_rules! payload_pointer {
    ($payload:ty, $field:ident, $bytes:expr) => {
        crate::hypervisor::Pointer {
            at: crate::abi::domctl::HEAD_BYTES + std::mem::offset_of!($payload, $field),
            to: 0,
            bytes: $bytes,
        }
    };
}
use payload_pointer;

/// A structure that can be the argument of a hypercall.
trait Argument: FromBytes + IntoBytes + Immutable + KnownLayout + Copy {}
impl<T: FromBytes + IntoBytes + Immutable + KnownLayout + Copy> Argument for T {}

impl Xen {
    /// Opens the hypervisor of this host.
    ///
    /// `UNDERSTUDY_XEN_DOMCTL_VERSION` sets the version of the domctl interface to use if Xen accepts none of the known
    /// ones.
    pub fn open() -> Result<Self, XenError> {
        Self::over(Arc::new(Privcmd::open()?))
    }

    /// [`open`](Self::open) over the given hypervisor.
    pub fn over(hypervisor: Arc<dyn Hypervisor>) -> Result<Self, XenError> {
        Self::probed(hypervisor, std::env::var(crate::error::OVERRIDE_VARIABLE).ok().as_deref())
    }

    /// Xen's release, major and minor (`XENVER_version`).
    pub fn version(&self) -> (u32, u32) {
        self.shared.release
    }

    /// Does a domctl. `payload` receives what Xen left there, even after an error.
    fn domctl<T: Argument>(
        &self,
        what: &'static str,
        command: u32,
        domain: DomId,
        payload: &mut T,
        data: Option<Data<'_>>,
    ) -> Result<u64, XenError> {
        let mut argument = self.argument()?;
        let head = domctl::Head {
            command,
            interface_version: self.shared.domctl_version,
            domain: domain.0,
            pad: [0; 3],
        };
        let bytes = &mut argument.as_bytes_mut()[..domctl::DOMCTL_BYTES];
        bytes.fill(0);
        head.write_to_prefix(bytes).expect("a page holds a head");
        payload.write_to_prefix(&mut bytes[domctl::HEAD_BYTES..]).expect("payloads fit in a domctl");
        const ZERO: Register = Register::Word(0);
        let registers = [Register::Argument, ZERO, ZERO, ZERO, ZERO];
        let answer = self.hypercall(hypercall::DOMCTL, registers, &mut argument, data);
        let bytes = &argument.as_bytes()[domctl::HEAD_BYTES..];
        (*payload, _) = T::read_from_prefix(bytes).expect("payloads fit in a domctl");
        answer.map_err(|errno| failure(what, domain, errno))
    }

    /// [`domctl`](Self::domctl) for calls that change nothing; repeated if Xen could not reach its memory.
    fn domctl_get<T: Argument>(
        &self,
        what: &'static str,
        command: u32,
        domain: DomId,
        payload: &mut T,
        mut data: Option<Data<'_>>,
    ) -> Result<u64, XenError> {
        let question = *payload;
        let mut tries = 1;
        loop {
            *payload = question;
            let data = data.as_mut().map(|data| Data { buffer: &mut *data.buffer, pointers: data.pointers });
            match self.domctl(what, command, domain, payload, data) {
                Err(XenError::Hypercall { errno: Errno::EFAULT, .. }) if tries < FAULT_TRIES => tries += 1,
                answer => return answer,
            }
        }
    }

    /// Does a hypercall with two registers: subcommand and argument. `argument` receives what Xen left there.
    fn subcommand<T: Argument>(
        &self,
        what: &'static str,
        domain: Option<DomId>,
        (op, sub): (u64, u64),
        argument: &mut T,
        data: Option<Data<'_>>,
    ) -> Result<u64, XenError> {
        let mut memory = self.argument()?;
        argument.write_to_prefix(memory.as_bytes_mut()).expect("a page holds any argument");
        const ZERO: Register = Register::Word(0);
        let registers = [Register::Word(sub), Register::Argument, ZERO, ZERO, ZERO];
        let answer = self.hypercall(op, registers, &mut memory, data);
        (*argument, _) = T::read_from_prefix(memory.as_bytes()).expect("a page holds any argument");
        answer.map_err(|errno| match domain {
            Some(domain) => failure(what, domain, errno),
            None => XenError::Hypercall { what, domain, errno },
        })
    }

    fn hypercall(
        &self,
        op: u64,
        registers: [Register; 5],
        argument: &mut HypercallBuffer,
        data: Option<Data<'_>>,
    ) -> Result<u64, Errno> {
        let (buffer, pointers): (_, &[Pointer]) = match data {
            Some(Data { buffer, pointers }) => (Some(buffer), pointers),
            None => (None, &[]),
        };
        calls::hypercall();
        self.shared.hypervisor.hypercall(&mut Call::new(op, registers, argument, buffer, pointers))
    }

    fn argument(&self) -> Result<Lease<'_>, XenError> {
        self.shared.arguments.lease(PAGE_SIZE).map_err(XenError::Buffer)
    }

    /// A buffer for the data of a call.
    fn data(&self, bytes: usize) -> Result<Lease<'_>, XenError> {
        self.shared.data.lease(bytes.max(DATA_BYTES)).map_err(XenError::Buffer)
    }

    /// A buffer that holds `bytes`.
    fn data_of(&self, bytes: &[u8]) -> Result<Lease<'_>, XenError> {
        let mut data = self.data(bytes.len())?;
        data.as_bytes_mut()[..bytes.len()].copy_from_slice(bytes);
        Ok(data)
    }
}

/// The error for `errno` of a call on a domain. ESRCH means that the domain does not exist.
fn failure(what: &'static str, domain: DomId, errno: Errno) -> XenError {
    match errno {
        Errno::ESRCH => XenError::Gone { domain, what },
        errno => XenError::Hypercall { what, domain: Some(domain), errno },
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::simulated::{Asked, Simulated};

    const INFO: Asked = Asked::Domctl(domctl::GET_TSC_INFO);

    const _: () = {
        const fn goes_to_other_threads<T: Send + Sync>() {}
        goes_to_other_threads::<Xen>();
        goes_to_other_threads::<crate::Mapping>();
    };

    fn xen() -> (Arc<Simulated>, Xen) {
        let hypervisor = Simulated::new();
        let xen = Xen::over(hypervisor.clone()).unwrap();
        hypervisor.asked();
        (hypervisor, xen)
    }

    #[test]
    fn what_only_asks_is_repeated_when_memory_was_away() {
        let (hypervisor, xen) = xen();
        hypervisor.answer(INFO, |_| Ok(0));
        hypervisor.fail(INFO, &[Errno::EFAULT, Errno::EFAULT]);
        xen.tsc_info(DomId(1)).unwrap();
        assert_eq!(hypervisor.asked(), [INFO; 3]);
        hypervisor.fail(INFO, &[Errno::EFAULT; 3]);
        let error = xen.tsc_info(DomId(1)).unwrap_err();
        assert!(error.to_string().contains("not resident"), "{error}");
    }

    #[test]
    fn what_changes_something_is_not_repeated() {
        let (hypervisor, xen) = xen();
        let pause = Asked::Domctl(domctl::PAUSE_DOMAIN);
        hypervisor.fail(pause, &[Errno::EFAULT]);
        xen.pause(DomId(1)).unwrap_err();
        assert_eq!(hypervisor.asked(), [pause]);
    }

    #[test]
    fn errors_tell_an_operator_what_to_do() {
        let (hypervisor, xen) = xen();
        for (errno, advice) in [
            (Errno::EPERM, "as root in dom0"),
            (Errno::EACCES, "another domctl version"),
            (Errno::EBUSY, "Another tool works on this domain"),
            (Errno::ENOMEM, "out of memory"),
            (Errno::ENOSYS, "does not offer it"),
        ] {
            hypervisor.fail(INFO, &[errno]);
            let error = xen.tsc_info(DomId(5)).unwrap_err();
            assert!(matches!(error, XenError::Hypercall { errno: of, .. } if of == errno));
            assert!(error.to_string().contains("of domain 5 failed"), "{error}");
            assert!(error.to_string().contains(advice), "{error}");
        }
        hypervisor.fail(INFO, &[Errno::ESRCH]);
        assert!(matches!(xen.tsc_info(DomId(5)), Err(XenError::Gone { domain: DomId(5), .. })));
    }

    #[test]
    fn nothing_is_allocated_for_a_call_after_the_first() {
        let (hypervisor, xen) = xen();
        let seen = Arc::new(std::sync::Mutex::new(Vec::new()));
        let addresses = seen.clone();
        hypervisor.answer(Asked::Domctl(domctl::PAUSE_DOMAIN), move |call| {
            addresses.lock().unwrap().push(call.argument().as_ptr().addr());
            Ok(0)
        });
        for _ in 0..3 {
            xen.pause(DomId(1)).unwrap();
        }
        let seen = seen.lock().unwrap();
        assert!(seen.iter().all(|address| *address == seen[0]));
    }
}
