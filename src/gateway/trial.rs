//! Step 5 of a request's life: tries at accounts, one after the other, until one accepts.
//!
//! A trial judges each answer (or its absence), parks what has to be parked, and finds the next account: `judge` and `failed` are
//! its two entries, and both end in "the answer passes", "again", or "this is the answer instead". It keeps the last answer that may
//! be shown, for when nothing better comes. Never the same account twice, but once more after a stale connection; never past
//! `max_attempts` or the deadline; never after a byte of a final answer went to the client.

use std::net::SocketAddr;
use std::sync::Arc;
use std::time::{Duration, Instant};

use bytes::Bytes;
use http::HeaderMap;
use pingora::http::ResponseHeader;

use super::local;
use super::shared::Limits;
use crate::choose::{self, Candidate, Plan};
use crate::clock::{self, Now};
use crate::config::snapshot::{Account, Failover, Key, OnDisconnect, Timeouts};
use crate::dialect::{self, Failure, FirstEvent};
use crate::facts::Facts;
use crate::parking::{self, Attempt, Change, Notes};
use crate::quota::Lease;
use crate::rooms::Rooms;
use crate::route::Route;
use crate::settle;
use crate::upstream::verdict::{self, Judgement, Signal, Transport};
use crate::words::{Basis, Code, Nanodollars, Refusal, Verdict};

/// How much of an answer is held back before it is judged.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Hold {
    /// A stream: until its first event that means something.
    Events,
    /// From 400 on (and 3xx): the whole, up to 64 KiB.
    Error,
    /// JSON: its first 4 KiB.
    Json,
}

/// What the holding back brought to light.
pub(crate) enum Held {
    /// The stream has begun.
    Begun,
    /// The stream's first event is an error; `body` is it as a plain answer.
    ErrorEvent(Failure),
    /// A stream without events.
    Empty,
    /// A stream that ended before it meant anything.
    Short,
    /// As much of the body as is read before judging.
    Whole,
}

/// What follows from a judged answer.
pub(crate) enum Next {
    /// It goes to the client as it came.
    Pass,
    /// Another attempt follows.
    Again,
    /// This goes to the client instead.
    Answer(Box<Answered>),
}

/// An answer to the client that is written by the gateway, be it its own or one that a provider gave earlier.
pub(crate) struct Answered {
    header: Box<ResponseHeader>,
    body: Bytes,
    /// The account that gave it, and its error, where it is kept for later.
    from: Option<(Arc<Account>, Option<String>)>,
}

impl Answered {
    pub(crate) fn into_parts(self) -> (Box<ResponseHeader>, Bytes) {
        (self.header, self.body)
    }
}

/// The attempt under way.
pub(crate) struct Open {
    pub began: Instant,
    /// When the request header was handed on to be sent.
    pub sent: Option<Instant>,
    pub status: Option<u16>,
    /// Addresses not tried yet, the next one last.
    pub addresses: Vec<SocketAddr>,
    pub resolved: bool,
    /// What the answer's header told of the account's use; the client does not see it.
    pub hints: HeaderMap,
    /// A stale connection was met: the same account is tried once more.
    reused: bool,
    verdict: Option<Verdict>,
    /// What the meter made of an abandoned answer.
    pub bill: Option<(Nanodollars, Basis)>,
}

impl Open {
    fn new(now: Instant) -> Open {
        Open {
            began: now,
            sent: None,
            status: None,
            addresses: Vec::new(),
            resolved: false,
            hints: HeaderMap::new(),
            reused: false,
            verdict: None,
            bill: None,
        }
    }
}

pub(crate) struct Trial {
    rooms: Arc<Rooms>,
    pub arrived: Now,
    pub request_id: String,
    pub key: Arc<Key>,
    pub route: Arc<Route>,
    pub facts: Arc<Facts>,
    plan: Plan,
    /// Taken when it is settled.
    lease: Option<Lease>,
    pub candidate: Candidate,
    failover: Failover,
    pub open: Open,
    pub attempts: Vec<settle::Attempt>,
    /// Waiting at providers so far, over all attempts.
    pub upstream: Option<Duration>,
    /// The last answer that may be shown, with its status.
    kept: Option<Box<Answered>>,
    /// What the failed attempts noted: knows when it was the request.
    notes: Notes,
    /// The provider's error type of the last judged answer, for the log.
    pub error: Option<String>,
    /// Whose earlier answer went to the client.
    pub shown: Option<Arc<Account>>,
    /// The refusal that went to the client, if one did.
    pub refused: Option<Code>,
    /// The provider accepted: what follows is an answer, not a try.
    pub accepted: bool,
}

impl Trial {
    #[expect(clippy::too_many_arguments, reason = "the whole of what was admitted")]
    pub(crate) fn new(
        rooms: Arc<Rooms>,
        arrived: Now,
        request_id: String,
        key: Arc<Key>,
        route: Arc<Route>,
        facts: Arc<Facts>,
        plan: Plan,
        lease: Lease,
        candidate: Candidate,
    ) -> Trial {
        Trial {
            rooms,
            arrived,
            request_id,
            failover: key.group.failover,
            key,
            route,
            facts,
            plan,
            lease: Some(lease),
            candidate,
            open: Open::new(clock::steady()),
            attempts: Vec::new(),
            upstream: None,
            kept: None,
            notes: Notes::default(),
            error: None,
            shown: None,
            refused: None,
            accepted: false,
        }
    }

    /// The timeouts of the current attempt: account over service over group.
    pub(crate) fn timeouts(&self) -> Timeouts {
        let account = &self.candidate.account;
        account.timeouts.over(account.service.timeouts.over(self.failover.timeouts))
    }

    /// When the body has been sent Pingora does not tell: it is given a microsecond a byte (1 MB/s), so that no upload is taken for
    /// a silent provider; a provider that does not read at all meets the write timeout.
    pub(crate) fn limits(&self) -> Limits {
        let timeouts = self.timeouts();
        let settings = &self.rooms.config.current().settings;
        Limits {
            first_byte: if self.facts.stream { timeouts.stream_start } else { timeouts.first_byte },
            upload: Duration::from_micros(self.facts.body_bytes),
            idle: timeouts.idle,
            total: timeouts.total,
            after_left: match settings.metering.on_disconnect {
                OnDisconnect::Finish => settings.metering.disconnect_read,
                OnDisconnect::Estimate => Duration::ZERO,
            },
            heartbeat: settings.heartbeat,
        }
    }

    /// The name of the model at the account, for parking.
    pub(crate) fn model(&self) -> Arc<str> {
        self.candidate.model_sent.clone().or_else(|| self.facts.model.clone()).unwrap_or_else(|| Arc::from(""))
    }

    /// Whether the answer under way is a stream.
    pub(crate) fn is_stream(&self) -> bool {
        self.facts.stream
    }

    /// How much of this answer is to be held back.
    pub(crate) fn hold(&self, header: &ResponseHeader) -> Option<Hold> {
        let status = header.status.as_u16();
        if status >= 300 {
            return Some(Hold::Error);
        }
        // A stored response may tell of its own failure: that is no failed attempt.
        if header.headers.contains_key("content-encoding")
            || !local::is_metered(self.route.operation)
            || self.route.object.is_some()
        {
            return None;
        }
        let kind = local::media_type(header);
        let unsaid = kind.is_empty() && self.facts.stream;
        if unsaid || kind.eq_ignore_ascii_case("text/event-stream") || self.route.array && self.facts.stream {
            return Some(Hold::Events);
        }
        let json = kind.len() >= 4 && kind.as_bytes()[kind.len() - 4..].eq_ignore_ascii_case(b"json");
        json.then_some(Hold::Json)
    }

    pub(crate) fn first_event(&self) -> FirstEvent {
        FirstEvent::new(self.route.dialect, self.route.operation)
    }

    /// The current account serves: lifts its parking, and notes its time to first byte.
    pub(crate) fn accept(&mut self, now: Instant) {
        if std::mem::replace(&mut self.accepted, true) {
            return;
        }
        self.open.verdict = Some(Verdict::Accept);
        let (live, model) = (Arc::clone(&self.candidate.account.live), self.model());
        let (moment, sent) = (clock::now(), self.open.sent.unwrap_or(self.open.began));
        let sent_ms = i64::try_from(moment.steady.saturating_duration_since(sent).as_millis()).unwrap_or(i64::MAX);
        if self.proves_capacity() {
            for change in parking::success(&live, &model, moment.wall.plus_ms(-sent_ms), moment) {
                self.tell(&self.candidate.account.id, &change);
            }
            let first_byte = now.saturating_duration_since(sent).as_secs_f64() * 1e3;
            choose::note_first_byte(&live, &model, first_byte, moment);
        }
        self.notes_end(true);
    }

    /// Whether an accepted request of this operation says that the account has credit and capacity: counting and reading do not.
    fn proves_capacity(&self) -> bool {
        local::is_metered(self.route.operation)
    }

    /// Judges a held answer.
    pub(crate) fn judge(&mut self, header: &ResponseHeader, held: Held, body: &[u8], heard: Instant) -> Next {
        let status = header.status.as_u16();
        match held {
            Held::Begun => {
                self.accept(heard);
                Next::Pass
            }
            Held::Whole if (200..300).contains(&status) => {
                let kind = self.candidate.account.service.kind.clone();
                match dialect::error_in_json(kind.as_str(), self.route.dialect, self.route.operation, body) {
                    None => {
                        self.accept(heard);
                        Next::Pass
                    }
                    Some(error) => {
                        let plain = self.plain(error.status, error.body);
                        self.judged(error.status, &header.headers, body, Some(plain), false, Some(header))
                    }
                }
            }
            Held::Whole => {
                let decoded =
                    header.headers.get("content-encoding").and_then(|v| v.to_str().ok()).and_then(|encoding| {
                        crate::facts::decode(Bytes::copy_from_slice(body), Some(encoding), 1024 * 1024).ok()
                    });
                let body = decoded.as_deref().unwrap_or(body);
                let stands_for = if status < 400 { 502 } else { status };
                self.judged(stands_for, &header.headers, body, None, false, Some(header))
            }
            Held::ErrorEvent(Failure { status, body, kind }) => {
                self.error = Some(kind);
                let plain = self.plain(status, body.clone());
                self.judged(status, &header.headers, &body, Some(plain), true, None)
            }
            Held::Short => {
                self.open.status = Some(status);
                if self.failed(Transport::Broken) {
                    return Next::Again;
                }
                Next::Answer(self.last_answer(clock::now()))
            }
            Held::Empty => self.judged(502, &header.headers, b"", None, true, None),
        }
    }

    /// The plain answer that an error event stands for.
    fn plain(&self, status: u16, body: Bytes) -> Box<Answered> {
        Box::new(answered(status, &[("content-type", "application/json".to_owned())], body, &self.request_id))
    }

    /// `plain`: the answer to show in place of what came; `passing`: what came, where it may pass as it is.
    fn judged(
        &mut self,
        status: u16,
        headers: &HeaderMap,
        body: &[u8],
        plain: Option<Box<Answered>>,
        stream_error: bool,
        passing: Option<&ResponseHeader>,
    ) -> Next {
        let model = self.model();
        let now = clock::now();
        let mut all = std::mem::take(&mut self.open.hints);
        all.extend(headers.iter().map(|(name, value)| (name.clone(), value.clone())));
        let headers = &all;
        let judgement = verdict::judge(&Signal {
            service_kind: self.candidate.account.service.kind.as_str(),
            dialect: self.route.dialect,
            status,
            headers,
            body,
            stream_error,
            now,
            model: &model,
        });
        if judgement.error.is_some() {
            self.error.clone_from(&judgement.error);
        }
        self.open.status = Some(status);
        if judgement.verdict.passes_on() {
            self.open.verdict = Some(judgement.verdict);
            self.notes_end(false);
            return plain.filter(|_| stream_error).map_or(Next::Pass, Next::Answer);
        }
        let redirect = passing.is_some_and(|header| header.status.as_u16() < 400 && header.status.as_u16() >= 300);
        let may_show = judgement.passable(status) && !redirect;
        let passes_whole = may_show && plain.is_none() && passing.is_some();
        if may_show {
            let kept = plain.or_else(|| passing.and_then(|header| keep(header, body)));
            if let Some(mut kept) = kept {
                kept.from = Some((Arc::clone(&self.candidate.account), judgement.error.clone()));
                self.kept = Some(kept);
            }
        }
        if self.next(&judgement, now) {
            return Next::Again;
        }
        if passes_whole {
            self.open.verdict = Some(judgement.verdict);
            return Next::Pass;
        }
        Next::Answer(self.last_answer(now))
    }

    /// The attempt failed without an answer. Whether another follows.
    pub(crate) fn failed(&mut self, transport: Transport) -> bool {
        let judgement = verdict::judge_transport(transport);
        if let Some(error) = &judgement.error {
            self.error = Some(error.clone());
        }
        self.next(&judgement, clock::now())
    }

    /// A pooled connection was stale: the same account once more. False if it was so already.
    pub(crate) fn stale_connection(&mut self) -> bool {
        if self.open.reused {
            return false;
        }
        self.attempts.push(settle::Attempt {
            account: self.candidate.account.id.clone(),
            status: None,
            verdict: Verdict::Reused,
            ms: ms(clock::steady().saturating_duration_since(self.open.began)),
            bill: None,
        });
        let addresses = std::mem::take(&mut self.open.addresses);
        self.open = Open { addresses, reused: true, ..Open::new(clock::steady()) };
        true
    }

    /// The answer broke off after it had begun: counted against the account, never tried again.
    pub(crate) fn broke_off(&mut self, transport: Transport) {
        let judgement = verdict::judge_transport(transport);
        self.note(&judgement, clock::now());
    }

    /// Notes the failure, closes the attempt and reserves the next candidate.
    fn next(&mut self, judgement: &Judgement, now: Now) -> bool {
        self.open.verdict = Some(judgement.verdict);
        self.note(judgement, now);
        let tried = self.attempts.iter().filter(|a| a.verdict != Verdict::Reused).count() + 1;
        let late = now.steady.saturating_duration_since(self.arrived.steady) >= self.failover.deadline;
        if late || tried >= self.failover.max_attempts as usize {
            return false;
        }
        let Some(candidate) = self.lease.as_mut().and_then(|lease| lease.advance(&mut self.plan, now)) else { return false };
        self.close();
        self.candidate = candidate;
        true
    }

    /// Puts the attempt under way into the list.
    pub(crate) fn close(&mut self) {
        let open = std::mem::replace(&mut self.open, Open::new(clock::steady()));
        let Some(verdict) = open.verdict else { return };
        self.attempts.push(settle::Attempt {
            account: self.candidate.account.id.clone(),
            status: open.status,
            verdict,
            ms: ms(clock::steady().saturating_duration_since(open.began)),
            bill: open.bill,
        });
    }

    /// Tells the attempt under way what it was to the account when its answer was abandoned.
    pub(crate) fn abandoned(&mut self, bill: Option<(Nanodollars, Basis)>) {
        if let Some(last) = self.attempts.last_mut() {
            last.bill = bill;
        }
    }

    fn note(&mut self, judgement: &Judgement, now: Now) {
        let (account, model) = (Arc::clone(&self.candidate.account), self.model());
        let caller = u64::from_be_bytes(self.key.hash[..8].try_into().unwrap_or_default());
        let status = self.open.status.unwrap_or(0);
        let attempt = Attempt { account: &account.id, live: &account.live, judgement, status, model: &model, caller };
        if let Some(change) = self.notes.failed(attempt, now, &mut clock::chance()) {
            self.tell(&account.id, &change);
        }
    }

    fn tell(&self, account: &crate::words::Id, change: &Change) {
        self.rooms.parking_changed(account, change);
    }

    /// No further attempt follows: where all of them ended in the same 5xx, it may have been the request.
    pub(crate) fn notes_end(&mut self, served: bool) {
        for (account, change) in std::mem::take(&mut self.notes).end(served, clock::now()) {
            self.tell(&account, &change);
        }
    }

    /// What the client gets when nothing is left: the last answer that may be shown, else our own refusal.
    pub(crate) fn last_answer(&mut self, now: Now) -> Box<Answered> {
        if let Some(mut kept) = self.kept.take() {
            if let Some((account, error)) = kept.from.take() {
                self.error = error;
                self.shown = Some(account);
            }
            return kept;
        }
        let refusal = self.refusal(now);
        self.refuse(&refusal, now)
    }

    /// Our own refusal after the attempts that were made.
    fn refusal(&self, now: Now) -> Refusal {
        let verdict = self.open.verdict.or_else(|| self.attempts.last().map(|a| a.verdict));
        match verdict {
            Some(Verdict::Connect) => {
                Refusal::new(Code::UpstreamFailed, "No account of your group could be reached; try again in a moment.")
                    .again(crate::words::Again::Unknown)
            }
            Some(Verdict::Server) if self.open.status.is_none() => {
                Refusal::new(Code::UpstreamTimeout, "The provider did not answer in time; try again in a moment.")
                    .again(crate::words::Again::Unknown)
            }
            Some(Verdict::Server) => {
                Refusal::new(Code::UpstreamFailed, "The provider's answer could not be used; try again in a moment.")
                    .again(crate::words::Again::Unknown)
            }
            _ => self.plan.refusal(now),
        }
    }

    /// Puts a refusal into the caller's dialect.
    pub(crate) fn refuse(&mut self, refusal: &Refusal, now: Now) -> Box<Answered> {
        self.refused = Some(refusal.code);
        let responses = self.route.operation == crate::words::Operation::Responses;
        let answer = dialect::refusal(self.route.dialect, responses, refusal, &self.request_id, now.wall);
        let answered = answered(answer.status, &answer.headers, answer.body, &self.request_id);
        Box::new(answered)
    }

    /// The client left: its place at the account is free at once.
    pub(crate) fn free_place(&mut self) {
        if let Some(lease) = &mut self.lease {
            lease.free_place();
        }
    }

    /// Ends the lease.
    pub(crate) fn settle(&mut self, bill: &settle::Bill) {
        if let Some(lease) = self.lease.take() {
            lease.settle(bill);
        }
    }
}

fn ms(time: Duration) -> u64 {
    u64::try_from(time.as_millis()).unwrap_or(u64::MAX)
}

/// An answer of the provider, to be shown later if nothing better comes.
fn keep(header: &ResponseHeader, body: &[u8]) -> Option<Box<Answered>> {
    let announced = header.headers.get("content-length").and_then(|v| v.to_str().ok()).and_then(|v| v.parse::<usize>().ok());
    if announced.is_some_and(|length| length != body.len()) || header.headers.contains_key("content-encoding") {
        return None;
    }
    let mut header = Box::new(header.clone());
    header.remove_header("transfer-encoding");
    header.insert_header("content-length", body.len()).ok()?;
    Some(Box::new(Answered { header, body: Bytes::copy_from_slice(body), from: None }))
}

/// An answer made here.
pub(crate) fn answered(status: u16, headers: &[(&'static str, String)], body: Bytes, request_id: &str) -> Answered {
    let mut header = ResponseHeader::build(status, Some(headers.len() + 3))
        .or_else(|_| ResponseHeader::build(500, None))
        .unwrap_or_else(|_| unreachable!("500 is a status"));
    for (name, value) in headers {
        if header.insert_header(*name, value.as_str()).is_err() {
            tracing::error!("the header {name} of an answer cannot be written");
        }
    }
    let known = [("x-request-id", request_id.to_owned()), ("content-length", body.len().to_string())];
    for (name, value) in known {
        if header.insert_header(name, value).is_err() {
            tracing::error!("the header {name} of an answer cannot be written");
        }
    }
    Answered { header: Box::new(header), body, from: None }
}
