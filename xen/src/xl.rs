//! Runs stock `xl` for what is left to it: a guest's configuration, building a domain from a stream, destroying a
//! domain with its devices. Each is one process, waited for; its output is in the error.

use crate::DomId;
use crate::xenstore::{StoreError, Xenstore};
use serde_json::Value;
use std::io::{self, Write};
use std::process::{Command, Output, Stdio};
use std::time::{Duration, SystemTime, UNIX_EPOCH};
use understudy_checkpoint::domain::GuestKind;

/// A path to the child's standard input that does not depend on /dev.
const STDIN_PATH: &str = "/proc/self/fd/0";

/// Why xl could not do something.
#[derive(thiserror::Error, Debug)]
pub enum XlError {
    /// xl cannot be started.
    #[error("xl cannot be run ({0}); install Xen's utilities on this host")]
    Run(#[source] io::Error),
    /// xl failed.
    #[error("xl {what} failed: {said}")]
    Failed {
        /// The arguments that xl was called with.
        what: String,
        /// The last lines of its output.
        said: String,
    },
    /// The stream could not be passed to xl.
    #[error("xl took no more of the guest's stream ({source}); it said: {said}")]
    Stream {
        /// Why the file could not be written.
        source: io::Error,
        /// The last lines of xl's output.
        said: String,
    },
    /// A configuration is not valid, or is of another guest.
    #[error("The configuration of {name} is nothing usable: {why}")]
    Answer {
        /// Name of the guest.
        name: String,
        /// What is wrong with the configuration.
        why: String,
    },
    /// There is no such guest.
    #[error("There is no domain named {0} on this host; xl list shows those that there are")]
    NoSuchGuest(String),
    /// Xenstore does not answer.
    #[error(transparent)]
    Store(#[from] StoreError),
}

/// A guest as xl configured it.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct XlGuest {
    /// The domain's number while the guest runs.
    pub domain: DomId,
    /// What kind it is.
    pub kind: GuestKind,
    /// libxl's JSON with its NUL, as in xl's header.
    pub config: Vec<u8>,
    /// The number of network cards.
    pub nics: usize,
    /// The bridges of the network cards, if the configuration names them.
    pub bridges: Vec<String>,
    /// The number of disks.
    pub disks: usize,
    /// The device model, if it is another than QEMU in dom0.
    pub odd_device_model: Option<OddDeviceModel>,
    /// The number of host devices that are passed through.
    pub passed_through: usize,
    /// Whether the guest has devices of other classes, or its own arguments for QEMU, which may add any device.
    pub has_other_devices: bool,
    /// The most vCPUs that it may have.
    pub max_vcpus: u64,
    /// Whether it has virtual NUMA nodes.
    pub has_vnuma: bool,
}

/// A device model other than QEMU in dom0.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum OddDeviceModel {
    /// The QEMU that came with Xen before 4.21.
    Traditional,
    /// QEMU in a stub domain.
    Stubdomain,
}

impl XlGuest {
    /// The running guest of this name.
    pub fn find(name: &str) -> Result<Self, XlError> {
        let domain = domain_named(name)?.ok_or_else(|| XlError::NoSuchGuest(name.into()))?;
        let output = run(&["list", "-l", name])?;
        let wrong = |why: &str| XlError::Answer { name: name.into(), why: why.into() };
        let answer: Value = serde_json::from_slice(&output.stdout).map_err(|why| wrong(&why.to_string()))?;
        let ours = answer.as_array().and_then(|all| all.iter().find(|entry| entry["domid"] == domain.0));
        let config = &ours.ok_or_else(|| wrong("it lists other domains"))?["config"];
        Self::from_config(domain, config).ok_or_else(|| wrong("the configuration names no type of guest"))
    }

    /// A guest that libxl has just built in `domain` from `config`, its JSON. Runs no process.
    pub fn built(name: &str, domain: DomId, config: &[u8]) -> Result<Self, XlError> {
        let wrong = |why: String| XlError::Answer { name: name.into(), why };
        let text = config.strip_suffix(&[0]).unwrap_or(config);
        let config = serde_json::from_slice(text).map_err(|why| wrong(why.to_string()))?;
        Self::from_config(domain, &config)
            .ok_or_else(|| wrong("the configuration names no type of guest".into()))
    }

    fn from_config(domain: DomId, config: &Value) -> Option<Self> {
        let kind = match config["c_info"]["type"].as_str()? {
            "pv" => GuestKind::Pv,
            "pvh" => GuestKind::Pvh,
            "hvm" => GuestKind::Hvm,
            _ => return None,
        };
        let list = |value: &Value| value.as_array().cloned().unwrap_or_default();
        let count = |key: &str| list(&config[key]).len();
        let nics = list(&config["nics"]);
        let build = &config["b_info"];
        let mut json = config.to_string().into_bytes();
        json.push(0);
        Some(Self {
            domain,
            kind,
            config: json,
            nics: nics.len(),
            bridges: nics.iter().filter_map(|nic| Some(nic["bridge"].as_str()?.to_owned())).collect(),
            disks: count("disks"),
            passed_through: count("pcidevs") + count("usbdevs") + count("dtdevs") + host_usb(build),
            has_other_devices: has_other_devices(kind, config),
            odd_device_model: odd_device_model(build),
            max_vcpus: build["max_vcpus"].as_u64().unwrap_or(1),
            has_vnuma: !list(&build["vnuma_nodes"]).is_empty(),
        })
    }
}

/// The most pages of a guest with this configuration (libxl's JSON): its memory, its video memory, and 16 MiB that
/// libxl adds. `None` if the configuration does not say.
pub fn pages_max(config: &[u8]) -> Option<u64> {
    const ADDED_PAGES: u64 = 4096;
    let config: Value = serde_json::from_slice(config.strip_suffix(&[0]).unwrap_or(config)).ok()?;
    let kib = |key: &str| config["b_info"][key].as_u64();
    let memory_kib = kib("max_memkb")?.checked_add(kib("video_memkb").unwrap_or(0))?;
    (memory_kib / 4).checked_add(ADDED_PAGES)
}

/// Parts of a configuration that are not devices, or devices that are checked separately.
const KNOWN_PARTS: [&str; 7] = ["c_info", "b_info", "nics", "disks", "pcidevs", "usbdevs", "dtdevs"];

/// Lists of arguments that are passed to QEMU unchanged.
const QEMU_ARGUMENTS: [&str; 3] = ["extra", "extra_pv", "extra_hvm"];

/// Whether the configuration has devices of unknown classes. Devices that a later libxl adds are unknown.
fn has_other_devices(kind: GuestKind, config: &Value) -> bool {
    let is_empty = |value: &Value| match value {
        Value::Null => true,
        Value::Array(items) => items.is_empty(),
        Value::Object(fields) => fields.is_empty(),
        // Words: what to do when the guest ends.
        _ => true,
    };
    // What QEMU of an HVM guest shows and takes is in its state.
    let is_qemus = |part: &str| kind == GuestKind::Hvm && matches!(part, "vfbs" | "vkbs");
    let parts = config.as_object().into_iter().flatten();
    let is_other = |(part, value): (&String, &Value)| {
        !KNOWN_PARTS.contains(&part.as_str()) && !is_qemus(part) && !is_empty(value)
    };
    parts.into_iter().any(is_other)
        || QEMU_ARGUMENTS.iter().any(|arguments| !is_empty(&config["b_info"][arguments]))
}

/// The USB devices of the host that QEMU passes to an HVM guest: `usbdevice=["host:1.2"]`. Others are emulated.
fn host_usb(build: &Value) -> usize {
    let hvm = &build["type.hvm"];
    let list = hvm["usbdevice_list"].as_array().into_iter().flatten();
    let is_host = |device: &Value| device.as_str().is_some_and(|name| name.starts_with("host"));
    list.chain([&hvm["usbdevice"]]).filter(|device| is_host(device)).count()
}

fn odd_device_model(build: &Value) -> Option<OddDeviceModel> {
    // A defbool, which libxl writes as a word if it is set.
    let stubdomain = &build["device_model_stubdomain"];
    if stubdomain == "True" || stubdomain == true {
        return Some(OddDeviceModel::Stubdomain);
    }
    (build["device_model_version"] == "qemu_xen_traditional").then_some(OddDeviceModel::Traditional)
}

/// The domain with this name, if there is one.
pub fn domain_named(name: &str) -> Result<Option<DomId>, XlError> {
    Ok(domains()?.into_iter().find(|(_, its)| its == name).map(|(domain, _)| domain))
}

/// The domains of this host, with their names if they have any.
pub fn domains() -> Result<Vec<(DomId, String)>, XlError> {
    let mut store = Xenstore::open()?;
    let mut domains = Vec::new();
    for entry in store.directory("/local/domain")? {
        let Ok(domain) = entry.parse() else { continue };
        if let Some(name) = store.read(&format!("/local/domain/{entry}/name"))? {
            domains.push((DomId(domain), name));
        }
    }
    Ok(domains)
}

/// The age of the domain; `None` if libxl did not record it, or recorded a time in the future.
pub fn age(domain: DomId) -> Result<Option<Duration>, StoreError> {
    let mut store = Xenstore::open()?;
    let Some(vm) = store.read(&format!("/local/domain/{domain}/vm"))? else { return Ok(None) };
    let start = store.read(&format!("{vm}/start_time"))?;
    Ok(start.and_then(|start| since(&start, SystemTime::now())))
}

/// The time since `start`, libxl's `start_time`: seconds since 1970, with a fraction.
fn since(start: &str, now: SystemTime) -> Option<Duration> {
    let start = Duration::try_from_secs_f64(start.parse().ok()?).ok()?;
    now.duration_since(UNIX_EPOCH.checked_add(start)?).ok()
}

/// Builds a domain from the stream that `write` writes. The domain stays paused.
pub fn restore(write: impl FnOnce(&mut dyn Write) -> io::Result<()>) -> Result<(), XlError> {
    let what = ["restore", "-p", STDIN_PATH];
    let mut child = Command::new("xl")
        .args(what)
        .stdin(Stdio::piped())
        .stdout(Stdio::null())
        .stderr(Stdio::piped())
        .spawn()
        .map_err(XlError::Run)?;
    let mut input = child.stdin.take().expect("it was asked to be piped");
    let written = write(&mut input);
    drop(input);
    let output = child.wait_with_output().map_err(XlError::Run)?;
    match written {
        _ if output.status.success() => Ok(()),
        Ok(()) => Err(XlError::Failed { what: what.join(" "), said: last_words(&output) }),
        Err(source) => Err(XlError::Stream { source, said: last_words(&output) }),
    }
}

/// Destroys a domain with its devices.
pub fn destroy(domain: DomId) -> Result<(), XlError> {
    run(&["destroy", &domain.to_string()]).map(|_| ())
}

fn run(what: &[&str]) -> Result<Output, XlError> {
    let output = Command::new("xl").args(what).stdin(Stdio::null()).output().map_err(XlError::Run)?;
    if output.status.success() {
        return Ok(output);
    }
    Err(XlError::Failed { what: what.join(" "), said: last_words(&output) })
}

/// The last lines of the output; the first report what went well.
pub(crate) fn last_words(output: &Output) -> String {
    let said = String::from_utf8_lossy(&output.stderr);
    let lines: Vec<&str> = said.lines().collect();
    lines[lines.len().saturating_sub(4)..].join(" / ")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_guest_has_the_pages_of_its_memory_however_far_apart_they_are() {
        let config = br#"{"b_info": {"max_memkb": 131072, "video_memkb": 4096}}"#;
        assert_eq!(pages_max(config), Some(131_072 / 4 + 1024 + 4096));
        assert_eq!(pages_max(b"{\"b_info\": {\"max_memkb\": 65536}}\0"), Some(16_384 + 4096));
        for config in [&b""[..], b"{}", b"[", br#"{"b_info": {"max_memkb": -1}}"#] {
            assert_eq!(pages_max(config), None);
        }
    }

    #[test]
    fn a_device_model_that_is_not_qemu_in_dom0_is_told() {
        let of = |build: Value| {
            let config = serde_json::json!({ "c_info": { "type": "hvm" }, "b_info": build });
            XlGuest::from_config(DomId(3), &config).unwrap().odd_device_model
        };
        let plain =
            serde_json::json!({ "device_model_version": "qemu_xen", "device_model_stubdomain": "False" });
        assert_eq!((of(plain), of(Value::Null)), (None, None));
        let old = serde_json::json!({ "device_model_version": "qemu_xen_traditional" });
        assert_eq!(of(old), Some(OddDeviceModel::Traditional));
        let apart = serde_json::json!({ "device_model_stubdomain": "True" });
        assert_eq!(of(apart), Some(OddDeviceModel::Stubdomain));
    }

    #[test]
    fn devices_of_classes_that_are_not_known_are_seen() {
        let of = |kind: &str, part: &str, value: Value| {
            let mut config = serde_json::json!({
                "c_info": { "type": kind }, "b_info": {}, "nics": [{}], "disks": [{}], "on_reboot": "restart"
            });
            match part.strip_prefix("b_info.") {
                None => config[part] = value,
                Some(part) => config["b_info"][part] = value,
            }
            XlGuest::from_config(DomId(3), &config).unwrap()
        };
        let one = || serde_json::json!([{ "devid": 0 }]);
        for part in [
            "p9s",
            "pvcallsifs",
            "vtpms",
            "usbctrls",
            "channels",
            "vdispls",
            "vsnds",
            "vkbs",
            "vfbs",
            "virtios",
            "rdms",
            "of_a_later_xen",
        ] {
            assert!(of("pvh", part, one()).has_other_devices, "{part}");
            assert!(!of("pvh", part, serde_json::json!([])).has_other_devices, "{part}");
        }
        assert!(!of("hvm", "vkbs", one()).has_other_devices, "QEMU's own");
        assert!(of("hvm", "b_info.extra_hvm", serde_json::json!(["-netdev", "user"])).has_other_devices);
        assert!(!of("pvh", "on_crash", Value::from("destroy")).has_other_devices);
        let usb = |devices: Value| of("hvm", "b_info.type.hvm", devices).passed_through;
        assert_eq!(usb(serde_json::json!({ "usbdevice": "tablet" })), 0);
        assert_eq!(usb(serde_json::json!({ "usbdevice": "host:1.2" })), 1);
        assert_eq!(usb(serde_json::json!({ "usbdevice_list": ["tablet", "host:1.2", "host:1.3"] })), 2);
    }

    #[test]
    fn a_domain_is_as_old_as_libxl_says() {
        let now = UNIX_EPOCH + Duration::from_millis(1_795_795_605_500);
        assert_eq!(since("1795795557.50", now), Some(Duration::from_secs(48)));
        for odd in ["1795795606.0", "", "yesterday", "-1", "NaN", "inf", "1e300"] {
            assert_eq!(since(odd, now), None, "{odd}");
        }
    }

    #[test]
    fn a_configuration_tells_kind_and_devices() {
        let config = serde_json::json!({
            "c_info": { "type": "pvh", "name": "g" },
            "b_info": { "max_vcpus": 2, "vnuma_nodes": [{}] },
            "nics": [{ "devid": 0 }, { "devid": 1, "bridge": "xenbr0" }],
            "pcidevs": [{}, {}],
        });
        let guest = XlGuest::from_config(DomId(3), &config).unwrap();
        assert_eq!((guest.kind, guest.nics, guest.disks, guest.passed_through), (GuestKind::Pvh, 2, 0, 2));
        assert_eq!(
            (guest.bridges.clone(), guest.max_vcpus, guest.has_vnuma),
            (vec!["xenbr0".to_owned()], 2, true)
        );
        assert_eq!(guest.config.last(), Some(&0));
        let json: Value = serde_json::from_slice(&guest.config[..guest.config.len() - 1]).unwrap();
        assert_eq!(json, config);
        assert_eq!(XlGuest::from_config(DomId(3), &serde_json::json!({})), None);
        assert_eq!(XlGuest::built("g", DomId(3), &guest.config).unwrap(), guest);
        for broken in [&b""[..], b"\0", b"{}\0", b"{\"c_info\":7}", &guest.config[..20]] {
            assert!(matches!(XlGuest::built("g", DomId(3), broken), Err(XlError::Answer { .. })));
        }
    }
}
