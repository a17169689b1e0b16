//! Fields with a closed set of values: each number stands here once, for both directions. `docs/LINK.md` lists them,
//! and a test compares it with these tables.
//!
//! A number is never reused. An unknown one is an error that names the field.

use super::LinkError;
use super::body::Body;
use super::refusal::HoldReason;
use super::service::{RefuseReason, Service};
use alloc::vec::Vec;
use understudy_checkpoint::domain::GuestKind;
use understudy_session::lease::Standing as LeaseStanding;
use understudy_session::{CopyEnd, Decline, EpochKind, Mode, Standing, WitnessOutcome};

/// One row of a table.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) struct Row<V: 'static> {
    pub(super) value: V,
    pub(super) number: u8,
    /// The first version of the protocol that has it.
    pub(super) since: u16,
    /// Its name in `docs/LINK.md`.
    pub(super) words: &'static str,
}

/// A closed set of values, in one byte.
pub(super) trait Value: Copy + PartialEq + 'static {
    /// The field's name in errors.
    const FIELD: &'static str;
    /// The table.
    const TABLE: &'static [Row<Self>];

    fn row(self) -> &'static Row<Self>;

    fn put(self, out: &mut Vec<u8>) {
        out.push(self.row().number);
    }

    fn read(body: &mut Body<'_>) -> Result<Self, LinkError> {
        let value = body.u8()?;
        let row = Self::TABLE.iter().find(|row| row.number == value);
        row.map(|row| row.value).ok_or(LinkError::UnknownValue { field: Self::FIELD, value })
    }
}

macro_rules! values {
    ($field:literal $Type:ident { $($number:literal $variant:ident $since:literal $words:literal;)* }) => {
        impl Value for $Type {
            const FIELD: &'static str = $field;
            const TABLE: &'static [Row<Self>] =
                &[$(Row { value: $Type::$variant, number: $number, since: $since, words: $words },)*];

            fn row(self) -> &'static Row<Self> {
                match self {
                    $($Type::$variant => {
                        &Row { value: $Type::$variant, number: $number, since: $since, words: $words }
                    })*
                }
            }
        }
    };
}

values! { "service" Service {
    1 Node    1 "node";
    2 Witness 1 "witness";
    3 Spare   7 "spare";
}}

values! { "reason of a refusal" RefuseReason {
    1 NoCommonVersion 1 "no common version";
    2 WrongService    1 "wrong service";
    3 Duplicate       1 "duplicate link";
    4 UnknownNode     1 "unknown node";
    5 Full            1 "no room";
    6 Protocol        1 "protocol violated";
    7 NameInUse       2 "name in use";
}}

values! { "kind of guest" GuestKind {
    1 Pv  1 "PV";
    2 Hvm 1 "HVM";
    3 Pvh 1 "PVH";
}}

values! { "kind of epoch" EpochKind {
    1 Seed  1 "seed";
    2 Delta 1 "delta";
}}

values! { "reason not to hold a guest" HoldReason {
    1 Name      2 "name";
    2 TooLarge  2 "too large";
    3 Memory    2 "memory";
    4 Network   2 "network";
    5 Unfit     2 "unfit for that host";
    6 Toolstack 2 "toolstack";
    7 TooMany   2 "too many guests";
    8 NameTaken 2 "name taken";
    9 Internal  2 "internal";
    10 Fencing  6 "no fencing";
}}

values! { "outcome" WitnessOutcome {
    1 Told     1 "told";
    2 Swapped  1 "swapped";
    3 Conflict 1 "conflict";
    4 Illegal  1 "illegal";
}}

values! { "standing of a lease" LeaseStanding {
    1 Held     6 "held";
    2 Released 6 "given back";
    3 Taken    6 "taken away";
}}

/// The variant of a [`Standing`]; its fields follow.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) enum StandingTag {
    Nothing,
    Complete,
}

values! { "standing" StandingTag {
    0 Nothing  1 "nothing";
    1 Complete 1 "complete";
}}

/// The variant of a [`Decline`]; the newer generation of `Fenced` follows.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) enum DeclineTag {
    Fenced,
    WrongBase,
    Damaged,
    TooLarge,
    ImageLost,
    TakingOver,
    Diverged,
}

values! { "reason to decline" DeclineTag {
    1 Fenced     1 "fenced";
    2 WrongBase  1 "wrong base";
    3 Damaged    1 "damaged";
    4 TooLarge   1 "too large";
    5 ImageLost  1 "image lost";
    6 TakingOver 1 "taking over";
    7 Diverged   2 "diverged";
}}

values! { "mode" Mode {
    1 Remus 3 "remus";
    2 Colo  3 "colo";
    3 Auto  3 "auto";
}}

values! { "reason of a copy's end" CopyEnd {
    1 Crashed  3 "crashed";
    2 NoRoom   3 "no room";
    3 Operator 3 "operator";
}}

/// Whether a record has a copy that may be activated; its holder follows.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) enum CopyTag {
    Stale,
    Fresh,
}

values! { "state of the copy" CopyTag {
    0 Stale 1 "stale";
    1 Fresh 1 "fresh";
}}

impl From<&Standing> for StandingTag {
    fn from(standing: &Standing) -> Self {
        match standing {
            Standing::Nothing => Self::Nothing,
            Standing::Complete { .. } => Self::Complete,
        }
    }
}

impl From<&Decline> for DeclineTag {
    fn from(why: &Decline) -> Self {
        match why {
            Decline::Fenced { .. } => Self::Fenced,
            Decline::WrongBase => Self::WrongBase,
            Decline::Damaged => Self::Damaged,
            Decline::TooLarge => Self::TooLarge,
            Decline::ImageLost => Self::ImageLost,
            Decline::TakingOver => Self::TakingOver,
            Decline::Diverged => Self::Diverged,
        }
    }
}

impl From<&understudy_session::Copy> for CopyTag {
    fn from(copy: &understudy_session::Copy) -> Self {
        match copy {
            understudy_session::Copy::Stale => Self::Stale,
            understudy_session::Copy::Fresh { .. } => Self::Fresh,
        }
    }
}
