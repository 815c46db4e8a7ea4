//! What is answered here without an account, and small questions that several filters ask.

use std::net::IpAddr;
use std::sync::Arc;

use bytes::Bytes;
use pingora::http::{RequestHeader, ResponseHeader};
use pingora::proxy::Session;
use pingora::{Error, ErrorSource, ErrorType, Result};

use super::downstream::{AGAIN, CLIENT_LEFT, ENDED, FIRST_BYTE_TIMEOUT, IDLE_TIMEOUT, TOTAL_TIMEOUT};
use super::trial::{self, Trial};
use super::{Broken, Context, Gateway, Stage};
use crate::choose;
use crate::clock::{self, Now};
use crate::config::snapshot::{Key, Snapshot};
use crate::demo;
use crate::dialect::{self, ModelEntry};
use crate::facts::Facts;
use crate::health;
use crate::meter::estimate::ScriptBytes;
use crate::meter::{Form, Meter, Spec};
use crate::price::Entry;
use crate::route::{Kind, Route};
use crate::settle::Record;
use crate::upstream::headers;
use crate::upstream::verdict::Transport;
use crate::words::{Again, Code, Dialect, Operation, Outcome, Refusal};

/// Longest value of a client's header that goes into the log.
const LOGGED_MOST: usize = 256;

/// The next candidate is of the service `demo`: no peer is needed.
pub(super) const DEMO_NEXT: ErrorType = ErrorType::new("DemoNext");

/// What of the request's header goes into the record.
pub(super) fn describe(record: &mut Record, header: &RequestHeader, client: IpAddr, now: Now) {
    let text = |name: &str| header.headers.get(name).and_then(|value| value.to_str().ok());
    record.ts = now.wall;
    record.id = clock::request_id();
    record.client = Some(client);
    record.client_id = text("x-request-id").filter(|id| headers::sane_id(id)).map(str::to_owned);
    record.user_agent = text("user-agent").map(|agent| cut(agent, LOGGED_MOST));
    record.method = cut(header.method.as_str(), 32);
    record.path = cut(raw_path(header), 1024);
}

fn cut(text: &str, most: usize) -> String {
    text.chars().take(most).collect()
}

/// The path as it came, without its query. An absolute form keeps its scheme and host, and so matches nothing.
pub(super) fn raw_path(header: &RequestHeader) -> &str {
    let raw = std::str::from_utf8(header.raw_path()).unwrap_or("\u{fffd}");
    match header.uri.authority() {
        // HTTP/2 carries the authority apart; what was asked for is the path.
        Some(_) if header.version == http::Version::HTTP_2 => header.uri.path(),
        _ => raw.split('?').next().unwrap_or(raw),
    }
}

/// Lets the client read an answer that comes before its body was read: what is still on its way is taken for a while, and thrown away.
pub(super) fn make_readable(session: &mut Session) {
    let patience = std::time::Duration::from_secs(30);
    session.downstream_session.set_close_on_response_before_downstream_finish(false);
    session.downstream_session.set_total_drain_timeout(Some(patience));
}

async fn plain(
    gateway: &Gateway,
    session: &mut Session,
    context: &mut Context,
    status: u16,
    kind: &'static str,
    body: impl Into<Bytes>,
) -> Result<bool> {
    let answered = trial::answered(status, &[("content-type", kind.to_owned())], body.into(), &context.record.id);
    context.record.outcome = Some(if status < 400 { Outcome::Ok } else { Outcome::Refused });
    make_readable(session);
    gateway.answer(session, &mut context.record, answered).await;
    Ok(true)
}

/// `GET /`.
pub(super) async fn hello(gateway: &Gateway, session: &mut Session, context: &mut Context) -> Result<bool> {
    const LINE: &str = "AiCarpool is here. Point your client at this address with your aicp_ key.\n";
    plain(gateway, session, context, 200, "text/plain; charset=utf-8", LINE).await
}

/// `/healthz` and `/readyz` on the data port: without detail.
pub(super) async fn health(gateway: &Gateway, session: &mut Session, context: &mut Context, ready: bool) -> Result<bool> {
    let (status, body) = if ready && health::ready(&gateway.rooms).is_err() { (503, "not ready\n") } else { (200, "ok\n") };
    plain(gateway, session, context, status, "text/plain; charset=utf-8", body).await
}

/// Model lists: what this key may use, in the caller's dialect.
pub(super) async fn models(
    gateway: &Gateway,
    session: &mut Session,
    context: &mut Context,
    key: &Key,
    route: &Route,
    snapshot: &Snapshot,
) -> Result<bool> {
    let listed: Vec<ModelEntry> = choose::models(key, route.dialect, &snapshot.prices).into_iter().map(entry).collect();
    let wanted = route.object.as_deref().or(route.model.as_deref());
    let body = match wanted {
        None => dialect::model_list(route.dialect, &listed, route.query.as_deref()),
        Some(id) => match listed.iter().find(|model| model.id.eq_ignore_ascii_case(id)) {
            Some(model) => dialect::model_entry(route.dialect, model),
            None => {
                let shown: String = id.chars().take(100).collect();
                let refusal = Refusal::new(Code::UnknownModel, format!("group {} has no model {shown:?}", key.group.id));
                gateway.refuse(session, context, &refusal).await;
                return Ok(true);
            }
        },
    };
    plain(gateway, session, context, 200, "application/json", body).await
}

fn entry(listed: choose::Listed) -> ModelEntry {
    ModelEntry {
        id: listed.id.to_string(),
        owned_by: listed.provider.to_string(),
        display_name: None,
        created: None,
        max_input: listed.max_input,
        max_output: listed.max_output,
    }
}

/// The service `demo`: answered inside the process, metered and settled like any other.
pub(super) async fn demo(gateway: &Gateway, session: &mut Session, context: &mut Context) -> Result<()> {
    let Stage::Admitted(flight) = &mut context.stage else { return Ok(()) };
    let now = clock::steady();
    let answer = {
        let mut trial = flight.shared.trial.lock();
        let body = trial.facts.edited(&flight.body, None, forces_usage(&trial));
        flight.strip = (forces_usage(&trial) && !trial.facts.usage_asked()).then(crate::meter::Strip::new);
        trial.open.sent = Some(now);
        trial.upstream = Some(std::time::Duration::ZERO);
        let model = trial.model();
        demo::answer(&demo::Ask {
            dialect: trial.route.dialect,
            operation: trial.route.operation,
            tail: &trial.route.tail,
            stream: trial.facts.stream,
            array: trial.route.array,
            model: &model,
            body: &body,
            id: &context.record.id,
            now: trial.arrived.wall,
        })
    };
    let reply = match answer {
        Ok(reply) => reply,
        Err(refusal) => {
            context.stage = Stage::Arrived;
            gateway.refuse(session, context, &refusal).await;
            return Ok(());
        }
    };
    let length: usize = reply.pieces.iter().map(Bytes::len).sum();
    let mut header = ResponseHeader::build(reply.status, Some(4))?;
    header.insert_header("content-type", reply.content_type)?;
    header.insert_header("x-request-id", context.record.id.as_str())?;
    if reply.pieces.len() > 1 {
        header.insert_header("transfer-encoding", "chunked")?;
        header.insert_header("cache-control", "no-cache")?;
    } else {
        header.insert_header("content-length", length)?;
    }
    flight.headed = Some(now);
    {
        let mut trial = flight.shared.trial.lock();
        trial.open.status = Some(reply.status);
        flight.meter = meter_for(&trial, &header);
        trial.accept(now);
    }
    flight.shared.begun.store(true, std::sync::atomic::Ordering::Relaxed);
    context.record.status = reply.status;
    if gateway.rooms.registry.is_draining() {
        session.set_keepalive(None);
    }
    let written = async {
        session.write_response_header(Box::new(header), false).await?;
        flight.shared.first_byte_sent();
        for piece in reply.pieces {
            if let Some(meter) = &mut flight.meter {
                meter.feed(&piece);
            }
            let piece = match &mut flight.strip {
                Some(strip) => strip.feed(piece),
                None => piece,
            };
            if !piece.is_empty() {
                session.write_response_body(Some(piece), false).await?;
            }
        }
        let rest = flight.strip.as_mut().map(crate::meter::Strip::end).filter(|rest| !rest.is_empty());
        session.write_response_body(rest, true).await
    };
    if written.await.is_err() {
        flight.shared.client_left();
    }
    flight.sent = session.body_bytes_sent() as u64;
    Ok(())
}

// ------------------------------------------------------------------ small questions

/// The media type of an answer, without its parameters; empty without one.
pub(super) fn media_type(answer: &ResponseHeader) -> &str {
    let kind = answer.headers.get("content-type").and_then(|value| value.to_str().ok()).unwrap_or_default();
    kind.split(';').next().unwrap_or_default().trim()
}

/// Whether streams of this operation say themselves that they are whole.
pub(super) fn has_own_end(trial: &Trial) -> bool {
    matches!(trial.route.operation, Operation::Messages | Operation::Chat | Operation::Responses | Operation::Generate)
}

/// Whether the gateway asks for usage in a stream of OpenAI's chat.
pub(super) fn forces_usage(trial: &Trial) -> bool {
    trial.facts.stream && trial.route.kind == Kind::Chat
}

/// Whether an accepted request of this operation uses something that is counted.
pub(super) fn is_metered(operation: Operation) -> bool {
    match operation {
        Operation::Messages | Operation::Chat | Operation::Responses | Operation::Completions | Operation::Generate => true,
        Operation::Embeddings | Operation::Images | Operation::Audio | Operation::Rerank => true,
        Operation::Moderations | Operation::CountTokens | Operation::Models | Operation::Files | Operation::Batches => false,
    }
}

/// What the answer's meter looks for.
fn form(route: &Route) -> Form {
    match route.kind {
        Kind::ResponseGet | Kind::ResponseItems | Kind::ResponseDelete | Kind::ResponseCancel => Form::Free,
        _ => Form::of(route.dialect, route.operation),
    }
}

fn text_of(facts: &Facts) -> ScriptBytes {
    let text = &facts.text_bytes;
    ScriptBytes::rough(text.ascii, text.cjk, text.other)
}

/// The request's tokens, estimated from its text.
pub(super) fn input_tokens(facts: &Facts) -> u64 {
    text_of(facts).tokens()
}

/// The meter of an answer whose header is here.
pub(super) fn meter_for(trial: &Trial, answer: &ResponseHeader) -> Option<Meter> {
    let text = |name: &str| answer.headers.get(name).and_then(|value| value.to_str().ok());
    let limits = |entry: &Arc<Entry>| (entry.max_input.unwrap_or(0), entry.max_output.unwrap_or(0));
    Some(Meter::new(Spec {
        dialect: trial.route.dialect,
        form: form(&trial.route),
        status: answer.status.as_u16(),
        content_type: text("content-type").unwrap_or_default(),
        content_encoding: text("content-encoding"),
        model: Some(trial.model()),
        input: text_of(&trial.facts),
        limits: trial.candidate.entry.as_ref().map(limits),
    }))
}

/// Errors of `downstream`, not of Pingora.
pub(super) fn is_ours(kind: &ErrorType) -> bool {
    [AGAIN, FIRST_BYTE_TIMEOUT, IDLE_TIMEOUT, TOTAL_TIMEOUT, ENDED, CLIENT_LEFT].contains(kind)
}

/// Whose doing an error is.
pub(super) enum Cause {
    Client,
    /// Ended from outside: revoked, or the process ends.
    Ended,
    /// `total_timeout`.
    TimedOut,
    Upstream(Transport),
}

pub(super) fn cause(error: &Error) -> Cause {
    match error.etype() {
        kind if *kind == CLIENT_LEFT => Cause::Client,
        kind if *kind == ENDED => Cause::Ended,
        kind if *kind == TOTAL_TIMEOUT => Cause::TimedOut,
        kind if *kind == FIRST_BYTE_TIMEOUT => Cause::Upstream(Transport::Timeout { first_byte: true }),
        kind if *kind == IDLE_TIMEOUT => Cause::Upstream(Transport::Timeout { first_byte: false }),
        _ if *error.esource() == ErrorSource::Downstream => Cause::Client,
        _ => Cause::Upstream(transport_of(error)),
    }
}

/// What a transport error means.
pub(super) fn transport_of(error: &Error) -> Transport {
    match error.etype() {
        ErrorType::TLSHandshakeFailure
        | ErrorType::TLSHandshakeTimedout
        | ErrorType::InvalidCert
        | ErrorType::TLSWantX509Lookup => Transport::Tls,
        ErrorType::ReadTimedout => Transport::Timeout { first_byte: true },
        ErrorType::ConnectionClosed => Transport::Closed,
        ErrorType::ReadError | ErrorType::WriteError | ErrorType::H2Error | ErrorType::InvalidH2 | ErrorType::WriteTimedout => {
            Transport::Reset
        }
        _ => Transport::Connect,
    }
}

/// What ends a stream that broke off, if anything can: then the client knows that it is no whole answer. `tail`: the last bytes it saw.
pub(super) fn last_event(trial: &Trial, broken: Option<Broken>, tail: [u8; 4]) -> Option<Bytes> {
    if !trial.is_stream() {
        return None;
    }
    let (code, message) = why(broken?);
    let route = &trial.route;
    let event = dialect::error_event(route.dialect, route.operation, code, message, route.array);
    if route.array {
        // Where a comma stands already, the error's own would be one too many.
        let comma = tail.iter().rev().find(|byte| !byte.is_ascii_whitespace()) == Some(&b',');
        return Some(if comma { event.slice(1..) } else { event });
    }
    let start = event.iter().take_while(|byte| **byte == b'\n').count();
    let ends_event = tail.ends_with(b"\n\n") || tail == *b"\r\n\r\n";
    let ends_line = matches!(tail[3], b'\n' | b'\r');
    // Anthropic's SDKs raise the right error where the broken event becomes the error's own first line; others take an event's
    // data for JSON, and the error must be one of its own.
    let before = match (ends_event, ends_line, route.dialect) {
        (true, _, _) | (_, true, Dialect::Anthropic) => "",
        (_, true, _) | (_, _, Dialect::Anthropic) => "\n",
        (_, false, Dialect::Openai | Dialect::Gemini) => "\n\n",
    };
    Some([before.as_bytes(), &event[start..]].concat().into())
}

/// The code and the words for an answer that broke off.
pub(super) fn why(broken: Broken) -> (Code, &'static str) {
    match broken {
        Broken::Upstream => (Code::UpstreamFailed, "the provider's answer broke off"),
        Broken::TimedOut => (Code::UpstreamTimeout, "the answer took longer than this gateway allows"),
        Broken::Revoked => (Code::KeyDisabled, "your key, user or group was disabled while this request ran"),
        Broken::Shutdown => (Code::ShuttingDown, "the gateway was shut down while this request ran"),
    }
}

pub(super) fn revoked() -> Refusal {
    let (code, message) = why(Broken::Revoked);
    Refusal::new(code, message)
}

pub(super) fn took_too_long() -> Refusal {
    Refusal::new(Code::UpstreamTimeout, "the request took longer than this gateway allows (failover.total_timeout)")
        .again(Again::Unknown)
}
