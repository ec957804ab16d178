//! When the requests of an open loop are due.

/// Requests at constant distances from `begin` on. Times are nanoseconds.
#[derive(Clone, Copy, Debug)]
pub struct Schedule {
    begin: u64,
    rate: f64,
    count: usize,
    next: usize,
}

impl Schedule {
    /// As many requests as `seconds` hold at `rate` requests a second.
    pub fn new(begin: u64, rate: f64, seconds: f64) -> Self {
        Self {
            begin,
            rate,
            count: (rate * seconds).round() as usize,
            next: 0,
        }
    }

    /// When the next request is due. None after the last.
    pub fn next_due(&self) -> Option<u64> {
        // Computed anew each time: a sum of distances would drift.
        let since = self.next as f64 / self.rate * 1e9;
        (self.next < self.count).then_some(self.begin + since as u64)
    }

    /// The next request, if it is due at `now`: its number and when it was due.
    pub fn take_due(&mut self, now: u64) -> Option<(usize, u64)> {
        let due = self.next_due().filter(|due| *due <= now)?;
        self.next += 1;
        Some((self.next - 1, due))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn there_are_as_many_as_the_rate_says_and_the_last_is_not_late() {
        let mut schedule = Schedule::new(1000, 6000.0, 2.0);
        let mut due = Vec::new();

        while let Some((_, at)) = schedule.take_due(u64::MAX) {
            due.push(at);
        }

        assert_eq!((due.len(), due[0]), (12_000, 1000));
        assert_eq!(due[6000], 1_000_001_000);
        assert!(due.windows(2).all(|pair| pair[0] < pair[1]));
        assert!(due[11_999] < 2_000_001_000);
    }

    #[test]
    fn nothing_is_taken_before_it_is_due() {
        let mut schedule = Schedule::new(0, 1000.0, 1.0);

        assert_eq!(schedule.take_due(0), Some((0, 0)));
        assert_eq!(schedule.take_due(999_999), None);
        assert_eq!(schedule.next_due(), Some(1_000_000));
        assert_eq!(schedule.take_due(1_000_000), Some((1, 1_000_000)));
    }
}
