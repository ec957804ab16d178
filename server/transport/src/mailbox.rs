//! What the threads of Python tell an I/O thread.

use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::task::{Context, Poll, Waker};
use std::time::{Duration, Instant};

use bytes::Bytes;

use crate::calls::{Address, Reply};
use crate::status::Status;
use crate::wire::Accepted;

/// An answer that comes so long after the first that waits, while a mailbox is corked, takes all
/// along: as long as a quick model runs.
const CORKED_TIME: Duration = Duration::from_micros(200);

/// One thing to do for an I/O thread.
#[derive(Debug)]
pub(crate) enum Letter {
    /// Answer a call.
    Reply(Address, Reply),
    /// Send a message, with its prefix, on a stream.
    Message(Address, Bytes),
    /// End a stream.
    End(Address, Status),
    /// Serve a connection.
    Adopt(Accepted),
    /// Echo this token.
    Ping(i64),
    /// Stop listening and have clients go away once their calls are answered.
    Drain,
    /// Close what is left as soon as what has been answered is written.
    Close,
    /// Drop everything and end.
    Exit,
}

/// Letters to one I/O thread, which takes all of them at once. The thread is woken for the first;
/// while the mailbox is corked, for what comes `CORKED_TIME` after it. There is no timer: whoever
/// corks must uncork soon.
#[derive(Debug, Default)]
pub(crate) struct Mailbox {
    state: Mutex<State>,
    wakes: AtomicU64,
}

#[derive(Debug, Default)]
struct State {
    letters: Vec<Letter>,
    /// Of the I/O thread, while it has nothing to take.
    waker: Option<Waker>,
    is_corked: bool,
    /// When the first of `letters` came, if the mailbox was corked then.
    first_at: Option<Instant>,
}

impl State {
    fn is_held_back(&mut self) -> bool {
        if !self.is_corked {
            return false;
        }
        let first_at = *self.first_at.get_or_insert_with(Instant::now);
        first_at.elapsed() < CORKED_TIME
    }
}

impl Mailbox {
    /// Add what `write` adds.
    pub(crate) fn post(&self, write: impl FnOnce(&mut Vec<Letter>)) {
        let mut state = self.lock();
        write(&mut state.letters);
        self.wake(state);
    }

    /// Add answers: they may wait for others while the mailbox is corked.
    pub(crate) fn post_answers(&self, mut answers: Vec<Letter>) {
        let mut state = self.lock();
        state.letters.append(&mut answers);
        if !state.is_held_back() {
            self.wake(state);
        }
    }

    /// Let answers wait for others from now on, or no more.
    pub(crate) fn set_corked(&self, is_corked: bool) {
        let mut state = self.lock();
        state.is_corked = is_corked;
        if !is_corked {
            self.wake(state);
        }
    }

    fn wake(&self, mut state: MutexGuard<'_, State>) {
        let waker = match state.letters.is_empty() {
            true => None,
            false => state.waker.take(),
        };
        drop(state);
        if let Some(waker) = waker {
            self.wakes.fetch_add(1, Ordering::Relaxed);
            waker.wake();
        }
    }

    /// Move all letters into `taken`, which is empty, once there are any.
    pub(crate) fn poll_take(&self, cx: &mut Context<'_>, taken: &mut Vec<Letter>) -> Poll<()> {
        let mut state = self.lock();
        if state.letters.is_empty() {
            state.waker = Some(cx.waker().clone());
            return Poll::Pending;
        }
        std::mem::swap(&mut state.letters, taken);
        state.first_at = None;
        Poll::Ready(())
    }

    /// How often the thread was woken.
    pub(crate) fn wakes(&self) -> u64 {
        self.wakes.load(Ordering::Relaxed)
    }

    fn lock(&self) -> MutexGuard<'_, State> {
        // No invariant spans a panic.
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}
