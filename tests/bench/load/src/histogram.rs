//! Counts of durations in buckets less than 1 % wide, as HdrHistogram has them.

use serde::Serialize;

/// 128 buckets from each power of two to the next.
const BITS: u32 = 7;
const BUCKETS: usize = (64 - BITS as usize + 1) << BITS;

/// Durations in nanoseconds. The least and the greatest are exact.
#[derive(Debug)]
pub struct Histogram {
    counts: Vec<u64>,
    total: u64,
    least: u64,
    greatest: u64,
}

/// What a histogram says, in microseconds.
#[derive(Debug, PartialEq, Serialize)]
pub struct Percentiles {
    min: f64,
    p50: f64,
    p90: f64,
    p99: f64,
    p999: f64,
    max: f64,
}

impl Histogram {
    /// Without a duration.
    pub fn new() -> Self {
        Self {
            counts: vec![0; BUCKETS],
            total: 0,
            least: u64::MAX,
            greatest: 0,
        }
    }

    /// Count one duration.
    pub fn add(&mut self, nanoseconds: u64) {
        self.counts[bucket(nanoseconds)] += 1;
        self.total += 1;
        self.least = self.least.min(nanoseconds);
        self.greatest = self.greatest.max(nanoseconds);
    }

    /// None if there is no duration.
    pub fn percentiles(&self) -> Option<Percentiles> {
        let microseconds = |nanoseconds: u64| nanoseconds as f64 / 1000.0;
        let at = |share| microseconds(self.value_at(share));
        (self.total > 0).then(|| Percentiles {
            min: microseconds(self.least),
            p50: at(0.5),
            p90: at(0.9),
            p99: at(0.99),
            p999: at(0.999),
            max: microseconds(self.greatest),
        })
    }

    /// The middle of the bucket that holds the last duration of the `share` that took the least.
    fn value_at(&self, share: f64) -> u64 {
        let rank = ((self.total as f64 * share).ceil() as u64).max(1);
        let mut seen = 0;
        let found = self.counts.iter().position(|count| {
            seen += count;
            seen >= rank
        });
        found
            .map_or(self.greatest, middle)
            .clamp(self.least, self.greatest)
    }
}

fn bucket(value: u64) -> usize {
    let shift = (63 - (value | 1).leading_zeros()).saturating_sub(BITS);
    ((shift as usize) << BITS) + (value >> shift) as usize
}

fn middle(bucket: usize) -> u64 {
    let shift = (bucket >> BITS).saturating_sub(1);
    let start = ((bucket - (shift << BITS)) as u64) << shift;
    start + (1 << shift) / 2
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_value_is_less_than_one_percent_from_the_middle_of_its_bucket() {
        for value in
            (0..64).flat_map(|power| [1 << power, (1_u64 << power) / 3 * 4, (1 << power) - 1])
        {
            let error = middle(bucket(value)).abs_diff(value) as f64;

            assert!(error <= value as f64 * 0.01, "{value}");
        }
    }

    #[test]
    fn the_greatest_value_has_a_bucket() {
        assert!(bucket(u64::MAX) < BUCKETS);
    }

    #[test]
    fn percentiles_are_those_of_the_durations() {
        let mut histogram = Histogram::new();
        for microseconds in (1..=1000).rev() {
            histogram.add(microseconds * 1000);
        }

        let found = histogram.percentiles().unwrap();

        assert_eq!((found.min, found.max), (1.0, 1000.0));
        for (percentile, exact) in [
            (found.p50, 500.0),
            (found.p90, 900.0),
            (found.p99, 990.0),
            (found.p999, 999.0),
        ] {
            assert!(
                (percentile - exact).abs() <= exact * 0.01,
                "{percentile} {exact}"
            );
        }
    }

    #[test]
    fn one_duration_is_all_percentiles() {
        let mut histogram = Histogram::new();
        histogram.add(123_456);

        let found = histogram.percentiles().unwrap();

        assert_eq!([found.min, found.p50, found.p999, found.max], [123.456; 4]);
    }

    #[test]
    fn nothing_has_no_percentiles() {
        assert_eq!(Histogram::new().percentiles(), None);
    }
}
