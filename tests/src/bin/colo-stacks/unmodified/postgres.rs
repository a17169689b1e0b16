//! PostgreSQL, with one database that both guests have from the image, and pgbench. The server tells each connection a key by which
//! it can be cancelled, so that every new one differs.

use crate::place::{Place, Service};
use crate::world::Family;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

/// Where it listens.
pub(crate) const PORT: u16 = 5432;

/// Debian puts each version's programs into a folder of its own.
const VERSIONS: &str = "/usr/lib/postgresql";
/// PostgreSQL does not run as root.
const AS_USER: [&str; 3] = ["--user", "--map-user=1000", "--map-group=1000"];

/// The newest version's program, if PostgreSQL is here.
pub(crate) fn program(name: &str) -> Option<PathBuf> {
    let versions =
        std::fs::read_dir(VERSIONS).ok()?.flatten().map(|version| version.path().join("bin").join(name));
    versions.filter(|path| path.exists()).max()
}

/// A database with pgbench's tables, once for each guest: they differ in nothing.
pub(crate) fn make(directories: [&Path; 2]) -> Result<(), String> {
    let [first, second] = directories.map(|path| path.to_string_lossy().into_owned());
    run("initdb", &["--no-sync", "--no-locale", "--auth=trust", "--username=guest", "--pgdata", &first])?;
    let copied = Command::new("cp").args(["-a", &first, &second]).status();
    match copied {
        Ok(status) if status.success() => Ok(()),
        other => Err(format!("cp: {other:?}")),
    }
}

fn run(name: &str, words: &[&str]) -> Result<(), String> {
    let program = program(name).ok_or("PostgreSQL is not here")?;
    let done = Command::new("unshare").args(AS_USER).arg(program).args(words).output();
    let done = done.map_err(|error| format!("{name}: {error}"))?;
    if done.status.success() { Ok(()) } else { Err(String::from_utf8_lossy(&done.stderr).into_owned()) }
}

pub(crate) fn start(place: &Place, directory: &Path) -> Result<Service, String> {
    let (program, directory) = (of(program("postgres")), directory.to_string_lossy());
    let settings = ["listen_addresses=*", "unix_socket_directories=", "fsync=off", "autovacuum=off"];
    let words = [&AS_USER[..], &[&program, "-D", &directory]].concat();
    let words: Vec<_> = words.into_iter().chain(settings.into_iter().flat_map(|one| ["-c", one])).collect();
    // Any address may come in; the namespace is reached by the client alone.
    let rules = Path::new(directory.as_ref()).join("pg_hba.conf");
    std::fs::write(&rules, "host all all all trust\n")
        .map_err(|error| format!("{}: {error}", rules.display()))?;
    place.start("unshare", &words, Stdio::null())
}

fn of(program: Option<PathBuf>) -> String {
    program.unwrap_or_default().to_string_lossy().into_owned()
}

/// Fills tables and makes transactions on them, by several connections. Says how many.
pub(crate) fn bench(client: &Place, family: Family) -> Result<String, String> {
    let (program, guest) = (of(program("pgbench")), family.guest().to_string());
    let server = ["--host", &guest, "--username", "guest"];
    let filled = [&server[..], &["--initialize", "--quiet", "--scale", "1", "postgres"]].concat();
    let (is_filled, said) = client.start(&program, &filled, Stdio::piped())?.finish()?;
    if !is_filled {
        return Err(format!("pgbench cannot fill its tables: {}", said.trim()));
    }
    let work = [&server[..], &["--client", "4", "--transactions", "50", "--no-vacuum", "postgres"]].concat();
    let (is_right, said) = client.start(&program, &work, Stdio::piped())?.finish()?;
    let all = "number of transactions actually processed: 200/200";
    if is_right && said.contains(all) {
        Ok("200 transactions on 4 connections".into())
    } else {
        Err(said.trim().to_owned())
    }
}
