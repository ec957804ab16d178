//! Messages are the same however the bytes are cut, and no more is held than has arrived.

#![no_main]

use bytes::Bytes;
use libfuzzer_sys::fuzz_target;

#[path = "../../src/framing.rs"]
mod framing;

use framing::{Deframer, Step, put_message};

#[derive(Debug, PartialEq)]
enum Seen {
    Message(bool, Vec<u8>),
    TooLarge(usize),
}

fn in_pieces(wire: &[u8], size: usize, limit: usize) -> Vec<Seen> {
    let mut deframer = Deframer::new(limit);
    let mut seen = Vec::new();
    for piece in wire.chunks(size) {
        let mut chunk = Bytes::copy_from_slice(piece);
        loop {
            match deframer.feed(&mut chunk) {
                Step::Message { compressed, body } => {
                    let length = body.len();
                    let message = body.into_bytes().to_vec();
                    assert_eq!(message.len(), length);
                    seen.push(Seen::Message(compressed, message));
                }
                Step::TooLarge(length) => {
                    assert!(length > limit);
                    seen.push(Seen::TooLarge(length));
                    return seen;
                }
                Step::Unfinished => break,
            }
        }
        assert!(deframer.received() <= wire.len());
    }
    seen
}

fuzz_target!(|input: (u16, u16, Vec<u8>)| {
    let (size, limit, wire) = input;
    let (size, limit) = (usize::from(size).max(1), usize::from(limit));
    let whole = in_pieces(&wire, wire.len().max(1), limit);
    assert_eq!(in_pieces(&wire, size, limit), whole);

    let mut framed = Vec::new();
    put_message(&mut framed, &[&wire]);
    assert_eq!(in_pieces(&framed, size, wire.len()), [Seen::Message(false, wire)]);
});
