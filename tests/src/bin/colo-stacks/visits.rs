//! Services as Debian has them, one after the other, each with what was seen of it.
//!
//! ```text
//!   redis, nginx      a round without the primary's end, then rounds with it
//!   iperf3, sshd, postgres   what differs is counted, and the client must succeed all the same
//! ```

use crate::Ending;
use crate::guest::Guest;
use crate::hub::Seen;
use crate::knobs::{Given, Knobs};
use crate::round;
use crate::stage::Stage;
use crate::table::Table;
use crate::unmodified::{is_installed, postgres, programs};
use crate::world::World;
use std::path::Path;

const PROGRAMS: [&str; 4] = ["redis-server", "nginx", "iperf3", "sshd"];
const POSTGRES: &str = "postgres";
/// Rounds of each service in which the primary ends.
const KILLS: u64 = 4;

/// One after the other.
pub(crate) fn all(seed: u64, work: &Path) -> Result<Ending, String> {
    let mut has_failed = false;
    for (guest, program) in [(Guest::Redis, "redis-server"), (Guest::Nginx, "nginx")] {
        if is_installed(program) {
            has_failed |= !rounds(guest, seed, &work.join(program))?;
        }
    }
    if is_installed("iperf3") {
        for is_download in [false, true] {
            has_failed |= !iperf(seed, is_download)?;
        }
    }
    if is_installed("sshd") {
        has_failed |= !sshd(seed, work)?;
    }
    let has_postgres = postgres::program(POSTGRES).is_some();
    if has_postgres {
        has_failed |= !postgres(seed, work)?;
    }
    let missing = PROGRAMS.into_iter().filter(|program| !is_installed(program));
    let missing: Vec<_> = missing.chain((!has_postgres).then_some(POSTGRES)).collect();
    Ok(match (has_failed, missing.is_empty()) {
        (true, _) => Ending::Wrong,
        (false, true) => Ending::Right,
        (false, false) => {
            println!("not installed, and not tried: {}", missing.join(", "));
            Ending::Skipped
        }
    })
}

fn rounds(guest: Guest, seed: u64, work: &Path) -> Result<bool, String> {
    println!("--- {guest:?}");
    std::fs::create_dir_all(work).map_err(|error| format!("{}: {error}", work.display()))?;
    let mut table = Table::default();
    for number in 0..=KILLS {
        let mut given = Given::of(guest);
        given.spare = number == 0;
        let knobs = Knobs::draw(seed + number, &given);
        let report = round::play(&knobs, &work.join(number.to_string()));
        table.add(&knobs, report.map_err(|error| format!("{knobs}: {error}"))?);
    }
    table.print();
    Ok(table.is_right())
}

fn iperf(seed: u64, is_download: bool) -> Result<bool, String> {
    let knobs = Knobs::draw(seed, &Given::of(Guest::Own));
    let stage = Stage::new(&knobs)?;
    let World { primary, secondary, client } = &stage.world;
    let _services = [programs::start_iperf(primary)?, programs::start_iperf(secondary)?];
    stage.wait_listening(programs::IPERF_PORT)?;
    let done = programs::iperf(client, knobs.family, is_download);
    let (seen, _) = stage.finish()?;
    let name = if is_download { "iperf3, guest sends" } else { "iperf3, client sends" };
    Ok(tell(name, done, &seen))
}

fn sshd(seed: u64, work: &Path) -> Result<bool, String> {
    let knobs = Knobs::draw(seed, &Given::of(Guest::Own));
    let key = work.join("host-key");
    programs::make_ssh_key(&key)?;
    let stage = Stage::new(&knobs)?;
    let World { primary, secondary, client } = &stage.world;
    let _services = [programs::start_sshd(primary, &key)?, programs::start_sshd(secondary, &key)?];
    stage.wait_listening(programs::SSH_PORT)?;
    let done = programs::key_exchange(client, knobs.family, &key);
    let (seen, _) = stage.finish()?;
    let has_differed = !seen.diverged.is_empty();
    if !has_differed {
        println!("sshd: two key exchanges were the same, which cannot be");
    }
    Ok(tell("sshd", done, &seen) && has_differed)
}

fn postgres(seed: u64, work: &Path) -> Result<bool, String> {
    let knobs = Knobs::draw(seed, &Given::of(Guest::Own));
    let [ours, theirs] = ["ours", "theirs"].map(|whose| work.join("postgres").with_extension(whose));
    postgres::make([&ours, &theirs])?;
    let stage = Stage::new(&knobs)?;
    let World { primary, secondary, client } = &stage.world;
    let _services = [postgres::start(primary, &ours)?, postgres::start(secondary, &theirs)?];
    stage.wait_listening(postgres::PORT)?;
    let done = postgres::bench(client, knobs.family);
    let (seen, _) = stage.finish()?;
    let has_differed = !seen.diverged.is_empty();
    if !has_differed {
        println!("postgres: two servers gave the same keys, which cannot be");
    }
    Ok(tell("postgres", done, &seen) && has_differed)
}

fn tell(name: &str, done: Result<String, String>, seen: &Seen) -> bool {
    let differed: u64 = seen.diverged.values().sum();
    let (word, said) = match &done {
        Ok(said) => ("right", said),
        Err(said) => ("FAILED", said),
    };
    println!("--- {name}: {word}, {said}; {} frames left, {differed} flows differed", seen.released);
    for why in seen.diverged.keys() {
        println!("    {why}");
    }
    done.is_ok()
}
