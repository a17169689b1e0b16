//! The configuration of a new lab guest, and its limits.

use crate::load::Load;
use crate::mac::Mac;
use crate::state::NAME_BYTES_MAX;
use std::net::Ipv4Addr;
use understudy_checkpoint::PAGE_SIZE;

/// Memory of a guest by default.
pub const MEMORY_BYTES_DEFAULT: u64 = 256 << 20;
/// Least memory of a guest.
pub const MEMORY_BYTES_MIN: u64 = 1 << 20;
/// Most memory of a guest: what the load's scattering can address, with a wide margin.
pub const MEMORY_BYTES_MAX: u64 = 1 << 40;

/// Least size of a disk.
pub const DISK_BYTES_MIN: u64 = 64 << 10;
/// Most of a disk.
pub const DISK_BYTES_MAX: u64 = 1 << 40;

/// The configuration of a new guest.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct GuestConfig {
    /// Its name: letters, digits, `.`, `_` and `-`, at most 64.
    pub name: String,
    /// Memory, a multiple of 4096.
    pub memory_bytes: u64,
    /// Address of its network card.
    pub mac: Mac,
    /// IP address of its stack.
    pub ip: Ipv4Addr,
    /// How it dirties memory.
    pub load: Load,
    /// The seed of its random numbers.
    pub seed: u64,
    /// The size of its disk, if it has one: a multiple of 4096. Its table is on it, as far as it reaches.
    pub disk_bytes: Option<u64>,
}

/// The configuration is not valid.
#[derive(thiserror::Error, Clone, PartialEq, Eq, Debug)]
pub enum ConfigError {
    /// The name is not valid in a configuration or a file name.
    #[error("\"{0}\" cannot name a guest; use 1 to 64 of letters, digits, \".\", \"_\" and \"-\"")]
    Name(String),
    /// The memory is too little, too much, or not whole frames.
    #[error("A guest cannot have {0} bytes of memory; use a multiple of 4096 from 1 MiB to 1 TiB")]
    Memory(u64),
    /// The address is not that of a single station.
    #[error("{0} is a group address; a guest's network card needs an address of its own")]
    GroupAddress(Mac),
    /// The host lacks the memory.
    #[error("The host has no memory for a guest of {0} bytes; give the guest less")]
    OutOfMemory(u64),
    /// The disk is too small, too large, or not whole blocks.
    #[error("A guest cannot have a disk of {0} bytes; use a multiple of 4096 from 64 KiB to 1 TiB")]
    Disk(u64),
    /// It is to have a disk, and there is none.
    #[error("The guest is to have a disk of {0} bytes, and this host has none for it")]
    NoDisk(u64),
    /// The vCPU's thread could not be started.
    #[error("The host starts no thread for the guest's vCPU: {0}")]
    Thread(String),
}

impl GuestConfig {
    /// A guest of 256 MiB with the mixed load.
    pub fn new(name: impl Into<String>, mac: Mac, ip: Ipv4Addr) -> Self {
        Self {
            name: name.into(),
            memory_bytes: MEMORY_BYTES_DEFAULT,
            mac,
            ip,
            load: Load::MIXED,
            seed: 0,
            disk_bytes: None,
        }
    }

    /// Checks the configuration.
    pub fn check(&self) -> Result<(), ConfigError> {
        let is_plain = |byte: u8| byte.is_ascii_alphanumeric() || b"._-".contains(&byte);
        if !(1..=NAME_BYTES_MAX).contains(&self.name.len()) || !self.name.bytes().all(is_plain) {
            return Err(ConfigError::Name(self.name.clone()));
        }
        let fits = (MEMORY_BYTES_MIN..=MEMORY_BYTES_MAX).contains(&self.memory_bytes);
        if !fits || !self.memory_bytes.is_multiple_of(PAGE_SIZE as u64) {
            return Err(ConfigError::Memory(self.memory_bytes));
        }
        if let Some(bytes) = self.disk_bytes
            && (!(DISK_BYTES_MIN..=DISK_BYTES_MAX).contains(&bytes)
                || !bytes.is_multiple_of(PAGE_SIZE as u64))
        {
            return Err(ConfigError::Disk(bytes));
        }
        if self.mac.is_group() {
            return Err(ConfigError::GroupAddress(self.mac));
        }
        Ok(())
    }
}
