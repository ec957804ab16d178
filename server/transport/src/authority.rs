//! Makes `:authority` acceptable where a client names something else than a host there.
//!
//! gRPC's clients in C++ and Python send the path of a unix socket, with %2F for each slash, and all
//! the addresses of a target that has several. h2 refuses both, and nobody here reads it.

/// How those clients spell the name: its length, and then the name.
const NAME: &[u8] = b"\x0a:authority";

/// The largest length that fits its first byte.
const ONE_BYTE: usize = 0x7f;

/// Replaces what is no letter or digit in `:authority`, in whatever pieces a connection's blocks of
/// headers come.
#[derive(Debug, Default)]
pub struct AuthorityFilter {
    state: State,
}

#[derive(Debug)]
enum State {
    /// So many bytes of the name have been seen.
    Name(usize),
    /// The length of the value is next.
    Length,
    /// It goes on: what it is so far, and where the next seven bits belong.
    LongLength(usize, u32),
    /// So many bytes of the value are left.
    Value(usize),
}

impl Default for State {
    fn default() -> Self {
        State::Name(0)
    }
}

impl AuthorityFilter {
    /// Change what is to be changed in the next part of a block of headers.
    pub fn feed(&mut self, block: &mut [u8]) {
        for byte in block {
            self.state = self.next(byte);
        }
    }

    fn next(&self, byte: &mut u8) -> State {
        match self.state {
            State::Name(seen) if *byte != NAME[seen] => {
                State::Name(usize::from(*byte == NAME[0])) // its first byte is nowhere else in it
            }
            State::Name(seen) if seen + 1 == NAME.len() => State::Length,
            State::Name(seen) => State::Name(seen + 1),
            State::Length if *byte & 0x80 != 0 => State::default(), // coded: not one of theirs
            State::Length => match usize::from(*byte) {
                0 => State::default(),
                ONE_BYTE => State::LongLength(ONE_BYTE, 0),
                length => State::Value(length),
            },
            State::LongLength(_, shift) if shift > 21 => State::default(), // nonsense
            State::LongLength(so_far, shift) => {
                let length = so_far + (usize::from(*byte & 0x7f) << shift);
                match *byte & 0x80 {
                    0 => State::Value(length),
                    _ => State::LongLength(length, shift + 7),
                }
            }
            State::Value(left) => {
                if !byte.is_ascii_alphanumeric() {
                    *byte = b'_';
                }
                match left {
                    1 => State::default(),
                    _ => State::Value(left - 1),
                }
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn filtered(block: &[u8], size: usize) -> Vec<u8> {
        let mut block = block.to_vec();
        let mut filter = AuthorityFilter::default();
        block.chunks_mut(size).for_each(|part| filter.feed(part));
        block
    }

    #[test]
    fn what_is_no_letter_in_the_authority_is_replaced_and_nothing_else() {
        let block = b"@\x05:path\x03/%2@\x0a:authority\x07a:1,b%2@\x01x\x02%%";
        let expected = b"@\x05:path\x03/%2@\x0a:authority\x07a_1_b_2@\x01x\x02%%";
        for size in 1..=block.len() {
            assert_eq!(filtered(block, size), expected, "{size}");
        }
    }

    #[test]
    fn long_paths_are_understood() {
        let path = "%2Fa".repeat(100);
        let block = [b"@\x0a:authority\x7f\x91\x02", path.as_bytes(), b"%"].concat();
        let expected = [
            b"@\x0a:authority\x7f\x91\x02",
            path.replace('%', "_").as_bytes(),
            b"%",
        ]
        .concat();
        for size in [1, 7, 1000] {
            assert_eq!(filtered(&block, size), expected, "{size}");
        }
    }
}
