//! Clients as Debian has them, too: iperf3, and a key exchange with sshd.

use crate::place::{Place, Service};
use crate::world::Family;
use std::path::Path;
use std::process::{Command, Stdio};

/// iperf3's port.
pub(crate) const IPERF_PORT: u16 = 5201;
/// sshd's port.
pub(crate) const SSH_PORT: u16 = 22;

/// What iperf3 sends.
const BYTES: &str = "40M";

pub(crate) fn start_iperf(place: &Place) -> Result<Service, String> {
    place.start("iperf3", &["--server"], Stdio::null())
}

/// `is_download`: the guest sends. Says how fast it was.
pub(crate) fn iperf(client: &Place, family: Family, is_download: bool) -> Result<String, String> {
    let guest = family.guest().to_string();
    let mut words = vec!["--client", &guest, "--bytes", BYTES, "--repeating-payload", "--format", "m"];
    words.extend(is_download.then_some("--reverse"));
    let (is_right, said) = client.start("iperf3", &words, Stdio::piped())?.finish()?;
    let received = said.lines().find(|line| line.contains("receiver"));
    match (is_right, received) {
        (true, Some(line)) => {
            let words: Vec<_> = line.split_whitespace().collect();
            let at = words.iter().position(|word| *word == "Mbits/sec");
            let rate = at.and_then(|at| words.get(at.checked_sub(1)?));
            Ok(format!("{BYTES}B, {} Mbit/s", rate.copied().unwrap_or("?")))
        }
        _ => Err(format!("iperf3 did not succeed: {}", said.trim())),
    }
}

/// `key` is a host key, the same in both guests, as it is part of the image.
pub(crate) fn start_sshd(place: &Place, key: &Path) -> Result<Service, String> {
    let key = key.to_string_lossy();
    place.start("/usr/sbin/sshd", &["-D", "-f", "/dev/null", "-h", &key, "-o", "PidFile=none"], Stdio::null())
}

pub(crate) fn make_ssh_key(key: &Path) -> Result<(), String> {
    // sshd wants a directory that its package makes at boot.
    std::fs::create_dir_all("/run/sshd").map_err(|error| format!("/run/sshd: {error}"))?;
    let made = Command::new("ssh-keygen").args(["-q", "-t", "ed25519", "-N", "", "-f"]).arg(key).status();
    match made {
        Ok(status) if status.success() => Ok(()),
        other => Err(format!("ssh-keygen: {other:?}")),
    }
}

/// Exchanges keys and is told the guest's.
pub(crate) fn key_exchange(client: &Place, family: Family, key: &Path) -> Result<String, String> {
    let guest = family.guest().to_string();
    let words = ["-T", "15", "-t", "ed25519", &guest];
    let (_, said) = client.start("ssh-keyscan", &words, Stdio::piped())?.finish()?;
    let public = std::fs::read_to_string(key.with_extension("pub")).map_err(|error| error.to_string())?;
    let is_told = public.split_whitespace().nth(1).is_some_and(|key| said.contains(key));
    if is_told { Ok("keys exchanged".into()) } else { Err(format!("no key exchange: {}", said.trim())) }
}
