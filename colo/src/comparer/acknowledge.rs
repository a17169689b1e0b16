//! An acknowledgement that neither guest sends: where the last frame that left had to say less than the guest, and the copy has
//! received the rest since. Without it, a client that waits for an acknowledgement or for room would wait for the guest's next
//! frame.
//!
//! ```text
//!   guest  data, ack 9000 ─► leaves with 5000 ═══╗                    ╔══► bare, ack 9000
//!   copy   data, ack 5000 ─────────► ════════════╝ ── bare, 9000 ─────╝    as both said
//! ```
//!
//! * It is asked for only when nothing of the flow waits that would tell the same, and says something new each time: a greater
//!   ack, or half of the guest's room. So it is never a duplicate, of which three make a client send again.
//! * It has the headers and time stamps of the guest's newest frame, all of which left before.
//! * After a new base, what is untold is told with the copy's first frame of the flow.
//!
//! Not here: its bytes ([`Head`](super::head::Head)).

use super::core::Core;
use super::output::{Acknowledge, Output};
use super::table::{Kind, Slot};
use super::waiting::Queue;

/// Asks for an acknowledgement if there is something to say that nobody else says.
#[inline]
pub(super) fn ask(core: &mut Core, slot: &mut Slot) {
    let Slot { kind: Kind::Tcp(stream), queues, lost: None, head: Some(_), key, .. } = slot else { return };
    let waits = [Queue::Data, Queue::Acks].into_iter().any(|queue| queues[queue as usize].count > 0);
    if waits {
        return;
    }
    if let Some((sequence, ack, window)) = stream.tell_rest(core.pool.order()) {
        core.stats.acknowledged += 1;
        let what = Acknowledge { flow: key.flow(), sequence: sequence.0, ack: ack.0, window };
        core.outputs.push_back(Output::Acknowledge(what));
    }
}
