//! What the load has found out so far.

use std::ops::Range;

use serde::Serialize;

use crate::connection::Outcome;
use crate::failure::Failure;
use crate::histogram::Histogram;

/// How many failures are told in words.
const EXAMPLES: usize = 5;

/// How many requests failed, by what happened to them.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize)]
pub struct Failures {
    pub wrong_answer: u64,
    pub grpc_status: u64,
    pub reset: u64,
    pub connection: u64,
    pub unanswered: u64,
}

impl Failures {
    /// All of them.
    pub fn total(&self) -> u64 {
        self.wrong_answer + self.grpc_status + self.reset + self.connection + self.unanswered
    }

    fn count(&mut self, failure: &Failure) {
        match failure {
            Failure::WrongAnswer(_) => self.wrong_answer += 1,
            Failure::Status { .. } | Failure::NotGrpc(_) => self.grpc_status += 1,
            Failure::Reset(_) => self.reset += 1,
            Failure::Connection(_) => self.connection += 1,
            Failure::Unanswered => self.unanswered += 1,
        }
    }
}

/// Which requests count.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Rule {
    /// Closed loop: those that are answered in the measured time.
    Answered,
    /// Open loop: those that are due in the measured time, whenever they are answered.
    Due,
}

/// Counts what happens in the measured time, in nanoseconds, and what comes of it afterwards.
#[derive(Debug)]
pub struct Tally {
    rule: Rule,
    window: Range<u64>,
    /// Right answers to the requests that count.
    pub right: u64,
    /// Requests that ended in the measured time, whether they count or not and whatever came.
    pub ended: u64,
    pub failures: Failures,
    pub examples: Vec<String>,
    pub goaways: u64,
    pub reconnections: u64,
    pub latency: Histogram,
    pub pacing_error: Histogram,
}

impl Tally {
    /// Nothing counts before `measure`.
    pub fn new(rule: Rule) -> Self {
        Self {
            rule,
            window: u64::MAX..u64::MAX,
            right: 0,
            ended: 0,
            failures: Failures::default(),
            examples: Vec::new(),
            goaways: 0,
            reconnections: 0,
            latency: Histogram::new(),
            pacing_error: Histogram::new(),
        }
    }

    /// What happens in `window` counts.
    pub fn measure(&mut self, window: Range<u64>) {
        self.window = window;
    }

    /// A request has ended at `now`. Failures count when they come after the measured time, too.
    pub fn record(&mut self, (pending, result): Outcome, now: u64) {
        let decisive = if self.rule == Rule::Due {
            pending.begin
        } else {
            now
        };
        self.ended += u64::from(self.window.contains(&now));
        match result {
            Ok(()) if self.window.contains(&decisive) => {
                self.right += 1;
                self.latency.add(now.saturating_sub(pending.begin));
            }
            Err(failure) if decisive >= self.window.start => {
                self.fail(&failure, Some(pending.exchange))
            }
            _ => {}
        }
    }

    /// A connection could not be made at `now`.
    pub fn record_refusal(&mut self, reason: String, now: u64) {
        if now >= self.window.start {
            self.fail(&Failure::Connection(reason), None);
        }
    }

    /// A request that was due at `due` is sent at `now`.
    pub fn record_pacing(&mut self, due: u64, now: u64) {
        if self.window.contains(&due) {
            self.pacing_error.add(now.saturating_sub(due));
        }
    }

    /// A connection had to be made anew at `now`, `is_goaway` if the server had asked for it.
    pub fn record_reconnection(&mut self, is_goaway: bool, now: u64) {
        if now >= self.window.start {
            self.reconnections += 1;
            self.goaways += u64::from(is_goaway);
        }
    }

    fn fail(&mut self, failure: &Failure, exchange: Option<usize>) {
        self.failures.count(failure);
        if self.examples.len() < EXAMPLES {
            let to = exchange.map_or(String::new(), |exchange| format!("request {exchange}: "));
            self.examples.push(format!("{to}{failure}"));
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::stream::Pending;

    fn right(begin: u64) -> Outcome {
        (Pending { exchange: 2, begin }, Ok(()))
    }

    fn failed(begin: u64) -> Outcome {
        (Pending { exchange: 2, begin }, Err(Failure::Reset(7)))
    }

    fn tally(rule: Rule) -> Tally {
        let mut tally = Tally::new(rule);
        tally.measure(100..200);
        tally
    }

    #[test]
    fn a_closed_loop_counts_by_the_time_of_the_answer() {
        let mut tally = tally(Rule::Answered);

        for now in [99, 100, 199, 200] {
            tally.record(right(90), now);
        }

        assert_eq!((tally.right, tally.ended), (2, 2));
    }

    #[test]
    fn an_open_loop_counts_by_the_time_at_which_requests_are_due() {
        let mut tally = tally(Rule::Due);

        for begin in [99, 100, 199, 200] {
            tally.record(right(begin), 250);
        }

        assert_eq!((tally.right, tally.ended), (2, 0));
    }

    #[test]
    fn failures_count_from_the_measured_time_on() {
        let mut tally = tally(Rule::Answered);

        for now in [50, 150, 250] {
            tally.record(failed(0), now);
        }

        assert_eq!((tally.failures.reset, tally.failures.total()), (2, 2));
        assert_eq!(
            tally.examples[0],
            "request 2: the server reset the stream with error code 7"
        );
    }

    #[test]
    fn nothing_counts_before_the_measured_time_is_known() {
        let mut tally = Tally::new(Rule::Answered);

        tally.record(right(0), 10);
        tally.record(failed(0), 10);
        tally.record_refusal("refused".into(), 10);
        tally.record_reconnection(true, 10);

        assert_eq!(
            (tally.right, tally.failures, tally.reconnections),
            (0, Failures::default(), 0)
        );
    }

    #[test]
    fn only_the_first_failures_are_told() {
        let mut tally = tally(Rule::Answered);

        for _ in 0..20 {
            tally.record(failed(0), 150);
        }

        assert_eq!((tally.failures.reset, tally.examples.len()), (20, EXAMPLES));
    }
}
