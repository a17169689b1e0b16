//! What the host has and supports.
//!
//! Sysctls have an interface version of their own. Xen answers any other version with EACCES before it looks at
//! anything else. Sysctls are so rare that each call tries the known versions, newest first.

use super::{Argument, Data, FAULT_TRIES, Register, Xen};
use crate::XenError;
use crate::abi::hypercall;
use crate::abi::sysctl::{self, Capabilities};
use nix::errno::Errno;

/// The host's memory and capabilities (`XEN_SYSCTL_physinfo`).
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct HostInfo {
    /// Pages available to a new domain.
    pub free_pages: u64,
    /// Whether HVM and PVH guests can run.
    pub runs_hvm: bool,
    /// Whether PV guests can run.
    pub runs_pv: bool,
    /// Whether Xen has shadow paging, without which it cannot track the writes of PV guests.
    pub has_shadow_paging: bool,
}

impl HostInfo {
    fn of(info: &sysctl::PhysInfo) -> Self {
        let can = |capability| info.capabilities.contains(capability);
        Self {
            free_pages: info.free_pages.saturating_sub(info.outstanding_pages),
            runs_hvm: can(Capabilities::HVM),
            runs_pv: can(Capabilities::PV),
            has_shadow_paging: can(Capabilities::SHADOW),
        }
    }
}

impl Xen {
    /// The host's memory and capabilities.
    pub fn host_info(&self) -> Result<HostInfo, XenError> {
        let mut info = sysctl::PhysInfo::default();
        self.sysctl_get("Asking about the host", sysctl::PHYS_INFO, &mut info, None)?;
        Ok(HostInfo::of(&info))
    }

    /// Does a sysctl that changes nothing. `payload` receives the answer.
    pub(super) fn sysctl_get<T: Argument>(
        &self,
        what: &'static str,
        command: u32,
        payload: &mut T,
        mut data: Option<Data<'_>>,
    ) -> Result<u64, XenError> {
        let question = *payload;
        for version in sysctl::KNOWN_VERSIONS {
            let mut tries = 1;
            let answer = loop {
                *payload = question;
                let data =
                    data.as_mut().map(|data| Data { buffer: &mut *data.buffer, pointers: data.pointers });
                match self.sysctl(version, command, payload, data)? {
                    Err(Errno::EFAULT) if tries < FAULT_TRIES => tries += 1,
                    answer => break answer,
                }
            };
            match answer {
                Err(Errno::EACCES) => {}
                answer => return answer.map_err(|errno| XenError::Hypercall { what, domain: None, errno }),
            }
        }
        let known = sysctl::KNOWN_VERSIONS.map(|version| format!("{version:#x}")).join(", ");
        Err(XenError::UnknownSysctlVersion { what, known })
    }

    /// One attempt with one interface version. The outer error is ours, the inner one Xen's.
    fn sysctl<T: Argument>(
        &self,
        interface_version: u32,
        command: u32,
        payload: &mut T,
        data: Option<Data<'_>>,
    ) -> Result<Result<u64, Errno>, XenError> {
        use zerocopy::IntoBytes;
        let mut argument = self.argument()?;
        let bytes = &mut argument.as_bytes_mut()[..sysctl::SYSCTL_BYTES];
        bytes.fill(0);
        let head = sysctl::Head { command, interface_version };
        head.write_to_prefix(bytes).expect("a page holds a head");
        payload.write_to_prefix(&mut bytes[sysctl::HEAD_BYTES..]).expect("payloads fit in a sysctl");
        const ZERO: Register = Register::Word(0);
        let registers = [Register::Argument, ZERO, ZERO, ZERO, ZERO];
        let answer = self.hypercall(hypercall::SYSCTL, registers, &mut argument, data);
        let bytes = &argument.as_bytes()[sysctl::HEAD_BYTES..];
        (*payload, _) = T::read_from_prefix(bytes).expect("payloads fit in a sysctl");
        Ok(answer)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::simulated::{Asked, Simulated, set_sysctl_payload, sysctl_payload};
    use std::sync::Arc;

    const INFO: Asked = Asked::Sysctl(sysctl::PHYS_INFO);

    fn host() -> (Arc<Simulated>, Xen) {
        let hypervisor = Simulated::new();
        let xen = Xen::over(hypervisor.clone()).unwrap();
        hypervisor.answer(INFO, |call| {
            assert_eq!(sysctl_payload::<sysctl::PhysInfo>(call), sysctl::PhysInfo::default());
            let info = sysctl::PhysInfo {
                free_pages: 1000,
                outstanding_pages: 400,
                capabilities: Capabilities::HVM | Capabilities::SHADOW,
                ..sysctl::PhysInfo::default()
            };
            set_sysctl_payload(call, &info);
            Ok(0)
        });
        hypervisor.asked();
        (hypervisor, xen)
    }

    #[test]
    fn a_host_is_described_in_each_known_version() {
        for (tries, version) in sysctl::KNOWN_VERSIONS.into_iter().enumerate() {
            let (hypervisor, xen) = host();
            hypervisor.speak_sysctl(version);
            let expected =
                HostInfo { free_pages: 600, runs_hvm: true, runs_pv: false, has_shadow_paging: true };
            assert_eq!(xen.host_info().unwrap(), expected);
            assert_eq!(hypervisor.asked(), vec![INFO; tries + 1]);
        }
    }

    #[test]
    fn an_unknown_version_is_told_with_what_to_do() {
        let (hypervisor, xen) = host();
        hypervisor.speak_sysctl(0x17);
        let error = xen.host_info().unwrap_err().to_string();
        assert!(error.contains("(0x16, 0x15). Use a newer understudy"), "{error}");
    }

    #[test]
    fn a_sysctl_only_asks_and_is_repeated_when_memory_was_away() {
        let (hypervisor, xen) = host();
        hypervisor.speak_sysctl(0x16);
        hypervisor.fail(INFO, &[Errno::EFAULT, Errno::EFAULT]);
        xen.host_info().unwrap();
        assert_eq!(hypervisor.asked(), [INFO; 3]);
        hypervisor.fail(INFO, &[Errno::EFAULT; 3]);
        assert!(xen.host_info().unwrap_err().to_string().contains("not resident"));
        hypervisor.fail(INFO, &[Errno::EPERM]);
        assert!(xen.host_info().unwrap_err().to_string().contains("as root in dom0"));
    }
}
