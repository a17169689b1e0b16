//! What every process tells of itself, under the names that Prometheus's own clients use: memory, descriptors, processor
//! time, start. Read from `/proc` when it is asked for.

use prometheus::{Counter, Gauge, Opts, Registry};
use std::fs;

/// The gauges. A value that `/proc` does not give stays as it was.
#[derive(Clone, Debug)]
pub(super) struct Process {
    cpu_seconds: Counter,
    resident_bytes: Gauge,
    virtual_bytes: Gauge,
    start_seconds: Gauge,
    open_descriptors: Gauge,
    descriptors_max: Gauge,
    threads: Gauge,
}

impl Process {
    pub(super) fn new(registry: &Registry) -> Self {
        let gauge = |name: &str, help: &str| {
            let gauge = Gauge::with_opts(Opts::new(name, help)).expect("a valid name");
            registry.register(Box::new(gauge.clone())).expect("a name used once");
            gauge
        };
        let opts = Opts::new("process_cpu_seconds_total", "Processor time, user and system, in seconds.");
        let cpu_seconds = Counter::with_opts(opts).expect("a valid name");
        registry.register(Box::new(cpu_seconds.clone())).expect("a name used once");
        let this = Self {
            cpu_seconds,
            resident_bytes: gauge("process_resident_memory_bytes", "Resident memory in bytes."),
            virtual_bytes: gauge("process_virtual_memory_bytes", "Virtual memory in bytes."),
            start_seconds: gauge(
                "process_start_time_seconds",
                "Start of the process, in seconds since 1970.",
            ),
            open_descriptors: gauge("process_open_fds", "Open file descriptors."),
            descriptors_max: gauge("process_max_fds", "File descriptors at most."),
            threads: gauge("process_threads", "Threads."),
        };
        this.measure();
        this
    }

    pub(super) fn measure(&self) {
        // Each is apart: one that cannot be read is no reason to hide the others.
        let _ = self.measure_stat();
        if let Ok(descriptors) = fs::read_dir("/proc/self/fd") {
            // One of them is the directory's own.
            self.open_descriptors.set(descriptors.count().saturating_sub(1) as f64);
        }
        if let Ok((soft, _)) = nix::sys::resource::getrlimit(nix::sys::resource::Resource::RLIMIT_NOFILE) {
            self.descriptors_max.set(soft as f64);
        }
    }

    fn measure_stat(&self) -> Option<()> {
        let stat = Stat::parse(&fs::read_to_string("/proc/self/stat").ok()?)?;
        let ticks_per_s = nix::unistd::sysconf(nix::unistd::SysconfVar::CLK_TCK).ok()?? as f64;
        let page_bytes = nix::unistd::sysconf(nix::unistd::SysconfVar::PAGE_SIZE).ok()?? as f64;
        let cpu_seconds = stat.cpu_ticks as f64 / ticks_per_s;
        self.cpu_seconds.inc_by((cpu_seconds - self.cpu_seconds.get()).max(0.0));
        self.virtual_bytes.set(stat.virtual_bytes as f64);
        self.resident_bytes.set(stat.resident_pages as f64 * page_bytes);
        self.threads.set(stat.threads as f64);
        let boot = fs::read_to_string("/proc/stat").ok()?;
        let boot = boot.lines().find_map(|line| line.strip_prefix("btime "))?.trim().parse::<f64>().ok()?;
        self.start_seconds.set(boot + stat.start_ticks as f64 / ticks_per_s);
        Some(())
    }
}

/// The fields of `/proc/self/stat` that are used.
#[derive(PartialEq, Eq, Debug)]
struct Stat {
    cpu_ticks: u64,
    threads: u64,
    start_ticks: u64,
    virtual_bytes: u64,
    resident_pages: u64,
}

impl Stat {
    /// The program's name is the second field, in brackets, and may contain anything.
    fn parse(text: &str) -> Option<Self> {
        let (_, rest) = text.rsplit_once(')')?;
        let words: Vec<&str> = rest.split_ascii_whitespace().collect();
        // Numbered as in proc(5), where the state, which is first here, is field 3.
        let field = |number: usize| words.get(number - 3)?.parse::<u64>().ok();
        Some(Self {
            cpu_ticks: field(14)? + field(15)?,
            threads: field(20)?,
            start_ticks: field(22)?,
            virtual_bytes: field(23)?,
            resident_pages: field(24)?,
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_program_may_be_called_as_it_likes() {
        let text = "7 (a) b) S 1 7 7 0 -1 4194304 9 0 0 0 300 20 0 0 20 0 5 0 1234 8192 3 1 1 1";
        let stat =
            Stat { cpu_ticks: 320, threads: 5, start_ticks: 1234, virtual_bytes: 8192, resident_pages: 3 };
        assert_eq!(Stat::parse(text), Some(stat));
        assert_eq!(Stat::parse("7 (a) S 1"), None);
    }

    #[test]
    fn this_process_has_memory_descriptors_and_a_start() {
        let process = Process::new(&Registry::new());
        for gauge in
            [&process.resident_bytes, &process.open_descriptors, &process.start_seconds, &process.threads]
        {
            assert!(gauge.get() > 0.0);
        }
    }
}
