//! `understudy invite | join | trust | reload`: who is trusted by this host, and since when.
//!
//! ```text
//!   on a:  invite b ──► a line                 on b:  the line (join) ──► trust/a.crt here, trust/b.crt on a
//!   trust list · trust remove b · reload       what stands there, who goes, and that processes read it anew
//! ```

use super::keygen::TLS_DEFAULT;
use super::status::days_until;
use super::{CliError, Exit, NodeArgs, OutputFormat, print, print_json};
use crate::config::human::parse_remote;
use crate::names::check_new_name;
use crate::trust::invitation::{GOOD_FOR, Token, invite};
use crate::trust::keygen::keygen;
use crate::trust::{self, Credentials, CredentialsError, Fingerprint, JoinError, join};
use std::net::SocketAddr;
use std::path::PathBuf;
use std::time::SystemTime;
use understudy_session::NodeName;

/// Where certificates are.
#[derive(clap::Args, Debug)]
struct Directory {
    /// Directory with this host's certificate, and with those that it trusts
    #[arg(long, value_name = "DIR", default_value = TLS_DEFAULT)]
    tls: PathBuf,
}

/// Arguments of `invite`.
#[derive(clap::Args, Debug)]
pub(super) struct InviteArgs {
    /// Name of the node that is to join, or `witness`
    #[arg(value_name = "NAME")]
    name: String,
    /// Address at which the joining node reaches this node or witness: its --listen, as seen from there
    #[arg(long, value_name = "ADDR", value_parser = parse_remote)]
    address: SocketAddr,
    #[command(flatten)]
    directory: Directory,
}

/// Arguments of `join`.
#[derive(clap::Args, Debug)]
pub(super) struct JoinArgs {
    /// Name of this node, as it was invited
    #[arg(value_name = "NAME")]
    name: String,
    /// Address of the inviter
    #[arg(value_name = "ADDR", value_parser = parse_remote)]
    address: SocketAddr,
    /// Fingerprint of the inviter's certificate
    #[arg(value_name = "FINGERPRINT")]
    inviter: Fingerprint,
    /// The token of the invitation
    #[arg(value_name = "TOKEN")]
    token: Token,
    #[command(flatten)]
    directory: Directory,
}

/// The subcommands of `trust`.
#[derive(clap::Subcommand, Debug)]
pub(super) enum TrustCommand {
    /// Show this host's certificate and those that it trusts
    List(ListArgs),
    /// Stop trusting a node: its link ends at once
    Remove(RemoveArgs),
}

/// Arguments of `trust list`.
#[derive(clap::Args, Debug)]
pub(super) struct ListArgs {
    #[command(flatten)]
    directory: Directory,
    /// Format of the answer
    #[arg(long, value_name = "FORM", value_enum, default_value_t)]
    output: OutputFormat,
}

/// Arguments of `trust remove`.
#[derive(clap::Args, Debug)]
pub(super) struct RemoveArgs {
    /// Name of the node
    #[arg(value_name = "NAME")]
    name: String,
    #[command(flatten)]
    directory: Directory,
    #[command(flatten)]
    node: NodeArgs,
}

/// Arguments of `reload`.
#[derive(clap::Args, Debug)]
pub(super) struct ReloadArgs {
    #[command(flatten)]
    node: NodeArgs,
}

/// Makes an invitation and prints the line that takes it.
pub(super) fn run_invite(args: &InviteArgs) -> Result<Exit, CliError> {
    let InviteArgs { name, address, directory: Directory { tls } } = args;
    check_new_name(name)?;
    // This host's own name is not needed, because nothing is dialled.
    let own = Credentials::load(tls, &NodeName(String::new()))?;
    let name = NodeName(name.clone());
    let attempt = format!("{name} cannot be invited by a file in {}", tls.display());
    let token =
        invite(tls, &name, SystemTime::now()).map_err(|source| CliError::System { attempt, source })?;
    print(&format!(
        "On the host of {name}, within {} min, once:\n\n    understudy join {name} {address} {:#} {token}\n\nThis end shows the \
         certificate {}",
        GOOD_FOR.as_secs() / 60,
        own.fingerprint(),
        own.fingerprint(),
    ))?;
    Ok(Exit::Ok)
}

/// Delivers this host's certificate to the inviter, and creates the certificate if there is none.
pub(super) fn run_join(args: &JoinArgs) -> Result<Exit, CliError> {
    let JoinArgs { name, address, inviter, token, directory: Directory { tls } } = args;
    check_new_name(name)?;
    let name = NodeName(name.clone());
    if !tls.join("own.crt").exists() {
        keygen(tls, &name)?;
    }
    let own = Credentials::load(tls, &name)?;
    let joined = join(&own, *address, *inviter, token)?;
    print(&format!(
        "{name} shows:  {}\n{inviter} shows:  {}\nEach trusts the other. A node or witness that runs here reads it by \
         `understudy reload`, or by SIGHUP.",
        own.fingerprint(),
        joined.shows,
        inviter = joined.inviter,
    ))?;
    Ok(Exit::Ok)
}

/// Lists the trusted nodes, or removes one and makes the node reload.
pub(super) fn run_trust(command: TrustCommand) -> Result<Exit, CliError> {
    match command {
        TrustCommand::List(args) => list(&args),
        TrustCommand::Remove(args) => remove(&args),
    }
}

fn list(args: &ListArgs) -> Result<Exit, CliError> {
    let own = Credentials::load(&args.directory.tls, &NodeName(String::new()))?;
    let expires = own.expires_at().map(|at| at.as_secs());
    let pins: Vec<(&str, Vec<Fingerprint>)> =
        own.pins().map(|(name, pins)| (name.0.as_str(), pins.collect())).collect();
    if args.output == OutputFormat::Json {
        let trusted = pins.iter().map(|(name, pins)| {
            let pins: Vec<_> = pins.iter().map(|pin| format!("{pin:#}")).collect();
            serde_json::json!({ "name": name, "fingerprints": pins })
        });
        print_json(&serde_json::json!({
            "own": format!("{:#}", own.fingerprint()),
            "expires": expires,
            "authority": own.has_authority(),
            "trusted": trusted.collect::<Vec<_>>(),
        }))?;
        return Ok(Exit::Ok);
    }
    let mut lines = vec![format!("own      {}", own.fingerprint())];
    if let Some(expires) = expires {
        lines.push(format!("         by the authority's word for {} days more", days_until(expires)));
    }
    for (name, pins) in &pins {
        lines.extend(pins.iter().map(|pin| format!("{name:8} {pin}")));
    }
    if own.has_authority() {
        lines.push("and whom the authority of ca.crt vouches for".into());
    } else if pins.is_empty() {
        lines.push("nobody is trusted yet".into());
    }
    print(&lines.join("\n"))?;
    Ok(Exit::Ok)
}

fn remove(args: &RemoveArgs) -> Result<Exit, CliError> {
    let name = NodeName(args.name.clone());
    check_new_name(&name.0)?;
    if !trust::remove(&args.directory.tls, &name)? {
        return Err(CliError::Refused(format!(
            "{name} is not trusted by a file in {}; `understudy trust list` shows who is",
            args.directory.tls.display()
        )));
    }
    match args.node.client()?.reload() {
        Ok(()) => print(&format!("{name} is trusted no more; its link has ended, if it had one"))?,
        Err(error) => print(&format!(
            "{name} is trusted no more by what starts from now on. What runs with this directory has to read it anew by \
             SIGHUP: {error}"
        ))?,
    }
    Ok(Exit::Ok)
}

/// Has the node read its certificates anew.
pub(super) fn run_reload(args: &ReloadArgs) -> Result<Exit, CliError> {
    args.node.client()?.reload()?;
    print("certificates read anew")?;
    Ok(Exit::Ok)
}

impl From<CredentialsError> for CliError {
    fn from(error: CredentialsError) -> Self {
        Self::Usage(error.to_string())
    }
}

impl From<JoinError> for CliError {
    fn from(error: JoinError) -> Self {
        Self::Refused(error.to_string())
    }
}
