//! [`Job`]: what the capture thread passes to the encode thread, in order.

use super::order::CaptureOrder;
use super::outlet::Outlet;
use crate::guest::disks::recording::WritesOf;
use crossbeam::channel::Sender;
use std::sync::Arc;
use std::time::Duration;
use understudy_checkpoint::Epoch;
use understudy_checkpoint::domain::DomainState;
use understudy_checkpoint::epoch::{EpochHead, Staging};
use understudy_checkpoint::pages::Check;
use understudy_disk::record::Tagged;
use understudy_disk::sync::talk::Ask;
use understudy_session::EpochKind;

/// A job for the encode thread.
pub(in crate::guest) enum Job {
    Begin {
        head: EpochHead,
        outlet: Box<dyn Outlet>,
    },
    Pages(Staging),
    /// Of the guest's disk.
    Writes(Vec<Arc<Tagged>>),
    /// About the guest's disk, for the other host.
    Ask(Ask),
    End {
        state: DomainState,
        /// Pages that did not change.
        checks: Vec<Check>,
        /// Of a guest with a disk.
        writes: Option<WritesOf>,
    },
    /// The epoch begun last is dropped; the peer will be at this epoch.
    Abandon {
        stand: Option<Epoch>,
    },
    /// The peer is at epoch `after`: do not rely on anything newer.
    Forget {
        after: Epoch,
    },
    /// Answered once everything before it is encoded and in the link's queue, with how long a limit for full syncs has
    /// made it wait.
    Answer(Sender<Duration>),
    /// Output waits for what comes from here on.
    Hurry,
    PutBack(Staging),
    PutBackState(DomainState),
}

impl Job {
    pub(in crate::guest) fn begin(order: CaptureOrder, kind: EpochKind, base: Option<Epoch>) -> Self {
        let CaptureOrder { generation, epoch, outlet, .. } = order;
        Self::Begin { head: EpochHead { generation, epoch, kind, base }, outlet }
    }
}
