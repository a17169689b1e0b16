//! The size and the layout of a domain's grant table.

use super::Xen;
use crate::abi::{grant, hypercall};
use crate::hypervisor::Register;
use crate::{DomId, XenError};
use nix::errno::Errno;

impl Xen {
    /// How many frames the grant table of a domain has: one at least.
    pub fn grant_frames(&self, domain: DomId) -> Result<u32, XenError> {
        let what = "Asking the size of the grant table";
        let asked = grant::QuerySize { domain: domain.0, ..grant::QuerySize::default() };
        let answer = self.grant_operation(what, domain, grant::QUERY_SIZE, asked)?;
        let nonsense = |answer| Err(XenError::Nonsense { what, domain: Some(domain), answer });
        match (answer.status, answer.nr_frames) {
            (status, _) if status < 0 => nonsense(format!("GNTST {status}")),
            // Xen gives every domain one when it is made.
            (_, 0) => nonsense("no frames".into()),
            (_, frames) => Ok(frames),
        }
    }

    /// How the entries of a domain's grant table are laid out: 1 or 2.
    pub fn grant_version(&self, domain: DomId) -> Result<u32, XenError> {
        let asked = grant::GetVersion { domain: domain.0, ..grant::GetVersion::default() };
        let what = "Asking the layout of the grant table";
        Ok(self.grant_operation(what, domain, grant::GET_VERSION, asked)?.version)
    }

    /// Does one operation on a grant table, which changes nothing.
    fn grant_operation<T: super::Argument>(
        &self,
        what: &'static str,
        domain: DomId,
        operation: u64,
        asked: T,
    ) -> Result<T, XenError> {
        let mut memory = self.argument()?;
        asked.write_to_prefix(memory.as_bytes_mut()).expect("a page holds any argument");
        let word = Register::Word;
        // The operation, its argument, and how many of them.
        let registers = [word(operation), Register::Argument, word(1), word(0), word(0)];
        let answer = self.hypercall(hypercall::GRANT_TABLE_OP, registers, &mut memory, None);
        match answer {
            Ok(_) => Ok(T::read_from_prefix(memory.as_bytes()).expect("a page holds any argument").0),
            Err(Errno::ESRCH) => Err(XenError::Gone { domain, what }),
            Err(errno) => Err(XenError::Hypercall { what, domain: Some(domain), errno }),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::simulated::{Asked, Simulated};

    #[test]
    fn size_and_layout_are_asked_of_one_table() {
        let hypervisor = Simulated::new();
        let xen = Xen::over(hypervisor.clone()).unwrap();
        hypervisor.answer(Asked::Grant(grant::QUERY_SIZE), |call| {
            assert_eq!((call.word(2), &call.argument()[..4]), (Some(1), &[9, 0, 0, 0][..]));
            call.argument()[4] = 2;
            call.argument()[8] = 64;
            Ok(0)
        });
        assert_eq!(xen.grant_frames(DomId(9)).unwrap(), 2);
        hypervisor.answer(Asked::Grant(grant::GET_VERSION), |call| {
            call.argument()[4] = 1;
            Ok(0)
        });
        assert_eq!(xen.grant_version(DomId(9)).unwrap(), 1);
        hypervisor.fail(Asked::Grant(grant::GET_VERSION), &[Errno::ESRCH]);
        assert!(matches!(xen.grant_version(DomId(9)), Err(XenError::Gone { .. })));
        hypervisor.answer(Asked::Grant(grant::QUERY_SIZE), |_| Ok(0));
        assert!(matches!(xen.grant_frames(DomId(9)), Err(XenError::Nonsense { .. })));
        // GNTST_bad_domain.
        hypervisor.answer(Asked::Grant(grant::QUERY_SIZE), |call| {
            call.argument()[12..14].copy_from_slice(&(-2i16).to_ne_bytes());
            Ok(0)
        });
        assert!(matches!(xen.grant_frames(DomId(9)), Err(XenError::Nonsense { .. })));
    }
}
