//! When to tell a plug what: several epochs in flight over a qdisc that remembers one. Pure.
//!
//! ```text
//!   plug qdisc     │ gathering │ closed: one group │ ─ RELEASE_ONE ─► out      a second BUFFER forgets the first
//!
//!   cut 4          BUFFER                 group {4}, waits for ack 4
//!   cut 5          (slot taken: nothing)  4 │ 5 gathers on
//!   cut 6          (nothing)              4 │ 5 6
//!   ack 4          RELEASE_ONE            slot free │ 5 6 and what follows
//!   cut 7          BUFFER                 group {5 6 7}, waits for ack 7
//! ```
//!
//! Rule: `BUFFER` only while the slot is free, and only at a cut; the group waits for the ack of the epoch that
//! was cut. So nothing leaves before its ack, and order is one FIFO's. The price is time: with `k` epochs in
//! flight an epoch waits up to `k - 1` intervals for the cut that closes its group, and for that one's ack.
//! Several plugs in turn, one for each epoch, would not wait, but their frames are carried by different queues,
//! so order between epochs would need a wait for one to run dry before the next may go, and a change of the
//! redirect in every pause. Who needs many epochs in flight uses the own queue.

use understudy_checkpoint::Epoch;

/// What to tell the plug.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) enum Command {
    Buffer,
    ReleaseOne,
    ReleaseIndefinite,
}

#[derive(Clone, Copy, PartialEq, Eq, Debug)]
enum Mode {
    Passing,
    Holding,
    Fenced,
}

/// What a plug holds, as far as it was told successfully.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) struct Schedule {
    mode: Mode,
    open: Epoch,
    /// The epoch whose ack lets the closed group out.
    closed: Option<Epoch>,
}

impl Schedule {
    /// Of a plug that passes everything.
    pub(super) fn passing(open: Epoch) -> Self {
        Self { mode: Mode::Passing, open, closed: None }
    }

    /// Of a plug that holds from its first frame on.
    pub(super) fn holding(open: Epoch) -> Self {
        Self { mode: Mode::Holding, open, closed: None }
    }

    /// `epoch` ends: the command to give, and the schedule once it was given.
    pub(super) fn cut(self, epoch: Epoch) -> (Option<Command>, Self) {
        assert!(epoch >= self.open, "epoch {epoch} was closed before (open: {})", self.open);
        let open = epoch.next();
        match self.mode {
            // What passed before is not counted: the group that this closes is empty, so the slot stays free.
            Mode::Passing => (Some(Command::Buffer), Self::holding(open)),
            Mode::Holding if self.closed.is_none() => {
                (Some(Command::Buffer), Self { open, closed: Some(epoch), ..self })
            }
            Mode::Holding | Mode::Fenced => (None, Self { open, ..self }),
        }
    }

    /// The schedule after a cut whose command the kernel refused: nothing was closed.
    pub(super) fn cut_failed(self, epoch: Epoch) -> Self {
        Self { open: epoch.next(), ..self }
    }

    /// Everything through `through` is acked.
    pub(super) fn release(self, through: Epoch) -> (Option<Command>, Self) {
        assert!(through < self.open, "epoch {through} is still open: it cannot have been acknowledged");
        if self.mode == Mode::Holding && self.closed.is_some_and(|closed| closed <= through) {
            (Some(Command::ReleaseOne), Self { closed: None, ..self })
        } else {
            (None, self)
        }
    }

    /// Everything may leave.
    pub(super) fn pass(self) -> (Option<Command>, Self) {
        if self.mode == Mode::Fenced {
            (None, self)
        } else {
            (Some(Command::ReleaseIndefinite), Self { mode: Mode::Passing, closed: None, ..self })
        }
    }

    /// Nothing may leave ever again.
    pub(super) fn fence(self) -> Self {
        Self { mode: Mode::Fenced, closed: None, ..self }
    }

    pub(super) fn is_passing(&self) -> bool {
        self.mode == Mode::Passing
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;
    use std::collections::VecDeque;

    /// The kernel's plug, by `net/sched/sch_plug.c`: counters over one FIFO.
    struct Plug {
        fifo: VecDeque<u64>,
        current: usize,
        last: usize,
        to_release: usize,
        indefinite: bool,
    }

    impl Plug {
        fn new() -> Self {
            Self { fifo: VecDeque::new(), current: 0, last: 0, to_release: 0, indefinite: false }
        }

        fn push(&mut self, frame: u64) {
            self.fifo.push_back(frame);
            self.current += usize::from(!self.indefinite);
        }

        fn tell(&mut self, command: Command) {
            match command {
                Command::Buffer => {
                    self.last = std::mem::take(&mut self.current);
                    self.indefinite = false;
                }
                Command::ReleaseOne => self.to_release += std::mem::take(&mut self.last),
                Command::ReleaseIndefinite => {
                    self.indefinite = true;
                    (self.current, self.last, self.to_release) = (0, 0, 0);
                }
            }
        }

        fn run(&mut self) -> Vec<u64> {
            let count = if self.indefinite { self.fifo.len() } else { std::mem::take(&mut self.to_release) };
            self.fifo.drain(..count).collect()
        }
    }

    /// A guest behind the schedule and the plug; `early` acks are believed before they are there.
    struct World {
        schedule: Schedule,
        plug: Plug,
        open: u64,
        acked: Option<u64>,
        epoch_of: Vec<u64>,
        left: Vec<u64>,
        early: u64,
        violations: usize,
    }

    impl World {
        fn new(early: u64) -> Self {
            let (command, schedule) = Schedule::passing(Epoch(0)).cut(Epoch(0));
            let mut plug = Plug::new();
            plug.tell(Command::ReleaseIndefinite);
            plug.tell(command.expect("holding begins"));
            let (epoch_of, left) = (Vec::new(), Vec::new());
            Self { schedule, plug, open: 1, acked: Some(0), epoch_of, left, early, violations: 0 }
        }

        fn step(&mut self, step: u8) {
            let (command, next) = match step {
                0..=2 => {
                    self.plug.push(self.epoch_of.len() as u64);
                    self.epoch_of.push(self.open);
                    return;
                }
                3 => {
                    self.open += 1;
                    self.schedule.cut(Epoch(self.open - 1))
                }
                _ => {
                    let acked = self.acked.map_or(0, |acked| acked + 1).min(self.open - 1);
                    self.acked = Some(acked);
                    self.schedule.release(Epoch((acked + self.early).min(self.open - 1)))
                }
            };
            self.schedule = next;
            if let Some(command) = command {
                self.plug.tell(command);
            }
            for frame in self.plug.run() {
                self.violations += usize::from(Some(self.epoch_of[frame as usize]) > self.acked);
                self.left.push(frame);
            }
        }
    }

    proptest! {
        #[test]
        fn nothing_leaves_early_nothing_is_lost(steps in proptest::collection::vec(0u8..5, 1..300)) {
            let mut world = World::new(0);
            for step in steps {
                world.step(step);
            }
            prop_assert_eq!(world.violations, 0);
            // Two cuts with their acks let everything out, however many were skipped.
            for _ in 0..2 {
                world.step(3);
                while world.acked != Some(world.open - 1) {
                    world.step(4);
                }
            }
            world.step(3);
            while world.acked != Some(world.open - 1) {
                world.step(4);
            }
            prop_assert_eq!(world.left, (0..world.epoch_of.len() as u64).collect::<Vec<_>>());
        }
    }

    #[test]
    fn releasing_an_ack_too_early_is_seen() {
        let mut world = World::new(1);
        for step in [0, 3, 0, 3, 4, 0, 3, 4, 4, 0, 3, 4] {
            world.step(step);
        }
        assert!(world.violations > 0);
    }

    #[test]
    fn the_drawing() {
        let schedule = Schedule::holding(Epoch(4));
        let (command, schedule) = schedule.cut(Epoch(4));
        assert_eq!(command, Some(Command::Buffer));
        let (command, schedule) = schedule.cut(Epoch(5));
        assert_eq!(command, None);
        let (command, schedule) = schedule.cut(Epoch(6));
        assert_eq!(command, None);
        let (command, schedule) = schedule.release(Epoch(4));
        assert_eq!(command, Some(Command::ReleaseOne));
        let (command, schedule) = schedule.release(Epoch(6));
        assert_eq!(command, None);
        let (command, schedule) = schedule.cut(Epoch(7));
        assert_eq!(command, Some(Command::Buffer));
        assert_eq!(schedule.release(Epoch(7)).0, Some(Command::ReleaseOne));
    }

    #[test]
    fn a_refused_buffer_closes_nothing_and_a_fence_is_final() {
        let schedule = Schedule::holding(Epoch(0)).cut_failed(Epoch(0));
        assert_eq!(schedule.release(Epoch(0)).0, None);
        let fenced = schedule.fence();
        assert_eq!(fenced.pass().0, None);
        assert_eq!(fenced.cut(Epoch(1)).0, None);
    }
}
