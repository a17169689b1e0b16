//! `understudy remus -b`: makes checkpoints of a guest, discards them, and reports their cost.

use super::super::{CliError, Exit};
use super::Order;
use crate::blackhole::{self as checkpoints, BlackholeError, End, Plan, Summary};
use crate::config::Limits;
use crate::console;
use crate::guest::{Compare, HostError, NotFound, XenHost};
use crate::signals::{Hangup, ShutdownSignal};
use std::time::Duration;
use understudy_xen::process::Process;
use understudy_xen::{domain_labels, xl};

/// The default of stock `xl remus`.
const INTERVAL_MS: u32 = 200;
const TELL_EVERY: Duration = Duration::from_secs(5);

/// Makes checkpoints until the guest ends or a signal arrives.
pub(super) fn run(order: &Order) -> Result<Exit, CliError> {
    let attempt = |source| CliError::System { attempt: "Signals cannot be watched".into(), source };
    let mut signal = ShutdownSignal::install(Hangup::Ends).map_err(attempt)?;
    let guest = super::follow::name_of(&order.domain, false)?;
    let interval_ms = u64::from(order.interval_ms.unwrap_or(INTERVAL_MS));
    let plan = Plan {
        interval: Duration::from_millis(interval_ms),
        limits: Limits::default(),
        tell_every: TELL_EVERY,
    };
    let mut marked = None;
    let find = |outputs| {
        let domain = xl::domain_named(&guest).map_err(unfit)?;
        let domain = domain.ok_or_else(|| unfit(NotFound::Absent))?;
        if domain_labels::read(domain).map_err(unfit)?.is_some() {
            return Err(BlackholeError::Protected);
        }
        let compare = Compare { bytes_max: plan.limits.compare_bytes_max, ..Compare::default() };
        let host = XenHost::beside(outputs, compare).map_err(unfit)?;
        let found = host.find(&guest, order.find_changes.unwrap_or_default()).map_err(unfit)?;
        // Killed in a pause, this leaves the guest suspended, for which xl has no command.
        let this = Process::this().map_err(unfit);
        if let Err(error) = this.and_then(|this| domain_labels::write_blackhole(domain, this).map_err(unfit))
        {
            found.output.let_go();
            return Err(error);
        }
        marked = Some(domain);
        // An engine that found it at the same time sees this mark, or is seen here.
        if let Err(why) = XenHost::is_free(domain) {
            found.output.let_go();
            return Err(unfit(why));
        }
        console::say(format_args!(
            "{guest}: checkpoints to nowhere, one every {interval_ms} ms; it is not protected"
        ));
        Ok(found)
    };
    let end = checkpoints::run(find, &plan, &mut signal, |summary| {
        console::say(format_args!("{guest}: {}", line(&summary)));
    });
    if let Some(domain) = marked {
        // One that has ended took the mark with it.
        let _ = domain_labels::remove_blackhole(domain);
    }
    match end {
        Ok(End::Stopped) => console::say(format_args!("{guest}: goes on as before")),
        Ok(End::GuestEnded) => console::say(format_args!("{guest}: has ended")),
        Err(error) => return Err(failed(&guest, &error)),
    }
    Ok(Exit::Ok)
}

fn unfit(why: impl Into<HostError>) -> BlackholeError {
    BlackholeError::Unfit(why.into())
}

fn failed(guest: &str, error: &BlackholeError) -> CliError {
    let text = format!("There are no checkpoints of {guest}: {error}");
    match error {
        BlackholeError::Unfit(_) | BlackholeError::Protected => CliError::Refused(text),
        BlackholeError::CaptureFailed { .. } => CliError::CheckFailed(text),
        BlackholeError::Panicked { .. } | BlackholeError::Stuck(_) | BlackholeError::System(_) => {
            CliError::Internal(text)
        }
    }
}

fn line(summary: &Summary) -> String {
    let Summary { checkpoints, within, pause, pause_max, dirty_pages, bytes } = summary;
    let ms = |time: &Duration| time.as_secs_f64() * 1e3;
    format!(
        "{checkpoints} checkpoints in {:.1} s; pause {:.1} ms (longest {:.1}), {dirty_pages} dirty pages, {:.1} KB each",
        within.as_secs_f64(),
        ms(pause),
        ms(pause_max),
        *bytes as f64 / 1e3
    )
}
