//! The CPU policy: the CPUID leaves and MSRs that a guest sees. A guest must keep the policy it was started with.

use super::{Data, Xen};
use crate::abi::domctl::{self, CPUID_INPUT_UNUSED, CPUID_LEAF_BYTES, MSR_ENTRY_BYTES};
use crate::abi::{Handle, sysctl};
use crate::hypervisor::Pointer;
use crate::{DomId, PolicyPosition, XenError};
use std::mem::offset_of;

/// A guest's CPUID leaves and MSRs, encoded as in the records X86_CPUID_POLICY and X86_MSR_POLICY.
#[derive(Clone, PartialEq, Eq, Debug, Default)]
pub struct CpuPolicy {
    /// `xen_cpuid_leaf_t`, 24 bytes each: `u32 leaf, subleaf, a, b, c, d`.
    pub leaves: Vec<u8>,
    /// `xen_msr_entry_t`, 16 bytes each: `u32 index, u32 flags, u64 value`.
    pub msrs: Vec<u8>,
}

/// A CPUID leaf and its four registers.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct CpuidLeaf {
    /// The leaf number (eax on input).
    pub leaf: u32,
    /// The subleaf number (ecx on input); `u32::MAX` if the leaf has no subleaves.
    pub subleaf: u32,
    /// eax, ebx, ecx, edx.
    pub registers: [u32; 4],
}

impl CpuPolicy {
    /// Decodes the leaves.
    pub fn cpuid(&self) -> impl Iterator<Item = CpuidLeaf> {
        let (entries, _) = self.leaves.as_chunks::<CPUID_LEAF_BYTES>();
        entries.iter().map(|entry| {
            let (words, _) = entry.as_chunks();
            let [leaf, subleaf, a, b, c, d] = std::array::from_fn(|at| u32::from_le_bytes(words[at]));
            CpuidLeaf { leaf, subleaf, registers: [a, b, c, d] }
        })
    }
}

/// The kind of guest that a host's limit applies to.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum PolicyLimit {
    /// PV guests.
    Pv,
    /// HVM and PVH guests.
    Hvm,
}

const NO_POLICY: domctl::CpuPolicy = domctl::CpuPolicy {
    nr_leaves: 0,
    nr_msrs: 0,
    leaves: Handle::NULL,
    msrs: Handle::NULL,
    err_leaf: CPUID_INPUT_UNUSED,
    err_subleaf: CPUID_INPUT_UNUSED,
    err_msr: CPUID_INPUT_UNUSED,
    pad: 0,
};

/// More leaves or MSRs than any policy has; Xen 4.22 has about two hundred.
const ENTRIES_MAX: u32 = 1 << 16;

/// Offsets of the two handles in a domctl.
const DOMCTL_HANDLES: [usize; 2] = [
    domctl::HEAD_BYTES + offset_of!(domctl::CpuPolicy, leaves),
    domctl::HEAD_BYTES + offset_of!(domctl::CpuPolicy, msrs),
];

/// Offsets of the two handles in a sysctl.
const SYSCTL_HANDLES: [usize; 2] = [
    sysctl::HEAD_BYTES + offset_of!(sysctl::CpuPolicy, leaves),
    sysctl::HEAD_BYTES + offset_of!(sysctl::CpuPolicy, msrs),
];

/// Pointers to both lists, which lie one after the other.
fn pointers(handles: [usize; 2], leaf_bytes: usize, msr_bytes: usize) -> [Pointer; 2] {
    [
        Pointer { at: handles[0], to: 0, bytes: leaf_bytes },
        Pointer { at: handles[1], to: leaf_bytes, bytes: msr_bytes },
    ]
}

impl Xen {
    /// The policy of a domain.
    pub fn cpu_policy(&self, domain: DomId) -> Result<CpuPolicy, XenError> {
        let what = "Reading the CPU policy";
        self.read_policy(what, Some(domain), DOMCTL_HANDLES, |counts, data| {
            let mut payload = domctl::CpuPolicy { nr_leaves: counts.0, nr_msrs: counts.1, ..NO_POLICY };
            self.domctl_get(what, domctl::GET_CPU_POLICY, domain, &mut payload, data)?;
            Ok((payload.nr_leaves, payload.nr_msrs))
        })
    }

    /// The most that this host can offer a guest. A guest from elsewhere would lose anything beyond it.
    pub fn policy_limit(&self, limit: PolicyLimit) -> Result<CpuPolicy, XenError> {
        let what = "Reading the host's CPU policy";
        let index = match limit {
            PolicyLimit::Pv => sysctl::POLICY_PV_MAX,
            PolicyLimit::Hvm => sysctl::POLICY_HVM_MAX,
        };
        self.read_policy(what, None, SYSCTL_HANDLES, |(nr_leaves, nr_msrs), data| {
            let (leaves, msrs) = (Handle::NULL, Handle::NULL);
            let mut payload = sysctl::CpuPolicy { index, nr_leaves, nr_msrs, reserved: 0, leaves, msrs };
            self.sysctl_get(what, sysctl::GET_CPU_POLICY, &mut payload, data)?;
            Ok((payload.nr_leaves, payload.nr_msrs))
        })
    }

    /// Reads a policy: asks for its size, then for its content. `ask` takes and returns the numbers of leaves and MSRs.
    fn read_policy(
        &self,
        what: &'static str,
        domain: Option<DomId>,
        handles: [usize; 2],
        ask: impl Fn((u32, u32), Option<Data<'_>>) -> Result<(u32, u32), XenError>,
    ) -> Result<CpuPolicy, XenError> {
        let nonsense = |(leaves, msrs)| {
            let answer = format!("{leaves} leaves, {msrs} MSRs");
            XenError::Nonsense { what, domain, answer }
        };
        let most = ask((0, 0), None)?;
        if most.0.max(most.1) > ENTRIES_MAX {
            return Err(nonsense(most));
        }
        let leaf_room = most.0 as usize * CPUID_LEAF_BYTES;
        let msr_room = most.1 as usize * MSR_ENTRY_BYTES;
        let mut lists = self.data(leaf_room + msr_room)?;
        let data = Data { buffer: &mut lists, pointers: &pointers(handles, leaf_room, msr_room) };
        let counts = ask(most, Some(data))?;
        if counts.0 > most.0 || counts.1 > most.1 {
            return Err(nonsense(counts));
        }
        let (leaves, msrs) = lists.as_bytes().split_at(leaf_room);
        Ok(CpuPolicy {
            leaves: leaves[..counts.0 as usize * CPUID_LEAF_BYTES].to_vec(),
            msrs: msrs[..counts.1 as usize * MSR_ENTRY_BYTES].to_vec(),
        })
    }

    /// Sets a domain's policy before its vCPUs run. [`Policy`](XenError::Policy) names what this host cannot offer.
    ///
    /// Panics if the lists do not consist of whole entries.
    pub fn set_cpu_policy(&self, domain: DomId, policy: &CpuPolicy) -> Result<(), XenError> {
        let CpuPolicy { leaves, msrs } = policy;
        assert!(leaves.len().is_multiple_of(CPUID_LEAF_BYTES) && msrs.len().is_multiple_of(MSR_ENTRY_BYTES));
        let count = |entries: usize| u32::try_from(entries).expect("a policy is small");
        let mut payload = domctl::CpuPolicy {
            nr_leaves: count(leaves.len() / CPUID_LEAF_BYTES),
            nr_msrs: count(msrs.len() / MSR_ENTRY_BYTES),
            ..NO_POLICY
        };
        let mut lists = self.data(leaves.len() + msrs.len())?;
        lists.as_bytes_mut()[..leaves.len()].copy_from_slice(leaves);
        lists.as_bytes_mut()[leaves.len()..][..msrs.len()].copy_from_slice(msrs);
        let data = Data { buffer: &mut lists, pointers: &pointers(DOMCTL_HANDLES, leaves.len(), msrs.len()) };
        let what = "Setting the CPU policy";
        let answer = self.domctl(what, domctl::SET_CPU_POLICY, domain, &mut payload, Some(data));
        match (answer, position(&payload)) {
            (Ok(_), _) => Ok(()),
            (Err(XenError::Hypercall { errno, .. }), Some(position)) => {
                Err(XenError::Policy { domain, position, errno })
            }
            (Err(error), _) => Err(error),
        }
    }
}

/// The leaf or MSR that Xen objects to, if it names one.
fn position(answer: &domctl::CpuPolicy) -> Option<PolicyPosition> {
    let named = |value: u32| (value != CPUID_INPUT_UNUSED).then_some(value);
    match (named(answer.err_leaf), named(answer.err_msr)) {
        (Some(leaf), _) => Some(PolicyPosition::Leaf { leaf, subleaf: named(answer.err_subleaf) }),
        (None, Some(msr)) => Some(PolicyPosition::Msr(msr)),
        (None, None) => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::simulated::{Asked, Simulated, payload, set_payload, set_sysctl_payload, sysctl_payload};
    use nix::errno::Errno;

    const DOMAIN: DomId = DomId(2);

    #[test]
    fn a_policy_is_read_as_long_as_it_is() {
        let hypervisor = Simulated::new();
        let xen = Xen::over(hypervisor.clone()).unwrap();
        let get = Asked::Domctl(domctl::GET_CPU_POLICY);
        for leaves_max in [50, 5000] {
            hypervisor.answer(get, move |call| {
                let mut asked: domctl::CpuPolicy = payload(call);
                match call.data() {
                    None => (asked.nr_leaves, asked.nr_msrs) = (leaves_max, 3),
                    Some(data) => {
                        assert_eq!((asked.nr_leaves, asked.nr_msrs), (leaves_max, 3));
                        let (leaves, msrs) = data.split_at_mut(leaves_max as usize * CPUID_LEAF_BYTES);
                        leaves[..2 * CPUID_LEAF_BYTES].fill(1);
                        msrs[..MSR_ENTRY_BYTES].fill(2);
                        (asked.nr_leaves, asked.nr_msrs) = (2, 1);
                    }
                }
                set_payload(call, &asked);
                Ok(0)
            });
            let expected = CpuPolicy { leaves: vec![1; 48], msrs: vec![2; 16] };
            assert_eq!(xen.cpu_policy(DOMAIN).unwrap(), expected);
        }
        hypervisor.answer(get, |call| {
            let asked: domctl::CpuPolicy = payload(call);
            set_payload(call, &domctl::CpuPolicy { nr_leaves: asked.nr_leaves + 1, ..asked });
            Ok(0)
        });
        assert!(matches!(xen.cpu_policy(DOMAIN), Err(XenError::Nonsense { .. })));
    }

    #[test]
    fn the_hosts_limit_is_read_leaf_by_leaf() {
        let hypervisor = Simulated::new();
        let xen = Xen::over(hypervisor.clone()).unwrap();
        for (limit, index) in [(PolicyLimit::Pv, 2), (PolicyLimit::Hvm, 3)] {
            hypervisor.answer(Asked::Sysctl(sysctl::GET_CPU_POLICY), move |call| {
                let mut asked: sysctl::CpuPolicy = sysctl_payload(call);
                assert_eq!((asked.index, asked.reserved), (index, 0));
                match call.data() {
                    None => (asked.nr_leaves, asked.nr_msrs) = (3, 1),
                    Some(data) => {
                        for (at, word) in [7u32, 0, 0xA, 0xB, 0xC, index].into_iter().enumerate() {
                            data[4 * at..][..4].copy_from_slice(&word.to_le_bytes());
                        }
                        asked.nr_leaves = 1;
                    }
                }
                set_sysctl_payload(call, &asked);
                Ok(0)
            });
            let policy = xen.policy_limit(limit).unwrap();
            let expected = CpuidLeaf { leaf: 7, subleaf: 0, registers: [0xA, 0xB, 0xC, index] };
            assert_eq!(policy.cpuid().collect::<Vec<_>>(), [expected]);
            assert_eq!(policy.msrs.len(), MSR_ENTRY_BYTES);
        }
        // Xen was built without PV guests.
        hypervisor.fail(Asked::Sysctl(sysctl::GET_CPU_POLICY), &[Errno::EOPNOTSUPP]);
        assert!(xen.policy_limit(PolicyLimit::Pv).is_err());
    }

    #[test]
    fn a_refused_policy_names_what_is_refused() {
        let hypervisor = Simulated::new();
        let xen = Xen::over(hypervisor.clone()).unwrap();
        let set = Asked::Domctl(domctl::SET_CPU_POLICY);
        let policy = CpuPolicy { leaves: vec![1; 48], msrs: vec![2; 16] };
        hypervisor.answer(set, |call| {
            let asked: domctl::CpuPolicy = payload(call);
            assert_eq!((asked.nr_leaves, asked.nr_msrs), (2, 1));
            let data = call.data().unwrap();
            assert!(data[..48] == [1; 48] && data[48..64] == [2; 16]);
            Ok(0)
        });
        xen.set_cpu_policy(DOMAIN, &policy).unwrap();
        const NONE: u32 = CPUID_INPUT_UNUSED;
        for (answered, text) in [
            ((7, 1, NONE), "CPUID leaf 0x7 subleaf 0x1"),
            ((0x8000_0008, NONE, NONE), "CPUID leaf 0x80000008:"),
            ((NONE, NONE, 0x10A), "MSR 0x10a"),
        ] {
            hypervisor.answer(set, move |call| {
                let mut asked: domctl::CpuPolicy = payload(call);
                (asked.err_leaf, asked.err_subleaf, asked.err_msr) = answered;
                set_payload(call, &asked);
                Err(Errno::EINVAL)
            });
            let error = xen.set_cpu_policy(DOMAIN, &policy).unwrap_err();
            assert!(error.to_string().contains(text), "{error}");
        }
        hypervisor.fail(set, &[Errno::EINVAL]);
        let error = xen.set_cpu_policy(DOMAIN, &policy).unwrap_err();
        assert!(matches!(error, XenError::Hypercall { errno: Errno::EINVAL, .. }), "{error}");
    }
}
