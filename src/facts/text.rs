//! How much text of which scripts stands in a body, counted while it is walked.

use std::ops::ControlFlow;

use memchr::memchr;

use crate::json::{Raw, Sink};

/// Bytes of text by script. Rough on purpose: it feeds an estimate of tokens and must not slow the walk.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct TextBytes {
    pub ascii: u64,
    /// Chinese, Japanese, Korean: three bytes a character.
    pub cjk: u64,
    /// Everything else beyond ASCII.
    pub other: u64,
    /// Encoded pictures, sound and files, which are no text.
    pub blob: u64,
}

/// From this many bytes on, a string without a blank in its first [`BLOB_PROBE`] bytes is taken for encoded data. Prose has a
/// blank within 256 bytes; Chinese prose may not, but is not ASCII.
const BLOB_MIN: usize = 1024;
const BLOB_PROBE: usize = 256;

impl TextBytes {
    /// Counts the bytes of one text.
    pub(super) fn count(&mut self, text: &[u8]) {
        let is_blob = |head: &[u8]| head.is_ascii() && !head.iter().any(|b| matches!(b, b' ' | b'\\' | b'\n'));
        if text.len() >= BLOB_MIN && is_blob(&text[..BLOB_PROBE]) {
            self.blob += text.len() as u64;
            return;
        }
        let (high, lead) = beyond_ascii(text);
        self.cjk += 3 * lead;
        self.other += high.saturating_sub(3 * lead);
        self.ascii += text.len() as u64 - high;
    }

    /// Counts a string as JSON has it; `\uXXXX` counts as what it stands for.
    #[inline]
    fn count_raw(&mut self, raw: Raw) {
        let length = raw.bytes.len() as u64;
        if !raw.beyond_ascii && raw.bytes.len() < BLOB_MIN {
            self.ascii += length;
        } else {
            self.count(raw.bytes);
        }
        if raw.unicode_escapes {
            self.count_escapes(raw.bytes);
        }
    }

    /// Counts `\u` escapes, which were counted as ASCII, anew.
    fn count_escapes(&mut self, raw: &[u8]) {
        let mut at = 0;
        while let Some(found) = memchr(b'\\', &raw[at..]) {
            at += found + 2;
            // The digit tells: U+3000 to U+DFFF are CJK (and surrogates), U+1000 to U+2FFF others, below mostly Latin.
            let (cjk, other) = match (raw.get(at - 1), raw.get(at)) {
                (Some(b'u'), Some(b'3'..=b'9' | b'a'..=b'd' | b'A'..=b'D')) => (3, 0),
                (Some(b'u'), Some(_)) => (0, 2),
                _ => continue,
            };
            self.ascii = self.ascii.saturating_sub(6);
            self.cjk += cjk;
            self.other += other;
        }
    }
}

/// How many bytes are beyond ASCII, and how many of them begin a character of the CJK blocks (lead bytes E3 to ED). In blocks
/// whose sums fit a byte, so that the compiler makes vectors of them.
fn beyond_ascii(text: &[u8]) -> (u64, u64) {
    let block = |block: &[u8]| {
        block.iter().fold((0u8, 0u8), |(high, lead), byte| {
            (high + u8::from(*byte >= 0x80), lead + u8::from(byte.wrapping_sub(0xE3) <= 0xED - 0xE3))
        })
    };
    let add = |sum: (u64, u64), part: (u8, u8)| (sum.0 + u64::from(part.0), sum.1 + u64::from(part.1));
    let blocks = text.chunks_exact(64);
    let rest = block(blocks.remainder());
    add(blocks.fold((0, 0), |sum, here| add(sum, block(here))), rest)
}

/// Counts text, and notes whether a name passed that may lead to a stored object (or hides behind an escape).
#[derive(Debug, Default)]
pub(super) struct Tally {
    pub(super) bytes: TextBytes,
    pub(super) references: bool,
}

impl Sink for Tally {
    #[inline]
    fn name(&mut self, name: Raw) {
        let raw = name.bytes;
        self.references |= name.escapes
            || match raw.len() {
                7 => raw == b"file_id" || raw == b"fileUri",
                8 => raw == b"file_ids" || raw == b"file_uri",
                9 => raw == b"container",
                16 => raw == b"vector_store_ids",
                19 => raw == b"search_context_size",
                _ => false,
            };
    }

    #[inline]
    fn string(&mut self, string: Raw) -> ControlFlow<()> {
        self.bytes.count_raw(string);
        ControlFlow::Continue(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::json::Scanner;

    #[track_caller]
    fn check(raw: &str, ascii: u64, cjk: u64, other: u64, blob: u64) {
        let mut tally = Tally::default();
        let text = format!("[\"{raw}\"]");
        Scanner::new(text.as_bytes()).value(&mut tally).unwrap();
        let bytes = tally.bytes;
        assert_eq!(bytes, TextBytes { ascii, cjk, other, blob }, "{raw}");
    }

    #[test]
    fn by_script() {
        check("hello", 5, 0, 0, 0);
        check("你好, ok", 4, 6, 0, 0);
        check("Привет", 0, 0, 12, 0);
        check("안녕", 0, 6, 0, 0);
        check("\\n\\u4f60\\u00e9\\\\u4f60", 9, 3, 2, 0);
        check(&"Some words. ".repeat(100), 1200, 0, 0, 0);
        check(&"你好".repeat(1000), 0, 6000, 0, 0);
        check(&"iVBORw0KGgo".repeat(200), 0, 0, 0, 2200);
    }
}
