//! The CPU policy: which CPUID leaves and MSRs a guest sees. A guest must go on with the one it was started with.

use super::{Data, Xen};
use crate::abi::domctl::{self, CPUID_INPUT_UNUSED, CPUID_LEAF_BYTES, HEAD_BYTES, MSR_ENTRY_BYTES};
use crate::port::Pointer;
use crate::{DomId, PolicyPosition, XenError};
use std::mem::offset_of;

/// A guest's CPUID leaves and MSRs, as records X86_CPUID_POLICY and X86_MSR_POLICY carry them.
#[derive(Clone, PartialEq, Eq, Debug, Default)]
pub struct CpuPolicy {
    /// `xen_cpuid_leaf_t`, 24 bytes each: `u32 leaf, subleaf, a, b, c, d`.
    pub leaves: Vec<u8>,
    /// `xen_msr_entry_t`, 16 bytes each: `u32 index, u32 flags, u64 value`.
    pub msrs: Vec<u8>,
}

const NO_POLICY: domctl::CpuPolicy = domctl::CpuPolicy {
    nr_leaves: 0,
    nr_msrs: 0,
    leaves: crate::abi::Handle::NULL,
    msrs: crate::abi::Handle::NULL,
    err_leaf: CPUID_INPUT_UNUSED,
    err_subleaf: CPUID_INPUT_UNUSED,
    err_msr: CPUID_INPUT_UNUSED,
    pad: 0,
};

/// More leaves or MSRs than any policy has: some two hundred in Xen 4.22.
const ENTRIES_MAX: u32 = 1 << 16;

/// Where both lists lie, one after the other.
fn pointers(leaf_bytes: usize, msr_bytes: usize) -> [Pointer; 2] {
    let at = |field: usize| HEAD_BYTES + field;
    [
        Pointer { at: at(offset_of!(domctl::CpuPolicy, leaves)), to: 0, bytes: leaf_bytes },
        Pointer { at: at(offset_of!(domctl::CpuPolicy, msrs)), to: leaf_bytes, bytes: msr_bytes },
    ]
}

impl Xen {
    /// The policy of a domain.
    pub fn cpu_policy(&self, domain: DomId) -> Result<CpuPolicy, XenError> {
        let what = "Reading the CPU policy";
        let mut payload = NO_POLICY;
        self.domctl_get(what, domctl::GET_CPU_POLICY, domain, &mut payload, None)?;
        let (leaves_max, msrs_max) = (payload.nr_leaves, payload.nr_msrs);
        let nonsense = |payload: domctl::CpuPolicy| {
            let answer = format!("{} leaves, {} MSRs", payload.nr_leaves, payload.nr_msrs);
            XenError::Nonsense { what, domain: Some(domain), answer }
        };
        if leaves_max.max(msrs_max) > ENTRIES_MAX {
            return Err(nonsense(payload));
        }
        let leaf_room = leaves_max as usize * CPUID_LEAF_BYTES;
        let msr_room = msrs_max as usize * MSR_ENTRY_BYTES;
        let mut lists = self.data(leaf_room + msr_room)?;
        let data = Data { buffer: &mut lists, pointers: &pointers(leaf_room, msr_room) };
        self.domctl_get(what, domctl::GET_CPU_POLICY, domain, &mut payload, Some(data))?;
        if payload.nr_leaves > leaves_max || payload.nr_msrs > msrs_max {
            return Err(nonsense(payload));
        }
        let (leaves, msrs) = lists.as_bytes().split_at(leaf_room);
        Ok(CpuPolicy {
            leaves: leaves[..payload.nr_leaves as usize * CPUID_LEAF_BYTES].to_vec(),
            msrs: msrs[..payload.nr_msrs as usize * MSR_ENTRY_BYTES].to_vec(),
        })
    }

    /// Gives a domain its policy, before its vCPUs run. [`Policy`](XenError::Policy) names what this host cannot
    /// offer.
    ///
    /// Panics if the lists are not of whole entries.
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
        let data = Data { buffer: &mut lists, pointers: &pointers(leaves.len(), msrs.len()) };
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

/// What Xen objects to, if it says.
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
    use crate::simulated::{Asked, Simulated, payload, set_payload};
    use nix::errno::Errno;

    const DOMAIN: DomId = DomId(2);

    #[test]
    fn a_policy_is_read_as_long_as_it_is() {
        let port = Simulated::new();
        let xen = Xen::over(port.clone()).unwrap();
        let get = Asked::Domctl(domctl::GET_CPU_POLICY);
        for leaves_max in [50, 5000] {
            port.answer(get, move |call| {
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
        port.answer(get, |call| {
            let asked: domctl::CpuPolicy = payload(call);
            set_payload(call, &domctl::CpuPolicy { nr_leaves: asked.nr_leaves + 1, ..asked });
            Ok(0)
        });
        assert!(matches!(xen.cpu_policy(DOMAIN), Err(XenError::Nonsense { .. })));
    }

    #[test]
    fn a_refused_policy_names_what_is_refused() {
        let port = Simulated::new();
        let xen = Xen::over(port.clone()).unwrap();
        let set = Asked::Domctl(domctl::SET_CPU_POLICY);
        let policy = CpuPolicy { leaves: vec![1; 48], msrs: vec![2; 16] };
        port.answer(set, |call| {
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
            port.answer(set, move |call| {
                let mut asked: domctl::CpuPolicy = payload(call);
                (asked.err_leaf, asked.err_subleaf, asked.err_msr) = answered;
                set_payload(call, &asked);
                Err(Errno::EINVAL)
            });
            let error = xen.set_cpu_policy(DOMAIN, &policy).unwrap_err();
            assert!(error.to_string().contains(text), "{error}");
        }
        port.fail(set, &[Errno::EINVAL]);
        let error = xen.set_cpu_policy(DOMAIN, &policy).unwrap_err();
        assert!(matches!(error, XenError::Hypercall { errno: Errno::EINVAL, .. }), "{error}");
    }
}
