//! Finds out who is behind an interface that a dead engine left cut off, from Xen, xenstore and the kernel together.
//!
//! ```text
//!   /sys/class/net/vif5.0/device ─► vif-5-0 ─► domain 5 ─┬─ Xen knows none ──────────────► nobody
//!                                                        ├─ label: stands by ────────────► not known: perhaps the only copy
//!                                                        ├─ label: generation, engine ───► a guest of an engine
//!                                                        ├─ label: dead remus -b ────────► a guest that is not protected
//!                                                        └─ anything else ───────────────► not known
//!   another interface (QEMU's tap) ─► by name, among the cards of all domains
//! ```
//!
//! "Nobody" needs proof. What cannot be asked, or is inconsistent, is not known: a guest that was taken over elsewhere
//! must not be let out because xenstored was restarted.

use std::fmt::Display;
use std::fs;
use std::io;
use std::path::Path;
use understudy_checkpoint::Generation;
use understudy_xen::domain_labels::{self, LabelError, Labels};
use understudy_xen::xenstore::{StoreError, Xenstore};
use understudy_xen::{DomId, Xen, XenError, standby, vifs};

/// A domain that an engine ran.
#[derive(Clone, PartialEq, Eq, Debug)]
pub(super) struct Marked {
    pub(super) name: String,
    pub(super) domain: DomId,
    pub(super) generation: Option<Generation>,
}

/// Who is behind an interface.
#[derive(Clone, PartialEq, Eq, Debug)]
pub(super) enum Behind {
    /// Nobody who could send, or nobody whose output has to wait; and why.
    Nobody(String),
    /// A guest of an engine that is gone.
    Guest(Marked),
    /// That cannot be learnt; and why.
    Unknown(String),
}

impl Behind {
    /// The guest's name, if it is known.
    pub(super) fn name(&self) -> Option<&str> {
        match self {
            Self::Guest(Marked { name, .. }) if !name.is_empty() => Some(name),
            _ => None,
        }
    }
}

/// A domain, as this host's tools describe it.
#[derive(Clone, Debug)]
pub(super) struct Seen {
    domain: DomId,
    name: String,
    marks: Labels,
    /// It was made to stand by, and has no past of its own.
    stands_by: bool,
    interfaces: Vec<String>,
}

/// Why it is not known which domains are here.
#[derive(thiserror::Error, Debug)]
pub(super) enum NotSeen {
    #[error("whether Xen runs here: {0}")]
    Kernel(#[from] io::Error),
    #[error(transparent)]
    Xen(#[from] XenError),
    #[error(transparent)]
    Store(#[from] StoreError),
    #[error(transparent)]
    Label(#[from] LabelError),
    #[error("/local/domain/{0} is no domain")]
    NoNumber(String),
}

/// What is known of this host's guests.
pub(super) enum Host {
    /// This host does not run Xen, so it has no Xen guests.
    Bare,
    /// Xen runs. The domains, if they could be listed.
    Xen { xen: Option<Xen>, domains: Result<Vec<Seen>, NotSeen> },
}

impl Host {
    pub(super) fn look() -> Self {
        match runs_xen(Path::new("/")) {
            Ok(false) => Self::Bare,
            Ok(true) => match Xen::open() {
                Ok(xen) => Self::Xen {
                    xen: Some(xen),
                    domains: Xenstore::open().map_err(NotSeen::from).and_then(|mut store| seen(&mut store)),
                },
                Err(error) => Self::Xen { xen: None, domains: Err(error.into()) },
            },
            Err(error) => Self::Xen { xen: None, domains: Err(error.into()) },
        }
    }

    /// Whether guests of Xen may be here.
    pub(super) fn may_have_guests(&self) -> bool {
        !matches!(self, Self::Bare)
    }

    /// Who is behind the interface `name`.
    pub(super) fn behind(&self, name: &str) -> Behind {
        let (xen, domains) = match self {
            Self::Bare => return Behind::Nobody("this host does not run Xen".into()),
            Self::Xen { xen, domains } => (xen, domains),
        };
        let domains = match domains {
            Ok(domains) => domains,
            Err(why) => return Behind::Unknown(why.to_string()),
        };
        match backend_of(Path::new("/"), name) {
            Ok(Some(domain)) => {
                let Some(xen) = xen else { return Behind::Unknown("Xen does not answer".into()) };
                of_domain(domain, xen.domain_info(domain).map(|info| info.is_some()), domains)
            }
            Ok(None) => by_name(name, domains),
            Err(error) => Behind::Unknown(format!("what {name} is: {error}")),
        }
    }
}

/// Whether this kernel runs under Xen, at `root`.
fn runs_xen(root: &Path) -> io::Result<bool> {
    match fs::read_to_string(root.join("sys/hypervisor/type")) {
        Ok(kind) => Ok(kind.trim() == "xen"),
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(root.join("proc/xen").try_exists()?),
        Err(error) => Err(error),
    }
}

/// All domains with their labels and cards. An error about one is an error about all, because a missing domain would
/// look like nobody.
fn seen(store: &mut Xenstore) -> Result<Vec<Seen>, NotSeen> {
    let mut domains = Vec::new();
    for domain in store.directory("/local/domain")? {
        let domain = DomId(domain.parse().map_err(|_| NotSeen::NoNumber(domain))?);
        let marks = domain_labels::all(store, domain)?;
        let stands_by = standby::stands_by(store, domain)?;
        let name = store.read(&format!("/local/domain/{domain}/name"))?;
        let cards = vifs::vifs(store, domain)?;
        let interfaces = cards.into_iter().flat_map(|card| [Some(card.name), card.tap]).flatten().collect();
        domains.push(Seen { domain, name: name.unwrap_or_default(), marks, stands_by, interfaces });
    }
    Ok(domains)
}

/// The domain whose virtual card netback serves by this interface; `None` if it is not such an interface.
fn backend_of(root: &Path, interface: &str) -> io::Result<Option<DomId>> {
    let device = match fs::read_link(root.join("sys/class/net").join(interface).join("device")) {
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(None),
        device => device?,
    };
    let name = device.file_name().and_then(|name| name.to_str()).unwrap_or_default();
    let Some(numbers) = name.strip_prefix("vif-") else { return Ok(None) };
    let domain = numbers.split('-').next().and_then(|number| number.parse().ok());
    domain
        .map(|number| Some(DomId(number)))
        .ok_or_else(|| io::Error::other(format!("{name} names no domain")))
}

/// Who is in a domain; `lives` is Xen's answer.
fn of_domain(domain: DomId, lives: Result<bool, impl Display>, domains: &[Seen]) -> Behind {
    match (lives, domains.iter().find(|seen| seen.domain == domain)) {
        (Err(why), _) => Behind::Unknown(why.to_string()),
        (Ok(false), _) => Behind::Nobody(format!("its domain {domain} is gone")),
        (Ok(true), None) => {
            Behind::Unknown(format!("xenstore does not know domain {domain}, which is there"))
        }
        (Ok(true), Some(seen)) => of_seen(seen),
    }
}

fn of_seen(seen: &Seen) -> Behind {
    let Seen { domain, name, marks, stands_by, .. } = seen;
    match (marks.generation, marks.engine, marks.blackhole) {
        _ if *stands_by => Behind::Unknown(format!(
            "it is a card of {name} (domain {domain}), a copy that stands by or was to become its guest: decide about that domain"
        )),
        (None, None, Some(process)) => match process.runs() {
            Ok(false) => Behind::Nobody(format!(
                "{name} (domain {domain}) was not protected, but looked at by `remus -b`"
            )),
            Ok(true) => Behind::Unknown(format!("`remus -b` (process {}) has it", process.pid)),
            Err(error) => Behind::Unknown(format!("whether process {} runs: {error}", process.pid)),
        },
        (None, None, None) => Behind::Unknown(format!(
            "{name} (domain {domain}) is behind it and says nothing of an engine, which held its output all the same"
        )),
        (generation, ..) => Behind::Guest(Marked { name: name.clone(), domain: *domain, generation }),
    }
}

/// Who has a card of this name.
fn by_name(name: &str, domains: &[Seen]) -> Behind {
    if let Some(seen) = domains.iter().find(|seen| seen.interfaces.iter().any(|its| its == name)) {
        return of_seen(seen);
    }
    let is_marked = |seen: &&Seen| seen.marks.generation.is_some() || seen.marks.engine.is_some();
    match domains.iter().find(is_marked) {
        None => Behind::Nobody("no guest of an engine is on this host".into()),
        // Interfaces can be renamed.
        Some(seen) => Behind::Unknown(format!("it may be a card of {} under another name", seen.name)),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn seen(domain: u16, marks: Labels) -> Seen {
        let interfaces = vec![format!("vif{domain}.0"), format!("vif{domain}.0-emu")];
        Seen { domain: DomId(domain), name: format!("guest{domain}"), marks, stands_by: false, interfaces }
    }

    fn run_under(generation: u64) -> Labels {
        Labels { generation: Some(Generation(generation)), ..Labels::default() }
    }

    /// A process that ended long ago: this process's number with another start time.
    fn gone() -> understudy_xen::process::Process {
        format!("{} 1", std::process::id()).parse().unwrap()
    }

    fn this() -> understudy_xen::process::Process {
        understudy_xen::process::Process::this().unwrap()
    }

    #[test]
    fn only_proof_makes_it_nobody() {
        let domains = [seen(5, run_under(3)), seen(6, Labels::default())];
        let of = |domain, lives: Result<bool, &str>| of_domain(DomId(domain), lives, &domains);
        assert!(matches!(of(5, Ok(true)), Behind::Guest(Marked { generation: Some(Generation(3)), .. })));
        assert!(matches!(of(5, Ok(false)), Behind::Nobody(_)), "a domain that is gone sends nothing");
        assert!(matches!(of(5, Err("no answer")), Behind::Unknown(_)));
        assert!(matches!(of(6, Ok(true)), Behind::Unknown(_)), "its mark may not have been written");
        assert!(
            matches!(of(7, Ok(true)), Behind::Unknown(_)),
            "xenstored was restarted without its database"
        );
    }

    #[test]
    fn what_remus_left_is_let_out_and_what_it_has_is_not() {
        let had_by_remus = |process| Labels { blackhole: Some(process), ..Labels::default() };
        let of = |marks| of_domain(DomId(5), Ok::<_, NotSeen>(true), &[seen(5, marks)]);
        assert!(matches!(of(had_by_remus(gone())), Behind::Nobody(_)));
        assert!(matches!(of(had_by_remus(this())), Behind::Unknown(_)));
        assert!(matches!(of(Labels { engine: Some(gone()), ..had_by_remus(gone()) }), Behind::Guest(_)));
        assert!(matches!(
            of(Labels { generation: Some(Generation(1)), ..had_by_remus(gone()) }),
            Behind::Guest(_)
        ));
    }

    /// A copy that stands by is paused: nobody may be told that it runs.
    #[test]
    fn a_domain_that_stands_by_is_no_guest_that_runs() {
        for marks in [Labels::default(), run_under(3)] {
            let copy = Seen { name: "web--incoming".into(), stands_by: true, ..seen(5, marks) };
            let behind = of_domain(DomId(5), Ok::<_, &str>(true), &[copy]);
            let Behind::Unknown(why) = behind else { panic!("it may be the only copy: {behind:?}") };
            assert!(
                why.contains("web--incoming") && why.contains("stands by") && !why.contains("run"),
                "{why}"
            );
        }
        let silent = of_domain(DomId(6), Ok::<_, &str>(true), &[seen(6, Labels::default())]);
        assert!(
            matches!(&silent, Behind::Unknown(why) if !why.contains("runs")),
            "it may be paused: {silent:?}"
        );
    }

    #[test]
    fn an_interface_that_netback_did_not_make_is_found_by_name_or_not_known() {
        let domains = [seen(5, run_under(3))];
        assert!(matches!(by_name("vif5.0-emu", &domains), Behind::Guest(_)));
        assert!(matches!(by_name("renamed", &domains), Behind::Unknown(_)));
        assert!(matches!(by_name("renamed", &[seen(6, Labels::default())]), Behind::Nobody(_)));
    }

    #[test]
    fn what_cannot_be_asked_is_not_known() {
        let host = Host::Xen { xen: None, domains: Err(StoreError::Closed.into()) };
        assert!(
            matches!(host.behind("vif5.0"), Behind::Unknown(why) if why.contains("closed the connection"))
        );
        assert!(matches!(Host::Bare.behind("tap0"), Behind::Nobody(_)));
    }

    #[test]
    fn the_kernel_says_whose_card_an_interface_is() {
        let root = tempfile::tempdir().unwrap();
        let net = root.path().join("sys/class/net");
        for (interface, device) in
            [("web0", "../../../vif-12-0"), ("eth0", "../../../0000:00:1f.6"), ("odd", "../vif-x-0")]
        {
            fs::create_dir_all(net.join(interface)).unwrap();
            std::os::unix::fs::symlink(device, net.join(interface).join("device")).unwrap();
        }
        fs::create_dir_all(net.join("tap0")).unwrap();
        let of = |interface| backend_of(root.path(), interface);
        assert_eq!(of("web0").unwrap(), Some(DomId(12)), "also if it was renamed");
        assert_eq!((of("eth0").unwrap(), of("tap0").unwrap()), (None, None));
        assert!(of("odd").is_err());
    }

    #[test]
    fn xen_is_there_if_the_kernel_says_so() {
        let root = tempfile::tempdir().unwrap();
        assert!(!runs_xen(root.path()).unwrap());
        fs::create_dir_all(root.path().join("sys/hypervisor")).unwrap();
        fs::write(root.path().join("sys/hypervisor/type"), "xen\n").unwrap();
        assert!(runs_xen(root.path()).unwrap());
        fs::write(root.path().join("sys/hypervisor/type"), "kvm\n").unwrap();
        assert!(!runs_xen(root.path()).unwrap());
    }
}
