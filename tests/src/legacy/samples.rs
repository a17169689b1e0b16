//! Samples of legacy streams in `tests/golden/legacy`, and what each must become.
//!
//! The state of a stream of today is digested line by line; the digests in `expect.json` were computed from the guests that
//! the samples were made of, not from any converter's output.
//!
//! ```text
//!   pages COUNT SHA                     over "page PFN TYPE SHA|-" of each, the last that is no hole
//!   pv_info WIDTH LEVELS                p2m START END COUNT SHA
//!   tsc mode M khz K nsec N incarnation I
//!   param INDEX VALUE …                 hvm_context LENGTH SHA
//!   vcpu ID PART LENGTH SHA …           shared_info SHA
//!   xenstore LENGTH SHA                 emulator LENGTH SHA
//! ```

use crate::golden;
use sha2::{Digest, Sha256};
use std::collections::BTreeMap;
use std::fmt::Write;
use std::path::{Path, PathBuf};
use understudy_checkpoint::stream::libxc::Record;
use understudy_checkpoint::stream::{Items, Reader, libxl};
use understudy_checkpoint::{PageType, Pfn};
use zerocopy::IntoBytes;

/// A sample, as `expect.json` describes it.
#[derive(serde::Deserialize, Clone, Debug)]
pub struct Sample {
    /// Its name.
    pub name: String,
    /// Bits of the sender's word.
    pub width: u32,
    /// `pv` or `hvm`.
    pub guest: String,
    /// What it is.
    pub note: String,
    /// `convert`, `refuse`, or `either`.
    pub want: String,
    /// The digest of what it must become.
    pub digest: Option<String>,
    /// SHA-256 of what Xen's own converter makes of it, if that is right.
    pub stock_sha256: Option<String>,
    #[serde(skip)]
    directory: PathBuf,
}

impl Sample {
    /// Its bytes.
    pub fn bytes(&self) -> Vec<u8> {
        golden::decompressed(&self.directory.join(format!("{}.zst", self.name)))
    }
}

/// The samples of this repository; with `UNDERSTUDY_LEGACY_SAMPLES`, those of that directory.
pub fn samples() -> Vec<Sample> {
    let directory =
        std::env::var_os("UNDERSTUDY_LEGACY_SAMPLES").map_or_else(|| golden::path("legacy"), PathBuf::from);
    samples_in(&directory)
}

fn samples_in(directory: &Path) -> Vec<Sample> {
    let text = std::fs::read_to_string(directory.join("expect.json")).expect("the samples are described");
    let mut samples: Vec<Sample> = serde_json::from_str(&text).expect("the description is JSON");
    samples.iter_mut().for_each(|sample| sample.directory = directory.to_owned());
    samples
}

/// SHA-256 in hexadecimal.
pub fn sha256(bytes: &[u8]) -> String {
    Sha256::digest(bytes).iter().fold(String::new(), |mut text, byte| {
        write!(text, "{byte:02x}").expect("a string takes everything");
        text
    })
}

/// What a receiver of a plain stream holds at its end.
#[derive(Debug, Default)]
struct State {
    pages: BTreeMap<Pfn, (PageType, Option<String>)>,
    lines: BTreeMap<String, String>,
}

/// The digest of the state that a plain stream brings, and its lines.
pub fn state_digest(stream: &[u8]) -> (String, Vec<String>) {
    let mut state = State::default();
    let mut items = Items::new(stream, Reader::new());
    while let Some(item) = items.next_item().expect("the stream is whole") {
        if let Some(record) = item.libxc() {
            state.libxc(record.expect("the record is sound"));
        } else if let Some(record) = item.libxl() {
            state.libxl(record.expect("the record is sound"));
        }
    }
    let lines = state.into_lines();
    (sha256(lines.iter().map(|line| format!("{line}\n")).collect::<String>().as_bytes()), lines)
}

impl State {
    /// A line, under a key that sorts it to its place; the last of a key counts.
    fn line(&mut self, key: String, line: String) {
        self.lines.insert(key, line);
    }

    fn libxc(&mut self, record: Record<'_>) {
        match record {
            Record::PageData(data) => {
                for (entry, page) in data.iter().filter(|(entry, _)| entry.page_type() != PageType::Absent) {
                    self.pages.insert(entry.pfn(), (entry.page_type(), page.map(|page| sha256(page))));
                }
            }
            Record::PvInfo(width) => {
                self.line("a".into(), format!("pv_info {} {}", width.bytes(), width.levels()));
            }
            Record::P2mFrames(frames) => {
                let bytes = frames.frames.as_bytes();
                let (start, end, count) = (frames.start, frames.end, frames.frames.len());
                self.line("b".into(), format!("p2m {start:x} {end:x} {count} {}", sha256(bytes)));
            }
            Record::TscInfo(tsc) => {
                let (mode, khz, nsec, incarnation) = (tsc.mode, tsc.khz, tsc.nsec, tsc.incarnation);
                let line = format!("tsc mode {mode} khz {khz} nsec {nsec} incarnation {incarnation}");
                self.line("c".into(), line);
            }
            Record::HvmParams(params) => {
                for param in params {
                    let (index, value) = (param.index.get(), param.value.get());
                    self.line(format!("d {index:08}"), format!("param {index} {value:x}"));
                }
            }
            Record::HvmContext(context) => {
                self.line("e".into(), format!("hvm_context {} {}", context.blob.len(), sha256(context.blob)));
            }
            Record::Vcpu(vcpu) => {
                let part = format!("{:?}", vcpu.part).to_lowercase();
                let line = format!("vcpu {} {part} {} {}", vcpu.vcpu_id, vcpu.blob.len(), sha256(vcpu.blob));
                self.line(format!("f {:08} {part}", vcpu.vcpu_id), line);
            }
            Record::SharedInfo(page) => self.line("g".into(), format!("shared_info {}", sha256(page))),
            _ => {}
        }
    }

    fn libxl(&mut self, record: libxl::Record<'_>) {
        match record {
            libxl::Record::EmulatorXenstoreData(data) => {
                let blob: Vec<u8> =
                    data.pairs().flat_map(|(key, value)| [key, b"\0", value, b"\0"].concat()).collect();
                self.line("h".into(), format!("xenstore {} {}", blob.len(), sha256(&blob)));
            }
            libxl::Record::EmulatorContext { blob, .. } => {
                self.line("i".into(), format!("emulator {} {}", blob.len(), sha256(blob)));
            }
            _ => {}
        }
    }

    fn into_lines(self) -> Vec<String> {
        let mut pages = String::new();
        for (pfn, (kind, page)) in &self.pages {
            let page = page.as_deref().unwrap_or("-");
            writeln!(pages, "page {:x} {:x} {page}", pfn.0, kind.nibble())
                .expect("a string takes everything");
        }
        let first = format!("pages {} {}", self.pages.len(), sha256(pages.as_bytes()));
        std::iter::once(first).chain(self.lines.into_values()).collect()
    }
}
