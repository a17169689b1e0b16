//! [`Load`]: how a guest dirties its memory: how fast, where, and with what.
//!
//! ```text
//!   rate=20000,set=64M,skew=0.9,content=words
//!   │          │       │        └ what is written: words, text, random, zero, mixed
//!   │          │       └ unevenness: 0 sweeps through the set in order; towards 1 a few frames take most writes
//!   │          └ working set, from the start of the guest's free memory
//!   └ frames written in a second of guest time, or `max`
//! ```
//!
//! Names of common settings: `idle`, `mixed`, and `loop`, a pure memory loop at full speed, whose count of written
//! frames tells how fast the guest runs. Settings after a name change it: `loop,set=1M`.
//!
//! Everything is determined by the random register and the cursor register; see [`Load::pick`].

use crate::ram::pages_for;
use crate::random::Random;
use std::fmt;
use std::str::FromStr;
use understudy_checkpoint::{PAGE_SIZE, Page};

/// A higher rate is as good as `max` on any machine. Below it, sums of nanoseconds × rate fit 64 bits.
pub const RATE_MAX: u64 = 100_000_000;
/// Each step towards the hot end narrows the set by this factor.
const HOT_FRACTION: u64 = 8;
/// A prime above any frame count in the lab, so that multiplying by it permutes the frames of a set.
const SCATTER: u64 = 2_654_435_761;

/// A guest's memory load.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Load {
    /// The rate.
    pub rate: Rate,
    /// Frames in the working set. More than the guest has free means all of them.
    pub set_pages: u64,
    /// Unevenness in percent, 0..=99.
    pub skew_percent: u8,
    /// What is written.
    pub content: Content,
}

/// The rate at which memory is dirtied.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Rate {
    /// Frame writes in a second of guest time; 0 is idle.
    PagesPerSecond(u64),
    /// As fast as the vCPU runs.
    Max,
}

/// What one write does to a frame.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Content {
    /// Counts up four words of 8 bytes: few bytes of a page change.
    Words,
    /// A line of 256 bytes of English-like text.
    Text,
    /// Writes 4096 random bytes, which nothing compresses.
    Random,
    /// Zeroes the frame.
    Zero,
    /// 70 % words, 15 % text, 5 % random, 5 % zero, 5 % a write that changes nothing.
    Mixed,
}

const CONTENT_NAMES: [(Content, &str); 5] = [
    (Content::Words, "words"),
    (Content::Text, "text"),
    (Content::Random, "random"),
    (Content::Zero, "zero"),
    (Content::Mixed, "mixed"),
];

impl Content {
    /// The content's number in the state record.
    pub(crate) fn code(self) -> u8 {
        CONTENT_NAMES.iter().position(|(content, _)| *content == self).expect("every content is named") as u8
    }

    /// The content with this number.
    pub(crate) fn from_code(code: u8) -> Option<Self> {
        CONTENT_NAMES.get(usize::from(code)).map(|(content, _)| *content)
    }
}

impl Load {
    /// Writes nothing.
    pub const IDLE: Self =
        Self { rate: Rate::PagesPerSecond(0), set_pages: 16384, skew_percent: 0, content: Content::Words };
    /// A small version of a busy server: 20,000 writes a second, 64 MiB, mostly to few frames, all kinds of content.
    pub const MIXED: Self = Self {
        rate: Rate::PagesPerSecond(20_000),
        set_pages: 16384,
        skew_percent: 80,
        content: Content::Mixed,
    };
    /// A pure memory loop over 16 MiB.
    pub const LOOP: Self =
        Self { rate: Rate::Max, set_pages: 4096, skew_percent: 0, content: Content::Words };

    /// Picks the next frame to write in a set of `set_pages`. `cursor` counts the writes so far.
    ///
    /// With skew `s`, each of a series of tosses with probability `s` narrows the choice to an eighth: a self-similar,
    /// zipf-like law in whole numbers, so that every host computes the same. Hot frames are then scattered over the
    /// set.
    pub fn pick(&self, set_pages: u64, cursor: u64, random: &mut Random) -> u64 {
        if self.skew_percent == 0 {
            return cursor % set_pages;
        }
        let mut choice = set_pages;
        while choice > 1 && random.below(100) < u64::from(self.skew_percent) {
            choice = choice.div_ceil(HOT_FRACTION);
        }
        random.below(choice) * SCATTER % set_pages
    }
}

/// Writes into a frame.
pub(crate) fn write_page(content: Content, page: &mut Page, random: &mut Random) {
    match content {
        Content::Words => {
            let places = random.word();
            for nth in 0..4 {
                let at = (places >> (nth * 9)) as usize % (PAGE_SIZE / 8);
                let word = &mut page.as_chunks_mut::<8>().0[at];
                *word = u64::from_le_bytes(*word).wrapping_add(1).to_le_bytes();
            }
        }
        Content::Text => write_line(page, random),
        Content::Random => {
            page.as_chunks_mut::<8>().0.iter_mut().for_each(|word| *word = random.word().to_le_bytes());
        }
        Content::Zero => page.fill(0),
        Content::Mixed => match random.below(100) {
            0..70 => write_page(Content::Words, page, random),
            70..85 => write_page(Content::Text, page, random),
            85..90 => write_page(Content::Random, page, random),
            90..95 => write_page(Content::Zero, page, random),
            // A store of what is there already: dirty for the log, unchanged for the encoder.
            _ => page[0] = std::hint::black_box(page[0]),
        },
    }
}

fn write_line(page: &mut Page, random: &mut Random) {
    const LINE_BYTES: usize = 256;
    const WORDS: [&[u8]; 16] = [
        b"the ",
        b"of ",
        b"and ",
        b"guest ",
        b"memory ",
        b"page ",
        b"was ",
        b"written ",
        b"before ",
        b"host ",
        b"could ",
        b"answer ",
        b"again, ",
        b"which ",
        b"request ",
        b"for ",
    ];
    let line = random.below((PAGE_SIZE / LINE_BYTES) as u64) as usize;
    let mut rest = &mut page[line * LINE_BYTES..(line + 1) * LINE_BYTES];
    while !rest.is_empty() {
        let mut choices = random.word();
        while choices != 0 && !rest.is_empty() {
            let word = WORDS[choices as usize % WORDS.len()];
            let bytes = word.len().min(rest.len());
            let (place, left) = rest.split_at_mut(bytes);
            place.copy_from_slice(&word[..bytes]);
            rest = left;
            choices >>= 4;
        }
    }
}

/// The text is not a load.
#[derive(thiserror::Error, Clone, PartialEq, Eq, Debug)]
pub enum LoadError {
    /// Neither a name nor `key=value`.
    #[error(
        "\"{0}\" is no load; write idle, mixed, loop, or settings like rate=20000,set=64M,skew=0.9,content=words"
    )]
    Unknown(String),
    /// The rate is not a number.
    #[error("\"{0}\" is no rate; write pages a second up to {RATE_MAX}, or max")]
    Rate(String),
    /// The set is not a size.
    #[error("\"{0}\" is no working set; write a size from 4K up, like 512K, 64M or 1G")]
    Set(String),
    /// The skew is out of range.
    #[error("\"{0}\" is no skew; write a number from 0 up to 0.99, with two digits after the point at most")]
    Skew(String),
    /// The content is unknown.
    #[error("\"{0}\" is no content; write words, text, random, zero or mixed")]
    Content(String),
}

impl FromStr for Load {
    type Err = LoadError;

    fn from_str(text: &str) -> Result<Self, LoadError> {
        let mut load = Self::MIXED;
        for (place, part) in text.split(',').enumerate() {
            match (place, part, part.split_once('=')) {
                (0, "idle", _) => load = Self::IDLE,
                (0, "mixed", _) => load = Self::MIXED,
                (0, "loop", _) => load = Self::LOOP,
                (_, _, Some(("rate", value))) => load.rate = parse_rate(value)?,
                (_, _, Some(("set", value))) => load.set_pages = parse_set(value)?,
                (_, _, Some(("skew", value))) => load.skew_percent = parse_skew(value)?,
                (_, _, Some(("content", value))) => load.content = parse_content(value)?,
                _ => return Err(LoadError::Unknown(part.into())),
            }
        }
        Ok(load)
    }
}

fn parse_rate(text: &str) -> Result<Rate, LoadError> {
    if text == "max" {
        return Ok(Rate::Max);
    }
    let rate = text.parse().ok().filter(|rate| *rate <= RATE_MAX);
    rate.map(Rate::PagesPerSecond).ok_or_else(|| LoadError::Rate(text.into()))
}

fn parse_set(text: &str) -> Result<u64, LoadError> {
    let error = || LoadError::Set(text.into());
    let shift = match text.as_bytes().last() {
        Some(b'K') => 10,
        Some(b'M') => 20,
        Some(b'G') => 30,
        _ => return Err(error()),
    };
    let number: u32 = text[..text.len() - 1].parse().map_err(|_| error())?;
    let pages = pages_for(u64::from(number) << shift);
    if pages == 0 { Err(error()) } else { Ok(pages) }
}

fn parse_skew(text: &str) -> Result<u8, LoadError> {
    let error = || LoadError::Skew(text.into());
    let (whole, digits) = text.split_once('.').unwrap_or((text, ""));
    let is_fraction = digits.len() <= 2 && digits.bytes().all(|digit| digit.is_ascii_digit());
    if whole != "0" || !is_fraction {
        return Err(error());
    }
    format!("{digits:0<2}").parse().map_err(|_| error())
}

fn parse_content(text: &str) -> Result<Content, LoadError> {
    let named = CONTENT_NAMES.iter().find(|(_, name)| *name == text);
    named.map(|(content, _)| *content).ok_or_else(|| LoadError::Content(text.into()))
}

impl fmt::Display for Load {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.rate {
            Rate::PagesPerSecond(rate) => write!(f, "rate={rate}")?,
            Rate::Max => write!(f, "rate=max")?,
        }
        let kib = self.set_pages * (PAGE_SIZE as u64 / 1024);
        let (number, unit) = if kib.is_multiple_of(1024) { (kib / 1024, 'M') } else { (kib, 'K') };
        let name = CONTENT_NAMES[usize::from(self.content.code())].1;
        write!(f, ",set={number}{unit},skew=0.{:02},content={name}", self.skew_percent)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    pub(crate) fn any_load() -> impl Strategy<Value = Load> {
        (prop_oneof![Just(None), (0..RATE_MAX).prop_map(Some)], 1u64..100_000, 0u8..100, 0u8..5).prop_map(
            |(rate, set_pages, skew_percent, content)| Load {
                rate: rate.map_or(Rate::Max, Rate::PagesPerSecond),
                set_pages,
                skew_percent,
                content: Content::from_code(content).unwrap(),
            },
        )
    }

    proptest! {
        #[test]
        fn a_load_reads_back_as_it_is_shown(load in any_load()) {
            prop_assert_eq!(load.to_string().parse(), Ok(load));
        }

        #[test]
        fn a_picked_page_is_within_the_set(load in any_load(), set_pages in 1u64..100_000, cursor: u64, seed: u64) {
            prop_assert!(load.pick(set_pages, cursor, &mut Random(seed)) < set_pages);
        }

        #[test]
        fn no_text_panics_the_parser(text in "(rate|set|skew|content|mixed|loop)?[=,]?[0-9.,=KMGa-zé]{0,12}") {
            let _ = text.parse::<Load>();
        }
    }

    #[test]
    fn names_are_starting_points_for_settings() {
        assert_eq!("mixed".parse(), Ok(Load::MIXED));
        assert_eq!("loop,set=1M".parse(), Ok(Load { set_pages: 256, ..Load::LOOP }));
        assert_eq!("rate=5,skew=0.9,content=text".parse::<Load>().unwrap().skew_percent, 90);
        assert_eq!("set=3".parse::<Load>(), Err(LoadError::Set("3".into())));
        assert_eq!("skew=1".parse::<Load>(), Err(LoadError::Skew("1".into())));
        assert_eq!("rate=1,mixed".parse::<Load>(), Err(LoadError::Unknown("mixed".into())));
    }

    #[test]
    fn skew_sends_most_writes_to_few_frames_and_none_of_it_leaves_frames_out() {
        let share_of_hottest = |skew_percent| {
            let load = Load { skew_percent, ..Load::MIXED };
            let (mut random, mut writes) = (Random(7), vec![0u32; 1000]);
            (0..100_000).for_each(|cursor| writes[load.pick(1000, cursor, &mut random) as usize] += 1);
            assert!(writes.iter().filter(|count| **count > 0).count() > 900);
            writes.sort_unstable();
            writes[950..].iter().sum::<u32>()
        };
        assert_eq!(share_of_hottest(0), 5_000);
        assert!(share_of_hottest(50) > 30_000);
        assert!(share_of_hottest(90) > 80_000);
    }
}
