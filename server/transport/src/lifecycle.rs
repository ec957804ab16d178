//! Starting and stopping: the threads of a transport and where it listens.

use std::io;
use std::sync::{Arc, Mutex, PoisonError};
use std::thread::{self, JoinHandle};
use std::time::{Duration, Instant};

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
}

#[derive(Debug)]
enum State {
    New,
    Running {
        threads: Vec<JoinHandle<io::Result<()>>>,
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
        }
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
        let threads = self.spawn(listeners).map_err(StartError::Thread)?;
        *state = State::Running { threads, _files };
        Ok(port)
    }

    fn bind(&self) -> Result<(Vec<Listener>, Vec<SocketFile>), StartError> {
        let (mut listeners, mut files) = (Vec::new(), Vec::new());
        for endpoint in &self.endpoints {
            let bound = endpoint.bind();
            listeners.extend(bound.map_err(|error| StartError::Bind(endpoint.to_string(), error))?);
            files.extend(SocketFile::of(endpoint));
        }
        Ok((listeners, files))
    }

    /// One thread accepts for all: two listeners on one port would let another server join in.
    fn spawn(&self, mut listeners: Vec<Listener>) -> io::Result<Vec<JoinHandle<io::Result<()>>>> {
        let mut threads = Vec::new();
        for index in 0..self.server.mailboxes.len() {
            let server = self.server.clone();
            let listeners = std::mem::take(&mut listeners);
            let builder = thread::Builder::new().name(format!("transport-io-{index}"));
            threads.push(builder.spawn(move || worker::run(server, index, listeners))?);
        }
        Ok(threads)
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
        self.server.calls.close();
        self.server.messages.close();
        is_drained
    }

    /// Stop, and have those who are stopping it wait no longer. For the end of the process.
    pub(crate) fn close_now(&self) {
        self.server.hurry();
        self.stop(Duration::ZERO);
    }

    fn drain(&self, grace: Duration, threads: Vec<JoinHandle<io::Result<()>>>) -> bool {
        let server = &self.server;
        server.post_all(|| Letter::Drain);
        server.wait_for_connections(Instant::now() + grace);
        let were_left = server.refuse_rest();
        server.post_all(|| Letter::Close);
        server.wait_for_connections(Instant::now() + FLUSH);
        self.join(threads);
        !were_left
    }

    fn join(&self, threads: Vec<JoinHandle<io::Result<()>>>) {
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
