//! How the processes of a drill are started: their certificates, flags and configuration.

use super::super::error::DrillError;
use super::super::network::{guest_address, guest_name};
use super::super::plan::Plan;
use super::super::sightings::HostId;
use super::{World, name_of};
use crate::child::Process;
use crate::trust::WITNESS;
use crate::trust::keygen::keygen;
use std::io;
use std::path::{Path, PathBuf};
use understudy_session::NodeName;

/// The guests as a configuration file gives them. (A load has commas, so it cannot stand in a `--guest` flag.)
fn guest_tables(plan: &Plan) -> String {
    let table = |number: u16| {
        let address = guest_address(number);
        let disk = plan.disk_bytes.map(|bytes| format!("disk = \"{bytes}\"\n")).unwrap_or_default();
        // A string in TOML is written as in JSON, as long as it is printable.
        format!(
            "[[guest]]\nname = {:?}\nmode = {:?}\nmemory = \"{}\"\nmac = \"{}\"\nip = \"{}\"\nload = {:?}\n{disk}",
            guest_name(number),
            plan.mode.name(),
            plan.memory_bytes,
            address.mac,
            address.ip,
            plan.load,
        )
    };
    (0..plan.guests).map(table).collect()
}

impl World {
    /// Makes what the three know each other by: each trusts the two others.
    pub(super) fn make_certificates(&mut self) -> Result<(), DrillError> {
        if let Some(pair) = &self.plan.pair {
            self.far = Some(pair.make_certificates(&self.directory)?);
            return Ok(());
        }
        if self.plan.plain {
            return Ok(());
        }
        let names = [HostId::A.to_string(), HostId::B.to_string(), WITNESS.to_owned()];
        let failed = |error: &dyn std::fmt::Display| {
            DrillError::system("make certificates")(io::Error::other(error.to_string()))
        };
        let made = names.each_ref().map(|name| keygen(&self.tls(name), &NodeName(name.clone())));
        for (name, made) in names.iter().zip(made) {
            let made = made.map_err(|error| failed(&error))?;
            for other in names.iter().filter(|other| *other != name) {
                let pin = self.tls(other).join("trust").join(format!("{name}.crt"));
                std::fs::copy(&made.certificate, pin).map_err(|error| failed(&error))?;
            }
        }
        Ok(())
    }

    /// Where the certificates of one of the three are.
    fn tls(&self, name: &str) -> PathBuf {
        self.directory.join(format!("{name}.tls"))
    }

    /// The flags by which one of the three goes by its certificates.
    fn tls_flags(&self, name: &str) -> Vec<String> {
        match self.plan.plain {
            true => Vec::new(),
            false => vec!["--tls".into(), self.tls(name).display().to_string()],
        }
    }

    /// Starts the witness on its state directory, new or used.
    pub fn start_witness(&mut self) -> Result<(), DrillError> {
        let state = self.directory.join("witness");
        let arguments = ["witness", "--listen", &self.wires.witness().to_string(), "--state"]
            .map(str::to_owned)
            .into_iter()
            .chain([state.display().to_string()])
            .chain(self.tls_flags(WITNESS))
            .collect::<Vec<_>>();
        self.witness = Some(self.spawn("witness", &arguments)?);
        Ok(())
    }

    pub(super) fn start_primary(&mut self, host: HostId) -> Result<(), DrillError> {
        let config = self.directory.join(format!("{host}.toml"));
        let attempt = || DrillError::system("write a node's configuration");
        std::fs::write(&config, guest_tables(&self.plan)).map_err(attempt())?;
        let mut arguments = self.node_arguments(host);
        arguments.extend(["--config".into(), config.display().to_string()]);
        let process = self.spawn(&host.to_string(), &arguments)?;
        *self.host_mut(host) = Some(process);
        Ok(())
    }

    /// Starts a host without guests: a new one, or one that comes back in place of a dead one.
    pub fn start_secondary(&mut self, host: HostId) -> Result<(), DrillError> {
        if let Some(far) = self.far.as_ref().filter(|_| self.is_far(host)) {
            let (switch, control) = (self.switch.path(), self.control_path(host));
            let command = far.node_command(switch, &control, &self.node_arguments(host))?;
            let log = self.directory.join(format!("{host}.log"));
            let process = Process::start_held(Path::new(&command[0]), &command[1..], &log)
                .map_err(DrillError::system("start ssh to the other host"))?;
            *self.host_mut(host) = Some(process);
            return Ok(());
        }
        let arguments = self.node_arguments(host);
        let process = self.spawn(&host.to_string(), &arguments)?;
        *self.host_mut(host) = Some(process);
        Ok(())
    }

    fn node_arguments(&self, host: HostId) -> Vec<String> {
        let here = |path: &Path| path.display().to_string();
        let (control, uplink, state) = match self.far.as_ref().filter(|_| self.is_far(host)) {
            Some(far) => (far.at("control.sock"), far.at("switch.sock"), far.at("state")),
            None => (here(&self.control_path(host)), here(self.switch.path()), here(&self.directory)),
        };
        [
            "node",
            "--node",
            &name_of(&self.plan, host),
            "--listen",
            &self.wires.host(host).to_string(),
            "--peer",
            &format!("{}={}", name_of(&self.plan, host.other()), self.wires.peer_of(host)),
            "--control",
            &control,
            "--uplink",
            &uplink,
            // Not that of a node of this machine.
            "--state",
            &state,
        ]
        .into_iter()
        .map(str::to_owned)
        .chain(self.metrics_flags(host))
        .chain(self.witness_flags(host))
        .chain(self.plan.host_flags())
        .chain(self.disk_flags(host))
        .chain(match self.far.as_ref().filter(|_| self.is_far(host)) {
            Some(far) => vec!["--tls".into(), far.at("tls")],
            None => self.tls_flags(&host.to_string()),
        })
        .collect()
    }

    /// Each host has the guests' disks in a directory of its own.
    fn disk_flags(&self, host: HostId) -> Vec<String> {
        let directory = self.directory.join(format!("{host}.disks")).display().to_string();
        self.plan.disk_bytes.map(|_| vec!["--lab-disks".into(), directory]).unwrap_or_default()
    }

    fn metrics_flags(&self, host: HostId) -> Vec<String> {
        let at = self.wires.metrics(host).to_string();
        if self.plan.wants_spreads { vec!["--metrics".into(), at] } else { Vec::new() }
    }

    fn witness_flags(&self, host: HostId) -> Vec<String> {
        let places = self.wires.witness_of(host);
        match &self.etcd {
            Some(etcd) => etcd.node_flags(places),
            None => places.iter().flat_map(|at| ["--witness".to_owned(), at.to_string()]).collect(),
        }
    }

    fn spawn(&self, name: &str, arguments: &[String]) -> Result<Process, DrillError> {
        let log = self.directory.join(format!("{name}.log"));
        Process::start(&self.program, arguments, &log)
            .map_err(DrillError::system(format!("start process {name}")))
    }
}
