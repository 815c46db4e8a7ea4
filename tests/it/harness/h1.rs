//! HTTP/1.1 framing for both stubs: heads, chunks, lengths. Nothing is forgiven: what is malformed stops the test.

use std::io;

use bytes::{Buf, Bytes, BytesMut};
use tokio::io::{AsyncRead, AsyncReadExt};

pub type Headers = Vec<(String, String)>;

/// A head up to and with its empty line; `None` when the connection ends before the first byte of one.
pub async fn read_head(wire: &mut (impl AsyncRead + Unpin), buffer: &mut BytesMut) -> Option<Bytes> {
    loop {
        if let Some(end) = buffer.windows(4).position(|w| w == b"\r\n\r\n") {
            return Some(buffer.split_to(end + 4).freeze());
        }
        match wire.read_buf(buffer).await {
            Ok(n) if n > 0 => {}
            _ => return None,
        }
    }
}

pub fn parse_request(head: &[u8]) -> (String, String, Headers) {
    let text = String::from_utf8_lossy(head);
    let (line, _) = text.split_once("\r\n").unwrap();
    let mut parts = line.splitn(3, ' ');
    let mut next = || parts.next().unwrap_or_default().to_owned();
    (next(), next(), parse_headers(&text))
}

pub fn parse_status(head: &[u8]) -> (u16, Headers) {
    let text = String::from_utf8_lossy(head);
    let status = text.strip_prefix("HTTP/1.1 ").and_then(|rest| rest.get(..3)).and_then(|digits| digits.parse().ok());
    (status.unwrap_or_else(|| panic!("not an HTTP/1.1 status line: {text:?}")), parse_headers(&text))
}

fn parse_headers(text: &str) -> Headers {
    let lines = text.split("\r\n").skip(1).take_while(|line| !line.is_empty());
    lines
        .map(|line| line.split_once(':').unwrap_or_else(|| panic!("no header: {line:?}")))
        .map(|(n, v)| (n.to_owned(), v.trim().to_owned()))
        .collect()
}

pub fn response_head(status: u16, headers: &[(String, String)]) -> Vec<u8> {
    let reason = http::StatusCode::from_u16(status).ok().and_then(|s| s.canonical_reason()).unwrap_or("Status");
    let mut head = format!("HTTP/1.1 {status} {reason}\r\n");
    for (name, value) in headers {
        head += &format!("{name}: {value}\r\n");
    }
    (head + "\r\n").into_bytes()
}

pub fn chunk(piece: &[u8]) -> Vec<u8> {
    let mut bytes = format!("{:x}\r\n", piece.len()).into_bytes();
    bytes.extend_from_slice(piece);
    bytes.extend_from_slice(b"\r\n");
    bytes
}

/// How a message tells the length of its body.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Length {
    Known(usize),
    Chunked,
    ToTheEnd,
}

impl Length {
    pub fn of_request(headers: &[(String, String)]) -> Length {
        Length::told(headers).unwrap_or(Length::Known(0))
    }
    /// An answer to `method` with this status.
    pub fn of_answer(method: &str, status: u16, headers: &[(String, String)]) -> Length {
        if method == "HEAD" || status < 200 || status == 204 || status == 304 {
            return Length::Known(0);
        }
        Length::told(headers).unwrap_or(Length::ToTheEnd)
    }
    fn told(headers: &[(String, String)]) -> Option<Length> {
        let all =
            |name: &str| headers.iter().filter(|(n, _)| n.eq_ignore_ascii_case(name)).map(|(_, v)| v.clone()).collect::<Vec<_>>();
        let (lengths, codings) = (all("content-length"), all("transfer-encoding"));
        assert!(lengths.len() + codings.len() <= 1, "a body's length told twice: {headers:?}");
        if let Some(coding) = codings.first() {
            assert_eq!(coding, "chunked");
            return Some(Length::Chunked);
        }
        lengths.first().map(|length| Length::Known(length.parse().unwrap()))
    }
}

/// Hands out a body piece by piece, as it comes.
pub struct BodyReader {
    length: Length,
    /// Bytes left of the body or of the chunk.
    left: usize,
    state: State,
}

enum State {
    Size,
    Data,
    /// The line end after a chunk.
    After,
    Trailers,
    Done,
}

/// The body did not come to its proper end.
#[derive(Debug)]
pub struct Cut;

impl BodyReader {
    pub fn new(length: Length) -> BodyReader {
        let (left, state) = match length {
            Length::Known(0) => (0, State::Done),
            Length::Known(n) => (n, State::Data),
            Length::Chunked => (0, State::Size),
            Length::ToTheEnd => (usize::MAX, State::Data),
        };
        BodyReader { length, left, state }
    }

    /// The next piece; `None` at the proper end.
    pub async fn next(&mut self, wire: &mut (impl AsyncRead + Unpin), buffer: &mut BytesMut) -> Result<Option<Bytes>, Cut> {
        loop {
            match self.state {
                State::Done => return Ok(None),
                State::Data if !buffer.is_empty() => {
                    let piece = buffer.split_to(buffer.len().min(self.left)).freeze();
                    if self.length != Length::ToTheEnd {
                        self.left -= piece.len();
                    }
                    if self.left == 0 {
                        self.state = if self.length == Length::Chunked { State::After } else { State::Done };
                    }
                    return Ok(Some(piece));
                }
                State::After if buffer.len() >= 2 => {
                    assert_eq!(&buffer[..2], b"\r\n", "a chunk without its line end");
                    buffer.advance(2);
                    self.state = State::Size;
                    continue;
                }
                State::Size | State::Trailers => {
                    if let Some(line) = take_line(buffer) {
                        self.line(&line);
                        continue;
                    }
                }
                _ => {}
            }
            match wire.read_buf(buffer).await {
                Ok(n) if n > 0 => {}
                Ok(_) if self.length == Length::ToTheEnd => self.state = State::Done,
                _ => return Err(Cut),
            }
        }
    }

    fn line(&mut self, line: &[u8]) {
        if matches!(self.state, State::Trailers) {
            if line.is_empty() {
                self.state = State::Done;
            }
            return;
        }
        let digits = std::str::from_utf8(line).unwrap().split(';').next().unwrap().trim().to_owned();
        self.left = usize::from_str_radix(&digits, 16).unwrap_or_else(|_| panic!("not a chunk size: {digits:?}"));
        self.state = if self.left == 0 { State::Trailers } else { State::Data };
    }
}

fn take_line(buffer: &mut BytesMut) -> Option<Bytes> {
    let end = buffer.windows(2).position(|w| w == b"\r\n")?;
    let line = buffer.split_to(end).freeze();
    buffer.advance(2);
    Some(line)
}

impl From<Cut> for io::Error {
    fn from(_: Cut) -> io::Error {
        io::ErrorKind::UnexpectedEof.into()
    }
}
