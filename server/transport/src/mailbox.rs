//! What the threads of Python tell an I/O thread.

use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::task::{Context, Poll, Waker};

use bytes::Bytes;

use crate::calls::{Address, Reply};
use crate::status::Status;
use crate::wire::Accepted;

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

/// Letters to one I/O thread, which takes all of them at once. The thread is woken for the first.
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
}

impl Mailbox {
    /// Add what `write` adds.
    pub(crate) fn post(&self, write: impl FnOnce(&mut Vec<Letter>)) {
        let mut state = self.lock();
        write(&mut state.letters);
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
