//! The hosts of an installed pair, on which a drill is played beside the nodes that run there: with processes, ports and directories
//! of its own, and with the certificates of those nodes.
//!
//! ```text
//!   this host, A                                       the other host, B: reached by ssh
//!   ────────────                                       ─────────────────────────────────
//!   switch ◄──────────────── ssh -R ────────────────── uplink of B's node      frames of the guest, and what clients send
//!   status of B ──────────── ssh -L ─────────────────► control socket of B's node
//!   A's node ◄════════ the link, TLS as installed ═══► B's node                what is rehearsed
//!   witness  ◄════════ TLS, its own certificate ═════► B's node
//! ```
//!
//! ssh brings what a person would look at, and is never between the two nodes. The process of B ends when ssh does, for whatever
//! reason: it is killed as soon as its standard input ends.
//!
//! The installed nodes are asked nothing and told nothing. Their private keys stay where they are: a drill's directory has links.

use super::error::DrillError;
use super::sightings::HostId;
use crate::trust::WITNESS;
use crate::trust::keygen::keygen;
use std::fs::{self, File};
use std::io::{self, Write};
use std::net::SocketAddr;
use std::os::unix::fs::symlink;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use understudy_session::NodeName;

/// What ssh is told beside the places that it forwards. It asks no person, and does nothing by half.
const SSH_OPTIONS: [&str; 3] = ["BatchMode=yes", "ExitOnForwardFailure=yes", "StreamLocalBindUnlink=yes"];

/// Two installed hosts.
#[derive(Clone, Debug)]
pub struct Pair {
    /// Names of their nodes, this host's first.
    pub names: [NodeName; 2],
    /// Where the drill's nodes listen.
    pub listen: [SocketAddr; 2],
    /// Where the drill's witness listens, on this host.
    pub witness: SocketAddr,
    /// The directory of the nodes' certificates, on both hosts.
    pub tls: PathBuf,
    /// The command that runs a command on the other host, up to that host.
    pub ssh: Vec<String>,
    /// This program on the other host.
    pub far_program: String,
}

/// The drill's directory on the other host; it goes with this.
#[derive(Debug)]
pub struct FarDirectory {
    pair: Pair,
    path: String,
}

/// Whether a text is a plain word for a shell on another host.
pub fn is_plain(text: &str) -> bool {
    let is_plain = |letter: char| letter.is_ascii_alphanumeric() || "/._-+@:[],=%".contains(letter);
    !text.is_empty() && text.chars().all(is_plain)
}

impl Pair {
    /// The name of a host's node.
    pub fn name(&self, host: HostId) -> &NodeName {
        &self.names[index(host)]
    }

    /// Where a host's node of the drill listens.
    pub fn listen(&self, host: HostId) -> SocketAddr {
        self.listen[index(host)]
    }

    /// Makes what the drill's processes know each other by in `directory` and on the other host: the nodes' own certificates, and
    /// one of the drill's for its witness.
    pub fn make_certificates(&self, directory: &Path) -> Result<FarDirectory, DrillError> {
        let cannot = |what: &str| DrillError::system(format!("make certificates: {what}"));
        let witness = directory.join("witness.tls");
        let made = keygen(&witness, &NodeName(WITNESS.into()))
            .map_err(|error| cannot("the witness's")(io::Error::other(error.to_string())))?;
        let here = directory.join("A.tls");
        let of_this_host = || -> io::Result<()> {
            fs::create_dir_all(here.join("trust"))?;
            for name in ["own.crt", "own.key", "ca.crt", "revoked.crl"] {
                let installed = self.tls.join(name);
                if installed.exists() {
                    symlink(installed, here.join(name))?;
                }
            }
            let [a, b] = &self.names;
            let pin_of_b = self.tls.join("trust").join(format!("{b}.crt"));
            if pin_of_b.exists() {
                fs::copy(&pin_of_b, here.join("trust").join(format!("{b}.crt")))?;
                fs::copy(&pin_of_b, witness.join("trust").join(format!("{b}.crt")))?;
            }
            if self.tls.join("ca.crt").exists() {
                fs::copy(self.tls.join("ca.crt"), witness.join("ca.crt"))?;
            }
            fs::copy(self.tls.join("own.crt"), witness.join("trust").join(format!("{a}.crt")))?;
            fs::copy(&made.certificate, here.join("trust").join(format!("{WITNESS}.crt")))?;
            Ok(())
        };
        of_this_host().map_err(cannot("those of this host"))?;
        let far = FarDirectory { pair: self.clone(), path: format!("/tmp/understudy-drill-of-{}", mark()) };
        far.make(&made.certificate)?;
        Ok(far)
    }

    /// A command of the other host's shell, by ssh.
    fn ssh(&self, options: &[String], command: &str) -> Vec<String> {
        let (program, words) = self.ssh.split_first().expect("the command was checked");
        let (host, words) = words.split_last().expect("the command ends with a host");
        let options = SSH_OPTIONS
            .iter()
            .flat_map(|option| ["-o".to_owned(), (*option).to_owned()])
            .chain(options.iter().cloned());
        [program.clone()]
            .into_iter()
            .chain(words.iter().cloned())
            .chain(options)
            .chain([host.clone(), command.to_owned()])
            .collect()
    }
}

fn index(host: HostId) -> usize {
    match host {
        HostId::A => 0,
        HostId::B => 1,
    }
}

/// A word that no other drill has.
fn mark() -> String {
    let since = std::time::SystemTime::now().duration_since(std::time::UNIX_EPOCH).unwrap_or_default();
    format!("{}-{}", std::process::id(), since.as_nanos())
}

impl FarDirectory {
    fn make(&self, witness: &Path) -> Result<(), DrillError> {
        let Self { pair: Pair { tls, names: [a, _], .. }, path } = self;
        let tls = tls.display();
        let script = format!(
            "umask 077 && mkdir {path} && mkdir {path}/tls {path}/tls/trust && \
             for f in own.crt own.key ca.crt revoked.crl; do if [ -e {tls}/$f ]; then ln -s {tls}/$f {path}/tls/$f || exit 1; fi; done && \
             if [ -e {tls}/trust/{a}.crt ]; then cp {tls}/trust/{a}.crt {path}/tls/trust/; fi && \
             cat > {path}/tls/trust/{WITNESS}.crt"
        );
        let cannot = || DrillError::system("prepare the other host by ssh");
        let words = self.pair.ssh(&[], &script);
        let done = Command::new(&words[0])
            .args(&words[1..])
            .stdin(File::open(witness).map_err(cannot())?)
            .output()
            .map_err(cannot())?;
        if done.status.success() {
            return Ok(());
        }
        let said = String::from_utf8_lossy(&done.stderr);
        Err(cannot()(io::Error::other(format!(
            "{}; it said: {}. See that this user may log in there without a password and may read {tls}",
            done.status,
            said.trim()
        ))))
    }

    /// Where something is on the other host.
    pub fn at(&self, name: &str) -> String {
        format!("{}/{name}", self.path)
    }

    /// The command that runs the other host's node with these arguments, with the switch and the control socket brought here. The
    /// node ends when the command's input does.
    pub fn node_command(
        &self,
        switch: &Path,
        control: &Path,
        arguments: &[String],
    ) -> Result<Vec<String>, DrillError> {
        let words = arguments.join(" ");
        if let Some(odd) = arguments.iter().find(|word| !is_plain(word)) {
            return Err(DrillError::WrongEnding(format!("{odd:?} cannot be said to the other host's shell")));
        }
        let program = &self.pair.far_program;
        let script = format!(
            "exec 3<&0; {program} {words} </dev/null 3<&- & n=$!; (cat <&3 >/dev/null; kill -9 $n) & wait $n"
        );
        // What an earlier one left.
        let _ = fs::remove_file(control);
        let options = [
            "-R".into(),
            format!("{}:{}", self.at("switch.sock"), switch.display()),
            "-L".into(),
            format!("{}:{}", control.display(), self.at("control.sock")),
        ];
        Ok(self.pair.ssh(&options, &script))
    }
}

impl Drop for FarDirectory {
    fn drop(&mut self) {
        let words = self.pair.ssh(&[], &format!("rm -rf {}", self.path));
        let gone = Command::new(&words[0]).args(&words[1..]).stdin(Stdio::null()).output();
        if !gone.is_ok_and(|gone| gone.status.success()) {
            let _ =
                writeln!(io::stderr(), "understudy: {} on the other host could not be removed", self.path);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn nothing_but_plain_words_is_said_to_another_hosts_shell() {
        for plain in ["--peer", "a=[::1]:7001", "/etc/understudy/tls", "interval-max=10ms,pause-share=10"] {
            assert!(is_plain(plain), "{plain}");
        }
        for odd in ["", "a b", "$(reboot)", "a;b", "'", "a\nb", "`x`", "~", "*", "a|b"] {
            assert!(!is_plain(odd), "{odd}");
        }
    }
}
