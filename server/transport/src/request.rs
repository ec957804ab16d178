//! What the headers of a call say.

use std::time::Duration;

use http::request::Parts;
use http::{HeaderMap, Method, StatusCode, header};

use crate::compression::Encoding;
use crate::grpc_timeout;
use crate::response::Answer;
use crate::server::{Server, Target};
use crate::status::{INTERNAL, Status, UNIMPLEMENTED};

/// A call that can be served once its message has come.
#[derive(Debug)]
pub(crate) struct Head {
    pub(crate) target: Target,
    pub(crate) timeout: Option<Duration>,
    /// Of messages whose prefix says that they are compressed.
    pub(crate) encoding: Encoding,
}

/// Read the headers of a call, or say how to answer what is none.
pub(crate) fn read_head(parts: &Parts, server: &Server) -> Result<Head, Answer> {
    if parts.method != Method::POST {
        return Err(Answer::Http(StatusCode::METHOD_NOT_ALLOWED));
    }
    if !is_grpc(&parts.headers) {
        return Err(Answer::Http(StatusCode::UNSUPPORTED_MEDIA_TYPE));
    }
    let Some(target) = server.targets.get(parts.uri.path()) else {
        return Err(Answer::status(Status::new(
            UNIMPLEMENTED,
            "Method not found!",
        )));
    };
    Ok(Head {
        target: target.clone(),
        timeout: timeout(&parts.headers).map_err(Answer::status)?,
        encoding: Encoding::of(parts.headers.get("grpc-encoding")),
    })
}

fn is_grpc(headers: &HeaderMap) -> bool {
    let Some(value) = headers.get(header::CONTENT_TYPE) else {
        return false;
    };
    match value.as_bytes().strip_prefix(b"application/grpc") {
        Some(rest) => matches!(rest.first(), None | Some(b'+' | b';')),
        None => false,
    }
}

fn timeout(headers: &HeaderMap) -> Result<Option<Duration>, Status> {
    let Some(value) = headers.get("grpc-timeout") else {
        return Ok(None);
    };
    match grpc_timeout::parse(value.as_bytes()) {
        Some(timeout) => Ok(Some(timeout)),
        None => Err(Status::new(
            INTERNAL,
            "Error parsing 'grpc-timeout' metadata",
        )),
    }
}
