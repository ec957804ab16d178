//! From an accepted socket to HTTP/2.

use std::cell::RefCell;
use std::future::poll_fn;
use std::io;
use std::pin::pin;
use std::rc::Rc;
use std::sync::{Arc, PoisonError};
use std::task::Poll;
use std::time::Duration;

use tokio::io::ReadBuf;
use tokio::net::{TcpStream, UnixStream};
use tokio::time::{sleep, timeout};
use tokio_rustls::TlsAcceptor;

use crate::connection::Connection;
use crate::held::HeldBytes;
use crate::options::Options;
use crate::server::{FLUSH, Server};
use crate::tapped::{ReadLog, Tapped};
use crate::wire::{Accepted, Socket, Wire};
use crate::worker::Worker;

/// For TLS and the preface of HTTP/2 together.
const HANDSHAKE: Duration = Duration::from_secs(20);

// Measured: requests of 4 MB come in a few frames each, without waiting for the window.
const STREAM_WINDOW: u32 = 1 << 20;
const CONNECTION_WINDOW: u32 = 8 << 20;
const MAX_FRAME: u32 = 1 << 20;

/// Streams that a client may have reset before they were looked at. Beyond, it is an attack, and
/// the connection is closed.
pub(crate) const MAX_PENDING_RESETS: usize = 1024;
/// Streams that had to be reset because of errors of the client's.
const MAX_ERROR_RESETS: usize = 1024;

/// Serve a connection until it is over.
pub(crate) async fn serve(worker: &Rc<Worker>, accepted: Accepted) -> io::Result<()> {
    let log = Rc::new(ReadLog::default());
    let connection = async {
        let socket = open(&worker.server, accepted).await?;
        let wire = Rc::new(RefCell::new(Wire::new(socket)));
        let tapped = Tapped::new(wire.clone(), log.clone());
        let builder = builder(&worker.server.options);
        let h2 = builder.handshake(tapped).await.map_err(io::Error::other)?;
        Ok((h2, wire))
    };
    let (h2, wire) = in_time(worker, connection).await?;
    wire.borrow_mut().is_corked = true; // from here on the connection flushes at the end of a round
    Connection::new(worker.register(), h2, wire.clone(), log.clone()).await;
    match log.has_heard.get() {
        true => timeout(FLUSH, read_to_end(&wire)).await?,
        false => Ok(()),
    }
}

/// Read what a client still sends, until it closes its side as well. Closing a socket with anything
/// unread would have the client's system throw away what it has not read.
async fn read_to_end(wire: &RefCell<Wire>) -> io::Result<()> {
    let mut room = [0; 4096];
    loop {
        let mut buffer = ReadBuf::new(&mut room);
        poll_fn(|cx| wire.borrow_mut().poll_read(cx, &mut buffer)).await?;
        if buffer.filled().is_empty() {
            return Ok(());
        }
    }
}

/// What comes of `connection`, unless that takes too long, or much longer than the server is there.
async fn in_time<T>(
    worker: &Worker,
    connection: impl Future<Output = io::Result<T>>,
) -> io::Result<T> {
    let left = async {
        worker.leaving().await;
        sleep(FLUSH).await;
    };
    let (mut connection, mut left) = (pin!(connection), pin!(left));
    let first = poll_fn(|cx| {
        if left.as_mut().poll(cx).is_ready() {
            return Poll::Ready(Err(io::ErrorKind::TimedOut.into()));
        }
        connection.as_mut().poll(cx)
    });
    timeout(HANDSHAKE, first).await?
}

async fn open(server: &Server, accepted: Accepted) -> io::Result<Socket> {
    let stream = match accepted {
        Accepted::Unix(stream) => return Ok(Socket::Unix(UnixStream::from_std(stream)?)),
        Accepted::Tcp(stream) => TcpStream::from_std(stream)?,
    };
    let tls = server
        .tls
        .read()
        .unwrap_or_else(PoisonError::into_inner)
        .clone();
    match tls {
        None => Ok(Socket::Tcp(stream)),
        Some(config) => {
            let stream = TlsAcceptor::from(Arc::clone(&config))
                .accept(stream)
                .await?;
            Ok(Socket::Tls(Box::new(stream)))
        }
    }
}

fn builder(options: &Options) -> h2::server::Builder {
    let mut builder = h2::server::Builder::new();
    builder
        .initial_window_size(STREAM_WINDOW)
        .initial_connection_window_size(CONNECTION_WINDOW)
        .max_frame_size(MAX_FRAME)
        .max_concurrent_streams(options.max_concurrent_streams)
        .max_header_list_size(options.max_header_bytes)
        .max_pending_accept_reset_streams(MAX_PENDING_RESETS)
        .max_local_error_reset_streams(Some(MAX_ERROR_RESETS))
        // Answers are handed over whole; what a client does not read is bounded by `unsent`.
        .max_send_buffer_size(u32::MAX as usize);
    builder
}

/// What h2 drives.
pub(crate) type Http2 = h2::server::Connection<Tapped, HeldBytes>;
