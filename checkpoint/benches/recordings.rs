//! Recorded guests through encoder and receiver on one core: how small, how fast, and is the image the same.
//!
//! `UNDERSTUDY_RECORDINGS=directory cargo bench --bench recordings` takes every checkpointed stream in the
//! directory (plain, not compressed). Without it there is nothing to measure, and it says so.
//!
//! Counted as sent: batches with all their framing, and the epoch's summary of 24 bytes. State records and the
//! link's own framing are counted by `understudy replay`.

use std::fs::File;
use std::io::BufReader;
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};
use understudy_checkpoint::epoch::{Image, Limits, Receiver, Staging};
use understudy_checkpoint::pages::{Batches, DirtyBitmap, EncodeStats, Encoder, EncoderConfig};
use understudy_checkpoint::stream::{RecordedEpoch, Recording, StreamError};
use understudy_checkpoint::{Epoch, EpochKind, Pfn};

const SUMMARY_BYTES: u64 = 24;
const STAGED_PAGES: usize = 8192;
const ROUNDS: usize = 3;

/// Counts and times of one part of a recording.
#[derive(Clone, Copy, Default)]
struct Part {
    epochs: u64,
    stats: EncodeStats,
    encode: Duration,
    decode: Duration,
}

impl Part {
    fn ratio(&self) -> f64 {
        self.stats.raw_bytes() as f64 / (self.stats.encoded_bytes + SUMMARY_BYTES * self.epochs) as f64
    }

    fn speed(&self, time: Duration) -> f64 {
        self.stats.raw_bytes() as f64 / time.as_secs_f64() / 1e9
    }

    fn print(&self, name: &str, part: &str) {
        let stats = &self.stats;
        println!(
            "{name:<22} {part:<12} {:>6} {:>8} {:>9.1} {:>8.2} {:>8.1} {:>9.2} {:>9.2}   {}/{}/{}/{}/{}/{}",
            self.epochs,
            stats.data_pages(),
            stats.raw_bytes() as f64 / 1e6,
            (stats.encoded_bytes + SUMMARY_BYTES * self.epochs) as f64 / 1e6,
            self.ratio(),
            self.speed(self.encode),
            self.speed(self.decode),
            stats.zero,
            stats.unchanged,
            stats.delta,
            stats.lz4,
            stats.raw,
            stats.no_data,
        );
    }
}

/// Primary and secondary of one recording.
struct Rig {
    encoder: Encoder,
    receiver: Receiver<Image>,
    staging: Staging,
    batches: Batches,
    epoch: Epoch,
}

impl Rig {
    fn new(page_count: u64) -> Self {
        let limits = Limits { buffer_bytes_max: 1 << 30, page_count };
        Self {
            encoder: Encoder::new(EncoderConfig { shadow_bytes_max: 1 << 30 }),
            receiver: Receiver::new(Image::new(page_count), limits),
            staging: Staging::new(STAGED_PAGES),
            batches: Batches::new(),
            epoch: Epoch(0),
        }
    }

    /// Carries the frames marked in `dirty` over, and commits.
    fn carry(&mut self, guest: &Image, dirty: &DirtyBitmap, kind: EpochKind, part: &mut Part) {
        part.epochs += 1;
        self.encoder.begin_epoch(self.epoch, kind);
        let base = self.receiver.newest_complete();
        self.receiver.begin(self.epoch, kind, base).expect("epochs follow each other");
        let mut next = Some(Pfn(0));
        while let Some(from) = next {
            self.staging.clear();
            next = guest.copy_pages(dirty, from, &mut self.staging, 1);
            self.batches.clear();
            let start = Instant::now();
            part.stats += self.encoder.encode(&self.staging, &mut self.batches);
            part.encode += start.elapsed();
            let start = Instant::now();
            self.batches
                .iter()
                .for_each(|batch| self.receiver.pages(batch).expect("what was encoded decodes"));
            part.decode += start.elapsed();
        }
        let summary = self.encoder.end_epoch();
        let start = Instant::now();
        self.receiver.finish(summary).expect("what arrived is what was sent");
        self.receiver.commit(self.epoch);
        part.decode += start.elapsed();
        self.epoch = self.epoch.next();
    }
}

/// The first copy and the checkpoints after it; `None` if the stream is not checkpointed.
fn run(path: &Path) -> Result<Option<(Part, Part)>, StreamError> {
    let mut recording = Recording::new(BufReader::new(File::open(path)?));
    let (description, mut guest) = recording.first_copy()?;
    let (mut first, mut later) = (Part::default(), Part::default());
    let mut rig = Rig::new(description.page_count);
    let mut dirty = DirtyBitmap::new(description.page_count);
    dirty.set_all();
    rig.carry(&guest, &dirty, EpochKind::Seed, &mut first);
    let mut epoch = RecordedEpoch::default();
    while recording.next_epoch(&mut epoch)? {
        epoch.apply_to(&mut guest);
        dirty.clear();
        epoch.entries().iter().for_each(|entry| dirty.set(entry.pfn()));
        rig.carry(&guest, &dirty, EpochKind::Delta, &mut later);
    }
    let frames = 0..description.page_count;
    let same = |pfn: u64| rig.receiver.sink().page(Pfn(pfn)) == guest.page(Pfn(pfn));
    assert!(frames.into_iter().all(same), "the image differs from the guest");
    Ok((later.epochs > 0).then_some((first, later)))
}

/// The fastest of a few rounds: the counts are the same in each.
fn best(path: &Path) -> Result<Option<(Part, Part)>, StreamError> {
    let Some(mut best) = run(path)? else { return Ok(None) };
    for _ in 1..ROUNDS {
        if let Some((first, later)) = run(path)? {
            for (best, part) in [(&mut best.0, first), (&mut best.1, later)] {
                best.encode = best.encode.min(part.encode);
                best.decode = best.decode.min(part.decode);
            }
        }
    }
    Ok(Some(best))
}

fn files(directory: &Path) -> std::io::Result<Vec<PathBuf>> {
    let mut paths = Vec::new();
    for entry in std::fs::read_dir(directory)? {
        let path = entry?.path();
        if path.is_file() {
            paths.push(path);
        }
    }
    paths.sort();
    Ok(paths)
}

fn main() -> std::io::Result<()> {
    let Some(directory) = std::env::var_os("UNDERSTUDY_RECORDINGS") else {
        println!("recordings: skipped, UNDERSTUDY_RECORDINGS names no directory of recorded streams");
        return Ok(());
    };
    println!(
        "{:<22} {:<12} {:>6} {:>8} {:>9} {:>8} {:>8} {:>9} {:>9}   zero/unchanged/delta/lz4/raw/no data",
        "recording", "part", "epochs", "pages", "raw MB", "sent MB", "ratio", "enc GB/s", "dec GB/s"
    );
    for path in files(Path::new(&directory))? {
        let name = path.file_name().unwrap_or_default().to_string_lossy().into_owned();
        match best(&path) {
            Ok(Some((first, later))) => {
                first.print(&name, "first copy");
                later.print(&name, "checkpoints");
            }
            Ok(None) => println!("{name:<22} skipped: not a checkpointed stream"),
            Err(error) => println!("{name:<22} skipped: {error}"),
        }
    }
    Ok(())
}
