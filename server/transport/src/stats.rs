//! `Transport.stats` as Python sees it.

use pyo3::prelude::*;
use pyo3::types::PyDict;

use crate::endings::Endings;
use crate::mailbox::Mailbox;
use crate::server::Server;

/// `Stats` of the stub.
pub(crate) fn to_python<'py>(py: Python<'py>, server: &Server) -> PyResult<Bound<'py, PyDict>> {
    let counters = server.calls.counters();
    let stats = PyDict::new(py);
    stats.set_item("accepted", counters.accepted)?;
    stats.set_item("replied", counters.replied)?;
    stats.set_item("failed", counters.failed)?;
    stats.set_item("cancelled", counters.cancelled)?;
    stats.set_item("dropped_replies", counters.dropped_replies)?;
    stats.set_item("in_flight", counters.in_flight)?;
    stats.set_item(
        "oldest_waiting_seconds",
        counters.oldest_waiting.as_secs_f64(),
    )?;
    stats.set_item("codes", codes(py, &counters.endings)?)?;
    stats.set_item("seconds", seconds(py, &counters.endings)?)?;
    stats.set_item("connections", server.connections())?;
    stats.set_item(
        "wakes",
        server.mailboxes.iter().map(Mailbox::wakes).sum::<u64>(),
    )?;
    stats.set_item("buffered_bytes", server.buffered_bytes())?;
    Ok(stats)
}

fn codes<'py>(py: Python<'py>, endings: &[Endings]) -> PyResult<Bound<'py, PyDict>> {
    let codes = PyDict::new(py);
    for (method, endings) in endings.iter().enumerate() {
        for (code, count) in endings
            .codes
            .iter()
            .enumerate()
            .filter(|(_, count)| **count > 0)
        {
            codes.set_item((method, code), count)?;
        }
    }
    Ok(codes)
}

fn seconds<'py>(py: Python<'py>, endings: &[Endings]) -> PyResult<Bound<'py, PyDict>> {
    let seconds = PyDict::new(py);
    for (method, endings) in endings.iter().enumerate() {
        if endings.counts.iter().any(|count| *count > 0) {
            seconds.set_item(method, (&endings.counts, endings.total_seconds))?;
        }
    }
    Ok(seconds)
}
