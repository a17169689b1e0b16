//! What the capture thread hands to the encode thread, in its order.

use super::order::CaptureOrder;
use super::outlet::Outlet;
use crossbeam::channel::Sender;
use understudy_checkpoint::Epoch;
use understudy_checkpoint::domain::DomainState;
use understudy_checkpoint::epoch::{EpochHead, Staging};
use understudy_checkpoint::pages::Check;
use understudy_session::EpochKind;

/// What the capture thread hands over.
pub(in crate::guest) enum Job {
    Begin {
        head: EpochHead,
        outlet: Box<dyn Outlet>,
    },
    Pages(Staging),
    End {
        state: DomainState,
        /// Pages that did not change.
        checks: Vec<Check>,
    },
    /// The epoch begun last comes to nothing; the peer will stand at this one.
    Abandon {
        stand: Option<Epoch>,
    },
    /// The peer stands at `after`: nothing newer may be counted on.
    Forget {
        after: Epoch,
    },
    /// Everything before this is encoded and handed to the link once this is answered.
    Answer(Sender<()>),
    PutBack(Staging),
    PutBackState(DomainState),
}

impl Job {
    pub(in crate::guest) fn begin(order: CaptureOrder, kind: EpochKind, base: Option<Epoch>) -> Self {
        let CaptureOrder { generation, epoch, outlet, .. } = order;
        Self::Begin { head: EpochHead { generation, epoch, kind, base }, outlet }
    }
}
