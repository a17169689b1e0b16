//! How much the copy's host keeps of what the guest has heard, by the sender's count.
//!
//! ```text
//!                  cut of n            cut of n+1     taken        sent last
//!   … 39 40 41 42 43 │ 44 45 46 47 48 49 │ 50 51 52 53 │ 54 55 56 57 │
//!   no copy of n runs  └────────────────── kept ───────────────────┘
//!   one runs, n+1 is cut and not acked     └──────── kept ─────────┘
//!   one runs, nothing is cut                             └── kept ─┘     it is never set to n again, and what the guest has
//!                                                                        taken is in every image that is cut from here on
//! ```
//!
//! Not here: what is kept there, and in what (`colo::Mirror`).

use std::collections::VecDeque;
use understudy_checkpoint::Epoch;
use understudy_colo::mirror::Limits;
use understudy_link::INPUT_TAKEN_SINCE;

/// The copy's host is told what the guest has taken after so many packets: a log that is a little longer costs less than a frame for
/// each batch.
const TAKEN_EVERY: u64 = 1_024;

/// Of one copy, or of the place for one.
#[derive(Debug)]
pub(super) struct InputLoad {
    limits: Limits,
    /// What was sent and is kept.
    batches: VecDeque<Sent>,
    bytes: usize,
    frames: usize,
    /// Cuts of epochs that are not acked, each with the first packet that its image does not contain.
    cuts: VecDeque<(Epoch, u64)>,
    /// A copy runs, of the newest acked epoch.
    copy_runs: bool,
    /// No image that is cut from here on lacks any before this packet, as the copy's host was told.
    taken: u64,
    is_full_told: bool,
    /// Packets had no room since the last ack.
    lacks: bool,
    /// Packets that had no room.
    lost: u64,
}

#[derive(Clone, Copy, Debug)]
struct Sent {
    /// The number behind the last packet.
    end: u64,
    frames: usize,
    bytes: usize,
}

impl InputLoad {
    pub(super) fn new(limits: Limits) -> Self {
        let (batches, cuts) = Default::default();
        let (copy_runs, is_full_told, lacks) = Default::default();
        Self { limits, batches, bytes: 0, frames: 0, cuts, copy_runs, taken: 0, is_full_told, lacks, lost: 0 }
    }

    /// The copy's host keeps no more than this.
    pub(super) fn limit(&mut self, room: Limits) {
        let Limits { frames_max, bytes_max } = self.limits;
        self.limits =
            Limits { frames_max: frames_max.min(room.frames_max), bytes_max: bytes_max.min(room.bytes_max) };
    }

    /// `count` packets are to be sent, the first of them number `first`. The answer is whether there is room for them.
    pub(super) fn send(&mut self, first: u64, count: u64, bytes: usize) -> bool {
        let frames = usize::try_from(count).unwrap_or(usize::MAX);
        let Limits { frames_max, bytes_max } = self.limits;
        if self.bytes >= bytes_max / 4 * 3 || self.frames >= frames_max / 4 * 3 {
            return false;
        }
        self.batches.push_back(Sent { end: first.saturating_add(count), frames, bytes });
        (self.frames, self.bytes) = (self.frames.saturating_add(frames), self.bytes + bytes);
        true
    }

    /// So many packets are not sent.
    pub(super) fn lose(&mut self, count: u64) {
        self.lost += count;
        self.lacks = true;
    }

    /// That the guest has taken all before `next` is worth telling on a link of this version; from then on it counts. A host that
    /// cannot be told keeps it all.
    pub(super) fn tells_taken(&mut self, next: u64, version: Option<u16>) -> bool {
        let tells = version >= Some(INPUT_TAKEN_SINCE) && next >= self.taken + TAKEN_EVERY;
        if tells {
            self.taken = next;
            self.forget_taken();
        }
        tells
    }

    /// Packets that had no room.
    pub(super) fn lost(&self) -> u64 {
        self.lost
    }

    /// `epoch` is cut: its image contains all before the packet `next`.
    pub(super) fn cut(&mut self, epoch: Epoch, next: u64) {
        self.cuts.retain(|(cut, _)| *cut < epoch);
        self.cuts.push_back((epoch, next));
    }

    /// `through` is acked: no copy will be set to an epoch before it.
    pub(super) fn acked(&mut self, through: Epoch) {
        while let Some((_, next)) = self.cuts.pop_front_if(|(epoch, _)| *epoch <= through) {
            self.forget(next);
            (self.copy_runs, self.is_full_told, self.lacks) = (false, false, false);
        }
    }

    /// A copy of the newest acked epoch runs.
    pub(super) fn copy_runs(&mut self) {
        self.copy_runs = true;
        self.forget_taken();
    }

    /// Whether a checkpoint is worth it for this alone; told once until the next ack.
    pub(super) fn becomes_full(&mut self) -> bool {
        let Limits { frames_max, bytes_max } = self.limits;
        let is_near = self.bytes > bytes_max / 2 || self.frames > frames_max / 2;
        (is_near || self.lacks) && !std::mem::replace(&mut self.is_full_told, true)
    }

    fn forget_taken(&mut self) {
        if self.copy_runs {
            self.forget(self.taken);
        }
    }

    /// What is before this packet, unless an epoch was cut that lacks it and is not acked.
    fn forget(&mut self, before: u64) {
        let keep = self.cuts.front().map_or(before, |(_, next)| before.min(*next));
        while let Some(sent) = self.batches.pop_front_if(|sent| sent.end <= keep) {
            (self.frames, self.bytes) = (self.frames - sent.frames, self.bytes - sent.bytes);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Packets of a batch.
    const BATCH: u64 = 1_024;
    /// The version of a link on which it can be told what the guest has taken.
    const TELLS: Option<u16> = Some(INPUT_TAKEN_SINCE);

    fn load(frames_max: usize) -> InputLoad {
        InputLoad::new(Limits { frames_max, bytes_max: 64 << 20 })
    }

    /// Sends batches, each once the guest has taken all before it; the answer is how many had room.
    fn send(load: &mut InputLoad, batches: std::ops::Range<u64>) -> usize {
        let firsts = batches.map(|batch| batch * BATCH);
        let has_room = |first: &u64| {
            load.tells_taken(*first, TELLS);
            load.send(*first, BATCH, 60 * BATCH as usize)
        };
        firsts.take_while(has_room).count()
    }

    fn batches(load: &InputLoad) -> usize {
        load.frames / BATCH as usize
    }

    #[test]
    fn what_the_guest_has_taken_is_no_load_while_a_copy_runs() {
        let mut load = load(10 * BATCH as usize);
        load.cut(Epoch(1), 0);
        load.acked(Epoch(1));
        load.copy_runs();
        assert_eq!(send(&mut load, 0..10_000), 10_000);
        assert!(!load.becomes_full());
        assert_eq!(batches(&load), 1);
    }

    #[test]
    fn what_was_not_told_to_be_taken_is_kept_there() {
        let mut load = load(10 * BATCH as usize);
        load.copy_runs();
        assert!(!load.tells_taken(BATCH - 1, TELLS));
        assert!(load.tells_taken(BATCH, TELLS));
        assert!(!load.tells_taken(2 * BATCH - 1, TELLS));
        assert!(load.tells_taken(2 * BATCH + 5, TELLS));
    }

    #[test]
    fn a_host_that_cannot_be_told_keeps_all_and_is_sent_no_more_than_it_has_room_for() {
        for version in [Some(INPUT_TAKEN_SINCE - 1), None] {
            let mut load = load(12 * BATCH as usize);
            load.copy_runs();
            for batch in 0..9 {
                assert!(!load.tells_taken(batch * BATCH, version), "{version:?}");
                assert!(load.send(batch * BATCH, BATCH, 60));
            }
            assert!(load.becomes_full(), "{version:?}");
            assert!(!load.send(9 * BATCH, BATCH, 60), "{version:?}");
        }
    }

    #[test]
    fn until_it_runs_all_since_its_cut_is_kept_and_full_is_told_once() {
        let mut load = load(12 * BATCH as usize);
        load.cut(Epoch(1), 0);
        assert_eq!(send(&mut load, 0..5), 5);
        assert!(!load.becomes_full());
        assert_eq!(send(&mut load, 5..100), 4, "a quarter is left for what is on its way");
        assert!(load.becomes_full());
        assert!(!load.becomes_full(), "it was told");
        load.cut(Epoch(2), 7 * BATCH);
        load.acked(Epoch(1));
        assert_eq!(batches(&load), 9, "from the cut of 1 on");
        load.acked(Epoch(2));
        assert_eq!(batches(&load), 2);
        assert_eq!(send(&mut load, 9..100), 7);
        assert!(load.becomes_full(), "it is told anew after an ack");
    }

    #[test]
    fn an_epoch_that_is_on_its_way_keeps_what_its_image_lacks() {
        let mut load = load(1_000 * BATCH as usize);
        load.cut(Epoch(1), 0);
        load.acked(Epoch(1));
        load.copy_runs();
        assert_eq!(send(&mut load, 0..20), 20);
        load.cut(Epoch(2), 19 * BATCH);
        assert_eq!(send(&mut load, 20..30), 10);
        assert_eq!(batches(&load), 11, "30 were sent");
        load.acked(Epoch(2));
        assert_eq!(send(&mut load, 30..40), 10);
        assert_eq!(batches(&load), 21, "the copy that ran is none of epoch 2");
        load.copy_runs();
        assert_eq!(batches(&load), 1);
    }

    #[test]
    fn what_the_copys_host_has_no_room_for_is_not_sent() {
        let mut load = load(1_000 * BATCH as usize);
        load.limit(Limits { frames_max: 12 * BATCH as usize, bytes_max: 1 << 30 });
        assert_eq!(send(&mut load, 0..100), 9);
        assert!(load.becomes_full(), "a checkpoint is asked for before frames are lost there");
    }

    #[test]
    fn bytes_have_a_limit_of_their_own() {
        let mut load = InputLoad::new(Limits { frames_max: 1 << 20, bytes_max: 600 * BATCH as usize });
        assert_eq!(send(&mut load, 0..100), 8);
        assert!(load.becomes_full());
    }

    #[test]
    fn what_had_no_room_on_the_link_asks_for_a_checkpoint_however_little_is_kept() {
        let mut load = load(1 << 20);
        load.cut(Epoch(1), 0);
        load.lose(3);
        assert!(load.becomes_full());
        load.acked(Epoch(1));
        assert!(!load.becomes_full(), "its image contains them");
        assert_eq!(load.lost(), 3);
    }
}
