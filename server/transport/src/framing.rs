//! gRPC's framing: each message after a flag and its length.

use bytes::{Buf, BufMut, Bytes, BytesMut};

/// Bytes before each message: one of flags, four of length.
pub const PREFIX_BYTES: usize = 5;

/// Pieces below this are joined: each piece costs as much again, and holds on to the buffer that it
/// was read into.
const SMALL_PIECE: usize = 4096;

/// A message as it arrived: in one piece where one frame of HTTP/2 brought it all.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Body {
    /// All of it.
    Whole(Bytes),
    /// Pieces, in order, and how many bytes they have together.
    Pieces(Vec<Bytes>, usize),
}

impl Body {
    /// Size in bytes.
    pub fn len(&self) -> usize {
        match self {
            Body::Whole(bytes) => bytes.len(),
            Body::Pieces(_, length) => *length,
        }
    }

    /// One after another, copied unless there is one.
    pub fn into_bytes(self) -> Bytes {
        match self {
            Body::Whole(bytes) => bytes,
            Body::Pieces(pieces, length) => {
                let mut joined = BytesMut::with_capacity(length);
                pieces.iter().for_each(|piece| joined.put_slice(piece));
                joined.freeze()
            }
        }
    }
}

/// What `Deframer::feed` found.
#[derive(Debug, PartialEq, Eq)]
pub enum Step {
    /// The message goes on in bytes yet to come.
    Unfinished,
    /// A message; more of the chunk may be left.
    Message {
        /// Whether the message is compressed.
        compressed: bool,
        /// The message.
        body: Body,
    },
    /// The message that begins here has so many bytes, more than allowed. Nothing can follow.
    TooLarge(usize),
}

/// Cuts a stream of bytes into messages. Holds no more than has arrived, whatever is announced.
#[derive(Debug)]
pub struct Deframer {
    limit: usize,
    prefix: [u8; PREFIX_BYTES],
    prefix_filled: usize,
    pieces: Vec<Bytes>,
    small: BytesMut,
    received: usize,
}

impl Deframer {
    /// Messages may have `limit` bytes.
    pub fn new(limit: usize) -> Self {
        Deframer {
            limit,
            prefix: [0; PREFIX_BYTES],
            prefix_filled: 0,
            pieces: Vec::new(),
            small: BytesMut::new(),
            received: 0,
        }
    }

    /// Whether nothing of a message has arrived.
    pub fn is_between_messages(&self) -> bool {
        self.prefix_filled == 0
    }

    /// Bytes of an unfinished message that have come.
    pub fn received(&self) -> usize {
        self.received
    }

    /// Take bytes from the front of `chunk`, up to the end of a message.
    pub fn feed(&mut self, chunk: &mut Bytes) -> Step {
        self.fill_prefix(chunk);
        if self.prefix_filled < PREFIX_BYTES {
            return Step::Unfinished;
        }
        let length = self.announced();
        if length > self.limit {
            return Step::TooLarge(length);
        }
        let missing = length - self.received;
        if chunk.len() < missing {
            self.keep(chunk.split_to(chunk.len()));
            return Step::Unfinished;
        }
        let last = chunk.split_to(missing);
        self.finish(last, length)
    }

    fn announced(&self) -> usize {
        let [_, a, b, c, d] = self.prefix;
        u32::from_be_bytes([a, b, c, d]) as usize
    }

    fn fill_prefix(&mut self, chunk: &mut Bytes) {
        let count = (PREFIX_BYTES - self.prefix_filled).min(chunk.len());
        self.prefix[self.prefix_filled..][..count].copy_from_slice(&chunk[..count]);
        chunk.advance(count);
        self.prefix_filled += count;
    }

    fn keep(&mut self, piece: Bytes) {
        self.received += piece.len();
        if piece.len() < SMALL_PIECE {
            self.small.extend_from_slice(&piece);
        } else {
            self.end_small();
            self.pieces.push(piece);
        }
    }

    fn end_small(&mut self) {
        if !self.small.is_empty() {
            self.pieces.push(self.small.split().freeze());
        }
    }

    fn finish(&mut self, last: Bytes, length: usize) -> Step {
        let compressed = self.prefix[0] & 1 == 1;
        let body = if self.received == 0 {
            Body::Whole(last)
        } else {
            self.keep(last);
            self.end_small();
            Body::Pieces(std::mem::take(&mut self.pieces), length)
        };
        self.prefix_filled = 0;
        self.received = 0;
        Step::Message { compressed, body }
    }
}

/// Append `message` with its prefix, in parts.
pub fn put_message(out: &mut Vec<u8>, parts: &[&[u8]]) {
    let length: usize = parts.iter().map(|part| part.len()).sum();
    out.put_u8(0);
    out.put_u32(u32::try_from(length).expect("checked by whoever made the message"));
    parts.iter().for_each(|part| out.put_slice(part));
}

#[cfg(test)]
mod tests {
    use super::*;

    fn message(parts: &[&[u8]]) -> Vec<u8> {
        let mut out = Vec::new();
        put_message(&mut out, parts);
        out
    }

    /// Everything that comes of `wire` when it arrives in chunks of `size`.
    fn deframe(wire: &[u8], size: usize, limit: usize) -> Vec<Vec<u8>> {
        let mut deframer = Deframer::new(limit);
        let mut messages = Vec::new();
        for part in wire.chunks(size) {
            let mut chunk = Bytes::copy_from_slice(part);
            while let Step::Message { body, .. } = deframer.feed(&mut chunk) {
                messages.push(body.into_bytes().to_vec());
            }
        }
        messages
    }

    #[test]
    fn a_message_in_one_chunk_is_not_copied() {
        let mut chunk = Bytes::from(message(&[b"hello"]));
        let start = chunk[PREFIX_BYTES..].as_ptr();

        let step = Deframer::new(5).feed(&mut chunk);

        let Step::Message {
            compressed: false,
            body: Body::Whole(body),
        } = step
        else {
            panic!("{step:?}");
        };
        assert_eq!(body, "hello");
        assert_eq!(body.as_ptr(), start);
    }

    #[test]
    fn messages_are_found_however_they_are_cut() {
        let wire = [message(&[b"one"]), message(&[]), message(&[b"thr", b"ee"])].concat();
        for size in 1..=wire.len() {
            assert_eq!(
                deframe(&wire, size, 5),
                [&b"one"[..], b"", b"three"],
                "{size}"
            );
        }
    }

    #[test]
    fn small_pieces_are_joined_and_large_ones_kept() {
        let content: Vec<u8> = (0..20_000u32).map(|n| n as u8).collect();
        let wire = message(&[&content]);
        for size in [1, 100, 4096, 5000, 19_999] {
            assert_eq!(deframe(&wire, size, 20_000), [&content[..]], "{size}");
        }
    }

    #[test]
    fn a_message_above_the_limit_is_noticed_by_its_prefix() {
        let mut chunk = Bytes::from_static(&[0, 0, 0, 0, 6]);
        assert_eq!(Deframer::new(5).feed(&mut chunk), Step::TooLarge(6));
    }

    #[test]
    fn the_lowest_flag_means_compressed() {
        let mut chunk = Bytes::from_static(&[1, 0, 0, 0, 1, 7]);
        let step = Deframer::new(5).feed(&mut chunk);
        assert!(matches!(
            step,
            Step::Message {
                compressed: true,
                ..
            }
        ));
    }
}
