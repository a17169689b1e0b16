//! What `status` and the metrics say about a guest that runs here, on request.
//!
//! Not here: what goes to the log when something happens ([`event`](super::event)).

use super::PrimaryGuest;
use crate::config::PacingSettings;
use crate::control::status::{DiskStatus, FullSyncStatus, GuestStatus};
use crate::guest::{DiskParticipant, DiskStanding};
use crate::node::status;
use crate::node::sync_rate::SyncRate;
use understudy_session::primary::{CopyStanding, State};
use understudy_session::{Mode, Time};

impl PrimaryGuest {
    /// Why the guest is not protected, or what else an operator should know.
    pub(in crate::node) fn reason(&self, has_witness: bool) -> String {
        let said = status::primary_reason(&self.session, &self.peer, has_witness);
        let broken = self.broken.as_ref().map(|broken| format!("nothing can copy it: {}", broken.why));
        let refusal = self.offer.refusal.as_ref();
        let said = match refusal {
            None => said,
            // The peer has not said whether it runs the guest, or knows of a newer generation.
            Some(why) if self.session.state() == State::Asking => {
                format!("{} does not hold a copy: {why}. And {said}", self.peer)
            }
            Some(why) => format!("{} does not hold a copy: {why}", self.peer),
        };
        let cards = self.output.unheld();
        let mut words: Vec<String> = cards.iter().map(status::unheld_reason).collect();
        words.extend(self.machine.as_ref().and_then(|machine| machine.trouble()));
        words.extend(self.gate_reason());
        words.extend(self.defect_reason());
        words.extend(broken);
        words.extend(self.disk().and_then(|disk| disk.fault).map(|why| {
            format!("its disk here fails, and it is told so: {why}; `switchover` moves it to the other disk")
        }));
        words.extend(Some(said).filter(|said| !said.is_empty()));
        // Until there is a copy again.
        words.extend(self.participants.last_fault().filter(|_| self.session.state() != State::Protected));
        words.join("; ")
    }

    /// Adds what only this role knows.
    pub(in crate::node) fn fill(&self, status: &mut GuestStatus, now: Time, has_witness: bool) {
        status.protected = self.session.state() == State::Protected && self.defect.is_none();
        status.wished = self.session.is_protection_wished();
        let pacing = self.session.pacing();
        status.interval_ms = pacing.interval_max().0 as f64 / 1e6;
        status.pacing = PacingSettings::from(pacing).to_string();
        status.paced_by = self.session.paced_by().map(|by| by.name().into());
        status.compared_bytes = self.compared_bytes;
        status.reason = self.reason(has_witness);
        status.generation = self.session.generation().0;
        status.epoch = self.session.newest_captured().map(|epoch| epoch.0);
        status.acked = self.session.acked().map(|epoch| epoch.0);
        status.committed = status.acked;
        status.commit_age_ms = self.last_commit.map(|at| (now - at).0 / 1_000_000);
        status.takeover = self.takeover;
        let disk = self.disk();
        let is_on_its_way = self.session.state() == State::Seeding;
        let full_sync = self.full_sync.as_ref().filter(|_| is_on_its_way);
        status.full_sync = full_sync.map(|sync| {
            let (disk_left_bytes, of_disk_bytes) =
                disk.as_ref().map_or((Some(0), 0), |disk| (disk.left_bytes, disk.size_bytes));
            FullSyncStatus {
                limit_bytes_per_s: self.sync_rate.as_ref().map(SyncRate::bytes_per_s),
                disk_left_bytes,
                of_disk_bytes,
                ..sync.status(self.description.page_count, now)
            }
        });
        status.disk = disk.map(|disk| DiskStatus {
            bytes: disk.size_bytes,
            behind_bytes: Some(disk.behind_bytes),
            fault: disk.fault.unwrap_or_default(),
        });
        self.fill_colo(status, now);
    }

    /// How the guest's disk stands here.
    fn disk(&self) -> Option<DiskStanding> {
        self.participants.disk().map(DiskParticipant::standing)
    }

    fn fill_colo(&self, status: &mut GuestStatus, now: Time) {
        let (colo, standing) = (&mut status.colo, self.session.copy_standing());
        colo.mode = self.copy.wished().name().into();
        colo.live = matches!(standing, CopyStanding::Live { .. });
        colo.reason = match self.copy.obstacle() {
            Some(obstacle) if self.copy.wished() != Mode::Remus => obstacle.into(),
            _ => status::copy_reason(standing, &self.peer, now),
        };
        if let CopyStanding::Live { base } = standing {
            colo.base = Some(base.0);
        }
    }

    /// A full sync goes on. The report may be late: then it is over.
    pub(super) fn seeding(&mut self, pages: u64) {
        if self.session.state() == State::Seeding {
            self.meter.full_sync(Some(pages as f64 / self.description.page_count.max(1) as f64));
        }
    }

    /// Copies the output's counters into the meter.
    pub(in crate::node) fn measure(&mut self) {
        self.meter.set_role(self.session.state(), self.session.generation().0);
        self.meter.output(&self.output.stats());
        let in_flight = self.session.in_flight();
        self.meter.in_flight(in_flight, self.unacked.bytes(self.session.acked(), in_flight));
        self.meter.unheld_cards(self.output.unheld().len());
        self.meter.set_live(self.session.live_base().is_some());
        if let Some(disk) = self.disk() {
            self.meter.disk(Some(disk.behind_bytes), disk.fault.is_some());
        }
    }
}
