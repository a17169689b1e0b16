//! What a guest of real Xen must not have to be protected, today. The engine refuses it, and preflight says so before.

use understudy_checkpoint::domain::GuestKind;
use understudy_xen::DomId;
use understudy_xen::xl::XlGuest;

/// A reason that lies in how the guest is configured. The text follows the guest's name and says what to do.
#[derive(thiserror::Error, Clone, Copy, PartialEq, Eq, Debug)]
pub enum Obstacle {
    /// It is no guest.
    #[error("it is the control domain of this host, which runs understudy itself; name a guest")]
    ControlDomain,
    /// QEMU has state of the guest.
    #[error("it is HVM with a device model, whose state is not captured yet; run it as PVH")]
    DeviceModel,
    /// Hardware cannot follow.
    #[error("it has devices of this host passed through, which no other host has; detach them")]
    PassedThrough,
    /// Memory and disks would stand at different moments, and two hosts could write.
    #[error(
        "it has disks, which are not replicated and not fenced yet (nothing would keep both hosts from writing to them)"
    )]
    Disks,
    /// libxl neither saves nor restores such a guest.
    #[error(
        "it has NUMA nodes of its own, which Xen's toolstack cannot restore; remove vnuma from its configuration"
    )]
    Vnuma,
}

impl Obstacle {
    /// All that this guest has.
    pub fn of(guest: &XlGuest) -> impl Iterator<Item = Self> {
        let all = [
            (Self::ControlDomain, guest.domain == DomId::DOM0),
            (Self::DeviceModel, guest.kind == GuestKind::Hvm),
            (Self::PassedThrough, guest.passed_through > 0),
            (Self::Disks, guest.disks > 0),
            (Self::Vnuma, guest.has_vnuma),
        ];
        all.into_iter().filter_map(|(obstacle, is_there)| is_there.then_some(obstacle))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_obstacle_is_seen_by_itself_and_all_together() {
        let clean = XlGuest {
            domain: DomId(1),
            kind: GuestKind::Pvh,
            config: Vec::new(),
            nics: 1,
            bridges: vec!["xenbr0".into()],
            disks: 0,
            passed_through: 0,
            max_vcpus: 1,
            has_vnuma: false,
        };
        let of = |guest: XlGuest| Obstacle::of(&guest).collect::<Vec<_>>();
        assert_eq!(of(clean.clone()), []);
        assert_eq!(of(XlGuest { kind: GuestKind::Pv, ..clean.clone() }), []);
        assert_eq!(of(XlGuest { kind: GuestKind::Hvm, ..clean.clone() }), [Obstacle::DeviceModel]);
        assert_eq!(of(XlGuest { domain: DomId::DOM0, ..clean.clone() }), [Obstacle::ControlDomain]);
        assert_eq!(of(XlGuest { passed_through: 1, ..clean.clone() }), [Obstacle::PassedThrough]);
        assert_eq!(of(XlGuest { disks: 1, ..clean.clone() }), [Obstacle::Disks]);
        assert_eq!(of(XlGuest { has_vnuma: true, ..clean.clone() }), [Obstacle::Vnuma]);
        let all = XlGuest { kind: GuestKind::Hvm, passed_through: 2, disks: 3, has_vnuma: true, ..clean };
        assert_eq!(of(all).len(), 4);
    }
}
