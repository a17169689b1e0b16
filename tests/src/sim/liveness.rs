//! I6: once the faults are over, service resumes within a bound, if anyone is left who may resume it.

use super::cluster::Cluster;
use super::host::{self, Role};
use super::judge::{Invariant, Violation};
use understudy::session::primary::State;
use understudy::session::{Copy, Span, Time};

/// Time for what was under way to arrive: stragglers at the witness, keepalives.
pub const SETTLE: Span = Span::from_ms(200);
/// Within this, frames leave again. The sum of what may have to follow on each other: silence, grace, retries of
/// both hosts, a pause held at the witness, the operator's look, a seed.
pub const BOUND: Span = Span::from_ms(1_000);
/// A guest that runs and may speak says something at least this often.
const RECENT: Span = Span::from_ms(250);

/// Whether someone who may run the guest is there to do so.
pub fn can_resume(cluster: &Cluster) -> bool {
    let lives = |at: &usize| !cluster.is_down(*at);
    let Some(record) = cluster.witness.record() else { return lives(&0) };
    let owner = (0..2).filter(lives).find(|at| host::name(*at) == record.owner);
    let owner_runs = owner.is_some_and(|at| cluster.hosts[at].runs() == Some(record.generation));
    let owner_restarts = owner.is_some() && record.copy == Copy::Stale;
    let holder_holds = (0..2).filter(lives).any(|at| {
        record.copy == Copy::Fresh { holder: host::name(at) }
            && cluster.hosts[at].image().is_some_and(|(generation, ..)| generation == record.generation)
    });
    owner_runs || owner_restarts || holder_holds
}

/// Judges a run that was healed at `healed_at` and could resume, at its end.
pub fn judge(cluster: &Cluster, at: Time) -> Result<(), Violation> {
    let violation = |what: String| Err(Violation { invariant: Invariant::Liveness, at, what });
    let left_at = cluster.left_at();
    if left_at + RECENT < at {
        return violation(format!("nothing has left since {} us", left_at.0 / 1000));
    }
    if (0..2).any(|host| cluster.is_down(host)) {
        return Ok(());
    }
    let unprotected = cluster.hosts.iter().find_map(|host| match &host.role {
        Role::Primary(primary) if primary.session.is_protection_wished() => {
            Some(primary.session.state()).filter(|state| *state != State::Protected)
        }
        _ => None,
    });
    unprotected.map_or(Ok(()), |state| violation(format!("both hosts are there, and the guest is {state:?}")))
}
