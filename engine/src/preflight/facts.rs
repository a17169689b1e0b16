//! Facts about a host and a guest, without any judgement.
//!
//! The other host prints its facts, and this one reads them. Fields may be added at any time: unknown fields are
//! skipped, and missing ones have a default. [`FORMAT`] grows only when a field changes its meaning.

use crate::control::status::WitnessKind;
use crate::guest::obstacle::Obstacle;
use serde::{Deserialize, Serialize};
use std::collections::BTreeMap;
use understudy_checkpoint::domain::GuestKind;

/// The version of the format.
pub const FORMAT: u32 = 1;

/// The longest that a host's facts may be: they have some hundred CPUID leaves, and a line for each guest and
/// interface.
pub const BYTES_MAX: usize = 1 << 20;

/// Facts about a host.
#[derive(Serialize, Deserialize, Clone, PartialEq, Eq, Debug)]
pub struct HostFacts {
    /// [`FORMAT`]
    pub format: u32,
    /// The version of understudy there.
    pub understudy: String,
    /// The oldest and newest version of the link that it speaks.
    pub link: (u16, u16),
    /// The hypervisor, if it answers.
    #[serde(default)]
    pub xen: Option<XenFacts>,
    /// The names of its domains.
    #[serde(default)]
    pub domains: Vec<String>,
    /// The network interfaces of its dom0, including bridges.
    #[serde(default)]
    pub interfaces: Vec<String>,
    /// Memory that is available to programs in dom0.
    #[serde(default)]
    pub available_bytes: Option<u64>,
    /// How many mappings a process of dom0 may have (`vm.max_map_count`).
    #[serde(default)]
    pub mappings_max: Option<u64>,
    /// What dom0's kernel offers for holding output.
    #[serde(default)]
    pub modules: BTreeMap<String, Presence>,
    /// Whether `xl` is installed.
    #[serde(default)]
    pub has_xl: bool,
    /// Whether there is a save helper where libxl looks for it.
    #[serde(default)]
    pub has_save_helper: bool,
    /// Names of guests that are started with the host (`/etc/xen/auto`).
    #[serde(default)]
    pub autostarted: Vec<String>,
    /// Names of guests that Pacemaker's own agent for Xen looks after.
    #[serde(default)]
    pub in_pacemaker: Vec<String>,
    /// The witness of this host's node; `None` if no node is configured, or the node has no witness.
    #[serde(default)]
    pub witness: Option<WitnessFacts>,
    /// What could not be found out, and why.
    #[serde(default)]
    pub unlearnt: Vec<String>,
}

/// The witness as a host's configuration names it.
#[derive(Serialize, Deserialize, Clone, PartialEq, Eq, Debug)]
pub struct WitnessFacts {
    pub kind: WitnessKind,
    pub address: String,
    /// Why it does not answer; `None` if it does.
    #[serde(default)]
    pub trouble: Option<String>,
}

/// Facts about the hypervisor.
#[derive(Serialize, Deserialize, Clone, PartialEq, Eq, Debug)]
pub struct XenFacts {
    /// Major and minor version.
    pub version: (u32, u32),
    /// The host's resources and abilities, if Xen reports them.
    #[serde(default)]
    pub host: Option<Capacity>,
    /// The processor features that PV guests can have at most.
    #[serde(default)]
    pub pv_limit: Vec<Leaf>,
    /// The processor features that HVM and PVH guests can have at most.
    #[serde(default)]
    pub hvm_limit: Vec<Leaf>,
}

/// A hypervisor's resources and abilities.
#[derive(Serialize, Deserialize, Clone, Copy, PartialEq, Eq, Debug)]
pub struct Capacity {
    /// Memory that is free for a new domain.
    pub free_bytes: u64,
    /// Whether HVM and PVH guests can run.
    pub runs_hvm: bool,
    /// Whether PV guests can run.
    pub runs_pv: bool,
    /// Whether Xen can track the writes of PV guests.
    pub has_shadow_paging: bool,
}

/// A CPUID leaf.
#[derive(Serialize, Deserialize, Clone, Copy, PartialEq, Eq, Debug)]
pub struct Leaf {
    /// The leaf: eax when asking.
    pub leaf: u32,
    /// The subleaf: ecx when asking; `u32::MAX` if it does not matter.
    pub subleaf: u32,
    /// The answer in eax, ebx, ecx, edx.
    pub registers: [u32; 4],
}

/// Whether a part of the kernel is available.
#[derive(Serialize, Deserialize, Clone, Copy, PartialEq, Eq, Debug)]
#[serde(rename_all = "snake_case")]
pub enum Presence {
    /// Loaded, or built in.
    Present,
    /// The kernel loads it on demand.
    Loadable,
    /// It is missing.
    Missing,
    /// This kernel does not tell, or the answer is a word of a later version of understudy.
    #[serde(other)]
    Unknown,
}

/// Why another host's output cannot be read as facts.
#[derive(thiserror::Error, Debug)]
pub enum FactsError {
    /// It is not a host's facts at all.
    #[error("that is not a host's facts ({0}); is `understudy` there this program?")]
    Garbled(#[from] serde_json::Error),
    /// The format is another, in which fields have other meanings.
    #[error(
        "its facts are of format {0} and this program knows {FORMAT}; use the same understudy on both hosts"
    )]
    Format(u32),
}

impl HostFacts {
    /// Reads the facts that another host printed.
    pub fn read(bytes: &[u8]) -> Result<Self, FactsError> {
        #[derive(Deserialize)]
        struct Head {
            format: u32,
        }
        // This comes first: in another format, the rest may not parse.
        let Head { format } = serde_json::from_slice(bytes)?;
        if format != FORMAT {
            return Err(FactsError::Format(format));
        }
        Ok(serde_json::from_slice(bytes)?)
    }
}

/// Facts about a guest on this host.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct GuestFacts {
    pub name: String,
    pub kind: GuestKind,
    /// Whether it is a 32-bit PV guest.
    pub is_32_bit: bool,
    /// The memory that it has.
    pub memory_bytes: u64,
    /// The memory that Xen needs besides to run it.
    pub overhead_bytes: u64,
    pub state: State,
    pub suspends: Suspends,
    /// The process of a `remus -b` that makes checkpoints of it.
    pub taken_by: Option<u32>,
    /// What in its configuration prevents protection.
    pub obstacles: Vec<Obstacle>,
    /// How many network cards it has.
    pub nics: usize,
    /// The bridges that its cards are attached to.
    pub bridges: Vec<String>,
    /// The processor as the guest sees it.
    pub cpuid: Vec<Leaf>,
}

/// Whether a guest runs.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum State {
    /// It runs, or is idle.
    Running,
    /// A toolstack paused it.
    Paused,
    /// It is suspended.
    Suspended,
    /// It crashed.
    Crashed,
    /// It shut down for another reason.
    ShutDown,
    /// It is being destroyed.
    Dying,
}

/// How a guest is suspended.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Suspends {
    /// It is asked to suspend, and has announced that it can.
    OnRequest,
    /// It has announced what it can do when asked, and suspending is not included.
    Never,
    /// It is asked to suspend, and has announced nothing.
    Unannounced,
    /// It is suspended without its help: it has no drivers that would have to know.
    Unasked,
}

#[cfg(test)]
mod tests {
    use super::*;

    fn facts() -> HostFacts {
        let leaf = Leaf { leaf: 7, subleaf: 0, registers: [1, 2, 3, u32::MAX] };
        HostFacts {
            format: FORMAT,
            understudy: "0.1.0".into(),
            link: (1, 1),
            xen: Some(XenFacts {
                version: (4, 17),
                host: Some(Capacity {
                    free_bytes: 1 << 40,
                    runs_hvm: true,
                    runs_pv: false,
                    has_shadow_paging: true,
                }),
                pv_limit: Vec::new(),
                hvm_limit: vec![leaf],
            }),
            domains: vec!["Domain-0".into()],
            interfaces: vec!["xenbr0".into()],
            mappings_max: None,
            available_bytes: Some(u64::MAX),
            modules: [("tun".into(), Presence::Present), ("cls_bpf".into(), Presence::Missing)].into(),
            has_xl: true,
            has_save_helper: false,
            autostarted: vec!["web".into()],
            in_pacemaker: vec!["web".into()],
            witness: None,
            unlearnt: vec!["why".into()],
        }
    }

    #[test]
    fn facts_come_back_as_they_went() {
        let bytes = serde_json::to_vec(&facts()).unwrap();
        assert_eq!(HostFacts::read(&bytes).unwrap(), facts());
    }

    #[test]
    fn facts_of_later_and_earlier_versions_are_read_as_far_as_they_are_known() {
        let mut value = serde_json::to_value(facts()).unwrap();
        value["colour"] = serde_json::json!({ "deep": [1, 2, 3] });
        value["xen"]["host"]["colour"] = "red".into();
        value["modules"]["tun"] = "almost".into();
        value.as_object_mut().unwrap().remove("unlearnt");
        let read = HostFacts::read(value.to_string().as_bytes()).unwrap();
        assert_eq!(read.modules["tun"], Presence::Unknown);
        assert_eq!((read.xen, read.unlearnt), (facts().xen, Vec::new()));
    }

    #[test]
    fn what_is_no_facts_is_refused_with_what_to_do() {
        let deep = "[".repeat(100_000);
        let short = serde_json::to_vec(&facts()).unwrap();
        let hostile: [&[u8]; 8] = [
            b"",
            b"\xff\x00\xfe",
            b"Last login: yesterday\n",
            b"{}",
            br#"{"format":-1}"#,
            br#"{"format":1,"understudy":7}"#,
            deep.as_bytes(),
            &short[..short.len() - 1],
        ];
        for bytes in hostile {
            let error = HostFacts::read(bytes).unwrap_err();
            assert!(matches!(error, FactsError::Garbled(_)), "{error}");
        }
        let error = HostFacts::read(br#"{"format":2,"all":"else"}"#).unwrap_err();
        assert!(matches!(error, FactsError::Format(2)), "{error}");
        assert!(error.to_string().contains("the same understudy on both hosts"), "{error}");
    }
}
