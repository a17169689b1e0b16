//! Finds out which version of the domctl interface this Xen speaks.
//!
//! Xen answers a domctl of another version with EACCES before it looks at anything else. So a harmless question about
//! dom0, which always exists, is asked with each known version, newest first.

use super::{Pool, Register, Shared, Xen};
use crate::abi::{XENVER_VERSION, domctl, hypercall};
use crate::error::OVERRIDE_VARIABLE;
use crate::{DomId, Hypervisor, XenError};
use nix::errno::Errno;
use std::sync::Arc;
use zerocopy::FromZeros;

impl Xen {
    /// A connection with the version that Xen accepts, or else with `overridden`.
    pub(super) fn probed(
        hypervisor: Arc<dyn Hypervisor>,
        overridden: Option<&str>,
    ) -> Result<Self, XenError> {
        let overridden = overridden.map(number).transpose()?;
        let release @ (major, minor) = Self::speaking(hypervisor.clone(), (0, 0), 0).release()?;
        for version in domctl::KNOWN_VERSIONS.into_iter().chain(overridden) {
            let xen = Self::speaking(hypervisor.clone(), release, version);
            if !xen.is_understood()? {
                continue;
            }
            if !domctl::KNOWN_VERSIONS.contains(&version) {
                tracing::warn!(
                    "using domctl version {version:#x} of Xen {major}.{minor} because {OVERRIDE_VARIABLE} says so; \
                     its structures were not checked"
                );
            }
            return Ok(xen);
        }
        let known = domctl::KNOWN_VERSIONS.map(|version| format!("{version:#x}")).join(", ");
        Err(XenError::UnknownDomctlVersion { major, minor, known, overridden })
    }

    fn speaking(hypervisor: Arc<dyn Hypervisor>, release: (u32, u32), domctl_version: u32) -> Self {
        let (arguments, data, contexts) = (Pool::new(), Pool::new(), Pool::new());
        Self { shared: Arc::new(Shared { hypervisor, release, domctl_version, arguments, data, contexts }) }
    }

    /// Xen's release: major, minor.
    fn release(&self) -> Result<(u32, u32), XenError> {
        let mut unused = self.argument()?;
        let registers = [XENVER_VERSION, 0, 0, 0, 0].map(Register::Word);
        let answer = self.hypercall(hypercall::XEN_VERSION, registers, &mut unused, None);
        let answer = answer.map_err(|errno| XenError::Hypercall {
            what: "Asking Xen's version",
            domain: None,
            errno,
        })?;
        Ok(((answer >> 16) as u32, (answer & 0xFFFF) as u32))
    }

    /// Whether Xen accepts this version. Fails if it does but forbids the question (EPERM).
    fn is_understood(&self) -> Result<bool, XenError> {
        let mut info = domctl::DomainInfo::new_zeroed();
        let what = "Asking Xen about dom0";
        match self.domctl_get(what, domctl::GET_DOMAIN_INFO, DomId::DOM0, &mut info, None) {
            Ok(_) => Ok(true),
            Err(XenError::Hypercall { errno: Errno::EACCES, .. }) => Ok(false),
            Err(error) => Err(error),
        }
    }
}

/// Parses a number, decimal or hexadecimal with `0x`.
fn number(text: &str) -> Result<u32, XenError> {
    let parsed = match text.strip_prefix("0x") {
        Some(hexadecimal) => u32::from_str_radix(hexadecimal, 16),
        None => text.parse(),
    };
    parsed.map_err(|_| XenError::Override(text.to_owned()))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::simulated::{Asked, Simulated};

    const INFO: Asked = Asked::Domctl(domctl::GET_DOMAIN_INFO);

    #[test]
    fn each_known_version_is_found_whatever_comes_before_it() {
        for (tries, version) in domctl::KNOWN_VERSIONS.into_iter().enumerate() {
            let hypervisor = Simulated::new();
            hypervisor.speak(version);
            let xen = Xen::probed(hypervisor.clone(), None).unwrap();
            assert_eq!((xen.version(), xen.shared.domctl_version), ((4, 17), version));
            let mut expected = vec![Asked::Version(0)];
            expected.extend(vec![INFO; tries + 1]);
            assert_eq!(hypervisor.asked(), expected);
        }
    }

    #[test]
    fn an_unknown_version_is_refused_with_what_to_do() {
        let hypervisor = Simulated::new();
        hypervisor.speak(0x19);
        let error = Xen::probed(hypervisor.clone(), None).unwrap_err();
        let expected = "Xen 4.17 speaks none of the domctl versions that this program knows (0x18, 0x17, 0x16, 0x15). \
                        Use a newer understudy; or, if you know that the structures are unchanged, set \
                        UNDERSTUDY_XEN_DOMCTL_VERSION to Xen's XEN_DOMCTL_INTERFACE_VERSION";
        assert_eq!(error.to_string(), expected);
        let error = Xen::probed(hypervisor, Some("26")).unwrap_err();
        assert!(error.to_string().contains("(0x18, 0x17, 0x16, 0x15), nor 0x1a as overridden."), "{error}");
    }

    #[test]
    fn an_unknown_version_is_used_when_a_person_says_so() {
        for overridden in ["0x19", "25"] {
            let hypervisor = Simulated::new();
            hypervisor.speak(0x19);
            assert_eq!(Xen::probed(hypervisor, Some(overridden)).unwrap().shared.domctl_version, 0x19);
        }
        // A known one that is accepted goes before.
        assert_eq!(Xen::probed(Simulated::new(), Some("0x19")).unwrap().shared.domctl_version, 0x15);
        let error = Xen::probed(Simulated::new(), Some("new")).unwrap_err();
        assert!(error.to_string().contains("is \"new\", which is not a number"), "{error}");
    }

    #[test]
    fn a_process_without_rights_is_told_so_and_not_about_versions() {
        let hypervisor = Simulated::new();
        hypervisor.fail(INFO, &[Errno::EPERM]);
        let error = Xen::probed(hypervisor, None).unwrap_err();
        assert!(error.to_string().contains("as root in dom0"), "{error}");
    }
}
