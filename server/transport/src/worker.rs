//! An I/O thread: accepts connections and serves each with one task.

use std::cell::{Cell, RefCell};
use std::future::poll_fn;
use std::io;
use std::rc::Rc;
use std::sync::Arc;
use std::time::Duration;

use tokio::net::{TcpListener, UnixListener};
use tokio::runtime::{Builder, Runtime};
use tokio::sync::Notify;
use tokio::task::{AbortHandle, LocalSet, spawn_local};
use tokio::time::sleep;

use crate::calls::Address;
use crate::handshake;
use crate::id_map::IdMap;
use crate::inlet::{Inlet, Order, Phase};
use crate::listener::Listener;
use crate::mailbox::Letter;
use crate::server::{ConnectionGuard, Server};
use crate::wire::Accepted;

/// Before accepting again when it failed: there are no more file descriptors, say.
const ACCEPT_PAUSE: Duration = Duration::from_millis(50);

/// Of each I/O thread: more would only decompress more at once, which takes memory.
const DECOMPRESSING_THREADS: usize = 2;

/// What the tasks of one I/O thread share.
#[derive(Debug)]
pub(crate) struct Worker {
    pub(crate) server: Arc<Server>,
    /// Of this thread.
    pub(crate) index: usize,
    /// The open connections, by their number.
    inlets: RefCell<IdMap<u64, Rc<Inlet>>>,
    last_connection: Cell<u64>,
    /// That all connections should be in.
    phase: Cell<Phase>,
    /// Tells connections without an inlet yet that the phase has changed.
    phase_changed: Notify,
    /// The tasks that accept.
    listening: RefCell<Vec<AbortHandle>>,
    /// The thread that gets the next connection.
    next_thread: Cell<usize>,
}

/// What an I/O thread runs on. Made beforehand, so that a failure is noticed.
pub(crate) fn runtime() -> io::Result<Runtime> {
    Builder::new_current_thread()
        .enable_all()
        .max_blocking_threads(DECOMPRESSING_THREADS)
        .build()
}

/// The body of an I/O thread. Returns when it is told to exit.
pub(crate) fn run(
    runtime: Runtime,
    server: Arc<Server>,
    index: usize,
    listeners: Vec<Listener>,
) -> io::Result<()> {
    let worker = Rc::new(Worker {
        server,
        index,
        inlets: RefCell::default(),
        last_connection: Cell::new(0),
        phase: Cell::new(Phase::Serving),
        phase_changed: Notify::new(),
        listening: RefCell::default(),
        next_thread: Cell::new(index),
    });
    let tasks = LocalSet::new();
    let result = tasks.block_on(&runtime, worker.serve(listeners));
    drop(tasks); // their sockets are the runtime's
    runtime.shutdown_background(); // nobody waits for what is still being decompressed
    result
}

impl Worker {
    async fn serve(self: &Rc<Self>, listeners: Vec<Listener>) -> io::Result<()> {
        for listener in listeners {
            let task = match listener {
                Listener::Tcp(listener) => {
                    let listener = TcpListener::from_std(listener)?;
                    spawn_local(self.clone().accept_tcp(listener))
                }
                Listener::Unix(listener) => {
                    let listener = UnixListener::from_std(listener)?;
                    spawn_local(self.clone().accept_unix(listener))
                }
            };
            self.listening.borrow_mut().push(task.abort_handle());
        }
        self.deliver_letters().await;
        Ok(())
    }

    async fn deliver_letters(self: &Rc<Self>) {
        let mailbox = &self.server.mailboxes[self.index];
        let mut letters = Vec::new();
        loop {
            poll_fn(|cx| mailbox.poll_take(cx, &mut letters)).await;
            for letter in letters.drain(..) {
                if matches!(letter, Letter::Exit) {
                    return;
                }
                self.deliver(letter);
            }
        }
    }

    fn deliver(self: &Rc<Self>, letter: Letter) {
        match letter {
            Letter::Reply(to, reply) => self.tell(to, Order::Reply(to.stream, reply)),
            Letter::Message(to, message) => self.tell(to, Order::Message(to.stream, message)),
            Letter::End(to, status) => self.tell(to, Order::End(to.stream, status)),
            Letter::Adopt(accepted) => self.adopt(accepted),
            Letter::Ping(token) => self.server.pass_ping(token, self.index + 1),
            Letter::Drain => {
                self.listening
                    .borrow_mut()
                    .drain(..)
                    .for_each(|task| task.abort());
                self.set_phase(Phase::Draining);
            }
            Letter::Close => self.set_phase(Phase::Closing),
            Letter::Exit => {}
        }
    }

    fn tell(&self, to: Address, order: Order) {
        // A connection that is gone has abandoned its calls; an answer may have been on its way.
        if let Some(inlet) = self.inlets.borrow().get(&to.connection) {
            inlet.push(order);
        }
    }

    fn set_phase(&self, phase: Phase) {
        self.phase.set(phase);
        self.inlets
            .borrow()
            .values()
            .for_each(|inlet| inlet.set_phase(phase));
        self.phase_changed.notify_waiters();
    }

    /// Wait until connections are told to go away.
    pub(crate) async fn leaving(&self) {
        while self.phase.get() == Phase::Serving {
            self.phase_changed.notified().await;
        }
    }

    async fn accept_tcp(self: Rc<Self>, listener: TcpListener) {
        loop {
            match listener.accept().await {
                Ok((stream, _)) => {
                    // Answers are written whole: there is nothing to wait for.
                    let _ = stream.set_nodelay(true);
                    self.hand_on(stream.into_std().map(Accepted::Tcp));
                }
                Err(_) => sleep(ACCEPT_PAUSE).await,
            }
        }
    }

    async fn accept_unix(self: Rc<Self>, listener: UnixListener) {
        loop {
            match listener.accept().await {
                Ok((stream, _)) => self.hand_on(stream.into_std().map(Accepted::Unix)),
                Err(_) => sleep(ACCEPT_PAUSE).await,
            }
        }
    }

    /// Give a connection to the thread whose turn it is.
    fn hand_on(self: &Rc<Self>, accepted: std::io::Result<Accepted>) {
        let Ok(accepted) = accepted else {
            return; // it broke at once
        };
        let thread = self.next_thread.get();
        self.next_thread
            .set((thread + 1) % self.server.mailboxes.len());
        if thread == self.index {
            self.adopt(accepted);
        } else {
            self.server.mailboxes[thread].post(|letters| letters.push(Letter::Adopt(accepted)));
        }
    }

    /// Serve a connection, or close it if there are too many.
    fn adopt(self: &Rc<Self>, accepted: Accepted) {
        if let Some(guard) = ConnectionGuard::new(&self.server) {
            spawn_local(self.clone().serve_connection(accepted, guard));
        }
    }

    async fn serve_connection(self: Rc<Self>, accepted: Accepted, _guard: ConnectionGuard) {
        // A client that is not understood, or gone, is no matter of the server's.
        let _ = handshake::serve(&self, accepted).await;
    }

    /// Make a connection known under a new number.
    pub(crate) fn register(self: &Rc<Self>) -> Registration {
        let key = self.last_connection.get() + 1;
        self.last_connection.set(key);
        let inlet = Rc::new(Inlet::new(self.phase.get()));
        self.inlets.borrow_mut().insert(key, inlet.clone());
        Registration {
            worker: self.clone(),
            key,
            inlet,
        }
    }
}

/// A connection that letters reach for as long as this is there.
#[derive(Debug)]
pub(crate) struct Registration {
    pub(crate) worker: Rc<Worker>,
    /// The connection's number, never used again on this thread.
    pub(crate) key: u64,
    pub(crate) inlet: Rc<Inlet>,
}

impl Drop for Registration {
    fn drop(&mut self) {
        self.worker.inlets.borrow_mut().remove(&self.key);
    }
}
