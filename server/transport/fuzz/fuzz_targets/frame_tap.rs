//! Resets are the same however the bytes are cut, and those that a plain reading of frames finds;
//! names of unix sockets are replaced the same way, and nothing else is changed.

#![no_main]

use libfuzzer_sys::fuzz_target;

#[path = "../../src/frame_tap.rs"]
mod frame_tap;

#[path = "../../src/authority.rs"]
mod authority;

use authority::AuthorityFilter;
use frame_tap::{CONTINUATION, FrameTap, HEADERS, PREFACE, RST_STREAM};

fn in_pieces(wire: &[u8], size: usize) -> Vec<u32> {
    let mut tap = FrameTap::new();
    let mut seen = Vec::new();
    for piece in wire.chunks(size) {
        tap.feed(piece, |piece| {
            if piece.kind == RST_STREAM && piece.is_last {
                seen.push(piece.stream);
            }
        });
    }
    seen
}

fn plainly(mut frames: &[u8]) -> Vec<u32> {
    let mut seen = Vec::new();
    while let Some((header, rest)) = frames.split_first_chunk::<9>() {
        let length = u32::from_be_bytes([0, header[0], header[1], header[2]]) as usize;
        if rest.len() < length {
            break;
        }
        if header[3] == 3 {
            let stream = [header[5], header[6], header[7], header[8]];
            seen.push(u32::from_be_bytes(stream) & 0x7fff_ffff);
        }
        frames = &rest[length..];
    }
    seen
}

/// As a connection does it: in the blocks of headers alone.
fn filtered(wire: &[u8], size: usize) -> Vec<u8> {
    let mut wire = wire.to_vec();
    let (mut tap, mut filter) = (FrameTap::new(), AuthorityFilter::default());
    for part in wire.chunks_mut(size) {
        let mut blocks = Vec::new();
        tap.feed(part, |piece| {
            if [HEADERS, CONTINUATION].contains(&piece.kind) {
                blocks.push(piece.range);
            }
        });
        blocks.into_iter().for_each(|block| filter.feed(&mut part[block]));
    }
    wire
}

fuzz_target!(|input: (u8, Vec<u8>)| {
    let (size, frames) = input;
    let wire = [PREFACE, &frames].concat();
    let expected = plainly(&frames);
    assert_eq!(in_pieces(&wire, wire.len()), expected);
    assert_eq!(in_pieces(&wire, usize::from(size).max(1)), expected);

    let whole = filtered(&wire, wire.len());
    assert_eq!(filtered(&wire, usize::from(size).max(1)), whole);
    let is_allowed = |(before, after): (&u8, &u8)| before == after || (*before, *after) == (b'%', b'_');
    assert!(wire.iter().zip(&whole).all(is_allowed));
});
