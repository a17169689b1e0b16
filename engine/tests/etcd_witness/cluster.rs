//! Three real members of etcd, of Debian's packages, which end with the test: killed, paused, restored from a snapshot.

use std::net::{Ipv4Addr, SocketAddr};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::sync::atomic::{AtomicU8, Ordering};
use std::time::{Duration, Instant};

use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;
use understudy::etcd::{Certificates, Cluster, EtcdAddress, EtcdConfig, Records, User};
use understudy_session::NodeName;

/// Whatever is waited for takes seconds; a test that hangs ends.
const GUARD: Duration = Duration::from_secs(60);

const MEMBERS: u16 = 3;

/// A cluster.
pub(crate) struct Etcd {
    directory: tempfile::TempDir,
    host: Ipv4Addr,
    members: Vec<Option<Child>>,
    files: Option<Files>,
    /// Where the data of members is: a restored one is elsewhere.
    data: String,
}

/// Certificates, made for this test.
#[derive(Clone)]
pub(crate) struct Files {
    directory: PathBuf,
}

impl Files {
    fn at(&self, name: &str) -> PathBuf {
        self.directory.join(name)
    }

    /// What a client is configured with.
    pub(crate) fn of(&self, name: &str) -> Certificates {
        Certificates {
            ca: self.at("ca.crt"),
            certificate: self.at(&format!("{name}.crt")),
            key: self.at(&format!("{name}.key")),
        }
    }

    /// An authority; a server's certificate for `host`; and of clients: `node` without a common name, `named` with one, and
    /// `stranger` of another authority.
    fn make(directory: &Path, host: Ipv4Addr) -> Self {
        let files = Self { directory: directory.to_owned() };
        for authority in ["ca", "other-ca"] {
            openssl(
                directory,
                &format!(
                    "req -x509 -newkey ec -pkeyopt ec_paramgen_curve:prime256v1 -nodes -days 2 -subj /CN={authority} -keyout {authority}.key -out {authority}.crt"
                ),
            );
        }
        let subject_names = format!("IP:{host}");
        for (name, subject, authority, names) in [
            ("server", "/", "ca", &*subject_names),
            ("node", "/", "ca", "DNS:a.understudy"),
            ("named", "/CN=a", "ca", "DNS:a.understudy"),
            ("stranger", "/", "other-ca", "DNS:a.understudy"),
        ] {
            let extensions = directory.join(format!("{name}.ext"));
            std::fs::write(
                &extensions,
                format!("basicConstraints=CA:FALSE\nsubjectAltName={names}\nextendedKeyUsage=serverAuth,clientAuth\n"),
            )
            .unwrap();
            openssl(
                directory,
                &format!(
                    "req -newkey ec -pkeyopt ec_paramgen_curve:prime256v1 -nodes -subj {subject} -keyout {name}.key -out {name}.csr"
                ),
            );
            openssl(
                directory,
                &format!(
                    "x509 -req -in {name}.csr -CA {authority}.crt -CAkey {authority}.key -CAcreateserial -days 2 -extfile {name}.ext -out {name}.crt"
                ),
            );
        }
        files
    }
}

fn openssl(directory: &Path, arguments: &str) {
    let mut command = Command::new("openssl");
    command.current_dir(directory).args(arguments.split_whitespace());
    let output = command.output().expect("openssl is installed");
    assert!(output.status.success(), "{arguments}: {}", String::from_utf8_lossy(&output.stderr));
}

impl Etcd {
    /// Three members, over plain loopback, that have a leader.
    pub(crate) fn start() -> Self {
        Self::start_with(false)
    }

    /// Three members that ask clients for certificates.
    pub(crate) fn start_with_certificates() -> Self {
        Self::start_with(true)
    }

    fn start_with(certificates: bool) -> Self {
        static HOSTS: AtomicU8 = AtomicU8::new(0);
        let [.., high, low] = std::process::id().to_be_bytes();
        // A host of its own for each cluster: the ports are etcd's usual ones, and nobody else's there.
        let host = Ipv4Addr::new(127, 200 + HOSTS.fetch_add(1, Ordering::Relaxed), high, low);
        let directory = tempfile::tempdir().unwrap();
        let files = certificates.then(|| Files::make(directory.path(), host));
        let members = (0..MEMBERS).map(|_| None).collect();
        let mut etcd = Self { directory, host, members, files, data: "data".into() };
        (0..MEMBERS).for_each(|number| etcd.begin(number));
        etcd.await_leader();
        etcd
    }

    fn peer_url(&self, number: u16) -> String {
        format!("http://{}:{}", self.host, 2480 + number)
    }

    fn client(&self, number: u16) -> SocketAddr {
        SocketAddr::new(self.host.into(), 2380 + number)
    }

    fn all_peers(&self) -> String {
        let peers: Vec<_> =
            (0..MEMBERS).map(|number| format!("m{number}={}", self.peer_url(number))).collect();
        peers.join(",")
    }

    fn data_of(&self, number: u16) -> PathBuf {
        self.directory.path().join(format!("{}-{number}", self.data))
    }

    /// Starts a member on what its disk holds.
    pub(crate) fn begin(&mut self, number: u16) {
        let scheme = if self.files.is_some() { "https" } else { "http" };
        let client = format!("{scheme}://{}", self.client(number));
        let peer = self.peer_url(number);
        let log = std::fs::File::create(self.directory.path().join(format!("m{number}.log"))).unwrap();
        let mut command = Command::new("etcd");
        command.args(["--name", &format!("m{number}"), "--data-dir"]).arg(self.data_of(number));
        command.args(["--listen-client-urls", &client, "--advertise-client-urls", &client]);
        command.args(["--listen-peer-urls", &peer, "--initial-advertise-peer-urls", &peer]);
        command.args(["--initial-cluster", &self.all_peers(), "--initial-cluster-state", "new"]);
        if let Some(files) = &self.files {
            command
                .arg("--cert-file")
                .arg(files.at("server.crt"))
                .arg("--key-file")
                .arg(files.at("server.key"));
            command.arg("--trusted-ca-file").arg(files.at("ca.crt")).arg("--client-cert-auth");
        }
        command.stdin(Stdio::null()).stdout(Stdio::null()).stderr(log);
        self.members[usize::from(number)] = Some(command.spawn().expect("etcd-server is installed"));
    }

    fn await_leader(&self) {
        let records = self.records("nobody");
        self.wait("the members have a leader", || records.ping().is_ok());
    }

    /// Waits until something is so.
    pub(crate) fn wait(&self, what: &str, mut is_so: impl FnMut() -> bool) {
        let began = Instant::now();
        while !is_so() {
            assert!(began.elapsed() < GUARD, "waited in vain until {what}\n{}", self.logs());
            std::thread::sleep(Duration::from_millis(50));
        }
    }

    fn logs(&self) -> String {
        let log = |number| std::fs::read_to_string(self.directory.path().join(format!("m{number}.log")));
        let ends =
            |number| log(number).unwrap_or_default().lines().rev().take(5).collect::<Vec<_>>().join("\n");
        (0..MEMBERS).map(|number| format!("m{number}:\n{}\n", ends(number))).collect()
    }

    /// Where it is, for a node.
    pub(crate) fn address(&self) -> EtcdAddress {
        let members = (0..MEMBERS).map(|number| self.client(number)).collect();
        EtcdAddress { members, prefix: "understudy".into() }
    }

    /// Only one of its members.
    pub(crate) fn member(&self, number: u16) -> EtcdAddress {
        EtcdAddress { members: vec![self.client(number)], ..self.address() }
    }

    /// Its certificates.
    pub(crate) fn files(&self) -> &Files {
        self.files.as_ref().expect("it has certificates")
    }

    /// Records as a node asks for them, over all members.
    pub(crate) fn records(&self, node: &str) -> Records {
        self.records_at(self.address(), node)
    }

    /// Records as a node asks for them, over these members.
    pub(crate) fn records_at(&self, address: EtcdAddress, node: &str) -> Records {
        let certificates = self.files.as_ref().map(|files| files.of("node"));
        records_of(EtcdConfig { address, certificates, user: None }, node)
    }

    /// The configuration of a client with this certificate and user.
    pub(crate) fn config(&self, certificate: &str, user: Option<User>) -> EtcdConfig {
        let certificates = Some(self.files().of(certificate));
        EtcdConfig { address: self.address(), certificates, user }
    }

    /// SIGKILL.
    pub(crate) fn kill(&mut self, number: u16) {
        if let Some(mut member) = self.members[usize::from(number)].take() {
            member.kill().unwrap();
            member.wait().unwrap();
        }
    }

    /// SIGSTOP.
    pub(crate) fn pause(&self, number: u16) {
        self.signal(number, Signal::SIGSTOP);
    }

    /// SIGCONT.
    pub(crate) fn go_on(&self, number: u16) {
        self.signal(number, Signal::SIGCONT);
    }

    fn signal(&self, number: u16, signal: Signal) {
        let member = self.members[usize::from(number)].as_ref().expect("it runs");
        kill(Pid::from_raw(member.id() as i32), signal).unwrap();
    }

    /// Runs `etcdctl` against one member.
    pub(crate) fn ctl(&self, number: u16, arguments: &[&str]) -> String {
        let scheme = if self.files.is_some() { "https" } else { "http" };
        let mut command = Command::new("etcdctl");
        command.env("ETCDCTL_API", "3");
        command.args(["--endpoints", &format!("{scheme}://{}", self.client(number))]);
        if let Some(files) = &self.files {
            command.arg("--cacert").arg(files.at("ca.crt"));
            command.arg("--cert").arg(files.at("node.crt")).arg("--key").arg(files.at("node.key"));
        }
        let output = command.args(arguments).output().expect("etcd-client is installed");
        assert!(output.status.success(), "{arguments:?}: {}", String::from_utf8_lossy(&output.stderr));
        String::from_utf8(output.stdout).unwrap()
    }

    /// The number of the member that leads.
    pub(crate) fn leader(&self) -> u16 {
        let leads = |number: &u16| {
            let status = self.ctl(*number, &["endpoint", "status", "--write-out", "json"]);
            let status: serde_json::Value = serde_json::from_str(&status).unwrap();
            let status = &status[0]["Status"];
            status["leader"] == status["header"]["member_id"]
        };
        (0..MEMBERS).find(leads).expect("one leads")
    }

    /// Saves a snapshot.
    pub(crate) fn save(&self) -> PathBuf {
        let path = self.directory.path().join("snapshot");
        self.ctl(0, &["snapshot", "save", path.to_str().unwrap()]);
        path
    }

    /// All members are lost, and come back with what a snapshot holds, as an operator restores it.
    pub(crate) fn restore(&mut self, snapshot: &Path) {
        (0..MEMBERS).for_each(|number| self.kill(number));
        self.data = "restored".into();
        for number in 0..MEMBERS {
            let data = self.data_of(number);
            let output = Command::new("etcdctl")
                .env("ETCDCTL_API", "3")
                .args(["snapshot", "restore"])
                .arg(snapshot)
                .args(["--name", &format!("m{number}"), "--initial-cluster", &self.all_peers()])
                .args(["--initial-advertise-peer-urls", &self.peer_url(number), "--data-dir"])
                .arg(data)
                .output()
                .unwrap();
            assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
        }
        (0..MEMBERS).for_each(|number| self.begin(number));
        self.await_leader();
    }

    /// A file in the cluster's directory.
    pub(crate) fn file(&self, name: &str, text: &str) -> PathBuf {
        let path = self.directory.path().join(name);
        std::fs::write(&path, text).unwrap();
        path
    }
}

/// Records by a configuration.
pub(crate) fn records_of(config: EtcdConfig, node: &str) -> Records {
    Records::new(Cluster::new(config).unwrap(), NodeName(node.into()))
}

impl Drop for Etcd {
    fn drop(&mut self) {
        (0..MEMBERS).for_each(|number| self.kill(number));
    }
}
