//! vCPUs of PV guests. The vCPU state of HVM and PVH guests is in their HVM context.

use super::{Data, Xen, payload_pointer};
use crate::abi::domctl::{self, ExtVcpuContext, VCPU_MSR_BYTES, VcpuContext, VcpuExtState, VcpuMsrs};
use crate::{DomId, XenError};
use nix::errno::Errno;
use zerocopy::{FromZeros, IntoBytes};

/// Bytes of the larger `vcpu_guest_context`, that of 64-bit guests. Xen reads or writes as much as the guest's width
/// needs, so it is always given this much room.
const CONTEXT_BYTES_MAX: usize = 5168;

/// The state of a vCPU.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct VcpuInfo {
    /// Whether the guest has brought it up and not unplugged it.
    pub online: bool,
    /// Whether it waits for an event.
    pub blocked: bool,
    /// Whether it runs on a processor at this moment.
    pub running: bool,
}

impl Xen {
    /// The state of a vCPU.
    pub fn vcpu_info(&self, domain: DomId, vcpu: u32) -> Result<VcpuInfo, XenError> {
        let mut payload = domctl::VcpuInfo { vcpu, ..domctl::VcpuInfo::default() };
        let answer =
            self.domctl_get("Asking about a vCPU", domctl::GET_VCPU_INFO, domain, &mut payload, None);
        self.or_no_such_vcpu(domain, answer)?;
        let domctl::VcpuInfo { online, blocked, running, .. } = payload;
        Ok(VcpuInfo { online: online != 0, blocked: blocked != 0, running: running != 0 })
    }

    /// Reads a vCPU's registers: `vcpu_guest_context` of the guest's width, `bytes` bytes of it (5168 for 64-bit
    /// guests, 2800 for 32-bit ones). ENODATA: the vCPU was never initialised.
    ///
    /// Panics if `bytes` is more than any guest has.
    pub fn vcpu_context(&self, domain: DomId, vcpu: u32, bytes: usize) -> Result<Vec<u8>, XenError> {
        assert!(bytes <= CONTEXT_BYTES_MAX, "a context has at most {CONTEXT_BYTES_MAX} bytes");
        let mut context = self.data(CONTEXT_BYTES_MAX)?;
        context.as_bytes_mut()[..CONTEXT_BYTES_MAX].fill(0);
        let mut payload = VcpuContext { vcpu, ..VcpuContext::default() };
        let pointers = [payload_pointer!(VcpuContext, context, CONTEXT_BYTES_MAX)];
        let data = Data { buffer: &mut context, pointers: &pointers };
        let what = "Reading a vCPU's registers";
        let answer = self.domctl_get(what, domctl::GET_VCPU_CONTEXT, domain, &mut payload, Some(data));
        self.or_no_such_vcpu(domain, answer)?;
        Ok(context.as_bytes()[..bytes].to_vec())
    }

    /// Sets the registers of a vCPU that does not run, in the guest's width.
    ///
    /// Panics if `registers` is more than any guest has.
    pub fn set_vcpu_context(&self, domain: DomId, vcpu: u32, registers: &[u8]) -> Result<(), XenError> {
        assert!(registers.len() <= CONTEXT_BYTES_MAX, "a context has at most {CONTEXT_BYTES_MAX} bytes");
        let mut context = self.data(CONTEXT_BYTES_MAX)?;
        let (given, rest) = context.as_bytes_mut()[..CONTEXT_BYTES_MAX].split_at_mut(registers.len());
        given.copy_from_slice(registers);
        rest.fill(0);
        let mut payload = VcpuContext { vcpu, ..VcpuContext::default() };
        let pointers = [payload_pointer!(VcpuContext, context, CONTEXT_BYTES_MAX)];
        let data = Data { buffer: &mut context, pointers: &pointers };
        let what = "Setting a vCPU's registers";
        let answer = self.domctl(what, domctl::SET_VCPU_CONTEXT, domain, &mut payload, Some(data));
        self.or_no_such_vcpu(domain, answer)
    }

    /// Makes a vCPU as it was when the domain was made: down, and without state (`vcpu_reset`). It runs again only after
    /// a new [HVM context](Self::set_hvm_context).
    pub fn reset_vcpu(&self, domain: DomId, vcpu: u32) -> Result<(), XenError> {
        let mut payload = VcpuContext { vcpu, ..VcpuContext::default() };
        let answer = self.domctl("Resetting a vCPU", domctl::SET_VCPU_CONTEXT, domain, &mut payload, None);
        self.or_no_such_vcpu(domain, answer)
    }

    /// Reads what is not in the registers: `xen_domctl_ext_vcpucontext`, as many bytes as it is long.
    pub fn ext_vcpu_context(&self, domain: DomId, vcpu: u32) -> Result<Vec<u8>, XenError> {
        let what = "Reading a vCPU's extended context";
        let mut payload = ExtVcpuContext { vcpu, ..ExtVcpuContext::new_zeroed() };
        let answer = self.domctl_get(what, domctl::GET_EXT_VCPU_CONTEXT, domain, &mut payload, None);
        self.or_no_such_vcpu(domain, answer)?;
        let context = payload.as_bytes().get(..payload.size as usize);
        let nonsense =
            || XenError::Nonsense { what, domain: Some(domain), answer: format!("{} bytes", payload.size) };
        Ok(context.ok_or_else(nonsense)?.to_vec())
    }

    /// Sets an [`ext_vcpu_context`](Self::ext_vcpu_context). The vCPU number in it is overwritten.
    ///
    /// E2BIG if it is longer than the interface allows.
    pub fn set_ext_vcpu_context(&self, domain: DomId, vcpu: u32, context: &[u8]) -> Result<(), XenError> {
        let what = "Setting a vCPU's extended context";
        let mut payload = ExtVcpuContext::new_zeroed();
        let Some(place) = payload.as_mut_bytes().get_mut(..context.len()) else {
            return Err(XenError::Hypercall { what, domain: Some(domain), errno: Errno::E2BIG });
        };
        place.copy_from_slice(context);
        payload.vcpu = vcpu;
        let answer = self.domctl(what, domctl::SET_EXT_VCPU_CONTEXT, domain, &mut payload, None);
        self.or_no_such_vcpu(domain, answer)
    }

    /// Reads the extended processor state of a vCPU: `u64 xcr0, u64 xcr0_accum`, XSAVE area. Empty if this host has no
    /// XSAVE. The vCPU must not run: the size must not change between asking for it and reading.
    pub fn vcpu_xsave(&self, domain: DomId, vcpu: u32) -> Result<Vec<u8>, XenError> {
        let what = "Reading a vCPU's XSAVE state";
        let mut payload = VcpuExtState { vcpu, ..VcpuExtState::default() };
        let answer = self.domctl_get(what, domctl::GET_VCPU_EXT_STATE, domain, &mut payload, None);
        self.or_no_such_vcpu(domain, answer)?;
        if payload.xfeature_mask == 0 || payload.size == 0 {
            return Ok(Vec::new());
        }
        let nonsense =
            |size| XenError::Nonsense { what, domain: Some(domain), answer: format!("{size} bytes") };
        let bytes = usize::try_from(payload.size)
            .ok()
            .filter(|bytes| *bytes <= XSAVE_BYTES_MAX)
            .ok_or_else(|| nonsense(payload.size))?;
        let mut state = self.data(bytes)?;
        // The same mask and size again: Xen compares both.
        let pointers = [payload_pointer!(VcpuExtState, buffer, bytes)];
        let data = Data { buffer: &mut state, pointers: &pointers };
        self.domctl_get(what, domctl::GET_VCPU_EXT_STATE, domain, &mut payload, Some(data))?;
        let written =
            usize::try_from(payload.size).ok().and_then(|size| state.as_bytes()[..bytes].get(..size));
        Ok(written.ok_or_else(|| nonsense(payload.size))?.to_vec())
    }

    /// Sets a [`vcpu_xsave`](Self::vcpu_xsave). EINVAL or EOPNOTSUPP: this host's processor lacks a feature that the
    /// guest used.
    pub fn set_vcpu_xsave(&self, domain: DomId, vcpu: u32, state: &[u8]) -> Result<(), XenError> {
        let mut data = self.data_of(state)?;
        let mut payload = VcpuExtState { vcpu, size: state.len() as u64, ..VcpuExtState::default() };
        let pointers = [payload_pointer!(VcpuExtState, buffer, state.len())];
        let data = Data { buffer: &mut data, pointers: &pointers };
        let what = "Setting a vCPU's XSAVE state";
        let answer = self.domctl(what, domctl::SET_VCPU_EXT_STATE, domain, &mut payload, Some(data));
        self.or_no_such_vcpu(domain, answer)
    }

    /// Reads the model-specific registers that differ from their reset value: `u32 index, u32 0, u64 value` each.
    pub fn vcpu_msrs(&self, domain: DomId, vcpu: u32) -> Result<Vec<u8>, XenError> {
        let what = "Reading a vCPU's MSRs";
        let mut payload = VcpuMsrs { vcpu, ..VcpuMsrs::default() };
        let answer = self.domctl_get(what, domctl::GET_VCPU_MSRS, domain, &mut payload, None);
        self.or_no_such_vcpu(domain, answer)?;
        let room = payload.msr_count;
        if room == 0 {
            return Ok(Vec::new());
        }
        let bytes = room as usize * VCPU_MSR_BYTES;
        let mut msrs = self.data(bytes)?;
        let pointers = [payload_pointer!(VcpuMsrs, msrs, bytes)];
        let data = Data { buffer: &mut msrs, pointers: &pointers };
        self.domctl_get(what, domctl::GET_VCPU_MSRS, domain, &mut payload, Some(data))?;
        if payload.msr_count > room {
            let answer = format!("{} MSRs where there are at most {room}", payload.msr_count);
            return Err(XenError::Nonsense { what, domain: Some(domain), answer });
        }
        Ok(msrs.as_bytes()[..payload.msr_count as usize * VCPU_MSR_BYTES].to_vec())
    }

    /// Sets [`vcpu_msrs`](Self::vcpu_msrs).
    ///
    /// Panics if `msrs` does not consist of whole entries.
    pub fn set_vcpu_msrs(&self, domain: DomId, vcpu: u32, msrs: &[u8]) -> Result<(), XenError> {
        assert!(msrs.len().is_multiple_of(VCPU_MSR_BYTES), "whole entries");
        let what = "Setting a vCPU's MSRs";
        let too_many = |_| XenError::Hypercall { what, domain: Some(domain), errno: Errno::E2BIG };
        let msr_count = u32::try_from(msrs.len() / VCPU_MSR_BYTES).map_err(too_many)?;
        let mut data = self.data_of(msrs)?;
        let mut payload = VcpuMsrs { vcpu, msr_count, ..VcpuMsrs::default() };
        let pointers = [payload_pointer!(VcpuMsrs, msrs, msrs.len())];
        let data = Data { buffer: &mut data, pointers: &pointers };
        let answer = self.domctl(what, domctl::SET_VCPU_MSRS, domain, &mut payload, Some(data));
        self.or_no_such_vcpu(domain, answer)
    }

    /// ESRCH means that either the domain or the vCPU does not exist; finds out which.
    fn or_no_such_vcpu(&self, domain: DomId, answer: Result<u64, XenError>) -> Result<(), XenError> {
        match answer {
            Err(XenError::Gone { what, .. }) if self.domain_info(domain)?.is_some() => {
                Err(XenError::NoVcpu { domain, what })
            }
            answer => answer.map(drop),
        }
    }
}

/// More than any processor's XSAVE area. AMX, the largest part of one, has 8 KiB.
const XSAVE_BYTES_MAX: usize = 1 << 20;

#[cfg(test)]
mod tests {
    use super::*;
    use crate::simulated::{Asked, Simulated, head, payload, set_payload};
    use std::sync::Arc;

    const DOMAIN: DomId = DomId(2);
    const VCPU: u32 = 1;

    fn xen() -> (Arc<Simulated>, Xen) {
        let hypervisor = Simulated::new();
        let xen = Xen::over(hypervisor.clone()).unwrap();
        hypervisor.asked();
        (hypervisor, xen)
    }

    #[test]
    fn a_vcpu_that_is_not_there_is_told_from_a_domain_that_is_not() {
        let (hypervisor, xen) = xen();
        let info = Asked::Domctl(domctl::GET_DOMAIN_INFO);
        hypervisor.fail(Asked::Domctl(domctl::GET_VCPU_INFO), &[Errno::ESRCH; 2]);
        hypervisor.fail(info, &[Errno::ESRCH]);
        assert!(matches!(xen.vcpu_info(DOMAIN, VCPU), Err(XenError::Gone { domain: DOMAIN, .. })));
        hypervisor.answer(info, |call| {
            let domain = head(call).domain;
            set_payload(call, &domctl::DomainInfo { domain, ..domctl::DomainInfo::new_zeroed() });
            Ok(0)
        });
        assert!(matches!(xen.vcpu_info(DOMAIN, VCPU), Err(XenError::NoVcpu { domain: DOMAIN, .. })));
        hypervisor.answer(Asked::Domctl(domctl::GET_VCPU_INFO), |call| {
            let mut asked: domctl::VcpuInfo = payload(call);
            assert_eq!(asked.vcpu, VCPU);
            (asked.online, asked.running) = (1, 1);
            set_payload(call, &asked);
            Ok(0)
        });
        let expected = VcpuInfo { online: true, blocked: false, running: true };
        assert_eq!(xen.vcpu_info(DOMAIN, VCPU).unwrap(), expected);
    }

    #[test]
    fn registers_are_of_the_width_asked_for() {
        let (hypervisor, xen) = xen();
        hypervisor.answer(Asked::Domctl(domctl::GET_VCPU_CONTEXT), |call| {
            assert_eq!(payload::<VcpuContext>(call).vcpu, VCPU);
            call.data().unwrap()[..2800].fill(3);
            Ok(0)
        });
        assert_eq!(xen.vcpu_context(DOMAIN, VCPU, 2800).unwrap(), [3; 2800]);
        let wide = xen.vcpu_context(DOMAIN, VCPU, 5168).unwrap();
        assert!(wide.len() == 5168 && wide[2800..].iter().all(|byte| *byte == 0));
        hypervisor.answer(Asked::Domctl(domctl::SET_VCPU_CONTEXT), |call| {
            let context = &call.data().unwrap()[..5168];
            assert!(context[..2800].iter().all(|byte| *byte == 4));
            assert!(context[2800..].iter().all(|byte| *byte == 0));
            Ok(0)
        });
        xen.set_vcpu_context(DOMAIN, VCPU, &[4; 2800]).unwrap();
        hypervisor.fail(Asked::Domctl(domctl::GET_VCPU_CONTEXT), &[Errno::ENODATA]);
        let error = xen.vcpu_context(DOMAIN, VCPU, 5168).unwrap_err();
        assert!(matches!(error, XenError::Hypercall { errno: Errno::ENODATA, .. }));
    }

    #[test]
    fn the_extended_context_is_as_long_as_it_says() {
        let (hypervisor, xen) = xen();
        let answer = |size| {
            move |call: &mut crate::hypervisor::Call<'_>| {
                let asked: ExtVcpuContext = payload(call);
                set_payload(call, &ExtVcpuContext { size, rest: [6; 120], ..asked });
                Ok(0)
            }
        };
        hypervisor.answer(Asked::Domctl(domctl::GET_EXT_VCPU_CONTEXT), answer(64));
        let context = xen.ext_vcpu_context(DOMAIN, VCPU).unwrap();
        assert_eq!((context.len(), &context[..8]), (64, &[1, 0, 0, 0, 64, 0, 0, 0][..]));
        hypervisor.answer(Asked::Domctl(domctl::GET_EXT_VCPU_CONTEXT), answer(129));
        assert!(matches!(xen.ext_vcpu_context(DOMAIN, VCPU), Err(XenError::Nonsense { .. })));

        hypervisor.answer(Asked::Domctl(domctl::SET_EXT_VCPU_CONTEXT), |call| {
            let set: ExtVcpuContext = payload(call);
            assert_eq!((set.vcpu, set.size), (7, 64));
            assert!(set.rest[..56] == [6; 56] && set.rest[56..] == [0; 64]);
            Ok(0)
        });
        xen.set_ext_vcpu_context(DOMAIN, 7, &context).unwrap();
        let error = xen.set_ext_vcpu_context(DOMAIN, 7, &[0; 129]).unwrap_err();
        assert!(matches!(error, XenError::Hypercall { errno: Errno::E2BIG, .. }));
    }

    #[test]
    fn xsave_is_asked_for_its_size_and_then_with_the_same_mask() {
        let (hypervisor, xen) = xen();
        let get = Asked::Domctl(domctl::GET_VCPU_EXT_STATE);
        hypervisor.answer(get, |call| {
            let mut asked: VcpuExtState = payload(call);
            match call.data() {
                None => (asked.xfeature_mask, asked.size) = (7, 848),
                Some(_) if (asked.xfeature_mask, asked.size) != (7, 848) => return Err(Errno::EINVAL),
                Some(data) => data[..848].fill(5),
            }
            set_payload(call, &asked);
            Ok(0)
        });
        assert_eq!(xen.vcpu_xsave(DOMAIN, VCPU).unwrap(), [5; 848]);
        assert_eq!(hypervisor.asked(), [get, get]);

        hypervisor.answer(get, |call| {
            let asked: VcpuExtState = payload(call);
            set_payload(call, &VcpuExtState { xfeature_mask: 0, size: 16, ..asked });
            Ok(0)
        });
        assert!(xen.vcpu_xsave(DOMAIN, VCPU).unwrap().is_empty());
        hypervisor.answer(get, |call| {
            let asked: VcpuExtState = payload(call);
            set_payload(call, &VcpuExtState { xfeature_mask: 7, size: u64::MAX, ..asked });
            Ok(0)
        });
        assert!(matches!(xen.vcpu_xsave(DOMAIN, VCPU), Err(XenError::Nonsense { .. })));

        hypervisor.answer(Asked::Domctl(domctl::SET_VCPU_EXT_STATE), |call| {
            assert_eq!(payload::<VcpuExtState>(call).size, 848);
            assert!(call.data().unwrap()[..848].iter().all(|byte| *byte == 5));
            Ok(0)
        });
        xen.set_vcpu_xsave(DOMAIN, VCPU, &[5; 848]).unwrap();
    }

    #[test]
    fn msrs_are_asked_for_their_number_and_then_for_those_in_use() {
        let (hypervisor, xen) = xen();
        let get = Asked::Domctl(domctl::GET_VCPU_MSRS);
        hypervisor.answer(get, |call| {
            let mut asked: VcpuMsrs = payload(call);
            match call.data() {
                None => asked.msr_count = 7,
                Some(data) => {
                    assert_eq!(asked.msr_count, 7);
                    data[..32].fill(9);
                    asked.msr_count = 2;
                }
            }
            set_payload(call, &asked);
            Ok(0)
        });
        assert_eq!(xen.vcpu_msrs(DOMAIN, VCPU).unwrap(), [9; 32]);
        assert_eq!(hypervisor.asked(), [get, get]);
        hypervisor.answer(get, |call| {
            let asked: VcpuMsrs = payload(call);
            set_payload(call, &VcpuMsrs { msr_count: asked.msr_count + 1, ..asked });
            Ok(0)
        });
        assert!(matches!(xen.vcpu_msrs(DOMAIN, VCPU), Err(XenError::Nonsense { .. })));
        hypervisor.answer(get, |_| Ok(0));
        assert!(xen.vcpu_msrs(DOMAIN, VCPU).unwrap().is_empty());

        hypervisor.answer(Asked::Domctl(domctl::SET_VCPU_MSRS), |call| {
            assert_eq!(payload::<VcpuMsrs>(call).msr_count, 2);
            assert_eq!(call.data().unwrap()[..32], [9; 32]);
            Ok(0)
        });
        xen.set_vcpu_msrs(DOMAIN, VCPU, &[9; 32]).unwrap();
    }
}
