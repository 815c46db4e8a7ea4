//! Undoes a content encoding for the meter, in a copy: what the client gets stays as it is.
//!
//! Everything is pushed: compressed pieces go in, decoded ones come out into the meter at once, through a work buffer of a
//! few ten KiB and the encoding's window (at most 16 MiB for brotli, 8 MiB for zstd, 32 KiB for the others). So an answer
//! that blows up to gigabytes costs time, up to [`MOST`], and no memory.

use std::io::{self, Write};

use flate2::write::{DeflateDecoder, MultiGzDecoder, ZlibDecoder};

/// How many decoded bytes of one answer are read; beyond, what was read until then counts as all that came.
const MOST: u64 = 1 << 30;

/// The largest zstd window, as a power of two: what RFC 9659 allows in HTTP.
const ZSTD_WINDOW: u32 = 23;

const BUFFER: usize = 16 << 10;

/// What takes the decoded bytes.
pub(super) trait Taker: Default {
    fn take(&mut self, bytes: &[u8]);
}

/// Counts what comes out, and stops at [`MOST`].
#[derive(Default)]
struct Out<T> {
    taker: T,
    bytes: u64,
}

impl<T: Taker> Write for Out<T> {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        self.bytes += bytes.len() as u64;
        if self.bytes > MOST {
            return Err(io::ErrorKind::FileTooLarge.into());
        }
        self.taker.take(bytes);
        Ok(bytes.len())
    }
    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

enum Coding<T: Taker> {
    Identity(Out<T>),
    Gzip(Box<MultiGzDecoder<Out<T>>>),
    /// `deflate` before its first byte: zlib by the standard, bare by the habit of some.
    Deflate(Out<T>),
    Zlib(Box<ZlibDecoder<Out<T>>>),
    Bare(Box<DeflateDecoder<Out<T>>>),
    Brotli(Box<brotli::DecompressorWriter<Out<T>>>),
    Zstd(Box<zstd::stream::write::Decoder<'static, Out<T>>>),
    /// Not known, or several on top of each other: nothing can be read.
    Unknown(Out<T>),
}

/// A decoder and what takes its output.
pub(super) struct Decoder<T: Taker> {
    coding: Coding<T>,
    /// The encoding was faulty, or too much came out: nothing more is read.
    broken: bool,
}

impl<T: Taker> Decoder<T> {
    pub(super) fn new(encoding: Option<&str>, taker: T) -> Decoder<T> {
        let out = Out { taker, bytes: 0 };
        let name = encoding.unwrap_or_default().trim();
        let is = |known: &str| name.eq_ignore_ascii_case(known);
        let coding = if name.is_empty() || is("identity") {
            Coding::Identity(out)
        } else if is("gzip") || is("x-gzip") {
            Coding::Gzip(Box::new(MultiGzDecoder::new(out)))
        } else if is("deflate") {
            Coding::Deflate(out)
        } else if is("br") {
            Coding::Brotli(Box::new(brotli::DecompressorWriter::new(out, BUFFER)))
        } else if is("zstd") {
            zstd(out)
        } else {
            Coding::Unknown(out)
        };
        Decoder { coding, broken: false }
    }

    pub(super) fn feed(&mut self, bytes: &[u8]) {
        if self.broken {
            return;
        }
        if let (Coding::Deflate(out), [first, ..]) = (&mut self.coding, bytes) {
            let out = std::mem::take(out);
            self.coding = deflate(out, *first);
        }
        let result = match &mut self.coding {
            Coding::Identity(out) => {
                out.taker.take(bytes);
                Ok(())
            }
            Coding::Gzip(decoder) => push(decoder, bytes),
            Coding::Zlib(decoder) => push(decoder, bytes),
            Coding::Bare(decoder) => push(decoder, bytes),
            Coding::Brotli(decoder) => push(decoder, bytes),
            Coding::Zstd(decoder) => push(decoder, bytes),
            Coding::Deflate(_) | Coding::Unknown(_) => Ok(()),
        };
        self.broken = result.is_err();
    }

    pub(super) fn taker(&self) -> &T {
        &self.out().taker
    }

    /// Whether all that came could be read.
    pub(super) fn is_sound(&self) -> bool {
        !self.broken && !matches!(self.coding, Coding::Unknown(_))
    }

    fn out(&self) -> &Out<T> {
        match &self.coding {
            Coding::Identity(out) | Coding::Deflate(out) | Coding::Unknown(out) => out,
            Coding::Gzip(decoder) => decoder.get_ref(),
            Coding::Zlib(decoder) => decoder.get_ref(),
            Coding::Bare(decoder) => decoder.get_ref(),
            Coding::Brotli(decoder) => decoder.get_ref(),
            Coding::Zstd(decoder) => decoder.get_ref(),
        }
    }
}

/// Pushes a piece through, so that nothing of it stays behind that could come out.
fn push(decoder: &mut impl Write, bytes: &[u8]) -> io::Result<()> {
    decoder.write_all(bytes)?;
    decoder.flush()
}

/// The first byte of zlib names method 8 in its low half; a bare stream would begin with an odd stored block there.
fn deflate<T: Taker>(out: Out<T>, first: u8) -> Coding<T> {
    if first & 0x0F == 8 {
        Coding::Zlib(Box::new(ZlibDecoder::new(out)))
    } else {
        Coding::Bare(Box::new(DeflateDecoder::new(out)))
    }
}

fn zstd<T: Taker>(out: Out<T>) -> Coding<T> {
    let raw = zstd::stream::raw::Decoder::new().and_then(|mut raw| {
        raw.set_parameter(zstd::stream::raw::DParameter::WindowLogMax(ZSTD_WINDOW))?;
        Ok(raw)
    });
    match raw {
        Ok(raw) => Coding::Zstd(Box::new(zstd::stream::write::Decoder::with_decoder(out, raw))),
        Err(_) => Coding::Unknown(out),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[derive(Default)]
    struct Kept(Vec<u8>, usize);

    impl Taker for Kept {
        fn take(&mut self, bytes: &[u8]) {
            self.1 = self.1.max(bytes.len());
            self.0.extend_from_slice(bytes);
        }
    }

    fn encoded(encoding: &str, text: &[u8]) -> Vec<u8> {
        let level = flate2::Compression::default();
        match encoding {
            "gzip" => {
                let mut encoder = flate2::write::GzEncoder::new(Vec::new(), level);
                encoder.write_all(text).unwrap();
                encoder.finish().unwrap()
            }
            "deflate" => {
                let mut encoder = flate2::write::ZlibEncoder::new(Vec::new(), level);
                encoder.write_all(text).unwrap();
                encoder.finish().unwrap()
            }
            "bare" => {
                let mut encoder = flate2::write::DeflateEncoder::new(Vec::new(), level);
                encoder.write_all(text).unwrap();
                encoder.finish().unwrap()
            }
            "br" => {
                let mut out = Vec::new();
                brotli::CompressorWriter::new(&mut out, 4096, 5, 22).write_all(text).unwrap();
                out
            }
            _ => zstd::encode_all(text, 3).unwrap(),
        }
    }

    #[test]
    fn each_encoding_is_undone_from_pieces_of_any_size() {
        let text: Vec<u8> = (0..20_000_u32).flat_map(|n| n.to_string().into_bytes()).collect();
        for encoding in ["gzip", "deflate", "bare", "br", "zstd"] {
            let bytes = encoded(encoding, &text);
            for size in [1, 7, 1000, usize::MAX] {
                let name = if encoding == "bare" { "deflate" } else { encoding };
                let mut decoder = Decoder::new(Some(name), Kept::default());
                bytes.chunks(size).for_each(|piece| decoder.feed(piece));
                assert!(decoder.is_sound(), "{encoding}");
                assert_eq!(decoder.taker().0, text, "{encoding} in pieces of {size}");
                assert!(decoder.taker().1 <= 1 << 17, "{encoding}: {}", decoder.taker().1);
            }
        }
    }

    #[test]
    fn corrupt_and_cut_encodings_do_no_harm() {
        for encoding in ["gzip", "deflate", "br", "zstd"] {
            let bytes = encoded(encoding, &[b'x'; 5000]);
            for at in 0..bytes.len() {
                let mut torn = bytes.clone();
                torn[at] ^= 0xFF;
                let mut decoder = Decoder::new(Some(encoding), Kept::default());
                torn.chunks(9).for_each(|piece| decoder.feed(piece));
                let mut cut = Decoder::new(Some(encoding), Kept::default());
                cut.feed(&bytes[..at]);
                cut.feed(b"");
                assert!(cut.taker().0.len() <= 5000);
            }
        }
    }

    #[test]
    fn what_is_not_known_is_not_read() {
        let mut decoder = Decoder::new(Some("gzip, br"), Kept::default());
        decoder.feed(b"abc");
        assert!(!decoder.is_sound() && decoder.taker().0.is_empty());
        let mut decoder = Decoder::new(Some(" identity "), Kept::default());
        decoder.feed(b"abc");
        assert_eq!(decoder.taker().0, b"abc");
    }
}
