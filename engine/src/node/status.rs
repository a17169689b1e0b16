//! States in words, for `status`.

use crate::control::status::{
    ColoStatus, CopiedAhead, GuestStatus, KeptStatus, PageCounts, PauseCalls, PauseParts, Quantiles,
};
use crate::control::{GuestRole, GuestState};
use crate::guest::UnheldCard;
use understudy_session::{Copy, Decline, NodeName, Record, Time, primary, secondary};

/// The status of a guest about which nothing is known yet.
pub(super) fn blank(name: &str, role: GuestRole, peer: &NodeName, state: GuestState) -> GuestStatus {
    GuestStatus {
        name: name.to_owned(),
        role,
        peer: peer.0.clone(),
        state,
        protected: false,
        wished: true,
        reason: String::new(),
        generation: 0,
        epoch: None,
        acked: None,
        committed: None,
        commit_age_ms: None,
        interval_ms: 0.0,
        pacing: String::new(),
        paced_by: None,
        pause_us: Quantiles::default(),
        pause_parts_us: PauseParts::default(),
        pause_calls: PauseCalls::default(),
        commit_us: Quantiles::default(),
        pages: PageCounts::default(),
        copied_ahead: CopiedAhead::default(),
        raw_bytes: 0,
        link_bytes: 0,
        compared_bytes: 0,
        held_bytes: 0,
        dropped_frames: 0,
        takeover: None,
        full_sync: None,
        kept: KeptStatus::default(),
        export: None,
        disk: None,
        colo: ColoStatus::default(),
    }
}

impl From<primary::State> for GuestState {
    fn from(state: primary::State) -> Self {
        use primary::State;
        match state {
            State::Asking => Self::Asking,
            State::AwaitingOperator => Self::AwaitingOperator,
            State::Claiming => Self::Claiming,
            State::ClaimRefused => Self::ClaimRefused,
            State::Unprotected => Self::Unprotected,
            State::Seeding => Self::Seeding,
            State::Arming => Self::Arming,
            State::Protected => Self::Protected,
            State::Late => Self::Late,
            State::LinkLost => Self::LinkLost,
            State::MarkingStale => Self::MarkingStale,
            State::PausedUndecided => Self::PausedUndecided,
            State::SwitchingOver => Self::SwitchingOver,
            State::Fenced => Self::Fenced,
            State::Contested => Self::Contested,
            State::Ended => Self::Ended,
        }
    }
}

impl From<secondary::State> for GuestState {
    fn from(state: secondary::State) -> Self {
        use secondary::State;
        match state {
            State::Empty => Self::Empty,
            State::Seeding => Self::Seeding,
            State::Standing => Self::Standing,
            State::Outdated => Self::Outdated,
            State::Alone => Self::Alone,
            State::TakingOver => Self::TakingOver,
            State::Activating => Self::Activating,
            State::ActivationFailed => Self::ActivationFailed,
        }
    }
}

/// How the other end was lost, for the log and the metric of takeovers.
pub(super) fn loss_name(why: primary::Loss) -> &'static str {
    match why {
        primary::Loss::LinkEnded => "link_ended",
        primary::Loss::Silent => "silent",
    }
}

/// A witness's record.
pub(super) fn record_words(record: &Record) -> String {
    let Record { generation, owner, copy, .. } = record;
    match copy {
        Copy::Stale => format!("{owner} may run it in generation {generation}, and no copy may take over"),
        Copy::Fresh { holder } => {
            format!("{owner} may run it in generation {generation}, and the copy at {holder} may take over")
        }
    }
}

/// Why a secondary declines a checkpoint.
pub(super) fn decline_words(why: Decline) -> String {
    match why {
        Decline::Fenced { generation } => format!("it knows of generation {generation}"),
        Decline::WrongBase => "wrong base".into(),
        Decline::Damaged => "damaged".into(),
        Decline::Diverged => "diverged".into(),
        Decline::TooLarge => "too large".into(),
        Decline::ImageLost => "image lost".into(),
        Decline::TakingOver => "taking over".into(),
    }
}

/// Why a guest that runs here is not protected, or what else an operator should know.
pub(super) fn primary_reason(session: &primary::Primary, peer: &NodeName, has_witness: bool) -> String {
    use primary::State;
    let wished = session.is_protection_wished();
    match session.state() {
        State::Asking => format!(
            "there is no witness, and {peer} has not yet said what it knows of the guest; nothing leaves \
             (`understudy unprotect` lets it out){}",
            paused_words(session)
        ),
        State::AwaitingOperator => format!(
            "{peer} holds a copy of a guest of this name; take it over there, or `understudy reclaim` here and lose \
             that copy"
        ),
        State::ClaimRefused => session.refusal().map(ToString::to_string).unwrap_or_default(),
        State::Late => format!("no checkpoint has reached {peer} lately; output waits for it"),
        State::Contested => format!(
            "{peer} runs this guest as well; it is paused and kept here. Decide: `understudy discard` on one host, \
             `understudy reclaim` on the other"
        ),
        State::Fenced => format!(
            "{peer} took over; the guest is paused and kept here until it runs there. If {peer} cannot start it: \
             `understudy reclaim` here"
        ),
        State::Claiming => {
            format!("the witness has not yet said that this host may run the guest{}", paused_words(session))
        }
        State::Unprotected if !wished => {
            "an operator wished it; `understudy protect` makes a new copy".into()
        }
        State::Unprotected => match session.given_up() {
            Some(why) => {
                format!("{}; a new copy is made when {peer} is there", given_up_reason(why, peer))
            }
            None => format!("{peer} holds no copy; it is made when {peer} is there"),
        },
        State::Seeding => format!("the full sync is on its way to {peer}"),
        State::Arming => "the copy is complete; the witness has not yet recorded it".into(),
        State::Protected => String::new(),
        State::LinkLost => format!("the link to {peer} is down and may come back"),
        State::MarkingStale => format!("{peer} is lost; the witness is asked to mark its copy stale"),
        State::PausedUndecided => undecided_words(session.given_up(), peer, has_witness),
        State::SwitchingOver => format!("the guest moves to {peer}"),
        State::Ended => "the guest has ended".into(),
    }
}

/// Why a guest stands still because nobody can say that its copy may not take over. The peer may well answer.
fn undecided_words(given_up: Option<primary::GiveUp>, peer: &NodeName, has_witness: bool) -> String {
    let mut words = given_up.map_or_else(String::new, |why| given_up_reason(why, peer) + "; ");
    words += &match has_witness {
        true => "the witness does not answer, so the guest is paused; it goes on by itself".to_owned(),
        false => format!(
            "there is no witness to say that {peer} may not take over, so the guest is paused: `understudy unprotect` lets it \
             go on here, once you know that {peer} does not run it; or `understudy takeover` there"
        ),
    };
    words
}

fn paused_words(session: &primary::Primary) -> &'static str {
    if session.stands_still() { "; the guest is paused meanwhile" } else { "" }
}

/// Why there is no copy any more.
pub(super) fn given_up_reason(why: primary::GiveUp, peer: &NodeName) -> String {
    use primary::GiveUp;
    match why {
        GiveUp::Beginning | GiveUp::NoCopy => format!("{peer} holds no copy"),
        GiveUp::PeerLost => format!("{peer} was lost"),
        GiveUp::Declined => format!("{peer} declined a checkpoint"),
        GiveUp::Diverged => format!("the copy at {peer} was not what the guest was"),
        GiveUp::SeedFailed => format!("the full sync did not reach {peer}"),
        GiveUp::TooSlow => format!("checkpoints did not reach {peer} in time"),
        GiveUp::Wish => "an operator wished it".into(),
        GiveUp::GuestGone => "the guest ended".into(),
        GiveUp::Leak => "output could not be held".into(),
        GiveUp::CaptureFails => "checkpoints of the guest failed".into(),
        GiveUp::Broken => "what copies the guest had failed".into(),
    }
}

/// Why no copy is tried for a while.
pub(super) fn rest_reason(why: primary::Rest, peer: &NodeName) -> String {
    use understudy_session::CopyEnd;
    match why {
        primary::Rest::FewMatches { percent } => {
            format!("{percent} % of what left did so because the copy had sent the same, which is too little")
        }
        primary::Rest::NoCopy { why: CopyEnd::NoRoom } => {
            format!("{peer} cannot run a copy of it; its log says why")
        }
        primary::Rest::NoCopy { why: CopyEnd::Crashed } => format!("the copy at {peer} crashed"),
        primary::Rest::NoCopy { why: CopyEnd::Operator } => {
            format!("a person has stopped the copy at {peer}")
        }
    }
}

/// Why output does not leave by a match; empty if it does, or should not.
pub(super) fn copy_reason(standing: primary::CopyStanding, peer: &NodeName, now: Time) -> String {
    use primary::CopyStanding;
    match standing {
        CopyStanding::Live { .. } | CopyStanding::Unwanted => String::new(),
        CopyStanding::NotProtected => "the guest is not protected".into(),
        CopyStanding::Idle => "too little waits for checkpoints".into(),
        CopyStanding::Asked => format!("the copy at {peer} is being set"),
        CopyStanding::Rests { why, until } => {
            let seconds = (until - now).0.div_ceil(1_000_000_000);
            format!("{}; it is tried again in {seconds} s", rest_reason(why, peer))
        }
    }
}

/// What is wrong with a network card.
pub(super) fn unheld_reason(card: &UnheldCard) -> String {
    let UnheldCard { interface, why, is_cut_off } = card;
    let so = if *is_cut_off { "it is cut off" } else { "what is sent by it leaves" };
    format!("the card {interface} cannot be held, {so}: {why}")
}

/// Why a guest held here could not be taken over, or what else an operator should know.
pub(super) fn secondary_reason(state: secondary::State, peer: &NodeName, has_witness: bool) -> String {
    use secondary::State;
    match state {
        State::Empty => "there is no copy here".into(),
        State::Seeding => format!("the full sync arrives from {peer}"),
        State::Standing => String::new(),
        State::Alone if has_witness => format!("{peer} is not heard"),
        State::Alone => format!(
            "{peer} does not say that it runs the guest, and there is no witness: once you know that nobody runs it, \
             `understudy takeover` here"
        ),
        State::TakingOver => "the witness is asked for the guest".into(),
        State::Activating => "the guest is being started here".into(),
        State::Outdated => format!("{peer} runs a later generation than the copy's; a new copy is awaited"),
        State::ActivationFailed => format!(
            "this host was given the guest and could not start it; {peer} may still have it: `understudy reclaim` there"
        ),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use understudy_checkpoint::Generation;

    #[test]
    fn words_for_operators_have_no_braces() {
        let why = Decline::Fenced { generation: Generation(3) };
        assert_eq!(decline_words(why), "it knows of generation 3");
        assert_eq!(decline_words(Decline::ImageLost), "image lost");
        let copy = Copy::Fresh { holder: NodeName("b".into()) };
        let record = Record { revision: 7, generation: Generation(2), owner: NodeName("a".into()), copy };
        assert_eq!(record_words(&record), "a may run it in generation 2, and the copy at b may take over");
    }

    #[test]
    fn a_guest_that_stands_still_undecided_says_what_was_lost_and_who_decides() {
        use primary::GiveUp;
        let said = |why, has_witness| undecided_words(Some(why), &NodeName("b".into()), has_witness);
        let lost = said(GiveUp::PeerLost, true);
        assert!(lost.contains("b was lost") && lost.contains("the witness does not answer"), "{lost}");
        // The peer answers all the time.
        for has_witness in [true, false] {
            let broken = said(GiveUp::Broken, has_witness);
            assert!(broken.starts_with("what copies the guest had failed; "), "{broken}");
            assert!(
                !broken.contains("lost") && !broken.contains("neither") && !broken.contains("  "),
                "{broken}"
            );
            assert_eq!(broken.contains("`understudy unprotect`"), !has_witness, "{broken}");
            assert_eq!(broken.contains("the witness does not answer"), has_witness, "{broken}");
        }
    }

    #[test]
    fn who_decides_about_a_copy_without_a_primary_is_told() {
        let said =
            |has_witness| secondary_reason(secondary::State::Alone, &NodeName("a".into()), has_witness);
        assert_eq!(said(true), "a is not heard");
        assert!(said(false).contains("`understudy takeover` here"));
    }
}
