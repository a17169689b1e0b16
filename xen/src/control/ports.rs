//! The event channel ports of a domain.

use super::Xen;
use crate::abi::{evtchn, hypercall};
use crate::{DomId, XenError};
use nix::errno::Errno;

/// More ports than a domain can have (`EVTCHN_FIFO_NR_CHANNELS`).
const PORTS_MAX: u32 = 1 << 17;

/// What an event channel port of a domain is bound to.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum PortState {
    /// Offered to a domain, which has not bound it.
    Unbound {
        /// That domain.
        domain: DomId,
    },
    /// Bound to another domain's port.
    Interdomain {
        /// The domain at the other end.
        domain: DomId,
        /// That domain's port.
        port: u32,
    },
    /// A physical interrupt.
    Pirq(u32),
    /// A virtual interrupt, of one vCPU.
    Virq {
        /// `VIRQ_*`
        virq: u32,
        /// The vCPU.
        vcpu: u32,
    },
    /// An interrupt between vCPUs.
    Ipi {
        /// The vCPU that is interrupted.
        vcpu: u32,
    },
}

impl Xen {
    /// The ports of a domain that are in use, ascending.
    pub fn ports(&self, domain: DomId) -> Result<Vec<(u32, PortState)>, XenError> {
        let mut ports = Vec::new();
        for port in 0..PORTS_MAX {
            match self.port(domain, port) {
                Ok(None) => {}
                Ok(Some(state)) => ports.push((port, state)),
                // There are no more.
                Err(XenError::Hypercall { errno: Errno::EINVAL, .. }) => break,
                Err(error) => return Err(error),
            }
        }
        Ok(ports)
    }

    /// What a port is bound to; `None` if it is free. EINVAL: the domain has fewer ports.
    fn port(&self, domain: DomId, port: u32) -> Result<Option<PortState>, XenError> {
        let what = "Asking about an event channel port";
        let mut status = evtchn::Status { domain: domain.0, port, ..evtchn::Status::default() };
        let call = (hypercall::EVENT_CHANNEL_OP, evtchn::STATUS);
        self.subcommand(what, Some(domain), call, &mut status, None)?;
        let evtchn::Status { status, vcpu, what: [first, second], .. } = status;
        // A domid_t is the lower half of its word.
        let other = DomId(first as u16);
        Ok(Some(match status {
            evtchn::STATUS_CLOSED => return Ok(None),
            evtchn::STATUS_UNBOUND => PortState::Unbound { domain: other },
            evtchn::STATUS_INTERDOMAIN => PortState::Interdomain { domain: other, port: second },
            evtchn::STATUS_PIRQ => PortState::Pirq(first),
            evtchn::STATUS_VIRQ => PortState::Virq { virq: first, vcpu },
            evtchn::STATUS_IPI => PortState::Ipi { vcpu },
            other => {
                let answer = format!("status {other}");
                return Err(XenError::Nonsense { what, domain: Some(domain), answer });
            }
        }))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::simulated::{Asked, Simulated};
    use zerocopy::{FromBytes, IntoBytes};

    #[test]
    fn all_ports_are_found_and_free_ones_left_out() {
        let hypervisor = Simulated::new();
        let xen = Xen::over(hypervisor.clone()).unwrap();
        let said = [
            (0, 0, [0, 0]),
            (2, 0, [0xAAAA_0000, 17]),
            (0, 0, [0, 0]),
            (4, 1, [3, 0]),
            (5, 1, [0, 0]),
            (1, 0, [5, 0]),
            (3, 0, [9, 0]),
        ];
        hypervisor.answer(Asked::Evtchn(evtchn::STATUS), move |call| {
            let mut asked = evtchn::Status::read_from_prefix(call.argument()).unwrap().0;
            assert_eq!(asked.domain, 6);
            let Some((status, vcpu, what)) = said.get(asked.port as usize) else { return Err(Errno::EINVAL) };
            (asked.status, asked.vcpu, asked.what) = (*status, *vcpu, *what);
            asked.write_to_prefix(call.argument()).unwrap();
            Ok(0)
        });
        let expected = [
            (1, PortState::Interdomain { domain: DomId(0), port: 17 }),
            (3, PortState::Virq { virq: 3, vcpu: 1 }),
            (4, PortState::Ipi { vcpu: 1 }),
            (5, PortState::Unbound { domain: DomId(5) }),
            (6, PortState::Pirq(9)),
        ];
        assert_eq!(xen.ports(DomId(6)).unwrap(), expected);
        hypervisor.fail(Asked::Evtchn(evtchn::STATUS), &[Errno::EPERM]);
        assert!(xen.ports(DomId(6)).is_err(), "an error is not the end");
        hypervisor.answer(Asked::Evtchn(evtchn::STATUS), |call| {
            call.argument()[8] = 6;
            Ok(0)
        });
        assert!(matches!(xen.ports(DomId(6)), Err(XenError::Nonsense { .. })));
    }
}
