//! Follows the frames of HTTP/2 in the bytes that a client sends.
//!
//! h2 tells of a reset through one future for each stream. Following the frames costs a few
//! instructions for each of them instead, and nothing for each call.

use std::ops::Range;

/// What every client sends first.
pub const PREFACE: &[u8] = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n";

/// Kind of the frames that begin a stream.
pub const HEADERS: u8 = 1;
/// Kind of the frames that end one.
pub const RST_STREAM: u8 = 3;
/// Kind of the frames that ask for an answer, or are one.
pub const PING: u8 = 6;
/// Kind of the frames that go on with HEADERS.
pub const CONTINUATION: u8 = 9;

const HEADER_BYTES: usize = 9;

/// A frame's payload, or the part of it that has been read.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Piece {
    /// Of the frame.
    pub kind: u8,
    /// That the frame is about.
    pub stream: u32,
    /// Where it is in the bytes that were given.
    pub range: Range<usize>,
    /// Whether the frame ends with it.
    pub is_last: bool,
}

/// Finds the frames in a client's bytes, in whatever pieces they come.
///
/// It judges nothing: bytes that are not HTTP/2 lead to nonsense here and to an error in h2, which
/// ends the connection.
#[derive(Debug)]
pub struct FrameTap {
    /// Bytes that are missing of the preface, or of a frame's payload.
    missing: usize,
    /// Kind and stream of the frame whose payload is being read.
    frame: Option<(u8, u32)>,
    header: [u8; HEADER_BYTES],
    header_filled: usize,
}

impl FrameTap {
    /// For a connection from its first byte on.
    pub fn new() -> Self {
        FrameTap {
            missing: PREFACE.len(),
            frame: None,
            header: [0; HEADER_BYTES],
            header_filled: 0,
        }
    }

    /// Go on with `bytes`; `on_piece` gets every payload in them, in order.
    pub fn feed(&mut self, bytes: &[u8], mut on_piece: impl FnMut(Piece)) {
        let mut at = 0;
        while at < bytes.len() {
            if self.missing == 0 {
                at += self.read_header(&bytes[at..]);
            }
            let count = self.missing.min(bytes.len() - at);
            self.missing -= count;
            if let Some((kind, stream)) = self.frame {
                let is_last = self.missing == 0;
                on_piece(Piece {
                    kind,
                    stream,
                    range: at..at + count,
                    is_last,
                });
                if is_last {
                    self.frame = None;
                }
            }
            at += count;
        }
    }

    /// Take what is missing of a frame's header and begin with its payload once it is complete.
    /// Returns how many bytes that were.
    fn read_header(&mut self, bytes: &[u8]) -> usize {
        let count = (HEADER_BYTES - self.header_filled).min(bytes.len());
        self.header[self.header_filled..][..count].copy_from_slice(&bytes[..count]);
        self.header_filled += count;
        if self.header_filled == HEADER_BYTES {
            self.header_filled = 0;
            let [l0, l1, l2, kind, _flags, s0, s1, s2, s3] = self.header;
            self.missing = u32::from_be_bytes([0, l0, l1, l2]) as usize;
            self.frame = Some((kind, u32::from_be_bytes([s0 & 0x7f, s1, s2, s3])));
        }
        count
    }
}

impl Default for FrameTap {
    fn default() -> Self {
        Self::new()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn frame(kind: u8, stream: u32, payload: &[u8]) -> Vec<u8> {
        let length = u32::try_from(payload.len()).unwrap().to_be_bytes();
        [&length[1..], &[kind, 0], &stream.to_be_bytes(), payload].concat()
    }

    fn resets(wire: &[u8], size: usize) -> Vec<u32> {
        let mut tap = FrameTap::new();
        let mut seen = Vec::new();
        for part in wire.chunks(size) {
            tap.feed(part, |piece| {
                if piece.kind == RST_STREAM && piece.is_last {
                    seen.push(piece.stream);
                }
            });
        }
        seen
    }

    #[test]
    fn frames_are_found_however_they_are_cut() {
        let wire = [
            PREFACE.to_vec(),
            frame(4, 0, &[]),
            frame(1, 1, &[3; 40]),
            frame(RST_STREAM, 1, &[0, 0, 0, 8]),
            frame(0, 3, &frame(RST_STREAM, 99, &[0; 4])),
            frame(RST_STREAM, 0x8000_0005, &[0, 0, 0, 8]),
        ]
        .concat();
        for size in 1..=wire.len() {
            assert_eq!(resets(&wire, size), [1, 5], "{size}");
        }
    }

    #[test]
    fn a_frame_ends_once_it_is_complete() {
        let mut wire = [PREFACE.to_vec(), frame(RST_STREAM, 7, &[0, 0, 0, 8])].concat();
        wire.pop();
        assert!(resets(&wire, 1000).is_empty());
    }

    #[test]
    fn a_frame_without_payload_ends_at_once() {
        let wire = [PREFACE.to_vec(), frame(RST_STREAM, 7, &[])].concat();
        assert_eq!(resets(&wire, 1000), [7]);
    }
}
