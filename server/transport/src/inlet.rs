//! How an I/O thread tells one of its connections what to do.

use std::cell::{Cell, RefCell};
use std::task::Waker;

use bytes::Bytes;

use crate::calls::Reply;
use crate::status::Status;

/// One thing to do for a connection, with the stream it is about.
#[derive(Debug)]
pub(crate) enum Order {
    /// Answer a call.
    Reply(u32, Reply),
    /// Send a message, with its prefix.
    Message(u32, Bytes),
    /// End a stream.
    End(u32, Status),
}

/// How far on its way out a connection is.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum Phase {
    /// Takes calls.
    Serving,
    /// Has told its client to go away and takes the calls that come all the same.
    Draining,
    /// Is over once what has been answered is written.
    Closing,
}

/// Orders to one connection, which takes all of them at once. Belongs to one thread.
#[derive(Debug)]
pub(crate) struct Inlet {
    orders: RefCell<Vec<Order>>,
    phase: Cell<Phase>,
    /// Of the connection's task, while it does not run.
    waker: RefCell<Option<Waker>>,
}

impl Inlet {
    pub(crate) fn new(phase: Phase) -> Self {
        Inlet {
            orders: RefCell::default(),
            phase: Cell::new(phase),
            waker: RefCell::default(),
        }
    }

    /// Add an order.
    pub(crate) fn push(&self, order: Order) {
        self.orders.borrow_mut().push(order);
        self.wake();
    }

    /// Move on to `phase`.
    pub(crate) fn set_phase(&self, phase: Phase) {
        self.phase.set(phase.max(self.phase.get()));
        self.wake();
    }

    /// The phase that the connection should be in.
    pub(crate) fn phase(&self) -> Phase {
        self.phase.get()
    }

    /// Move all orders into `taken`, which is empty.
    pub(crate) fn take(&self, taken: &mut Vec<Order>) {
        std::mem::swap(&mut *self.orders.borrow_mut(), taken);
    }

    /// Have `waker` woken by what comes next.
    pub(crate) fn register(&self, waker: &Waker) {
        let mut registered = self.waker.borrow_mut();
        if registered.is_none() {
            *registered = Some(waker.clone());
        }
    }

    fn wake(&self) {
        if let Some(waker) = self.waker.borrow_mut().take() {
            waker.wake();
        }
    }
}
