//! What a transport may be told.

use std::collections::HashMap;
use std::time::Duration;

use pyo3::exceptions::PyValueError;
use pyo3::prelude::*;
use pyo3::types::{PyBytes, PyDict};

use crate::calls::MOST_CALLS;

/// No message can be longer: its length has 32 bits.
const LONGEST_MESSAGE: usize = u32::MAX as usize;

/// `Options` of the stub, which describes each field.
#[pyclass(frozen, module = "modelserver_transport")]
#[derive(Clone, Debug)]
pub(crate) struct Options {
    /// Bytes of one message either way.
    #[pyo3(get)]
    pub(crate) max_message_bytes: Option<usize>,
    /// Calls accepted and not answered.
    #[pyo3(get)]
    pub(crate) max_queued_calls: usize,
    /// Bytes of all messages that wait for Python or for clients.
    #[pyo3(get)]
    pub(crate) max_buffered_bytes: usize,
    /// SETTINGS_MAX_CONCURRENT_STREAMS.
    #[pyo3(get)]
    pub(crate) max_concurrent_streams: u32,
    /// Open connections.
    #[pyo3(get)]
    pub(crate) max_connections: usize,
    /// SETTINGS_MAX_HEADER_LIST_SIZE.
    #[pyo3(get)]
    pub(crate) max_header_bytes: u32,
    /// Silence after which a PING is sent.
    #[pyo3(get)]
    pub(crate) keepalive_seconds: Option<f64>,
    /// Silence after a PING that ends the connection.
    #[pyo3(get)]
    pub(crate) keepalive_timeout_seconds: f64,
    /// Age at which a connection gets a GOAWAY.
    #[pyo3(get)]
    pub(crate) max_connection_age_seconds: Option<f64>,
    /// Time after that GOAWAY at which it is closed.
    #[pyo3(get)]
    pub(crate) max_connection_age_grace_seconds: Option<f64>,
    /// Time without streams after which a connection gets a GOAWAY.
    #[pyo3(get)]
    pub(crate) max_connection_idle_seconds: Option<f64>,
    /// Threads that move bytes.
    #[pyo3(get)]
    pub(crate) io_threads: usize,
    /// SO_REUSEPORT.
    #[pyo3(get)]
    pub(crate) reuse_port: bool,
    /// Upper bounds of buckets of times, ascending.
    #[pyo3(get)]
    pub(crate) seconds_bounds: Vec<f64>,
    /// Bodies by method.
    pub(crate) constant_answers: HashMap<String, Vec<u8>>,
}

#[pymethods]
impl Options {
    #[new]
    #[pyo3(signature = (
        *,
        max_message_bytes = None,
        max_queued_calls = 65536,
        max_buffered_bytes = 1 << 30,
        max_concurrent_streams = 1024,
        max_connections = 100_000,
        max_header_bytes = 16384,
        keepalive_seconds = None,
        keepalive_timeout_seconds = 20.0,
        max_connection_age_seconds = None,
        max_connection_age_grace_seconds = None,
        max_connection_idle_seconds = None,
        io_threads = 1,
        reuse_port = false,
        seconds_bounds = Vec::new(),
        constant_answers = HashMap::new(),
    ))]
    #[expect(clippy::too_many_arguments, reason = "Python names them")]
    fn new(
        max_message_bytes: Option<usize>,
        max_queued_calls: usize,
        max_buffered_bytes: usize,
        max_concurrent_streams: u32,
        max_connections: usize,
        max_header_bytes: u32,
        keepalive_seconds: Option<f64>,
        keepalive_timeout_seconds: f64,
        max_connection_age_seconds: Option<f64>,
        max_connection_age_grace_seconds: Option<f64>,
        max_connection_idle_seconds: Option<f64>,
        io_threads: usize,
        reuse_port: bool,
        seconds_bounds: Vec<f64>,
        constant_answers: HashMap<String, Vec<u8>>,
    ) -> PyResult<Self> {
        let options = Options {
            max_message_bytes,
            max_queued_calls,
            max_buffered_bytes,
            max_concurrent_streams,
            max_connections,
            max_header_bytes,
            keepalive_seconds,
            keepalive_timeout_seconds,
            max_connection_age_seconds,
            max_connection_age_grace_seconds,
            max_connection_idle_seconds,
            io_threads,
            reuse_port,
            seconds_bounds,
            constant_answers,
        };
        options.check().map_err(PyValueError::new_err)?;
        Ok(options)
    }

    #[getter]
    fn constant_answers<'py>(&self, py: Python<'py>) -> PyResult<Bound<'py, PyDict>> {
        let answers = PyDict::new(py);
        for (method, body) in &self.constant_answers {
            answers.set_item(method, PyBytes::new(py, body))?;
        }
        Ok(answers)
    }
}

impl Options {
    /// What `Options()` gives.
    pub(crate) fn defaults() -> Self {
        Options {
            max_message_bytes: None,
            max_queued_calls: 65536,
            max_buffered_bytes: 1 << 30,
            max_concurrent_streams: 1024,
            max_connections: 100_000,
            max_header_bytes: 16384,
            keepalive_seconds: None,
            keepalive_timeout_seconds: 20.0,
            max_connection_age_seconds: None,
            max_connection_age_grace_seconds: None,
            max_connection_idle_seconds: None,
            io_threads: 1,
            reuse_port: false,
            seconds_bounds: Vec::new(),
            constant_answers: HashMap::new(),
        }
    }

    /// Bytes that a message may have.
    pub(crate) fn message_limit(&self) -> usize {
        self.max_message_bytes
            .unwrap_or(LONGEST_MESSAGE)
            .min(LONGEST_MESSAGE)
    }

    fn check(&self) -> Result<(), String> {
        at_least_one("max_queued_calls", self.max_queued_calls)?;
        if self.max_queued_calls > MOST_CALLS {
            return Err(format!(
                "max_queued_calls is {}: at most {MOST_CALLS} are possible",
                self.max_queued_calls
            ));
        }
        at_least_one(
            "max_concurrent_streams",
            self.max_concurrent_streams as usize,
        )?;
        at_least_one("max_connections", self.max_connections)?;
        at_least_one("max_header_bytes", self.max_header_bytes as usize)?;
        at_least_one("io_threads", self.io_threads)?;
        self.check_times()?;
        match self.seconds_bounds.is_sorted_by(|one, next| one < next) {
            true => Ok(()),
            false => Err("seconds_bounds must ascend".into()),
        }
    }

    fn check_times(&self) -> Result<(), String> {
        seconds(
            "keepalive_timeout_seconds",
            Some(self.keepalive_timeout_seconds),
        )?;
        seconds("keepalive_seconds", self.keepalive_seconds)?;
        seconds(
            "max_connection_age_seconds",
            self.max_connection_age_seconds,
        )?;
        seconds(
            "max_connection_age_grace_seconds",
            self.max_connection_age_grace_seconds,
        )?;
        seconds(
            "max_connection_idle_seconds",
            self.max_connection_idle_seconds,
        )
    }
}

/// A number of seconds that `Options` has checked, or None for one that is as good as for ever.
pub(crate) fn duration(seconds: f64) -> Option<Duration> {
    const CENTURY: f64 = 3.2e9;
    (seconds < CENTURY).then(|| Duration::from_secs_f64(seconds.max(0.0)))
}

fn at_least_one(name: &str, value: usize) -> Result<(), String> {
    match value {
        0 => Err(format!("{name} is 0: at least 1 is needed")),
        _ => Ok(()),
    }
}

fn seconds(name: &str, value: Option<f64>) -> Result<(), String> {
    match value {
        Some(value) if value.is_nan() || value <= 0.0 => Err(format!(
            "{name} is {value}: a positive number of seconds is needed"
        )),
        _ => Ok(()),
    }
}
