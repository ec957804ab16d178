//! The class that Python sees.

use std::sync::{Arc, PoisonError};
use std::time::{Duration, Instant};

use bytes::Bytes;
use pyo3::exceptions::{PyOSError, PyRuntimeError, PyTypeError, PyValueError};
use pyo3::prelude::*;
use pyo3::types::{PyBytes, PyDict, PyFloat, PyList, PyString, PyTuple};

use crate::buffers::{Contiguous, to_python};
use crate::calls::{Queued, Reply, Taken};
use crate::framing::{PREFIX_BYTES, put_message};
use crate::interpreter;
use crate::lifecycle::{Lifecycle, StartError};
use crate::listener::Endpoint;
use crate::mailbox::Letter;
use crate::messages::TakenMessages;
use crate::options::{Options, duration};
use crate::server::Server;
use crate::status::{CODES, Status};
use crate::tls::Pem;

/// `Transport` of the stub, which describes each method.
#[pyclass(frozen, module = "modelserver_transport")]
#[derive(Debug)]
pub(crate) struct Transport {
    lifecycle: Arc<Lifecycle>,
}

type CallLists<'py> = (
    Bound<'py, PyList>,
    Bound<'py, PyList>,
    Bound<'py, PyList>,
    Option<Bound<'py, PyList>>,
    Vec<u64>,
);

type MessageTuple<'py> = (i64, i64, Option<Bound<'py, PyBytes>>);

#[pymethods]
impl Transport {
    #[new]
    #[pyo3(signature = (addresses, methods, stream_methods = Vec::new(), options = None))]
    fn new(
        py: Python<'_>,
        addresses: Vec<String>,
        methods: Vec<String>,
        stream_methods: Vec<String>,
        options: Option<Bound<'_, Options>>,
    ) -> PyResult<Self> {
        let endpoints: Result<Vec<_>, _> = addresses
            .iter()
            .map(|address| Endpoint::parse(address))
            .collect();
        let options = options.map_or_else(Options::defaults, |options| options.get().clone());
        let server = Server::new(&methods, &stream_methods, options);
        let endpoints = endpoints.map_err(PyValueError::new_err)?;
        let lifecycle = Arc::new(Lifecycle::new(server, endpoints));
        interpreter::close_at_exit(py, &lifecycle)?;
        Ok(Transport { lifecycle })
    }

    #[pyo3(signature = (
        certificate_chain, private_key, client_ca = None, requires_client_certificate = false
    ))]
    fn set_tls(
        &self,
        certificate_chain: &[u8],
        private_key: &[u8],
        client_ca: Option<&[u8]>,
        requires_client_certificate: bool,
    ) -> PyResult<()> {
        let pem = Pem {
            certificate_chain,
            private_key,
            client_ca,
            requires_client_certificate,
        };
        let server = self.server()?; // before any lock, which nobody may ever release after a fork
        let is_new = self.lifecycle.is_new();
        let mut tls = server.tls.write().unwrap_or_else(PoisonError::into_inner);
        if tls.is_none() && !is_new {
            return Err(PyRuntimeError::new_err(
                "the transport was started without TLS",
            ));
        }
        *tls = Some(pem.config().map_err(PyValueError::new_err)?);
        Ok(())
    }

    fn start(&self, py: Python<'_>) -> PyResult<u16> {
        self.server()?;
        interpreter::detached(py, || self.lifecycle.start()).map_err(|error| match error {
            StartError::NotNew => {
                PyRuntimeError::new_err("the transport was started or stopped before")
            }
            StartError::Bind(address, error) => {
                os_error(&format!("could not listen on {address}"), &error)
            }
            StartError::Thread(error) => os_error("could not start a thread", &error),
        })
    }

    fn stop(&self, py: Python<'_>, grace: f64) -> bool {
        if !self.lifecycle.is_ours() {
            return true;
        }
        let grace = duration(grace).unwrap_or(Duration::from_secs(u32::MAX.into()));
        interpreter::detached(py, || self.lifecycle.stop(grace))
    }

    fn next_calls<'py>(
        &self,
        py: Python<'py>,
        timeout: Option<f64>,
    ) -> PyResult<Option<CallLists<'py>>> {
        let calls = &self.server()?.calls;
        let mut taken = calls.take();
        if !taken.is_news() && timeout != Some(0.0) {
            let until = moment(timeout)?;
            taken = interpreter::wait(py, until, |until| calls.wait(until), Taken::is_news)?;
        }
        if taken.is_end {
            return Ok(None);
        }
        call_lists(py, taken).map(Some)
    }

    fn reply_many(&self, ids: &Bound<'_, PyAny>, answers: &Bound<'_, PyAny>) -> PyResult<()> {
        let server = self.server()?;
        let ids: Vec<u64> = ids.extract()?;
        let limit = server.options.message_limit();
        let mut replies = Vec::with_capacity(ids.len());
        for answer in answers.try_iter()? {
            replies.push(reply(&answer?, limit)?);
        }
        if replies.len() != ids.len() {
            let (replies, ids) = (replies.len(), ids.len());
            let text = format!("{replies} answers do not go with {ids} ids");
            return Err(PyValueError::new_err(text));
        }
        server.reply(ids.into_iter().zip(replies));
        Ok(())
    }

    fn reply_split(
        &self,
        ids: &Bound<'_, PyAny>,
        rows: &Bound<'_, PyAny>,
        prefix: &[u8],
        suffix: &[u8],
    ) -> PyResult<()> {
        let server = self.server()?;
        let ids: Vec<u64> = ids.extract()?;
        let rows = Contiguous::readable(rows)?;
        if ids.is_empty() || rows.len() % ids.len() != 0 {
            let (size, count) = (rows.len(), ids.len());
            let text = format!("a buffer of {size} bytes cannot be cut into {count} answers");
            return Err(PyValueError::new_err(text));
        }
        let limit = server.options.message_limit();
        let size = rows.len() / ids.len();
        let replies = (0..ids.len()).map(|index| {
            let piece = &rows.bytes()[index * size..][..size];
            message_reply(&[prefix, piece, suffix], limit)
        });
        // Made before the lock is taken.
        let replies: Vec<Reply> = replies.collect();
        server.reply(ids.into_iter().zip(replies));
        Ok(())
    }

    fn cork(&self) -> PyResult<()> {
        self.server()?.set_corked(true);
        Ok(())
    }

    fn uncork(&self) -> PyResult<()> {
        self.server()?.set_corked(false);
        Ok(())
    }

    fn fail_many(&self, ids: &Bound<'_, PyAny>, code: u8, message: String) -> PyResult<()> {
        let server = self.server()?;
        let ids: Vec<u64> = ids.extract()?;
        let status = error_status(code, message)?;
        let reply = |id| (id, Reply::Status(status.clone()));
        server.reply(ids.into_iter().map(reply));
        Ok(())
    }

    fn alive(&self, ids: Vec<u64>) -> PyResult<Vec<bool>> {
        Ok(self.server()?.calls.alive(&ids))
    }

    fn next_messages<'py>(
        &self,
        py: Python<'py>,
        timeout: Option<f64>,
    ) -> PyResult<Option<Vec<MessageTuple<'py>>>> {
        let messages = &self.server()?.messages;
        let mut taken = messages.take();
        if !taken.is_news() && timeout != Some(0.0) {
            let until = moment(timeout)?;
            let attempt = |until| messages.wait(until);
            taken = interpreter::wait(py, until, attempt, TakenMessages::is_news)?;
        }
        if taken.is_end {
            return Ok(None);
        }
        let to_tuple = |incoming: crate::messages::Incoming| {
            let message = incoming.message.map(|message| PyBytes::new(py, &message));
            (incoming.stream, incoming.method, message)
        };
        Ok(Some(taken.messages.into_iter().map(to_tuple).collect()))
    }

    fn send_message(&self, stream: u64, message: &[u8]) -> PyResult<bool> {
        let server = self.server()?;
        let Some(address) = server.messages.address(stream) else {
            return Ok(false);
        };
        match message_reply(&[message], server.options.message_limit()) {
            Reply::Message(message) => {
                server.post_to(address, Letter::Message(address, message));
                Ok(true)
            }
            Reply::Status(status) => {
                server.messages.remove(stream);
                server.post_to(address, Letter::End(address, status));
                Ok(false)
            }
        }
    }

    #[pyo3(signature = (stream, code = 0, message = String::new()))]
    fn end_stream(&self, stream: u64, code: u8, message: String) -> PyResult<()> {
        let server = self.server()?;
        let status = match code {
            0 => Status::OK,
            _ => error_status(code, message)?,
        };
        if let Some(address) = server.messages.remove(stream) {
            server.post_to(address, Letter::End(address, status));
        }
        Ok(())
    }

    fn ping(&self, token: i64) -> PyResult<()> {
        self.server()?.ping(token);
        Ok(())
    }

    fn fileno(&self) -> PyResult<i32> {
        Ok(self.server()?.calls.eventfd()?)
    }

    fn stats<'py>(&self, py: Python<'py>) -> PyResult<Bound<'py, PyDict>> {
        crate::stats::to_python(py, self.server()?)
    }
}

impl Transport {
    fn server(&self) -> PyResult<&Server> {
        match self.lifecycle.is_ours() {
            true => Ok(&self.lifecycle.server),
            false => Err(PyRuntimeError::new_err(
                "this transport was made before a fork, by the parent, and works there alone",
            )),
        }
    }
}

impl Drop for Transport {
    fn drop(&mut self) {
        if !self.lifecycle.is_ours() {
            // The threads are the parent's, and so may be a lock that one of them held.
            std::mem::forget(self.lifecycle.clone());
        }
    }
}

/// `timeout` seconds from now; None = never.
fn moment(timeout: Option<f64>) -> PyResult<Option<Instant>> {
    match timeout {
        Some(seconds) if seconds.is_nan() => Err(PyValueError::new_err("timeout is not a number")),
        Some(seconds) => Ok(duration(seconds).map(|timeout| Instant::now() + timeout)),
        None => Ok(None),
    }
}

fn call_lists(py: Python<'_>, taken: Taken) -> PyResult<CallLists<'_>> {
    let Taken {
        calls, cancelled, ..
    } = taken;
    let ids = PyList::new(py, calls.iter().map(|call| call.id))?;
    let methods = PyList::new(py, calls.iter().map(|call| call.method))?;
    let bodies: PyResult<Vec<_>> = calls.iter().map(|call| to_python(py, &call.body)).collect();
    let bodies = PyList::new(py, bodies?)?;
    let deadlines = match calls.iter().any(|call| call.deadline.is_some()) {
        true => Some(deadlines(py, &calls)?),
        false => None,
    };
    Ok((ids, methods, bodies, deadlines, cancelled))
}

fn deadlines<'py>(py: Python<'py>, calls: &[Queued]) -> PyResult<Bound<'py, PyList>> {
    let (now, clock) = (Instant::now(), monotonic());
    let deadline = |call: &Queued| {
        let at = call.deadline?;
        let ahead = at.saturating_duration_since(now).as_secs_f64();
        let behind = now.saturating_duration_since(at).as_secs_f64();
        Some(PyFloat::new(py, clock + ahead - behind))
    };
    PyList::new(py, calls.iter().map(deadline))
}

/// `time.monotonic()`.
fn monotonic() -> f64 {
    let mut now = libc::timespec {
        tv_sec: 0,
        tv_nsec: 0,
    };
    // SAFETY: `now` is room for a timespec.
    unsafe { libc::clock_gettime(libc::CLOCK_MONOTONIC, &mut now) };
    now.tv_sec as f64 + now.tv_nsec as f64 * 1e-9
}

fn reply(answer: &Bound<'_, PyAny>, limit: usize) -> PyResult<Reply> {
    if let Ok(body) = answer.cast::<PyBytes>() {
        return Ok(message_reply(&[body.as_bytes()], limit));
    }
    let Ok(error) = answer.cast::<PyTuple>() else {
        let kind = answer.get_type().qualname()?;
        let text = format!("an answer is bytes or (code, message), not {kind}");
        return Err(PyTypeError::new_err(text));
    };
    let (code, message): (u8, Bound<'_, PyString>) = error.extract()?;
    Ok(Reply::Status(error_status(code, message.to_string())?))
}

/// A message made of `parts`, or the error that it is too large.
fn message_reply(parts: &[&[u8]], limit: usize) -> Reply {
    let length = parts.iter().map(|part| part.len()).sum();
    if length > limit {
        return Reply::Status(Status::reply_too_large(length, limit));
    }
    let mut message = Vec::with_capacity(PREFIX_BYTES + length);
    put_message(&mut message, parts);
    Reply::Message(Bytes::from(message))
}

fn error_status(code: u8, message: String) -> PyResult<Status> {
    match (1..CODES).contains(&usize::from(code)) {
        true => Ok(Status::new(code, message)),
        false => Err(PyValueError::new_err(format!(
            "{code} is not an error code of gRPC"
        ))),
    }
}

fn os_error(what: &str, error: &std::io::Error) -> PyErr {
    let text = format!("{what}: {error}");
    match error.raw_os_error() {
        Some(code) => PyOSError::new_err((code, text)),
        None => PyOSError::new_err(text),
    }
}
