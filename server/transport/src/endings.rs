//! How calls ended: counters for `Transport.stats`.

use std::time::Duration;

use crate::status::CODES;

/// The calls of one method: how often they ended with each code, and after how long.
#[derive(Clone, Debug)]
pub(crate) struct Endings {
    /// By status code.
    pub(crate) codes: [u64; CODES],
    /// By bucket; one more than there are bounds.
    pub(crate) counts: Vec<u64>,
    /// All of the times together.
    pub(crate) total_seconds: f64,
}

impl Endings {
    /// `buckets` is one more than there are bounds.
    pub(crate) fn new(buckets: usize) -> Self {
        Endings {
            codes: [0; CODES],
            counts: vec![0; buckets],
            total_seconds: 0.0,
        }
    }

    /// Count a call that took `time`, by the upper `bounds` of the buckets.
    pub(crate) fn add(&mut self, code: u8, time: Duration, bounds: &[f64]) {
        let seconds = time.as_secs_f64();
        self.codes[usize::from(code)] += 1;
        self.counts[bounds.partition_point(|bound| *bound < seconds)] += 1;
        self.total_seconds += seconds;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_time_counts_in_the_first_bucket_whose_bound_it_does_not_exceed() {
        let bounds = [0.5, 1.0];
        let mut endings = Endings::new(3);
        for millis in [0, 500, 501, 1000, 1001] {
            endings.add(0, Duration::from_millis(millis), &bounds);
        }
        assert_eq!(endings.counts, [2, 2, 1]);
        assert_eq!(endings.codes[0], 5);
    }
}
