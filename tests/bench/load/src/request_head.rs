//! The header block of a request, encoded once: with the peer's table on a connection's first
//! request, as a few indices into that table on all others, or without the table.

/// The table that HPACK gives every connection unless the peer says otherwise.
pub const DEFAULT_TABLE_BYTES: u32 = 4096;
/// Where the entries of the connection's own table begin.
const FIRST_DYNAMIC_INDEX: usize = 62;
/// What HPACK counts for an entry on top of its name and value.
const ENTRY_BYTES: usize = 32;

const INDEXED: u8 = 0x80;
const LITERAL_WITH_INDEXING: u8 = 0x40;
const LITERAL_WITHOUT_INDEXING: u8 = 0x00;
const TABLE_SIZE_ZERO: u8 = 0x20;
const METHOD_POST: u8 = INDEXED | 3;
const SCHEME_HTTP: u8 = INDEXED | 6;
const SCHEME_HTTPS: u8 = INDEXED | 7;

/// Whether the connection is in clear text or over TLS.
#[derive(Clone, Copy, Debug)]
pub enum Scheme {
    Http,
    Https,
}

/// The three encodings of one header block. No Huffman code: it would only be work for the server.
#[derive(Debug)]
pub struct RequestHead {
    entering: Vec<u8>,
    entered: Vec<u8>,
    literal: Vec<u8>,
    table_bytes: usize,
}

impl RequestHead {
    /// A POST of `path` at `authority` with gRPC's fields; `timeout` is the value of grpc-timeout.
    pub fn new(scheme: Scheme, path: &str, authority: &str, timeout: Option<&str>) -> Self {
        let mut fields = vec![
            (":path", path),
            (":authority", authority),
            ("content-type", "application/grpc"),
            ("te", "trailers"),
            (
                "user-agent",
                concat!("modelserver-load/", env!("CARGO_PKG_VERSION")),
            ),
        ];
        fields.extend(timeout.map(|timeout| ("grpc-timeout", timeout)));
        let scheme = match scheme {
            Scheme::Http => SCHEME_HTTP,
            Scheme::Https => SCHEME_HTTPS,
        };
        let pseudo = [METHOD_POST, scheme];
        let indices = (0..fields.len())
            .rev()
            .map(|age| INDEXED | (FIRST_DYNAMIC_INDEX + age) as u8);
        Self {
            entering: [&pseudo[..], &literals(LITERAL_WITH_INDEXING, &fields)].concat(),
            entered: pseudo.into_iter().chain(indices).collect(),
            literal: [&pseudo[..], &literals(LITERAL_WITHOUT_INDEXING, &fields)].concat(),
            table_bytes: fields
                .iter()
                .map(|(name, value)| name.len() + value.len() + ENTRY_BYTES)
                .sum(),
        }
    }

    /// Append the block for the next request of a connection with `table`.
    pub fn put(&self, out: &mut Vec<u8>, table: &mut HeaderTable) {
        match table {
            HeaderTable::Empty if self.table_bytes <= DEFAULT_TABLE_BYTES as usize => {
                out.extend_from_slice(&self.entering);
                *table = HeaderTable::Entered;
            }
            HeaderTable::Entered => out.extend_from_slice(&self.entered),
            HeaderTable::Shrunk => {
                out.push(TABLE_SIZE_ZERO);
                out.extend_from_slice(&self.literal);
                *table = HeaderTable::Unused;
            }
            HeaderTable::Empty | HeaderTable::Unused => out.extend_from_slice(&self.literal),
        }
    }
}

/// What is known of the peer's header table on one connection.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum HeaderTable {
    /// Of the usual size; the request's fields are not in it yet.
    Empty,
    /// The request's fields are in it.
    Entered,
    /// The peer wants a smaller one, and has to be told that none is used.
    Shrunk,
    /// Left alone.
    Unused,
}

impl HeaderTable {
    /// The peer allows `bytes` from now on.
    pub fn allow(&mut self, bytes: u32) {
        if bytes < DEFAULT_TABLE_BYTES && *self != Self::Unused {
            *self = Self::Shrunk;
        }
    }
}

fn literals(representation: u8, fields: &[(&str, &str)]) -> Vec<u8> {
    let mut block = Vec::new();
    for (name, value) in fields {
        block.push(representation);
        put_string(&mut block, name);
        put_string(&mut block, value);
    }
    block
}

/// A length with a prefix of seven bits, and the bytes as they are.
fn put_string(out: &mut Vec<u8>, text: &str) {
    let mut length = text.len();
    if length < 127 {
        out.push(length as u8);
    } else {
        out.push(127);
        length -= 127;
        while length >= 128 {
            out.push(length as u8 | 128);
            length >>= 7;
        }
        out.push(length as u8);
    }
    out.extend_from_slice(text.as_bytes());
}

#[cfg(test)]
mod tests {
    use loona_hpack::Decoder;

    use super::*;

    fn decoded(decoder: &mut Decoder<'_>, block: &[u8]) -> Vec<(String, String)> {
        let text = |bytes: Vec<u8>| String::from_utf8(bytes).unwrap();
        let fields = decoder.decode(block).unwrap();
        fields
            .into_iter()
            .map(|(name, value)| (text(name), text(value)))
            .collect()
    }

    fn blocks(head: &RequestHead, mut table: HeaderTable) -> Vec<Vec<(String, String)>> {
        let mut decoder = Decoder::new();
        let mut next = || {
            let mut block = Vec::new();
            head.put(&mut block, &mut table);
            decoded(&mut decoder, &block)
        };
        vec![next(), next(), next()]
    }

    #[test]
    fn every_block_has_the_same_fields() {
        let head = RequestHead::new(
            Scheme::Http,
            "/pkg.Service/Method",
            "127.0.0.1:8500",
            Some("5S"),
        );

        let entered = blocks(&head, HeaderTable::Empty);
        let unused = blocks(&head, HeaderTable::Shrunk);

        let first = &entered[0];
        assert_eq!(first[0], (":method".into(), "POST".into()));
        assert_eq!(first[2], (":path".into(), "/pkg.Service/Method".into()));
        assert_eq!(first[7], ("grpc-timeout".into(), "5S".into()));
        assert!(entered.iter().chain(&unused).all(|fields| fields == first));
    }

    #[test]
    fn the_scheme_says_whether_there_is_tls() {
        let scheme = |scheme| {
            let head = RequestHead::new(scheme, "/a/b", "h", None);
            blocks(&head, HeaderTable::Empty)[0][1].clone()
        };

        assert_eq!(scheme(Scheme::Http), (":scheme".into(), "http".into()));
        assert_eq!(scheme(Scheme::Https), (":scheme".into(), "https".into()));
    }

    #[test]
    fn a_path_that_is_longer_than_the_table_is_sent_without_it() {
        let path = format!("/{}", "x".repeat(5000));
        let head = RequestHead::new(Scheme::Http, &path, "h", None);

        let fields = blocks(&head, HeaderTable::Empty);

        assert!(fields.iter().all(|fields| fields[2].1 == path));
    }

    #[test]
    fn a_table_that_shrinks_is_told_once_and_then_left_alone() {
        let head = RequestHead::new(Scheme::Http, "/a/b", "h", None);
        let mut table = HeaderTable::Entered;
        table.allow(0);
        let (mut first, mut second) = (Vec::new(), Vec::new());

        head.put(&mut first, &mut table);
        head.put(&mut second, &mut table);

        assert_eq!((first[0], &first[1..]), (TABLE_SIZE_ZERO, &second[..]));
        assert_eq!(table, HeaderTable::Unused);
    }

    #[test]
    fn a_larger_table_changes_nothing() {
        let mut table = HeaderTable::Entered;

        table.allow(65_536);

        assert_eq!(table, HeaderTable::Entered);
    }
}
