//! Where the bytes of waiting frames are kept: buffers of a few sizes, used again and again.
//!
//! ```text
//!   class 128 B    │▓▓│▓ │  │  │…   slabs of 64 KiB, made when they are needed, kept
//!   class 512 B    │▓▓▓│   │…
//!   class 2 KiB    │▓▓▓▓▓ │…        a frame's bytes lie in one buffer, so that they are compared as one slice
//! ```
//!
//! The limit is on buffers in use. Slabs are kept, so that memory is at most the sum of what each class ever used at a time.

const SLAB_BYTES: usize = 64 << 10;
const SIZES: [usize; 5] = [128, 512, 2 << 10, 8 << 10, SLAB_BYTES];

/// The bytes of one frame.
#[derive(Clone, Copy, Default, Debug)]
pub(super) struct Blob {
    buffer: u32,
    bytes: u32,
    class: u8,
}

pub(super) struct Store {
    classes: [Class; SIZES.len()],
    used_bytes: usize,
    bytes_max: usize,
}

#[derive(Default)]
struct Class {
    slabs: Vec<Box<[u8]>>,
    free: Vec<u32>,
}

impl Store {
    pub(super) fn new(bytes_max: usize) -> Self {
        Self { classes: Default::default(), used_bytes: 0, bytes_max }
    }

    /// Keeps `bytes`. `None`: there is no room.
    #[inline]
    pub(super) fn put(&mut self, bytes: &[u8]) -> Option<Blob> {
        if bytes.is_empty() {
            return Some(Blob::default());
        }
        let class = SIZES.iter().position(|size| *size >= bytes.len())?;
        if self.used_bytes + SIZES[class] > self.bytes_max {
            return None;
        }
        let blob =
            Blob { buffer: self.classes[class].take(class)?, bytes: bytes.len() as u32, class: class as u8 };
        self.used_bytes += SIZES[class];
        self.slice_mut(blob).copy_from_slice(bytes);
        Some(blob)
    }

    #[inline]
    pub(super) fn get(&self, blob: Blob) -> &[u8] {
        if blob.bytes == 0 {
            return &[];
        }
        let (slab, at) = blob.place();
        &self.classes[usize::from(blob.class)].slabs[slab][at..at + blob.bytes as usize]
    }

    #[inline]
    pub(super) fn free(&mut self, blob: Blob) {
        if blob.bytes > 0 {
            self.used_bytes -= SIZES[usize::from(blob.class)];
            // The room was made with the slab.
            self.classes[usize::from(blob.class)].free.push(blob.buffer);
        }
    }

    pub(super) fn used_bytes(&self) -> usize {
        self.used_bytes
    }

    #[inline]
    fn slice_mut(&mut self, blob: Blob) -> &mut [u8] {
        let (slab, at) = blob.place();
        &mut self.classes[usize::from(blob.class)].slabs[slab][at..at + blob.bytes as usize]
    }
}

impl Blob {
    #[inline]
    fn place(self) -> (usize, usize) {
        let size = SIZES[usize::from(self.class)];
        let per_slab = SLAB_BYTES / size;
        (self.buffer as usize / per_slab, self.buffer as usize % per_slab * size)
    }
}

impl Class {
    #[inline]
    fn take(&mut self, class: usize) -> Option<u32> {
        if self.free.is_empty() {
            self.grow(SLAB_BYTES / SIZES[class])?;
        }
        self.free.pop()
    }

    fn grow(&mut self, buffers: usize) -> Option<()> {
        let count = self.slabs.len() * buffers;
        u32::try_from(count + buffers).ok()?;
        let mut slab = Vec::new();
        slab.try_reserve_exact(SLAB_BYTES).ok()?;
        self.slabs.try_reserve(1).ok()?;
        self.free.try_reserve(count + buffers).ok()?;
        slab.resize(SLAB_BYTES, 0);
        self.slabs.push(slab.into_boxed_slice());
        self.free.extend((count..count + buffers).rev().map(|buffer| buffer as u32));
        Some(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn bytes_come_back_and_room_too() {
        let mut store = Store::new(256 << 10);
        let lengths = [0, 1, 128, 129, 1448, 2048, 9000, SLAB_BYTES];
        let fill = |length: usize| vec![length as u8; length];
        let blobs = lengths.map(|length| store.put(&fill(length)).unwrap());
        for (blob, length) in blobs.iter().zip(lengths) {
            assert_eq!(store.get(*blob), fill(length));
        }
        assert!(store.put(&vec![0; SLAB_BYTES + 1]).is_none(), "larger than any buffer");
        let mut more = Vec::new();
        more.extend(std::iter::from_fn(|| store.put(&[1; 2000])));
        assert!(store.used_bytes() <= 256 << 10 && store.used_bytes() > (256 << 10) - (2 << 10));
        more.into_iter().chain(blobs).for_each(|blob| store.free(blob));
        assert_eq!(store.used_bytes(), 0);
        let slabs = store.classes[0].slabs.len();
        for _ in 0..10_000 {
            let blob = store.put(&[7; 60]).unwrap();
            store.free(blob);
        }
        assert_eq!(store.classes[0].slabs.len(), slabs, "buffers are used again");
    }
}
