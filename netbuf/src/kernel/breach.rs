//! Breaches: what can go wrong with the devices and filters that hold an interface's output.

use super::priority::PRIORITY_MAX;
use std::fmt;

/// A fault in what holds an interface's output. Other programs of the host cause it: they, too, may change filters, BPF
/// programs and devices.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Breach {
    /// The redirect is missing, or is not as it was set up.
    Removed,
    /// A filter meets frames before the redirect does.
    InFront {
        /// The filter's priority.
        priority: u16,
    },
    /// A BPF program meets frames before any filter does.
    Program(ProgramKind),
    /// The interface is in another network namespace.
    Moved,
    /// A filter or program takes frames away from the device that holds them.
    Diverted,
    /// Notifications were lost: what happened meanwhile is not known.
    Unknown,
    /// Something was changed just now, and nobody has looked at it yet.
    Doubted,
    /// The device that holds output is gone.
    HolderGone,
    /// The device that holds output is down, or is not set up as it was.
    HolderChanged,
    /// What is released does not find its way back to the interface.
    NoWayBack,
}

/// How a BPF program comes before every filter.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum ProgramKind {
    /// On the interface itself, in its driver or right behind it.
    Xdp,
    /// Attached to the hook of filters by `bpf(2)`.
    Tcx,
}

impl Breach {
    /// Whether frames may have left by it that should have been held. Others only lose or delay frames.
    pub fn leaks(self) -> bool {
        match self {
            Self::Removed
            | Self::InFront { .. }
            | Self::Program(_)
            | Self::Moved
            | Self::Diverted
            | Self::Unknown => true,
            Self::Doubted | Self::HolderGone | Self::HolderChanged | Self::NoWayBack => false,
        }
    }
}

impl fmt::Display for Breach {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Removed => {
                "another program of this host removed or changed its redirect; find that program (ovs-vsctl with \
                 ingress_policing_rate, a traffic shaping script) and keep it off the interface"
            }
            Self::InFront { priority } => {
                return write!(
                    f,
                    "a filter of priority {priority} comes before its redirect; give that filter a priority above {}",
                    PRIORITY_MAX
                );
            }
            Self::Program(ProgramKind::Xdp) => {
                "an XDP program takes its frames before the redirect; detach it (ip link set … xdp off)"
            }
            Self::Program(ProgramKind::Tcx) => {
                "a tcx program takes its frames before the redirect; detach it (bpftool net detach)"
            }
            Self::Moved => "it was moved to another network namespace; move it back",
            Self::Diverted => "a filter or program takes frames away from the device that holds them; remove it",
            Self::Unknown => "so much changed in this host's network that it is not known whether all was held",
            Self::Doubted => "this host's network was changed just now; what holds it is being checked",
            Self::HolderGone => "the device that holds its output was deleted",
            Self::HolderChanged => "the device that holds its output was set down or changed",
            Self::NoWayBack => "the redirect by which released frames come back was removed or changed",
        })
    }
}
