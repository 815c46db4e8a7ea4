//! Who is well again: asks accounts that are parked, and only those, by their service's free request.
//!
//! A model list proves the key and the network, not the balance, and nothing of a rate limit: so a parking for money, a ban and a
//! moment that the provider named are left alone (`parking::recovered_by_check`).

use std::sync::Arc;
use std::time::Duration;

use pingora::connectors::ConnectorOptions;
use pingora::connectors::http::Connector;
use pingora::http::RequestHeader;
use pingora::server::configuration::ServerConf;

use crate::clock;
use crate::config::snapshot::{Account, Timeouts};
use crate::parking;
use crate::rooms::Rooms;
use crate::upstream::headers::{self, Outgoing};
use crate::words::Dialect;

/// One question and its answer may take this long.
const PATIENCE: Duration = Duration::from_secs(5);

/// Whether this instance wants traffic; else why not.
///
/// # Errors
/// The reason, in a word.
pub fn ready(rooms: &Rooms) -> Result<(), &'static str> {
    if rooms.registry.is_draining() { Err("draining") } else { Ok(()) }
}

/// Asks round after round, for as long as the process runs.
pub async fn watch(rooms: Arc<Rooms>) {
    let connector = Connector::new(Some(ConnectorOptions::from_server_conf(&ServerConf::default())));
    loop {
        let interval = rooms.config.current().settings.health;
        // Up to a fifth of jitter, so that instances do not ask in step.
        let pause = interval.unwrap_or(Duration::from_secs(60)).mul_f64(0.9 + 0.2 * clock::chance().unit());
        tokio::time::sleep(pause).await;
        if interval.is_none() {
            continue;
        }
        let snapshot = rooms.config.current();
        for account in snapshot.accounts.values().filter(|account| account.enabled) {
            if parking::list(&account.live, clock::now()).iter().any(|(_, parking)| parking::proved_by_check(parking)) {
                check(&rooms, &connector, account).await;
            }
        }
    }
}

async fn check(rooms: &Rooms, connector: &Connector, account: &Account) {
    match tokio::time::timeout(PATIENCE, ask(rooms, connector, account)).await {
        Ok(Ok(status)) if (200..300).contains(&status) => {
            for change in parking::recovered_by_check(&account.live, clock::now()) {
                rooms.parking_changed(&account.id, &change);
            }
        }
        Ok(Ok(status)) => tracing::debug!("account {} is still unwell: its free request was answered {status}", account.id),
        Ok(Err(error)) => tracing::debug!("account {} is still unwell: {error}", account.id),
        Err(_) => tracing::debug!("account {} is still unwell: no answer within {PATIENCE:?}", account.id),
    }
}

/// The free request of a service (providers.md 3 to 15): the first page of its model list. Some have none.
fn free_request(account: &Account) -> Option<(Dialect, &'static str, Option<&'static str>)> {
    match account.service.kind.as_str() {
        // No model list (providers.md 14).
        "minimax" => return None,
        "demo" => return None,
        _ => {}
    }
    let of = |dialect| account.endpoints.get(dialect).is_some().then_some(dialect);
    of(Dialect::Openai)
        .map(|dialect| (dialect, "/models", None))
        .or_else(|| of(Dialect::Gemini).map(|dialect| (dialect, "/v1beta/models", Some("pageSize=1"))))
        .or_else(|| of(Dialect::Anthropic).map(|dialect| (dialect, "/v1/models", Some("limit=1"))))
}

async fn ask(rooms: &Rooms, connector: &Connector, account: &Account) -> Result<u16, String> {
    let (dialect, tail, query) = free_request(account).ok_or("its service has no free request")?;
    let endpoint = account.endpoints.get(dialect).ok_or("it has no endpoint")?;
    let timeouts = Timeouts { connect: PATIENCE, first_byte: PATIENCE, stream_start: PATIENCE, idle: PATIENCE, total: PATIENCE };
    let address = rooms.peers.addresses(account, endpoint).await?.into_iter().next().ok_or("no address")?;
    let mut peer = rooms.peers.peer(account, dialect, endpoint, address, &timeouts);
    peer.options.read_timeout = Some(PATIENCE);
    let text = |e: Box<pingora::Error>| e.to_string();
    let mut request = RequestHeader::build("GET", b"/", None).map_err(text)?;
    let out = Outgoing { account, dialect, endpoint, tail, query, body: None };
    headers::outgoing(&mut request, &out).map_err(text)?;
    if dialect == Dialect::Anthropic {
        request.insert_header("anthropic-version", "2023-06-01").map_err(text)?;
    }
    request.insert_header("user-agent", concat!("aicarpool/", env!("CARGO_PKG_VERSION"))).map_err(text)?;
    let (mut session, _) = connector.get_http_session(&*peer).await.map_err(text)?;
    session.write_request_header(Box::new(request)).await.map_err(text)?;
    session.finish_request_body().await.map_err(text)?;
    session.read_response_header().await.map_err(text)?;
    let status = session.response_header().map_or(0, |header| header.status.as_u16());
    while session.read_response_body().await.map_err(text)?.is_some() {}
    if let pingora::protocols::http::client::HttpSession::H1(session) = &mut session {
        session.respect_keepalive();
    }
    connector.release_http_session(session, &*peer, peer.options.idle_timeout).await;
    Ok(status)
}
