//! A unary gRPC server over HTTP/2 that hands Python whole lists of calls.
//!
//! The contract is `modelserver_transport.pyi`. Bytes only: what a call means is Python's affair,
//! and no Python runs on the threads that move bytes.
//!
//! It stands on `h2` rather than hyper because one task can then drive a whole connection, with no
//! task, future or channel for each call: measured on 2 cores, 153,000 calls a second against
//! 107,000.
//!
//! # Layout
//!
//! Python's side:
//!
//! - [`transport`], [`options`], [`stats`]: the classes that Python sees.
//! - [`buffers`]: Python's buffers and bytes.
//! - [`interpreter`]: signals, exits and forks.
//!
//! What the two sides share:
//!
//! - [`server`]: everything below, for one transport.
//! - [`lifecycle`]: starting and stopping.
//! - [`calls`], [`endings`]: the table of calls, and how they ended.
//! - [`messages`]: messages of streaming methods.
//! - [`mailbox`]: what Python's threads tell an I/O thread.
//! - [`waiting`]: a mutex with a condition and an eventfd.
//!
//! The network's side, on I/O threads with one task for each connection:
//!
//! - [`worker`]: the I/O thread.
//! - [`listener`], [`tls`], [`handshake`], [`wire`], [`tapped`]: from an address to HTTP/2.
//! - [`connection`], [`inlet`]: a connection, and what it is told.
//! - [`reading`], [`streaming`]: one stream of it.
//! - [`request`], [`response`], [`status`]: gRPC's headers and trailers.
//! - [`deadlines`], [`lifetime`], [`held`], [`id_map`]: what a connection keeps count of.
//!
//! Formats, which know of nothing else:
//!
//! - [`framing`], [`compression`], [`grpc_timeout`], [`frame_tap`], [`authority`].

mod authority;
mod buffers;
mod calls;
mod compression;
mod connection;
mod deadlines;
mod endings;
mod frame_tap;
mod framing;
mod grpc_timeout;
mod handshake;
mod held;
mod id_map;
mod inlet;
mod interpreter;
mod lifecycle;
mod lifetime;
mod listener;
mod mailbox;
mod messages;
mod options;
mod reading;
mod request;
mod response;
mod server;
mod stats;
mod status;
mod streaming;
mod tapped;
mod tls;
mod transport;
mod waiting;
mod wire;
mod worker;

use pyo3::prelude::*;

/// `gather` of the stub.
#[pyfunction]
fn gather(
    out: &Bound<'_, PyAny>,
    bodies: &Bound<'_, PyAny>,
    offset: usize,
    length: usize,
) -> PyResult<()> {
    buffers::gather(out, bodies, offset, length)
}

#[pymodule]
fn modelserver_transport(module: &Bound<'_, PyModule>) -> PyResult<()> {
    interpreter::watch_forks();
    module.add("__version__", env!("CARGO_PKG_VERSION"))?;
    module.add_class::<options::Options>()?;
    module.add_class::<transport::Transport>()?;
    module.add_function(wrap_pyfunction!(gather, module)?)
}
