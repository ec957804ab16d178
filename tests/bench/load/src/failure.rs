//! The ways in which a request fails.

use std::fmt;

use crate::answer::Wrong;

/// Why a request has no right answer.
#[derive(Debug, PartialEq, Eq)]
pub enum Failure {
    /// Status OK, and the wrong message.
    WrongAnswer(Wrong),
    /// Another status than OK.
    Status { code: u32, message: String },
    /// A response that is not gRPC's: without grpc-status, or with another HTTP status than 200.
    NotGrpc(Option<u16>),
    /// The server reset the stream, with this error code.
    Reset(u32),
    /// The connection was lost before the answer.
    Connection(String),
    /// No answer until the load had been over for a while.
    Unanswered,
}

impl fmt::Display for Failure {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::WrongAnswer(wrong) => write!(formatter, "wrong answer: {wrong}"),
            Self::Status { code, message } => write!(formatter, "grpc-status {code}: {message}"),
            Self::NotGrpc(None) => write!(formatter, "the stream ended without a grpc-status"),
            Self::NotGrpc(Some(status)) => {
                write!(formatter, "HTTP status {status} without a grpc-status")
            }
            Self::Reset(code) => write!(
                formatter,
                "the server reset the stream with error code {code}"
            ),
            Self::Connection(reason) => write!(formatter, "connection lost: {reason}"),
            Self::Unanswered => write!(formatter, "no answer"),
        }
    }
}
