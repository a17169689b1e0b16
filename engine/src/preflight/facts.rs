//! What is known of a host and of a guest, without any judgement.
//!
//! A host's facts travel: the other host prints them, this one reads them. Fields may be added at any time, so that what
//! is not known is skipped and what is missing has a default; [`FORMAT`] grows only when a field changes its meaning.

use crate::control::status::WitnessKind;
use crate::guest::obstacle::Obstacle;
use serde::{Deserialize, Serialize};
use std::collections::BTreeMap;
use understudy_checkpoint::domain::GuestKind;

/// Of which format facts are.
pub const FORMAT: u32 = 1;

/// No host has facts of more bytes than this: some hundred CPUID leaves, and a line for each guest and interface.
pub const BYTES_MAX: usize = 1 << 20;

/// What a host has and can do.
#[derive(Serialize, Deserialize, Clone, PartialEq, Eq, Debug)]
pub struct HostFacts {
    /// [`FORMAT`]
    pub format: u32,
    /// Version of understudy there.
    pub understudy: String,
    /// Versions of the link that it speaks, oldest and newest.
    pub link: (u16, u16),
    /// The hypervisor, if it answers.
    #[serde(default)]
    pub xen: Option<XenFacts>,
    /// Names of the domains that run there.
    #[serde(default)]
    pub domains: Vec<String>,
    /// Network interfaces of its dom0, bridges among them.
    #[serde(default)]
    pub interfaces: Vec<String>,
    /// Memory that dom0's programs can still have.
    #[serde(default)]
    pub available_bytes: Option<u64>,
    /// Mappings that a process of dom0 may have (`vm.max_map_count`).
    #[serde(default)]
    pub mappings_max: Option<u64>,
    /// What dom0's kernel offers for holding output.
    #[serde(default)]
    pub modules: BTreeMap<String, Presence>,
    /// Whether there is an `xl`.
    #[serde(default)]
    pub has_xl: bool,
    /// Whether there is a save helper where libxl looks for it.
    #[serde(default)]
    pub has_save_helper: bool,
    /// The witness of the node of this host; none where no node is configured, or without one.
    #[serde(default)]
    pub witness: Option<WitnessFacts>,
    /// What could not be learnt, and why.
    #[serde(default)]
    pub unlearnt: Vec<String>,
}

/// The witness as a host's configuration names it.
#[derive(Serialize, Deserialize, Clone, PartialEq, Eq, Debug)]
pub struct WitnessFacts {
    /// What it is.
    pub kind: WitnessKind,
    /// Where it is.
    pub address: String,
    /// Why it does not answer; none if it does.
    #[serde(default)]
    pub trouble: Option<String>,
}

/// What the hypervisor says.
#[derive(Serialize, Deserialize, Clone, PartialEq, Eq, Debug)]
pub struct XenFacts {
    /// Major and minor.
    pub version: (u32, u32),
    /// What the host has and can do, if Xen told.
    #[serde(default)]
    pub host: Option<Capacity>,
    /// The most that PV guests can have of the processor.
    #[serde(default)]
    pub pv_limit: Vec<Leaf>,
    /// The most that HVM and PVH guests can have of it.
    #[serde(default)]
    pub hvm_limit: Vec<Leaf>,
}

/// What a hypervisor has and can do.
#[derive(Serialize, Deserialize, Clone, Copy, PartialEq, Eq, Debug)]
pub struct Capacity {
    /// Memory that a new domain can have.
    pub free_bytes: u64,
    /// HVM and PVH guests can run.
    pub runs_hvm: bool,
    /// PV guests can run.
    pub runs_pv: bool,
    /// The writes of PV guests can be tracked.
    pub has_shadow_paging: bool,
}

/// A CPUID leaf.
#[derive(Serialize, Deserialize, Clone, Copy, PartialEq, Eq, Debug)]
pub struct Leaf {
    /// What eax asks for.
    pub leaf: u32,
    /// What ecx asks for; `u32::MAX` where that does not matter.
    pub subleaf: u32,
    /// eax, ebx, ecx, edx.
    pub registers: [u32; 4],
}

/// Whether a part of the kernel is there.
#[derive(Serialize, Deserialize, Clone, Copy, PartialEq, Eq, Debug)]
#[serde(rename_all = "snake_case")]
pub enum Presence {
    /// Loaded, or built in.
    Present,
    /// The kernel loads it when it is asked for.
    Loadable,
    /// It cannot be had.
    Missing,
    /// This kernel does not tell, or tells it in a word of a later version.
    #[serde(other)]
    Unknown,
}

/// Why the words of another host are not facts.
#[derive(thiserror::Error, Debug)]
pub enum FactsError {
    /// Not a host's facts at all.
    #[error("that is not a host's facts ({0}); is `understudy` there this program?")]
    Garbled(#[from] serde_json::Error),
    /// Facts that mean something else.
    #[error(
        "its facts are of format {0} and this program knows {FORMAT}; use the same understudy on both hosts"
    )]
    Format(u32),
}

impl HostFacts {
    /// Reads what another host printed.
    pub fn read(bytes: &[u8]) -> Result<Self, FactsError> {
        #[derive(Deserialize)]
        struct Head {
            format: u32,
        }
        // First: of another format, the rest need not fit.
        let Head { format } = serde_json::from_slice(bytes)?;
        if format != FORMAT {
            return Err(FactsError::Format(format));
        }
        Ok(serde_json::from_slice(bytes)?)
    }
}

/// What is known of a guest on this host.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct GuestFacts {
    /// Its name.
    pub name: String,
    /// Its kind.
    pub kind: GuestKind,
    /// Whether it is a PV guest of 32 bits.
    pub is_32_bit: bool,
    /// Memory that it has.
    pub memory_bytes: u64,
    /// Memory that Xen needs beside that to run it.
    pub overhead_bytes: u64,
    /// Whether it runs.
    pub state: State,
    /// How it is suspended.
    pub suspends: Suspends,
    /// The process of `remus -b` that makes checkpoints of it.
    pub taken_by: Option<u32>,
    /// What stands against it in its configuration.
    pub obstacles: Vec<Obstacle>,
    /// How many network cards it has.
    pub nics: usize,
    /// Bridges that they are plugged into.
    pub bridges: Vec<String>,
    /// What it sees of the processor.
    pub cpuid: Vec<Leaf>,
}

/// Whether a guest runs.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum State {
    /// It does, or would if it had something to do.
    Running,
    /// A toolstack paused it.
    Paused,
    /// It is suspended.
    Suspended,
    /// It crashed.
    Crashed,
    /// It shut down, for another reason.
    ShutDown,
    /// It is being destroyed.
    Dying,
}

/// How a guest is suspended.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Suspends {
    /// It is asked to, and announced that it can.
    OnRequest,
    /// It announced what it can be asked for, and suspending is not among that.
    Never,
    /// It is asked to, and has announced nothing.
    Unannounced,
    /// Without its help: it has no drivers that would have to know.
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
