//! What is known of a PV guest's word size.

use crate::stream::libxc::GuestWidth;

/// The word size of a PV guest, as X86_PV_INFO told it.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub(super) enum Width {
    /// It did not come yet.
    #[default]
    Untold,
    /// It came broken: what depends on it is not checked.
    Broken,
    /// It came.
    Told(GuestWidth),
}
