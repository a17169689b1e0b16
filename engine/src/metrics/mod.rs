//! What the engine measures, for Prometheus and for `status`: one registry, one [`GuestMeter`] for each guest.
//!
//! Names begin with `understudy_`, carry base units, and label guests as `domain`.
//!
//! * [`GuestMeter`] where the event loop says what happened; it also keeps the quantiles that `status` shows
//! * [`http`] the page `/metrics`

pub mod http;
mod meter;
mod process;
mod role;

pub use meter::GuestMeter;
pub use role::Role;

use crate::console;
use prometheus::{
    Encoder, HistogramOpts, HistogramVec, IntCounterVec, IntGaugeVec, Opts, Registry, TextEncoder,
};

/// Pauses and commits, in seconds: from far below what a checkpoint takes to where it is an outage.
const SECONDS_BUCKETS: &[f64] = &[
    50e-6, 100e-6, 200e-6, 350e-6, 500e-6, 750e-6, 1e-3, 2e-3, 3.5e-3, 5e-3, 7.5e-3, 10e-3, 20e-3, 35e-3,
    50e-3, 100e-3, 200e-3, 350e-3, 500e-3, 1.0,
];

/// Dirty pages of a checkpoint: from one page to 4 GiB.
const PAGES_BUCKETS: &[f64] = &[
    1.0, 4.0, 16.0, 64.0, 256.0, 512.0, 1024.0, 2048.0, 4096.0, 8192.0, 16384.0, 32768.0, 131072.0, 1048576.0,
];

/// All metrics of one process.
#[derive(Clone, Debug)]
pub struct Metrics {
    registry: Registry,
    guests: GuestFamilies,
    link_up: IntGaugeVec,
    witness_up: IntGaugeVec,
    loop_stall: prometheus::GaugeVec,
    witness_requests: IntCounterVec,
    witness_writable: IntGaugeVec,
    log_lost: IntCounterVec,
    process: process::Process,
}

/// What becomes of a request to a witness; `failed`: its disk did not take the record; `no_room`: it keeps as many as it may.
const OUTCOMES: [&str; 6] = ["told", "swapped", "conflict", "illegal", "failed", "no_room"];

/// The metrics that are kept for each guest.
#[derive(Clone, Debug)]
struct GuestFamilies {
    pause: HistogramVec,
    pause_part: HistogramVec,
    commit: HistogramVec,
    dirty_pages: HistogramVec,
    checkpoints: IntCounterVec,
    encoded: IntCounterVec,
    sent_bytes: IntCounterVec,
    raw_bytes: IntCounterVec,
    unmarked: IntCounterVec,
    last_commit: prometheus::GaugeVec,
    protected: IntGaugeVec,
    role: IntGaugeVec,
    copy_refused: IntGaugeVec,
    queued_bytes: IntGaugeVec,
    compared_bytes: IntGaugeVec,
    unheld_cards: IntGaugeVec,
    dropped_packets: IntCounterVec,
    hold_faults: IntCounterVec,
    failovers: IntCounterVec,
    policy: IntCounterVec,
    paced: IntCounterVec,
}

impl Default for Metrics {
    fn default() -> Self {
        Self::new()
    }
}

impl Metrics {
    /// Metrics in a registry of their own, all zero.
    pub fn new() -> Self {
        let make = Maker(Registry::new());
        let guests = GuestFamilies::new(&make);
        let link_up = make.gauges("link_up", "Whether the link to a peer is up.", &["peer"]);
        let witness_up = make.gauges("witness_up", "Whether this node is connected to its witness.", &[]);
        let loop_stall = make.time_gauges(
            "loop_stall_seconds",
            "Longest turn of the event loop in the last minute or two: so long nothing was heard, sent or decided.",
            &[],
        );
        let witness_requests = make.counters(
            "witness_requests_total",
            "Requests that this witness answered, by what became of them.",
            &["outcome"],
        );
        let witness_writable =
            make.gauges("witness_writable", "Whether this witness can write its records.", &[]);
        let log_lost = make.counters(
            "log_lines_lost_total",
            "Log lines that are missing: too many of one cause (limited), or nobody read them (unread).",
            &["cause"],
        );
        let build = make.gauges("build_info", "Version of this engine; always 1.", &["version"]);
        build.with_label_values(&[env!("CARGO_PKG_VERSION")]).set(1);
        for cause in ["limited", "unread"] {
            log_lost.with_label_values(&[cause]);
        }
        let process = process::Process::new(&make.0);
        Self {
            registry: make.0,
            guests,
            link_up,
            witness_up,
            loop_stall,
            witness_requests,
            witness_writable,
            log_lost,
            process,
        }
    }

    /// Begins to measure a guest. Its metrics vanish with the meter.
    pub fn guest(&self, domain: &str) -> GuestMeter {
        GuestMeter::new(self.guests.clone(), domain)
    }

    /// Says whether the link to `peer` is up.
    pub fn set_link(&self, peer: &str, up: bool) {
        self.link_up.with_label_values(&[peer]).set(i64::from(up));
    }

    /// Says whether the witness is connected. Not called by a node without a witness.
    pub fn set_witness(&self, up: bool) {
        self.witness_up.with_label_values::<&str>(&[]).set(i64::from(up));
    }

    /// How long the loop's longest turn took, of late.
    pub fn set_loop_stall(&self, seconds: f64) {
        self.loop_stall.with_label_values::<&str>(&[]).set(seconds);
    }

    /// This process is a witness: its counters are there from the beginning, so that their first step shows.
    pub fn begin_witness(&self) {
        for outcome in OUTCOMES {
            self.witness_requests.with_label_values(&[outcome]);
        }
        self.set_witness_writable(true);
    }

    /// Says whether this witness can write its records.
    pub fn set_witness_writable(&self, writable: bool) {
        self.witness_writable.with_label_values::<&str>(&[]).set(i64::from(writable));
    }

    /// Counts an answer of this witness, or one that it could not give.
    pub fn witness_answered(&self, outcome: &'static str) {
        self.witness_requests.with_label_values(&[outcome]).inc();
    }

    /// Everything in Prometheus's text format.
    pub fn text(&self) -> String {
        self.process.measure();
        let lost = [("limited", console::limit::left_out()), ("unread", console::lost_lines())];
        for (cause, count) in lost {
            let counter = self.log_lost.with_label_values(&[cause]);
            counter.inc_by(count.saturating_sub(counter.get()));
        }
        let mut text = Vec::new();
        TextEncoder::new().encode(&self.registry.gather(), &mut text).expect("memory can be written");
        String::from_utf8(text).expect("the text format is UTF-8")
    }
}

/// Creates families and registers them; names and labels are constants of this file, so neither can fail.
struct Maker(Registry);

impl Maker {
    fn opts(name: &str, help: &str) -> Opts {
        Opts::new(name, help).namespace("understudy")
    }

    fn counters(&self, name: &str, help: &str, labels: &[&str]) -> IntCounterVec {
        let family = IntCounterVec::new(Self::opts(name, help), labels).expect("a valid name");
        self.0.register(Box::new(family.clone())).expect("a name used once");
        family
    }

    fn gauges(&self, name: &str, help: &str, labels: &[&str]) -> IntGaugeVec {
        let family = IntGaugeVec::new(Self::opts(name, help), labels).expect("a valid name");
        self.0.register(Box::new(family.clone())).expect("a name used once");
        family
    }

    fn time_gauges(&self, name: &str, help: &str, labels: &[&str]) -> prometheus::GaugeVec {
        let family = prometheus::GaugeVec::new(Self::opts(name, help), labels).expect("a valid name");
        self.0.register(Box::new(family.clone())).expect("a name used once");
        family
    }

    fn histograms(&self, name: &str, help: &str, labels: &[&str], buckets: &[f64]) -> HistogramVec {
        let opts = HistogramOpts { common_opts: Self::opts(name, help), buckets: buckets.to_vec() };
        let family = HistogramVec::new(opts, labels).expect("a valid name");
        self.0.register(Box::new(family.clone())).expect("a name used once");
        family
    }
}

impl GuestFamilies {
    fn new(make: &Maker) -> Self {
        let domain = &["domain"][..];
        Self {
            pause: make.histograms(
                "checkpoint_pause_seconds",
                "How long the guest stood still for a checkpoint.",
                domain,
                SECONDS_BUCKETS,
            ),
            pause_part: make.histograms(
                "checkpoint_pause_part_seconds",
                "The parts of the pause.",
                &["domain", "part"],
                SECONDS_BUCKETS,
            ),
            commit: make.histograms(
                "checkpoint_commit_seconds",
                "From the end of the pause to the ack of the secondary, without full copies; on the primary.",
                domain,
                SECONDS_BUCKETS,
            ),
            dirty_pages: make.histograms(
                "checkpoint_dirty_pages",
                "Pages that a checkpoint copied.",
                domain,
                PAGES_BUCKETS,
            ),
            checkpoints: make.counters(
                "checkpoints_total",
                "Checkpoints by what became of them: acked, declined, diverged or failed; on the primary.",
                &["domain", "result"],
            ),
            encoded: make.counters(
                "page_encoded_total",
                "Dirty pages by how they were sent.",
                &["domain", "kind"],
            ),
            sent_bytes: make.counters(
                "stream_sent_bytes_total",
                "Bytes put on the link for a guest.",
                domain,
            ),
            unmarked: make.counters(
                "pages_unmarked_total",
                "Pages that changed without a mark in the dirty log, and were sent again.",
                domain,
            ),
            raw_bytes: make.counters(
                "stream_raw_bytes_total",
                "Bytes of all dirty pages of a guest.",
                domain,
            ),
            last_commit: make.time_gauges(
                "last_commit_timestamp_seconds",
                "When the newest checkpoint was acked (primary) or committed (secondary).",
                domain,
            ),
            protected: make.gauges(
                "protected",
                "Whether the guest would survive the death of its host.",
                domain,
            ),
            role: make.gauges(
                "role_info",
                "What this node is to the guest, and in which generation; always 1.",
                &["domain", "role", "generation"],
            ),
            copy_refused: make.gauges(
                "copy_refused",
                "The peer says that it does not hold a copy of the guest, and why; 1 while that is so.",
                &["domain", "reason"],
            ),
            queued_bytes: make.gauges("netbuf_queued_bytes", "Bytes of output that wait for an ack.", domain),
            compared_bytes: make.gauges(
                "compare_memory_bytes",
                "Memory that finding a guest's changes by comparing takes; 0 where Xen logs them.",
                domain,
            ),
            dropped_packets: make.counters(
                "netbuf_dropped_packets_total",
                "Packets of output dropped because a limit was reached.",
                domain,
            ),
            hold_faults: make.counters(
                "netbuf_hold_faults_total",
                "How often something of the host took away or changed what holds the guest's output.",
                domain,
            ),
            unheld_cards: make.gauges(
                "netbuf_unheld_cards",
                "Cards of the guest whose output cannot be held; it is cut off while the guest is protected.",
                domain,
            ),
            failovers: make.counters(
                "failovers_total",
                "Takeovers by this node, by what led to them.",
                &["domain", "reason"],
            ),
            policy: make.counters(
                "policy_actions_total",
                "What bounds made happen: stretched epochs, checkpoints brought forward by output pressure, \
                 pauses lengthened by full staging, protection given up for slowness.",
                &["domain", "policy"],
            ),
            paced: make.counters(
                "checkpoints_paced_total",
                "Checkpoints by what had them begin when they did: a clock, output that waited, nothing that waited, or \
                 the budget that delayed them.",
                &["domain", "by"],
            ),
        }
    }
}
