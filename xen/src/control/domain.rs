//! Calls on one domain: its state, pause, resume, shutdown, TSC.

use super::Xen;
use crate::abi::domctl::DomainFlags;
use crate::abi::{domctl, evtchn, hypercall, sched};
use crate::{DomId, Gfn, XenError};
use zerocopy::FromZeros;

/// A domain's state (`XEN_DOMCTL_getdomaininfo`).
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct DomainInfo {
    /// Number of the domain.
    pub domain: DomId,
    /// State and shutdown reason.
    pub flags: DomainFlags,
    /// Pages that the domain has now.
    pub tot_pages: u64,
    /// Pages it may have.
    pub max_pages: u64,
    /// Pages claimed for it and not yet given.
    pub outstanding_pages: u64,
    /// Pages shared with other domains.
    pub shr_pages: u64,
    /// Pages paged out.
    pub paged_pages: u64,
    /// The frame of its shared info page.
    pub shared_info_frame: Gfn,
    /// Processor time of all its vCPUs, in nanoseconds.
    pub cpu_time_ns: u64,
    /// vCPUs that are online.
    pub nr_online_vcpus: u32,
    /// The highest vCPU number; `u32::MAX` if there is none.
    pub max_vcpu_id: u32,
    /// The toolstack's UUID.
    pub uuid: [u8; 16],
}

impl DomainInfo {
    /// Whether it is hardware-virtualised: HVM or PVH, not PV.
    pub fn is_hvm(&self) -> bool {
        self.flags.contains(DomainFlags::HVM)
    }

    /// Whether it is being destroyed: its memory is still being freed.
    pub fn is_dying(&self) -> bool {
        self.flags.contains(DomainFlags::DYING)
    }

    /// Whether it has shut down, or suspended.
    pub fn is_shutdown(&self) -> bool {
        self.flags.contains(DomainFlags::SHUTDOWN)
    }

    /// Whether it has shut down with the reason *suspend* (`SHUTDOWN_suspend`, `xen/include/public/sched.h`).
    pub fn is_suspended(&self) -> bool {
        self.shutdown_reason() == Some(sched::SHUTDOWN_SUSPEND)
    }

    /// Whether a toolstack has paused it.
    pub fn is_paused(&self) -> bool {
        self.flags.contains(DomainFlags::PAUSED)
    }

    /// Why it shut down (`SHUTDOWN_*`: 0 poweroff, 1 reboot, 2 suspend, 3 crash, 4 watchdog, 5 soft reset); `None` if
    /// it has not.
    pub fn shutdown_reason(&self) -> Option<u32> {
        self.is_shutdown().then_some((self.flags.bits() >> domctl::SHUTDOWN_SHIFT) & domctl::SHUTDOWN_MASK)
    }

    pub(crate) fn of(info: &domctl::DomainInfo) -> Self {
        Self {
            domain: DomId(info.domain),
            flags: info.flags,
            tot_pages: info.tot_pages,
            max_pages: info.max_pages,
            outstanding_pages: info.outstanding_pages,
            shr_pages: info.shr_pages,
            paged_pages: info.paged_pages,
            shared_info_frame: Gfn(info.shared_info_frame),
            cpu_time_ns: info.cpu_time,
            nr_online_vcpus: info.nr_online_vcpus,
            max_vcpu_id: info.max_vcpu_id,
            uuid: info.handle,
        }
    }
}

/// How a guest's time stamp counter runs (`XEN_DOMCTL_gettscinfo`, record X86_TSC_INFO).
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct TscInfo {
    /// `TSC_MODE_*`
    pub mode: u32,
    /// Frequency that the guest sees, in kHz.
    pub khz: u32,
    /// How often the guest has moved.
    pub incarnation: u32,
    /// Nanoseconds since the guest's boot.
    pub elapsed_ns: u64,
}

impl Xen {
    /// The state of a domain; `None` if there is no such domain.
    pub fn domain_info(&self, domain: DomId) -> Result<Option<DomainInfo>, XenError> {
        let mut info = domctl::DomainInfo::new_zeroed();
        match self.domctl_get("Asking about a domain", domctl::GET_DOMAIN_INFO, domain, &mut info, None) {
            // Xen up to 4.17 answers with the next higher domain.
            Ok(_) => Ok((info.domain == domain.0).then(|| DomainInfo::of(&info))),
            Err(XenError::Gone { .. }) => Ok(None),
            Err(error) => Err(error),
        }
    }

    /// Stops all vCPUs. Pauses are counted: each needs its [`unpause`](Self::unpause).
    pub fn pause(&self, domain: DomId) -> Result<(), XenError> {
        self.order("Pausing", domctl::PAUSE_DOMAIN, domain)
    }

    /// Undoes one [`pause`](Self::pause).
    pub fn unpause(&self, domain: DomId) -> Result<(), XenError> {
        self.order("Unpausing", domctl::UNPAUSE_DOMAIN, domain)
    }

    /// Lets a domain continue that shut down with the reason *suspend*.
    pub fn resume(&self, domain: DomId) -> Result<(), XenError> {
        self.order("Resuming", domctl::RESUME_DOMAIN, domain)
    }

    /// Shuts a domain down from outside (`SCHEDOP_remote_shutdown`), with one of the reasons of
    /// [`DomainInfo::shutdown_reason`].
    pub fn shutdown(&self, domain: DomId, reason: u32) -> Result<(), XenError> {
        let mut argument = sched::RemoteShutdown { domain: domain.0, pad: 0, reason };
        let call = (hypercall::SCHED_OP, sched::REMOTE_SHUTDOWN);
        self.subcommand("Shutting down", Some(domain), call, &mut argument, None).map(drop)
    }

    /// Allocates an event channel port in `domain` that dom0 may bind.
    pub fn offer_port_of(&self, domain: DomId) -> Result<u32, XenError> {
        let mut argument =
            evtchn::AllocUnbound { domain: domain.0, remote_domain: evtchn::DOMID_SELF, port: 0 };
        let call = (hypercall::EVENT_CHANNEL_OP, evtchn::ALLOC_UNBOUND);
        self.subcommand("Making an event channel port", Some(domain), call, &mut argument, None)?;
        Ok(argument.port)
    }

    /// Makes Xen signal `port`, an event channel port of the domain itself, when the domain suspends, *instead of* the
    /// virtual interrupt that announces every other shutdown to toolstacks. Port 0 ends that. The last subscriber wins.
    pub fn subscribe_suspend(&self, domain: DomId, port: u32) -> Result<(), XenError> {
        let mut payload = domctl::Subscribe { port };
        self.domctl("Subscribing to the suspend", domctl::SUBSCRIBE, domain, &mut payload, None).map(drop)
    }

    /// How the guest's time stamp counter runs.
    pub fn tsc_info(&self, domain: DomId) -> Result<TscInfo, XenError> {
        let mut info = domctl::TscInfo::default();
        self.domctl_get("Reading the TSC", domctl::GET_TSC_INFO, domain, &mut info, None)?;
        let domctl::TscInfo { mode, khz, incarnation, elapsed_ns, .. } = info;
        Ok(TscInfo { mode, khz, incarnation, elapsed_ns })
    }

    /// Sets how the guest's time stamp counter runs.
    pub fn set_tsc_info(&self, domain: DomId, info: TscInfo) -> Result<(), XenError> {
        let TscInfo { mode, khz, incarnation, elapsed_ns } = info;
        let mut payload = domctl::TscInfo { mode, khz, incarnation, pad: 0, elapsed_ns };
        self.domctl("Setting the TSC", domctl::SET_TSC_INFO, domain, &mut payload, None).map(drop)
    }

    /// Width of a PV guest in bits: 32 or 64.
    pub fn address_size(&self, domain: DomId) -> Result<u32, XenError> {
        let mut payload = domctl::AddressSize::default();
        self.domctl_get("Asking the width", domctl::GET_ADDRESS_SIZE, domain, &mut payload, None)?;
        match payload.size {
            32 | 64 => Ok(payload.size),
            size => Err(XenError::Nonsense {
                what: "Asking the width",
                domain: Some(domain),
                answer: format!("{size} bits"),
            }),
        }
    }

    /// Does a domctl without payload.
    fn order(&self, what: &'static str, command: u32, domain: DomId) -> Result<(), XenError> {
        self.domctl(what, command, domain, &mut domctl::Nothing {}, None).map(drop)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::simulated::{Asked, Simulated, head, payload, set_payload, suspended_flags};
    use nix::errno::Errno;

    const INFO: Asked = Asked::Domctl(domctl::GET_DOMAIN_INFO);

    #[test]
    fn a_domain_is_described() {
        let hypervisor = Simulated::new();
        let xen = Xen::over(hypervisor.clone()).unwrap();
        hypervisor.answer(INFO, |call| {
            let mut info = domctl::DomainInfo::new_zeroed();
            info.domain = head(call).domain;
            info.flags = DomainFlags::HVM | suspended_flags();
            (info.tot_pages, info.max_pages, info.shared_info_frame) = (100, 200, 0x1234);
            (info.cpu_time, info.max_vcpu_id, info.handle) = (77, 1, [9; 16]);
            set_payload(call, &info);
            Ok(0)
        });
        let info = xen.domain_info(DomId(3)).unwrap().unwrap();
        assert!(info.is_hvm() && info.is_shutdown() && !info.is_dying() && !info.is_paused());
        assert_eq!((info.domain, info.shutdown_reason(), info.uuid), (DomId(3), Some(2), [9; 16]));
        assert_eq!((info.tot_pages, info.max_pages, info.cpu_time_ns), (100, 200, 77));
        assert_eq!(
            DomainInfo { flags: suspended_flags() - DomainFlags::SHUTDOWN, ..info }.shutdown_reason(),
            None
        );
    }

    #[test]
    fn a_port_is_made_on_a_domains_behalf_and_told_of_its_suspend() {
        let hypervisor = Simulated::new();
        let xen = Xen::over(hypervisor.clone()).unwrap();
        hypervisor.answer(Asked::Evtchn(evtchn::ALLOC_UNBOUND), |call| {
            assert_eq!(call.argument()[..4], [7, 0, 0xF0, 0x7F]);
            call.argument()[4..8].copy_from_slice(&19u32.to_ne_bytes());
            Ok(0)
        });
        assert_eq!(xen.offer_port_of(DomId(7)).unwrap(), 19);
        hypervisor.answer(Asked::Domctl(domctl::SUBSCRIBE), |call| {
            assert_eq!(payload::<domctl::Subscribe>(call).port, 19);
            Ok(0)
        });
        xen.subscribe_suspend(DomId(7), 19).unwrap();
    }

    #[test]
    fn no_domain_is_none_in_both_of_xens_forms() {
        let hypervisor = Simulated::new();
        let xen = Xen::over(hypervisor.clone()).unwrap();
        hypervisor.fail(INFO, &[Errno::ESRCH]);
        assert_eq!(xen.domain_info(DomId(3)).unwrap(), None);
        hypervisor.answer(INFO, |call| {
            let mut info = domctl::DomainInfo::new_zeroed();
            info.domain = 4;
            set_payload(call, &info);
            Ok(0)
        });
        assert_eq!(xen.domain_info(DomId(3)).unwrap(), None);
        assert_eq!(xen.domain_info(DomId(4)).unwrap().map(|info| info.domain), Some(DomId(4)));
    }

    #[test]
    fn orders_name_their_domain_and_carry_nothing_else() {
        let hypervisor = Simulated::new();
        let xen = Xen::over(hypervisor.clone()).unwrap();
        let commands = [domctl::PAUSE_DOMAIN, domctl::UNPAUSE_DOMAIN, domctl::RESUME_DOMAIN];
        // Whatever a call before left in the pool.
        hypervisor.answer(Asked::Domctl(domctl::SET_TSC_INFO), |call| {
            call.argument().fill(0xFF);
            Ok(0)
        });
        for command in commands {
            let info = TscInfo { mode: 1, khz: 2, incarnation: 3, elapsed_ns: 4 };
            hypervisor.answer(Asked::Domctl(command), |call| {
                assert_eq!((head(call).domain, head(call).pad), (6, [0; 3]));
                assert_eq!(payload::<[u8; 128]>(call), [0; 128]);
                assert!(call.data().is_none());
                Ok(0)
            });
            xen.set_tsc_info(DomId(6), info).unwrap();
            match command {
                domctl::PAUSE_DOMAIN => xen.pause(DomId(6)),
                domctl::UNPAUSE_DOMAIN => xen.unpause(DomId(6)),
                _ => xen.resume(DomId(6)),
            }
            .unwrap();
        }
    }

    #[test]
    fn small_payloads_go_both_ways() {
        let hypervisor = Simulated::new();
        let xen = Xen::over(hypervisor.clone()).unwrap();
        let info = TscInfo { mode: 1, khz: 2_000_000, incarnation: 3, elapsed_ns: 1 << 40 };
        hypervisor.answer(Asked::Domctl(domctl::SET_TSC_INFO), move |call| {
            let sent: domctl::TscInfo = payload(call);
            assert_eq!((sent.mode, sent.khz, sent.incarnation), (info.mode, info.khz, info.incarnation));
            assert_eq!((sent.pad, sent.elapsed_ns), (0, info.elapsed_ns));
            Ok(0)
        });
        xen.set_tsc_info(DomId(1), info).unwrap();
        hypervisor.answer(Asked::Domctl(domctl::GET_TSC_INFO), |call| {
            let TscInfo { mode, khz, incarnation, elapsed_ns } =
                TscInfo { mode: 1, khz: 2_000_000, incarnation: 3, elapsed_ns: 1 << 40 };
            set_payload(call, &domctl::TscInfo { mode, khz, incarnation, pad: 0, elapsed_ns });
            Ok(0)
        });
        assert_eq!(xen.tsc_info(DomId(1)).unwrap(), info);
        hypervisor.answer(Asked::Sched(sched::REMOTE_SHUTDOWN), |call| {
            assert_eq!(call.argument()[..8], [1, 0, 0, 0, 2, 0, 0, 0]);
            Ok(0)
        });
        xen.shutdown(DomId(1), 2).unwrap();
        hypervisor.answer(Asked::Domctl(domctl::SUBSCRIBE), |call| {
            assert_eq!(payload::<domctl::Subscribe>(call).port, 33);
            Ok(0)
        });
        xen.subscribe_suspend(DomId(1), 33).unwrap();
        for (size, sound) in [(32, true), (64, true), (0, false)] {
            hypervisor.answer(Asked::Domctl(domctl::GET_ADDRESS_SIZE), move |call| {
                set_payload(call, &domctl::AddressSize { size });
                Ok(0)
            });
            assert_eq!(xen.address_size(DomId(1)).ok(), sound.then_some(size));
        }
    }
}
