//! What a node says about itself: the JSON of `status --output json`, documented in docs/STATUS.md. Keys and states are
//! added; what would change or remove one raises [`FORMAT`].

pub use super::bulletin::{GuestRole, MaintenanceStatus};
use super::{GuestBulletin, GuestState, Said};
use serde::{Deserialize, Serialize};
use std::collections::BTreeMap;
use std::net::{IpAddr, SocketAddr};

/// Version of the status format.
pub const FORMAT: u32 = 1;

/// A node.
#[derive(Serialize, Deserialize, Clone, PartialEq, Debug)]
pub struct Status {
    /// [`FORMAT`] of the node that says it.
    pub format: u32,
    /// Its name.
    pub node: String,
    /// Its process.
    pub pid: u32,
    /// Its system's `CLOCK_MONOTONIC` as it said this, in nanoseconds; 0 of an older node.
    #[serde(default)]
    pub clock_ns: u64,
    /// Whether a person works on its host.
    #[serde(default)]
    pub maintenance: MaintenanceStatus,
    /// Its witness.
    pub witness: WitnessStatus,
    /// What it shows to others; nothing where its links have no TLS.
    #[serde(default)]
    pub certificate: Option<CertificateStatus>,
    /// This host's lease and watchdog, and hosts that are being fenced; nothing where no guest needs that.
    #[serde(default)]
    pub fencing: Option<FencingStatus>,
    /// Its peers, by name.
    pub peers: Vec<PeerStatus>,
    /// Its guests, by name.
    pub guests: Vec<GuestStatus>,
    /// Xen guests that it is to protect and cannot at present.
    #[serde(default)]
    pub waiting: Vec<WaitingStatus>,
}

/// A guest that is to be protected and is not.
#[derive(Serialize, Deserialize, Clone, PartialEq, Eq, Debug)]
pub struct WaitingStatus {
    /// Its name.
    pub name: String,
    /// Why not; empty until it was looked for.
    pub reason: String,
}

/// The witness as a node sees it.
#[derive(Serialize, Deserialize, Clone, PartialEq, Eq, Debug)]
pub struct WitnessStatus {
    /// Whether there is one.
    pub configured: bool,
    /// What it is; of an older node, or where there is none, it is not said.
    #[serde(default)]
    pub kind: Option<WitnessKind>,
    /// Where it is; empty if there is none.
    #[serde(default)]
    pub address: String,
    /// Whether it answers.
    pub connected: bool,
    /// Why it does not; empty if it does.
    #[serde(default)]
    pub reason: String,
}

/// A host's lease at the witness, and its watchdog.
#[derive(Serialize, Deserialize, Clone, PartialEq, Eq, Debug)]
pub struct FencingStatus {
    /// How the watchdog of this host stands.
    pub watchdog: WatchdogState,
    /// When it resets the host, if no renewal is confirmed until then.
    #[serde(default)]
    pub left_ms: Option<u64>,
    /// The number of the lease that was confirmed last.
    #[serde(default)]
    pub lease: Option<u64>,
    /// Why it does not stand better; empty if nothing is wrong.
    #[serde(default)]
    pub reason: String,
    /// Hosts whose guests are started here once they are fenced.
    #[serde(default)]
    pub waits_for: Vec<FencedHostStatus>,
}

/// How a host's watchdog stands.
#[derive(Serialize, Deserialize, Clone, Copy, PartialEq, Eq, Debug)]
#[serde(rename_all = "snake_case")]
pub enum WatchdogState {
    /// It is not set, and the lease is not confirmed.
    Off,
    /// The lease is confirmed; no guest that runs here needs the watchdog.
    Renewed,
    /// It is set.
    Armed,
    /// It resets the host soon.
    Near,
}

/// A host that is being fenced.
#[derive(Serialize, Deserialize, Clone, PartialEq, Eq, Debug)]
pub struct FencedHostStatus {
    /// Its name.
    pub node: String,
    /// For how long its lease is waited for, if nothing is heard of it; nothing before the witness has told it.
    #[serde(default)]
    pub left_ms: Option<u64>,
}

/// A node's own certificate.
#[derive(Serialize, Deserialize, Clone, PartialEq, Eq, Debug)]
pub struct CertificateStatus {
    /// SHA-256 of it, in hexadecimal digits.
    pub fingerprint: String,
    /// Until when an authority vouches for it, in seconds since 1970; nothing for one that is pinned.
    #[serde(default)]
    pub expires: Option<u64>,
}

impl WitnessStatus {
    /// Of a node without a witness.
    pub fn none() -> Self {
        let (address, reason) = (String::new(), String::new());
        Self { configured: false, kind: None, address, connected: false, reason }
    }
}

/// What serves as a witness.
#[derive(Serialize, Deserialize, Clone, Copy, PartialEq, Eq, Debug)]
#[serde(rename_all = "lowercase")]
pub enum WitnessKind {
    /// `understudy witness`.
    Own,
    /// etcd.
    Etcd,
}

/// A peer as a node sees it.
#[derive(Serialize, Deserialize, Clone, PartialEq, Eq, Debug)]
pub struct PeerStatus {
    /// Its name.
    pub node: String,
    /// Where it listens; the first of its addresses.
    #[serde(default)]
    pub address: Option<SocketAddr>,
    /// All addresses where it listens.
    #[serde(default)]
    pub addresses: Vec<SocketAddr>,
    /// Between which addresses the link is.
    #[serde(default)]
    pub path: Option<PathStatus>,
    /// Whether the link to it is up.
    pub connected: bool,
    /// Why there is no link, or what is wrong with it; empty if nothing is.
    #[serde(default)]
    pub reason: String,
    /// The round trip measured last.
    #[serde(default)]
    pub round_trip_us: Option<u64>,
    /// What it said last of itself; nothing before it has, and of one of an earlier version.
    #[serde(default)]
    pub said: Option<Said>,
    /// Its addresses beside the one that the link goes to, where this node has connected the link.
    #[serde(default)]
    pub spares: Vec<SpareStatus>,
}

/// A way to a peer that its link does not use.
#[derive(Serialize, Deserialize, Clone, PartialEq, Eq, Debug)]
pub struct SpareStatus {
    /// The peer's address.
    pub address: SocketAddr,
    /// Whether the peer is heard there.
    pub answers: bool,
    /// Why not; empty if it is.
    pub reason: String,
}

/// Which way a link goes.
#[derive(Serialize, Deserialize, Clone, Copy, PartialEq, Eq, Debug)]
pub struct PathStatus {
    /// This node's address.
    pub from: IpAddr,
    /// The peer's.
    pub to: IpAddr,
}

/// A guest on this node. Counts and times are since this node took its role.
#[derive(Serialize, Deserialize, Clone, PartialEq, Debug)]
pub struct GuestStatus {
    /// Its name.
    pub name: String,
    /// What this node is to it.
    pub role: GuestRole,
    /// The other host of the pair; an older node does not say it.
    #[serde(default)]
    pub peer: String,
    /// How it stands.
    pub state: GuestState,
    /// Whether the guest would survive the death of its host now. Only the node that runs it says so; of a copy, `state`
    /// says whether it is complete (`standing`).
    pub protected: bool,
    /// Whether it is to be protected: nobody has asked for the contrary.
    #[serde(default = "yes")]
    pub wished: bool,
    /// Why it is not protected, or what is noteworthy; empty if nothing is.
    pub reason: String,
    /// The fencing token.
    pub generation: u64,
    /// Newest epoch: captured on a primary, begun on a secondary.
    pub epoch: Option<u64>,
    /// Newest epoch acked.
    pub acked: Option<u64>,
    /// Newest epoch committed; on a primary, as acks tell.
    pub committed: Option<u64>,
    /// Milliseconds since the newest commit.
    pub commit_age_ms: Option<u64>,
    /// The longest that the guest runs between two pauses, in milliseconds; 0 on a secondary, which paces nothing.
    pub interval_ms: f64,
    /// What decides when a checkpoint begins, as it may be given: `interval=25ms`, or budgets. Empty on a secondary.
    #[serde(default)]
    pub pacing: String,
    /// What had the newest checkpoint begin when it did: `clock`, `quiet`, `output`, `batch`, or the budget that delayed it
    /// (`interval_min`, `pause_share`, `link_rate`, `cpu_share`, `encoder`).
    #[serde(default)]
    pub paced_by: Option<String>,
    /// How long the guest stood still for each checkpoint, in microseconds.
    pub pause_us: Quantiles,
    /// The parts of the pause.
    pub pause_parts_us: PauseParts,
    /// What the newest pause asked of Xen and xenstored.
    #[serde(default)]
    pub pause_calls: PauseCalls,
    /// From the end of the pause to the ack, in microseconds.
    pub commit_us: Quantiles,
    /// Pages by how they were sent.
    pub pages: PageCounts,
    /// Pages that were copied ahead of pauses.
    #[serde(default)]
    pub copied_ahead: CopiedAhead,
    /// Bytes of all dirty pages.
    pub raw_bytes: u64,
    /// Bytes on the link for this guest, everything included.
    pub link_bytes: u64,
    /// Bytes of this host's memory that comparing takes; 0 where changes are found in Xen's log.
    #[serde(default)]
    pub compared_bytes: u64,
    /// Bytes of output that wait for their acks.
    pub held_bytes: u64,
    /// Frames of output dropped because a limit was reached.
    pub dropped_frames: u64,
    /// The takeover that made this node the guest's primary, if one did.
    pub takeover: Option<Takeover>,
    /// How far its full sync is, while one is on its way from here.
    #[serde(default)]
    pub full_sync: Option<FullSyncStatus>,
    /// Epochs of the past that are kept of it, where its copy is held.
    #[serde(default)]
    pub kept: KeptStatus,
    /// The last epoch that was written to a file, or is being written.
    #[serde(default)]
    pub export: Option<ExportStatus>,
    /// Its disk; nothing for a guest without one.
    #[serde(default)]
    pub disk: Option<DiskStatus>,
    /// How output leaves before its ack.
    #[serde(default)]
    pub colo: ColoStatus,
}

/// Epochs of the past that are kept of a guest.
#[derive(Serialize, Deserialize, Clone, PartialEq, Eq, Default, Debug)]
pub struct KeptStatus {
    /// Oldest first.
    pub epochs: Vec<KeptEpoch>,
    /// Memory for all of them.
    pub bytes: u64,
}

/// An epoch of the past.
#[derive(Serialize, Deserialize, Clone, Copy, PartialEq, Eq, Debug)]
pub struct KeptEpoch {
    /// Its number.
    pub epoch: u64,
    /// When it was committed, in milliseconds since 1970, by the clock of the host that holds it.
    pub at_ms: u64,
}

/// An epoch of a guest on its way to a file.
#[derive(Serialize, Deserialize, Clone, PartialEq, Eq, Debug)]
pub struct ExportStatus {
    /// The file.
    pub path: String,
    /// Which epoch; nothing before that is known.
    pub epoch: Option<u64>,
    /// Bytes written.
    pub bytes: u64,
    /// How it stands.
    pub state: ExportState,
    /// Why it failed; empty if it did not.
    pub reason: String,
}

/// How an export stands.
#[derive(Serialize, Deserialize, Clone, Copy, PartialEq, Eq, Debug)]
#[serde(rename_all = "snake_case")]
pub enum ExportState {
    /// It is being written.
    Writing,
    /// The file is complete.
    Done,
    /// There is no new file.
    Failed,
}

/// How far a full sync is. Pages that change meanwhile are sent again: an estimate.
#[derive(Serialize, Deserialize, Clone, Copy, PartialEq, Default, Debug)]
pub struct FullSyncStatus {
    /// The share that has gone to the link, from 0 to 1.
    pub share: f64,
    /// Pages that have.
    pub pages: u64,
    /// Pages that the guest has.
    pub of_pages: u64,
    /// Bytes on the link for them.
    pub link_bytes: u64,
    /// In a second.
    pub bytes_per_s: u64,
    /// What the rest takes at the rate so far; nothing before the first page.
    pub left_ms: Option<u64>,
    /// What all full syncs of the node may put on its links in a second; nothing without a limit.
    #[serde(default)]
    pub limit_bytes_per_s: Option<u64>,
    /// Bytes of its disk that are still to be read; nothing before the other host has said what it has.
    #[serde(default)]
    pub disk_left_bytes: Option<u64>,
    /// Bytes that its disk has; 0 for a guest without one.
    #[serde(default)]
    pub of_disk_bytes: u64,
}

/// How the disk of a guest stands on the node that says it.
#[derive(Serialize, Deserialize, Clone, Default, PartialEq, Debug)]
pub struct DiskStatus {
    /// Its size.
    pub bytes: u64,
    /// What the other host's disk lacks at most, in whole pieces of 64 KiB; only of a guest that runs here.
    pub behind_bytes: Option<u64>,
    /// Why it cannot be used here as it should; empty if it can.
    pub fault: String,
}

/// How a guest's output leaves because a copy of it, which runs on the peer, has sent the same.
#[derive(Serialize, Deserialize, Clone, Default, PartialEq, Debug)]
pub struct ColoStatus {
    /// How the guest is to be protected: `remus`, `colo` or `auto`. Empty on a secondary before it was told.
    pub mode: String,
    /// Whether output leaves by a match now.
    pub live: bool,
    /// Why not; empty if it does, or is not to.
    pub reason: String,
    /// The epoch that the copy was set to, if it is live.
    pub base: Option<u64>,
    /// Frames that left by a match.
    pub released_by_match: u64,
    /// Frames that were held and left by their ack.
    pub released_by_ack: u64,
    /// The share of the former in both, from 0 to 1.
    pub match_share: Option<f64>,
    /// How often a checkpoint was asked for because output would not leave by a match, by why.
    pub diverged: BTreeMap<String, u64>,
    /// How long frames that left by a match waited for the copy's, in microseconds, each to a power of two.
    pub match_us: Quantiles,
}

/// The longest reason in a bulletin; the node itself has the rest.
const REASON_CHARS_MAX: usize = 200;

impl From<&GuestStatus> for GuestBulletin {
    fn from(guest: &GuestStatus) -> Self {
        Self {
            name: guest.name.clone(),
            role: guest.role,
            peer: guest.peer.clone(),
            state: guest.state.to_string(),
            protected: guest.protected,
            reason: guest.reason.chars().take(REASON_CHARS_MAX).collect(),
            generation: guest.generation,
            epoch: guest.epoch,
            committed: guest.committed,
            commit_age_ms: guest.commit_age_ms,
        }
    }
}

/// What a node of an earlier version does not say.
fn yes() -> bool {
    true
}

/// Count and quantiles of a time.
#[derive(Serialize, Deserialize, Clone, Copy, PartialEq, Eq, Default, Debug)]
pub struct Quantiles {
    /// How many were measured.
    pub count: u64,
    /// The median.
    pub p50: u64,
    /// 99 of 100 are not longer.
    pub p99: u64,
    /// The longest.
    pub max: u64,
}

/// Pages that were copied ahead of pauses, while the guest ran.
#[derive(Serialize, Deserialize, Clone, Copy, PartialEq, Eq, Default, Debug)]
pub struct CopiedAhead {
    /// Not written since: the pause did not copy them.
    pub kept: u64,
    /// Written meanwhile, and copied again in the pause.
    pub again: u64,
}

/// What a pause asked of Xen and xenstored; 0 for a guest of the lab.
#[derive(Serialize, Deserialize, Clone, Copy, PartialEq, Eq, Default, Debug)]
pub struct PauseCalls {
    /// Hypercalls in each part.
    pub hypercalls: PauseParts,
    /// Requests to xenstored.
    pub store_requests: u64,
    /// Waits for an event of the guest's.
    pub waits: u64,
}

/// A number for each part of a pause; times are medians, in microseconds.
#[derive(Serialize, Deserialize, Clone, Copy, PartialEq, Eq, Default, Debug)]
pub struct PauseParts {
    /// Asking the guest to suspend, until it has.
    pub suspend: u64,
    /// Reading and clearing the dirty log.
    pub drain: u64,
    /// Copying pages to staging.
    pub copy: u64,
    /// Capturing what the hypervisor has of the guest.
    pub state: u64,
    /// Capturing its device model.
    #[serde(default)]
    pub device_model: u64,
    /// Closing the output's epoch.
    pub cut: u64,
    /// Letting the guest run again.
    pub resume: u64,
}

/// Pages by how they were sent.
#[derive(Serialize, Deserialize, Clone, Copy, PartialEq, Eq, Default, Debug)]
pub struct PageCounts {
    /// All zero: a few bits.
    pub zero: u64,
    /// As the secondary has them: nothing is sent.
    pub unchanged: u64,
    /// As changes to what the secondary has.
    pub delta: u64,
    /// Compressed.
    pub lz4: u64,
    /// As they are.
    pub raw: u64,
}

/// When a takeover's steps happened, on the system's monotonic clock (`CLOCK_MONOTONIC`), in nanoseconds.
#[derive(Serialize, Deserialize, Clone, Copy, PartialEq, Eq, Debug)]
pub struct Takeover {
    /// The primary was found lost, or the switchover was asked for.
    pub detected_at_ns: u64,
    /// The witness's word arrived.
    pub authority_at_ns: u64,
    /// The epoch it continues from was whole in its image here; an older node does not say it.
    #[serde(default)]
    pub committed_at_ns: Option<u64>,
    /// The guest runs here.
    pub activated_at_ns: u64,
    /// The first frame of it left this host; nothing where the kernel lets frames out, and before one has.
    #[serde(default)]
    pub first_frame_at_ns: Option<u64>,
    /// The epoch it continues from.
    pub from_epoch: u64,
}
