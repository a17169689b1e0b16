//! The part of libxl's JSON configuration that a stream's reader needs.

use super::limits::{MEMORY_BYTES_SLACK, MEMORY_BYTES_UNCONFIGURED};
use crate::domain::GuestKind;
use serde::Deserialize;

/// A guest's configuration from a stream. Every part may be missing; only xl streams have any.
#[derive(Clone, PartialEq, Eq, Debug, Default)]
pub struct GuestConfig {
    /// The guest's name.
    pub name: Option<String>,
    /// The kind of guest. libxc does not distinguish HVM from PVH; only this does.
    pub kind: Option<GuestKind>,
    /// The most memory that the guest may have, in KiB.
    pub memory_kib_max: Option<u64>,
}

#[derive(Deserialize, Default)]
struct Json {
    #[serde(default)]
    c_info: CreateInfo,
    #[serde(default)]
    b_info: BuildInfo,
}

#[derive(Deserialize, Default)]
struct CreateInfo {
    r#type: Option<String>,
    name: Option<String>,
}

#[derive(Deserialize, Default)]
struct BuildInfo {
    max_memkb: Option<u64>,
    video_memkb: Option<u64>,
}

impl GuestConfig {
    /// Parses the configuration of an xl header, with or without its NUL. If it is not libxl's JSON, every part is
    /// missing.
    pub fn read(config: &[u8]) -> Self {
        let text = config.strip_suffix(&[0]).unwrap_or(config);
        let json: Json = serde_json::from_slice(text).unwrap_or_default();
        let kind = match json.c_info.r#type.as_deref() {
            Some("pv") => Some(GuestKind::Pv),
            Some("hvm") => Some(GuestKind::Hvm),
            Some("pvh") => Some(GuestKind::Pvh),
            _ => None,
        };
        let video_kib = json.b_info.video_memkb.unwrap_or(0);
        let memory_kib_max = json.b_info.max_memkb.map(|kib| kib.saturating_add(video_kib));
        Self { name: json.c_info.name, kind, memory_kib_max }
    }

    /// Most bytes that the guest's pages may take.
    pub fn image_bytes_max(&self) -> u64 {
        match self.memory_kib_max {
            Some(kib) => kib.saturating_mul(1024).saturating_add(MEMORY_BYTES_SLACK),
            None => MEMORY_BYTES_UNCONFIGURED,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_configuration_tells_name_kind_and_memory() {
        let text =
            br#"{"c_info": {"type": "pvh", "name": "web"}, "b_info": {"max_memkb": 4096, "video_memkb": 0}}"#;
        let config = GuestConfig::read(&[&text[..], &[0]].concat());
        assert_eq!(config.name.as_deref(), Some("web"));
        assert_eq!((config.kind, config.memory_kib_max), (Some(GuestKind::Pvh), Some(4096)));
    }

    #[test]
    fn anything_else_says_nothing() {
        for text in [&b""[..], b"{", b"name = 'web'", b"{\"c_info\": 5}", &[b'['; 100_000]] {
            assert_eq!(GuestConfig::read(text), GuestConfig::default());
        }
    }
}
