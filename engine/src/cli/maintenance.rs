//! `understudy maintenance on|off`: a node takes no new copies while a person works on its host.
//!
//! Not here: moving what runs there ([`evacuate`](super::evacuate)).

use super::{CliError, ControlArgs, Exit, OutputFormat, print};

/// Arguments of `maintenance`.
#[derive(clap::Args, Debug)]
pub(super) struct Args {
    /// on: accept no copy that is not held already; off: accept copies again
    #[arg(value_name = "on|off")]
    wanted: Wanted,
    #[command(flatten)]
    control: ControlArgs,
}

#[derive(clap::ValueEnum, Clone, Copy, PartialEq, Eq, Debug)]
enum Wanted {
    On,
    Off,
}

/// Switches maintenance, and prints its state.
pub(super) fn run(args: Args) -> Result<Exit, CliError> {
    let client = args.control.client()?;
    client.maintenance(args.wanted == Wanted::On)?;
    let status = client.status()?;
    let node = &status.node;
    match args.control.output {
        OutputFormat::Json => {
            let maintenance = status.maintenance;
            print(&serde_json::json!({ "node": node, "maintenance": maintenance }).to_string())?;
        }
        OutputFormat::Text if status.maintenance.on => print(&format!(
            "{node} is in maintenance: it takes no new copies, also after a restart. What runs there is protected as before, and \
             moves by `understudy evacuate`"
        ))?,
        OutputFormat::Text => print(&format!("{node} is not in maintenance: it takes copies"))?,
    }
    Ok(Exit::Ok)
}
