//! Where a transport listens.

use std::fmt;
use std::io;
use std::net::{SocketAddr, ToSocketAddrs};
use std::os::unix::fs::{FileTypeExt, MetadataExt};
use std::path::{Path, PathBuf};

use socket2::{Domain, Protocol, Socket, Type};

/// Connections that the kernel holds until they are accepted.
const BACKLOG: i32 = 4096;

/// An address to listen on, as it was written.
#[derive(Clone, Debug)]
pub(crate) enum Endpoint {
    /// `HOST:PORT`.
    Tcp(String),
    /// `unix:PATH`.
    Unix(PathBuf),
}

/// A bound socket.
#[derive(Debug)]
pub(crate) enum Listener {
    Tcp(std::net::TcpListener),
    Unix(std::os::unix::net::UnixListener),
}

impl Endpoint {
    /// Understand an address, or say what is wrong with it.
    pub(crate) fn parse(address: &str) -> Result<Self, String> {
        if let Some(path) = address.strip_prefix("unix:") {
            return match path {
                "" => Err(format!("{address:?} has no path")),
                _ => Ok(Endpoint::Unix(path.into())),
            };
        }
        match address.rsplit_once(':') {
            Some((host, port)) if !host.is_empty() && port.parse::<u16>().is_ok() => {
                Ok(Endpoint::Tcp(address.into()))
            }
            _ => Err(format!("{address:?} is neither HOST:PORT nor unix:PATH")),
        }
    }

    /// Bind and listen. A name may stand for several addresses: all that this machine has. With
    /// `reuse_port` other sockets may listen on the same TCP port, if they say so too.
    pub(crate) fn bind(&self, reuse_port: bool) -> io::Result<Vec<Listener>> {
        match self {
            Endpoint::Tcp(address) => bind_tcp_all(address, reuse_port),
            Endpoint::Unix(path) => Ok(vec![Listener::Unix(bind_unix(path)?)]),
        }
    }
}

impl fmt::Display for Endpoint {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Endpoint::Tcp(address) => f.write_str(address),
            Endpoint::Unix(path) => write!(f, "unix:{}", path.display()),
        }
    }
}

impl Listener {
    /// The TCP port.
    pub(crate) fn port(&self) -> Option<u16> {
        match self {
            Listener::Tcp(listener) => Some(listener.local_addr().ok()?.port()),
            Listener::Unix(_) => None,
        }
    }
}

fn bind_tcp_all(address: &str, reuse_port: bool) -> io::Result<Vec<Listener>> {
    let mut bound: Vec<Listener> = Vec::new();
    let mut failure = io::Error::from(io::ErrorKind::AddrNotAvailable);
    for mut address in address.to_socket_addrs()? {
        if let Some(port) = bound.first().and_then(Listener::port) {
            address.set_port(port); // where any port will do, the same one for all
        }
        match bind_tcp(address, reuse_port) {
            Ok(listener) => bound.push(Listener::Tcp(listener)),
            Err(error) if is_address_missing(&error) => failure = error,
            Err(error) => return Err(error),
        }
    }
    if bound.is_empty() {
        Err(failure)
    } else {
        Ok(bound)
    }
}

/// Whether the machine does not have this address: `localhost` has one of IPv6 where IPv6 is off.
fn is_address_missing(error: &io::Error) -> bool {
    matches!(
        error.raw_os_error(),
        Some(libc::EADDRNOTAVAIL | libc::EAFNOSUPPORT)
    )
}

fn bind_tcp(address: SocketAddr, reuse_port: bool) -> io::Result<std::net::TcpListener> {
    let socket = Socket::new(
        Domain::for_address(address),
        Type::STREAM,
        Some(Protocol::TCP),
    )?;
    // A restarted server need not wait for old connections; two servers cannot share a port with it.
    socket.set_reuse_address(true)?;
    if reuse_port {
        socket.set_reuse_port(true)?;
    }
    if address.is_ipv6() {
        socket.set_only_v6(false)?;
    }
    socket.set_nonblocking(true)?;
    socket.bind(&address.into())?;
    socket.listen(BACKLOG)?;
    Ok(socket.into())
}

fn bind_unix(path: &Path) -> io::Result<std::os::unix::net::UnixListener> {
    remove_stale(path)?;
    let listener = std::os::unix::net::UnixListener::bind(path)?;
    listener.set_nonblocking(true)?;
    Ok(listener)
}

/// Remove a socket on which nobody listens any more: its server had no time to.
fn remove_stale(path: &Path) -> io::Result<()> {
    let is_socket = path
        .symlink_metadata()
        .is_ok_and(|found| found.file_type().is_socket());
    // Other errors, of permission or of a queue that is full, do not tell that nobody listens.
    let is_refused = |error: io::Error| error.kind() == io::ErrorKind::ConnectionRefused;
    if is_socket && std::os::unix::net::UnixStream::connect(path).is_err_and(is_refused) {
        std::fs::remove_file(path)?;
    }
    Ok(())
}

/// The file of a unix socket, removed with this unless another has taken its place.
#[derive(Debug)]
pub(crate) struct SocketFile {
    path: PathBuf,
    inode: u64,
}

impl SocketFile {
    /// Of an endpoint that is bound, if it has a file.
    pub(crate) fn of(endpoint: &Endpoint) -> Option<Self> {
        let Endpoint::Unix(path) = endpoint else {
            return None;
        };
        let inode = path.symlink_metadata().ok()?.ino();
        Some(SocketFile {
            path: path.clone(),
            inode,
        })
    }
}

impl Drop for SocketFile {
    fn drop(&mut self) {
        let is_ours = |found: std::fs::Metadata| found.ino() == self.inode;
        if self.path.symlink_metadata().is_ok_and(is_ours) {
            let _ = std::fs::remove_file(&self.path);
        }
    }
}
