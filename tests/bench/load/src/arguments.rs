//! The command line.

use std::net::{SocketAddr, ToSocketAddrs};
use std::path::PathBuf;
use std::time::Duration;

use clap::Parser;

use crate::answer::Tolerance;
use crate::exchange::{Exchanges, read_all};
use crate::load::Plan;
use crate::request_head::{RequestHead, Scheme};
use crate::tls;

/// Load a gRPC server over HTTP/2, in clear text or over TLS, check every answer, and print what was
/// found as JSON.
///
/// Closed loop (the default): connections × streams requests are on their way; each answer is
/// followed by the next request. Open loop (--rate): requests are sent at constant distances whatever
/// comes back, spread over the connections; latency counts from the moment at which a request was due,
/// so a server that stalls cannot hide it.
///
/// A request is right if its answer equals the expected one, byte for byte but for --tolerance, and its
/// status is OK. All others are counted as failures by kind, and the first few are told in words; their
/// latencies do not count. Answers that come after the measured time are waited for (10 s) and checked.
#[derive(Debug, Parser)]
#[command(name = "modelserver-load", version, after_help = EXAMPLES, max_term_width = 100)]
pub struct Arguments {
    /// Name or address of the server
    #[arg(long, default_value = "127.0.0.1", value_name = "HOST")]
    host: String,

    /// Port of the server
    #[arg(long, required_unless_present = "self_test", value_name = "PORT")]
    port: Option<u16>,

    /// Connect over TLS: a file with the certificates, in PEM, of which one must have signed the server's,
    /// which must be for the name localhost. Without, connections are in clear text
    #[arg(long, value_name = "FILE")]
    tls_ca: Option<PathBuf>,

    /// The method: /package.Service/Method
    #[arg(long, required_unless_present = "self_test", value_name = "PATH")]
    path: Option<String>,

    /// Files with one request message each (protobuf, without gRPC's prefix), sent in turn
    #[arg(
        long,
        required_unless_present = "self_test",
        value_delimiter = ',',
        value_name = "FILE[,FILE…]"
    )]
    request: Vec<PathBuf>,

    /// Files with the answers: one for each request, or one for all. Without, every whole message with
    /// status OK is right
    #[arg(long, value_delimiter = ',', value_name = "FILE[,FILE…]")]
    expect: Vec<PathBuf>,

    /// Bytes FROM to TO of the answers are little-endian float32 numbers, each of which may be off by
    /// so much (batches of another size differ in the last bits). Negative offsets count from the end,
    /// an empty TO is the end; @N makes it hold for answer N only, counted from 0
    #[arg(
        long,
        value_delimiter = ',',
        allow_hyphen_values = true,
        value_name = "f32:FROM:TO:BY[@N][,…]"
    )]
    tolerance: Vec<Tolerance>,

    /// Connections
    #[arg(long, default_value_t = 4, value_parser = clap::value_parser!(u16).range(1..=10_000))]
    connections: u16,

    /// Closed loop: requests on their way on each connection (an open loop has up to 1024)
    #[arg(long, default_value_t = 32, value_parser = clap::value_parser!(u16).range(1..=10_000))]
    streams: u16,

    /// How long to measure
    #[arg(long, default_value = "5", value_parser = seconds)]
    seconds: Duration,

    /// How long to load the server before that; nothing counts then
    #[arg(long, default_value = "1", value_parser = seconds)]
    warmup: Duration,

    /// Open loop: requests a second, on all connections together
    #[arg(long, value_parser = rate, value_name = "REQUESTS")]
    rate: Option<f64>,

    /// Open loop: stay awake for so many microseconds before a request is due. Waking up takes about
    /// as long, and would be added to the latency; being awake costs processor time
    #[arg(long, default_value_t = 50, value_name = "MICROSECONDS")]
    spin: u64,

    /// Send this grpc-timeout with every request: digits and a unit of H, M, S, m, u, n
    #[arg(long, value_parser = timeout, value_name = "TIMEOUT")]
    timeout_header: Option<String>,

    /// The server's processes: the processor time of these and all their descendants is divided by the
    /// requests
    #[arg(long, value_delimiter = ',', value_name = "PID[,PID…]")]
    pid: Vec<u32>,

    /// Load a server within this program that answers everything with the same bytes: what the
    /// generator alone can do. Takes no --port, --path, --tls-ca or --pid; without --request, one of 3136
    /// bytes
    #[arg(long, conflicts_with_all = ["port", "path", "tls_ca", "pid"])]
    pub self_test: bool,
}

const EXAMPLES: &str = "\
Examples:
  modelserver-load --self-test --seconds 2
  modelserver-load --port 8500 --path /pkg.Service/Method --request body.bin --expect answer.bin --pid 4711
  modelserver-load --port 8500 --path /pkg.Service/Method --request a,b --expect x,y --tolerance f32:-40::1e-4
  modelserver-load --port 8500 --path /pkg.Service/Method --request body.bin --rate 6000 --connections 8

Output:
  requests, rps          right answers in the measured time (open loop: to requests due in it), by second
  failed, failures       requests without a right answer, in all and by kind; examples has the first ones
  latency_us             microseconds from sending (open loop: from when it was due) to the end of the answer
  pacing_error_us        open loop: how much later than due requests were sent
  client_cpu_us          processor time of this program, microseconds for each request that ended
  server_cpu_us          the same of the processes under --pid, which the kernel counts in steps of 10 ms
  reconnections, goaways connections that had to be made anew, and how many of them the server had asked for";

impl Arguments {
    /// What is sent and expected. The error is for the user.
    pub fn exchanges(&self) -> Result<Exchanges, String> {
        let (mut requests, mut answers) = (read_all(&self.request)?, read_all(&self.expect)?);
        if self.self_test {
            requests = if requests.is_empty() {
                vec![vec![0; 3136]]
            } else {
                requests
            };
            answers = if answers.is_empty() {
                vec![vec![1; 42]]
            } else {
                answers
            };
            answers.truncate(1);
        }
        let path = self.path.as_deref().unwrap_or("/modelserver.Load/Test");
        let (scheme, host) = match self.tls_ca {
            None => (Scheme::Http, self.host.as_str()),
            Some(_) => (Scheme::Https, tls::SERVER_NAME),
        };
        let authority = format!("{host}:{}", self.port.unwrap_or_default());
        let head = RequestHead::new(scheme, path, &authority, self.timeout_header.as_deref());
        Exchanges::new(head, &requests, &answers, &self.tolerance)
    }

    /// Where the server is. The error is for the user.
    pub fn address(&self) -> Result<SocketAddr, String> {
        let wanted = (self.host.as_str(), self.port.unwrap_or_default());
        let mut found = wanted
            .to_socket_addrs()
            .map_err(|error| format!("{}: {error}", self.host))?;
        found
            .next()
            .ok_or_else(|| format!("{} has no address", self.host))
    }

    /// What load to make of the server at `address`. The error is for the user.
    pub fn plan(&self, address: SocketAddr) -> Result<Plan, String> {
        Ok(Plan {
            address,
            tls: self.tls_ca.as_deref().map(tls::trusting).transpose()?,
            connections: self.connections.into(),
            streams: self.streams.into(),
            rate: self.rate,
            warmup: self.warmup,
            seconds: self.seconds,
            spin: Duration::from_micros(self.spin),
            pids: self.pid.clone(),
        })
    }
}

fn seconds(text: &str) -> Result<Duration, String> {
    let seconds = text
        .parse()
        .ok()
        .and_then(|seconds| Duration::try_from_secs_f64(seconds).ok());
    seconds
        .filter(|time| *time <= Duration::from_secs(86_400))
        .ok_or("not a number of seconds up to a day".into())
}

fn rate(text: &str) -> Result<f64, String> {
    let is_usable = |rate: &f64| (0.001..=10_000_000.0).contains(rate);
    text.parse()
        .ok()
        .filter(is_usable)
        .ok_or("not a number of requests a second".into())
}

fn timeout(text: &str) -> Result<String, String> {
    let digits = text
        .strip_suffix(['H', 'M', 'S', 'm', 'u', 'n'])
        .unwrap_or_default();
    let is_valid =
        (1..=8).contains(&digits.len()) && digits.bytes().all(|byte| byte.is_ascii_digit());
    is_valid
        .then(|| text.to_owned())
        .ok_or("not one to eight digits and a unit of H, M, S, m, u, n".into())
}

#[cfg(test)]
mod tests {
    use clap::CommandFactory;

    use super::*;

    fn parse(arguments: &[&str]) -> Result<Arguments, clap::Error> {
        Arguments::try_parse_from([&["modelserver-load"], arguments].concat())
    }

    #[test]
    fn the_command_line_is_consistent() {
        Arguments::command().debug_assert();
    }

    #[test]
    fn lists_are_separated_by_commas() {
        let arguments = parse(&[
            "--port=1",
            "--path=/a/b",
            "--request=a,b",
            "--expect=c,d",
            "--pid=1,2",
            "--tolerance",
            "f32:-8::1e-4,f32:0:4:0.5@1",
        ])
        .unwrap();

        assert_eq!((arguments.request.len(), arguments.expect.len()), (2, 2));
        assert_eq!((arguments.tolerance.len(), arguments.pid), (2, vec![1, 2]));
    }

    #[test]
    fn a_server_a_method_and_a_request_are_needed_but_for_the_self_test() {
        assert!(parse(&["--port=1", "--path=/a/b"]).is_err());
        assert!(parse(&["--port=1", "--request=a"]).is_err());
        assert!(parse(&["--self-test", "--port=1"]).is_err());
        assert!(parse(&["--self-test", "--tls-ca=a"]).is_err());
        assert!(parse(&["--self-test"]).is_ok());
    }

    #[test]
    fn numbers_out_of_range_are_refused() {
        for wrong in [
            "--connections=0",
            "--streams=0",
            "--seconds=-1",
            "--seconds=x",
            "--rate=0",
            "--rate=nan",
            "--timeout-header=5",
        ] {
            assert!(parse(&["--self-test", wrong]).is_err(), "{wrong}");
        }
    }
}
