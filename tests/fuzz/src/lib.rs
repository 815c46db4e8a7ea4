//! How the fuzzers' bytes become what the rooms take. Inputs are texts where that is possible, so that seeds can be written by hand
//! and findings be read.

use http::{HeaderMap, HeaderName, HeaderValue};

/// The settings before a body: so many bytes, each taken modulo what it chooses from. A letter does for a seed.
pub struct Settings<'a> {
    bytes: &'a [u8],
    at: usize,
}

impl<'a> Settings<'a> {
    /// The first `count` bytes as settings, and the rest; `None` where there are fewer.
    pub fn split(input: &'a [u8], count: usize) -> Option<(Settings<'a>, &'a [u8])> {
        let (bytes, rest) = input.split_at_checked(count)?;
        Some((Settings { bytes, at: 0 }, rest))
    }

    fn next(&mut self) -> u8 {
        self.at += 1;
        self.bytes[self.at - 1]
    }

    /// One of these.
    pub fn pick<T: Copy>(&mut self, from: &[T]) -> T {
        from[usize::from(self.next()) % from.len()]
    }

    /// A number below `end`.
    pub fn below(&mut self, end: u8) -> usize {
        usize::from(self.next() % end)
    }

    pub fn flag(&mut self) -> bool {
        self.next() & 1 == 1
    }
}

/// A body in pieces of these sizes, over and over; 0 stands for 1.
pub fn pieces<'a>(body: &'a [u8], sizes: &'a [usize]) -> impl Iterator<Item = &'a [u8]> {
    let mut rest = body;
    sizes.iter().cycle().map_while(move |size| {
        let (piece, behind) = rest.split_at((*size).clamp(1, rest.len().max(1)).min(rest.len()));
        rest = behind;
        (!piece.is_empty()).then_some(piece)
    })
}

/// Lines of `name: value` as headers; what may be none is left out, as the HTTP parser would have refused it.
pub fn headers(lines: &[u8]) -> HeaderMap {
    let mut headers = HeaderMap::new();
    for line in lines.split(|byte| *byte == b'\n').take(32) {
        let Some(colon) = line.iter().position(|byte| *byte == b':') else { continue };
        let name = HeaderName::from_bytes(line[..colon].trim_ascii());
        let value = HeaderValue::from_bytes(line[colon + 1..].trim_ascii());
        if let (Ok(name), Ok(value)) = (name, value) {
            headers.append(name, value);
        }
    }
    headers
}

/// The first line, and what follows it.
pub fn first_line(input: &[u8]) -> (&[u8], &[u8]) {
    match input.iter().position(|byte| *byte == b'\n') {
        Some(end) => (&input[..end], &input[end + 1..]),
        None => (input, &[]),
    }
}
