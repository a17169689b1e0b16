//! The queue of a session's outputs, which its driver takes in the same order. Its memory is kept from one event to the
//! next.

use super::WitnessRequest;
use alloc::collections::VecDeque;

#[derive(Debug)]
pub(super) struct Outputs<O>(VecDeque<O>);

impl<O> Default for Outputs<O> {
    fn default() -> Self {
        Self(VecDeque::new())
    }
}

impl<O> Outputs<O> {
    pub(super) fn push(&mut self, output: O) {
        self.0.push_back(output);
    }

    pub(super) fn poll(&mut self) -> Option<O> {
        self.0.pop_front()
    }
}

impl<O: From<WitnessRequest>> Outputs<O> {
    /// Queues a request to the witness, if there is one.
    pub(super) fn ask(&mut self, request: Option<WitnessRequest>) {
        self.0.extend(request.map(O::from));
    }
}
