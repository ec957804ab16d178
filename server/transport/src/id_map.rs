//! Maps by small numbers that we or HTTP/2 gave out.

use std::collections::HashMap;
use std::hash::{BuildHasherDefault, Hasher};

/// A map by stream or connection.
pub(crate) type IdMap<K, V> = HashMap<K, V, BuildIdHasher>;

/// Makes `IdHasher`.
pub(crate) type BuildIdHasher = BuildHasherDefault<IdHasher>;

/// Spreads one number with one multiplication. A client chooses the ids of its streams, but only
/// among those of its own connection, and few at a time.
#[derive(Debug, Default)]
pub(crate) struct IdHasher(u64);

impl Hasher for IdHasher {
    fn finish(&self) -> u64 {
        self.0
    }

    fn write(&mut self, bytes: &[u8]) {
        bytes
            .iter()
            .for_each(|byte| self.write_u64(u64::from(*byte)));
    }

    fn write_u32(&mut self, number: u32) {
        self.write_u64(u64::from(number));
    }

    fn write_u64(&mut self, number: u64) {
        // 2^64 divided by the golden ratio; the high bits are the well mixed ones.
        let mixed = (self.0 ^ number).wrapping_mul(0x9e37_79b9_7f4a_7c15);
        self.0 = mixed ^ (mixed >> 32);
    }
}
