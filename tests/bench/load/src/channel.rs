//! A connection and its socket.

use std::io::{self, ErrorKind, Read, Write};
use std::net::{SocketAddr, TcpStream};

use crate::connection::{Connection, Outcome};
use crate::exchange::Exchanges;
use crate::poller::{Clock, Poller};

/// Sockets are read into one buffer of this size, one after another.
pub const BUFFER_BYTES: usize = 256 << 10;

/// One connection to the server, watched by the poller under `token`.
pub struct Channel<'a> {
    pub connection: Connection<'a>,
    /// Which of the load's connections it is.
    pub lane: usize,
    socket: TcpStream,
    token: usize,
    /// Part of a frame, until the rest comes.
    partial: Vec<u8>,
    is_writable_watched: bool,
}

impl<'a> Channel<'a> {
    /// Connect to `address`, for `most` streams at a time.
    pub fn open(
        address: SocketAddr,
        exchanges: &'a Exchanges,
        most: usize,
        lane: usize,
    ) -> io::Result<Self> {
        let socket = TcpStream::connect(address)?;
        socket.set_nodelay(true)?;
        socket.set_nonblocking(true)?;
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
        poller.add(&self.socket, token)
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
        while !self.connection.output().is_empty() {
            match self.socket.write(self.connection.output()) {
                Ok(count) => self.connection.take_output(count),
                Err(error) if error.kind() == ErrorKind::WouldBlock => break,
                Err(error) if error.kind() == ErrorKind::Interrupted => {}
                Err(error) => return Err(error.to_string()),
            }
        }
        let is_watched = !self.connection.output().is_empty();
        if is_watched != self.is_writable_watched {
            self.is_writable_watched = is_watched;
            let watched = poller.watch_writable(&self.socket, self.token, is_watched);
            watched.map_err(|error| error.to_string())?;
        }
        Ok(())
    }
}

fn is_transient(error: &io::Error) -> bool {
    matches!(error.kind(), ErrorKind::WouldBlock | ErrorKind::Interrupted)
}
