//! `modelserver-load`: loads a gRPC server, checks every answer, and counts the processor time of both
//! sides.
//!
//! It shares the machine with the server that it measures, so a request costs it little: frames written
//! by hand, many in one write; a header block encoded once; answers compared where they were received.
//!
//! # Layout
//!
//! - `arguments`, `report`: the command line, and what is printed.
//! - `load`: connections and phases in one loop; `schedule` says when an open loop's requests are due.
//! - `channel`, `tls`, `poller`: sockets, in clear text or not, and waiting.
//! - `connection`, `stream`: HTTP/2 without a socket; `frame`, `request_head`, `response_head`: its bytes.
//! - `exchange`, `answer`: what is sent, and what must come back.
//! - `tally`, `failure`, `histogram`, `cpu`: what is counted.
//! - `constant_server`: the other side of `--self-test`.

mod answer;
mod arguments;
mod channel;
mod connection;
mod constant_server;
mod cpu;
mod exchange;
mod failure;
mod frame;
mod histogram;
mod load;
mod poller;
mod report;
mod request_head;
mod response_head;
mod schedule;
mod stream;
mod tally;
mod tls;

use std::process::ExitCode;

use clap::Parser;

use crate::arguments::Arguments;
use crate::report::Report;

fn main() -> ExitCode {
    match run(&Arguments::parse()) {
        Ok(json) => {
            println!("{json}");
            ExitCode::SUCCESS
        }
        Err(reason) => {
            eprintln!("modelserver-load: {reason}");
            ExitCode::FAILURE
        }
    }
}

fn run(arguments: &Arguments) -> Result<String, String> {
    let exchanges = arguments.exchanges()?;
    let address = if arguments.self_test {
        let answer = exchanges
            .get(0)
            .answer
            .as_ref()
            .ok_or("a self-test needs an answer")?;
        constant_server::start(answer.framed().to_vec()).map_err(|error| error.to_string())?
    } else {
        arguments.address()?
    };
    let measured = load::run(&arguments.plan(address)?, &exchanges)?;
    serde_json::to_string_pretty(&Report::from(measured)).map_err(|error| error.to_string())
}
