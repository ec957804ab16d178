//! What h2 reads and writes, with a tap on what is read.

use std::cell::{Cell, RefCell};
use std::collections::HashSet;
use std::io::{self, IoSlice};
use std::pin::Pin;
use std::rc::Rc;
use std::task::{Context, Poll, ready};

use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};

use crate::authority::AuthorityFilter;
use crate::frame_tap::{CONTINUATION, FrameTap, HEADERS, PING, RST_STREAM};
use crate::id_map::BuildIdHasher;
use crate::wire::Wire;

/// What h2 sends as PING after its first GOAWAY.
const FAREWELL: [u8; 8] = [0x0b, 0x7b, 0xa2, 0xf0, 0x8b, 0x9b, 0xfe, 0x54];

/// What was learnt from the bytes that have been read. Shared by the tap and its connection.
#[derive(Debug, Default)]
pub(crate) struct ReadLog {
    /// Streams that the client has reset, until the connection has looked at them.
    pub(crate) resets: RefCell<HashSet<u32, BuildIdHasher>>,
    /// Whether anything has come since the connection last looked.
    pub(crate) has_read: Cell<bool>,
    /// Whether the client has been told to go away.
    pub(crate) is_leaving: Cell<bool>,
    /// Whether it knows.
    pub(crate) has_heard: Cell<bool>,
}

impl ReadLog {
    /// Whether the client has reset this stream; forget it then.
    pub(crate) fn take_reset(&self, stream: u32) -> bool {
        let mut resets = self.resets.borrow_mut();
        !resets.is_empty() && resets.remove(&stream)
    }

    /// Take the streams that were reset, of those up to `last`: the others have not come yet.
    pub(crate) fn take_resets(&self, last: u32) -> Vec<u32> {
        let mut resets = self.resets.borrow_mut();
        let taken = resets
            .iter()
            .copied()
            .filter(|stream| *stream <= last)
            .collect();
        resets.retain(|stream| *stream > last);
        taken
    }
}

/// What h2 reads from and writes to: a wire, with a tap on what is read.
#[derive(Debug)]
pub(crate) struct Tapped {
    wire: Rc<RefCell<Wire>>,
    tap: FrameTap,
    authority: AuthorityFilter,
    /// The payload of a PING, as far as it has come.
    ping: Vec<u8>,
    log: Rc<ReadLog>,
}

impl Tapped {
    pub(crate) fn new(wire: Rc<RefCell<Wire>>, log: Rc<ReadLog>) -> Self {
        Tapped {
            wire,
            tap: FrameTap::new(),
            authority: AuthorityFilter::default(),
            ping: Vec::new(),
            log,
        }
    }

    fn follow(&mut self, read: &mut [u8]) {
        self.log.has_read.set(true);
        let (mut blocks, mut pings) = (Vec::new(), Vec::new());
        let is_leaving = self.log.is_leaving.get();
        self.tap.feed(read, |piece| match piece.kind {
            RST_STREAM if piece.is_last => {
                self.log.resets.borrow_mut().insert(piece.stream);
            }
            HEADERS | CONTINUATION => blocks.push(piece.range),
            PING if is_leaving => pings.push(piece),
            _ => {}
        });
        for block in blocks {
            self.authority.feed(&mut read[block]);
        }
        for ping in pings {
            self.hide_farewell(&mut read[ping.range], ping.is_last);
        }
    }

    /// Keep it from h2 that the client has heard of the first GOAWAY.
    ///
    /// It would send the last one and ignore streams from then on, but takes what else belongs to
    /// them for an error and breaks the connection. gRPC's clients may begin streams even then.
    /// What comes is served instead, and the last GOAWAY sent once nothing is left.
    fn hide_farewell(&mut self, payload: &mut [u8], is_last: bool) {
        self.ping.extend_from_slice(payload);
        if !is_last {
            return;
        }
        if self.ping == FAREWELL {
            self.log.has_heard.set(true);
            if let Some(byte) = payload.last_mut() {
                *byte = !*byte;
            }
        }
        self.ping.clear();
    }
}

impl AsyncRead for Tapped {
    fn poll_read(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buf: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        let this = self.get_mut();
        let before = buf.filled().len();
        ready!(this.wire.borrow_mut().poll_read(cx, buf))?;
        this.follow(&mut buf.filled_mut()[before..]);
        Poll::Ready(Ok(()))
    }
}

impl AsyncWrite for Tapped {
    fn poll_write(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buf: &[u8],
    ) -> Poll<io::Result<usize>> {
        self.wire.borrow_mut().poll_write(cx, &[IoSlice::new(buf)])
    }

    fn poll_write_vectored(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        bufs: &[IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        self.wire.borrow_mut().poll_write(cx, bufs)
    }

    fn is_write_vectored(&self) -> bool {
        true
    }

    fn poll_flush(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        let mut wire = self.wire.borrow_mut();
        match wire.is_corked {
            true => Poll::Ready(Ok(())),
            false => wire.poll_flush(cx),
        }
    }

    fn poll_shutdown(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        let mut wire = self.wire.borrow_mut();
        ready!(wire.poll_flush(cx))?;
        wire.poll_shutdown(cx)
    }
}
