//! Suspends and resumes a guest without libxl, in the way that its kind requires
//! (`tools/libs/light/libxl_dom_suspend.c`, `tools/libs/ctrl/xc_resume.c`).
//!
//! ```text
//!   PV, and HVM or PVH with PV drivers                       HVM without PV drivers, or in S3
//!   control/shutdown := suspend                              SCHEDOP_remote_shutdown(suspend)
//!     guest empties it, freezes its devices,
//!     SCHEDOP_shutdown(suspend) ──► an event channel of our own (`notice`), else seen by polling
//!   resume: rax of vCPU 0 := 1 ("cancelled"), resumedomain, xenstore RESUME
//! ```
//!
//! The guest runs until its last vCPU has stopped. The QEMU of an HVM guest is stopped after it and continued before it
//! (`device_model`).
//!
//! The private channel is there from the first request until no more are to come ([`leave_alone`](Toolstack::leave_alone)):
//! meanwhile no other tool hears that the guest is suspended, and `xl save` would wait for it in vain.
//!
//! A vCPU's registers are written only while Xen says that the guest is suspended. Once Xen has resumed the guest, it
//! runs, whatever fails afterwards. Xenstored is informed when there is time for it, and before the next suspend at the
//! latest.

use super::device_model::DeviceModel;
use super::notice::Notice;
use super::toolstack::{Settled, Toolstack};
use crate::abi::sched;
use crate::xenstore::{Reopening, StoreError};
use crate::{DomId, DomainInfo, Xen, calls};
use std::thread::sleep;
use std::time::{Duration, Instant};
use understudy_checkpoint::domain::DomainError;
use understudy_checkpoint::stream::libxc::GuestWidth;

/// Longest wait for the guest to take a request. Stock Xen waits for 60 s, but here the guest's output is held
/// meanwhile.
const ANSWER_MAX: Duration = Duration::from_secs(10);
/// Longest wait for the guest to freeze its devices after it has taken the request. It takes milliseconds, or much
/// longer on a busy guest.
const FREEZE_MAX: Duration = Duration::from_secs(60);
/// Longest wait while the guest is paused. The engine pauses a guest whose output leaks, perhaps during this capture.
const PAUSED_MAX: Duration = Duration::from_millis(500);

/// How long to wait for a guest.
#[derive(Clone, Copy)]
struct Patience {
    /// Until it takes a request.
    answer: Duration,
    /// Until it has followed one.
    freeze: Duration,
    /// While it is paused and cannot follow one.
    paused: Duration,
}

/// Who hears of the guest's suspends.
enum Hears {
    /// Xenstored, and with it every toolstack.
    Everybody,
    /// This process.
    Us(Notice),
    /// Everybody, since there could be no channel; the domain is polled.
    Polled,
}

/// How waiting for a guest ended.
enum Waited {
    /// None of its vCPUs runs any more, or it is gone.
    Stopped,
    /// It took too long.
    TooLong,
    /// Somebody has paused it. It cannot follow a request until it is unpaused.
    Paused,
}

/// Time between two looks at the domain: `POLL` without an event channel; `LOOK` beside one, in case the guest crashes.
/// Each look takes the processor from a guest that shares it, and a guest takes some 100 ms in emulation.
const POLL: Duration = Duration::from_micros(100);
const LOOK: Duration = Duration::from_millis(50);

/// HVM parameters (`xen/include/public/hvm/params.h`): set by a guest with PV drivers; and not 0 while the guest
/// sleeps.
const CALLBACK_IRQ: u32 = 0;
const ACPI_S_STATE: u32 = 14;

/// Offset of rax in a 64-bit vCPU context, and the value that SCHEDOP_shutdown returns there if the suspend was
/// cancelled.
const RAX: usize = 600;
const CANCELLED: u64 = 1;

/// Suspends and resumes a guest without libxl.
pub struct Suspender {
    xen: Xen,
    store: Reopening,
    domain: DomId,
    is_hvm: bool,
    control: String,
    hears: Hears,
    device_model: Option<DeviceModel>,
    patience: Patience,
    /// The guest was asked to suspend, and was not seen to follow.
    is_asked: bool,
    /// The guest suspended itself the last time; Xen did not force it.
    took_part: bool,
    /// Xenstored has not been informed of the last resume.
    is_untold: bool,
}

fn paused() -> DomainError {
    let why = "The guest was paused while it was to suspend; it is looked after when it runs again";
    DomainError::Failed(why.to_owned())
}

fn failed(error: StoreError) -> DomainError {
    DomainError::Failed(error.to_string())
}

/// Whether a guest takes part in suspending, because it has PV drivers that can reconnect. Changes nothing, even for a
/// guest that an engine protects.
pub fn takes_part(xen: &Xen, domain: DomId, is_hvm: bool) -> Result<bool, DomainError> {
    if !is_hvm {
        return Ok(true);
    }
    let param = |index| xen.hvm_param(domain, index).map_err(super::error);
    Ok(param(CALLBACK_IRQ)? != 0 && param(ACPI_S_STATE)? == 0)
}

/// Resumes a guest that a dead process had asked to suspend. Not for a guest that an engine protects.
pub fn settle(xen: &Xen, domain: DomId) -> Result<Settled, DomainError> {
    Suspender::open(xen.clone(), domain)?.settle()
}

impl Suspender {
    /// Fails if there is no such domain.
    pub fn open(xen: Xen, domain: DomId) -> Result<Self, DomainError> {
        let info = xen.domain_info(domain).map_err(super::error)?;
        let info = info.ok_or_else(|| DomainError::Gone(format!("There is no domain {domain}")))?;
        let store = Reopening::open().map_err(failed)?;
        Ok(Self::over(xen, store, domain, info.is_hvm()))
    }

    fn over(xen: Xen, store: Reopening, domain: DomId, is_hvm: bool) -> Self {
        Self {
            xen,
            store,
            domain,
            is_hvm,
            control: format!("/local/domain/{domain}/control/shutdown"),
            hears: Hears::Everybody,
            device_model: None,
            patience: Patience { answer: ANSWER_MAX, freeze: FREEZE_MAX, paused: PAUSED_MAX },
            is_asked: false,
            took_part: false,
            is_untold: false,
        }
    }

    /// Makes the suspender stop and continue QEMU, of which Xen does not know.
    pub fn with_device_model(self) -> Result<Self, DomainError> {
        let device_model = Some(DeviceModel::of(self.domain)?);
        Ok(Self { device_model, ..self })
    }

    fn takes_part(&self) -> Result<bool, DomainError> {
        takes_part(&self.xen, self.domain, self.is_hvm)
    }

    /// From here on the guest's suspends are heard of here alone.
    fn listen(&mut self) {
        if !matches!(self.hears, Hears::Everybody) {
            return;
        }
        let (xen, domain) = (self.xen.clone(), self.domain);
        let notice = self.store.connection().map_err(Into::into);
        self.hears = match notice.and_then(|store| Notice::subscribe(xen, store, domain)) {
            Ok(notice) => Hears::Us(notice),
            Err(error) => {
                tracing::warn!(%domain, %error, "Every checkpoint will look like the domain's end to xl; it will not restart it");
                Hears::Polled
            }
        };
    }

    /// Asks the guest to suspend, and waits until it has.
    fn ask(&mut self) -> Result<(), DomainError> {
        let control = self.control.clone();
        // Also where the answer does not arrive.
        self.is_asked = true;
        self.store.retry(|store| store.write(&control, "suspend")).map_err(failed)?;
        // It has hardly heard of it yet.
        self.wait()?;
        match self.await_stop(self.patience.answer)? {
            Waited::Stopped => Ok(()),
            Waited::TooLong => {
                self.take_back()?;
                self.await_shutdown()
            }
            Waited::Paused => {
                self.is_asked = !self.withdraw()?;
                Err(paused())
            }
        }
    }

    /// Waits until no vCPU runs any more, as long as that can still happen.
    fn await_stop(&self, time_max: Duration) -> Result<Waited, DomainError> {
        let begun = Instant::now();
        let mut paused_at = None;
        loop {
            let Some(info) = self.info()? else { return Ok(Waited::Stopped) };
            if info.is_dying() || info.is_shutdown() {
                return Ok(Waited::Stopped);
            }
            paused_at = info.is_paused().then(|| paused_at.unwrap_or_else(Instant::now));
            if paused_at.is_some_and(|at: Instant| at.elapsed() > self.patience.paused) {
                return Ok(Waited::Paused);
            }
            if begun.elapsed() > time_max {
                return Ok(Waited::TooLong);
            }
            self.wait()?;
        }
    }

    /// Waits until something may have happened.
    fn wait(&self) -> Result<(), DomainError> {
        match &self.hears {
            Hears::Us(notice) => notice.wait(LOOK).map_err(super::error),
            Hears::Everybody | Hears::Polled => {
                calls::wait();
                sleep(POLL);
                Ok(())
            }
        }
    }

    /// Withdraws the request, because the guest must not find it later; the guest may be taking it just now.
    fn take_back(&mut self) -> Result<(), DomainError> {
        match self.withdraw()? {
            true => {
                self.is_asked = false;
                Err(DomainError::SuspendTimeout(self.patience.answer.as_millis() as u64))
            }
            false => Ok(()),
        }
    }

    /// Withdraws a request that the guest has not taken. Returns whether there was one.
    fn withdraw(&mut self) -> Result<bool, DomainError> {
        let control = self.control.clone();
        let withdrawn = self.store.retry(|store| {
            store.transaction(|transaction| {
                let is_there = transaction.read(&control)?.as_deref() == Some("suspend");
                if is_there {
                    transaction.write(&control, "")?;
                }
                Ok(is_there)
            })
        });
        withdrawn.map_err(failed)
    }

    fn info(&self) -> Result<Option<DomainInfo>, DomainError> {
        self.xen.domain_info(self.domain).map_err(super::error)
    }

    fn is_suspended(&self) -> Result<bool, DomainError> {
        Ok(self.info()?.is_some_and(|info| info.is_suspended()))
    }

    fn is_gone(&self) -> Result<bool, DomainError> {
        Ok(self.info()?.is_none_or(|info| info.is_dying() || info.is_shutdown()))
    }

    /// Whether the guest has ended or is about to; its device model ends with it.
    fn is_ended(&self) -> Result<bool, DomainError> {
        Ok(self.info()?.is_none_or(|info| info.is_dying() || info.is_shutdown() && !info.is_suspended()))
    }

    fn await_shutdown(&self) -> Result<(), DomainError> {
        match self.await_stop(self.patience.freeze)? {
            Waited::Stopped => Ok(()),
            Waited::TooLong => Err(DomainError::SuspendTimeout(self.patience.freeze.as_millis() as u64)),
            Waited::Paused => Err(paused()),
        }
    }

    /// Suspends the guest. A guest that is suspended already is not asked: it would find the request when it runs
    /// again.
    fn suspend_guest(&mut self) -> Result<(), DomainError> {
        self.took_part = false;
        if self.is_gone()? {
            return Ok(());
        }
        // Or the end of this suspend would be no news to anybody.
        self.tell_resumed();
        self.listen();
        let takes_part = self.takes_part()?;
        if takes_part {
            self.ask()?;
        } else {
            self.xen.shutdown(self.domain, sched::SHUTDOWN_SUSPEND).map_err(super::error)?;
            self.await_shutdown()?;
        }
        self.took_part = takes_part;
        Ok(())
    }

    /// Stops the device model of a suspended guest. After an error the guest runs.
    fn stop_device_model(&mut self) -> Result<(), DomainError> {
        // One that has ended takes its device model with it; the source will say so.
        let is_ended = self.device_model.is_some() && self.is_ended()?;
        let Some(model) = self.device_model.as_mut().filter(|_| !is_ended) else { return Ok(()) };
        let Err(error) = model.stop() else { return Ok(()) };
        if let Err(error) = model.go_on() {
            tracing::warn!(domain = %self.domain, %error, "Whether the guest's QEMU runs is not known");
        }
        self.resume_guest()?;
        Err(error)
    }

    /// Resumes a suspended guest; leaves a running one alone. After an error the guest is still suspended.
    fn resume_guest(&mut self) -> Result<(), DomainError> {
        if !self.is_suspended()? {
            return Ok(());
        }
        if self.took_part || self.takes_part()? {
            let bytes = GuestWidth::Bits64.vcpu_basic_bytes();
            let mut context = self.xen.vcpu_context(self.domain, 0, bytes).map_err(super::error)?;
            context[RAX..RAX + 8].copy_from_slice(&CANCELLED.to_le_bytes());
            self.xen.set_vcpu_context(self.domain, 0, &context).map_err(super::error)?;
        }
        self.xen.resume(self.domain).map_err(super::error)?;
        // The request that it followed is used up.
        (self.is_asked, self.took_part) = (false, false);
        self.is_untold = true;
        Ok(())
    }

    /// Informs xenstored that the guest runs again. The guest does not depend on it, so a failure is made up for later.
    fn tell_resumed(&mut self) {
        if !self.is_untold {
            return;
        }
        let domain = self.domain;
        match self.store.retry(|store| store.resume(domain)) {
            Ok(()) => self.is_untold = false,
            Err(error) => {
                tracing::warn!(%domain, %error, "Xenstored does not know that the guest runs again; it is told later");
            }
        }
    }
}

impl Toolstack for Suspender {
    fn suspend(&mut self) -> Result<(), DomainError> {
        if let Some(model) = &mut self.device_model
            && let Err(error) = model.take_hold()
        {
            return if self.is_ended()? { Ok(()) } else { Err(error) };
        }
        let suspended = self.suspend_guest().and_then(|()| self.stop_device_model());
        if let (Err(_), Some(model)) = (&suspended, &mut self.device_model) {
            model.let_go();
        }
        suspended
    }

    fn resume(&mut self) -> Result<(), DomainError> {
        if let Some(model) = &mut self.device_model {
            model.go_on()?;
        }
        self.resume_guest()
    }

    fn after_resume(&mut self) {
        self.tell_resumed();
    }

    fn leave_alone(&mut self) {
        self.hears = Hears::Everybody;
    }

    fn guest_took_part(&self) -> bool {
        self.took_part
    }

    fn is_asked_to_suspend(&self) -> bool {
        self.is_asked
    }

    /// A guest takes a request from xenstore some time before it is suspended, and nothing shows that it has. So it is
    /// asked once more: whichever request it follows, it is suspended then, and the other request is withdrawn.
    fn settle(&mut self) -> Result<Settled, DomainError> {
        let was_suspended = self.is_suspended()?;
        if !was_suspended && self.info()?.is_some_and(|info| info.is_paused()) {
            return Ok(Settled::Later);
        }
        if !was_suspended && self.takes_part()? {
            self.suspend_guest()?;
        }
        self.withdraw()?;
        self.is_asked = false;
        if self.is_suspended()? {
            let unknown =
                |error| DomainError::Failed(format!("whether the guest has a QEMU is not known: {error}"));
            if super::device_model::is_there(self.domain).map_err(unknown)? {
                super::continue_device_model(self.domain)
                    .map_err(|error| DomainError::Failed(error.to_string()))?;
            }
            self.resume_guest()?;
            self.tell_resumed();
        }
        self.leave_alone();
        Ok(if was_suspended { Settled::WasSuspended } else { Settled::Ran })
    }

    fn save_device_model(&mut self, out: &mut Vec<u8>) -> Result<(), DomainError> {
        self.device_model.as_mut().map_or(Ok(()), |model| model.save(out))
    }

    fn log_device_model(&mut self, on: bool) -> Result<(), DomainError> {
        match &self.device_model {
            Some(model) if on => model.report_writes(),
            _ => Ok(()),
        }
    }
}

#[cfg(test)]
mod tests;
