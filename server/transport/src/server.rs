//! What all threads of one transport share.

use std::collections::HashMap;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError, RwLock};
use std::time::{Duration, Instant};

use bytes::Bytes;
use tokio_rustls::rustls::ServerConfig;

use crate::calls::{Address, CallTable, Limits, Reply};
use crate::framing::put_message;
use crate::mailbox::{Letter, Mailbox};
use crate::messages::MessageQueue;
use crate::options::Options;
use crate::status::{Status, UNAVAILABLE};

/// How long answers given at the end of the grace may take to be written.
pub(crate) const FLUSH: Duration = Duration::from_secs(1);

/// What a method name leads to.
#[derive(Clone, Debug)]
pub(crate) enum Target {
    /// Queued for Python; index into the methods.
    Unary(u32),
    /// Handed to Python message by message; index into the streaming methods.
    Stream(u32),
    /// Answered at once with this message, prefix included.
    Constant(Bytes),
}

/// The shared state of a transport. Thread-safe.
#[derive(Debug)]
pub(crate) struct Server {
    pub(crate) options: Options,
    /// By full name.
    pub(crate) targets: HashMap<String, Target>,
    pub(crate) calls: CallTable,
    pub(crate) messages: MessageQueue,
    /// One for each I/O thread.
    pub(crate) mailboxes: Vec<Mailbox>,
    /// What connections hold: requests that are not complete and replies that are not written.
    pub(crate) held_bytes: AtomicUsize,
    /// For TCP connections made from now on.
    pub(crate) tls: RwLock<Option<Arc<ServerConfig>>>,
    connections: Mutex<Connections>,
    connection_closed: Condvar,
}

#[derive(Debug, Default)]
struct Connections {
    /// Open ones.
    count: usize,
    /// Whether nobody is to wait for them any more.
    is_hurried: bool,
}

impl Server {
    pub(crate) fn new(methods: &[String], stream_methods: &[String], options: Options) -> Self {
        let limits = Limits {
            calls: options.max_queued_calls,
            bytes: options.max_buffered_bytes,
        };
        let threads = options.io_threads;
        Server {
            targets: targets(methods, stream_methods, &options),
            calls: CallTable::new(methods.len(), limits, options.seconds_bounds.clone()),
            messages: MessageQueue::new(limits),
            mailboxes: std::iter::repeat_with(Mailbox::default)
                .take(threads)
                .collect(),
            held_bytes: AtomicUsize::new(0),
            tls: RwLock::new(None),
            connections: Mutex::default(),
            connection_closed: Condvar::new(),
            options,
        }
    }

    /// Give calls their answers. Late and double ones are dropped and counted.
    pub(crate) fn reply(&self, replies: impl Iterator<Item = (u64, Reply)>) {
        let mut letters = self.sorted();
        self.calls.claim(replies, |address, reply| {
            letters[address.thread].push(Letter::Reply(address, reply));
        });
        for (mailbox, letters) in self.mailboxes.iter().zip(letters) {
            if !letters.is_empty() {
                mailbox.post_answers(letters);
            }
        }
    }

    /// Let answers wait for others, so that they leave together, or no more.
    pub(crate) fn set_corked(&self, is_corked: bool) {
        for mailbox in &self.mailboxes {
            mailbox.set_corked(is_corked);
        }
    }

    /// Answer everything that is left with UNAVAILABLE, and refuse what comes. Returns whether
    /// there were calls.
    pub(crate) fn refuse_rest(&self) -> bool {
        let mut letters = self.sorted();
        let mut count = 0;
        self.calls.claim_rest(UNAVAILABLE, |address| {
            count += 1;
            let reply = Reply::Status(Status::shutting_down());
            letters[address.thread].push(Letter::Reply(address, reply));
        });
        for address in self.messages.remove_rest() {
            letters[address.thread].push(Letter::End(address, Status::shutting_down()));
        }
        self.post(letters);
        count > 0
    }

    /// End the streams that have brought nothing yet. Nobody else would: Python does not know them.
    pub(crate) fn end_silent_streams(&self) {
        let mut letters = self.sorted();
        for address in self.messages.remove_silent() {
            letters[address.thread].push(Letter::End(address, Status::OK));
        }
        self.post(letters);
    }

    /// Post one letter to where a stream is.
    pub(crate) fn post_to(&self, address: Address, letter: Letter) {
        self.mailboxes[address.thread].post(|letters| letters.push(letter));
    }

    /// Post a letter to every I/O thread.
    pub(crate) fn post_all(&self, letter: impl Fn() -> Letter) {
        for mailbox in &self.mailboxes {
            mailbox.post(|letters| letters.push(letter()));
        }
    }

    /// Bytes that count against `Options::max_buffered_bytes`.
    pub(crate) fn buffered_bytes(&self) -> usize {
        let waiting = self.calls.waiting_bytes() + self.messages.waiting_bytes();
        self.held_bytes.load(Ordering::Relaxed) + waiting
    }

    /// Whether what connections hold is as much as is allowed.
    pub(crate) fn is_full(&self) -> bool {
        self.held_bytes.load(Ordering::Relaxed) >= self.options.max_buffered_bytes
    }

    /// Bytes that a message may have once it is decompressed.
    pub(crate) fn decompression_limit(&self) -> usize {
        let room = self
            .options
            .max_buffered_bytes
            .saturating_sub(self.buffered_bytes());
        self.options.message_limit().min(room)
    }

    /// Open connections.
    pub(crate) fn connections(&self) -> usize {
        self.lock_connections().count
    }

    /// Wait until no connection is left, up to `until`.
    pub(crate) fn wait_for_connections(&self, until: Instant) {
        let connections = self.lock_connections();
        let remaining = until.saturating_duration_since(Instant::now());
        let is_to_wait = |now: &mut Connections| now.count > 0 && !now.is_hurried;
        let _ = self
            .connection_closed
            .wait_timeout_while(connections, remaining, is_to_wait);
    }

    /// Have nobody wait for connections any more.
    pub(crate) fn hurry(&self) {
        self.lock_connections().is_hurried = true;
        self.connection_closed.notify_all();
    }

    /// Send a token through all I/O threads, one after another; the last one echoes it.
    pub(crate) fn ping(&self, token: i64) {
        self.pass_ping(token, 0);
    }

    /// Send a token to `thread`, or echo it if that is one more than there are.
    pub(crate) fn pass_ping(&self, token: i64, thread: usize) {
        match self.mailboxes.get(thread) {
            Some(mailbox) => mailbox.post(|letters| letters.push(Letter::Ping(token))),
            None => self.messages.echo(token),
        }
    }

    fn lock_connections(&self) -> MutexGuard<'_, Connections> {
        // No invariant spans a panic.
        self.connections
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
    }

    fn sorted(&self) -> Vec<Vec<Letter>> {
        self.mailboxes.iter().map(|_| Vec::new()).collect()
    }

    fn post(&self, sorted: Vec<Vec<Letter>>) {
        for (mailbox, mut letters) in self.mailboxes.iter().zip(sorted) {
            if !letters.is_empty() {
                mailbox.post(|posted| posted.append(&mut letters));
            }
        }
    }
}

/// Counts one connection for as long as it is there.
#[derive(Debug)]
pub(crate) struct ConnectionGuard(Arc<Server>);

impl ConnectionGuard {
    /// None if there are as many as allowed.
    pub(crate) fn new(server: &Arc<Server>) -> Option<Self> {
        let mut connections = server.lock_connections();
        if connections.count >= server.options.max_connections {
            return None;
        }
        connections.count += 1;
        Some(ConnectionGuard(server.clone()))
    }
}

impl Drop for ConnectionGuard {
    fn drop(&mut self) {
        self.0.lock_connections().count -= 1;
        self.0.connection_closed.notify_all();
    }
}

fn targets(
    methods: &[String],
    stream_methods: &[String],
    options: &Options,
) -> HashMap<String, Target> {
    let mut targets = HashMap::new();
    for (index, method) in (0..).zip(methods) {
        targets.insert(method.clone(), Target::Unary(index));
    }
    for (index, method) in (0..).zip(stream_methods) {
        targets.insert(method.clone(), Target::Stream(index));
    }
    for (method, body) in &options.constant_answers {
        let mut message = Vec::new();
        put_message(&mut message, &[body]);
        targets.insert(method.clone(), Target::Constant(message.into()));
    }
    targets
}
