//! A connection and its socket, in clear text or over TLS.

use std::io::{self, ErrorKind, Read, Write};
use std::net::{SocketAddr, TcpStream};
use std::sync::Arc;

use rustls::ClientConfig;

use crate::connection::{Connection, Outcome};
use crate::exchange::Exchanges;
use crate::poller::{Clock, Poller};
use crate::tls::SecureSocket;

/// Sockets are read into one buffer of this size, one after another.
pub const BUFFER_BYTES: usize = 256 << 10;

/// What bytes go through.
enum Socket {
    Clear(TcpStream),
    Secure(Box<SecureSocket>),
}

impl Socket {
    /// What the poller watches.
    fn tcp(&self) -> &TcpStream {
        match self {
            Self::Clear(socket) => socket,
            Self::Secure(socket) => socket.tcp(),
        }
    }
}

impl Read for Socket {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        match self {
            Self::Clear(socket) => socket.read(buffer),
            Self::Secure(socket) => socket.read(buffer),
        }
    }
}

impl Write for Socket {
    fn write(&mut self, data: &[u8]) -> io::Result<usize> {
        match self {
            Self::Clear(socket) => socket.write(data),
            Self::Secure(socket) => socket.write(data),
        }
    }

    fn flush(&mut self) -> io::Result<()> {
        match self {
            Self::Clear(socket) => socket.flush(),
            Self::Secure(socket) => socket.flush(),
        }
    }
}

/// One connection to the server, watched by the poller under `token`.
pub struct Channel<'a> {
    pub connection: Connection<'a>,
    /// Which of the load's connections it is.
    pub lane: usize,
    socket: Socket,
    token: usize,
    /// Part of a frame, until the rest comes.
    partial: Vec<u8>,
    is_writable_watched: bool,
}

impl<'a> Channel<'a> {
    /// Connect to `address`, over TLS if its settings are given, for `most` streams at a time.
    pub fn open(
        address: SocketAddr,
        tls: Option<&Arc<ClientConfig>>,
        exchanges: &'a Exchanges,
        most: usize,
        lane: usize,
    ) -> io::Result<Self> {
        let socket = TcpStream::connect(address)?;
        socket.set_nodelay(true)?;
        socket.set_nonblocking(true)?;
        let socket = match tls {
            None => Socket::Clear(socket),
            Some(config) => Socket::Secure(Box::new(SecureSocket::new(socket, config)?)),
        };
        let connection = Connection::new(exchanges, most);
        Ok(Self {
            connection,
            lane,
            socket,
            token: 0,
            partial: Vec::new(),
            is_writable_watched: false,
        })
    }

    /// Have `poller` watch the socket under `token`.
    pub fn watch(&mut self, poller: &Poller, token: usize) -> io::Result<()> {
        self.token = token;
        poller.add(self.socket.tcp(), token)
    }

    /// Read what has arrived; what became of requests goes to `outcomes`, with the time at which it
    /// was read. An error says why the connection is of no use any more.
    pub fn read(
        &mut self,
        buffer: &mut [u8],
        clock: Clock,
        outcomes: &mut impl FnMut(Outcome, u64),
    ) -> Result<(), String> {
        let kept = self.partial.len();
        buffer[..kept].copy_from_slice(&self.partial);
        let count = match self.socket.read(&mut buffer[kept..]) {
            Ok(0) => return Err("the server has closed it".into()),
            Ok(count) => count,
            Err(error) if is_transient(&error) => return Ok(()),
            Err(error) => return Err(error.to_string()),
        };
        let (now, input) = (clock.now(), &buffer[..kept + count]);
        let used = self
            .connection
            .receive(input, &mut |outcome| outcomes(outcome, now));
        let rest = &input[used.map_err(|violation| violation.to_string())?..];
        self.partial.clear();
        self.partial.extend_from_slice(rest);
        Ok(())
    }

    /// Write what is to be written, as much as the socket takes.
    pub fn flush(&mut self, poller: &Poller) -> Result<(), String> {
        let is_watched = match self.write() {
            Ok(()) => false,
            Err(error) if error.kind() == ErrorKind::WouldBlock => true,
            Err(error) => return Err(error.to_string()),
        };
        if is_watched != self.is_writable_watched {
            self.is_writable_watched = is_watched;
            let watched = poller.watch_writable(self.socket.tcp(), self.token, is_watched);
            watched.map_err(|error| error.to_string())?;
        }
        Ok(())
    }

    /// Write all there is. `WouldBlock` if the socket does not take it all.
    fn write(&mut self) -> io::Result<()> {
        while !self.connection.output().is_empty() {
            match self.socket.write(self.connection.output()) {
                Ok(count) => self.connection.take_output(count),
                Err(error) if error.kind() == ErrorKind::Interrupted => {}
                Err(error) => return Err(error),
            }
        }
        self.socket.flush()
    }
}

fn is_transient(error: &io::Error) -> bool {
    matches!(error.kind(), ErrorKind::WouldBlock | ErrorKind::Interrupted)
}
