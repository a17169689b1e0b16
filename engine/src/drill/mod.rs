//! Drills: rehearsed failures of real processes, judged by what clients saw.
//!
//! ```text
//!   plan ─► run ─► world (processes, switch, wires) ─► round: traffic │ script ─► check ─► report
//!                                                             │          │          ▲
//!                                                             └─ history ┴ sightings┘
//! ```
//!
//! * [`plan`] what is asked; [`run`] all rounds; [`round`] one of them; [`script`] what each failure does
//! * [`world`] the three processes ([`crate::child`]), the switch, the [`wires`] that [`relay`]s can cut, another
//!   [`witness`] than a process, the hosts of an installed [`pair`]
//! * [`traffic`] clients at work ([`client`]), their record ([`history`]), the switch's record ([`sightings`])
//! * [`mod@check`] the judgement, which knows nothing of the engine, and [`disks`] that of both disks; [`report`] and
//!   [`table`] what came of it, in lines that a page holds ([`wrap`]); [`page`] the same to keep, with its plots and
//!   [`spread`]s

pub mod chance;
pub mod check;
pub mod client;
pub mod disks;
pub mod error;
pub mod history;
pub mod network;
pub mod page;
pub mod pair;
pub mod plan;
mod plot;
pub mod progress;
pub mod record;
pub mod relay;
pub mod report;
pub mod round;
pub mod run;
pub mod script;
pub mod sightings;
pub mod spread;
pub mod table;
pub mod traffic;
pub mod view;
pub mod watch;
pub mod wires;
pub mod witness;
pub mod workdir;
pub mod world;
pub mod wrap;

pub use error::DrillError;
