//! The memory that this process can still allocate: what the host, its control group and its own limit allow.
//!
//! The least of the three counts. A value that cannot be read limits nothing; then allocating fails.

use nix::sys::resource::{Resource, getrlimit};
use std::fs;
use std::path::{Path, PathBuf};

/// Memory that is left to the host and to the rest of the engine, whatever an image could use.
pub const RESERVE_BYTES: u64 = 64 << 20;

/// Bytes that can still be allocated; `None` if nothing says.
pub fn available_bytes() -> Option<u64> {
    let limits = [host_bytes(), group_bytes(Path::new("/")), address_space_bytes()];
    limits.into_iter().flatten().min()
}

/// Bytes that programs of this host can still allocate, without regard to this process's limits.
pub fn host_bytes() -> Option<u64> {
    fs::read_to_string("/proc/meminfo").ok().as_deref().and_then(host_bytes_in)
}

/// The same from the text of `/proc/meminfo`.
fn host_bytes_in(meminfo: &str) -> Option<u64> {
    let line = meminfo.lines().find_map(|line| line.strip_prefix("MemAvailable:"))?;
    let kib: u64 = line.trim().strip_suffix("kB")?.trim().parse().ok()?;
    kib.checked_mul(1024)
}

/// The rest of the address space that this process may use.
fn address_space_bytes() -> Option<u64> {
    let (limit, _) = getrlimit(Resource::RLIMIT_AS).ok()?;
    if limit == nix::sys::resource::RLIM_INFINITY {
        return None;
    }
    let pages = fs::read_to_string("/proc/self/statm").ok()?;
    let used: u64 = pages.split_ascii_whitespace().next()?.parse().ok()?;
    Some(limit.saturating_sub(used.saturating_mul(4096)))
}

/// The rest of what the control group (version 2) of this process, and each group around it, may use. `root` is `/`, or
/// a test's directory.
fn group_bytes(root: &Path) -> Option<u64> {
    let own = fs::read_to_string(root.join("proc/self/cgroup")).ok()?;
    let path = own.lines().find_map(|line| line.strip_prefix("0::/"))?;
    let top = root.join("sys/fs/cgroup");
    let mut group: PathBuf = top.join(path.trim());
    let mut least = None;
    while group.starts_with(&top) {
        let number = |name: &str| fs::read_to_string(group.join(name)).ok()?.trim().parse::<u64>().ok();
        // "max" is no number and no limit.
        if let Some(limit) = number("memory.max") {
            let left = limit.saturating_sub(number("memory.current").unwrap_or(0));
            least = Some(least.map_or(left, |least: u64| least.min(left)));
        }
        if !group.pop() {
            break;
        }
    }
    least
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn available_memory_is_read_or_not_known() {
        let meminfo = "MemTotal:  526820 kB\nMemAvailable:  479444 kB\nBuffers: 1 kB\n";
        assert_eq!(host_bytes_in(meminfo), Some(479_444 << 10));
        for garbage in
            ["", "MemAvailable: many kB", "MemAvailable: 18446744073709551615 kB", "MemAvailable: 7"]
        {
            assert_eq!(host_bytes_in(garbage), None, "{garbage}");
        }
    }

    #[test]
    fn a_host_says_what_it_has() {
        assert!(available_bytes().is_some_and(|bytes| bytes > 1 << 20));
    }

    #[test]
    fn the_tightest_group_around_a_process_counts() {
        let root = tempfile::tempdir().unwrap();
        let put = |path: &str, text: &str| {
            let path = root.path().join(path);
            fs::create_dir_all(path.parent().unwrap()).unwrap();
            fs::write(path, text).unwrap();
        };
        put("proc/self/cgroup", "0::/system.slice/understudy.service\n");
        assert_eq!(group_bytes(root.path()), None);
        put("sys/fs/cgroup/system.slice/understudy.service/memory.max", "max\n");
        put("sys/fs/cgroup/system.slice/memory.max", "1000\n");
        put("sys/fs/cgroup/system.slice/memory.current", "400\n");
        assert_eq!(group_bytes(root.path()), Some(600));
        put("sys/fs/cgroup/system.slice/understudy.service/memory.max", "100\n");
        put("sys/fs/cgroup/system.slice/understudy.service/memory.current", "300\n");
        assert_eq!(group_bytes(root.path()), Some(0));
    }
}
