//! Steps 1 to 4 of a request's life: who, what, where, may it. Nothing here knows a provider.

use std::net::IpAddr;
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use http::HeaderMap;
use pingora::protocols::http::server::Session as HttpSession;

use super::body::{self, Bounds, Unread};
use super::local;
use super::trial::Trial;
use crate::buffered::Share;
use crate::choose::{self, Ask, Plan, Reach};
use crate::clock::{self, Now};
use crate::config::snapshot::{Key, Snapshot};
use crate::facts::{self, Facts};
use crate::quota::Lease;
use crate::rooms::Rooms;
use crate::route::{Kind, Route};
use crate::settle::Record;
use crate::words::{Again, Code, Operation, Refusal};

/// A request that may go to an account.
pub(crate) struct Admitted {
    pub trial: Trial,
    pub body: Bytes,
    pub share: Share,
}

/// Why a request goes no further.
pub(crate) enum Stop {
    Refused(Refusal),
    /// The client left while it was sending.
    Left,
}

impl From<Refusal> for Stop {
    fn from(refusal: Refusal) -> Stop {
        Stop::Refused(refusal)
    }
}

/// What was asked, before the body is read.
pub(crate) struct Asked<'a> {
    pub rooms: &'a Arc<Rooms>,
    pub snapshot: &'a Snapshot,
    pub key: Arc<Key>,
    pub route: Route,
    pub now: Now,
}

/// Reads the body and finds a first candidate; waiting on the body is noted in `waited`.
pub(crate) async fn admit(
    asked: Asked<'_>,
    session: &mut HttpSession,
    record: &mut Record,
    waited: &mut Duration,
) -> Result<Admitted, Stop> {
    let Asked { rooms, snapshot, key, route, now } = asked;
    may_operate(&key, &route)?;
    let mut share = Share::new(&rooms.buffered, &key);
    let body = if route.kind.has_body() {
        let began = clock::steady();
        let body = read_body(session, snapshot, &mut share).await?;
        *waited = clock::steady().saturating_duration_since(began);
        body
    } else {
        Bytes::new()
    };
    record.request_bytes = session.body_bytes_read() as u64;
    let headers = &session.req_header().headers;
    let facts = facts::read(&route, headers, &body)?;
    record.stream = facts.stream;
    record.session = facts.session;
    record.model.clone_from(&facts.model);
    let wishes = wishes(&key, headers, record)?;
    let reach = reach(rooms, &key, &route, &facts, now)?;
    let ask = Ask {
        key: &key,
        dialect: route.dialect,
        operation: route.operation,
        model: facts.model.as_ref(),
        session: facts.session,
        input: local::input_tokens(&facts),
        max_output: facts.max_output,
        wish_service: wishes.service.as_deref(),
        wish_strategy: wishes.strategy,
        book: &snapshot.prices,
        unpriced: snapshot.settings.unpriced,
        reach,
    };
    let mut plan = Plan::new(ask, &mut clock::chance())?;
    let Some((lease, candidate)) = Lease::reserve(&mut plan, now) else { return Err(plan.refusal(now).into()) };
    let (route, facts) = (Arc::new(route), Arc::new(facts));
    let trial = Trial::new(Arc::clone(rooms), now, record.id.clone(), key, route, facts, plan, lease, candidate);
    Ok(Admitted { trial, body, share })
}

/// Whether key and group allow the operation.
fn may_operate(key: &Key, route: &Route) -> Result<(), Refusal> {
    let operation = route.operation;
    let by_group = key.group.operations.contains(operation);
    let by_key = key.operations.is_none_or(|operations| operations.contains(operation));
    // Reading a model list and counting tokens go with whatever the caller may use.
    if by_group && by_key || matches!(operation, Operation::Models) {
        return Ok(());
    }
    let whose = if by_group { format!("key {}", key.name) } else { format!("group {}", key.group.id) };
    Err(Refusal::new(
        Code::OperationNotAllowed,
        format!("{whose} may not use {}; ask who runs this gateway to add it to `operations`", operation.name()),
    ))
}

async fn read_body(session: &mut HttpSession, snapshot: &Snapshot, share: &mut Share) -> Result<Bytes, Stop> {
    let settings = &snapshot.settings;
    let headers = &session.req_header().headers;
    let text = |name: &str| headers.get(name).and_then(|v| v.to_str().ok()).map(str::to_owned);
    let announced = text("content-length").and_then(|length| length.trim().parse().ok());
    let encoding = text("content-encoding");
    let expects = text("expect").is_some_and(|expect| expect.eq_ignore_ascii_case("100-continue"));
    let bounds =
        Bounds { max_body: settings.max_body, max_buffered: settings.max_buffered, body_idle: settings.client.body_idle };
    if announced.is_some_and(|length: u64| length > bounds.max_body) {
        return Err(too_large(bounds.max_body).into());
    }
    if expects {
        session.set_close_on_response_before_downstream_finish(false);
        if session.write_continue_response().await.is_err() {
            return Err(Stop::Left);
        }
    }
    let body = match body::read(session, announced, &bounds, share).await {
        Ok(body) => body,
        Err(Unread::Refused(refusal)) => return Err(refusal.into()),
        Err(Unread::Left) => return Err(Stop::Left),
    };
    let Some(encoding) = encoding.filter(|encoding| !encoding.trim().eq_ignore_ascii_case("identity")) else {
        return Ok(body);
    };
    let max = settings.max_body;
    // Decoding large bodies takes milliseconds: not on a thread that others wait for.
    let decoded = if body.len() > 64 * 1024 {
        tokio::task::spawn_blocking(move || facts::decode(body, Some(&encoding), max))
            .await
            .map_err(|_| Refusal::new(Code::BadRequest, "the request body could not be decoded"))?
    } else {
        facts::decode(body, Some(&encoding), max)
    }?;
    share.set(decoded.len() as u64, settings.max_buffered)?;
    Ok(decoded)
}

pub(crate) fn too_large(max_body: u64) -> Refusal {
    Refusal::new(Code::BodyTooLarge, format!("the request body is larger than the {max_body} bytes that this gateway takes"))
}

/// What the caller wishes by request headers.
struct Wished {
    service: Option<String>,
    strategy: Option<crate::config::snapshot::Strategy>,
}

/// Tags of one request at the most, and the length of a name or value.
const TAGS_MOST: usize = 8;
const TAG_BYTES_MOST: usize = 128;

fn wishes(key: &Key, headers: &HeaderMap, record: &mut Record) -> Result<Wished, Refusal> {
    let mut wished = Wished { service: None, strategy: None };
    if !headers.keys().any(|name| name.as_str().starts_with("x-aicarpool-")) {
        return Ok(wished);
    }
    let text = |name: &str| {
        headers.get(name).map(|value| value.to_str().map(str::trim).map(str::to_owned)).transpose().map_err(|_| bad(name))
    };
    wished.service = text("x-aicarpool-service")?;
    if let Some(name) = text("x-aicarpool-strategy")? {
        wished.strategy = Some(choose::strategy_named(&name)?);
    }
    for value in headers.get_all("x-aicarpool-tag") {
        let value = value.to_str().map_err(|_| bad("x-aicarpool-tag"))?;
        for tag in value.split(',') {
            let (name, value) = tag.trim().split_once('=').ok_or_else(|| bad("x-aicarpool-tag"))?;
            let sane =
                |text: &str| !text.is_empty() && text.len() <= TAG_BYTES_MOST && !text.bytes().any(|b| b.is_ascii_control());
            if !sane(name) || !sane(value) || record.tags.len() >= TAGS_MOST {
                return Err(bad("x-aicarpool-tag"));
            }
            record.tags.push((name.to_owned(), value.to_owned()));
        }
    }
    if !record.tags.is_empty() && !key.group.wishes.tag {
        record.tags.clear();
        return Err(Refusal::new(
            Code::OperationNotAllowed,
            format!("group {} does not take x-aicarpool-tag; leave the header out", key.group.id),
        ));
    }
    Ok(wished)
}

fn bad(name: &str) -> Refusal {
    let right = match name {
        "x-aicarpool-tag" => "name=value, up to 8 of them, each at most 128 characters",
        _ => "one word",
    };
    Refusal::new(Code::BadRequest, format!("the header {name} must be {right}"))
}

/// Which accounts can hold what the request points to.
fn reach(rooms: &Rooms, key: &Arc<Key>, route: &Route, facts: &Facts, now: Now) -> Result<Reach, Refusal> {
    let listed = matches!(route.kind, Kind::FileList | Kind::BatchList);
    let kept =
        route.operation == Operation::Files || route.operation == Operation::Batches || route.operation == Operation::Responses;
    let named = route.object.as_deref().filter(|_| kept);
    if listed {
        return Ok(Reach::Sole);
    }
    let ids = named.into_iter().chain(facts.previous.iter().map(String::as_str));
    rooms.pins.reach(ids, key, now.wall)
}

/// All accounts are full and nothing is known of when one will not be.
pub(crate) fn shutting_down() -> Refusal {
    Refusal::new(Code::ShuttingDown, "this instance is shutting down; try again").again(Again::Unknown)
}

/// The client's address: the rightmost of `x-forwarded-for` that is no trusted proxy, where the peer is one.
pub(crate) fn client_address(peer: IpAddr, headers: &HeaderMap, snapshot: &Snapshot) -> IpAddr {
    let trusted = &snapshot.settings.trusted_proxies;
    let is_trusted = |address: &IpAddr| trusted.iter().any(|net| net.contains(address));
    let peer = peer.to_canonical();
    if trusted.is_empty() || !is_trusted(&peer) {
        return peer;
    }
    let forwarded: Vec<IpAddr> = headers
        .get_all("x-forwarded-for")
        .iter()
        .filter_map(|value| value.to_str().ok())
        .flat_map(|value| value.split(','))
        .map_while(|address| address.trim().parse().ok())
        .map(|address: IpAddr| address.to_canonical())
        .collect();
    forwarded.iter().rev().find(|address| !is_trusted(address)).or(forwarded.first()).copied().unwrap_or(peer)
}
