//! Reads the messages of one stream.

use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::task::{Context, Poll, Wake, Waker, ready};

use bytes::Bytes;
use h2::RecvStream;
use tokio::task::{JoinHandle, spawn_blocking};

use crate::compression::Encoding;
use crate::framing::{Body, Deframer, Step};
use crate::held::{Held, HeldCount};
use crate::server::Server;
use crate::status::{INTERNAL, Status};

/// Compressed messages above this are decompressed on another thread: the others wait meanwhile.
const LONG_WORK_BYTES: usize = 16 * 1024;

/// What a stream brings next.
#[derive(Debug)]
pub(crate) enum Read {
    Message(Body),
    /// The client has finished sending.
    End,
    /// What came is not accepted.
    Refused(Status),
    /// The client has given up, or the connection is broken.
    Gone,
}

/// The receiving side of one stream.
#[derive(Debug)]
pub(crate) struct MessageReader {
    body: RecvStream,
    /// What was read beyond the last message.
    chunk: Bytes,
    deframer: Deframer,
    encoding: Encoding,
    /// What has come of a message, or is being decompressed.
    held: Held,
    /// A message that is being decompressed elsewhere.
    decompressing: Option<JoinHandle<Result<Body, Status>>>,
}

impl MessageReader {
    pub(crate) fn new(
        body: RecvStream,
        encoding: Encoding,
        limit: usize,
        held: &HeldCount,
    ) -> Self {
        MessageReader {
            body,
            chunk: Bytes::new(),
            deframer: Deframer::new(limit),
            encoding,
            held: Held::new(held, 0),
            decompressing: None,
        }
    }

    /// The next message, or what comes in its place.
    pub(crate) fn poll_read(&mut self, cx: &mut Context<'_>, server: &Server) -> Poll<Read> {
        if let Some(work) = &mut self.decompressing {
            let result = ready!(std::pin::Pin::new(work).poll(cx));
            self.decompressing = None;
            self.held.set(0);
            return Poll::Ready(decompressed(result.unwrap_or_else(|_| Err(unreadable()))));
        }
        loop {
            if self.chunk.is_empty() {
                match ready!(self.body.poll_data(cx)) {
                    Some(Ok(chunk)) => self.keep(chunk),
                    Some(Err(_)) => return Poll::Ready(Read::Gone),
                    None => return Poll::Ready(self.end()),
                }
            }
            match self.deframer.feed(&mut self.chunk) {
                Step::Message { compressed, body } => {
                    self.held.set(0);
                    return self.finish(compressed, body, cx, server);
                }
                Step::TooLarge(length) => {
                    let limit = server.options.message_limit();
                    let status = Status::request_too_large(length, limit);
                    return Poll::Ready(Read::Refused(status));
                }
                Step::Unfinished if server.is_full() => {
                    return Poll::Ready(Read::Refused(Status::too_many_bytes()));
                }
                Step::Unfinished => self.held.set(self.deframer.received()),
            }
        }
    }

    fn keep(&mut self, chunk: Bytes) {
        // Cannot fail: it is what came.
        let _ = self.body.flow_control().release_capacity(chunk.len());
        self.chunk = chunk;
    }

    fn end(&self) -> Read {
        match self.deframer.is_between_messages() {
            true => Read::End,
            false => Read::Refused(unreadable()),
        }
    }

    fn finish(
        &mut self,
        compressed: bool,
        body: Body,
        cx: &mut Context<'_>,
        server: &Server,
    ) -> Poll<Read> {
        if !compressed {
            return Poll::Ready(Read::Message(body));
        }
        let encoding = self.encoding;
        let limit = server.decompression_limit();
        if body.len() < LONG_WORK_BYTES {
            return Poll::Ready(decompressed(encoding.decompress(body, limit)));
        }
        if server.is_full() {
            return Poll::Ready(Read::Refused(Status::too_many_bytes()));
        }
        self.held.set(body.len());
        self.decompressing = Some(spawn_blocking(move || encoding.decompress(body, limit)));
        self.poll_read(cx, server)
    }
}

impl Drop for MessageReader {
    fn drop(&mut self) {
        // What has not begun need not be done any more, and would hold its message until then.
        if let Some(work) = &self.decompressing {
            work.abort();
        }
    }
}

fn decompressed(result: Result<Body, Status>) -> Read {
    match result {
        Ok(body) => Read::Message(body),
        Err(status) => Read::Refused(status),
    }
}

fn unreadable() -> Status {
    Status::new(INTERNAL, "The message ends before its length.")
}

/// The streams of a connection on which something has come, without asking each of them.
#[derive(Debug, Default)]
pub(crate) struct ReadyStreams {
    state: Mutex<State>,
}

#[derive(Debug, Default)]
struct State {
    streams: Vec<u32>,
    /// Of the connection's task.
    task: Option<Waker>,
}

impl ReadyStreams {
    /// What wakes the connection's task for `stream`.
    pub(crate) fn waker(self: &Arc<Self>, stream: u32, task: &Waker) -> Waker {
        let mut state = self.lock();
        if !state
            .task
            .as_ref()
            .is_some_and(|known| known.will_wake(task))
        {
            state.task = Some(task.clone());
        }
        let ready = self.clone();
        Waker::from(Arc::new(StreamWaker { stream, ready }))
    }

    /// Move the streams into `taken`, which is empty.
    pub(crate) fn take(&self, taken: &mut Vec<u32>) {
        std::mem::swap(&mut self.lock().streams, taken);
    }

    fn lock(&self) -> MutexGuard<'_, State> {
        // No invariant spans a panic.
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// Wakes a connection's task and says for which stream.
#[derive(Debug)]
struct StreamWaker {
    stream: u32,
    ready: Arc<ReadyStreams>,
}

impl Wake for StreamWaker {
    fn wake(self: Arc<Self>) {
        let mut state = self.ready.lock();
        state.streams.push(self.stream);
        if let Some(task) = &state.task {
            task.wake_by_ref();
        }
    }
}
