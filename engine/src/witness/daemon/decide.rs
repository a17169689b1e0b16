//! Requests about records: what the witness's session decides, and how that is carried out.
//!
//! ```text
//!   request ─► session ─┬─ Persist ─► store: written and flushed ─► session
//!                       └─ Reply ───► the client, in its next step
//! ```

use super::super::words::{copy_words, outcome_label};
use super::Daemon;
use crate::connection::ConnectionError;
use crate::names::check_name;
use understudy_link::{EncodeError, Encoded, RefuseReason, WitnessFrame, encode};
use understudy_session::WitnessRequest;
use understudy_session::witness::{GUESTS_MAX, GUESTS_OF_ONE_MAX, Input, Output};

impl Daemon {
    pub(super) fn decide(
        &mut self,
        id: usize,
        guest: String,
        request: WitnessRequest,
    ) -> Result<(), ConnectionError> {
        if let Err(error) = check_name(&guest) {
            return self.connection(id).refuse(RefuseReason::Protocol, &error.to_string());
        }
        let client = &self.clients[&id];
        let from = client.node.clone().expect("requests come after the hello").node;
        let is_reader = client.connection.proven().is_some_and(|node| *node != from);
        if is_reader && !matches!(request, WitnessRequest::Read { .. }) {
            let why = format!("{from} may read records, and change none");
            return self.connection(id).refuse(RefuseReason::Protocol, &why);
        }
        self.session.handle(Input::Request { client: id as u64, from, guest, request });
        while let Some(output) = self.session.poll_output() {
            self.perform(output);
        }
        Ok(())
    }

    fn perform(&mut self, output: Output) {
        match output {
            Output::Persist { ticket, guest, record } => {
                let input = match self.store.put(&guest, &record) {
                    Ok(()) => {
                        tracing::info!(
                            %guest,
                            revision = record.revision,
                            generation = record.generation.0,
                            owner = %record.owner,
                            copy = %copy_words(&record.copy),
                            "Record changed"
                        );
                        self.found_health(Ok(()));
                        self.ranks.are_old();
                        Input::Persisted { ticket }
                    }
                    Err(error) => {
                        self.metrics.witness_answered("failed");
                        self.found_health(Err(error));
                        Input::PersistFailed { ticket }
                    }
                };
                self.session.handle(input);
            }
            Output::NoRoom { guest, from } => {
                self.metrics.witness_answered("no_room");
                tracing::warn!(
                    %guest,
                    node = %from,
                    "No room for its record: this witness keeps {GUESTS_MAX} guests, and {GUESTS_OF_ONE_MAX} of one node. \
                     `understudy witness show` lists them, `witness forget` gives up those that are no more"
                );
            }
            Output::Reply { client, guest, reply } => {
                if self.broken.is_some() {
                    return;
                }
                self.metrics.witness_answered(outcome_label(reply.outcome));
                self.tell(client as usize, encode(&WitnessFrame::Reply { guest: &guest, reply }.into()));
            }
        }
    }

    /// Sends a reply to a client that may be gone. The client's next step sends it, and shows an error if there is one.
    pub(super) fn tell(&mut self, client: usize, reply: Result<Encoded, EncodeError>) {
        let Some(to) = self.clients.get_mut(&client) else { return };
        let pushed = reply.map_err(ConnectionError::from).and_then(|frame| to.connection.push(frame));
        if pushed.is_err() {
            self.close(client, None);
        } else {
            self.unfinished.insert(client);
        }
    }
}
