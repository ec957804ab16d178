//! Waiting for sockets and for a point in time, whichever comes first.

use std::io;
use std::os::fd::{AsFd, OwnedFd};
use std::time::{Duration, Instant};

use rustix::buffer::spare_capacity;
use rustix::event::epoll::{self, CreateFlags, Event, EventData, EventFlags};
use rustix::time::{
    Itimerspec, TimerfdClockId, TimerfdFlags, TimerfdTimerFlags, Timespec, timerfd_create,
    timerfd_settime,
};

/// The timer's events have this token.
const TIMER: u64 = u64::MAX;
const EVENTS: usize = 256;

/// Nanoseconds since the program began.
#[derive(Clone, Copy, Debug)]
pub struct Clock(Instant);

impl Clock {
    /// A clock that begins at zero.
    pub fn new() -> Self {
        Self(Instant::now())
    }

    /// The time.
    pub fn now(&self) -> u64 {
        self.0.elapsed().as_nanos() as u64
    }
}

/// An epoll instance and its timer.
pub struct Poller {
    epoll: OwnedFd,
    timer: OwnedFd,
    clock: Clock,
    /// For when the timer is set.
    armed: u64,
    /// So long before a deadline it polls instead of sleeping: waking up takes its time.
    spin: u64,
    events: Vec<Event>,
}

impl Poller {
    /// It looks at deadlines by `clock`, and stays awake for `spin` before each.
    pub fn new(clock: Clock, spin: Duration) -> io::Result<Self> {
        let epoll = epoll::create(CreateFlags::CLOEXEC)?;
        let timer = timerfd_create(
            TimerfdClockId::Monotonic,
            TimerfdFlags::CLOEXEC | TimerfdFlags::NONBLOCK,
        )?;
        // Edge-triggered, so that nobody has to read it.
        epoll::add(
            &epoll,
            &timer,
            EventData::new_u64(TIMER),
            EventFlags::IN | EventFlags::ET,
        )?;
        let events = Vec::with_capacity(EVENTS);
        Ok(Self {
            epoll,
            timer,
            clock,
            armed: u64::MAX,
            spin: spin.as_nanos() as u64,
            events,
        })
    }

    /// Watch a socket; it is told by `token`.
    pub fn add(&self, socket: impl AsFd, token: usize) -> io::Result<()> {
        Ok(epoll::add(
            &self.epoll,
            socket,
            EventData::new_u64(token as u64),
            EventFlags::IN,
        )?)
    }

    /// Watch whether it can be written to, too, or no longer.
    pub fn watch_writable(
        &self,
        socket: impl AsFd,
        token: usize,
        is_watched: bool,
    ) -> io::Result<()> {
        let flags = if is_watched {
            EventFlags::IN | EventFlags::OUT
        } else {
            EventFlags::IN
        };
        Ok(epoll::modify(
            &self.epoll,
            socket,
            EventData::new_u64(token as u64),
            flags,
        )?)
    }

    /// Wait until a socket is ready, or until `deadline`, or for less; `ready` gets the tokens.
    pub fn wait(&mut self, deadline: u64, ready: &mut Vec<usize>) -> io::Result<()> {
        let left = deadline.saturating_sub(self.clock.now());
        let poll = Timespec {
            tv_sec: 0,
            tv_nsec: 0,
        };
        let timeout = if left <= self.spin { Some(&poll) } else { None };
        if timeout.is_none() && self.armed != deadline {
            self.arm(left - self.spin)?;
            self.armed = deadline;
        }
        self.events.clear();
        match epoll::wait(&self.epoll, spare_capacity(&mut self.events), timeout) {
            Ok(_) | Err(rustix::io::Errno::INTR) => {}
            Err(error) => return Err(error.into()),
        }
        ready.clear();
        let tokens = self.events.iter().map(|event| event.data.u64());
        ready.extend(
            tokens
                .filter(|token| *token != TIMER)
                .map(|token| token as usize),
        );
        Ok(())
    }

    fn arm(&self, nanoseconds: u64) -> io::Result<()> {
        let it_value = Timespec {
            tv_sec: (nanoseconds / 1_000_000_000) as i64,
            // All zero would switch it off.
            tv_nsec: (nanoseconds % 1_000_000_000).max(1) as i64,
        };
        let it_interval = Timespec {
            tv_sec: 0,
            tv_nsec: 0,
        };
        timerfd_settime(
            &self.timer,
            TimerfdTimerFlags::empty(),
            &Itimerspec {
                it_interval,
                it_value,
            },
        )?;
        Ok(())
    }
}
