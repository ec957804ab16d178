//! What is printed.

use serde::Serialize;

use crate::histogram::Percentiles;
use crate::load::Measured;
use crate::tally::Failures;

/// The result of a load; `--help` describes the fields.
#[derive(Debug, Serialize)]
pub struct Report {
    requests: u64,
    seconds: f64,
    rps: f64,
    failed: u64,
    failures: Failures,
    examples: Vec<String>,
    latency_us: Option<Percentiles>,
    pacing_error_us: Option<Percentiles>,
    client_cpu_us: Option<f64>,
    server_cpu_us: Option<f64>,
    reconnections: u64,
    goaways: u64,
}

impl From<Measured> for Report {
    fn from(measured: Measured) -> Self {
        let tally = measured.tally;
        let each = |seconds: f64| (tally.ended > 0).then(|| seconds * 1e6 / tally.ended as f64);
        Self {
            requests: tally.right,
            seconds: measured.seconds,
            rps: tally.right as f64 / measured.seconds,
            failed: tally.failures.total(),
            failures: tally.failures,
            latency_us: tally.latency.percentiles(),
            pacing_error_us: tally.pacing_error.percentiles(),
            client_cpu_us: each(measured.client_cpu_seconds),
            server_cpu_us: measured.server_cpu_seconds.and_then(each),
            reconnections: tally.reconnections,
            goaways: tally.goaways,
            examples: tally.examples,
        }
    }
}
