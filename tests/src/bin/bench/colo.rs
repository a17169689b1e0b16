//! What a copy that runs on the other host gives: one guest without protection, protected by checkpoints (by a clock, and
//! paced by output), and with a live copy; each with a pause as short as the lab's and as long as on emulated Xen.
//!
//! Not here: takeovers, which `understudy drill --mode colo` measures.

use super::measure::{self, CLIENTS, Rate, WINDOW_FEW, WINDOW_MANY, answers, percentiles};
use super::testbed::{OUTPUT, Testbeds, Wanted, every};
use std::io::{Read, Write};
use std::net::{TcpListener, TcpStream};
use std::time::{Duration, Instant};
use understudy::drill::DrillError;
use understudy_lab::{Divergence, What};
use understudy_session::primary::Pacing;
use understudy_session::{Mode, Span};

/// A PVH guest under emulated Xen stands still for some 100 ms.
const LONG_PAUSE: Span = Span::from_ms(100);
/// What may differ in the last rows: one reply in a hundred.
const DIVERGENCE: Divergence = Divergence { chance: 0.01, what: What::Value };
/// Exchanges that the link's round trip is the median of.
const EXCHANGES: usize = 2000;

/// A row of the table.
struct Row {
    name: &'static str,
    mode: Mode,
    pacing: Pacing,
    is_protected: bool,
    diverge: Option<Divergence>,
}

/// What was measured of a row.
struct Measured {
    many: Rate,
    few: Rate,
    latency_us: [u64; 3],
}

fn rows() -> [Row; 5] {
    let row = |name, mode, pacing| Row { name, mode, pacing, is_protected: true, diverge: None };
    [
        Row { is_protected: false, ..row("unprotected", Mode::Remus, OUTPUT) },
        row("remus, 25 ms", Mode::Remus, every(Duration::from_millis(25))),
        row("remus, output", Mode::Remus, OUTPUT),
        row("colo", Mode::Colo, OUTPUT),
        Row { diverge: Some(DIVERGENCE), ..row("colo, 1 % differs", Mode::Colo, OUTPUT) },
    ]
}

/// Measures and prints.
pub(crate) fn run(testbeds: &mut Testbeds) -> Result<(), DrillError> {
    let round_trip_us = round_trip_us().map_err(DrillError::system("measure the round trip of loopback"))?;
    println!(
        "\nA copy that runs on the other host, 256 MiB; one round trip of loopback TCP takes {round_trip_us} µs"
    );
    println!(
        "  Processor, percent of one, with 768 requests open: host A with the guest, host B, clients and switch."
    );
    for (pause, suspend_takes) in [("short", Span(0)), ("100 ms", LONG_PAUSE)] {
        println!(
            "\n  pause {pause:<12} replies/s: 768 open   share │ 8 open   share │ one at a time µs p50     p99    p999 │ {:>12} checkpoints/s  link kB/s  differences/s",
            "processor"
        );
        let mut unprotected = None;
        // A clock that leaves a guest less time to run than it stands still lets clients give up.
        let is_fit = |row: &Row| matches!(row.pacing, Pacing::Output(_)) || suspend_takes == Span(0);
        for row in rows().into_iter().filter(is_fit) {
            let measured = measure(testbeds, &row, suspend_takes)?;
            let [many, few] = *unprotected.get_or_insert([measured.many.per_second, measured.few.per_second]);
            let [p50, p99, p999] = measured.latency_us;
            println!(
                "  {:<18} {:19.0} {:7.2} │ {:6.0} {:7.2} │ {p50:20} {p99:7} {p999:7} │ {:>12} {:13.0} {:10.0}  {}",
                row.name,
                measured.many.per_second,
                measured.many.per_second / many,
                measured.few.per_second,
                measured.few.per_second / few,
                measured.many.shares(),
                measured.many.checkpoints,
                measured.many.link_bytes / 1e3,
                measured.many.divergences(),
            );
        }
    }
    println!(
        "  aims of colo: p50 ≤ {} µs; share ≥ 0.85; with a long pause as fast as with a short one",
        2 * round_trip_us + 200
    );
    Ok(())
}

fn measure(testbeds: &mut Testbeds, row: &Row, suspend_takes: Span) -> Result<Measured, DrillError> {
    let wanted = Wanted {
        pacing: row.pacing,
        clients: CLIENTS,
        mode: row.mode,
        diverge: row.diverge,
        suspend_takes,
        ..Wanted::default()
    };
    let mut testbed = testbeds.testbed(&wanted)?;
    if !row.is_protected {
        testbed.unprotect()?;
    }
    Ok(Measured {
        many: answers(&mut testbed, CLIENTS, WINDOW_MANY)?,
        few: answers(&mut testbed, CLIENTS, WINDOW_FEW)?,
        latency_us: measure::one_at_a_time(&mut testbed)?,
    })
}

/// Median time of an exchange of 64 bytes over loopback TCP, which is the link here.
fn round_trip_us() -> std::io::Result<u64> {
    let listener = TcpListener::bind("127.0.0.1:0")?;
    let mut near = TcpStream::connect(listener.local_addr()?)?;
    let (mut far, _) = listener.accept()?;
    near.set_nodelay(true)?;
    far.set_nodelay(true)?;
    let echo = std::thread::spawn(move || {
        let mut bytes = [0; 64];
        while far.read_exact(&mut bytes).is_ok() && far.write_all(&bytes).is_ok() {}
    });
    let mut took = Vec::with_capacity(EXCHANGES);
    for _ in 0..EXCHANGES {
        let began = Instant::now();
        let mut bytes = [0; 64];
        near.write_all(&bytes)?;
        near.read_exact(&mut bytes)?;
        took.push(began.elapsed().as_micros() as u64);
    }
    drop(near);
    let _ = echo.join();
    let [p50, _, _] = percentiles(took);
    Ok(p50)
}
