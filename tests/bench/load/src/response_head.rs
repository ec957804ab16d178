//! The header blocks of responses: HTTP's status before the message, gRPC's after it.

use loona_hpack::Decoder;

use crate::frame::Violation;

/// How many different blocks are remembered: a server has two kinds, and changes them rarely.
const REMEMBERED: usize = 4;

/// What matters of one header block.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Fields {
    /// `:status`; not in trailers.
    pub http_status: Option<u16>,
    /// `grpc-status`; not before the message.
    pub grpc_status: Option<u32>,
    /// `grpc-message`, decoded.
    pub grpc_message: String,
}

/// Decodes the blocks of one connection, in the order in which they come.
///
/// Nearly all of them are a few indices into the header table, the same ones every time. Such a
/// block is decoded once and recognised by its bytes until another block may have changed the table.
pub struct ResponseHeads {
    decoder: Decoder<'static>,
    remembered: Vec<(Vec<u8>, Fields)>,
    last: Fields,
}

impl ResponseHeads {
    /// For a new connection.
    pub fn new() -> Self {
        Self {
            decoder: Decoder::new(),
            remembered: Vec::new(),
            last: Fields::default(),
        }
    }

    /// Decode the next block.
    pub fn decode(&mut self, block: &[u8]) -> Result<&Fields, Violation> {
        if let Some(position) = self.remembered.iter().position(|(bytes, _)| bytes == block) {
            return Ok(&self.remembered[position].1);
        }
        let mut fields = Fields::default();
        self.decoder
            .decode_with_cb(block, |name, value| fields.set(&name, &value))
            .map_err(|error| {
                Violation(format!("a header block that cannot be decoded: {error:?}"))
            })?;
        self.remember(block, &fields);
        self.last = fields;
        Ok(&self.last)
    }

    fn remember(&mut self, block: &[u8], fields: &Fields) {
        if !is_indices(block) {
            self.remembered.clear();
        } else if self.remembered.len() < REMEMBERED {
            self.remembered.push((block.to_vec(), fields.clone()));
        }
    }
}

impl Fields {
    fn set(&mut self, name: &[u8], value: &[u8]) {
        let text = String::from_utf8_lossy(value);
        match name {
            b":status" => self.http_status = text.parse().ok(),
            b"grpc-status" => self.grpc_status = text.parse().ok(),
            b"grpc-message" => self.grpc_message = percent_decoded(value),
            _ => {}
        }
    }
}

/// Whether a block is nothing but one-byte indices, so that decoding it leaves the table as it was.
fn is_indices(block: &[u8]) -> bool {
    block.iter().all(|byte| (0x81..0xff).contains(byte))
}

fn percent_decoded(value: &[u8]) -> String {
    let mut bytes = Vec::with_capacity(value.len());
    let mut rest = value;
    while let Some((first, after)) = rest.split_first() {
        let code = after
            .get(..2)
            .and_then(|digits| std::str::from_utf8(digits).ok());
        match code.and_then(|digits| u8::from_str_radix(digits, 16).ok()) {
            Some(byte) if *first == b'%' => {
                bytes.push(byte);
                rest = &after[2..];
            }
            _ => {
                bytes.push(*first);
                rest = after;
            }
        }
    }
    String::from_utf8_lossy(&bytes).into_owned()
}

#[cfg(test)]
mod tests {
    use loona_hpack::Encoder;

    use super::*;

    fn status(heads: &mut ResponseHeads, block: &[u8]) -> Option<u32> {
        heads.decode(block).unwrap().grpc_status
    }

    #[test]
    fn fields_are_found_with_and_without_the_table() {
        let mut encoder = Encoder::new();
        let trailers = [
            (&b"grpc-status"[..], &b"12"[..]),
            (b"grpc-message", b"Method%20not found!"),
        ];
        let mut heads = ResponseHeads::new();

        for _ in 0..3 {
            let fields = heads.decode(&encoder.encode(trailers)).unwrap();

            assert_eq!(fields.grpc_status, Some(12));
            assert_eq!(fields.grpc_message, "Method not found!");
        }
    }

    #[test]
    fn the_same_bytes_mean_something_else_after_the_table_has_changed() {
        let enter = |value: u8| [&[0x40, 11][..], b"grpc-status", &[1, value]].concat();
        let mut heads = ResponseHeads::new();

        assert_eq!(status(&mut heads, &enter(b'0')), Some(0));
        assert_eq!(status(&mut heads, &[0x80 | 62]), Some(0));
        assert_eq!(status(&mut heads, &[0x80 | 62]), Some(0));
        assert_eq!(status(&mut heads, &enter(b'7')), Some(7));
        assert_eq!(status(&mut heads, &[0x80 | 62]), Some(7));
    }

    #[test]
    fn a_block_without_a_status_has_none() {
        let mut heads = ResponseHeads::new();

        let fields = heads.decode(&[0x88]).unwrap();

        assert_eq!((fields.http_status, fields.grpc_status), (Some(200), None));
    }

    #[test]
    fn a_broken_block_is_a_violation() {
        assert!(ResponseHeads::new().decode(&[0xff, 0xff, 0xff]).is_err());
    }
}
