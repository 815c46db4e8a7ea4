//! Clients under exact control: HTTP/1.1 by hand, and HTTP/2 by the `h2` crate.

use std::fmt;
use std::net::SocketAddr;

use bytes::{Bytes, BytesMut};
use serde_json::Value;
use tokio::io::{AsyncWriteExt, ReadHalf, WriteHalf, split};

use super::h1::{self, BodyReader, Cut, Headers, Length};
use super::wait::within;
use super::wire::Wire;

#[derive(Clone, Debug)]
pub struct Request {
    pub method: String,
    pub target: String,
    pub headers: Headers,
    pub body: Bytes,
    /// HTTP/1.1: the size of the chunks instead of a content-length. HTTP/2: no content-length is told.
    pub chunked: Option<usize>,
}

impl Request {
    pub fn new(method: &str, target: &str) -> Request {
        Request { method: method.to_owned(), target: target.to_owned(), headers: Vec::new(), body: Bytes::new(), chunked: None }
    }
    pub fn get(target: &str) -> Request {
        Request::new("GET", target)
    }
    /// With a JSON body.
    pub fn post(target: &str, body: impl Into<Bytes>) -> Request {
        let mut request = Request::new("POST", target).header("content-type", "application/json");
        request.body = body.into();
        request
    }
    pub fn key(self, key: &str) -> Request {
        self.header("authorization", &format!("Bearer {key}"))
    }
    /// Adds a header.
    pub fn header(mut self, name: &str, value: &str) -> Request {
        self.headers.push((name.to_owned(), value.to_owned()));
        self
    }
    /// Takes a header out.
    pub fn without(mut self, name: &str) -> Request {
        self.headers.retain(|(n, _)| !n.eq_ignore_ascii_case(name));
        self
    }
    pub fn chunked(mut self, size: usize) -> Request {
        self.chunked = Some(size);
        self
    }
    /// The head as HTTP/1.1 bytes, `host` and the body's length included.
    pub fn head(&self, host: &str) -> Vec<u8> {
        let mut head = format!("{} {} HTTP/1.1\r\n", self.method, self.target);
        if !self.headers.iter().any(|(n, _)| n.eq_ignore_ascii_case("host")) {
            head += &format!("host: {host}\r\n");
        }
        for (name, value) in &self.headers {
            head += &format!("{name}: {value}\r\n");
        }
        match self.chunked {
            Some(_) => head += "transfer-encoding: chunked\r\n",
            None if !self.body.is_empty() || self.method == "POST" => head += &format!("content-length: {}\r\n", self.body.len()),
            None => {}
        }
        (head + "\r\n").into_bytes()
    }
}

/// A whole answer.
#[derive(Clone)]
pub struct Answer {
    pub status: u16,
    pub headers: Headers,
    pub body: Bytes,
    /// The body came to its proper end.
    pub whole: bool,
    /// 1xx answers before it.
    pub interim: Vec<u16>,
}

impl Answer {
    pub fn header(&self, name: &str) -> Option<&str> {
        header(&self.headers, name)
    }
    pub fn text(&self) -> String {
        String::from_utf8_lossy(&self.body).into_owned()
    }
    pub fn json(&self) -> Value {
        serde_json::from_slice(&self.body).unwrap_or_else(|e| panic!("no JSON ({e}): {self:?}"))
    }
    /// Our id of the request.
    pub fn id(&self) -> &str {
        self.header("x-request-id").unwrap_or_else(|| panic!("no x-request-id: {self:?}"))
    }
    /// The code of a refusal.
    pub fn code(&self) -> Option<&str> {
        self.header("x-aicarpool-error")
    }
    pub fn expect(self, status: u16) -> Answer {
        assert_eq!(self.status, status, "{self:?}");
        self
    }
    /// That this is a refusal by the gateway with this status and code.
    pub fn refused(self, status: u16, code: &str) -> Answer {
        assert_eq!((self.status, self.code()), (status, Some(code)), "{self:?}");
        assert!(self.whole && self.header("x-request-id").is_some(), "{self:?}");
        self
    }
}

impl fmt::Debug for Answer {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        writeln!(f, "{}{}", self.status, if self.whole { "" } else { " (cut)" })?;
        for (name, value) in &self.headers {
            writeln!(f, "  {name}: {value}")?;
        }
        let text = self.text();
        let shown: String = text.chars().take(1500).collect();
        write!(f, "\n{shown}{}", if shown.len() < text.len() { format!("… ({} bytes)", self.body.len()) } else { String::new() })
    }
}

pub fn header<'a>(headers: &'a Headers, name: &str) -> Option<&'a str> {
    headers.iter().find(|(n, _)| n.eq_ignore_ascii_case(name)).map(|(_, v)| v.as_str())
}

/// One HTTP/1.1 connection.
pub struct Client {
    reader: ReadHalf<Wire>,
    writer: WriteHalf<Wire>,
    host: String,
    buffer: BytesMut,
    method: String,
    body: BodyReader,
    events: Events,
}

impl Client {
    pub async fn connect(address: SocketAddr) -> Client {
        Client::over(within("a connection", Wire::connect(address)).await.unwrap(), address)
    }
    pub fn over(wire: Wire, address: SocketAddr) -> Client {
        let (reader, writer) = split(wire);
        Client {
            reader,
            writer,
            host: address.to_string(),
            buffer: BytesMut::new(),
            method: String::new(),
            body: BodyReader::new(Length::Known(0)),
            events: Events::default(),
        }
    }

    /// Sends a request and reads the whole answer, both at once, so that an early answer is seen.
    pub async fn ask(&mut self, request: &Request) -> Answer {
        let answer = self.try_ask(request).await;
        answer.unwrap_or_else(|| panic!("no answer to {} {}: the connection ended", request.method, request.target))
    }
    /// The same; `None` when the connection ends before the first byte of an answer.
    pub async fn try_ask(&mut self, request: &Request) -> Option<Answer> {
        self.method = request.method.clone();
        let bytes = wire_form(request, &self.host);
        let reading = async {
            let (status, headers, interim) = read_head(&mut self.reader, &mut self.buffer).await?;
            let mut reader = BodyReader::new(Length::of_answer(&request.method, status, &headers));
            let mut body = BytesMut::new();
            let whole = loop {
                match reader.next(&mut self.reader, &mut self.buffer).await {
                    Ok(Some(piece)) => body.extend_from_slice(&piece),
                    Ok(None) => break true,
                    Err(Cut) => break false,
                }
            };
            Some(Answer { status, headers, body: body.freeze(), whole, interim })
        };
        let writing = async {
            for piece in bytes {
                if self.writer.write_all(&piece).await.is_err() {
                    return;
                }
            }
            // A connection that is closed by now shows itself in what is read.
            drop(self.writer.flush().await);
        };
        tokio::pin!(reading, writing);
        let what = format!("the answer to {} {}", request.method, request.target);
        let answer = within(&what, async {
            tokio::select! {
                answer = &mut reading => answer,
                () = &mut writing => reading.await,
            }
        });
        answer.await
    }

    /// Sends a request as it is.
    pub async fn send(&mut self, request: &Request) {
        self.method = request.method.clone();
        for piece in wire_form(request, &self.host) {
            within("writing a request", self.writer.write_all(&piece)).await.unwrap();
        }
        within("writing a request", self.writer.flush()).await.unwrap();
    }
    /// Sends only the head of a request; the body is up to the test.
    pub async fn send_head(&mut self, request: &Request) {
        self.method = request.method.clone();
        self.send_bytes(&request.head(&self.host)).await;
    }
    pub async fn send_bytes(&mut self, bytes: &[u8]) {
        within("writing", async {
            self.writer.write_all(bytes).await.unwrap();
            self.writer.flush().await.unwrap();
        })
        .await;
    }
    /// Like `send_bytes`, but tells whether the other side still took them.
    pub async fn try_send(&mut self, bytes: &[u8]) -> bool {
        within("writing", async { self.writer.write_all(bytes).await.is_ok() && self.writer.flush().await.is_ok() }).await
    }
    /// The next head, of an interim answer too.
    pub async fn any_head(&mut self) -> Option<(u16, Headers)> {
        let head = within("an answer's head", h1::read_head(&mut self.reader, &mut self.buffer)).await?;
        Some(h1::parse_status(&head))
    }
    /// The head of the answer; what comes then is read by `piece`, `event` or `rest`.
    pub async fn head(&mut self) -> Answer {
        let (status, headers, interim) = within("an answer's head", read_head(&mut self.reader, &mut self.buffer))
            .await
            .expect("the connection ended before an answer");
        self.body = BodyReader::new(Length::of_answer(&self.method, status, &headers));
        self.events = Events::default();
        Answer { status, headers, body: Bytes::new(), whole: false, interim }
    }
    /// `send` and `head`.
    pub async fn open(&mut self, request: &Request) -> Answer {
        self.send(request).await;
        self.head().await
    }
    /// The next piece of the body, `None` at its proper end.
    pub async fn piece(&mut self) -> Result<Option<Bytes>, Cut> {
        within("a piece of the answer", self.body.next(&mut self.reader, &mut self.buffer)).await
    }
    /// The next event of a stream with its blank line, `None` at the proper end of the body.
    pub async fn event(&mut self) -> Result<Option<String>, Cut> {
        loop {
            if let Some(event) = self.events.next() {
                return Ok(Some(event));
            }
            match self.piece().await? {
                Some(piece) => self.events.feed(&piece),
                None => return Ok(self.events.rest()),
            }
        }
    }
    /// What is left of the body, and whether it came to its proper end.
    pub async fn rest(&mut self) -> (String, bool) {
        let mut rest = self.events.rest().unwrap_or_default();
        loop {
            match self.piece().await {
                Ok(Some(piece)) => rest.push_str(&String::from_utf8_lossy(&piece)),
                Ok(None) => return (rest, true),
                Err(Cut) => return (rest, false),
            }
        }
    }
    /// Whether the other side closes the connection (waits for it).
    pub async fn is_closed(&mut self) -> bool {
        self.any_head().await.is_none()
    }
    /// Says that nothing more will be sent.
    pub async fn half_close(&mut self) {
        self.writer.shutdown().await.unwrap();
    }
    /// Leaves with a reset.
    pub fn reset(self) {
        self.reader.unsplit(self.writer).will_reset();
    }
}

async fn read_head(reader: &mut ReadHalf<Wire>, buffer: &mut BytesMut) -> Option<(u16, Headers, Vec<u16>)> {
    let mut interim = Vec::new();
    loop {
        let (status, headers) = h1::parse_status(&h1::read_head(reader, buffer).await?);
        if status >= 200 {
            return Some((status, headers, interim));
        }
        interim.push(status);
    }
}

fn wire_form(request: &Request, host: &str) -> Vec<Bytes> {
    let mut pieces = vec![Bytes::from(request.head(host))];
    match request.chunked {
        Some(size) => {
            pieces.extend(request.body.chunks(size).map(|piece| Bytes::from(h1::chunk(piece))));
            pieces.push(Bytes::from_static(b"0\r\n\r\n"));
        }
        None => pieces.push(request.body.clone()),
    }
    pieces
}

/// Cuts a stream into its events, bytes unaltered.
#[derive(Default)]
pub struct Events(BytesMut);

impl Events {
    pub fn feed(&mut self, piece: &[u8]) {
        self.0.extend_from_slice(piece);
    }
    /// The next event that is there with its blank line (LF or CRLF).
    pub fn next(&mut self) -> Option<String> {
        let ends = [(&b"\n\n"[..], 2), (&b"\r\n\r\n"[..], 4)];
        let end =
            ends.iter().filter_map(|(end, size)| self.0.windows(*size).position(|w| w == *end).map(|at| at + size)).min()?;
        Some(String::from_utf8_lossy(&self.0.split_to(end)).into_owned())
    }
    pub fn rest(&mut self) -> Option<String> {
        (!self.0.is_empty()).then(|| String::from_utf8_lossy(&self.0.split()).into_owned())
    }
}

/// One HTTP/2 connection, without TLS unless `over` says otherwise.
pub struct H2Client {
    send: h2::client::SendRequest<Bytes>,
    host: String,
    scheme: &'static str,
    connection: tokio::task::JoinHandle<Result<(), h2::Error>>,
}

impl Drop for H2Client {
    fn drop(&mut self) {
        self.connection.abort();
    }
}

impl H2Client {
    pub async fn connect(address: SocketAddr) -> H2Client {
        H2Client::over(Wire::connect(address).await.unwrap(), address).await
    }
    pub async fn over(wire: Wire, address: SocketAddr) -> H2Client {
        let scheme = if matches!(wire, Wire::Tls(_)) { "https" } else { "http" };
        let mut builder = h2::client::Builder::new();
        builder.initial_window_size(1 << 20).initial_connection_window_size(1 << 24);
        let (send, connection) = within("the h2 handshake", builder.handshake(wire)).await.unwrap();
        H2Client { send, host: address.to_string(), scheme, connection: tokio::spawn(connection) }
    }
    /// Ends when the connection has ended; tells how.
    pub async fn ended(mut self) -> Result<(), h2::Error> {
        within("the end of the h2 connection", &mut self.connection).await.unwrap()
    }

    /// Sends a request and hands out the stream of its answer.
    pub async fn open(&self, request: &Request) -> Result<H2Stream, h2::Error> {
        let uri = format!("{}://{}{}", self.scheme, self.host, request.target);
        let mut head = http::Request::builder().method(request.method.as_str()).uri(uri).version(http::Version::HTTP_2);
        for (name, value) in &request.headers {
            head = head.header(name.to_ascii_lowercase(), value);
        }
        if request.chunked.is_none() && !request.body.is_empty() {
            head = head.header("content-length", request.body.len());
        }
        let bodiless = request.body.is_empty() && request.chunked.is_none();
        let mut ready = within("an h2 stream", self.send.clone().ready()).await?;
        let (mut answer, stream) = ready.send_request(head.body(()).unwrap(), bodiless)?;
        let sending = send_body(stream, request.body.clone(), request.chunked.unwrap_or(1 << 20), bodiless);
        tokio::pin!(sending);
        let head = within(format!("the answer to {}", request.target), async {
            tokio::select! {
                biased;
                head = &mut answer => head,
                () = &mut sending => answer.await,
            }
        });
        let (parts, body) = head.await?.into_parts();
        let headers =
            parts.headers.iter().map(|(n, v)| (n.to_string(), String::from_utf8_lossy(v.as_bytes()).into_owned())).collect();
        Ok(H2Stream { status: parts.status.as_u16(), headers, body, events: Events::default() })
    }
    pub async fn ask(&self, request: &Request) -> Answer {
        match self.open(request).await {
            Ok(stream) => stream.answer().await,
            Err(e) => panic!("no answer to {} {}: {e}", request.method, request.target),
        }
    }
}

async fn send_body(mut stream: h2::SendStream<Bytes>, mut body: Bytes, size: usize, bodiless: bool) {
    if bodiless {
        return;
    }
    while !body.is_empty() {
        stream.reserve_capacity(body.len().min(size));
        let Some(Ok(capacity)) = std::future::poll_fn(|cx| stream.poll_capacity(cx)).await else { return };
        if stream.send_data(body.split_to(capacity.min(body.len())), false).is_err() {
            return;
        }
    }
    // A stream that was reset shows itself in the answer.
    drop(stream.send_data(Bytes::new(), true));
}

/// The answer on one HTTP/2 stream. Dropping it resets the stream.
pub struct H2Stream {
    pub status: u16,
    pub headers: Headers,
    body: h2::RecvStream,
    events: Events,
}

impl H2Stream {
    pub async fn piece(&mut self) -> Result<Option<Bytes>, h2::Error> {
        match within("a piece of the answer", self.body.data()).await {
            Some(Ok(piece)) => {
                self.body.flow_control().release_capacity(piece.len())?;
                Ok(Some(piece))
            }
            Some(Err(e)) => Err(e),
            None => Ok(None),
        }
    }
    pub async fn event(&mut self) -> Result<Option<String>, h2::Error> {
        loop {
            if let Some(event) = self.events.next() {
                return Ok(Some(event));
            }
            match self.piece().await? {
                Some(piece) => self.events.feed(&piece),
                None => return Ok(self.events.rest()),
            }
        }
    }
    pub async fn answer(mut self) -> Answer {
        let mut body = BytesMut::new();
        let whole = loop {
            match self.piece().await {
                Ok(Some(piece)) => body.extend_from_slice(&piece),
                Ok(None) => break true,
                Err(_) => break false,
            }
        };
        Answer { status: self.status, headers: self.headers, body: body.freeze(), whole, interim: Vec::new() }
    }
}

/// How a client speaks: the forms in which one request can come.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Form {
    H1Length,
    H1Chunked,
    H2Length,
    H2NoLength,
}

impl Form {
    pub const ALL: [Form; 4] = [Form::H1Length, Form::H1Chunked, Form::H2Length, Form::H2NoLength];
    /// Asks on a new connection.
    pub async fn ask(self, address: SocketAddr, request: &Request) -> Answer {
        let chunked = request.clone().chunked(16_000);
        match self {
            Form::H1Length => Client::connect(address).await.ask(request).await,
            Form::H1Chunked => Client::connect(address).await.ask(&chunked).await,
            Form::H2Length => H2Client::connect(address).await.ask(request).await,
            Form::H2NoLength => H2Client::connect(address).await.ask(&chunked).await,
        }
    }
}
