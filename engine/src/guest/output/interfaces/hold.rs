//! Cards of a Xen guest that join and leave, and the state of their hold.

use super::state::{Mode, Unheld};
use super::{Card, Interfaces};
use crate::guest::output::{Hold, OutputStats, UnheldCard};
use understudy_checkpoint::Epoch;
use understudy_netbuf::Waiting;
use understudy_netbuf::kernel::{Breach, KernelError, OutputCommit};

impl Hold for Interfaces {
    fn begin(&self, open: Epoch) {
        self.state.lock().revive(Some(open));
    }

    fn is_fenced(&self) -> bool {
        self.state.lock().mode == Mode::Fenced
    }

    /// Attaches queues to `cards`: nothing leaves from now on. After an error the cards before it are held. Waits for
    /// the kernel.
    fn hold(&self, cards: &[Card]) -> Result<(), KernelError> {
        let _alone = self.joining.lock();
        cards.iter().try_for_each(|card| self.attach(card).map(|queue| self.take_in(card, queue)))
    }

    /// Attaches queues to cards that joined, and drops those of cards that left. Waits for the kernel. Returns whether
    /// to look again soon.
    fn follow(&self, cards: &[Card]) -> bool {
        let _alone = self.joining.lock();
        let (known, gone) = {
            let mut state = self.state.lock();
            if state.mode == Mode::Detached {
                return false;
            }
            let gone = state.take_gone(cards);
            let known: Vec<_> = state.held.iter().map(|(card, _)| card.interface.clone()).collect();
            (known, gone)
        };
        drop(gone);
        let mut look_again = false;
        for card in cards.iter().filter(|card| !known.contains(&card.interface)) {
            if let Some(cut_off) = self.cut_off_of(card) {
                cut_off.make_way();
            }
            match self.attach(card) {
                Ok(queue) => self.join(card, queue),
                // Announced in xenstore, and not made yet.
                Err(KernelError::Gone { .. }) => look_again = true,
                Err(error) => self.cannot_hold(card, &error),
            }
        }
        if self.leaks() {
            self.waker.wake();
        }
        let state = self.state.lock();
        look_again || (state.is_holding() && state.unheld.iter().any(Unheld::may_leak))
    }

    /// Whether something that should be held leaves, or has left since everything was last allowed to leave.
    fn leaks(&self) -> bool {
        let state = self.state.lock();
        state.is_holding() && (state.check().is_err() || state.leak().is_some())
    }

    fn unheld(&self) -> Vec<UnheldCard> {
        let state = self.state.lock();
        let told = |card: &Unheld| UnheldCard {
            interface: card.interface.clone(),
            why: card.why.clone(),
            is_cut_off: card.cut_off.is_some(),
        };
        let faults = state.held.iter().filter_map(|(_, queue)| queue.fault());
        // A card that is being inspected is known in a moment.
        let faults = faults.filter(|fault| fault.breach != Breach::Doubted).map(|fault| UnheldCard {
            interface: fault.interface,
            why: fault.breach.to_string(),
            is_cut_off: !fault.breach.leaks(),
        });
        state.unheld.iter().map(told).chain(faults).collect()
    }

    /// Teaches every switch where the guest's addresses are, as soon as the guest may send. A guest with Linux's
    /// drivers does so itself; for others it costs one frame.
    fn announce(&self) {
        for (card, queue) in &self.state.lock().held {
            card.mac.into_iter().for_each(|mac| queue.announce(mac));
        }
    }

    fn take_waiting(&self) -> Option<Waiting> {
        let state = self.state.lock();
        let has_news = state.held.iter().any(|(_, queue)| queue.has_news());
        has_news.then(|| state.held.iter().map(|(_, queue)| queue.waiting()).sum())
    }

    fn tell_at(&self, answers: Option<u32>) {
        self.state.lock().held.iter().for_each(|(_, queue)| queue.tell_at(answers));
    }

    fn stats(&self) -> OutputStats {
        let state = self.state.lock();
        let mut sum = OutputStats {
            dropped_frames: state.dropped_before,
            hold_faults: state.faults_before,
            ..OutputStats::default()
        };
        for (_, queue) in &state.held {
            sum.hold_faults += queue.faults().1;
            // A card that is gone holds nothing any more.
            if let Ok(stats) = queue.stats() {
                sum.held_bytes += stats.queue.held_bytes as u64;
                sum.held_frames += stats.queue.held_frames as u64;
                sum.held_share = sum.held_share.max(stats.queue.share_of(&self.limits));
                sum.dropped_frames += stats.dropped();
            }
        }
        sum
    }
}
