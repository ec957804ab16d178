//! The deadlines of a connection's calls, and the one timer that it has.

use std::cmp::Reverse;
use std::collections::BinaryHeap;
use std::pin::Pin;
use std::task::Context;
use std::time::Instant;

use tokio::time::{Sleep, sleep_until};

/// Entries of calls that are over are thrown out once there are so many more than calls.
const SLACK: usize = 64;

/// When the calls of a connection are late. An entry outlives its call: whoever takes it looks.
#[derive(Debug, Default)]
pub(crate) struct Deadlines {
    heap: BinaryHeap<Reverse<(Instant, u32)>>,
}

impl Deadlines {
    /// Remember that `stream` is late at `at`.
    pub(crate) fn add(&mut self, at: Instant, stream: u32) {
        self.heap.push(Reverse((at, stream)));
    }

    /// Throw out what is over, now and then; `open` says how many streams there are.
    pub(crate) fn tidy(&mut self, open: usize, is_open: impl Fn(u32) -> bool) {
        if self.heap.len() > 2 * open + SLACK {
            self.heap.retain(|Reverse((_, stream))| is_open(*stream));
        }
    }

    /// The next stream that is late at `now`.
    pub(crate) fn pop_late(&mut self, now: Instant) -> Option<u32> {
        let Reverse((at, stream)) = *self.heap.peek()?;
        if at > now {
            return None;
        }
        self.heap.pop();
        Some(stream)
    }

    /// When to look again.
    pub(crate) fn next(&self) -> Option<Instant> {
        self.heap.peek().map(|Reverse((at, _))| *at)
    }
}

/// One timer, which is set again only to make it earlier: being woken for nothing is cheaper.
#[derive(Debug, Default)]
pub(crate) struct Alarm {
    sleep: Option<Pin<Box<Sleep>>>,
    /// When it rings, while it is on.
    at: Option<Instant>,
    has_rung: bool,
}

impl Alarm {
    /// Have the task woken at `at` or before.
    pub(crate) fn set(&mut self, at: Instant, cx: &mut Context<'_>) {
        if self.at.is_some_and(|set| set <= at) {
            return;
        }
        self.at = Some(at);
        match &mut self.sleep {
            Some(sleep) => sleep.as_mut().reset(at.into()),
            None => self.sleep = Some(Box::pin(sleep_until(at.into()))),
        }
        self.poll(cx);
    }

    /// Whether it has rung since the last time.
    pub(crate) fn has_rung(&mut self, cx: &mut Context<'_>) -> bool {
        self.poll(cx);
        std::mem::take(&mut self.has_rung)
    }

    fn poll(&mut self, cx: &mut Context<'_>) {
        let (Some(sleep), true) = (&mut self.sleep, self.at.is_some()) else {
            return;
        };
        if sleep.as_mut().poll(cx).is_ready() {
            self.at = None;
            self.has_rung = true;
            cx.waker().wake_by_ref();
        }
    }
}

#[cfg(test)]
mod tests {
    use std::future::poll_fn;
    use std::task::Poll;
    use std::time::Duration;

    use super::*;

    /// How often an alarm is looked at until it rings.
    fn looks_until_it_rings(at: Instant) -> usize {
        let mut runtime = tokio::runtime::Builder::new_current_thread();
        let runtime = runtime.enable_time().build().unwrap();
        let (mut alarm, mut looks) = (Alarm::default(), 0);
        runtime.block_on(poll_fn(|cx| {
            looks += 1;
            if looks == 1 {
                alarm.set(at, cx);
                return Poll::Pending;
            }
            match alarm.has_rung(cx) {
                true => Poll::Ready(()),
                false => Poll::Pending,
            }
        }));
        looks
    }

    #[test]
    fn an_alarm_wakes_its_task_once() {
        assert_eq!(
            looks_until_it_rings(Instant::now() + Duration::from_millis(20)),
            2
        );
        assert_eq!(
            looks_until_it_rings(Instant::now() - Duration::from_secs(1)),
            2
        );
    }

    #[test]
    fn late_streams_come_in_the_order_of_their_deadlines() {
        let now = Instant::now();
        let mut deadlines = Deadlines::default();
        deadlines.add(now + Duration::from_secs(2), 1);
        deadlines.add(now + Duration::from_secs(1), 3);
        deadlines.add(now + Duration::from_secs(9), 5);

        let until = now + Duration::from_secs(2);
        let late: Vec<u32> = std::iter::from_fn(|| deadlines.pop_late(until)).collect();

        assert_eq!(late, [3, 1]);
        assert_eq!(deadlines.next(), Some(now + Duration::from_secs(9)));
    }

    #[test]
    fn what_is_over_is_thrown_out_before_it_grows() {
        let mut deadlines = Deadlines::default();
        for stream in 0..10_000 {
            deadlines.add(Instant::now() + Duration::from_secs(3600), stream);
            deadlines.tidy(1, |open| open == stream);
        }
        assert!(deadlines.heap.len() <= SLACK + 3);
    }
}
