//! For tests: makes one netlink request of this thread fail or go unanswered, whatever the kernel would do.
//!
//! ```text
//!   request n ──► sent with an unknown type ──► kernel: EOPNOTSUPP ──► reported as the errno that the test wants
//!                 or it is not sent               ──► no answer
//! ```

use super::wire::HEADER_BYTES;
use nix::errno::Errno;
use std::cell::Cell;

/// A message type beyond `RTM_MAX`.
const NO_KIND: u16 = 0x7ff0;

/// How a request fails.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) enum Fault {
    /// The kernel refuses it.
    Refused(Errno),
    /// The kernel does not answer.
    Unanswered,
}

#[derive(Clone, Copy)]
enum State {
    Sound,
    /// So many requests still succeed, then this fault.
    After(usize, Fault),
    /// The request of this number was made to fail.
    Struck(u32, Fault),
}

thread_local! {
    static STATE: Cell<State> = const { Cell::new(State::Sound) };
}

/// Makes the request after the next `passing` ones fail by `fault`.
pub(crate) fn plan(passing: usize, fault: Fault) {
    STATE.set(State::After(passing, fault));
}

/// Ends the plan. Returns whether a request was made to fail.
pub(crate) fn clear() -> bool {
    matches!(STATE.replace(State::Sound), State::Struck(..))
}

/// Does `work` without faults; the plan continues afterwards.
pub(crate) fn suspended<T>(work: impl FnOnce() -> T) -> T {
    let state = STATE.replace(State::Sound);
    let done = work();
    STATE.set(state);
    done
}

/// The bytes to send instead of `message`.
pub(super) fn strike(message: &[u8]) -> Vec<u8> {
    let mut message = message.to_vec();
    match STATE.get() {
        State::After(0, fault) => {
            let sequence = message[8..12].try_into().expect("four bytes");
            STATE.set(State::Struck(u32::from_ne_bytes(sequence), fault));
            match fault {
                Fault::Refused(_) => message[4..6].copy_from_slice(&NO_KIND.to_ne_bytes()),
                Fault::Unanswered => message.clear(),
            }
        }
        State::After(passing, fault) => STATE.set(State::After(passing - 1, fault)),
        State::Sound | State::Struck(..) => {}
    }
    assert!(message.is_empty() || message.len() >= HEADER_BYTES);
    message
}

/// The errno to report for request `sequence`, if it was made to fail.
pub(super) fn instead(sequence: u32) -> Option<i32> {
    match STATE.get() {
        State::Struck(struck, Fault::Refused(errno)) if struck == sequence => Some(errno as i32),
        _ => None,
    }
}
