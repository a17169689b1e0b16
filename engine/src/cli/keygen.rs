//! `understudy keygen`: makes the certificate by which other hosts know this one.

use super::{CliError, Exit, print};
use crate::names::check_new_name;
use crate::trust::keygen::{KeygenError, keygen};
use std::path::PathBuf;
use understudy_session::NodeName;

/// Arguments of `keygen`.
#[derive(clap::Args, Debug)]
pub(super) struct Args {
    /// Name of the node, or `witness`
    #[arg(value_name = "NAME")]
    name: String,
    /// Directory for the key and the certificate; created if missing. Existing files are not replaced
    #[arg(long, value_name = "DIR", default_value = TLS_DEFAULT)]
    tls: PathBuf,
}

/// Default directory of a host's certificate.
pub(super) const TLS_DEFAULT: &str = "/etc/understudy/tls";

/// Makes the files, and says what to do with them.
pub(super) fn run(args: &Args) -> Result<Exit, CliError> {
    let Args { name, tls } = args;
    check_new_name(name)?;
    let made = keygen(tls, &NodeName(name.clone()))?;
    print(&format!(
        "{name}: {}\nThe private key is {}; it stays here. Copy {} to each host that {name} has a link with, as trust/{name}.crt \
         in the directory that is its --tls.",
        made.fingerprint,
        tls.join("own.key").display(),
        made.certificate.display(),
    ))?;
    Ok(Exit::Ok)
}

impl From<KeygenError> for CliError {
    fn from(error: KeygenError) -> Self {
        let text = error.to_string();
        match error {
            KeygenError::IsThere(_) => Self::Refused(text),
            KeygenError::System { .. } => Self::Usage(text),
            KeygenError::Library(_) => Self::Internal(text),
        }
    }
}
