//! What a secondary needs in memory at its peak, beside the guest's own.

use super::testbed::{Testbeds, Wanted, every};
use std::time::Duration;
use understudy::drill::DrillError;
use understudy::drill::sightings::HostId;

const MEMORY_BYTES: u64 = 512 << 20;
const EPOCH_BUFFER_BYTES: u64 = 128 << 20;
const SPAN: Duration = Duration::from_secs(5);

/// Measures and prints.
pub(crate) fn run(testbeds: &mut Testbeds) -> Result<(), DrillError> {
    let wanted = Wanted {
        load: "mixed".into(),
        pacing: every(Duration::from_millis(25)),
        memory_bytes: MEMORY_BYTES,
        node_flags: ["--epoch-buffer".into(), EPOCH_BUFFER_BYTES.to_string()].into(),
        ..Wanted::default()
    };
    let mut testbed = testbeds.testbed(&wanted)?;
    testbed.rest("letting the secondary work", SPAN)?;
    let secondary = testbed.world.process(HostId::B)?.id();
    let peak = peak_bytes(secondary)?;
    let limit = MEMORY_BYTES + MEMORY_BYTES / 10 + EPOCH_BUFFER_BYTES;
    let mib = |bytes: u64| bytes as f64 / f64::from(1 << 20);
    println!("\nMemory of the secondary, mixed load, MiB");
    println!("  guest   peak of the secondary   aim: guest + 10 % + epoch buffer   peak:aim");
    println!(
        "  {:5.0} {:23.0} {:34.0} {:10.2}",
        mib(MEMORY_BYTES),
        mib(peak),
        mib(limit),
        peak as f64 / limit as f64,
    );
    Ok(())
}

/// Peak resident memory of a process.
fn peak_bytes(process: u32) -> Result<u64, DrillError> {
    let status = std::fs::read_to_string(format!("/proc/{process}/status"))
        .map_err(DrillError::system("read a process's memory use"))?;
    let line = status.lines().find_map(|line| line.strip_prefix("VmHWM:"));
    let kib = line.and_then(|line| line.trim().trim_end_matches(" kB").parse::<u64>().ok());
    kib.map(|kib| kib << 10).ok_or_else(|| DrillError::WrongEnding("The kernel tells no VmHWM".into()))
}
