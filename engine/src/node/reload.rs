//! Reads certificates again while guests go on. A peer that is no longer trusted loses its connection at once, and new
//! connections use the new files. If the files are unusable, nothing changes.
//!
//! Not here: other settings, which are only read at the start.

use super::Node;
use super::links::Links;
use super::order_error::OrderError;
use crate::connection::{Security, Transport};
use understudy_session::Time;

impl Node {
    /// Reads the certificates, for an operator or a signal. After an error nothing has changed.
    pub(super) fn reload(&mut self) -> Result<(), OrderError> {
        if self.config.transport == Transport::PlainLoopback {
            return Err(OrderError::NoTls);
        }
        let security = Security::open(&self.config.transport, &self.config.node)?;
        self.cx.links.use_security(security.clone(), self.cx.now);
        self.cx.witness.use_security(&security, self.cx.now);
        tracing::info!("Certificates read anew");
        Ok(())
    }

    /// As [`reload`](Self::reload), where nobody waits for an answer.
    pub(super) fn reload_by_signal(&mut self) {
        if let Err(why) = self.reload() {
            tracing::warn!("{why}");
        }
        self.supervisor.reloaded();
    }
}

impl Links {
    /// Uses these certificates from now on.
    fn use_security(&mut self, security: Security, now: Time) {
        self.security = security;
        let gone: Vec<_> = self
            .connections
            .iter()
            .filter_map(|(token, link)| Some((*token, link.connection.check_trust(&self.security).err()?)))
            .collect();
        gone.into_iter().for_each(|(token, why)| self.close(token, why.into(), now));
    }
}
