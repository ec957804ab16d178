//! HTTP/2 frames: nine bytes that say what follows, and the payload.

use std::fmt;

/// Length, kind, flags and stream before every payload.
pub const HEADER_BYTES: usize = 9;
/// The largest payload that a peer may send when nothing else was agreed on, and nothing is here.
pub const MAX_PAYLOAD_BYTES: usize = 16_384;
/// What a client sends before its first frame.
pub const PREFACE: &[u8] = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n";

/// Kinds of frames.
pub mod kind {
    pub const DATA: u8 = 0;
    pub const HEADERS: u8 = 1;
    pub const RST_STREAM: u8 = 3;
    pub const SETTINGS: u8 = 4;
    pub const PUSH_PROMISE: u8 = 5;
    pub const PING: u8 = 6;
    pub const GOAWAY: u8 = 7;
    pub const WINDOW_UPDATE: u8 = 8;
    pub const CONTINUATION: u8 = 9;
}

/// What a frame's flags mean; which of them hold depends on its kind.
pub mod flag {
    pub const END_STREAM: u8 = 0x1;
    pub const ACK: u8 = 0x1;
    pub const END_HEADERS: u8 = 0x4;
    pub const PADDED: u8 = 0x8;
    pub const PRIORITY: u8 = 0x20;
}

/// The identifiers in SETTINGS that matter here.
pub mod setting {
    pub const HEADER_TABLE_SIZE: u16 = 1;
    pub const ENABLE_PUSH: u16 = 2;
    pub const MAX_CONCURRENT_STREAMS: u16 = 3;
    pub const INITIAL_WINDOW_SIZE: u16 = 4;
    pub const MAX_FRAME_SIZE: u16 = 5;
}

/// The peer does not obey HTTP/2; the connection is of no use any more.
#[derive(Debug, PartialEq, Eq)]
pub struct Violation(pub String);

impl fmt::Display for Violation {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(formatter, "the server breaks HTTP/2: {}", self.0)
    }
}

/// One frame, its payload where it was received.
#[derive(Debug, PartialEq, Eq)]
pub struct Frame<'a> {
    pub kind: u8,
    pub flags: u8,
    pub stream: u32,
    pub payload: &'a [u8],
}

impl<'a> Frame<'a> {
    /// The frame that `input` begins with. None while it is not there as a whole.
    pub fn first(input: &'a [u8]) -> Result<Option<Self>, Violation> {
        let Some((header, rest)) = input.split_first_chunk::<HEADER_BYTES>() else {
            return Ok(None);
        };
        let length =
            usize::from(header[0]) << 16 | usize::from(header[1]) << 8 | usize::from(header[2]);
        if length > MAX_PAYLOAD_BYTES {
            return Err(Violation(format!(
                "a frame of {length} bytes, more than {MAX_PAYLOAD_BYTES}"
            )));
        }
        Ok(rest.get(..length).map(|payload| Self {
            kind: header[3],
            flags: header[4],
            stream: number([header[5], header[6], header[7], header[8]]) & 0x7fff_ffff,
            payload,
        }))
    }

    /// How many bytes it takes, header included.
    pub fn bytes(&self) -> usize {
        HEADER_BYTES + self.payload.len()
    }

    /// Whether `flag` is set.
    pub fn has(&self, flag: u8) -> bool {
        self.flags & flag != 0
    }

    /// The data or the header block, without padding and priority.
    pub fn content(&self) -> Result<&'a [u8], Violation> {
        let (mut from, mut to) = (0, self.payload.len());
        if self.has(flag::PADDED) {
            let padding = self.payload.first().ok_or_else(|| self.malformed())?;
            (from, to) = (1, to.saturating_sub(usize::from(*padding)));
        }
        if self.kind == kind::HEADERS && self.has(flag::PRIORITY) {
            from += 5;
        }
        self.payload.get(from..to).ok_or_else(|| self.malformed())
    }

    /// The four bytes from `offset` on as a number.
    pub fn number_at(&self, offset: usize) -> Result<u32, Violation> {
        let bytes = self
            .payload
            .get(offset..)
            .and_then(<[u8]>::first_chunk::<4>);
        bytes
            .map(|bytes| number(*bytes))
            .ok_or_else(|| self.malformed())
    }

    /// The pairs in a SETTINGS frame.
    pub fn settings(&self) -> impl Iterator<Item = (u16, u32)> + use<'a> {
        self.payload.chunks_exact(6).map(|pair| {
            (
                u16::from_be_bytes([pair[0], pair[1]]),
                number([pair[2], pair[3], pair[4], pair[5]]),
            )
        })
    }

    fn malformed(&self) -> Violation {
        Violation(format!("a malformed frame of kind {}", self.kind))
    }
}

fn number(bytes: [u8; 4]) -> u32 {
    u32::from_be_bytes(bytes)
}

/// Append the nine bytes before a payload of `length` bytes.
pub fn put_header(out: &mut Vec<u8>, length: usize, kind: u8, flags: u8, stream: u32) {
    let [_, high, middle, low] = u32::try_from(length).unwrap_or(u32::MAX).to_be_bytes();
    let [a, b, c, d] = stream.to_be_bytes();
    out.extend_from_slice(&[high, middle, low, kind, flags, a, b, c, d]);
}

/// Append a frame.
pub fn put(out: &mut Vec<u8>, kind: u8, flags: u8, stream: u32, payload: &[u8]) {
    put_header(out, payload.len(), kind, flags, stream);
    out.extend_from_slice(payload);
}

/// Append a SETTINGS frame.
pub fn put_settings(out: &mut Vec<u8>, settings: &[(u16, u32)]) {
    put_header(out, settings.len() * 6, kind::SETTINGS, 0, 0);
    for (identifier, value) in settings {
        out.extend_from_slice(&identifier.to_be_bytes());
        out.extend_from_slice(&value.to_be_bytes());
    }
}

/// Append a frame whose payload is one number: WINDOW_UPDATE or RST_STREAM.
pub fn put_number(out: &mut Vec<u8>, kind: u8, stream: u32, value: u32) {
    put(out, kind, 0, stream, &value.to_be_bytes());
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_frame_comes_back_as_it_was_put() {
        let mut bytes = Vec::new();
        put(
            &mut bytes,
            kind::DATA,
            flag::END_STREAM,
            0x0102_0305,
            b"abc",
        );
        bytes.extend_from_slice(b"next");

        let frame = Frame::first(&bytes).unwrap().unwrap();

        assert_eq!(
            (frame.kind, frame.flags, frame.stream),
            (kind::DATA, flag::END_STREAM, 0x0102_0305)
        );
        assert_eq!((frame.payload, frame.bytes()), (&b"abc"[..], 12));
    }

    #[test]
    fn part_of_a_frame_is_none() {
        let mut bytes = Vec::new();
        put(&mut bytes, kind::PING, 0, 0, &[0; 8]);

        for length in 0..bytes.len() {
            assert_eq!(Frame::first(&bytes[..length]), Ok(None));
        }
    }

    #[test]
    fn a_frame_that_is_too_large_is_a_violation() {
        let mut bytes = Vec::new();
        put_header(&mut bytes, MAX_PAYLOAD_BYTES + 1, kind::DATA, 0, 1);

        assert!(Frame::first(&bytes).is_err());
    }

    #[test]
    fn padding_and_priority_are_no_content() {
        let payload = [2, 0, 0, 0, 0, 9, b'x', b'y', 0, 0];
        let flags = flag::PADDED | flag::PRIORITY;

        let headers = Frame {
            kind: kind::HEADERS,
            flags,
            stream: 1,
            payload: &payload,
        };
        let data = Frame {
            kind: kind::DATA,
            flags: flag::PADDED,
            stream: 1,
            payload: &payload[..4],
        };

        assert_eq!(headers.content().unwrap(), b"xy");
        assert_eq!(data.content().unwrap(), &[0]);
    }

    #[test]
    fn more_padding_than_payload_is_a_violation() {
        let frame = Frame {
            kind: kind::DATA,
            flags: flag::PADDED,
            stream: 1,
            payload: &[3, 0, 0],
        };

        assert!(frame.content().is_err());
    }

    #[test]
    fn settings_come_back_as_they_were_put() {
        let mut bytes = Vec::new();
        put_settings(&mut bytes, &[(1, 0), (4, 65_535)]);

        let frame = Frame::first(&bytes).unwrap().unwrap();

        assert_eq!(frame.settings().collect::<Vec<_>>(), [(1, 0), (4, 65_535)]);
    }
}
