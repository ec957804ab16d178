//! A client's connection as bytes, whatever it is made of. Small reads and writes are gathered.
//!
//! h2 reads a few kilobytes at a time, and writes each frame of a few hundred bytes or more by itself
//! and flushes after it. That would cost a system call for each call and each answer.

use std::cell::Cell;
use std::io::{self, IoSlice};
use std::ops::Range;
use std::pin::Pin;
use std::task::{Context, Poll, ready};

use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio::net::{TcpStream, UnixStream};
use tokio_rustls::server::TlsStream;

/// Writes are gathered up to so many bytes.
const GATHERED_BYTES: usize = 64 * 1024;

/// Writes from this size on are not copied.
const LARGE_BYTES: usize = 16 * 1024;

/// Reads are made this large, and what is not asked for is kept until it is.
const AHEAD_BYTES: usize = 64 * 1024;

thread_local! {
    /// Room for gathering, for whichever connection needs it next: most need none most of the time.
    static SPARE: Cell<Vec<u8>> = const { Cell::new(Vec::new()) };
    /// Room for reading ahead, likewise.
    static SPARE_AHEAD: Cell<Vec<u8>> = const { Cell::new(Vec::new()) };
}

/// A connection that has just been accepted, not bound to the runtime of a thread yet.
#[derive(Debug)]
pub(crate) enum Accepted {
    Tcp(std::net::TcpStream),
    Unix(std::os::unix::net::UnixStream),
}

/// A connection, with TLS or without.
#[derive(Debug)]
pub(crate) enum Socket {
    Tcp(TcpStream),
    Unix(UnixStream),
    Tls(Box<TlsStream<TcpStream>>),
}

/// Do the same to whichever stream it is.
macro_rules! each {
    ($socket:expr, $stream:ident => $do:expr) => {
        match $socket {
            Socket::Tcp($stream) => $do,
            Socket::Unix($stream) => $do,
            Socket::Tls($stream) => $do,
        }
    };
}

/// A socket, and what is to be written to it.
#[derive(Debug)]
pub(crate) struct Wire {
    socket: Socket,
    /// Read from the socket; empty unless some of it has not been asked for.
    ahead: Vec<u8>,
    /// The part of `ahead` that has not been asked for.
    unread: Range<usize>,
    /// Written by h2 and not to the socket yet.
    gathered: Vec<u8>,
    /// How much of `gathered` the socket has taken.
    written: usize,
    /// Bytes that the socket has taken in all.
    pub(crate) sent: u64,
    /// Whether more is about to come, so that a flush can wait.
    pub(crate) is_corked: bool,
}

impl Wire {
    pub(crate) fn new(socket: Socket) -> Self {
        Wire {
            socket,
            ahead: Vec::new(),
            unread: 0..0,
            gathered: Vec::new(),
            written: 0,
            sent: 0,
            is_corked: false,
        }
    }

    /// Read into `buf`: from the socket if `buf` is large, else from what was read ahead.
    pub(crate) fn poll_read(
        &mut self,
        cx: &mut Context<'_>,
        buf: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        if self.unread.is_empty() {
            if buf.remaining() >= LARGE_BYTES {
                return each!(&mut self.socket, stream => Pin::new(stream).poll_read(cx, buf));
            }
            ready!(self.poll_read_ahead(cx))?;
        }
        let count = self.unread.len().min(buf.remaining());
        buf.put_slice(&self.ahead[self.unread.start..][..count]);
        self.unread.start += count;
        if self.unread.is_empty() {
            SPARE_AHEAD.set(std::mem::take(&mut self.ahead));
        }
        Poll::Ready(Ok(()))
    }

    fn poll_read_ahead(&mut self, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        let mut ahead = SPARE_AHEAD.take();
        ahead.resize(AHEAD_BYTES, 0); // once for each thread, mostly
        let mut room = ReadBuf::new(&mut ahead);
        let read = each!(&mut self.socket, stream => Pin::new(stream).poll_read(cx, &mut room));
        self.unread = 0..room.filled().len();
        match read {
            Poll::Ready(Ok(())) => self.ahead = ahead,
            _ => SPARE_AHEAD.set(ahead),
        }
        read
    }

    /// Gather small writes; pass large ones on, after what was gathered.
    pub(crate) fn poll_write(
        &mut self,
        cx: &mut Context<'_>,
        bufs: &[IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        let size: usize = bufs.iter().map(|buf| buf.len()).sum();
        if size >= LARGE_BYTES || self.gathered.len() + size > GATHERED_BYTES {
            ready!(self.poll_write_gathered(cx))?;
        }
        if size >= LARGE_BYTES {
            return self.poll_write_socket(cx, bufs);
        }
        if self.gathered.capacity() == 0 {
            self.gathered = SPARE.take();
        }
        bufs.iter()
            .for_each(|buf| self.gathered.extend_from_slice(buf));
        Poll::Ready(Ok(size))
    }

    /// Write everything.
    pub(crate) fn poll_flush(&mut self, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        ready!(self.poll_write_gathered(cx))?;
        each!(&mut self.socket, stream => Pin::new(stream).poll_flush(cx))
    }

    pub(crate) fn poll_shutdown(&mut self, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        each!(&mut self.socket, stream => Pin::new(stream).poll_shutdown(cx))
    }

    fn poll_write_gathered(&mut self, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        while self.written < self.gathered.len() {
            let rest = &self.gathered[self.written..];
            let count =
                ready!(each!(&mut self.socket, stream => Pin::new(stream).poll_write(cx, rest)))?;
            if count == 0 {
                return Poll::Ready(Err(io::ErrorKind::WriteZero.into()));
            }
            self.written += count;
            self.sent += count as u64;
        }
        if self.written > 0 {
            self.written = 0;
            self.gathered.clear();
            SPARE.set(std::mem::take(&mut self.gathered));
        }
        Poll::Ready(Ok(()))
    }

    fn poll_write_socket(
        &mut self,
        cx: &mut Context<'_>,
        bufs: &[IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        let socket = &mut self.socket;
        let count =
            ready!(each!(socket, stream => Pin::new(stream).poll_write_vectored(cx, bufs)))?;
        self.sent += count as u64;
        Poll::Ready(Ok(count))
    }
}
