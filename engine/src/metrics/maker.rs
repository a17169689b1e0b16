//! How a family of metrics comes to be: made under the name `understudy_…`, and registered.

use prometheus::{GaugeVec, HistogramOpts, HistogramVec, IntCounterVec, IntGaugeVec, Opts, Registry};

/// Creates families and registers them. Names and labels are constants of this folder, so neither step can fail.
pub(super) struct Maker(pub(super) Registry);

impl Maker {
    fn opts(name: &str, help: &str) -> Opts {
        Opts::new(name, help).namespace("understudy")
    }

    pub(super) fn counters(&self, name: &str, help: &str, labels: &[&str]) -> IntCounterVec {
        let family = IntCounterVec::new(Self::opts(name, help), labels).expect("a valid name");
        self.0.register(Box::new(family.clone())).expect("a name used once");
        family
    }

    pub(super) fn gauges(&self, name: &str, help: &str, labels: &[&str]) -> IntGaugeVec {
        let family = IntGaugeVec::new(Self::opts(name, help), labels).expect("a valid name");
        self.0.register(Box::new(family.clone())).expect("a name used once");
        family
    }

    pub(super) fn float_gauges(&self, name: &str, help: &str, labels: &[&str]) -> GaugeVec {
        let family = GaugeVec::new(Self::opts(name, help), labels).expect("a valid name");
        self.0.register(Box::new(family.clone())).expect("a name used once");
        family
    }

    pub(super) fn histograms(
        &self,
        name: &str,
        help: &str,
        labels: &[&str],
        buckets: &[f64],
    ) -> HistogramVec {
        let opts = HistogramOpts { common_opts: Self::opts(name, help), buckets: buckets.to_vec() };
        let family = HistogramVec::new(opts, labels).expect("a valid name");
        self.0.register(Box::new(family.clone())).expect("a name used once");
        family
    }
}
