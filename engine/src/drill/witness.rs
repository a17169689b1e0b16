//! Which witness a drill has: a process of its own, or an etcd that is there already.
//!
//! In etcd each scene has keys of its own, removed at its end: a guest of an earlier drill would have a record there, which
//! does not let a new one begin.

use super::error::DrillError;
use crate::config::WitnessConfig;
use crate::etcd::{Cluster, EtcdAddress, EtcdConfig, Records, User};
use std::net::SocketAddr;
use std::time::{SystemTime, UNIX_EPOCH};
use understudy_session::NodeName;

/// Keys of one scene in etcd, gone with it.
#[derive(Debug)]
pub struct EtcdKeys {
    config: EtcdConfig,
    records: Records,
}

impl EtcdKeys {
    /// Keys in the cluster of this configuration that nobody else has.
    pub fn new(mut config: EtcdConfig) -> Result<Self, DrillError> {
        let since = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default().as_millis();
        config.address = config.address.below(&format!("drill-{}-{since}", std::process::id()));
        let unusable =
            |why: &dyn std::fmt::Display| DrillError::WrongEnding(format!("etcd cannot be used: {why}"));
        let cluster = Cluster::new(config.clone()).map_err(|why| unusable(&why))?;
        let records = Records::new(cluster, NodeName("drill".into()));
        records.ping().map_err(|why| unusable(&why))?;
        Ok(Self { config, records })
    }

    /// The flags by which a node gets to them, with each member reached at the place given for it.
    pub fn node_flags(&self, members: Vec<SocketAddr>) -> Vec<String> {
        let EtcdConfig { address, certificates, user } = &self.config;
        let address = EtcdAddress { members, ..address.clone() };
        let mut flags = vec![
            "--witness".to_owned(),
            WitnessConfig::Etcd(EtcdConfig { address, ..self.config.clone() }).to_string(),
        ];
        let mut flag = |name: &str, value: String| flags.extend([name.to_owned(), value]);
        if let Some(files) = certificates {
            flag("--etcd-ca", files.ca.display().to_string());
            flag("--etcd-certificate", files.certificate.display().to_string());
            flag("--etcd-key", files.key.display().to_string());
        }
        if let Some(User { name, password_file }) = user {
            flag("--etcd-user", name.clone());
            flag("--etcd-password-file", password_file.display().to_string());
        }
        flags
    }
}

impl Drop for EtcdKeys {
    fn drop(&mut self) {
        if let Err(why) = self.records.remove_all() {
            let prefix = &self.config.address.prefix;
            tracing::warn!(%why, prefix, "The drill's keys stay in etcd; remove those with this prefix");
        }
    }
}
