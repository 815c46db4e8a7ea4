//! The stub provider's HTTP/2.

use std::future::poll_fn;
use std::pin::Pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::task::{Context, Poll};

use bytes::{Bytes, BytesMut};
use h2::server::SendResponse;
use h2::{Reason, RecvStream, SendStream};
use http::{Request, Response};
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio::sync::mpsc::{UnboundedSender, unbounded_channel};
use tokio::time::{Instant, sleep};

use super::provider::{Received, Shared};
use super::script::{Framing, Read, Step};
use super::wire::Wire;

/// What a stream's script does to the whole connection.
enum Order {
    /// No new streams; the connection ends with the last one.
    Leave,
    Close,
    Reset,
    GoAway(Reason),
}

pub(super) async fn serve(wire: Wire, connection: usize, shared: Arc<Shared>) {
    let sni = wire.sni();
    let reset = Arc::new(AtomicBool::new(false));
    let wire = Resettable { wire, reset: reset.clone() };
    let mut builder = h2::server::Builder::new();
    builder.initial_window_size(1 << 20).initial_connection_window_size(1 << 24);
    let Ok(mut h2) = builder.handshake::<_, Bytes>(wire).await else { return };
    let (orders, mut ordered) = unbounded_channel();
    loop {
        tokio::select! {
            order = ordered.recv() => match order.unwrap() {
                Order::Leave => h2.graceful_shutdown(),
                Order::Close => return,
                Order::Reset => return reset.store(true, Ordering::SeqCst),
                Order::GoAway(reason) => h2.abrupt_shutdown(reason),
            },
            next = h2.accept() => match next {
                Some(Ok((request, respond))) => {
                    tokio::spawn(stream(request, respond, connection, sni.clone(), shared.clone(), orders.clone()));
                }
                _ => return,
            },
        }
    }
}

async fn stream(
    request: Request<RecvStream>,
    respond: SendResponse<Bytes>,
    connection: usize,
    sni: Option<String>,
    shared: Arc<Shared>,
    orders: UnboundedSender<Order>,
) {
    let (parts, body) = request.into_parts();
    let mut headers: Vec<(String, String)> =
        parts.headers.iter().map(|(n, v)| (n.to_string(), String::from_utf8_lossy(v.as_bytes()).into_owned())).collect();
    if let Some(authority) = parts.uri.authority() {
        headers.insert(0, (":authority".to_owned(), authority.to_string()));
    }
    let received = Received {
        connection,
        http2: true,
        sni,
        method: parts.method.to_string(),
        target: parts.uri.path_and_query().map(ToString::to_string).unwrap_or_default(),
        headers,
        body: Bytes::new(),
        whole: false,
        head_at: Instant::now(),
        answered_at: None,
        done: false,
        left: false,
    };
    let (number, script) = shared.begin(received);
    let mut stream = Stream { body: Some(body), respond, send: None, bodiless: false, number, shared: shared.clone(), orders };
    let early = script.as_ref().is_some_and(|script| script.read == Read::Head);
    if !early && !stream.read_body().await {
        return;
    }
    let script = script.unwrap_or_else(|| shared.decide(number));
    let done = stream.run(script.steps).await;
    shared.note(number, |r| (r.done, r.left) = (done, !done));
}

struct Stream {
    body: Option<RecvStream>,
    respond: SendResponse<Bytes>,
    send: Option<SendStream<Bytes>>,
    /// The head has ended the answer already.
    bodiless: bool,
    number: usize,
    shared: Arc<Shared>,
    orders: UnboundedSender<Order>,
}

impl Stream {
    async fn read_body(&mut self) -> bool {
        let Some(mut incoming) = self.body.take() else { return true };
        let mut body = BytesMut::new();
        let whole = loop {
            match incoming.data().await {
                None => break true,
                Some(Ok(piece)) => {
                    incoming.flow_control().release_capacity(piece.len()).unwrap();
                    body.extend_from_slice(&piece);
                }
                Some(Err(_)) => break false,
            }
        };
        self.shared.note(self.number, |r| (r.body, r.whole, r.left) = (body.freeze(), whole, !whole));
        whole
    }

    /// Whether the script came to its end before the other side left.
    async fn run(&mut self, steps: Vec<Step>) -> bool {
        for step in steps {
            let going_on = match step {
                Step::Interim(status, headers) => {
                    let head = head(status, &headers);
                    self.respond.send_informational(head).is_ok()
                }
                Step::Head(status, mut headers, framing) => {
                    if let Framing::Length(length) = framing {
                        headers.push(("content-length".to_owned(), length.to_string()));
                    }
                    self.bodiless = framing == Framing::Empty;
                    self.shared.note(self.number, |r| r.answered_at = Some(Instant::now()));
                    match self.respond.send_response(head(status, &headers), self.bodiless) {
                        Ok(send) => {
                            self.send = Some(send);
                            true
                        }
                        Err(_) => false,
                    }
                }
                Step::Body(piece) => self.write(piece).await,
                Step::Raw(_) => panic!("raw bytes are for HTTP/1.1"),
                Step::Gate(gate) => self.unless_left(gate.pass()).await,
                Step::Pause(time) => self.unless_left(sleep(time)).await,
                Step::Silence => self.unless_left(std::future::pending()).await,
                Step::ReadBody => self.read_body().await,
                Step::End | Step::EndAndClose => {
                    let close = matches!(step, Step::EndAndClose);
                    let ended =
                        self.bodiless || self.send.as_mut().is_some_and(|send| send.send_data(Bytes::new(), true).is_ok());
                    if close {
                        self.order(Order::Leave).await;
                    }
                    ended
                }
                Step::Reset => self.order(Order::Reset).await,
                Step::Close => self.order(Order::Close).await,
                Step::GoAway(reason) => self.order(Order::GoAway(reason)).await,
                Step::StreamReset(reason) => {
                    flushed().await;
                    match &mut self.send {
                        Some(send) => send.send_reset(reason),
                        None => self.respond.send_reset(reason),
                    }
                    true
                }
            };
            if !going_on {
                return false;
            }
        }
        true
    }

    async fn write(&mut self, mut piece: Bytes) -> bool {
        let Some(send) = &mut self.send else { return false };
        while !piece.is_empty() {
            send.reserve_capacity(piece.len());
            match poll_fn(|cx| send.poll_capacity(cx)).await {
                Some(Ok(capacity)) => {
                    let now = piece.split_to(capacity.min(piece.len()));
                    if send.send_data(now, false).is_err() {
                        return false;
                    }
                }
                _ => return false,
            }
        }
        true
    }

    async fn order(&mut self, order: Order) -> bool {
        flushed().await;
        self.orders.send(order).is_ok()
    }

    async fn unless_left(&mut self, event: impl Future<Output = ()>) -> bool {
        let left = poll_fn(|cx| match &mut self.send {
            Some(send) => send.poll_reset(cx).map(drop),
            None => self.respond.poll_reset(cx).map(drop),
        });
        tokio::select! {
            biased;
            () = event => true,
            () = left => false,
        }
    }
}

/// Lets the connection's task write out what was handed to it: one thread runs both, in turn.
async fn flushed() {
    for _ in 0..50 {
        tokio::task::yield_now().await;
    }
}

fn head(status: u16, headers: &[(String, String)]) -> Response<()> {
    let mut response = Response::builder().status(status);
    for (name, value) in headers {
        response = response.header(name, value);
    }
    response.body(()).unwrap()
}

/// A connection that is reset instead of closed when it was told so.
struct Resettable {
    wire: Wire,
    reset: Arc<AtomicBool>,
}

impl Drop for Resettable {
    fn drop(&mut self) {
        if self.reset.load(Ordering::SeqCst) {
            self.wire.will_reset();
        }
    }
}

impl AsyncRead for Resettable {
    fn poll_read(self: Pin<&mut Self>, cx: &mut Context<'_>, buffer: &mut ReadBuf<'_>) -> Poll<std::io::Result<()>> {
        Pin::new(&mut self.get_mut().wire).poll_read(cx, buffer)
    }
}

impl AsyncWrite for Resettable {
    fn poll_write(self: Pin<&mut Self>, cx: &mut Context<'_>, bytes: &[u8]) -> Poll<std::io::Result<usize>> {
        Pin::new(&mut self.get_mut().wire).poll_write(cx, bytes)
    }
    fn poll_flush(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<std::io::Result<()>> {
        Pin::new(&mut self.get_mut().wire).poll_flush(cx)
    }
    fn poll_shutdown(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<std::io::Result<()>> {
        Pin::new(&mut self.get_mut().wire).poll_shutdown(cx)
    }
}
