//! Checks whether a guest of Xen could run on this host when the guest is offered, and not only when it is needed.
//!
//! Not here: memory, counts and names, which are the same for guests of any host (`node/offers.rs`).

use std::env;
use std::ffi::OsStr;
use std::path::Path;
use understudy_checkpoint::domain::Description;
use understudy_link::{HoldReason, HoldRefusal};
use understudy_xen::DomId;
use understudy_xen::xl::XlGuest;

/// Checks for what a takeover of the guest `name` would need here. `root` is `/`, or a test's directory; `path` is the
/// search path; `ours` is this host's version of Xen.
pub(in crate::guest) fn of_xen(
    name: &str,
    what: &Description,
    ours: (u32, u32),
    root: &Path,
    path: &OsStr,
) -> Result<(), HoldRefusal> {
    let refuse = |reason, why: String| Err(HoldRefusal::new(reason, why));
    let ((theirs, their_minor), (our_major, our_minor)) = (what.xen_version, ours);
    if what.xen_version > ours {
        return refuse(
            HoldReason::Unfit,
            format!(
                "its host runs Xen {theirs}.{their_minor} and this one {our_major}.{our_minor}, which does not take what a \
                 newer Xen saved; update this host first"
            ),
        );
    }
    // The number of the domain is not looked at: there is none yet.
    let guest = match XlGuest::built(name, DomId(0), &what.config) {
        Ok(guest) if guest.kind == what.kind => guest,
        Ok(guest) => {
            let why = format!("it is {} by its configuration and {} by its offer", guest.kind, what.kind);
            return refuse(HoldReason::Unfit, why);
        }
        Err(error) => {
            return refuse(HoldReason::Unfit, format!("it is no guest that Xen could run here: {error}"));
        }
    };
    if !env::split_paths(path).any(|directory| directory.join("xl").is_file()) {
        return refuse(HoldReason::Toolstack, "there is no xl here; install Xen's utilities".into());
    }
    // Open vSwitch's script takes the VLANs behind the bridge's name: `ovsbr0.10:20`.
    let names = |bridge: &str| [bridge.to_owned(), bridge.split('.').next().unwrap_or(bridge).to_owned()];
    let is_here =
        |bridge: &&String| names(bridge).iter().any(|name| root.join("sys/class/net").join(name).exists());
    match guest.bridges.iter().find(|bridge| !is_here(bridge)) {
        Some(bridge) => {
            refuse(HoldReason::Network, format!("there is no bridge {bridge} here; make it, or rename one"))
        }
        None => Ok(()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::fs;
    use understudy_checkpoint::domain::GuestKind;

    fn guest(config: &str) -> Description {
        Description {
            kind: GuestKind::Pvh,
            page_count: 1,
            libxc_version: 3,
            xen_version: (4, 17),
            config: config.as_bytes().to_vec(),
            static_records: Vec::new(),
            disks_bytes: Vec::new(),
        }
    }

    #[test]
    fn what_a_takeover_would_lack_is_said_at_the_offer() {
        let root = tempfile::tempdir().unwrap();
        let net = root.path().join("sys/class/net");
        fs::create_dir_all(net.join("br0")).unwrap();
        let path = root.path().as_os_str();
        let judge = |what: &Description, ours| of_xen("web", what, ours, root.path(), path);
        let reason = |what: &Description, ours| judge(what, ours).unwrap_err().reason;
        let config =
            |bridge: &str| format!(r#"{{"c_info": {{"type": "pvh"}}, "nics": [{{"bridge": "{bridge}"}}]}}"#);
        let good = guest(&config("br0"));
        assert_eq!(reason(&good, (4, 17)), HoldReason::Toolstack);
        fs::write(root.path().join("xl"), "").unwrap();
        judge(&good, (4, 17)).unwrap();
        judge(&good, (4, 20)).unwrap();
        judge(&guest(&config("br0.10:20")), (4, 17)).unwrap();
        assert_eq!(reason(&good, (4, 16)), HoldReason::Unfit);
        assert_eq!(reason(&good, (3, 99)), HoldReason::Unfit);
        let lacking = judge(&guest(&config("br7")), (4, 17)).unwrap_err();
        assert_eq!(lacking.reason, HoldReason::Network);
        assert!(lacking.detail.contains("br7"), "{lacking}");
        assert_eq!(reason(&guest("load mixed"), (4, 17)), HoldReason::Unfit);
        let other_kind = Description { kind: GuestKind::Hvm, ..good };
        assert_eq!(reason(&other_kind, (4, 17)), HoldReason::Unfit);
    }
}
