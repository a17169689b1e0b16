//! How Remus of Xen 4.2 to 4.5 made pages small: against those that it sent last.

use std::collections::HashMap;
use understudy_checkpoint::{Page, Pfn};

/// The sender's cache.
#[derive(Debug)]
pub struct Compressor {
    pages: HashMap<Pfn, (u64, Box<Page>)>,
    room: usize,
    now: u64,
}

impl Compressor {
    /// A cache of so many pages; Xen's had 8,192.
    pub fn new(room: usize) -> Self {
        Self { pages: HashMap::new(), room, now: 0 }
    }

    /// Appends what the sender sends of a page.
    pub fn page(&mut self, pfn: Pfn, page: &Page, is_table: bool, out: &mut Vec<u8>) {
        let known = self.pages.remove(&pfn);
        if !is_table {
            self.remember(pfn, page);
        }
        match known {
            Some((_, before)) if !is_table && *before == *page => out.push(0),
            Some((_, before)) if !is_table => runs(&before, page, out),
            _ => {
                out.push(0x80);
                out.extend_from_slice(page);
            }
        }
    }

    fn remember(&mut self, pfn: Pfn, page: &Page) {
        self.now += 1;
        self.pages.insert(pfn, (self.now, Box::new(*page)));
        if self.pages.len() > self.room {
            let oldest = self.pages.iter().min_by_key(|(_, (used, _))| *used).map(|(pfn, _)| *pfn);
            self.pages.remove(&oldest.expect("it is not empty"));
        }
    }
}

fn runs(before: &Page, page: &Page, out: &mut Vec<u8>) {
    let differs = |at: usize| before[4 * at..4 * at + 4] != page[4 * at..4 * at + 4];
    let mut at = 0;
    while at < 1024 {
        let kind = differs(at);
        let end = (at..1024.min(at + 127)).find(|word| differs(*word) != kind).unwrap_or(1024.min(at + 127));
        out.push((end - at) as u8 | if kind { 0 } else { 0x80 });
        if kind {
            out.extend_from_slice(&page[4 * at..4 * end]);
        }
        at = end;
    }
}
