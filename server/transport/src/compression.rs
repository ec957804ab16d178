//! Compressed requests.

use std::io::Read;

use bytes::Bytes;
use flate2::read::{GzDecoder, ZlibDecoder};
use http::HeaderValue;

use crate::framing::Body;
use crate::status::{INTERNAL, RESOURCE_EXHAUSTED, Status, UNIMPLEMENTED};

/// Bytes to make room for at first, whatever comes out in the end.
const FIRST_ROOM: usize = 4096;

/// How compressed messages of a call are compressed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Encoding {
    /// Not at all.
    Identity,
    Gzip,
    /// Zlib's format, under HTTP's name for it.
    Deflate,
    /// In a way that is not known here.
    Unknown,
}

impl Encoding {
    /// Value of `grpc-accept-encoding`.
    pub(crate) const ACCEPTED: &'static str = "identity, deflate, gzip";

    /// As `grpc-encoding` says.
    pub(crate) fn of(value: Option<&HeaderValue>) -> Self {
        match value.map(HeaderValue::as_bytes) {
            None | Some(b"identity") => Encoding::Identity,
            Some(b"gzip") => Encoding::Gzip,
            Some(b"deflate") => Encoding::Deflate,
            Some(_) => Encoding::Unknown,
        }
    }

    /// The message in `body`, of up to `limit` bytes.
    pub(crate) fn decompress(self, body: Body, limit: usize) -> Result<Body, Status> {
        let compressed = body.into_bytes();
        match self {
            Encoding::Gzip => read_all(GzDecoder::new(&compressed[..]), limit),
            Encoding::Deflate => read_all(ZlibDecoder::new(&compressed[..]), limit),
            Encoding::Identity => Err(Status::new(
                INTERNAL,
                "Compression bit set but no encoding configured",
            )),
            Encoding::Unknown => Err(Status::new(
                UNIMPLEMENTED,
                "The message is compressed in a way that is not supported.",
            )),
        }
    }
}

fn read_all(decoder: impl Read, limit: usize) -> Result<Body, Status> {
    let mut message = Vec::with_capacity(FIRST_ROOM);
    let most = u64::try_from(limit).unwrap_or(u64::MAX).saturating_add(1);
    match decoder.take(most).read_to_end(&mut message) {
        Ok(length) if length > limit => Err(Status::new(
            RESOURCE_EXHAUSTED,
            "Decompressed message larger than max",
        )),
        Ok(_) => Ok(Body::Whole(Bytes::from(message))),
        Err(error) => Err(Status::new(
            INTERNAL,
            format!("Decompression failed: {error}"),
        )),
    }
}

#[cfg(test)]
mod tests {
    use std::io::Write;

    use flate2::Compression;
    use flate2::write::{GzEncoder, ZlibEncoder};

    use super::*;

    fn gzip(message: &[u8]) -> Body {
        let mut encoder = GzEncoder::new(Vec::new(), Compression::best());
        encoder.write_all(message).unwrap();
        Body::Whole(encoder.finish().unwrap().into())
    }

    fn code(result: Result<Body, Status>) -> u8 {
        result.unwrap_err().code
    }

    #[test]
    fn gzip_and_deflate_are_understood() {
        let mut encoder = ZlibEncoder::new(Vec::new(), Compression::best());
        encoder.write_all(b"hello").unwrap();
        let deflated = Body::Whole(encoder.finish().unwrap().into());

        let results = [
            Encoding::Gzip.decompress(gzip(b"hello"), 5),
            Encoding::Deflate.decompress(deflated, 5),
        ];

        let hello = Body::Whole(Bytes::from_static(b"hello"));
        assert_eq!(results, [Ok(hello.clone()), Ok(hello)]);
    }

    #[test]
    fn a_message_that_grows_above_the_limit_is_refused() {
        let bomb = gzip(&vec![0; 1 << 20]);
        assert_eq!(
            code(Encoding::Gzip.decompress(bomb, 1 << 10)),
            RESOURCE_EXHAUSTED
        );
    }

    #[test]
    fn garbage_and_other_encodings_are_refused() {
        let garbage = || Body::Whole(Bytes::from_static(b"garbage"));
        assert_eq!(code(Encoding::Gzip.decompress(garbage(), 100)), INTERNAL);
        assert_eq!(
            code(Encoding::Identity.decompress(garbage(), 100)),
            INTERNAL
        );
        assert_eq!(
            code(Encoding::Unknown.decompress(garbage(), 100)),
            UNIMPLEMENTED
        );
    }
}
