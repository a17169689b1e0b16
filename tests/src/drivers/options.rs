//! How a seed is run.

use super::invariant::Invariant;
use super::mutant::Mutant;

/// How a seed is run.
#[derive(Clone, Copy, Debug, Default)]
pub struct Options {
    /// The mutant to run, if any.
    pub mutant: Option<Mutant>,
    /// The only judge to hear, if any.
    pub alone: Option<Invariant>,
    /// Keep a trace.
    pub traced: bool,
    /// Hear every judge even after the witness has lost records.
    pub hears_all: bool,
    /// Compare unchanged pages or not, whatever the seed says.
    pub scrubs: Option<bool>,
    /// Guests may run twice, or may not, whatever the seed says.
    pub copies: Option<bool>,
    /// Guests have disks, or have none; by the seed if neither is said.
    pub disks: Option<bool>,
    /// The guest needs fencing, or does not, whatever the seed says.
    pub fences: Option<bool>,
}
