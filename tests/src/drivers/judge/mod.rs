//! The judges: one small file for each invariant of the design. They see facts and views, never a session.

mod alone;
mod atomicity;
mod authority;
mod bounds;
mod copies;
mod disk;
mod durability;
mod fencing;
mod meeting;
mod output_commit;
mod patience;
mod progress;
mod promptness;
mod readiness;
mod world;

use super::facts::{Fact, HostView};
pub use super::invariant::{Invariant, Violation};
use understudy_session::Time;

/// A judge's verdict.
pub(super) type Verdict = Result<(), (Invariant, String)>;

/// All judges of one run.
#[derive(Debug, Default)]
pub struct Judges {
    output_commit: output_commit::OutputCommit,
    authority: authority::Authority,
    atomicity: atomicity::Atomicity,
    world: world::World,
    durability: durability::Durability,
    copies: copies::Copies,
    promptness: promptness::Promptness,
    disk: disk::Disk,
    lonely: alone::Alone,
    meeting: meeting::Meeting,
    patience: patience::Patience,
    /// Of a guest that needs it.
    fencing: Option<fencing::Fencing>,
    has_witness: bool,
    /// Whether, without a witness, a person has forced a takeover, or has let a guest go on that was handed over: two
    /// guests are then that person's decision.
    forced: bool,
    /// Whether a person has ordered the guest to move, and its primary has not gone on since.
    hands_over: bool,
    /// Whether the witness has lost records: its decisions count for nothing any more.
    forgot: bool,
    hears_all: bool,
    /// A copy has crashed, after which clients may have seen what no other host has.
    copy_crashed: bool,
    /// A takeover takes the image then, and does not wait for a person.
    takes_the_image: bool,
    /// The same, as the operator has set it.
    wants_the_image: bool,
    /// A person has not decided since a copy crashed.
    decides_anew: bool,
    alone: Option<Invariant>,
}

impl Judges {
    /// Judges of which only one counts, to show what it catches by itself. With `None` all count.
    pub fn only(alone: Option<Invariant>, has_witness: bool, hears_all: bool, takes_the_image: bool) -> Self {
        let world = world::World::new(has_witness);
        let wants_the_image = takes_the_image;
        Self { alone, has_witness, hears_all, takes_the_image, wants_the_image, world, ..Self::default() }
    }

    /// The guest needs fencing.
    pub fn fenced(mut self, is_fenced: bool) -> Self {
        self.fencing = is_fenced.then(fencing::Fencing::default);
        self
    }

    /// Looks at one fact.
    pub fn see(&mut self, at: Time, fact: &Fact) -> Result<(), Violation> {
        self.atomicity.see(at, fact);
        self.promptness.see(at, fact);
        self.forgot |= matches!(fact, Fact::WitnessForgot) && !self.hears_all;
        if let Fact::CopyCrashed { .. } = fact {
            (self.copy_crashed, self.decides_anew) = (true, !self.wants_the_image);
        }
        // A person's takeover takes the image.
        if let Fact::Person { moves: true, .. } = fact {
            (self.takes_the_image, self.decides_anew) = (true, false);
        }
        self.forced |= !self.has_witness && self.may_make_two(fact);
        let verdicts = [
            self.output_commit.see(fact),
            self.authority.see(fact),
            self.world.see(fact),
            self.durability.see(fact),
            self.copies.see(fact),
            self.patience.see(at, fact),
            self.disk.see(fact),
            self.fencing.as_mut().map_or(Ok(()), |fencing| fencing.see(fact)),
            readiness::see(fact),
            if self.has_witness { Ok(()) } else { self.lonely.see(fact) },
        ];
        self.first_heard(at, &verdicts)
    }

    /// Whether a person's order may cause two guests. The peer may be starting a guest that was handed over, or taking
    /// over by force, while `unprotect` lets the other one go on.
    fn may_make_two(&mut self, fact: &Fact) -> bool {
        match fact {
            Fact::MoveWished => self.hands_over = true,
            Fact::Followed { .. } | Fact::Activated { .. } => self.hands_over = false,
            Fact::Person { moves, .. } => return *moves || self.hands_over,
            _ => {}
        }
        false
    }

    /// Looks at the state of the hosts after an event.
    pub fn after_event(&mut self, at: Time, views: &[HostView; 2]) -> Result<(), Violation> {
        let verdicts = [
            self.atomicity.look(views),
            self.authority.look(views),
            self.disk.look(views),
            self.meeting.look(at, views),
            bounds::look(views),
            progress::look(at, views),
            self.promptness.look(at, views),
        ];
        self.first_heard(at, &verdicts)
    }

    /// Whether a violation of this invariant counts.
    pub fn hears(&self, invariant: Invariant) -> bool {
        self.alone.is_none_or(|alone| alone == invariant) && !self.is_excused(invariant)
    }

    fn first_heard(&self, at: Time, verdicts: &[Verdict]) -> Result<(), Violation> {
        let found = verdicts.iter().filter_map(|verdict| verdict.as_ref().err());
        let mut heard = found.filter(|(found, _)| self.hears(*found));
        heard.next().map_or(Ok(()), |(invariant, what)| {
            Err(Violation { invariant: *invariant, at, what: what.clone() })
        })
    }

    /// Without a witness, only the judge of A7 decides which output may leave without an ack, and nobody judges what
    /// follows from a forced takeover. A witness that loses records breaks its promise (A1), and all that depends on
    /// it; what two hosts do that meet is judged nevertheless.
    /// Where a copy has crashed that clients took for the guest, a person decides, or the operator wants the image to be taken.
    fn is_excused(&self, invariant: Invariant) -> bool {
        let of_authority =
            matches!(invariant, Invariant::Authority | Invariant::Monotonicity | Invariant::NoResurrection);
        let without = invariant == Invariant::OutputCommit || of_authority && self.forced;
        let forgotten =
            invariant == Invariant::OutputCommit || of_authority || invariant == Invariant::Liveness;
        let is_lost = self.copy_crashed
            && match invariant {
                Invariant::Monotonicity | Invariant::Authority => self.takes_the_image,
                Invariant::Liveness => self.decides_anew,
                _ => false,
            };
        !self.has_witness && without || self.forgot && forgotten || is_lost
    }

    /// How many frames have left so far.
    pub fn frames_seen(&self) -> u64 {
        self.world.frames_seen()
    }
}
