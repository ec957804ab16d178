//! A queue that one thread waits for and another fills: a mutex, a condition and an eventfd.

use std::io;
use std::os::fd::{AsRawFd, FromRawFd, OwnedFd, RawFd};
use std::sync::{Condvar, Mutex, MutexGuard, PoisonError};
use std::time::Instant;

/// What can be waited for.
pub(crate) trait News {
    /// Whether a thread that waits should stop waiting.
    fn has_news(&self) -> bool;
}

/// Guards `T`, and wakes who waits for its news.
///
/// A std mutex: it is held for short, bounded stretches, never across an await or while Python runs.
#[derive(Debug)]
pub(crate) struct Waiting<T> {
    inner: Mutex<Inner<T>>,
    changed: Condvar,
}

#[derive(Debug)]
struct Inner<T> {
    value: T,
    /// Threads in `wait`.
    waiters: usize,
    /// For event loops; made when one asks for it.
    eventfd: Option<OwnedFd>,
}

impl<T: News> Inner<T> {
    fn take<R>(&mut self, take: impl FnOnce(&mut T) -> R) -> R {
        let taken = take(&mut self.value);
        if let Some(eventfd) = &self.eventfd {
            if self.value.has_news() {
                signal(eventfd);
            }
        }
        taken
    }
}

impl<T: News> Waiting<T> {
    pub(crate) fn new(value: T) -> Self {
        Waiting {
            inner: Mutex::new(Inner {
                value,
                waiters: 0,
                eventfd: None,
            }),
            changed: Condvar::new(),
        }
    }

    /// Read or change the value where that makes no news.
    pub(crate) fn with<R>(&self, change: impl FnOnce(&mut T) -> R) -> R {
        change(&mut self.lock().value)
    }

    /// Change the value, and wake who waits if there is news now and was none before: whoever takes
    /// news takes all of it.
    pub(crate) fn change<R>(&self, change: impl FnOnce(&mut T) -> R) -> R {
        let mut inner = self.lock();
        let had_news = inner.value.has_news();
        let result = change(&mut inner.value);
        if !had_news && inner.value.has_news() {
            self.wake(inner);
        }
        result
    }

    /// Take the news. Where there is still some afterwards, as at the end, the eventfd tells of it
    /// again: whoever waits for that has read it before they took.
    pub(crate) fn take<R>(&self, take: impl FnOnce(&mut T) -> R) -> R {
        self.lock().take(take)
    }

    /// Take the news once there is some or `until` has come (None = for ever).
    pub(crate) fn wait<R>(&self, until: Option<Instant>, take: impl FnOnce(&mut T) -> R) -> R {
        let mut inner = self.lock();
        inner.waiters += 1;
        while !inner.value.has_news() {
            inner = match until {
                None => self
                    .changed
                    .wait(inner)
                    .unwrap_or_else(PoisonError::into_inner),
                Some(until) => {
                    let remaining = until.saturating_duration_since(Instant::now());
                    if remaining.is_zero() {
                        break;
                    }
                    let waited = self.changed.wait_timeout(inner, remaining);
                    waited.unwrap_or_else(PoisonError::into_inner).0
                }
            };
        }
        inner.waiters -= 1;
        inner.take(take)
    }

    /// The eventfd that tells of news, made at the first call.
    pub(crate) fn eventfd(&self) -> io::Result<RawFd> {
        let mut inner = self.lock();
        if inner.eventfd.is_none() {
            let has_news = inner.value.has_news();
            inner.eventfd = Some(new_eventfd(has_news)?);
        }
        Ok(inner.eventfd.as_ref().map_or(-1, AsRawFd::as_raw_fd))
    }

    fn lock(&self) -> MutexGuard<'_, Inner<T>> {
        // No invariant spans a panic: there is none in these short stretches.
        self.inner.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn wake(&self, inner: MutexGuard<'_, Inner<T>>) {
        if let Some(eventfd) = &inner.eventfd {
            signal(eventfd);
        }
        let waiters = inner.waiters;
        drop(inner); // a thread that is woken needs the lock
        if waiters > 0 {
            self.changed.notify_all();
        }
    }
}

fn new_eventfd(is_readable: bool) -> io::Result<OwnedFd> {
    let flags = libc::EFD_NONBLOCK | libc::EFD_CLOEXEC;
    // SAFETY: takes two numbers and touches no memory.
    let fd = unsafe { libc::eventfd(libc::c_uint::from(is_readable), flags) };
    if fd < 0 {
        return Err(io::Error::last_os_error());
    }
    // SAFETY: the kernel has just made this descriptor for us alone.
    Ok(unsafe { OwnedFd::from_raw_fd(fd) })
}

fn signal(eventfd: &OwnedFd) {
    let one = 1_u64.to_ne_bytes();
    // SAFETY: `one` has the eight bytes that are written. It can fail only when the counter is full,
    // and then the descriptor is readable already.
    unsafe { libc::write(eventfd.as_raw_fd(), one.as_ptr().cast(), one.len()) };
}
