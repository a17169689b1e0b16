//! What the engine measures, for Prometheus and for `status`: one registry, one [`GuestMeter`] for each guest.
//!
//! Names begin with `understudy_`, carry base units, and label guests as `guest`.
//!
//! * [`GuestMeter`] where the event loop says what happened; it also keeps the quantiles that `status` shows
//! * [`http`] the page `/metrics`

mod disk;
mod families;
pub mod http;
mod maker;
mod matching;
mod meter;
mod process;
mod role;
mod sizes;
mod times;

pub use matching::Waits;
pub use meter::GuestMeter;
pub use role::Role;

use crate::console;
use families::GuestFamilies;
use maker::Maker;
use prometheus::{Encoder, IntCounterVec, IntGaugeVec, Registry, TextEncoder};

/// All metrics of one process.
#[derive(Clone, Debug)]
pub struct Metrics {
    registry: Registry,
    guests: GuestFamilies,
    link_up: IntGaugeVec,
    witness_up: IntGaugeVec,
    witness_answer: prometheus::HistogramVec,
    certificate_expiry: IntGaugeVec,
    loop_stall: prometheus::GaugeVec,
    maintenance: IntGaugeVec,
    fencing_armed: IntGaugeVec,
    fencing_waits: IntGaugeVec,
    witness_requests: IntCounterVec,
    witness_writable: IntGaugeVec,
    log_lost: IntCounterVec,
    process: process::Process,
}

/// Response times of a witness: from one on the same machine to the point where a node gives up.
const ANSWER_SECONDS_BUCKETS: &[f64] =
    &[0.5e-3, 1e-3, 2e-3, 5e-3, 10e-3, 20e-3, 50e-3, 0.1, 0.2, 0.5, 1.0, 2.0, 5.0];

/// Outcomes of a request to a witness. `failed`: its disk did not store the record; `no_room`: it already keeps as many records as it may.
const OUTCOMES: [&str; 6] = ["told", "swapped", "conflict", "illegal", "failed", "no_room"];

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
        let certificate_expiry = make.gauges(
            "certificate_expiry_timestamp_seconds",
            "Until when the authority vouches for this end's certificate. There is none for a certificate that others pin.",
            &[],
        );
        let witness_up = make.gauges("witness_up", "Whether this node is connected to its witness.", &[]);
        let witness_answer = make.histograms(
            "witness_answer_seconds",
            "From a question to the witness, own or etcd, to its answer; questions without an answer are not in it.",
            &[],
            ANSWER_SECONDS_BUCKETS,
        );
        let loop_stall = make.float_gauges(
            "loop_stall_seconds",
            "Longest turn of the event loop in the last minute or two: so long nothing was heard, sent or decided.",
            &[],
        );
        let maintenance = make.gauges(
            "maintenance",
            "Whether this node is in maintenance, and takes no new copies of guests.",
            &[],
        );
        let fencing_armed = make.gauges(
            "fencing_armed",
            "Whether this host's watchdog is set, for guests here that need it; absent where none does.",
            &[],
        );
        let fencing_waits = make.gauges(
            "fencing_waits",
            "Hosts that have to be fenced before guests of theirs are started on this one.",
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
            witness_answer,
            certificate_expiry,
            loop_stall,
            maintenance,
            fencing_armed,
            fencing_waits,
            witness_requests,
            witness_writable,
            log_lost,
            process,
        }
    }

    /// Begins to measure a guest. Its metrics vanish with the meter.
    pub fn guest(&self, guest: &str) -> GuestMeter {
        GuestMeter::new(self.guests.clone(), guest)
    }

    /// Says whether the link to `peer` is up.
    pub fn set_link(&self, peer: &str, up: bool) {
        self.link_up.with_label_values(&[peer]).set(i64::from(up));
    }

    /// Says whether the witness is connected. Not called by a node without a witness.
    pub fn set_witness(&self, up: bool) {
        self.witness_up.with_label_values::<&str>(&[]).set(i64::from(up));
    }

    /// This node has a witness: its response times are exported from the start.
    pub fn begin_witness_answers(&self) {
        self.witness_answer.with_label_values::<&str>(&[]);
    }

    /// Records the time that the witness took to answer.
    pub fn witness_took(&self, seconds: f64) {
        self.witness_answer.with_label_values::<&str>(&[]).observe(seconds);
    }

    /// Sets the expiry of this end's certificate; `None` if it does not expire.
    pub fn set_certificate_expiry(&self, seconds: Option<u64>) {
        match seconds.and_then(|seconds| i64::try_from(seconds).ok()) {
            Some(seconds) => self.certificate_expiry.with_label_values::<&str>(&[]).set(seconds),
            None => self.certificate_expiry.reset(),
        }
    }

    /// Says whether this node is in maintenance. Not called by a witness.
    pub fn set_maintenance(&self, on: bool) {
        self.maintenance.with_label_values::<&str>(&[]).set(i64::from(on));
    }

    /// Says whether the watchdog is set, where a guest needs it, and how many hosts are being fenced. Not called by a witness.
    pub fn set_fencing(&self, armed: Option<bool>, waits: usize) {
        match armed {
            Some(armed) => self.fencing_armed.with_label_values::<&str>(&[]).set(i64::from(armed)),
            None => self.fencing_armed.reset(),
        }
        self.fencing_waits.with_label_values::<&str>(&[]).set(waits as i64);
    }

    /// Sets the longest recent iteration of the event loop.
    pub fn set_loop_stall(&self, seconds: f64) {
        self.loop_stall.with_label_values::<&str>(&[]).set(seconds);
    }

    /// This process is a witness: its counters are exported from the start, so that their first increment is visible.
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

    /// Counts a request to this witness by its outcome.
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
