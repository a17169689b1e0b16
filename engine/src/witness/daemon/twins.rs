//! Two processes with the same node name: the second would act for guests in the name of the first.
//!
//! ```text
//!   hello of another process of that name ─► waits ─┬─ the first sends anything ─► refused
//!                                                   └─ 1 s of silence ───────────► takes its place: it was restarted
//! ```
//!
//! A node asks a silent witness for a sign of life after half a second, so a first process that lives is heard in time.

use super::Daemon;
use crate::connection::ConnectionError;
use understudy_link::{GUEST_REFUSALS_SINCE, Hello, RefuseReason};
use understudy_session::{NodeName, Span, Time};

/// How long to wait for the first process.
const TWIN_WAIT: Span = Span::from_ms(1_000);

/// The least time between two log lines about a second process, because it connects again and again.
const LOG_EVERY: Span = Span::from_ms(60_000);

/// A process that waits until it is known whether the first process of its name lives.
#[derive(Debug)]
pub(in crate::witness) struct Contender {
    client: usize,
    hello: Hello,
    since: Time,
}

/// All waiting processes.
#[derive(Default, Debug)]
pub(in crate::witness) struct Twins {
    waiting: Vec<Contender>,
    logged: Option<(NodeName, Time)>,
}

impl Twins {
    pub(in crate::witness) fn next_timeout(&self) -> Option<Time> {
        self.waiting.iter().map(|contender| contender.since + TWIN_WAIT).min()
    }

    pub(in crate::witness) fn wait(&mut self, client: usize, hello: Hello, now: Time) {
        self.waiting.push(Contender { client, hello, since: now });
    }

    pub(in crate::witness) fn forget(&mut self, client: usize) {
        self.waiting.retain(|contender| contender.client != client);
    }

    fn take_log(&mut self, node: &NodeName, now: Time) -> bool {
        if self.logged.as_ref().is_some_and(|(logged, at)| logged == node && now - *at < LOG_EVERY) {
            return false;
        }
        self.logged = Some((node.clone(), now));
        true
    }
}

impl Daemon {
    /// Decides about waiting processes, as far as possible.
    pub(in crate::witness) fn decide_twins(&mut self) {
        let now = self.now();
        for contender in std::mem::take(&mut self.twins.waiting) {
            let Contender { client, hello, since } = contender;
            match self.heard_of(&hello.from.node) {
                Some(heard_at) if heard_at > since => self.refuse_twin(client, &hello, now),
                Some(_) if now < since + TWIN_WAIT => {
                    self.twins.waiting.push(Contender { client, hello, since });
                }
                Some(_) | None => {
                    let result = self.agree(client, hello.from);
                    self.settle(client, result);
                }
            }
        }
    }

    fn refuse_twin(&mut self, client: usize, hello: &Hello, now: Time) {
        let node = &hello.from.node;
        if self.twins.take_log(node, now) {
            tracing::warn!(
                %node,
                "A second process calls itself {node}; it is refused while the first one answers. Give each node a name of \
                 its own"
            );
        }
        let why = format!(
            "Another process called {node} is connected and answers; give each node a name of its own"
        );
        let knows_reason = hello.versions.1 >= GUEST_REFUSALS_SINCE;
        let reason = if knows_reason { RefuseReason::NameInUse } else { RefuseReason::Duplicate };
        let result = self.connection(client).refuse(reason, &why);
        self.settle(client, result);
    }

    fn settle(&mut self, client: usize, result: Result<(), ConnectionError>) {
        match result {
            Ok(()) => self.serve_later(client),
            Err(error) => self.close(client, Some(&error)),
        }
    }
}
