//! The client's side of a request in flight: a session of our own around Pingora's.
//!
//! Pingora's loop is given this in place of the client's session (pingora.md 2.2), so that
//! - every attempt sends the whole body again, at any size;
//! - the answer's header is held back until it is known whether the client shall see this answer: until the first event of a stream
//!   that means something, the whole of an error, the first 4 KiB of a JSON answer;
//! - a write that was begun is never cut: the loop drops the future of `read_body_or_idle` whenever something else happens, so a
//!   write that begins there (held events when their time is over, a heartbeat) is a future that this session owns and finishes
//!   first, whatever comes;
//! - the answer can be read to its end after the client left;
//! - all times are watched: first byte, start of the stream, silence, the whole.
//!
//! Pingora hides the trait from its documentation: its version is pinned, and only this file knows it.

use std::future::{Future, poll_fn};
use std::pin::Pin;
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::task::Poll;
use std::time::{Duration, Instant};

use async_trait::async_trait;
use bytes::Bytes;
use http::HeaderMap;
use parking_lot::Mutex;
use pingora::http::{RequestHeader, ResponseHeader};
use pingora::protocols::Digest;
use pingora::protocols::http::HttpTask;
use pingora::protocols::http::custom::CustomMessageWrite;
use pingora::protocols::http::custom::server::Session as CustomSession;
use pingora::protocols::http::server::Session as HttpSession;
use pingora::protocols::l4::socket::SocketAddr;
use pingora::{Error, ErrorType, Result};
use tokio::time::Sleep;

use super::shared::Shared;
use super::trial::{Held, Hold, Next};
use crate::clock;
use crate::dialect::{First, FirstEvent};
use crate::running::Ending;
use crate::upstream::verdict::Transport;

/// The answer was judged and another attempt follows.
pub(crate) const AGAIN: ErrorType = ErrorType::new("NextAttempt");
/// No header, or no meaningful first event, in time.
pub(crate) const FIRST_BYTE_TIMEOUT: ErrorType = ErrorType::new("FirstByteTimeout");
/// Silence in mid-answer.
pub(crate) const IDLE_TIMEOUT: ErrorType = ErrorType::new("IdleTimeout");
/// The request took longer than `total_timeout`.
pub(crate) const TOTAL_TIMEOUT: ErrorType = ErrorType::new("TotalTimeout");
/// The key, user or group is gone, or the process ends.
pub(crate) const ENDED: ErrorType = ErrorType::new("Ended");
/// The client left, and what `on_disconnect` allows is over.
pub(crate) const CLIENT_LEFT: ErrorType = ErrorType::new("ClientLeft");

/// Events are held back at most this long after the answer's header came.
const HOLD_MOST: Duration = Duration::from_secs(2);
/// Events held back at most, in bytes; beyond, the stream is taken as begun.
const HOLD_BYTES_MOST: usize = 64 * 1024;
/// Of an answer from 400 on so much is read before it is judged.
const ERROR_BYTES_MOST: usize = 64 * 1024;
/// Of a JSON answer so much is read before it passes.
const JSON_BYTES_MOST: usize = 4 * 1024;

pub(super) type Writing = Pin<Box<dyn Future<Output = (Box<HttpSession>, Result<bool>)> + Send>>;

pub(crate) struct Downstream {
    /// The client's session; away while `writing` has it.
    inner: Option<Box<HttpSession>>,
    /// A write under way, begun where it could have been cut. (The mutex makes it `Sync`; it is never locked.)
    writing: Mutex<Option<Writing>>,
    /// A copy of the request's header for the time of such a write.
    request: Option<Box<RequestHeader>>,
    shared: Arc<Shared>,
    state: State,
    timer: Pin<Box<Sleep>>,
    /// When `timer` fires.
    armed: Instant,
    /// When this attempt began.
    began: Instant,
    /// When the last bytes came from the provider.
    heard: Instant,
    /// When the last heartbeat went to the client.
    said: Instant,
    /// The last four bytes of the body that were sent: whether an event has just ended.
    tail: [u8; 4],
    /// Whether the loop has taken this attempt's body. It takes it as if it came from the client just now: then a provider that
    /// answers before it has read the body, and resets the rest, is heard all the same (over HTTP/2 a retry buffer's is not).
    body_given: bool,
    /// Whether any part of a final answer went to the client.
    begun: bool,
}

enum State {
    /// No header yet.
    Waiting,
    Holding(Box<Holding>),
    /// Everything goes on as it comes.
    Passing {
        stream: bool,
    },
    /// The answer was written by us: what the provider still says is dropped.
    Answered,
    /// The client left: what comes is read for its figures only.
    Left {
        at: Instant,
    },
}

struct Holding {
    tasks: Vec<HttpTask>,
    body: Vec<u8>,
    hold: Hold,
    first: Option<FirstEvent>,
    since: Instant,
}

impl Downstream {
    pub(crate) fn wrap(inner: Box<HttpSession>, shared: Arc<Shared>) -> Downstream {
        let now = clock::steady();
        let first = now + Duration::from_secs(86_400);
        Downstream {
            inner: Some(inner),
            writing: Mutex::new(None),
            request: None,
            shared,
            state: State::Waiting,
            timer: Box::pin(tokio::time::sleep_until(first.into())),
            armed: first,
            began: now,
            heard: now,
            said: now,
            tail: [0; 4],
            body_given: false,
            begun: false,
        }
    }

    /// The session, where no write has it. The loop never asks for it while one does: each entry finishes the write first.
    fn session(&self) -> &HttpSession {
        self.inner.as_deref().expect("the session is here while no write is under way")
    }

    fn session_mut(&mut self) -> &mut HttpSession {
        self.inner.as_deref_mut().expect("the session is here while no write is under way")
    }

    /// When something has to happen, if nothing else does.
    fn deadline(&self) -> Instant {
        let limits = self.shared.limits();
        let total = self.shared.arrived + limits.total;
        match &self.state {
            State::Waiting => total.min(self.began + limits.first_byte + limits.upload),
            State::Holding(holding) => match holding.hold {
                Hold::Events | Hold::Json => total.min(holding.since + HOLD_MOST),
                Hold::Error => total.min(self.heard + limits.idle),
            },
            State::Passing { stream } => {
                let idle = total.min(self.heard + limits.idle);
                match limits.heartbeat.filter(|_| *stream) {
                    Some(every) => idle.min(self.said.max(self.heard) + every),
                    None => idle,
                }
            }
            State::Answered => total,
            State::Left { at } => total.min(*at + limits.after_left),
        }
    }

    /// Sets the timer where it would fire too late; one that fires early is set anew then.
    fn arm(&mut self) {
        let deadline = self.deadline();
        if deadline < self.armed {
            self.armed = deadline;
            self.timer.as_mut().reset(deadline.into());
        }
    }

    /// The timer fired: what now? `Err` ends the attempt.
    fn on_time(&mut self) -> Result<()> {
        let now = clock::steady();
        let deadline = self.deadline();
        self.armed = deadline.max(now);
        if deadline > now {
            self.timer.as_mut().reset(deadline.into());
            return Ok(());
        }
        let limits = self.shared.limits();
        if now >= self.shared.arrived + limits.total {
            return Err(ours(TOTAL_TIMEOUT));
        }
        match &mut self.state {
            State::Waiting => Err(ours(FIRST_BYTE_TIMEOUT)),
            State::Holding(holding) if holding.hold != Hold::Error => {
                let held = std::mem::take(&mut holding.tasks);
                let stream = holding.hold == Hold::Events;
                self.shared.held(now.saturating_duration_since(holding.since));
                self.shared.trial.lock().accept(now);
                self.state = State::Passing { stream };
                self.begin_write(held);
                Ok(())
            }
            State::Holding(_) => Err(ours(IDLE_TIMEOUT)),
            State::Passing { stream } => {
                if now >= self.heard + limits.idle {
                    return Err(ours(IDLE_TIMEOUT));
                }
                if *stream
                    && self.at_boundary()
                    && let Some(bytes) = self.shared.heartbeat()
                {
                    self.begin_write(vec![HttpTask::Body(Some(Bytes::from_static(bytes)), false)]);
                }
                self.said = now;
                Ok(())
            }
            State::Answered => Ok(()),
            State::Left { .. } => Err(ours(CLIENT_LEFT)),
        }
    }

    /// Whether the client has seen whole events only.
    fn at_boundary(&self) -> bool {
        self.tail.ends_with(b"\n\n") || self.tail == *b"\r\n\r\n"
    }

    /// Begins a write that outlives the future in which it begins.
    fn begin_write(&mut self, tasks: Vec<HttpTask>) {
        self.note_sent(&tasks);
        if let Some(mut inner) = self.inner.take() {
            self.request = Some(Box::new(inner.req_header().clone()));
            *self.writing.get_mut() = Some(Box::pin(async move {
                let result = inner.response_duplex_vec(tasks).await;
                (inner, result)
            }));
        }
    }

    /// Finishes a write under way. Safe to drop: the write stays and is finished by the next call.
    async fn finish_write(&mut self) -> Result<()> {
        if self.writing.get_mut().is_none() {
            return Ok(());
        }
        let writing = self.writing.get_mut();
        let (inner, result) = poll_fn(|context| match writing {
            Some(future) => future.as_mut().poll(context),
            None => Poll::Pending,
        })
        .await;
        *writing = None;
        self.inner = Some(inner);
        self.shared.first_byte_sent();
        if result.is_err() {
            self.shared.note_write_failed();
        }
        result.map(|_| ())
    }

    fn note_sent(&mut self, tasks: &[HttpTask]) {
        for task in tasks {
            match task {
                HttpTask::Header(header, _) => self.begun |= !header.status.is_informational(),
                HttpTask::Body(Some(bytes), _) => {
                    let last = &bytes[bytes.len().saturating_sub(4)..];
                    self.tail.rotate_left(last.len());
                    self.tail[4 - last.len()..].copy_from_slice(last);
                }
                HttpTask::Body(None, _)
                | HttpTask::UpgradedBody(..)
                | HttpTask::Trailer(_)
                | HttpTask::Done
                | HttpTask::Failed(_) => {}
            }
        }
        if self.begun {
            self.shared.begun.store(true, Ordering::Relaxed);
        }
    }

    /// Hands tasks to the client; a client that left turns into `Left` or an end, as `on_disconnect` says.
    async fn forward(&mut self, tasks: Vec<HttpTask>) -> Result<bool> {
        self.note_sent(&tasks);
        let end = tasks.iter().any(HttpTask::is_end);
        if self.shared.draining() {
            self.session_mut().set_keepalive(None);
        }
        match self.session_mut().response_duplex_vec(tasks).await {
            Ok(done) => {
                self.shared.first_byte_sent();
                Ok(done)
            }
            Err(error) if *error.esource() == pingora::ErrorSource::Downstream => {
                self.shared.note_write_failed();
                self.client_left()?;
                Ok(end)
            }
            Err(error) => Err(error),
        }
    }

    /// The client is gone: read on for the figures, or end.
    fn client_left(&mut self) -> Result<()> {
        let now = clock::steady();
        self.shared.client_left();
        if self.shared.limits().after_left.is_zero() || matches!(self.state, State::Answered) {
            return Err(ours(CLIENT_LEFT));
        }
        self.state = State::Left { at: now };
        self.arm();
        Ok(())
    }

    /// The first task of an attempt's answer decides how much is held back before it is judged.
    async fn start(&mut self, mut tasks: Vec<HttpTask>) -> Result<bool> {
        while let Some(HttpTask::Header(header, _)) = tasks.first() {
            if header.status.is_informational() && header.status.as_u16() != 101 {
                // An interim answer (100, 103) may tell of an account that another attempt replaces: none goes on.
                tasks.remove(0);
                continue;
            }
            if header.status.as_u16() == 101 {
                return Err(Error::explain(ErrorType::InvalidHTTPHeader, "the provider switches protocols unasked").into_up());
            }
            let hold = self.shared.trial.lock().hold(header);
            return match hold {
                None => {
                    let stream = self.shared.trial.lock().is_stream();
                    self.shared.trial.lock().accept(self.heard);
                    self.state = State::Passing { stream };
                    self.arm();
                    self.forward(tasks).await
                }
                Some(hold) => {
                    let first = (hold == Hold::Events).then(|| self.shared.trial.lock().first_event());
                    self.state = State::Holding(Box::new(Holding {
                        tasks: Vec::with_capacity(tasks.len()),
                        body: Vec::new(),
                        hold,
                        first,
                        since: self.heard,
                    }));
                    self.arm();
                    self.hold(tasks).await
                }
            };
        }
        match tasks.pop() {
            Some(HttpTask::Failed(error)) => Err(error),
            Some(other) if other.is_end() => Ok(true),
            Some(_) | None => Ok(false),
        }
    }

    /// Takes more of a held answer, and judges it as soon as enough of it is there.
    async fn hold(&mut self, tasks: Vec<HttpTask>) -> Result<bool> {
        let State::Holding(holding) = &mut self.state else { return Ok(false) };
        let mut verdict = None;
        let mut tasks = tasks.into_iter();
        for task in tasks.by_ref() {
            if let HttpTask::Failed(error) = task {
                return self.broke_while_held(error).await;
            }
            let end = task.is_end();
            if let HttpTask::Body(Some(bytes), _) = &task {
                verdict = holding.take(bytes);
            }
            holding.tasks.push(task);
            if verdict.is_none() && end {
                verdict = Some(holding.end());
            }
            if verdict.is_some() {
                break;
            }
        }
        let Some(held) = verdict else { return Ok(false) };
        let since = holding.since;
        let mut all = std::mem::take(&mut holding.tasks);
        all.extend(tasks);
        let header = all.iter().find_map(|task| match task {
            HttpTask::Header(header, _) => Some(header.clone()),
            _ => None,
        });
        let stream = holding.hold == Hold::Events;
        self.shared.held(self.heard.saturating_duration_since(since));
        let next = match header {
            Some(header) => self.shared.trial.lock().judge(&header, held, &holding.body, self.heard),
            None => Next::Pass,
        };
        match next {
            Next::Pass => {
                self.state = State::Passing { stream };
                self.arm();
                self.forward(all).await
            }
            Next::Again => {
                self.state = State::Waiting;
                Err(ours(AGAIN))
            }
            Next::Answer(answer) => {
                self.state = State::Answered;
                self.shared.answered_by_us();
                let (header, body) = answer.into_parts();
                self.forward(vec![HttpTask::Header(header, false), HttpTask::Body(Some(body), true)]).await?;
                Ok(true)
            }
        }
    }
}

impl Downstream {
    /// The answer broke off while it was held: another attempt, or, where none is left, what came of it.
    async fn broke_while_held(&mut self, error: Box<Error>) -> Result<bool> {
        let State::Holding(holding) = &mut self.state else { return Err(error) };
        if holding.hold == Hold::Error || holding.held_bytes() == 0 {
            return Err(error);
        }
        let stream = holding.hold == Hold::Events;
        let held = std::mem::take(&mut holding.tasks);
        if self.shared.trial.lock().failed(Transport::Broken) {
            self.state = State::Waiting;
            return Err(ours(AGAIN));
        }
        self.state = State::Passing { stream };
        self.forward(held).await?;
        Err(error)
    }
}

impl Holding {
    /// More of the body; `Some` as soon as it can be judged.
    fn take(&mut self, bytes: &[u8]) -> Option<Held> {
        match self.hold {
            Hold::Events => {
                let first = self.first.as_mut()?;
                match first.feed(bytes) {
                    First::More if self.held_bytes() > HOLD_BYTES_MOST => Some(Held::Begun),
                    First::More => None,
                    First::Meaningful => Some(Held::Begun),
                    First::Error(failure) => Some(Held::ErrorEvent(failure)),
                    First::Empty => Some(Held::Empty),
                }
            }
            Hold::Error | Hold::Json => {
                let most = if self.hold == Hold::Error { ERROR_BYTES_MOST } else { JSON_BYTES_MOST };
                let room = most - self.body.len().min(most);
                self.body.extend_from_slice(&bytes[..bytes.len().min(room)]);
                (self.body.len() >= most).then_some(Held::Whole)
            }
        }
    }

    /// The answer ended while it was held.
    fn end(&mut self) -> Held {
        match &mut self.first {
            Some(first) => match first.end() {
                First::Meaningful => Held::Short,
                First::Error(failure) => Held::ErrorEvent(failure),
                First::More | First::Empty => Held::Empty,
            },
            None => Held::Whole,
        }
    }

    fn held_bytes(&self) -> usize {
        self.tasks
            .iter()
            .map(|task| match task {
                HttpTask::Body(Some(bytes), _) => bytes.len(),
                _ => 0,
            })
            .sum()
    }
}

/// An error of our own making; `error_while_proxy` tells it by its type.
fn ours(kind: ErrorType) -> Box<Error> {
    Error::new_in(kind)
}

impl Drop for Downstream {
    fn drop(&mut self) {
        if self.begun {
            self.shared.set_tail(self.tail);
        }
        self.shared.hand_back(self.inner.take(), self.writing.get_mut().take());
    }
}

#[async_trait]
impl CustomSession for Downstream {
    fn req_header(&self) -> &RequestHeader {
        match (&self.inner, &self.request) {
            (None, Some(copy)) => copy,
            _ => self.session().req_header(),
        }
    }

    fn req_header_mut(&mut self) -> &mut RequestHeader {
        self.session_mut().req_header_mut()
    }

    async fn read_body_bytes(&mut self) -> Result<Option<Bytes>> {
        Ok(None)
    }

    async fn drain_request_body(&mut self) -> Result<()> {
        Ok(())
    }

    async fn write_response_header(&mut self, header: Box<ResponseHeader>, end: bool) -> Result<()> {
        self.finish_write().await?;
        self.forward(vec![HttpTask::Header(header, end)]).await.map(|_| ())
    }

    async fn write_response_header_ref(&mut self, header: &ResponseHeader, end: bool) -> Result<()> {
        self.write_response_header(Box::new(header.clone()), end).await
    }

    async fn write_body(&mut self, data: Bytes, end: bool) -> Result<()> {
        self.finish_write().await?;
        self.forward(vec![HttpTask::Body(Some(data), end)]).await.map(|_| ())
    }

    async fn write_trailers(&mut self, trailers: HeaderMap) -> Result<()> {
        self.finish_write().await?;
        self.forward(vec![HttpTask::Trailer(Some(Box::new(trailers)))]).await.map(|_| ())
    }

    async fn response_duplex_vec(&mut self, mut tasks: Vec<HttpTask>) -> Result<bool> {
        if self.finish_write().await.is_err() {
            self.client_left()?;
        }
        self.heard = clock::steady();
        match self.state {
            State::Waiting => self.start(tasks).await,
            State::Holding(_) => self.hold(tasks).await,
            State::Passing { .. } => self.forward(tasks).await,
            State::Answered => Ok(true),
            State::Left { .. } => match tasks.pop() {
                Some(HttpTask::Failed(error)) => Err(error),
                Some(task) => Ok(task.is_end()),
                None => Ok(false),
            },
        }
    }

    fn set_read_timeout(&mut self, timeout: Option<Duration>) {
        self.session_mut().set_read_timeout(timeout);
    }

    fn get_read_timeout(&self) -> Option<Duration> {
        self.session().get_read_timeout()
    }

    fn set_write_timeout(&mut self, timeout: Option<Duration>) {
        self.session_mut().set_write_timeout(timeout);
    }

    fn get_write_timeout(&self) -> Option<Duration> {
        self.session().get_write_timeout()
    }

    fn set_total_drain_timeout(&mut self, timeout: Option<Duration>) {
        self.session_mut().set_total_drain_timeout(timeout);
    }

    fn get_total_drain_timeout(&self) -> Option<Duration> {
        self.session().get_total_drain_timeout()
    }

    fn request_summary(&self) -> String {
        String::new()
    }

    fn response_written(&self) -> Option<&ResponseHeader> {
        self.inner.as_ref().and_then(|inner| inner.response_written())
    }

    async fn shutdown(&mut self, _code: u32, _context: &str) {
        if self.finish_write().await.is_ok() {
            self.session_mut().shutdown().await;
        }
    }

    fn is_body_done(&mut self) -> bool {
        self.body_given || self.shared.body.lock().is_empty()
    }

    async fn finish(&mut self) -> Result<()> {
        self.finish_write().await?;
        if matches!(self.state, State::Left { .. }) {
            return Ok(());
        }
        self.session_mut().finish_body().await
    }

    fn is_body_empty(&mut self) -> bool {
        self.shared.body.lock().is_empty()
    }

    /// Waits until the client leaves, the time is over or the request is ended from outside. The loop polls it whenever it waits.
    async fn read_body_or_idle(&mut self, _no_body_expected: bool) -> Result<Option<Bytes>> {
        if !self.is_body_done() {
            self.body_given = true;
            return Ok(Some(self.shared.body.lock().clone()));
        }
        loop {
            if self.finish_write().await.is_err() {
                self.client_left()?;
            }
            self.arm();
            let left = matches!(self.state, State::Left { .. });
            let event = {
                let Downstream { inner: Some(inner), timer, shared, .. } = self else { continue };
                let mut idle = std::pin::pin!(inner.read_body_or_idle(true));
                poll_fn(|context| {
                    if shared.ended(context.waker()) != Ending::No {
                        return Poll::Ready(Event::Ended);
                    }
                    if timer.as_mut().poll(context).is_ready() {
                        return Poll::Ready(Event::Time);
                    }
                    if !left && idle.as_mut().poll(context).is_ready() {
                        return Poll::Ready(Event::Left);
                    }
                    Poll::Pending
                })
                .await
            };
            match event {
                Event::Ended => return Err(ours(ENDED)),
                Event::Time => self.on_time()?,
                Event::Left => self.client_left()?,
            }
        }
    }

    fn body_bytes_sent(&self) -> usize {
        self.inner.as_ref().map_or(0, |inner| inner.body_bytes_sent())
    }

    fn body_bytes_read(&self) -> usize {
        self.inner.as_ref().map_or(0, |inner| inner.body_bytes_read())
    }

    fn digest(&self) -> Option<&Digest> {
        self.inner.as_ref().and_then(|inner| inner.digest())
    }

    fn digest_mut(&mut self) -> Option<&mut Digest> {
        self.inner.as_mut().and_then(|inner| inner.digest_mut())
    }

    fn client_addr(&self) -> Option<&SocketAddr> {
        self.inner.as_ref().and_then(|inner| inner.client_addr())
    }

    fn server_addr(&self) -> Option<&SocketAddr> {
        self.inner.as_ref().and_then(|inner| inner.server_addr())
    }

    fn pseudo_raw_h1_request_header(&self) -> Bytes {
        Bytes::new()
    }

    /// Called once per attempt, just before the answer is pumped: a new attempt begins.
    fn enable_retry_buffering(&mut self) {
        if !matches!(self.state, State::Left { .. }) {
            self.state = State::Waiting;
        }
        self.began = clock::steady();
        self.heard = self.began;
        self.body_given = false;
    }

    fn retry_buffer_truncated(&self) -> bool {
        false
    }

    fn get_retry_buffer(&self) -> Option<Bytes> {
        None
    }

    async fn finish_custom(&mut self) -> Result<()> {
        Ok(())
    }

    fn take_custom_message_reader(
        &mut self,
    ) -> Option<Box<dyn futures::Stream<Item = Result<Bytes>> + Unpin + Send + Sync + 'static>> {
        None
    }

    fn restore_custom_message_reader(
        &mut self,
        _reader: Box<dyn futures::Stream<Item = Result<Bytes>> + Unpin + Send + Sync + 'static>,
    ) -> Result<()> {
        Ok(())
    }

    fn take_custom_message_writer(&mut self) -> Option<Box<dyn CustomMessageWrite>> {
        None
    }

    fn restore_custom_message_writer(&mut self, _writer: Box<dyn CustomMessageWrite>) -> Result<()> {
        Ok(())
    }
}

enum Event {
    Ended,
    Time,
    Left,
}
