//! Starting and stopping: the threads of a transport and where it listens.

use std::io;
use std::sync::{Arc, Mutex, PoisonError};
use std::thread::{self, JoinHandle};
use std::time::{Duration, Instant};

use crate::interpreter;
use crate::listener::{Endpoint, Listener, SocketFile};
use crate::mailbox::Letter;
use crate::server::{FLUSH, Server};
use crate::worker;

/// A transport without Python: what it shares, and what it runs.
#[derive(Debug)]
pub(crate) struct Lifecycle {
    pub(crate) server: Arc<Server>,
    endpoints: Vec<Endpoint>,
    state: Mutex<State>,
    /// The process that made it; see `interpreter::forks`.
    forks: u64,
}

type Thread = JoinHandle<io::Result<()>>;

#[derive(Debug)]
enum State {
    New,
    Running {
        threads: Vec<Thread>,
        _files: Vec<SocketFile>,
    },
    Stopped,
}

/// Why a transport did not start.
#[derive(Debug)]
pub(crate) enum StartError {
    /// It was started or stopped before.
    NotNew,
    /// This address cannot be bound.
    Bind(String, io::Error),
    /// The system gives no more threads.
    Thread(io::Error),
}

impl Lifecycle {
    pub(crate) fn new(server: Server, endpoints: Vec<Endpoint>) -> Self {
        Lifecycle {
            server: Arc::new(server),
            endpoints,
            state: Mutex::new(State::New),
            forks: interpreter::forks(),
        }
    }

    /// Whether this process made it. In others its threads are not there, and its locks may never
    /// come free.
    pub(crate) fn is_ours(&self) -> bool {
        self.forks == interpreter::forks()
    }

    /// Whether it has not been started yet.
    pub(crate) fn is_new(&self) -> bool {
        matches!(
            *self.state.lock().unwrap_or_else(PoisonError::into_inner),
            State::New
        )
    }

    /// Bind and accept. Returns the first TCP port, or 0.
    pub(crate) fn start(&self) -> Result<u16, StartError> {
        let mut state = self.state.lock().unwrap_or_else(PoisonError::into_inner);
        if !matches!(*state, State::New) {
            return Err(StartError::NotNew);
        }
        let (listeners, _files) = self.bind()?;
        let port = listeners.iter().find_map(Listener::port).unwrap_or(0);
        let (threads, result) = self.spawn(listeners);
        if let Err(error) = result {
            *state = State::Stopped;
            self.join(threads);
            self.close_queues();
            return Err(StartError::Thread(error));
        }
        *state = State::Running { threads, _files };
        Ok(port)
    }

    fn bind(&self) -> Result<(Vec<Listener>, Vec<SocketFile>), StartError> {
        let (mut listeners, mut files) = (Vec::new(), Vec::new());
        for endpoint in &self.endpoints {
            let bound = endpoint.bind(self.server.options.reuse_port);
            listeners.extend(bound.map_err(|error| StartError::Bind(endpoint.to_string(), error))?);
            files.extend(SocketFile::of(endpoint));
        }
        Ok((listeners, files))
    }

    /// Start the threads; those that were started are returned with an error as well. One of them
    /// accepts for all: two listeners on one port would let another server join in.
    fn spawn(&self, mut listeners: Vec<Listener>) -> (Vec<Thread>, io::Result<()>) {
        let mut threads = Vec::new();
        for index in 0..self.server.mailboxes.len() {
            match self.spawn_one(index, std::mem::take(&mut listeners)) {
                Ok(thread) => threads.push(thread),
                Err(error) => return (threads, Err(error)),
            }
        }
        (threads, Ok(()))
    }

    fn spawn_one(&self, index: usize, listeners: Vec<Listener>) -> io::Result<Thread> {
        let server = self.server.clone();
        let runtime = worker::runtime()?;
        thread::Builder::new()
            .name(format!("transport-io-{index}"))
            .spawn(move || worker::run(runtime, server, index, listeners))
    }

    /// `stop` of the stub.
    pub(crate) fn stop(&self, grace: Duration) -> bool {
        let mut state = self.state.lock().unwrap_or_else(PoisonError::into_inner);
        let before = std::mem::replace(&mut *state, State::Stopped);
        drop(state);
        let is_drained = match before {
            State::Running { threads, .. } => self.drain(grace, threads),
            State::New => true,
            State::Stopped => return true,
        };
        self.close_queues();
        is_drained
    }

    /// Tell Python that nothing more will come.
    fn close_queues(&self) {
        self.server.calls.close();
        self.server.messages.close();
    }

    /// Stop, and have those who are stopping it wait no longer. For the end of the process.
    pub(crate) fn close_now(&self) {
        self.server.hurry();
        self.stop(Duration::ZERO);
    }

    fn drain(&self, grace: Duration, threads: Vec<Thread>) -> bool {
        let server = &self.server;
        server.post_all(|| Letter::Drain);
        server.end_silent_streams();
        server.wait_for_connections(Instant::now() + grace);
        let were_left = server.refuse_rest();
        server.post_all(|| Letter::Close);
        server.wait_for_connections(Instant::now() + FLUSH);
        self.join(threads);
        !were_left
    }

    fn join(&self, threads: Vec<Thread>) {
        self.server.post_all(|| Letter::Exit);
        for thread in threads {
            // One that panicked has said so on stderr and dropped its connections.
            let _ = thread.join();
        }
    }
}

impl Drop for Lifecycle {
    fn drop(&mut self) {
        let state = self.state.get_mut().unwrap_or_else(PoisonError::into_inner);
        if let State::Running { threads, .. } = std::mem::replace(state, State::Stopped) {
            self.join(threads);
        }
    }
}
