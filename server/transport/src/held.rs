//! Counts the bytes that a connection holds.

use std::cell::Cell;
use std::rc::Rc;

use bytes::{Buf, Bytes};

/// Bytes held by one connection, counted by the `Held` that hold them.
pub(crate) type HeldCount = Rc<Cell<usize>>;

/// Some bytes, counted for as long as this is there.
#[derive(Debug)]
pub(crate) struct Held {
    count: HeldCount,
    bytes: usize,
}

impl Held {
    pub(crate) fn new(count: &HeldCount, bytes: usize) -> Self {
        count.set(count.get() + bytes);
        Held {
            count: count.clone(),
            bytes,
        }
    }

    /// Hold so many instead.
    pub(crate) fn set(&mut self, bytes: usize) {
        self.count.set(self.count.get() - self.bytes + bytes);
        self.bytes = bytes;
    }
}

impl Drop for Held {
    fn drop(&mut self) {
        self.count.set(self.count.get() - self.bytes);
    }
}

/// Part of an answer, held until h2 has written it or dropped it with its stream.
#[derive(Debug)]
pub(crate) struct HeldBytes {
    bytes: Bytes,
    _held: Held,
}

impl HeldBytes {
    pub(crate) fn new(count: &HeldCount, bytes: Bytes) -> Self {
        let _held = Held::new(count, bytes.len());
        HeldBytes { bytes, _held }
    }
}

impl Buf for HeldBytes {
    fn remaining(&self) -> usize {
        self.bytes.remaining()
    }

    fn chunk(&self) -> &[u8] {
        self.bytes.chunk()
    }

    fn advance(&mut self, count: usize) {
        self.bytes.advance(count);
    }
}
