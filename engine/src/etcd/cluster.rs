//! One question at a time to a cluster of etcd: which member is asked, how long, and what its answer is worth.
//!
//! ```text
//!   question ─► the member that answered last ── no answer in 500 ms, or it has no leader ─► the next member ─► …
//!                     │ 200                      │ 400, 403, 404: no other member would say anything else
//!                     ▼                          ▼
//!              header: is it of the cluster    refused, in etcd's words
//!              that answered before, and no
//!              older than what it has told?
//! ```
//!
//! **An older state.** Every answer that is used is linearizable, so its revision is at least that of any answer before its
//! question. One that is older, or of another cluster, was restored from a backup, or made anew: what it says of a guest may
//! have been taken back since. From then on this process uses nothing that it says, until a person has looked and starts the
//! process anew.
//!
//! Not here: what is asked (`message`, `records`).

use super::credentials::{CredentialError, Credentials, password};
use super::message::{self, Header, MalformedAnswer};
use super::{EtcdConfig, User};
use parking_lot::Mutex;
use std::net::SocketAddr;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;
use ureq::Agent;

/// How long one member may take to answer.
pub const ATTEMPT_MAX: Duration = Duration::from_millis(500);

/// An answer about one key is shorter.
const ANSWER_BYTES_MAX: u64 = 64 << 10;

/// Why there is no answer.
#[derive(thiserror::Error, Debug)]
pub enum EtcdError {
    /// No member answers. What was asked may be done all the same.
    #[error(
        "no member of etcd answers ({last_at}: {last}); are they running, with a majority, and is this their address?"
    )]
    Unreachable {
        /// The member asked last.
        last_at: SocketAddr,
        /// What it said, or did not.
        last: String,
    },
    /// It answers no.
    #[error("etcd at {at} refuses ({status}: {words}); {advice}")]
    Refused {
        at: SocketAddr,
        /// HTTP's number.
        status: u16,
        words: String,
        advice: &'static str,
    },
    /// It answers something else.
    #[error("etcd at {at} gave an answer that is none ({why}); is it etcd, of version 3.4 or later?")]
    Malformed { at: SocketAddr, why: MalformedAnswer },
    /// A key of ours holds what we never wrote.
    #[error(
        "the key {key} in etcd is damaged: {why}; see who writes to it, and what the guest is on both hosts"
    )]
    Damaged { key: String, why: super::RecordError },
    /// Its answers are older than answers before.
    #[error(transparent)]
    WentBack(WentBack),
    /// Files.
    #[error(transparent)]
    Credentials(#[from] CredentialError),
}

/// etcd is not the one that answered before, or it has forgotten something since.
#[derive(thiserror::Error, Clone, PartialEq, Eq, Debug)]
#[error(
    "etcd has gone back in time: it had told of revision {told} and is at {now} (cluster {cluster:x}), as after a restored backup. \
     Nothing that it says is used any more: look on both hosts where each guest runs, then start the nodes anew, one by one"
)]
pub struct WentBack {
    /// The newest revision that it had told of.
    pub told: u64,
    /// What it tells of now.
    pub now: u64,
    /// Which cluster says so.
    pub cluster: u64,
}

/// A way to a cluster, for several threads.
#[derive(Debug)]
pub struct Cluster {
    config: EtcdConfig,
    agent: Mutex<Agent>,
    /// The member that answered last.
    preferred: AtomicUsize,
    token: Mutex<Option<String>>,
    /// The newest state of which an answer was used.
    newest: Mutex<Newest>,
}

#[derive(Clone, Debug, Default)]
struct Newest {
    told: Option<Header>,
    went_back: Option<WentBack>,
}

/// What one member said.
enum Said {
    Answer(Vec<u8>),
    Refusal { status: u16, words: String },
    Nothing(String),
}

impl Cluster {
    /// A way to the cluster of this configuration. Its files are read; it is not asked anything yet.
    pub fn new(config: EtcdConfig) -> Result<Self, CredentialError> {
        if let Some(User { password_file, .. }) = &config.user {
            password(password_file)?;
        }
        let agent = Mutex::new(agent(&config)?);
        let preferred = AtomicUsize::new(0);
        let (token, newest) = (Mutex::new(None), Mutex::new(Newest::default()));
        Ok(Self { config, agent, preferred, token, newest })
    }

    /// What keys begin with.
    pub(super) fn prefix(&self) -> &str {
        &self.config.address.prefix
    }

    /// Asks, and reads the answer, which must be linearizable.
    pub(super) fn ask<T>(
        &self,
        path: &str,
        question: &str,
        parse: impl Fn(&[u8]) -> Result<(Header, T), MalformedAnswer>,
    ) -> Result<T, EtcdError> {
        let before = self.newest.lock().clone();
        if let Some(went_back) = before.went_back {
            return Err(EtcdError::WentBack(went_back));
        }
        let (at, answer) = self.answer(path, question)?;
        let (header, told) = parse(&answer).map_err(|why| EtcdError::Malformed { at, why })?;
        self.admit(before.told, header).map_err(EtcdError::WentBack)?;
        Ok(told)
    }

    /// Whether an answer is no older than one that was there before its question.
    fn admit(&self, before: Option<Header>, now: Header) -> Result<(), WentBack> {
        let mut newest = self.newest.lock();
        if let Some(before) = before
            && (now.cluster != before.cluster || now.revision < before.revision)
        {
            let verdict = WentBack { told: before.revision, now: now.revision, cluster: now.cluster };
            newest.went_back.get_or_insert(verdict);
        }
        if let Some(verdict) = &newest.went_back {
            return Err(verdict.clone());
        }
        if newest.told.is_none_or(|told| told.revision < now.revision) {
            newest.told = Some(now);
        }
        Ok(())
    }

    /// The answer of the first member that has one.
    fn answer(&self, path: &str, question: &str) -> Result<(SocketAddr, Vec<u8>), EtcdError> {
        let members = &self.config.address.members;
        let first = self.preferred.load(Ordering::Relaxed);
        let mut last = String::new();
        let mut last_at = members[first % members.len()];
        for number in first..first + members.len() {
            let at = members[number % members.len()];
            match self.logged_in(at, path, question)? {
                Said::Answer(answer) => {
                    self.preferred.store(number % members.len(), Ordering::Relaxed);
                    return Ok((at, answer));
                }
                Said::Refusal { status, words } => {
                    return Err(EtcdError::Refused { at, status, words, advice: advice(status) });
                }
                Said::Nothing(why) => (last_at, last) = (at, why),
            }
        }
        // Next time the next member is asked first, and with the certificates that are there then.
        self.preferred.store((first + 1) % members.len(), Ordering::Relaxed);
        *self.agent.lock() = agent(&self.config)?;
        Err(EtcdError::Unreachable { last_at, last })
    }

    /// Asks one member, as a user where there is one; logs in anew where the login has run out.
    fn logged_in(&self, at: SocketAddr, path: &str, question: &str) -> Result<Said, EtcdError> {
        let Some(user) = &self.config.user else { return Ok(self.post(at, path, question, None)) };
        let token = self.token.lock().clone();
        if let Some(token) = token {
            match self.post(at, path, question, Some(&token)) {
                // An invalid token is 401; one that a restarted member does not know is 400 in some versions.
                Said::Refusal { status, words } if status == 401 || words.contains("token") => {}
                said => return Ok(said),
            }
        }
        let login = message::authenticate(&user.name, &password(&user.password_file)?);
        let token = match self.post(at, "/v3/auth/authenticate", &login, None) {
            Said::Answer(answer) => {
                message::parse_token(&answer).map_err(|why| EtcdError::Malformed { at, why })?
            }
            said => return Ok(said),
        };
        *self.token.lock() = Some(token.clone());
        Ok(self.post(at, path, question, Some(&token)))
    }

    fn post(&self, at: SocketAddr, path: &str, question: &str, token: Option<&str>) -> Said {
        let scheme = if self.config.certificates.is_some() { "https" } else { "http" };
        let agent = self.agent.lock().clone();
        let mut request =
            agent.post(format!("{scheme}://{at}{path}")).header("Content-Type", "application/json");
        if let Some(token) = token {
            request = request.header("Authorization", token);
        }
        let mut response = match request.send(question) {
            Ok(response) => response,
            Err(error) => return Said::Nothing(error.to_string()),
        };
        let status = response.status().as_u16();
        let body = response.body_mut().with_config().limit(ANSWER_BYTES_MAX).read_to_vec();
        match (status, body) {
            (200, Ok(answer)) => Said::Answer(answer),
            // Another member may have a leader, or no such trouble.
            (500.. | 408 | 429, Ok(words)) => Said::Nothing(message::parse_refusal(&words)),
            (status, Ok(words)) => Said::Refusal { status, words: message::parse_refusal(&words) },
            (_, Err(error)) => Said::Nothing(error.to_string()),
        }
    }
}

/// What makes connections: no proxy, no redirect, no answer but etcd's own.
fn agent(config: &EtcdConfig) -> Result<Agent, CredentialError> {
    let credentials = Credentials::read(config.certificates.as_ref())?;
    let mut agent = Agent::config_builder()
        .http_status_as_error(false)
        .proxy(None)
        .max_redirects(0)
        .user_agent("understudy")
        .timeout_global(Some(ATTEMPT_MAX))
        .max_idle_connections_per_host(8)
        .https_only(config.certificates.is_some());
    if let Some(tls) = credentials.tls() {
        agent = agent.tls_config(tls.clone());
    }
    Ok(agent.build().into())
}

fn advice(status: u16) -> &'static str {
    match status {
        400 => {
            "with users in etcd, a client's certificate must have no common name, and etcd-user must be given"
        }
        401 | 403 => {
            "see that etcd-user may read and write the keys with this prefix, and that its password is right"
        }
        404 => "start etcd with enable-grpc-gateway: true in its configuration file",
        _ => "its log may say why",
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn cluster() -> Cluster {
        let address = "etcd://127.0.0.1:1".parse().unwrap();
        Cluster::new(EtcdConfig { address, certificates: None, user: None }).unwrap()
    }

    #[test]
    fn answers_that_overtake_each_other_are_no_way_back() {
        let cluster = cluster();
        let at = |revision| Header { cluster: 1, revision };
        // Two questions under way at once, asked when revision 5 was known.
        assert_eq!(cluster.admit(None, at(5)), Ok(()));
        assert_eq!(cluster.admit(Some(at(5)), at(9)), Ok(()));
        assert_eq!(cluster.admit(Some(at(5)), at(7)), Ok(()));
        assert_eq!(cluster.newest.lock().told, Some(at(9)));
    }

    #[test]
    fn an_older_state_or_another_cluster_is_believed_nothing_any_more() {
        for (cluster_now, now) in [(1, 4), (2, 50)] {
            let cluster = cluster();
            let at = |cluster, revision| Header { cluster, revision };
            assert_eq!(cluster.admit(None, at(1, 5)), Ok(()));
            let why = cluster.admit(Some(at(1, 5)), at(cluster_now, now)).unwrap_err();
            assert_eq!((why.told, why.now), (5, now));
            assert_eq!(cluster.admit(Some(at(1, 5)), at(1, 6)), Err(why), "not even what would be right");
            let asked = cluster.ask("/", "", |_| -> Result<(Header, ()), _> { panic!("it is not asked") });
            assert!(matches!(asked, Err(EtcdError::WentBack(_))));
        }
    }

    #[test]
    fn nobody_there_is_no_answer() {
        let asked = cluster().ask("/v3/kv/range", "{}", |_| Ok((Header { cluster: 1, revision: 1 }, ())));
        assert!(matches!(asked, Err(EtcdError::Unreachable { .. })), "{asked:?}");
    }
}
