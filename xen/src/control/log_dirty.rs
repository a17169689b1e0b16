//! Log-dirty mode: which frames were written since the last reading.
//!
//! ```text
//!   enable ─► [ clean ]*  ─► disable        bit i % 8 of byte i / 8: frame i was written since the last clean
//! ```
//!
//! No frame is dirty right after `enable`. Writes by dom0 through foreign mappings are never logged; writes by a device
//! model only after it was asked to report them (QMP `xen-set-global-dirty-log`).

use super::{Data, Xen, payload_pointer};
use crate::abi::domctl::{self, ShadowOp};
use crate::{DomId, HypercallBuffer, XenError};
use nix::errno::Errno;

/// Xen's counts since the last clean.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct DirtyStats {
    /// Faults that logging cost.
    pub fault_count: u32,
    /// Frames written, including those beyond the bitmap.
    pub dirty_count: u32,
}

impl Xen {
    /// Starts logging. A log that is already on (EINVAL) is switched off and on again, because its owner is unknown.
    ///
    /// Fails with [`LogDirtyUnsupported`](XenError::LogDirtyUnsupported) for PV guests of a Xen without shadow paging,
    /// with [`LogDirtyRefused`](XenError::LogDirtyRefused) for domains with passed-through devices, and with EBUSY
    /// while another toolstack works on the domain.
    pub fn enable_log_dirty(&self, domain: DomId) -> Result<(), XenError> {
        match self.switch_on(domain) {
            Err(XenError::LogDirtyRefused { .. }) => {
                tracing::warn!(
                    "domain {domain} was in log-dirty mode already; switching it off and on again"
                );
                self.disable_log_dirty(domain)?;
                self.switch_on(domain)
            }
            answer => answer,
        }
    }

    /// Fails unless the log is on. Reading a log that is off succeeds and reports no writes, so this is called after
    /// each reading that matters. It switches a log that was off on; earlier writes are not in it.
    pub fn check_log_dirty(&self, domain: DomId) -> Result<(), XenError> {
        match self.switch_on(domain) {
            Err(XenError::LogDirtyRefused { .. }) => Ok(()),
            Ok(()) => Err(XenError::LogLost { domain, why: "somebody switched it off" }),
            Err(error) => Err(error),
        }
    }

    fn switch_on(&self, domain: DomId) -> Result<(), XenError> {
        let mut payload = ShadowOp { op: domctl::SHADOW_ENABLE_LOG_DIRTY, ..ShadowOp::default() };
        let answer = self.domctl("Enabling log-dirty mode", domctl::SHADOW_OP, domain, &mut payload, None);
        match answer {
            Ok(_) => Ok(()),
            Err(XenError::Hypercall { errno: Errno::EOPNOTSUPP, .. }) => {
                Err(XenError::LogDirtyUnsupported { domain })
            }
            Err(XenError::Hypercall { errno: Errno::EINVAL, .. }) => {
                Err(XenError::LogDirtyRefused { domain })
            }
            Err(error) => Err(error),
        }
    }

    /// Stops logging. A domain without a log is left as it is.
    pub fn disable_log_dirty(&self, domain: DomId) -> Result<(), XenError> {
        let mut payload = ShadowOp { op: domctl::SHADOW_OFF, ..ShadowOp::default() };
        self.domctl("Disabling log-dirty mode", domctl::SHADOW_OP, domain, &mut payload, None).map(drop)
    }

    /// Reads the log of frames below `pages` into `bitmap`, and clears it.
    ///
    /// `is_final` includes the frames that the hypervisor itself has mapped for writing; set it for each reading of a
    /// suspended guest. Fails with [`LogLost`](XenError::LogLost) if the log is incomplete: everything must be sent
    /// again.
    ///
    /// Panics if `bitmap` is too small.
    pub fn clean_log_dirty(
        &self,
        domain: DomId,
        bitmap: &mut HypercallBuffer,
        pages: u64,
        is_final: bool,
    ) -> Result<DirtyStats, XenError> {
        match self.read_log(domain, bitmap, pages, is_final) {
            // What had been copied was cleaned too, and a second attempt would overwrite it.
            Err(XenError::Hypercall { errno: Errno::EFAULT, .. }) => {
                Err(XenError::LogLost { domain, why: "the bitmap was not resident when Xen wrote it" })
            }
            answer => answer,
        }
    }

    fn read_log(
        &self,
        domain: DomId,
        bitmap: &mut HypercallBuffer,
        pages: u64,
        is_final: bool,
    ) -> Result<DirtyStats, XenError> {
        let bytes = usize::try_from(pages.div_ceil(8)).expect("a bitmap fits in memory");
        let mode = if is_final { domctl::SHADOW_MODE_FINAL } else { 0 };
        let mut payload = ShadowOp { op: domctl::SHADOW_CLEAN, mode, pages, ..ShadowOp::default() };
        let data = Data { buffer: bitmap, pointers: &[payload_pointer!(ShadowOp, bitmap, bytes)] };
        let answer =
            self.domctl("Reading the dirty log", domctl::SHADOW_OP, domain, &mut payload, Some(data));
        match answer {
            Ok(_) if payload.pages == pages => {
                Ok(DirtyStats { fault_count: payload.fault_count, dirty_count: payload.dirty_count })
            }
            Ok(_) => Err(XenError::LogLost { domain, why: "Xen covered fewer frames than asked for" }),
            // Xen remembers that it once had no memory for a part of the log, and says so each time.
            Err(XenError::Hypercall { errno: Errno::ENOMEM, .. }) => {
                Err(XenError::LogLost { domain, why: "Xen had no memory to log a write" })
            }
            Err(error) => Err(error),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::simulated::{Asked, Simulated, payload, set_payload};
    use std::sync::{Arc, Mutex};

    const SHADOW: Asked = Asked::Domctl(domctl::SHADOW_OP);
    const DOMAIN: DomId = DomId(2);

    /// A domain that answers ENABLE and OFF as scripted.
    fn domain(answers: &[Result<u64, Errno>]) -> (Arc<Mutex<Vec<u32>>>, Xen) {
        let hypervisor = Simulated::new();
        let xen = Xen::over(hypervisor.clone()).unwrap();
        let ops = Arc::new(Mutex::new(Vec::new()));
        let (seen, mut answers) = (ops.clone(), Vec::from(answers).into_iter());
        hypervisor.answer(SHADOW, move |call| {
            let op = payload::<ShadowOp>(call).op;
            seen.lock().unwrap().push(op);
            if op == domctl::SHADOW_OFF { Ok(0) } else { answers.next().unwrap() }
        });
        (ops, xen)
    }

    #[test]
    fn a_log_that_is_on_is_switched_off_and_on_again() {
        let (ops, xen) = domain(&[Err(Errno::EINVAL), Ok(0)]);
        xen.enable_log_dirty(DOMAIN).unwrap();
        let on = domctl::SHADOW_ENABLE_LOG_DIRTY;
        assert_eq!(*ops.lock().unwrap(), [on, domctl::SHADOW_OFF, on]);
    }

    #[test]
    fn a_domain_that_cannot_be_logged_is_told_with_the_reason() {
        let (ops, xen) = domain(&[Err(Errno::EINVAL), Err(Errno::EINVAL)]);
        let error = xen.enable_log_dirty(DOMAIN).unwrap_err();
        assert!(matches!(error, XenError::LogDirtyRefused { domain: DOMAIN }));
        assert!(error.to_string().contains("passed-through device"), "{error}");
        assert_eq!(ops.lock().unwrap().len(), 3);

        let (ops, xen) = domain(&[Err(Errno::EOPNOTSUPP)]);
        let error = xen.enable_log_dirty(DOMAIN).unwrap_err();
        assert!(matches!(error, XenError::LogDirtyUnsupported { domain: DOMAIN }));
        assert!(error.to_string().contains("CONFIG_SHADOW_PAGING=y"), "{error}");
        assert_eq!(ops.lock().unwrap().len(), 1);

        let (_, xen) = domain(&[Err(Errno::EBUSY)]);
        assert!(xen.enable_log_dirty(DOMAIN).unwrap_err().to_string().contains("Another tool"));
        let (_, xen) = domain(&[Err(Errno::ESRCH)]);
        assert!(matches!(xen.enable_log_dirty(DOMAIN), Err(XenError::Gone { .. })));
    }

    #[test]
    fn a_log_that_was_switched_off_by_others_is_lost() {
        let (ops, xen) = domain(&[Err(Errno::EINVAL), Ok(0), Err(Errno::EBUSY)]);
        xen.check_log_dirty(DOMAIN).unwrap();
        let error = xen.check_log_dirty(DOMAIN).unwrap_err();
        assert!(matches!(error, XenError::LogLost { domain: DOMAIN, .. }), "{error}");
        assert!(matches!(xen.check_log_dirty(DOMAIN), Err(XenError::Hypercall { errno: Errno::EBUSY, .. })));
        assert_eq!(*ops.lock().unwrap(), [domctl::SHADOW_ENABLE_LOG_DIRTY; 3], "nothing is switched off");
    }

    /// A log of 20 frames, of which 3 and 17 are dirty.
    fn log() -> (Arc<Simulated>, Xen) {
        let hypervisor = Simulated::new();
        let xen = Xen::over(hypervisor.clone()).unwrap();
        hypervisor.answer(SHADOW, |call| {
            let mut asked: ShadowOp = payload(call);
            assert_eq!((asked.pages, asked.mb, asked.bitmap), (20, 0, crate::abi::Handle::NULL));
            assert_eq!(asked.mode, u32::from(asked.op == domctl::SHADOW_CLEAN));
            call.data().unwrap()[..3].copy_from_slice(&[0x08, 0, 0x02]);
            (asked.fault_count, asked.dirty_count) = (5, 2);
            set_payload(call, &asked);
            Ok(0)
        });
        (hypervisor, xen)
    }

    #[test]
    fn the_log_is_read_into_the_callers_bitmap() {
        let (_port, xen) = log();
        let mut bitmap = HypercallBuffer::new(3).unwrap();
        let stats = xen.clean_log_dirty(DOMAIN, &mut bitmap, 20, true).unwrap();
        assert_eq!(stats, DirtyStats { fault_count: 5, dirty_count: 2 });
        assert_eq!(bitmap.as_bytes(), [0x08, 0, 0x02]);
    }

    #[test]
    #[should_panic(expected = "Xen stays within the data")]
    fn a_bitmap_that_is_too_small_is_never_given_to_xen() {
        let (_port, xen) = log();
        let mut bitmap = HypercallBuffer::new(2).unwrap();
        let _ = xen.clean_log_dirty(DOMAIN, &mut bitmap, 20, true);
    }

    #[test]
    fn a_lost_log_is_told_apart() {
        let (hypervisor, xen) = log();
        let mut bitmap = HypercallBuffer::new(3).unwrap();
        for errno in [Errno::ENOMEM, Errno::EFAULT] {
            hypervisor.fail(SHADOW, &[errno]);
            hypervisor.asked();
            let error = xen.clean_log_dirty(DOMAIN, &mut bitmap, 20, true).unwrap_err();
            assert!(matches!(error, XenError::LogLost { domain: DOMAIN, .. }), "{error}");
            assert!(error.to_string().contains("a full sync is needed"), "{error}");
            assert_eq!(hypervisor.asked(), [SHADOW], "no second clean over what the first one took");
        }
        hypervisor.fail(SHADOW, &[Errno::EINVAL]);
        assert!(matches!(
            xen.clean_log_dirty(DOMAIN, &mut bitmap, 20, true),
            Err(XenError::Hypercall { errno: Errno::EINVAL, .. })
        ));
        hypervisor.answer(SHADOW, |call| {
            let asked: ShadowOp = payload(call);
            set_payload(call, &ShadowOp { pages: 19, ..asked });
            Ok(0)
        });
        let error = xen.clean_log_dirty(DOMAIN, &mut bitmap, 20, true).unwrap_err();
        assert!(matches!(error, XenError::LogLost { .. }), "{error}");
    }
}
