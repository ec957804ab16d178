//! How long a connection may live: its age, idleness and silence.

use std::hash::{BuildHasher, Hasher, RandomState};
use std::time::{Duration, Instant};

use crate::options::{Options, duration};

/// A client that takes nothing for so long, of what waits for it, is gone or hostile.
const STALL: Duration = Duration::from_secs(60);

/// Less than this may wait for ever.
const STALL_BYTES: usize = 64 * 1024;

/// What a connection is to do about its life.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Step {
    /// Ask whether the client is there.
    Ping,
    /// Have the client go away.
    GoAway,
    /// Answer what is left with an error, and close.
    Refuse,
    /// Close at once.
    Close,
}

/// What of a connection's doing bears on its life, at one moment.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Signs {
    pub(crate) now: Instant,
    /// Whether anything has been received since the last time.
    pub(crate) has_read: bool,
    /// Whether it has streams.
    pub(crate) is_busy: bool,
    /// Bytes of answers that h2 has not written.
    pub(crate) unsent: usize,
    /// Bytes sent in all.
    pub(crate) sent: u64,
}

/// The clocks of one connection. `None` stands for those that are not running.
#[derive(Debug)]
pub(crate) struct Lifetime {
    keepalive: Option<Duration>,
    keepalive_timeout: Duration,
    idle: Option<Duration>,
    age_grace: Option<Duration>,
    /// When something was received last.
    read_at: Instant,
    /// When the client was asked whether it is there, unless it has said something since.
    pinged_at: Option<Instant>,
    /// Since when there are no streams.
    idle_since: Option<Instant>,
    /// When it is old.
    old_at: Option<Instant>,
    /// When its last calls have had their time.
    over_at: Option<Instant>,
    /// Since when nothing was sent though enough waits, and what had been sent then.
    stalled: Option<(Instant, u64)>,
}

impl Lifetime {
    pub(crate) fn new(options: &Options, now: Instant) -> Self {
        let some = |seconds: Option<f64>| seconds.and_then(duration);
        Lifetime {
            keepalive: some(options.keepalive_seconds),
            keepalive_timeout: some(Some(options.keepalive_timeout_seconds)).unwrap_or(STALL),
            idle: some(options.max_connection_idle_seconds),
            age_grace: some(options.max_connection_age_grace_seconds),
            read_at: now,
            pinged_at: None,
            idle_since: Some(now),
            old_at: some(options.max_connection_age_seconds).map(|age| now + jittered(age)),
            over_at: None,
            stalled: None,
        }
    }

    /// Whether there is anything to take note of, with so many bytes waiting to be sent.
    pub(crate) fn watches(&self, unsent: usize) -> bool {
        let has_clock = self.keepalive.is_some() || self.idle.is_some();
        has_clock || self.stalled.is_some() || unsent >= STALL_BYTES
    }

    /// Take note of what has happened.
    pub(crate) fn note(&mut self, signs: Signs) {
        if signs.has_read {
            self.read_at = signs.now;
            self.pinged_at = None;
        }
        self.idle_since = match signs.is_busy {
            true => None,
            false => self.idle_since.or(Some(signs.now)),
        };
        let is_stalled = self.stalled.is_some_and(|(_, sent)| sent == signs.sent);
        if signs.unsent < STALL_BYTES {
            self.stalled = None;
        } else if !is_stalled {
            self.stalled = Some((signs.now, signs.sent));
        }
    }

    /// Ask the client nothing more, and do not wait for its answer either.
    pub(crate) fn no_more_pings(&mut self) {
        self.keepalive = None;
        self.pinged_at = None;
    }

    /// What is due at `now`; each step is due once.
    pub(crate) fn step(&mut self, now: Instant) -> Option<Step> {
        let is_due = |at: Option<Instant>| at.is_some_and(|at| at <= now);
        if is_due(self.silent_at()) || is_due(self.stalled_at()) {
            return Some(Step::Close);
        }
        if is_due(self.over_at) {
            self.over_at = None;
            return Some(Step::Refuse);
        }
        if is_due(self.old_at) || is_due(self.idle_at()) {
            self.over_at = self.age_grace.map(|grace| now + grace);
            self.old_at = None;
            self.idle = None;
            return Some(Step::GoAway);
        }
        if is_due(self.ping_at()) {
            self.pinged_at = Some(now);
            return Some(Step::Ping);
        }
        None
    }

    /// When something is due next.
    pub(crate) fn next(&self) -> Option<Instant> {
        let times = [
            self.silent_at(),
            self.stalled_at(),
            self.over_at,
            self.old_at,
            self.idle_at(),
            self.ping_at(),
        ];
        times.into_iter().flatten().min()
    }

    fn ping_at(&self) -> Option<Instant> {
        match self.pinged_at {
            None => self.keepalive.map(|interval| self.read_at + interval),
            Some(_) => None,
        }
    }

    fn silent_at(&self) -> Option<Instant> {
        self.pinged_at.map(|at| at + self.keepalive_timeout)
    }

    fn idle_at(&self) -> Option<Instant> {
        Some(self.idle_since? + self.idle?)
    }

    fn stalled_at(&self) -> Option<Instant> {
        self.stalled.map(|(since, _)| since + STALL)
    }
}

/// `age`, give or take a tenth: clients that came together are not to come again together.
fn jittered(age: Duration) -> Duration {
    let random = RandomState::new().build_hasher().finish();
    age.mul_f64(0.9 + 0.2 * (random % 1000) as f64 / 1000.0)
}

#[cfg(test)]
mod tests {
    use super::*;

    const SECOND: Duration = Duration::from_secs(1);

    fn lifetime(change: impl FnOnce(&mut Options)) -> (Lifetime, Instant) {
        let mut options = Options::defaults();
        change(&mut options);
        let now = Instant::now();
        (Lifetime::new(&options, now), now)
    }

    fn quiet(now: Instant) -> Signs {
        Signs {
            now,
            has_read: false,
            is_busy: false,
            unsent: 0,
            sent: 0,
        }
    }

    #[test]
    fn nothing_is_ever_due_unless_asked_for() {
        let (mut lifetime, now) = lifetime(|_| {});
        lifetime.note(quiet(now));
        assert_eq!(lifetime.next(), None);
        assert_eq!(lifetime.step(now + 1_000_000 * SECOND), None);
    }

    #[test]
    fn a_silent_connection_is_asked_and_then_closed() {
        let (mut lifetime, now) = lifetime(|options| {
            options.keepalive_seconds = Some(10.0);
            options.keepalive_timeout_seconds = 5.0;
        });
        assert_eq!(lifetime.next(), Some(now + 10 * SECOND));
        assert_eq!(lifetime.step(now + 10 * SECOND), Some(Step::Ping));
        assert_eq!(lifetime.step(now + 14 * SECOND), None);
        assert_eq!(lifetime.step(now + 15 * SECOND), Some(Step::Close));
    }

    #[test]
    fn anything_received_answers_the_question() {
        let (mut lifetime, now) = lifetime(|options| options.keepalive_seconds = Some(10.0));
        assert_eq!(lifetime.step(now + 10 * SECOND), Some(Step::Ping));
        let heard = Signs {
            has_read: true,
            ..quiet(now + 11 * SECOND)
        };
        lifetime.note(heard);
        assert_eq!(lifetime.next(), Some(now + 21 * SECOND));
    }

    #[test]
    fn a_client_that_is_asked_nothing_more_is_not_closed_for_its_silence() {
        let (mut lifetime, now) = lifetime(|options| options.keepalive_seconds = Some(10.0));
        assert_eq!(lifetime.step(now + 10 * SECOND), Some(Step::Ping));
        lifetime.no_more_pings();
        assert_eq!(lifetime.next(), None);
        assert_eq!(lifetime.step(now + 1_000_000 * SECOND), None);
    }

    #[test]
    fn an_idle_connection_goes_away_and_a_busy_one_does_not() {
        let (mut lifetime, now) =
            lifetime(|options| options.max_connection_idle_seconds = Some(10.0));
        let busy = Signs {
            is_busy: true,
            ..quiet(now)
        };
        lifetime.note(busy);
        assert_eq!(lifetime.step(now + 20 * SECOND), None);
        lifetime.note(quiet(now + 20 * SECOND));
        assert_eq!(lifetime.step(now + 30 * SECOND), Some(Step::GoAway));
        assert_eq!(lifetime.next(), None);
    }

    #[test]
    fn an_old_connection_goes_away_and_its_calls_have_their_grace() {
        let (mut lifetime, now) = lifetime(|options| {
            options.max_connection_age_seconds = Some(100.0);
            options.max_connection_age_grace_seconds = Some(5.0);
        });
        let age = lifetime.next().unwrap() - now;
        assert!((90 * SECOND..110 * SECOND).contains(&age), "{age:?}");
        let old = now + 110 * SECOND;
        assert_eq!(lifetime.step(old), Some(Step::GoAway));
        assert_eq!(lifetime.step(old), None);
        assert_eq!(lifetime.step(old + 5 * SECOND), Some(Step::Refuse));
        assert_eq!(lifetime.next(), None);
    }

    #[test]
    fn a_client_that_takes_nothing_is_closed_and_a_slow_one_is_not() {
        let (mut lifetime, now) = lifetime(|_| {});
        let waiting = |seconds: u32, sent| Signs {
            unsent: STALL_BYTES,
            sent,
            ..quiet(now + seconds * SECOND)
        };
        lifetime.note(waiting(0, 1));
        lifetime.note(waiting(59, 2));
        assert_eq!(lifetime.step(now + 61 * SECOND), None);
        lifetime.note(waiting(100, 2));
        assert_eq!(lifetime.step(now + 119 * SECOND), Some(Step::Close));
    }
}
