//! What the stream has said about a PV guest's word size.

use crate::stream::libxc::GuestWidth;

/// The word size of a PV guest, according to X86_PV_INFO.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub(super) enum Width {
    /// No record yet.
    #[default]
    Untold,
    /// The record was malformed. What depends on it is not checked.
    Broken,
    /// The word size.
    Told(GuestWidth),
}
