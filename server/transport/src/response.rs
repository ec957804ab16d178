//! Answers as HTTP/2 has them.

use http::{HeaderMap, HeaderValue, Response, StatusCode, header};

use crate::calls::Reply;
use crate::compression::Encoding;
use crate::held::{HeldBytes, HeldCount};
use crate::status::{Status, UNIMPLEMENTED};

/// Sends the answer of one stream.
pub(crate) type Respond = h2::server::SendResponse<HeldBytes>;

/// All of the answer to a stream.
#[derive(Debug)]
pub(crate) enum Answer {
    /// To a call of gRPC.
    Reply(Reply),
    /// To what is no call of gRPC.
    Http(StatusCode),
}

impl Answer {
    pub(crate) fn status(status: Status) -> Self {
        Answer::Reply(Reply::Status(status))
    }

    /// Hand this to h2, which `held` counts until it is written.
    pub(crate) fn write(self, mut respond: Respond, held: &HeldCount) -> Result<(), h2::Error> {
        match self {
            Answer::Reply(Reply::Message(message)) => {
                let mut sender = respond.send_response(head(), false)?;
                sender.send_data(HeldBytes::new(held, message), false)?;
                sender.send_trailers(trailers(&Status::OK))
            }
            Answer::Reply(Reply::Status(status)) => {
                respond.send_response(status_only(&status), true).map(drop)
            }
            Answer::Http(code) => respond.send_response(http_error(code), true).map(drop),
        }
    }
}

/// The beginning of an answer with messages.
pub(crate) fn head() -> Response<()> {
    let mut response = Response::new(());
    let content_type = HeaderValue::from_static("application/grpc");
    response
        .headers_mut()
        .insert(header::CONTENT_TYPE, content_type);
    response
}

/// An answer without a message: headers are all there is.
pub(crate) fn status_only(status: &Status) -> Response<()> {
    let mut response = head();
    status.write_to(response.headers_mut());
    if status.code == UNIMPLEMENTED {
        let encodings = HeaderValue::from_static(Encoding::ACCEPTED);
        response
            .headers_mut()
            .insert("grpc-accept-encoding", encodings);
    }
    response
}

/// What ends an answer with messages.
pub(crate) fn trailers(status: &Status) -> HeaderMap {
    let mut fields = HeaderMap::with_capacity(2);
    status.write_to(&mut fields);
    fields
}

fn http_error(code: StatusCode) -> Response<()> {
    let mut response = Response::new(());
    *response.status_mut() = code;
    if code == StatusCode::METHOD_NOT_ALLOWED {
        let allowed = HeaderValue::from_static("POST");
        response.headers_mut().insert(header::ALLOW, allowed);
    }
    response
}
