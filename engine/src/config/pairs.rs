//! Why a flag's `key=value,key=value` cannot be read.
//!
//! Not here: what the keys are (`guest`, `pacing`), and whether the values go together ([`ConfigError`](super::ConfigError)).

use super::human::HumanError;

/// What is wrong with a list of pairs.
#[derive(thiserror::Error, Clone, PartialEq, Eq, Debug)]
pub enum PairError {
    /// No way to fence.
    #[error("{0:?} is not one of off, log, enforce")]
    Fence(String),
    /// It has no `=`.
    #[error("{0:?} is not KEY=VALUE")]
    NoPair(String),
    /// The same, where a word has a meaning of its own.
    #[error("{0:?} is not KEY=VALUE; for the default budgets write output")]
    NoBudget(String),
    /// Which of both is meant nobody can say.
    #[error("{0} is given twice")]
    Twice(String),
    /// No such key.
    #[error("{key:?} is not one of {keys}")]
    UnknownKey { key: String, keys: String },
    /// A load has settings of its own, which follow it.
    #[error("{key} is a setting of the load; write it right after that, as in load=mixed,{pair}")]
    NotBehindLoad {
        key: String,
        /// With its value.
        pair: String,
    },
    /// Not a length of time or a size.
    #[error(transparent)]
    Human(#[from] HumanError),
    /// Not a share.
    #[error("{0:?} is not a share; write a whole number and %, such as 25%")]
    Share(String),
    /// Not an address of a guest.
    #[error("{0:?} is not an IPv4 address")]
    Ip(String),
    /// Not a way to find changes.
    #[error("{0:?} is not one of log, compare")]
    FindChanges(String),
    /// Not a way to protect.
    #[error("{0:?} is not one of remus, colo, auto")]
    Mode(String),
}
