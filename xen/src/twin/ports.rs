//! Compares the event channel ports of a guest and of its twin.
//!
//! ```text
//!   guest   1 interdomain  2 interdomain  3 virq 0, vCPU 0  4 ipi, vCPU 0 …      by number
//!   twin    1 interdomain  2 interdomain  3 virq 0, vCPU 0  4 ipi, vCPU 0 …      must be bound to the same
//! ```
//!
//! Bindings are in Xen and nowhere else; only the guest itself can bind a virtual interrupt or one between vCPUs. Memory of
//! the guest that names ports is right in the twin only if they are bound alike. The port at the other end is the host's
//! own affair, and so is the vCPU of a channel between domains: the guest can rebind it, and an event for a vCPU that
//! did not expect it is handled all the same (xen/event_channel.h, `EVTCHNOP_bind_vcpu`).

use crate::PortState;

/// The first port at which a twin's ports are not those of its guest: its number, and what it is in each.
pub(super) type Difference = (u32, Option<PortState>, Option<PortState>);

/// The first difference; `None` if they are bound alike. Both lists ascend.
pub(super) fn difference(guest: &[(u32, PortState)], twin: &[(u32, PortState)]) -> Option<Difference> {
    let (mut guest, mut twin) = (guest.iter().copied().peekable(), twin.iter().copied().peekable());
    loop {
        let number = match (guest.peek(), twin.peek()) {
            (None, None) => return None,
            (Some((one, _)), Some((other, _))) => *one.min(other),
            (Some((one, _)), None) | (None, Some((one, _))) => *one,
        };
        let of_guest = guest.next_if(|(port, _)| *port == number).map(|(_, state)| state);
        let of_twin = twin.next_if(|(port, _)| *port == number).map(|(_, state)| state);
        match (of_guest, of_twin) {
            (Some(one), Some(other)) if are_alike(one, other) => {}
            _ => return Some((number, of_guest, of_twin)),
        }
    }
}

fn are_alike(guest: PortState, twin: PortState) -> bool {
    match (guest, twin) {
        (PortState::Interdomain { domain: one, .. }, PortState::Interdomain { domain: other, .. }) => {
            one == other
        }
        _ => guest == twin,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::DomId;

    const fn store(port: u32) -> PortState {
        PortState::Interdomain { domain: DomId(0), port }
    }

    fn ports() -> Vec<(u32, PortState)> {
        vec![
            (1, store(40)),
            (2, store(41)),
            (3, PortState::Virq { virq: 0, vcpu: 0 }),
            (5, PortState::Ipi { vcpu: 1 }),
        ]
    }

    #[test]
    fn other_ends_may_differ_and_nothing_else() {
        let guest = ports();
        let mut twin = ports();
        twin[0].1 = store(17);
        assert_eq!(difference(&guest, &twin), None);
        for (at, other) in [
            (0, PortState::Unbound { domain: DomId(0) }),
            (1, PortState::Interdomain { domain: DomId(3), port: 41 }),
            (2, PortState::Virq { virq: 0, vcpu: 1 }),
            (2, PortState::Virq { virq: 1, vcpu: 0 }),
            (3, PortState::Ipi { vcpu: 0 }),
        ] {
            let mut twin = ports();
            twin[at].1 = other;
            assert_eq!(difference(&guest, &twin), Some((guest[at].0, Some(guest[at].1), Some(other))));
        }
    }

    #[test]
    fn a_port_that_only_one_has_is_found_wherever_it_is() {
        let guest = ports();
        for missing in 0..guest.len() {
            let mut twin = ports();
            let (number, state) = twin.remove(missing);
            assert_eq!(difference(&guest, &twin), Some((number, Some(state), None)));
            assert_eq!(difference(&twin, &guest), Some((number, None, Some(state))));
        }
        assert_eq!(difference(&[], &[]), None);
    }
}
