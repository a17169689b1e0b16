//! I6: once the faults are over, service resumes within a bound, if anyone is left who may resume it.

use super::GuestId;
use super::cluster::Cluster;
use super::harm::Trouble;
use super::host;
use super::invariant::{Invariant, Violation};
use super::names;
use understudy::node::Glance;
use understudy_session::primary::State;
use understudy_session::secondary;
use understudy_session::{Copy, Span, Time};

/// Time for what is under way to arrive: late requests at the witness, keepalives.
pub const SETTLE: Span = Span::from_ms(200);
/// Within this time frames leave again. It is the sum of what may happen in sequence: silence, grace, retries of both
/// hosts, a pause at the witness, the operator's look, a full sync.
const BOUND: Span = Span::from_ms(1_000);
/// A host that has to be fenced is waited for so long, and a reset may begin it anew.
const FENCING: Span = Span::from_ms(12_000);
/// After this time a session tries again to start a guest that could not be started.
const ACTIVATION_RETRY: Span = Span::from_ms(1_000);
/// A run in which all is well for this long may end. It is longer than the judges of reported protection wait.
pub const WELL: Span = Span::from_ms(300);
/// How often that is checked.
pub const LOOK_EVERY: Span = Span::from_ms(50);
/// A guest that runs and may send sends something at least this often.
const RECENT: Span = Span::from_ms(250);

/// The bound of this run.
pub fn bound(cluster: &Cluster) -> Span {
    let starts = |host: &host::Host| (0..2).any(|guest| is_being_started(host, guest));
    let may_try_again = cluster.settings.answers.is_some() || cluster.hosts.iter().any(starts);
    let fencing = if cluster.settings.is_fenced { FENCING } else { Span(0) };
    Span(BOUND.0 + fencing.0 + if may_try_again { ACTIVATION_RETRY.0 } else { 0 })
}

fn is_being_started(host: &host::Host, guest: GuestId) -> bool {
    matches!(host.glance(guest), Some(Glance::Secondary { state: secondary::State::Activating, .. }))
}

/// Whether somebody who may run the guest is able to do so.
pub fn can_resume(cluster: &Cluster, guest: GuestId) -> bool {
    let lives = |at: &usize| !cluster.is_down(*at);
    let Some(record) = cluster.witness.record(guest) else { return lives(&guest) };
    let owner = (0..2).filter(lives).find(|at| names::name(*at) == record.owner);
    let owner_runs = owner.is_some_and(|at| cluster.hosts[at].has_begun(guest));
    let owner_restarts = owner.is_some() && record.copy == Copy::Stale;
    let holder_holds = (0..2).filter(lives).any(|at| {
        record.copy == Copy::Fresh { holder: names::name(at) }
            && cluster.hosts[at].receives_from[guest] <= cluster.now
            && cluster.hosts[at].image(guest).is_some_and(|(generation, ..)| generation == record.generation)
    });
    // A takeover that nothing carries out stays one.
    let hangs = cluster.hosts.iter().any(|host| host.receives_from[guest] > cluster.now);
    owner_runs || owner_restarts && !hangs || holder_holds
}

/// Judges the end of a run that was healed and could resume.
pub fn judge(cluster: &Cluster, guest: GuestId, at: Time) -> Result<(), Violation> {
    let violation = |what: String| Err(Violation { invariant: Invariant::Liveness, at, what });
    let left_at = cluster.left_at(guest);
    let name = names::guest_name(guest);
    if left_at + RECENT < at {
        return violation(format!("nothing of the {name} guest has left since {} us", left_at.0 / 1000));
    }
    let cannot = |host: &host::Host| {
        let yard = host.yard.get();
        yard.domains[guest].as_ref().is_some_and(|domain| domain.get().trouble == Trouble::ForEver)
    };
    let hangs = |host: &host::Host| host.receives_from[guest] > at;
    if (0..2).any(|host| cluster.is_down(host)) || cluster.hosts.iter().any(|it| cannot(it) || hangs(it)) {
        return Ok(());
    }
    let unprotected = cluster.hosts.iter().find_map(|host| match host.glance(guest) {
        Some(Glance::Primary { state, wished: true, .. }) => {
            Some(state).filter(|state| *state != State::Protected)
        }
        _ => None,
    });
    match unprotected {
        None => Ok(()),
        Some(state) => violation(format!("both hosts are there, and the {name} guest is {state:?}")),
    }
}
