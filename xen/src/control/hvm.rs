//! HVM context and parameters of HVM and PVH guests.

use super::{Data, Xen, failure, payload_pointer};
use crate::abi::domctl::{self, HvmContext};
use crate::abi::{MulticallEntry, hvm, hypercall};
use crate::hypervisor::{Pointer, Register};
use crate::{DomId, XenError};
use nix::errno::Errno;
use std::mem::offset_of;
use zerocopy::{FromBytes, IntoBytes};

/// How often a context may outgrow the size that Xen has just answered. It grows when a vCPU comes online, so seldom.
const GROWTHS_MAX: usize = 8;

/// Most calls in one: their entries fit in an argument, which is a page.
const CALLS_MAX: usize = 32;

/// Room beyond the size that Xen answers, because a context's size varies with the state of the vCPUs.
const SPARE_BYTES: usize = 4096;

impl Xen {
    /// Appends the HVM context: everything that hardware and hypervisor know of the guest except its memory.
    ///
    /// Pauses the domain meanwhile. Asks for the size only if the context has outgrown the last call's buffer, so not
    /// in the steady state.
    pub fn hvm_context(&self, domain: DomId, into: &mut Vec<u8>) -> Result<(), XenError> {
        let what = "Reading the HVM context";
        let mut wanted = 1;
        for _ in 0..GROWTHS_MAX {
            let mut buffer = self.shared.contexts.lease(wanted).map_err(XenError::Buffer)?;
            let bytes = buffer.as_bytes().len();
            let size = u32::try_from(bytes).unwrap_or(u32::MAX);
            let mut payload = HvmContext { size, ..HvmContext::default() };
            let pointers = [payload_pointer!(HvmContext, buffer, bytes)];
            let data = Data { buffer: &mut buffer, pointers: &pointers };
            match self.domctl_get(what, domctl::GET_HVM_CONTEXT, domain, &mut payload, Some(data)) {
                Ok(_) if payload.size as usize <= bytes => {
                    into.extend_from_slice(&buffer.as_bytes()[..payload.size as usize]);
                    return Ok(());
                }
                Ok(_) => {
                    let answer = format!("{} bytes in a buffer of {bytes}", payload.size);
                    return Err(XenError::Nonsense { what, domain: Some(domain), answer });
                }
                Err(XenError::Hypercall { errno: Errno::ENOSPC, .. }) => {
                    wanted = self.hvm_context_bytes(domain)? + SPARE_BYTES;
                }
                Err(error) => return Err(error),
            }
        }
        Err(XenError::Hypercall { what, domain: Some(domain), errno: Errno::ENOSPC })
    }

    /// The present size of the context, with some room.
    fn hvm_context_bytes(&self, domain: DomId) -> Result<usize, XenError> {
        let mut payload = HvmContext::default();
        let what = "Asking the size of the HVM context";
        self.domctl_get(what, domctl::GET_HVM_CONTEXT, domain, &mut payload, None)?;
        Ok(payload.size as usize)
    }

    /// Gives a domain that does not run its HVM context. EINVAL or ENODATA mean that the context is damaged, or from a
    /// newer Xen.
    pub fn set_hvm_context(&self, domain: DomId, context: &[u8]) -> Result<(), XenError> {
        let what = "Setting the HVM context";
        let size = u32::try_from(context.len()).map_err(|_| XenError::Hypercall {
            what,
            domain: Some(domain),
            errno: Errno::E2BIG,
        })?;
        let mut buffer = self.data_of(context)?;
        let mut payload = HvmContext { size, ..HvmContext::default() };
        let pointers = [payload_pointer!(HvmContext, buffer, context.len())];
        let data = Data { buffer: &mut buffer, pointers: &pointers };
        self.domctl(what, domctl::SET_HVM_CONTEXT, domain, &mut payload, Some(data)).map(drop)
    }

    /// A parameter of an HVM or PVH guest, `HVM_PARAM_*` (`xen/hvm/params.h`).
    pub fn hvm_param(&self, domain: DomId, index: u32) -> Result<u64, XenError> {
        let mut argument = hvm::Param { domain: domain.0, index, ..hvm::Param::default() };
        let call = (hypercall::HVM_OP, hvm::GET_PARAM);
        self.subcommand("Reading an HVM parameter", Some(domain), call, &mut argument, None)?;
        Ok(argument.value)
    }

    /// Several parameters, in one hypercall: `values` receives one for each of `indices`.
    ///
    /// Panics if there are more than fit in a page.
    pub fn hvm_params(&self, domain: DomId, indices: &[u32], values: &mut [u64]) -> Result<(), XenError> {
        const ENTRY_BYTES: usize = size_of::<MulticallEntry>();
        const PARAM_BYTES: usize = size_of::<hvm::Param>();
        assert!(indices.len() <= CALLS_MAX.min(values.len()), "at most {CALLS_MAX}, and a place for each");
        let what = "Reading HVM parameters";
        let mut data = self.data(indices.len() * PARAM_BYTES)?;
        for (place, index) in data.as_bytes_mut().chunks_exact_mut(PARAM_BYTES).zip(indices) {
            let param = hvm::Param { domain: domain.0, index: *index, ..hvm::Param::default() };
            place.copy_from_slice(param.as_bytes());
        }
        let args = [hvm::GET_PARAM, 0, 0, 0, 0, 0];
        let entry = MulticallEntry { op: hypercall::HVM_OP, args, ..MulticallEntry::default() };
        let mut argument = self.argument()?;
        for place in argument.as_bytes_mut().chunks_exact_mut(ENTRY_BYTES).take(indices.len()) {
            place.copy_from_slice(entry.as_bytes());
        }
        // The second register of each call is the address of its parameter.
        let at = offset_of!(MulticallEntry, args) + size_of::<u64>();
        let pointers: [Pointer; CALLS_MAX] = std::array::from_fn(|call| Pointer {
            at: call * ENTRY_BYTES + at,
            to: call * PARAM_BYTES,
            bytes: PARAM_BYTES,
        });
        let word = Register::Word;
        let registers = [Register::Argument, word(indices.len() as u64), word(0), word(0), word(0)];
        let given = Data { buffer: &mut data, pointers: &pointers[..indices.len()] };
        let answer = self.hypercall(hypercall::MULTICALL, registers, &mut argument, Some(given));
        answer.map_err(|errno| failure(what, domain, errno))?;
        let params = data.as_bytes().chunks_exact(PARAM_BYTES);
        let entries = argument.as_bytes().chunks_exact(ENTRY_BYTES);
        for ((value, param), entry) in values.iter_mut().zip(params).zip(entries).take(indices.len()) {
            let entry = MulticallEntry::read_from_bytes(entry).expect("a whole entry");
            if entry.result < 0 {
                let errno = i32::try_from(-entry.result).map_or(Errno::EINVAL, Errno::from_raw);
                return Err(failure(what, domain, errno));
            }
            *value = hvm::Param::read_from_bytes(param).expect("a whole parameter").value;
        }
        Ok(())
    }

    /// Sets a parameter of an HVM or PVH guest.
    pub fn set_hvm_param(&self, domain: DomId, index: u32, value: u64) -> Result<(), XenError> {
        let mut argument = hvm::Param { domain: domain.0, index, value, ..hvm::Param::default() };
        let call = (hypercall::HVM_OP, hvm::SET_PARAM);
        self.subcommand("Setting an HVM parameter", Some(domain), call, &mut argument, None).map(drop)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::simulated::{Asked, Simulated, payload, set_payload};
    use std::sync::Arc;
    use std::sync::atomic::{AtomicU32, Ordering};
    use zerocopy::{FromBytes, IntoBytes};

    const CONTEXT: Asked = Asked::Domctl(domctl::GET_HVM_CONTEXT);
    const DOMAIN: DomId = DomId(2);

    /// A guest whose context grows by `growth` bytes each time its size is asked.
    fn guest(bytes: u32, growth: u32) -> (Arc<Simulated>, Arc<AtomicU32>, Xen) {
        let hypervisor = Simulated::new();
        let xen = Xen::over(hypervisor.clone()).unwrap();
        hypervisor.asked();
        let size = Arc::new(AtomicU32::new(bytes));
        let now = size.clone();
        hypervisor.answer(CONTEXT, move |call| {
            let mut asked: HvmContext = payload(call);
            let size = now.load(Ordering::Relaxed);
            match call.data() {
                None => {
                    now.fetch_add(growth, Ordering::Relaxed);
                }
                Some(_) if asked.size < size => return Err(Errno::ENOSPC),
                Some(data) => data[..size as usize].fill(size as u8),
            }
            asked.size = size;
            set_payload(call, &asked);
            Ok(0)
        });
        (hypervisor, size, xen)
    }

    #[test]
    fn a_context_is_appended_and_its_size_is_asked_for_only_when_it_grew() {
        let (hypervisor, size, xen) = guest(5000, 0);
        let mut into = vec![1];
        xen.hvm_context(DOMAIN, &mut into).unwrap();
        assert_eq!((into.len(), into[0], into[1], into[5000]), (5001, 1, 5000u32 as u8, 5000u32 as u8));
        assert_eq!(hypervisor.asked().len(), 3, "too small, the size, the context");
        into.clear();
        xen.hvm_context(DOMAIN, &mut into).unwrap();
        assert_eq!((into.len(), hypervisor.asked().len()), (5000, 1));
        size.store(20_000, Ordering::Relaxed);
        into.clear();
        xen.hvm_context(DOMAIN, &mut into).unwrap();
        assert_eq!((into.len(), hypervisor.asked().len()), (20_000, 3));
        size.store(4000, Ordering::Relaxed);
        into.clear();
        xen.hvm_context(DOMAIN, &mut into).unwrap();
        assert_eq!((into.len(), hypervisor.asked().len()), (4000, 1));
    }

    #[test]
    fn a_context_that_grows_between_size_and_answer_is_asked_for_again() {
        let (hypervisor, size, xen) = guest(10_000, SPARE_BYTES as u32 + 1);
        let growing = size.clone();
        let mut into = Vec::new();
        assert!(xen.hvm_context(DOMAIN, &mut into).is_err(), "not for ever");
        assert!(into.is_empty());
        assert_eq!(hypervisor.asked().len(), 2 * GROWTHS_MAX);
        assert!(growing.load(Ordering::Relaxed) > 10_000);

        let (_port, _, xen) = guest(10_000, SPARE_BYTES as u32);
        xen.hvm_context(DOMAIN, &mut into).unwrap();
        assert_eq!(into.len(), 10_000 + SPARE_BYTES);
    }

    #[test]
    fn a_context_of_any_size_is_set_whole() {
        let hypervisor = Simulated::new();
        let xen = Xen::over(hypervisor.clone()).unwrap();
        for bytes in [1, 5000, 100_000] {
            hypervisor.answer(Asked::Domctl(domctl::SET_HVM_CONTEXT), move |call| {
                assert_eq!(payload::<HvmContext>(call).size, bytes);
                assert!(call.data().unwrap()[..bytes as usize].iter().all(|byte| *byte == 7));
                Ok(0)
            });
            xen.set_hvm_context(DOMAIN, &vec![7; bytes as usize]).unwrap();
        }
    }

    #[test]
    fn parameters_go_both_ways() {
        let hypervisor = Simulated::new();
        let xen = Xen::over(hypervisor.clone()).unwrap();
        hypervisor.answer(Asked::Hvm(hvm::GET_PARAM), |call| {
            let (mut param, _) = hvm::Param::read_from_prefix(call.argument()).unwrap();
            assert_eq!((param.domain, param.index, param.value), (2, 14, 0));
            param.value = 1 << 40;
            param.write_to_prefix(call.argument()).unwrap();
            Ok(0)
        });
        assert_eq!(xen.hvm_param(DOMAIN, 14).unwrap(), 1 << 40);
        hypervisor.answer(Asked::Hvm(hvm::SET_PARAM), |call| {
            let (param, _) = hvm::Param::read_from_prefix(call.argument()).unwrap();
            assert_eq!((param.domain, param.pad, param.index, param.value), (2, 0, 2, 9));
            Ok(0)
        });
        xen.set_hvm_param(DOMAIN, 2, 9).unwrap();
        hypervisor.fail(Asked::Hvm(hvm::GET_PARAM), &[Errno::ESRCH]);
        assert!(matches!(xen.hvm_param(DOMAIN, 14), Err(XenError::Gone { .. })));
    }

    #[test]
    fn several_parameters_are_one_hypercall_and_one_that_fails_fails_all() {
        let hypervisor = Simulated::new();
        let xen = Xen::over(hypervisor.clone()).unwrap();
        hypervisor.asked();
        let result = Arc::new(std::sync::atomic::AtomicI64::new(0));
        let last = result.clone();
        hypervisor.answer(Asked::Multicall, move |call| {
            assert_eq!(call.word(1), Some(3));
            let (entries, _) = <[MulticallEntry; 3]>::mut_from_prefix(call.argument()).unwrap();
            assert!(
                entries.iter().all(|entry| (entry.op, entry.args[0]) == (hypercall::HVM_OP, hvm::GET_PARAM))
            );
            entries[2].result = last.load(Ordering::Relaxed);
            let (params, _) = <[hvm::Param; 3]>::mut_from_prefix(call.data().unwrap()).unwrap();
            for param in params {
                assert_eq!(param.domain, DOMAIN.0);
                param.value = u64::from(param.index) * 10;
            }
            Ok(0)
        });
        let mut values = [0; 3];
        xen.hvm_params(DOMAIN, &[1, 27, 9], &mut values).unwrap();
        assert_eq!(values, [10, 270, 90]);
        assert_eq!(hypervisor.asked(), [Asked::Multicall]);
        result.store(-(Errno::ESRCH as i64), Ordering::Relaxed);
        assert!(matches!(xen.hvm_params(DOMAIN, &[1, 27, 9], &mut values), Err(XenError::Gone { .. })));
    }

    #[test]
    fn each_call_of_several_is_given_the_address_of_its_own_parameter() {
        let hypervisor = Simulated::new();
        let xen = Xen::over(hypervisor.clone()).unwrap();
        hypervisor.answer(Asked::Multicall, |call| {
            let registers = call.registers();
            assert_eq!(registers[1], 2);
            let data = call.data().unwrap().as_ptr().addr() as u64;
            let (entries, _) = <[MulticallEntry; 2]>::read_from_prefix(call.argument()).unwrap();
            assert_eq!(entries.map(|entry| entry.args[1] - data), [0, 16]);
            Ok(0)
        });
        xen.hvm_params(DOMAIN, &[1, 5], &mut [0; 2]).unwrap();
    }
}
