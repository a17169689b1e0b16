//! What mutants do with disks: to what one host says of its disk, and past what should be asked first.
//!
//! Not here: the mutants below the engine (`wrong_storage`), and those that answer a guest too early, and cut too late (`disk`,
//! `guest`).

use super::HostId;
use super::cluster::Cluster;
use super::machine::DISK_BYTES;
use super::mutant::Mutant;
use understudy::guest::{Machine, Report, Work};
use understudy_checkpoint::epoch::EpochPart;
use understudy_checkpoint::{Epoch, Generation};
use understudy_disk::apply::Trust;
use understudy_disk::batch::{Content, decode};
use understudy_disk::storage::{Storage, StorageError};
use understudy_disk::sync::talk::Say;
use understudy_disk::words::Point;

impl Cluster {
    fn write_past(&self, at: HostId, guest: usize, batch: &[u8]) {
        let Some(mut disk) = self.hosts[at].yard.get().machine.raw(guest) else { return };
        let _ = decode(batch, &mut Vec::new(), |write| {
            if let Content::Data(data) = write.content {
                disk.write_at(write.extent.offset(), data)?;
            }
            Ok::<_, WrongWrite>(())
        });
    }

    fn whole_disk(&self, at: HostId, guest: usize) -> Option<Vec<u8>> {
        self.hosts[at].yard.get().machine.raw(guest).map(|disk| disk.content())
    }

    fn put_whole_disk(&self, at: HostId, guest: usize, content: &[u8]) {
        if let Some(mut disk) = self.hosts[at].yard.get().machine.raw(guest) {
            disk.write_at(0, content).expect("no write of the simulator fails");
        }
    }

    /// Before a receive thread does a piece of work.
    pub(super) fn wrong_before(&mut self, at: HostId, guest: usize, work: &Work, follows: bool) {
        if !follows {
            let wrong = &mut self.hosts[at].wrong_disks[guest];
            (wrong.waiting, wrong.put_off) = Default::default();
            return;
        }
        match (self.mutant, work) {
            (Some(Mutant::ApplyBeforeWhole), Work::Part(EpochPart::Writes { batch, .. })) => {
                self.write_past(at, guest, batch);
            }
            (Some(Mutant::MergeEpochs), Work::Part(EpochPart::Writes { batch, .. })) => {
                self.hosts[at].wrong_disks[guest].waiting.push(batch.clone());
            }
            (Some(Mutant::MergeEpochs), Work::Part(EpochPart::End(_))) => {
                let waiting = std::mem::take(&mut self.hosts[at].wrong_disks[guest].waiting);
                waiting.iter().for_each(|batch| self.write_past(at, guest, batch));
            }
            (Some(Mutant::SwapBeforeApplied), Work::Commit(_)) => {
                if let Some(content) = self.hosts[at].wrong_disks[guest].put_off.take() {
                    self.put_whole_disk(at, guest, &content);
                }
                self.hosts[at].wrong_disks[guest].put_off = self.whole_disk(at, guest);
            }
            _ => {}
        }
    }

    /// After it has.
    pub(super) fn wrong_after(&mut self, at: HostId, guest: usize, is_commit: bool) {
        let acked = self.hosts[at].wrong_disks[guest].acked;
        let lies = matches!(self.mutant, Some(Mutant::ForgetAtAck | Mutant::ResyncFromOldPrimary));
        if let Some(engine) = self.hosts[at].engine.as_mut().filter(|_| lies) {
            engine.collect();
            engine.reports.iter_mut().for_each(|(_, report)| say_wrongly(report, acked, engine.mutant));
        }
        if self.mutant != Some(Mutant::SwapBeforeApplied) || !is_commit {
            return;
        }
        if let Some(before) = self.hosts[at].wrong_disks[guest].put_off.take() {
            let after = self.whole_disk(at, guest);
            self.put_whole_disk(at, guest, &before);
            self.hosts[at].wrong_disks[guest].put_off = after;
        }
    }

    /// For a mutant: what is acked is forgotten, as if it were applied, on both sides.
    pub(super) fn wrong_ack(&mut self, at: HostId, guest: usize, generation: Generation, epoch: Epoch) {
        if self.mutant != Some(Mutant::ForgetAtAck) {
            return;
        }
        self.hosts[at].wrong_disks[guest].acked = Some(Point { generation, epoch });
        let primary = self.hosts[1 - at].yard.get().domains[guest].clone();
        if let Some(disk) = primary.and_then(|domain| domain.disk()) {
            disk.hear(epoch, &Say::Applied.encode());
        }
    }
}

/// A batch that is none, or a disk that cannot be written: nothing of the simulator.
#[derive(Debug)]
struct WrongWrite;

impl From<understudy_disk::batch::BadBatch> for WrongWrite {
    fn from(_: understudy_disk::batch::BadBatch) -> Self {
        Self
    }
}

impl From<StorageError> for WrongWrite {
    fn from(_: StorageError) -> Self {
        Self
    }
}

/// For mutants: what a host says of its disk.
fn say_wrongly(report: &mut Report, acked: Option<Point>, mutant: Option<Mutant>) {
    let Report::DiskSay { say, .. } = report else { return };
    if let Ok(Say::Stand(mut theirs)) = Say::decode(say, DISK_BYTES) {
        if let Some(known) = &mut theirs.label {
            known.trust = trusted_wrongly(known.trust, acked, mutant);
        }
        *say = Say::Stand(theirs).encode();
    }
}

fn trusted_wrongly(trust: Trust, acked: Option<Point>, mutant: Option<Mutant>) -> Trust {
    match (mutant, trust, acked) {
        (Some(Mutant::ForgetAtAck), Trust::Epoch(point), Some(acked))
            if acked.generation == point.generation =>
        {
            Trust::Epoch(point.max(acked))
        }
        // As if it were at the epoch that was taken over.
        (Some(Mutant::ResyncFromOldPrimary), Trust::Owned { generation, .. }, _) => {
            Trust::Epoch(Point { generation, epoch: Epoch(u64::MAX) })
        }
        (_, trust, _) => trust,
    }
}
