//! Which two installed hosts a drill is played on, from what this host's node is told.

use crate::cli::CliError;
use crate::config::Settings;
use crate::drill::pair::{Pair, is_plain};
use crate::drill::plan::Failure;
use crate::names::check_new_name;
use std::net::SocketAddr;
use std::path::Path;
use understudy_session::NodeName;

/// What is asked for.
#[derive(Debug)]
pub(super) struct Asked<'a> {
    /// Two names.
    pub(super) names: &'a str,
    pub(super) config: &'a Path,
    pub(super) port: u16,
    pub(super) ssh: &'a str,
    pub(super) failures: &'a [Failure],
}

fn usage(why: String) -> CliError {
    CliError::Usage(why)
}

/// Decides it.
pub(super) fn pair(asked: &Asked<'_>) -> Result<Pair, CliError> {
    let Some((a, b)) = asked.names.split_once(',') else {
        return Err(usage(format!("--on-hosts takes two names, as a,b, and has {:?}", asked.names)));
    };
    for name in [a, b] {
        check_new_name(name)?;
    }
    if let Some(failure) = asked
        .failures
        .iter()
        .find(|it| !matches!(it, Failure::Kill | Failure::Secondary | Failure::Switchover))
    {
        return Err(usage(format!(
            "{failure} is not rehearsed on installed hosts; give --fail kill, secondary or switchover"
        )));
    }
    let settings = Settings::read(asked.config)?;
    let file = asked.config.display();
    if settings.node.as_deref() != Some(a) {
        let own = settings.node.as_deref().unwrap_or("nobody");
        return Err(usage(format!(
            "{file} is the configuration of {own}; name this host first, as {own},{b}"
        )));
    }
    let peer = settings.peers.iter().find(|peer| peer.name.0 == b);
    // Of several networks the preferred one.
    let (Some(peer), Some(listen)) =
        (peer.and_then(|peer| peer.addresses.first()), settings.listen.first().copied())
    else {
        return Err(usage(format!("{file} does not say where {a} listens and where its peer {b} does")));
    };
    let Some(tls) = settings.tls.filter(|tls| is_plain(&tls.display().to_string())) else {
        return Err(usage(format!(
            "{file} names no certificates (`tls`) in a plain path; a drill on two hosts needs them"
        )));
    };
    let mut ssh: Vec<String> = asked.ssh.split_whitespace().map(str::to_owned).collect();
    if ssh.is_empty() {
        return Err(usage("--ssh has no command".into()));
    }
    ssh.push(b.to_owned());
    let at = |ip, port: u16| SocketAddr::new(ip, port);
    Ok(Pair {
        names: [a, b].map(|name| NodeName(name.to_owned())),
        listen: [at(listen.ip(), asked.port), at(peer.remote.ip(), asked.port)],
        witness: at(listen.ip(), asked.port.saturating_add(1)),
        tls,
        ssh,
        far_program: "understudy".into(),
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    const CONFIG: &str = "node = \"a\"\nlisten = \"192.0.2.1:7001\"\ntls = \"/etc/understudy/tls\"\n[peers]\nb = \"192.0.2.2:7001\"\n";

    fn asked(config: &str, names: &str, failure: Failure) -> Result<Pair, String> {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("node.toml");
        std::fs::write(&path, config).unwrap();
        let asked = Asked { names, config: &path, port: 7201, ssh: "ssh -4", failures: &[failure] };
        pair(&asked).map_err(|error| error.to_string())
    }

    #[test]
    fn the_nodes_configuration_says_where_both_hosts_are() {
        let pair = asked(CONFIG, "a,b", Failure::Kill).unwrap();
        assert_eq!(pair.listen.map(|at| at.to_string()), ["192.0.2.1:7201", "192.0.2.2:7201"]);
        assert_eq!(
            (pair.witness.to_string(), pair.ssh.join(" ")),
            ("192.0.2.1:7202".into(), "ssh -4 b".into())
        );
    }

    #[test]
    fn what_cannot_be_played_there_is_refused_with_what_to_do() {
        let bare = CONFIG.replace("tls = \"/etc/understudy/tls\"\n", "");
        for (config, names, failure, why) in [
            (CONFIG, "a", Failure::Kill, "two names"),
            (CONFIG, "b,a", Failure::Kill, "configuration of a"),
            (CONFIG, "a,c", Failure::Kill, "peer c"),
            (CONFIG, "a,$(x)", Failure::Kill, "usable name"),
            (CONFIG, "a,-oProxyCommand", Failure::Kill, "usable name"),
            (CONFIG, "a,b", Failure::Hang, "not rehearsed"),
            (&bare, "a,b", Failure::Kill, "tls"),
        ] {
            let error = asked(config, names, failure).unwrap_err();
            assert!(error.contains(why), "{names}: {error}");
        }
    }
}
