//! [`Obstacle`]: what keeps a guest of real Xen from being protected today. The engine refuses such a guest, and
//! preflight reports it in advance.

use understudy_xen::DomId;
use understudy_xen::xl::{OddDeviceModel, XlGuest};

/// A reason in the guest's configuration. The text follows the guest's name and says what to do.
#[derive(thiserror::Error, Clone, Copy, PartialEq, Eq, Debug)]
pub enum Obstacle {
    /// The control domain is not a guest.
    #[error("it is the control domain of this host, which runs understudy itself; name a guest")]
    ControlDomain,
    /// The state of this device model cannot be sent to another host.
    #[error("its device model is qemu-traditional, which cannot be saved; remove device_model_version")]
    TraditionalDeviceModel,
    /// A device model in a stub domain cannot be reached.
    #[error(
        "its device model runs in a stub domain, where it cannot be saved; remove device_model_stubdomain_override"
    )]
    StubDomain,
    /// Passed-through hardware cannot move.
    #[error("it has devices of this host passed through, which no other host has; detach them")]
    PassedThrough,
    /// Memory and disks would be of different times, and two hosts could write to the disks.
    #[error(
        "it has disks, which are not replicated: after a takeover its memory would be older than they are, also with fence=enforce, \
         which keeps two hosts from writing to them and does no more"
    )]
    Disks,
    /// The state and output of such devices are in no checkpoint.
    #[error(
        "it has devices of a class that is not replicated (9pfs, pvcalls, vtpm, channels, virtio and the like), or \
         device_model_args, which may be any device; `xl list -l` shows them; remove them from its configuration"
    )]
    OtherDevices,
    /// libxl neither saves nor restores such a guest.
    #[error(
        "it has NUMA nodes of its own, which Xen's toolstack cannot restore; remove vnuma from its configuration"
    )]
    Vnuma,
}

impl Obstacle {
    /// All obstacles of this guest.
    pub fn of(guest: &XlGuest) -> impl Iterator<Item = Self> {
        let all = [
            (Self::ControlDomain, guest.domain == DomId::DOM0),
            (Self::TraditionalDeviceModel, guest.odd_device_model == Some(OddDeviceModel::Traditional)),
            (Self::StubDomain, guest.odd_device_model == Some(OddDeviceModel::Stubdomain)),
            (Self::PassedThrough, guest.passed_through > 0),
            (Self::Disks, guest.disks > 0),
            (Self::OtherDevices, guest.has_other_devices),
            (Self::Vnuma, guest.has_vnuma),
        ];
        all.into_iter().filter_map(|(obstacle, is_there)| is_there.then_some(obstacle))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use understudy_checkpoint::domain::GuestKind;

    #[test]
    fn each_obstacle_is_seen_by_itself_and_all_together() {
        let clean = XlGuest {
            domain: DomId(1),
            kind: GuestKind::Pvh,
            config: Vec::new(),
            nics: 1,
            bridges: vec!["xenbr0".into()],
            disks: 0,
            odd_device_model: None,
            passed_through: 0,
            has_other_devices: false,
            max_vcpus: 1,
            has_vnuma: false,
        };
        let of = |guest: XlGuest| Obstacle::of(&guest).collect::<Vec<_>>();
        assert_eq!(of(clean.clone()), []);
        assert_eq!(of(XlGuest { kind: GuestKind::Pv, ..clean.clone() }), []);
        assert_eq!(of(XlGuest { kind: GuestKind::Hvm, ..clean.clone() }), []);
        let odd = |model| XlGuest { kind: GuestKind::Hvm, odd_device_model: Some(model), ..clean.clone() };
        assert_eq!(of(odd(OddDeviceModel::Traditional)), [Obstacle::TraditionalDeviceModel]);
        assert_eq!(of(odd(OddDeviceModel::Stubdomain)), [Obstacle::StubDomain]);
        assert_eq!(of(XlGuest { domain: DomId::DOM0, ..clean.clone() }), [Obstacle::ControlDomain]);
        assert_eq!(of(XlGuest { passed_through: 1, ..clean.clone() }), [Obstacle::PassedThrough]);
        assert_eq!(of(XlGuest { disks: 1, ..clean.clone() }), [Obstacle::Disks]);
        assert_eq!(of(XlGuest { has_other_devices: true, ..clean.clone() }), [Obstacle::OtherDevices]);
        assert_eq!(of(XlGuest { has_vnuma: true, ..clean.clone() }), [Obstacle::Vnuma]);
        let all = XlGuest { passed_through: 2, disks: 3, has_vnuma: true, ..odd(OddDeviceModel::Stubdomain) };
        assert_eq!(of(all).len(), 4);
    }
}
