//! The life of a request, as Pingora's filters run it (docs/ARCHITECTURE.md; section 2 of the design):
//!
//! | step | filter | room |
//! |---|---|---|
//! | 1 who, 2 what, 3 where, 4 may it | `request_filter` | `admit`: key, route, facts, choose, quota |
//! | 5 try | `upstream_peer` … `error_while_proxy` | `trial`: upstream, parking; `downstream` holds answers back |
//! | 6 pass | `upstream_response_body_filter` | meter |
//! | refuse | `fail_to_proxy` | dialect |
//! | 7 settle | `logging`, which every request reaches | settle, access_log, metrics |

mod admit;
mod body;
mod downstream;
mod local;
mod shared;
mod trial;

use std::any::Any;
use std::net::IpAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use async_trait::async_trait;
use bytes::Bytes;
use parking_lot::Mutex;
use pingora::http::{RequestHeader, ResponseHeader};
use pingora::protocols::http::server::Session as HttpSession;
use pingora::proxy::{FailToProxy, ProxyHttp, Session};
use pingora::upstreams::peer::HttpPeer;
use pingora::{Error, ErrorSource, ErrorType, Result, RetryType};

use self::admit::{Admitted, Asked, Stop};
use self::downstream::Downstream;
use self::shared::Shared;
use self::trial::Answered;
use crate::buffered::Share;
use crate::clock::{self, Now};
use crate::dialect;
use crate::key;
use crate::meter::{self, Meter, Strip};
use crate::price::Book;
use crate::rooms::Rooms;
use crate::route::{self, Matched};
use crate::running::{Counted, Ending, Entry};
use crate::settle::{self, Pricing, Record};
use crate::upstream::headers::{self, Outgoing};
use crate::upstream::verdict::Transport;
use crate::words::{Basis, Class, Metered, Nanodollars, Operation, Outcome, Refusal, Usage};

/// The gateway, as Pingora knows it.
pub struct Gateway {
    pub rooms: Arc<Rooms>,
}

/// One client connection, as `server::Front` and the requests on it know it.
#[derive(Default)]
pub struct Connection {
    /// The header of the request under way has come.
    pub header_seen: AtomicBool,
    /// The session of a request that Pingora calls failed, though the client got a whole answer and may go on: Pingora would close.
    pub kept: Mutex<Option<Box<HttpSession>>>,
}

/// What is known of one request. Dropped with it, whatever happens: what it holds is guarded.
pub struct Context {
    arrived: Now,
    record: Record,
    stage: Stage,
    /// Waiting on the request's body.
    waited: Duration,
    _counted: Counted,
    /// `None` over HTTP/2.
    connection: Option<Arc<Connection>>,
    /// The client's connection can go on after Pingora gave the request up.
    keep: bool,
}

enum Stage {
    /// Nothing was admitted: refused, answered here, or not judged yet.
    Arrived,
    /// An account serves it, or will.
    Admitted(Box<Flight>),
}

/// A request that goes to an account.
struct Flight {
    shared: Arc<Shared>,
    book: Arc<Book>,
    /// As the client sent it (decoded): edited anew for each account.
    body: Bytes,
    _entry: Entry,
    _share: Share,
    meter: Option<Meter>,
    strip: Option<Strip>,
    /// The client's session has been taken back from its wrapper.
    unwrapped: bool,
    /// Bytes of answers to this client, when the session that counts them is our wrapper's.
    sent: u64,
    /// When the provider's header came.
    headed: Option<Instant>,
    broken: Option<Broken>,
    /// An event stream that can be added to: not compressed, and of a kind that has an end of its own.
    open_ended: bool,
    /// The stream's own end passed while the client was there.
    ended_well: bool,
}

/// Why an answer broke off.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Broken {
    Upstream,
    Revoked,
    Shutdown,
    TimedOut,
}

impl Gateway {
    /// Writes an answer of our own to a session that is not wrapped.
    async fn answer(&self, session: &mut Session, record: &mut Record, answered: Answered) {
        let (mut header, body) = answered.into_parts();
        record.status = header.status.as_u16();
        if self.rooms.registry.is_draining() {
            session.set_keepalive(None);
        }
        let head = session.req_header().method == http::Method::HEAD;
        if head && header.insert_header("content-length", body.len()).is_err() {
            return;
        }
        record.response_bytes = if head { 0 } else { body.len() as u64 };
        let done = async {
            session.write_response_header(header, false).await?;
            session.write_response_body(Some(if head { Bytes::new() } else { body }), true).await
        };
        if done.await.is_err() {
            record.response_bytes = 0;
        }
    }

    /// Refuses a request that was not admitted. A body still on its way is read and thrown away for a moment, so that the client
    /// gets to read the answer and keeps its connection.
    async fn refuse(&self, session: &mut Session, context: &mut Context, refusal: &Refusal) {
        let (dialect, responses) = match (context.record.dialect, context.record.operation) {
            (Some(dialect), operation) => (dialect, operation == Some(Operation::Responses)),
            (None, _) => route::dialect_looks_like(local::raw_path(session.req_header()), &session.req_header().headers),
        };
        let record = &mut context.record;
        record.outcome = Some(Outcome::Refused);
        record.error = Some(dialect::row(refusal.code).name.to_owned());
        let group = record.key.as_ref().map_or("", |key| key.group.id.as_str());
        self.rooms.metrics.refused(refusal.code, group);
        let answer = dialect::refusal(dialect, responses, refusal, &record.id, clock::now().wall);
        let answered = trial::answered(answer.status, &answer.headers, answer.body, &record.id);
        local::make_readable(session);
        self.answer(session, &mut context.record, answered).await;
    }

    /// Steps 1 to 4. `true`: the request has been answered here.
    async fn receive(&self, session: &mut Session, context: &mut Context) -> Result<bool> {
        let snapshot = self.rooms.config.snapshot();
        let now = context.arrived;
        let peer = session.client_addr().and_then(|a| a.as_inet()).map_or(IpAddr::from([0, 0, 0, 0]), |a| a.ip());
        let header = session.req_header();
        let client = admit::client_address(peer, &header.headers, &snapshot);
        local::describe(&mut context.record, header, client, now);
        let query = header.uri.query();
        // 1 who
        let identified = key::identify(&header.headers, query, client, &snapshot, now.wall);
        if let Ok(key) = &identified {
            context.record.key = Some(Arc::clone(key));
        }
        // 2 what
        let matched = route::find(&header.method, local::raw_path(header), query, &header.headers);
        if let Ok(Matched::Route(route)) = &matched {
            context.record.dialect = Some(route.dialect);
            context.record.operation = Some(route.operation);
            context.record.model.clone_from(&route.model);
        }
        let (key, route) = match (identified, matched) {
            (_, Ok(Matched::Hello)) => return local::hello(self, session, context).await,
            (_, Ok(Matched::Health { ready })) => return local::health(self, session, context, ready).await,
            (Err(refusal), _) | (Ok(_), Err(refusal)) => {
                self.refuse(session, context, &refusal).await;
                return Ok(true);
            }
            (Ok(key), Ok(Matched::Route(route))) => (key, route),
        };
        session.set_write_timeout(Some(snapshot.settings.client.write_idle));
        if route.operation == Operation::Models {
            if let Err(refusal) = admit::may_read(&key, now) {
                self.refuse(session, context, &refusal).await;
                return Ok(true);
            }
            return local::models(self, session, context, &key, &route, &snapshot).await;
        }
        // 3 where, 4 may it
        let registered = key.hash;
        let asked = Asked { rooms: &self.rooms, snapshot: &snapshot, key, route, now };
        let admitted = admit::admit(asked, &mut session.downstream_session, &mut context.record, &mut context.waited).await;
        let Admitted { trial, body, share } = match admitted {
            Ok(admitted) => admitted,
            Err(Stop::Refused(refusal)) => {
                self.refuse(session, context, &refusal).await;
                return Ok(true);
            }
            Err(Stop::Left) => {
                context.record.outcome = Some(Outcome::Aborted);
                context.record.status = 499;
                session.set_keepalive(None);
                return Ok(true);
            }
        };
        let entry = self.rooms.registry.enter(registered);
        let limits = trial.limits();
        let shared = Arc::new(Shared::new(body.clone(), trial, limits, Arc::clone(&entry.running)));
        let mut flight = Box::new(Flight {
            shared: Arc::clone(&shared),
            book: Arc::clone(&snapshot.prices),
            body,
            _entry: entry,
            _share: share,
            meter: None,
            strip: None,
            unwrapped: true,
            sent: 0,
            headed: None,
            broken: None,
            open_ended: false,
            ended_well: false,
        });
        drop(snapshot);
        if shared.trial.lock().candidate.account.service.demo {
            context.stage = Stage::Admitted(flight);
            local::demo(self, session, context).await?;
            return Ok(true);
        }
        flight.unwrapped = false;
        context.stage = Stage::Admitted(flight);
        let inner = std::mem::replace(&mut session.downstream_session, placeholder());
        *session.downstream_session = HttpSession::new_custom(Box::new(Downstream::wrap(inner, shared)));
        Ok(false)
    }
}

fn placeholder() -> Box<HttpSession> {
    Box::new(HttpSession::new_custom(Box::new(())))
}

impl Flight {
    /// Gives the client's own session back its place: before anything is written by us, and at the end.
    async fn unwrap(&mut self, session: &mut Session) {
        if std::mem::replace(&mut self.unwrapped, true) {
            return;
        }
        self.sent = session.body_bytes_sent() as u64;
        drop(std::mem::replace(&mut session.downstream_session, placeholder()));
        if let Some(inner) = self.shared.take_back().await {
            session.downstream_session = inner;
        }
        self.sent = session.body_bytes_sent() as u64;
    }

    /// Whether a stream that has just come to the end of its framing lacks its own end: a client would take the part for the whole.
    fn stops_short(&self) -> bool {
        self.open_ended && self.meter.as_ref().is_some_and(|meter| meter.content() && !meter.terminal() && !meter.failed())
    }

    /// The error event that says so.
    fn stopped_short(&mut self, last: &[u8]) -> Bytes {
        self.broken = Some(Broken::Upstream);
        let mut tail = *b"\n\n\n\n";
        let from = last.len().saturating_sub(4);
        tail[4 - (last.len() - from)..].copy_from_slice(&last[from..]);
        let mut trial = self.shared.trial.lock();
        trial.broke_off(Transport::Broken);
        local::last_event(&trial, self.broken, tail).unwrap_or_default()
    }

    /// Ends the meter of an answer that was given up, and says what it burdens the account with.
    fn abandon(&mut self) -> Option<(Nanodollars, Basis)> {
        let found = self.meter.take()?.end(meter::End::Cut);
        self.strip = None;
        if found.basis == Basis::None {
            return None;
        }
        let bill = self.bill(&found, true);
        Some((bill.cost.total, bill.basis))
    }

    /// What an attempt burdens the account with whose request was sent and never answered: its input, estimated.
    fn unanswered(&self, transport: Transport) -> Option<(Nanodollars, Basis)> {
        let found = matches!(transport, Transport::Timeout { .. }).then(|| self.input_alone()).flatten()?;
        let bill = self.bill(&found, true);
        Some((bill.cost.total, bill.basis))
    }

    /// The input of a request that was sent, estimated, where no answer tells of it.
    fn input_alone(&self) -> Option<Metered> {
        let trial = self.shared.trial.lock();
        trial.open.sent.filter(|_| local::is_metered(trial.route.operation))?;
        let usage = Usage::from_iter([(Class::Input, local::input_tokens(&trial.facts))]);
        Some(Metered { usage, basis: Basis::Estimated, ..Metered::default() })
    }

    fn bill(&self, found: &Metered, accepted: bool) -> settle::Bill {
        let trial = self.shared.trial.lock();
        let model_sent = trial.model();
        settle::bill(
            found,
            &Pricing {
                book: &self.book,
                account: &trial.candidate.account,
                group: &trial.key.group,
                via: trial.candidate.via,
                model_sent: &model_sent,
                entry: trial.candidate.entry.as_ref(),
                metered: local::is_metered(trial.route.operation),
                accepted,
                now: trial.arrived.wall,
            },
        )
    }

    /// The time from the request sent on to now, added to what was waited at providers.
    fn heard(&mut self, now: Instant) {
        let mut trial = self.shared.trial.lock();
        if let Some(sent) = trial.open.sent
            && self.headed.is_none()
        {
            let waited = now.saturating_duration_since(sent);
            trial.upstream = Some(trial.upstream.unwrap_or_default() + waited);
        }
    }
}

#[async_trait]
impl ProxyHttp for Gateway {
    type CTX = Context;

    fn new_ctx(&self) -> Context {
        Context {
            arrived: clock::now(),
            record: Record::default(),
            stage: Stage::Arrived,
            waited: Duration::ZERO,
            _counted: self.rooms.registry.count(),
            connection: None,
            keep: false,
        }
    }

    fn on_connection_reuse(&self, _session: &mut Session, context: &mut Context, connection: Box<dyn Any + Send + Sync>) {
        // `server::Front` hands this in with every request of a connection: the header is here.
        if let Ok(connection) = connection.downcast::<Arc<Connection>>() {
            connection.header_seen.store(true, Ordering::Release);
            context.connection = Some(*connection);
        }
    }

    async fn request_filter(&self, session: &mut Session, context: &mut Context) -> Result<bool> {
        self.receive(session, context).await
    }

    /// 5 try: the account of this attempt.
    async fn upstream_peer(&self, _session: &mut Session, context: &mut Context) -> Result<Box<HttpPeer>> {
        let Stage::Admitted(flight) = &mut context.stage else {
            return Error::e_explain(ErrorType::InternalError, "not admitted");
        };
        flight.meter = None;
        flight.strip = None;
        flight.headed = None;
        flight.ended_well = false;
        loop {
            let (account, dialect, timeouts, resolved) = {
                let trial = flight.shared.trial.lock();
                let account = Arc::clone(&trial.candidate.account);
                (account, trial.route.dialect, trial.timeouts(), trial.open.resolved)
            };
            if account.service.demo {
                return Err(Error::new_in(local::DEMO_NEXT));
            }
            let Some(endpoint) = account.endpoints.get(dialect) else {
                return Error::e_explain(ErrorType::InternalError, "the account does not speak this dialect");
            };
            if !resolved {
                let found = tokio::time::timeout(timeouts.connect, self.rooms.peers.addresses(&account, endpoint)).await;
                match found {
                    Ok(Ok(mut addresses)) => {
                        addresses.reverse();
                        let mut trial = flight.shared.trial.lock();
                        trial.open.addresses = addresses;
                        trial.open.resolved = true;
                    }
                    Ok(Err(_)) | Err(_) => {
                        if let Ok(Err(error)) = found {
                            tracing::warn!("account {}: {} does not resolve: {error}", account.id, endpoint.host);
                        }
                        if !flight.shared.trial.lock().failed(Transport::Dns) {
                            return Error::e_explain(ErrorType::ConnectError, "the provider's name does not resolve");
                        }
                        continue;
                    }
                }
            }
            let body = {
                let trial = flight.shared.trial.lock();
                let force = local::forces_usage(&trial);
                let changed = trial.candidate.model_sent.as_deref().filter(|sent| Some(*sent) != trial.facts.model.as_deref());
                flight.strip = (force && !trial.facts.usage_asked()).then(Strip::new);
                trial.facts.edited(&flight.body, changed, force)
            };
            *flight.shared.body.lock() = body;
            let (address, limits) = {
                let mut trial = flight.shared.trial.lock();
                let limits = trial.limits();
                (trial.open.addresses.pop(), limits)
            };
            flight.shared.set_limits(limits);
            let Some(address) = address else {
                return Error::e_explain(ErrorType::ConnectError, "the provider has no address");
            };
            return Ok(self.rooms.peers.peer(&account, dialect, endpoint, address, &timeouts));
        }
    }

    async fn upstream_request_filter(
        &self,
        _session: &mut Session,
        request: &mut RequestHeader,
        context: &mut Context,
    ) -> Result<()> {
        let Stage::Admitted(flight) = &mut context.stage else { return Ok(()) };
        let mut trial = flight.shared.trial.lock();
        let account = Arc::clone(&trial.candidate.account);
        let route = Arc::clone(&trial.route);
        let Some(endpoint) = account.endpoints.get(route.dialect) else { return Ok(()) };
        let renamed = match (&route.model, &trial.candidate.model_sent) {
            (Some(asked), Some(sent)) if asked != sent => Some(route.tail_for(sent)),
            _ => None,
        };
        let length = flight.shared.body.lock().len();
        let out = Outgoing {
            account: &account,
            dialect: route.dialect,
            endpoint,
            tail: renamed.as_deref().unwrap_or(&route.tail),
            query: route.query.as_deref(),
            body: (route.kind.has_body() || length > 0).then_some(length),
        };
        headers::outgoing(request, &out)?;
        trial.open.sent = Some(clock::steady());
        trial.candidate.ticket.sent();
        Ok(())
    }

    fn fail_to_connect(
        &self,
        _session: &mut Session,
        _peer: &HttpPeer,
        context: &mut Context,
        mut error: Box<Error>,
    ) -> Box<Error> {
        let Stage::Admitted(flight) = &mut context.stage else { return error };
        let mut trial = flight.shared.trial.lock();
        tracing::debug!("account {}: {error}", trial.candidate.account.id);
        // All addresses of a name are tried before the account counts as unreachable.
        let again = !trial.open.addresses.is_empty() || trial.failed(local::transport_of(&error));
        error.set_retry(again);
        error
    }

    async fn upstream_response_filter(
        &self,
        _session: &mut Session,
        answer: &mut ResponseHeader,
        context: &mut Context,
    ) -> Result<()> {
        let Stage::Admitted(flight) = &mut context.stage else { return Ok(()) };
        if answer.status.is_informational() {
            return Ok(());
        }
        let now = clock::steady();
        flight.heard(now);
        flight.headed = Some(now);
        let spec = {
            let mut trial = flight.shared.trial.lock();
            trial.open.status = Some(answer.status.as_u16());
            let via = trial.candidate.via;
            let found = headers::incoming(answer, via, &context.record.id)?;
            context.record.upstream_id = found.upstream_id;
            trial.open.hints = found.hints;
            if trial.candidate.model.as_ref() != trial.facts.model.as_ref()
                && let Some(model) = &trial.candidate.model
            {
                answer.insert_header("x-aicarpool-model", &**model)?;
            }
            local::meter_for(&trial, answer)
        };
        flight.meter = spec;
        let stream = local::media_type(answer).eq_ignore_ascii_case("text/event-stream");
        let plain = stream && !answer.headers.contains_key("content-encoding") && answer.status.as_u16() < 300;
        if !plain {
            flight.strip = None;
        } else if flight.strip.is_some() {
            answer.remove_header("content-length");
        }
        flight.open_ended =
            plain && local::has_own_end(&flight.shared.trial.lock()) && !answer.headers.contains_key("content-length");
        Ok(())
    }

    async fn response_filter(&self, session: &mut Session, answer: &mut ResponseHeader, _context: &mut Context) -> Result<()> {
        // A client of HTTP/1.0 does not know chunks: the connection's end is the answer's.
        if session.req_header().version == http::Version::HTTP_10 {
            answer.remove_header("transfer-encoding");
        }
        Ok(())
    }

    /// 6 pass: the meter reads along.
    fn upstream_response_body_filter(
        &self,
        _session: &mut Session,
        body: &mut Option<Bytes>,
        end: bool,
        context: &mut Context,
    ) -> Result<Option<Duration>> {
        let Stage::Admitted(flight) = &mut context.stage else { return Ok(None) };
        if let (Some(meter), Some(bytes)) = (&mut flight.meter, &*body) {
            meter.feed(bytes);
            flight.ended_well |= !flight.ended_well && meter.terminal() && !flight.shared.has_left();
        }
        if let Some(strip) = &mut flight.strip {
            let mut kept = body.take().map(|bytes| strip.feed(bytes)).unwrap_or_default();
            if end {
                let rest = strip.end();
                kept = if kept.is_empty() { rest } else { [kept, rest].concat().into() };
            }
            *body = (!kept.is_empty() || !end).then_some(kept);
        }
        if end && flight.stops_short() {
            let event = flight.stopped_short(body.as_deref().unwrap_or_default());
            *body = Some([body.take().unwrap_or_default(), event].concat().into());
        }
        Ok(None)
    }

    fn error_while_proxy(
        &self,
        _peer: &HttpPeer,
        _session: &mut Session,
        mut error: Box<Error>,
        context: &mut Context,
        reused: bool,
    ) -> Box<Error> {
        // Before `retry()` is asked, this must be decided: it panics else (pingora.md 2.5).
        let stale = match error.retry {
            // Over HTTP/2 an error on a connection that served before says nothing of whether this request was taken.
            RetryType::ReusedOnly => reused && !matches!(error.etype(), ErrorType::H2Error | ErrorType::InvalidH2),
            // Pingora calls a broken frame retryable whatever was sent (pingora 979): the provider may have the whole request.
            RetryType::Decided(retry) => {
                retry
                    && !local::is_ours(error.etype())
                    && *error.etype() != ErrorType::InvalidH2
                    && *error.esource() == ErrorSource::Upstream
            }
        };
        error.retry.decide_reuse(reused);
        error.set_retry(false);
        let Stage::Admitted(flight) = &mut context.stage else { return error };
        if *error.etype() == downstream::AGAIN {
            let bill = flight.abandon();
            flight.shared.trial.lock().abandoned(bill);
            error.set_retry(true);
            return error;
        }
        let now = clock::steady();
        flight.heard(now);
        let begun = flight.shared.begun.load(Ordering::Relaxed);
        let headed = flight.headed.is_some();
        let again = match local::cause(&error) {
            local::Cause::Client => false,
            local::Cause::Ended => {
                let shutdown = flight.shared.ending() == Ending::Shutdown;
                flight.broken = Some(if shutdown { Broken::Shutdown } else { Broken::Revoked });
                false
            }
            local::Cause::TimedOut => {
                flight.broken = Some(Broken::TimedOut);
                false
            }
            local::Cause::Upstream(_) if flight.shared.has_left() => false,
            local::Cause::Upstream(transport) if begun || flight.shared.trial.lock().accepted => {
                let silent = matches!(transport, Transport::Timeout { .. });
                flight.broken = Some(Broken::Upstream);
                flight.shared.trial.lock().broke_off(if silent { transport } else { Transport::Broken });
                false
            }
            local::Cause::Upstream(_) if stale && !headed && flight.shared.trial.lock().stale_connection() => true,
            local::Cause::Upstream(transport) => {
                let bill = flight.abandon().or_else(|| flight.unanswered(transport));
                let mut trial = flight.shared.trial.lock();
                let silent = matches!(transport, Transport::Timeout { .. });
                let again = trial.failed(if headed && !silent { Transport::Broken } else { transport });
                if again {
                    trial.abandoned(bill);
                } else {
                    trial.open.bill = bill;
                }
                again
            }
        };
        error.set_retry(again);
        error
    }

    /// Nothing is left to try, or the answer broke off: the last word to the client.
    async fn fail_to_proxy(&self, session: &mut Session, error: &Error, context: &mut Context) -> FailToProxy {
        let Stage::Admitted(flight) = &mut context.stage else {
            context.record.outcome = Some(Outcome::Aborted);
            return FailToProxy { error_code: 499, can_reuse_downstream: false };
        };
        flight.unwrap(session).await;
        let done = FailToProxy { error_code: 0, can_reuse_downstream: false };
        if *error.etype() == local::DEMO_NEXT {
            context.keep = !self.rooms.registry.is_draining() && local::demo(self, session, context).await.is_ok();
            return done;
        }
        if flight.shared.has_left() || matches!(local::cause(error), local::Cause::Client) {
            return done;
        }
        let begun = flight.shared.begun.load(Ordering::Relaxed);
        if begun {
            session.set_keepalive(None);
            let event = local::last_event(&flight.shared.trial.lock(), flight.broken, flight.shared.tail());
            if let Some(event) = event
                && session.write_response_body(Some(event.clone()), true).await.is_ok()
            {
                flight.sent += event.len() as u64;
            }
            return done;
        }
        let answered = {
            let now = clock::now();
            let mut trial = flight.shared.trial.lock();
            match flight.broken {
                Some(Broken::Shutdown) => trial.refuse(&admit::shutting_down(), now),
                Some(Broken::Revoked) => trial.refuse(&local::revoked(), now),
                Some(Broken::TimedOut) => trial.refuse(&local::took_too_long(), now),
                Some(Broken::Upstream) | None => trial.last_answer(now),
            }
        };
        flight.shared.answered_by_us();
        let (header, body) = answered.into_parts();
        let length = body.len() as u64;
        flight.shared.begun.store(true, Ordering::Relaxed);
        context.record.status = header.status.as_u16();
        let leaving = self.rooms.registry.is_draining();
        if leaving {
            session.set_keepalive(None);
        }
        if session.write_response_header(header, false).await.is_ok()
            && session.write_response_body(Some(body), true).await.is_ok()
        {
            flight.sent = length;
            flight.shared.first_byte_sent();
            context.keep = !leaving;
        }
        FailToProxy { error_code: context.record.status, can_reuse_downstream: false }
    }

    /// 7 settle.
    async fn logging(&self, session: &mut Session, error: Option<&Error>, context: &mut Context) {
        let stage = std::mem::replace(&mut context.stage, Stage::Arrived);
        if let Stage::Admitted(mut flight) = stage {
            if context.record.status == 0 {
                context.record.status = session.response_written().map_or(0, |header| header.status.as_u16());
            }
            flight.unwrap(session).await;
            if context.record.status == 0 {
                context.record.status = session.response_written().map_or(0, |header| header.status.as_u16());
            }
            self.settle(*flight, error, context);
            if context.keep
                && let Some(connection) = &context.connection
            {
                *connection.kept.lock() = Some(std::mem::replace(&mut session.downstream_session, placeholder()));
            }
        } else {
            context.record.times.total = clock::steady().saturating_duration_since(context.arrived.steady);
            context.record.times.first_byte =
                (context.record.status > 0 && context.record.status != 499).then_some(context.record.times.total);
        }
        self.rooms.tell(&context.record);
    }

    fn request_summary(&self, _session: &Session, context: &Context) -> String {
        format!("request {}", context.record.id)
    }

    /// Everything is in the access log; Pingora's own lines would say it twice, and with the query.
    fn suppress_error_log(&self, _session: &Session, _context: &Context, _error: &Error) -> bool {
        true
    }

    fn suppress_proxy_warn_log(
        &self,
        _session: &Session,
        _context: &Context,
        _error: &Error,
        _which: pingora::proxy::ProxyWarnLogContext,
    ) -> bool {
        true
    }
}

impl Gateway {
    /// What was used, what it costs, how it ended.
    fn settle(&self, mut flight: Flight, error: Option<&Error>, context: &mut Context) {
        let now = clock::steady();
        let record = &mut context.record;
        let left = flight.shared.has_left() || error.is_some_and(|error| matches!(local::cause(error), local::Cause::Client));
        let by_us = flight.shared.is_by_us();
        let terminal = flight.ended_well && !flight.shared.write_failed();
        let cut = flight.broken.is_some() || left && !flight.meter.as_ref().is_some_and(|meter| meter.terminal());
        let found = match flight.meter.take() {
            Some(mut meter) if !by_us => meter.end(if cut { meter::End::Cut } else { meter::End::Complete }),
            None if left => flight.input_alone().unwrap_or_default(),
            Some(_) | None => Metered::default(),
        };
        let accepted = flight.shared.trial.lock().accepted;
        record.bill = flight.bill(&found, accepted && !by_us);
        let mut trial = flight.shared.trial.lock();
        trial.close();
        trial.notes_end(false);
        record.attempts = std::mem::take(&mut trial.attempts);
        record.account = Some(trial.shown.take().unwrap_or_else(|| Arc::clone(&trial.candidate.account)));
        record.via = Some(trial.candidate.via);
        record.model_sent.clone_from(&trial.candidate.model_sent);
        if record.model.is_none() {
            record.model.clone_from(&trial.candidate.model);
        }
        if left && record.status == 0 {
            record.status = 499;
        }
        let failed_inside = found.error.is_some() && !by_us;
        record.outcome = Some(if left && !terminal {
            Outcome::Aborted
        } else if by_us || record.status >= 400 || failed_inside && !found.content {
            Outcome::Failed
        } else if flight.broken.is_some() || failed_inside {
            Outcome::Cut
        } else {
            Outcome::Ok
        });
        record.error = match trial.refused {
            Some(code) => Some(dialect::row(code).name.to_owned()),
            None if record.status >= 400 => trial.error.take().or(found.error),
            None => found.error.or_else(|| flight.broken.map(|broken| dialect::row(local::why(broken).0).name.to_owned())),
        };
        if let Some(code) = trial.refused {
            self.rooms.metrics.refused(code, trial.key.group.id.as_str());
        }
        if let Some(id) = &found.object_id {
            self.rooms.pins.note(id, &trial.candidate.account.id, &trial.key, trial.arrived.wall);
        }
        let times = &mut record.times;
        times.total = now.saturating_duration_since(trial.arrived.steady);
        times.first_byte = flight.shared.first_byte();
        times.upstream = trial.upstream;
        times.held = flight.shared.held_time();
        times.overhead = times.first_byte.map(|first| {
            first.saturating_sub(trial.upstream.unwrap_or_default()).saturating_sub(times.held).saturating_sub(context.waited)
        });
        record.response_bytes = flight.sent;
        trial.settle(&record.bill);
    }
}
