//! Messages of streaming methods on their way to Python, and where the streams are.

use std::time::Instant;

use bytes::Bytes;

use crate::calls::{Address, Limits};
use crate::id_map::IdMap;
use crate::waiting::{News, Waiting};

/// The index that stands for the echo of a ping.
pub(crate) const PING: i64 = -1;

/// Something that came in.
#[derive(Debug)]
pub(crate) struct Incoming {
    /// Of the stream, or the token of a ping.
    pub(crate) stream: i64,
    /// Index into the transport's streaming methods, or `PING`.
    pub(crate) method: i64,
    /// None: the client has finished sending, or is gone.
    pub(crate) message: Option<Bytes>,
}

/// Everything that has come in since the last time.
#[derive(Debug, Default)]
pub(crate) struct TakenMessages {
    pub(crate) messages: Vec<Incoming>,
    /// Whether this is the end.
    pub(crate) is_end: bool,
}

impl TakenMessages {
    /// Whether there is anything to tell.
    pub(crate) fn is_news(&self) -> bool {
        self.is_end || !self.messages.is_empty()
    }
}

/// The open streams and what they have brought. Thread-safe; one lock.
#[derive(Debug)]
pub(crate) struct MessageQueue {
    queue: Waiting<Queue>,
}

#[derive(Debug)]
struct Queue {
    streams: IdMap<u64, Stream>,
    last_stream: u64,
    limits: Limits,
    incoming: Vec<Incoming>,
    /// In the messages of `incoming`.
    bytes: usize,
    is_closed: bool,
}

/// A stream that has not ended.
#[derive(Debug)]
struct Stream {
    address: Address,
    /// Whether Python has been told of it.
    has_spoken: bool,
}

impl News for Queue {
    fn has_news(&self) -> bool {
        self.is_closed || !self.incoming.is_empty()
    }
}

impl MessageQueue {
    /// For so many messages and bytes at a time.
    pub(crate) fn new(limits: Limits) -> Self {
        MessageQueue {
            queue: Waiting::new(Queue {
                streams: IdMap::default(),
                last_stream: 0,
                limits,
                incoming: Vec::new(),
                bytes: 0,
                is_closed: false,
            }),
        }
    }

    /// A stream has begun. Returns its id, which is never used again.
    pub(crate) fn open(&self, address: Address) -> u64 {
        self.queue.with(|queue| {
            queue.last_stream += 1;
            let stream = Stream {
                address,
                has_spoken: false,
            };
            queue.streams.insert(queue.last_stream, stream);
            queue.last_stream
        })
    }

    /// Queue what a stream that Python has not ended has brought. False if too much waits already.
    pub(crate) fn push(&self, stream: u64, method: u32, message: Option<Bytes>) -> bool {
        self.queue.change(|queue| {
            let size = message.as_ref().map_or(0, Bytes::len);
            let has_room = queue.has_room(size) || message.is_none();
            let Some(open) = queue.streams.get_mut(&stream) else {
                return true;
            };
            if has_room {
                open.has_spoken = true;
                queue.bytes += size;
                queue.push(stream as i64, i64::from(method), message);
            }
            has_room
        })
    }

    /// A client has given a stream up. Told to Python unless Python has ended the stream.
    pub(crate) fn abandon(&self, stream: u64, method: u32) {
        self.queue.change(|queue| {
            if queue.streams.remove(&stream).is_some() {
                queue.push(stream as i64, i64::from(method), None);
            }
        });
    }

    /// Echo a ping.
    pub(crate) fn echo(&self, token: i64) {
        self.queue.change(|queue| queue.push(token, PING, None));
    }

    /// Where a stream is; None if it is gone.
    pub(crate) fn address(&self, stream: u64) -> Option<Address> {
        self.queue
            .with(|queue| queue.streams.get(&stream).map(|open| open.address))
    }

    /// Take a stream to end it; None if it is gone.
    pub(crate) fn remove(&self, stream: u64) -> Option<Address> {
        self.queue
            .with(|queue| queue.streams.remove(&stream).map(|open| open.address))
    }

    /// Take every stream to end it.
    pub(crate) fn remove_rest(&self) -> Vec<Address> {
        self.queue.with(|queue| {
            queue
                .streams
                .drain()
                .map(|(_, open)| open.address)
                .collect()
        })
    }

    /// Take the streams that have brought nothing, to end them: Python does not know them.
    pub(crate) fn remove_silent(&self) -> Vec<Address> {
        self.queue.with(|queue| {
            let mut silent = Vec::new();
            queue.streams.retain(|_, open| {
                if !open.has_spoken {
                    silent.push(open.address);
                }
                open.has_spoken
            });
            silent
        })
    }

    /// Bytes of the messages that Python has not taken.
    pub(crate) fn waiting_bytes(&self) -> usize {
        self.queue.with(|queue| queue.bytes)
    }

    /// Nothing more will come.
    pub(crate) fn close(&self) {
        self.queue.change(|queue| queue.is_closed = true);
    }

    /// Hand over what has come in, without waiting.
    pub(crate) fn take(&self) -> TakenMessages {
        self.queue.take(Queue::take)
    }

    /// Hand over what has come in once something has, or at `until` (None = for ever).
    pub(crate) fn wait(&self, until: Option<Instant>) -> TakenMessages {
        self.queue.wait(until, Queue::take)
    }
}

impl Queue {
    fn has_room(&self, size: usize) -> bool {
        self.incoming.len() < self.limits.calls && self.bytes + size <= self.limits.bytes
    }

    fn push(&mut self, stream: i64, method: i64, message: Option<Bytes>) {
        self.incoming.push(Incoming {
            stream,
            method,
            message,
        });
    }

    fn take(&mut self) -> TakenMessages {
        self.bytes = 0;
        TakenMessages {
            is_end: self.is_closed && self.incoming.is_empty(),
            messages: std::mem::take(&mut self.incoming),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_comes_on_a_stream_that_python_has_ended_is_dropped() {
        let queue = MessageQueue::new(Limits {
            calls: 10,
            bytes: 1000,
        });
        let stream = queue.open(Address {
            thread: 0,
            connection: 1,
            stream: 1,
        });
        assert!(queue.push(stream, 0, Some(Bytes::from_static(b"first"))));
        queue.take();
        queue.remove(stream);
        assert!(queue.push(stream, 0, Some(Bytes::from_static(b"late"))));
        assert!(queue.take().messages.is_empty());
        assert_eq!(queue.waiting_bytes(), 0);
    }
}
