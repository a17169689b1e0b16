//! What protection costs the guest: its key-value throughput and a pure memory loop, without and with it.

use super::house::{Home, House, Wanted, load_pages};
use std::time::Duration;
use understudy::drill::DrillError;
use understudy::drill::history::Moment;

const SPAN: Duration = Duration::from_secs(4);
const CLIENTS: u16 = 8;
/// Open requests of each client. All together they fill three quarters of the network card's ring: more would
/// be dropped when a checkpoint's answers leave at once and every client asks again.
const WINDOW: usize = 96;
const INTERVALS: [Duration; 2] = [Duration::from_millis(25), Duration::from_millis(5)];

/// Measures and prints.
pub(crate) fn run(house: &mut House) -> Result<(), DrillError> {
    let open = usize::from(CLIENTS) * WINDOW;
    println!("\nWhat protection costs the guest, 256 MiB (share 1.00: nothing)");
    println!(
        "  With {open} requests open, answers cannot come faster than {open} per interval and commit: the bound."
    );
    println!(
        "  load                       interval     unprotected       protected   share   bound   share of bound"
    );
    for interval in INTERVALS {
        key_value(house, interval)?;
    }
    for interval in INTERVALS {
        memory_loop(house, interval)?;
    }
    Ok(())
}

fn wanted(load: &str, interval: Duration) -> Wanted {
    let load = load.into();
    Wanted { load, interval, memory_bytes: 256 << 20, clients: CLIENTS, node_flags: Vec::new() }
}

fn key_value(house: &mut House, interval: Duration) -> Result<(), DrillError> {
    let mut home = house.home(&wanted("idle", interval))?;
    let protected = replies_per_second(&mut home)?;
    let commit = Duration::from_micros(home.guest()?.commit_us.p50);
    home.unprotect()?;
    let unprotected = replies_per_second(&mut home)?;
    let bound = (usize::from(CLIENTS) * WINDOW) as f64 / (interval + commit).as_secs_f64();
    let line = line("key-value replies/s", interval, unprotected, protected);
    println!("{line} {bound:7.0} {:16.2}", protected / bound);
    Ok(())
}

fn replies_per_second(home: &mut Home<'_>) -> Result<f64, DrillError> {
    let traffic = home.crew(CLIENTS)?.with_window(WINDOW).start()?;
    let began = Moment::now();
    home.rest("measuring key-value throughput", SPAN)?;
    let end = Moment::now();
    let (_, history) = traffic.finish()?;
    let answers = history.operations.iter().filter_map(|operation| operation.answer());
    let replies = answers.filter(|(at, _)| (began..end).contains(at)).count();
    Ok(replies as f64 / end.since(began).as_secs_f64())
}

fn memory_loop(house: &mut House, interval: Duration) -> Result<(), DrillError> {
    let mut home = house.home(&wanted("loop", interval))?;
    let protected = pages_per_second(&mut home)?;
    home.unprotect()?;
    let unprotected = pages_per_second(&mut home)?;
    println!("{}", line("memory loop, page writes/s", interval, unprotected, protected));
    Ok(())
}

fn pages_per_second(home: &mut Home<'_>) -> Result<f64, DrillError> {
    let mut station = home.station()?;
    let (before, began) = (load_pages(&mut station)?, Moment::now());
    home.rest("measuring the memory loop", SPAN)?;
    let pages = load_pages(&mut station)? - before;
    Ok(pages as f64 / Moment::now().since(began).as_secs_f64())
}

fn line(load: &str, interval: Duration, unprotected: f64, protected: f64) -> String {
    format!(
        "  {load:<26} {:>5} ms {unprotected:15.0} {protected:15.0} {:7.2}",
        interval.as_millis(),
        protected / unprotected,
    )
}
