//! Requests about leases of hosts: judged by [`Arbiter`](understudy_session::lease::Arbiter), stable before they are answered.

use super::Daemon;
use crate::connection::ConnectionError;
use crate::names::check_name;
use crate::witness::words::outcome_label;
use understudy_link::{RefuseReason, WitnessFrame, encode};
use understudy_session::NodeName;
use understudy_session::lease::{HOSTS_MAX, Input, LeaseRequest, Output, Standing};

impl Daemon {
    /// A client asks about the lease of a host.
    pub(in crate::witness) fn decide_lease(
        &mut self,
        id: usize,
        host: &str,
        request: LeaseRequest,
    ) -> Result<(), ConnectionError> {
        if let Err(error) = check_name(host) {
            return self.connection(id).refuse(RefuseReason::Protocol, &error.to_string());
        }
        let client = &self.clients[&id];
        let from = client.node.clone().expect("requests come after the hello").node;
        let is_reader = client.connection.proven().is_some_and(|node| *node != from);
        if is_reader && !matches!(request, LeaseRequest::Read { .. }) {
            let why = format!("{from} may read leases, and change none");
            return self.connection(id).refuse(RefuseReason::Protocol, &why);
        }
        let host = NodeName(host.to_owned());
        self.arbiter.handle(Input::Request { client: id as u64, from, host, request });
        while let Some(output) = self.arbiter.poll_output() {
            self.perform_lease(output);
        }
        Ok(())
    }

    fn perform_lease(&mut self, output: Output) {
        match output {
            Output::Persist { host, lease } => {
                let put = self.store.put_lease(&host, &lease);
                let done = put.is_ok();
                // A renewal each second or so is no news.
                if done && lease.standing != Standing::Held {
                    let (number, standing) = (lease.number, lease.standing.word());
                    tracing::info!(%host, number, standing, "Lease changed");
                }
                if !done {
                    self.metrics.witness_answered("failed");
                }
                self.found_health(put);
                self.arbiter.handle(Input::Persisted { host, done });
            }
            Output::NoRoom { host } => {
                self.metrics.witness_answered("no_room");
                tracing::warn!(%host, "No room for its lease: this witness keeps those of {HOSTS_MAX} hosts");
            }
            Output::Reply { client, host, reply } => {
                if self.broken.is_some() {
                    return;
                }
                self.metrics.witness_answered(outcome_label(reply.outcome));
                self.tell(client as usize, encode(&WitnessFrame::LeaseReply { host: &host.0, reply }.into()));
            }
        }
    }
}
