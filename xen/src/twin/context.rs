//! The HVM context of a suspended guest, changed so that its suspend returns "cancelled".
//!
//! ```text
//!   descriptor │ HEADER │ descriptor │ CPU of vCPU 0: … rax … │ … │ descriptor │ END, empty
//!    typecode, instance, length             └── := 1
//! ```
//!
//! A guest that suspends is inside `SCHEDOP_shutdown`. If that returns 1, the guest goes on with its devices as they are;
//! if 0, it is on another host and connects them anew (Linux, `drivers/xen/manage.c`: `si->cancelled`). Stock Xen's
//! library sets the register of vCPU 0, which is the one that asked (`xc_resume.c`).

use crate::abi::save::{CODE_CPU, CODE_END, CODE_HEADER, CPU_RAX, Descriptor};
use std::mem::size_of;
use zerocopy::FromBytes;

/// What `SCHEDOP_shutdown` returns in a guest whose suspend was cancelled.
const CANCELLED: u64 = 1;

/// Why a context is not that of a suspended guest.
#[derive(thiserror::Error, Clone, Copy, PartialEq, Eq, Debug)]
pub enum BadContext {
    /// A record is longer than what is there.
    #[error("its HVM context is cut off at byte {at}")]
    CutOff {
        /// Where the record begins.
        at: usize,
    },
    /// It does not begin with its header.
    #[error("its HVM context begins with a record of type {0}, not with a header")]
    NoHeader(u16),
    /// A vCPU's record has no registers.
    #[error("the registers of its vCPU {vcpu} have {bytes} bytes only")]
    ShortRegisters {
        /// The vCPU.
        vcpu: u16,
        /// Bytes of the record.
        bytes: usize,
    },
    /// There are bytes behind the last record.
    #[error("its HVM context goes on behind its end, at byte {at}")]
    Trailing {
        /// Where the end is.
        at: usize,
    },
    /// No record of the vCPU that suspends.
    #[error("its HVM context has no registers of vCPU 0")]
    NoVcpu,
}

/// Makes the suspend of the guest with this context return "cancelled". The context is unchanged after an error.
pub fn cancel_suspend(context: &mut [u8]) -> Result<(), BadContext> {
    let rax = rax_of_vcpu_0(context)?;
    context[rax..][..size_of::<u64>()].copy_from_slice(&CANCELLED.to_le_bytes());
    Ok(())
}

/// Where the register is. Looks through the whole context.
fn rax_of_vcpu_0(context: &[u8]) -> Result<usize, BadContext> {
    let (mut at, mut rax) = (0, None);
    loop {
        let cut_off = BadContext::CutOff { at };
        let (record, rest) = Descriptor::read_from_prefix(&context[at..]).map_err(|_| cut_off)?;
        let body = context.len() - rest.len();
        let bytes = record.length as usize;
        if bytes > rest.len() {
            return Err(cut_off);
        }
        match record.typecode {
            code if at == 0 && code != CODE_HEADER => return Err(BadContext::NoHeader(code)),
            CODE_CPU if bytes < CPU_RAX + size_of::<u64>() => {
                return Err(BadContext::ShortRegisters { vcpu: record.instance, bytes });
            }
            CODE_CPU if record.instance == 0 => rax = Some(body + CPU_RAX),
            CODE_END if bytes < rest.len() => return Err(BadContext::Trailing { at: body + bytes }),
            CODE_END => return rax.ok_or(BadContext::NoVcpu),
            _ => {}
        }
        at = body + bytes;
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn record(into: &mut Vec<u8>, code: u16, vcpu: u16, body: &[u8]) {
        into.extend_from_slice(&code.to_le_bytes());
        into.extend_from_slice(&vcpu.to_le_bytes());
        into.extend_from_slice(&u32::try_from(body.len()).unwrap().to_le_bytes());
        into.extend_from_slice(body);
    }

    /// A context of two vCPUs; the LAPIC's record of vCPU 0 stands between.
    fn context() -> Vec<u8> {
        let mut context = Vec::new();
        record(&mut context, CODE_HEADER, 0, &[9; 24]);
        record(&mut context, CODE_CPU, 1, &[7; 1032]);
        record(&mut context, 5, 0, &[6; 16]);
        record(&mut context, CODE_CPU, 0, &[7; 1032]);
        record(&mut context, CODE_END, 0, &[]);
        context
    }

    #[test]
    fn one_register_of_the_first_vcpu_changes_and_nothing_else() {
        let before = context();
        let mut after = before.clone();
        cancel_suspend(&mut after).unwrap();
        let at = (8 + 24) + (8 + 1032) + (8 + 16) + 8 + 512;
        assert_eq!(after[at..at + 8], [1, 0, 0, 0, 0, 0, 0, 0]);
        let changed: Vec<usize> = (0..before.len()).filter(|at| before[*at] != after[*at]).collect();
        assert_eq!(changed, (at..at + 8).collect::<Vec<_>>());
    }

    #[test]
    fn what_is_no_whole_context_is_refused_unchanged() {
        let whole = context();
        let end = whole.len();
        let mut cases: Vec<(Vec<u8>, BadContext)> = vec![
            (Vec::new(), BadContext::CutOff { at: 0 }),
            (whole[..end - 1].to_vec(), BadContext::CutOff { at: end - 8 }),
            (whole[..end - 8].to_vec(), BadContext::CutOff { at: end - 8 }),
            (whole[..40].to_vec(), BadContext::CutOff { at: 32 }),
            ([&whole[..], &[0]].concat(), BadContext::Trailing { at: end }),
            (whole[32..].to_vec(), BadContext::NoHeader(CODE_CPU)),
        ];
        let mut short = Vec::new();
        record(&mut short, CODE_HEADER, 0, &[]);
        record(&mut short, CODE_CPU, 1, &[0; 519]);
        cases.push((short, BadContext::ShortRegisters { vcpu: 1, bytes: 519 }));
        let mut without = Vec::new();
        record(&mut without, CODE_HEADER, 0, &[]);
        record(&mut without, CODE_CPU, 1, &[0; 600]);
        record(&mut without, CODE_END, 0, &[]);
        cases.push((without, BadContext::NoVcpu));
        for (context, expected) in cases {
            let mut given = context.clone();
            assert_eq!(cancel_suspend(&mut given), Err(expected));
            assert_eq!(given, context);
        }
    }

    proptest! {
        #[test]
        fn no_bytes_do_harm(mut bytes in prop::collection::vec(any::<u8>(), 0..200), cut in 0usize..2200) {
            let _ = cancel_suspend(&mut bytes);
            let mut whole = context();
            whole.truncate(cut);
            prop_assert_eq!(cancel_suspend(&mut whole).is_ok(), cut >= context().len());
        }
    }
}
