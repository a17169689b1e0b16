//! A xenstored for tests: a real socket with a tree of its own, which drops connections and refuses requests on demand.
//!
//! Not here: permissions, watches, transactions that conflict.

use super::wire;
pub(crate) use super::wire::Kind;
use super::{Reopening, Xenstore};
use std::collections::BTreeMap;
use std::io::{Read, Write};
use std::os::unix::net::{UnixListener, UnixStream};
use std::path::PathBuf;
use std::sync::{Arc, Mutex, MutexGuard};

/// The tree, and the requests so far.
#[derive(Default)]
pub(crate) struct Tree {
    pub(crate) nodes: BTreeMap<String, String>,
    /// Domains for which RESUME was requested.
    pub(crate) resumed: Vec<String>,
    /// Connections to drop at the next RESUME instead of answering.
    pub(crate) hang_ups: u32,
    /// Answers, each the name of an errno, to every request of these kinds: a quota that is used up.
    pub(crate) refused: Vec<(Kind, &'static str)>,
    on_write: Option<OnWrite>,
}

type OnWrite = Box<dyn FnMut(&str, &str, &mut BTreeMap<String, String>) + Send>;

/// The daemon. Its threads end with their connections.
pub(crate) struct Fake {
    tree: Arc<Mutex<Tree>>,
    folder: tempfile::TempDir,
}

impl Fake {
    pub(crate) fn start() -> Self {
        let folder = tempfile::tempdir().expect("a folder for a socket");
        let listener = UnixListener::bind(folder.path().join("socket")).expect("a socket");
        let tree = Arc::new(Mutex::new(Tree::default()));
        let served = tree.clone();
        std::thread::spawn(move || {
            for socket in listener.incoming().map_while(Result::ok) {
                let tree = served.clone();
                std::thread::spawn(move || serve(socket, &tree));
            }
        });
        Self { tree, folder }
    }

    pub(crate) fn tree(&self) -> MutexGuard<'_, Tree> {
        self.tree.lock().expect("no test panics here and goes on")
    }

    /// Sets a callback for each write, with path and value: the guest's reaction.
    pub(crate) fn on_write(
        &self,
        on_write: impl FnMut(&str, &str, &mut BTreeMap<String, String>) + Send + 'static,
    ) {
        self.tree().on_write = Some(Box::new(on_write));
    }

    fn path(&self) -> PathBuf {
        self.folder.path().join("socket")
    }

    pub(crate) fn connect(&self) -> Xenstore {
        Xenstore::connect(&self.path()).expect("it listens")
    }

    pub(crate) fn reopening(&self) -> Reopening {
        Reopening::connect(self.path()).expect("it listens")
    }
}

fn serve(mut socket: UnixStream, tree: &Mutex<Tree>) {
    let (mut incoming, mut bytes) = (Vec::new(), [0; 4096]);
    loop {
        while let Ok(Some((message, length))) = wire::decode(&incoming) {
            incoming.drain(..length);
            let Some(reply) = answer(&message, &mut tree.lock().expect("no test panics here")) else {
                return;
            };
            if socket.write_all(&reply).is_err() {
                return;
            }
        }
        match socket.read(&mut bytes) {
            Ok(0) | Err(_) => return,
            Ok(count) => incoming.extend_from_slice(&bytes[..count]),
        }
    }
}

fn answer(message: &wire::Message, tree: &mut Tree) -> Option<Vec<u8>> {
    let text = String::from_utf8_lossy(&message.payload).into_owned();
    let (path, value) = text.split_once('\0').unwrap_or((&text, ""));
    let below = format!("{path}/");
    let refused = tree.refused.iter().find(|(kind, _)| message.is(*kind));
    let (kind, payload) = if let Some((_, errno)) = refused {
        (Kind::Error, format!("{errno}\0"))
    } else if message.is(Kind::Read) {
        match tree.nodes.get(path) {
            Some(value) => (Kind::Read, value.clone()),
            None => (Kind::Error, "ENOENT\0".into()),
        }
    } else if message.is(Kind::Directory) {
        let names: Vec<&str> = tree.nodes.keys().filter_map(|node| node.strip_prefix(&below)).collect();
        let mut names: Vec<&str> = names.iter().filter_map(|name| name.split('/').next()).collect();
        names.dedup();
        match names.is_empty() && !tree.nodes.contains_key(path) {
            true => (Kind::Error, "ENOENT\0".into()),
            false => (Kind::Directory, names.iter().map(|name| format!("{name}\0")).collect()),
        }
    } else if message.is(Kind::Write) {
        tree.nodes.insert(path.into(), value.into());
        if let Some(mut on_write) = tree.on_write.take() {
            on_write(path, value, &mut tree.nodes);
            tree.on_write = Some(on_write);
        }
        (Kind::Write, "OK\0".into())
    } else if message.is(Kind::Rm) {
        tree.nodes.retain(|node, _| node != path && !node.starts_with(&below));
        (Kind::Rm, "OK\0".into())
    } else if message.is(Kind::TransactionStart) {
        (Kind::TransactionStart, "1\0".into())
    } else if message.is(Kind::TransactionEnd) {
        (Kind::TransactionEnd, "OK\0".into())
    } else if message.is(Kind::Resume) {
        if tree.hang_ups > 0 {
            tree.hang_ups -= 1;
            return None;
        }
        tree.resumed.push(path.into());
        (Kind::Resume, "OK\0".into())
    } else {
        (Kind::Error, "ENOSYS\0".into())
    };
    let mut reply = Vec::new();
    wire::encode(kind, message.request, 0, &[payload.as_bytes()], &mut reply).ok()?;
    Some(reply)
}
