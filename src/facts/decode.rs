//! Undoing a request body's `content-encoding`, within a bound. Codex compresses with zstd; the rest is for whoever does.

use std::io::{ErrorKind, Read};

use bytes::Bytes;

use super::bad;
use crate::words::{Code, Refusal};

/// The largest window a zstd body may ask for: 8 MiB, what RFC 8878 expects of every decoder, so that a small body cannot claim
/// much memory.
const ZSTD_WINDOW_LOG_MAX: u32 = 23;

/// How much is decoded at a time.
const STEP: usize = 64 * 1024;

/// The body as it was before it was compressed, at most `max` bytes of it.
pub fn decode(body: Bytes, content_encoding: Option<&str>, max: u64) -> Result<Bytes, Refusal> {
    let encoding = content_encoding.unwrap_or_default().trim().to_ascii_lowercase();
    let reader: Box<dyn Read + '_> = match encoding.as_str() {
        "" | "identity" if body.len() as u64 > max => return Err(too_large(max)),
        "" | "identity" => return Ok(body),
        "zstd" => {
            let mut decoder = zstd::stream::read::Decoder::with_buffer(&*body).map_err(|_| corrupt(&encoding))?;
            decoder.window_log_max(ZSTD_WINDOW_LOG_MAX).map_err(|_| corrupt(&encoding))?;
            Box::new(decoder)
        }
        "gzip" | "x-gzip" => Box::new(flate2::read::MultiGzDecoder::new(&*body)),
        "deflate" if is_zlib(&body) => Box::new(flate2::read::ZlibDecoder::new(&*body)),
        // Some clients send the bare format under this name.
        "deflate" => Box::new(flate2::read::DeflateDecoder::new(&*body)),
        "br" => Box::new(brotli::Decompressor::new(&*body, STEP)),
        list if list.contains(',') => return Err(bad("a body may be compressed once only; send one content-encoding")),
        other => {
            let other: String = other.chars().take(40).collect();
            return Err(bad(format!("content-encoding {other:?} is not known here; use zstd, gzip, deflate, br or none")));
        }
    };
    read_bounded(reader, &encoding, max)
}

fn read_bounded(mut reader: impl Read, encoding: &str, max: u64) -> Result<Bytes, Refusal> {
    let mut decoded = Vec::new();
    let mut step = vec![0; STEP];
    loop {
        match reader.read(&mut step) {
            Ok(0) => return Ok(Bytes::from(decoded)),
            Ok(length) if (decoded.len() + length) as u64 > max => return Err(too_large(max)),
            Ok(length) => decoded.extend_from_slice(&step[..length]),
            Err(error) if error.kind() == ErrorKind::Interrupted => {}
            Err(_) => return Err(corrupt(encoding)),
        }
    }
}

/// Whether it starts with the header of RFC 1950.
fn is_zlib(body: &[u8]) -> bool {
    body.len() >= 2 && body[0] & 0x0F == 8 && (u16::from(body[0]) << 8 | u16::from(body[1])).is_multiple_of(31)
}

fn corrupt(encoding: &str) -> Refusal {
    bad(format!("the body is not what its content-encoding {encoding} says"))
}

fn too_large(max: u64) -> Refusal {
    Refusal::new(Code::BodyTooLarge, format!("the body is larger than the {max} bytes that are allowed here; send less"))
}

#[cfg(test)]
mod tests {
    use std::io::Write;

    use super::*;
    use proptest::prelude::*;

    fn encode(text: &[u8], encoding: &str) -> Bytes {
        let level = flate2::Compression::default();
        let written = |result: std::io::Result<Vec<u8>>| Bytes::from(result.unwrap());
        match encoding {
            "zstd" => written(zstd::encode_all(text, 3)),
            "gzip" => {
                let mut encoder = flate2::write::GzEncoder::new(Vec::new(), level);
                encoder.write_all(text).unwrap();
                written(encoder.finish())
            }
            "zlib" => {
                let mut encoder = flate2::write::ZlibEncoder::new(Vec::new(), level);
                encoder.write_all(text).unwrap();
                written(encoder.finish())
            }
            "deflate" => {
                let mut encoder = flate2::write::DeflateEncoder::new(Vec::new(), level);
                encoder.write_all(text).unwrap();
                written(encoder.finish())
            }
            "br" => {
                let mut encoded = Vec::new();
                brotli::CompressorWriter::new(&mut encoded, 4096, 4, 20).write_all(text).unwrap();
                Bytes::from(encoded)
            }
            _ => Bytes::copy_from_slice(text),
        }
    }

    const KINDS: [(&str, &str); 7] = [
        ("zstd", "zstd"),
        ("gzip", "gzip"),
        ("gzip", "X-GZIP"),
        ("zlib", "deflate"),
        ("deflate", "deflate"),
        ("br", "br"),
        ("", "identity"),
    ];

    #[test]
    fn each_encoding_within_its_bound() {
        let text = b"{\"model\":\"m\"} ".repeat(1000);
        for (written, named) in KINDS {
            let body = encode(&text, written);
            assert_eq!(decode(body.clone(), Some(named), 14_000).unwrap(), text, "{named}");
            assert_eq!(decode(body.clone(), Some(named), 13_999).unwrap_err().code, Code::BodyTooLarge, "{named}");
            if !written.is_empty() {
                let cut = body.slice(..body.len() - 6);
                assert_eq!(decode(cut, Some(named), 14_000).unwrap_err().code, Code::BadRequest, "{named} cut");
                let other = Bytes::from_static(b"{\"model\":\"m\"}");
                assert_eq!(decode(other, Some(named), 14_000).unwrap_err().code, Code::BadRequest, "{named} of plain text");
            }
        }
    }

    #[test]
    fn what_is_not_taken() {
        for named in ["gzip, zstd", "gzip,gzip", "compress", "snappy"] {
            assert_eq!(decode(encode(b"{}", "gzip"), Some(named), 100).unwrap_err().code, Code::BadRequest, "{named}");
        }
    }

    #[test]
    fn bombs_end_at_the_bound() {
        let zeros = vec![0; 64 << 20];
        for (written, named) in [("zstd", "zstd"), ("gzip", "gzip"), ("br", "br")] {
            let body = encode(&zeros, written);
            assert!(body.len() < 100_000);
            assert_eq!(decode(body, Some(named), 1 << 20).unwrap_err().code, Code::BodyTooLarge, "{named}");
        }
    }

    proptest! {
        #[test]
        fn nothing_panics(bytes: Vec<u8>, kind in 0..KINDS.len()) {
            let _decoded = decode(Bytes::from(bytes), Some(KINDS[kind].1), 1000);
        }
    }
}
