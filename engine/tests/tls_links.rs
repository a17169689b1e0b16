//! Links and the witness over mutual TLS, between real processes: who is let in, who is not, and what both ends say of it.
//!
//! Not here: the channel in memory (`connection/channel/tests.rs`).

#[path = "support/asking.rs"]
mod asking;
#[path = "support/connected.rs"]
mod connected;
#[path = "support/keys.rs"]
mod keys;
mod support;

use asking::{GUEST, client, guest, wait_for};
use connected::connected;
use keys::{make, three, tls, trust};
use rcgen::{
    BasicConstraints, CertificateParams, CertificateRevocationListParams, CertifiedIssuer, IsCa, KeyIdMethod,
    KeyPair, KeyUsagePurpose, RevokedCertParams, SerialNumber, date_time_ymd,
};
use std::fs;
use std::io::{Read, Write};
use std::net::{SocketAddr, TcpListener, TcpStream};
use std::os::unix::fs::PermissionsExt;
use std::path::Path;
use std::process::Command;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::thread;
use support::{HANG_GUARD, Running, free_address, node, witness};
use understudy::connection::Channel;
use understudy::control::{Client, GuestState};
use understudy::trust::Credentials;
use understudy_session::NodeName;

/// Waits until the reason why there is no link to `peer` has these words.
fn says(client: &Client, peer: &str, words: &str) {
    wait_for(client, |status| {
        let peer = status.peers.iter().find(|it| it.node == peer)?;
        (!peer.connected && peer.reason.contains(words)).then_some(())
    });
}

/// Processes with a protected guest on a; the copy is on b.
struct Protected {
    root: tempfile::TempDir,
    a: Running,
    _b: Running,
    _witness: Running,
    at_a: SocketAddr,
    at_b: SocketAddr,
}

fn protected() -> Protected {
    let root = tempfile::tempdir().unwrap();
    three(root.path());
    let (at_a, at_b, listen) = (free_address(), free_address(), free_address().to_string());
    let dirs = ["a", "b", "witness"].map(|name| tls(root.path(), name).display().to_string());
    let (witness, _, _) = witness(root.path(), &listen, &["--tls", &dirs[2]]);
    let (to_a, to_b) = (format!("a={at_a}"), format!("b={at_b}"));
    let of_b = ["--tls", &dirs[1], "--witness", &listen, "--peer", &to_a];
    let (b, _) = node("b", root.path(), at_b, &of_b);
    let of_a = ["--tls", &dirs[0], "--witness", &listen, "--peer", &to_b, "--guest", GUEST];
    let (a, _) = node("a", root.path(), at_a, &of_a);
    wait_for(&client(root.path(), "a"), |status| guest(status, |guest| guest.protected));
    Protected { root, a, _b: b, _witness: witness, at_a, at_b }
}

#[test]
fn a_guest_is_protected_and_taken_over_and_the_witness_knows_both_by_their_certificates() {
    let Protected { root, mut a, _b, _witness, .. } = protected();
    a.0.kill().unwrap();
    a.0.wait().unwrap();
    let taken = wait_for(&client(root.path(), "b"), |status| guest(status, |it| it.takeover.is_some()));
    assert_eq!(taken.state, GuestState::Unprotected);
}

/// A node b with the certificates of `keys`, or without any, for as long as the closure runs.
fn as_b(root: &Path, keys: Option<&str>, at_b: SocketAddr, at_a: SocketAddr, judge: impl FnOnce(&Client)) {
    let peer = format!("a={at_a}");
    let directory = keys.map(|keys| tls(root, keys).display().to_string());
    let mut more = vec!["--peer", &*peer];
    more.extend(directory.as_deref().into_iter().flat_map(|directory| ["--tls", directory]));
    let _b = node("b", root, at_b, &more);
    judge(&client(root, "b"));
}

#[test]
fn who_is_not_the_peer_gets_no_link_and_both_ends_say_why() {
    let root = tempfile::tempdir().unwrap();
    let root = root.path();
    make(root, &["a", "b", "c", "impostor"]);
    trust(root, "a", "b", "b");
    trust(root, "a", "c", "c");
    for who in ["b", "c", "impostor"] {
        trust(root, who, "a", "a");
    }
    let (at_a, at_b) = (free_address(), free_address());
    let (directory, peer) = (tls(root, "a").display().to_string(), format!("b={at_b}"));
    let _a = node("a", root, at_a, &["--tls", &directory, "--peer", &peer]);
    let a = client(root, "a");

    // A key of its own, and b's name in everything that it says.
    as_b(root, Some("impostor"), at_b, at_a, |b| {
        says(&a, "b", "not among those that are trusted here");
        says(b, "a", "does not trust this end's certificate");
    });
    // Another node, which a trusts as what it is.
    as_b(root, Some("c"), at_b, at_a, |b| {
        says(&a, "b", "its certificate is that of c, and b was asked for");
        says(b, "a", "This certificate is that of c, and the hello says b");
    });
    // No TLS.
    as_b(root, None, at_b, at_a, |b| {
        says(&a, "b", "started with --tls as this end is");
        says(b, "a", "closed the connection");
    });
    as_b(root, Some("b"), at_b, at_a, |b| {
        wait_for(&a, |status| connected(status, "b"));
        wait_for(b, |status| connected(status, "a"));
    });
}

#[test]
fn the_witness_takes_a_node_for_whom_its_certificate_names_and_is_taken_for_itself_alone() {
    let root = tempfile::tempdir().unwrap();
    let root = root.path();
    make(root, &["a", "c", "witness"]);
    for (who, whose) in [("witness", "a"), ("witness", "c"), ("a", "witness"), ("a", "c"), ("c", "witness")] {
        trust(root, who, whose, whose);
    }
    let listen = free_address().to_string();
    let directories = ["a", "c", "witness"].map(|name| tls(root, name).display().to_string());
    let reason = |node: &str, words: &str| {
        wait_for(&client(root, node), |status| {
            let witness = &status.witness;
            let reason = &witness.reason;
            (!witness.connected && reason.contains(words)).then_some(())
        });
    };
    {
        let (_witness, _, _) = witness(root, &listen, &["--tls", &directories[2]]);
        // c would change a's records.
        let _c = node("a", root, free_address(), &["--tls", &directories[1], "--witness", &listen]);
        reason("a", "This certificate is that of c, and the hello says a");
    }
    // c is where the witness should be.
    let (_c, _, _) = witness(root, &listen, &["--tls", &directories[1]]);
    let _a = node("a", root, free_address(), &["--tls", &directories[0], "--witness", &listen]);
    reason("a", "its certificate is that of c, and witness was asked for");
}

/// How a node that is started with this directory ends, and what it says.
fn refused(root: &Path, directory: &Path) -> String {
    let said = Command::new(env!("CARGO_BIN_EXE_understudy"))
        .args(["node", "--node", "a", "--listen", "127.0.0.1:0", "--control"])
        .arg(root.join("refused.sock"))
        .arg("--tls")
        .arg(directory)
        .output()
        .unwrap();
    assert_eq!(said.status.code(), Some(2), "{said:?}");
    String::from_utf8(said.stderr).unwrap()
}

#[test]
fn a_key_that_others_can_read_or_that_is_anothers_is_not_used() {
    let root = tempfile::tempdir().unwrap();
    let root = root.path();
    make(root, &["a", "b"]);
    let a = tls(root, "a");
    let key = a.join("own.key");
    assert_eq!(fs::metadata(&key).unwrap().permissions().mode() & 0o777, 0o600, "as it is made");
    for (mode, is_taken) in [(0o644, false), (0o604, false), (0o660, false), (0o640, true), (0o400, true)] {
        fs::set_permissions(&key, fs::Permissions::from_mode(mode)).unwrap();
        let loaded = Credentials::load(&a, &NodeName("a".into()));
        assert_eq!(loaded.is_ok(), is_taken, "{mode:o}");
    }
    fs::set_permissions(&key, fs::Permissions::from_mode(0o644)).unwrap();
    assert!(refused(root, &a).contains("may be read by others"));
    fs::set_permissions(&key, fs::Permissions::from_mode(0o600)).unwrap();

    // b's key under a's certificate.
    fs::copy(tls(root, "b").join("own.key"), &key).unwrap();
    assert!(refused(root, &a).contains("cannot be used together"));
    fs::remove_file(&key).unwrap();
    assert!(refused(root, &a).contains("understudy keygen"));
    fs::write(&key, "no key").unwrap();
    fs::set_permissions(&key, fs::Permissions::from_mode(0o600)).unwrap();
    assert!(refused(root, &a).contains("private key"));
    // One certificate cannot be two nodes'.
    let b = tls(root, "b");
    fs::copy(a.join("own.crt"), b.join("trust/x.crt")).unwrap();
    fs::copy(a.join("own.crt"), b.join("trust/y.crt")).unwrap();
    assert!(refused(root, &b).contains("each has its own"));
}

/// Passes one connection through to `to`, and gives what the end that connected sent.
fn record(listener: TcpListener, to: SocketAddr) -> thread::JoinHandle<Vec<u8>> {
    thread::spawn(move || {
        let (mut near, _) = listener.accept().unwrap();
        let mut far = TcpStream::connect(to).unwrap();
        let (mut near_again, mut far_again) = (near.try_clone().unwrap(), far.try_clone().unwrap());
        thread::spawn(move || std::io::copy(&mut far_again, &mut near_again));
        let mut recorded = Vec::new();
        let mut piece = [0; 4096];
        while recorded.len() < 1 << 20 {
            match near.read(&mut piece) {
                Ok(count @ 1..) if far.write_all(&piece[..count]).is_ok() => {
                    recorded.extend(&piece[..count]);
                }
                _ => break,
            }
        }
        let _ = far.shutdown(std::net::Shutdown::Both);
        recorded
    })
}

#[test]
fn a_recorded_conversation_delivers_nothing_when_it_is_replayed() {
    let root = tempfile::tempdir().unwrap();
    let root = root.path();
    three(root);
    let (at_a, at_b) = (free_address(), free_address());
    let directories = ["a", "b"].map(|name| tls(root, name).display().to_string());
    let _b = node("b", root, at_b, &["--tls", &directories[1]]);
    let b = client(root, "b");
    wait_for(&b, |_| Some(()));
    let between = TcpListener::bind("127.0.0.1:0").unwrap();
    let peer = format!("b={}", between.local_addr().unwrap());
    let recorded = record(between, at_b);
    {
        let a = node("a", root, at_a, &["--tls", &directories[0], "--peer", &peer]);
        wait_for(&b, |status| connected(status, "a"));
        drop(a);
    }
    let recorded = recorded.join().unwrap();
    wait_for(&b, |status| connected(status, "a").is_none().then_some(()));
    assert!(recorded.len() > 600, "a handshake and a hello: {} bytes", recorded.len());
    let mut again = TcpStream::connect(at_b).unwrap();
    again.set_read_timeout(Some(HANG_GUARD)).unwrap();
    again.write_all(&recorded).unwrap();
    // It answers the hello of TLS, and then cannot read what was sealed for another connection.
    let mut answer = Vec::new();
    let _ = again.read_to_end(&mut answer);
    assert!(!answer.is_empty());
    assert!(connected(&b.status().unwrap(), "a").is_none());
}

/// A beginning of TLS by somebody whom nobody trusts.
fn first_words(stranger: &Arc<Credentials>) -> Vec<u8> {
    let mut channel = Channel::dial(stranger.clone(), &NodeName("b".into())).unwrap();
    let mut words = Vec::new();
    channel.drain(&mut words).unwrap();
    words
}

#[test]
fn thousands_of_handshakes_that_never_end_leave_a_protected_guest_alone() {
    let Protected { root, a: _a, _b, _witness, at_a, at_b } = protected();
    make(root.path(), &["stranger"]);
    let name = NodeName("stranger".into());
    let stranger = Arc::new(Credentials::load(&tls(root.path(), "stranger"), &name).unwrap());
    let words = first_words(&stranger);
    let a = client(root.path(), "a");
    let before = wait_for(&a, |status| guest(status, |it| it.protected));
    let made = Arc::new(AtomicUsize::new(0));
    thread::scope(|scope| {
        for at in [at_a, at_b] {
            let (words, made) = (words.clone(), made.clone());
            scope.spawn(move || {
                let mut open = std::collections::VecDeque::new();
                for number in 0..1_500 {
                    let Ok(mut stream) = TcpStream::connect(at) else { continue };
                    // A whole first word, which has to be answered; one byte of it; nothing.
                    let cut = [words.len(), 1, 0][number % 3];
                    if stream.write_all(&words[..cut]).is_ok() {
                        made.fetch_add(1, Ordering::Relaxed);
                    }
                    open.push_back(stream);
                    // Descriptors of this test are few as well.
                    if open.len() > 100 {
                        open.pop_front();
                    }
                }
            });
        }
    });
    assert!(made.load(Ordering::Relaxed) > 2_000);
    let acked = before.commit_us.count + 20;
    let after = wait_for(&a, |status| guest(status, |it| it.protected && it.commit_us.count > acked));
    assert_eq!(after.generation, before.generation, "nobody took over");
    let b = client(root.path(), "b").status().unwrap();
    assert!(guest(&b, |it| it.takeover.is_some()).is_none());
    wait_for(&a, |status| connected(status, "b"));
}

/// An authority that signs for nodes.
struct Authority(CertifiedIssuer<'static, KeyPair>);

impl Authority {
    fn new() -> Self {
        let mut params = CertificateParams::new(Vec::new()).unwrap();
        params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
        params.key_usages = vec![KeyUsagePurpose::KeyCertSign, KeyUsagePurpose::CrlSign];
        Self(CertifiedIssuer::self_signed(params, KeyPair::generate().unwrap()).unwrap())
    }

    /// A directory with a pair that the authority vouches for under `dns`, until the end of `year`.
    fn sign(&self, directory: &Path, dns: &str, serial: u64, year: i32) {
        let mut params = CertificateParams::new(vec![dns.to_owned()]).unwrap();
        params.serial_number = Some(SerialNumber::from(serial));
        params.not_after = date_time_ymd(year, 12, 31);
        params.extended_key_usages =
            vec![rcgen::ExtendedKeyUsagePurpose::ClientAuth, rcgen::ExtendedKeyUsagePurpose::ServerAuth];
        let key = KeyPair::generate().unwrap();
        let signed = params.signed_by(&key, &self.0).unwrap();
        fs::create_dir_all(directory).unwrap();
        let own = directory.join("own.key");
        fs::write(&own, key.serialize_pem()).unwrap();
        fs::set_permissions(&own, fs::Permissions::from_mode(0o600)).unwrap();
        fs::write(directory.join("own.crt"), signed.pem()).unwrap();
        fs::write(directory.join("ca.crt"), self.0.pem()).unwrap();
    }

    /// The list of what it takes back.
    fn revoke(&self, serial: u64) -> String {
        let revoked = RevokedCertParams {
            serial_number: SerialNumber::from(serial),
            revocation_time: date_time_ymd(2026, 1, 1),
            reason_code: None,
            invalidity_date: None,
        };
        let params = CertificateRevocationListParams {
            this_update: date_time_ymd(2026, 1, 1),
            next_update: date_time_ymd(2100, 1, 1),
            crl_number: SerialNumber::from(1),
            issuing_distribution_point: None,
            revoked_certs: vec![revoked],
            key_identifier_method: KeyIdMethod::Sha256,
        };
        params.signed_by(&self.0).unwrap().pem().unwrap()
    }
}

#[test]
fn an_authority_vouches_for_names_until_a_date_and_a_pin_goes_before_its_word() {
    let root = tempfile::tempdir().unwrap();
    let root = root.path();
    let authority = Authority::new();
    let stranger = Authority::new();
    authority.sign(&tls(root, "a"), "a.node.understudy", 1, 2100);
    authority.sign(&tls(root, "b"), "b.node.understudy", 2, 2100);
    authority.sign(&tls(root, "expired"), "b.node.understudy", 3, 2020);
    authority.sign(&tls(root, "c"), "c.node.understudy", 4, 2100);
    authority.sign(&tls(root, "nameless"), "b.example", 5, 2100);
    stranger.sign(&tls(root, "stranger"), "b.node.understudy", 6, 2100);
    fs::copy(tls(root, "a").join("ca.crt"), tls(root, "stranger").join("ca.crt")).unwrap();
    let (at_a, at_b) = (free_address(), free_address());
    let (directory, peer) = (tls(root, "a").display().to_string(), format!("b={at_b}"));
    let a = || node("a", root, at_a, &["--tls", &directory, "--peer", &peer]);
    let at = client(root, "a");
    {
        let _a = a();
        for (keys, words) in [
            ("stranger", "not among those that are trusted"),
            ("expired", "no good by the authority's word"),
            ("nameless", "NAME.node.understudy"),
            ("c", "is that of c, and b was asked for"),
        ] {
            as_b(root, Some(keys), at_b, at_a, |_| says(&at, "b", words));
        }
        as_b(root, Some("b"), at_b, at_a, |_| wait_for(&at, |status| connected(status, "b")));
    }
    fs::write(tls(root, "a").join("revoked.crl"), authority.revoke(2)).unwrap();
    {
        let _a = a();
        as_b(root, Some("b"), at_b, at_a, |_| says(&at, "b", "no good by the authority's word"));
    }
    fs::remove_file(tls(root, "a").join("revoked.crl")).unwrap();
    make(root, &["pinned"]);
    fs::create_dir_all(tls(root, "a").join("trust")).unwrap();
    trust(root, "a", "pinned", "b");
    let _a = a();
    as_b(root, Some("b"), at_b, at_a, |_| says(&at, "b", "stands in trust/b.crt, which goes first"));
}
