//! gRPC status codes and how they travel.

use std::borrow::Cow;
use std::fmt::Write;

use http::{HeaderMap, HeaderValue};

/// One more than the largest status code.
pub(crate) const CODES: usize = 17;

/// The client gave up.
pub(crate) const CANCELLED: u8 = 1;
/// The deadline passed.
pub(crate) const DEADLINE_EXCEEDED: u8 = 4;
/// Too large or too many.
pub(crate) const RESOURCE_EXHAUSTED: u8 = 8;
/// No such method or encoding, or not the messages that the method takes.
pub(crate) const UNIMPLEMENTED: u8 = 12;
/// What arrived cannot be understood.
pub(crate) const INTERNAL: u8 = 13;
/// The server is on its way out.
pub(crate) const UNAVAILABLE: u8 = 14;

/// How a call ended, if not with a message alone.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Status {
    /// Number as on the wire, below `CODES`; 0 is OK.
    pub(crate) code: u8,
    /// For people; any text.
    pub(crate) message: Cow<'static, str>,
}

impl Status {
    /// The end of a call that went well.
    pub(crate) const OK: Status = Status {
        code: 0,
        message: Cow::Borrowed(""),
    };

    pub(crate) fn new(code: u8, message: impl Into<Cow<'static, str>>) -> Self {
        let message = message.into();
        Status { code, message }
    }

    pub(crate) fn deadline_exceeded() -> Self {
        Status::new(DEADLINE_EXCEEDED, "Deadline Exceeded")
    }

    pub(crate) fn shutting_down() -> Self {
        Status::new(UNAVAILABLE, "The server is shutting down.")
    }

    /// More calls are waiting than allowed.
    pub(crate) fn too_many_calls() -> Self {
        Status::new(RESOURCE_EXHAUSTED, "Too many calls wait for an answer.")
    }

    /// More bytes are waiting than allowed.
    pub(crate) fn too_many_bytes() -> Self {
        Status::new(
            RESOURCE_EXHAUSTED,
            "Too many bytes wait to be served or read.",
        )
    }

    /// A reply of `length` bytes was to be sent and `limit` is allowed.
    pub(crate) fn reply_too_large(length: usize, limit: usize) -> Self {
        let text = format!("SERVER: Sent message larger than max ({length} vs. {limit})");
        Status::new(RESOURCE_EXHAUSTED, text)
    }

    /// A request of `length` bytes was announced and `limit` is allowed.
    pub(crate) fn request_too_large(length: usize, limit: usize) -> Self {
        let text = format!("SERVER: Received message larger than max ({length} vs. {limit})");
        Status::new(RESOURCE_EXHAUSTED, text)
    }

    /// Append this as the fields that end a call.
    pub(crate) fn write_to(&self, fields: &mut HeaderMap) {
        fields.insert("grpc-status", HeaderValue::from(u16::from(self.code)));
        if !self.message.is_empty() {
            fields.insert("grpc-message", percent_encode(&self.message));
        }
    }
}

/// `text` as a `grpc-message`: UTF-8, with everything but printable ASCII as %XX.
pub(crate) fn percent_encode(text: &str) -> HeaderValue {
    let mut encoded = String::with_capacity(text.len());
    for byte in text.bytes() {
        if (b' '..=b'~').contains(&byte) && byte != b'%' {
            encoded.push(char::from(byte));
        } else {
            write!(encoded, "%{byte:02X}").expect("writing to a String cannot fail");
        }
    }
    HeaderValue::from_str(&encoded).expect("printable ASCII is a header value")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn printable_ascii_stays_as_it_is() {
        assert_eq!(percent_encode("Method not found!"), "Method not found!");
    }

    #[test]
    fn everything_else_is_escaped_byte_by_byte() {
        assert_eq!(
            percent_encode("50% of «it»\n"),
            "50%25 of %C2%ABit%C2%BB%0A"
        );
    }

    #[test]
    fn an_empty_message_is_left_out() {
        let mut fields = HeaderMap::new();
        Status::new(INTERNAL, "").write_to(&mut fields);
        assert_eq!(fields.len(), 1);
        assert_eq!(fields["grpc-status"], "13");
    }
}
