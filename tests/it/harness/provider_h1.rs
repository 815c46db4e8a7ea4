//! The stub provider's HTTP/1.1, by hand, so that it can misbehave at any byte.

use std::sync::Arc;

use bytes::{Bytes, BytesMut};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::time::{Instant, sleep};

use super::h1::{self, BodyReader, Length};
use super::provider::{Received, Shared};
use super::script::{Framing, Read, Step};
use super::wire::Wire;

pub(super) async fn serve(mut wire: Wire, connection: usize, shared: Arc<Shared>) {
    let mut buffer = BytesMut::new();
    loop {
        let Some(head) = h1::read_head(&mut wire, &mut buffer).await else { return };
        let (method, target, headers) = h1::parse_request(&head);
        let received = Received {
            connection,
            http2: false,
            sni: wire.sni(),
            method,
            target,
            headers,
            body: Bytes::new(),
            whole: false,
            head_at: Instant::now(),
            answered_at: None,
            done: false,
            left: false,
        };
        let length = Length::of_request(&received.headers);
        let expects = received.header("expect").is_some();
        let (number, script) = shared.begin(received);
        let mut request = Request { wire, buffer, length: Some(length), expects, number, shared: shared.clone() };
        let early = script.as_ref().is_some_and(|script| script.read == Read::Head);
        if !early && !request.read_body().await {
            return;
        }
        let script = script.unwrap_or_else(|| shared.decide(number));
        match request.run(script.steps).await {
            After::KeepAlive => {
                shared.note(number, |r| r.done = true);
                (wire, buffer) = (request.wire, request.buffer);
            }
            After::Closed => return shared.note(number, |r| r.done = true),
            After::Left => return shared.note(number, |r| r.left = true),
        }
    }
}

struct Request {
    wire: Wire,
    buffer: BytesMut,
    /// `None` once the body was read.
    length: Option<Length>,
    expects: bool,
    number: usize,
    shared: Arc<Shared>,
}

enum After {
    KeepAlive,
    Closed,
    Left,
}

impl Request {
    /// Whether the body came whole; notes what came of it either way.
    async fn read_body(&mut self) -> bool {
        let Some(length) = self.length.take() else { return true };
        if self.expects && self.wire.write_all(b"HTTP/1.1 100 Continue\r\n\r\n").await.is_err() {
            return false;
        }
        let mut reader = BodyReader::new(length);
        let mut body = BytesMut::new();
        let whole = loop {
            match reader.next(&mut self.wire, &mut self.buffer).await {
                Ok(Some(piece)) => body.extend_from_slice(&piece),
                Ok(None) => break true,
                Err(_) => break false,
            }
        };
        self.shared.note(self.number, |r| (r.body, r.whole, r.left) = (body.freeze(), whole, !whole));
        whole
    }

    async fn run(&mut self, steps: Vec<Step>) -> After {
        let mut framing = Framing::Empty;
        for step in steps {
            let written = match step {
                Step::Interim(status, headers) => self.write(&h1::response_head(status, &headers)).await,
                Step::Head(status, mut headers, how) => {
                    framing = how;
                    match how {
                        Framing::Length(length) => headers.push(("content-length".to_owned(), length.to_string())),
                        Framing::Chunked => headers.push(("transfer-encoding".to_owned(), "chunked".to_owned())),
                        Framing::Close => headers.push(("connection".to_owned(), "close".to_owned())),
                        Framing::Empty => {}
                    }
                    self.shared.note(self.number, |r| r.answered_at = Some(Instant::now()));
                    self.write(&h1::response_head(status, &headers)).await
                }
                Step::Body(piece) => match framing {
                    Framing::Chunked if !piece.is_empty() => self.write(&h1::chunk(&piece)).await,
                    _ => self.write(&piece).await,
                },
                Step::Raw(bytes) => self.write(&bytes).await,
                Step::Gate(gate) => self.unless_left(gate.pass()).await,
                Step::Pause(time) => self.unless_left(sleep(time)).await,
                Step::Silence => self.unless_left(std::future::pending()).await,
                Step::ReadBody => self.read_body().await,
                Step::End => {
                    let ended = framing != Framing::Chunked || self.write(b"0\r\n\r\n").await;
                    if framing == Framing::Close {
                        return self.close().await;
                    }
                    // What is left of a body that nobody read stands before the next request.
                    ended && self.read_body_quietly().await
                }
                Step::EndAndClose => {
                    if framing == Framing::Chunked && !self.write(b"0\r\n\r\n").await {
                        return After::Left;
                    }
                    return self.close().await;
                }
                Step::Reset | Step::StreamReset(_) => {
                    self.wire.will_reset();
                    return After::Closed;
                }
                Step::Close | Step::GoAway(_) => {
                    // Errors of a connection that the other side has closed already change nothing.
                    drop(self.wire.shutdown().await);
                    return After::Closed;
                }
            };
            if !written {
                return After::Left;
            }
        }
        After::KeepAlive
    }

    async fn write(&mut self, bytes: &[u8]) -> bool {
        self.wire.write_all(bytes).await.is_ok() && self.wire.flush().await.is_ok()
    }

    async fn read_body_quietly(&mut self) -> bool {
        self.expects = false;
        self.read_body().await
    }

    /// Ends our side, then reads until the other side has ended its own, so that no reset overtakes the answer.
    async fn close(&mut self) -> After {
        drop(self.wire.shutdown().await);
        let mut rest = [0; 16384];
        while matches!(self.wire.read(&mut rest).await, Ok(n) if n > 0) {}
        After::Closed
    }

    /// Waits for `event`; false if the other side leaves first.
    async fn unless_left(&mut self, event: impl Future<Output = ()>) -> bool {
        tokio::pin!(event);
        loop {
            let before = self.buffer.len();
            tokio::select! {
                biased;
                () = &mut event => return true,
                read = self.wire.read_buf(&mut self.buffer) => if !matches!(read, Ok(n) if n > 0) || self.buffer.len() == before {
                    return false;
                },
            }
        }
    }
}
