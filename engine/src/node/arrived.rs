//! What a link brought for one guest, in the loop's own memory.

use crate::session::{ToPrimary, ToSecondary};
use std::sync::Arc;
use understudy_checkpoint::domain::Description;
use understudy_checkpoint::pages::EpochSummary;

/// A guest's name.
pub type GuestName = Arc<str>;

/// One frame about a guest.
#[derive(Debug)]
pub enum Arrived {
    /// The peer runs this guest.
    Offer(Box<Description>),
    /// From the guest's primary session.
    ToSecondary(ToSecondary),
    /// From the guest's secondary session.
    ToPrimary(ToPrimary),
    /// A page batch of the epoch begun last.
    Pages(Vec<u8>),
    /// libxc records of the epoch begun last.
    LibxcState(Vec<u8>),
    /// libxl records of the epoch begun last.
    LibxlState(Vec<u8>),
    /// The epoch begun last is whole.
    EpochEnd(EpochSummary),
}

impl Arrived {
    /// Memory it takes, for bounds.
    pub fn len_bytes(&self) -> usize {
        let data = match self {
            Self::Pages(bytes) | Self::LibxcState(bytes) | Self::LibxlState(bytes) => bytes.len(),
            Self::Offer(description) => description.config.len() + description.static_records.len(),
            Self::ToSecondary(_) | Self::ToPrimary(_) | Self::EpochEnd(_) => 0,
        };
        data + size_of::<Self>()
    }
}
